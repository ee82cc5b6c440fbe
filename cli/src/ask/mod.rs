//! Asking a cluster: how it is reached, what keys and values look like, and what becomes of a transaction.

pub(crate) mod access;
pub(crate) mod script;
pub(crate) mod shown;
pub(crate) mod submit;

use plimsoll::Plimsoll;

use crate::command::{Answer, Failure};
use access::{Access, connect};

/// A command that asks a cluster.
pub(crate) trait Ask {
    /// How the cluster is reached.
    fn access(&self) -> &Access;

    /// Asks, and says what came of it.
    async fn ask(&self, database: &Plimsoll) -> Result<Answer, Failure>;
}

/// Reaches the cluster and asks it.
pub(crate) fn run(command: &impl Ask) -> Result<Answer, Failure> {
    // One thread does: a command makes one call.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(async { command.ask(&connect(command.access()).await?).await })
}
