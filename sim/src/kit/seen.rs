//! What was seen of one run beside its history: what was submitted under which id, the answers, and the snapshots that clients read.

use std::collections::BTreeMap;

use plimsoll::codec;
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Query, Scan};
use plimsoll::thunk::Guarded;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::ThunkId;

use super::state::Entries;
use crate::client::Reply;
use crate::port::{Action, Answer, RequestBody};

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// Every transaction that was sent, by its id.
    pub(super) submitted: BTreeMap<TransactionId, Submitted>,
    /// What became of them, as far as their clients know.
    pub(super) replies: BTreeMap<TransactionId, Reply>,
    /// What clients have read.
    pub(super) sights: Vec<Sight>,
    /// Where the last transaction of the set-up took effect: invariants hold from there on.
    pub(super) prepared: Option<Timestamp>,
}

/// What was sent as a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Submitted {
    /// A thunk of the kit.
    Thunk { thunk: ThunkId, arguments: Value },
    /// A transaction of the library that cancels another one unless it has an outcome.
    Resolve { target: TransactionId },
}

/// The whole database as somebody saw it.
pub(super) struct Sight {
    /// Whose, in words.
    pub(super) whose: String,
    pub(super) at: Hlc,
    pub(super) entries: Entries,
}

impl Seen {
    /// Takes note of what clients are about to send.
    pub(super) fn note(&mut self, actions: &[Action]) {
        for action in actions {
            let Action::Send { request, .. } = action else { continue };
            let (id, submitted) = match &request.body {
                RequestBody::Submit { id, thunk, arguments } => {
                    let (thunk, arguments) = (thunk.clone(), arguments.clone());
                    (*id, Submitted::Thunk { thunk, arguments })
                }
                RequestBody::Resolve { id, target } => (*id, Submitted::Resolve { target: *target }),
                RequestBody::Status { .. } | RequestBody::Read { .. } => continue,
            };
            self.submitted.insert(id, submitted);
        }
    }
}

/// What a submission is about: of the end of a staged transaction, the thunk behind the guards; of any other, itself.
pub(super) fn behind_guards(thunk: &ThunkId, arguments: &Value) -> (ThunkId, Value) {
    let guarded = Guarded::is(thunk).then(|| codec::decode_value::<Guarded>(arguments));
    match guarded {
        Some(Ok(guarded)) => (guarded.guarded(), guarded.arguments().clone()),
        // What cannot be decoded is told as it is.
        Some(Err(_)) | None => (thunk.clone(), arguments.clone()),
    }
}

/// A query for everything.
pub(super) fn everything() -> Query {
    Query::scan(Scan::forward(KeyRange::from(Key::default()), usize::MAX))
}

/// What such a query found.
pub(super) fn entries_of(answer: Answer) -> Entries {
    answer.ranges.into_iter().flatten().collect()
}
