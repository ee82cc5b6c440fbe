//! What the world needs of the part of a node that knows thunks and versions.

use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::protocol::{Batch, Evaluated, Query};
use plimsoll::time::Hlc;
use plimsoll::transaction::{ThunkId, Transaction};

use crate::check::FinalEntry;
use crate::port::Answer;

/// Admission, evaluation and reads of one node.
pub trait Replica {
    /// The transaction of a client's call, with its footprint.
    ///
    /// *Errors* with what the client is told where it cannot be submitted: the thunk is unknown here, the arguments
    /// cannot be decoded, or something is too large.
    fn admit(&self, id: TransactionId, thunk: ThunkId, arguments: Value) -> Result<Transaction, String>;

    /// Evaluates a batch, which follows on the one before.
    fn evaluate(&mut self, batch: Batch) -> Evaluated;

    /// Reads the snapshot at `at`, which is at or below the evaluated bound.
    fn read(&self, at: Hlc, query: &Query) -> Answer;

    /// The latest version of every key.
    fn state(&self) -> Vec<FinalEntry>;
}
