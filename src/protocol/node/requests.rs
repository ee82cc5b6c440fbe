//! What clients ask of a node: transactions, reads, and what is refused.
//!
//! Realises the doors of sections 3.3 and 3.4 of the design. Changes of the members are in `epochs`.

use std::sync::Arc;
use std::time::Duration;

use super::super::read::Snapshot;
use super::super::{Effect, LogEntry, Query, ReadMode, Refusal};
use super::Node;
use super::epochs::HeldBack;
use crate::id::RequestId;
use crate::time::{Hlc, Now, WallTime};
use crate::transaction::{Record, Transaction};

/// A node that has evaluated everything older than this keeps up.
const BEHIND_AFTER: Duration = Duration::from_millis(100);

impl Node {
    pub(super) fn on_submit(&mut self, now: Now, request: RequestId, transaction: Transaction) -> Result<(), Refusal> {
        self.check_serves()?;
        self.check_evaluates()?;
        self.check_stays()?;
        let waiting_max = self.config.profile.submissions_max;
        self.submissions
            .check_capacity(waiting_max, self.period.unstable_bytes(), self.own_bytes_kept())?;
        let must_wait = self.check_code(now.monotonic, &transaction)?;
        if must_wait || !self.is_issuing() {
            let request = Some(request);
            return self.hold_back(HeldBack::Transaction { request, transaction });
        }
        self.check_coordinates()?;
        self.check_keeps_up()?;
        self.issue_record(now, Some(request), transaction)
    }

    /// Whether so much waits for evaluation here that the clients of other nodes have their answers long before those of this one would.
    pub fn is_behind(&self) -> bool {
        // The time alone says nothing where hardly anything happens.
        let is_late = self.watermark() > self.evaluated().plus(BEHIND_AFTER);
        // One that lacks a thunk says so.
        is_late && self.blocked_by().is_none() && self.waiting_for_evaluation() > self.waiting_max()
    }

    fn check_keeps_up(&self) -> Result<(), Refusal> {
        match self.is_behind() {
            true => Err(Refusal::Overloaded {
                what: "transactions of all nodes wait to be evaluated here".into(),
                limit: self.waiting_max(),
            }),
            false => Ok(()),
        }
    }

    fn waiting_for_evaluation(&self) -> usize {
        let (streams, evaluated) = (self.period.streams().values(), self.evaluated());
        streams.map(|stream| stream.count_above(evaluated)).sum()
    }

    /// Twice what all coordinators together have under way.
    fn waiting_max(&self) -> usize {
        let coordinators = self.membership().coordinators.len();
        self.config.profile.submissions_max.saturating_mul(2 * coordinators)
    }

    pub(super) fn issue_record(
        &mut self,
        now: Now,
        request: Option<RequestId>,
        transaction: Transaction,
    ) -> Result<(), Refusal> {
        let hlc = self.clock.issue(now.wall).ok_or(Refusal::ClockExhausted)?;
        let record = Arc::new(Record { hlc, transaction });
        self.period.issue(Some(&record), hlc, self.mark);
        let (epoch, coordinator) = (self.membership().epoch, self.config.id);
        self.log.push(LogEntry::Records {
            epoch,
            coordinator,
            records: vec![record],
        });
        if let Some(request) = request {
            self.submissions.wait(hlc, request);
        }
        self.counters.submitted += 1;
        self.want(hlc, now);
        self.pacing.hurry_all();
        Ok(())
    }

    pub(super) fn on_read(
        &mut self,
        now: Now,
        request: RequestId,
        mode: ReadMode,
        query: Query,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        self.check_serves()?;
        self.reads.check_capacity()?;
        if mode == ReadMode::Strict {
            self.check_stays()?;
        }
        let evaluated = self.evaluated();
        let (bound, snapshot) = match mode {
            ReadMode::Snapshot => (evaluated, Snapshot::Latest),
            ReadMode::After(timestamp) => (timestamp.hlc, Snapshot::Latest),
            ReadMode::At(at) => (at, Snapshot::AtBound),
            ReadMode::Bounded(age) => {
                let oldest = now.wall.unix_millis().saturating_sub(age.as_millis() as u64);
                (Hlc::from_unix_millis(oldest), Snapshot::Latest)
            }
            ReadMode::Strict if !self.is_issuing() => return self.hold_back(HeldBack::Strict { request, query }),
            ReadMode::Strict => {
                self.check_evaluates()?;
                self.check_coordinates()?;
                let promise = self.clock.issue(now.wall).ok_or(Refusal::ClockExhausted)?;
                self.period.issue(None, promise, self.mark);
                self.raise_positions();
                self.pacing.hurry_all();
                (promise, Snapshot::AtPromise)
            }
        };
        if bound > evaluated {
            self.check_evaluates()?;
            self.check_not_in_future(bound, now.wall)?;
            self.want(bound, now);
        }
        self.counters.reads += 1;
        self.reads.wait(bound, request, query, snapshot);
        self.reads.take_ready(evaluated, effects);
        Ok(())
    }

    /// Whether what is evaluated here may be told to who has seen everything up to `after`.
    ///
    /// *Errors*: this node serves nobody, or nobody can have been told of such a bound.
    pub(crate) fn check_tells(&self, after: Hlc, wall: WallTime) -> Result<(), Refusal> {
        self.check_serves()?;
        if after > self.evaluated() {
            self.check_not_in_future(after, wall)?;
        }
        Ok(())
    }

    pub(super) fn check_serves(&self) -> Result<(), Refusal> {
        let node = self.config.id;
        if self.quarantine.is_some() {
            return Err(Refusal::Quarantined { node });
        }
        if !self.membership().is_member(node) {
            return Err(Refusal::NotMember {
                node,
                epoch: self.membership().epoch,
            });
        }
        Ok(())
    }

    pub(super) fn check_stays(&self) -> Result<(), Refusal> {
        match self.is_resigning {
            true => Err(Refusal::Resigned { node: self.config.id }),
            false => Ok(()),
        }
    }

    pub(super) fn check_coordinates(&self) -> Result<(), Refusal> {
        let (node, epoch) = (self.config.id, self.membership().epoch);
        if self.membership().is_coordinator(node) {
            Ok(())
        } else {
            Err(Refusal::NotCoordinator { node, epoch })
        }
    }

    /// A bound that nobody can have been told of would be waited for in vain.
    pub(super) fn check_not_in_future(&self, at: Hlc, wall: WallTime) -> Result<(), Refusal> {
        let now = self.clock.last().unix_millis().max(wall.unix_millis());
        let ahead_ms = at.unix_millis().saturating_sub(now);
        if u128::from(ahead_ms) > self.config.profile.clock_offset_max.as_millis() {
            return Err(Refusal::InFuture { at, ahead_ms });
        }
        Ok(())
    }

    /// Lets everybody know that somebody here waits for `bound`.
    pub(super) fn want(&mut self, bound: Hlc, now: Now) {
        let row = self.period.own_row();
        row.wanted = row.wanted.max(bound);
        self.pacing.stay_active(now.monotonic, &self.config.profile);
    }
}
