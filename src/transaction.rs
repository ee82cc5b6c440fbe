//! A transaction as it is stored and sent, and what became of it.
//!
//! Realises section 4 of the design, without the code of thunks: that is in [`thunk`](crate::thunk).

use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::id::TransactionId;
use crate::key::{Key, KeyRange, Value};
use crate::time::{Hlc, Timestamp};

/// The name and version of a registered thunk.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ThunkId {
    /// The registered name.
    pub name: Arc<str>,
    /// The version of its code: another behaviour needs another version.
    pub version: u32,
}

impl fmt::Display for ThunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", self.name, self.version)
    }
}

impl fmt::Debug for ThunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// All that a thunk may touch, known before it runs. Every list is sorted and holds nothing twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Footprint {
    /// The keys it may read.
    pub reads: Vec<Key>,
    /// The ranges it may scan; a key in one of them may be read too.
    pub ranges: Vec<KeyRange>,
    /// The keys it may write; they may be read too.
    pub writes: Vec<Key>,
}

/// A client's transaction: which thunk, with which arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Transaction {
    /// The client's name for it: the same id has at most one effect.
    pub id: TransactionId,
    /// The code to evaluate.
    pub thunk: ThunkId,
    /// The encoded arguments.
    pub arguments: Value,
    /// What the thunk may touch, computed from the arguments by the node that accepted it.
    pub footprint: Footprint,
}

/// One transaction as stored in S-phase. Its coordinator is that of the stream which holds it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Record {
    /// Its place in the coordinator's stream.
    pub hlc: Hlc,
    /// What to evaluate.
    pub transaction: Transaction,
}

impl Record {
    /// About how many bytes the record takes in memory and in a frame: for bounds, not for sizes of buffers.
    pub fn weight(&self) -> usize {
        const FIXED_BYTES: usize = 64;
        const PER_KEY_BYTES: usize = 8;
        let footprint = &self.transaction.footprint;
        let keys = footprint.reads.iter().chain(&footprint.writes);
        let ranges = footprint
            .ranges
            .iter()
            .flat_map(|range| [Some(range.start()), range.end()])
            .flatten();
        let keys: usize = keys.chain(ranges).map(|key| key.as_bytes().len() + PER_KEY_BYTES).sum();
        FIXED_BYTES + self.transaction.thunk.name.len() + self.transaction.arguments.as_bytes().len() + keys
    }
}

/// Why a transaction was refused at evaluation: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode, thiserror::Error)]
#[non_exhaustive]
pub enum Abort {
    /// The thunk refused, for a reason of its own.
    #[error("{0}")]
    Refused(String),
    /// The thunk touched a key outside its footprint.
    #[error("thunk {thunk} {access} the key {key}, which its footprint does not declare: add it to the footprint")]
    Undeclared {
        /// The thunk that did it.
        thunk: ThunkId,
        /// What it did: `reads`, `scans` or `writes`.
        access: String,
        /// The key, or the first key of the range.
        key: Key,
    },
    /// The thunk panicked.
    #[error("thunk {thunk} panicked: {message}")]
    Panicked {
        /// The thunk that did it.
        thunk: ThunkId,
        /// The panic's message.
        message: String,
    },
    /// A stored value or the arguments could not be decoded by the thunk.
    #[error("{0}")]
    Malformed(String),
    /// The id is older than outcomes are kept, so it may have taken effect before.
    #[error("the transaction id was made {age_ms} ms before its timestamp; outcomes are kept for {window_ms} ms")]
    Expired {
        /// The age of the id at the transaction's timestamp, in milliseconds.
        age_ms: u64,
        /// How long outcomes are kept, in milliseconds.
        window_ms: u64,
    },
    /// The time in the id lies too far ahead of the timestamp.
    #[error(
        "the transaction id was made {ahead_ms} ms after its timestamp, more than {limit_ms}: check the client's clock"
    )]
    FromFuture {
        /// By how much, in milliseconds.
        ahead_ms: u64,
        /// The bound, in milliseconds.
        limit_ms: u64,
    },
    /// A value or the output was larger than the bound.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// What was too large.
        what: String,
        /// Its size in bytes.
        bytes: u64,
        /// The bound in bytes.
        limit: u64,
    },
}

/// What became of a transaction at evaluation: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Outcome {
    /// It took effect and gave this encoded output.
    Committed(Value),
    /// It took no effect, for this reason.
    Aborted(Abort),
}

/// One transaction's end: which, where, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Settlement {
    /// The record that was evaluated.
    pub record: Timestamp,
    /// The transaction's id.
    pub id: TransactionId,
    /// Where it took effect: `record`, or the place of an earlier submission of the same id.
    pub effective: Timestamp,
    /// Its outcome; of an id that was submitted before, the first one.
    pub outcome: Outcome,
}
