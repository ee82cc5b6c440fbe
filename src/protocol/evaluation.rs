//! What is handed to the executor, and how far it came.
//!
//! Realises section 3.3 of the design. A replica evaluates up to the watermark and up to what it holds of every stream itself,
//! in timestamp order over all streams. One batch is out at a time; what becomes final meanwhile makes the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decree::Decree;
use super::stream::Stream;
use super::{Batch, Evaluated};
use crate::id::NodeId;
use crate::limits::{BATCH_RECORDS_MAX, DIGEST_INTERVAL};
use crate::time::{Hlc, Monotonic, Timestamp};
use crate::transaction::{Record, ThunkId};

/// Up to where the set of transactions of an epoch is final.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit<'a> {
    /// The epoch goes on, and its watermark is here.
    Watermark(Hlc),
    /// The epoch has ended: every stream is final, and complete at its cut.
    Cut(&'a Decree),
}

/// The frontier of one replica.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Evaluation {
    /// Everything at or below is in the versions.
    evaluated: Hlc,
    /// The executor was last told of this bound.
    handed: Hlc,
    state: State,
    /// The thunk before which the executor last stopped, until it comes past it.
    blocked: Option<ThunkId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    /// A batch up to this bound is out.
    Busy(Hlc),
    /// The executor is being given another replica's state.
    Restoring,
    /// The executor met a thunk that it does not know; it is tried again from time to time.
    Blocked {
        retry_at: Monotonic,
    },
}

impl Evaluation {
    /// A replica whose versions hold everything at or below `evaluated`.
    pub(crate) fn new(evaluated: Hlc) -> Self {
        Self {
            evaluated,
            handed: evaluated,
            state: State::Idle,
            blocked: None,
        }
    }

    /// Everything at or below is in the versions.
    pub(crate) fn evaluated(&self) -> Hlc {
        self.evaluated
    }

    /// The thunk that is not known here and stands in the way; absent if none does.
    pub(crate) fn blocked_by(&self) -> Option<&ThunkId> {
        self.blocked.as_ref()
    }

    /// The executor has other code now: what has stopped it is tried again at once.
    pub(crate) fn retry(&mut self) {
        if let State::Blocked { .. } = self.state {
            self.state = State::Idle;
        }
    }

    /// When a blocked evaluation is tried again.
    pub(crate) fn retry_at(&self) -> Monotonic {
        match self.state {
            State::Blocked { retry_at } => retry_at,
            State::Idle | State::Busy(_) | State::Restoring => Monotonic::NEVER,
        }
    }

    /// *Gives* the next batch for the executor, if there is something for it to do. A bound with no records up to it is
    /// reached at once, without a batch, but for one in each digest interval.
    ///
    /// *Given* the streams of every coordinator of the epoch that the limit speaks of.
    pub(crate) fn next_batch(
        &mut self,
        limit: Limit<'_>,
        streams: &BTreeMap<NodeId, Stream>,
        now: Monotonic,
    ) -> Option<Batch> {
        match self.state {
            State::Idle => {}
            State::Blocked { retry_at } if now >= retry_at => self.state = State::Idle,
            State::Busy(_) | State::Restoring | State::Blocked { .. } => return None,
        }
        let held = streams.iter().map(|(coordinator, stream)| match limit {
            Limit::Cut(decree) if stream.received() >= decree.cut_of(*coordinator) => Hlc::MAX,
            Limit::Cut(_) | Limit::Watermark(_) => stream.received(),
        });
        let limit = match limit {
            Limit::Watermark(watermark) => watermark,
            Limit::Cut(decree) => decree.start,
        };
        let mut upto = held.min().unwrap_or_default().min(limit);
        if upto <= self.evaluated {
            return None;
        }
        let mut records: Vec<(Timestamp, Arc<Record>)> = Vec::new();
        for (coordinator, stream) in streams {
            let stamped = |record: &Arc<Record>| {
                (
                    Timestamp {
                        hlc: record.hlc,
                        node: *coordinator,
                    },
                    record.clone(),
                )
            };
            records.extend(stream.records_between(self.evaluated, upto).map(stamped));
        }
        records.sort_unstable_by_key(|(timestamp, _)| *timestamp);
        if records.len() > BATCH_RECORDS_MAX {
            // The bound covers every timestamp of its value, so all records of that value belong to the batch.
            upto = records[BATCH_RECORDS_MAX - 1].0.hlc;
            records.truncate(records.partition_point(|(timestamp, _)| timestamp.hlc <= upto));
        }
        if records.is_empty() && upto < self.handed.plus(DIGEST_INTERVAL) {
            self.evaluated = upto;
            return None;
        }
        self.state = State::Busy(upto);
        self.handed = upto;
        Some(Batch { records, upto })
    }

    /// *Gives* whether no batch is out; then none is handed out before [`Evaluation::on_restored`].
    pub(crate) fn begin_restoring(&mut self) -> bool {
        if let State::Busy(_) = self.state {
            return false;
        }
        self.state = State::Restoring;
        true
    }

    /// The versions hold everything up to `bound` now.
    pub(crate) fn on_restored(&mut self, bound: Hlc) {
        assert!(
            self.state == State::Restoring && bound >= self.evaluated,
            "I-12: evaluation goes from {} to a snapshot at {bound}, {:?}",
            self.evaluated,
            self.state
        );
        *self = Self::new(bound);
    }

    /// The executor is done with the batch that was out.
    ///
    /// *Panics* when none was out, or when it went back.
    pub(crate) fn on_evaluated(&mut self, evaluated: &Evaluated, retry_at: Monotonic) {
        let State::Busy(upto) = self.state else {
            panic!("no batch was out, but {evaluated:?} came back")
        };
        assert!(
            evaluated.upto >= self.evaluated,
            "I-12: evaluation goes back from {} to {}",
            self.evaluated,
            evaluated.upto
        );
        assert!(
            evaluated.upto <= upto,
            "I-7: evaluated to {}, beyond the batch's {upto}",
            evaluated.upto
        );
        self.evaluated = evaluated.upto;
        self.state = match &evaluated.blocked {
            Some(_) => State::Blocked { retry_at },
            None => State::Idle,
        };
        self.blocked.clone_from(&evaluated.blocked);
    }
}
