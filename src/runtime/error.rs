//! What a caller is told when there is no answer: always whether anything may have happened, and what to do.

use std::time::Duration;

use crate::client::NotSubmitted;
use crate::codec::{DecodeError, EncodeError};
use crate::executor::ReadError;
use crate::id::TransactionId;
use crate::key::Key;
use crate::protocol::{Doubt, Refusal};
use crate::table::RowError;
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, ThunkId};

/// No replica can be asked: all have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every replica of this database has stopped: open it again")]
pub struct Unavailable;

/// Why nobody knows what became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Uncertain {
    /// There was no answer in time.
    #[error("there was no answer within {0:?}")]
    Deadline(Duration),
    /// The replica says so.
    #[error(transparent)]
    Doubt(Doubt),
    /// The replica has stopped.
    #[error("the replica has stopped before it answered")]
    Stopped,
}

/// Why a transaction was not answered with its output.
///
/// [`SubmitError::may_have_happened`] tells the two kinds apart that matter: after a `false` it certainly did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It can never be submitted like this. Nothing happened.
    #[error(transparent)]
    Invalid(#[from] NotSubmitted),
    /// The arguments have no encoding. Nothing happened.
    #[error("the arguments of the thunk have no encoding: {0}")]
    Arguments(#[from] EncodeError),
    /// Every replica refused it for now. Nothing happened; submitting it again is safe.
    #[error("not submitted: {0}")]
    Refused(Refusal),
    /// Its thunk was evaluated and refused, the same on every replica. It changed nothing.
    #[error("aborted: {abort}")]
    Aborted {
        /// The transaction.
        id: TransactionId,
        /// Where it was evaluated.
        timestamp: Timestamp,
        /// Why.
        abort: Abort,
    },
    /// It may take effect or not. Submit it again under the same id, which takes effect once, or
    /// [resolve](super::Plimsoll::resolve) the id.
    #[error("what became of {id} is not known: {why}; submit it again under the same id, or resolve the id")]
    Unknown {
        /// The transaction.
        id: TransactionId,
        /// Why nobody knows.
        why: Uncertain,
    },
    /// It took effect, and its output is not of the thunk's type: another thunk was submitted under the same id.
    #[error("{id} took effect, but its output is none of this thunk: {error}; was the id used for another thunk?")]
    Output {
        /// The transaction.
        id: TransactionId,
        /// Where it took effect.
        timestamp: Timestamp,
        /// What is wrong with the output.
        error: DecodeError,
    },
    /// No replica took it. Nothing happened.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl SubmitError {
    /// Whether the transaction may have taken effect, or may yet. If not, submitting it again under any id is safe.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Output { .. })
    }

    /// Whether the same transaction may be accepted later: under the same id if it
    /// [may have happened](SubmitError::may_have_happened).
    pub fn is_worth_retrying(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unknown { .. })
    }
}

/// Why a staged transaction has no output. That nothing happened is said of this start: of an earlier one under the same id something may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StagedError {
    /// A stage could not read. Nothing happened; starting again is safe.
    #[error("a stage could not read: {0}")]
    Read(#[source] ReadFailed),
    /// The last stage, or what the stages refused, see [`SubmitError`]. If it may have happened, it is the id in there that is in doubt; the
    /// whole may be started again under the id that it had.
    #[error(transparent)]
    Submit(SubmitError),
    /// What the stages saw had changed each time. Nothing happened; start it again under a new id, as these runs are remembered under the old one.
    #[error(
        "stale in each of {runs} runs, of late because of {keys:?}: are these keys written all the time by others that are not staged?"
    )]
    Exhausted {
        /// How often the stages were run.
        runs: u32,
        /// Keys that had changed in the last run, or were reserved; none if its snapshot was no longer kept when the stages were done.
        keys: Vec<Key>,
    },
    /// The stages were not done in time. Nothing happened.
    #[error("the stages were not done within {0:?}, and nothing was submitted")]
    Deadline(Duration),
}

/// Why nothing was read. A read changes nothing, so trying again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadFailed {
    /// Every replica refused it for now.
    #[error("not read: {0}")]
    Refused(Refusal),
    /// The snapshot is older than what is kept.
    #[error(transparent)]
    Snapshot(#[from] ReadError),
    /// There was no answer in time.
    #[error("there was no answer within {0:?}")]
    Deadline(Duration),
    /// No replica is there to be asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It was read, and is no row of the table. Reading it again gives the same: what is stored, or the table's type, is to be put right.
    #[error(transparent)]
    Row(#[from] RowError),
}

/// Why it is not known what a transaction would do. Nothing happened either way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DryRunFailed {
    /// It can never be submitted like this.
    #[error(transparent)]
    Invalid(#[from] NotSubmitted),
    /// The arguments have no encoding.
    #[error("the arguments of the thunk have no encoding: {0}")]
    Arguments(#[from] EncodeError),
    /// The replica that was asked evaluates with other thunks than this handle has: register it there.
    #[error("the replica that was asked does not know thunk {0}: register it there")]
    NotRegistered(ThunkId),
    /// No snapshot was read. Trying again is safe.
    #[error(transparent)]
    NotRun(#[from] ReadFailed),
    /// What the thunk gave there is not of its type here: its versions differ.
    #[error("the output is none of this thunk: {0}; is another program registered under its name and version?")]
    Output(#[from] DecodeError),
}

/// Why a watch cannot tell of changes. It stays where it is: unless they are no longer kept, asking again goes on from there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Some of the changes behind its place may be gone. Scan the range, and watch after the snapshot that was read.
    #[error(
        "the changes after {after} are no longer all kept, only those after {oldest}: scan the range, and watch after the snapshot of that scan"
    )]
    Collected {
        /// How far the watch has come.
        after: Timestamp,
        /// Of the replicas that were asked, the bound of the one that keeps the most: it has all changes above.
        oldest: Hlc,
    },
    /// It was to begin now, and when that is could not be read.
    #[error("the watch could not begin: {0}")]
    NotBegun(ReadFailed),
    /// Every replica refuses for now.
    #[error("there are no changes to be had: {0}")]
    Refused(Refusal),
    /// No replica has answered for so long.
    #[error("no replica has answered within {0:?}")]
    Deadline(Duration),
    /// No replica is there to be asked.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a transaction was not resolved. The doubt about it remains; trying again is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveFailed {
    /// The resolving transaction has no answer.
    #[error("{target} is not resolved: {error}")]
    Submit {
        /// Whose end is in doubt.
        target: TransactionId,
        /// What became of the resolving transaction.
        error: SubmitError,
    },
}

/// Why the members were not changed, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeFailed {
    /// It was not made.
    #[error("the members were not changed: {0}")]
    Refused(Refusal),
    /// It may be made yet: look at the status of the replicas.
    #[error("whether the members were changed is not known: {0}; ask for the status of the replicas")]
    Unknown(Uncertain),
    /// No replica of this process has that number.
    #[error("there is no replica {0} in this process")]
    NoReplica(u32),
}
