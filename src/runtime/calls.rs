//! The way of calls to a replica: what callers want, and how many may wait.
//!
//! Who calls too much is told so at once, before anything is done for the call: under overload most calls are refused, and what that costs is
//! lost to those that are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use super::changes::ChangesReply;
use super::replica::ReplicaStatus;
use crate::executor::{Answer, ChangesQuery, DryRun, ReadError, Status};
use crate::id::TransactionId;
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
    /// How many these may be.
    submitted_max: usize,
    /// Evaluation there is behind, and other replicas would answer sooner.
    is_behind: Arc<AtomicBool>,
}

/// A transaction's place among those that have not been answered. Others may have it once this is dropped.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Calls {
    /// A new way, and where it ends. *Given* how many transactions may wait at its end.
    pub(crate) fn new(submitted_max: usize) -> (Self, Receiver<Call>) {
        let (sender, calls) = channel(CALLS_MAX);
        let calls_in = Self {
            sender,
            submitted: Arc::default(),
            submitted_max,
            is_behind: Arc::default(),
        };
        (calls_in, calls)
    }

    /// Whether another transaction would be taken now; one who has stopped says so himself.
    pub(crate) fn has_room(&self) -> bool {
        let has_place = self.submitted.load(Ordering::Relaxed) < self.submitted_max;
        has_place && !self.is_behind() && self.sender.capacity() > 0 || self.sender.is_closed()
    }

    fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed) && !self.sender.is_closed()
    }

    /// Whether evaluation is behind at the end of this way: what the node would refuse because of it is refused here.
    pub(crate) fn behind(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_behind)
    }

    /// *Errors* when another transaction would be refused now, with what would be said.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        if self.has_room() {
            Ok(())
        } else if self.sender.capacity() == 0 {
            Err(calls_wait())
        } else {
            Err(self.transactions_wait())
        }
    }

    /// Hands over a transaction, which is made if there is a place for it.
    ///
    /// *Errors* as [`Calls::send`] does.
    pub(crate) fn submit(
        &self,
        transaction: impl FnOnce() -> Transaction,
        reply: oneshot::Sender<Reply>,
    ) -> Result<(), Option<Refusal>> {
        if self.is_behind() {
            return Err(Some(self.transactions_wait()));
        }
        let before = self.submitted.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&self.submitted));
        if before >= self.submitted_max {
            return Err(Some(self.transactions_wait()));
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
            TrySendError::Full(_) => Some(calls_wait()),
            TrySendError::Closed(_) => None,
        })
    }

    fn transactions_wait(&self) -> Refusal {
        Refusal::Overloaded {
            what: "transactions wait at this replica".into(),
            limit: self.submitted_max,
        }
    }
}

fn calls_wait() -> Refusal {
    Refusal::Overloaded {
        what: "calls wait for this replica".into(),
        limit: CALLS_MAX,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Value;
    use crate::transaction::{Footprint, ThunkId};

    fn transaction() -> Transaction {
        Transaction {
            id: TransactionId::from_u128(1),
            thunk: ThunkId {
                name: "nothing".into(),
                version: 1,
            },
            arguments: Value::default(),
            footprint: Footprint::new(),
        }
    }

    fn submit(calls: &Calls, make: impl FnOnce() -> Transaction) -> Result<(), Option<Refusal>> {
        calls.submit(make, oneshot::channel().0)
    }

    #[test]
    fn a_transaction_without_a_place_is_not_even_made_until_another_one_is_answered() {
        let (calls, mut end) = Calls::new(2);
        for _ in 0..2 {
            assert_eq!(calls.check_room(), Ok(()));
            assert_eq!(submit(&calls, transaction), Ok(()));
        }
        let refusal = calls.check_room().expect_err("both places are taken");
        assert!(
            refusal
                .to_string()
                .contains("transactions wait at this replica (2 at most)"),
            "{refusal}"
        );
        assert_eq!(submit(&calls, || unreachable!("there is no place")), Err(Some(refusal)));
        let Ok(Call::Submit { place, .. }) = end.try_recv() else {
            panic!("two were handed over")
        };
        assert!(calls.check_room().is_err(), "it was taken in, and waits still");
        drop(place);
        assert_eq!(submit(&calls, transaction), Ok(()));
        assert!(calls.check_room().is_err());
    }

    #[test]
    fn calls_that_nobody_takes_in_are_bounded_and_refused_by_one_who_has_stopped() {
        let (calls, end) = Calls::new(usize::MAX);
        let sent = (0..).take_while(|_| submit(&calls, transaction).is_ok()).count();
        assert_eq!(sent, CALLS_MAX);
        assert_eq!(calls.check_room(), Err(calls_wait()));
        assert_eq!(submit(&calls, transaction), Err(Some(calls_wait())));
        drop(end);
        assert_eq!(submit(&calls, transaction), Err(None), "it has not seen it");
    }

    #[test]
    fn one_who_is_behind_is_not_asked_and_one_who_has_stopped_is_whatever_he_said_before() {
        let (calls, end) = Calls::new(10);
        calls.behind().store(true, Ordering::Relaxed);
        assert_eq!(calls.check_room(), Err(calls.transactions_wait()));
        assert_eq!(
            submit(&calls, || unreachable!("others answer sooner")),
            Err(Some(calls.transactions_wait()))
        );
        calls.behind().store(false, Ordering::Relaxed);
        assert_eq!(submit(&calls, transaction), Ok(()));
        calls.behind().store(true, Ordering::Relaxed);
        drop(end);
        assert_eq!(calls.check_room(), Ok(()));
        assert_eq!(submit(&calls, transaction), Err(None));
    }
}
