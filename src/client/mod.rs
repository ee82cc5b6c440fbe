//! From a user's thunk to a transaction, and back to a typed output.
//!
//! Realises the admission of section 4 of the design: whatever can be seen to be wrong with a transaction is refused before it is
//! submitted, with what to do about it.

pub mod staged;

use crate::codec::{self, DecodeError, EncodeError};
use crate::id::TransactionId;
use crate::key::{Key, Value};
use crate::limits::{FOOTPRINT_KEYS_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX};
use crate::thunk::{FootprintError, Registry, Resolution, Resolve, Thunk};
use crate::transaction::{Abort, Outcome, ThunkId, Transaction};

/// Why a transaction was not submitted. It certainly did nothing, and the same one will never be accepted by this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSubmitted {
    /// The thunk is not registered, or has no footprint for these arguments.
    #[error(transparent)]
    NoFootprint(#[from] FootprintError),
    /// The footprint names too many keys.
    #[error(
        "the footprint of thunk {thunk} names {count} keys and ranges, more than {FOOTPRINT_KEYS_MAX}: split the transaction"
    )]
    FootprintTooLarge {
        /// The thunk.
        thunk: ThunkId,
        /// How many.
        count: usize,
    },
    /// A key is too long.
    #[error(
        "a key of {bytes} bytes in the footprint of thunk {thunk}, more than {KEY_BYTES_MAX}: shorten it; it begins with {begins}"
    )]
    KeyTooLong {
        /// The thunk.
        thunk: ThunkId,
        /// The key's length in bytes.
        bytes: usize,
        /// Its first bytes.
        begins: Key,
    },
    /// The record is too large.
    #[error("the record of thunk {thunk} has {bytes} bytes, more than {RECORD_BYTES_MAX}: split the transaction")]
    RecordTooLarge {
        /// The thunk.
        thunk: ThunkId,
        /// Its encoded size in bytes.
        bytes: usize,
    },
}

/// Makes a transaction of what a client sent: finds the thunk, computes the footprint, checks the bounds.
///
/// *Errors* say what is wrong and what to do; nothing was submitted.
pub fn admit(
    registry: &Registry,
    id: TransactionId,
    thunk: ThunkId,
    arguments: Value,
) -> Result<Transaction, NotSubmitted> {
    let bytes = arguments.as_bytes().len();
    if bytes > RECORD_BYTES_MAX {
        return Err(NotSubmitted::RecordTooLarge { thunk, bytes });
    }
    let footprint = registry.footprint(&thunk, &arguments)?;
    let count = footprint.len();
    if count > FOOTPRINT_KEYS_MAX {
        return Err(NotSubmitted::FootprintTooLarge { thunk, count });
    }
    if let Some(key) = footprint.keys().find(|key| key.as_bytes().len() > KEY_BYTES_MAX) {
        const SHOWN_BYTES: usize = 16;
        let (bytes, begins) = (key.as_bytes().len(), Key::new(&key.as_bytes()[..SHOWN_BYTES]));
        return Err(NotSubmitted::KeyTooLong { thunk, bytes, begins });
    }
    let transaction = Transaction {
        id,
        thunk,
        arguments,
        footprint,
    };
    let bytes = codec::encoded_len(&transaction);
    if bytes > RECORD_BYTES_MAX {
        return Err(NotSubmitted::RecordTooLarge {
            thunk: transaction.thunk,
            bytes,
        });
    }
    Ok(transaction)
}

/// The transaction that ends the doubt about `target`: to be submitted at any node, like any other, under an id of its own. See
/// [`Resolve`] for what it does, and [`resolution`] for what came out.
///
/// If its own end is in doubt, submit the same one again.
pub fn resolve(id: TransactionId, target: TransactionId) -> Transaction {
    let resolve = Resolve { target };
    Transaction {
        id,
        thunk: ThunkId::of::<Resolve>(),
        arguments: arguments(&resolve).expect("sixteen bytes have an encoding, and a small one"),
        footprint: resolve.footprint(),
    }
}

/// What became of the transaction that [`resolve`] was about, from the outcome of the resolving one.
///
/// *Gives* the reason where the resolving one was itself aborted: it changed nothing then, and the doubt remains. *Errors* when the
/// output is of another thunk.
pub fn resolution(outcome: &Outcome) -> Result<Result<Resolution, Abort>, DecodeError> {
    output::<Resolve>(outcome)
}

/// The encoded arguments of a thunk, as [`admit`] takes them.
///
/// *Errors* when the serde implementation of `T` refuses.
pub fn arguments<T: Thunk>(thunk: &T) -> Result<Value, EncodeError> {
    codec::encode_value(thunk)
}

/// The typed output of a transaction of thunk `T`.
///
/// *Gives* the reason where it aborted. *Errors* when the output is of another thunk.
pub fn output<T: Thunk>(outcome: &Outcome) -> Result<Result<T::Output, Abort>, DecodeError> {
    match outcome {
        Outcome::Committed(output) => codec::decode_value(output).map(Ok),
        Outcome::Aborted(abort) => Ok(Err(abort.clone())),
    }
}
