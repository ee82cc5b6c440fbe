//! One node's attempt to end the epoch: the proposer of single-decree Paxos.
//!
//! Realises step 2 of section 3.5 of the design. It gathers the answers of a majority, takes the decree that may have been decided
//! already or builds one from what the answers say, and gathers the votes for it. It holds no durable state: a
//! proposer that forgets uses a higher ballot next time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::config::Membership;
use super::decree::{Answer, Ballot, Decree};
use super::{Bug, Planted};
use crate::id::NodeId;
use crate::quorum::majority;
use crate::time::{Hlc, Monotonic};

/// Who is to be in the next epoch, if this proposer may choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Goal {
    pub(crate) members: Vec<NodeId>,
    pub(crate) coordinators: Vec<NodeId>,
}

/// The attempts of one node to end one epoch.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Proposer {
    own: NodeId,
    state: State,
    /// The highest round seen in any ballot: the next attempt goes above it.
    round: u64,
    /// For checkers only.
    pub(crate) planted: Planted,
}

#[derive(Clone, Debug, Hash)]
enum State {
    Idle,
    /// Waits for the answers of a majority.
    Preparing {
        ballot: Ballot,
        goal: Goal,
        answers: BTreeMap<NodeId, Answer>,
        give_up_at: Monotonic,
    },
    /// Waits for the votes of a majority.
    Accepting {
        ballot: Ballot,
        decree: Decree,
        votes: BTreeSet<NodeId>,
        give_up_at: Monotonic,
    },
}

/// What a proposer says to every member (itself included) until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proposal {
    Prepare(Ballot),
    Accept(Ballot, Decree),
}

impl Proposer {
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            state: State::Idle,
            round: 0,
            planted: Planted::default(),
        }
    }

    /// The same after a restart. *Given* the highest ballot that was promised before, and so the highest one that was used here.
    pub(crate) fn recover(own: NodeId, promised: Ballot) -> Self {
        Self {
            round: promised.round,
            ..Self::new(own)
        }
    }

    /// Begins an attempt with a ballot above all that were seen.
    pub(crate) fn begin(&mut self, goal: Goal, now: Monotonic, patience: Duration) {
        self.round += 1;
        let ballot = Ballot {
            round: self.round,
            proposer: self.own,
        };
        self.state = State::Preparing {
            ballot,
            goal,
            answers: BTreeMap::new(),
            give_up_at: now.plus(patience),
        };
    }

    /// What is to be said to the members, and how many of them have not answered it.
    pub(crate) fn proposal(&self) -> Option<Proposal> {
        match &self.state {
            State::Idle => None,
            State::Preparing { ballot, .. } => Some(Proposal::Prepare(*ballot)),
            State::Accepting { ballot, decree, .. } => Some(Proposal::Accept(*ballot, decree.clone())),
        }
    }

    /// Whether `member` has not answered what is being said.
    pub(crate) fn awaits(&self, member: NodeId) -> bool {
        match &self.state {
            State::Idle => false,
            State::Preparing { answers, .. } => !answers.contains_key(&member),
            State::Accepting { votes, .. } => !votes.contains(&member),
        }
    }

    /// Someone uses `ballot`: an attempt below it has lost, and the next one goes above it.
    pub(crate) fn on_ballot(&mut self, ballot: Ballot) {
        self.round = self.round.max(ballot.round);
        let own = match &self.state {
            State::Idle => return,
            State::Preparing { ballot, .. } | State::Accepting { ballot, .. } => *ballot,
        };
        if ballot > own {
            self.state = State::Idle;
        }
    }

    /// A member answers `ballot`. With a majority of answers the decree is fixed.
    pub(crate) fn on_answer(
        &mut self,
        member: NodeId,
        answered: Ballot,
        answer: Answer,
        ending: &Membership,
        now: Monotonic,
        patience: Duration,
    ) {
        let State::Preparing {
            ballot, goal, answers, ..
        } = &mut self.state
        else {
            return;
        };
        if answered != *ballot || !ending.is_member(member) {
            return;
        }
        answers.insert(member, answer);
        if answers.len() < majority(ending.members.len()) {
            return;
        }
        let accepted = answers
            .values()
            .filter_map(|answer| answer.accepted.as_ref())
            .max_by_key(|(ballot, _)| *ballot);
        let decree = match accepted {
            Some((_, decree)) => decree.clone(),
            None => build(ending, goal, answers.values(), self.planted),
        };
        let (ballot, give_up_at) = (*ballot, now.plus(patience));
        self.state = State::Accepting {
            ballot,
            decree,
            votes: BTreeSet::new(),
            give_up_at,
        };
    }

    /// A member has accepted `ballot`. *Gives* the decree once a majority has: it is decided.
    pub(crate) fn on_vote(&mut self, member: NodeId, voted: Ballot, ending: &Membership) -> Option<Decree> {
        let State::Accepting {
            ballot, decree, votes, ..
        } = &mut self.state
        else {
            return None;
        };
        if voted != *ballot || !ending.is_member(member) {
            return None;
        }
        votes.insert(member);
        if votes.len() < majority(ending.members.len()) {
            return None;
        }
        let decided = decree.clone();
        self.state = State::Idle;
        Some(decided)
    }

    /// Ends an attempt that has taken too long. *Gives* whether it did.
    pub(crate) fn on_time(&mut self, now: Monotonic) -> bool {
        let is_over = now >= self.give_up_at();
        if is_over {
            self.state = State::Idle;
        }
        is_over
    }

    /// When an attempt will have taken too long; [`Monotonic::NEVER`] when none is under way.
    pub(crate) fn give_up_at(&self) -> Monotonic {
        match &self.state {
            State::Idle => Monotonic::NEVER,
            State::Preparing { give_up_at, .. } | State::Accepting { give_up_at, .. } => *give_up_at,
        }
    }

    /// Whether an attempt is under way.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.state, State::Idle)
    }
}

/// The decree that the answers of a majority call for when none can have been decided yet.
///
/// Invariant I-4: whatever was stable was durable on a majority, hence on one who answers here, hence at or below the highest
/// position among the answers. Invariant I-6: `start` is above every clock, and every watermark was acknowledged by one
/// who answers, at or below his clock.
fn build<'a>(
    ending: &Membership,
    goal: &Goal,
    answers: impl Iterator<Item = &'a Answer> + Clone,
    planted: Planted,
) -> Decree {
    let highest = |coordinator: &NodeId| {
        let positions = answers.clone().flat_map(|answer| &answer.positions);
        let of_coordinator = positions
            .filter(|(node, _)| node == coordinator)
            .map(|(_, position)| *position);
        let highest = match planted.is(Bug::LowestCut) {
            true => of_coordinator.min(),
            false => of_coordinator.max(),
        };
        (*coordinator, highest.unwrap_or_default())
    };
    let cut: Vec<(NodeId, Hlc)> = ending.coordinators.iter().map(highest).collect();
    // The cut of a coordinator that had resigned is above every clock, and says nothing of time.
    let cuts = cut
        .iter()
        .map(|(_, position)| *position)
        .filter(|position| *position != Hlc::MAX);
    let latest = match planted.is(Bug::StartBelowPromise) {
        true => cuts.min(),
        false => cuts.chain(answers.map(|answer| answer.clock)).max(),
    };
    let start = latest.unwrap_or_default().next();
    Decree {
        epoch: ending.epoch.next(),
        cut,
        start,
        members: goal.members.clone(),
        coordinators: goal.coordinators.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;
    use crate::id::Epoch;

    const PATIENCE: Duration = Duration::from_secs(1);
    const NOW: Monotonic = Monotonic(0);

    fn ending() -> Membership {
        let nodes = [node(1), node(2), node(3)];
        Membership::new(Epoch::FIRST, nodes, nodes).unwrap()
    }

    fn goal() -> Goal {
        Goal {
            members: ending().members,
            coordinators: vec![node(1), node(2)],
        }
    }

    fn answer(positions: &[(u32, u64)], clock: u64, accepted: Option<(Ballot, Decree)>) -> Answer {
        let positions = positions
            .iter()
            .map(|(coordinator, position)| (node(*coordinator), hlc(*position)))
            .collect();
        Answer {
            positions,
            clock: hlc(clock),
            accepted,
        }
    }

    fn ballot(round: u64, proposer: u32) -> Ballot {
        Ballot {
            round,
            proposer: node(proposer),
        }
    }

    #[test]
    fn the_cut_is_the_highest_position_and_the_start_lies_above_every_clock() {
        let mut proposer = Proposer::new(node(1));
        proposer.begin(goal(), NOW, PATIENCE);
        proposer.on_answer(
            node(1),
            ballot(1, 1),
            answer(&[(1, 9), (2, 4)], 12, None),
            &ending(),
            NOW,
            PATIENCE,
        );
        assert_eq!(
            proposer.proposal(),
            Some(Proposal::Prepare(ballot(1, 1))),
            "one answer is no majority"
        );
        proposer.on_answer(
            node(3),
            ballot(1, 1),
            answer(&[(1, 7), (2, 6)], 15, None),
            &ending(),
            NOW,
            PATIENCE,
        );
        let Some(Proposal::Accept(_, decree)) = proposer.proposal() else {
            panic!("no decree")
        };
        assert_eq!(decree.cut, [(node(1), hlc(9)), (node(2), hlc(6)), (node(3), hlc(0))]);
        assert_eq!((decree.start, decree.epoch), (hlc(16), Epoch::new(2)));
        assert_eq!(proposer.on_vote(node(1), ballot(1, 1), &ending()), None);
        assert_eq!(
            proposer.on_vote(node(1), ballot(1, 1), &ending()),
            None,
            "a vote counts once"
        );
        assert_eq!(proposer.on_vote(node(2), ballot(1, 1), &ending()), Some(decree));
    }

    #[test]
    fn a_decree_that_may_have_been_decided_is_taken_over() {
        let mut old = Proposer::new(node(2));
        old.begin(goal(), NOW, PATIENCE);
        for member in [2, 3] {
            old.on_answer(
                node(member),
                ballot(1, 2),
                answer(&[(1, 5)], 8, None),
                &ending(),
                NOW,
                PATIENCE,
            );
        }
        let Some(Proposal::Accept(old_ballot, decree)) = old.proposal() else {
            panic!("no decree")
        };
        let mut proposer = Proposer::new(node(1));
        proposer.on_ballot(old_ballot);
        proposer.begin(goal(), NOW, PATIENCE);
        let accepted = answer(&[(1, 5)], 8, Some((old_ballot, decree.clone())));
        proposer.on_answer(node(3), ballot(2, 1), accepted, &ending(), NOW, PATIENCE);
        proposer.on_answer(
            node(1),
            ballot(2, 1),
            answer(&[(1, 50)], 80, None),
            &ending(),
            NOW,
            PATIENCE,
        );
        assert_eq!(proposer.proposal(), Some(Proposal::Accept(ballot(2, 1), decree)));
    }

    #[test]
    fn a_higher_ballot_ends_an_attempt_and_answers_to_others_do_not_count() {
        let mut proposer = Proposer::new(node(1));
        proposer.begin(goal(), NOW, PATIENCE);
        proposer.on_answer(node(1), ballot(1, 2), answer(&[], 1, None), &ending(), NOW, PATIENCE);
        assert!(proposer.awaits(node(1)));
        proposer.on_ballot(ballot(1, 2));
        assert!(!proposer.is_busy());
        proposer.begin(goal(), NOW, PATIENCE);
        assert_eq!(proposer.proposal(), Some(Proposal::Prepare(ballot(2, 1))));
        assert!(!proposer.on_time(Monotonic(999_999)));
        assert!(proposer.on_time(Monotonic(1_000_000)));
    }
}
