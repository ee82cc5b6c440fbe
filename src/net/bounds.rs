//! The bounds of the network: how much a peer, honest or not, can make an endpoint hold.

use std::time::Duration;

use crate::limits::{FRAME_BYTES_MAX, RECORD_BYTES_MAX};

/// How much an endpoint takes on, and how long it waits. The defaults are for nodes near each other.
///
/// What a stranger can make an endpoint hold is bounded by [`handshakes_max`](Bounds::handshakes_max) handshakes. One who receives
/// at many addresses can fill these for [`handshake_time_max`](Bounds::handshake_time_max) at a time, which keeps others from connecting; what
/// is connected goes on. A client can make it hold [`requests_bytes_max`](Bounds::requests_bytes_max) and what was begun
/// together. A node, which the cluster trusts, can make it hold one frame for each stream of each of its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of clients at a time. Beyond: the connection is refused and counted.
    pub clients_max: usize,
    /// Connections that one node has here at a time. Beyond: the oldest is closed, as a node that came back has forgotten it.
    pub connections_per_node_max: usize,
    /// Handshakes under way at a time. Beyond: the connection is refused and counted.
    pub handshakes_max: usize,
    /// Handshakes under way from which on a caller must first show that it receives at its address, which costs it a round
    /// trip and nothing is held for.
    pub handshakes_unvalidated_max: usize,
    /// How long a handshake may take. Beyond: it is given up and counted.
    pub handshake_time_max: Duration,
    /// Silence after which a connection is taken for dead.
    pub idle_timeout: Duration,
    /// Silence after which a sign of life is sent; well below the idle time-out.
    pub keep_alive: Duration,
    /// Streams for pieces of snapshots that a node may have open at a time, beside the one for its frames.
    pub bulk_streams_max: u32,
    /// Bytes that a node may have under way on one connection before they are read.
    pub node_window_bytes: u32,
    /// Bytes that a client may have under way on one connection before they are read.
    pub client_window_bytes: u32,
    /// Frames that wait for one peer. Beyond: they are dropped and counted.
    pub frames_waiting_max: usize,
    /// Bytes, roughly, of what waits for one peer: once for frames and once for pieces of snapshots. Beyond: they are dropped and
    /// counted, unless nothing else waits.
    pub bytes_waiting_max: usize,
    /// The wait after a first failed attempt to reach a peer. It doubles with each further one, and is drawn between half and all of that.
    pub backoff_min: Duration,
    /// The longest wait between two attempts. A connection that lasted as long counts as a success.
    pub backoff_max: Duration,
    /// Bytes of one request. Beyond: it is not sent; one that comes nevertheless costs its sender the connection.
    pub request_bytes_max: usize,
    /// Bytes of one answer. Beyond: the caller is told that it is too large.
    pub answer_bytes_max: usize,
    /// Requests of one connection that are worked on at a time. Beyond: the server reads no further, and a client refuses to send.
    pub requests_max: usize,
    /// Bytes of the requests of one connection that are worked on and of the answers that are not written yet. From there on the server
    /// reads no further; what was begun together may still go beyond, by as many answers as requests may be worked on.
    pub requests_bytes_max: usize,
    /// How long an answer may take to be taken by its reader. Beyond: the connection is closed.
    pub answer_time_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            clients_max: 1_024,
            connections_per_node_max: 4,
            handshakes_max: 256,
            handshakes_unvalidated_max: 64,
            handshake_time_max: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            bulk_streams_max: 4,
            node_window_bytes: 16 << 20,
            client_window_bytes: 2 << 20,
            frames_waiting_max: 4_096,
            bytes_waiting_max: 32 << 20,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            request_bytes_max: RECORD_BYTES_MAX + (64 << 10),
            answer_bytes_max: FRAME_BYTES_MAX,
            requests_max: 1_024,
            requests_bytes_max: 8 << 20,
            answer_time_max: Duration::from_secs(30),
        }
    }
}

/// A bound that contradicts another, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bounds of the network are unusable: {0}")]
pub struct InvalidBounds(pub(super) &'static str);

impl Bounds {
    /// Checks that they can be kept together.
    ///
    /// *Errors*: the rule that is broken.
    pub fn validate(&self) -> Result<(), InvalidBounds> {
        /// What a length in front of a request or an answer can say.
        const LENGTH_MAX: usize = u32::MAX as usize;
        let rules = [
            (
                self.connections_per_node_max > 0,
                "connections_per_node_max is at least 1",
            ),
            (self.handshakes_max > 0, "handshakes_max is at least 1"),
            (
                self.handshakes_unvalidated_max <= self.handshakes_max,
                "handshakes_unvalidated_max is at most handshakes_max",
            ),
            (!self.handshake_time_max.is_zero(), "handshake_time_max is above zero"),
            (
                !self.keep_alive.is_zero() && 2 * self.keep_alive <= self.idle_timeout,
                "keep_alive is above zero and at most half of idle_timeout",
            ),
            (
                self.idle_timeout <= Duration::from_secs(3_600),
                "idle_timeout is at most an hour",
            ),
            (self.bulk_streams_max > 0, "bulk_streams_max is at least 1"),
            (
                self.node_window_bytes >= 64 << 10 && self.client_window_bytes >= 64 << 10,
                "node_window_bytes and client_window_bytes are at least 64 KiB",
            ),
            (
                self.node_window_bytes <= 1 << 30 && self.client_window_bytes <= 1 << 30,
                "node_window_bytes and client_window_bytes are at most 1 GiB",
            ),
            (
                self.frames_waiting_max > 0 && self.bytes_waiting_max > 0,
                "frames_waiting_max and bytes_waiting_max are at least 1",
            ),
            (
                !self.backoff_min.is_zero() && self.backoff_min <= self.backoff_max,
                "backoff_min is above zero and at most backoff_max",
            ),
            (
                self.request_bytes_max < LENGTH_MAX && self.answer_bytes_max < LENGTH_MAX,
                "request_bytes_max and answer_bytes_max are below 4 GiB",
            ),
            (
                (1..=1 << 20).contains(&self.requests_max),
                "requests_max lies between 1 and 1,048,576",
            ),
            (self.requests_bytes_max > 0, "requests_bytes_max is at least 1"),
        ];
        match rules.iter().find(|(is_kept, _)| !is_kept) {
            Some((_, rule)) => Err(InvalidBounds(rule)),
            None => Ok(()),
        }
    }
}
