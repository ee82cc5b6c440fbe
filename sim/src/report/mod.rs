//! The report of a run: what was measured, what happened, and what the checkers say.
//!
//! Realises the output of section 8 of the design, without its page of diagrams. [`Report`] is the JSON file key by key; its
//! [`table`](Report::table) is the same for people. Nothing is measured here.

mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::check::{Verdict, Violation};
use crate::client::{Latencies, Recorder};

/// What a run came to. Serialized, it is the JSON report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario, as it was named.
    pub scenario: String,
    /// The seed of all draws.
    pub seed: u64,
    /// The hash of all events: the same for the same scenario and seed.
    pub trace_hash: String,
    /// How long the run took in the simulated world.
    pub virtual_seconds: f64,
    /// How long it took here, without the checks.
    pub wall_seconds: f64,
    /// Events of the simulated world.
    pub events: u64,
    /// Events in a second of wall time.
    pub events_per_second: f64,
    /// How the transactions ended.
    pub transactions: Transactions,
    /// Transactions that were answered as committed between warm-up and the end of the load, in a virtual second.
    pub throughput_per_virtual_second: f64,
    /// The regions in the order of the scenario.
    #[serde(serialize_with = "as_map")]
    pub regions: Vec<(String, RegionReport)>,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<String, u64>,
    /// What each checker says.
    pub checks: BTreeMap<String, Judgement>,
    /// What broke the checks that failed.
    pub violations: Vec<CheckViolation>,
    /// Of each checker that could not decide: why, and at what size.
    #[serde(skip)]
    pub undecided: BTreeMap<String, String>,
    /// What the table tells and the JSON does not.
    #[serde(skip)]
    pub asides: Asides,
}

/// How the transactions of the whole run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Transactions {
    /// Sent by clients. What is none of the following was refused by a node and did nothing.
    pub submitted: u64,
    /// Answered as committed.
    pub committed: u64,
    /// Aborted by the thunk.
    pub aborted: u64,
    /// Without an answer.
    pub unknown: u64,
}

/// What the clients of one region measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RegionReport {
    /// From the intended start of a transaction to its answer.
    pub commit_ms: Percentiles,
    /// The least commit latency that the delays between the nodes allow.
    pub bound_ms: f64,
    /// The same as `commit_ms` of strict reads.
    pub strict_read_ms: Percentiles,
    /// The same of snapshot reads.
    pub snapshot_read_ms: Percentiles,
    /// Committed transactions in a virtual second.
    #[serde(skip)]
    pub throughput: f64,
}

/// Latencies in milliseconds; absent where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<f64>,
    /// 90 of 100 stayed within it.
    pub p90: Option<f64>,
    /// 99 of 100 stayed within it.
    pub p99: Option<f64>,
    /// 999 of 1000 stayed within it.
    pub p999: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// What a checker says, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// Nothing contradicts the promise.
    Pass,
    /// The promise was broken.
    Fail,
    /// It cannot be decided.
    Unknown,
}

/// A violation, and which check found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckViolation {
    /// The check.
    pub check: String,
    /// What it found.
    #[serde(flatten)]
    pub violation: Violation,
}

/// What the table tells beside the JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asides {
    /// Aborted transactions by reason.
    pub aborted: BTreeMap<String, u64>,
    /// Transactions that nodes refused.
    pub refused: u64,
    /// Reads outside transactions, and how many of them were answered.
    pub reads: (u64, u64),
    /// Answers that came after their client had given up.
    pub late: u64,
    /// Transactions whose unknown end clients tried to learn, and those of which they did.
    pub doubts: (u64, u64),
    /// Transactions that were submitted to two nodes at once.
    pub doubled: u64,
    /// How often stages were run again, and how often those of one transaction were run at most.
    pub stages: (u64, u32),
    /// Further answers to transactions that had ended for their client: they say the same, or are a wrong answer.
    pub echoes: u64,
}

/// What a report is told of the run beside what the clients recorded.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// The scenario, as it was named.
    pub scenario: String,
    /// The seed of all draws.
    pub seed: u64,
    /// The hash of all events.
    pub trace_hash: u64,
    /// Virtual microseconds from the beginning to the end.
    pub virtual_us: u64,
    /// Seconds of wall time.
    pub wall_seconds: f64,
    /// Events of the simulated world.
    pub events: u64,
    /// Each region with its latency bound in milliseconds.
    pub regions: Vec<(String, f64)>,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<String, u64>,
}

impl Report {
    /// The report of a run.
    ///
    /// *Given* as many regions in `facts` as the recorder has, in the same order.
    pub fn new(facts: RunFacts, recorder: &Recorder, verdicts: &BTreeMap<&'static str, Verdict>) -> Self {
        assert_eq!(
            facts.regions.len(),
            recorder.regions.len(),
            "a region is measured but not named"
        );
        let counts = &recorder.counts;
        let seconds = recorder.measured_seconds();
        let rate = |committed: u64| per(committed as f64, seconds);
        let measures = facts.regions.into_iter().zip(&recorder.regions);
        let regions = measures.map(|((name, bound_ms), measures)| {
            let region = RegionReport {
                commit_ms: Percentiles::of(&measures.commit),
                bound_ms,
                strict_read_ms: Percentiles::of(&measures.strict_read),
                snapshot_read_ms: Percentiles::of(&measures.snapshot_read),
                throughput: rate(measures.committed),
            };
            (name, region)
        });
        let violations = verdicts.iter().flat_map(|(check, verdict)| {
            verdict.violations().iter().map(|violation| CheckViolation {
                check: (*check).to_owned(),
                violation: violation.clone(),
            })
        });
        let undecided = verdicts.iter().filter_map(|(check, verdict)| match verdict {
            Verdict::Unknown { why, size } => Some(((*check).to_owned(), format!("{why} (size {size})"))),
            _ => None,
        });
        Self {
            trace_hash: format!("{:016x}", facts.trace_hash),
            virtual_seconds: facts.virtual_us as f64 / 1e6,
            wall_seconds: facts.wall_seconds,
            events: facts.events,
            events_per_second: per(facts.events as f64, facts.wall_seconds),
            transactions: Transactions {
                submitted: counts.submitted,
                committed: counts.committed,
                aborted: counts.aborted_all(),
                unknown: counts.unknown(),
            },
            throughput_per_virtual_second: rate(recorder.regions.iter().map(|region| region.committed).sum()),
            regions: regions.collect(),
            faults: facts.faults,
            checks: verdicts
                .iter()
                .map(|(check, verdict)| ((*check).to_owned(), Judgement::of(verdict)))
                .collect(),
            violations: violations.collect(),
            undecided: undecided.collect(),
            asides: Asides {
                aborted: counts.aborted.clone(),
                refused: counts.refused,
                reads: (counts.reads, counts.reads_answered),
                late: counts.late,
                doubts: (counts.pursued, counts.cleared),
                doubled: counts.doubled,
                stages: (counts.reruns, counts.runs_max),
                echoes: counts.echoes,
            },
            scenario: facts.scenario,
            seed: facts.seed,
        }
    }

    /// What the checks come to: a failure if one failed, else unknown if one could not decide.
    pub fn judgement(&self) -> Judgement {
        let has = |wanted| self.checks.values().any(|judgement| *judgement == wanted);
        match (has(Judgement::Fail), has(Judgement::Unknown)) {
            (true, _) => Judgement::Fail,
            (false, true) => Judgement::Unknown,
            (false, false) => Judgement::Pass,
        }
    }
}

impl Percentiles {
    fn of(latencies: &Latencies) -> Self {
        Self {
            p50: latencies.quantile_ms(0.5),
            p90: latencies.quantile_ms(0.9),
            p99: latencies.quantile_ms(0.99),
            p999: latencies.quantile_ms(0.999),
            max: latencies.max_ms(),
        }
    }
}

impl Judgement {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail(_) => Self::Fail,
            Verdict::Unknown { .. } => Self::Unknown,
        }
    }

    /// The word for it: `pass`, `fail` or `unknown`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// `amount` in one of `units`; none where there is no unit at all.
fn per(amount: f64, units: f64) -> f64 {
    if units > 0.0 { amount / units } else { 0.0 }
}

fn as_map<S: Serializer>(regions: &[(String, RegionReport)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(regions.len()))?;
    for (name, region) in regions {
        map.serialize_entry(name, region)?;
    }
    map.end()
}
