//! One replica in this process, the others elsewhere: frames and requests come over QUIC.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::builder::{DEADLINE, OpenError};
use super::calls::{Call, Calls, ReadReply};
use super::changes::nothing_new;
use super::code::Code;
use super::database::Plimsoll;
use super::directory::Directory;
use super::remote::Remote;
use super::replica::{self, Event, Parts, ReplicaHandle};
use super::shared::{Reach, Shared};
use super::storage;
use super::thunks::Thunks;
use super::time::{Clocks, wall};
use super::wire::{Request, Response, admit, decode, encode};
use crate::executor::ReadError;
use crate::id::{Epoch, NodeId};
use crate::net::{self, Address, Bounds, Caller, Credentials, Endpoint, Peers, Service};
use crate::protocol::config::{Membership, NodeConfig, Profile};
use crate::protocol::node::Node;
use crate::protocol::{Refusal, Reply};
use crate::thunk::{Registry, Thunk};
use crate::time::Hlc;

/// How often a node tells each of the others where it is, and asks where others are.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// How long a watch from elsewhere waits here for changes before it is told that there are none. It gives up on a node only later.
const CHANGES_PATIENCE: Duration = Duration::from_secs(4);

/// How long an address is waited for that somebody else has: a node of this process that was shut down lets go of it soon, not at once.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait before the address is tried again.
const ADDRESS_PAUSE: Duration = Duration::from_millis(20);

/// What a node of a cluster is opened with, see [`Plimsoll::node`].
#[must_use = "nothing is opened before `open`"]
pub struct NodeBuilder {
    credentials: Credentials,
    folder: Option<PathBuf>,
    listen: SocketAddr,
    advertise: Option<Address>,
    peers: BTreeMap<NodeId, Address>,
    members: Vec<NodeId>,
    profile: Profile,
    deadline: Duration,
    bounds: Bounds,
    thunks: Thunks,
}

impl NodeBuilder {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            folder: None,
            listen: ([0, 0, 0, 0], 7400).into(),
            advertise: None,
            peers: BTreeMap::new(),
            members: Vec::new(),
            profile: Profile::lan(),
            deadline: DEADLINE,
            bounds: Bounds::default(),
            thunks: Thunks::of(Registry::with_builtins()),
        }
    }

    /// The folder of this node, created if there is none. There must be one.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Where other nodes and clients reach this one: `0.0.0.0:7400` unless this says otherwise. Port 0 is any that is free.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// What the others are told of where this node is: where it listens unless this says otherwise. To be given where it listens on all
    /// addresses of the machine, or behind a translation of addresses.
    pub fn advertise(mut self, address: Address) -> Self {
        self.advertise = Some(address);
        self
    }

    /// Where another node is. Of one that is reachable the further ones are learnt.
    pub fn peer(mut self, node: u32, address: Address) -> Self {
        self.peers.insert(NodeId::new(node), address);
        self
    }

    /// The members of the cluster's first epoch, the same at every node: this node and its peers unless this says otherwise. A node that is not
    /// among them is a learner until it is [made a member](Plimsoll::change).
    pub fn members(mut self, members: impl IntoIterator<Item = u32>) -> Self {
        self.members = members.into_iter().map(NodeId::new).collect();
        self
    }

    /// Registers a thunk beside those that are registered. One that cannot be is told by [`NodeBuilder::open`].
    pub fn thunk<T: Thunk>(mut self) -> Self {
        self.thunks.register::<T>();
        self
    }

    /// The thunks of every transaction, in the place of those registered before: the built-in ones unless this says otherwise.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.thunks.replace(registry);
        self
    }

    /// Evaluates every thunk twice, and aborts the transactions of those that are not deterministic, see [`Registry::evaluate_twice`]: for development and
    /// tests. At all nodes of a cluster, or those without it come to something else for such a thunk, and the digests of the replicas part.
    pub fn evaluate_twice(mut self) -> Self {
        self.thunks.evaluate_twice();
        self
    }

    /// The time constants, [`Profile::lan`] unless this says otherwise; those of all nodes should be alike.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// How long a call on the handle waits for its answer: 10 s unless this says otherwise. What was submitted goes on after it.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How much anybody on the network can make this node hold.
    pub fn bounds(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Starts the node. It serves at once; what it can answer depends on whether it reaches a majority.
    ///
    /// *Given* that it is called within a tokio runtime of several threads, on which the network runs.
    ///
    /// *Errors*: nothing runs; what is in the folder is as it was, or newly made and empty.
    pub async fn open(self) -> Result<Plimsoll, OpenError> {
        let Caller::Node(own) = self.credentials.caller() else {
            return Err(OpenError::NotANode);
        };
        let folder = self.folder.ok_or(OpenError::NoFolder)?;
        let mut members = self.members;
        if members.is_empty() {
            members = self.peers.keys().copied().chain([own]).collect();
        }
        members.sort_unstable();
        members.dedup();
        let membership =
            Membership::new(Epoch::FIRST, members.clone(), members.clone()).map_err(|_| OpenError::Replicas {
                count: members.len() as u32,
                limit: crate::limits::MEMBERS_MAX,
            })?;
        let code = Code::new(self.thunks.into_registry()?);
        let cluster = self.credentials.cluster();
        let endpoint = Arc::new(endpoint_when_free(self.listen, &self.credentials, self.bounds).await?);
        let opening = {
            let (folder, registry) = (folder.clone(), code.current());
            tokio::task::spawn_blocking(move || storage::open_one(&folder, own, cluster, &registry))
        };
        // It is not cancelled, so it can only have panicked.
        let opened = opening
            .await
            .unwrap_or_else(|failed| resume_unwind(failed.into_panic()))?;
        let replica_folder = folder.clone();
        let clocks = Clocks::start();
        let submissions_max = self.profile.submissions_max;
        let config = NodeConfig {
            id: own,
            cluster,
            profile: self.profile,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        };
        let now = clocks.now().monotonic;
        let node = Node::recover(config, membership, &opened.recovered, opened.state.flushed(), now);

        let listening = endpoint.local_address().map_err(OpenError::Threads)?;
        let mut directory = Directory::load(&folder);
        for (node, address) in &self.peers {
            directory.configure(*node, address);
        }
        let advertise = self.advertise.unwrap_or(Address::Socket(listening));
        directory.announce(own, &advertise, wall().unix_millis());
        let peers = Arc::new(Peers::new(&endpoint));
        for (node, address) in directory.addresses() {
            if node != own {
                peers.set_address(node, address);
            }
        }
        let (handle, inbox) = replica::inbox(own, submissions_max);
        let places = Arc::new(Places {
            own,
            folder,
            peers: Arc::clone(&peers),
            directory: Mutex::new(directory),
        });
        let telling = tokio::spawn(tell(Arc::clone(&endpoint), Arc::clone(&places))).abort_handle();
        let network = Network {
            endpoint: Arc::clone(&endpoint),
            places: Arc::clone(&places),
            telling,
        };
        let shared = Shared::new(
            vec![handle.clone()],
            Arc::clone(&code),
            self.deadline,
            Reach::Node(network),
        );
        shared.add_thread(replica::start(Parts {
            node,
            log: opened.log,
            state: opened.state,
            transport: peers,
            clocks,
            code: Arc::clone(&code),
            folder: Some(replica_folder),
            inbox,
        })?);
        endpoint.serve(service(handle, code, places));
        Ok(Plimsoll::new(shared))
    }
}

/// What a node has of the network.
pub(super) struct Network {
    endpoint: Arc<Endpoint>,
    places: Arc<Places>,
    telling: AbortHandle,
}

impl Network {
    pub(super) fn addresses(&self) -> BTreeMap<NodeId, Address> {
        self.places.directory().addresses()
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

/// Where nodes are, and who must know.
struct Places {
    own: NodeId,
    folder: PathBuf,
    peers: Arc<Peers>,
    directory: Mutex<Directory>,
}

impl Places {
    fn directory(&self) -> MutexGuard<'_, Directory> {
        // Each change is one step, so what a panicking thread leaves is whole.
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is newer, and sends to where the nodes are now.
    fn learn(&self, other: Directory) {
        let mut directory = self.directory();
        let changed = directory.merge(other);
        if changed.is_empty() {
            return;
        }
        for (node, address) in changed {
            if node != self.own {
                tracing::info!(%node, %address, "is there now");
                self.peers.set_address(node, address);
            }
        }
        if let Err(error) = directory.save(&self.folder) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the addresses of the other nodes cannot be kept over a restart");
        }
    }
}

/// An endpoint at an address that a node before this one may just have let go of.
async fn endpoint_when_free(
    listen: SocketAddr,
    credentials: &Credentials,
    bounds: Bounds,
) -> Result<Endpoint, net::OpenError> {
    let until = Instant::now() + ADDRESS_PATIENCE;
    loop {
        match Endpoint::open(listen, credentials, bounds.clone()) {
            Err(net::OpenError::Socket { source, .. })
                if source.kind() == ErrorKind::AddrInUse && Instant::now() < until =>
            {
                sleep(ADDRESS_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

/// Tells each of the others where nodes are, and learns it from them, for ever.
async fn tell(endpoint: Arc<Endpoint>, places: Arc<Places>) {
    let mut others: BTreeMap<NodeId, Arc<Remote>> = BTreeMap::new();
    loop {
        let addresses = places.directory().addresses();
        for (node, address) in addresses {
            if node == places.own {
                continue;
            }
            let remote = others
                .entry(node)
                .or_insert_with(|| Remote::new(node, Arc::clone(&endpoint), address.clone()));
            remote.set_address(address);
            let (remote, places) = (Arc::clone(remote), Arc::clone(&places));
            tokio::spawn(async move {
                let known = places.directory().clone();
                if let Some(theirs) = remote.directory(known).await {
                    places.learn(theirs);
                }
            });
        }
        sleep(TELL_EVERY).await;
    }
}

/// What comes in: frames for the replica, and requests.
fn service(replica: ReplicaHandle, code: Arc<Code>, places: Arc<Places>) -> Service {
    let ReplicaHandle {
        inbox: frames, calls, ..
    } = replica;
    let take = move |from, messages| frames.try_send(Event::Frame { from, messages }).is_ok();
    Service::new(take, move |caller, bytes: Vec<u8>| {
        let (calls, registry, places) = (calls.clone(), code.current(), Arc::clone(&places));
        async move {
            let response = match decode(&bytes) {
                Ok(request) => answer(caller, request, &calls, &registry, &places).await,
                Err(error) => Response::Malformed(error),
            };
            encode(&response)
        }
    })
}

async fn answer(caller: Caller, request: Request, calls: &Calls, registry: &Registry, places: &Places) -> Response {
    match request {
        Request::Submit { id, thunk, arguments } => match calls.check_room() {
            Ok(()) => match admit(registry, id, thunk, arguments) {
                Ok(transaction) => call(|reply| calls.submit(|| transaction, reply), Response::Reply).await,
                Err(reason) => not_admitted(places.own, reason),
            },
            Err(refusal) => Response::Reply(Reply::Refused(refusal)),
        },
        Request::Change(change) => call(|reply| calls.send(Call::Change { change, reply }), Response::Reply).await,
        Request::Status(id) => call(|reply| calls.send(Call::Status { id, reply }), Response::Status).await,
        Request::Inspect => {
            let inspected = |status| Response::Inspected(Box::new(status));
            call(|reply| calls.send(Call::Inspect { reply }), inspected).await
        }
        Request::Read { mode, query } => {
            let call = |reply| calls.send(Call::Read { mode, query, reply });
            read(call, Response::Rows).await
        }
        Request::DryRun {
            mode,
            id,
            thunk,
            arguments,
        } => match admit(registry, id, thunk, arguments) {
            Ok(transaction) => {
                let call = |reply| {
                    calls.send(Call::DryRun {
                        mode,
                        transaction,
                        reply,
                    })
                };
                read(call, Response::Tried).await
            }
            Err(reason) => not_admitted(places.own, reason),
        },
        Request::Changes(query) => {
            // Whoever asks may be gone, and what it asks for may never come: nobody is kept for ever.
            let upto = query.after.clone();
            let asked = call(|reply| calls.send(Call::Changes { query, reply }), Response::Changes);
            let answered = timeout(CHANGES_PATIENCE, asked).await;
            answered.unwrap_or_else(|_| Response::Changes(Ok(nothing_new(upto))))
        }
        Request::Directory(theirs) => {
            // Clients are told, and not believed.
            if let Caller::Node(_) = caller {
                places.learn(theirs);
            }
            Response::Directory(places.directory().clone())
        }
    }
}

fn not_admitted(node: NodeId, reason: String) -> Response {
    Response::Reply(Reply::Refused(Refusal::NotAdmitted { node, reason }))
}

/// Has the replica read, and waits. *Given* how the call is handed over.
async fn read<A>(
    hand_over: impl FnOnce(oneshot::Sender<ReadReply<A>>) -> Result<(), Option<Refusal>>,
    response: impl FnOnce(Result<(Hlc, A), ReadError>) -> Response,
) -> Response {
    let (reply, answer) = oneshot::channel();
    match hand_over(reply) {
        Ok(()) => match answer.await {
            Ok(ReadReply::Reply(reply)) => Response::Reply(reply),
            Ok(ReadReply::Reading(reading)) => reading.await.map_or(Response::Lost, response),
            Err(_) => Response::Lost,
        },
        Err(refusal) => not_taken(refusal),
    }
}

/// Asks the replica, and waits. *Given* how the call is handed over.
async fn call<A>(
    hand_over: impl FnOnce(oneshot::Sender<A>) -> Result<(), Option<Refusal>>,
    response: impl FnOnce(A) -> Response,
) -> Response {
    let (reply, answer) = oneshot::channel();
    match hand_over(reply) {
        Ok(()) => answer.await.map_or(Response::Lost, response),
        Err(refusal) => not_taken(refusal),
    }
}

/// What to answer if the replica does not take a call.
fn not_taken(refusal: Option<Refusal>) -> Response {
    refusal.map_or(Response::Stopped, |refusal| Response::Reply(Reply::Refused(refusal)))
}
