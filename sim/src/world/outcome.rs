//! What a run gives: counts, samples, replica traces, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::id::{Epoch, NodeId};
use plimsoll::protocol::Divergence;
use plimsoll::protocol::node::Counters;
use plimsoll::time::Hlc;

use super::crash::Crash;
use super::event::{EventKind, TraceEntry};
use crate::check::{ReplicaTrace, WatermarkSample};
use crate::network::NetworkCounts;

/// Everything that a run gives besides what its clients saw.
#[derive(Clone, Debug)]
pub struct Run {
    /// A hash of all events: equal for the same scenario, seed and code.
    pub trace_hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How many of each kind.
    pub event_counts: Vec<(EventKind, u64)>,
    /// What happened to the frames.
    pub network: NetworkCounts,
    /// For each cut of the scenario the frames lost by it.
    pub cut_frames: Vec<u64>,
    /// How often each kind of fault has happened to a machine.
    pub faults: BTreeMap<&'static str, u64>,
    /// The epochs after the first, in order: when a node first was in it, in virtual microseconds, and its start.
    pub epochs: Vec<(u64, Hlc)>,
    /// Who tried to end each epoch.
    pub proposers: BTreeMap<Epoch, BTreeSet<NodeId>>,
    /// What crashed, in the order of time.
    pub crashes: Vec<Crash>,
    /// What was in them.
    pub messages: MessageCounts,
    /// What each node did, by its place.
    pub nodes: Vec<NodeSummary>,
    /// What each node showed, every [`SAMPLE_US`], in the order of time.
    pub watermarks: Vec<WatermarkSample>,
    /// What lay on each node's disk, every [`DISK_SAMPLE_US`], in the order of time.
    pub disks: Vec<DiskSample>,
    /// What each replica evaluated and holds.
    pub replicas: Vec<ReplicaTrace>,
    /// How the run ended.
    pub ending: Ending,
    /// Rules that a node broke before the world's eyes, in the order of time; empty in a sound run.
    pub breaches: Vec<Breach>,
    /// The last events, oldest first.
    pub last_events: Vec<TraceEntry>,
}

/// Virtual microseconds between two looks at the watermarks.
pub const SAMPLE_US: u64 = 100_000;

/// Virtual microseconds between two looks at the disks.
pub const DISK_SAMPLE_US: u64 = 60_000_000;

/// What a running node had on its disk at a moment, and what it held in memory because it was not there yet. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSample {
    /// When, in virtual microseconds.
    pub time_us: u64,
    /// Which node.
    pub node: NodeId,
    /// Everything on the disk.
    pub disk: u64,
    /// The log's files, spares included.
    pub log: u64,
    /// Keys and values of versions that were not flushed.
    pub unflushed: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was answered and every replica reached the same bound.
    Settled {
        /// When, in virtual microseconds.
        at_us: u64,
        /// The bound.
        bound: Hlc,
    },
    /// The drain limit passed before: the cluster does not live.
    OutOfTime {
        /// What was still awaited, in a line each.
        awaited: Vec<String>,
    },
}

/// A rule that a node broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// When, in virtual microseconds.
    pub time_us: u64,
    /// Which node.
    pub node: NodeId,
    /// Which kind of rule.
    pub rule: Rule,
    /// What it did.
    pub what: String,
}

/// The rules that the world sees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What is answered is on the disks of a majority.
    Durability,
    /// A node keeps to its driver's contract, and its bounds never go back.
    Conduct,
    /// What a disk has said to be durable is there after a crash, and no sound disk gives an error.
    Storage,
    /// The invariants of the protocol, as an observer of all nodes sees them.
    Invariant,
}

/// What was in the frames that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageCounts {
    /// Pieces of streams with records.
    pub appends: u64,
    /// The records in them.
    pub records: u64,
    /// Pieces of streams without records.
    pub promises: u64,
    /// Rows.
    pub rows: u64,
    /// Requests for pieces of streams.
    pub fetches: u64,
    /// Messages of the decision on the end of an epoch.
    pub succession: u64,
    /// Frames that could not be decoded when they arrived.
    pub undecodable: u64,
    /// Frames of a node that has come with another disk than before, refused.
    pub foreign: u64,
    /// Frames that arrived at a node that was not running.
    pub unreceived: u64,
}

/// What one node did.
#[derive(Clone, Debug)]
pub struct NodeSummary {
    /// The node.
    pub node: NodeId,
    /// Its region, by its place.
    pub region: usize,
    /// What it counted, in all runs of its process.
    pub counters: Counters,
    /// Whether it is running in the end.
    pub is_running: bool,
    /// How long its protocol processor worked, in microseconds.
    pub protocol_busy_us: u64,
    /// How long its executor's processor worked, in microseconds.
    pub executor_busy_us: u64,
    /// How often it synced.
    pub syncs: u64,
    /// How many bytes it logged.
    pub bytes_logged: u64,
    /// Why it has stopped serving; absent in a sound one.
    pub divergence: Option<Divergence>,
    /// The transactions among which it happened, as a real node would write them into a file; absent in one that never differed.
    pub dump: Option<String>,
    /// How far its wall clock was off at the end, in nanoseconds.
    pub clock_offset_ns: i64,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Virtual microseconds.
    pub time_us: u64,
    /// Virtual microseconds at which the load ends.
    pub load_us: u64,
    /// Events so far.
    pub events: u64,
    /// Answers that reached clients so far.
    pub answers: u64,
}
