//! I-3, I-12 and I-13: bounds, and the acknowledgements that they rest on.

use super::super::message::Message;
use super::super::node::Node;
use super::seen::EpochSeen;
use super::{Invariant, NodeSeen, Thoroughness, Watcher};
use crate::lattice::Row;
use crate::time::Hlc;

impl Watcher {
    /// Invariant I-12, and what a watermark and an evaluated bound that have risen say.
    pub(super) fn on_bounds(&mut self, place: usize, node: &Node) {
        self.follow_epoch(place, node);
        let (watermark, evaluated) = (node.watermark(), node.evaluated());
        let Self {
            epochs, nodes, found, ..
        } = self;
        let run = &mut nodes[place].run;
        if (watermark, evaluated) == (run.watermark, run.evaluated) {
            return;
        }
        let before = (run.watermark, run.evaluated);
        (run.watermark, run.evaluated) = (watermark, evaluated);
        if watermark < before.0 || evaluated < before.1 {
            found.add(Invariant::Monotone, node.id(), || {
                format!(
                    "watermark and evaluated bound go from {before:?} back to {:?}",
                    (watermark, evaluated)
                )
            });
        }
        let at = run.epoch;
        if watermark > epochs[at].watermark {
            self.on_watermark(place, at, watermark);
        }
        if evaluated > before.1 {
            self.on_evaluated_to(place, evaluated);
        }
    }

    fn follow_epoch(&mut self, place: usize, node: &Node) {
        let (before, epoch) = (self.nodes[place].run.epoch, node.membership().epoch);
        let known = self.epochs[before].membership.epoch;
        if epoch == known {
            return;
        }
        if epoch < known {
            self.found.add(Invariant::Monotone, node.id(), || {
                format!("goes from {known} back to {epoch}")
            });
        }
        match self.epoch_place(epoch) {
            Some(at) => self.nodes[place].run.epoch = at,
            None => self.found.add(Invariant::OneDecree, node.id(), || {
                format!("is in {epoch}, which no decree has begun")
            }),
        }
    }

    /// A watermark is shown that is higher than any before in its epoch.
    ///
    /// Invariant I-3: what it makes final lies on the disks of a majority. Invariants I-4 and I-6, if the epoch has ended meanwhile.
    fn on_watermark(&mut self, place: usize, at: usize, watermark: Hlc) {
        let Self {
            epochs, nodes, found, ..
        } = self;
        let node = nodes[place].id;
        let epoch = &mut epochs[at];
        epoch.watermark = watermark;
        let number = epoch.membership.epoch;
        if let Some(decree) = &epoch.decided {
            if decree.start <= watermark {
                let start = decree.start;
                found.add(Invariant::Order, node, || {
                    format!("computes the watermark {watermark} in {number}, and what follows starts at {start}")
                });
            }
            for stream in &epoch.streams {
                if stream
                    .issued
                    .get(stream.final_count)
                    .is_some_and(|void| void.hlc <= watermark)
                {
                    found.add(Invariant::Cut, node, || {
                        format!(
                            "computes the watermark {watermark} in {number}, above a record of {} that is cut off",
                            stream.coordinator
                        )
                    });
                }
            }
            return;
        }
        for (place, stream) in epoch.streams.iter().enumerate() {
            let count = stream.follow(stream.final_count, watermark);
            if count > stream.final_count {
                check_stable(epoch, nodes, place, count, watermark, |text| {
                    found.add(Invariant::Stable, node, || text)
                });
            }
        }
        self.finalize(place, at, |_| watermark);
    }

    /// A node says these messages to a peer.
    pub(super) fn on_said(&mut self, place: usize, messages: &[Message], is_row_seen: &mut bool) {
        for message in messages {
            match message {
                Message::Append(append) => self.on_append(place, append),
                Message::Row(row) if row.node == self.nodes[place].id => {
                    if !std::mem::replace(is_row_seen, true) {
                        self.on_own_row(place, row);
                    }
                }
                Message::Row(row) if self.thoroughness == Thoroughness::Full => self.on_carried_row(place, row),
                Message::Promise(promise) => self.on_answer(place, promise.epoch, &promise.answer),
                Message::Row(_)
                | Message::Fetch(_)
                | Message::Prepare(_)
                | Message::Accept(_)
                | Message::Accepted(_)
                | Message::Outbid(_)
                | Message::Decided(_)
                | Message::Gone(_)
                | Message::SnapshotRequest(_)
                | Message::SnapshotChunk(_)
                | Message::Declared(_) => {}
            }
        }
    }

    /// A node says how far it has come.
    ///
    /// Invariant I-3: its disk holds what it acknowledges. I-12: it takes nothing back. I-4: it acknowledges nothing beyond what it had
    /// when it fenced the epoch. I-13: it holds everything before the epoch. I-2: nothing lies above its durable ceiling.
    fn on_own_row(&mut self, place: usize, row: &Row) {
        let Some(at) = self.epoch_place(row.epoch) else { return };
        let Self {
            epochs, nodes, found, ..
        } = self;
        let (epoch, node) = (&epochs[at], &mut nodes[place]);
        let NodeSeen {
            id,
            parts,
            ceiling,
            flushed,
            run,
            ..
        } = node;
        let part = &mut parts[at];
        for (slot, (coordinator, position)) in row.positions.iter().enumerate() {
            let is_here = epoch
                .streams
                .get(slot)
                .is_some_and(|stream| stream.coordinator == *coordinator);
            let Some(slot) = is_here.then_some(slot).or_else(|| epoch.stream_place(*coordinator)) else {
                continue;
            };
            let holding = &mut part.holdings[slot];
            if *position == holding.position {
                continue;
            }
            if *position < holding.position {
                let before = holding.position;
                found.add(Invariant::Monotone, *id, || {
                    format!("its position in the stream of {coordinator} goes from {before} back to {position}")
                });
            }
            holding.position = *position;
            holding.said = epoch.streams[slot].follow(holding.said, *position);
            holding.said_ever = holding.said_ever.max(holding.said);
            if holding.said > holding.durable {
                let (said, durable) = (holding.said, holding.durable);
                found.add(Invariant::Stable, *id, || {
                    format!(
                        "acknowledges {said} records of {coordinator} up to {position}, and its disk holds {durable}"
                    )
                });
            }
            let fenced_at = part.fenced_at.as_ref().map_or(usize::MAX, |counts| counts[slot]);
            if holding.said > fenced_at {
                found.add(Invariant::Cut, *id, || {
                    format!(
                        "has fenced {}, and raises its position of {coordinator} to {position}",
                        row.epoch
                    )
                });
            }
            if *position > *ceiling && *position != Hlc::MAX {
                found.add(Invariant::Promise, *id, || {
                    format!("acknowledges {position} of {coordinator}, and its durable ceiling is {ceiling}")
                });
            }
        }
        if row.evaluated < run.said.0 || row.flushed < run.said.1 || row.evaluated > run.evaluated {
            let (said, evaluated) = (run.said, run.evaluated);
            found.add(Invariant::Monotone, *id, || {
                let now = (row.evaluated, row.flushed);
                format!("says {now:?} of evaluated and flushed after {said:?}, and has evaluated to {evaluated}")
            });
        }
        run.said = (row.evaluated, row.flushed);
        if row.flushed > *flushed {
            found.add(Invariant::Kept, *id, || {
                format!(
                    "says that it has flushed to {}, and its executor has to {flushed}",
                    row.flushed
                )
            });
        }
        if !row.positions.is_empty() && !part.has_acknowledged {
            part.has_acknowledged = true;
            self.on_first_acknowledgement(place, at);
        }
    }

    /// Invariant I-13: whoever acknowledges in an epoch durably holds every epoch before up to its cuts.
    fn on_first_acknowledgement(&mut self, place: usize, at: usize) {
        let node = &self.nodes[place];
        for (epoch, part) in self.epochs[..at].iter().zip(&node.parts) {
            if epoch
                .decided
                .as_ref()
                .is_some_and(|decree| decree.start <= node.flushed)
            {
                continue;
            }
            for (seen, holding) in epoch.streams.iter().zip(&part.holdings) {
                if holding.durable < seen.final_count {
                    self.found.add(Invariant::Complete, node.id, || {
                        format!(
                            "acknowledges in {} and durably holds {} of {} records of {} in {}",
                            self.epochs[at].membership.epoch,
                            holding.durable,
                            seen.final_count,
                            seen.coordinator,
                            epoch.membership.epoch
                        )
                    });
                }
            }
        }
    }

    /// Invariant I-3: a row that is carried for another says no more than that one has said.
    fn on_carried_row(&mut self, place: usize, row: &Row) {
        let (Some(at), Some(owner)) = (self.epoch_place(row.epoch), self.places.get(&row.node)) else {
            return;
        };
        let node = self.nodes[place].id;
        for (coordinator, position) in &row.positions {
            let Some(slot) = self.epochs[at].stream_place(*coordinator) else {
                continue;
            };
            let said = self.nodes[*owner].parts[at].holdings[slot].said_ever;
            let carried = self.epochs[at].streams[slot].count_to(*position);
            if carried > said {
                self.found.add(Invariant::Stable, node, || {
                    format!(
                        "carries a row in which {} acknowledges {carried} records of {coordinator}, and it has acknowledged {said}",
                        row.node
                    )
                });
            }
        }
    }

    /// What a node believes of every stream after a step. Invariant I-1: it holds what it takes itself to hold. I-3: its disk does too,
    /// and a majority's disks where it takes that for granted.
    pub(super) fn on_streams(&mut self, place: usize, node: &Node) {
        let Self {
            epochs, nodes, found, ..
        } = self;
        for (epoch, coordinator, stream) in node.streams_held() {
            let Some(at) = epochs.iter().position(|seen| seen.membership.epoch == epoch) else {
                continue;
            };
            let Some(slot) = epochs[at].stream_place(coordinator) else {
                continue;
            };
            let seen = &epochs[at].streams[slot];
            let holding = &mut nodes[place].parts[at].holdings[slot];
            let (received, durable) = (stream.received(), stream.durable());
            holding.received = seen.follow(holding.received, received);
            if holding.received > holding.held {
                let (believed, held) = (holding.received, holding.held);
                found.add(Invariant::Prefix, node.id(), || {
                    format!(
                        "believes to hold {coordinator} in {epoch} to {received}, {believed} records, and holds {held}"
                    )
                });
            }
            let believed = seen.count_to(durable);
            if believed > holding.durable {
                let durable = holding.durable;
                found.add(Invariant::Stable, node.id(), || {
                    format!("believes that {believed} records of {coordinator} in {epoch} are durable; its disk holds {durable}")
                });
            }
        }
        let at = nodes[place].run.epoch;
        for slot in 0..epochs[at].streams.len() {
            let stable = node.stable(epochs[at].streams[slot].coordinator);
            if stable > epochs[at].streams[slot].believed {
                epochs[at].streams[slot].believed = stable;
                let count = epochs[at].streams[slot].count_to(stable);
                let found = |text| found.add(Invariant::Stable, node.id(), || text);
                check_stable(&epochs[at], nodes, slot, count, stable, found);
            }
        }
    }

    pub(super) fn on_recovered_bounds(&mut self, place: usize, node: &Node) {
        let settled = self.order.count_to(node.evaluated());
        let at = self.epoch_place(node.membership().epoch);
        let seen = &mut self.nodes[place];
        seen.run.epoch = at.unwrap_or_default();
        (seen.run.watermark, seen.run.evaluated) = (node.watermark(), node.evaluated());
        seen.run.settled = settled;
        let (evaluated, flushed) = (node.evaluated(), seen.flushed);
        // What a restart begins with was durable, also what the node had not been told of yet.
        seen.flushed = flushed.max(evaluated);
        if evaluated < flushed {
            self.found.add(Invariant::Monotone, node.id(), || {
                format!("restarts with versions up to {evaluated}, and had flushed {flushed}")
            });
        }
    }
}

/// Tells `found` if no majority of the epoch's members durably holds the first `count` records of a stream.
fn check_stable(
    epoch: &EpochSeen,
    nodes: &[NodeSeen],
    stream: usize,
    count: usize,
    bound: Hlc,
    found: impl FnOnce(String),
) {
    let at = (epoch.membership.epoch.number() - crate::id::Epoch::FIRST.number()) as usize;
    let holds = |member: &&usize| nodes[**member].parts[at].holdings[stream].durable >= count;
    let holders = epoch.members.iter().filter(holds).count();
    if holders < epoch.majority() {
        found(format!(
            "takes the stream of {} in {} to be stable up to {bound}, and {holders} of {} disks hold its {count} records",
            epoch.streams[stream].coordinator,
            epoch.membership.epoch,
            epoch.membership.members.len()
        ));
    }
}
