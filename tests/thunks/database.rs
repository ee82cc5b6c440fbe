//! One replica to which thunks are given one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::client;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::protocol::Batch;
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Put, Registry, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome, Record, ThunkId, Transaction};

pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// A replica whose clock moves by one millisecond with every transaction.
pub(crate) struct Database {
    executor: SerialExecutor<MemoryVersions>,
    now_ms: u64,
}

impl Database {
    /// An empty one that knows the built-in thunks and `T`.
    pub(crate) fn with<T: Thunk>() -> Self {
        let mut registry = Registry::with_builtins();
        registry.register::<T>().expect("its name is free");
        Self::of(registry)
    }

    /// An empty one that knows these thunks.
    pub(crate) fn of(registry: Registry) -> Self {
        Self {
            executor: SerialExecutor::new(Arc::new(registry), MemoryVersions::default()),
            now_ms: START_MS,
        }
    }

    /// Stores values, as a transaction of its own.
    pub(crate) fn store(&mut self, entries: &[(&str, Value)]) {
        let entries = entries.iter().map(|(key, value)| (Key::from(*key), value.clone()));
        let entries = entries.collect();
        self.run(&Put { entries }).expect("declared and small");
    }

    /// Admits and evaluates a thunk under an id of its own.
    pub(crate) fn run<T: Thunk>(&mut self, thunk: &T) -> Result<T::Output, Abort> {
        let outcome = self.evaluate(self.admit(thunk));
        client::output::<T>(&outcome).expect("an output of this thunk")
    }

    /// The transaction of a thunk, under an id of its own.
    pub(crate) fn admit<T: Thunk>(&self, thunk: &T) -> Transaction {
        let id = TransactionId::from_parts(self.now_ms, [0; 10]);
        let arguments = client::arguments(thunk).expect("plain data");
        client::admit(self.executor.registry(), id, ThunkId::of::<T>(), arguments).expect("a sound transaction")
    }

    /// Evaluates a transaction, however it was made.
    pub(crate) fn evaluate(&mut self, transaction: Transaction) -> Outcome {
        self.now_ms += 1;
        let hlc = Hlc::from_unix_millis(self.now_ms);
        let node = NodeId::new(1);
        let records = vec![(Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))];
        let evaluated = self.executor.evaluate(&Batch { records, upto: hlc });
        assert_eq!(evaluated.blocked, None);
        evaluated.settlements[0].outcome.clone()
    }

    /// Everything that is stored now.
    pub(crate) fn contents(&self) -> BTreeMap<Key, Value> {
        let entries = self.executor.versions().newest();
        entries.map(|(key, _, value)| (key.clone(), value.clone())).collect()
    }
}

/// A number as the operators store it.
pub(crate) fn number(number: i64) -> Value {
    Value::new(number.to_le_bytes().to_vec())
}
