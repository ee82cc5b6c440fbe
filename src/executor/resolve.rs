//! What is known of a transaction id, and how the doubt about one ends.
//!
//! Realises `status` and `resolve` of section 4 of the design. Tests: `tests/resolve.rs`.

use bincode::{Decode, Encode};

use super::outcomes::{Ledger, Outcomes};
use crate::codec;
use crate::id::TransactionId;
use crate::store::Versions;
use crate::thunk::{Resolution, Resolve};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome, Transaction};

/// What a replica knows of a transaction id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Status {
    /// The evaluated bound at which it was read. A replica that has come further may know more, one that is behind less.
    pub evaluated: Hlc,
    /// What is known there.
    pub known: Known,
}

/// What is known of a transaction id at an evaluated bound.
///
/// It only ever goes down this list as the bound goes up, on one replica and from one to another that has come as far: the first
/// outcome of an id stays, and an id that is expired stays expired.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Known {
    /// It has no outcome, and may still get one.
    NotYet,
    /// It has this outcome for ever: submitting the id again changes nothing.
    Settled {
        /// Where it took effect, or was aborted.
        effective: Timestamp,
        /// Its outcome.
        outcome: Outcome,
    },
    /// It is older than outcomes are kept: it can no longer take effect, and whether it did is no longer known.
    Expired,
}

impl<V: Versions> Ledger<'_, V> {
    /// What is known of `id` at the evaluated bound.
    pub(super) fn status(&self, id: TransactionId) -> Status {
        let evaluated = self.versions.evaluated();
        let known = if Outcomes::is_expired(id, evaluated) {
            // Also if the outcome is still there: when it is forgotten differs among replicas.
            Known::Expired
        } else {
            self.first(id)
                .map_or(Known::NotYet, |(effective, outcome)| Known::Settled {
                    effective,
                    outcome,
                })
        };
        Status { evaluated, known }
    }

    /// What a record of [`Resolve`] comes to at `at`. *Gives* its outcome, and the id that it cancels, if it does.
    ///
    /// *Given* everything below `at`; what lies above, in a dry run of the past, is passed over.
    pub(super) fn resolve(&self, transaction: &Transaction, at: Timestamp) -> (Outcome, Option<TransactionId>) {
        let by = transaction.id;
        let target = match target_of(transaction).and_then(|target| check_target(target, by, at.hlc)) {
            Ok(target) => target,
            Err(abort) => return (Outcome::Aborted(abort.within_bounds()), None),
        };
        let settled = self.first(target).filter(|(effective, _)| *effective < at);
        let (resolution, cancels) = if Outcomes::is_expired(target, at.hlc) {
            // As in evaluation the age comes first: an expired outcome may be forgotten or not.
            (Resolution::Expired, None)
        } else if let Some((effective, outcome)) = settled {
            (Resolution::of(effective, &outcome), None)
        } else {
            (Resolution::Cancelled { effective: at, by }, Some(target))
        };
        let output = codec::encode_value(&resolution)
            .expect("an output is taken in if it fits, and all else is within bounds that are far smaller");
        (Outcome::Committed(output), cancels)
    }
}

/// Whether `by` may resolve `target` at `at`.
fn check_target(target: TransactionId, by: TransactionId, at: Hlc) -> Result<TransactionId, Abort> {
    if target == by {
        return Err(Abort::Refused(format!(
            "{target} is to resolve itself: give it another id"
        )));
    }
    match Outcomes::check_age(target, at) {
        Ok(()) | Err(Abort::Expired { .. }) => Ok(target),
        // Its cancellation would have to be kept for too long.
        Err(abort) => Err(abort),
    }
}

fn target_of(transaction: &Transaction) -> Result<TransactionId, Abort> {
    codec::decode_value::<Resolve>(&transaction.arguments)
        .map(|resolve| resolve.target)
        .map_err(|error| Abort::Malformed(format!("arguments: {error}")))
}
