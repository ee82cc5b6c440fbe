//! One member's vote on the decree that ends the epoch: the acceptor of single-decree Paxos.
//!
//! Realises steps 1 and 3 of section 3.5 of the design. It decides alone what may be promised and accepted; that what it said is
//! durable before it is spoken of, and that a decree is accepted only where the streams up to its cut are held, is the
//! caller's part.

use super::decree::{Ballot, Decree};

/// What a member has promised and accepted for the end of one epoch. All of it must be durable before it is spoken of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, bincode::Encode, bincode::Decode)]
pub struct Acceptor {
    /// The highest ballot promised; [`Ballot::ZERO`] if none: then the epoch is not fenced here.
    pub promised: Ballot,
    /// The decree accepted with the highest ballot.
    pub accepted: Option<(Ballot, Decree)>,
}

/// The member has promised a higher ballot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbid(pub Ballot);

impl Acceptor {
    /// Nothing promised.
    pub const fn new() -> Self {
        Self {
            promised: Ballot::ZERO,
            accepted: None,
        }
    }

    /// Whether a ballot was promised: then the epoch is fenced here.
    pub fn is_fenced(&self) -> bool {
        self.promised > Ballot::ZERO
    }

    /// Promises `ballot`. The same ballot again is promised again.
    pub fn prepare(&mut self, ballot: Ballot) -> Result<(), Outbid> {
        if ballot < self.promised {
            return Err(Outbid(self.promised));
        }
        self.promised = ballot;
        Ok(())
    }

    /// Whether `ballot` may still be accepted.
    pub fn check_ballot(&self, ballot: Ballot) -> Result<(), Outbid> {
        if ballot < self.promised {
            Err(Outbid(self.promised))
        } else {
            Ok(())
        }
    }

    /// Whether `ballot` was accepted, and no higher one since.
    pub fn has_accepted(&self, ballot: Ballot) -> bool {
        self.accepted.as_ref().is_some_and(|(accepted, _)| *accepted == ballot)
    }

    /// Accepts `decree` with `ballot`. *Given* that the streams up to its cut are durably held here.
    pub fn accept(&mut self, ballot: Ballot, decree: Decree) -> Result<(), Outbid> {
        self.check_ballot(ballot)?;
        self.promised = ballot;
        self.accepted = Some((ballot, decree));
        Ok(())
    }
}

impl Default for Acceptor {
    fn default() -> Self {
        Self::new()
    }
}
