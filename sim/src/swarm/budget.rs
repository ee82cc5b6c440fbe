//! Whether the faults of a scenario stay within what a cluster is promised to survive.
//!
//! A node is *impaired* while it is down, for a while after it has started again, while it stands still, while one of its links is cut,
//! while something of it is slow, while its disk fails or is full, from the moment at which a bit of its disk turns around, and while its wall
//! clock was set. The promise: at every moment no more than a minority of
//! the members is impaired, or more are, but only by crashes after which all start again: then nothing is lost,
//! and the cluster goes on once they are back. Chance loss, repetition, reordering and lateness befall all links up to stated rates. Everything is over
//! before the load ends.
//!
//! It looks at scenarios only, and not at how they were drawn.

use crate::scenario::{DiskFault, Place, Problem, Scenario};
use crate::topology::Topology;

/// How long a node counts as impaired after it has started again, in seconds: it catches up, and an epoch begins.
const CATCHING_UP_S: f64 = 2.0;

/// How long a crash that waits for a sync, a frame or a resignation may take to happen, in seconds.
const TRIGGER_S: f64 = 2.0;

/// How much later a node is started again that its disk has stopped, in seconds.
const RESTART_S: f64 = 1.0;

/// The highest chance of each whole-network fault.
const CHANCE_MAX: f64 = 0.25;

/// How far off a clock may be left, in milliseconds: what is lost in adding up steps.
const CLOCK_LEFT_MS_MAX: f64 = 0.001;

/// A node is impaired for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Impaired {
    node: usize,
    from_s: f64,
    until_s: f64,
    /// It crashes, and starts again.
    is_restart: bool,
}

/// Whether the faults of a checked scenario stay within the budget.
///
/// *Errors* with the moment at which they do not, and why.
pub fn check(scenario: &Scenario) -> Result<(), Problem> {
    let topology = scenario.check().map_err(|mut problems| problems.remove(0))?;
    Ledger {
        members: scenario.first_members().len(),
        topology,
    }
    .check(scenario)
}

/// What is needed to look at many scenarios of one world.
pub(super) struct Ledger {
    topology: Topology,
    members: usize,
}

impl Ledger {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let topology = scenario.check().expect("the scenario was found sound when it was read");
        Self {
            topology,
            members: scenario.first_members().len(),
        }
    }

    pub(super) fn allows(&self, scenario: &Scenario) -> bool {
        self.check(scenario).is_ok()
    }

    fn check(&self, scenario: &Scenario) -> Result<(), Problem> {
        let faults = &scenario.faults;
        let problem = |key: &str, message: String| Problem {
            line: None,
            key: key.to_owned(),
            message,
        };
        let chances = [
            ("faults.loss", faults.loss),
            ("faults.duplicate", faults.duplicate),
            ("faults.reorder", faults.reorder),
            ("faults.late", faults.late),
        ];
        let load_s = scenario.world.load_s;
        for (key, chance) in chances {
            if chance > CHANCE_MAX {
                return Err(problem(key, format!("{chance} is more than {CHANCE_MAX}")));
            }
            if chance > 0.0 && faults.until_s.is_none_or(|until_s| until_s > load_s) {
                return Err(problem(
                    "faults.until_s",
                    format!("{key} goes on after the load, at {load_s} s"),
                ));
            }
        }
        for step in &faults.clock_step {
            let net_ms: f64 = faults
                .clock_step
                .iter()
                .filter(|other| other.place == step.place)
                .map(|one| one.by_ms)
                .sum();
            if net_ms.abs() > CLOCK_LEFT_MS_MAX {
                return Err(problem(
                    "faults.clock_step",
                    format!(
                        "the clock of {} is left {net_ms} ms off: no node comes to the end with it",
                        step.place
                    ),
                ));
            }
        }
        let impaired = self.impaired(scenario);
        for moment_s in impaired.iter().map(|one| one.from_s) {
            let now = || {
                impaired
                    .iter()
                    .filter(|one| one.from_s <= moment_s && moment_s < one.until_s)
            };
            let mut nodes: Vec<usize> = now().map(|one| one.node).collect();
            nodes.sort_unstable();
            nodes.dedup();
            if 2 * nodes.len() < self.members || now().all(|one| one.is_restart) {
                continue;
            }
            return Err(problem(
                "faults",
                format!(
                    "at {moment_s:.3} s {} of {} members are impaired",
                    nodes.len(),
                    self.members
                ),
            ));
        }
        let too_long = impaired
            .iter()
            .find(|one| one.until_s.is_finite() && one.until_s > load_s + CATCHING_UP_S + 5.0);
        match too_long {
            Some(one) => Err(problem(
                "faults",
                format!(
                    "n{} is impaired until {:.3} s, long after the load",
                    one.node + 1,
                    one.until_s
                ),
            )),
            None => Ok(()),
        }
    }

    fn impaired(&self, scenario: &Scenario) -> Vec<Impaired> {
        let faults = &scenario.faults;
        let mut impaired = Vec::new();
        let mut add = |place: &Place, from_s: f64, until_s: f64, is_restart: bool| {
            let nodes = self.topology.nodes_at(place).into_iter();
            impaired.extend(nodes.map(|node| Impaired {
                node,
                from_s,
                until_s,
                is_restart,
            }));
        };
        for crash in &faults.crash {
            let is_triggered = crash.at_sync.is_some() || crash.at_send.is_some() || crash.resign;
            let latest_s = crash.at_s + if is_triggered { TRIGGER_S } else { 0.0 };
            let until_s = crash
                .restart_after_s
                .map_or(f64::INFINITY, |after_s| latest_s + after_s + CATCHING_UP_S);
            add(&crash.place, crash.at_s, until_s, crash.restart_after_s.is_some());
        }
        for loss in &faults.lose_disk {
            add(&loss.place, loss.at_s, f64::INFINITY, false);
        }
        for disk in &faults.disk {
            let until_s = match disk.fault {
                // It stops with the next write or sync, or cannot write for a while, and is started again a second later.
                DiskFault::WriteError | DiskFault::SyncError => disk.at_s + TRIGGER_S + RESTART_S + CATCHING_UP_S,
                DiskFault::Full => disk.at_s + disk.for_s.unwrap_or_default() + RESTART_S + CATCHING_UP_S,
                // It may be found at any time, and may be in the log.
                DiskFault::Rot => f64::INFINITY,
            };
            add(&disk.place, disk.at_s, until_s, false);
        }
        for pause in &faults.pause {
            add(
                &pause.place,
                pause.at_s,
                pause.at_s + pause.for_s + CATCHING_UP_S,
                false,
            );
        }
        for slow in &faults.slow {
            add(&slow.place, slow.from_s, slow.until_s + CATCHING_UP_S, false);
        }
        for cut in &faults.cut {
            // One end is enough: without it all others reach each other.
            let until_s = cut.until_s.map_or(f64::INFINITY, |until_s| until_s + CATCHING_UP_S);
            add(&cut.from, cut.from_s, until_s, false);
        }
        for (number, step) in faults.clock_step.iter().enumerate() {
            let back = faults.clock_step[number + 1..]
                .iter()
                .find(|back| back.place == step.place && back.by_ms == -step.by_ms);
            let is_back = faults.clock_step[..number]
                .iter()
                .any(|forth| forth.place == step.place && forth.by_ms == -step.by_ms);
            if !is_back {
                // A clock that was ahead keeps its node ahead until true time has come that far.
                let ahead_s = (step.by_ms / 1e3).max(0.0);
                let until_s = back.map_or(f64::INFINITY, |back| back.at_s + ahead_s + CATCHING_UP_S);
                add(&step.place, step.at_s, until_s, false);
            }
        }
        for change in &faults.change {
            // Who leaves, or is replaced, may be switched off; until the change is done both count.
            if let Some(leaves) = change.leaves {
                add(&Place::Node(leaves), change.at_s, f64::INFINITY, false);
            }
        }
        impaired
    }
}
