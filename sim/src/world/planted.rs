//! Bugs planted on purpose, so that the checkers can be seen to catch them.
//!
//! Each is a lie at the boundary of a node: in what it is told, in what is evaluated for it, or in what its clients are told.
//! The production code is the same in every run.

use plimsoll::lattice::Row;
use plimsoll::protocol::message::Message;
use plimsoll::protocol::{Batch, ReadMode};
use plimsoll::time::Hlc;

use crate::scenario::Planted;

impl Planted {
    /// What the first node is told of how far the others are: everything up to what it has heard of itself. So its
    /// watermark needs no majority.
    pub(super) fn tell(self, place: usize, watermark: Hlc, messages: &mut [Message]) {
        if self != Self::MinorityWatermark || place != 0 {
            return;
        }
        for message in messages {
            if let Message::Row(row) = message {
                raise(row, watermark);
            }
        }
    }

    /// At which snapshot a client really reads.
    pub(super) fn read_mode(self, mode: ReadMode) -> ReadMode {
        match (self, mode) {
            (Self::StaleStrictRead, ReadMode::Strict) => ReadMode::Snapshot,
            _ => mode,
        }
    }

    /// Exchanges neighbouring transactions of a batch of the first node.
    pub(super) fn reorder(self, place: usize, batch: &mut Batch) {
        if self != Self::OtherOrder || place != 0 {
            return;
        }
        for pair in batch.records.chunks_exact_mut(2) {
            let [(_, first), (_, second)] = pair else { continue };
            std::mem::swap(first, second);
        }
    }

    /// Whether the clients of this node are answered before their transactions are evaluated.
    pub(super) fn answers_early(self, place: usize) -> bool {
        self == Self::EarlyReply && place == 0
    }
}

/// Pretends that the row's node holds every stream for the next seconds.
fn raise(row: &mut Row, watermark: Hlc) {
    const AHEAD: std::time::Duration = std::time::Duration::from_secs(2);
    let coordinators: Vec<_> = row.positions.iter().map(|(coordinator, _)| *coordinator).collect();
    for coordinator in coordinators {
        row.raise_position(coordinator, watermark.plus(AHEAD));
    }
}
