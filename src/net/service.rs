//! What comes in on a connection, and to whom it goes: frames to the inbox, requests to the handler.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quinn::{Connection, ConnectionError};
use tokio::task::JoinSet;

use super::endpoint::Shared;
use super::name::Caller;
use super::{frames, requests};
use crate::id::NodeId;
use crate::protocol::message::Message;

/// A future that gives the bytes of an answer.
type Answering = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// To whom an endpoint hands what comes in.
#[derive(Clone)]
pub struct Service {
    inbox: Arc<dyn Fn(NodeId, Vec<Message>) -> bool + Send + Sync>,
    handler: Arc<dyn Fn(Caller, Vec<u8>) -> Answering + Send + Sync>,
}

impl Service {
    /// A service of an inbox for frames and a handler for requests.
    ///
    /// *Given* an inbox that takes the messages of one frame and says whether it had room; without, the frame is lost and
    /// counted, as the protocol asks again. It waits for nothing: it runs where the network runs, as `try_send` of a channel does. And a
    /// handler that gives the bytes of the answer to the bytes of a request; several run at a time. Bytes may be anything that a
    /// certified caller likes to send. If it panics, its caller is told that there is no answer. When its
    /// connection ends it is dropped where it waits, so what must go on to its end is handed to somebody else.
    pub fn new<I, H, A>(inbox: I, handler: H) -> Self
    where
        I: Fn(NodeId, Vec<Message>) -> bool + Send + Sync + 'static,
        H: Fn(Caller, Vec<u8>) -> A + Send + Sync + 'static,
        A: Future<Output = Vec<u8>> + Send + 'static,
    {
        Self {
            inbox: Arc::new(inbox),
            handler: Arc::new(move |caller, request| Box::pin(handler(caller, request))),
        }
    }

    pub(super) fn take(&self, from: NodeId, messages: Vec<Message>) -> bool {
        (self.inbox)(from, messages)
    }

    pub(super) fn answer(&self, caller: Caller, request: Vec<u8>) -> Answering {
        (self.handler)(caller, request)
    }
}

/// Reads every stream of a connection until the connection ends, and *gives* why it did.
pub(super) async fn serve_connection(
    shared: &Arc<Shared>,
    connection: &Connection,
    caller: Caller,
    service: &Service,
) -> ConnectionError {
    // Whatever still runs for the connection ends with it.
    let mut streams = JoinSet::new();
    loop {
        let (shared, connection_of_stream, service) = (Arc::clone(shared), connection.clone(), service.clone());
        tokio::select! {
            Some(_) = streams.join_next() => {}
            stream = connection.accept_uni() => match (stream, caller) {
                (Ok(stream), Caller::Node(from)) => {
                    streams.spawn(async move {
                        frames::read_all(&shared, &connection_of_stream, from, stream, &service).await;
                    });
                }
                // No client is allowed such a stream: QUIC itself refuses it.
                (Ok(_), Caller::Client) => {}
                (Err(error), _) => return error,
            },
            stream = connection.accept_bi() => match stream {
                Ok(stream) => {
                    streams.spawn(async move {
                        requests::serve(&shared, &connection_of_stream, caller, stream, &service).await;
                    });
                }
                Err(error) => return error,
            },
        }
    }
}
