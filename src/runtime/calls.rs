//! The way of calls to a replica: what callers want, and how many may wait.
//!
//! Who calls too much is told so at once, before anything is done for the call: under overload most calls are refused, and what that costs is
//! lost to those that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::changes::ChangesReply;
use super::replica::ReplicaStatus;
use crate::executor::{Answer, ChangesQuery, DryRun, ReadError, Status};
use crate::id::TransactionId;
use crate::limits::SUBMISSIONS_WAITING_MAX;
use crate::protocol::{Change, Query, ReadMode, Refusal, Reply};
use crate::time::Hlc;
use crate::transaction::Transaction;

/// Calls that wait for a replica to take them in.
const CALLS_MAX: usize = 4_096;

/// What a caller wants.
pub(crate) enum Call {
    Submit {
        transaction: Transaction,
        reply: oneshot::Sender<Reply>,
        /// Kept until it is answered.
        place: Place,
    },
    Read {
        mode: ReadMode,
        query: Query,
        reply: oneshot::Sender<ReadReply<Answer>>,
    },
    DryRun {
        mode: ReadMode,
        transaction: Transaction,
        reply: oneshot::Sender<ReadReply<Tried>>,
    },
    Changes {
        query: ChangesQuery,
        reply: oneshot::Sender<ChangesReply>,
    },
    Change {
        change: Change,
        reply: oneshot::Sender<Reply>,
    },
    Status {
        id: TransactionId,
        reply: oneshot::Sender<Status>,
    },
    Inspect {
        reply: oneshot::Sender<ReplicaStatus>,
    },
}

/// What a transaction would do; none, if its thunk is not registered.
pub(crate) type Tried = Option<DryRun>;

/// What a read comes to, or a dry run.
pub(crate) enum ReadReply<A> {
    /// It was refused, or nobody knows.
    Reply(Reply),
    /// The executor reads it.
    Reading(oneshot::Receiver<Result<(Hlc, A), ReadError>>),
}

/// The way of calls to a replica.
#[derive(Clone)]
pub(crate) struct Calls {
    sender: Sender<Call>,
    /// Transactions that have not been answered.
    submitted: Arc<AtomicUsize>,
}

/// A transaction's place among those that have not been answered. Others may have it once this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Calls {
    /// A new way, and where it ends.
    pub(crate) fn new() -> (Self, Receiver<Call>) {
        let (sender, calls) = channel(CALLS_MAX);
        let submitted = Arc::default();
        (Self { sender, submitted }, calls)
    }

    /// Whether another transaction would be refused now.
    pub(crate) fn is_full(&self) -> bool {
        self.submitted.load(Ordering::Relaxed) >= SUBMISSIONS_WAITING_MAX || self.sender.capacity() == 0
    }

    /// Hands over a transaction, which is made if there is a place for it.
    ///
    /// *Errors* as [`Calls::send`] does.
    pub(crate) fn submit(
        &self,
        transaction: impl FnOnce() -> Transaction,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), Option<Refusal>> {
        let before = self.submitted.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.submitted));
        if before >= SUBMISSIONS_WAITING_MAX {
            return Err(Some(transactions_wait()));
        }
        self.send(Call::Submit {
            transaction: transaction(),
            reply,
            place,
        })
    }

    /// Hands over a call.
    ///
    /// *Errors*: with a refusal if too many wait there, with none if the replica has stopped. It has not seen the call.
    pub(crate) fn send(&self, call: Call) -> Result<(), Option<Refusal>> {
        self.sender.try_send(call).map_err(|error| match error {
            TrySendError::Full(_) => Some(Refusal::Overloaded {
                what: "calls wait for this replica".into(),
                limit: CALLS_MAX,
            }),
            TrySendError::Closed(_) => None,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is said where no place is left for a transaction.
pub(crate) fn transactions_wait() -> Refusal {
    Refusal::Overloaded {
        what: "transactions wait at this replica".into(),
        limit: SUBMISSIONS_WAITING_MAX,
    }
}
