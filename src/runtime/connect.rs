//! Opening a handle on a database that runs elsewhere, and following it as its nodes come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::builder::{DEADLINE, OpenError};
use super::code::Code;
use super::database::Plimsoll;
use super::directory::Directory;
use super::remote::{Remote, anywhere};
use super::replica::{self, ReplicaHandle};
use super::shared::{Reach, Shared};
use super::thunks::Thunks;
use crate::id::NodeId;
use crate::net::{self, Address, Bounds, Credentials, Endpoint};
use crate::protocol::{Query, ReadMode};
use crate::thunk::{Registry, Thunk};

/// How often the nodes are asked where others are.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What a handle on a database elsewhere is opened with, see [`Plimsoll::remote`].
#[must_use = "nothing is opened before `open`"]
pub struct RemoteBuilder {
    credentials: Credentials,
    nodes: Vec<(NodeId, Address)>,
    deadline: Duration,
    bounds: Bounds,
    thunks: Thunks,
    is_ready_first: bool,
}

impl RemoteBuilder {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            nodes: Vec::new(),
            deadline: DEADLINE,
            bounds: Bounds::default(),
            thunks: Thunks::of(Registry::with_builtins()),
            is_ready_first: true,
        }
    }

    /// A node, and where it is. One is enough as long as it answers: the others are learnt from it. The first one is asked first, so name the
    /// nearest first.
    pub fn node(mut self, node: u32, address: Address) -> Self {
        self.nodes.push((NodeId::new(node), address));
        self
    }

    /// Registers a thunk beside those that are registered; the nodes must know it too. One that cannot be is told by [`RemoteBuilder::open`].
    pub fn thunk<T: Thunk>(mut self) -> Self {
        self.thunks.register::<T>();
        self
    }

    /// The thunks that can be submitted, in the place of those registered before: the built-in ones unless this says otherwise.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.thunks.replace(registry);
        self
    }

    /// How long a call waits for its answer: 10 s unless this says otherwise. What was submitted goes on after it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How much this process sends and takes at most, see [`Bounds`].
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Opens without waiting until the database answers: each call then tells by itself whether it does. For one call alone, and for asking nodes
    /// how they stand where no majority of them is there.
    pub fn at_once(mut self) -> Self {
        self.is_ready_first = false;
        self
    }

    /// Connects, and waits until the database answers, unless it is opened [at once](RemoteBuilder::at_once).
    ///
    /// *Given* that it is called within a tokio runtime, on which the network runs.
    ///
    /// *Errors*: nothing is open.
    pub async fn open(self) -> Result<Plimsoll, OpenError> {
        if self.nodes.is_empty() {
            return Err(OpenError::NoNode);
        }
        let code = Code::new(self.thunks.into_registry()?);
        let [first, second] = anywhere();
        let endpoint = match Endpoint::open(first, &self.credentials, self.bounds.clone()) {
            // Without IPv6.
            Err(net::OpenError::Socket { .. }) => Endpoint::open(second, &self.credentials, self.bounds)?,
            opened => opened?,
        };
        let remotes = Arc::new(Remotes {
            endpoint: Arc::new(endpoint),
            known: Mutex::default(),
        });
        let mut configured = Directory::default();
        let mut handles = Vec::new();
        for (node, address) in &self.nodes {
            configured.configure(*node, address);
            handles.extend(remotes.add(*node, address));
        }
        remotes.known().directory = configured;
        let shared = Shared::new(handles, code, self.deadline, Reach::Remote(Arc::clone(&remotes)));
        let following = tokio::spawn(follow(Arc::downgrade(&shared), Arc::clone(&remotes)));
        remotes.known().tasks.push(following.abort_handle());
        let database = Plimsoll::new(shared);
        if self.is_ready_first {
            let ready = database.read(ReadMode::Strict, Query::default()).await;
            ready.map_err(OpenError::NoAnswer)?;
        }
        Ok(database)
    }
}

/// The nodes of a database that runs elsewhere.
pub(super) struct Remotes {
    endpoint: Arc<Endpoint>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    directory: Directory,
    remotes: BTreeMap<NodeId, Arc<Remote>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Known {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Remotes {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one step, so what a panicking thread leaves is whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn addresses(&self) -> BTreeMap<NodeId, Address> {
        self.known().directory.addresses()
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A node is there. *Gives* the way to it, unless it was known.
    fn add(&self, node: NodeId, address: &Address) -> Option<ReplicaHandle> {
        let mut known = self.known();
        if let Some(remote) = known.remotes.get(&node) {
            remote.set_address(address.clone());
            return None;
        }
        let remote = Remote::new(node, Arc::clone(&self.endpoint), address.clone());
        // The node has a bound of its own, and so has the connection.
        let (handle, inbox) = replica::inbox(node, usize::MAX);
        known.tasks.push(remote.carry(inbox));
        known.remotes.insert(node, remote);
        Some(handle)
    }
}

/// Learns of nodes that come and of addresses that change, as long as anybody has the handle.
async fn follow(shared: Weak<Shared>, remotes: Arc<Remotes>) {
    loop {
        let all: Vec<_> = remotes.known().remotes.values().cloned().collect();
        for remote in all {
            let Some(theirs) = remote.directory(Directory::default()).await else {
                continue;
            };
            let changed = remotes.known().directory.merge(theirs);
            for (node, address) in changed {
                tracing::debug!(%node, %address, asked = %remote.node(), "is there now");
                let Some(shared) = shared.upgrade() else { return };
                if let Some(handle) = remotes.add(node, &address) {
                    shared.add_replica(handle);
                }
            }
        }
        sleep(ASK_EVERY).await;
    }
}
