//! The invariants I-1 to I-14, as an observer outside all nodes sees them kept or broken.
//!
//! Realises section 3.9 of the design. A [`Watcher`] is told of every step of every node, of what the disks have really synced, and of
//! crashes and restarts. It believes no node: it keeps its own account of what was issued, of what is durable where, of which decree
//! a majority has voted for, and derives from these facts alone the one final order of transactions. Everything that a node shows
//! (what it takes in, says, evaluates and answers) is compared with that account, so the first step that breaks an invariant is
//! named, long before a client could see anything wrong.
//!
//! The work of a step is proportional to what changed in it, not to the history: every bound is followed by a pointer that only goes up.
//! What costs more is done with [`Thoroughness::Full`] only. Where an invariant is cheap to assert in the code itself, it is asserted
//! there too, in release builds, and the message names it.
//!
//! It does not look at clients: what they saw is judged by the simulator's checkers, which know nothing of the inside. Tests, with a
//! planted violation of each invariant, are in `tests/invariants.rs`; the argument behind each is in `docs/protocol.md`.

mod decrees;
mod order;
mod seen;
mod stability;
mod streams;

use std::collections::BTreeMap;
use std::fmt;

use super::config::Membership;
use super::node::Node;
use super::{Effect, Input, LogEntry};
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;
use order::Order;
use seen::{EpochSeen, NodeSeen, Run};

/// One rule that every history of a cluster obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// I-1: in one epoch, two members at or above `h` in a stream hold the same records of it up to `h`.
    Prefix,
    /// I-2: a coordinator issues nothing at or below anything it has promised, over restarts too.
    Promise,
    /// I-3: if any node computes `stable(c) >= h`, a majority of the epoch's members durably hold the stream to `h`.
    Stable,
    /// I-4: a decided cut contains every record at or below any watermark computed in the epoch it ends.
    Cut,
    /// I-5: two decided decrees of one epoch are equal.
    OneDecree,
    /// I-6: the start of an epoch is above every record, cut and watermark of the one before.
    Order,
    /// I-7: two replicas evaluated to `h` have the same transactions, order, outcomes and versions up to `h`.
    Agreement,
    /// I-8: a transaction whose outcome anyone was told is in every later history.
    Durability,
    /// I-9: if T1 was answered before T2 was submitted, T1's timestamp is lower.
    RealTime,
    /// I-10: a transaction id has at most one effect, however often it is submitted, to whatever nodes.
    Once,
    /// I-11: strict reads see everything answered before they began.
    StrictReads,
    /// I-12: watermark, evaluated bound and positions never go back at a node within a run, nor the evaluated state over a restart
    /// below what was flushed.
    Monotone,
    /// I-13: a member that acknowledges in an epoch holds the whole history below its start.
    Complete,
    /// I-14: no record is dropped that some member still needs, unless a snapshot covers it.
    Kept,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Prefix => "I-1 prefix",
            Self::Promise => "I-2 promise",
            Self::Stable => "I-3 stable",
            Self::Cut => "I-4 cut",
            Self::OneDecree => "I-5 one decree",
            Self::Order => "I-6 order",
            Self::Agreement => "I-7 agreement",
            Self::Durability => "I-8 durability",
            Self::RealTime => "I-9 real time",
            Self::Once => "I-10 once",
            Self::StrictReads => "I-11 strict reads",
            Self::Monotone => "I-12 monotone",
            Self::Complete => "I-13 complete",
            Self::Kept => "I-14 kept",
        };
        f.write_str(name)
    }
}

/// An invariant that was seen broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// The node at whose step it was seen; it need not be the one at fault.
    pub node: NodeId,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.invariant, self.node, self.what)
    }
}

/// How closely a [`Watcher`] looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thoroughness {
    /// At what a node takes in, says, evaluates and answers: all that can harm another node or a client.
    #[default]
    Cheap,
    /// Also, after every step, at what a node believes of every stream, and at the content of every piece that it sends or relays.
    Full,
}

/// Violations that are kept; those after them are most likely the consequences of the first.
const VIOLATIONS_KEPT_MAX: usize = 64;

/// What an observer outside all nodes has seen of a cluster so far.
///
/// The driver tells it of everything in the order in which it happens: [`Watcher::on_input`] before and [`Watcher::on_step`] after each
/// step of any node, [`Watcher::on_durable`] when a disk has synced, before the node is told; a crash and a restart as they come.
#[derive(Clone, Debug)]
pub struct Watcher {
    thoroughness: Thoroughness,
    /// From the first on, by number.
    epochs: Vec<EpochSeen>,
    nodes: Vec<NodeSeen>,
    /// The place of each node in `nodes`.
    places: BTreeMap<NodeId, usize>,
    order: Order,
    found: Found,
}

/// The violations that were found and not yet taken.
#[derive(Clone, Debug, Default)]
struct Found {
    violations: Vec<Violation>,
    count: usize,
}

impl Found {
    fn add(&mut self, invariant: Invariant, node: NodeId, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.count <= VIOLATIONS_KEPT_MAX {
            let what = what();
            self.violations.push(Violation { invariant, node, what });
        }
    }
}

impl Watcher {
    /// An observer of a cluster that begins with this membership, before the first step of any node.
    pub fn new(genesis: &Membership, thoroughness: Thoroughness) -> Self {
        let mut watcher = Self {
            thoroughness,
            epochs: Vec::new(),
            nodes: Vec::new(),
            places: BTreeMap::new(),
            order: Order::default(),
            found: Found::default(),
        };
        watcher.begin_epoch(genesis.clone(), Hlc::ZERO);
        watcher
    }

    /// A node is about to be told this.
    #[inline]
    pub fn on_input(&mut self, node: NodeId, input: &Input) {
        match input {
            Input::Receive { .. }
            | Input::Wake
            | Input::Persisted(_)
            | Input::Declare { .. }
            | Input::Change { .. }
            | Input::ChunkTaken(_)
            | Input::Restored { .. }
            | Input::Resign => {}
            Input::Submit { transaction, .. } => self.order.on_submit(transaction.id),
            Input::Read { request, mode, .. } => self.on_read(node, *request, *mode),
            Input::Evaluated(evaluated) => self.on_evaluated(node, evaluated),
        }
    }

    /// A node has taken a step, and wants these effects.
    pub fn on_step(&mut self, node: &Node, effects: &[Effect]) {
        let place = self.place_of(node.id());
        for effect in effects {
            if let Effect::Persist { entries, .. } = effect {
                entries.iter().for_each(|entry| self.on_written(place, entry));
            }
        }
        self.on_bounds(place, node);
        // Every frame of a step carries the same own row.
        let mut is_row_seen = false;
        for effect in effects {
            match effect {
                Effect::Send { messages, .. } => self.on_said(place, messages, &mut is_row_seen),
                Effect::Evaluate(batch) => self.on_batch(place, batch),
                Effect::Read { request, at, .. } => self.on_read_given(place, *request, *at),
                Effect::Reply { request, reply } => self.on_reply(place, *request, reply),
                Effect::Persist { .. }
                | Effect::ServeChunk { .. }
                | Effect::AddChunk { .. }
                | Effect::Restore { .. }
                | Effect::DiscardChunks
                | Effect::Resigned
                | Effect::Quarantine(_) => {}
            }
        }
        if std::mem::take(&mut self.nodes[place].run.has_evaluated) {
            self.on_dropped(place, node);
        }
        if self.thoroughness == Thoroughness::Full {
            self.on_streams(place, node);
        }
    }

    /// The disk of a node has synced these entries, in the order of their writing.
    pub fn on_durable(&mut self, node: NodeId, entries: &[LogEntry]) {
        let place = self.place_of(node);
        entries.iter().for_each(|entry| self.on_synced(place, entry));
    }

    /// A node has stopped: what its disk had not synced is gone, and those who waited for it get no answer.
    pub fn on_crash(&mut self, node: NodeId) {
        let place = self.place_of(node);
        self.nodes[place].run = Run::default();
    }

    /// A node has started again from what its disk holds, and has not taken a step yet.
    ///
    /// What it holds now has survived, so it is durable: also what the disk had kept without having said so.
    pub fn on_restart(&mut self, node: &Node) {
        let place = self.place_of(node.id());
        self.nodes[place].run = Run::default();
        self.on_recovered_decrees(place, node);
        self.on_recovered_streams(place, node);
        self.on_recovered_bounds(place, node);
    }

    /// A node has durably installed the versions of another at this bound, in place of evaluating everything up to it.
    ///
    /// Nothing at or below is needed by it any more, and it holds all of it.
    pub fn on_snapshot(&mut self, node: NodeId, bound: Hlc) {
        let place = self.place_of(node);
        let settled = self.order.count_to(bound);
        let seen = &mut self.nodes[place];
        seen.flushed = seen.flushed.max(bound);
        seen.covered = seen.covered.max(bound);
        seen.run.settled = seen.run.settled.max(settled);
        for (epoch, part) in self.epochs.iter().zip(&mut seen.parts) {
            for (stream, holding) in epoch.streams.iter().zip(&mut part.holdings) {
                let count = stream.count_to(bound).min(stream.final_count);
                holding.held = holding.held.max(count);
                holding.durable = holding.durable.max(count);
            }
        }
    }

    /// A node that is not running has lost its versions, and has everything in its log from which they came.
    pub fn on_versions_lost(&mut self, node: NodeId) {
        let place = self.place_of(node);
        self.nodes[place].flushed = Hlc::ZERO;
    }

    /// Whether anything was found that was not taken yet.
    #[inline]
    pub fn has_found(&self) -> bool {
        !self.found.violations.is_empty()
    }

    /// What was found since this was last asked, in the order of finding. After the first 64 violations of a run nothing more is kept.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.found.violations)
    }

    /// The place of `node`; a new one is taken as it shows itself.
    fn place_of(&mut self, node: NodeId) -> usize {
        if let Some(place) = self.places.get(&node) {
            return *place;
        }
        let place = self.nodes.len();
        self.places.insert(node, place);
        self.nodes.push(NodeSeen::new(node, &self.epochs));
        for epoch in &mut self.epochs {
            epoch.on_node(node, place);
        }
        place
    }

    fn begin_epoch(&mut self, membership: Membership, start: Hlc) {
        let mut epoch = EpochSeen::new(membership, start);
        for (node, place) in &self.places {
            epoch.on_node(*node, *place);
        }
        for node in &mut self.nodes {
            node.begin_epoch(&epoch);
        }
        self.epochs.push(epoch);
    }

    /// The place of an epoch that was begun; none of a later one.
    fn epoch_place(&self, epoch: Epoch) -> Option<usize> {
        let place = epoch.number().checked_sub(Epoch::FIRST.number())? as usize;
        (place < self.epochs.len()).then_some(place)
    }
}
