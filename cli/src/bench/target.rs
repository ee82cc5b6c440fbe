//! What is measured: a database that takes transactions and reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use plimsoll::Plimsoll;
use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{Query, ReadMode};
use plimsoll::runtime::{ReadFailed, Rows, SubmitError};
use plimsoll::transaction::{Settlement, ThunkId};
use plimsoll_sim::workload;
use tempfile::TempDir;

use crate::command::Failure;

/// What a transaction has survived when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Durability {
    /// It is synced to the disk.
    Fsync,
    /// It is in memory.
    None,
}

/// A database within this process.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedSettings {
    pub(crate) replicas: u32,
    pub(crate) durability: Durability,
    /// Where; absent: in a new folder that is removed at the end. Never used without durability.
    pub(crate) folder: Option<PathBuf>,
    pub(crate) deadline: Duration,
    /// Absent: the library's own.
    pub(crate) tick: Option<Duration>,
}

/// A database under load.
pub(crate) enum Target {
    /// All its replicas are in this process.
    Embedded {
        /// The database.
        database: Plimsoll,
        /// Removed when this is dropped.
        scratch: Option<TempDir>,
    },
}

impl Target {
    /// Opens a database of the workloads' thunks in this process.
    pub(crate) async fn open_embedded(settings: &EmbeddedSettings) -> Result<Self, Failure> {
        let mut scratch = None;
        let folder = match (settings.durability, &settings.folder) {
            (Durability::None, _) => None,
            (Durability::Fsync, Some(folder)) => {
                refuse_memory(folder)?;
                Some(folder.clone())
            }
            (Durability::Fsync, None) => Some(scratch.insert(scratch_folder()?).path().to_owned()),
        };
        let mut profile = Profile::lan();
        if let Some(tick) = settings.tick {
            profile.active_tick = tick;
        }
        let mut builder = Plimsoll::builder()
            .profile(profile)
            .replicas(settings.replicas)
            .registry(workload::registry())
            .deadline(settings.deadline);
        if let Some(folder) = folder {
            builder = builder.folder(folder);
        }
        let opened = builder.open().await;
        let database = opened.map_err(|error| Failure::Failed(format!("the database cannot be opened: {error}")))?;
        Ok(Self::Embedded { database, scratch })
    }

    /// Submits a transaction and waits for its end.
    pub(crate) async fn submit(
        &self,
        id: TransactionId,
        thunk: ThunkId,
        arguments: Value,
    ) -> Result<Settlement, SubmitError> {
        match self {
            Self::Embedded { database, .. } => database.submit_encoded(id, thunk, arguments).await,
        }
    }

    /// Reads everything that was answered before.
    pub(crate) async fn read(&self, query: Query) -> Result<Rows, ReadFailed> {
        match self {
            Self::Embedded { database, .. } => database.read(ReadMode::Strict, query).await,
        }
    }

    /// Another handle on the same, for a client.
    pub(crate) fn handle(&self) -> Self {
        match self {
            Self::Embedded { database, .. } => Self::Embedded {
                database: database.clone(),
                scratch: None,
            },
        }
    }

    /// Closes it, and removes what was made for it.
    pub(crate) async fn close(self) {
        match self {
            Self::Embedded { database, scratch } => {
                database.shutdown().await;
                if let Some(scratch) = scratch {
                    let path = scratch.path().to_owned();
                    if let Err(error) = scratch.close() {
                        eprintln!("warning: {} cannot be removed: {error}", path.display());
                    }
                }
            }
        }
    }
}

/// A new folder on a real disk.
fn scratch_folder() -> Result<TempDir, Failure> {
    let mut tried = Vec::new();
    for parent in [std::env::temp_dir(), PathBuf::from("/var/tmp"), PathBuf::from(".")] {
        if is_memory(&parent) {
            tried.push(format!("{} is in memory", parent.display()));
            continue;
        }
        match tempfile::Builder::new().prefix("plimsoll-bench-").tempdir_in(&parent) {
            Ok(folder) => return Ok(folder),
            Err(error) => tried.push(format!("{}: {error}", parent.display())),
        }
    }
    Err(Failure::Failed(format!(
        "there is no place for the replicas' files ({}): name a folder on a disk by --folder",
        tried.join("; ")
    )))
}

fn refuse_memory(folder: &Path) -> Result<(), Failure> {
    // The folder may be made only when the database is opened.
    let existing = folder.ancestors().find(|place| place.exists());
    match existing.is_some_and(is_memory) {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "--folder {} is in memory, where a sync does nothing: name a folder on a disk, or give --durability none",
            folder.display()
        ))),
    }
}

/// Whether what is written there stays in memory.
#[cfg(target_os = "linux")]
fn is_memory(folder: &Path) -> bool {
    /// The marks of the two file systems of Linux that have no disk, `tmpfs` and `ramfs`.
    const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];
    rustix::fs::statfs(folder).is_ok_and(|found| IN_MEMORY.contains(&i128::from(found.f_type)))
}

/// Elsewhere temporary files lie on a disk.
#[cfg(not(target_os = "linux"))]
fn is_memory(_: &Path) -> bool {
    false
}
