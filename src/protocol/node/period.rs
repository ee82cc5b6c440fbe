//! The S-phase of one epoch at one node: its streams, who has acknowledged what, and what goes into a frame.
//!
//! Realises sections 3.1, 3.2 and 3.7 of the design by routing between the machines that each know one thing: the
//! streams, replication to each peer, the watermark, catching up. All of it belongs to one epoch and is replaced as a
//! whole when the epoch changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::catchup::{Ask, Lag, Relays};
use super::super::config::{Membership, Profile};
use super::super::decree::Decree;
use super::super::delay::Delay;
use super::super::message::{Append, Fetch, Message};
use super::super::recovery::Recovered;
use super::super::replication::Replication;
use super::super::stream::Stream;
use super::super::watermark::Watermark;
use super::super::{Bug, Planted, SyncMark};
use crate::id::NodeId;
use crate::lattice::Row;
use crate::limits::APPEND_BYTES_MAX;
use crate::time::{Hlc, Monotonic};
use crate::transaction::Record;

/// One epoch's streams and rows, as one node has them.
#[derive(Clone, Debug, Hash)]
pub(super) struct Period {
    own: NodeId,
    membership: Membership,
    /// Of every coordinator; the own one's is what this node has issued.
    streams: BTreeMap<NodeId, Stream>,
    /// Of the own stream, to every other member.
    replication: BTreeMap<NodeId, Replication>,
    watermark: Watermark,
    /// In the stream of every other coordinator; of a node that stores nothing, none.
    lags: BTreeMap<NodeId, Lag>,
    relays: Relays,
    /// Rows or positions have changed since the watermark was last computed.
    is_changed: bool,
    stage: Stage,
    /// This node has restarted in the epoch. It never continues its stream, which is to it like any other's.
    is_resumed: bool,
}

/// How far the epoch has come at this node.
#[derive(Clone, Debug, Hash)]
enum Stage {
    /// Records come in and are acknowledged.
    Open,
    /// Nothing comes in, and the row stays as it is.
    Fenced,
    /// The same, but for what is missing up to this decree's cut: it is asked for, so that the decree can be accepted.
    Filling(Decree),
    /// It has ended with this decree; what is missing up to its cut is asked for.
    Ended(Decree),
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Appended {
    /// The epoch is fenced here.
    Fenced,
    /// It joined on. These records are new and must be persisted; none for a promise, or for what was held already.
    Accepted(Vec<Arc<Record>>),
    /// Records before it are missing.
    Gap,
}

impl Period {
    pub(super) fn new(own: NodeId, membership: Membership, start: Hlc) -> Self {
        let stream = |coordinator: &NodeId| (*coordinator, Stream::new(membership.epoch, *coordinator, start));
        let others = |nodes: &[NodeId]| nodes.iter().copied().filter(|node| *node != own).collect::<Vec<_>>();
        Self {
            own,
            streams: membership.coordinators.iter().map(stream).collect(),
            replication: others(&membership.members)
                .into_iter()
                .map(|peer| (peer, Replication::new(start)))
                .collect(),
            watermark: Watermark::new(membership.clone(), start),
            lags: others(&membership.coordinators)
                .into_iter()
                .filter(|_| stores(&membership, own))
                .map(|peer| (peer, Lag::default()))
                .collect(),
            relays: Relays::default(),
            is_changed: false,
            stage: Stage::Open,
            is_resumed: false,
            membership,
        }
    }

    /// The epoch as a restarted node finds it in its log. *Given* that everything up to `evaluated` is in its versions, and the decree that
    /// has ended the epoch.
    pub(super) fn recover(
        own: NodeId,
        membership: Membership,
        start: Hlc,
        recovered: &Recovered,
        evaluated: Hlc,
        ended_by: Option<&Decree>,
    ) -> Self {
        let mut period = Self::new(own, membership, start);
        let epoch = period.membership.epoch;
        for (coordinator, stream) in &mut period.streams {
            let (records, held) = recovered.stream(epoch, *coordinator);
            let cut = ended_by.map_or(Hlc::MAX, |decree| decree.cut_of(*coordinator));
            let covered = recovered.covered(evaluated).min(cut).max(start);
            let records = &records[records.partition_point(|record| record.hlc <= covered)..];
            *stream = Stream::recovered(epoch, *coordinator, covered, records, held.max(evaluated));
        }
        if period.stores() && period.membership.is_coordinator(own) {
            period.lags.insert(own, Lag::default());
        }
        period.is_resumed = true;
        period.is_changed = true;
        period.watermark.resume(evaluated);
        period.own_row().flushed = evaluated;
        period
    }

    /// About how long a message of `peer` is on its way.
    pub(super) fn one_way(&self, peer: NodeId) -> Duration {
        let replication = self.replication.get(&peer);
        replication.map_or(Duration::ZERO, |replication| replication.delay().one_way())
    }

    /// The own stream goes on as if it had never been left: a bug on purpose.
    #[cfg(feature = "planted")]
    pub(super) fn continue_stream(&mut self) {
        self.is_resumed = false;
        self.lags.remove(&self.own);
    }

    /// Whether this node holds the streams: as a member, or as a learner, who is neither member nor coordinator.
    pub(super) fn stores(&self) -> bool {
        stores(&self.membership, self.own)
    }

    /// Whether this node has restarted in the epoch, in which it issues nothing any more.
    pub(super) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Nothing more is taken in or acknowledged. Has no effect once the epoch has ended.
    pub(super) fn fence(&mut self) {
        if let Stage::Open = self.stage {
            self.stage = Stage::Fenced;
            self.lags.values_mut().for_each(Lag::forget);
        }
    }

    /// What is missing up to the cut of `decree` is taken in after all, and asked for.
    pub(super) fn fill(&mut self, decree: &Decree) {
        match &self.stage {
            Stage::Filling(filling) if filling == decree => {}
            Stage::Open | Stage::Fenced | Stage::Filling(_) => {
                self.stage = Stage::Filling(decree.clone());
                self.lags.values_mut().for_each(Lag::forget);
                self.is_changed = true;
            }
            Stage::Ended(_) => {}
        }
    }

    /// The epoch has ended with `decree`. *Gives* the own records that are void.
    pub(super) fn end(&mut self, decree: &Decree) -> Vec<Arc<Record>> {
        self.stage = Stage::Ended(decree.clone());
        self.lags.values_mut().for_each(Lag::forget);
        self.is_changed = true;
        let mut void = Vec::new();
        for (coordinator, stream) in &mut self.streams {
            let dropped = stream.truncate(decree.cut_of(*coordinator));
            if *coordinator == self.own && !self.is_resumed {
                void = dropped;
            }
        }
        void
    }

    /// The decree that has ended the epoch.
    pub(super) fn ended_by(&self) -> Option<&Decree> {
        match &self.stage {
            Stage::Ended(decree) => Some(decree),
            Stage::Open | Stage::Fenced | Stage::Filling(_) => None,
        }
    }

    /// Whether the streams are durably held here up to the cut of `decree`.
    pub(super) fn holds(&self, decree: &Decree) -> bool {
        let mut cut = decree.cut.iter();
        cut.all(|(coordinator, cut)| {
            self.streams
                .get(coordinator)
                .is_some_and(|stream| stream.durable() >= *cut)
        })
    }

    /// How far every stream is durably held.
    pub(super) fn durable_positions(&self) -> Vec<(NodeId, Hlc)> {
        self.streams
            .iter()
            .map(|(coordinator, stream)| (*coordinator, stream.durable()))
            .collect()
    }

    /// How far every stream is held: durably once what was written so far is.
    pub(super) fn positions(&self) -> Vec<(NodeId, Hlc)> {
        self.streams
            .iter()
            .map(|(coordinator, stream)| (*coordinator, stream.received()))
            .collect()
    }

    /// A piece of a stream for who lacks it, in an epoch in which nothing is sent any more.
    pub(super) fn piece(&self, fetch: &Fetch) -> Option<Append> {
        Some(
            self.streams
                .get(&fetch.coordinator)?
                .piece(fetch.after, APPEND_BYTES_MAX),
        )
    }

    /// Whether the epoch is open here.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(super) fn streams(&self) -> &BTreeMap<NodeId, Stream> {
        &self.streams
    }

    pub(super) fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// The highest bound that this node has promised; none if it issues nothing in the epoch.
    pub(super) fn promised(&self) -> Option<Hlc> {
        let own = self.streams.get(&self.own).filter(|_| !self.is_resumed);
        own.map(Stream::received)
    }

    /// The weight of the own records that a majority does not hold yet.
    pub(super) fn unstable_bytes(&self) -> usize {
        self.streams
            .get(&self.own)
            .map_or(0, |own| own.bytes_above(self.watermark.stable(self.own)))
    }

    /// The weight of the own records above `flushed`.
    pub(super) fn kept_bytes(&self, flushed: Hlc) -> usize {
        self.streams.get(&self.own).map_or(0, |own| own.bytes_above(flushed))
    }

    /// The weight of the records of all streams.
    pub(super) fn bytes(&self) -> usize {
        self.streams.values().map(Stream::bytes).sum()
    }

    /// Whether it has ended, and its end lies at or below `bound`.
    pub(super) fn is_through(&self, bound: Hlc) -> bool {
        self.ended_by().is_some_and(|decree| decree.start <= bound)
    }

    /// The durable versions of this node hold everything up to `bound`, whatever it has held of the streams.
    pub(super) fn cover(&mut self, bound: Hlc) {
        let ended_by = self.ended_by().cloned();
        for (coordinator, stream) in &mut self.streams {
            let cut = ended_by.as_ref().map_or(Hlc::MAX, |decree| decree.cut_of(*coordinator));
            stream.cover(bound.min(cut));
        }
        self.watermark.resume(bound);
        self.is_changed = true;
    }

    /// Drops the oldest records at or below `through` until `bytes` are dropped. *Gives* how many were.
    pub(super) fn drop_oldest(&mut self, bytes: usize, through: Hlc) -> usize {
        let mut dropped = 0;
        while dropped < bytes {
            let firsts = self
                .streams
                .values_mut()
                .filter_map(|stream| Some((stream.first_record()?, stream)));
            let droppable = firsts.filter(|(first, stream)| *first <= through.min(stream.durable()));
            let Some((first, stream)) = droppable.min_by_key(|(first, _)| *first) else {
                break;
            };
            let before = stream.bytes();
            stream.drop_through(first);
            dropped += before - stream.bytes();
        }
        dropped
    }

    /// Appends to the own stream: a record at `upto`, or a promise.
    pub(super) fn issue(&mut self, record: Option<&Arc<Record>>, upto: Hlc, mark: SyncMark) {
        let own = self.streams.get_mut(&self.own).expect("only a coordinator issues");
        own.extend(record.map_or(&[][..], std::slice::from_ref), upto, mark);
    }

    /// *Given* an append of this epoch and of a stream that this node does not issue itself.
    pub(super) fn on_append(&mut self, from: NodeId, mut append: Append, mark: SyncMark, now: Monotonic) -> Appended {
        let coordinator = append.coordinator;
        match &self.stage {
            Stage::Open => {}
            Stage::Fenced => return Appended::Fenced,
            Stage::Filling(decree) | Stage::Ended(decree) => {
                let cut = decree.cut_of(coordinator);
                append.records.retain(|record| record.hlc <= cut);
                append.upto = append.upto.min(cut);
                if append.prev > append.upto {
                    return Appended::Fenced;
                }
            }
        }
        let stream = self
            .streams
            .get_mut(&coordinator)
            .expect("the caller has checked the coordinator");
        let lag = self
            .lags
            .get_mut(&coordinator)
            .expect("the caller has checked that it is another's stream");
        if from == coordinator {
            lag.on_direct(now);
        }
        let held = stream.received();
        match stream.accept(append, mark) {
            Ok(new) => {
                self.is_changed |= stream.received() > held;
                Appended::Accepted(new)
            }
            Err(gap) => {
                lag.on_gap(from, gap.upto, now);
                Appended::Gap
            }
        }
    }

    /// *Given* a row of this epoch and of another node.
    pub(super) fn on_row(&mut self, row: &Row, now: Monotonic, profile: &Profile) {
        if let Some(replication) = self.replication.get_mut(&row.node) {
            replication.on_acknowledged(row.position(self.own), now, profile);
        }
        self.watermark.join(row);
        self.is_changed = true;
    }

    /// `from` asks for a stream of this epoch, this node's own or one that it holds.
    pub(super) fn on_fetch(&mut self, from: NodeId, fetch: &Fetch, now: Monotonic, profile: &Profile) {
        let replication = self.replication.get_mut(&from);
        if let Some(replication) = replication.filter(|_| fetch.coordinator == self.own && !self.is_resumed) {
            replication.on_asked(fetch.after);
        } else if self.streams.contains_key(&fetch.coordinator) {
            self.relays
                .on_asked(from, fetch.coordinator, fetch.after, now.plus(profile.relay_for));
        }
    }

    /// *Gives* whether records became durable.
    pub(super) fn on_persisted(&mut self, mark: SyncMark) -> bool {
        // Every stream must hear of it, so no short-circuit.
        self.streams
            .values_mut()
            .fold(false, |any, stream| stream.on_persisted(mark) | any)
    }

    /// Raises the own row to what is held durably, nothing above `ceiling`.
    ///
    /// *Gives* whether somebody who waits may learn from the row that a position has passed what he waits for.
    pub(super) fn raise_positions(&mut self, ceiling: Hlc, planted: Planted) -> bool {
        let is_open = self.is_open() || planted.is(Bug::LateSyncRaisesFencedRow);
        if !self.membership.is_member(self.own) || !is_open {
            return false;
        }
        let wanted = self.watermark.matrix().wanted();
        let row = self.watermark.own_row(self.own);
        let mut is_awaited = false;
        for (coordinator, stream) in &self.streams {
            let durable = stream.durable();
            let position = if durable == Hlc::MAX {
                durable
            } else {
                durable.min(ceiling)
            };
            let before = row.position(*coordinator);
            if position > before {
                is_awaited |= before < wanted && wanted <= position;
                row.raise_position(*coordinator, position);
                self.is_changed = true;
            }
        }
        is_awaited
    }

    /// The own row, for what else it says.
    pub(super) fn own_row(&mut self) -> &mut Row {
        self.watermark.own_row(self.own)
    }

    /// Computes the watermark if anything has changed, and looks who is further. *Gives* whether it went up.
    pub(super) fn advance(&mut self, now: Monotonic) -> bool {
        if !std::mem::take(&mut self.is_changed) {
            return false;
        }
        for (coordinator, lag) in &mut self.lags {
            let furthest = match &self.stage {
                Stage::Open => self.watermark.furthest(*coordinator),
                Stage::Fenced => Hlc::ZERO,
                Stage::Filling(decree) | Stage::Ended(decree) => decree.cut_of(*coordinator),
            };
            lag.on_progress(furthest, self.streams[coordinator].received(), now);
        }
        self.is_open() && self.watermark.advance()
    }

    /// Drops the records at or below `through` that every member has flushed.
    pub(super) fn drop_through(&mut self, through: Hlc) {
        let through = through.min(self.watermark.flushed_by_all());
        for stream in self.streams.values_mut() {
            stream.drop_through(through);
        }
    }

    /// What has come due: adds the peers to send to again, and the fetches with whom to ask.
    ///
    /// *Given* the members of later epochs, who hold everything of an epoch that has ended, or can say that it is gone.
    pub(super) fn on_time(
        &mut self,
        now: Monotonic,
        profile: &Profile,
        later: &[NodeId],
        hurry: &mut Vec<NodeId>,
        fetches: &mut Vec<(NodeId, Fetch)>,
    ) {
        let is_open = self.is_open();
        for (peer, replication) in &mut self.replication {
            if is_open && replication.on_time(now, profile) {
                hurry.push(*peer);
            }
        }
        for (coordinator, lag) in &mut self.lags {
            let patience = patience(self.replication.get(coordinator), profile);
            let Some(ask) = lag.on_time(now, patience, profile) else {
                continue;
            };
            let after = self.streams[coordinator].received();
            let asked = match ask {
                Ask::Node(node) => Some(node),
                Ask::Holder(turn) => {
                    // At the end of an epoch rows stand still, and whoever has voted for the cut holds everything up to it.
                    let mut holders = match is_open {
                        true => self.watermark.holders(*coordinator, after),
                        false => {
                            let mut members = self.membership.members.clone();
                            members.extend(later.iter().filter(|node| !self.membership.is_member(**node)));
                            members
                        }
                    };
                    holders.retain(|holder| *holder != self.own);
                    (!holders.is_empty()).then(|| holders[turn % holders.len()])
                }
            };
            let Some(asked) = asked else { continue };
            if asked != *coordinator && is_open {
                lag.on_relay_asked(asked, now, profile);
            }
            fetches.push((
                asked,
                Fetch {
                    epoch: self.membership.epoch,
                    coordinator: *coordinator,
                    after,
                },
            ));
        }
    }

    /// When [`Period::on_time`] may next have something to do.
    pub(super) fn wake_at(&self, profile: &Profile) -> Monotonic {
        let retransmit = self
            .replication
            .values()
            .map(Replication::retransmit_at)
            .filter(|_| self.is_open())
            .min();
        let lags = self
            .lags
            .iter()
            .map(|(coordinator, lag)| lag.wake_at(patience(self.replication.get(coordinator), profile), profile));
        lags.chain(retransmit).min().unwrap_or(Monotonic::NEVER)
    }

    /// The peers to whom the stream of `coordinator` is relayed.
    pub(super) fn relay_peers(&self, coordinator: NodeId) -> impl Iterator<Item = NodeId> {
        self.relays.peers_for(coordinator)
    }

    /// Adds what `peer` should hear now to `messages`. *Gives* whether there is more than one frame holds.
    pub(super) fn messages_for(
        &mut self,
        peer: NodeId,
        now: Monotonic,
        profile: &Profile,
        messages: &mut Vec<Message>,
    ) -> bool {
        let mut has_more = false;
        let own = self.streams.get(&self.own).filter(|_| !self.is_resumed);
        if let (Some(own), Some(replication)) = (own, self.replication.get_mut(&peer)) {
            messages.push(Message::Append(replication.next_append(own, now, profile)));
            has_more |= replication.has_more(own.last_record());
        }
        messages.extend(self.watermark.matrix().row(self.own).cloned().map(Message::Row));
        let relayed = self.relays.relayed_to(peer, now);
        let mut relayed_bytes = 0;
        for (coordinator, sent) in &relayed {
            if relayed_bytes >= APPEND_BYTES_MAX {
                // Each piece holds one record at least, and many large ones do not fit into one frame.
                has_more = true;
                break;
            }
            let stream = &self.streams[coordinator];
            let append = stream.piece(*sent, APPEND_BYTES_MAX / relayed.len());
            let reached = append.records.last().map_or(append.prev, |record| record.hlc);
            has_more |= reached < stream.last_record();
            relayed_bytes += append.records.iter().map(|record| record.weight()).sum::<usize>();
            self.relays.on_sent(peer, *coordinator, reached);
            messages.push(Message::Append(append));
            messages.extend(self.watermark.matrix().row(*coordinator).cloned().map(Message::Row));
        }
        has_more
    }
}

fn stores(membership: &Membership, node: NodeId) -> bool {
    membership.is_member(node) || !membership.is_coordinator(node)
}

/// How long an answer of a coordinator may take: as measured on the own stream to it.
fn patience(replication: Option<&Replication>, profile: &Profile) -> Duration {
    let margin = profile.active_tick * 4;
    replication.map_or_else(
        || Delay::default().patience(margin),
        |replication| replication.delay().patience(margin),
    )
}
