//! What clients submitted and what they were told of it, typed again.

use plimsoll::codec;
use plimsoll::id::TransactionId;
use plimsoll::thunk::Thunk;
use plimsoll::time::Timestamp;
use plimsoll::transaction::ThunkId;

use super::seen::{Seen, Submitted, behind_guards};
use crate::client::Reply;

/// All that clients submitted in a run, and what they were told.
pub struct Told<'a> {
    seen: &'a Seen,
}

/// One transaction as its client knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<T, O> {
    /// The id under which it was submitted.
    pub id: TransactionId,
    /// What was submitted.
    pub submitted: T,
    /// What its client was told.
    pub end: CallEnd<O>,
}

/// What a client was told of its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd<O> {
    /// It took effect: it is there, once, and every later strict read sees it.
    Committed {
        /// Where.
        at: Timestamp,
        /// Its output.
        output: O,
    },
    /// It has no effect, and never will: the thunk refused, or the client cancelled it, or a node refused to take it.
    Nothing(String),
    /// The client never learned what became of it.
    Unknown,
}

impl<'a> Told<'a> {
    pub(super) fn new(seen: &'a Seen) -> Self {
        Self { seen }
    }

    /// The transactions of thunk `T`, in the order of their ids, those of the set-up among them.
    ///
    /// Of staged transactions it is the thunk with which a run of the stages ended. Each run is a transaction of its own; one that was stale has
    /// no effect. Runs in which the stages refused are those of [`Refuse`](plimsoll::thunk::Refuse).
    pub fn of<T: Thunk>(&self) -> Vec<Call<T, T::Output>> {
        let thunk = ThunkId::of::<T>();
        let calls = self.seen.submitted.iter();
        let calls = calls.filter_map(|(id, submitted)| match submitted {
            Submitted::Thunk { thunk: own, arguments } => {
                let (own, arguments) = behind_guards(own, arguments);
                (own == thunk).then_some((*id, arguments))
            }
            Submitted::Resolve { .. } => None,
        });
        let typed = |(id, arguments)| Call {
            id,
            submitted: codec::decode_value(&arguments).expect("a client encoded it as this type"),
            end: match self.seen.replies.get(&id) {
                Some(Reply::Committed { at, output }) => CallEnd::Committed {
                    at: *at,
                    output: codec::decode_value(output).expect("its client has decoded it as this type"),
                },
                Some(Reply::Aborted(abort) | Reply::Stale { abort, .. }) => CallEnd::Nothing(abort.to_string()),
                Some(Reply::Refused(why)) => CallEnd::Nothing(why.clone()),
                Some(Reply::Unknown(_) | Reply::Rows { .. } | Reply::Passed) | None => CallEnd::Unknown,
            },
        };
        calls.map(typed).collect()
    }
}
