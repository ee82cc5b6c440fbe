//! The protocol core: a plain state machine with one door in and one door out.
//!
//! Realises section 3 of the design. [`Node::step`](node::Node::step) takes the time and one [`Input`] and appends what
//! is to be done to a list of [`Effect`]s. It does no I/O, reads no clock and draws no randomness, so the
//! simulator and a real node are two thin drivers of the same code.
//!
//! **The driver's contract.**
//! - [`Input::Receive`]: only from a peer that the transport has authenticated, of the own cluster, and with the storage that it first came
//!   with: ask [`peers::Peers`].
//! - Effects are carried out in the order given. A `Send` may be lost, repeated, delayed and reordered.
//! - [`Effect::Persist`]: write the entries, make them durable, then come back with [`Input::Persisted`] and the mark. Later
//!   marks may be reported alone: a mark says that all entries up to it are durable. The core keeps back whatever depends on
//!   it: a driver cannot acknowledge too early by sending too early.
//! - [`Effect::Evaluate`]: at most one batch is out at a time; come back with [`Input::Evaluated`]. Versions become durable no
//!   earlier than the log entries that were to be persisted before their batch.
//! - [`Effect::Read`]: read at the snapshot given, which is at or below the evaluated bound, and answer the request.
//! - [`Effect::Reply`]: the answer of a request; a request is answered exactly once.
//! - [`Effect::ServeChunk`]: answer the peer directly, with a frame that holds one [`message::SnapshotChunk`] and nothing else. If the
//!   checkpoint that the request names is at hand, send the piece that begins at its cursor, else the first piece of another one whose
//!   bound is flushed and above the request's `above`; take one if there is none, and keep it while it is asked for.
//! - [`Effect::AddChunk`]: add the piece to what has come so far, and come back with [`Input::ChunkTaken`]. A piece of another checkpoint
//!   takes the place of what has come, if it is its first one. What cannot be added, or does not make a whole, is thrown away with
//!   everything before it. No other piece is handed out until then.
//! - [`Effect::Restore`]: go on from the checkpoint that has come, make its versions durable, then come back with
//!   [`Input::Restored`]. No batch is out then, and none comes before.
//! - [`Effect::DiscardChunks`]: throw away the pieces that have come.
//! - Call `step` with [`Input::Wake`] at or after [`Node::wake_at`](node::Node::wake_at).

mod acceptor;
mod agreement;
mod catchup;
pub mod config;
mod declared;
pub mod decree;
mod delay;
mod detector;
mod evaluation;
pub mod frame;
pub mod invariants;
pub mod message;
pub mod node;
mod pacing;
pub mod peers;
mod planted;
mod proposer;
mod read;
mod reconfiguration;
mod recovery;
mod replication;
mod stream;
mod submission;
#[cfg(test)]
mod testing;
mod transfer;
pub mod validation;
mod watermark;

use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};

use crate::id::{Epoch, NodeId, RequestId};
use crate::key::{Key, KeyRange};
use crate::lattice::Digest;
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Record, Settlement, ThunkId, Transaction};

pub use acceptor::Acceptor;
use decree::Decree;
use message::{Message, SnapshotRequest};
pub use planted::Bug;
use planted::Planted;
pub use reconfiguration::{Change, ChangeError};
pub use recovery::Recovered;

/// What a node is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The messages of one frame from `from`, whom the transport has authenticated.
    Receive {
        /// Who sent the frame (not necessarily who made what is in it).
        from: NodeId,
        /// Its messages, in order.
        messages: Vec<Message>,
    },
    /// The moment that was asked for has come.
    Wake,
    /// All entries up to and including this mark are durable.
    Persisted(SyncMark),
    /// The executor has finished the batch that was out.
    Evaluated(Evaluated),
    /// A client's transaction, already admitted: its thunk is known here, its footprint computed, its sizes checked.
    Submit {
        /// Names the answer.
        request: RequestId,
        /// What to submit.
        transaction: Transaction,
    },
    /// These thunks are registered here from now on, ascending: the executor has them already. To be told first of all, and again when code
    /// is loaded. A node that is never told takes no part in the exchange of declarations and refuses no thunk.
    Declare {
        /// Names and versions.
        thunks: Vec<ThunkId>,
    },
    /// Members are to be changed.
    Change {
        /// Names the answer, which comes once a majority of the new members holds the complete history.
        request: RequestId,
        /// How.
        change: Change,
    },
    /// What became of the piece of a checkpoint that was to be added.
    ChunkTaken(ChunkTaken),
    /// The versions are those of the checkpoint at this bound, durably.
    Restored {
        /// The evaluated bound from now on.
        bound: Hlc,
    },
    /// The node is to be shut down: it takes nothing new, ends what it has, and takes back its hold on the watermark.
    Resign,
    /// A client's read.
    Read {
        /// Names the answer.
        request: RequestId,
        /// At which snapshot.
        mode: ReadMode,
        /// What to read.
        query: Query,
    },
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send these messages to `to` as one frame.
    Send {
        /// The peer.
        to: NodeId,
        /// The frame's messages, in order.
        messages: Vec<Message>,
    },
    /// Write these entries to the log and make them durable.
    Persist {
        /// Comes back in [`Input::Persisted`].
        mark: SyncMark,
        /// What to write, in order.
        entries: Vec<LogEntry>,
    },
    /// Evaluate these records, which are in timestamp order and above all earlier ones.
    Evaluate(Batch),
    /// Read the snapshot at `at` and answer `request` with it.
    Read {
        /// Names the answer.
        request: RequestId,
        /// The snapshot: everything at or below it is evaluated here.
        at: Hlc,
        /// What to read.
        query: Query,
    },
    /// Answer `request`.
    Reply {
        /// Names the answer.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// Send a piece of a checkpoint.
    ServeChunk {
        /// To whom.
        to: NodeId,
        /// The epoch that goes into the answer.
        epoch: Epoch,
        /// Which piece.
        request: SnapshotRequest,
    },
    /// Add this piece to the checkpoint that is being received.
    AddChunk {
        /// As another replica's driver made it.
        bytes: Vec<u8>,
    },
    /// Go on from the checkpoint that was received.
    Restore {
        /// Its evaluated bound.
        bound: Hlc,
    },
    /// The pieces received so far are of no use any more.
    DiscardChunks,
    /// A majority knows that this node will issue nothing more in the epoch: it may be stopped, and nobody waits for it.
    Resigned,
    /// The node has stopped serving and evaluating; it goes on holding and relaying streams.
    Quarantine(Divergence),
}

/// Names a point in the log. Later marks are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncMark(pub u64);

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Hash, Encode, Decode)]
pub enum LogEntry {
    /// Records of one stream, ascending.
    Records {
        /// The stream's epoch.
        epoch: Epoch,
        /// The stream's coordinator.
        coordinator: NodeId,
        /// The records.
        records: Vec<Arc<Record>>,
    },
    /// The node will issue, promise and acknowledge up to here; after a restart it starts its clock here.
    Ceiling(Hlc),
    /// What this member has promised and accepted for the end of an epoch.
    Vote {
        /// The epoch that is to end.
        epoch: Epoch,
        /// Promised and accepted.
        acceptor: Acceptor,
    },
    /// An epoch has ended: what lies above the cut is void.
    Decree(Decree),
    /// With the entries before this one, these streams of an epoch are held up to these positions. It says what records alone
    /// cannot: that there is nothing between the last of them and the position.
    Held {
        /// The streams' epoch.
        epoch: Epoch,
        /// By coordinator, ascending.
        positions: Vec<(NodeId, Hlc)>,
    },
    /// Versions at this bound are about to be installed. Once they are, records at or below it may be missing among the entries before
    /// and after this one, and what is there is no prefix.
    Covered {
        /// The bound.
        bound: Hlc,
    },
}

/// What became of a piece of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkTaken {
    /// It is there, perhaps since earlier, and more are needed.
    More {
        /// The bound of the checkpoint.
        bound: Hlc,
        /// Where the piece begins that is needed now, as the driver writes it.
        next: Vec<u8>,
    },
    /// All pieces are there, and they make the checkpoint that they name.
    Complete {
        /// Its bound.
        bound: Hlc,
    },
    /// It is of no use, and everything that had come before it was thrown away.
    Refused,
}

/// Records to evaluate, in timestamp order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Each with its timestamp; ascending.
    pub records: Vec<(Timestamp, Arc<Record>)>,
    /// The evaluated bound once the batch is done: no other record at or below it exists or ever will.
    pub upto: Hlc,
}

/// What the executor says of a finished batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The batch's `upto`.
    pub upto: Hlc,
    /// What became of its records, in order.
    pub settlements: Vec<Settlement>,
    /// The digests at the boundaries that the batch passed, ascending.
    pub digests: Vec<Digest>,
    /// How far the versions are durable (or cannot be lost), at most `upto`.
    pub flushed: Hlc,
    /// A thunk that is not registered here. The executor stopped before the first record that needs it, and `upto` lies below
    /// that record.
    pub blocked: Option<ThunkId>,
}

/// A replica's digest against that of a majority.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Divergence {
    /// This replica's.
    pub own: Digest,
    /// The majority's at the same boundary.
    pub majority: Digest,
    /// Who disagrees with this replica.
    pub peers: Vec<NodeId>,
    /// The last boundary below at which this replica was seen to agree with a majority: it went another way in what lies above. Zero if
    /// none is known.
    pub agreed: Hlc,
}

/// At which snapshot to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ReadMode {
    /// Sees everything that was answered anywhere before the read began.
    Strict,
    /// The snapshot at the evaluated bound once that has passed this timestamp: reads what its holder wrote.
    After(Timestamp),
    /// The snapshot at the evaluated bound, at once and without a message.
    Snapshot,
    /// The snapshot at this bound, once it is evaluated; at once if it is already.
    At(Hlc),
    /// The snapshot at the evaluated bound if that is at most this old by the wall clock, else as soon as it is.
    Bounded(Duration),
}

/// What to read at a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Query {
    /// Single keys.
    pub keys: Vec<Key>,
    /// Ranges.
    pub ranges: Vec<Scan>,
}

impl Query {
    /// Single keys and no ranges.
    pub fn keys(keys: impl IntoIterator<Item = Key>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            ranges: Vec::new(),
        }
    }

    /// One range and no single keys.
    pub fn scan(scan: Scan) -> Self {
        Self {
            keys: Vec::new(),
            ranges: vec![scan],
        }
    }
}

/// A range to read at a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Scan {
    /// The keys.
    pub range: KeyRange,
    /// How many entries at most.
    pub limit: usize,
    /// From which end they are counted, and in which order they are given.
    pub direction: Direction,
}

impl Scan {
    /// The first `limit` entries of `range`, ascending.
    pub fn forward(range: KeyRange, limit: usize) -> Self {
        let direction = Direction::Forward;
        Self {
            range,
            limit,
            direction,
        }
    }

    /// The last `limit` entries of `range`, descending.
    pub fn backward(range: KeyRange, limit: usize) -> Self {
        let direction = Direction::Backward;
        Self {
            range,
            limit,
            direction,
        }
    }
}

/// The core's own answer of a request. (A read's values come from the driver, see [`Effect::Read`].)
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Reply {
    /// The transaction was evaluated.
    Settled(Settlement),
    /// The members were changed, and a majority of the new ones holds the complete history: who has left may be switched off.
    Changed {
        /// The epoch of the new members.
        epoch: Epoch,
    },
    /// The request did certainly nothing.
    Refused(Refusal),
    /// The transaction may take effect or not: ask another node by its id.
    Unknown(Doubt),
}

/// Why the end of a transaction is not known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[non_exhaustive]
pub enum Doubt {
    /// This replica was quarantined after it had accepted the transaction.
    #[error("{node} was quarantined before the transaction was evaluated: ask another node for its outcome")]
    Quarantined {
        /// This node.
        node: NodeId,
    },
    /// This replica was too far behind and went on from the state of another, in which the transaction is, or is not.
    #[error(
        "{node} was behind and went on from a snapshot at {bound}, above the transaction: ask for its outcome by its id"
    )]
    CoveredBySnapshot {
        /// This node.
        node: NodeId,
        /// The snapshot's bound.
        bound: Hlc,
    },
    /// This replica has met a thunk that it does not have, before it came to the transaction.
    #[error(
        "{node} was stopped by thunk {thunk}, which is not registered there, before the transaction was evaluated: ask another node \
         for its outcome, and start {node} with the code of {thunk}"
    )]
    Blocked {
        /// This node.
        node: NodeId,
        /// The thunk.
        thunk: ThunkId,
    },
}

/// Why a request did certainly nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Encode, Decode)]
#[non_exhaustive]
pub enum Refusal {
    /// This node issues no timestamps in the current epoch.
    #[error("{node} does not coordinate in epoch {epoch}: submit to a coordinator")]
    NotCoordinator {
        /// This node.
        node: NodeId,
        /// The current epoch.
        epoch: Epoch,
    },
    /// A bound on work in flight is reached.
    #[error("overloaded: {what} ({limit} at most); wait and submit again")]
    Overloaded {
        /// Which bound.
        what: String,
        /// Its value.
        limit: usize,
    },
    /// This node holds no data, so it cannot evaluate what it would submit.
    #[error("{node} stores no data in epoch {epoch}: submit to a member")]
    NotMember {
        /// This node.
        node: NodeId,
        /// The current epoch.
        epoch: Epoch,
    },
    /// The snapshot lies in the future: nobody can have been told of it.
    #[error("the snapshot {at} lies {ahead_ms} ms ahead of this node's clock: read at a timestamp that was returned")]
    InFuture {
        /// The snapshot.
        at: Hlc,
        /// By how much, in milliseconds.
        ahead_ms: u64,
    },
    /// There is no room on this node's disk for its log.
    #[error("the disk of {node} is full: make room there, or submit to another node")]
    StorageFull {
        /// This node.
        node: NodeId,
    },
    /// This node is being shut down.
    #[error("{node} is being shut down: submit to another node")]
    Resigned {
        /// This node.
        node: NodeId,
    },
    /// The node cannot be reached, and has certainly not seen the request.
    #[error("{node} cannot be reached: {reason}")]
    Unreachable {
        /// Whom.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The node cannot take the transaction as it is: it does not know its thunk, or its arguments.
    #[error("{node} does not take it: {reason}")]
    NotAdmitted {
        /// Which node.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// The members cannot be changed so.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The clock cannot issue a timestamp now: its ceiling is not durable yet, or it is far behind what it has seen.
    #[error("the clock cannot issue a timestamp now: submit again in a moment")]
    ClockExhausted,
    /// This replica disagrees with a majority and has stopped serving.
    #[error("{node} is quarantined: its state differs from that of a majority; use another node")]
    Quarantined {
        /// This node.
        node: NodeId,
    },
    /// A member has not got the code: it would be stopped by the transaction.
    #[error(
        "thunk {thunk} is not registered on {}: start {} with its code first, then submit again",
        listed(nodes),
        if nodes.len() == 1 { "that node" } else { "those nodes" }
    )]
    Lacking {
        /// The thunk.
        thunk: ThunkId,
        /// The members that lack it, ascending.
        nodes: Vec<NodeId>,
    },
    /// This replica has met a thunk that it does not have, and evaluates nothing more until it has.
    #[error(
        "{node} has stopped before a transaction of thunk {thunk}, which is not registered there: use another node, and start \
         {node} with the code of {thunk}"
    )]
    Blocked {
        /// This node.
        node: NodeId,
        /// The thunk.
        thunk: ThunkId,
    },
}

/// The nodes as they stand in a sentence.
fn listed(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    match &names[..] {
        [] => "no node".to_owned(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}
