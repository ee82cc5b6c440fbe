//! The door between clients and the world: what a client sends, what it is answered, and what it asks the world for.
//!
//! Clients see virtual time and answers, and nothing of the cluster. The world carries what they send to a node and
//! the answer back, both with the delay within the region; it never loses either.

use plimsoll::executor::Status;
use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::protocol::{Query, ReadMode};
use plimsoll::time::Hlc;
use plimsoll::transaction::{Settlement, ThunkId};

pub use plimsoll::executor::Answer;

/// One call of a client to a node.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRequest {
    /// Who calls, by its place among the clients: [`Clients::on_response`] is told it again.
    pub client: usize,
    /// The number of the call, unique over the whole run.
    pub call: u64,
    /// What is asked.
    pub body: RequestBody,
}

/// What a client asks of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestBody {
    /// Submit a transaction. The node computes its footprint from the arguments.
    Submit {
        /// The client's name for it: the same id has at most one effect.
        id: TransactionId,
        /// The registered code.
        thunk: ThunkId,
        /// Its encoded arguments.
        arguments: Value,
    },
    /// Tell what is known of a transaction.
    Status {
        /// Its id.
        id: TransactionId,
    },
    /// Submit a transaction that cancels another one unless it has an outcome, and tells of it.
    Resolve {
        /// Its own id.
        id: TransactionId,
        /// That of the other one.
        target: TransactionId,
    },
    /// Read a snapshot.
    Read {
        /// Which snapshot.
        mode: ReadMode,
        /// What to read of it.
        query: Query,
    },
}

/// The answer to one call. Each call is answered at most once; a call that never is, has an unknown end.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientResponse {
    /// The number of the call.
    pub call: u64,
    /// What is answered.
    pub body: ResponseBody,
}

/// What a node answers to a call.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseBody {
    /// The transaction was evaluated.
    Settled(Settlement),
    /// What the node knows of a transaction.
    Status(Status),
    /// What was read.
    Rows {
        /// The snapshot: everything at or below it is in the answer, and nothing above.
        at: Hlc,
        /// The values.
        answer: Answer,
    },
    /// The call certainly did nothing, for this reason.
    Refused(String),
    /// The call may or may not have taken effect, now or later, for this reason.
    Unknown(String),
}

/// What a client wants the world to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Carry a request to a node.
    Send {
        /// The node, by its place in the scenario's list of nodes.
        node: usize,
        /// The request.
        request: ClientRequest,
    },
    /// Call [`Clients::on_wake`] for this client at this moment, or now if it is past.
    WakeAt {
        /// The client.
        client: usize,
        /// Virtual microseconds since the start of the run.
        time_us: u64,
    },
}

/// All clients of a run, as the world sees them.
///
/// Every method appends what it wants done to `actions`, which the world carries out in order and then clears.
pub trait Clients {
    /// The run begins, at time zero.
    fn start(&mut self, actions: &mut Vec<Action>);

    /// A moment that `client` asked for has come.
    fn on_wake(&mut self, now_us: u64, client: usize, actions: &mut Vec<Action>);

    /// The answer to a call of `client` has come.
    fn on_response(&mut self, now_us: u64, client: usize, response: ClientResponse, actions: &mut Vec<Action>);

    /// Whether nothing is open and nothing more will be sent.
    fn is_idle(&self) -> bool;

    /// The load phase is over: send nothing new, finish what is open, then make the final reads. The clients act on it at
    /// their next wake or answer, so whoever has a final read to make keeps a wake pending.
    fn stop(&mut self);
}
