//! What befalls a machine: its node crashes and starts again, stands still, is slow, loses its time, or is told to change.

use plimsoll::id::{Epoch, NodeId, RequestId, StorageId};
use plimsoll::protocol::node::Node;
use plimsoll::protocol::peers::Peers;
use plimsoll::protocol::{Change, Input, Recovered};
use plimsoll::time::Hlc;
use plimsoll::transaction::Record;

use super::super::crash::Crash;
use super::super::event::content_of;
use super::super::faults::Trigger;
use super::super::outside::Outside;
use super::super::replica::Replica;
use super::log::records;
use super::{Host, Left, Running};
use crate::scenario::SlowPart;

impl<R: Replica> Host<R> {
    /// The node stops. What it held in memory is gone, and so is what its disk has not synced; the syncs and evaluations on their
    /// way to it are void.
    ///
    /// *Gives* whether it did: not where none runs.
    pub(in crate::world) fn crash(&mut self, time_us: u64, outside: &mut Outside) -> bool {
        let Some(running) = self.running.take() else {
            return false;
        };
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
        self.left = Some(running.left());
        self.disk.crash();
        self.incarnation += 1;
        true
    }

    /// What the node had come to.
    fn crash_of(&self, running: &Running<R>, time_us: u64, outside: &Outside) -> Crash {
        let (evaluated, flushed) = (running.node.evaluated(), running.replica.durable());
        let (own, others): (Vec<_>, Vec<_>) = records(&self.log)
            .chain(running.unsynced.iter().flat_map(|(_, entries)| records(entries)))
            .filter(|(_, _, record)| record.hlc > evaluated)
            .partition(|(_, coordinator, _)| *coordinator == self.id);
        let is_synced =
            |(_, _, record): &&(Epoch, NodeId, &Record)| outside.durability.is_on(self.place, record.transaction.id);
        let unsynced = running.unsynced.iter().map(|(_, entries)| &entries[..]);
        let forgotten = running.evaluated.iter().filter(|one| one.timestamp.hlc > flushed);
        Crash {
            time_us,
            node: self.id,
            is_coordinator: running.node.membership().is_coordinator(self.id),
            calls_open: running.calls.len(),
            records_unsynced: unsynced.map(|entries| records(entries).count()).sum(),
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
        let Some(left) = self.left.take() else {
            return false;
        };
        self.left = Some(Left {
            replica: left.replica.emptied(),
            evaluated: Vec::new(),
            start: Hlc::ZERO,
        });
        self.log.clear();
        self.peers = Peers::default();
        self.storage = StorageId::new(content_of(&self.storage).into());
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

    /// The node is to resign.
    pub(in crate::world) fn resign(&mut self, time_us: u64, outside: &mut Outside) {
        self.step(time_us, 0, Input::Resign, outside);
    }

    /// The node starts again with what a crash has left. *Gives* whether it did: not where one runs.
    pub(in crate::world) fn restart(&mut self, time_us: u64, outside: &mut Outside) -> bool {
        let Some(left) = self.left.take() else {
            return false;
        };
        let recovered = Recovered::from_entries(self.log.iter().cloned());
        let now = self.clock.now(time_us).monotonic;
        let node = Node::recover(
            self.config.clone(),
            self.genesis.clone(),
            &recovered,
            left.replica.durable(),
            now,
        );
        if !self.has_lost_disk {
            outside.watcher.on_restart(&node);
        }
        self.running = Some(Running::new(node, left));
        self.start(time_us, outside);
        true
    }
}
