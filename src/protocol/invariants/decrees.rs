//! I-4, I-5 and I-6: how epochs end.
//!
//! A decree is decided in the moment in which the disks of a majority hold votes for it with one ballot, whoever learns of it and when.

use super::super::Acceptor;
use super::super::decree::{Answer, Ballot, Decree};
use super::super::node::Node;
use super::{Invariant, Watcher};
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;

impl Watcher {
    /// A member's vote on the end of an epoch has become durable.
    pub(super) fn on_vote(&mut self, place: usize, epoch: Epoch, acceptor: &Acceptor) {
        let Some(at) = self.epoch_place(epoch) else { return };
        let Self {
            epochs, nodes, found, ..
        } = self;
        let (seen, node) = (&mut epochs[at], &mut nodes[place]);
        let id = node.id;
        let part = &mut node.parts[at];
        part.promised = part.promised.max(acceptor.promised);
        if acceptor.is_fenced() {
            let durable = part.holdings.iter().map(|holding| holding.durable);
            part.fenced_at.get_or_insert_with(|| durable.collect());
        }
        let Some((ballot, decree)) = &acceptor.accepted else {
            return;
        };
        let (voted, voters) = seen
            .votes
            .entry(*ballot)
            .or_insert_with(|| (decree.clone(), Vec::new()));
        if voted != decree {
            found.add(Invariant::OneDecree, id, || two_decrees(*ballot, voted, decree));
            return;
        }
        if !voters.contains(&id) && seen.membership.is_member(id) {
            voters.push(id);
            if voters.len() == seen.majority() {
                self.on_decided(id, at, decree.clone());
            }
        }
    }

    /// The first time that the end of an epoch is certain. *Given* the node at whose step it became so.
    fn on_decided(&mut self, node: NodeId, at: usize, decree: Decree) {
        if let Some(decided) = &self.epochs[at].decided {
            if *decided != decree {
                self.found.add(Invariant::OneDecree, node, || {
                    format!("{decree:?} is decided after {decided:?}")
                });
            }
            return;
        }
        self.check_start(node, at, &decree);
        self.check_cut(node, at, &decree);
        let place = self.place_of(node);
        self.finalize(place, at, |stream| decree.cut_of(stream.coordinator));
        let (membership, start) = (decree.membership(), decree.start);
        self.epochs[at].decided = Some(decree);
        if at + 1 == self.epochs.len() {
            self.begin_epoch(membership, start);
        }
    }

    /// Invariant I-6: the start lies above every cut, every watermark, and so every record that is kept.
    fn check_start(&mut self, node: NodeId, at: usize, decree: &Decree) {
        let epoch = &self.epochs[at];
        // The cut of a coordinator that had resigned is above every clock, and says nothing of time.
        let cuts = decree.cut.iter().map(|(_, cut)| *cut).filter(|cut| *cut != Hlc::MAX);
        let kept = epoch.streams.iter().map(|stream| {
            let count = stream.count_to(decree.cut_of(stream.coordinator));
            stream.issued[..count].last().map_or(Hlc::ZERO, |last| last.hlc)
        });
        let highest = cuts.chain(kept).chain([epoch.watermark, epoch.start]).max();
        let start = decree.start;
        if let Some(highest) = highest.filter(|highest| *highest >= start) {
            self.found.add(Invariant::Order, node, || {
                format!(
                    "{} starts at {start}, and a record, cut or watermark before is at {highest}",
                    decree.epoch
                )
            });
        }
    }

    /// Invariant I-4: the cut contains what any watermark has made final, and a majority's disks hold everything up to it.
    fn check_cut(&mut self, node: NodeId, at: usize, decree: &Decree) {
        let epoch = &self.epochs[at];
        for (slot, stream) in epoch.streams.iter().enumerate() {
            let cut = decree.cut_of(stream.coordinator);
            let count = stream.count_to(cut);
            if count < stream.final_count {
                self.found.add(Invariant::Cut, node, || {
                    format!(
                        "the cut {cut} of {} in {} voids {} records at or below the watermark {}",
                        stream.coordinator,
                        decree.ends(),
                        stream.final_count - count,
                        epoch.watermark
                    )
                });
            }
            let holds = |member: &&usize| self.nodes[**member].parts[at].holdings[slot].durable >= count;
            let holders = epoch.members.iter().filter(holds).count();
            if holders < epoch.majority() {
                self.found.add(Invariant::Cut, node, || {
                    format!(
                        "{holders} of {} disks hold {} in {} up to its cut {cut}",
                        epoch.membership.members.len(),
                        stream.coordinator,
                        decree.ends()
                    )
                });
            }
        }
    }

    /// Invariant I-5: a node installs what a majority has voted for, and nothing else.
    pub(super) fn on_installed(&mut self, place: usize, decree: &Decree) {
        let node = self.nodes[place].id;
        let Some(at) = self.epoch_place(decree.ends()) else {
            self.found.add(Invariant::OneDecree, node, || {
                format!("installs {}, and no decree has begun {}", decree.epoch, decree.ends())
            });
            return;
        };
        match &self.epochs[at].decided {
            Some(decided) if decided == decree => {}
            Some(decided) => self.found.add(Invariant::OneDecree, node, || {
                format!("installs {decree:?}, where {decided:?} was decided")
            }),
            None => {
                self.found.add(Invariant::OneDecree, node, || {
                    format!("installs {decree:?}, for which no majority has voted")
                });
                self.on_decided(node, at, decree.clone());
            }
        }
    }

    /// A member answers a prepare.
    ///
    /// Invariant I-4: its positions are at or above what it has acknowledged, and its disk holds what they say. Invariant I-6: its clock
    /// is at or above everything that it has promised.
    pub(super) fn on_answer(&mut self, place: usize, epoch: Epoch, answer: &Answer) {
        let Some(at) = self.epoch_place(epoch) else { return };
        let (seen, node) = (&self.epochs[at], &self.nodes[place]);
        for (coordinator, position) in &answer.positions {
            let Some(slot) = seen.stream_place(*coordinator) else {
                continue;
            };
            let holding = node.parts[at].holdings[slot];
            let count = seen.streams[slot].count_to(*position);
            if count < holding.said_ever || count > holding.durable {
                self.found.add(Invariant::Cut, node.id, || {
                    format!(
                        "answers that it holds {count} records of {coordinator} in {epoch}; it has acknowledged {}, and its disk holds {}",
                        holding.said_ever, holding.durable
                    )
                });
            }
        }
        if answer.clock < node.promised {
            self.found.add(Invariant::Order, node.id, || {
                format!(
                    "answers with the clock {}, and has promised {}",
                    answer.clock, node.promised
                )
            });
        }
    }

    /// Invariant I-5: a restarted node knows what was decided and nothing else, and has not forgotten what it has voted.
    pub(super) fn on_recovered_decrees(&mut self, place: usize, node: &Node) {
        for decree in node.decrees() {
            let at = self.epoch_place(decree.ends());
            let decided = at.and_then(|at| self.epochs[at].decided.as_ref());
            if decided != Some(decree) {
                self.found.add(Invariant::OneDecree, node.id(), || {
                    format!("restarts with {decree:?}, where {decided:?} was decided")
                });
            }
        }
        let (epoch, vote) = (node.membership().epoch, node.vote());
        if let Some(at) = self.epoch_place(epoch) {
            let promised = self.nodes[place].parts[at].promised;
            if vote.promised < promised {
                self.found.add(Invariant::OneDecree, node.id(), || {
                    format!(
                        "restarts with the ballot {}, and had durably promised {promised}",
                        vote.promised
                    )
                });
            }
        }
        self.on_vote(place, epoch, &vote.clone());
    }
}

fn two_decrees(ballot: Ballot, voted: &Decree, decree: &Decree) -> String {
    format!("votes for {decree:?} with the ballot {ballot}, with which another has voted for {voted:?}")
}
