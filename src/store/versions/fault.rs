//! What the database says of the medium, in the words of a store.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use super::super::StoreError;

/// Where something went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) table: &'a str,
    /// What was to be done.
    pub(super) action: &'static str,
}

impl Place<'_> {
    /// The bytes there are not what was written.
    pub(super) fn damaged(self, key: &dyn Display, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            file: self.file.to_owned(),
            place: format!("table {}, key {key}", self.table),
            reason: reason.into(),
        }
    }

    /// *Given* what was looked for, by which a damage is named.
    pub(super) fn storage(self, key: &dyn Display, error: StorageError) -> StoreError {
        match error {
            StorageError::Io(error) => self.medium(key, error),
            StorageError::Corrupted(reason) => self.damaged(key, reason),
            other => self.other(other),
        }
    }

    pub(super) fn table(self, error: TableError) -> StoreError {
        match error {
            TableError::Storage(error) => self.storage(&"any", error),
            other => self.damaged(&"any", other.to_string()),
        }
    }

    pub(super) fn transaction(self, error: TransactionError) -> StoreError {
        match error {
            TransactionError::Storage(error) => self.storage(&"any", error),
            other => self.other(other),
        }
    }

    pub(super) fn commit(self, error: CommitError) -> StoreError {
        match error {
            CommitError::Storage(error) => self.storage(&"any", error),
            other => self.other(other),
        }
    }

    pub(super) fn database(self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::Storage(error) => self.storage(&"any", error),
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
                folder: self.file.to_owned(),
            },
            other => self.damaged(&"any", other.to_string()),
        }
    }

    fn medium(self, key: &dyn Display, error: io::Error) -> StoreError {
        if let Some(store) = error.get_ref().and_then(|inner| inner.downcast_ref::<StoreError>()) {
            return match store {
                // Below the tables nobody knows what lies in a damaged block.
                StoreError::Damaged { place, reason, .. } => self.damaged(key, format!("{place}: {reason}")),
                known => known.clone(),
            };
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                StoreError::Full {
                    file: self.file.to_owned(),
                }
            }
            io::ErrorKind::InvalidData => self.damaged(key, error.to_string()),
            _ => StoreError::Medium {
                file: self.file.to_owned(),
                action: self.action,
                source: Arc::new(error),
            },
        }
    }

    fn other(self, error: impl Display) -> StoreError {
        StoreError::Medium {
            file: self.file.to_owned(),
            action: self.action,
            source: Arc::new(io::Error::other(error.to_string())),
        }
    }
}
