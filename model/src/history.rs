//! What the properties remember of a run: what was issued, said, decided, evaluated and answered.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::id::{Epoch, NodeId, TransactionId};
use plimsoll::protocol::LogEntry;
use plimsoll::protocol::decree::{Ballot, Decree};
use plimsoll::protocol::message::Message;
use plimsoll::time::{Hlc, Timestamp};

use crate::host::Place;
use crate::property::{Broken, Invariant, Milestone, Reached};

/// What was issued, said, decided, evaluated and answered, by anybody.
#[derive(Clone, Debug, Default, Hash)]
pub struct History {
    /// Every record ever issued, void ones too.
    pub issued: BTreeMap<Place, TransactionId>,
    /// The highest bound that each node has said it would issue nothing at or below.
    pub promised: BTreeMap<NodeId, Hlc>,
    /// How far a node (first) has ever said that it durably holds the stream of a coordinator (last).
    pub claimed: BTreeMap<(NodeId, Epoch, NodeId), Hlc>,
    /// Who has acknowledged anything in which epoch.
    pub acknowledged: BTreeSet<(NodeId, Epoch)>,
    /// The highest watermark that anybody has computed.
    pub watermarks: BTreeMap<Epoch, Hlc>,
    /// The decrees that anybody has installed, by the epoch that they end.
    pub decrees: BTreeMap<Epoch, Vec<Decree>>,
    /// The decree that somebody had accepted before, in an answer to the ballot.
    pub reported: BTreeMap<Ballot, Decree>,
    /// The longest sequence that anybody has evaluated.
    pub settled: Vec<(Timestamp, TransactionId)>,
    /// Up to where.
    pub settled_upto: Hlc,
    /// The highest timestamp answered before each transaction was submitted.
    pub submitted: Vec<Hlc>,
    /// What was answered.
    pub answered: BTreeSet<Timestamp>,
    /// The strict reads: the highest timestamp answered before each began, and the epoch in which it did; none once it was answered.
    pub reads: Vec<Option<(Hlc, Epoch)>>,
    /// The nodes that have started again.
    pub restarted: BTreeSet<NodeId>,
    /// What has happened.
    pub milestones: Reached,
}

impl History {
    /// The highest timestamp that was answered.
    pub fn answered_upto(&self) -> Hlc {
        self.answered.last().map_or(Hlc::ZERO, |timestamp| timestamp.hlc)
    }

    /// Whether the record at `place` was answered.
    pub fn is_answered(&self, place: &Place) -> bool {
        self.answered.contains(&Timestamp {
            hlc: place.2,
            node: place.1,
        })
    }

    /// The records of ended epochs before `epoch` that are not void.
    pub fn valid_before(&self, epoch: Epoch) -> impl Iterator<Item = Place> {
        let decrees = self.decrees.range(..epoch).filter_map(|(_, decrees)| decrees.first());
        decrees.flat_map(|decree| {
            let of_epoch = self.issued.keys().filter(|place| place.0 == decree.ends());
            of_epoch.filter(|place| place.2 <= decree.cut_of(place.1)).copied()
        })
    }

    /// `node` writes an entry to its log.
    pub fn on_written(&mut self, node: NodeId, entry: &LogEntry, broken: &mut Broken) {
        match entry {
            LogEntry::Records {
                epoch,
                coordinator,
                records,
            } => {
                for record in records {
                    self.on_record((*epoch, *coordinator, record.hlc), record.transaction.id, broken);
                }
            }
            LogEntry::Vote { acceptor, .. } => {
                if self.restarted.contains(&node) && acceptor.accepted.is_some() {
                    self.milestones.add(Milestone::RestartedVotes);
                }
            }
            LogEntry::Decree(decree) => {
                self.milestones.add(Milestone::EpochChanged);
                let known = self.decrees.entry(decree.ends()).or_default();
                if !known.contains(decree) {
                    known.push(decree.clone());
                }
            }
            LogEntry::Held { .. } | LogEntry::Ceiling(_) | LogEntry::Covered { .. } => {}
        }
    }

    fn on_record(&mut self, place: Place, id: TransactionId, broken: &mut Broken) {
        match self.issued.get(&place) {
            Some(known) if *known != id => broken.add(Invariant::Prefix),
            Some(_) => {}
            None => {
                // Nobody has it but who issues it.
                let promised = self.promised.get(&place.1);
                let watermark = self.watermarks.get(&place.0);
                if promised.into_iter().chain(watermark).any(|bound| place.2 <= *bound) {
                    broken.add(Invariant::Promise);
                }
                if self.issued.values().any(|issued| *issued == id) {
                    self.milestones.add(Milestone::Reissued);
                }
                self.issued.insert(place, id);
            }
        }
    }

    /// `node` says something to another.
    pub fn on_said(&mut self, node: NodeId, message: &Message) {
        match message {
            Message::Append(append) if append.coordinator == node => self.promise(node, append.upto),
            Message::Row(row) if row.node == node => {
                row.positions
                    .iter()
                    .for_each(|(coordinator, position)| self.claim((node, row.epoch, *coordinator), *position));
                if !row.positions.is_empty() {
                    self.acknowledged.insert((node, row.epoch));
                }
            }
            Message::Promise(promise) => {
                let positions = &promise.answer.positions;
                positions
                    .iter()
                    .for_each(|(coordinator, position)| self.claim((node, promise.epoch, *coordinator), *position));
                if let Some((_, decree)) = &promise.answer.accepted {
                    self.reported.insert(promise.ballot, decree.clone());
                }
            }
            Message::Accept(accept) if self.reported.get(&accept.ballot) == Some(&accept.decree) => {
                self.milestones.add(Milestone::Inherited);
            }
            _ => {}
        }
    }

    /// `node` promises to issue nothing at or below `bound`.
    pub fn promise(&mut self, node: NodeId, bound: Hlc) {
        let promised = self.promised.entry(node).or_default();
        *promised = bound.max(*promised);
    }

    fn claim(&mut self, what: (NodeId, Epoch, NodeId), position: Hlc) {
        let claimed = self.claimed.entry(what).or_default();
        *claimed = position.max(*claimed);
    }

    /// `node` has evaluated `sequence` up to `upto`.
    pub fn on_evaluated(&mut self, sequence: &[(Timestamp, TransactionId)], upto: Hlc, broken: &mut Broken) {
        let common = upto.min(self.settled_upto);
        let up_to = |sequence: &[(Timestamp, TransactionId)]| sequence.partition_point(|(at, _)| at.hlc <= common);
        if sequence[..up_to(sequence)] != self.settled[..up_to(&self.settled)] {
            broken.add(Invariant::Agreement);
        }
        if upto > self.settled_upto {
            self.settled_upto = upto;
            self.settled = sequence.to_vec();
        }
    }
}
