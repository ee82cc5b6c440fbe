//! Opening a database.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::database::{Plimsoll, Shared};
use super::error::ReadFailed;
use super::evaluator::Evaluator;
use super::replica::{self, Parts, ReplicaHandle};
use super::time::Clocks;
use super::transport::Channels;
use crate::executor::SerialExecutor;
use crate::id::{ClusterId, Epoch, NodeId};
use crate::limits::MEMBERS_MAX;
use crate::protocol::config::{Membership, NodeConfig, Profile};
use crate::protocol::node::Node;
use crate::protocol::{LogEntry, Query, ReadMode};
use crate::store::{MemoryLog, MemoryVersions};
use crate::thunk::{Registry, RegistryError, Thunk};
use crate::time::Hlc;

/// How long a call waits for its answer unless the builder is told otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a database is opened with.
#[derive(Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct Builder {
    replicas: u32,
    profile: Profile,
    deadline: Duration,
    registry: Result<Registry, RegistryError>,
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
    /// A thunk cannot be registered.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The machine has no room for the threads.
    #[error("the threads of a replica cannot be started: {0}")]
    Threads(#[from] io::Error),
    /// The replicas were started, and nothing can be read.
    #[error("the replicas do not answer: {0}")]
    NoAnswer(#[source] ReadFailed),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            replicas: 1,
            profile: Profile::lan(),
            deadline: DEADLINE,
            registry: Ok(Registry::with_builtins()),
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
        if let Ok(registry) = &mut self.registry
            && let Err(error) = registry.register::<T>()
        {
            self.registry = Err(error);
        }
        self
    }

    /// The replicas' time constants, [`Profile::lan`] unless this says otherwise.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// How long a call waits for its answer: 10 s unless this says otherwise. What was submitted goes on after it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the replicas, and waits until they answer.
    ///
    /// *Given* that it is called within a tokio runtime, whose timer is used.
    ///
    /// *Errors*: nothing is left behind.
    pub async fn open(self) -> Result<Plimsoll, OpenError> {
        let nodes: Vec<NodeId> = (1..=self.replicas).map(NodeId::new).collect();
        let membership =
            Membership::new(Epoch::FIRST, nodes.clone(), nodes.clone()).map_err(|_| OpenError::Replicas {
                count: self.replicas,
                limit: MEMBERS_MAX,
            })?;
        let registry = Arc::new(self.registry?);
        let clocks = Clocks::start();
        let cluster = ClusterId::new(uuid::Uuid::new_v4().as_u128());
        let (senders, receivers): (Vec<_>, Vec<_>) = nodes.iter().map(|_| replica::inbox()).unzip();
        let inboxes: BTreeMap<NodeId, _> = nodes.iter().copied().zip(senders).collect();
        let handles = inboxes
            .iter()
            .map(|(node, inbox)| ReplicaHandle {
                node: *node,
                inbox: inbox.clone(),
            })
            .collect();
        // From here on what was started is stopped when this is dropped.
        let shared = Shared::new(handles, Arc::clone(&registry), self.deadline);
        for (node, inbox) in nodes.into_iter().zip(receivers) {
            let config = NodeConfig {
                id: node,
                cluster,
                profile: self.profile.clone(),
                seed: uuid::Uuid::new_v4().as_u64_pair().0,
            };
            let executor = SerialExecutor::new(Arc::clone(&registry), MemoryVersions::default());
            let thread = replica::start(Parts {
                node: Node::new(config, membership.clone(), Hlc::ZERO),
                log: MemoryLog::<LogEntry>::default(),
                evaluator: Evaluator::new(executor),
                transport: Channels::new(node, inboxes.clone()),
                clocks,
                inbox,
            })?;
            shared.add_thread(thread);
        }
        let database = Plimsoll::new(shared);
        let ready = database.read(ReadMode::Strict, Query::default()).await;
        ready.map_err(OpenError::NoAnswer)?;
        Ok(database)
    }
}
