//! One run from a scenario to its report: the clients, the world, the checkers.
//!
//! Realises the program of section 8 of the design, without swarms and shrinking. [`run`] takes a scenario and a seed and gives
//! the report with the history that it rests on. Beside the main program this is the only place that reads the wall clock, to say
//! how fast the simulation was; nothing that happens in it depends on that.

pub(crate) mod judge;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use plimsoll::id::NodeId;
use plimsoll::protocol::{Query, Scan};
use plimsoll::replica::{DiskState, ReplicaState};
use plimsoll::store::History as _;

use crate::bound::commit_ms;
use crate::check::FinalCounters;
use crate::client::{Doubts, Fleet, FleetSettings, Mix, Pace};
use crate::clock::START_UNIX_MS;
use crate::history::{History, Phase};
use crate::random::Seed;
use crate::report::{Report, RunFacts};
use crate::scenario::{Arrivals, CutConfig, Problem, Scenario};
use crate::swarm;
use crate::topology::Topology;
use crate::workload::{self, counter_of, counter_range};
use crate::world::{Crash, DiskSample, NodeSummary, Progress, Run, TraceEntry, World};

/// A run that has come to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it came to.
    pub report: Report,
    /// What the clients saw.
    pub history: History,
    /// Epochs that more than one node tried to end.
    pub contested_epochs: u64,
    /// How many epochs were begun after the first.
    pub epoch_changes: u64,
    /// For each crash of a coordinator the time until the epoch that followed had its first answer, in virtual microseconds.
    pub recoveries_us: Vec<u64>,
    /// What crashed, in the order of time.
    pub crashes: Vec<Crash>,
    /// What lay on each node's disk, minute by minute.
    pub disks: Vec<DiskSample>,
    /// What each node did, by its place.
    pub nodes: Vec<NodeSummary>,
    /// How long the run was, in virtual microseconds.
    pub virtual_us: u64,
    /// The last events of the world, oldest first.
    pub last_events: Vec<TraceEntry>,
}

/// Runs `scenario` with `seed` and judges it.
///
/// *Given* the name of the scenario for the report, and someone to tell how far the run has come, now and then.
///
/// *Errors* with everything that keeps the scenario from being run; then nothing was run.
pub fn run(
    name: &str,
    scenario: &Scenario,
    seed: u64,
    on_progress: &mut dyn FnMut(Progress),
) -> Result<Finished, Vec<Problem>> {
    let scenario = &swarm::draw(scenario, seed);
    let topology = scenario.check()?;
    let workload = workload::scripts(&scenario.workload).map_err(|error| {
        vec![Problem {
            line: None,
            key: "workload.distribution".to_owned(),
            message: error.to_string(),
        }]
    })?;
    let fleet = Fleet::new(settings(scenario, &topology, Seed(seed)), workload);
    let registry = Arc::new(workload::registry());
    let world = World::new(scenario, Seed(seed), fleet, &registry)?;

    #[allow(
        clippy::disallowed_methods,
        reason = "the speed of the simulation is measured, not simulated"
    )]
    let begin = Instant::now();
    let mut virtual_us = 0;
    let mut on_progress = |progress: Progress| {
        virtual_us = progress.time_us;
        on_progress(progress);
    };
    let mut finals = Vec::new();
    let mut on_end = |node, state: &DiskState| finals.extend(counters(node, state));
    let (outcome, fleet) = world.run(&mut on_progress, &mut on_end);
    let wall_seconds = begin.elapsed().as_secs_f64();

    let final_reads_unanswered = fleet.final_reads_unanswered();
    let recorder = fleet.into_recorder();
    let verdicts = judge::judge(scenario, &outcome, &recorder, final_reads_unanswered, finals);
    let facts = RunFacts {
        scenario: name.to_owned(),
        seed,
        trace_hash: outcome.trace_hash,
        virtual_us,
        wall_seconds,
        events: outcome.events,
        regions: bounds(&topology),
        faults: faults(scenario, &outcome),
    };
    Ok(Finished {
        contested_epochs: outcome.proposers.values().filter(|nodes| nodes.len() > 1).count() as u64,
        epoch_changes: outcome.epochs.len() as u64,
        recoveries_us: recoveries(&outcome, &recorder.history),
        crashes: outcome.crashes,
        nodes: outcome.nodes,
        disks: outcome.disks,
        virtual_us,
        report: Report::new(facts, &recorder, &verdicts),
        history: recorder.history,
        last_events: outcome.last_events,
    })
}

/// What the counters of a replica hold.
///
/// *Gives* none where a counter is not in the form of one: then the agreement of replicas and the answers to clients are what is left to judge.
fn counters(node: NodeId, state: &DiskState) -> Option<FinalCounters> {
    let query = Query::scan(Scan::forward(counter_range(), usize::MAX));
    let answer = state.read(state.executor().versions().evaluated(), &query).ok()?;
    let entries = answer.ranges.iter().flatten();
    let values = entries.filter_map(|(key, versioned)| counter_of(key.as_bytes(), &versioned.value));
    let values = values.collect::<Result<_, _>>().ok()?;
    Some(FinalCounters { node, values })
}

/// Whether a node is a member at some time: clients ask no other.
fn serves(scenario: &Scenario, node: usize) -> bool {
    let number = node as u32 + 1;
    let mut joins = scenario.faults.change.iter().filter_map(|change| change.joins);
    scenario.first_members().contains(&number) || joins.any(|joins| joins == number)
}

/// What a scenario asks of its clients.
pub(crate) fn settings(scenario: &Scenario, topology: &Topology, seed: Seed) -> FleetSettings {
    let (world, workload) = (&scenario.world, &scenario.workload);
    let regions = 0..topology.regions().len();
    FleetSettings {
        seed,
        nodes: regions
            .map(|region| {
                topology
                    .nodes_in(region)
                    .filter(|node| serves(scenario, *node))
                    .collect()
            })
            .collect(),
        clients_per_region: workload.clients_per_region,
        pace: match workload.arrivals {
            Arrivals::Closed { think_ms } => Pace::Closed {
                think_us: micros(think_ms),
            },
            Arrivals::Open { rate_per_s } => Pace::Open { rate_per_s },
        },
        mix: Mix {
            strict_reads: workload.strict_reads,
            snapshot_reads: workload.snapshot_reads,
            after_reads: workload.after_reads,
            bounded_reads: workload.bounded_reads,
            bound_us: micros(workload.bounded_age_ms),
        },
        doubts: Doubts {
            retry: workload.retry,
            resolve: workload.resolve,
            status: workload.status,
            double_submit: workload.double_submit,
        },
        deadline_us: micros(workload.deadline_ms).max(1),
        refused_wait_us: micros(workload.retry_wait_ms).max(1),
        wall_start_us: START_UNIX_MS * 1_000,
        warm_up_us: micros(world.warm_up_s * 1e3),
        load_us: micros(world.load_s * 1e3),
    }
}

/// *Given* a number that is finite and not negative, as validation makes sure of.
fn micros(millis: f64) -> u64 {
    (millis * 1e3).round() as u64
}

/// Each region with the least commit latency that the delays allow its nodes: that of the one furthest off.
fn bounds(topology: &Topology) -> Vec<(String, f64)> {
    let regions = topology.regions().iter().enumerate();
    let bound = |region| {
        let nodes = topology.nodes_in(region);
        nodes.map(|node| commit_ms(topology, node)).fold(0.0, f64::max)
    };
    regions.map(|(region, name)| (name.clone(), bound(region))).collect()
}

/// What really went wrong, by kind.
pub(crate) fn faults(scenario: &Scenario, run: &Run) -> BTreeMap<String, u64> {
    let counts = &run.network;
    let mut kinds = run.faults.clone();
    kinds.extend([
        ("loss", counts.lost),
        ("duplicate", counts.duplicated),
        ("reorder", counts.held_back),
        ("overtaking", counts.overtaking),
        ("late", counts.late),
        ("slow-link", counts.slow),
    ]);
    for (cut, frames) in scenario.faults.cut.iter().zip(&run.cut_frames) {
        *kinds.entry(kind_of(cut, scenario)).or_default() += frames;
    }
    let happened = kinds.into_iter().filter(|(_, times)| *times > 0);
    happened.map(|(kind, times)| (kind.to_owned(), times)).collect()
}

/// A cut in one direction, one between two places that both reach others, or one of those that part the nodes.
fn kind_of(cut: &CutConfig, scenario: &Scenario) -> &'static str {
    let is_at_once = |other: &&CutConfig| (other.from_s, other.until_s) == (cut.from_s, cut.until_s);
    match cut.both {
        false => "cut-one-way",
        true if scenario.faults.cut.iter().filter(is_at_once).count() == 1 => "cut-non-transitive",
        true => "cut-symmetric",
    }
}

/// For each crash of a coordinator the time until the epoch that followed had its first answer, to a transaction that was submitted after the
/// crash and has its place in that epoch or a later one; in microseconds. Where there was none any more nothing is said.
fn recoveries(run: &Run, history: &History) -> Vec<u64> {
    let mut open = BTreeMap::new();
    let mut committed = Vec::new();
    for entry in &history.entries {
        match entry.phase {
            Phase::Invoke => {
                open.insert(entry.process, entry.time_us);
            }
            Phase::Ok if entry.id.is_some() => {
                let submitted_us = open.remove(&entry.process);
                let answered = submitted_us.zip(entry.timestamp);
                committed.extend(answered.map(|(submitted_us, at)| (submitted_us, at.hlc, entry.time_us)));
            }
            Phase::Ok | Phase::Fail | Phase::Info => {
                open.remove(&entry.process);
            }
        }
    }
    let first_after = |lost_us: &u64| {
        let (_, start) = run.epochs.iter().find(|(begun_us, _)| begun_us > lost_us)?;
        let after = committed
            .iter()
            .filter(|(submitted_us, hlc, _)| submitted_us > lost_us && hlc > start);
        Some(after.map(|(_, _, answered_us)| answered_us).min()? - lost_us)
    };
    let lost = run.crashes.iter().filter(|crash| crash.is_coordinator);
    lost.filter_map(|crash| first_after(&crash.time_us)).collect()
}
