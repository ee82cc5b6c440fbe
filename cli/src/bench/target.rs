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

use crate::ask::access::{Place, credentials};
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
    /// Absent: the library's own.
    pub(crate) tick: Option<Duration>,
}

/// A cluster elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct RemoteSettings {
    /// The folder of the credentials to show.
    pub(crate) credentials: PathBuf,
    pub(crate) nodes: Vec<Place>,
}

/// Which database is measured.
#[derive(Clone, Debug)]
pub(crate) enum Where {
    /// One that is opened in this process.
    Here(EmbeddedSettings),
    /// One that runs elsewhere.
    There(RemoteSettings),
}

/// A database under load.
pub(crate) struct Target {
    database: Plimsoll,
    /// How many replicas it has.
    replicas: u32,
    /// Removed when this is dropped.
    scratch: Option<TempDir>,
}

impl Target {
    /// Opens the database, one of the workloads' thunks. *Given* how long a call waits for its answer.
    pub(crate) async fn open(place: &Where, deadline: Duration) -> Result<Self, Failure> {
        match place {
            Where::Here(settings) => Self::open_embedded(settings, deadline).await,
            Where::There(settings) => Self::open_remote(settings, deadline).await,
        }
    }

    async fn open_embedded(settings: &EmbeddedSettings, deadline: Duration) -> Result<Self, Failure> {
        let mut scratch = None;
        let folder = match (settings.durability, &settings.folder) {
            (Durability::None, _) => None,
            (Durability::Fsync, Some(folder)) => {
                refuse_memory(folder)?;
                Some(folder.clone())
            }
            (Durability::Fsync, None) => Some(scratch.insert(scratch_folder()?).path().to_owned()),
        };
        let mut builder = Plimsoll::builder()
            .replicas(settings.replicas)
            .registry(workload::registry())
            .deadline(deadline);
        if let Some(active_tick) = settings.tick {
            let lan = Profile::lan();
            builder = builder.profile(Profile { active_tick, ..lan });
        }
        if let Some(folder) = folder {
            builder = builder.folder(folder);
        }
        let opened = builder.open().await;
        let database = opened.map_err(|error| Failure::Failed(format!("the database cannot be opened: {error}")))?;
        Ok(Self {
            database,
            replicas: settings.replicas,
            scratch,
        })
    }

    async fn open_remote(settings: &RemoteSettings, deadline: Duration) -> Result<Self, Failure> {
        let unreachable = |error: String| Failure::Failed(format!("the cluster cannot be reached: {error}"));
        let mut cluster = Plimsoll::remote(credentials(&settings.credentials)?)
            .registry(workload::registry())
            .deadline(deadline);
        for place in &settings.nodes {
            cluster = cluster.node(place.number, place.address.clone());
        }
        let database = cluster.open().await.map_err(|error| unreachable(error.to_string()))?;
        let members = database.members().await;
        let members = members.map_err(|error| unreachable(error.to_string()))?;
        Ok(Self {
            database,
            replicas: members.members.len() as u32,
            scratch: None,
        })
    }

    /// How many replicas it has.
    pub(crate) fn replicas(&self) -> u32 {
        self.replicas
    }

    /// Submits a transaction and waits for its end.
    pub(crate) async fn submit(
        &self,
        id: TransactionId,
        thunk: ThunkId,
        arguments: Value,
    ) -> Result<Settlement, SubmitError> {
        self.database.submit_encoded(id, thunk, arguments).await
    }

    /// Reads everything that was answered before.
    pub(crate) async fn read(&self, query: Query) -> Result<Rows, ReadFailed> {
        self.database.read(ReadMode::Strict, query).await
    }

    /// Another handle on the same, for a client.
    pub(crate) fn handle(&self) -> Self {
        Self {
            database: self.database.clone(),
            replicas: self.replicas,
            scratch: None,
        }
    }

    /// Closes it if it is in this process, and removes what was made for it.
    pub(crate) async fn close(self) {
        self.database.shutdown().await;
        if let Some(scratch) = self.scratch {
            let path = scratch.path().to_owned();
            if let Err(error) = scratch.close() {
                eprintln!("warning: {} cannot be removed: {error}", path.display());
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
