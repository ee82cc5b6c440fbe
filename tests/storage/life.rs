//! A client and its replica: transactions in order, a few at a time, and what is answered is what must be.

use std::collections::BTreeMap;

use plimsoll::id::{NodeId, RequestId};
use plimsoll::protocol::{Input, LogEntry, Reply};
use plimsoll::store::disk::{Crash, SimulatedDisk};
use plimsoll::store::versions::Standing;
use plimsoll::store::{Log, StoreError};
use plimsoll::time::{Hlc, Timestamp};

use super::replica::{Layout, Replica};
use super::workload::{Workload, contents};

/// Transactions that wait for their answer, at most.
const IN_FLIGHT_MAX: usize = 8;

/// How long a machine is down.
const DOWN_US: u64 = 1_000_000;

/// Turns after which something that should come has not come.
const TURNS_MAX: usize = 2_000;

/// Sees a life after everything that may have written to its disk.
pub(crate) trait Watch {
    fn on_change(&mut self, life: &mut Life<'_>);
}

/// Nobody looks.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn on_change(&mut self, _: &mut Life<'_>) {}
}

/// A client, its replica and the disk below.
pub(crate) struct Life<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) layout: Layout,
    pub(crate) disk: SimulatedDisk,
    pub(crate) replica: Replica,
    pub(crate) now_us: u64,
    /// So many transactions were answered, from the first on.
    pub(crate) settled: usize,
    submitted: usize,
    /// The highest record of an answer.
    pub(crate) acknowledged: Timestamp,
    waiting: BTreeMap<RequestId, usize>,
    requests: u64,
}

impl<'a> Life<'a> {
    /// The replica on `disk`. *Given* how many transactions the client has answers to.
    pub(crate) fn open(
        workload: &'a Workload,
        layout: Layout,
        disk: SimulatedDisk,
        now_us: u64,
        settled: usize,
    ) -> Result<Self, StoreError> {
        let mut replica = Replica::open(&disk, &workload.registry, layout, now_us)?;
        replica.give(Input::Wake);
        Ok(Self {
            workload,
            layout,
            replica,
            disk,
            now_us,
            settled,
            submitted: settled,
            acknowledged: Timestamp {
                hlc: Hlc::ZERO,
                node: NodeId::new(0),
            },
            waiting: BTreeMap::new(),
            requests: 0,
        })
    }

    /// The machine stops and starts again, and the client asks once more for what it has no answer to.
    pub(crate) fn crash(self, crash: Crash) -> Self {
        let disk = self.disk.crash(crash);
        drop(self.replica);
        let now_us = self.now_us + DOWN_US;
        let mut again = Self::open(self.workload, self.layout, disk, now_us, self.settled).expect("a sound disk");
        again.acknowledged = self.acknowledged;
        again
    }

    /// Everything in the log is evaluated, and a new epoch has begun.
    pub(crate) fn catch_up(&mut self, watch: &mut dyn Watch) -> Result<(), StoreError> {
        let entries = self.replica.log.log().read(0, usize::MAX)?;
        let target = last_record(&entries).max(self.replica.state.flushed());
        let epoch = self.replica.node.membership().epoch;
        for _ in 0..TURNS_MAX {
            let node = &self.replica.node;
            let has_begun = node.membership().epoch > epoch || entries.is_empty();
            if has_begun && node.evaluated() >= target && self.replica.is_at_rest() {
                return Ok(());
            }
            self.turn(watch)?;
        }
        panic!(
            "still at {} of {target}, in {}",
            self.replica.node.evaluated(),
            self.replica.node.membership().epoch
        );
    }

    /// Submits until so many transactions are answered, and nothing more waits.
    pub(crate) fn go_on(&mut self, until: usize, watch: &mut dyn Watch) -> Result<(), StoreError> {
        for _ in 0..TURNS_MAX * (until - self.settled.min(until) + 1) {
            if self.settled >= until && self.waiting.is_empty() {
                return Ok(());
            }
            self.submit_some(until);
            self.turn(watch)?;
        }
        panic!("only {} of {until} are answered", self.settled);
    }

    /// Submits some, and stops before they are answered.
    pub(crate) fn submit_some(&mut self, until: usize) {
        if self.replica.has_unsynced() {
            // Perhaps the ceiling, and then there are no timestamps.
            return;
        }
        let due_us = self.submitted as u64 * self.workload.gap_ms * 1000;
        if self.now_us < due_us {
            // The ceiling follows, and then there are timestamps.
            self.now_us = due_us;
            return self.replica.give(Input::Wake);
        }
        let batch = 1 + self.submitted % 5;
        for _ in 0..batch {
            if self.submitted >= until || self.waiting.len() >= IN_FLIGHT_MAX {
                break;
            }
            let number = self.submitted;
            self.requests += 1;
            let request = RequestId(self.requests);
            let transaction = self.workload.transactions[number].clone();
            self.waiting.insert(request, number);
            self.submitted += 1;
            self.replica.give(Input::Submit { request, transaction });
        }
    }

    /// One round of everything a replica does.
    pub(crate) fn turn(&mut self, watch: &mut dyn Watch) -> Result<(), StoreError> {
        if self.replica.is_at_rest() {
            let wake_us = self.replica.node.wake_at().0;
            self.now_us = wake_us.clamp(self.now_us + 100, self.now_us + 10_000);
            self.replica.give(Input::Wake);
        }
        self.replica.step(self.now_us)?;
        self.take_replies();
        watch.on_change(self);
        self.replica.sync()?;
        watch.on_change(self);
        self.replica.flush_in_time()?;
        watch.on_change(self);
        self.replica.prune()?;
        watch.on_change(self);
        Ok(())
    }

    fn take_replies(&mut self) {
        for (request, reply) in std::mem::take(&mut self.replica.replies) {
            let number = self.waiting.remove(&request).expect("it is answered once");
            let Reply::Settled(settlement) = reply else {
                panic!("transaction {number}: {reply:?}");
            };
            assert_eq!(number, self.settled, "they are answered in order");
            assert_eq!(settlement.id, self.workload.transactions[number].id);
            assert_eq!(
                settlement.outcome, self.workload.outcomes[number],
                "transaction {number}, at {}",
                settlement.record
            );
            self.settled += 1;
            self.acknowledged = settlement.record.max(self.acknowledged);
        }
    }

    /// What is stored is what the answered transactions come to. *Given* that none waits.
    #[track_caller]
    pub(crate) fn assert_contents(&self, what: &dyn std::fmt::Debug) {
        assert!(self.waiting.is_empty());
        let found = contents(&self.replica.everything());
        assert_eq!(
            found, self.workload.contents[self.settled],
            "{what:?}: after {} transactions",
            self.settled
        );
    }

    /// Flushes, and says where the flush stands.
    pub(crate) fn flushed_standing(&mut self) -> Result<Standing, StoreError> {
        self.replica.flush()?;
        Ok(self.replica.state.executor().versions().standing().clone())
    }
}

/// The highest record among entries.
pub(crate) fn last_record(entries: &[LogEntry]) -> Hlc {
    let records = entries.iter().filter_map(|entry| match entry {
        LogEntry::Records { records, .. } => records.last(),
        _ => None,
    });
    records.map(|record| record.hlc).max().unwrap_or_default()
}

/// What a replica holds, told apart from what any other holds.
pub(crate) fn heading(state: &plimsoll::replica::DiskState) -> Result<plimsoll::executor::Heading, StoreError> {
    state.executor().flushed_checkpoint()?.heading()
}
