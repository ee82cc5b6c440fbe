//! What the handles on one database share: its replicas, and whom to ask first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use super::code::Code;
use super::connect::Remotes;
use super::node::Network;
use super::replica::{Event, ReplicaHandle};
use crate::protocol::Refusal;

/// Where the replicas of a database are.
pub(super) enum Reach {
    /// In this process.
    Within,
    /// One in this process.
    Node(Network),
    /// Elsewhere.
    Remote(Arc<Remotes>),
}

pub(super) struct Shared {
    replicas: RwLock<Arc<[ReplicaHandle]>>,
    pub(super) reach: Reach,
    pub(super) code: Arc<Code>,
    pub(super) deadline: Duration,
    /// Whom to ask first next time.
    next: AtomicUsize,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    pub(super) fn new(replicas: Vec<ReplicaHandle>, code: Arc<Code>, deadline: Duration, reach: Reach) -> Arc<Self> {
        Arc::new(Self {
            replicas: RwLock::new(replicas.into()),
            reach,
            code,
            deadline,
            next: AtomicUsize::new(0),
            threads: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn add_thread(&self, thread: JoinHandle<()>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }

    pub(super) fn replicas(&self) -> Arc<[ReplicaHandle]> {
        Arc::clone(&self.replicas.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A node has come that was not known.
    pub(super) fn add_replica(&self, replica: ReplicaHandle) {
        let mut replicas = self.replicas.write().unwrap_or_else(PoisonError::into_inner);
        *replicas = replicas.iter().cloned().chain([replica]).collect();
    }

    fn stop(&self) {
        for replica in self.replicas().iter() {
            // One whose inbox is full is stopped by its next call's sender being gone; one that is closed has stopped.
            let _ = replica.inbox.try_send(Event::Stop);
        }
    }

    /// The replicas, in the order in which to ask them: of those in this process another one first each time, of those elsewhere the one that
    /// has answered.
    pub(super) fn by_turns(&self) -> Turns {
        self.beginning_at(self.turn())
    }

    /// Which replica is the first to be asked next.
    pub(super) fn turn(&self) -> usize {
        match self.reach {
            Reach::Within => self.next.fetch_add(1, Ordering::Relaxed),
            Reach::Node(_) | Reach::Remote(_) => self.next.load(Ordering::Relaxed),
        }
    }

    /// The replicas, this one first.
    pub(super) fn beginning_at(&self, turn: usize) -> Turns {
        let replicas = self.replicas();
        let first = turn % replicas.len();
        Turns { replicas, first }
    }

    /// *Errors* when every replica would refuse a transaction because too much waits there, with what the last of them would say.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        match replicas.iter().any(|replica| replica.calls.has_room()) {
            true => Ok(()),
            false => replicas.last().map_or(Ok(()), |replica| replica.calls.check_room()),
        }
    }

    /// A replica cannot be asked: the next call asks another one first.
    pub(super) fn pass_over(&self, replica: &ReplicaHandle) {
        if !matches!(self.reach, Reach::Within) {
            let replicas = self.replicas();
            let place = replicas.iter().position(|other| other.node == replica.node);
            let place = place.unwrap_or_default();
            // Whoever was passed over first has moved it on.
            let _ = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (next % replicas.len() == place).then_some(place + 1)
            });
        }
    }

    /// One that cannot be reached is passed over; one that refuses for another reason is there.
    pub(super) fn on_refusal(&self, replica: &ReplicaHandle, refusal: &Refusal) {
        if matches!(refusal, Refusal::Unreachable { .. }) {
            self.pass_over(replica);
        }
    }

    pub(super) fn have_all_stopped(&self) -> bool {
        self.replicas().iter().all(|replica| replica.inbox.is_closed())
    }
}

/// Replicas in the order in which to ask them.
pub(super) struct Turns {
    replicas: Arc<[ReplicaHandle]>,
    first: usize,
}

impl Turns {
    pub(super) fn iter(&self) -> impl Iterator<Item = &ReplicaHandle> {
        let (before, from) = self.replicas.split_at(self.first);
        from.iter().chain(before)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop();
    }
}
