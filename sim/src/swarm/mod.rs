//! Swarms: each seed draws which classes of faults there are, then how hard they are and when.
//!
//! Realises the swarm of section 8 of the design. What is drawn is a scenario like any other, with every fault written out: so it
//! can be looked at, held against the [budget], and made smaller. Faults end with the load; in the drain that follows everything
//! must be answered and every replica must come to one bound.

pub mod budget;

use std::ops::Range;

use crate::random::{Seed, Stream};
use crate::scenario::{
    Arrivals, ChangeConfig, ClockStepConfig, CrashConfig, CutConfig, DiskFault, DiskFaultConfig, FaultClass,
    PauseConfig, Place, Scenario, SlowConfig, SlowPart, SwarmConfig, SwarmMode,
};
use budget::Ledger;

/// Nothing goes wrong before, in seconds: clusters have an easy start.
const BEGIN_S: f64 = 1.0;

/// Everything is over so long before the end of the load, in seconds.
const END_BEFORE_S: f64 = 1.0;

/// Attempts to find a place and time for one fault within the budget.
const ATTEMPTS: usize = 20;

/// The scenario of one seed. One without a `[swarm]` is as it was.
///
/// *Given* a sound scenario.
pub fn draw(scenario: &Scenario, seed: u64) -> Scenario {
    let Some(swarm) = &scenario.swarm else {
        return scenario.clone();
    };
    let mut drawn = scenario.clone();
    drawn.swarm = None;
    let mut random = Seed(seed).stream("swarm");
    draw_world(&mut drawn, &mut random);
    let classes = draw_classes(swarm, &mut random);
    let mut draw = Draw {
        ledger: Ledger::new(scenario),
        nodes: scenario.first_members(),
        spares: scenario.spares(),
        last_s: (scenario.world.load_s - END_BEFORE_S).max(BEGIN_S + 0.1),
        scenario: drawn,
        random,
    };
    for class in classes {
        draw.add(class);
    }
    if swarm.mode == SwarmMode::Exceed {
        draw.exceed();
    }
    draw.scenario
}

fn draw_world(scenario: &mut Scenario, random: &mut Stream) {
    let world = &mut scenario.world;
    world.network.jitter_ms = random.unit() * 3.0;
    world.clock.offset_ms_max = random.unit() * 100.0;
    world.clock.drift_ppm_max = random.unit() * 100.0;
    // From 0.1 to 10 ms, small ones as often as large ones.
    world.disk.sync_us = 100.0 * libm::exp(random.unit() * libm::log(100.0));
    // From 16 KiB to 4 MiB: with little, who is behind for long needs a snapshot.
    let kept_bytes = 16_384.0 * libm::exp(random.unit() * libm::log(256.0));
    world.profile.records_kept_bytes = Some(kept_bytes as usize);
    scenario.workload.keys = 3 + random.below(28);
    scenario.workload.arrivals = Arrivals::Closed {
        think_ms: 20.0 + random.unit() * 180.0,
    };
}

fn draw_classes(swarm: &SwarmConfig, random: &mut Stream) -> Vec<FaultClass> {
    const NONE_AT_ALL: f64 = 1.0 / 16.0;
    let is_calm = random.chance(NONE_AT_ALL);
    let mut classes = swarm.classes.clone();
    classes.retain(|_| random.chance(swarm.share) && !is_calm);
    classes
}

/// One scenario as it is being drawn.
struct Draw {
    scenario: Scenario,
    random: Stream,
    ledger: Ledger,
    /// The numbers of the first members.
    nodes: Vec<u32>,
    /// The numbers of the nodes that may join.
    spares: Vec<u32>,
    /// When the last fault ends.
    last_s: f64,
}

impl Draw {
    fn add(&mut self, class: FaultClass) {
        match class {
            FaultClass::Loss => self.scenario.faults.loss = self.random.unit() * 0.2,
            FaultClass::Duplicate => self.scenario.faults.duplicate = self.random.unit() * 0.2,
            FaultClass::Reorder => {
                self.scenario.faults.reorder = self.random.unit() * 0.2;
                self.scenario.faults.reorder_extra_ms = 1.0 + self.random.unit() * 300.0;
            }
            FaultClass::Late => {
                self.scenario.faults.late = self.random.unit() * 0.02;
                self.scenario.faults.late_ms_max = 500.0 + self.random.unit() * 6_000.0;
            }
            FaultClass::MajorityGone => self.majority_gone(),
            FaultClass::MembershipChange => self.membership_change(),
            _ => {
                for _ in 0..=self.random.below(3) {
                    self.add_one(class);
                }
            }
        }
        self.scenario.faults.until_s = Some(self.last_s);
    }

    fn add_one(&mut self, class: FaultClass) {
        for _ in 0..ATTEMPTS {
            let fault = self.propose(class);
            let mut with = self.scenario.clone();
            fault.add_to(&mut with);
            if self.ledger.allows(&with) {
                self.scenario = with;
                return;
            }
        }
    }

    fn node(&mut self) -> u32 {
        let place = self.random.below(self.nodes.len() as u64) as usize;
        self.nodes[place]
    }

    /// Two different nodes.
    fn pair(&mut self) -> (u32, u32) {
        let first = self.node();
        loop {
            let second = self.node();
            if second != first {
                return (first, second);
            }
        }
    }

    fn within(&mut self, range: Range<f64>) -> f64 {
        range.start + self.random.unit() * (range.end - range.start)
    }

    /// A window that ends in time.
    fn window(&mut self, longest_s: f64) -> (f64, f64) {
        let from_s = self.within(BEGIN_S..self.last_s);
        let for_s = self.within(0.05..longest_s);
        (from_s, (from_s + for_s).min(self.last_s))
    }

    fn propose(&mut self, class: FaultClass) -> Proposed {
        let place = Place::Node(self.node());
        match class {
            FaultClass::Crash | FaultClass::CrashAtSync | FaultClass::CrashAtSend | FaultClass::Resign => {
                let at_s = self.within(BEGIN_S..self.last_s);
                let for_good = class == FaultClass::Crash && self.random.chance(0.25);
                let restart_after_s = (!for_good).then(|| self.within(0.0..3.0));
                let count = 1 + self.random.below(40) as u32;
                Proposed::Crash(CrashConfig {
                    place,
                    at_s,
                    restart_after_s,
                    at_sync: (class == FaultClass::CrashAtSync).then_some(count),
                    at_send: (class == FaultClass::CrashAtSend).then_some(count),
                    resign: class == FaultClass::Resign,
                })
            }
            FaultClass::Pause => {
                let (at_s, until_s) = self.window(4.0);
                let for_s = until_s - at_s;
                Proposed::Pause(PauseConfig { place, at_s, for_s })
            }
            FaultClass::CutSymmetric => {
                let (from_s, until_s) = self.window(5.0);
                let minority = self.nodes.len().div_ceil(2) as u64 - 1;
                let size = 1 + self.random.below(minority.max(1)) as usize;
                let mut apart = self.nodes.clone();
                while apart.len() > size {
                    let place = self.random.below(apart.len() as u64) as usize;
                    apart.remove(place);
                }
                let rest = self.nodes.iter().filter(|node| !apart.contains(node));
                let pairs = rest.flat_map(|to| apart.iter().map(move |from| (*from, *to)));
                Proposed::Cuts(pairs.map(|pair| cut(pair, true, from_s, until_s)).collect())
            }
            FaultClass::CutOneWay | FaultClass::CutNonTransitive => {
                let (from_s, until_s) = self.window(6.0);
                let both = class == FaultClass::CutNonTransitive;
                Proposed::Cuts(vec![cut(self.pair(), both, from_s, until_s)])
            }
            FaultClass::DiskWriteError | FaultClass::DiskSyncError | FaultClass::DiskFull | FaultClass::DiskRot => {
                let (at_s, until_s) = self.window(4.0);
                let (fault, for_s) = match class {
                    FaultClass::DiskWriteError => (DiskFault::WriteError, None),
                    FaultClass::DiskSyncError => (DiskFault::SyncError, None),
                    FaultClass::DiskFull => (DiskFault::Full, Some(until_s - at_s)),
                    _ => (DiskFault::Rot, None),
                };
                Proposed::Disk(DiskFaultConfig {
                    place,
                    at_s,
                    fault,
                    for_s,
                })
            }
            FaultClass::SlowLink => self.slow(place, SlowPart::Link, 2.0..30.0),
            FaultClass::SlowDisk => self.slow(place, SlowPart::Disk, 2.0..200.0),
            // Slower, and the frames of five seconds would take longer than the drain: what is booked is worked off at its price.
            FaultClass::SlowCpu => self.slow(place, SlowPart::Cpu, 2.0..200.0),
            FaultClass::ClockStep | FaultClass::ClockBeyondLimit => {
                let (from_s, until_s) = self.window(5.0);
                let size_ms = match class {
                    FaultClass::ClockStep => self.within(1.0..200.0),
                    _ => self.within(700.0..20_000.0),
                };
                let by_ms = if self.random.chance(0.5) { size_ms } else { -size_ms };
                let step = |at_s, by_ms| ClockStepConfig {
                    place: place.clone(),
                    at_s,
                    by_ms,
                };
                Proposed::ClockSteps([step(from_s, by_ms), step(until_s, -by_ms)])
            }
            FaultClass::Loss
            | FaultClass::Duplicate
            | FaultClass::Reorder
            | FaultClass::Late
            | FaultClass::MajorityGone
            | FaultClass::MembershipChange => unreachable!("drawn for the whole run"),
        }
    }

    fn slow(&mut self, place: Place, part: SlowPart, factors: Range<f64>) -> Proposed {
        let (from_s, until_s) = self.window(6.0);
        let factor = self.within(factors);
        Proposed::Slow(SlowConfig {
            place,
            part,
            factor,
            from_s,
            until_s,
        })
    }

    /// A majority or more crash within a moment, and all start again.
    fn majority_gone(&mut self) {
        for _ in 0..ATTEMPTS {
            let at_s = self.within(BEGIN_S..(self.last_s - 3.0).max(BEGIN_S + 0.1));
            let majority = self.nodes.len() / 2 + 1;
            let size = majority + self.random.below((self.nodes.len() - majority + 1) as u64) as usize;
            let mut gone = self.nodes.clone();
            while gone.len() > size {
                let place = self.random.below(gone.len() as u64) as usize;
                gone.remove(place);
            }
            let mut with = self.scenario.clone();
            for node in gone {
                with.faults.crash.push(CrashConfig {
                    place: Place::Node(node),
                    at_s: at_s + self.random.unit() * 0.1,
                    restart_after_s: Some(0.1 + self.random.unit()),
                    at_sync: None,
                    at_send: None,
                    resign: false,
                });
            }
            if self.ledger.allows(&with) {
                self.scenario = with;
                return;
            }
        }
    }

    /// Each spare node joins once, alone or in the place of another; after one that joined alone another may leave.
    fn membership_change(&mut self) {
        for joins in self.spares.clone() {
            let at_s = self.within(BEGIN_S..(self.last_s / 2.0).max(BEGIN_S + 0.1));
            let (node, leaves) = self.pair();
            let is_replacement = self.random.chance(0.5);
            let mut changes = vec![ChangeConfig {
                at_s,
                node,
                joins: Some(joins),
                leaves: is_replacement.then_some(leaves),
            }];
            if !is_replacement && self.random.chance(0.5) {
                changes.push(ChangeConfig {
                    at_s: self.within(at_s..self.last_s),
                    node,
                    joins: None,
                    leaves: Some(leaves),
                });
            }
            let mut with = self.scenario.clone();
            with.faults.change.extend(changes);
            if self.ledger.allows(&with) {
                self.scenario = with;
            }
        }
    }

    /// More than any cluster survives: a majority is gone for good, cut off for ever, or has lost its time.
    fn exceed(&mut self) {
        self.scenario.faults.beyond_budget = true;
        let majority = self.nodes.len() / 2 + 1;
        let most: Vec<u32> = self.nodes[..majority].to_vec();
        let at_s = self.within(BEGIN_S..self.last_s);
        match self.random.below(3) {
            0 => self
                .scenario
                .faults
                .crash
                .extend(most.into_iter().map(|node| CrashConfig {
                    place: Place::Node(node),
                    at_s,
                    restart_after_s: None,
                    at_sync: None,
                    at_send: None,
                    resign: false,
                })),
            1 => {
                let pairs = self
                    .nodes
                    .iter()
                    .flat_map(|from| self.nodes.iter().map(move |to| (*from, *to)));
                let cuts = pairs.filter(|(from, to)| from < to).map(|(from, to)| CutConfig {
                    until_s: None,
                    ..cut((from, to), true, at_s, at_s)
                });
                self.scenario.faults.cut.extend(cuts);
            }
            _ => {
                for node in most {
                    let by_ms = (self.random.unit() - 0.5) * 40_000.0;
                    let place = Place::Node(node);
                    self.scenario
                        .faults
                        .clock_step
                        .push(ClockStepConfig { place, at_s, by_ms });
                }
            }
        }
    }
}

fn cut((from, to): (u32, u32), both: bool, from_s: f64, until_s: f64) -> CutConfig {
    CutConfig {
        from: Place::Node(from),
        to: Place::Node(to),
        both,
        from_s,
        until_s: Some(until_s),
    }
}

/// What may be added.
enum Proposed {
    Crash(CrashConfig),
    Disk(DiskFaultConfig),
    Pause(PauseConfig),
    Cuts(Vec<CutConfig>),
    Slow(SlowConfig),
    ClockSteps([ClockStepConfig; 2]),
}

impl Proposed {
    fn add_to(self, scenario: &mut Scenario) {
        let faults = &mut scenario.faults;
        match self {
            Self::Crash(crash) => faults.crash.push(crash),
            Self::Disk(disk) => faults.disk.push(disk),
            Self::Pause(pause) => faults.pause.push(pause),
            Self::Cuts(cuts) => faults.cut.extend(cuts),
            Self::Slow(slow) => faults.slow.push(slow),
            Self::ClockSteps(steps) => faults.clock_step.extend(steps),
        }
    }
}

#[cfg(test)]
mod tests;
