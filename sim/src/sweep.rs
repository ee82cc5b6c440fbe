//! Many seeds of one scenario, on several threads, and what they come to together.
//!
//! Realises the sweeps of section 8 of the design. Each run is as deterministic as it is alone; only which thread makes it depends on
//! the machine, and the summary does not.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll::protocol::node::Counters;
use serde::Serialize;

use crate::report::Judgement;
use crate::run::{Finished, run};
use crate::scenario::{Problem, Scenario, SwarmMode};
use crate::swarm::{budget, draw};

/// From so many seeds on, every class of faults that can be drawn must have happened.
const SEEDS_FOR_EVERY_KIND: u64 = 50;

/// What a sweep came to. The names of the fields are those of its JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The scenario, as it was named.
    pub scenario: String,
    /// How many seeds were run.
    pub seeds: u64,
    /// Runs in which every check passed.
    pub passed: u64,
    /// Runs in which a check failed.
    pub failed: u64,
    /// Runs in which none failed and one could not decide.
    pub unknown: u64,
    /// Virtual time of all runs together.
    pub virtual_hours: f64,
    /// Epochs begun after the first, in all runs together.
    pub epoch_changes: u64,
    /// Transactions that took effect, in all runs together.
    pub committed: u64,
    /// How often the stages of transactions were run again, in all runs together.
    pub stages_run_again: u64,
    /// How often the stages of one transaction were run at most.
    pub stages_runs_max: u32,
    /// How often each kind of fault really happened.
    pub faults: BTreeMap<String, u64>,
    /// How often what is rare happened, in all nodes of all runs together.
    pub rare_states: BTreeMap<&'static str, u64>,
    /// From the crash of a coordinator to the first answer of the epoch that followed, over all runs.
    pub recovery_ms: Recovery,
    /// The runs that failed, by seed.
    pub failures: Vec<Failure>,
    /// Kinds of faults that may be drawn and that never happened in a sweep of many seeds: it has not shown what it was to show.
    #[serde(skip)]
    pub never_happened: Vec<&'static str>,
    /// How many recoveries were measured.
    #[serde(skip)]
    pub recoveries: usize,
}

/// How long recovery took, in virtual milliseconds; all 0 if nothing had to recover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Recovery {
    /// The median.
    pub p50: f64,
    /// What 99 of 100 do not exceed.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// The first violation, with the check that found it.
    pub violation: String,
    /// The command that makes the run again.
    pub replay: String,
}

/// What one run leaves behind.
struct Outcome {
    seed: u64,
    finished: Finished,
}

/// Runs `scenario` with every seed of `seeds` on `jobs` threads.
///
/// *Given* the command that replays a seed, and someone to tell that one more run is done, and whether it failed.
///
/// *Errors* where the scenario cannot be run, or where what a seed draws does not stay within the budget.
pub fn sweep(
    name: &str,
    scenario: &Scenario,
    seeds: Range<u64>,
    jobs: usize,
    replay: impl Fn(u64) -> String,
    on_done: &(dyn Fn(bool) + Sync),
) -> Result<Summary, Vec<Problem>> {
    let next = AtomicU64::new(seeds.start);
    let outcomes = Mutex::new(Vec::new());
    let problems = Mutex::new(Vec::new());
    let is_within = |seed| match &scenario.swarm {
        Some(swarm) if swarm.mode == SwarmMode::Budget => budget::check(&draw(scenario, seed)),
        _ => Ok(()),
    };
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let result = is_within(seed)
                .map_err(|problem| vec![problem])
                .and_then(|()| run(name, scenario, seed, &mut |_| {}));
            match result {
                Ok(mut finished) => {
                    // The history is long, and only its verdict counts here.
                    finished.history.entries = Vec::new();
                    finished.last_events = Vec::new();
                    on_done(finished.report.judgement() == Judgement::Fail);
                    locked(&outcomes).push(Outcome { seed, finished });
                }
                Err(found) => {
                    locked(&problems).extend(found);
                    next.store(seeds.end, Ordering::Relaxed);
                }
            }
        }
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "whole runs are made side by side; inside of each there is one thread"
    )]
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let problems = problems.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.seed);
    Ok(summarize(name, scenario, seeds.end - seeds.start, &outcomes, replay))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A run that panics takes the whole sweep down when the threads are joined.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn summarize(
    name: &str,
    scenario: &Scenario,
    seeds: u64,
    outcomes: &[Outcome],
    replay: impl Fn(u64) -> String,
) -> Summary {
    let judged = |judgement: Judgement| {
        let of = outcomes
            .iter()
            .filter(|outcome| outcome.finished.report.judgement() == judgement);
        of.count() as u64
    };
    let mut faults = BTreeMap::new();
    for (kind, times) in outcomes.iter().flat_map(|outcome| &outcome.finished.report.faults) {
        *faults.entry(kind.clone()).or_default() += times;
    }
    let failures = outcomes.iter().filter_map(|Outcome { seed, finished }| {
        let first = finished.report.violations.first()?;
        Some(Failure {
            seed: *seed,
            violation: format!("{}: {}", first.check, first.violation),
            replay: replay(*seed),
        })
    });
    let mut recoveries: Vec<u64> = outcomes
        .iter()
        .flat_map(|outcome| &outcome.finished.recoveries_us)
        .copied()
        .collect();
    recoveries.sort_unstable();
    let at = |share: f64| {
        let place = (recoveries.len() as f64 * share).ceil() as usize;
        recoveries
            .get(place.saturating_sub(1))
            .map_or(0.0, |us| *us as f64 / 1e3)
    };
    let virtual_us: u64 = outcomes.iter().map(|outcome| outcome.finished.virtual_us).sum();
    let expected = scenario.swarm.iter().flat_map(|swarm| &swarm.classes).filter(|class| {
        // Nobody joins where there is nobody who could.
        class.is_possible(scenario)
    });
    let never_happened = match seeds >= SEEDS_FOR_EVERY_KIND {
        true => expected
            .map(|class| class.counted_as())
            .filter(|kind| !faults.contains_key(*kind))
            .collect(),
        false => Vec::new(),
    };
    let reports = || outcomes.iter().map(|outcome| &outcome.finished.report);
    Summary {
        scenario: name.to_owned(),
        seeds,
        passed: judged(Judgement::Pass),
        failed: judged(Judgement::Fail),
        unknown: judged(Judgement::Unknown),
        virtual_hours: virtual_us as f64 / 3.6e9,
        epoch_changes: outcomes.iter().map(|outcome| outcome.finished.epoch_changes).sum(),
        committed: reports().map(|report| report.transactions.committed).sum(),
        stages_run_again: reports().map(|report| report.asides.stages.0).sum(),
        stages_runs_max: reports().map(|report| report.asides.stages.1).max().unwrap_or_default(),
        faults,
        rare_states: rare_states(outcomes),
        recovery_ms: Recovery {
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        },
        failures: failures.collect(),
        never_happened,
        recoveries: recoveries.len(),
    }
}

/// Counts in one line.
fn counted<K: Display>(counts: &BTreeMap<K, u64>) -> String {
    let counts: Vec<String> = counts.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
    counts.join(", ")
}

/// What nodes counted that shows how far from the ordinary the runs have come.
fn rare_states(outcomes: &[Outcome]) -> BTreeMap<&'static str, u64> {
    let mut all = Counters::default();
    for node in outcomes.iter().flat_map(|outcome| &outcome.finished.nodes) {
        all += node.counters;
    }
    let contested = outcomes.iter().map(|outcome| outcome.finished.contested_epochs).sum();
    BTreeMap::from([
        ("epochs-with-rival-proposers", contested),
        ("appends-after-the-fence", all.fenced),
        ("appends-beyond-the-clock", all.ahead_of_clock),
        ("messages-of-another-epoch", all.other_epoch),
        ("messages-for-nobody", all.not_for_us),
        ("gaps", all.gaps),
        ("fetches", all.fetches),
        ("transactions-issued-again", all.reissued),
        ("snapshot-pieces", all.chunks_served),
        ("snapshots-installed", all.snapshots_installed),
        ("bytes-dropped-for-room", all.bytes_dropped_for_room),
    ])
}

impl Summary {
    /// Whether no run failed and every fault that was to happen did.
    pub fn is_pass(&self) -> bool {
        self.failed == 0 && self.never_happened.is_empty()
    }

    /// The summary for people.
    pub fn table(&self) -> String {
        let faults = counted(&self.faults);
        let rare = counted(&self.rare_states);
        let Recovery { p50, p99, max } = self.recovery_ms;
        let mut text = format!(
            "scenario       {}\nseeds          {}: {} passed, {} failed, {} undecided\ntime           {:.2} virtual hours\n\
             epochs         {} begun after the first\nfaults         {faults}\nrare states    {rare}\nrecovery       p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms, of {}\n",
            self.scenario,
            self.seeds,
            self.passed,
            self.failed,
            self.unknown,
            self.virtual_hours,
            self.epoch_changes,
            self.recoveries,
        );
        if self.stages_runs_max > 1 {
            text += &format!(
                "stages         run again {} times for {} transactions that committed; those of one run {} times at most\n",
                self.stages_run_again, self.committed, self.stages_runs_max
            );
        }
        for failure in &self.failures {
            text += &format!("\nseed {}: {}\n  {}\n", failure.seed, failure.violation, failure.replay);
        }
        if !self.never_happened.is_empty() {
            text += &format!(
                "\nnever happened in {} seeds: {}\n",
                self.seeds,
                self.never_happened.join(", ")
            );
        }
        text
    }
}
