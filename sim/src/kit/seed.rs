//! One run of a kit with one seed: the world of the simulator with the user's thunks, and every verdict on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

use plimsoll::id::NodeId;
use plimsoll::replica::{DiskState, ReplicaState};
use plimsoll::store::History as _;
use plimsoll::time::Timestamp;

use super::Kit;
use super::invariant::{Invariants, guarded};
use super::prepared::Prepared;
use super::replay::{Outcomes, Replay};
use super::scripts::{FINAL_READ, KitScripts, Setting};
use super::seen::{Seen, Sight, entries_of, everything};
use super::state::State;
use super::told::Told;
use crate::check::{self, Checks, Verdict, Violation};
use crate::client::{Fleet, Recorder};
use crate::history::Phase;
use crate::random::Seed;
use crate::run::judge::{fail_if_any, judge_by};
use crate::run::{faults, settings};
use crate::scenario::{Problem, Scenario};
use crate::world::{Run, World};

/// What one run came to.
pub(super) struct SeedRun {
    pub(super) trace_hash: u64,
    pub(super) virtual_us: u64,
    pub(super) committed: u64,
    /// How often stages were run again, and how often those of one transaction were run at most.
    pub(super) reruns: u64,
    pub(super) runs_max: u32,
    pub(super) faults: BTreeMap<String, u64>,
    pub(super) verdicts: Vec<(String, Verdict)>,
    /// What happened, for people.
    pub(super) trace: String,
}

impl SeedRun {
    /// Each check that failed, and why.
    pub(super) fn failures(&self) -> Vec<(String, String)> {
        let failed = |(name, verdict): &(String, Verdict)| {
            let why = match verdict {
                Verdict::Pass => return None,
                // A run without work, or whose end nobody has read, shows nothing.
                Verdict::Unknown { why, .. } if matches!(&name[..], "work" | "final-reads") => why.clone(),
                Verdict::Unknown { .. } => return None,
                Verdict::Fail(violations) => {
                    let all: Vec<String> = violations.iter().map(in_words).collect();
                    all.join("\n")
                }
            };
            Some((name.clone(), why))
        };
        self.verdicts.iter().filter_map(failed).collect()
    }
}

impl Kit {
    /// Runs a scenario whose faults are written out, and judges the run.
    pub(super) fn simulate(&self, scenario: &Scenario, seed: u64) -> Result<SeedRun, Vec<Problem>> {
        let topology = scenario.check()?;
        let registry = Arc::new(self.kinds.registry());
        let seen = Rc::new(RefCell::new(Seen::default()));
        let scripts = KitScripts {
            sources: Rc::clone(&self.sources),
            kinds: Rc::new(self.kinds.clone()),
            seen: Rc::clone(&seen),
            setting: Setting {
                registry: Arc::clone(&registry),
                staging: self.staging.clone(),
            },
        };
        let fleet = Fleet::new(settings(scenario, &topology, Seed(seed)), scripts);
        let members = scenario.first_members().len();
        let random = Seed(seed).stream("kit.setup");
        let clients = Prepared::new(fleet, Rc::clone(&seen), &self.setup, members, random);
        let world = World::new(scenario, Seed(seed), clients, &registry)?;
        let mut ends = Vec::new();
        let mut on_end = |node, state: &DiskState| ends.extend(sight_of(node, state));
        let mut virtual_us = 0;
        let (run, clients) = world.run(&mut |progress| virtual_us = progress.time_us, &mut on_end);

        let (fleet, unprepared) = clients.into_fleet();
        let unanswered = fleet.final_reads_unanswered();
        let recorder = fleet.into_recorder();
        let mut seen = seen.borrow_mut();
        let checks = Checks::new(check::Workload::Mixed).without("strict-serializability");
        let mut verdicts: Vec<(String, Verdict)> = judge_by(checks, scenario, &run, &recorder, unanswered, &[])
            .into_iter()
            .map(|(name, verdict)| (name.to_owned(), verdict))
            .collect();
        let unprepared: Vec<String> = unprepared.into_iter().collect();
        verdicts.push(("set-up".to_owned(), fail_if_any("not-prepared", unprepared, 0)));
        seen.sights.extend(ends);
        seen.sights.sort_by_key(|sight| sight.at);
        let replay = Replay {
            registry: &registry,
            kinds: &self.kinds,
            seen: &seen,
            replicas: &run.replicas,
        };
        let (outcomes, by_invariant) = self.judge(&replay);
        let undecided = (outcomes.unplaced > 0).then(|| Verdict::Unknown {
            why: "all replicas came by snapshots to what some transactions did, so their places are not known"
                .to_owned(),
            size: outcomes.unplaced,
        });
        let explained = fail_if_any("unexplained", outcomes.unexplained.clone(), 0);
        verdicts.push(("replay".to_owned(), undecided.unwrap_or(explained)));
        verdicts.push((
            "exactly-once".to_owned(),
            fail_if_any("misplaced", outcomes.misplaced.clone(), 0),
        ));
        verdicts.extend(by_invariant);
        Ok(SeedRun {
            trace_hash: run.trace_hash,
            virtual_us,
            committed: recorder.counts.committed,
            reruns: recorder.counts.reruns,
            runs_max: recorder.counts.runs_max,
            faults: faults(scenario, &run),
            trace: trace(&replay, &outcomes, &recorder, &run),
            verdicts,
        })
    }

    /// The replay, and the verdict of each of the user's own rules.
    fn judge(&self, replay: &Replay<'_>) -> (Outcomes, Vec<(String, Verdict)>) {
        let seen = replay.seen;
        let mut invariants = Invariants::new(&self.invariants);
        let sights: Vec<&Sight> = seen.sights.iter().collect();
        let outcomes = replay.run(&sights, &mut invariants);
        let is_prepared = |sight: &&Sight| seen.prepared.is_none_or(|at| at <= Timestamp::last_at(sight.at));
        for sight in sights.into_iter().filter(is_prepared) {
            invariants.on_sight(sight);
        }
        let mut verdicts: Vec<(String, Verdict)> = Vec::new();
        for (name, broken) in invariants.broken() {
            verdicts.push((name.to_owned(), fail_if_any("invariant", Vec::from_iter(broken), 0)));
        }
        let end = seen.sights.iter().rfind(|sight| sight.whose == FINAL_READ);
        for rule in &self.at_end {
            let verdict = match end {
                Some(sight) => {
                    let state = State::new(&sight.entries, sight.at);
                    let broken = guarded(|| (rule.holds)(&state, &Told::new(seen))).err();
                    fail_if_any("at-end", Vec::from_iter(broken), 0)
                }
                None => Verdict::Unknown {
                    why: "the strict read at the end was not answered".to_owned(),
                    size: 1,
                },
            };
            verdicts.push((rule.name.to_owned(), verdict));
        }
        (outcomes, verdicts)
    }
}

/// With its evidence, if it has any.
fn in_words(violation: &Violation) -> String {
    match violation.operations.is_empty() {
        true => violation.message.clone(),
        false => violation.to_string(),
    }
}

/// All that a replica holds in the end; none where its disk cannot be read, which is for the checks of stores to say.
fn sight_of(node: NodeId, state: &DiskState) -> Option<Sight> {
    let at = state.executor().versions().evaluated();
    let answer = state.read(at, &everything()).ok()?;
    Some(Sight {
        whose: format!("replica {node}, in the end,"),
        at,
        entries: entries_of(answer),
    })
}

/// What clients did in the order of time, and what was evaluated in the order of timestamps.
fn trace(replay: &Replay<'_>, outcomes: &Outcomes, recorder: &Recorder, run: &Run) -> String {
    let mut text = String::from("what clients saw, in the order of virtual time:\n");
    // Writing to a string cannot fail.
    for entry in &recorder.history.entries {
        let seconds = entry.time_us as f64 / 1e6;
        let _ = write!(
            text,
            "{seconds:>11.6} s  process {:<3} {:<6} ",
            entry.process,
            entry.phase.name()
        );
        let _ = match (entry.id, entry.phase) {
            (Some(id), Phase::Invoke) => writeln!(text, "{}  [{id}]", replay.submitted(id)),
            (Some(id), _) => match replay.seen.replies.get(&id) {
                Some(reply) => writeln!(text, "{} -> {}", entry.function, replay.reply(id, reply)),
                None => writeln!(
                    text,
                    "{} -> {}",
                    entry.function,
                    entry.error.as_deref().unwrap_or("ended")
                ),
            },
            (None, _) => match (&entry.timestamp, &entry.error) {
                (Some(at), _) => writeln!(text, "{} -> at {at}", entry.function),
                (None, Some(error)) => writeln!(text, "{} -> {error}", entry.function),
                (None, None) => writeln!(text, "{}", entry.function),
            },
        };
    }
    text.push_str("\nthe transactions in the order of their timestamps, and what they come to one after the other:\n");
    for (at, id) in &outcomes.order {
        let outcome = outcomes
            .outcomes
            .get(id)
            .map(|(at, outcome)| replay.outcome(*id, *at, outcome));
        let _ = writeln!(
            text,
            "{}  [{id}] -> {}",
            replay.told(*at, *id),
            outcome.as_deref().unwrap_or("it told of the other")
        );
    }
    text.push_str("\nthe last events of the world (virtual microseconds, kind, node or client):\n");
    for event in &run.last_events {
        let _ = writeln!(text, "{:>12}  {:?}  {}", event.time_us, event.kind, event.place);
    }
    text
}
