//! Who is alive, as far as one node can tell, and when to propose another epoch because of it.
//!
//! Realises suspicion and return of section 3.6 of the design. There are two signs of life. A node is *heard* when a message of
//! it comes that belongs to the current epoch. A coordinator also *moves*: its stream grows. One that does not move holds
//! everybody's watermark back and is proposed out, whatever else is heard of it; a member that is heard again is proposed
//! back in. How long a silence may be adapts to the silences seen before, on slow and lossy links, and is never shorter than the
//! profile says. It only ever guesses: a wrong guess costs an epoch change and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::config::{Membership, Profile};
use super::delay::Estimate;
use crate::id::NodeId;
use crate::quorum::majority;
use crate::time::Monotonic;

/// When each node last gave a sign of life.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Detector {
    own: NodeId,
    signs: BTreeMap<NodeId, Signs>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Signs {
    heard_at: Monotonic,
    moved_at: Monotonic,
    /// It has resigned: it will move no more and holds nobody back.
    has_resigned: bool,
    /// The time between two moves.
    gap: Estimate,
}

/// A coordinator is never given more than so many times the silence of the profile.
const PATIENCE_FACTOR_MAX: u32 = 8;

impl Signs {
    /// How long this coordinator may stand still.
    fn patience(&self, profile: &Profile) -> Duration {
        let usual = self.gap.upper(Duration::ZERO);
        usual.clamp(profile.suspect_after, profile.suspect_after * PATIENCE_FACTOR_MAX)
    }
}

impl Detector {
    /// Everybody has just been heard and has moved.
    pub(crate) fn new(own: NodeId, membership: &Membership, now: Monotonic) -> Self {
        let signs = Signs {
            heard_at: now,
            moved_at: now,
            has_resigned: false,
            gap: Estimate::default(),
        };
        Self {
            own,
            signs: membership.peers_of(own).into_iter().map(|peer| (peer, signs)).collect(),
        }
    }

    /// The same in the next epoch. Who coordinates in it was alive when it was decided, and has had no time yet to move; of the
    /// others nothing new is known.
    pub(crate) fn succeed(&self, membership: &Membership, now: Monotonic) -> Self {
        let mut next = Self::new(self.own, membership, now);
        for (node, signs) in &mut next.signs {
            match self.signs.get(node) {
                Some(known) if !membership.is_coordinator(*node) => *signs = *known,
                Some(known) => signs.gap = known.gap,
                None => {}
            }
        }
        next
    }

    /// A message of `node` has come that belongs to the current epoch.
    pub(crate) fn on_heard(&mut self, node: NodeId, now: Monotonic) {
        if let Some(signs) = self.signs.get_mut(&node) {
            signs.heard_at = now;
        }
    }

    /// The stream of `node` has grown, by whatever way that came. *Given* about when that was sent.
    pub(crate) fn on_moved(&mut self, node: NodeId, sent_at: Monotonic) {
        if let Some(signs) = self.signs.get_mut(&node) {
            *signs = Signs {
                heard_at: sent_at.max(signs.heard_at),
                moved_at: sent_at.max(signs.moved_at),
                has_resigned: signs.has_resigned,
                gap: signs.gap.with(sent_at.since(signs.moved_at)),
            };
        }
    }

    /// The stream of `node` has come to its end.
    pub(crate) fn on_resigned(&mut self, node: NodeId) {
        if let Some(signs) = self.signs.get_mut(&node) {
            signs.has_resigned = true;
        }
    }

    /// Whether `node` was heard of late; the own node always is.
    pub(crate) fn is_live(&self, node: NodeId, now: Monotonic, profile: &Profile) -> bool {
        let heard = |signs: &Signs| now.since(signs.heard_at) < profile.suspect_after;
        node == self.own || self.signs.get(&node).is_some_and(heard)
    }

    /// Whether `node` is to be reckoned with: it was heard of late, or it coordinates and has not resigned, so that nobody has agreed yet that it
    /// is gone.
    pub(crate) fn is_present(&self, node: NodeId, membership: &Membership, now: Monotonic, profile: &Profile) -> bool {
        let has_resigned = self.signs.get(&node).is_some_and(|signs| signs.has_resigned);
        membership.is_coordinator(node) && !has_resigned || self.is_live(node, now, profile)
    }

    /// When the next coordinator will have stood still for too long, if none of them moves; [`Monotonic::NEVER`] if all have.
    pub(crate) fn suspects_at(&self, membership: &Membership, now: Monotonic, profile: &Profile) -> Monotonic {
        let is_suspect = |node: &NodeId, signs: &Signs| membership.is_coordinator(*node) && !signs.has_resigned;
        let coordinators = self.signs.iter().filter(|(node, signs)| is_suspect(node, signs));
        let due = coordinators.map(|(_, signs)| signs.moved_at.plus(signs.patience(profile)));
        due.filter(|due| *due > now).min().unwrap_or(Monotonic::NEVER)
    }

    /// The nodes that should coordinate next, if that is another set than now.
    ///
    /// *Given* whether the epoch is fenced here: then no stream grows, and to be heard is enough.
    ///
    /// One that has resigned is no reason to end the epoch, and will not coordinate in the next.
    ///
    /// *Gives* none as well when these are no majority: then nothing can be decided, and it is not for this node to say
    /// who is cut off from whom.
    pub(crate) fn wish(
        &self,
        membership: &Membership,
        is_fenced: bool,
        now: Monotonic,
        profile: &Profile,
    ) -> Option<Vec<NodeId>> {
        let is_silent = |node: &NodeId, share: u32| {
            let Some(signs) = self.signs.get(node) else {
                return *node != self.own;
            };
            let (silent_for, patience) = if signs.has_resigned {
                return true;
            } else if !membership.is_coordinator(*node) {
                // Who is out must be heard for sure before he is let in again, or he would go in and out.
                (now.since(signs.heard_at), profile.suspect_after / 2)
            } else if is_fenced {
                (now.since(signs.heard_at), profile.suspect_after / share)
            } else {
                (now.since(signs.moved_at), signs.patience(profile) / share)
            };
            silent_for >= patience
        };
        let mut everybody: BTreeSet<NodeId> = membership
            .members
            .iter()
            .chain(&membership.coordinators)
            .copied()
            .collect();
        let is_suspect = |node: &NodeId| membership.is_coordinator(*node) && is_silent(node, 1);
        // If the epoch ends because of one, whoever has been silent for half as long goes with him: he probably died at the same time.
        let share = if is_fenced || everybody.iter().any(is_suspect) {
            2
        } else {
            1
        };
        everybody.retain(|node| !is_silent(node, share));
        let wish: Vec<NodeId> = everybody.into_iter().collect();
        let members = wish.iter().filter(|node| membership.is_member(**node)).count();
        let is_majority = members >= majority(membership.members.len());
        let has_resigned = |node: &NodeId| self.signs.get(node).is_some_and(|signs| signs.has_resigned);
        let now_coordinate = membership.coordinators.iter().filter(|node| !has_resigned(node));
        (is_majority && !wish.iter().eq(now_coordinate)).then_some(wish)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;
    use crate::id::Epoch;

    fn at(ms: u64) -> Monotonic {
        Monotonic(ms * 1000)
    }

    fn membership(coordinators: &[u32]) -> Membership {
        let coordinators = coordinators.iter().copied().map(node);
        Membership::new(Epoch::FIRST, (1..=5).map(node), coordinators).unwrap()
    }

    /// A detector of node 1 at 3 s, at which nodes 2 and 3 have just moved, 4 was just heard, and 5 is silent.
    fn detector() -> Detector {
        let mut detector = Detector::new(node(1), &membership(&[1, 2, 3, 4, 5]), at(0));
        detector.on_moved(node(2), at(3000));
        detector.on_moved(node(3), at(3000));
        detector.on_heard(node(4), at(3000));
        detector
    }

    #[test]
    fn a_coordinator_that_is_heard_but_does_not_move_is_suspected_unless_the_epoch_is_fenced() {
        let (detector, all, profile) = (detector(), membership(&[1, 2, 3, 4, 5]), Profile::wan());
        assert_eq!(
            detector.wish(&all, false, at(1999), &profile),
            None,
            "everybody moved a while ago"
        );
        assert_eq!(
            detector.wish(&all, false, at(3000), &profile),
            Some([1, 2, 3].map(node).to_vec())
        );
        assert_eq!(
            detector.wish(&all, true, at(3000), &profile),
            Some([1, 2, 3, 4].map(node).to_vec())
        );
        assert_eq!(
            detector.wish(&all, false, at(9000), &profile),
            None,
            "one node is no majority"
        );
    }

    #[test]
    fn a_member_that_is_heard_is_let_in_and_one_that_died_stays_out_in_the_next_epoch() {
        let (detector, profile) = (detector(), Profile::wan());
        let next = membership(&[1, 2, 3]);
        let mut detector = detector.succeed(&next, at(3500));
        assert_eq!(
            detector.wish(&next, false, at(3500), &profile),
            Some([1, 2, 3, 4].map(node).to_vec())
        );
        assert_eq!(
            detector.wish(&next, false, at(4100), &profile),
            None,
            "node 4 was heard too long ago"
        );
        detector.on_heard(node(5), at(4100));
        assert_eq!(
            detector.wish(&next, false, at(4100), &profile),
            Some([1, 2, 3, 5].map(node).to_vec())
        );
    }
}
