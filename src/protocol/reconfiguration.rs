//! Changes of the members that were asked for at this node: join, leave, replace.
//!
//! Realises the membership part of section 3.6 of the design. It knows who is learning and how far they are, says which members the next
//! decree should name and when, and when the change is complete: once a majority of the new members acknowledges in an epoch
//! of theirs, and so holds the whole history. It proposes nothing itself: that is the succession's part.

use bincode::{Decode, Encode};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Refusal;
use super::config::{Membership, Profile};
use crate::id::{NodeId, RequestId};
use crate::limits::MEMBERS_MAX;
use crate::quorum::majority;
use crate::time::{Hlc, Monotonic};

/// A change of the members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Change {
    /// A learner becomes a member and coordinator.
    Join(NodeId),
    /// A member stores and coordinates no more; it may be dead.
    Leave(NodeId),
    /// Both in one decree.
    Replace {
        /// The member that leaves; it may be dead.
        leaves: NodeId,
        /// The learner that takes its place.
        joins: NodeId,
    },
}

impl Change {
    fn joins(self) -> Option<NodeId> {
        match self {
            Self::Join(joins) | Self::Replace { joins, .. } => Some(joins),
            Self::Leave(_) => None,
        }
    }

    fn leaves(self) -> Option<NodeId> {
        match self {
            Self::Leave(leaves) | Self::Replace { leaves, .. } => Some(leaves),
            Self::Join(_) => None,
        }
    }

    /// The members after the change, ascending.
    fn applied_to(self, members: &[NodeId]) -> Vec<NodeId> {
        let stay = members.iter().copied().filter(|member| Some(*member) != self.leaves());
        let mut members: Vec<NodeId> = stay.chain(self.joins()).collect();
        members.sort_unstable();
        members.dedup();
        members
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(joins) => write!(f, "join of {joins}"),
            Self::Leave(leaves) => write!(f, "leave of {leaves}"),
            Self::Replace { leaves, joins } => write!(f, "replacement of {leaves} by {joins}"),
        }
    }
}

/// Why a change of the members was not made. Nothing was changed by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[non_exhaustive]
pub enum ChangeError {
    /// The node to leave is no member.
    #[error("{0} is no member, so it cannot leave")]
    NotMember(NodeId),
    /// The node to join is a member already, and not by this change.
    #[error("{0} is a member already: choose another node to take the place")]
    IsMember(NodeId),
    /// Nobody would be left who holds the data.
    #[error("{0} is the last member that holds the data: let another one join first")]
    LastMember(NodeId),
    /// There is no room.
    #[error("there are {0} members, which is the most: let one leave first")]
    TooMany(usize),
    /// The new members could not decide anything.
    #[error("only {live} of the {members} new members are heard, which is no majority: bring more of them up first")]
    NoMajority {
        /// The new members that were heard of late.
        live: usize,
        /// All new members.
        members: usize,
    },
    /// The learner was not heard, or is too far behind.
    #[error(
        "{node} has not caught up within {seconds} s: start it as a learner, see that it reaches the members, and try again"
    )]
    NotCaughtUp {
        /// The learner.
        node: NodeId,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The node that was asked has left the members itself, by a change that was asked for elsewhere.
    #[error("{0} has left the members in the meantime, so it cannot see to the change: ask a member")]
    HasLeft(NodeId),
    /// Another change is under way at this node.
    #[error("the {0} is under way: wait for it")]
    Busy(Change),
}

/// A learner this close behind may become a member: what it lacks takes about as long to fetch.
const NEARLY: Duration = Duration::from_secs(2);

/// How long a learner is waited for that was never close enough.
const LEARNER_PATIENCE: Duration = Duration::from_secs(60);

/// The changes asked for at one node, one at a time.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Reconfiguration {
    own: NodeId,
    pending: Option<Pending>,
    learners: BTreeMap<NodeId, Learner>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Pending {
    request: RequestId,
    change: Change,
    since: Monotonic,
}

/// What a learner has shown of itself.
#[derive(Clone, Copy, Debug, Hash)]
struct Learner {
    evaluated: Hlc,
    heard_at: Monotonic,
}

/// What has become of the pending change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Progress {
    /// Nothing can be proposed yet, or nothing is to be.
    Wait,
    /// The next decree should name these members.
    Propose(Vec<NodeId>),
    /// The members are the new ones, and a majority of them holds everything.
    Done(RequestId),
    /// It will not be made.
    Failed(RequestId, ChangeError),
}

impl Reconfiguration {
    /// No change was asked for. *Given* this node.
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            pending: None,
            learners: BTreeMap::new(),
        }
    }

    /// A learner has shown how far it has evaluated.
    pub(crate) fn on_learner(&mut self, node: NodeId, evaluated: Hlc, now: Monotonic) {
        self.learners.insert(
            node,
            Learner {
                evaluated,
                heard_at: now,
            },
        );
    }

    /// Takes in a change.
    ///
    /// *Errors* when it cannot be made of these members; then nothing is pending because of it.
    pub(crate) fn request(
        &mut self,
        request: RequestId,
        change: Change,
        membership: &Membership,
        now: Monotonic,
    ) -> Result<(), Refusal> {
        if let Some(pending) = self.pending {
            return Err(Refusal::Change(ChangeError::Busy(pending.change)));
        }
        check(change, membership).map_err(Refusal::Change)?;
        self.pending = Some(Pending {
            request,
            change,
            since: now,
        });
        Ok(())
    }

    /// What is to be done now. A change that is done or has failed is forgotten.
    ///
    /// *Given* the members of the current epoch and whether a majority of them has acknowledged in it; how far this node has evaluated;
    /// and who was heard of late.
    pub(crate) fn progress(
        &mut self,
        membership: &Membership,
        is_complete: bool,
        evaluated: Hlc,
        is_live: impl Fn(NodeId) -> bool,
        now: Monotonic,
        profile: &Profile,
    ) -> Progress {
        let Some(Pending { request, change, since }) = self.pending else {
            return Progress::Wait;
        };
        let members = change.applied_to(&membership.members);
        if members == membership.members {
            if is_complete {
                self.pending = None;
                return Progress::Done(request);
            }
            return Progress::Wait;
        }
        let fail = |this: &mut Self, error| {
            this.pending = None;
            Progress::Failed(request, error)
        };
        if !membership.is_member(self.own) {
            // What it proposed was for an epoch that has begun otherwise.
            let own = self.own;
            return fail(self, ChangeError::HasLeft(own));
        }
        if let Err(error) = check(change, membership) {
            // Another change was decided in between.
            return fail(self, error);
        }
        let is_heard = |node: NodeId| {
            let learner = self.learners.get(&node);
            let is_learning = learner.is_some_and(|learner| now.since(learner.heard_at) < profile.suspect_after);
            is_live(node) || is_learning
        };
        if let Some(joins) = change.joins() {
            let learner = self.learners.get(&joins).filter(|_| is_heard(joins));
            if learner.is_none_or(|learner| learner.evaluated.plus(NEARLY) < evaluated) {
                if now.since(since) < LEARNER_PATIENCE {
                    return Progress::Wait;
                }
                let seconds = LEARNER_PATIENCE.as_secs();
                return fail(self, ChangeError::NotCaughtUp { node: joins, seconds });
            }
        }
        let live = members.iter().filter(|member| is_heard(**member)).count();
        if live < majority(members.len()) {
            let members = members.len();
            return fail(self, ChangeError::NoMajority { live, members });
        }
        Progress::Propose(members)
    }
}

fn check(change: Change, membership: &Membership) -> Result<(), ChangeError> {
    if let Some(leaves) = change.leaves() {
        let has_left = change.joins().is_some_and(|joins| membership.is_member(joins));
        if !membership.is_member(leaves) && !has_left {
            return Err(ChangeError::NotMember(leaves));
        }
        if membership.members == [leaves] && change.joins().is_none() {
            return Err(ChangeError::LastMember(leaves));
        }
    }
    if let Change::Replace { leaves, joins } = change
        && membership.is_member(leaves)
        && membership.is_member(joins)
    {
        return Err(ChangeError::IsMember(joins));
    }
    if change.applied_to(&membership.members).len() > MEMBERS_MAX {
        return Err(ChangeError::TooMany(membership.members.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;
    use crate::id::Epoch;

    const NOW: Monotonic = Monotonic(1_000_000);
    const REQUEST: RequestId = RequestId(1);

    fn membership(members: &[u32]) -> Membership {
        let nodes = || members.iter().copied().map(node);
        Membership::new(Epoch::FIRST, nodes(), nodes()).unwrap()
    }

    fn progress(reconfiguration: &mut Reconfiguration, members: &[u32], is_complete: bool, live: &[u32]) -> Progress {
        let is_live = |member: NodeId| live.contains(&member.number());
        let profile = Profile::wan();
        reconfiguration.progress(&membership(members), is_complete, hlc(1), is_live, NOW, &profile)
    }

    #[test]
    fn a_learner_joins_once_it_is_heard_and_near_and_the_change_is_done_once_the_new_members_are_complete() {
        let mut reconfiguration = Reconfiguration::new(node(1));
        let join = Change::Join(node(4));
        reconfiguration
            .request(REQUEST, join, &membership(&[1, 2, 3]), NOW)
            .unwrap();
        let busy = reconfiguration.request(RequestId(2), Change::Leave(node(1)), &membership(&[1, 2, 3]), NOW);
        assert_eq!(busy, Err(Refusal::Change(ChangeError::Busy(join))));
        assert_eq!(
            progress(&mut reconfiguration, &[1, 2, 3], true, &[1, 2, 3]),
            Progress::Wait
        );
        reconfiguration.on_learner(node(4), hlc(1), NOW);
        let propose = Progress::Propose([1, 2, 3, 4].map(node).to_vec());
        assert_eq!(progress(&mut reconfiguration, &[1, 2, 3], true, &[1, 2, 3]), propose);
        assert_eq!(
            progress(&mut reconfiguration, &[1, 2, 3, 4], false, &[1, 2, 3]),
            Progress::Wait
        );
        assert_eq!(
            progress(&mut reconfiguration, &[1, 2, 3, 4], true, &[1, 2, 3]),
            Progress::Done(REQUEST)
        );
    }

    #[test]
    fn who_has_left_by_another_change_gives_up_its_own_and_who_left_by_its_own_waits_for_the_end_of_it() {
        let mut reconfiguration = Reconfiguration::new(node(1));
        let all = membership(&[1, 2, 3]);
        reconfiguration
            .request(REQUEST, Change::Leave(node(2)), &all, NOW)
            .unwrap();
        let error = ChangeError::HasLeft(node(1));
        assert_eq!(
            progress(&mut reconfiguration, &[2, 3], false, &[2, 3]),
            Progress::Failed(REQUEST, error)
        );
        reconfiguration
            .request(REQUEST, Change::Leave(node(1)), &all, NOW)
            .unwrap();
        assert_eq!(progress(&mut reconfiguration, &[2, 3], false, &[2, 3]), Progress::Wait);
        assert_eq!(
            progress(&mut reconfiguration, &[2, 3], true, &[2, 3]),
            Progress::Done(REQUEST)
        );
    }

    #[test]
    fn what_would_lose_the_data_or_stop_the_cluster_is_refused() {
        let mut reconfiguration = Reconfiguration::new(node(1));
        let mut refused =
            |change, members: &[u32]| match reconfiguration.request(REQUEST, change, &membership(members), NOW) {
                Err(Refusal::Change(error)) => error,
                other => panic!("{other:?}"),
            };
        assert_eq!(refused(Change::Leave(node(1)), &[1]), ChangeError::LastMember(node(1)));
        assert_eq!(
            refused(Change::Leave(node(9)), &[1, 2]),
            ChangeError::NotMember(node(9))
        );
        let replace = Change::Replace {
            leaves: node(1),
            joins: node(2),
        };
        assert_eq!(refused(replace, &[1, 2, 3]), ChangeError::IsMember(node(2)));
        reconfiguration
            .request(REQUEST, Change::Leave(node(2)), &membership(&[1, 2, 3]), NOW)
            .unwrap();
        let error = ChangeError::NoMajority { live: 1, members: 2 };
        assert_eq!(
            progress(&mut reconfiguration, &[1, 2, 3], true, &[1, 2]),
            Progress::Failed(REQUEST, error)
        );
    }
}
