//! What the world needs of the part of a node that knows thunks and versions, and the production one.

use std::sync::Arc;

use plimsoll::client::admit;
use plimsoll::executor::Checkpoint;
use plimsoll::executor::{SerialExecutor, Status};
use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::protocol::{Batch, Evaluated, Query};
use plimsoll::store::{History, MemoryVersions};
use plimsoll::thunk::Registry;
use plimsoll::time::Hlc;
use plimsoll::transaction::{Outcome, ThunkId, Transaction};

use super::event::content_of;
use crate::check::FinalEntry;
use crate::port::Answer;

/// Admission, evaluation and reads of one node.
///
/// The production replica is [`MemoryReplica`]; a test may put a faulty one in its place.
pub trait Replica {
    /// The transaction of a client's call, with its footprint.
    ///
    /// *Errors* with what the client is told where it cannot be submitted.
    fn admit(&self, id: TransactionId, thunk: ThunkId, arguments: Value) -> Result<Transaction, String>;

    /// Evaluates a batch, which follows on the one before.
    fn evaluate(&mut self, batch: &Batch) -> Evaluated;

    /// Reads the snapshot at `at`, which is at or below the evaluated bound.
    ///
    /// *Errors* with what the client is told where the snapshot is no longer kept.
    fn read(&self, at: Hlc, query: &Query) -> Result<Answer, String>;

    /// What `transaction` would come to over the snapshot at `at`; nothing is kept of it. Absent if that cannot be said.
    fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Option<Outcome>;

    /// Everything at or below is evaluated.
    fn evaluated(&self) -> Hlc;

    /// Everything at or below would survive a crash.
    fn durable(&self) -> Hlc;

    /// Begins to write what is evaluated.
    fn begin_flush(&mut self);

    /// What was being written is durable.
    fn end_flush(&mut self);

    /// Its state for another replica: what it last made durable, or all of it where nothing can be lost.
    fn checkpoint(&self) -> Checkpoint;

    /// Goes on from the state of another replica, which is durable from now on. What was being written is void.
    fn restore(&mut self, checkpoint: Checkpoint);

    /// What a crash leaves of it.
    #[must_use]
    fn crashed(self) -> Self;

    /// An empty one in its place.
    #[must_use]
    fn emptied(self) -> Self;

    /// What is known of a transaction.
    fn status(&self, id: TransactionId) -> Status;

    /// The latest version of every key.
    fn state(&self) -> Vec<FinalEntry>;
}

/// The production executor over versions in memory.
pub struct MemoryReplica {
    registry: Arc<Registry>,
    /// What would survive a crash.
    durable: Option<Checkpoint>,
    flushing: Option<Checkpoint>,
    executor: SerialExecutor<MemoryVersions>,
}

impl MemoryReplica {
    /// A replica that has evaluated nothing and knows these thunks.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            executor: SerialExecutor::new(Arc::clone(&registry), MemoryVersions::default()),
            durable: None,
            flushing: None,
            registry,
        }
    }
}

impl Replica for MemoryReplica {
    fn admit(&self, id: TransactionId, thunk: ThunkId, arguments: Value) -> Result<Transaction, String> {
        admit(self.executor.registry(), id, thunk, arguments).map_err(|error| error.to_string())
    }

    fn evaluate(&mut self, batch: &Batch) -> Evaluated {
        self.executor.evaluate(batch)
    }

    fn read(&self, at: Hlc, query: &Query) -> Result<Answer, String> {
        self.executor.read(at, query).map_err(|error| error.to_string())
    }

    fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Option<Outcome> {
        Some(self.executor.dry_run(transaction, at).ok()?.ok()?.outcome)
    }

    fn evaluated(&self) -> Hlc {
        self.executor.versions().evaluated()
    }

    fn durable(&self) -> Hlc {
        self.durable.as_ref().map_or(Hlc::ZERO, Checkpoint::bound)
    }

    fn begin_flush(&mut self) {
        self.flushing = Some(self.executor.checkpoint());
    }

    fn end_flush(&mut self) {
        self.durable = self.flushing.take();
    }

    fn checkpoint(&self) -> Checkpoint {
        let durable = self.durable.clone();
        durable.unwrap_or_else(|| self.executor.checkpoint())
    }

    fn restore(&mut self, checkpoint: Checkpoint) {
        self.executor = SerialExecutor::restore(Arc::clone(&self.registry), checkpoint.clone());
        self.durable = Some(checkpoint);
        self.flushing = None;
    }

    fn crashed(self) -> Self {
        let mut left = Self::new(self.registry);
        if let Some(durable) = self.durable {
            left.restore(durable);
        }
        left
    }

    fn emptied(self) -> Self {
        Self::new(self.registry)
    }

    fn status(&self, id: TransactionId) -> Status {
        self.executor.status(id)
    }

    fn state(&self) -> Vec<FinalEntry> {
        let newest = self.executor.versions().newest();
        newest
            .map(|(key, timestamp, value)| FinalEntry {
                key: key.as_bytes().to_vec(),
                timestamp,
                value_hash: content_of(value),
            })
            .collect()
    }
}
