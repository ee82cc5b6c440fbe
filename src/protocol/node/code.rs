//! Which code there is: what this node declares and hears, whom it refuses because of it, and what a thunk that it lacks stops.
//!
//! Realises the registry of section 4 of the design at the door of a coordinator, where every way of submitting comes by.

use super::super::declared::Verdict;
use super::super::message::{Declared, Message};
use super::super::{Doubt, Effect, Refusal, Reply};
use super::Node;
use crate::id::NodeId;
use crate::thunk::required;
use crate::time::{Monotonic, Now};
use crate::transaction::{ThunkId, Transaction};

impl Node {
    /// These thunks are registered here from now on.
    pub(super) fn on_declare(&mut self, thunks: Vec<ThunkId>) {
        self.declarations.declare(thunks);
        self.evaluation.retry();
    }

    /// Declares what there is to declare, once the clock gives a stamp.
    pub(super) fn stamp_declaration(&mut self, now: Now) {
        if self.declarations.wants_stamp()
            && let Some(stamp) = self.clock.issue(now.wall)
        {
            self.declarations.stamp(stamp);
            self.pacing.hurry_all();
        }
    }

    pub(super) fn on_declared(&mut self, from: NodeId, declared: Declared) {
        let (membership, guests) = (self.period.membership(), &self.guests);
        let is_peer = |node: NodeId| membership.is_member(node) || membership.is_coordinator(node);
        if !is_peer(from) && !guests.contains_key(&from) {
            // It is welcomed by what it says of an epoch, and then told.
            self.counters.not_for_us += 1;
            return;
        }
        let is_kept = |node: NodeId| is_peer(node) || guests.contains_key(&node);
        if self.declarations.on_declared(from, declared, is_kept) {
            self.pacing.hurry(from);
        }
    }

    /// What `peer` should hear of it.
    pub(super) fn declared_for(&mut self, peer: NodeId, now: Monotonic) -> Option<Message> {
        let membership = self.period.membership();
        let (epoch, members) = (membership.epoch, &membership.members);
        let declared = self
            .declarations
            .message_for(peer, epoch, members, now, &self.config.profile)?;
        self.counters.declarations += 1;
        Some(Message::Declared(declared))
    }

    /// Forgets what was declared by who is talked to no more.
    pub(super) fn forget_declarations(&mut self) {
        let (membership, guests) = (self.period.membership(), &self.guests);
        self.declarations
            .retain(|node| membership.is_member(node) || membership.is_coordinator(node) || guests.contains_key(&node));
    }

    /// Whether somebody who counts has not declared its code yet.
    pub(super) fn awaits_declarations(&self, now: Monotonic) -> bool {
        self.declarations.awaits(self.present_members(now))
    }

    /// Whether everybody who counts can evaluate the transaction. *Gives* whether somebody is yet to say so.
    pub(super) fn check_code(&mut self, now: Monotonic, transaction: &Transaction) -> Result<bool, Refusal> {
        match self
            .declarations
            .judge(required(transaction), self.present_members(now))
        {
            Verdict::Known => Ok(false),
            Verdict::Awaited => Ok(true),
            Verdict::Lacking { thunk, nodes } => {
                self.counters.lacking += 1;
                Err(Refusal::Lacking { thunk, nodes })
            }
        }
    }

    /// The members because of which a transaction of the thunk is refused here.
    pub fn lacking(&self, thunk: &ThunkId, now: Monotonic) -> Vec<NodeId> {
        self.declarations.lacking(thunk, self.present_members(now))
    }

    /// The members that nobody takes for gone.
    fn present_members(&self, now: Monotonic) -> impl Iterator<Item = NodeId> + Clone {
        let (succession, profile) = (&self.succession, &self.config.profile);
        let members = self.period.membership().members.iter().copied();
        members.filter(move |member| succession.is_present(*member, now, profile))
    }

    /// Nothing that waits for evaluation comes to an end here while a thunk is lacking.
    pub(super) fn check_evaluates(&self) -> Result<(), Refusal> {
        match self.evaluation.blocked_by().cloned() {
            Some(thunk) => Err(Refusal::Blocked {
                node: self.config.id,
                thunk,
            }),
            None => Ok(()),
        }
    }

    /// Evaluation has stopped, or goes on. *Given* what had stopped it before.
    pub(super) fn note_blocked(&mut self, before: Option<&ThunkId>) {
        let (node, blocked) = (self.config.id, self.evaluation.blocked_by());
        if blocked == before {
            return;
        }
        match blocked {
            Some(thunk) => {
                self.counters.blocked += 1;
                tracing::error!(%node, %thunk, "evaluation has stopped before a thunk that is not registered here: start it with its code");
            }
            None => tracing::info!(%node, "evaluation goes on: the thunk that had stopped it is there"),
        }
        self.declarations.on_blocked(blocked);
    }

    /// Evaluation has stopped before a thunk that is lacking: whoever waits for it here is told, so that he asks another node.
    pub(super) fn abandon_if_blocked(&mut self, effects: &mut Vec<Effect>) {
        let Some(thunk) = self.evaluation.blocked_by().cloned() else {
            return;
        };
        // What is evaluated is there to be read.
        self.reads.take_ready(self.evaluation.evaluated(), effects);
        let node = self.config.id;
        let doubt = Doubt::Blocked {
            node,
            thunk: thunk.clone(),
        };
        let refusal = Refusal::Blocked { node, thunk };
        let doubts = self
            .submissions
            .abandon()
            .map(|request| (request, Reply::Unknown(doubt.clone())));
        let refusals = self
            .reads
            .abandon()
            .map(|request| (request, Reply::Refused(refusal.clone())));
        let replies = doubts.chain(refusals);
        effects.extend(replies.map(|(request, reply)| Effect::Reply { request, reply }));
    }
}
