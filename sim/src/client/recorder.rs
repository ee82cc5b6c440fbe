//! The recorder: what clients saw, as a history for the checkers and as measurements for the report.
//!
//! An invocation is recorded before its request is sent and an end when its answer has come, so the history holds no
//! more knowledge than a client has. Latency counts from the moment at which a call was meant to be made, which in an open
//! loop may lie before the moment at which it could be made: a slow answer delays nothing that is measured.

use std::collections::BTreeMap;
use std::ops::Range;

use hdrhistogram::Histogram;
use plimsoll::id::TransactionId;
use plimsoll::time::Timestamp;

use crate::history::{Entry, History, MicroOperation, Phase};

/// The longest latency that is told from longer ones, in microseconds: an hour.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Wrong answers that are kept word for word; the others are counted.
const WRONG_ANSWERS_KEPT_MAX: usize = 20;

/// What a call is to the one who measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// A transaction.
    Transaction,
    /// A read that sees everything answered before it.
    StrictRead,
    /// A read of the snapshot that the node has.
    SnapshotRead,
    /// A read that sees what its client has seen.
    AfterRead,
    /// A read of a snapshot of bounded age.
    BoundedRead,
}

/// Latencies in microseconds, to three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What one region's clients measured between the end of the warm-up and the end of the load.
#[derive(Clone, Debug, Default)]
pub struct RegionMeasures {
    /// From the intended start of a transaction to the answer that it has committed.
    pub commit: Latencies,
    /// The same of strict reads.
    pub strict_read: Latencies,
    /// The same of snapshot reads.
    pub snapshot_read: Latencies,
    /// The same of reads after what the client has seen.
    pub after_read: Latencies,
    /// The same of reads of bounded age.
    pub bounded_read: Latencies,
    /// Transactions that were answered as committed in that time.
    pub committed: u64,
}

/// How the calls of the whole run ended, warm-up and final reads included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions sent.
    pub submitted: u64,
    /// Transactions answered as committed.
    pub committed: u64,
    /// Transactions that the thunk refused, by its reason.
    pub aborted: BTreeMap<String, u64>,
    /// Transactions that a node refused before submitting them.
    pub refused: u64,
    /// Reads sent, of all kinds.
    pub reads: u64,
    /// Reads answered.
    pub reads_answered: u64,
    /// Answers that came after their client had given up.
    pub late: u64,
    /// Transactions that were submitted to two nodes at once.
    pub doubled: u64,
    /// How often the stages of a call were run again, because what they had seen had changed.
    pub reruns: u64,
    /// How often the stages of one call were run at most.
    pub runs_max: u32,
    /// Transactions whose client did not leave it at an unknown end.
    pub pursued: u64,
    /// Those of them whose end it learned.
    pub cleared: u64,
    /// Further answers to transactions that had ended for their client, compared with the first.
    pub echoes: u64,
}

impl Counts {
    /// Transactions that the thunk refused, for whatever reason.
    pub fn aborted_all(&self) -> u64 {
        self.aborted.values().sum()
    }

    /// Transactions whose end nobody told: a deadline passed, or the run ended first.
    pub fn unknown(&self) -> u64 {
        let ended = self.committed + self.aborted_all() + self.refused;
        assert!(ended <= self.submitted, "more ends than transactions: {self:?}");
        self.submitted - ended
    }
}

/// Who calls, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) process: u64,
    pub(crate) region: usize,
    pub(crate) kind: CallKind,
    /// The name of the call in the history.
    pub(crate) function: &'static str,
    pub(crate) id: Option<TransactionId>,
    /// When the call was meant to be made; its latency counts from here.
    pub(crate) intended_us: u64,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It took effect at this place.
    Ok(Timestamp),
    /// Its thunk refused it, for this reason.
    Aborted(String),
    /// A node refused it.
    Refused(String),
    /// Its end is unknown.
    Unknown(String),
}

/// Everything that clients saw.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// What the checkers judge.
    pub history: History,
    /// What each region measured, in the scenario's order.
    pub regions: Vec<RegionMeasures>,
    /// How the calls ended.
    pub counts: Counts,
    /// Answers that were none to the call, or that tell of a mistake in the system: at most a few, word for word.
    pub wrong_answers: Vec<String>,
    /// How many such answers there were.
    pub wrong_answers_count: u64,
    /// The virtual time that is measured, in microseconds.
    measured_us: Range<u64>,
}

impl Recorder {
    /// An empty record of `regions` regions that measures calls meant to be made within `measured_us`.
    pub(crate) fn new(regions: usize, measured_us: Range<u64>) -> Self {
        Self {
            history: History::default(),
            regions: vec![RegionMeasures::default(); regions],
            counts: Counts::default(),
            wrong_answers: Vec::new(),
            wrong_answers_count: 0,
            measured_us,
        }
    }

    /// A call is about to be sent. *Gives* the number of its invocation.
    pub(crate) fn invoked(&mut self, now_us: u64, caller: &Caller, steps: Vec<MicroOperation>) -> usize {
        match caller.kind {
            CallKind::Transaction => self.counts.submitted += 1,
            _ => self.counts.reads += 1,
        }
        self.push(now_us, caller, Phase::Invoke, steps, None, None);
        self.history.entries.len() - 1
    }

    /// The steps of a call have become known, or others: they are told as those of its invocation, which checkers compare with its end.
    pub(crate) fn revised(&mut self, invocation: usize, steps: &[MicroOperation]) {
        let entry = &mut self.history.entries[invocation];
        assert_eq!(entry.phase, Phase::Invoke, "entry {invocation} is no invocation");
        if entry.value != steps {
            entry.value = steps.to_vec();
        }
    }

    /// A call has ended. *Given* its steps, with what was read where it is ok.
    pub(crate) fn ended(&mut self, now_us: u64, caller: &Caller, steps: Vec<MicroOperation>, end: End) {
        let is_transaction = caller.kind == CallKind::Transaction;
        let (phase, timestamp, error) = match end {
            End::Ok(timestamp) => {
                self.measure(now_us, caller);
                (Phase::Ok, Some(timestamp), None)
            }
            End::Aborted(reason) => {
                *self.counts.aborted.entry(reason.clone()).or_default() += 1;
                (Phase::Fail, None, Some(format!("aborted: {reason}")))
            }
            End::Refused(reason) => {
                self.counts.refused += u64::from(is_transaction);
                (Phase::Fail, None, Some(reason))
            }
            End::Unknown(reason) => (Phase::Info, None, Some(reason)),
        };
        self.push(now_us, caller, phase, steps, timestamp, error);
    }

    /// An answer came that no correct system gives.
    pub(crate) fn wrong_answer(&mut self, now_us: u64, caller: &Caller, what: &str) {
        self.wrong_answers_count += 1;
        if self.wrong_answers.len() < WRONG_ANSWERS_KEPT_MAX {
            let Caller { process, function, .. } = caller;
            self.wrong_answers
                .push(format!("{function} of process {process} at {now_us} us: {what}"));
        }
    }

    /// The virtual seconds that are measured.
    pub fn measured_seconds(&self) -> f64 {
        (self.measured_us.end.saturating_sub(self.measured_us.start)) as f64 / 1e6
    }

    fn measure(&mut self, now_us: u64, caller: &Caller) {
        let measures = &mut self.regions[caller.region];
        match caller.kind {
            CallKind::Transaction => {
                self.counts.committed += 1;
                measures.committed += u64::from(self.measured_us.contains(&now_us));
            }
            _ => self.counts.reads_answered += 1,
        }
        if self.measured_us.contains(&caller.intended_us) {
            let latencies = match caller.kind {
                CallKind::Transaction => &mut measures.commit,
                CallKind::StrictRead => &mut measures.strict_read,
                CallKind::SnapshotRead => &mut measures.snapshot_read,
                CallKind::AfterRead => &mut measures.after_read,
                CallKind::BoundedRead => &mut measures.bounded_read,
            };
            latencies.record(now_us - caller.intended_us);
        }
    }

    fn push(
        &mut self,
        time_us: u64,
        caller: &Caller,
        phase: Phase,
        value: Vec<MicroOperation>,
        timestamp: Option<Timestamp>,
        error: Option<String>,
    ) {
        let last_us = self.history.entries.last().map_or(0, |entry| entry.time_us);
        assert!(time_us >= last_us, "time went back from {last_us} to {time_us} us");
        self.history.entries.push(Entry {
            process: caller.process,
            time_us,
            phase,
            function: caller.function,
            value,
            id: caller.id,
            timestamp,
            error,
            region: caller.region,
        });
    }
}

impl Latencies {
    fn record(&mut self, latency_us: u64) {
        self.0.saturating_record(latency_us);
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that `quantile` (0 to 1) of all calls stayed within, in milliseconds; absent where none was measured.
    pub fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1e3)
    }

    /// The longest, in milliseconds; absent where none was measured.
    pub fn max_ms(&self) -> Option<f64> {
        self.quantile_ms(1.0)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        Self(histogram.expect("the bounds are constants that the histogram accepts"))
    }
}

#[cfg(test)]
mod tests {
    use plimsoll::id::NodeId;
    use plimsoll::time::Hlc;

    use super::*;

    fn caller(kind: CallKind, intended_us: u64) -> Caller {
        Caller {
            process: 4,
            region: 1,
            kind,
            function: "txn",
            id: None,
            intended_us,
        }
    }

    fn ok() -> End {
        End::Ok(Timestamp {
            hlc: Hlc::from_bits(9),
            node: NodeId::new(1),
        })
    }

    #[test]
    fn latency_counts_from_the_intended_start_and_only_within_the_measured_time() {
        let mut recorder = Recorder::new(2, 1_000..10_000);
        for (intended_us, invoked_us, ended_us) in [(999, 999, 2_000), (1_000, 3_000, 6_000), (9_999, 9_999, 10_999)] {
            let caller = caller(CallKind::Transaction, intended_us);
            recorder.invoked(invoked_us, &caller, Vec::new());
            recorder.ended(ended_us, &caller, Vec::new(), ok());
        }
        let measures = &recorder.regions[1];
        assert_eq!(measures.commit.count(), 2, "the call of the warm-up is left out");
        assert!(
            (measures.commit.max_ms().unwrap() - 5.0).abs() < 0.01,
            "counted from the intended start"
        );
        assert_eq!(
            measures.committed, 2,
            "the last one was answered after the load had ended"
        );
        assert_eq!(recorder.counts.committed, 3);
        assert_eq!(recorder.regions[0].commit.quantile_ms(0.5), None);
    }

    #[test]
    fn every_end_is_counted_once_and_what_has_none_is_unknown() {
        let mut recorder = Recorder::new(2, 0..1);
        let caller = caller(CallKind::Transaction, 0);
        let ends = [
            ok(),
            End::Aborted("balance too low".to_owned()),
            End::Refused("overloaded".to_owned()),
            End::Unknown("deadline".to_owned()),
        ];
        for end in ends {
            recorder.invoked(5, &caller, Vec::new());
            recorder.ended(5, &caller, Vec::new(), end);
        }
        recorder.invoked(6, &caller, Vec::new());
        let counts = &recorder.counts;
        assert_eq!((counts.submitted, counts.committed, counts.aborted_all()), (5, 1, 1));
        assert_eq!((counts.refused, counts.unknown()), (1, 2));
        let phases: Vec<Phase> = recorder.history.entries.iter().map(|entry| entry.phase).collect();
        use Phase::{Fail, Info, Invoke, Ok};
        assert_eq!(phases, [Invoke, Ok, Invoke, Fail, Invoke, Fail, Invoke, Info, Invoke]);
        assert_eq!(
            recorder.history.entries[3].error.as_deref(),
            Some("aborted: balance too low")
        );
    }

    #[test]
    #[should_panic(expected = "time went back")]
    fn time_that_goes_back_is_a_mistake_of_the_driver() {
        let mut recorder = Recorder::new(2, 0..1);
        recorder.invoked(5, &caller(CallKind::StrictRead, 0), Vec::new());
        recorder.invoked(4, &caller(CallKind::StrictRead, 0), Vec::new());
    }
}
