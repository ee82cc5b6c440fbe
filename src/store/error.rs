//! What can be wrong with a store on disk.

use std::io;
use std::sync::Arc;

use super::disk::Disk;

/// Why a store cannot be opened, or failed. After any of these a store that was open is poisoned: it makes nothing durable any
/// more and gives nothing out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The medium failed. Whether what was written last is there is not known: stop, look at the medium, and open the store again.
    #[error("{file}: cannot {action}: {source}; nothing after it is acknowledged")]
    Medium {
        /// Which file.
        file: String,
        /// What was to be done.
        action: &'static str,
        /// What the medium said.
        source: Arc<io::Error>,
    },
    /// There is no room. What was durable before still is, and the store can be opened again when there is room.
    #[error("{file}: the medium is full: make room, and it goes on")]
    Full {
        /// Which file was to grow.
        file: String,
    },
    /// What is read is not what was written. Nothing of it was used: the node is to be filled again by its peers.
    #[error("{file}: {place} is damaged: {reason}; repair the store from the other replicas")]
    Damaged {
        /// Which file.
        file: String,
        /// Where in it: an offset, a table, a key.
        place: String,
        /// How that was found.
        reason: String,
    },
    /// The file was written by a later version of this software. Nothing was changed: use that one.
    #[error("{file}: has format {found}, but this version knows formats up to {known}: use the version that wrote it")]
    Future {
        /// Which file.
        file: String,
        /// The format of the file.
        found: u32,
        /// The last format that is known here.
        known: u32,
    },
    /// Another process has the folder open. Nothing was changed.
    #[error("{folder}: another process has this store open: stop it first, or use another folder")]
    InUse {
        /// Which folder.
        folder: String,
    },
    /// The store belongs to somebody else. Nothing was changed.
    #[error("{folder}: belongs to {found}, not to {expected}: use the folder of this node")]
    Foreign {
        /// Which folder.
        folder: String,
        /// Whose store it is.
        found: String,
        /// Who opened it.
        expected: String,
    },
}

impl StoreError {
    /// What a medium says of a file of this disk.
    pub(crate) fn of_medium(disk: &dyn Disk, name: &str, action: &'static str, error: io::Error) -> Self {
        Self::of_file(format!("{}/{name}", disk.path()), action, error)
    }

    /// What a medium says of a file.
    pub(crate) fn of_file(file: impl Into<String>, action: &'static str, error: io::Error) -> Self {
        let file = file.into();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            _ => Self::Medium {
                file,
                action,
                source: Arc::new(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_without_room_and_a_quota_that_is_used_up_are_the_same_and_all_else_is_a_failure() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = StoreError::of_file("file", "write", kind.into());
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
        }
        let error = StoreError::of_file("file", "write", io::ErrorKind::PermissionDenied.into());
        assert!(matches!(error, StoreError::Medium { .. }), "{error}");
    }
}
