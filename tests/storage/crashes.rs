//! A replica that is crashed in the middle of every operation of its disk, while it runs and while it starts again.
//!
//! The log and the versions lie on one disk, as in a real node, and are written by a real node: records, ceilings, votes, decrees, what is
//! restated when the front of the log goes. One run goes from the first transaction to the last, with crashes of its own; of each
//! operation of its disk the moment in its middle is kept, crashed in three ways, and started again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll::executor::Heading;
use plimsoll::store::Log;
use plimsoll::store::disk::{Crash, SimulatedDisk};
use plimsoll::time::Hlc;

use super::life::{Life, Unwatched, Watch, heading, last_record};
use super::model::Model;
use super::replica::{Layout, Planted};
use super::workload::{Workload, contents};

/// How far a replica goes on that was crashed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) transactions: usize,
    pub(crate) layout: Layout,
    /// Transactions that follow in each case: at least as many as may have been on their way.
    following: usize,
    /// Of so many crashed replicas one goes on to the last transaction.
    to_the_end_every: u64,
    /// Crashes of the run itself.
    crashes: usize,
}

/// What was looked at.
#[derive(Debug, Default)]
struct Counts {
    /// Operations of the disk in whose middle the machine stopped.
    operations: u64,
    /// Replicas that were started again: several for each operation.
    crashes: u64,
    /// Those that went on to the last transaction.
    to_the_end: u64,
    /// Those that found records in the log above what was flushed.
    replayed: u64,
    /// Those that found the flush which was being written.
    flush_found: u64,
    /// Those in whose log records were that nobody had been told of.
    unasked: u64,
    /// Those whose flush had all that could be read at its bound.
    with_covered: u64,
    /// Those whose flush had left what was covered in memory.
    without_covered: u64,
}

/// Crashes whatever the disk has recorded.
struct Crasher {
    plan: Plan,
    model: Model,
    counts: Counts,
    /// The last bound that was flushed when this looked last.
    flushed: Hlc,
    prunings: u64,
}

impl Watch for Crasher {
    fn on_change(&mut self, life: &mut Life<'_>) {
        self.model.extend(std::mem::take(&mut life.replica.logged));
        for bound in std::mem::take(&mut life.replica.flushes_begun) {
            self.model.note_flush(bound);
        }
        self.inspect(life);
        self.flushed = life.replica.state.flushed();
    }
}

impl Crasher {
    fn inspect(&mut self, life: &Life<'_>) {
        let recorded = life.disk.recorded();
        life.disk.record();
        for crashed in recorded {
            self.counts.operations += 1;
            let operation = crashed.operations();
            for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random(operation)] {
                self.check(life, crashed.fork().crash(crash), crash, operation);
            }
        }
    }

    /// The replica on a disk that was crashed, started again.
    fn check(&mut self, life: &Life<'_>, disk: SimulatedDisk, crash: Crash, operation: u64) {
        let place = (operation, crash);
        let now_us = life.now_us + 1_000_000;
        let opened = Life::open(life.workload, life.layout, disk, now_us, life.settled);
        let mut again = opened.unwrap_or_else(|error| panic!("{place:?}: {error}"));
        let bound = again.replica.state.flushed();
        assert!(bound >= self.flushed, "{place:?}: a flush at {} is gone", self.flushed);
        let found = heading(&again.replica.state).expect("a sound disk");
        let expected = self.model.headings.get(&bound);
        let expected = expected.unwrap_or_else(|| panic!("{place:?}: no flush was begun at {bound}"));
        let has_covered = found.oldest == expected.oldest;
        let expected = match has_covered {
            true => *expected,
            // What was covered in memory alone is gone, and the snapshots that it was for. What is left is seen below.
            false => Heading {
                oldest: found.oldest.clamp(expected.oldest, bound),
                entries: found.entries,
                hash: found.hash,
                ..*expected
            },
        };
        assert_eq!(found, expected, "{place:?}");
        self.counts.with_covered += u64::from(has_covered && bound > Hlc::ZERO);
        self.counts.without_covered += u64::from(!has_covered);
        again.catch_up(&mut Unwatched).expect("a sound disk");
        let standing = again.flushed_standing().expect("a sound disk");
        let expected = self.model.stand(standing.last);
        let expected = expected.unwrap_or_else(|| panic!("{place:?}: nobody wrote {}", standing.last));
        assert_eq!(standing.fold, expected.fold, "{place:?}: up to {}", standing.last);
        assert_eq!(
            contents(&again.replica.everything()),
            expected.contents,
            "{place:?}: up to {}",
            standing.last
        );
        assert!(
            standing.last >= life.acknowledged,
            "{place:?}: {} was acknowledged, and {} is the last there is",
            life.acknowledged,
            standing.last
        );
        self.counts.crashes += 1;
        self.counts.replayed += u64::from(standing.last.hlc > bound);
        self.counts.flush_found += u64::from(bound > self.flushed);
        self.counts.unasked += u64::from(standing.last > life.acknowledged);
        let is_whole = self.counts.crashes.is_multiple_of(self.plan.to_the_end_every);
        self.counts.to_the_end += u64::from(is_whole);
        let until = match is_whole {
            true => self.plan.transactions,
            false => (life.settled + self.plan.following).min(self.plan.transactions),
        };
        again.go_on(until, &mut Unwatched).expect("a sound disk");
        again.assert_contents(&place);
    }
}

/// Runs the plan, and crashes it everywhere.
fn crash_everywhere(plan: Plan) -> Counts {
    let workload = Workload::new(plan.transactions);
    let disk = SimulatedDisk::new(1);
    disk.record();
    let mut crasher = Crasher {
        plan,
        model: Model::new(&workload.registry),
        counts: Counts::default(),
        flushed: Hlc::ZERO,
        prunings: 0,
    };
    let mut life = Life::open(&workload, plan.layout, disk, 0, 0).expect("a sound disk");
    for part in 1..=plan.crashes {
        let until = plan.transactions * part / (plan.crashes + 1);
        life.go_on(until, &mut crasher).expect("a sound disk");
        // Some are on their way: in the log, not durable, durable and not answered.
        for _ in 0..part % 3 {
            life.submit_some(plan.transactions);
            life.turn(&mut crasher).expect("a sound disk");
        }
        crasher.prunings += life.replica.prunings;
        life = life.crash([Crash::Random(part as u64), Crash::LoseAll, Crash::KeepAll][part % 3]);
        let entries = life.replica.log.log().read(0, usize::MAX).expect("a sound disk");
        let last = last_record(&entries).max(life.replica.state.flushed());
        crasher.model.truncate(last);
        crasher.on_change(&mut life);
        life.catch_up(&mut crasher).expect("a sound disk");
    }
    life.go_on(plan.transactions, &mut crasher).expect("a sound disk");
    life.assert_contents(&"the run itself");
    crasher.prunings += life.replica.prunings;
    println!(
        "{} transactions, {} records, {} flushes, {} prunings, epoch {}: {:?}",
        plan.transactions,
        crasher.model.records(),
        crasher.model.headings.len() - 1,
        crasher.prunings,
        life.replica.node.membership().epoch,
        crasher.counts,
    );
    let counts = &crasher.counts;
    assert_eq!(counts.operations, life.disk.operations(), "no operation is left out");
    assert_eq!(counts.crashes, 3 * counts.operations);
    assert!(crasher.prunings > 0 && counts.replayed > 0 && counts.flush_found > 0 && counts.unasked > 0);
    crasher.counts
}

/// Little of everything, so that a few transactions see all of it.
pub(crate) fn short() -> Plan {
    Plan {
        transactions: 200,
        layout: Layout {
            segment_bytes: 4 << 10,
            run_bytes: 2 << 10,
            flush_records: 25,
            retained_bytes: 0,
            planted: None,
        },
        following: 8,
        to_the_end_every: 50,
        crashes: 3,
    }
}

#[test]
fn a_replica_that_crashes_in_any_operation_of_its_disk_loses_nothing_and_goes_on() {
    let counts = crash_everywhere(short());
    assert!(counts.operations > 800, "{counts:?}");
    assert_eq!(counts.without_covered, 0);
}

#[test]
fn a_replica_that_keeps_covered_versions_in_memory_loses_nothing_else() {
    let mut plan = Plan {
        to_the_end_every: 200,
        ..short()
    };
    plan.layout.retained_bytes = u64::MAX;
    let counts = crash_everywhere(plan);
    assert_eq!(counts.with_covered, 0);
    assert!(counts.without_covered > 800, "{counts:?}");
}

#[test]
fn a_replica_that_is_careless_with_its_disk_is_found_out() {
    for (planted, says) in [
        (Planted::SyncLeftOut, "was acknowledged"),
        (Planted::Unrestated, "was acknowledged"),
        (Planted::FloorTooHigh, "up to"),
    ] {
        let mut plan = Plan {
            to_the_end_every: u64::MAX,
            ..short()
        };
        plan.layout.planted = Some(planted);
        let found = catch_unwind(AssertUnwindSafe(|| crash_everywhere(plan)));
        let Err(panic) = found else {
            panic!("{planted:?} was not found");
        };
        let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(text.contains(says), "{planted:?}: {text}");
    }
}

#[test]
#[ignore = "two minutes: the command is in docs/storage.md"]
fn a_long_run_of_a_replica_crashed_in_every_operation_of_its_disk() {
    let counts = crash_everywhere(Plan {
        transactions: 3_000,
        layout: Layout {
            segment_bytes: 16 << 10,
            run_bytes: 8 << 10,
            flush_records: 60,
            retained_bytes: 20 << 10,
            planted: None,
        },
        following: 12,
        to_the_end_every: 500,
        crashes: 9,
    });
    assert!(counts.operations > 3_000, "{counts:?}");
}
