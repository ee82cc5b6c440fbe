//! Snapshots, as one node takes part in them: what it keeps for others, whom it tells that records are gone, and what it means here that
//! another replica's state was installed.
//!
//! Realises the snapshots and the bound on what is kept of section 3.7 of the design. Whom to ask and when is for `transfer`; what is in a
//! checkpoint is for the driver.

use super::super::message::{Fetch, Gone, Message, SnapshotChunk, SnapshotRequest};
use super::super::transfer::Step;
use super::super::{ChunkTaken, Doubt, Effect, LogEntry, Reply};
use super::{Node, Period};
use crate::id::NodeId;
use crate::time::{Hlc, Now};

impl Node {
    /// What is answered to a fetch of a part of a stream that is not kept here; none if it can be served, or never could be.
    pub(super) fn gone(&self, fetch: &Fetch) -> Option<Gone> {
        let (epoch, coordinator) = (fetch.epoch, fetch.coordinator);
        let oldest = self
            .periods()
            .next()
            .expect("the current one at least")
            .membership()
            .epoch;
        let through = if epoch < oldest {
            self.decrees.iter().find(|decree| decree.epoch == oldest)?.start
        } else {
            let period = self.periods().find(|period| period.membership().epoch == epoch)?;
            let dropped = period.streams().get(&coordinator)?.dropped();
            if fetch.after >= dropped {
                return None;
            }
            dropped.min(self.evaluated())
        };
        Some(Gone {
            epoch,
            coordinator,
            through,
        })
    }

    /// Begins to ask for a snapshot, if this node really lacks what `from` has dropped.
    pub(super) fn on_gone(&mut self, from: NodeId, gone: &Gone) {
        if self.quarantine.is_some() || !self.period.stores() || self.evaluated() >= gone.through {
            return;
        }
        let period = self.periods().find(|period| period.membership().epoch == gone.epoch);
        let lacks = period.is_some_and(|period| {
            let cut = period.ended_by().map(|decree| decree.cut_of(gone.coordinator));
            let stream = period.streams().get(&gone.coordinator);
            stream.is_some_and(|stream| stream.received() < gone.through.min(cut.unwrap_or(Hlc::MAX)))
        });
        if lacks {
            tracing::info!(node = %self.config.id, %from, through = %gone.through, "needs a snapshot: records are gone");
            self.transfer.begin(from, gone.through);
        }
    }

    /// Has a piece sent to `from`, if there is a snapshot here that is of use to it.
    pub(super) fn on_snapshot_request(&mut self, from: NodeId, request: SnapshotRequest, effects: &mut Vec<Effect>) {
        let is_of_use = self.quarantine.is_none() && self.flushed() > request.above;
        if is_of_use {
            self.counters.chunks_served += 1;
            effects.push(Effect::ServeChunk {
                to: from,
                epoch: self.membership().epoch,
                request,
            });
        }
    }

    /// *Given* a piece of this node's epoch or of an earlier one: a snapshot never reaches into an epoch that is not known here.
    pub(super) fn on_chunk(&mut self, now: Now, from: NodeId, chunk: SnapshotChunk, effects: &mut Vec<Effect>) {
        if self.transfer.on_chunk(from, now.monotonic) {
            effects.push(Effect::AddChunk { bytes: chunk.bytes });
        }
    }

    pub(super) fn on_chunk_taken(&mut self, now: Now, taken: ChunkTaken) {
        let others = self.other_members();
        self.transfer.on_taken(taken, &others, now.monotonic);
    }

    /// Does what is due of the transfer of a snapshot to this node.
    pub(super) fn proceed_with_transfer(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.quarantine.is_some() || !self.transfer.is_pending() {
            return;
        }
        let others = self.other_members();
        let above = self.evaluated();
        while let Some(step) = self
            .transfer
            .on_time(above, &others, now.monotonic, &self.config.profile)
        {
            match step {
                Step::Ask { from, bound, cursor } => {
                    let request = SnapshotRequest {
                        epoch: self.membership().epoch,
                        above,
                        bound,
                        cursor,
                    };
                    self.say(from, Message::SnapshotRequest(request));
                }
                Step::Note(bound) => {
                    // Before the versions have it: once they do, the records in the log are no prefix any more.
                    self.log.push(LogEntry::Covered { bound });
                    self.transfer.on_noted(self.mark);
                }
                Step::Restore(bound) => {
                    if !self.evaluation.begin_restoring() {
                        return;
                    }
                    self.transfer.on_restoring();
                    effects.push(Effect::Restore { bound });
                }
                Step::Discard => effects.push(Effect::DiscardChunks),
            }
        }
    }

    /// The versions are those of another replica at `bound`: everything up to there is evaluated and held.
    pub(super) fn on_restored(&mut self, bound: Hlc, effects: &mut Vec<Effect>) {
        let node = self.config.id;
        tracing::info!(%node, %bound, "goes on from a snapshot");
        self.transfer.on_restored(bound);
        self.evaluation.on_restored(bound);
        self.declarations.on_blocked(None);
        self.counters.snapshots_installed += 1;
        self.forget_ended_through(bound);
        for period in self.ended.iter_mut().chain([&mut self.period]) {
            period.cover(bound);
        }
        let row = self.period.own_row();
        row.flushed = row.flushed.max(bound);
        if self.quarantine.is_none() {
            let doubts = self.submissions.cover(bound);
            effects.extend(doubts.map(|request| Effect::Reply {
                request,
                reply: Reply::Unknown(Doubt::CoveredBySnapshot { node, bound }),
            }));
        }
        self.raise_positions();
        self.pacing.hurry_all();
    }

    /// Drops the oldest records that this node has flushed while it keeps more than it should, whoever else may need them.
    pub(super) fn make_room(&mut self) {
        let limit = self.config.profile.records_kept_bytes;
        let before = self.records_bytes_kept();
        if before <= limit {
            return;
        }
        let flushed = self.flushed().min(self.evaluated());
        let mut excess = before - limit;
        while excess > 0
            && let Some(period) = self.ended.pop_front_if(|period| period.is_through(flushed))
        {
            excess = excess.saturating_sub(period.bytes());
        }
        for period in self.ended.iter_mut().chain([&mut self.period]) {
            excess = excess.saturating_sub(period.drop_oldest(excess, flushed));
        }
        self.counters.bytes_dropped_for_room += (before - self.records_bytes_kept()) as u64;
    }

    /// How far the versions of this node are durable, as it knows.
    pub(super) fn flushed(&self) -> Hlc {
        let row = self.period.watermark().matrix().row(self.config.id);
        row.map_or(Hlc::ZERO, |row| row.flushed)
    }

    /// Forgets the epochs whose end is evaluated by who needs them, which is so up to `through`.
    pub(super) fn forget_ended_through(&mut self, through: Hlc) {
        while self
            .ended
            .pop_front_if(|period: &mut Period| period.is_through(through))
            .is_some()
        {}
    }

    fn other_members(&self) -> Vec<NodeId> {
        let members = self.membership().members.iter().copied();
        members.filter(|member| *member != self.config.id).collect()
    }
}
