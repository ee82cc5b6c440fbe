//! What one flush wrote, read while evaluation and further flushes go on.

use std::sync::{Arc, OnceLock};

use super::super::{History, OutcomeVisitor, StoreError, VersionVisitor};
use super::database::{Reader, Store};
use super::merge;
use super::table::Standing;
use crate::id::TransactionId;
use crate::key::Key;
use crate::time::{Hlc, Timestamp};

/// The versions and outcomes on disk as one flush left them. It may be read on another thread than the one that evaluates.
///
/// *Errors* of reads are kept, as [`DiskVersions`](super::DiskVersions) keep them. One is no failure of the store: after the medium was full the
/// database is opened again, and what was read of an earlier flush is lost. Take another one then.
#[derive(Debug)]
pub struct FlushedVersions {
    store: Arc<Store>,
    reader: Arc<Reader>,
    /// Why it can no longer be read.
    lost: OnceLock<StoreError>,
}

impl FlushedVersions {
    pub(super) fn new(store: Arc<Store>, reader: Arc<Reader>) -> Self {
        let lost = OnceLock::new();
        Self { store, reader, lost }
    }

    /// Where the executor stood.
    pub fn standing(&self) -> &Standing {
        &self.reader.state.beside
    }

    fn read(&self, mut read: impl FnMut(&Reader) -> Result<(), StoreError>) {
        if self.failure().is_some() {
            return;
        }
        let Err(error) = read(&self.reader) else {
            return;
        };
        // The database may have been opened again since.
        let again = self.store.reader().and_then(|reader| {
            if reader.state.flushes == self.reader.state.flushes {
                read(&reader)
            } else {
                Err(error)
            }
        });
        if let Err(error) = again {
            let _ = self.lost.set(error);
        }
    }
}

impl History for FlushedVersions {
    type Checked<T> = Result<T, StoreError>;

    fn checked<T>(&self, found: T) -> Result<T, StoreError> {
        self.failure().map_or(Ok(found), Err)
    }

    fn failure(&self) -> Option<StoreError> {
        self.lost.get().or(self.store.failure()).cloned()
    }

    fn evaluated(&self) -> Hlc {
        self.reader.state.evaluated
    }

    fn oldest(&self) -> Hlc {
        self.reader.state.oldest
    }

    fn history(&self, oldest: Hlc, after: Option<(&Key, Timestamp)>, visit: &mut VersionVisitor<'_>) {
        let mut after = after.map(|(key, at)| (key.clone(), at));
        self.read(|reader| {
            let passed = after.clone();
            let passed = passed.as_ref().map(|(key, at)| (key, *at));
            merge::history((&self.store, reader), &[], oldest, passed, &mut |key, at, value| {
                after = Some((key.clone(), at));
                visit(key, at, value)
            })
        });
    }

    fn settled(&self, after: Option<TransactionId>, visit: &mut OutcomeVisitor<'_>) {
        let mut after = after;
        self.read(|reader| {
            merge::settled((&self.store, reader), after, &mut |id, effective, outcome| {
                after = Some(id);
                visit(id, effective, outcome)
            })
        });
    }
}
