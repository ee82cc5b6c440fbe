//! One simulated machine: drives a production node as a real driver would, with the costs of its processors and disk.
//!
//! The protocol's processor takes inputs one after the other. An input that finds it busy is stepped through at once, but with the
//! clock of the moment at which the processor comes to it: nothing else can change the node before. Effects leave, in
//! order, as their cost is worked off. A batch and the reads share the executor's processor.

mod clients;
mod faults;
mod log;
mod snapshots;
mod stores;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plimsoll::id::{NodeId, RequestId};
use plimsoll::protocol::config::{Membership, NodeConfig};
use plimsoll::protocol::invariants::Violation;
use plimsoll::protocol::node::{Counters, Node};
use plimsoll::protocol::peers::Peers;
use plimsoll::protocol::{Batch, Divergence, Effect, Evaluated, Input, LogEntry, Reply, SyncMark};
use plimsoll::replica::{DiskState, Recent, ReplicaState};
use plimsoll::time::Hlc;

use log::weigh;
use snapshots::Snapshots;
use stores::{PendingFlush, final_state};

use super::event::{Event, content_of};
use super::faults::Trigger;
use super::outcome::{Breach, NodeSummary, Rule};
use super::outside::{Outside, Packet};
use super::storage::{Storage, Stores, Write};
use crate::check::{EvaluatedTransaction, ReplicaTrace, WatermarkSample};
use crate::clock::Clock;
use crate::cost::{Cpu, Disk, bytes_ns};
use crate::port::ResponseBody;

/// A machine with at most one running node.
pub(super) struct Host {
    place: usize,
    id: NodeId,
    clock: Clock,
    protocol: Cpu,
    executor: Cpu,
    disk: Disk,
    /// How often a node was started here before. What was on its way for an earlier one is void.
    incarnation: u32,
    running: Option<Running>,
    config: NodeConfig,
    genesis: Membership,
    storage: Storage,
    /// Whom the node has met, as its disk holds it.
    peers: Peers,
    /// Whether its first disk is gone, or the log on it: then it is no part of the cluster any more.
    has_lost_disk: bool,
    /// What its replica has evaluated, above what came to it as a snapshot. While no node runs, some of it may be lost.
    evaluated: Vec<EvaluatedTransaction>,
    /// What lies at or below came to the replica as a snapshot.
    start: Hlc,
    /// The crash that waits for its moment, and how much later the node starts again.
    armed: Option<(Trigger, Option<u64>)>,
    /// Until when the process stands still.
    paused_until_us: u64,
    /// What the nodes counted that have run here and do no more.
    counted: Counters,
    breaches: Vec<Breach>,
    /// What its replica has shown when it found itself different from a majority.
    dump: Option<String>,
}

/// A node in one run of its process.
struct Running {
    node: Node,
    stores: Stores,
    /// The moment of the one wake in the queue that counts; `u64::MAX` if none does.
    wake_us: u64,
    /// What the executor will have made of the batch that is out.
    batch: Option<Evaluated>,
    calls: BTreeMap<RequestId, Call>,
    /// What is to be written under marks which have not come back.
    unsynced: VecDeque<(SyncMark, Write)>,
    /// What was written to the log, and is not durable because there is no room.
    stuck: Option<Vec<LogEntry>>,
    /// Bytes written since the log was last looked at for what can be dropped.
    unpruned_bytes: usize,
    requests: u64,
    flush: Option<PendingFlush>,
    /// The requests that are changes of the members.
    changes: BTreeSet<RequestId>,
    /// The watermark and the evaluated bound after the last step.
    bounds: (Hlc, Hlc),
    snapshots: Snapshots,
    /// What would be dumped if the replica found itself different from a majority.
    recent: Recent,
    effects: Vec<Effect>,
}

/// Whom an answer goes to.
#[derive(Clone, Copy)]
struct Call {
    client: usize,
    call: u64,
    /// A planted bug has answered already.
    is_answered: bool,
}

impl Running {
    fn new(node: Node, stores: Stores) -> Self {
        Self {
            bounds: (node.watermark(), node.evaluated()),
            node,
            stores,
            wake_us: u64::MAX,
            batch: None,
            calls: BTreeMap::new(),
            unsynced: VecDeque::new(),
            stuck: None,
            unpruned_bytes: 0,
            requests: 0,
            flush: None,
            changes: BTreeSet::new(),
            snapshots: Snapshots::default(),
            recent: Recent::default(),
            effects: Vec::new(),
        }
    }
}

impl Host {
    /// A machine on which a new node is started, unless it is a spare one: that has an empty disk until it is to join.
    pub(super) fn new(
        place: usize,
        config: NodeConfig,
        genesis: Membership,
        clock: Clock,
        disk: Disk,
        mut storage: Storage,
    ) -> Self {
        let running = genesis.is_member(config.id).then(|| {
            let node = Node::new(config.clone(), genesis.clone(), Hlc::ZERO);
            let found = storage
                .open()
                .unwrap_or_else(|_| unreachable!("the disk is empty and sound"));
            Running::new(node, found.stores)
        });
        Self {
            place,
            id: config.id,
            clock,
            protocol: Cpu::default(),
            executor: Cpu::default(),
            disk,
            incarnation: 0,
            running,
            storage,
            peers: Peers::default(),
            has_lost_disk: false,
            config,
            genesis,
            evaluated: Vec::new(),
            start: Hlc::ZERO,
            armed: None,
            paused_until_us: 0,
            counted: Counters::default(),
            breaches: Vec::new(),
            dump: None,
        }
    }

    /// Whether what was put on its way for this incarnation still counts.
    pub(super) fn is_current(&self, incarnation: u32) -> bool {
        self.running.is_some() && self.incarnation == incarnation
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The members of the epoch that the node is in; absent if no node runs.
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.running.as_ref().map(|running| running.node.membership())
    }

    /// Whether a change of the members was asked of the node and is not answered.
    pub(super) fn is_changing(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.changes.is_empty())
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn has_lost_disk(&self) -> bool {
        self.has_lost_disk
    }

    /// Whether the sender of a packet is who it says.
    pub(super) fn meets(&mut self, packet: &Packet) -> bool {
        self.peers.meet(packet.from, packet.storage).is_ok()
    }

    /// How far the replica has evaluated; absent if no node runs.
    pub(super) fn evaluated(&self) -> Option<Hlc> {
        self.running.as_ref().map(|running| running.node.evaluated())
    }

    /// A new node's first step.
    pub(super) fn start(&mut self, time_us: u64, outside: &mut Outside) {
        let Some(running) = &self.running else {
            return;
        };
        let thunks = running.stores.state.executor().registry().ids().cloned().collect();
        self.step(time_us, 0, Input::Declare { thunks }, outside);
    }

    /// A frame has come and was decoded.
    pub(super) fn on_frame(&mut self, time_us: u64, bytes: usize, mut input: Input, outside: &mut Outside) {
        let cost_ns = outside.prices.frame + bytes_ns(bytes, outside.prices.kib);
        if let (Some(planted), Some(running), Input::Receive { messages, .. }) =
            (outside.planted, &self.running, &mut input)
        {
            planted.tell(self.place, running.node.watermark(), messages);
        }
        self.step(time_us, cost_ns, input, outside);
    }

    /// A moment has come. *Gives* whether it was one that the node had asked for.
    pub(super) fn on_wake(&mut self, time_us: u64, outside: &mut Outside) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        if running.wake_us != time_us {
            // An earlier one has taken its place.
            return false;
        }
        running.wake_us = u64::MAX;
        let wake_us = running.node.wake_at().0;
        if wake_us > time_us {
            self.wake_at(wake_us, outside);
            return false;
        }
        self.step(time_us, 0, Input::Wake, outside);
        true
    }

    /// The disk has finished a sync. *Gives* the mark.
    pub(super) fn on_synced(&mut self, time_us: u64, outside: &mut Outside) -> u64 {
        let is_last = |trigger: &mut Trigger| match trigger {
            Trigger::AtSync(syncs) => {
                *syncs -= 1;
                *syncs == 0
            }
            _ => false,
        };
        if self.trip(time_us, is_last, outside) {
            return 0;
        }
        if !self.write_log(time_us, outside) {
            return 0;
        }
        let (mark, next_us) = self.disk.on_synced(time_us);
        self.write_flush_behind(time_us, mark, outside);
        self.expect_sync(next_us, outside);
        self.step(time_us, 0, Input::Persisted(mark), outside);
        mark.0
    }

    /// The executor has finished its batch. *Gives* a hash of what it made of it.
    pub(super) fn on_evaluated(&mut self, time_us: u64, outside: &mut Outside) -> u64 {
        let batch = self.running.as_mut().and_then(|running| running.batch.take());
        let evaluated = batch.expect("the event was put in with the batch, in this incarnation");
        let content = content_of(&(evaluated.upto, &evaluated.settlements));
        self.step(time_us, 0, Input::Evaluated(evaluated), outside);
        content
    }

    /// Steps the node with an input that is there at `time_us`, and carries out what it wants.
    fn step(&mut self, time_us: u64, cost_ns: u64, input: Input, outside: &mut Outside) {
        let begin_us = self.protocol.begin(time_us);
        let Some(running) = &mut self.running else {
            return;
        };
        let mut effects = std::mem::take(&mut running.effects);
        if !self.has_lost_disk {
            outside.watcher.on_input(self.id, &input);
        }
        running.node.step(self.clock.now(begin_us), input, &mut effects);
        if !self.has_lost_disk {
            outside.watcher.on_step(&running.node, &effects);
        }
        let bounds = (running.node.watermark(), running.node.evaluated());
        let (wake_us, epoch) = (running.node.wake_at().0, running.node.membership().epoch.number());
        if epoch as usize > outside.epochs.len() + 1 && !self.has_lost_disk {
            outside.epochs.push((begin_us, running.node.epoch_start()));
            outside.begin_epoch(running.node.membership());
        }
        let before = std::mem::replace(&mut running.bounds, bounds);
        if bounds.0 < before.0 || bounds.1 < before.1 || bounds.1 > bounds.0 {
            self.breaches.push(Breach {
                time_us: begin_us,
                node: self.id,
                rule: Rule::Conduct,
                what: format!("I-12: watermark and evaluated bound went from {before:?} to {bounds:?}"),
            });
        }
        if outside.watcher.has_found() {
            self.note_violations(begin_us, outside);
        }
        self.protocol.work(cost_ns);
        for effect in effects.drain(..) {
            self.carry_out(effect, outside);
            if self.running.is_none() {
                // It has crashed in the middle.
                break;
            }
        }
        if let Some(running) = &mut self.running {
            running.effects = effects;
            running.prune_if_due();
        }
        if wake_us != u64::MAX {
            self.wake_at(wake_us.max(begin_us), outside);
        }
    }

    fn carry_out(&mut self, effect: Effect, outside: &mut Outside) {
        match effect {
            Effect::Send { to, messages } => {
                let Some(to) = outside.topology.node_of(to) else {
                    self.breach(Rule::Conduct, format!("sends to {to}, who is not in this world"));
                    return;
                };
                let is_last = |trigger: &mut Trigger| match trigger {
                    Trigger::AtSend(frames) => {
                        *frames -= 1;
                        *frames == 0
                    }
                    _ => false,
                };
                let now_us = self.protocol.work(0);
                if self.trip(now_us, is_last, outside) {
                    return;
                }
                let packet = outside.encode(self.id, self.storage.id(), messages);
                let cost_ns = outside.prices.frame + bytes_ns(packet.bytes.len(), outside.prices.kib);
                let at_us = self.protocol.work(cost_ns);
                outside.send(at_us, self.place, to, packet);
            }
            Effect::Persist { mark, entries } => {
                let (records, bytes) = weigh(&entries);
                if let Some(running) = &mut self.running {
                    running.unpruned_bytes += bytes;
                    running.unsynced.push_back((mark, Write::Entries(entries)));
                }
                let at_us = self.protocol.work(records * outside.prices.record);
                let synced_us = self.disk.write(at_us, mark, bytes);
                self.expect_sync(synced_us, outside);
            }
            Effect::Evaluate(batch) => self.evaluate(batch, outside),
            Effect::Read { request, at, query } => self.read(request, at, &query, outside),
            Effect::Reply { request, reply } if self.is_change(request) => {
                let kind = match reply {
                    Reply::Changed { .. } => "membership-change",
                    _ => "membership-change-refused",
                };
                *outside.faults.entry(kind).or_default() += 1;
            }
            Effect::Reply { request, reply } => {
                if let Reply::Settled(settlement) = &reply
                    && let Err(what) = outside.durability.check(settlement.id)
                {
                    self.breach(Rule::Durability, what);
                }
                let body = match reply {
                    Reply::Settled(settlement) => ResponseBody::Settled(settlement),
                    Reply::Refused(refusal) => ResponseBody::Refused(refusal.to_string()),
                    Reply::Changed { epoch } => {
                        ResponseBody::Unknown(format!("members were changed in {epoch}, and nobody here had asked"))
                    }
                    Reply::Unknown(doubt) => ResponseBody::Unknown(doubt.to_string()),
                };
                let at_us = self.protocol.work(0);
                self.answer(at_us, request, body, outside);
            }
            Effect::ServeChunk { to, epoch, request } => self.serve_chunk(to, epoch, &request, outside),
            Effect::AddChunk { bytes } => self.add_chunk(&bytes, outside),
            Effect::Restore { bound } => self.restore(bound, outside),
            Effect::DiscardChunks => self.discard_chunks(),
            Effect::Resigned => {
                let now_us = self.protocol.work(0);
                self.trip(now_us, |trigger| *trigger == Trigger::Resigned, outside);
            }
            Effect::Quarantine(divergence) => self.dump(&divergence),
        }
    }

    fn is_change(&mut self, request: RequestId) -> bool {
        let running = self.running.as_mut();
        running.is_some_and(|running| running.changes.remove(&request))
    }

    fn evaluate(&mut self, mut batch: Batch, outside: &mut Outside) {
        let at_us = self.protocol.work(0);
        let Some(running) = &mut self.running else {
            return;
        };
        if running.batch.is_some() {
            self.breach(Rule::Conduct, "hands out a batch while one is out".to_owned());
            return;
        }
        let records = batch.records.len() as u64;
        if let Some(planted) = outside.planted {
            planted.reorder(self.place, &mut batch);
        }
        let evaluated = match running.stores.state.evaluate(&batch) {
            Ok(evaluated) => evaluated,
            Err(error) => return self.fail(at_us, &error, outside),
        };
        #[cfg(test)]
        let evaluated = outside.distorted(self.place, evaluated);
        self.evaluated
            .extend(evaluated.settlements.iter().map(|settlement| EvaluatedTransaction {
                timestamp: settlement.record,
                id: settlement.id,
                outcome_hash: content_of(&(settlement.effective, &settlement.outcome)),
            }));
        running.recent.note(&batch, evaluated.upto);
        running.batch = Some(evaluated);
        self.flush_if_due(at_us, outside);
        self.executor.begin(at_us);
        let done_us = self.executor.work(records * outside.prices.evaluation);
        let (node, incarnation) = (self.place as u16, self.incarnation);
        outside.queue.push(done_us, Event::Evaluated { node, incarnation });
    }

    /// The replica has found itself different from a majority.
    fn dump(&mut self, divergence: &Divergence) {
        if let Some(Running { recent, stores, .. }) = &self.running {
            let status = |id| stores.state.status(id).ok();
            self.dump = Some(recent.dump(self.id, divergence, status));
        }
    }

    /// Sees to it that the node is woken at `wake_us` or before. A later wake stays in the queue and counts no more.
    fn wake_at(&mut self, wake_us: u64, outside: &mut Outside) {
        if let Some(running) = self.running.as_mut().filter(|running| wake_us < running.wake_us) {
            running.wake_us = wake_us;
            let (node, incarnation) = (self.place as u16, self.incarnation);
            outside.queue.push(wake_us, Event::Wake { node, incarnation });
        }
    }

    fn expect_sync(&self, synced_us: Option<u64>, outside: &mut Outside) {
        if let Some(synced_us) = synced_us {
            let (node, incarnation) = (self.place as u16, self.incarnation);
            outside.queue.push(synced_us, Event::Synced { node, incarnation });
        }
    }

    fn note_violations(&mut self, time_us: u64, outside: &mut Outside) {
        let found = outside.watcher.take_violations().into_iter();
        self.breaches
            .extend(found.map(|Violation { invariant, node, what }| Breach {
                time_us,
                node,
                rule: Rule::Invariant,
                what: format!("{invariant}: {what}"),
            }));
    }

    fn breach(&mut self, rule: Rule, what: String) {
        let time_us = self.protocol.work(0);
        let node = self.id;
        self.breaches.push(Breach {
            time_us,
            node,
            rule,
            what,
        });
    }

    pub(super) fn sample(&self, time_us: u64) -> Option<WatermarkSample> {
        self.running.as_ref().map(|running| WatermarkSample {
            time_us,
            node: self.id,
            run: self.incarnation,
            watermark: running.node.watermark(),
            evaluated: running.node.evaluated(),
        })
    }

    /// What the machine did and what its replica holds.
    ///
    /// *Given* someone to look at the replica.
    pub(super) fn finish(
        self,
        time_us: u64,
        region: usize,
        on_end: &mut dyn FnMut(NodeId, &DiskState),
    ) -> (NodeSummary, Option<ReplicaTrace>, Vec<Breach>) {
        let mut counters = self.counted;
        counters += self
            .running
            .as_ref()
            .map_or_else(Counters::default, |running| *running.node.counters());
        let summary = NodeSummary {
            node: self.id,
            region,
            counters,
            is_running: self.running.is_some(),
            protocol_busy_us: self.protocol.busy_us(),
            executor_busy_us: self.executor.busy_us(),
            syncs: self.disk.syncs(),
            bytes_logged: self.disk.bytes(),
            dump: self.dump,
            divergence: self
                .running
                .as_ref()
                .and_then(|running| running.node.quarantine().cloned()),
            clock_offset_ns: self.clock.offset_ns_at(time_us),
        };
        let mut breaches = self.breaches;
        let replica = self.running.and_then(|running| {
            let state = final_state(&running.stores.state);
            if state.is_ok() {
                on_end(self.id, &running.stores.state);
            } else if !self.storage.is_rotten() {
                breaches.push(Breach {
                    time_us,
                    node: self.id,
                    rule: Rule::Storage,
                    what: "cannot read in the end what it has evaluated".to_owned(),
                });
            }
            // One that finds now that its disk has rotten would have stopped at the next read.
            Some(ReplicaTrace {
                node: self.id,
                start: self.start,
                // A batch that the executor has taken is in its versions, though the node is told of it only later.
                end: running
                    .batch
                    .as_ref()
                    .map_or(running.node.evaluated(), |batch| batch.upto),
                evaluated: self.evaluated,
                state: state.ok()?,
            })
        });
        (summary, replica, breaches)
    }
}
