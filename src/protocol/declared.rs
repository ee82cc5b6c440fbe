//! Which code there is where: what nodes declare, how they learn it of each other, and what it says of a transaction.
//!
//! Realises the registry of section 4 of the design. Every node declares its thunks under a stamp of its clock; a later stamp takes the place
//! of an earlier one, over restarts too. Nodes keep the declarations of each other and carry those of third ones, as they carry rows. Each
//! says of whom it knows which stamp, so what a peer lacks is sent until that says otherwise, and then nothing is: an idle cluster says
//! nothing about it. Messages ride on frames that leave anyway.
//!
//! What it concludes is advice: a transaction that some member could not evaluate is better not issued. Nothing rests on it; a member that meets
//! unknown code all the same stops before it and harms nobody. `docs/protocol.md` argues who counts.

use std::collections::BTreeMap;

use super::config::Profile;
use super::message::{Declaration, Declared};
use crate::id::{Epoch, NodeId};
use crate::limits::DECLARED_BYTES_MAX;
use crate::time::{Hlc, Monotonic};
use crate::transaction::ThunkId;

/// Bytes of a declaration, or of a thunk in one, beside names.
const FIXED_BYTES: usize = 16;

/// Doublings of the pause between two attempts to tell a peer the same.
const BACK_OFF_MAX: u32 = 6;

/// What is known of everybody's code. Before this node has declared its own it takes no part.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Declarations {
    own: NodeId,
    /// What is to be declared as soon as the clock gives a stamp.
    unstamped: Option<Vec<ThunkId>>,
    /// What keeps this node from evaluating.
    blocked: Option<ThunkId>,
    /// The last of each node, this one among them.
    known: BTreeMap<NodeId, Declaration>,
    peers: BTreeMap<NodeId, Told>,
}

/// What a peer knows, as far as it has said so.
#[derive(Clone, Debug, Default, Hash)]
struct Told {
    stamps: BTreeMap<NodeId, Hlc>,
    /// It has told something, and waits to hear that it has come.
    is_owed: bool,
    /// When to tell it again what it does not seem to know.
    say_at: Monotonic,
    /// How often that was done since it last learned something.
    attempts: u32,
}

/// What is to be said of a transaction's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everybody who counts has it, or nobody has asked that it be looked at.
    Known,
    /// Somebody who counts has not declared anything that is known here.
    Awaited,
    /// These have declared what they have, and it is not among it.
    Lacking { thunk: ThunkId, nodes: Vec<NodeId> },
}

impl Declarations {
    pub(crate) fn new(own: NodeId) -> Self {
        Self {
            own,
            unstamped: None,
            blocked: None,
            known: BTreeMap::new(),
            peers: BTreeMap::new(),
        }
    }

    /// This node has these thunks from now on, ascending.
    pub(crate) fn declare(&mut self, thunks: Vec<ThunkId>) {
        let declared = self.known.get(&self.own).map(|declaration| &declaration.thunks);
        if self.unstamped.is_some() || declared != Some(&thunks) {
            self.unstamped = Some(thunks);
        }
    }

    /// Evaluation here is kept by a thunk, or by none.
    pub(crate) fn on_blocked(&mut self, blocked: Option<&ThunkId>) {
        if self.blocked.as_ref() == blocked {
            return;
        }
        self.blocked = blocked.cloned();
        if let (None, Some(own)) = (&self.unstamped, self.known.get(&self.own)) {
            self.unstamped = Some(own.thunks.clone());
        }
    }

    /// Whether there is something to declare.
    pub(crate) fn wants_stamp(&self) -> bool {
        self.unstamped.is_some()
    }

    /// Declares what there is to declare. *Given* a value of the clock above every earlier one.
    pub(crate) fn stamp(&mut self, stamp: Hlc) {
        let Some(thunks) = self.unstamped.take() else {
            return;
        };
        let (node, blocked) = (self.own, self.blocked.clone());
        let declaration = Declaration {
            node,
            stamp,
            thunks,
            blocked,
        };
        let before = self.known.insert(node, declaration);
        assert!(before.is_none_or(|before| before.stamp < stamp), "a stamp twice");
        self.peers.values_mut().for_each(Told::hasten);
    }

    /// `from` has said this. *Gives* whether it waits for an answer.
    ///
    /// *Given* of whom declarations are kept beside the sender's own.
    pub(crate) fn on_declared(&mut self, from: NodeId, declared: Declared, is_kept: impl Fn(NodeId) -> bool) -> bool {
        if !self.takes_part() {
            return false;
        }
        let is_owed = !declared.declarations.is_empty();
        for declaration in declared.declarations {
            let node = declaration.node;
            let is_new = self
                .known
                .get(&node)
                .is_none_or(|known| known.stamp < declaration.stamp);
            if node != self.own && (node == from || is_kept(node)) && is_new {
                self.known.insert(node, declaration);
            }
        }
        let told = self.peers.entry(from).or_default();
        told.is_owed |= is_owed;
        told.learn(from, declared.known);
        is_owed
    }

    /// What `peer` should hear now, if anything. *Given* who is a member.
    pub(crate) fn message_for(
        &mut self,
        peer: NodeId,
        epoch: Epoch,
        members: &[NodeId],
        now: Monotonic,
        profile: &Profile,
    ) -> Option<Declared> {
        if !self.takes_part() {
            return None;
        }
        let told = self.peers.entry(peer).or_default();
        let mut declarations = Vec::new();
        if now >= told.say_at {
            let (own, mut bytes) = (self.own, 0);
            let is_carried = |node: NodeId| node == own || members.binary_search(&node).is_ok();
            let unknown = self.known.values().filter(|declaration| {
                let known = told.stamps.get(&declaration.node);
                declaration.node != peer
                    && is_carried(declaration.node)
                    && known.is_none_or(|known| *known < declaration.stamp)
            });
            for declaration in unknown {
                bytes += bytes_of(declaration);
                if bytes > DECLARED_BYTES_MAX && !declarations.is_empty() {
                    break;
                }
                declarations.push(declaration.clone());
            }
        }
        if declarations.is_empty() && !told.is_owed {
            return None;
        }
        if !declarations.is_empty() {
            // A quick answer is on its way for longer than the shortest pause; a peer that is away is told now and then.
            let pause = profile.suspect_after / 8 * (1 << told.attempts.min(BACK_OFF_MAX));
            told.say_at = now.plus(pause.min(profile.retransmit_max));
            told.attempts += 1;
        }
        told.is_owed = false;
        Some(Declared {
            epoch,
            declarations,
            known: self.known.values().map(|known| (known.node, known.stamp)).collect(),
        })
    }

    /// What is to be said of a transaction that needs this code. *Given* the members that count.
    pub(crate) fn judge(
        &self,
        required: impl Iterator<Item = ThunkId>,
        present: impl Iterator<Item = NodeId> + Clone,
    ) -> Verdict {
        if !self.takes_part() {
            return Verdict::Known;
        }
        for thunk in required {
            let nodes = self.lacking(&thunk, present.clone());
            if !nodes.is_empty() {
                return Verdict::Lacking { thunk, nodes };
            }
        }
        match self.awaits(present) {
            true => Verdict::Awaited,
            false => Verdict::Known,
        }
    }

    /// Those of the members that count that have declared what they have, and the thunk is not among it.
    pub(crate) fn lacking(&self, thunk: &ThunkId, present: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let lacks = |node: &NodeId| {
            self.known.get(node).is_some_and(|declaration| {
                // One that is stopped by this very thunk cannot be spared it any more.
                declaration.thunks.binary_search(thunk).is_err() && declaration.blocked.as_ref() != Some(thunk)
            })
        };
        present.filter(lacks).collect()
    }

    /// Whether of one of the members that count nothing is known.
    pub(crate) fn awaits(&self, mut present: impl Iterator<Item = NodeId>) -> bool {
        self.takes_part() && present.any(|node| !self.known.contains_key(&node))
    }

    /// Forgets who is talked to no more.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(NodeId) -> bool) {
        let own = self.own;
        self.known.retain(|node, _| *node == own || is_kept(*node));
        self.peers.retain(|node, _| is_kept(*node));
    }

    /// Whether this node has declared its code.
    fn takes_part(&self) -> bool {
        self.known.contains_key(&self.own)
    }
}

impl Told {
    /// There is something new for it.
    fn hasten(&mut self) {
        (self.say_at, self.attempts) = (Monotonic(0), 0);
    }

    /// The peer `from` knows this.
    fn learn(&mut self, from: NodeId, known: Vec<(NodeId, Hlc)>) {
        let known: BTreeMap<NodeId, Hlc> = known.into_iter().collect();
        let run_of = |stamps: &BTreeMap<NodeId, Hlc>| stamps.get(&from).copied().unwrap_or_default();
        if run_of(&known) > run_of(&self.stamps) {
            // It may have restarted since, and have forgotten what it knew.
            self.stamps = known;
            self.hasten();
        } else if run_of(&known) == run_of(&self.stamps) {
            for (node, stamp) in known {
                let before = self.stamps.entry(node).or_default();
                if stamp > *before {
                    *before = stamp;
                    (self.say_at, self.attempts) = (Monotonic(0), 0);
                }
            }
        }
    }
}

fn bytes_of(declaration: &Declaration) -> usize {
    let thunks = declaration.thunks.iter().chain(&declaration.blocked);
    FIXED_BYTES + thunks.map(|thunk| thunk.name.len() + FIXED_BYTES).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;

    fn thunk(name: &str, version: u32) -> ThunkId {
        let name = name.into();
        ThunkId { name, version }
    }

    fn declared(number: u32, stamp: u64, thunks: &[ThunkId]) -> Declarations {
        let mut declarations = Declarations::new(node(number));
        declarations.declare(thunks.to_vec());
        declarations.stamp(hlc(stamp));
        declarations
    }

    fn at(ms: u64) -> Monotonic {
        Monotonic(ms * 1_000)
    }

    /// What one says to another, whether or not it comes.
    fn said(from: &mut Declarations, to: NodeId, ms: u64) -> Option<Declared> {
        let members = [1, 2, 3].map(node);
        from.message_for(to, Epoch::FIRST, &members, at(ms), &Profile::lan())
    }

    /// Says everything that there is to say. *Gives* how many messages that took.
    fn talk(a: &mut Declarations, b: &mut Declarations, ms: u64) -> usize {
        let mut messages = 0;
        loop {
            let (to_b, to_a) = (said(a, b.own, ms), said(b, a.own, ms));
            if to_a.is_none() && to_b.is_none() {
                return messages;
            }
            let (own_a, own_b) = (a.own, b.own);
            for (message, from, to) in [(to_b, own_a, &mut *b), (to_a, own_b, &mut *a)] {
                if let Some(message) = message {
                    messages += 1;
                    to.on_declared(from, message, |_| true);
                }
            }
            assert!(messages < 20, "they never come to an end");
        }
    }

    fn judge(declarations: &Declarations, thunk: &ThunkId, present: &[u32]) -> Verdict {
        let present = present.iter().map(|number| node(*number));
        declarations.judge([thunk.clone()].into_iter(), present)
    }

    #[test]
    fn two_nodes_that_know_each_other_are_silent_until_something_changes() {
        let (old, new) = (thunk("t", 1), thunk("t", 2));
        let mut a = declared(1, 10, std::slice::from_ref(&old));
        let mut b = declared(2, 11, std::slice::from_ref(&old));
        assert_eq!(
            talk(&mut a, &mut b, 0),
            6,
            "what each has, again because both were under way at once, and that it has come"
        );
        assert_eq!(talk(&mut a, &mut b, 60_000), 0);
        b.declare(vec![old.clone(), new.clone()]);
        b.stamp(hlc(12));
        let nodes = vec![node(1)];
        let lacking = Verdict::Lacking {
            thunk: new.clone(),
            nodes,
        };
        assert_eq!(judge(&b, &new, &[1, 2]), lacking);
        assert_eq!(talk(&mut a, &mut b, 60_000), 2);
        assert_eq!(judge(&a, &old, &[1, 2]), Verdict::Known);
        b.declare(vec![old, new]);
        assert!(!b.wants_stamp(), "nothing has changed");
    }

    #[test]
    fn what_is_lost_is_said_again_ever_more_rarely() {
        let mut a = declared(1, 10, &[]);
        let times = (0..10_000).filter(|ms| said(&mut a, node(2), *ms).is_some()).count();
        assert!((8..16).contains(&times), "{times}");
    }

    #[test]
    fn a_node_that_restarts_is_told_again_and_its_late_words_change_nothing() {
        let (old, new) = (thunk("t", 1), thunk("t", 2));
        let (mut a, mut b) = (
            declared(1, 10, std::slice::from_ref(&old)),
            declared(2, 11, std::slice::from_ref(&old)),
        );
        let late = said(&mut b, node(1), 0).expect("there is something new");
        talk(&mut a, &mut b, 1_000);
        let mut restarted = declared(2, 20, &[old.clone(), new.clone()]);
        talk(&mut a, &mut restarted, 2_000);
        assert_eq!(judge(&restarted, &old, &[1, 2]), Verdict::Known);
        a.on_declared(node(2), late, |_| true);
        a.declare(vec![old, new.clone()]);
        a.stamp(hlc(30));
        assert_eq!(judge(&a, &new, &[1, 2]), Verdict::Known);
        assert_eq!(talk(&mut a, &mut restarted, 3_000), 2);
    }

    #[test]
    fn a_third_node_carries_what_two_cannot_say_to_each_other() {
        let both = thunk("t", 1);
        let [mut a, mut b, mut c] = [1, 2, 3].map(|number| declared(number, 10, std::slice::from_ref(&both)));
        assert_eq!(judge(&a, &both, &[1, 2, 3]), Verdict::Awaited);
        talk(&mut b, &mut c, 0);
        talk(&mut a, &mut c, 0);
        assert_eq!(judge(&a, &both, &[1, 2, 3]), Verdict::Known);
        assert_eq!(talk(&mut b, &mut c, 5_000), 2, "and the other way");
        assert_eq!(judge(&b, &both, &[1, 2, 3]), Verdict::Known);
    }

    #[test]
    fn who_is_stopped_by_a_thunk_counts_for_every_other_one_only() {
        let [one, two] = [thunk("one", 1), thunk("two", 1)];
        let mut a = declared(1, 10, &[one.clone(), two.clone()]);
        let mut b = declared(2, 11, &[]);
        b.on_blocked(Some(&one));
        b.stamp(hlc(12));
        talk(&mut a, &mut b, 0);
        assert_eq!(judge(&a, &one, &[1, 2]), Verdict::Known);
        let (thunk, nodes) = (two.clone(), vec![node(2)]);
        assert_eq!(judge(&a, &two, &[1, 2]), Verdict::Lacking { thunk, nodes });
        assert_eq!(judge(&a, &two, &[1]), Verdict::Known, "who does not count is not asked");
    }

    #[test]
    fn a_node_that_was_told_of_no_code_takes_no_part() {
        let (mut a, mut b) = (Declarations::new(node(1)), declared(2, 10, &[]));
        let said_by_b = said(&mut b, node(1), 0).expect("there is something new");
        assert!(!a.on_declared(node(2), said_by_b, |_| true));
        assert_eq!(said(&mut a, node(2), 0), None);
        assert_eq!(judge(&a, &thunk("t", 1), &[1, 2]), Verdict::Known);
    }

    #[test]
    fn many_large_declarations_go_in_several_messages() {
        let thunks: Vec<_> = (0..4_000).map(|number| thunk(&format!("{number:064}"), 1)).collect();
        let mut a = declared(1, 10, &thunks);
        for number in 2..=3 {
            let mut other = declared(number, 10, &thunks);
            talk(&mut a, &mut other, 0);
        }
        let mut new = declared(4, 10, &[]);
        let first = said(&mut a, node(4), 0).expect("there is something new");
        assert_eq!(first.declarations.len(), 1);
        talk(&mut a, &mut new, 5_000);
        assert_eq!(new.known.len(), 4);
    }
}
