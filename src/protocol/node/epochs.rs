//! How a node goes from one epoch to the next: it takes part in the decision, and installs what was decided.
//!
//! Realises step 4 of section 3.5 of the design. An epoch that has ended stays until its streams are held up to the cut, are
//! evaluated, and are flushed by everybody: until then it is served to whoever lacks a part.

use super::super::decree::Decree;
use super::super::evaluation::Limit;
use super::super::message::Message;
use super::super::reconfiguration::Progress;
use super::super::{Batch, Bug, Effect, LogEntry, Query, Refusal, Reply, SyncMark};
use super::period::{Appended, Period};
use super::{Agreement, Node, Now, Pacing};
use crate::id::{NodeId, RequestId};
use crate::time::{Hlc, Monotonic, WallTime};
use crate::transaction::Transaction;

/// How many decrees of the chain go into one frame: who needs more will ask again.
const DECREES_AT_ONCE: usize = 16;

/// What waits until this node may issue.
#[derive(Clone, Debug, Hash)]
pub(super) enum HeldBack {
    /// A client's transaction, new or made void by a decree. Without a request nobody waits for it here.
    Transaction {
        request: Option<RequestId>,
        transaction: Transaction,
    },
    /// A strict read: it needs a promise.
    Strict { request: RequestId, query: Query },
}

impl Node {
    /// Whether timestamps are being issued: not while the epoch is fenced, nor before its decree is durable, nor by who has restarted in
    /// it.
    pub(super) fn is_issuing(&self) -> bool {
        self.period.is_open()
            && !self.period.is_resumed()
            && self.installing.is_none()
            && self.period.promised() != Some(Hlc::MAX)
    }

    /// Whether this node may acknowledge: the decree that began the epoch is durable, and everything before it is held.
    pub(super) fn is_installed(&self) -> bool {
        let is_complete = |period: &Period| period.ended_by().is_none_or(|decree| period.holds(decree));
        self.installing.is_none() && self.ended.iter().all(is_complete)
    }

    /// The wall clock, but not before the epoch's start: a majority has agreed on that, however fast the clock that it came from.
    pub(super) fn latest_wall(&self, wall: WallTime) -> WallTime {
        let start_ms = self.decrees.last().map_or(0, |decree| decree.start.unix_millis());
        wall.max(WallTime(start_ms * 1000))
    }

    pub(super) fn hold_back(&mut self, held_back: HeldBack) -> Result<(), Refusal> {
        let limit = self.config.profile.submissions_max;
        if self.held_back.len() >= limit {
            let what = "requests wait for the next epoch";
            return Err(Refusal::Overloaded {
                what: what.into(),
                limit,
            });
        }
        self.held_back.push_back(held_back);
        Ok(())
    }

    pub(super) fn on_succession(&mut self, now: Now, from: NodeId, message: Message) {
        let mut said = Vec::new();
        match message {
            Message::Prepare(prepare) => {
                if !self.membership().is_member(self.config.id) {
                    return;
                }
                let (period, clock) = (&self.period, &self.clock);
                let held = || (period.durable_positions(), clock.last());
                let is_new = self.succession.on_prepare(
                    prepare.ballot,
                    self.mark,
                    now.monotonic,
                    &self.config.profile,
                    held,
                    &mut said,
                );
                if is_new {
                    self.period.fence();
                    self.log_vote();
                    if self.planted.is(Bug::LateSyncRaisesFencedRow) {
                        self.on_succession_persisted(self.mark);
                    }
                }
            }
            Message::Promise(promise) => {
                self.succession
                    .on_promise(from, promise, now.monotonic, &self.config.profile);
            }
            Message::Accept(accept) => {
                if self.membership().is_member(self.config.id) {
                    self.succession.on_accept(accept, &mut said);
                }
            }
            Message::Accepted(accepted) => {
                if let Some(decree) = self.succession.on_accepted(from, &accepted) {
                    let mut told = self.membership().peers_of(self.config.id);
                    let joins = decree
                        .members
                        .iter()
                        .filter(|member| !self.membership().is_member(**member));
                    told.extend(joins);
                    said.extend(told.into_iter().map(|peer| (peer, Message::Decided(decree.clone()))));
                    self.install(now, decree);
                }
            }
            Message::Outbid(outbid) => self.succession.on_outbid(&outbid),
            Message::Decided(decree) => self.install(now, decree),
            Message::Append(_)
            | Message::Row(_)
            | Message::Fetch(_)
            | Message::Gone(_)
            | Message::SnapshotRequest(_)
            | Message::SnapshotChunk(_)
            | Message::Declared(_) => unreachable!("routed elsewhere"),
        }
        self.say_all(said);
    }

    /// A message of an epoch that has ended is answered with what came after, one of a later epoch waits for the decrees.
    pub(super) fn on_other_epoch(&mut self, now: Now, from: NodeId, message: Message, effects: &mut Vec<Effect>) {
        let epoch = message.epoch();
        self.counters.other_epoch += 1;
        if epoch > self.membership().epoch {
            return;
        }
        if let Message::Fetch(fetch) = &message
            && let Some(gone) = self.gone(fetch)
        {
            return self.say(from, Message::Gone(gone));
        }
        let ended = self.ended.iter_mut().find(|period| period.membership().epoch == epoch);
        match (message, ended) {
            (Message::Append(append), Some(period)) => {
                let coordinator = append.coordinator;
                let is_wanted = period.membership().is_coordinator(coordinator)
                    && (coordinator != self.config.id || period.is_resumed());
                if is_wanted {
                    let positions = period.positions();
                    if let Appended::Accepted(records) = period.on_append(from, append, self.mark, now.monotonic)
                        && !records.is_empty()
                    {
                        self.log.push(LogEntry::Records {
                            epoch,
                            coordinator,
                            records,
                        });
                    }
                    if period.positions() != positions {
                        // There will be nothing more to tell from that it is complete.
                        let positions = period.positions();
                        self.log.push(LogEntry::Held { epoch, positions });
                    }
                }
            }
            (Message::Fetch(fetch), Some(period)) => {
                if let Some(append) = period.piece(&fetch) {
                    self.say(from, Message::Append(append));
                }
            }
            (Message::Gone(gone), _) => self.on_gone(from, &gone),
            (Message::SnapshotChunk(chunk), _) => self.on_chunk(now, from, chunk, effects),
            (Message::Row(_) | Message::Prepare(_) | Message::Accept(_) | Message::SnapshotRequest(_), _) => {
                let later = self.decrees.iter().filter(|decree| decree.ends() >= epoch);
                let later = later.take(DECREES_AT_ONCE).cloned();
                let said = later.map(|decree| (from, Message::Decided(decree))).collect();
                self.say_all(said);
            }
            _ => {}
        }
    }

    /// Sees to the change of the members that was asked for here.
    pub(super) fn reconfigure(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // Who acknowledges in an epoch holds everything before it; a watermark above the start is a majority of those.
        let is_complete = self.period.watermark().watermark() > self.epoch_start();
        let evaluated = self.evaluated();
        let (succession, profile) = (&self.succession, &self.config.profile);
        let progress = self.reconfiguration.progress(
            self.period.membership(),
            is_complete,
            evaluated,
            |node| succession.is_live(node, now.monotonic, profile),
            now.monotonic,
            profile,
        );
        let (members, answer) = match progress {
            Progress::Wait => (None, None),
            Progress::Propose(members) => (Some(members), None),
            Progress::Done(request) => {
                let epoch = self.membership().epoch;
                (None, Some((request, Reply::Changed { epoch })))
            }
            Progress::Failed(request, error) => (None, Some((request, Reply::Refused(error.into())))),
        };
        self.succession.aim(members, now.monotonic);
        effects.extend(answer.map(|(request, reply)| Effect::Reply { request, reply }));
    }

    /// Once everything of its own is answered, a node that is being shut down promises never to issue again.
    pub(super) fn resign(&mut self, effects: &mut Vec<Effect>) {
        if !self.is_resigning || !self.submissions.is_empty() || !self.held_back.is_empty() {
            return;
        }
        let is_issuing = self.is_issuing() && self.period.promised().is_some();
        if is_issuing {
            self.period.issue(None, Hlc::MAX, self.mark);
            self.log_held();
            self.raise_positions();
            self.pacing.hurry_all();
        }
        let holds_nobody =
            self.period.promised().is_none() || self.period.watermark().stable(self.config.id) == Hlc::MAX;
        if holds_nobody && !self.has_resigned {
            self.has_resigned = true;
            effects.push(Effect::Resigned);
        }
    }

    /// What has come due: attempts to end the epoch, the vote that waited for records, and what waited for a new epoch.
    pub(super) fn succeed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut said = Vec::new();
        self.succession.on_time(now.monotonic, &self.config.profile, &mut said);
        self.say_all(said);
        // What this node says to itself arrives at once.
        while let Some(place) = self.outbox.iter().position(|(to, _)| *to == self.config.id) {
            let (own, message) = self.outbox.remove(place);
            self.on_message(now, own, message, effects);
        }
        if let Some(decree) = self.succession.asked().cloned() {
            self.period.fence();
            self.period.fill(&decree);
            let is_held = self.period.holds(&decree) || self.planted.is(Bug::VoteWithoutRecords);
            if is_held && self.succession.vote(self.mark) {
                self.log_vote();
            }
        }
        if self.is_issuing() && !self.awaits_declarations(now.monotonic) {
            self.release_held_back(now, effects);
        }
    }

    pub(super) fn on_succession_persisted(&mut self, mark: SyncMark) {
        self.installing.take_if(|installing| *installing <= mark);
        let mut said = Vec::new();
        let (period, clock) = (&self.period, &self.clock);
        self.succession
            .on_persisted(mark, || (period.durable_positions(), clock.last()), &mut said);
        self.say_all(said);
    }

    /// The next batch: of the oldest epoch that is not evaluated to its end, else of the current one.
    pub(super) fn next_batch(&mut self, now: Monotonic) -> Option<Batch> {
        let evaluated = self.evaluation.evaluated();
        let unfinished = self.ended.iter().find_map(|period| {
            let decree = period.ended_by().filter(|decree| decree.start > evaluated)?;
            Some((period, decree))
        });
        match unfinished {
            Some((period, decree)) => self.evaluation.next_batch(Limit::Cut(decree), period.streams(), now),
            None => self
                .evaluation
                .next_batch(Limit::Watermark(self.watermark()), self.period.streams(), now),
        }
    }

    /// Forgets the epochs that are evaluated here and flushed by everybody.
    pub(super) fn forget_ended(&mut self) {
        self.forget_ended_through(self.evaluated().min(self.period.watermark().flushed_by_all()));
    }

    /// Begins the epoch of `decree`, if it is the next one here.
    fn install(&mut self, now: Now, decree: Decree) {
        if decree.ends() != self.membership().epoch {
            return;
        }
        let own = self.config.id;
        tracing::info!(node = %own, epoch = %decree.epoch, start = %decree.start, "begins an epoch");
        self.log_held();
        self.log.push(LogEntry::Decree(decree.clone()));
        self.installing = Some(self.mark);
        self.clock.begin_epoch(decree.start);
        let membership = decree.membership();
        let mut ended = std::mem::replace(&mut self.period, Period::new(own, membership.clone(), decree.start));
        let void = ended.end(&decree);
        let (flushed, digest) = (ended.own_row().flushed, ended.own_row().digest);
        (self.period.own_row().flushed, self.period.own_row().digest) = (flushed, digest);
        self.ended.push_back(ended);
        self.pacing = Pacing::new(membership.peers_of(own));
        self.guests
            .retain(|guest, _| !membership.is_member(*guest) && !membership.is_coordinator(*guest));
        self.guests.keys().for_each(|guest| self.pacing.add(*guest));
        self.forget_declarations();
        self.pacing.stay_active(now.monotonic, &self.config.profile);
        self.agreement = Agreement::new(own, membership.members.len());
        self.succession = self.succession.succeed(&self.config, &membership, now.monotonic);
        self.decrees.push(decree);
        self.counters.epoch_changes += 1;
        self.counters.reissued += void.len() as u64;
        for record in void.into_iter().rev() {
            let request = self.submissions.take(record.hlc);
            let transaction = record.transaction.clone();
            self.held_back
                .push_front(HeldBack::Transaction { request, transaction });
        }
        let strict = match self.planted.is(Bug::StrictReadCarriedOver) {
            true => Vec::new(),
            false => self.reads.take_strict(),
        };
        self.held_back.extend(
            strict
                .into_iter()
                .map(|(request, query)| HeldBack::Strict { request, query }),
        );
    }

    /// A member that does not coordinate keeps what waits: it will be let in again once it is heard.
    fn release_held_back(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let own = self.config.id;
        if self.membership().is_member(own) && !self.membership().is_coordinator(own) {
            return;
        }
        while let Some(held_back) = self.held_back.pop_front() {
            let (request, result) = match held_back.clone() {
                HeldBack::Transaction { request, transaction } => (
                    request,
                    self.check_coordinates()
                        .and_then(|()| self.check_evaluates())
                        .and_then(|()| self.check_code(now.monotonic, &transaction))
                        .and_then(|_| self.issue_record(now, request, transaction)),
                ),
                HeldBack::Strict { request, query } => (
                    Some(request),
                    self.on_read(now, request, super::ReadMode::Strict, query, effects),
                ),
            };
            match (result, request) {
                (Err(Refusal::ClockExhausted), _) => {
                    // The ceiling follows in a moment.
                    self.held_back.push_front(held_back);
                    return;
                }
                (Err(refusal), Some(request)) => {
                    effects.push(Effect::Reply {
                        request,
                        reply: Reply::Refused(refusal),
                    });
                }
                (Err(_), None) | (Ok(()), _) => {}
            }
        }
    }

    fn log_vote(&mut self) {
        let (epoch, acceptor) = (self.membership().epoch, self.succession.acceptor().clone());
        self.log_held();
        self.log.push(LogEntry::Vote { epoch, acceptor });
    }

    /// Notes how far the streams of the epoch are held. What was answered or voted for rests on it, and after a restart records alone
    /// could not tell.
    pub(super) fn log_held(&mut self) {
        let (epoch, positions) = (self.membership().epoch, self.period.positions());
        self.log.push(LogEntry::Held { epoch, positions });
    }

    fn say_all(&mut self, said: Vec<(NodeId, Message)>) {
        for (to, message) in said {
            self.say(to, message);
        }
    }
}
