//! What a transaction would do, without doing it.
//!
//! It goes the way of a read: the node decides on the snapshot, and the thread that evaluates runs the thunk over it.

use std::collections::BTreeMap;

use super::calls::Call;
use super::database::Plimsoll;
use super::error::DryRunFailed;
use crate::client;
use crate::key::{Key, Value};
use crate::protocol::ReadMode;
use crate::thunk::Thunk;
use crate::time::Hlc;
use crate::transaction::{Abort, ThunkId};

/// What a transaction would have done at a snapshot. Nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun<O> {
    /// The snapshot that it saw: everything at or below, and nothing above.
    pub at: Hlc,
    /// What its thunk gave, or why it aborted.
    pub outcome: Result<O, Abort>,
    /// What it would have written; none deletes. Empty if it aborted.
    pub writes: BTreeMap<Key, Option<Value>>,
}

impl Plimsoll {
    /// Evaluates a transaction over a snapshot that sees everything which was answered anywhere before, and submits nothing.
    ///
    /// Submitted afterwards it may come to something else, as others write in between. Whoever wants it to take effect only if nothing has
    /// changed says so in the thunk.
    ///
    /// *Errors*: see [`DryRunFailed`]; an abort is a value here.
    pub async fn dry_run<T: Thunk>(&self, thunk: &T) -> Result<DryRun<T::Output>, DryRunFailed> {
        self.dry_run_at(ReadMode::Strict, thunk).await
    }

    /// The same over another snapshot: an older one needs no majority, and one of the past shows what would have been.
    ///
    /// *Errors*: see [`DryRunFailed`]; an abort is a value here.
    pub async fn dry_run_at<T: Thunk>(&self, mode: ReadMode, thunk: &T) -> Result<DryRun<T::Output>, DryRunFailed> {
        let arguments = client::arguments(thunk)?;
        let transaction = client::admit(&self.shared_registry(), Self::new_id(), ThunkId::of::<T>(), arguments)?;
        let call = |reply| Call::DryRun {
            mode,
            transaction: transaction.clone(),
            reply,
        };
        let (at, run) = self.read_anywhere(mode, call).await?;
        let run = run.ok_or_else(|| DryRunFailed::NotRegistered(ThunkId::of::<T>()))?;
        Ok(DryRun {
            at,
            outcome: client::output::<T>(&run.outcome)?,
            writes: run.writes,
        })
    }
}
