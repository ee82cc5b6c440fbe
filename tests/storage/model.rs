//! What a replica must hold, from the records that it gave to its log: an executor in memory that never stops.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::executor::{Heading, SerialExecutor};
use plimsoll::protocol::Batch;
use plimsoll::store::{History, MemoryVersions};
use plimsoll::thunk::Registry;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Record;

use super::workload::{all, contents};

type Executor = SerialExecutor<MemoryVersions>;

/// Where a replica stands that has evaluated the log's records up to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stand {
    /// The record.
    pub(crate) last: Timestamp,
    /// The digest of everything evaluated, in order.
    pub(crate) fold: u64,
    /// The mark of what is stored.
    pub(crate) contents: u64,
}

pub(crate) struct Model {
    registry: Arc<Registry>,
    /// At the bound of the last flush that was begun.
    base: Executor,
    /// How many records are in it.
    based: usize,
    /// Has evaluated every record.
    ahead: Executor,
    records: Vec<(Timestamp, Arc<Record>)>,
    /// After no record, after the first, and so on.
    stands: Vec<Stand>,
    /// What the versions hold after a flush that was begun at a bound.
    pub(crate) headings: BTreeMap<Hlc, Heading>,
}

impl Model {
    pub(crate) fn new(registry: &Arc<Registry>) -> Self {
        let empty = || SerialExecutor::new(Arc::clone(registry), MemoryVersions::default());
        let (base, ahead) = (empty(), empty());
        Self {
            registry: Arc::clone(registry),
            headings: BTreeMap::from([(Hlc::ZERO, base.checkpoint().heading())]),
            stands: vec![stand(&ahead)],
            based: 0,
            records: Vec::new(),
            base,
            ahead,
        }
    }

    /// Records were given to the log.
    pub(crate) fn extend(&mut self, records: Vec<(Timestamp, Arc<Record>)>) {
        for record in records {
            let last = self.records.last().map(|(last, _)| *last);
            assert!(last.is_none_or(|last| last < record.0), "{} after {last:?}", record.0);
            self.evaluate(&record);
            self.records.push(record);
        }
    }

    fn evaluate(&mut self, record: &(Timestamp, Arc<Record>)) {
        self.ahead.evaluate(&Batch {
            records: vec![record.clone()],
            upto: record.0.hlc,
        });
        self.stands.push(stand(&self.ahead));
    }

    /// A flush was begun at this evaluated bound.
    pub(crate) fn note_flush(&mut self, bound: Hlc) {
        let count = self.records.partition_point(|(at, _)| at.hlc <= bound);
        let records = self.records[self.based..count].to_vec();
        self.base.evaluate(&Batch { records, upto: bound });
        self.based = count;
        self.headings.insert(bound, self.base.checkpoint().heading());
    }

    /// The records above are lost.
    pub(crate) fn truncate(&mut self, above: Hlc) {
        let count = self.records.partition_point(|(at, _)| at.hlc <= above);
        assert!(count >= self.based, "what was evaluated was durable");
        self.stands.truncate(self.based + 1);
        self.ahead = SerialExecutor::restore(Arc::clone(&self.registry), self.base.checkpoint());
        self.records.truncate(count);
        for place in self.based..count {
            self.evaluate(&self.records[place].clone());
        }
    }

    /// Where a replica stands that has evaluated up to and with this record.
    pub(crate) fn stand(&self, last: Timestamp) -> Option<&Stand> {
        let found = self.stands.binary_search_by_key(&last, |stand| stand.last);
        found.ok().map(|place| &self.stands[place])
    }

    pub(crate) fn records(&self) -> usize {
        self.records.len()
    }
}

fn stand(executor: &Executor) -> Stand {
    let Heading { last, fold, .. } = executor.checkpoint().heading();
    let everything = executor.read(executor.versions().evaluated(), &all());
    Stand {
        last,
        fold,
        contents: contents(&everything.expect("it is the newest snapshot")),
    }
}
