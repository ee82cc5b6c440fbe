//! The thunks that a process has, which may become more while it runs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::database::Plimsoll;
use super::replica::{Event, ReplicaStatus};
use super::shared::Reach;
use crate::id::NodeId;
use crate::thunk::{Registry, RegistryError, Thunk};
use crate::transaction::ThunkId;

/// How often to look whether the replicas know of each other's code: a round of frames between them takes about as long.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The registry of the replicas and handles of one database in this process.
pub(crate) struct Code(RwLock<Arc<Registry>>);

impl Code {
    pub(super) fn new(registry: Registry) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(registry))))
    }

    /// As it is now. It never changes; another one takes its place.
    pub(crate) fn current(&self) -> Arc<Registry> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn register<T: Thunk>(&self) -> Result<(), RegistryError> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut registry = Registry::clone(&current);
        registry.register::<T>()?;
        *current = Arc::new(registry);
        Ok(())
    }
}

impl Plimsoll {
    /// Registers a thunk while the database runs: it can be submitted by this handle and its clones from now on, and the replicas of this
    /// process evaluate it. One that was stopped by it goes on.
    ///
    /// It is gone with the process: name it to the builder as well. A cluster takes transactions of it once every member has it; this waits, for
    /// the deadline of calls at most, until the replicas of this process know it of each other.
    ///
    /// *Errors* when its name and version are taken or its name is unusable; then nothing changed.
    pub async fn register<T: Thunk>(&self) -> Result<(), RegistryError> {
        self.shared.code.register::<T>()?;
        if !matches!(self.shared.reach, Reach::Remote(_)) {
            for replica in self.shared.replicas().iter() {
                // One that has stopped needs no code.
                let _ = replica.inbox.send(Event::Load).await;
            }
            // Past the deadline some replica cannot be reached, which the next submit says better.
            let _ = timeout(self.deadline(), self.until_known(&ThunkId::of::<T>())).await;
        }
        Ok(())
    }

    /// Waits until no replica of this process takes another one for lacking the thunk.
    async fn until_known(&self, thunk: &ThunkId) {
        loop {
            let replicas = self.shared.replicas();
            let running: Vec<NodeId> = replicas
                .iter()
                .filter(|replica| !replica.inbox.is_closed())
                .map(|replica| replica.node)
                .collect();
            let answers = self.replicas().await;
            let knows = |status: &ReplicaStatus| {
                let lacking = status.lacking.get(thunk);
                lacking.is_none_or(|lacking| lacking.iter().all(|node| !running.contains(node)))
            };
            if answers.len() >= running.len() && answers.iter().all(knows) {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}
