//! The record of what the clients saw, for the simulator's checkers.
//!
//! The time of an entry is read under the lock that puts it in its place: an invocation stands before whatever the call could
//! have caused, and an end after it.

use std::sync::{Mutex, PoisonError};

use plimsoll::id::TransactionId;
use plimsoll::time::Timestamp;
use plimsoll_sim::history::{Entry, History, MicroOperation, Phase};
use tokio::time::Instant;

/// Everything that the clients saw until now.
pub(super) struct Record {
    start: Instant,
    entries: Mutex<Vec<Entry>>,
}

/// Who calls, and what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) process: u64,
    pub(super) function: &'static str,
    /// Absent for a read outside transactions.
    pub(super) id: Option<TransactionId>,
}

/// How a call ended.
#[derive(Debug)]
pub(super) enum End {
    /// It took effect at this place.
    Ok(Timestamp),
    /// It certainly had no effect, for this reason.
    Failed(String),
    /// Its end is unknown, for this reason.
    Unknown(String),
}

impl Record {
    /// An empty record, from now on.
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            entries: Mutex::new(Vec::new()),
        }
    }

    /// A call is about to be made.
    pub(super) fn invoked(&self, caller: &Caller, steps: &[MicroOperation]) {
        self.push(caller, Phase::Invoke, steps.to_vec(), None, None);
    }

    /// A call has ended. *Given* its steps, with what was read where it is ok.
    pub(super) fn ended(&self, caller: &Caller, steps: Vec<MicroOperation>, end: End) {
        let (phase, timestamp, error) = match end {
            End::Ok(timestamp) => (Phase::Ok, Some(timestamp), None),
            End::Failed(why) => (Phase::Fail, None, Some(why)),
            End::Unknown(why) => (Phase::Info, None, Some(why)),
        };
        self.push(caller, phase, steps, timestamp, error);
    }

    /// What was recorded until now; the record is empty then.
    pub(super) fn history(&self) -> History {
        let entries = std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        History { entries }
    }

    fn push(
        &self,
        caller: &Caller,
        phase: Phase,
        value: Vec<MicroOperation>,
        timestamp: Option<Timestamp>,
        error: Option<String>,
    ) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry {
            process: caller.process,
            time_us: self.start.elapsed().as_micros() as u64,
            phase,
            function: caller.function,
            value,
            id: caller.id,
            timestamp,
            error,
            region: 0,
        });
    }
}
