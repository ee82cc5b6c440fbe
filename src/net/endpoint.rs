//! The endpoint: one UDP socket that accepts and makes connections.
//!
//! A stranger reaches the handshake and no further. What a handshake holds is bounded by their number, and under load a
//! caller must first show that it receives at its address, so that forged addresses cost nothing but the answer to each packet. Who
//! has shown a certificate of the cluster is counted by its kind: clients up to a bound, so that they cannot crowd out nodes, and
//! each node for itself.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connecting, Connection, ConnectionError, Incoming, TransportConfig, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::bounds::{Bounds, InvalidBounds};
use super::credentials::Credentials;
use super::name::{Caller, Name};
use super::refused::{Cause, Refusals, Refused};
use super::restart::endpoint_config;
use super::service::{self, Service};
use super::tls;
use crate::id::{ClusterId, NodeId};

/// Why a connection was closed, as the other end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    Done,
    Refused(Cause),
    Replaced,
    AnswersNotRead,
}

impl Close {
    /// Closes a connection, unless it has ended already: why it has is not to be overwritten.
    pub(super) fn apply(self, connection: &Connection) {
        if connection.close_reason().is_some() {
            return;
        }
        let (code, reason): (u32, &[u8]) = match self {
            Self::Done => (0, b"closed by its owner"),
            Self::Refused(Cause::TooManyConnections) => {
                (1, b"too many connections of clients: try another node, or later")
            }
            Self::Refused(Cause::WrongCluster | Cause::WrongSender) => (2, b"a frame speaks for somebody else"),
            Self::Refused(Cause::MalformedRequest) => (3, b"a request is malformed or too large"),
            Self::Refused(_) => (4, b"a frame is malformed or too large"),
            Self::Replaced => (5, b"replaced by a later connection of the same node"),
            Self::AnswersNotRead => (6, b"answers are not read"),
        };
        connection.close(VarInt::from_u32(code), reason);
    }
}

/// Why an endpoint was not opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The bounds cannot be kept together.
    #[error(transparent)]
    Bounds(#[from] InvalidBounds),
    /// Certificate, key and authority do not fit together.
    #[error("the credentials are unusable: {0}")]
    Credentials(String),
    /// The socket cannot be opened.
    #[error(
        "{address}: the UDP socket cannot be opened: {source}; is the address one of this machine, and the port free?"
    )]
    Socket {
        /// Where it was to be.
        address: SocketAddr,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// There is no tokio runtime to run on.
    #[error("an endpoint is opened from within a tokio runtime")]
    NoRuntime,
}

/// Why there is no connection. Nothing happened at the other end; trying again is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answered in time.
    #[error("{address}: no answer: does {node} run there, and does UDP get through?")]
    NoAnswer {
        /// Who was called.
        node: NodeId,
        /// Where.
        address: SocketAddr,
    },
    /// One end refused the other.
    #[error("{address}: no connection to {node}: {reason}")]
    Refused {
        /// Who was called.
        node: NodeId,
        /// Where.
        address: SocketAddr,
        /// What was wrong.
        reason: String,
    },
    /// This endpoint is closed.
    #[error("this endpoint is closed: open another")]
    Closed,
}

/// How much an endpoint holds at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Handshakes of callers under way.
    pub handshakes: usize,
    /// Connections that clients have made.
    pub clients: usize,
    /// Connections that nodes have made.
    pub nodes: usize,
}

/// One UDP socket that makes connections and, of a node, accepts them. It closes when this is dropped.
///
/// What the other end is, is known from its certificate alone: [`Caller`].
pub struct Endpoint {
    pub(super) shared: Arc<Shared>,
}

/// What an endpoint's tasks share.
pub(super) struct Shared {
    pub(super) cluster: ClusterId,
    pub(super) caller: Caller,
    pub(super) bounds: Bounds,
    pub(super) refusals: Arc<Refusals>,
    /// Where tasks run: the callers' threads have runtimes of their own, or none.
    pub(super) runtime: Handle,
    quinn: quinn::Endpoint,
    calling: quinn::ClientConfig,
    handshakes: AtomicUsize,
    accepted: Mutex<Accepted>,
    /// Told when a node has called, for those that are to be called.
    arrivals: Mutex<BTreeMap<NodeId, Arc<Notify>>>,
    is_serving: AtomicBool,
}

/// The connections that others have made.
#[derive(Default)]
struct Accepted {
    clients: usize,
    /// By node, oldest first.
    nodes: BTreeMap<NodeId, VecDeque<Connection>>,
}

impl Endpoint {
    /// An endpoint at an address; port 0 is any that is free.
    ///
    /// A node's accepts connections once it [serves](Endpoint::serve); until then callers wait.
    ///
    /// *Errors*: something does not fit together, or there is no socket. Nothing stays open.
    pub fn open(address: SocketAddr, credentials: &Credentials, bounds: Bounds) -> Result<Self, OpenError> {
        bounds.validate()?;
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let refusals = Arc::new(Refusals::default());
        let configs = tls::configure(credentials, &refusals).map_err(OpenError::Credentials)?;
        let accepting = configs.accepting.map(|tls| accepting(tls, &bounds));
        let mut calling = quinn::ClientConfig::new(Arc::new(configs.calling));
        calling.transport_config(Arc::new(transport_of_caller(&bounds)));
        let failed = |error: io::Error| OpenError::Socket {
            address,
            source: Arc::new(error),
        };
        let socket = std::net::UdpSocket::bind(address).map_err(failed)?;
        let tokio = Arc::new(quinn::TokioRuntime);
        let quinn = quinn::Endpoint::new(endpoint_config(credentials), accepting, socket, tokio).map_err(failed)?;
        let shared = Shared {
            cluster: credentials.cluster(),
            caller: credentials.caller(),
            bounds,
            refusals,
            runtime,
            quinn,
            calling,
            handshakes: AtomicUsize::new(0),
            accepted: Mutex::default(),
            arrivals: Mutex::default(),
            is_serving: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    /// Begins to accept connections, and to hand what comes on them to the service.
    ///
    /// *Panics* if the credentials are a client's, which nobody would connect to, or if it serves already.
    pub fn serve(&self, service: Service) {
        assert!(
            matches!(self.shared.caller, Caller::Node(_)),
            "only a node has a certificate with which connections are accepted"
        );
        let was_serving = self.shared.is_serving.swap(true, Ordering::Relaxed);
        assert!(!was_serving, "an endpoint serves one service");
        let shared = Arc::clone(&self.shared);
        self.shared.runtime.spawn(accept_all(shared, service));
    }

    /// Where it is: with the port that was free.
    ///
    /// *Errors*: the system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.shared.local_address()
    }

    /// The cluster that it is of.
    pub fn cluster(&self) -> ClusterId {
        self.shared.cluster
    }

    /// Whom it speaks for.
    pub fn caller(&self) -> Caller {
        self.shared.caller
    }

    /// What it has refused since it was opened.
    pub fn refused(&self) -> Refused {
        self.shared.refusals.read()
    }

    /// How much it holds at the moment.
    pub fn load(&self) -> Load {
        let accepted = self.shared.accepted();
        Load {
            handshakes: self.shared.handshakes.load(Ordering::Relaxed),
            clients: accepted.clients,
            nodes: accepted.nodes.values().map(VecDeque::len).sum(),
        }
    }

    /// Closes every connection, and comes back when the others have been told or can be told no more. The address is free soon after.
    pub async fn close(&self) {
        self.shared.close();
        self.shared.quinn.wait_idle().await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    fn close(&self) {
        self.quinn.close(VarInt::from_u32(0), b"the endpoint is closed");
    }

    /// Calls a node, which must show that it is that one.
    pub(super) async fn connect(&self, node: NodeId, address: SocketAddr) -> Result<Connection, ConnectError> {
        let name = Name::of_node(self.cluster, node).to_string();
        let refused = |reason: String| ConnectError::Refused { node, address, reason };
        let connecting =
            self.quinn
                .connect_with(self.calling.clone(), address, &name)
                .map_err(|error| match error {
                    quinn::ConnectError::EndpointStopping => ConnectError::Closed,
                    other => refused(other.to_string()),
                })?;
        let connected = timeout(self.bounds.handshake_time_max, connecting).await;
        let no_answer = ConnectError::NoAnswer { node, address };
        connected.map_err(|_| no_answer.clone())?.map_err(|error| match error {
            ConnectionError::LocallyClosed => ConnectError::Closed,
            ConnectionError::TimedOut => no_answer,
            error => {
                // What is wrong with a certificate is counted where it is found.
                if crypto_alert(&error) == Some(alert::NO_APPLICATION_PROTOCOL) {
                    self.refusals.count(Cause::WrongProtocol);
                }
                refused(error.to_string())
            }
        })
    }

    /// Is told each time that the node calls: a node that calls is there to be called.
    pub(super) fn arrival(&self, node: NodeId) -> Arc<Notify> {
        Arc::clone(self.arrivals().entry(node).or_default())
    }

    fn arrivals(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Notify>>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accepted(&self) -> MutexGuard<'_, Accepted> {
        // Each change is one step, so what a panicking thread leaves is whole.
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accepting(tls: quinn::crypto::rustls::QuicServerConfig, bounds: &Bounds) -> quinn::ServerConfig {
    /// Bytes of early packets that are kept for a connection which is not accepted yet: a first flight.
    const FIRST_FLIGHT_BYTES: u64 = 16 << 10;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(transport_of_called(bounds)));
    config.max_incoming(bounds.handshakes_max);
    config.incoming_buffer_size(FIRST_FLIGHT_BYTES);
    config.incoming_buffer_size_total(FIRST_FLIGHT_BYTES * bounds.handshakes_max as u64);
    config
}

/// What the first packets take the round trip for until it is measured: they are sent again after three times that, since who
/// is called may just be coming up.
const INITIAL_RTT: Duration = Duration::from_millis(100);

fn transport(bounds: &Bounds) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = bounds
        .idle_timeout
        .try_into()
        .expect("the bounds keep it below an hour");
    transport.max_idle_timeout(Some(idle));
    transport.initial_rtt(INITIAL_RTT);
    transport.keep_alive_interval(Some(bounds.keep_alive));
    transport.datagram_receive_buffer_size(None);
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.receive_window(VarInt::from_u32(bounds.client_window_bytes));
    transport.send_window(u64::from(bounds.node_window_bytes));
    transport
}

/// Whoever calls opens the streams.
fn transport_of_caller(bounds: &Bounds) -> TransportConfig {
    let mut transport = transport(bounds);
    transport.stream_receive_window(VarInt::from_u32(bounds.client_window_bytes));
    transport
}

/// One stream of requests for anybody; the streams of a node are allowed once it is known to be one.
fn transport_of_called(bounds: &Bounds) -> TransportConfig {
    let mut transport = transport(bounds);
    // Bulk on all of its streams leaves room for the frames.
    let window = bounds.node_window_bytes / (bounds.bulk_streams_max + 2);
    transport.stream_receive_window(VarInt::from_u32(window));
    transport.max_concurrent_bidi_streams(VarInt::from_u32(1));
    transport
}

async fn accept_all(shared: Arc<Shared>, service: Service) {
    while let Some(incoming) = shared.quinn.accept().await {
        accept(&shared, incoming, &service);
    }
}

/// Accepts a caller, sends it back for a proof of its address, or refuses it; waits for nothing.
fn accept(shared: &Arc<Shared>, incoming: Incoming, service: &Service) {
    let under_way = shared.handshakes.load(Ordering::Relaxed);
    if under_way >= shared.bounds.handshakes_unvalidated_max && !incoming.remote_address_validated() {
        // Nothing is held for it until it comes again.
        if incoming.may_retry() {
            drop(incoming.retry());
        } else {
            incoming.refuse();
        }
        return;
    }
    if under_way >= shared.bounds.handshakes_max {
        shared.refusals.count(Cause::HandshakesPending);
        incoming.refuse();
        return;
    }
    let handshake = Handshake::begin(shared);
    match incoming.accept() {
        Ok(connecting) => {
            let shared = Arc::clone(shared);
            let service = service.clone();
            let runtime = shared.runtime.clone();
            runtime.spawn(async move {
                if let Some((connection, caller)) = handshake.finish(connecting).await {
                    serve(shared, connection, caller, service).await;
                }
            });
        }
        Err(error) => handshake.broke_off(&error),
    }
}

/// A handshake under way, counted while this is there.
struct Handshake {
    shared: Arc<Shared>,
}

impl Handshake {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.handshakes.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        Self { shared }
    }

    async fn finish(self, connecting: Connecting) -> Option<(Connection, Caller)> {
        let connection = match timeout(self.shared.bounds.handshake_time_max, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                self.broke_off(&error);
                return None;
            }
            Err(_) => {
                self.shared.refusals.count(Cause::BrokenHandshake);
                return None;
            }
        };
        let identity = connection
            .peer_identity()?
            .downcast::<Vec<CertificateDer<'static>>>()
            .ok()?;
        match tls::caller_of(self.shared.cluster, identity.first()?) {
            Ok(caller) => Some((connection, caller)),
            Err(why) => {
                // The handshake itself refuses such a certificate; this is the second lock on the same door.
                tracing::error!(why, "a handshake has let a foreign name pass");
                self.shared.refusals.count(Cause::ForeignName);
                Close::Refused(Cause::ForeignName).apply(&connection);
                None
            }
        }
    }

    fn broke_off(&self, error: &ConnectionError) {
        let cause = match crypto_alert(error) {
            Some(alert::CERTIFICATE_REQUIRED) => Cause::NoCertificate,
            Some(alert::NO_APPLICATION_PROTOCOL) => Cause::WrongProtocol,
            // Counted where the certificate was read, if it was read here.
            Some(code) if alert::is_of_certificate(code) && matches!(error, ConnectionError::TransportError(_)) => {
                return;
            }
            _ if matches!(error, ConnectionError::LocallyClosed) => return,
            _ => Cause::BrokenHandshake,
        };
        tracing::debug!(%error, ?cause, "a handshake broke off");
        self.shared.refusals.count(cause);
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.shared.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The alerts of TLS that tell causes apart (RFC 8446, section 6).
mod alert {
    pub(super) const CERTIFICATE_REQUIRED: u8 = 116;
    pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

    /// From a bad certificate to an unknown authority, and what refuses a name or a signature.
    pub(super) fn is_of_certificate(code: u8) -> bool {
        matches!(code, 42..=46 | 48 | 49 | 51)
    }
}

/// The alert with which TLS ended a connection, at either end.
fn crypto_alert(error: &ConnectionError) -> Option<u8> {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        _ => return None,
    };
    /// Where QUIC puts the alerts among its own codes (RFC 9001, section 4.8).
    const CRYPTO_ERROR: u64 = 0x100;
    u64::from(code).checked_sub(CRYPTO_ERROR)?.try_into().ok()
}

/// A connection that is counted among those accepted while this is there.
struct Place {
    shared: Arc<Shared>,
    connection: Connection,
    caller: Caller,
}

impl Place {
    fn take(shared: &Arc<Shared>, connection: &Connection, caller: Caller) -> Result<Self, Cause> {
        let mut accepted = shared.accepted();
        match caller {
            Caller::Client => {
                if accepted.clients >= shared.bounds.clients_max {
                    return Err(Cause::TooManyConnections);
                }
                accepted.clients += 1;
            }
            Caller::Node(node) => {
                let connections = accepted.nodes.entry(node).or_default();
                connections.push_back(connection.clone());
                if connections.len() > shared.bounds.connections_per_node_max
                    && let Some(oldest) = connections.pop_front()
                {
                    Close::Replaced.apply(&oldest);
                }
            }
        }
        drop(accepted);
        Ok(Self {
            shared: Arc::clone(shared),
            connection: connection.clone(),
            caller,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut accepted = self.shared.accepted();
        match self.caller {
            Caller::Client => accepted.clients -= 1,
            Caller::Node(node) => {
                if let Some(connections) = accepted.nodes.get_mut(&node) {
                    connections.retain(|other| other.stable_id() != self.connection.stable_id());
                    if connections.is_empty() {
                        accepted.nodes.remove(&node);
                    }
                }
            }
        }
    }
}

/// Serves one connection until it ends.
async fn serve(shared: Arc<Shared>, connection: Connection, caller: Caller, service: Service) {
    let place = match Place::take(&shared, &connection, caller) {
        Ok(place) => place,
        Err(cause) => {
            shared.refusals.count(cause);
            return Close::Refused(cause).apply(&connection);
        }
    };
    if caller == Caller::Client {
        connection.set_send_window(u64::from(shared.bounds.client_window_bytes));
    }
    if let Caller::Node(node) = caller {
        if let Some(arrival) = shared.arrivals().get(&node) {
            arrival.notify_one();
        }
        connection.set_receive_window(VarInt::from_u32(shared.bounds.node_window_bytes));
        connection.set_max_concurrent_uni_streams(VarInt::from_u32(1 + shared.bounds.bulk_streams_max));
    }
    let error = service::serve_connection(&shared, &connection, caller, &service).await;
    tracing::debug!(%caller, address = %connection.remote_address(), %error, "a connection has ended");
    drop(place);
}
