//! What a node counts: for metrics and for tests that ask whether something really happened.

use bincode::{Decode, Encode};
use std::ops::AddAssign;

/// Counts since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Counters {
    /// Transactions accepted from clients.
    pub submitted: u64,
    /// Reads accepted from clients.
    pub reads: u64,
    /// Transactions evaluated here, of all coordinators.
    pub evaluated: u64,
    /// Records of other coordinators taken in.
    pub records_held: u64,
    /// Frames sent.
    pub frames: u64,
    /// Appends that did not join on to what was held.
    pub gaps: u64,
    /// Time-outs after which records were sent again.
    pub retransmissions: u64,
    /// Requests for pieces of streams sent to peers.
    pub fetches: u64,
    /// Appends refused because they lay too far ahead of the own clock.
    pub ahead_of_clock: u64,
    /// Appends that came after the epoch was fenced, dropped.
    pub fenced: u64,
    /// Epochs that have ended here.
    pub epoch_changes: u64,
    /// Own records that a decree made void, issued again.
    pub reissued: u64,
    /// Messages of another epoch, dropped.
    pub other_epoch: u64,
    /// Pieces of snapshots that were served.
    pub chunks_served: u64,
    /// Snapshots of other replicas that were installed here.
    pub snapshots_installed: u64,
    /// Bytes of records dropped because there were too many, though some member may have needed them.
    pub bytes_dropped_for_room: u64,
    /// Appends that concern nobody here, and rows of nodes that are not in the epoch, dropped.
    pub not_for_us: u64,
    /// Transactions refused because a member lacks their code.
    pub lacking: u64,
    /// Messages about who has which code.
    pub declarations: u64,
    /// Times that evaluation stopped before a thunk that is not registered here.
    pub blocked: u64,
}

impl AddAssign for Counters {
    /// What a node counted in two runs of its process, or two nodes.
    fn add_assign(&mut self, other: Self) {
        let Self {
            submitted,
            reads,
            evaluated,
            records_held,
            frames,
            gaps,
            retransmissions,
            fetches,
            ahead_of_clock,
            fenced,
            epoch_changes,
            reissued,
            other_epoch,
            chunks_served,
            snapshots_installed,
            bytes_dropped_for_room,
            not_for_us,
            lacking,
            declarations,
            blocked,
        } = other;
        self.submitted += submitted;
        self.reads += reads;
        self.evaluated += evaluated;
        self.records_held += records_held;
        self.frames += frames;
        self.gaps += gaps;
        self.retransmissions += retransmissions;
        self.fetches += fetches;
        self.ahead_of_clock += ahead_of_clock;
        self.fenced += fenced;
        self.epoch_changes += epoch_changes;
        self.reissued += reissued;
        self.other_epoch += other_epoch;
        self.chunks_served += chunks_served;
        self.snapshots_installed += snapshots_installed;
        self.bytes_dropped_for_room += bytes_dropped_for_room;
        self.not_for_us += not_for_us;
        self.lacking += lacking;
        self.declarations += declarations;
        self.blocked += blocked;
    }
}
