//! The production replica, with an eye on what its counters hold in the end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll::executor::{Checkpoint, Status};
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::Value;
use plimsoll::protocol::{Batch, Evaluated, Query};
use plimsoll::thunk::Registry;
use plimsoll::time::Hlc;
use plimsoll::transaction::{Outcome, ThunkId, Transaction};

use crate::check::{FinalCounters, FinalEntry};
use crate::port::Answer;
use crate::workload::{counter_of, counter_range};
use crate::world::{MemoryReplica, Replica};

/// A replica that tells what its counters hold when its end state is taken. Everything else it leaves to the production one.
pub(super) struct CounterWatch {
    node: NodeId,
    replica: MemoryReplica,
    evaluated: Hlc,
    finals: Rc<RefCell<Vec<FinalCounters>>>,
}

impl CounterWatch {
    pub(super) fn new(node: NodeId, registry: Arc<Registry>, finals: Rc<RefCell<Vec<FinalCounters>>>) -> Self {
        Self {
            node,
            replica: MemoryReplica::new(registry),
            evaluated: Hlc::ZERO,
            finals,
        }
    }

    /// *Gives* none where the snapshot is no longer kept or a counter is not in the form of one: then the agreement of replicas
    /// and the answers to clients are what is left to judge.
    fn counters(&self) -> Option<FinalCounters> {
        let query = Query {
            keys: Vec::new(),
            ranges: vec![(counter_range(), usize::MAX)],
        };
        let answer = self.replica.read(self.evaluated, &query).ok()?;
        let entries = answer.ranges.iter().flatten();
        let values = entries.filter_map(|(key, versioned)| counter_of(key.as_bytes(), &versioned.value));
        Some(FinalCounters {
            node: self.node,
            values: values.collect::<Result<_, _>>().ok()?,
        })
    }
}

impl Replica for CounterWatch {
    fn admit(&self, id: TransactionId, thunk: ThunkId, arguments: Value) -> Result<Transaction, String> {
        self.replica.admit(id, thunk, arguments)
    }

    fn evaluate(&mut self, batch: &Batch) -> Evaluated {
        let evaluated = self.replica.evaluate(batch);
        self.evaluated = self.evaluated.max(evaluated.upto);
        evaluated
    }

    fn read(&self, at: Hlc, query: &Query) -> Result<Answer, String> {
        self.replica.read(at, query)
    }

    fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Option<Outcome> {
        self.replica.dry_run(transaction, at)
    }

    fn evaluated(&self) -> Hlc {
        self.replica.evaluated()
    }

    fn begin_flush(&mut self) {
        self.replica.begin_flush();
    }

    fn end_flush(&mut self) {
        self.replica.end_flush();
    }

    fn durable(&self) -> Hlc {
        self.replica.durable()
    }

    fn checkpoint(&self) -> Checkpoint {
        self.replica.checkpoint()
    }

    fn restore(&mut self, checkpoint: Checkpoint) {
        self.evaluated = checkpoint.bound();
        self.replica.restore(checkpoint);
    }

    fn crashed(self) -> Self {
        let replica = self.replica.crashed();
        Self {
            evaluated: replica.durable(),
            replica,
            ..self
        }
    }

    fn emptied(self) -> Self {
        Self {
            evaluated: Hlc::ZERO,
            replica: self.replica.emptied(),
            ..self
        }
    }

    fn status(&self, id: TransactionId) -> Status {
        self.replica.status(id)
    }

    fn state(&self) -> Vec<FinalEntry> {
        self.finals.borrow_mut().extend(self.counters());
        self.replica.state()
    }
}
