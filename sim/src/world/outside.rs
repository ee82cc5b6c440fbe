//! What all nodes and clients share: the queue, the network, what is on its way, and what was counted.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::id::{ClusterId, Epoch, NodeId, StorageId};
use plimsoll::protocol::config::Membership;
use plimsoll::protocol::frame::Frame;
use plimsoll::protocol::invariants::Watcher;
use plimsoll::protocol::message::Message;
use plimsoll::time::Hlc;

use super::crash::Crash;
use super::durability::Durability;
use super::event::Event;
use super::faults::FaultCounts;
use super::outcome::MessageCounts;
use crate::cost::{ns, us};
use crate::network::Network;
use crate::port::{ClientRequest, ClientResponse};
use crate::queue::{Queue, Slab};
use crate::random::Seed;
use crate::scenario::{Planted, Scenario};
use crate::topology::Topology;

#[cfg(test)]
pub(super) type Distort = Box<dyn Fn(usize, &mut plimsoll::protocol::Evaluated)>;

/// Everything outside the nodes.
pub(super) struct Outside {
    pub(super) topology: Topology,
    pub(super) cluster: ClusterId,
    pub(super) queue: Queue<Event>,
    pub(super) network: Network,
    pub(super) prices: Prices,
    pub(super) messages: MessageCounts,
    pub(super) packets: Slab<Packet>,
    pub(super) requests: Slab<ClientRequest>,
    /// Answers on their way, with the client.
    pub(super) responses: Slab<(usize, ClientResponse)>,
    pub(super) durability: Durability,
    /// Sees the inside of every node.
    pub(super) watcher: Watcher,
    pub(super) planted: Option<Planted>,
    /// What becomes of what is evaluated, by the node's place: replicas that err.
    #[cfg(test)]
    pub(super) distort: Option<Distort>,
    /// How often each kind of fault has happened to a machine.
    pub(super) faults: FaultCounts,
    /// Nodes that have crashed by a trigger of their own, and how much later they start again.
    pub(super) fallen: Vec<(usize, Option<u64>)>,
    /// The epochs after the first: when a node first was in it, in microseconds, and its start.
    pub(super) epochs: Vec<(u64, Hlc)>,
    /// Who has tried to end an epoch.
    pub(super) proposers: BTreeMap<Epoch, BTreeSet<NodeId>>,
    /// What has crashed, in the order of time.
    pub(super) crashes: Vec<Crash>,
    client_delay_us: u64,
    /// Buffers of packets that have arrived, to be filled again.
    buffers: Vec<Vec<u8>>,
}

/// A frame on its way, encoded.
pub(super) struct Packet {
    /// The sender, whom a real transport would have authenticated.
    pub(super) from: NodeId,
    /// The sender's storage, which a transport tells when it connects.
    pub(super) storage: StorageId,
    pub(super) bytes: Vec<u8>,
}

/// What work costs, in nanoseconds.
pub(super) struct Prices {
    pub(super) frame: u64,
    pub(super) kib: u64,
    pub(super) record: u64,
    pub(super) call: u64,
    pub(super) evaluation: u64,
    pub(super) read: u64,
}

impl Outside {
    pub(super) fn new(scenario: &Scenario, topology: Topology, genesis: &Membership, seed: Seed) -> Self {
        let cpu = &scenario.world.cpu;
        let mut cluster = seed.stream("cluster");
        let mut outside = Self {
            network: Network::new(scenario, &topology, seed),
            durability: Durability::default(),
            watcher: Watcher::new(genesis, scenario.world.invariants.resolve()),
            planted: scenario.faults.planted,
            #[cfg(test)]
            distort: None,
            topology,
            cluster: ClusterId::new(u128::from(cluster.bits()) << u64::BITS | u128::from(cluster.bits())),
            queue: Queue::default(),
            prices: Prices {
                frame: ns(cpu.frame_us),
                kib: ns(cpu.kib_us),
                record: ns(cpu.record_us),
                call: ns(cpu.call_us),
                evaluation: ns(cpu.evaluation_us),
                read: ns(cpu.read_us),
            },
            messages: MessageCounts::default(),
            packets: Slab::default(),
            requests: Slab::default(),
            responses: Slab::default(),
            faults: FaultCounts::new(),
            fallen: Vec::new(),
            epochs: Vec::new(),
            proposers: BTreeMap::new(),
            crashes: Vec::new(),
            client_delay_us: us(scenario.world.network.client_delay_ms),
            buffers: Vec::new(),
        };
        outside.begin_epoch(genesis);
        outside
    }

    /// What becomes of what was evaluated at a place where the replica errs.
    #[cfg(test)]
    pub(super) fn distorted(
        &self,
        place: usize,
        mut evaluated: plimsoll::protocol::Evaluated,
    ) -> plimsoll::protocol::Evaluated {
        if let Some(distort) = &self.distort {
            distort(place, &mut evaluated);
        }
        evaluated
    }

    /// An epoch with these members has begun.
    pub(super) fn begin_epoch(&mut self, membership: &Membership) {
        let members = membership
            .members
            .iter()
            .filter_map(|member| self.topology.node_of(*member));
        self.durability.on_epoch(membership.epoch, members);
    }

    /// Messages as the bytes of a frame.
    pub(super) fn encode(&mut self, from: NodeId, storage: StorageId, messages: Vec<Message>) -> Packet {
        for message in &messages {
            match message {
                Message::Append(append) if append.records.is_empty() => self.messages.promises += 1,
                Message::Append(append) => {
                    self.messages.appends += 1;
                    self.messages.records += append.records.len() as u64;
                }
                Message::Row(_) => self.messages.rows += 1,
                Message::Fetch(_) => self.messages.fetches += 1,
                Message::Prepare(prepare) => {
                    self.messages.succession += 1;
                    self.proposers.entry(prepare.epoch).or_default().insert(from);
                }
                Message::Promise(_)
                | Message::Accept(_)
                | Message::Accepted(_)
                | Message::Outbid(_)
                | Message::Decided(_) => self.messages.succession += 1,
                Message::Gone(_) | Message::SnapshotRequest(_) | Message::SnapshotChunk(_) | Message::Declared(_) => {}
            }
        }
        let mut bytes = self.buffers.pop().unwrap_or_default();
        Frame::encode(self.cluster, from, &messages, &mut bytes).expect("a node keeps its frames within the bound");
        Packet { from, storage, bytes }
    }

    /// The messages of a packet that has arrived; nothing where a node's transport would refuse it, which is counted.
    pub(super) fn open(&mut self, packet: &Packet) -> Option<Vec<Message>> {
        match Frame::decode(&packet.bytes) {
            Ok(frame) if frame.cluster == self.cluster && frame.from == packet.from => Some(frame.messages),
            _ => {
                self.messages.undecodable += 1;
                None
            }
        }
    }

    /// Puts a packet on its way at `at_us`.
    pub(super) fn send(&mut self, at_us: u64, from: usize, to: usize, packet: Packet) {
        let arrival = self.network.send(at_us, from, to, packet.bytes.len());
        let node = to as u16;
        for again_us in [arrival.second_us, arrival.late_us].into_iter().flatten() {
            let mut bytes = self.buffers.pop().unwrap_or_default();
            bytes.extend_from_slice(&packet.bytes);
            let slot = self.packets.insert(Packet {
                from: packet.from,
                storage: packet.storage,
                bytes,
            });
            self.queue.push(again_us, Event::Frame { node, slot });
        }
        match arrival.first_us {
            Some(first_us) => {
                let slot = self.packets.insert(packet);
                self.queue.push(first_us, Event::Frame { node, slot });
            }
            None => self.recycle(packet),
        }
    }

    /// Takes the buffer of a packet that has arrived.
    pub(super) fn recycle(&mut self, mut packet: Packet) {
        packet.bytes.clear();
        self.buffers.push(packet.bytes);
    }

    /// Puts a client's request on its way to a node.
    pub(super) fn request(&mut self, at_us: u64, node: usize, request: ClientRequest) {
        assert!(
            node < self.topology.node_count(),
            "client {} calls node {node}, and there are {}",
            request.client,
            self.topology.node_count()
        );
        let slot = self.requests.insert(request);
        let node = node as u16;
        self.queue
            .push(at_us + self.client_delay_us, Event::Request { node, slot });
    }

    /// Puts an answer on its way to a client.
    pub(super) fn respond(&mut self, at_us: u64, client: usize, response: ClientResponse) {
        let slot = self.responses.insert((client, response));
        self.queue.push(at_us + self.client_delay_us, Event::Response { slot });
    }
}
