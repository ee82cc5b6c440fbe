//! One replica, over memory or a disk, to which thunks are given one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::client;
use plimsoll::executor::{Answer, SerialExecutor};
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Batch, Evaluated, Query, Scan};
use plimsoll::store::disk::Disk;
use plimsoll::store::versions::Flush;
use plimsoll::store::{DiskVersions, MemoryVersions};
use plimsoll::thunk::{Put, Registry, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome, Record, ThunkId, Transaction};

pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// What evaluates.
pub(crate) trait Replica {
    fn registry(&self) -> &Registry;

    /// Evaluates one record.
    fn evaluate(&mut self, batch: &Batch) -> Evaluated;

    /// Everything that is stored at `at`.
    fn read(&self, at: Hlc, query: &Query) -> Answer;
}

impl Replica for SerialExecutor<MemoryVersions> {
    fn registry(&self) -> &Registry {
        self.registry()
    }

    fn evaluate(&mut self, batch: &Batch) -> Evaluated {
        self.evaluate(batch)
    }

    fn read(&self, at: Hlc, query: &Query) -> Answer {
        self.read(at, query).expect("the newest snapshot")
    }
}

fn on_disk(registry: Arc<Registry>, disk: Arc<dyn Disk>) -> SerialExecutor<DiskVersions> {
    let versions = DiskVersions::open(disk, "versions", 1 << 20).expect("the disk is sound");
    SerialExecutor::open(registry, versions).expect("the disk is sound")
}

/// Flushes everything before each record, so that it is evaluated over the table alone.
pub(crate) struct Flushed(SerialExecutor<DiskVersions>);

impl Flushed {
    pub(crate) fn new(registry: Arc<Registry>, disk: Arc<dyn Disk>) -> Self {
        Self(on_disk(registry, disk))
    }
}

impl Replica for Flushed {
    fn registry(&self) -> &Registry {
        self.0.registry()
    }

    fn evaluate(&mut self, batch: &Batch) -> Evaluated {
        let flush = self.0.begin_flush();
        self.0.end_flush(flush.write()).expect("the disk is sound");
        assert_eq!(self.0.versions().unflushed_bytes(), 0);
        self.0.evaluate(batch).expect("the disk is sound")
    }

    fn read(&self, at: Hlc, query: &Query) -> Answer {
        self.0.read(at, query).expect("the newest snapshot")
    }
}

/// Begins a flush before each record and ends it before the next: it is evaluated while what is older is being written.
pub(crate) struct Flushing {
    executor: SerialExecutor<DiskVersions>,
    begun: Option<Flush>,
}

impl Flushing {
    pub(crate) fn new(registry: Arc<Registry>, disk: Arc<dyn Disk>) -> Self {
        let executor = on_disk(registry, disk);
        Self { executor, begun: None }
    }
}

impl Replica for Flushing {
    fn registry(&self) -> &Registry {
        self.executor.registry()
    }

    fn evaluate(&mut self, batch: &Batch) -> Evaluated {
        if let Some(flush) = self.begun.take() {
            self.executor.end_flush(flush.write()).expect("the disk is sound");
        }
        self.begun = Some(self.executor.begin_flush());
        self.executor.evaluate(batch).expect("the disk is sound")
    }

    fn read(&self, at: Hlc, query: &Query) -> Answer {
        self.executor.read(at, query).expect("the newest snapshot")
    }
}

/// A replica whose clock moves by one millisecond with every transaction.
pub(crate) struct Database<R = SerialExecutor<MemoryVersions>> {
    replica: R,
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
        Self::over(SerialExecutor::new(Arc::new(registry), MemoryVersions::default()))
    }
}

impl<R: Replica> Database<R> {
    /// One that evaluates with `replica`, which is empty.
    pub(crate) fn over(replica: R) -> Self {
        let now_ms = START_MS;
        Self { replica, now_ms }
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
        client::admit(self.replica.registry(), id, ThunkId::of::<T>(), arguments).expect("a sound transaction")
    }

    /// Evaluates a transaction, however it was made.
    pub(crate) fn evaluate(&mut self, transaction: Transaction) -> Outcome {
        self.now_ms += 1;
        let hlc = Hlc::from_unix_millis(self.now_ms);
        let node = NodeId::new(1);
        let records = vec![(Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))];
        let evaluated = self.replica.evaluate(&Batch { records, upto: hlc });
        assert_eq!(evaluated.blocked, None);
        evaluated.settlements[0].outcome.clone()
    }

    /// Everything that is stored now.
    pub(crate) fn contents(&self) -> BTreeMap<Key, Value> {
        let query = Query {
            keys: Vec::new(),
            ranges: vec![Scan::forward(KeyRange::from(Key::default()), usize::MAX)],
        };
        let mut answer = self.replica.read(Hlc::from_unix_millis(self.now_ms), &query);
        let entries = answer.ranges.remove(0).into_iter();
        entries.map(|(key, versioned)| (key, versioned.value)).collect()
    }
}

/// A number as the operators store it.
pub(crate) fn number(number: i64) -> Value {
    Value::new(number.to_le_bytes())
}
