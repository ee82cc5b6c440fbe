//! The properties, and how they are judged.
//!
//! They are the invariants of section 3.9 of the design that a few nodes can break. Some are judged while a step is taken (what was
//! said or issued), the others of every state. A state that breaks one is not searched further.

use std::fmt;

use plimsoll::id::NodeId;
use plimsoll::protocol::decree::Decree;
use plimsoll::quorum::majority;
use plimsoll::time::Hlc;

use crate::host::Host;
use crate::settings::Settings;
use crate::state::State;

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// A node that says it holds a stream up to a bound has every record of it, durably; a place has one record.
    Prefix,
    /// Nothing is issued at or below what its coordinator has promised, or at or below a watermark.
    Promise,
    /// What lies at or below a watermark is durable on a majority.
    Stable,
    /// A cut contains what lies at or below any watermark of its epoch, and a majority holds what it contains.
    Cut,
    /// An epoch is ended by one decree.
    OneDecree,
    /// An epoch starts above the cuts and watermarks of the one before, and its records lie above its start.
    Order,
    /// All replicas evaluate the same in the same order.
    Agreement,
    /// What was answered is in every later history.
    Durability,
    /// What was submitted after an answer lies above it.
    RealTime,
    /// A strict read sees what was answered before it began.
    StrictRead,
    /// Watermark and evaluated bound never go back while a node runs.
    Monotone,
    /// Who acknowledges in an epoch holds everything below its start.
    Complete,
    /// The core's own assertions hold, and no replica is quarantined.
    Sound,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Prefix,
        Self::Promise,
        Self::Stable,
        Self::Cut,
        Self::OneDecree,
        Self::Order,
        Self::Agreement,
        Self::Durability,
        Self::RealTime,
        Self::StrictRead,
        Self::Monotone,
        Self::Complete,
        Self::Sound,
    ];

    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefix => "I-1 prefix",
            Self::Promise => "I-2 promise",
            Self::Stable => "I-3 stable",
            Self::Cut => "I-4 cut",
            Self::OneDecree => "I-5 one decree",
            Self::Order => "I-6 order",
            Self::Agreement => "I-7 agreement",
            Self::Durability => "I-8 durability",
            Self::RealTime => "I-9 real time",
            Self::StrictRead => "I-11 strict reads",
            Self::Monotone => "I-12 monotone",
            Self::Complete => "I-13 complete",
            Self::Sound => "assertions",
        }
    }
}

/// What should be seen to happen, or the search shows less than it seems to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Milestone {
    /// A client was answered.
    Answered,
    /// An epoch has ended.
    EpochChanged,
    /// A coordinator has issued a transaction again that a decree had made void.
    Reissued,
    /// A proposer took up a decree that it was told had been accepted before.
    Inherited,
    /// A strict read was answered in a later epoch than it began in.
    ReadAgain,
    /// A strict read was answered.
    ReadAnswered,
    /// A node that had started again has voted.
    RestartedVotes,
}

impl Milestone {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::EpochChanged,
        Self::Reissued,
        Self::Inherited,
        Self::ReadAgain,
        Self::ReadAnswered,
        Self::RestartedVotes,
    ];

    /// Its name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "a transaction is answered",
            Self::EpochChanged => "an epoch change is decided",
            Self::Reissued => "a void transaction is issued again",
            Self::Inherited => "a decree accepted before is taken up",
            Self::ReadAgain => "a strict read starts over and is answered",
            Self::ReadAnswered => "a strict read is answered",
            Self::RestartedVotes => "a restarted node votes",
        }
    }
}

/// A set of milestones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reached(u8);

impl Reached {
    /// Adds one.
    pub fn add(&mut self, milestone: Milestone) {
        self.0 |= 1 << milestone as u8;
    }

    /// Whether it is among them.
    pub const fn has(self, milestone: Milestone) -> bool {
        self.0 & (1 << milestone as u8) != 0
    }
}

/// A set of invariants that are broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(u16);

impl Broken {
    /// Adds one.
    pub fn add(&mut self, invariant: Invariant) {
        self.0 |= 1 << invariant as u16;
    }

    /// Whether it is among them.
    pub const fn has(self, invariant: Invariant) -> bool {
        self.0 & (1 << invariant as u16) != 0
    }

    /// Whether all hold.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broken: Vec<&str> = Invariant::ALL
            .into_iter()
            .filter(|invariant| self.has(*invariant))
            .map(Invariant::name)
            .collect();
        f.write_str(&broken.join(", "))
    }
}

/// Adds the invariants that the state as a whole breaks to those that its last step broke.
pub fn judge(settings: &Settings, state: &mut State) {
    let mut broken = state.broken;
    judge_positions(state, &mut broken);
    judge_watermarks(settings, state, &mut broken);
    for decrees in state.history.decrees.values() {
        if decrees.len() > 1 {
            broken.add(Invariant::OneDecree);
        }
        decrees
            .iter()
            .for_each(|decree| judge_decree(settings, state, decree, &mut broken));
    }
    state.broken = broken;
}

fn host(state: &State, node: NodeId) -> &Host {
    &state.hosts[node.number() as usize - 1]
}

/// Whoever has said that it holds a stream up to a bound has it, and all that was valid in the epochs before.
fn judge_positions(state: &State, broken: &mut Broken) {
    let history = &state.history;
    for ((node, epoch, coordinator), position) in &history.claimed {
        let host = host(state, *node);
        let first = (*epoch, *coordinator, Hlc::ZERO);
        let mut held = history.issued.range(first..=(*epoch, *coordinator, *position));
        if held.any(|(place, _)| !host.holds(*place)) {
            broken.add(Invariant::Prefix);
        }
    }
    for (node, epoch) in &history.acknowledged {
        let host = host(state, *node);
        let mut valid = history.valid_before(*epoch);
        if valid.any(|place| !host.holds(place)) {
            broken.add(Invariant::Complete);
        }
    }
}

/// What lies at or below a watermark that anybody has computed is durable on a majority.
fn judge_watermarks(settings: &Settings, state: &State, broken: &mut Broken) {
    for place in state.history.issued.keys() {
        let is_final = state
            .history
            .watermarks
            .get(&place.0)
            .is_some_and(|watermark| place.2 <= *watermark);
        if is_final && !is_held_by_majority(settings, state, *place) {
            broken.add(Invariant::Stable);
        }
    }
}

fn judge_decree(settings: &Settings, state: &State, decree: &Decree, broken: &mut Broken) {
    let history = &state.history;
    let ended = decree.ends();
    let watermark = history.watermarks.get(&ended).copied().unwrap_or_default();
    for place in history.issued.keys().filter(|place| place.0 == ended) {
        let is_valid = place.2 <= decree.cut_of(place.1);
        if !is_valid && place.2 <= watermark || is_valid && !is_held_by_majority(settings, state, *place) {
            broken.add(Invariant::Cut);
        }
        if !is_valid && history.is_answered(place) {
            broken.add(Invariant::Durability);
        }
    }
    let is_above_cuts = decree.cut.iter().all(|(_, cut)| decree.start > *cut);
    let mut later = history.issued.keys().filter(|place| place.0 == decree.epoch);
    if !is_above_cuts || decree.start <= watermark || later.any(|place| place.2 <= decree.start) {
        broken.add(Invariant::Order);
    }
}

fn is_held_by_majority(settings: &Settings, state: &State, place: crate::host::Place) -> bool {
    let holders = state.hosts.iter().filter(|host| host.holds(place)).count();
    holders >= majority(settings.count())
}
