//! A database whose replicas are elsewhere: each is called over the network, in the place of one in this process.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::calls::{Call, ReadReply};
use super::changes::NotTold;
use super::directory::Directory;
use super::replica::Inbox;
use super::wire::{Request, Response, decode, encode};
use crate::executor::ReadError;
use crate::id::NodeId;
use crate::net::{Address, ClientConnection, Endpoint, RequestError};
use crate::protocol::{Refusal, Reply};
use crate::time::Hlc;

/// How long an attempt to connect may take before another node is asked.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// How long after an attempt that failed the next one is made.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The way to one node.
pub(super) struct Remote {
    node: NodeId,
    endpoint: Arc<Endpoint>,
    address: watch::Sender<Address>,
    connection: Mutex<Connecting>,
}

/// How far a connection has come.
#[derive(Default)]
struct Connecting {
    /// The one that stands, or stood last.
    connection: Option<ClientConnection>,
    attempts: usize,
    /// When the last attempt failed, and why.
    failure: Option<(Instant, String)>,
}

impl Remote {
    pub(super) fn new(node: NodeId, endpoint: Arc<Endpoint>, address: Address) -> Arc<Self> {
        Arc::new(Self {
            node,
            endpoint,
            address: watch::Sender::new(address),
            connection: Mutex::default(),
        })
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn set_address(&self, address: Address) {
        self.address.send_replace(address);
    }

    /// Sends a request and waits for the answer.
    ///
    /// *Errors*: with what to say of a request that the node has certainly not seen, or with none where it may have.
    pub(super) async fn request(&self, request: &Request) -> Result<Response, Option<Refusal>> {
        let node = self.node;
        let unreachable = |reason: String| Some(Refusal::Unreachable { node, reason });
        let connection = self.connect().await.map_err(unreachable)?;
        match connection.request(encode(request)).await {
            Ok(bytes) => decode(&bytes).map_err(|error| {
                tracing::error!(%node, error, "its answer is none: is it of another version?");
                None
            }),
            Err(RequestError::Overloaded { limit }) => Err(Some(Refusal::Overloaded {
                what: "requests are under way on the connection".into(),
                limit,
            })),
            // A read changes nothing, and every other node would say the same.
            Err(error @ RequestError::AnswerTooLarge { .. }) if request.is_read() => {
                let reason = error.to_string();
                Err(Some(Refusal::NotAdmitted { node, reason }))
            }
            Err(error) if error.may_have_happened() => Err(None),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    async fn connect(&self) -> Result<ClientConnection, String> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = &current.connection
            && connection.ended().is_none()
        {
            return Ok(connection.clone());
        }
        if let Some((failed, why)) = &current.failure
            && failed.elapsed() < RETRY_PAUSE
        {
            return Err(why.clone());
        }
        current.attempts += 1;
        let attempts = current.attempts;
        let address = self.address.borrow().clone();
        let attempt = async {
            let local = self.endpoint.local_address()?;
            let address = address.resolve(local, attempts).await?;
            let opened = ClientConnection::open(&self.endpoint, self.node, address).await;
            opened.map_err(std::io::Error::other)
        };
        let opened = match timeout(CONNECT_PATIENCE, attempt).await {
            Ok(opened) => opened.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{address} has not answered within {CONNECT_PATIENCE:?}")),
        };
        match &opened {
            Ok(connection) => {
                current.connection = Some(connection.clone());
                current.failure = None;
            }
            Err(why) => current.failure = Some((Instant::now(), why.clone())),
        }
        opened
    }

    /// Carries calls to the node until nobody can make any more.
    pub(super) fn carry(self: &Arc<Self>, mut inbox: Inbox) -> AbortHandle {
        let remote = Arc::clone(self);
        let carrying = async move {
            // What else comes in is for replicas of this process: one elsewhere is not this handle's to stop.
            while let Some(call) = inbox.calls.recv().await {
                drop(tokio::spawn(Arc::clone(&remote).call(call)));
            }
        };
        tokio::spawn(carrying).abort_handle()
    }

    /// Who does not wait any more needs no answer; one whose sender is dropped learns that nobody knows.
    async fn call(self: Arc<Self>, call: Call) {
        match call {
            Call::Submit {
                transaction,
                reply,
                place,
            } => {
                let request = Request::Submit {
                    id: transaction.id,
                    thunk: transaction.thunk,
                    arguments: transaction.arguments,
                };
                self.reply(request, reply).await;
                drop(place);
            }
            Call::Change { change, reply } => self.reply(Request::Change(change), reply).await,
            Call::Read { mode, query, reply } => {
                let rows = |response| match response {
                    Response::Rows(rows) => Some(rows),
                    _ => None,
                };
                self.read(Request::Read { mode, query }, rows, reply).await;
            }
            Call::DryRun {
                mode,
                transaction,
                reply,
            } => {
                let request = Request::DryRun {
                    mode,
                    id: transaction.id,
                    thunk: transaction.thunk,
                    arguments: transaction.arguments,
                };
                let tried = |response| match response {
                    Response::Tried(tried) => Some(tried),
                    _ => None,
                };
                self.read(request, tried, reply).await;
            }
            Call::Changes { query, reply } => {
                let answer = match self.request(&Request::Changes(query)).await {
                    Ok(Response::Changes(changes)) => changes,
                    Ok(Response::Reply(Reply::Refused(refusal))) => Err(NotTold::Refused(refusal)),
                    Ok(Response::Stopped) => Err(NotTold::Refused(self.stopped())),
                    Ok(Response::Malformed(reason)) => Err(NotTold::Refused(self.takes_none(reason))),
                    Err(Some(refusal)) => Err(NotTold::Refused(refusal)),
                    Ok(_) | Err(None) => return,
                };
                let _ = reply.send(answer);
            }
            Call::Status { id, reply } => {
                if let Ok(Response::Status(status)) = self.request(&Request::Status(id)).await {
                    let _ = reply.send(status);
                }
            }
            Call::Inspect { reply } => {
                if let Ok(Response::Inspected(status)) = self.request(&Request::Inspect).await {
                    let _ = reply.send(*status);
                }
            }
        }
    }

    async fn reply(&self, request: Request, reply: oneshot::Sender<Reply>) {
        match self.request(&request).await {
            Ok(Response::Reply(answer)) => drop(reply.send(answer)),
            Ok(Response::Stopped) => drop(reply.send(Reply::Refused(self.stopped()))),
            Err(Some(refusal)) => drop(reply.send(Reply::Refused(refusal))),
            Ok(_) | Err(None) => {}
        }
    }

    /// Passes on what is read at a snapshot. *Given* how to take it out of the response.
    async fn read<A>(
        &self,
        request: Request,
        take: impl FnOnce(Response) -> Option<Result<(Hlc, A), ReadError>>,
        reply: oneshot::Sender<ReadReply<A>>,
    ) {
        let refused = match self.request(&request).await {
            Ok(Response::Reply(refused)) => refused,
            Ok(Response::Malformed(reason)) => Reply::Refused(self.takes_none(reason)),
            Ok(response) => match take(response) {
                Some(found) => {
                    let (read, reading) = oneshot::channel();
                    let _ = read.send(found);
                    return drop(reply.send(ReadReply::Reading(reading)));
                }
                None => Reply::Refused(self.stopped()),
            },
            Err(refusal) => Reply::Refused(refusal.unwrap_or_else(|| self.stopped())),
        };
        let _ = reply.send(ReadReply::Reply(refused));
    }

    /// The node does not know such a request.
    fn takes_none(&self, reason: String) -> Refusal {
        let node = self.node;
        Refusal::NotAdmitted { node, reason }
    }

    fn stopped(&self) -> Refusal {
        Refusal::Unreachable {
            node: self.node,
            reason: "its replica has stopped".to_owned(),
        }
    }

    /// Where nodes are, as far as the node knows. *Given* what is known here.
    pub(super) async fn directory(&self, known: Directory) -> Option<Directory> {
        match self.request(&Request::Directory(known)).await {
            Ok(Response::Directory(directory)) => Some(directory),
            _ => None,
        }
    }
}

/// Any address to call from: both kinds of IP where the machine has both.
pub(super) fn anywhere() -> [SocketAddr; 2] {
    [(Ipv6Addr::UNSPECIFIED, 0).into(), ([0, 0, 0, 0], 0).into()]
}
