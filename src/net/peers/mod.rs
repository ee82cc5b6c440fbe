//! The other nodes: frames to them, each over the sender's own connection, so that nodes may start in any order.
//!
//! One long-lived stream carries the frames in order; a piece of a snapshot has a stream of its own and yields to them, so that
//! bulk never delays a promise. Sending waits for nothing: what finds no room is dropped and counted, as the protocol asks again.
//! What waited through a failed attempt to connect is dropped too, since newer words are on their way by then.
//!
//! Tests: `tests/net`.

mod address;
mod lane;
mod queue;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub use address::{Address, InvalidAddress};

use super::bounds::Bounds;
use super::endpoint::{Endpoint, Shared};
use super::name::Caller;
use crate::id::{ClusterId, NodeId};
use crate::protocol::message::Message;
use lane::Lane;
use queue::Waiting;

/// The way to the other nodes. Dropping it ends what it sends.
pub struct Peers {
    own: NodeId,
    cluster: ClusterId,
    bounds: Bounds,
    runtime: Handle,
    /// The endpoint closes when its owner says so, not when the last peer is gone.
    endpoint: Weak<Shared>,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    unaddressed: AtomicU64,
}

struct Peer {
    lane: Arc<Lane>,
    address: watch::Sender<Address>,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How the way to one peer stands, and what was counted on it since the peer was first given an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Whether there is a connection now.
    pub is_connected: bool,
    /// Attempts to connect.
    pub attempts: u64,
    /// Attempts that led to a connection.
    pub connections: u64,
    /// Frames that were written to a connection. Whether they arrived is for the protocol to find out.
    pub frames_sent: u64,
    /// Writes that carried those frames.
    pub writes: u64,
    /// Pieces of snapshots that were written, beside the frames.
    pub chunks_sent: u64,
    /// Frames dropped because too many waited.
    pub dropped_full: u64,
    /// Frames dropped because an attempt to connect failed while they waited.
    pub dropped_stale: u64,
    /// Messages dropped because they are too large to be sent at all, which is an error of this program.
    pub dropped_oversized: u64,
}

impl Peers {
    /// The peers of a node, none at first.
    ///
    /// *Panics* if the endpoint is a client's.
    pub fn new(endpoint: &Endpoint) -> Self {
        let Caller::Node(own) = endpoint.caller() else {
            panic!("only a node has peers, and this endpoint is a client's");
        };
        Self {
            own,
            cluster: endpoint.cluster(),
            bounds: endpoint.shared.bounds.clone(),
            runtime: endpoint.shared.runtime.clone(),
            endpoint: Arc::downgrade(&endpoint.shared),
            peers: Mutex::default(),
            unaddressed: AtomicU64::new(0),
        }
    }

    /// Says where a node is: begins to connect to it, or connects anew if it was elsewhere.
    ///
    /// *Panics* if the node is this one.
    pub fn set_address(&self, node: NodeId, address: Address) {
        assert_ne!(node, self.own, "a node is no peer of itself");
        let mut peers = self.peers();
        if let Some(peer) = peers.get(&node) {
            peer.address.send_if_modified(|old| {
                let is_new = *old != address;
                *old = address;
                is_new
            });
            return;
        }
        let lane = Arc::new(Lane::new(self.own, node, self.cluster, &self.bounds));
        let (sender, receiver) = watch::channel(address);
        let running = Arc::clone(&lane).run(Weak::clone(&self.endpoint), receiver);
        let task = self.runtime.spawn(running).abort_handle();
        let address = sender;
        peers.insert(node, Peer { lane, address, task });
    }

    /// Forgets a node: ends the connection to it and drops what waits for it.
    pub fn remove(&self, node: NodeId) {
        self.peers().remove(&node);
    }

    /// Puts messages on their way in one frame, and waits for nothing. They may be lost.
    pub fn send(&self, to: NodeId, messages: Vec<Message>) {
        let lane = self.peers().get(&to).map(|peer| Arc::clone(&peer.lane));
        match lane {
            Some(lane) => lane.send(messages),
            None => {
                tracing::debug!(%to, "a frame is dropped: the node has no address");
                self.unaddressed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How the way to each peer stands.
    pub fn status(&self) -> BTreeMap<NodeId, PeerStatus> {
        let peers = self.peers();
        peers.iter().map(|(&node, peer)| (node, peer.lane.status())).collect()
    }

    /// Frames dropped because their receiver has no address here.
    pub fn unaddressed(&self) -> u64 {
        self.unaddressed.load(Ordering::Relaxed)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        // Each change is one step, so what a panicking thread leaves is whole.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages in two kinds: those for the frame, and pieces of snapshots, each for a stream of its own.
fn divided(messages: Vec<Message>) -> (Option<Waiting>, Vec<Waiting>) {
    let is_bulk = |message: &Message| matches!(message, Message::SnapshotChunk(_));
    if !messages.iter().any(is_bulk) {
        let frame = (!messages.is_empty()).then(|| Waiting::new(messages));
        return (frame, Vec::new());
    }
    let (bulk, frame): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_bulk);
    let frame = (!frame.is_empty()).then(|| Waiting::new(frame));
    (frame, bulk.into_iter().map(|chunk| Waiting::new(vec![chunk])).collect())
}
