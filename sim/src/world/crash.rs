//! What a node had come to when it crashed: evidence that a scenario brought about the situation that it is about.

use std::collections::BTreeSet;

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::time::Hlc;

/// A crash, as one who sees every machine finds it.
#[derive(Clone, Debug)]
pub struct Crash {
    /// When, in virtual microseconds.
    pub time_us: u64,
    /// Which node.
    pub node: NodeId,
    /// Whether it coordinated in the epoch that it was in.
    pub is_coordinator: bool,
    /// Calls of clients that it had taken and not answered.
    pub calls_open: usize,
    /// Records that it had written and that were not synced yet.
    pub records_unsynced: usize,
    /// Records of others that its disk held, above what it had evaluated.
    pub records_unevaluated: usize,
    /// For each record of its own above what it had evaluated: how many disks held it.
    pub holders: Vec<usize>,
    /// How far it had evaluated.
    pub evaluated: Hlc,
    /// How far its checkpoint went; zero if it had none.
    pub flushed: Hlc,
    /// What it had evaluated after its checkpoint, so that it had to be evaluated again.
    pub forgotten: BTreeSet<TransactionId>,
    /// How far the nodes that went on had evaluated.
    pub others_evaluated: Vec<Hlc>,
}
