//! The way to one peer: its queues, and the task that connects and empties them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use quinn::{Connection, WriteError};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::queue::{Queue, Waiting};
use super::{PeerStatus, divided};
use crate::codec::EncodeError;
use crate::id::{ClusterId, NodeId};
use crate::net::bounds::Bounds;
use crate::net::endpoint::{Close, ConnectError, Shared};
use crate::protocol::frame::Frame;
use crate::protocol::message::Message;

/// Bytes that are put together for one write, unless the first frame alone has more.
const WRITE_BYTES: usize = 256 << 10;

/// How long a call may take before a sign of its node makes it a vain one. Well above a round trip, so that nodes that call each other at
/// the same time do not break off each other's calls.
const VAIN_AFTER: Duration = Duration::from_millis(500);

/// Below that of the stream for frames, which has 0.
const BULK_PRIORITY: i32 = -1;

/// The queues to one peer, and what was counted on the way.
pub(super) struct Lane {
    own: NodeId,
    peer: NodeId,
    cluster: ClusterId,
    backoff_min: Duration,
    backoff_max: Duration,
    frames: Queue,
    chunks: Queue,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    is_connected: AtomicBool,
    attempts: AtomicU64,
    connections: AtomicU64,
    frames_sent: AtomicU64,
    writes: AtomicU64,
    chunks_sent: AtomicU64,
    dropped_full: AtomicU64,
    dropped_stale: AtomicU64,
    dropped_oversized: AtomicU64,
}

fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

/// Why a connection is given up.
enum End {
    /// It is lost.
    Lost(String),
    /// The peer is somewhere else now.
    Moved,
    /// Nobody wants it any more.
    Unwanted,
}

impl Lane {
    pub(super) fn new(own: NodeId, peer: NodeId, cluster: ClusterId, bounds: &Bounds) -> Self {
        let queue = || Queue::new(bounds.frames_waiting_max, bounds.bytes_waiting_max);
        Self {
            own,
            peer,
            cluster,
            backoff_min: bounds.backoff_min,
            backoff_max: bounds.backoff_max,
            frames: queue(),
            chunks: queue(),
            counters: Counters::default(),
        }
    }

    pub(super) fn send(&self, messages: Vec<Message>) {
        let (frame, chunks) = divided(messages);
        let frames = frame.into_iter().map(|frame| self.frames.push(frame));
        let chunks = chunks.into_iter().map(|chunk| self.chunks.push(chunk));
        let dropped = frames.chain(chunks).filter(|has_room| !has_room).count();
        add(&self.counters.dropped_full, dropped);
    }

    pub(super) fn status(&self) -> PeerStatus {
        let counters = &self.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PeerStatus {
            is_connected: counters.is_connected.load(Ordering::Relaxed),
            attempts: read(&counters.attempts),
            connections: read(&counters.connections),
            frames_sent: read(&counters.frames_sent),
            writes: read(&counters.writes),
            chunks_sent: read(&counters.chunks_sent),
            dropped_full: read(&counters.dropped_full),
            dropped_stale: read(&counters.dropped_stale),
            dropped_oversized: read(&counters.dropped_oversized),
        }
    }

    /// Keeps a connection to the peer and empties the queues into it, until the endpoint is closed or the peer forgotten.
    pub(super) async fn run(self: Arc<Self>, endpoint: Weak<Shared>, mut address: watch::Receiver<Address>) {
        let mut backoff = Backoff::new(self.backoff_min, self.backoff_max);
        for attempt in 0.. {
            // Held while calling and no longer, so that the endpoint's address is free when it has been closed.
            let Some(shared) = endpoint.upgrade() else { return };
            let arrival = shared.arrival(self.peer);
            let target = address.borrow_and_update().clone();
            add(&self.counters.attempts, 1);
            let connected = tokio::select! {
                connected = self.connect(&shared, &target, attempt) => connected,
                // It has come up while it was called in vain: a new call is heard sooner than the repetition of the old one.
                () = async { sleep(VAIN_AFTER).await; arrival.notified().await } => continue,
            };
            drop(shared);
            match connected {
                Ok(connection) => {
                    tracing::info!(peer = %self.peer, %target, "is connected");
                    add(&self.counters.connections, 1);
                    let began = Instant::now();
                    self.counters.is_connected.store(true, Ordering::Relaxed);
                    let end = self.use_up(&connection, &mut address).await;
                    self.counters.is_connected.store(false, Ordering::Relaxed);
                    Close::Done.apply(&connection);
                    match end {
                        End::Lost(why) => tracing::info!(peer = %self.peer, why, "the connection is lost"),
                        End::Moved => {}
                        End::Unwanted => return,
                    }
                    // One that is refused right away does not count: it would be made again and again.
                    if began.elapsed() >= self.backoff_max {
                        backoff.reset();
                    }
                }
                Err(Failed::Closed) => return,
                Err(Failed::Unreachable(why)) => {
                    tracing::debug!(peer = %self.peer, %target, why, "cannot be reached");
                    add(&self.counters.dropped_stale, self.frames.clear() + self.chunks.clear());
                }
            }
            tokio::select! {
                () = sleep(backoff.next()) => {}
                () = arrival.notified() => backoff.reset(),
                changed = address.changed() => match changed {
                    Ok(()) => backoff.reset(),
                    Err(_) => return,
                }
            }
        }
    }

    async fn connect(&self, shared: &Shared, target: &Address, attempt: usize) -> Result<Connection, Failed> {
        let unreachable = |why: &dyn std::fmt::Display| Failed::Unreachable(why.to_string());
        let local = shared.local_address().map_err(|error| unreachable(&error))?;
        let resolving = timeout(shared.bounds.handshake_time_max, target.resolve(local, attempt)).await;
        let resolved = resolving.map_err(|_| unreachable(&"its name is not resolved in time"))?;
        let resolved = resolved.map_err(|error| unreachable(&error))?;
        shared.connect(self.peer, resolved).await.map_err(|error| match error {
            ConnectError::Closed => Failed::Closed,
            other => unreachable(&other),
        })
    }

    async fn use_up(&self, connection: &Connection, address: &mut watch::Receiver<Address>) -> End {
        let lost = |error: WriteError| End::Lost(error.to_string());
        tokio::select! {
            error = connection.closed() => End::Lost(error.to_string()),
            Err(error) = self.send_frames(connection) => lost(error),
            Err(error) = self.send_chunks(connection) => lost(error),
            changed = address.changed() => match changed {
                Ok(()) => End::Moved,
                Err(_) => End::Unwanted,
            },
        }
    }

    async fn send_frames(&self, connection: &Connection) -> Result<(), WriteError> {
        let mut stream = connection.open_uni().await?;
        let mut out = Vec::new();
        loop {
            let waiting = self.frames.take(WRITE_BYTES).await;
            out.clear();
            let frames: usize = waiting.iter().map(|frame| self.encode(&frame.messages, &mut out)).sum();
            stream.write_all(&out).await?;
            add(&self.counters.frames_sent, frames);
            add(&self.counters.writes, 1);
            if out.capacity() > 4 * WRITE_BYTES {
                out = Vec::new();
            }
        }
    }

    async fn send_chunks(&self, connection: &Connection) -> Result<(), WriteError> {
        loop {
            // One at a time: as many bytes ahead as the peer takes are enough.
            for Waiting { messages, .. } in self.chunks.take(0).await {
                let mut out = Vec::new();
                let frames = self.encode(&messages, &mut out);
                let mut stream = connection.open_uni().await?;
                stream.set_priority(BULK_PRIORITY)?;
                stream.write_chunk(Bytes::from(out)).await?;
                // It is finished here and nowhere else.
                drop(stream.finish());
                add(&self.counters.chunks_sent, frames);
            }
        }
    }

    /// Appends messages as one frame, or as several if one would be too large. *Gives* how many.
    fn encode(&self, messages: &[Message], out: &mut Vec<u8>) -> usize {
        match Frame::encode(self.cluster, self.own, messages, out) {
            Ok(()) => 1,
            Err(EncodeError::Oversized { .. }) if messages.len() > 1 => {
                let (first, second) = messages.split_at(messages.len() / 2);
                self.encode(first, out) + self.encode(second, out)
            }
            Err(error) => {
                tracing::error!(peer = %self.peer, %error, "a message cannot be sent");
                add(&self.counters.dropped_oversized, 1);
                0
            }
        }
    }
}

/// Why there is no connection.
enum Failed {
    Unreachable(String),
    Closed,
}

/// Waits between attempts: each up to twice the one before, drawn so that nodes that failed together do not try together.
struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
    random: Xoshiro256PlusPlus,
}

impl Backoff {
    fn new(min: Duration, max: Duration) -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let next = min;
        Self { min, max, next, random }
    }

    fn reset(&mut self) {
        self.next = self.min;
    }

    fn next(&mut self) -> Duration {
        let half = self.next / 2;
        let half_us = half.as_micros() as u64;
        self.next = (2 * self.next).min(self.max);
        half + Duration::from_micros(self.random.next_u64() % (half_us + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_stay_within_half_and_all() {
        let (min, max) = (Duration::from_millis(10), Duration::from_millis(65));
        let mut backoff = Backoff::new(min, max);
        for _ in 0..2 {
            for top_ms in [10, 20, 40, 65, 65] {
                let (wait, top) = (backoff.next(), Duration::from_millis(top_ms));
                assert!(top / 2 <= wait && wait <= top, "{wait:?} of {top:?}");
            }
            backoff.reset();
        }
    }
}
