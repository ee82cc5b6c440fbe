//! Opening a database.

use std::collections::BTreeMap;
use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::code::Code;
use super::database::Plimsoll;
use super::error::ReadFailed;
use super::shared::{Reach, Shared};

use super::replica::{self, Parts};
use super::storage::{self, Opened, RUN_BYTES};
use super::thunks::Thunks;
use super::time::Clocks;
use super::transport::Channels;

use crate::id::{ClusterId, Epoch, NodeId};
use crate::limits::MEMBERS_MAX;
use crate::net;
use crate::protocol::config::{Membership, NodeConfig, Profile};
use crate::protocol::node::Node;
use crate::protocol::{LogEntry, Query, ReadMode};
use crate::replica::{MemoryState, ReplicaLog};
use crate::store::{MemoryLog, StoreError};
use crate::thunk::{Registry, RegistryError, Thunk};
use crate::time::Hlc;

/// How long a call waits for its answer unless the builder is told otherwise.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// At most one frame goes from one replica to another in this time: within a process it costs little.
const TICK: Duration = Duration::from_micros(500);

/// Replicas of one process rarely fail by themselves, and on a machine that is busy all of them are slow at times.
const SUSPECT_AFTER: Duration = Duration::from_secs(2);

/// What a database is opened with.
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct Builder {
    replicas: u32,
    folder: Option<PathBuf>,
    profile: Profile,
    deadline: Duration,
    thunks: Thunks,
}

/// Why a database was not opened. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There cannot be so many replicas.
    #[error("{count} replicas: a database has 1 to {limit}, and an odd number survives most: choose 1, 3 or 5")]
    Replicas {
        /// How many were asked for.
        count: u32,
        /// How many there can be.
        limit: usize,
    },
    /// The folder holds another number of replicas.
    #[error("{} holds a database of {found} replicas, not of {asked}: open it with as many", folder.display())]
    OtherReplicas {
        /// The folder.
        folder: PathBuf,
        /// How many there are.
        found: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// A replica's store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thunk cannot be registered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A node is to be opened, and nobody has said where its files lie.
    #[error("a node has no folder: name one by `folder`")]
    NoFolder,
    /// A node is to be opened with the certificate of a client.
    #[error("these are the credentials of a client: open a node with those that were made for it")]
    NotANode,
    /// A database elsewhere is to be opened, and nobody has said where.
    #[error("no node is named: name at least one by `node`")]
    NoNode,
    /// The network cannot be used.
    #[error(transparent)]
    Network(#[from] net::OpenError),
    /// The machine has no room for the threads.
    #[error("the threads of a replica cannot be started: {0}")]
    Threads(#[from] io::Error),
    /// The replicas were started, and nothing can be read.
    #[error("the replicas do not answer: {0}")]
    NoAnswer(#[source] ReadFailed),
}

impl Default for Builder {
    fn default() -> Self {
        let mut thunks = Thunks::of(Registry::with_builtins());
        if cfg!(debug_assertions) {
            thunks.evaluate_twice();
        }
        Self {
            replicas: 1,
            folder: None,
            profile: Profile {
                active_tick: TICK,
                suspect_after: SUSPECT_AFTER,
                ..Profile::lan()
            },
            deadline: DEADLINE,
            thunks,
        }
    }
}

impl Builder {
    /// How many replicas there are in this process: 1 unless this says otherwise; of 3 one may stop, of 5 two.
    pub fn replicas(mut self, count: u32) -> Self {
        self.replicas = count;
        self
    }

    /// Registers a thunk beside the built-in ones. One that cannot be is told by [`Builder::open`].
    pub fn thunk<T: Thunk>(mut self) -> Self {
        self.thunks.register::<T>();
        self
    }

    /// Takes these thunks in place of all that were registered before; add the built-in ones by [`Registry::with_builtins`].
    pub fn registry(mut self, registry: Registry) -> Self {
        self.thunks.replace(registry);
        self
    }

    /// Evaluates every thunk twice, and aborts the transactions of those that are not deterministic, see [`Registry::evaluate_twice`]. So it is in debug
    /// builds, those with debug assertions, unless [`Builder::evaluate_once`] says otherwise; not in release builds.
    pub fn evaluate_twice(mut self) -> Self {
        self.thunks.evaluate_twice();
        self
    }

    /// Evaluates every thunk once, in debug builds too, unless the [registry](Builder::registry) itself says otherwise.
    pub fn evaluate_once(mut self) -> Self {
        self.thunks.evaluate_once();
        self
    }

    /// The replicas' time constants: [`Profile::lan`] with a tick of half a millisecond, and 2 s before one is suspected, unless this says
    /// otherwise.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// How long a call waits for its answer: 10 s unless this says otherwise. What was submitted goes on after it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Keeps the database in this folder, created if there is none: one folder in it for each replica. Without this it is in memory, and
    /// gone when it is closed.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Starts the replicas, and waits until they answer.
    ///
    /// *Given* that it is called within a tokio runtime, whose timer is used.
    ///
    /// *Errors*: nothing runs; what is in the folder is as it was, or newly made and empty.
    pub async fn open(self) -> Result<Plimsoll, OpenError> {
        let nodes: Vec<NodeId> = (1..=self.replicas).map(NodeId::new).collect();
        let membership =
            Membership::new(Epoch::FIRST, nodes.clone(), nodes.clone()).map_err(|_| OpenError::Replicas {
                count: self.replicas,
                limit: MEMBERS_MAX,
            })?;
        let code = Code::new(self.thunks.into_registry()?);
        let registry = code.current();
        let clocks = Clocks::start();
        let mut stores = Vec::new();
        let folder = self.folder;
        if let Some(folder) = folder.clone() {
            let (nodes, registry) = (nodes.clone(), Arc::clone(&registry));
            let opening = tokio::task::spawn_blocking(move || storage::open_all(&folder, &nodes, &registry));
            // It is not cancelled, so it can only have panicked.
            stores = opening
                .await
                .unwrap_or_else(|failed| resume_unwind(failed.into_panic()))?;
        }
        let made = ClusterId::new(uuid::Uuid::new_v4().as_u128());
        let cluster = stores.first().map_or(made, |store: &Opened| store.identity.cluster);
        let (handles, receivers): (Vec<_>, Vec<_>) = nodes
            .iter()
            .map(|node| replica::inbox(*node, self.profile.submissions_max))
            .unzip();
        let inboxes: BTreeMap<_, _> = handles
            .iter()
            .map(|handle| (handle.node, handle.inbox.clone()))
            .collect();
        // From here on what was started is stopped when this is dropped.
        let shared = Shared::new(handles, Arc::clone(&code), self.deadline, Reach::Within);
        let mut stores = stores.into_iter();
        let count = self.replicas;
        for (number, (node, inbox)) in (0..count).zip(nodes.into_iter().zip(receivers)) {
            // Were they all to tick at once, each would answer the others' frames a whole tick late.
            let clocks = clocks.earlier(self.profile.active_tick * number / count);
            let id = node;
            let config = NodeConfig {
                id,
                cluster,
                profile: self.profile.clone(),
                seed: uuid::Uuid::new_v4().as_u64_pair().0,
            };
            let transport = Channels::new(node, inboxes.clone());
            let thread = match stores.next() {
                Some(Opened {
                    log, recovered, state, ..
                }) => {
                    let now = clocks.now().monotonic;
                    let node = Node::recover(config, membership.clone(), &recovered, state.flushed(), now);
                    replica::start(Parts {
                        node,
                        log,
                        state,
                        transport,
                        clocks,
                        code: Arc::clone(&code),
                        folder: folder.as_ref().map(|folder| storage::folder_of(folder, id)),
                        inbox,
                    })
                }
                None => {
                    let Ok((log, _)) = ReplicaLog::open(MemoryLog::<LogEntry>::default(), RUN_BYTES, &mut |_| {});
                    replica::start(Parts {
                        node: Node::new(config, membership.clone(), Hlc::ZERO),
                        log,
                        state: MemoryState::new(Arc::clone(&registry)),
                        transport,
                        clocks,
                        code: Arc::clone(&code),
                        folder: None,
                        inbox,
                    })
                }
            };
            shared.add_thread(thread?);
        }
        let database = Plimsoll::new(shared);
        let ready = database.read(ReadMode::Strict, Query::default()).await;
        ready.map_err(OpenError::NoAnswer)?;
        Ok(database)
    }
}
