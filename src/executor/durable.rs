//! The executor over versions on disk: opened where the last flush left it, and flushed.
//!
//! Realises what a replica restarts from, section 5 of the design. Tests: `tests/flush.rs`.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::digest::DigestFold;
use super::outcomes::Outcomes;
use super::serial::SerialExecutor;
use crate::store::versions::{DiskVersions, Flush, FlushReport, Flushed, FlushedVersions, Standing};
use crate::store::{History, StoreError, Versions};
use crate::thunk::Registry;
use crate::time::Hlc;

impl SerialExecutor<DiskVersions> {
    /// An executor that goes on where the one stood that flushed `versions` last, as [restoring](SerialExecutor::restore) a checkpoint taken
    /// there would give it.
    ///
    /// *Given* a registry in which every thunk that the other one had evaluated behaves alike.
    ///
    /// *Errors*: the store fails, or is damaged.
    pub fn open(registry: Arc<Registry>, versions: DiskVersions) -> Result<Self, StoreError> {
        let mut outcomes = Outcomes::on_disk(versions.evaluated());
        versions.settled(outcomes.released_upto(), &mut |id, effective, outcome| {
            outcomes.load(id, (effective, outcome.clone()));
            ControlFlow::Continue(())
        });
        versions.checked(())?;
        let Standing { last, noted, fold } = *versions.standing();
        let checkpoint = Checkpoint::new(versions, outcomes, DigestFold::resume(noted, fold), last);
        Ok(Self::restore(registry, checkpoint))
    }

    /// Begins to flush everything evaluated so far. Write the flush, on another thread if that is of use, and
    /// [end](SerialExecutor::end_flush) it; evaluation goes on meanwhile.
    ///
    /// *Panics* when a flush was begun and has not ended.
    pub fn begin_flush(&mut self) -> Flush {
        let standing = Standing {
            last: self.last,
            noted: self.digest.noted(),
            fold: self.digest.value(),
        };
        self.versions.begin_flush(self.outcomes.begin_flush(), standing)
    }

    /// Ends a flush. What was evaluated before it began is durable then.
    ///
    /// *Errors*: [`StoreError::Full`]: nothing is lost, and it is as if the flush had not begun; begin one again when there is room.
    /// All others: the store has failed; stop the node.
    ///
    /// *Panics* when none was begun.
    pub fn end_flush(&mut self, flushed: Flushed) -> Result<FlushReport, StoreError> {
        let report = self.versions.end_flush(flushed);
        match report {
            Ok(_) => self.outcomes.flush_succeeded(self.versions.flushed()),
            Err(_) => self.outcomes.flush_failed(),
        }
        report
    }

    /// Keeps the snapshot at `at` readable, see [`DiskVersions::hold`].
    pub fn hold(&mut self, at: Hlc) -> bool {
        self.versions.hold(at)
    }

    /// Lets a snapshot go that was held, see [`DiskVersions::release`].
    pub fn release(&mut self, at: Hlc) {
        self.versions.release(at);
    }

    /// The state at the bound of the last flush, to be sent to other replicas while evaluation goes on.
    ///
    /// *Errors*: the store has failed.
    ///
    /// *Cost*: nothing is copied, see [`DiskVersions::snapshot`].
    pub fn flushed_checkpoint(&self) -> Result<Checkpoint<FlushedVersions>, StoreError> {
        let versions = self.versions.snapshot()?;
        let Standing { last, noted, fold } = *versions.standing();
        let outcomes = Outcomes::default();
        Ok(Checkpoint::new(
            versions,
            outcomes,
            DigestFold::resume(noted, fold),
            last,
        ))
    }
}
