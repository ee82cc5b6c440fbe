//! The world: takes events in the order of time and drives the production core, the clients and all between them.
//!
//! A run has a load phase, in which clients send, and a drain, in which everything must be answered and every replica must
//! come to one bound; a run that does not get there within its limit has shown that the cluster does not live. One thread,
//! virtual time, one seed: the same scenario, seed and code give the same trace hash in every process.
//!
//! It judges nothing but what it must see with its own eyes (a request answered twice, a bound that goes back): judging is
//! the checkers' part. Syncs, wakes and evaluations on their way to a node carry the incarnation that they were meant for; frames do not.

mod crash;
mod durability;
mod event;
mod faults;
mod host;
mod outcome;
mod outside;
mod planted;
mod storage;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use plimsoll::id::{Epoch, NodeId, StorageId};
use plimsoll::protocol::Input;
use plimsoll::protocol::config::{Membership, NodeConfig};
use plimsoll::replica::DiskState;
use plimsoll::thunk::Registry;
use plimsoll::time::Hlc;
use xxhash_rust::xxh3::xxh3_64;

pub use crash::Crash;
pub use event::{EventKind, TraceEntry};
pub use outcome::{
    Breach, DISK_SAMPLE_US, DiskSample, Ending, MessageCounts, NodeSummary, Progress, Rule, Run, SAMPLE_US,
};

use event::{Event, Trace, content_of};
use faults::{Fault, Trigger};
use host::Host;
use outside::Outside;
use storage::Storage;

use crate::check::WatermarkSample;
use crate::clock::Clock;
use crate::cost::{Disk, us};
use crate::port::{Action, ClientResponse, Clients, ResponseBody};
use crate::random::Seed;
use crate::scenario::{Problem, Scenario, SlowPart};

/// Events between two reports of progress.
const PROGRESS_EVENTS: u64 = 1 << 16;

/// So many events at one moment mean that somebody goes round in circles.
const EVENTS_AT_ONE_MOMENT_MAX: u64 = 10_000_000;

/// A cluster with its clients, from the first event to the last.
pub struct World<C> {
    hosts: Vec<Host>,
    outside: Outside,
    clients: C,
    actions: Vec<Action>,
    trace: Trace,
    watermarks: Vec<WatermarkSample>,
    disks: Vec<DiskSample>,
    answers: u64,
    /// What will go wrong with machines, and when, in microseconds.
    plan: Vec<(u64, Fault)>,
    /// Code that is to be installed, by its number in the plan.
    registries: Vec<Arc<Registry>>,
    /// How many members the first epoch has.
    members: usize,
    load_us: u64,
    limit_us: u64,
    phase: Phase,
}

/// Where the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Clients send.
    Load,
    /// Clients finish what is open.
    Finish,
    /// Everything is answered; every replica must reach this bound.
    Settle(Hlc),
    /// Every replica has reached it.
    Settled(Hlc),
}

impl<C: Clients> World<C> {
    /// The world of a scenario, at its first moment.
    ///
    /// *Given* the thunks that every node knows.
    ///
    /// *Errors* with everything that keeps the scenario from being run.
    pub fn new(scenario: &Scenario, seed: Seed, clients: C, registry: &Arc<Registry>) -> Result<Self, Vec<Problem>> {
        let topology = scenario.check()?;
        let is_spare = |node: &usize| scenario.world.node.get(*node).is_some_and(|node| node.is_spare);
        let first = (0..topology.node_count()).filter(|node| !is_spare(node));
        let first: Vec<_> = first.map(|node| topology.id_of(node)).collect();
        let membership = Membership::new(Epoch::FIRST, first.clone(), first)
            .expect("a checked scenario has 1 to the most nodes, each once");
        let outside = Outside::new(scenario, topology, &membership, seed);
        let topology = &outside.topology;
        let mut clocks = seed.stream("clock");
        let mut seeds = seed.stream("node.seed");
        let start = |place: usize| {
            let config = NodeConfig {
                id: topology.id_of(place),
                cluster: outside.cluster,
                profile: scenario.world.profile.resolve(),
                seed: seeds.bits(),
            };
            let id = StorageId::new(u128::from(config.seed));
            let storage = Storage::new(config.id, config.cluster, id, Arc::clone(registry), seed);
            Host::new(
                place,
                config,
                membership.clone(),
                Clock::new(&scenario.world.clock, &mut clocks),
                Disk::new(&scenario.world.disk),
                storage,
            )
        };
        let hosts = (0..topology.node_count()).map(start).collect();
        let plan = faults::plan(scenario, topology);
        let load_us = us(scenario.world.load_s * 1e3);
        Ok(Self {
            hosts,
            outside,
            clients,
            actions: Vec::new(),
            trace: Trace::new(),
            watermarks: Vec::new(),
            disks: Vec::new(),
            answers: 0,
            plan,
            registries: Vec::new(),
            members: membership.members.len(),
            load_us,
            limit_us: load_us + us(scenario.world.drain_s * 1e3),
            phase: Phase::Load,
        })
    }

    /// Other code is put on a machine at that moment, in seconds since the start: its node has these thunks, and no others, from its next start
    /// on. A step of a rolling upgrade, together with a crash of the scenario that starts the node again.
    ///
    /// *Panics* where there is no such node.
    pub fn install(&mut self, at_s: f64, node: usize, registry: Arc<Registry>) {
        assert!(node < self.hosts.len(), "node {node} of {}", self.hosts.len());
        let number = self.registries.len();
        self.registries.push(registry);
        let install = Fault::Install { node, registry: number };
        let at_us = us(at_s * 1e3);
        // In front of what happens at the same moment: the node that starts then has it.
        let place = self.plan.partition_point(|(planned_us, _)| *planned_us < at_us);
        self.plan.insert(place, (at_us, install));
    }

    /// Runs to the end, and gives what happened, and the clients with what they saw.
    ///
    /// *Given* someone to tell how far it has come, now and then, and someone to look at each replica in the end.
    ///
    /// *Panics* when time stands still because a node or a client asks for ever new events at one moment.
    pub fn run(
        mut self,
        on_progress: &mut dyn FnMut(Progress),
        on_end: &mut dyn FnMut(NodeId, &DiskState),
    ) -> (Run, C) {
        for host in &mut self.hosts {
            host.start(0, &mut self.outside);
        }
        self.outside.queue.push(SAMPLE_US, Event::Sample);
        for (number, (at_us, _)) in self.plan.iter().enumerate() {
            let number = number as u32;
            self.outside.queue.push(*at_us, Event::Fault { number });
        }
        self.clients.start(&mut self.actions);
        self.act(0);
        let mut last_us = 0;
        let mut events_at_this_moment = 0;
        while let Some((time_us, event)) = self.outside.queue.pop() {
            if self.phase == Phase::Load && time_us >= self.load_us {
                self.clients.stop();
                self.phase = Phase::Finish;
                self.look_for_the_end();
            }
            if matches!(self.phase, Phase::Settled(_)) || time_us >= self.limit_us {
                break;
            }
            events_at_this_moment = if time_us == last_us {
                events_at_this_moment + 1
            } else {
                0
            };
            assert!(
                events_at_this_moment < EVENTS_AT_ONE_MOMENT_MAX,
                "virtual time stands still at {time_us} us: the last event was {event:?}"
            );
            last_us = time_us;
            self.on_event(time_us, event);
            if !self.outside.fallen.is_empty() {
                self.pick_up(time_us);
            }
            if self.trace.total().is_multiple_of(PROGRESS_EVENTS) {
                on_progress(self.progress(time_us));
            }
        }
        on_progress(self.progress(last_us));
        self.finish(last_us, on_end)
    }

    fn progress(&self, time_us: u64) -> Progress {
        Progress {
            time_us,
            load_us: self.load_us,
            events: self.trace.total(),
            answers: self.answers,
        }
    }

    fn on_event(&mut self, time_us: u64, event: Event) {
        match event {
            Event::Frame { node, slot } => self.on_frame(time_us, node, slot),
            Event::Wake { node, incarnation } => {
                let host = &mut self.hosts[usize::from(node)];
                if host.is_current(incarnation) && host.on_wake(time_us, &mut self.outside) {
                    self.note(time_us, EventKind::Wake, node.into(), 0);
                }
            }
            Event::Synced { node, incarnation } => {
                let host = &mut self.hosts[usize::from(node)];
                if host.is_current(incarnation) {
                    let mark = host.on_synced(time_us, &mut self.outside);
                    self.note(time_us, EventKind::Synced, node.into(), mark);
                }
            }
            Event::Evaluated { node, incarnation } => {
                let host = &mut self.hosts[usize::from(node)];
                if host.is_current(incarnation) {
                    let content = host.on_evaluated(time_us, &mut self.outside);
                    self.note(time_us, EventKind::Evaluated, node.into(), content);
                    self.look_for_the_end();
                }
            }
            Event::Snapshot { node, incarnation } => {
                let host = &mut self.hosts[usize::from(node)];
                if host.is_current(incarnation) {
                    let content = host.on_snapshot(time_us, &mut self.outside);
                    self.note(time_us, EventKind::Snapshot, node.into(), content);
                    self.look_for_the_end();
                }
            }
            Event::Flushed { node, incarnation } => {
                let host = &mut self.hosts[usize::from(node)];
                if host.is_current(incarnation) {
                    host.on_flushed(time_us, &mut self.outside);
                    self.note(time_us, EventKind::Flushed, node.into(), 0);
                }
            }
            Event::ClientWake { client } => {
                self.note(time_us, EventKind::ClientWake, client, 0);
                self.clients.on_wake(time_us, client as usize, &mut self.actions);
                self.act(time_us);
                self.look_for_the_end();
            }
            Event::Request { node, slot } => {
                let request = self.outside.requests.take(slot);
                self.note(time_us, EventKind::Request, node.into(), request.call);
                self.hosts[usize::from(node)].on_request(time_us, request, &mut self.outside);
            }
            Event::Response { slot } => {
                let (client, response) = self.outside.responses.take(slot);
                let content = content_of_response(&response);
                self.note(time_us, EventKind::Response, client as u32, content);
                self.answers += 1;
                self.clients.on_response(time_us, client, response, &mut self.actions);
                self.act(time_us);
                self.look_for_the_end();
            }
            Event::Fault { number } => {
                self.note(time_us, EventKind::Fault, number, 0);
                self.on_fault(time_us, self.plan[number as usize].1);
            }
            Event::Sample => {
                self.note(time_us, EventKind::Sample, 0, 0);
                let samples = self.hosts.iter().filter_map(|host| host.sample(time_us));
                self.watermarks.extend(samples);
                if time_us.is_multiple_of(DISK_SAMPLE_US) {
                    let samples = self.hosts.iter().filter_map(|host| host.sample_disk(time_us));
                    self.disks.extend(samples);
                }
                self.outside.queue.push(time_us + SAMPLE_US, Event::Sample);
            }
        }
    }

    fn on_fault(&mut self, time_us: u64, fault: Fault) {
        const CLOCK_LIMIT_NS: u64 = 500_000_000;
        let count = |outside: &mut Outside, kind| *outside.faults.entry(kind).or_default() += 1;
        let outside = &mut self.outside;
        match fault {
            Fault::Crash {
                node,
                trigger: Trigger::Now,
                restart_after_us,
            } => {
                if self.hosts[node].crash(time_us, outside) {
                    count(outside, Trigger::Now.name());
                    outside.fallen.push((node, restart_after_us));
                }
            }
            Fault::Crash {
                node,
                trigger,
                restart_after_us,
            } => {
                self.hosts[node].arm(trigger, restart_after_us);
                if trigger == Trigger::Resigned {
                    self.hosts[node].resign(time_us, outside);
                }
            }
            Fault::Restart { node } => {
                if self.hosts[node].restart(time_us, outside) {
                    count(outside, "restart");
                }
            }
            Fault::LoseDisk { node } => {
                if self.hosts[node].lose_disk() {
                    count(outside, "lose-disk");
                }
            }
            Fault::Disk { node, fault } => self.hosts[node].befall(fault),
            Fault::Room { node } => self.hosts[node].make_room(),
            Fault::Pause { node, for_us } => {
                if self.hosts[node].pause(time_us + for_us) {
                    count(outside, "pause");
                }
            }
            Fault::Slow { node, part, factor } => {
                self.hosts[node].slow(part, factor);
                if factor > 1.0 {
                    let is_disk = part == SlowPart::Disk;
                    count(outside, if is_disk { "slow-disk" } else { "slow-cpu" });
                }
            }
            Fault::ClockStep { node, by_ns } => {
                let off_ns = self.hosts[node].set_clock(time_us, by_ns);
                let is_beyond = off_ns.unsigned_abs() > CLOCK_LIMIT_NS;
                count(outside, if is_beyond { "clock-beyond-limit" } else { "clock-step" });
            }
            Fault::Install { node, registry } => {
                self.hosts[node].install(Arc::clone(&self.registries[registry]));
                count(outside, "install");
            }
            Fault::Change { node, change } => {
                if self.hosts[node].change(time_us, change, outside) {
                    count(outside, "membership-change-asked");
                }
            }
        }
        let up = self.hosts.iter().filter(|host| host.is_up(time_us)).count();
        if 2 * up <= self.members {
            count(&mut self.outside, "majority-gone");
        }
        self.look_for_the_end();
    }

    /// Nodes that have crashed by a trigger of their own start again when they should.
    fn pick_up(&mut self, time_us: u64) {
        let others: Vec<Hlc> = self.hosts.iter().filter_map(Host::evaluated).collect();
        let fallen = self.outside.crashes.iter_mut();
        for crash in fallen.rev().take_while(|crash| crash.others_evaluated.is_empty()) {
            crash.others_evaluated.clone_from(&others);
        }
        for (node, restart_after_us) in std::mem::take(&mut self.outside.fallen) {
            if let Some(after_us) = restart_after_us {
                let number = self.plan.len() as u32;
                let at_us = time_us + after_us;
                self.plan.push((at_us, Fault::Restart { node }));
                self.outside.queue.push(at_us, Event::Fault { number });
            }
        }
    }

    fn on_frame(&mut self, time_us: u64, node: u16, slot: u32) {
        let packet = self.outside.packets.take(slot);
        self.note(time_us, EventKind::Frame, node.into(), xxh3_64(&packet.bytes));
        let host = &mut self.hosts[usize::from(node)];
        if !host.is_running() {
            self.outside.messages.unreceived += 1;
        } else if !host.meets(&packet) {
            self.outside.messages.foreign += 1;
        } else if let Some(messages) = self.outside.open(&packet) {
            let from = packet.from;
            let input = Input::Receive { from, messages };
            host.on_frame(time_us, packet.bytes.len(), input, &mut self.outside);
        }
        self.outside.recycle(packet);
    }

    fn note(&mut self, time_us: u64, kind: EventKind, place: u32, content: u64) {
        self.trace.add(TraceEntry {
            time_us,
            kind,
            place,
            content,
        });
    }

    /// Carries out what the clients want.
    fn act(&mut self, now_us: u64) {
        for action in self.actions.drain(..) {
            match action {
                Action::Send { node, request } => self.outside.request(now_us, node, request),
                Action::WakeAt { client, time_us } => {
                    let client = u32::try_from(client).expect("fewer than 2^32 clients");
                    self.outside
                        .queue
                        .push(time_us.max(now_us), Event::ClientWake { client });
                }
            }
        }
    }

    /// The machines of the last epoch's members: who has left, or not joined yet, or lost its disk, is not waited for.
    fn members(&self) -> impl Iterator<Item = &Host> {
        let sound = self.hosts.iter().filter(|host| !host.has_lost_disk());
        let memberships = sound.filter_map(Host::membership);
        let last = memberships.max_by_key(|membership| membership.epoch);
        let is_member = move |host: &&Host| !host.has_lost_disk() && last.is_some_and(|last| last.is_member(host.id()));
        self.hosts.iter().filter(is_member)
    }

    /// Moves on towards the end when the clients are done, or the replicas are.
    fn look_for_the_end(&mut self) {
        if self.phase == Phase::Load {
            return;
        }
        let bounds: Vec<Hlc> = self.members().filter_map(Host::evaluated).collect();
        if self.phase == Phase::Finish && self.clients.is_idle() {
            self.phase = Phase::Settle(bounds.iter().copied().max().unwrap_or_default());
        }
        if let Phase::Settle(bound) = self.phase
            && bounds.iter().all(|evaluated| *evaluated >= bound)
            && !self.hosts.iter().any(Host::is_changing)
        {
            self.phase = Phase::Settled(bound);
        }
    }

    fn finish(mut self, time_us: u64, on_end: &mut dyn FnMut(NodeId, &DiskState)) -> (Run, C) {
        let ending = match self.phase {
            Phase::Settled(bound) => Ending::Settled { at_us: time_us, bound },
            _ => Ending::OutOfTime {
                awaited: self.awaited(),
            },
        };
        let mut nodes = Vec::new();
        let mut replicas = Vec::new();
        let mut breaches = Vec::new();
        for (place, host) in self.hosts.into_iter().enumerate() {
            for (kind, times) in host.disk_faults() {
                *self.outside.faults.entry(kind).or_default() += times;
            }
            let region = self.outside.topology.region_of(place);
            let (summary, replica, broken) = host.finish(time_us, region, on_end);
            nodes.push(summary);
            replicas.extend(replica);
            breaches.extend(broken);
        }
        breaches.sort_by_key(|breach| breach.time_us);
        let run = Run {
            trace_hash: self.trace.hash(),
            events: self.trace.total(),
            event_counts: self.trace.counts().to_vec(),
            network: self.outside.network.counts(),
            cut_frames: self.outside.network.cut_frames().to_vec(),
            faults: self.outside.faults,
            epochs: self.outside.epochs,
            proposers: self.outside.proposers,
            crashes: self.outside.crashes,
            messages: self.outside.messages,
            nodes,
            watermarks: self.watermarks,
            disks: self.disks,
            replicas,
            ending,
            breaches,
            last_events: self.trace.last(),
        };
        (run, self.clients)
    }

    /// What a run that has not come to its end was waiting for.
    fn awaited(&self) -> Vec<String> {
        let mut awaited = Vec::new();
        if !self.clients.is_idle() {
            awaited.push("clients still wait for answers".to_owned());
        }
        for host in self.hosts.iter().filter(|host| host.is_changing()) {
            let name = self.outside.topology.name_of(host.place());
            awaited.push(format!("{name} has not said what became of a change of the members"));
        }
        let ahead = self.members().filter_map(Host::evaluated).max().unwrap_or_default();
        for host in self.members() {
            let name = self.outside.topology.name_of(host.place());
            match host.evaluated() {
                Some(evaluated) if evaluated < ahead => awaited.push(format!(
                    "{name} has evaluated to {evaluated}, {} ms behind the furthest",
                    ahead.unix_millis() - evaluated.unix_millis()
                )),
                Some(_) => {}
                None => awaited.push(format!("{name} is not running")),
            }
        }
        awaited
    }
}

fn content_of_response(response: &ClientResponse) -> u64 {
    match &response.body {
        ResponseBody::Settled(settlement) => content_of(&(response.call, settlement)),
        ResponseBody::Rows { at, answer } => {
            let keys = answer.keys.iter().flatten();
            let entries = answer.ranges.iter().flatten().map(|(_, versioned)| versioned);
            let versions = keys.chain(entries).fold(0, |folded: u64, versioned| {
                content_of(&(folded, versioned.timestamp, &versioned.value))
            });
            content_of(&(response.call, at, versions))
        }
        ResponseBody::Status(status) => content_of(&(response.call, "status", status)),
        ResponseBody::Refused(why) => content_of(&(response.call, "refused", why)),
        ResponseBody::Unknown(why) => content_of(&(response.call, "unknown", why)),
    }
}
