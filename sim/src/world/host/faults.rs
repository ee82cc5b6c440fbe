//! What befalls a machine: its node crashes and starts again, stands still, is slow, loses its time, or is told to change.

use std::sync::Arc;

use plimsoll::id::{Epoch, NodeId, RequestId, StorageId};
use plimsoll::protocol::node::Node;
use plimsoll::protocol::peers::Peers;
use plimsoll::protocol::{Change, Input};
use plimsoll::thunk::Registry;
use plimsoll::time::Hlc;
use plimsoll::transaction::Record;

use super::super::crash::Crash;
use super::super::event::content_of;
use super::super::faults::Trigger;
use super::super::outcome::Rule;
use super::super::outside::Outside;
use super::super::storage::{Found, Trouble};
use super::log::records;
use super::{Host, Running};
use crate::scenario::SlowPart;

/// How much later somebody starts a node again that its disk has stopped, in microseconds.
pub(super) const RESTART_US: u64 = 1_000_000;

impl Host {
    /// The node stops. What it held in memory is gone, and so is what its disk has not synced; the syncs and evaluations on their
    /// way to it are void.
    ///
    /// *Gives* whether it did: not where none runs.
    pub(in crate::world) fn crash(&mut self, time_us: u64, outside: &mut Outside) -> bool {
        let syncing = self.disk.syncing();
        let Some(running) = self.stop(time_us, outside) else {
            return false;
        };
        running.leave(syncing, &mut self.storage);
        true
    }

    /// The node is no more. *Gives* what was of it; none where none runs.
    pub(super) fn stop(&mut self, time_us: u64, outside: &mut Outside) -> Option<Running> {
        let running = self.running.take()?;
        self.armed = None;
        self.paused_until_us = 0;
        self.protocol.crash(time_us);
        self.executor.crash(time_us);
        let crash = self.crash_of(&running, time_us, outside);
        outside.crashes.push(crash);
        if !self.has_lost_disk {
            outside.watcher.on_crash(self.id);
        }
        self.counted += *running.node.counters();
        self.disk.crash();
        self.incarnation += 1;
        Some(running)
    }

    /// What the node had come to.
    fn crash_of(&self, running: &Running, time_us: u64, outside: &Outside) -> Crash {
        let (evaluated, flushed) = (running.node.evaluated(), self.storage.flushed());
        let (own, others): (Vec<_>, Vec<_>) = records(self.storage.logged())
            .chain(records(running.unsynced()))
            .filter(|(_, _, record)| record.hlc > evaluated)
            .partition(|(_, coordinator, _)| *coordinator == self.id);
        let is_synced =
            |(_, _, record): &&(Epoch, NodeId, &Record)| outside.durability.is_on(self.place, record.transaction.id);
        let forgotten = self.evaluated.iter().filter(|one| one.timestamp.hlc > flushed);
        Crash {
            time_us,
            node: self.id,
            is_coordinator: running.node.membership().is_coordinator(self.id),
            calls_open: running.calls.len(),
            records_unsynced: records(running.unsynced()).count(),
            records_unevaluated: others.iter().filter(is_synced).count(),
            holders: own
                .iter()
                .map(|(_, _, record)| outside.durability.holders(record.transaction.id))
                .collect(),
            evaluated,
            flushed,
            forgotten: forgotten.map(|one| one.id).collect(),
            others_evaluated: Vec::new(),
        }
    }

    /// The node will crash at that moment.
    pub(in crate::world) fn arm(&mut self, trigger: Trigger, restart_after_us: Option<u64>) {
        if self.running.is_some() {
            self.armed = Some((trigger, restart_after_us));
        }
    }

    /// Something has happened for which a crash may wait. *Gives* whether the node has crashed because of it.
    pub(super) fn trip(&mut self, time_us: u64, what: fn(&mut Trigger) -> bool, outside: &mut Outside) -> bool {
        let Some((trigger, restart_after_us)) = self.armed.as_mut() else {
            return false;
        };
        let (is_due, name, restart_after_us) = (what(trigger), trigger.name(), *restart_after_us);
        let is_tripped = is_due && self.crash(time_us, outside);
        if is_tripped {
            *outside.faults.entry(name).or_default() += 1;
            outside.fallen.push((self.place, restart_after_us));
        }
        is_tripped
    }

    /// An empty disk takes the place of the one that was there. *Gives* whether it did: not while a node runs on it.
    pub(in crate::world) fn lose_disk(&mut self) -> bool {
        if self.running.is_some() {
            return false;
        }
        self.evaluated.clear();
        self.start = Hlc::ZERO;
        self.peers = Peers::default();
        self.storage
            .replace(StorageId::new(content_of(&self.storage.id()).into()));
        self.has_lost_disk = true;
        true
    }

    /// The process stands still until then. *Gives* whether there is one.
    pub(in crate::world) fn pause(&mut self, until_us: u64) -> bool {
        self.protocol.pause(until_us);
        self.executor.pause(until_us);
        self.paused_until_us = self.paused_until_us.max(until_us);
        self.running.is_some()
    }

    /// Whether a process runs and does not stand still.
    pub(in crate::world) fn is_up(&self, time_us: u64) -> bool {
        self.running.is_some() && self.paused_until_us <= time_us
    }

    /// A part of the machine takes so many times as long from now on.
    pub(in crate::world) fn slow(&mut self, part: SlowPart, factor: f64) {
        match part {
            SlowPart::Disk => self.disk.slow(factor),
            SlowPart::Cpu => {
                self.protocol.slow(factor);
                self.executor.slow(factor);
            }
            SlowPart::Link => {}
        }
    }

    /// The wall clock is set. *Gives* how far it is off now, in nanoseconds.
    pub(in crate::world) fn set_clock(&mut self, time_us: u64, by_ns: i64) -> i64 {
        self.clock.set(by_ns);
        self.clock.offset_ns_at(time_us)
    }

    /// The members are to be changed. *Gives* whether a node runs that can be asked.
    pub(in crate::world) fn change(&mut self, time_us: u64, change: Change, outside: &mut Outside) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        running.requests += 1;
        let request = RequestId(running.requests);
        running.changes.insert(request);
        self.step(time_us, outside.prices.call, Input::Change { request, change }, outside);
        true
    }

    /// The node has these thunks when it starts next.
    pub(in crate::world) fn install(&mut self, registry: Arc<Registry>) {
        self.storage.install(registry);
    }

    /// The node is to resign.
    pub(in crate::world) fn resign(&mut self, time_us: u64, outside: &mut Outside) {
        self.step(time_us, 0, Input::Resign, outside);
    }

    /// The node starts again with what a crash has left. *Gives* whether it did: not where one runs.
    pub(in crate::world) fn restart(&mut self, time_us: u64, outside: &mut Outside) -> bool {
        if self.running.is_some() {
            return false;
        }
        self.protocol.begin(time_us);
        let found = match self.storage.open() {
            Ok(found) => found,
            Err(trouble) => {
                self.on_trouble(trouble, outside);
                return false;
            }
        };
        let Found {
            stores,
            recovered,
            unsaid,
            installed,
            are_versions_lost,
        } = found;
        let flushed = stores.state.flushed();
        let now = self.clock.now(time_us).monotonic;
        let node = Node::recover(self.config.clone(), self.genesis.clone(), &recovered, flushed, now);
        self.evaluated
            .retain(|transaction| transaction.timestamp.hlc <= flushed && installed.is_none());
        self.start = installed.unwrap_or(self.start).min(flushed);
        self.tell_durable(&unsaid, outside);
        if !self.has_lost_disk {
            if are_versions_lost {
                outside.watcher.on_versions_lost(self.id);
            }
            outside.watcher.on_restart(&node);
            if let Some(bound) = installed {
                outside.watcher.on_snapshot(self.id, bound);
            }
        }
        self.running = Some(Running::new(node, stores));
        self.start(time_us, outside);
        true
    }

    /// The node does not start with its disk.
    fn on_trouble(&mut self, trouble: Trouble, outside: &mut Outside) {
        match trouble {
            // Somebody tries again.
            Trouble::Passing => outside.fallen.push((self.place, Some(RESTART_US))),
            Trouble::Damaged => {
                self.has_lost_disk = true;
                *outside.faults.entry("disk-beyond-repair").or_default() += 1;
            }
            Trouble::Broken(what) => self.breach(Rule::Storage, what),
        }
    }
}
