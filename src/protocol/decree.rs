//! What ends an epoch and begins the next: decrees, and the ballots and answers that decide them.
//!
//! Realises the words of section 3.5 of the design. A decree is the only thing that can void a record.

use std::fmt;

use bincode::{Decode, Encode};

use super::config::Membership;
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;

/// The agreed record that ends one epoch and begins the next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Decree {
    /// The epoch that it begins.
    pub epoch: Epoch,
    /// The last valid position in every stream of the epoch that it ends, ascending by coordinator. What lies above never
    /// was stable and is void.
    pub cut: Vec<(NodeId, Hlc)>,
    /// Every timestamp of the new epoch is above it; it is above every record, cut and watermark of the one before.
    pub start: Hlc,
    /// Who stores data in the new epoch, ascending.
    pub members: Vec<NodeId>,
    /// Who may issue timestamps in the new epoch, ascending.
    pub coordinators: Vec<NodeId>,
}

impl Decree {
    /// The epoch that the decree ends.
    pub fn ends(&self) -> Epoch {
        Epoch::new(self.epoch.number() - 1)
    }

    /// The last valid position in the stream of `coordinator`.
    pub fn cut_of(&self, coordinator: NodeId) -> Hlc {
        match self.cut.binary_search_by_key(&coordinator, |(node, _)| *node) {
            Ok(place) => self.cut[place].1,
            Err(_) => Hlc::ZERO,
        }
    }

    /// Who is in the epoch that the decree begins.
    pub fn membership(&self) -> Membership {
        Membership {
            epoch: self.epoch,
            members: self.members.clone(),
            coordinators: self.coordinators.clone(),
        }
    }
}

/// One attempt to decide a decree. Totally ordered; two proposers never use the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Ballot {
    /// Counts attempts.
    pub round: u64,
    /// The proposer; breaks ties.
    pub proposer: NodeId,
}

impl Ballot {
    /// Below every ballot that is used.
    pub const ZERO: Self = Self {
        round: 0,
        proposer: NodeId::new(0),
    };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.round, self.proposer)
    }
}

/// What a member answers to a prepare, once all it says is durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Answer {
    /// How far the member durably holds each stream of the epoch that ends; its row stays at or below this for ever.
    pub positions: Vec<(NodeId, Hlc)>,
    /// At or above everything that the member ever issued, promised or acknowledged.
    pub clock: Hlc,
    /// The decree that it has accepted with the highest ballot: it may have been decided.
    pub accepted: Option<(Ballot, Decree)>,
}
