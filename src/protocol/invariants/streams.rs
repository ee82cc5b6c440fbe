//! I-1, I-2, I-8 and I-14 in the streams: what is issued, taken in, synced, sent and dropped.

use std::sync::Arc;

use super::super::LogEntry;
use super::super::message::Append;
use super::super::node::Node;
use super::seen::{EpochSeen, Issued, NodeSeen, StreamSeen};
use super::{Invariant, Thoroughness, Watcher};
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;
use crate::transaction::Record;

impl Watcher {
    /// A node writes this to its log; nothing says yet that it is durable.
    pub(super) fn on_written(&mut self, place: usize, entry: &LogEntry) {
        match entry {
            LogEntry::Records {
                epoch,
                coordinator,
                records,
            } => self.on_records(place, *epoch, *coordinator, records),
            LogEntry::Held { epoch, positions } => self.on_held(place, *epoch, positions),
            LogEntry::Decree(decree) => self.on_installed(place, decree),
            LogEntry::Ceiling(_) | LogEntry::Vote { .. } | LogEntry::Covered { .. } => {}
        }
    }

    /// This has become durable.
    pub(super) fn on_synced(&mut self, place: usize, entry: &LogEntry) {
        match entry {
            LogEntry::Records {
                epoch,
                coordinator,
                records,
            } => self.on_records_synced(place, *epoch, *coordinator, records),
            LogEntry::Ceiling(ceiling) => {
                let known = &mut self.nodes[place].ceiling;
                *known = (*known).max(*ceiling);
            }
            LogEntry::Vote { epoch, acceptor } => self.on_vote(place, *epoch, acceptor),
            LogEntry::Decree(_) | LogEntry::Held { .. } | LogEntry::Covered { .. } => {}
        }
    }

    fn on_records(&mut self, place: usize, epoch: Epoch, coordinator: NodeId, records: &[Arc<Record>]) {
        let Some((at, stream)) = self.stream_at(epoch, coordinator) else {
            let node = self.nodes[place].id;
            self.found.add(Invariant::Prefix, node, || {
                format!("holds records of {coordinator} in {epoch}, in which it has no stream")
            });
            return;
        };
        let node = &self.nodes[place];
        let is_own = node.id == coordinator && !node.parts[at].is_resumed;
        for record in records {
            if is_own {
                self.on_issued(place, at, stream, record);
            } else {
                self.on_taken_in(place, at, stream, record);
            }
        }
    }

    /// Invariant I-2: above everything that the node has promised, in whatever run, and above every watermark, which rests on promises.
    fn on_issued(&mut self, place: usize, at: usize, stream: usize, record: &Record) {
        let Self {
            epochs, nodes, found, ..
        } = self;
        let (node, epoch) = (&mut nodes[place], &mut epochs[at]);
        let stream_seen = &mut epoch.streams[stream];
        let (hlc, last) = (record.hlc, stream_seen.last());
        let number = epoch.membership.epoch;
        if hlc <= node.promised {
            let promised = node.promised;
            found.add(Invariant::Promise, node.id, || {
                format!("issues {hlc} in {number} and had promised {promised}")
            });
        } else if hlc <= epoch.watermark {
            let watermark = epoch.watermark;
            found.add(Invariant::Promise, node.id, || {
                format!("issues {hlc} in {number}, where a node has shown the watermark {watermark}")
            });
        }
        if node.parts[at].has_resigned {
            found.add(Invariant::Promise, node.id, || {
                format!("issues {hlc} in {number}, and had promised to issue nothing in it any more")
            });
        }
        if hlc > node.ceiling {
            let ceiling = node.ceiling;
            found.add(Invariant::Promise, node.id, || {
                format!("issues {hlc}, and its durable ceiling is {ceiling}: after a crash it could issue it again")
            });
        }
        if hlc <= epoch.start {
            let start = epoch.start;
            found.add(Invariant::Order, node.id, || {
                format!("issues {hlc} in {number}, which starts at {start}")
            });
        }
        if hlc > last {
            stream_seen.issued.push(Issued::of(record));
        }
        node.promised = node.promised.max(hlc);
        node.parts[at].holdings[stream].held = stream_seen.issued.len();
    }

    /// Invariant I-1: what a node takes in is the next that was issued.
    fn on_taken_in(&mut self, place: usize, at: usize, stream: usize, record: &Record) {
        let node = &mut self.nodes[place];
        let seen = &self.epochs[at].streams[stream];
        let held = &mut node.parts[at].holdings[stream].held;
        let next = seen.issued.get(*held);
        if next.is_some_and(|next| next.is(record)) {
            *held += 1;
            return;
        }
        let (coordinator, epoch) = (seen.coordinator, self.epochs[at].membership.epoch);
        let invariant = match next {
            None if coordinator == node.id => Invariant::Promise,
            _ => Invariant::Prefix,
        };
        self.found.add(invariant, node.id, || {
            let (hlc, id) = (record.hlc, record.transaction.id);
            let issued = match next {
                Some(next) if (next.hlc, next.id) == (hlc, id) => "the same with another content".to_owned(),
                Some(next) => format!("{} at {}", next.id, next.hlc),
                None => "nothing more".to_owned(),
            };
            format!(
                "takes in {id} at {hlc} of {coordinator} in {epoch} after {held} records, where {issued} was issued"
            )
        });
        *held = seen.count_to(record.hlc);
    }

    /// Invariant I-1: a node that notes that it holds a stream up to a position holds its records.
    fn on_held(&mut self, place: usize, epoch: Epoch, positions: &[(NodeId, Hlc)]) {
        for (coordinator, position) in positions {
            let Some((at, stream)) = self.stream_at(epoch, *coordinator) else {
                continue;
            };
            let seen = &self.epochs[at].streams[stream];
            let node = &self.nodes[place];
            let (held, issued) = (node.parts[at].holdings[stream].held, seen.count_to(*position));
            if issued > held {
                self.found.add(Invariant::Prefix, node.id, || {
                    format!("notes that it holds {coordinator} in {epoch} to {position}, and holds {held} of {issued} records")
                });
            }
        }
    }

    fn on_records_synced(&mut self, place: usize, epoch: Epoch, coordinator: NodeId, records: &[Arc<Record>]) {
        let Some((at, stream)) = self.stream_at(epoch, coordinator) else {
            return;
        };
        let seen = &self.epochs[at].streams[stream];
        let node = &mut self.nodes[place];
        let durable = &mut node.parts[at].holdings[stream].durable;
        for record in records {
            let is = |issued: &&Issued| issued.hlc == record.hlc && issued.id == record.transaction.id;
            if seen.issued.get(*durable).filter(is).is_some() {
                *durable += 1;
            } else if seen.count_to(record.hlc) > *durable {
                self.found.add(Invariant::Durability, node.id, || {
                    let hlc = record.hlc;
                    format!(
                        "the disk syncs {hlc} of {coordinator} in {epoch} after {durable} records, with a hole before"
                    )
                });
            }
        }
    }

    /// A node says an append: its own word, or another's that it relays.
    ///
    /// Invariant I-2: its own is a promise. Invariant I-1: between its bounds it holds everything that was issued.
    pub(super) fn on_append(&mut self, place: usize, append: &Append) {
        let Append {
            epoch,
            coordinator,
            prev,
            upto,
            records,
        } = append;
        let is_own = self.nodes[place].id == *coordinator;
        if is_own {
            self.on_promised(place, *epoch, *upto);
        }
        if !is_own && self.thoroughness == Thoroughness::Cheap {
            return;
        }
        let Some((at, stream)) = self.stream_at(*epoch, *coordinator) else {
            return;
        };
        let seen = &self.epochs[at].streams[stream];
        if records.is_empty() && seen.last() <= *prev {
            return;
        }
        let issued = &seen.issued[seen.count_to(*prev)..seen.count_to(*upto).max(seen.count_to(*prev))];
        let is_complete = issued.len() == records.len();
        let is_same = |(issued, record): (&Issued, &Arc<Record>)| issued.is(record);
        if !is_complete || self.thoroughness == Thoroughness::Full && !issued.iter().zip(records).all(is_same) {
            let node = self.nodes[place].id;
            self.found.add(Invariant::Prefix, node, || {
                format!(
                    "sends {} records of {coordinator} in {epoch} between {prev} and {upto}, where {} were issued{}",
                    records.len(),
                    issued.len(),
                    if is_complete { ", but others" } else { "" }
                )
            });
        }
    }

    /// Invariant I-2: what is promised is at or below the durable ceiling, so that the clock begins above it after a restart.
    fn on_promised(&mut self, place: usize, epoch: Epoch, upto: Hlc) {
        let at = self.epoch_place(epoch);
        let node = &mut self.nodes[place];
        if upto == Hlc::MAX {
            // Nothing more in this epoch, but in a later one.
            if let Some(at) = at {
                node.parts[at].has_resigned = true;
            }
            return;
        }
        // Nothing at or below the start of the epoch is issued in it anyway: that is said also by who has not installed it durably.
        let start = at.map_or(Hlc::ZERO, |at| self.epochs[at].start);
        if upto <= node.promised.max(start) {
            return;
        }
        node.promised = upto;
        if upto > node.ceiling {
            let ceiling = node.ceiling;
            self.found.add(Invariant::Promise, node.id, || {
                format!("promises {upto}, and its durable ceiling is {ceiling}: after a crash it could issue below")
            });
        }
    }

    /// Invariant I-14: what a node drops every member of its epoch holds durably, in its versions or in its own log; and the node itself has
    /// evaluated it. Only for lack of room it may drop what it has flushed, and so can give as a snapshot; what it went past by a snapshot
    /// itself it may never have had.
    pub(super) fn on_dropped(&mut self, place: usize, node: &Node) {
        let dropped_for_room = node.counters().bytes_dropped_for_room;
        let run = &mut self.nodes[place].run;
        let has_no_room = std::mem::replace(&mut run.dropped_for_room, dropped_for_room) < dropped_for_room;
        self.nodes[place].has_lacked_room |= has_no_room;
        let seen = &self.nodes[place];
        let given = if has_no_room { seen.flushed } else { seen.covered };
        let mut first_kept = None;
        for (epoch, coordinator, stream) in node.streams_held() {
            let Some((at, slot)) = self.stream_at(epoch, coordinator) else {
                continue;
            };
            first_kept.get_or_insert(at);
            let known = &mut self.nodes[place].parts[at].holdings[slot].dropped;
            if stream.dropped() > self.epochs[at].start && stream.dropped() > *known {
                *known = stream.dropped();
                self.check_dropped((place, at, slot), stream.dropped(), given, node.evaluated());
            }
        }
        let first_kept = first_kept.unwrap_or_default();
        let before = std::mem::replace(&mut self.nodes[place].first_kept, first_kept);
        for forgotten in before..first_kept {
            for slot in 0..self.epochs[forgotten].streams.len() {
                let stream = &self.epochs[forgotten].streams[slot];
                if let Some(last) = stream.final_count.checked_sub(1) {
                    self.check_dropped(
                        (place, forgotten, slot),
                        stream.issued[last].hlc,
                        given,
                        node.evaluated(),
                    );
                }
            }
        }
    }

    /// *Given* up to where it may give a snapshot instead.
    fn check_dropped(&mut self, (place, at, slot): (usize, usize, usize), dropped: Hlc, given: Hlc, evaluated: Hlc) {
        let (epoch, nodes) = (&self.epochs[at], &self.nodes);
        let stream = &epoch.streams[slot];
        let members = &self.epochs[nodes[place].run.epoch].membership.members;
        let needs = |member: &&NodeId| {
            let Some(seen) = self.places.get(*member).map(|place| &nodes[*place]) else {
                return stream.count_to(dropped) > 0;
            };
            seen.flushed < dropped && seen.parts[at].holdings[slot].durable < stream.count_to(dropped)
        };
        let needy = members.iter().find(needs).filter(|_| dropped > given);
        if needy.is_none() && dropped <= evaluated {
            return;
        }
        let (node, coordinator, number) = (nodes[place].id, stream.coordinator, epoch.membership.epoch);
        self.found.add(Invariant::Kept, node, || {
            let who = needy.map_or_else(
                || format!("it has evaluated to {evaluated}"),
                |needy| format!("{needy} needs them"),
            );
            format!("has dropped the records of {coordinator} in {number} up to {dropped}, and {who}")
        });
    }

    /// What a restarted node holds, all of it from its disk.
    ///
    /// Invariant I-1: up to its positions it is what was issued. Invariant I-8: it is all that had been synced and is not void.
    pub(super) fn on_recovered_streams(&mut self, place: usize, node: &Node) {
        let Self {
            epochs, nodes, found, ..
        } = self;
        let NodeSeen {
            parts,
            first_kept,
            has_lacked_room,
            flushed,
            ..
        } = &mut nodes[place];
        for (epoch, part) in epochs.iter().zip(parts.iter_mut()) {
            part.is_resumed = epoch.membership.epoch <= node.membership().epoch;
            part.has_acknowledged = false;
            let is_covered = epoch
                .decided
                .as_ref()
                .is_some_and(|decree| decree.start <= node.evaluated());
            for (holding, seen) in part.holdings.iter_mut().zip(&epoch.streams) {
                let covered = if is_covered { seen.final_count } else { 0 };
                (holding.held, holding.received, holding.said) = (covered, 0, 0);
                holding.position = Hlc::ZERO;
            }
        }
        // What it had dropped before was judged then, with the reasons that it had; what its disk still had of that, it drops again. Who had no room has
        // cut off the front of its log: it cannot tell where, and counts as dropped what it has flushed, and so can give as a snapshot.
        let oldest = node
            .streams_held()
            .next()
            .and_then(|(epoch, ..)| place_of(epochs, epoch));
        let oldest = oldest.unwrap_or_default();
        *first_kept = if *has_lacked_room {
            oldest
        } else {
            oldest.min(*first_kept)
        };
        for (epoch, coordinator, stream) in node.streams_held() {
            let Some(at) = place_of(epochs, epoch) else { continue };
            let Some(place) = epochs[at].stream_place(coordinator) else {
                continue;
            };
            let seen = &epochs[at].streams[place];
            let kept_above = stream.dropped().max(node.evaluated());
            let count = seen.count_to(stream.durable());
            let issued = &seen.issued[seen.count_to(kept_above).min(count)..count];
            let mut records = stream.records_between(kept_above, stream.durable());
            let is_same = issued
                .iter()
                .all(|issued| records.next().is_some_and(|record| issued.is(record)));
            if !is_same || records.next().is_some() {
                let durable = stream.durable();
                found.add(Invariant::Prefix, node.id(), || {
                    format!("restarts with other records of {coordinator} in {epoch} up to {durable} than were issued")
                });
            }
            let holding = &mut parts[at].holdings[place];
            let due = valid(seen, epochs[at].decided.is_some()).min(holding.durable);
            if count < due {
                found.add(Invariant::Durability, node.id(), || {
                    format!("restarts with {count} records of {coordinator} in {epoch}; its disk had synced {due}")
                });
            }
            (holding.held, holding.durable) = (count, count);
            holding.dropped = match *has_lacked_room {
                true => stream.dropped().min(*flushed),
                false => stream.dropped().min(holding.dropped),
            };
        }
    }

    /// The places of an epoch and of a coordinator's stream in it.
    pub(super) fn stream_at(&self, epoch: Epoch, coordinator: NodeId) -> Option<(usize, usize)> {
        let at = self.epoch_place(epoch)?;
        Some((at, self.epochs[at].stream_place(coordinator)?))
    }
}

fn place_of(epochs: &[EpochSeen], epoch: Epoch) -> Option<usize> {
    epochs.iter().position(|seen| seen.membership.epoch == epoch)
}

/// How many records of a stream are not void.
fn valid(seen: &StreamSeen, has_ended: bool) -> usize {
    if has_ended { seen.final_count } else { seen.issued.len() }
}
