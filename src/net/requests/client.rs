//! The asking end: many requests under way on one stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::{Kind, Parcel, READ_BYTES};
use crate::id::NodeId;
use crate::net::endpoint::{Close, ConnectError, Endpoint};

/// Bytes of requests that are put together for one write, unless the first alone has more.
const WRITE_BYTES: usize = 256 << 10;

/// Why a request has no answer. [`RequestError::may_have_happened`] tells the two kinds apart that matter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request is beyond the bound. Nothing was sent.
    #[error("the request has {bytes} bytes, more than the limit of {limit}: make it smaller or split it")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// Too many requests are under way on this connection. Nothing was sent; try again when one has been answered.
    #[error("{limit} requests are under way on this connection, and no more may be: wait for an answer")]
    Overloaded {
        /// The bound.
        limit: usize,
    },
    /// The connection had ended before. Nothing was sent; connect again, to this node or another.
    #[error("the connection to {node} had ended before the request was sent: {reason}; connect again")]
    Closed {
        /// Who was to be asked.
        node: NodeId,
        /// Why it had ended.
        reason: String,
    },
    /// The connection ended before there was an answer. The node may have worked on the request, or not.
    #[error("the connection to {node} ended before it answered: {reason}; whether it took the request is not known")]
    Lost {
        /// Who was asked.
        node: NodeId,
        /// Why it ended.
        reason: String,
    },
    /// The node has worked on the request, and its answer is beyond its bound.
    #[error("{node} has an answer that is larger than it sends: ask for less at a time")]
    AnswerTooLarge {
        /// Who was asked.
        node: NodeId,
    },
    /// The node failed while it worked on the request.
    #[error("{node} failed while it worked on the request: its own log says why")]
    Failed {
        /// Who was asked.
        node: NodeId,
    },
}

impl RequestError {
    /// Whether the node may have worked on the request. If not, it certainly never saw it.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Overloaded { .. } | Self::Closed { .. } => false,
            Self::Lost { .. } | Self::AnswerTooLarge { .. } | Self::Failed { .. } => true,
        }
    }
}

type Reply = Result<Vec<u8>, RequestError>;

/// A connection to a node for requests, of a client or of another node. Clones share it; with the last one it ends.
#[derive(Clone)]
pub struct ClientConnection {
    owner: Arc<Owner>,
}

struct Owner {
    node: NodeId,
    connection: Connection,
    calls: Arc<Calls>,
    outgoing: UnboundedSender<Parcel>,
    request_bytes_max: usize,
    requests_max: usize,
}

impl Drop for Owner {
    fn drop(&mut self) {
        Close::Done.apply(&self.connection);
    }
}

/// Who waits for an answer.
#[derive(Default)]
struct Calls {
    state: Mutex<CallsState>,
}

#[derive(Default)]
struct CallsState {
    last_number: u64,
    /// By number. One whose caller has given up stays until its answer comes, as the node works on it.
    waiting: BTreeMap<u64, oneshot::Sender<Reply>>,
    /// Why the connection ended, once it has.
    ended: Option<String>,
}

impl Calls {
    fn state(&self) -> MutexGuard<'_, CallsState> {
        // Each change is one step, so what a panicking thread leaves is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, node: NodeId, reason: &str) {
        let mut state = self.state();
        state.ended.get_or_insert_with(|| reason.to_owned());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for reply in waiting.into_values() {
            let reason = reason.to_owned();
            let _ = reply.send(Err(RequestError::Lost { node, reason }));
        }
    }
}

impl ClientConnection {
    /// Connects to a node, which must show that it is that one.
    ///
    /// *Errors*: there is no connection, and nothing happened. A node that refuses this end's certificate does so a moment later:
    /// then the first request says it.
    pub async fn open(endpoint: &Endpoint, node: NodeId, address: SocketAddr) -> Result<Self, ConnectError> {
        let shared = &endpoint.shared;
        let connection = shared.connect(node, address).await?;
        let refused = |error: quinn::ConnectionError| {
            let reason = error.to_string();
            ConnectError::Refused { node, address, reason }
        };
        let (sending, receiving) = connection.open_bi().await.map_err(refused)?;
        let calls = Arc::new(Calls::default());
        let (outgoing, to_send) = unbounded_channel();
        shared
            .runtime
            .spawn(write_requests(connection.clone(), sending, to_send));
        let reader = Reader {
            node,
            connection: connection.clone(),
            calls: Arc::clone(&calls),
            answer_bytes_max: shared.bounds.answer_bytes_max,
        };
        shared.runtime.spawn(reader.run(receiving));
        let owner = Owner {
            node,
            connection,
            calls,
            outgoing,
            request_bytes_max: shared.bounds.request_bytes_max,
            requests_max: shared.bounds.requests_max,
        };
        let owner = Arc::new(owner);
        Ok(Self { owner })
    }

    /// The node at the other end.
    pub fn node(&self) -> NodeId {
        self.owner.node
    }

    /// Sends a request and waits for its answer. Others may be under way, and be answered sooner.
    ///
    /// *Errors*: there is no answer; the error says whether the node may have worked on the request. There is no time limit
    /// but that of a dead connection, so put one around it. One that is given up may still be worked on.
    pub async fn request(&self, bytes: Vec<u8>) -> Result<Vec<u8>, RequestError> {
        let Owner { node, calls, .. } = &*self.owner;
        let node = *node;
        if bytes.len() > self.owner.request_bytes_max {
            return Err(RequestError::TooLarge {
                bytes: bytes.len(),
                limit: self.owner.request_bytes_max,
            });
        }
        let (reply, answer) = oneshot::channel();
        {
            let mut state = calls.state();
            if let Some(reason) = state.ended.clone() {
                return Err(RequestError::Closed { node, reason });
            }
            if state.waiting.len() >= self.owner.requests_max {
                return Err(RequestError::Overloaded {
                    limit: self.owner.requests_max,
                });
            }
            state.last_number += 1;
            let number = state.last_number;
            state.waiting.insert(number, reply);
            let kind = Kind::Request;
            // Where nobody takes it off any more, the connection has ended, and the reader is about to say so.
            let _ = self.owner.outgoing.send(Parcel { number, kind, bytes });
        }
        let lost = |_| {
            let reason = "this process stops".to_owned();
            Err(RequestError::Lost { node, reason })
        };
        answer.await.unwrap_or_else(lost)
    }

    /// Why the connection has ended; none while it stands.
    pub fn ended(&self) -> Option<String> {
        self.owner.calls.state().ended.clone()
    }
}

async fn write_requests(connection: Connection, mut stream: SendStream, mut to_send: UnboundedReceiver<Parcel>) {
    let mut out = Vec::new();
    while let Some(first) = to_send.recv().await {
        out.clear();
        first.write(&mut out);
        while out.len() < WRITE_BYTES
            && let Ok(next) = to_send.try_recv()
        {
            next.write(&mut out);
        }
        if let Err(error) = stream.write_all(&out).await {
            // The reader tells those who wait, also when the node gave up this stream alone.
            tracing::debug!(%error, "requests cannot be sent");
            return Close::Done.apply(&connection);
        }
        if out.capacity() > 4 * WRITE_BYTES {
            out = Vec::new();
        }
    }
}

/// Hands out the answers.
struct Reader {
    node: NodeId,
    connection: Connection,
    calls: Arc<Calls>,
    answer_bytes_max: usize,
}

impl Reader {
    async fn run(self, mut stream: RecvStream) {
        let why = self.read(&mut stream).await;
        self.calls.end(self.node, &why);
        Close::Done.apply(&self.connection);
    }

    /// *Gives* why there are no more answers.
    async fn read(&self, stream: &mut RecvStream) -> String {
        let mut buffer = BytesMut::new();
        loop {
            match stream.read_chunk(READ_BYTES, true).await {
                Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
                Ok(None) => return "the node has ended it".to_owned(),
                Err(quinn::ReadError::ConnectionLost(error)) => return error.to_string(),
                Err(error) => return error.to_string(),
            }
            loop {
                match Parcel::take(&mut buffer, self.answer_bytes_max) {
                    Ok(Some(parcel)) => self.hand_out(parcel),
                    Ok(None) => break,
                    Err(_) => return "the node sends what is no answer, or a larger one than is taken".to_owned(),
                }
            }
            if buffer.is_empty() && buffer.capacity() > 2 * READ_BYTES {
                buffer = BytesMut::new();
            }
        }
    }

    fn hand_out(&self, parcel: Parcel) {
        let node = self.node;
        let reply = match parcel.kind {
            Kind::Answer => Ok(parcel.bytes),
            Kind::AnswerTooLarge => Err(RequestError::AnswerTooLarge { node }),
            Kind::NoAnswer | Kind::Request => Err(RequestError::Failed { node }),
        };
        match self.calls.state().waiting.remove(&parcel.number) {
            // Its caller may have given up.
            Some(caller) => drop(caller.send(reply)),
            None => tracing::debug!(%node, number = parcel.number, "an answer that nobody has asked for"),
        }
    }
}
