//! One node of the protocol: takes an input, routes it between the machines, and says what is to be done.
//!
//! Realises the door of section 3 of the design. A step handles its input, then does what has come due, in one order: the
//! ceiling, time-outs, the promise, the watermark, evaluation, reads, the log, and last the frames, so that what a frame says
//! includes all that the step has learned. What must be durable before it is said is kept back by the
//! positions themselves: they rise only when their sync mark has come back.
//!
//! Tests of whole nodes are in `tests/protocol.rs` and in the simulator.

mod code;
mod counters;
mod epochs;
mod fingerprint;
mod inspection;
mod period;
mod requests;
mod restatement;
mod snapshots;
mod succession;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

pub use counters::Counters;
use epochs::HeldBack;
use period::{Appended, Period};
use succession::Succession;

use super::agreement::Agreement;
use super::config::{Membership, NodeConfig};
use super::declared::Declarations;
use super::decree::Decree;
use super::evaluation::Evaluation;
use super::message::{Append, Message};
use super::pacing::Pacing;
use super::read::Reads;
use super::reconfiguration::Reconfiguration;
use super::submission::Submissions;
use super::transfer::Transfer;
use super::{
    Acceptor, Divergence, Doubt, Effect, Evaluated, Input, LogEntry, Planted, ReadMode, Recovered, Refusal, Reply,
    SyncMark,
};
use crate::id::NodeId;
use crate::lattice::Row;
use crate::limits::GUESTS_MAX;
use crate::time::{Hlc, HybridClock, Monotonic, Now};
use crate::transaction::ThunkId;

/// The protocol state of one node.
#[derive(Clone)]
pub struct Node {
    config: NodeConfig,
    clock: HybridClock,
    /// The ceiling that is on its way to the disk, and since when.
    ceiling_asked: Option<(SyncMark, Hlc, Monotonic)>,
    /// How long the last ceiling took to become durable.
    ceiling_took: Duration,
    period: Period,
    pacing: Pacing,
    evaluation: Evaluation,
    /// Of another replica's state to this one.
    transfer: Transfer,
    submissions: Submissions,
    reads: Reads,
    agreement: Agreement,
    quarantine: Option<Divergence>,
    /// The end of the current epoch, as far as it has come.
    succession: Succession,
    /// Epochs that have ended and are not yet evaluated here, or not yet flushed by everybody; the oldest first.
    ended: VecDeque<Period>,
    /// Every decree installed here, ascending: the chain that is served to whoever is behind.
    decrees: Vec<Decree>,
    /// Until this mark has come back the last decree is not durable here: nothing is issued or acknowledged in its epoch.
    installing: Option<SyncMark>,
    /// What clients asked for while nothing could be issued, and what a decree has made void.
    held_back: VecDeque<HeldBack>,
    /// What this step writes to the log, under `mark`.
    log: Vec<LogEntry>,
    mark: SyncMark,
    /// What goes with the next frames to peers, or to this node itself.
    outbox: Vec<(NodeId, Message)>,
    /// The peers that get a frame in this step.
    due: Vec<NodeId>,
    last_step: Monotonic,
    /// It is being shut down.
    is_resigning: bool,
    /// The driver knows that it may stop.
    has_resigned: bool,
    /// Changes of the members that were asked for here.
    reconfiguration: Reconfiguration,
    /// Who is no peer of the epoch and is talked to, until when: learners, and former members.
    guests: BTreeMap<NodeId, Monotonic>,
    /// Who has which code.
    declarations: Declarations,
    counters: Counters,
    /// For checkers only.
    planted: Planted,
}

impl Node {
    /// A node that has just started with empty versions.
    ///
    /// *Given* `floor`, at or below which it never issues: the durable ceiling of the run before, or [`Hlc::ZERO`].
    pub fn new(config: NodeConfig, membership: Membership, floor: Hlc) -> Self {
        Self {
            clock: HybridClock::new(floor),
            ceiling_asked: None,
            ceiling_took: Duration::ZERO,
            pacing: Pacing::new(membership.peers_of(config.id)),
            evaluation: Evaluation::new(Hlc::ZERO),
            transfer: Transfer::default(),
            submissions: Submissions::default(),
            reads: Reads::default(),
            agreement: Agreement::new(config.id, membership.members.len()),
            period: Period::new(config.id, membership.clone(), Hlc::ZERO),
            quarantine: None,
            succession: Succession::new(&config, &membership, Monotonic(0)),
            ended: VecDeque::new(),
            decrees: Vec::new(),
            installing: None,
            held_back: VecDeque::new(),
            log: Vec::new(),
            mark: SyncMark(1),
            outbox: Vec::new(),
            due: Vec::new(),
            last_step: Monotonic(0),
            is_resigning: false,
            has_resigned: false,
            reconfiguration: Reconfiguration::new(config.id),
            guests: BTreeMap::new(),
            declarations: Declarations::new(config.id),
            counters: Counters::default(),
            planted: Planted::default(),
            config,
        }
    }

    /// A node that starts again with what it had written.
    ///
    /// *Given* the membership of the first epoch, what was found in the log, and the bound up to which the versions hold everything.
    /// It stores data and votes at once, but issues nothing in an epoch that it had installed before: it asks for another one.
    pub fn recover(
        config: NodeConfig,
        genesis: Membership,
        recovered: &Recovered,
        evaluated: Hlc,
        now: Monotonic,
    ) -> Self {
        let mut node = Self::new(config, genesis.clone(), recovered.ceiling());
        node.decrees = recovered.decrees().cloned().collect();
        let own = node.config.id;
        let (mut membership, mut start) = (genesis, Hlc::ZERO);
        for decree in recovered.decrees() {
            // Of an epoch that a snapshot covers there may be parts in the log, which are of no use to anybody.
            if decree.start > recovered.covered(evaluated) {
                let mut period = Period::recover(own, membership, start, recovered, evaluated, Some(decree));
                period.end(decree);
                node.ended.push_back(period);
            }
            (membership, start) = (decree.membership(), decree.start);
        }
        node.clock.begin_epoch(start);
        let vote = recovered.vote(membership.epoch);
        node.period = Period::recover(own, membership.clone(), start, recovered, evaluated, None);
        if vote.is_some_and(Acceptor::is_fenced) {
            node.period.fence();
        }
        node.succession = Succession::recover(&node.config, &membership, vote, now);
        node.pacing = Pacing::new(membership.peers_of(own));
        node.agreement = Agreement::new(own, membership.members.len());
        node.evaluation = Evaluation::new(evaluated);
        node.last_step = now;
        node
    }

    /// The one door: takes an input at a time, and adds what is to be done to `effects`, in order.
    pub fn step(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        self.last_step = now.monotonic;
        match input {
            Input::Receive { from, messages } => {
                for message in messages {
                    self.on_message(now, from, message, effects);
                }
            }
            Input::Wake => {}
            Input::Resign => self.is_resigning = true,
            Input::Persisted(mark) => self.on_persisted(now, mark),
            Input::Evaluated(evaluated) => self.on_evaluated(now, evaluated, effects),
            Input::ChunkTaken(taken) => self.on_chunk_taken(now, taken),
            Input::Restored { bound } => self.on_restored(bound, effects),
            Input::Submit { request, transaction } => {
                if let Err(refusal) = self.on_submit(now, request, transaction) {
                    effects.push(Effect::Reply {
                        request,
                        reply: Reply::Refused(refusal),
                    });
                }
            }
            Input::Declare { thunks } => self.on_declare(thunks),
            Input::Change { request, change } => {
                let membership = self.period.membership();
                let result = self
                    .check_serves()
                    .and_then(|()| self.reconfiguration.request(request, change, membership, now.monotonic));
                if let Err(refusal) = result {
                    effects.push(Effect::Reply {
                        request,
                        reply: Reply::Refused(refusal),
                    });
                }
            }
            Input::Read { request, mode, query } => {
                if let Err(refusal) = self.on_read(now, request, mode, query, effects) {
                    effects.push(Effect::Reply {
                        request,
                        reply: Reply::Refused(refusal),
                    });
                }
            }
        }
        self.extend_ceiling(now);
        self.stamp_declaration(now);
        self.on_time(now);
        self.proceed_with_transfer(now, effects);
        self.reconfigure(now, effects);
        self.succeed(now, effects);
        self.resign(effects);
        self.promise_if_due(now);
        self.advance(now, effects);
        self.persist(effects);
        self.send(now, effects);
    }

    /// When the next [`Input::Wake`] is due; [`Monotonic::NEVER`] if nothing is.
    pub fn wake_at(&self) -> Monotonic {
        let profile = &self.config.profile;
        let (mut retry_at, mut promise_at) = (Monotonic::NEVER, Monotonic::NEVER);
        if self.quarantine.is_none() {
            retry_at = self.evaluation.retry_at().min(self.transfer.wake_at(profile));
        }
        if self.pacing.is_alone() && self.is_promise_awaited() {
            // There is no frame to carry the promise, so no frame wakes the node to make it.
            promise_at = self.last_step.plus(profile.active_tick);
        }
        self.pacing
            .wake_at(self.last_step, profile)
            .min(self.succession.wake_at())
            .min(
                self.periods()
                    .map(|period| period.wake_at(profile))
                    .min()
                    .unwrap_or(Monotonic::NEVER),
            )
            .min(retry_at)
            .min(promise_at)
    }

    /// The highest bound below which the set of transactions is final, as far as this node knows.
    pub fn watermark(&self) -> Hlc {
        self.period.watermark().watermark()
    }

    /// Everything at or below is in this replica's versions.
    pub fn evaluated(&self) -> Hlc {
        self.evaluation.evaluated()
    }

    /// The current epoch and who is in it.
    pub fn membership(&self) -> &Membership {
        self.period.membership()
    }

    /// Every timestamp of the current epoch is above it; [`Hlc::ZERO`] of the first.
    pub fn epoch_start(&self) -> Hlc {
        self.decrees.last().map_or(Hlc::ZERO, |decree| decree.start)
    }

    /// This replica's divergence from a majority, because of which it has stopped serving; absent in a sound one.
    pub fn quarantine(&self) -> Option<&Divergence> {
        self.quarantine.as_ref()
    }

    /// The thunk that is not registered here and keeps this replica from evaluating further; absent if none does.
    pub fn blocked_by(&self) -> Option<&ThunkId> {
        self.evaluation.blocked_by()
    }

    /// The weight of the records of all streams that this node keeps for who may need them, in bytes.
    pub fn records_bytes_kept(&self) -> usize {
        self.periods().map(Period::bytes).sum()
    }

    /// Plants a bug, so that a checker can show that it finds it. Never in production.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, bug: super::Bug) {
        self.planted = Planted::only(bug);
        self.succession.plant(self.planted);
        if bug == super::Bug::StreamContinued {
            self.period.continue_stream();
            self.succession.continue_stream();
        }
    }

    /// What this node has counted since it started.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn on_message(&mut self, now: Now, from: NodeId, message: Message, effects: &mut Vec<Effect>) {
        let epoch = message.epoch();
        if let Message::Declared(declared) = message {
            // Code is where it is in every epoch.
            self.on_declared(from, declared);
            return;
        }
        if epoch != self.membership().epoch {
            self.on_other_epoch(now, from, message, effects);
            return;
        }
        self.succession.on_heard(from, now.monotonic);
        if !self.membership().is_member(from) && !self.membership().is_coordinator(from) {
            self.welcome(from, now.monotonic);
        }
        match message {
            Message::Append(append) => self.on_append(now, from, append),
            Message::Row(row) => self.on_row(now, row, effects),
            Message::Fetch(fetch) => {
                if let Some(gone) = self.gone(&fetch) {
                    self.outbox.push((from, Message::Gone(gone)));
                } else if self.period.is_open() {
                    self.period.on_fetch(from, &fetch, now.monotonic, &self.config.profile);
                } else {
                    let piece = self.period.piece(&fetch);
                    self.outbox.extend(piece.map(|append| (from, Message::Append(append))));
                }
                self.pacing.hurry(from);
            }
            Message::Gone(gone) => self.on_gone(from, &gone),
            Message::SnapshotRequest(request) => self.on_snapshot_request(from, request, effects),
            Message::SnapshotChunk(chunk) => self.on_chunk(now, from, chunk, effects),
            Message::Prepare(_)
            | Message::Promise(_)
            | Message::Accept(_)
            | Message::Accepted(_)
            | Message::Outbid(_)
            | Message::Decided(_) => self.on_succession(now, from, message),
            Message::Declared(_) => unreachable!("taken in before"),
        }
    }

    fn on_append(&mut self, now: Now, from: NodeId, append: Append) {
        let coordinator = append.coordinator;
        let membership = self.membership();
        if !self.period.stores()
            || !membership.is_coordinator(coordinator)
            || coordinator == self.config.id && !self.period.is_resumed()
        {
            self.counters.not_for_us += 1;
            return;
        }
        if let Err(ahead) = self.clock.observe(
            append.upto,
            self.latest_wall(now.wall),
            self.config.profile.clock_offset_max,
        ) {
            self.counters.ahead_of_clock += 1;
            tracing::warn!(node = %self.config.id, %coordinator, %ahead, "refused an append: check the clocks of both");
            return;
        }
        let held = self.period.streams()[&coordinator].received();
        match self.period.on_append(from, append, self.mark, now.monotonic) {
            Appended::Gap => self.counters.gaps += 1,
            Appended::Fenced => self.counters.fenced += 1,
            Appended::Accepted(new) => {
                let received = self.period.streams()[&coordinator].received();
                if received > held {
                    // A sign of life is as old as it was long on its way.
                    let sent_at = now.monotonic.minus(self.period.one_way(coordinator));
                    self.succession.on_moved(coordinator, sent_at);
                }
                if !new.is_empty() {
                    self.counters.records_held += new.len() as u64;
                    self.pacing.stay_active(now.monotonic, &self.config.profile);
                    self.period
                        .relay_peers(coordinator)
                        .for_each(|peer| self.pacing.hurry(peer));
                    let epoch = self.membership().epoch;
                    self.log.push(LogEntry::Records {
                        epoch,
                        coordinator,
                        records: new,
                    });
                }
                if received > held && received == Hlc::MAX {
                    self.succession.on_resigned(coordinator);
                    // Behind the records that it speaks of.
                    self.log_held();
                }
                self.raise_positions();
            }
        }
    }

    fn on_row(&mut self, now: Now, mut row: Row, effects: &mut Vec<Effect>) {
        if row.node == self.config.id {
            // A relay may bring back what this node said itself; the own row is never learned from others.
            return;
        }
        if !self.membership().is_member(row.node) && !self.membership().is_coordinator(row.node) {
            self.counters.not_for_us += 1;
            self.reconfiguration.on_learner(row.node, row.evaluated, now.monotonic);
            return;
        }
        if self.check_not_in_future(row.wanted, now.wall).is_err() {
            row.wanted = Hlc::ZERO;
        }
        let known = self.period.watermark().matrix().row(row.node);
        if known.is_none_or(|known| row.evaluated > known.evaluated) {
            // Who is heard over a third node only; a row that is carried for a dead one says nothing new.
            self.succession.on_heard(row.node, now.monotonic);
        }
        let is_digest_new = known.is_none_or(|known| row.digest > known.digest);
        let wanted_before = self.period.watermark().matrix().wanted();
        self.period.on_row(&row, now.monotonic, &self.config.profile);
        if row.wanted > wanted_before {
            self.pacing.stay_active(now.monotonic, &self.config.profile);
        }
        if is_digest_new && let Some(divergence) = self.agreement.on_digest(row.node, row.digest) {
            self.enter_quarantine(divergence, effects);
        }
    }

    fn on_persisted(&mut self, now: Now, mark: SyncMark) {
        assert!(mark < self.mark, "{mark:?} was never handed out");
        if let Some((_, ceiling, since)) = self.ceiling_asked.take_if(|(asked, ..)| *asked <= mark) {
            self.clock.raise_ceiling(ceiling);
            self.ceiling_took = now.monotonic.since(since);
        }
        if self.period.on_persisted(mark) {
            self.pacing.hurry_all();
        }
        for ended in &mut self.ended {
            ended.on_persisted(mark);
        }
        self.on_succession_persisted(mark);
        self.transfer.on_persisted(mark);
        self.raise_positions();
    }

    fn on_evaluated(&mut self, now: Now, evaluated: Evaluated, effects: &mut Vec<Effect>) {
        let retry_at = now.monotonic.plus(self.config.profile.idle_tick);
        let before = self.evaluation.blocked_by().cloned();
        self.evaluation.on_evaluated(&evaluated, retry_at);
        self.note_blocked(before.as_ref());
        self.counters.evaluated += evaluated.settlements.len() as u64;
        let row = self.period.own_row();
        row.flushed = row.flushed.max(evaluated.flushed);
        for digest in evaluated.digests {
            self.period.own_row().digest = digest;
            if let Some(divergence) = self.agreement.on_digest(self.config.id, digest) {
                self.enter_quarantine(divergence, effects);
            }
        }
        if self.quarantine.is_some() {
            return;
        }
        let answers = self.submissions.on_evaluated(self.config.id, evaluated.settlements);
        effects.extend(answers.map(|(request, reply)| Effect::Reply { request, reply }));
        self.period.drop_through(self.evaluation.evaluated());
        self.abandon_if_blocked(effects);
        self.forget_ended();
        self.make_room();
    }

    /// The epochs that are not forgotten yet, the oldest first and the current one last.
    fn periods(&self) -> impl Iterator<Item = &Period> {
        self.ended.iter().chain([&self.period])
    }

    /// The weight of the own records that cannot be dropped yet, of all epochs.
    fn own_bytes_kept(&self) -> usize {
        let flushed = self.flushed();
        self.periods().map(|period| period.kept_bytes(flushed)).sum()
    }

    fn raise_positions(&mut self) {
        // Invariant I-13: who acknowledges in an epoch holds the whole history below its start.
        if self.is_installed() && self.period.raise_positions(self.clock.ceiling(), self.planted) {
            self.pacing.hurry_all();
        }
    }

    /// Asks for a higher ceiling well before it is needed.
    fn extend_ceiling(&mut self, now: Now) {
        // On a slow disk further ahead: a ceiling that has been passed once it is durable would be of no use, time and again.
        let ahead = self.config.profile.ceiling_ahead.max(self.ceiling_took * 2);
        let reached = self.clock.last().max(Hlc::from_unix_millis(now.wall.unix_millis()));
        if self.ceiling_asked.is_none() && reached.plus(ahead / 2) > self.clock.ceiling() {
            let ceiling = reached.plus(ahead);
            self.ceiling_asked = Some((self.mark, ceiling, now.monotonic));
            self.log.push(LogEntry::Ceiling(ceiling));
        }
    }

    fn on_time(&mut self, now: Now) {
        self.see_off(now.monotonic);
        self.due.clear();
        let mut fetches = Vec::new();
        let later = match self.ended.is_empty() {
            true => Vec::new(),
            false => self.membership().members.clone(),
        };
        for period in self.ended.iter_mut().chain([&mut self.period]) {
            period.on_time(now.monotonic, &self.config.profile, &later, &mut self.due, &mut fetches);
        }
        self.counters.retransmissions += self.due.len() as u64;
        self.counters.fetches += fetches.len() as u64;
        self.due.drain(..).for_each(|peer| self.pacing.hurry(peer));
        for (peer, fetch) in fetches {
            self.say(peer, Message::Fetch(fetch));
        }
    }

    /// Puts a message into the next frame to `peer`, which leaves soon.
    fn say(&mut self, peer: NodeId, message: Message) {
        if peer != self.config.id && !self.pacing.contains(peer) {
            self.welcome(peer, self.last_step);
        }
        self.outbox.push((peer, message));
        self.pacing.hurry(peer);
    }

    /// Talks for a while to who is no peer of the epoch.
    fn welcome(&mut self, guest: NodeId, now: Monotonic) {
        if self.guests.len() >= GUESTS_MAX && !self.guests.contains_key(&guest) {
            return;
        }
        self.guests.insert(guest, now.plus(self.config.profile.relay_for));
        self.pacing.add(guest);
    }

    /// Forgets the guests that were not heard for a while.
    fn see_off(&mut self, now: Monotonic) {
        let mut is_any = false;
        for (guest, _) in self.guests.extract_if(.., |_, until| *until <= now) {
            self.pacing.remove(guest);
            self.outbox.retain(|(to, _)| *to != guest);
            is_any = true;
        }
        if is_any {
            self.forget_declarations();
        }
    }

    /// Whether somebody waits for a bound that this coordinator has not promised yet.
    fn is_promise_awaited(&self) -> bool {
        let wanted = self.period.watermark().matrix().wanted();
        self.period.promised().is_some_and(|promised| promised < wanted)
    }

    /// Picks the peers that get a frame in this step, and makes the promise that it carries.
    fn promise_if_due(&mut self, now: Now) {
        let is_awaited = self.is_promise_awaited();
        if is_awaited {
            self.pacing.hurry_all();
        }
        self.pacing.take_due(now.monotonic, &self.config.profile, &mut self.due);
        let is_due = !self.due.is_empty() || is_awaited && self.pacing.is_alone();
        if self.period.promised().is_some()
            && is_due
            && self.is_issuing()
            && let Some(promise) = self.clock.issue(now.wall)
        {
            self.period.issue(None, promise, self.mark);
            self.raise_positions();
        }
    }

    /// Follows the watermark: hands the executor what is final, and gives reads their snapshots.
    fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.period.advance(now.monotonic);
        for ended in &mut self.ended {
            ended.advance(now.monotonic);
        }
        if self.quarantine.is_some() || !self.period.stores() {
            return;
        }
        if let Some(batch) = self.next_batch(now.monotonic) {
            effects.push(Effect::Evaluate(batch));
        }
        let evaluated = self.evaluated();
        assert!(
            evaluated <= self.watermark(),
            "I-7: evaluated to {evaluated}, beyond the watermark {}",
            self.watermark()
        );
        self.period.own_row().evaluated = evaluated;
        self.reads.take_ready(evaluated, effects);
    }

    fn persist(&mut self, effects: &mut Vec<Effect>) {
        if !self.log.is_empty() {
            effects.push(Effect::Persist {
                mark: self.mark,
                entries: std::mem::take(&mut self.log),
            });
            self.mark = SyncMark(self.mark.0 + 1);
        }
    }

    fn send(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = std::mem::take(&mut self.due);
        for &peer in &due {
            let mut messages = Vec::with_capacity(2);
            let for_peer = self.outbox.extract_if(.., |(to, _)| *to == peer);
            messages.extend(for_peer.map(|(_, message)| message));
            if self
                .period
                .messages_for(peer, now.monotonic, &self.config.profile, &mut messages)
            {
                self.pacing.hurry(peer);
            }
            // Behind the row, which tells a node that is met for the first time.
            messages.extend(self.declared_for(peer, now.monotonic));
            self.counters.frames += 1;
            effects.push(Effect::Send { to: peer, messages });
        }
        self.due = due;
    }

    /// Stops serving and evaluating. Streams are held, acknowledged and relayed as before: they are not in doubt.
    fn enter_quarantine(&mut self, divergence: Divergence, effects: &mut Vec<Effect>) {
        if self.quarantine.is_some() {
            return;
        }
        let node = self.config.id;
        tracing::error!(%node, ?divergence, "quarantined: this replica's state differs from a majority's");
        let doubts = self
            .submissions
            .abandon()
            .map(|request| (request, Reply::Unknown(Doubt::Quarantined { node })));
        let refusals = self
            .reads
            .abandon()
            .map(|request| (request, Reply::Refused(Refusal::Quarantined { node })));
        effects.extend(
            doubts
                .chain(refusals)
                .map(|(request, reply)| Effect::Reply { request, reply }),
        );
        effects.push(Effect::Quarantine(divergence.clone()));
        self.quarantine = Some(divergence);
    }
}

/// The state in one line, for traces and failed assertions.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.config.id)
            .field("epoch", &self.membership().epoch)
            .field("watermark", &self.watermark())
            .field("evaluated", &self.evaluated())
            .field("promised", &self.period.promised())
            .field("quarantine", &self.quarantine)
            .finish_non_exhaustive()
    }
}
