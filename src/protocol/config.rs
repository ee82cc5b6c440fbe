//! What a node is told when it starts: who it is, who else there is, and its time constants.

use std::time::Duration;

use crate::id::{ClusterId, Epoch, NodeId};
use crate::limits::{COORDINATORS_MAX, MEMBERS_MAX, RECORDS_KEPT_BYTES};

/// Who stores data and who issues timestamps in one epoch. The two sets are independent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The epoch.
    pub epoch: Epoch,
    /// The nodes that store data and count in quorums, ascending.
    pub members: Vec<NodeId>,
    /// The nodes that may issue timestamps, ascending.
    pub coordinators: Vec<NodeId>,
}

/// Why a membership cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// A set is empty or too large.
    #[error("{count} {what}: an epoch has 1 to {limit}")]
    Count {
        /// `members` or `coordinators`.
        what: &'static str,
        /// How many were given.
        count: usize,
        /// How many are possible.
        limit: usize,
    },
    /// A node is named twice.
    #[error("{node} is named twice among the {what}")]
    Twice {
        /// `members` or `coordinators`.
        what: &'static str,
        /// The node.
        node: NodeId,
    },
}

impl Membership {
    /// The membership of `epoch`; the nodes in any order.
    ///
    /// *Errors* when a set is empty, too large or names a node twice.
    pub fn new(
        epoch: Epoch,
        members: impl IntoIterator<Item = NodeId>,
        coordinators: impl IntoIterator<Item = NodeId>,
    ) -> Result<Self, MembershipError> {
        Ok(Self {
            epoch,
            members: sorted("members", members, MEMBERS_MAX)?,
            coordinators: sorted("coordinators", coordinators, COORDINATORS_MAX)?,
        })
    }

    /// Whether `node` stores data.
    pub fn is_member(&self, node: NodeId) -> bool {
        self.members.binary_search(&node).is_ok()
    }

    /// Whether `node` may issue timestamps.
    pub fn is_coordinator(&self, node: NodeId) -> bool {
        self.coordinators.binary_search(&node).is_ok()
    }

    /// Everyone who stores data or issues timestamps, without `node`, ascending.
    pub fn peers_of(&self, node: NodeId) -> Vec<NodeId> {
        let mut peers: Vec<NodeId> = self.members.iter().chain(&self.coordinators).copied().collect();
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|peer| *peer != node);
        peers
    }
}

fn sorted(
    what: &'static str,
    nodes: impl IntoIterator<Item = NodeId>,
    limit: usize,
) -> Result<Vec<NodeId>, MembershipError> {
    let mut nodes: Vec<NodeId> = nodes.into_iter().collect();
    nodes.sort_unstable();
    if nodes.is_empty() || nodes.len() > limit {
        return Err(MembershipError::Count {
            what,
            count: nodes.len(),
            limit,
        });
    }
    match nodes.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MembershipError::Twice { what, node: pair[0] }),
        None => Ok(nodes),
    }
}

/// A node's identity and its time constants.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its time constants.
    pub profile: Profile,
    /// Seeds the back-off of proposers: entropy in production, the run's seed in simulation.
    pub seed: u64,
}

/// The constants of a node: how eager it is, how patient, and how much it keeps for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// At most one frame goes to a peer in this time, and in a cluster with recent traffic about one does.
    pub active_tick: Duration,
    /// How often an idle node sends its row and promise to each peer.
    pub idle_tick: Duration,
    /// How long a node counts as active after it last saw a record, or somebody who waits.
    pub active_for: Duration,
    /// A position that is this far ahead of the own wall clock is refused.
    pub clock_offset_max: Duration,
    /// How far ahead of need the durable ceiling is kept.
    pub ceiling_ahead: Duration,
    /// The shortest time after which records without an acknowledgement are sent again; measured delay adds to it.
    pub retransmit_min: Duration,
    /// The longest time between two retransmissions.
    pub retransmit_max: Duration,
    /// How long a hole in a stream may be mere reordering before the missing part is asked for.
    pub gap_grace: Duration,
    /// How long others may hold more of a stream before it is fetched from one of them; measured delay adds to it.
    pub fetch_after: Duration,
    /// A coordinator that is silent for this long is proposed out of the coordinators.
    pub suspect_after: Duration,
    /// For how long a fetched stream goes on being relayed; the one who asked renews it.
    pub relay_for: Duration,
    /// How many bytes of records are kept for members that are behind. What exceeds it is dropped, the oldest first, once this node has
    /// flushed it; who needs it is sent a snapshot.
    pub records_kept_bytes: usize,
    /// How many own transactions may wait for their evaluation. Beyond: a submit is refused as overloaded. A node commits at most so many within
    /// one latency; more would only wait longer, and lose caches.
    pub submissions_max: usize,
}

impl Profile {
    /// For nodes within a data centre.
    pub fn lan() -> Self {
        Self {
            active_tick: Duration::from_millis(1),
            idle_tick: Duration::from_millis(100),
            active_for: Duration::from_secs(1),
            clock_offset_max: Duration::from_millis(500),
            ceiling_ahead: Duration::from_secs(2),
            retransmit_min: Duration::from_millis(20),
            retransmit_max: Duration::from_secs(1),
            gap_grace: Duration::from_millis(2),
            fetch_after: Duration::from_millis(50),
            suspect_after: Duration::from_millis(500),
            relay_for: Duration::from_secs(1),
            records_kept_bytes: RECORDS_KEPT_BYTES,
            submissions_max: 4_096,
        }
    }

    /// For nodes in several regions.
    pub fn wan() -> Self {
        Self {
            active_tick: Duration::from_millis(5),
            retransmit_min: Duration::from_millis(50),
            retransmit_max: Duration::from_secs(2),
            gap_grace: Duration::from_millis(10),
            fetch_after: Duration::from_millis(250),
            suspect_after: Duration::from_secs(2),
            relay_for: Duration::from_secs(2),
            submissions_max: 16_384,
            ..Self::lan()
        }
    }
}
