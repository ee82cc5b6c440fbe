//! A few nodes on one desk: the production core, driven by hand, so that a test reads as a script.
//!
//! Frames take as long as the test says, syncs and evaluation too; nothing is random. What is evaluated is only noted: a
//! transaction's output is its place in the order, and that of an id which was evaluated before, the first one.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::codec;
use plimsoll::id::{ClusterId, Epoch, NodeId, RequestId, TransactionId};
use plimsoll::key::Value;
use plimsoll::lattice::Digest;
use plimsoll::protocol::config::{Membership, NodeConfig, Profile};
use plimsoll::protocol::invariants::{Invariant, Thoroughness, Violation, Watcher};
use plimsoll::protocol::message::{Message, SnapshotChunk, SnapshotRequest};
use plimsoll::protocol::node::Node;
use plimsoll::protocol::{
    Batch, Change, ChunkTaken, Effect, Evaluated, Input, LogEntry, Query, ReadMode, Recovered, Reply, SyncMark,
};
use plimsoll::replica::ReplicaLog;
use plimsoll::store::{Log, MemoryLog};
use plimsoll::time::{Hlc, Monotonic, Now, Timestamp, WallTime};
use plimsoll::transaction::{Footprint, Outcome, Record, Settlement, ThunkId, Transaction};

/// Milliseconds since the Unix epoch at which every test begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

pub(crate) fn node(number: u32) -> NodeId {
    NodeId::new(number)
}

pub(crate) fn transaction(number: u64) -> Transaction {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_be_bytes());
    Transaction {
        id: TransactionId::from_parts(START_MS, random),
        thunk: ThunkId {
            name: "test".into(),
            version: 1,
        },
        arguments: Value::default(),
        footprint: Footprint::default(),
    }
}

/// What happened at a request, and when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Reply(Reply),
    /// The snapshot at which the read was to be made.
    Read(Hlc),
}

/// What is on its way.
#[derive(Clone, Debug)]
struct Arrival {
    at_us: u64,
    to: NodeId,
    input: Input,
}

/// What a replica has evaluated up to a bound, in place of its versions.
#[derive(Clone, Debug)]
struct Checkpoint {
    bound: Hlc,
    order: Vec<Timestamp>,
}

/// Timestamps in one piece of a checkpoint.
const PIECE: usize = 3;

/// A piece of a checkpoint on its way: the bound, how many timestamps there are, the number of the first one here, and what is here.
type Piece = (Hlc, u64, u64, Vec<Timestamp>);

/// The nodes and what lies between them.
pub(crate) struct Cluster {
    pub(crate) now_us: u64,
    genesis: Membership,
    nodes: BTreeMap<NodeId, Node>,
    /// What each node has written and not synced yet, by mark.
    pub(crate) unsynced: BTreeMap<NodeId, VecDeque<(SyncMark, Vec<LogEntry>)>>,
    /// What each node's disk holds.
    logs: BTreeMap<NodeId, Vec<LogEntry>>,
    /// In the order of sending; taken by time.
    arrivals: VecDeque<Arrival>,
    /// One-way delay between two nodes, in either direction.
    delays_us: BTreeMap<(NodeId, NodeId), u64>,
    pub(crate) cuts: BTreeSet<(NodeId, NodeId)>,
    /// How long a sync takes; absent: it never ends.
    pub(crate) sync_us: BTreeMap<NodeId, Option<u64>>,
    /// How long an executor takes for a batch, if it takes any time.
    pub(crate) evaluation_us: BTreeMap<NodeId, u64>,
    /// Milliseconds by which a wall clock is off.
    pub(crate) offset_ms: BTreeMap<NodeId, i64>,
    /// A replica that computes something else.
    pub(crate) corrupt: Option<NodeId>,
    /// A replica that does not know the thunk of any record.
    pub(crate) blocked: Option<NodeId>,
    pub(crate) answers: BTreeMap<RequestId, (u64, Answer)>,
    /// What every replica evaluated, in order.
    pub(crate) evaluated: BTreeMap<NodeId, Vec<Timestamp>>,
    /// What was evaluated at each timestamp, by whomever.
    pub(crate) records: BTreeMap<Timestamp, Arc<Record>>,
    /// Where each id was evaluated first.
    firsts: BTreeMap<TransactionId, Timestamp>,
    /// Replicas keep no outcomes, and evaluate a transaction as often as it is submitted.
    pub(crate) is_forgetful: bool,
    pub(crate) quarantined: Vec<NodeId>,
    /// Who may be stopped, and since when.
    pub(crate) resigned: Vec<(NodeId, u64)>,
    pub(crate) frames: u64,
    /// They take no step any more, and what is sent to them is lost.
    pub(crate) dead: BTreeSet<NodeId>,
    /// The encoded length of the largest frame, without its envelope.
    pub(crate) frame_bytes_largest: usize,
    /// Sees to the invariants after every step; a violation that no test has planted ends the script.
    pub(crate) watcher: Watcher,
    /// A test has planted violations of this invariant.
    pub(crate) planted: Option<Invariant>,
    /// What was found of violations that a test has planted.
    pub(crate) violations: Vec<Violation>,
    /// Whether what is evaluated survives a crash, once the log entries before it do, or not at all.
    pub(crate) is_flushing: bool,
    /// Logs lose what nobody needs any more, as soon as it lies in front.
    pub(crate) is_pruning: bool,
    /// How many entries each log has lost.
    pub(crate) pruned: BTreeMap<NodeId, usize>,
    /// Up to where the versions of each node survive a crash.
    flushed: BTreeMap<NodeId, Hlc>,
    /// What each node has evaluated up to which bound while its log was being synced up to a mark.
    unflushed: BTreeMap<NodeId, VecDeque<(SyncMark, Hlc)>>,
    /// The checkpoint that each node serves.
    checkpoints: BTreeMap<NodeId, Checkpoint>,
    /// The checkpoint that each node is receiving, and how much of it is there.
    assemblies: BTreeMap<NodeId, Checkpoint>,
    /// Who was served a piece of a snapshot, by whom, and when.
    pub(crate) served: Vec<(u64, NodeId, NodeId)>,
    /// How long an executor takes to go on from a snapshot.
    pub(crate) restore_us: u64,
    profile: Profile,
    requests: u64,
}

fn config(id: NodeId, profile: &Profile) -> NodeConfig {
    NodeConfig {
        id,
        cluster: ClusterId::new(1),
        profile: profile.clone(),
        seed: 7,
    }
}

impl Cluster {
    /// Members and coordinators 1..=n with the same delay between any two.
    pub(crate) fn new(count: u32, delay_ms: u64, profile: Profile) -> Self {
        let nodes: Vec<NodeId> = (1..=count).map(node).collect();
        Self::with_membership(
            Membership::new(Epoch::FIRST, nodes.clone(), nodes).expect("a few nodes, each once"),
            delay_ms,
            profile,
        )
    }

    pub(crate) fn with_membership(membership: Membership, delay_ms: u64, profile: Profile) -> Self {
        let ids: BTreeSet<NodeId> = membership
            .members
            .iter()
            .chain(&membership.coordinators)
            .copied()
            .collect();
        let start = |id: &NodeId| (*id, Node::new(config(*id, &profile), membership.clone(), Hlc::ZERO));
        let mut cluster = Self {
            now_us: 0,
            genesis: membership.clone(),
            profile: profile.clone(),
            unsynced: BTreeMap::new(),
            logs: BTreeMap::new(),
            nodes: ids.iter().map(start).collect(),
            arrivals: VecDeque::new(),
            delays_us: BTreeMap::new(),
            cuts: BTreeSet::new(),
            sync_us: ids.iter().map(|id| (*id, Some(100))).collect(),
            evaluation_us: BTreeMap::new(),
            offset_ms: BTreeMap::new(),
            corrupt: None,
            blocked: None,
            answers: BTreeMap::new(),
            evaluated: BTreeMap::new(),
            records: BTreeMap::new(),
            firsts: BTreeMap::new(),
            is_forgetful: false,
            quarantined: Vec::new(),
            resigned: Vec::new(),
            frames: 0,
            dead: BTreeSet::new(),
            frame_bytes_largest: 0,
            watcher: Watcher::new(&membership, Thoroughness::Full),
            planted: None,
            violations: Vec::new(),
            is_flushing: false,
            is_pruning: false,
            pruned: BTreeMap::new(),
            flushed: BTreeMap::new(),
            unflushed: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            assemblies: BTreeMap::new(),
            served: Vec::new(),
            restore_us: 1_000,
            requests: 0,
        };
        for a in &ids {
            for b in &ids {
                cluster.delays_us.insert((*a, *b), delay_ms * 1000);
            }
        }
        for id in ids {
            cluster.step(id, Input::Wake);
        }
        cluster
    }

    pub(crate) fn set_delay_ms(&mut self, a: NodeId, b: NodeId, delay_ms: u64) {
        self.delays_us.insert((a, b), delay_ms * 1000);
        self.delays_us.insert((b, a), delay_ms * 1000);
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[&id]
    }

    /// What the clocks of a node say.
    pub(crate) fn now(&self, id: NodeId) -> Now {
        let wall_us = (START_MS * 1000 + self.now_us) as i64 + self.offset_ms.get(&id).unwrap_or(&0) * 1000;
        Now {
            wall: WallTime(wall_us as u64),
            monotonic: Monotonic(self.now_us),
        }
    }

    /// What a node has on its disk.
    pub(crate) fn log(&self, id: NodeId) -> &[LogEntry] {
        self.logs.get(&id).map_or(&[], Vec::as_slice)
    }

    /// Drops from the front of a node's log what it does not need.
    fn prune(&mut self, id: NodeId) {
        let (node, entries) = (&self.nodes[&id], self.logs.entry(id).or_default());
        let before = entries.len();
        let mut log = MemoryLog::default();
        for entry in entries.drain(..) {
            log.append(entry).expect("memory");
        }
        log.sync().expect("memory");
        let (mut log, _) = ReplicaLog::open(log, 1, &mut |_| {}).expect("memory");
        log.prune(node.log_floor(), node.restate()).expect("memory");
        let log = log.into_inner();
        *entries = log.read(0, usize::MAX).expect("memory");
        *self.pruned.entry(id).or_default() += before.saturating_sub(entries.len());
    }

    /// The node that would start from these entries.
    pub(crate) fn recovered(&self, id: NodeId, entries: &[LogEntry]) -> Node {
        let recovered = Recovered::from_entries(entries.iter().cloned());
        let (config, now) = (config(id, &self.profile), Monotonic(self.now_us));
        Node::recover(config, self.genesis.clone(), &recovered, self.flushed_of(id), now)
    }

    pub(crate) fn submit(&mut self, at: NodeId, number: u64) -> RequestId {
        self.submit_bytes(at, number, 0)
    }

    /// Submits a transaction with this many bytes of arguments.
    pub(crate) fn submit_bytes(&mut self, at: NodeId, number: u64, bytes: usize) -> RequestId {
        let arguments = Value::new(vec![0; bytes]);
        let transaction = Transaction {
            arguments,
            ..transaction(number)
        };
        self.submit_transaction(at, transaction)
    }

    pub(crate) fn submit_transaction(&mut self, at: NodeId, transaction: Transaction) -> RequestId {
        let request = self.next_request();
        self.step(at, Input::Submit { request, transaction });
        request
    }

    /// The node has these thunks, in any order.
    pub(crate) fn declare(&mut self, id: NodeId, thunks: &[ThunkId]) {
        let thunks: BTreeSet<ThunkId> = thunks.iter().cloned().collect();
        let thunks = thunks.into_iter().collect();
        self.step(id, Input::Declare { thunks });
    }

    pub(crate) fn read(&mut self, at: NodeId, mode: ReadMode) -> RequestId {
        let request = self.next_request();
        self.step(
            at,
            Input::Read {
                request,
                mode,
                query: Query::default(),
            },
        );
        request
    }

    /// A new node, as far from everybody as they are from each other, that knows the first members and is none of them.
    pub(crate) fn start_learner(&mut self, id: NodeId) {
        let delay_us = *self.delays_us.values().next_back().expect("some node");
        for other in self.nodes.keys() {
            self.delays_us.insert((id, *other), delay_us);
            self.delays_us.insert((*other, id), delay_us);
        }
        self.sync_us.insert(id, Some(100));
        let node = Node::new(config(id, &self.profile), self.genesis.clone(), Hlc::ZERO);
        self.nodes.insert(id, node);
        self.step(id, Input::Wake);
    }

    pub(crate) fn resign(&mut self, id: NodeId) {
        self.step(id, Input::Resign);
    }

    pub(crate) fn change(&mut self, at: NodeId, change: Change) -> RequestId {
        let request = self.next_request();
        self.step(at, Input::Change { request, change });
        request
    }

    /// The node stops: what is not on its disk is gone, its syncs and evaluations too. Frames are still on their way.
    pub(crate) fn crash(&mut self, id: NodeId) {
        self.dead.insert(id);
        self.unsynced.remove(&id);
        self.unflushed.remove(&id);
        self.checkpoints.remove(&id);
        self.assemblies.remove(&id);
        self.watcher.on_crash(id);
        let is_frame = |arrival: &Arrival| matches!(arrival.input, Input::Receive { .. });
        self.arrivals.retain(|arrival| arrival.to != id || is_frame(arrival));
    }

    /// The node starts again with what is on its disk; of its versions what was flushed, and the rest is evaluated anew.
    pub(crate) fn restart(&mut self, id: NodeId) {
        let node = self.recovered(id, self.log(id));
        self.watcher.on_restart(&node);
        self.note_violations();
        self.nodes.insert(id, node);
        let flushed = self.flushed_of(id);
        let order = self.evaluated.entry(id).or_default();
        order.retain(|timestamp| timestamp.hlc <= flushed);
        self.dead.remove(&id);
        self.step(id, Input::Wake);
    }

    pub(crate) fn receive(&mut self, to: NodeId, from: NodeId, messages: Vec<Message>) {
        self.step(to, Input::Receive { from, messages });
    }

    /// What is on its way to a node arrives once more, that much later.
    pub(crate) fn repeat_frames_to(&mut self, id: NodeId, later_ms: u64) {
        let is_frame = |arrival: &&Arrival| arrival.to == id && matches!(arrival.input, Input::Receive { .. });
        let mut again: Vec<Arrival> = self.arrivals.iter().filter(is_frame).cloned().collect();
        again.iter_mut().for_each(|arrival| arrival.at_us += later_ms * 1000);
        self.arrivals.extend(again);
    }

    /// Runs until `ms` milliseconds since the start.
    pub(crate) fn run_until_ms(&mut self, ms: u64) {
        let end_us = ms * 1000;
        loop {
            let arrival = self
                .arrivals
                .iter()
                .enumerate()
                .min_by_key(|(place, arrival)| (arrival.at_us, *place));
            let arrival = arrival.map(|(place, arrival)| (arrival.at_us, place));
            let wake = self
                .nodes
                .iter()
                .filter(|(id, _)| !self.dead.contains(id))
                .map(|(id, node)| (node.wake_at().0, *id))
                .min()
                .unwrap_or((u64::MAX, node(0)));
            let next_us = arrival.map_or(wake.0, |(at_us, _)| at_us.min(wake.0));
            if next_us > end_us {
                break;
            }
            assert!(
                next_us >= self.now_us,
                "a wake in the past: {next_us} at {}",
                self.now_us
            );
            self.now_us = next_us;
            match arrival.filter(|(at_us, _)| *at_us <= wake.0) {
                Some((_, place)) => {
                    let arrival = self.arrivals.remove(place).expect("just found");
                    self.step(arrival.to, arrival.input);
                }
                None => self.step(wake.1, Input::Wake),
            }
        }
        self.now_us = end_us;
    }

    /// The milliseconds from the start to the answer; panics where there is none.
    pub(crate) fn answered_at_ms(&self, request: RequestId) -> f64 {
        self.answers[&request].0 as f64 / 1000.0
    }

    pub(crate) fn settlement(&self, request: RequestId) -> &Settlement {
        match &self.answers[&request].1 {
            Answer::Reply(Reply::Settled(settlement)) => settlement,
            other => panic!("{request:?} was answered with {other:?}"),
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    fn step(&mut self, id: NodeId, input: Input) {
        if self.dead.contains(&id) {
            return;
        }
        if let Input::Persisted(mark) = input {
            let unsynced = self.unsynced.entry(id).or_default();
            while let Some((_, entries)) = unsynced.pop_front_if(|(unsynced, _)| *unsynced <= mark) {
                self.watcher.on_durable(id, &entries);
                self.logs.entry(id).or_default().extend(entries);
            }
            if self.is_pruning && unsynced.is_empty() {
                self.prune(id);
            }
        }
        self.watcher.on_input(id, &input);
        let now = self.now(id);
        let mut effects = Vec::new();
        let node = self.nodes.get_mut(&id).expect("a known node");
        node.step(now, input, &mut effects);
        self.watcher.on_step(node, &effects);
        self.note_violations();
        for effect in effects {
            self.carry_out(id, effect);
        }
    }

    fn note_violations(&mut self) {
        // What a corrupt or blocked replica tells the others of itself is made up.
        let is_made_up = self.corrupt.is_some() || self.blocked.is_some();
        for violation in self.watcher.take_violations() {
            let is_planted =
                self.planted == Some(violation.invariant) || is_made_up && violation.invariant == Invariant::Agreement;
            assert!(is_planted, "at {} us: {violation}", self.now_us);
            self.violations.push(violation);
        }
    }

    /// What the executor says of a batch that begins with a thunk it does not know; none where it knows them all.
    fn stop(&self, id: NodeId, batch: &Batch) -> Option<Evaluated> {
        let (first, record) = batch.records.first().filter(|_| self.blocked == Some(id))?;
        let digest = Digest {
            boundary: boundary(first.hlc),
            value: u64::MAX,
        };
        let is_corrupt = self.corrupt == Some(id);
        Some(Evaluated {
            upto: first.hlc.prev(),
            settlements: Vec::new(),
            digests: if is_corrupt { vec![digest] } else { Vec::new() },
            flushed: Hlc::ZERO,
            blocked: Some(record.transaction.thunk.clone()),
        })
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, messages } => {
                self.frames += 1;
                self.frame_bytes_largest = self.frame_bytes_largest.max(codec::encoded_len(&messages));
                if !self.cuts.contains(&(id, to)) {
                    let delay = self.delays_us[&(id, to)];
                    self.arrive(delay, to, Input::Receive { from: id, messages });
                }
            }
            Effect::Persist { mark, entries } => {
                assert!(!entries.is_empty());
                self.unsynced.entry(id).or_default().push_back((mark, entries));
                if let Some(sync_us) = self.sync_us[&id] {
                    self.arrive(sync_us, id, Input::Persisted(mark));
                }
            }
            Effect::Evaluate(batch) => {
                if let Some(stopped) = self.stop(id, &batch) {
                    return self.arrive(0, id, Input::Evaluated(stopped));
                }
                let order = self.evaluated.entry(id).or_default();
                let mut settlements = Vec::new();
                for (timestamp, record) in &batch.records {
                    assert!(
                        order.last().is_none_or(|last| last < timestamp),
                        "{timestamp} after {order:?}"
                    );
                    order.push(*timestamp);
                    let before = self.records.entry(*timestamp).or_insert_with(|| Arc::clone(record));
                    assert_eq!(before, record, "another record at {timestamp} of {id}");
                    let id = record.transaction.id;
                    // Everybody evaluates in order and leaves nothing out, so whoever is first at an id is at its first record.
                    let first = *self.firsts.entry(id).or_insert(*timestamp);
                    let effective = if self.is_forgetful { *timestamp } else { first };
                    let place = order.binary_search(&effective).expect("what is evaluated before it") + 1;
                    settlements.push(Settlement {
                        record: *timestamp,
                        id,
                        effective,
                        outcome: Outcome::Committed(Value::new(place.to_string())),
                    });
                }
                let boundary = boundary(batch.upto);
                let folded = order.iter().filter(|timestamp| timestamp.hlc <= boundary).count() as u64;
                let digest = Digest {
                    boundary,
                    value: folded + u64::from(self.corrupt == Some(id)),
                };
                if self.is_flushing {
                    self.flush(id, batch.upto);
                }
                let evaluated = Evaluated {
                    upto: batch.upto,
                    settlements,
                    digests: vec![digest],
                    flushed: self.flushed_of(id),
                    blocked: None,
                };
                let delay_us = self.evaluation_us.get(&id).copied().unwrap_or_default();
                self.arrive(delay_us, id, Input::Evaluated(evaluated));
            }
            Effect::Read { request, at, .. } => self.answer(request, Answer::Read(at)),
            Effect::Reply { request, reply } => self.answer(request, Answer::Reply(reply)),
            Effect::ServeChunk { to, epoch, request } => {
                let bytes = self.piece(id, &request);
                self.served.push((self.now_us, id, to));
                let chunk = SnapshotChunk { epoch, bytes };
                let messages = vec![Message::SnapshotChunk(chunk)];
                self.carry_out(id, Effect::Send { to, messages });
            }
            Effect::AddChunk { bytes } => {
                let taken = self.add(id, &bytes);
                self.arrive(10, id, Input::ChunkTaken(taken));
            }
            Effect::Restore { bound } => {
                // The versions survive from here on, whether the node lives to hear of it or not.
                let checkpoint = self.assemblies.remove(&id).expect("it was said to be complete");
                assert_eq!(checkpoint.bound, bound);
                self.evaluated.insert(id, checkpoint.order);
                self.flushed.insert(id, bound);
                self.unflushed.remove(&id);
                self.watcher.on_snapshot(id, bound);
                self.arrive(self.restore_us, id, Input::Restored { bound });
            }
            Effect::DiscardChunks => drop(self.assemblies.remove(&id)),
            Effect::Resigned => self.resigned.push((id, self.now_us)),
            Effect::Quarantine(_) => self.quarantined.push(id),
        }
    }

    /// The versions are flushed up to here as soon as the log entries before are.
    fn flush(&mut self, id: NodeId, upto: Hlc) {
        let unsynced = self.unsynced.get(&id);
        let last = unsynced.and_then(|unsynced| unsynced.back());
        let last = last.map_or(SyncMark(0), |(mark, _)| *mark);
        let first = unsynced.and_then(|unsynced| unsynced.front());
        let first = first.map_or(SyncMark(u64::MAX), |(mark, _)| *mark);
        let unflushed = self.unflushed.entry(id).or_default();
        unflushed.push_back((last, upto));
        while let Some((_, upto)) = unflushed.pop_front_if(|(mark, _)| *mark < first) {
            self.flushed.insert(id, upto);
        }
    }

    fn flushed_of(&self, id: NodeId) -> Hlc {
        self.flushed.get(&id).copied().unwrap_or_default()
    }

    /// A piece of the checkpoint that is asked for, or the first one of another.
    fn piece(&mut self, id: NodeId, request: &SnapshotRequest) -> Vec<u8> {
        let known = self.checkpoints.get(&id).filter(|known| known.bound > request.above);
        let is_asked_for = known.is_some_and(|known| Some(known.bound) == request.bound);
        if known.is_none() {
            let bound = self.flushed_of(id);
            let order = self.evaluated.get(&id).into_iter().flatten();
            let order = order.filter(|timestamp| timestamp.hlc <= bound).copied().collect();
            self.checkpoints.insert(id, Checkpoint { bound, order });
        }
        let Checkpoint { bound, order } = &self.checkpoints[&id];
        let first = match is_asked_for {
            true => u64::from_be_bytes(request.cursor[..].try_into().expect("as written below")),
            false => 0,
        };
        let timestamps = order.iter().skip(first as usize).take(PIECE).copied().collect();
        let piece: Piece = (*bound, order.len() as u64, first, timestamps);
        let mut bytes = Vec::new();
        codec::encode(codec::Kind::SnapshotChunk, &piece, &mut bytes).expect("small");
        bytes
    }

    fn add(&mut self, id: NodeId, bytes: &[u8]) -> ChunkTaken {
        let Ok::<Piece, _>((bound, count, first, timestamps)) = codec::decode(codec::Kind::SnapshotChunk, bytes) else {
            self.assemblies.remove(&id);
            return ChunkTaken::Refused;
        };
        let new = || Checkpoint {
            bound,
            order: Vec::new(),
        };
        let assembly = self.assemblies.entry(id).or_insert_with(new);
        if assembly.bound != bound {
            *assembly = new();
        }
        let received = assembly.order.len() as u64;
        if first > received {
            self.assemblies.remove(&id);
            return ChunkTaken::Refused;
        }
        assembly
            .order
            .extend(timestamps.iter().skip((received - first) as usize));
        let received = assembly.order.len() as u64;
        match received < count {
            true => ChunkTaken::More {
                bound,
                next: received.to_be_bytes().to_vec(),
            },
            false => ChunkTaken::Complete { bound },
        }
    }

    fn answer(&mut self, request: RequestId, answer: Answer) {
        let before = self.answers.insert(request, (self.now_us, answer));
        assert_eq!(before, None, "{request:?} was answered twice");
    }

    fn arrive(&mut self, delay_us: u64, to: NodeId, input: Input) {
        self.arrivals.push_back(Arrival {
            at_us: self.now_us + delay_us,
            to,
            input,
        });
    }
}

/// The last boundary of a digest at or below `hlc`.
fn boundary(hlc: Hlc) -> Hlc {
    Hlc::from_unix_millis(hlc.unix_millis() / 1024 * 1024)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
