//! The end of the epoch, as one node takes part in it: it suspects, proposes, fences, answers and votes.
//!
//! Realises sections 3.5 and 3.6 of the design by routing between the acceptor, the proposer and the detector. Nothing is said before
//! it is durable: answers and votes wait here for their sync marks. What a decree does to the streams is not decided here: `Node`
//! installs it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::super::acceptor::{Acceptor, Outbid};
use super::super::config::{Membership, NodeConfig, Profile};
use super::super::decree::{Answer, Ballot, Decree};
use super::super::detector::Detector;
use super::super::message::{self, Accept, Accepted, Message, Prepare, Promise};
use super::super::proposer::{Goal, Proposal, Proposer};
use super::super::{Planted, SyncMark};
use crate::id::NodeId;
use crate::quorum::majority;
use crate::time::{Hlc, Monotonic};

/// One node's part in ending one epoch.
#[derive(Clone, Debug)]
pub(super) struct Succession {
    own: NodeId,
    /// The epoch that may end, and who decides on it.
    ending: Membership,
    acceptor: Acceptor,
    proposer: Proposer,
    detector: Detector,
    /// This node has restarted in the epoch: it must end before the node coordinates again.
    is_resumed: bool,
    /// The members of the next epoch that were asked for here.
    aim: Option<Vec<NodeId>>,
    /// What may be said once the mark has come back.
    held: VecDeque<(SyncMark, Held)>,
    /// The decree that this node is to vote for once it holds the streams up to its cut.
    asked: Option<(Ballot, Decree)>,
    /// Who has voted with which ballot: every member hears of it, and so knows as soon as the proposer what is decided.
    votes: BTreeMap<Ballot, BTreeSet<NodeId>>,
    /// When to look next whether the epoch should end.
    look_at: Monotonic,
    /// The next attempt is made then, if the epoch should still end; [`Monotonic::NEVER`] if it should not.
    try_at: Monotonic,
    /// The proposal is said again then to whom has not answered.
    say_at: Monotonic,
    /// How often this node has tried to end the epoch.
    attempts: u32,
    random: Xoshiro256PlusPlus,
}

/// What waits to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Held {
    Promise(Ballot),
    Accepted(Ballot),
}

impl Succession {
    pub(super) fn new(config: &NodeConfig, ending: &Membership, now: Monotonic) -> Self {
        Self::with(config, ending, Detector::new(config.id, ending, now))
    }

    /// The same for the epoch that follows.
    pub(super) fn succeed(&self, config: &NodeConfig, ending: &Membership, now: Monotonic) -> Self {
        let mut next = Self {
            look_at: now,
            ..Self::with(config, ending, self.detector.succeed(ending, now))
        };
        next.plant(self.proposer.planted);
        next
    }

    /// The same after a restart in the epoch. *Given* the last vote on its end that is durable.
    pub(super) fn recover(config: &NodeConfig, ending: &Membership, vote: Option<&Acceptor>, now: Monotonic) -> Self {
        let acceptor = vote.cloned().unwrap_or_default();
        Self {
            proposer: Proposer::recover(config.id, acceptor.promised),
            acceptor,
            is_resumed: true,
            ..Self::new(config, ending, now)
        }
    }

    fn with(config: &NodeConfig, ending: &Membership, detector: Detector) -> Self {
        // Every node and epoch draws its own back-off; the seed is all that tells runs apart.
        let seed = config.seed ^ u64::from(config.id.number()).rotate_left(32) ^ ending.epoch.number();
        Self {
            own: config.id,
            ending: ending.clone(),
            acceptor: Acceptor::new(),
            proposer: Proposer::new(config.id),
            detector,
            is_resumed: false,
            aim: None,
            attempts: 0,
            held: VecDeque::new(),
            asked: None,
            votes: BTreeMap::new(),
            look_at: Monotonic(0),
            try_at: Monotonic::NEVER,
            say_at: Monotonic::NEVER,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
        }
    }

    /// For checkers only.
    pub(super) fn plant(&mut self, planted: Planted) {
        self.proposer.planted = planted;
    }

    /// The restart is nothing that the epoch must end for: a bug on purpose.
    #[cfg(feature = "planted")]
    pub(super) fn continue_stream(&mut self) {
        self.is_resumed = false;
    }

    /// The members of the next epoch that are asked for here.
    pub(super) fn aim(&mut self, members: Option<Vec<NodeId>>, now: Monotonic) {
        if self.aim != members {
            self.aim = members;
            self.look_at = now;
        }
    }

    /// Whether `node` was heard of late.
    pub(super) fn is_live(&self, node: NodeId, now: Monotonic, profile: &Profile) -> bool {
        self.detector.is_live(node, now, profile)
    }

    /// Whether `node` is to be reckoned with in this epoch.
    pub(super) fn is_present(&self, node: NodeId, now: Monotonic, profile: &Profile) -> bool {
        self.detector.is_present(node, &self.ending, now, profile)
    }

    /// Whether the epoch is fenced here: nothing more is issued or acknowledged in it.
    pub(super) fn is_fenced(&self) -> bool {
        self.acceptor.is_fenced()
    }

    /// What must be durable of this node's vote.
    pub(super) fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// The decree whose cut must be reached before this node can vote.
    pub(super) fn asked(&self) -> Option<&Decree> {
        self.asked.as_ref().map(|(_, decree)| decree)
    }

    /// The stream of `node` has grown.
    pub(super) fn on_moved(&mut self, node: NodeId, now: Monotonic) {
        self.detector.on_moved(node, now);
    }

    /// The stream of `node` has come to its end.
    pub(super) fn on_resigned(&mut self, node: NodeId) {
        self.detector.on_resigned(node);
    }

    /// A message of `node` has come.
    pub(super) fn on_heard(&mut self, node: NodeId, now: Monotonic) {
        self.detector.on_heard(node, now);
    }

    /// *Gives* whether the promise is new and must be persisted under `mark`; the answer follows by itself. Otherwise `said` holds
    /// what there is to say: why not, or the answer once more, for which `held` says how far this node is.
    pub(super) fn on_prepare(
        &mut self,
        ballot: Ballot,
        mark: SyncMark,
        now: Monotonic,
        profile: &Profile,
        held: impl Fn() -> (Vec<(NodeId, Hlc)>, Hlc),
        said: &mut Vec<(NodeId, Message)>,
    ) -> bool {
        self.proposer.on_ballot(ballot);
        if self.acceptor.promised == ballot {
            if !self.is_held(Held::Promise(ballot)) {
                said.push(self.promise(ballot, held()));
            }
            return false;
        }
        if let Err(outbid) = self.acceptor.prepare(ballot) {
            said.push(self.outbid(ballot, outbid));
            return false;
        }
        self.held.push_back((mark, Held::Promise(ballot)));
        if ballot.proposer != self.own {
            // Somebody tries already: he is given the time for it.
            let patience = self.patience(profile);
            self.try_at = now.plus(patience + self.back_off(&[], profile));
        }
        true
    }

    fn is_held(&self, what: Held) -> bool {
        self.held.iter().any(|(_, held)| *held == what)
    }

    /// The answer to a prepare. *Given* how far this node is, which is durable.
    fn promise(&self, ballot: Ballot, (positions, clock): (Vec<(NodeId, Hlc)>, Hlc)) -> (NodeId, Message) {
        let answer = Answer {
            positions,
            clock,
            accepted: self.acceptor.accepted.clone(),
        };
        let epoch = self.ending.epoch;
        (ballot.proposer, Message::Promise(Promise { epoch, ballot, answer }))
    }

    /// The vote, for every member. *Given* that it is durable.
    fn accepted(&self, ballot: Ballot) -> impl Iterator<Item = (NodeId, Message)> {
        let accepted = Accepted {
            epoch: self.ending.epoch,
            ballot,
        };
        let members = self.ending.members.iter().copied();
        members.map(move |member| (member, Message::Accepted(accepted.clone())))
    }

    pub(super) fn on_promise(&mut self, from: NodeId, promise: Promise, now: Monotonic, profile: &Profile) {
        self.proposer.on_answer(
            from,
            promise.ballot,
            promise.answer,
            &self.ending,
            now,
            self.patience(profile),
        );
        self.say_at = now;
    }

    /// Notes a decree to vote for; [`Succession::vote`] does it once the streams are held.
    pub(super) fn on_accept(&mut self, accept: Accept, said: &mut Vec<(NodeId, Message)>) {
        self.proposer.on_ballot(accept.ballot);
        if self.acceptor.has_accepted(accept.ballot) {
            if !self.is_held(Held::Accepted(accept.ballot)) {
                said.extend(
                    self.accepted(accept.ballot)
                        .filter(|(to, _)| *to == accept.ballot.proposer),
                );
            }
            return;
        }
        match self.acceptor.check_ballot(accept.ballot) {
            Err(outbid) => said.push(self.outbid(accept.ballot, outbid)),
            Ok(()) => self.asked = Some((accept.ballot, accept.decree)),
        }
    }

    /// Votes for the decree that was asked for. *Given* that the streams up to its cut are durably held here, and that the vote is
    /// persisted under `mark`. *Gives* whether there was one to vote for.
    pub(super) fn vote(&mut self, mark: SyncMark) -> bool {
        let Some((ballot, decree)) = self.asked.take() else {
            return false;
        };
        if self.acceptor.accept(ballot, decree).is_err() {
            return false;
        }
        self.held.push_back((mark, Held::Accepted(ballot)));
        true
    }

    /// *Gives* the decree once a majority has voted for it: to its proposer, and to who has voted for it himself.
    pub(super) fn on_accepted(&mut self, from: NodeId, accepted: &Accepted) -> Option<Decree> {
        let ballot = accepted.ballot;
        if let Some(decree) = self.proposer.on_vote(from, ballot, &self.ending) {
            return Some(decree);
        }
        if !self.ending.is_member(from) || ballot < self.acceptor.promised {
            return None;
        }
        // Only the votes of ballots that may still be accepted here can tell of something not known yet.
        self.votes = self.votes.split_off(&self.acceptor.promised);
        let votes = self.votes.entry(ballot).or_default();
        votes.insert(from);
        let is_decided = votes.len() >= majority(self.ending.members.len());
        let (_, decree) = self
            .acceptor
            .accepted
            .as_ref()
            .filter(|(own, _)| is_decided && *own == ballot)?;
        Some(decree.clone())
    }

    pub(super) fn on_outbid(&mut self, outbid: &message::Outbid) {
        self.proposer.on_ballot(outbid.ballot);
    }

    /// Everything up to `mark` is durable: adds what may be said now. `held` says how far this node is.
    pub(super) fn on_persisted(
        &mut self,
        mark: SyncMark,
        held: impl Fn() -> (Vec<(NodeId, Hlc)>, Hlc),
        said: &mut Vec<(NodeId, Message)>,
    ) {
        while let Some((_, what)) = self.held.pop_front_if(|(held, _)| *held <= mark) {
            match what {
                // A higher ballot may have been promised since; the promise of the lower one still holds, as far as it goes.
                Held::Promise(ballot) => said.push(self.promise(ballot, held())),
                Held::Accepted(ballot) => said.extend(self.accepted(ballot)),
            }
        }
    }

    /// What has come due: begins an attempt if the epoch should end, and says again what was not answered.
    pub(super) fn on_time(&mut self, now: Monotonic, profile: &Profile, said: &mut Vec<(NodeId, Message)>) {
        if !self.ending.is_member(self.own) {
            return;
        }
        self.proposer.on_time(now);
        if !self.proposer.is_busy() && now >= self.look_at.min(self.try_at) {
            self.look(now, profile);
        }
        let Some(proposal) = self.proposer.proposal().filter(|_| now >= self.say_at) else {
            return;
        };
        self.say_at = now.plus(profile.retransmit_min.max(profile.active_tick * 4));
        // The own promise comes first, and so is durable before anybody hears of the ballot: a node that restarts never uses one twice.
        let is_ballot_durable = !matches!(proposal, Proposal::Prepare(_)) || !self.proposer.awaits(self.own);
        for member in self
            .ending
            .members
            .iter()
            .filter(|member| self.proposer.awaits(**member))
            .filter(|member| is_ballot_durable || **member == self.own)
        {
            let epoch = self.ending.epoch;
            let message = match &proposal {
                Proposal::Prepare(ballot) => Message::Prepare(Prepare { epoch, ballot: *ballot }),
                Proposal::Accept(ballot, decree) => Message::Accept(Accept {
                    ballot: *ballot,
                    decree: decree.clone(),
                }),
            };
            said.push((*member, message));
        }
    }

    /// Looks whether the epoch should end, and begins an attempt once that has been so for this node's turn.
    fn look(&mut self, now: Monotonic, profile: &Profile) {
        let suspects_at = self.detector.suspects_at(&self.ending, now, profile);
        self.look_at = now.plus(profile.idle_tick).min(suspects_at);
        let Some(goal) = self.wish(now, profile) else {
            self.try_at = Monotonic::NEVER;
            return;
        };
        if self.try_at == Monotonic::NEVER {
            self.try_at = now.plus(self.back_off(&goal.coordinators, profile));
        }
        if now >= self.try_at {
            self.attempts += 1;
            let patience = self.patience(profile);
            let again = self.back_off(&goal.coordinators, profile);
            self.proposer.begin(goal, now, patience);
            self.try_at = now.plus(patience + again);
            self.say_at = now;
        }
    }

    /// When [`Succession::on_time`] may next have something to do.
    pub(super) fn wake_at(&self) -> Monotonic {
        if !self.ending.is_member(self.own) {
            return Monotonic::NEVER;
        }
        if self.proposer.is_busy() {
            self.say_at.min(self.proposer.give_up_at())
        } else {
            self.look_at.min(self.try_at)
        }
    }

    /// Who should be in the next epoch, if this one should end: because others are alive than it says, because it is fenced,
    /// because this node can do nothing in it, or because other members were asked for.
    fn wish(&self, now: Monotonic, profile: &Profile) -> Option<Goal> {
        if let Some(members) = self.aim.clone() {
            let coordinates = |member: &NodeId| !self.ending.is_member(*member) || self.is_live(*member, now, profile);
            let coordinators = members.iter().copied().filter(coordinates).collect();
            return Some(Goal { members, coordinators });
        }
        let wish = self.detector.wish(&self.ending, self.is_fenced(), now, profile);
        let must_end = self.is_fenced() || self.is_resumed && self.ending.is_coordinator(self.own);
        let coordinators = wish.or_else(|| must_end.then(|| self.ending.coordinators.clone()))?;
        let members = self.ending.members.clone();
        Some(Goal { members, coordinators })
    }

    /// How long to wait before an attempt: the lowest of those who would coordinate goes first and at once, and who has restarted waits for nobody,
    /// since nobody else knows yet. Chance tells later attempts apart.
    fn back_off(&mut self, coordinators: &[NodeId], profile: &Profile) -> Duration {
        let turn = profile.suspect_after / 2;
        if self.attempts == 0 && (self.is_resumed || self.aim.is_some()) {
            return Duration::ZERO;
        }
        let rank = coordinators.iter().filter(|node| **node < self.own).count() as u32;
        let chance = if self.attempts == 0 {
            0.0
        } else {
            self.random.random_range(0.0..1.0)
        };
        turn * rank + turn.mul_f64(chance)
    }

    /// How long half an attempt may take before it is given up: longer after each that failed, since disks and links may be slow.
    fn patience(&self, profile: &Profile) -> Duration {
        const DOUBLINGS_MAX: u32 = 3;
        profile.suspect_after * (2 << self.attempts.saturating_sub(1).min(DOUBLINGS_MAX))
    }

    fn outbid(&self, ballot: Ballot, outbid: Outbid) -> (NodeId, Message) {
        (
            ballot.proposer,
            Message::Outbid(message::Outbid {
                epoch: self.ending.epoch,
                ballot: outbid.0,
            }),
        )
    }
}

/// For model checks: without the generator, whose draws follow from the seed and the attempts.
impl Hash for Succession {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            own: _,
            ending,
            acceptor,
            proposer,
            detector,
            is_resumed,
            aim,
            held,
            asked,
            votes,
            look_at,
            try_at,
            say_at,
            attempts,
            random: _,
        } = self;
        (ending, acceptor, proposer, detector, is_resumed, aim, held, asked).hash(state);
        votes.hash(state);
        (look_at, try_at, say_at, attempts).hash(state);
    }
}
