//! A sound beginning, and what can be planted in it.

use std::sync::Arc;
use std::time::Duration;

use plimsoll::id::{Epoch, NodeId, RequestId};
use plimsoll::key::Value;
use plimsoll::lattice::Row;
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::decree::{Ballot, Decree};
use plimsoll::protocol::invariants::{Invariant, Thoroughness, Watcher};
use plimsoll::protocol::message::{Append, Message};
use plimsoll::protocol::{Acceptor, Effect, Evaluated, Input, LogEntry, Reply, SyncMark};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Outcome, Record, Settlement};

use crate::cluster::{Cluster, node, transaction};

pub(crate) const N1: NodeId = NodeId::new(1);
pub(crate) const N2: NodeId = NodeId::new(2);
pub(crate) const N3: NodeId = NodeId::new(3);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Nodes 40 ms apart that have been active for a while; the first one has issued a transaction, and it is evaluated everywhere.
pub(crate) fn warm(count: u32) -> Cluster {
    warm_watched(count, Thoroughness::Full)
}

fn warm_watched(count: u32, thoroughness: Thoroughness) -> Cluster {
    let mut cluster = Cluster::new(count, 40, Profile::wan());
    cluster.watcher = Watcher::new(cluster.node(N1).membership(), thoroughness);
    cluster.run_until_ms(500);
    cluster.submit(N1, 0);
    cluster.run_until_ms(1000);
    cluster
}

/// The same, and the first node has issued another transaction: it is on its own disk and not on that of the second one, and the third one
/// has not heard of it.
pub(crate) fn underway() -> (Cluster, Arc<Record>) {
    underway_watched(Thoroughness::Full)
}

pub(crate) fn underway_watched(thoroughness: Thoroughness) -> (Cluster, Arc<Record>) {
    let mut cluster = warm_watched(3, thoroughness);
    cluster.sync_us.insert(N2, None);
    cluster.cuts.insert((N1, N3));
    cluster.submit(N1, 1);
    cluster.run_until_ms(1050);
    let record = last_record(&cluster);
    (cluster, record)
}

/// The last record on the disk of the first node.
pub(crate) fn last_record(cluster: &Cluster) -> Arc<Record> {
    let mut records = cluster.log(N1).iter().filter_map(|entry| match entry {
        LogEntry::Records { records, .. } => records.last(),
        _ => None,
    });
    records
        .next_back()
        .expect("the first node has issued something")
        .clone()
}

pub(crate) fn record(hlc: Hlc, number: u64) -> Arc<Record> {
    let transaction = transaction(number);
    Arc::new(Record { hlc, transaction })
}

/// The invariants that an observer who has seen a sound beginning finds broken when it is told more.
#[track_caller]
pub(crate) fn found(cluster: &Cluster, plant: impl FnOnce(&mut Watcher)) -> Vec<Invariant> {
    let mut watcher = cluster.watcher.clone();
    plant(&mut watcher);
    let found = watcher.take_violations().into_iter();
    let mut found: Vec<Invariant> = found.map(|violation| violation.invariant).collect();
    found.dedup();
    found
}

pub(crate) fn written(epoch: Epoch, coordinator: NodeId, record: Arc<Record>) -> LogEntry {
    LogEntry::Records {
        epoch,
        coordinator,
        records: vec![record],
    }
}

pub(crate) fn persist(entry: LogEntry) -> Effect {
    Effect::Persist {
        mark: SyncMark(u64::MAX),
        entries: vec![entry],
    }
}

pub(crate) fn send(message: Message) -> Effect {
    Effect::Send {
        to: node(99),
        messages: vec![message],
    }
}

pub(crate) fn append(coordinator: NodeId, prev: Hlc, upto: Hlc) -> Message {
    Message::Append(Append {
        epoch: Epoch::FIRST,
        coordinator,
        prev,
        upto,
        records: Vec::new(),
    })
}

/// What `id` would say of itself if it held the stream of the first node up to `position`.
pub(crate) fn row(cluster: &Cluster, id: NodeId, epoch: Epoch, position: Hlc) -> Row {
    let mut row = Row::new(id, epoch);
    row.raise_position(N1, position);
    row.evaluated = cluster.node(id).evaluated();
    row
}

/// The end of the first epoch with this cut in every stream, starting well above everything.
pub(crate) fn decree(cluster: &Cluster, cut: Hlc) -> Decree {
    let nodes = cluster.node(N1).membership().members.clone();
    Decree {
        epoch: Epoch::new(2),
        cut: nodes.iter().map(|coordinator| (*coordinator, cut)).collect(),
        start: cluster.node(N1).watermark().plus(5 * SECOND),
        members: nodes.clone(),
        coordinators: nodes,
    }
}

pub(crate) fn vote(round: u64, decree: Option<&Decree>) -> LogEntry {
    let ballot = Ballot { round, proposer: N1 };
    LogEntry::Vote {
        epoch: Epoch::FIRST,
        acceptor: Acceptor {
            promised: ballot,
            accepted: decree.map(|decree| (ballot, decree.clone())),
        },
    }
}

/// The disks of a majority hold votes for a decree.
pub(crate) fn decide(watcher: &mut Watcher, round: u64, decree: &Decree) {
    for id in [N1, N2] {
        watcher.on_durable(id, &[vote(round, Some(decree))]);
    }
}

pub(crate) fn settlement(record: Timestamp, effective: Timestamp, number: u64, output: &str) -> Settlement {
    Settlement {
        record,
        id: transaction(number).id,
        effective,
        outcome: Outcome::Committed(Value::new(output)),
    }
}

pub(crate) fn settled(settlement: Settlement) -> Effect {
    Effect::Reply {
        request: RequestId(1),
        reply: Reply::Settled(settlement),
    }
}

pub(crate) fn evaluated(upto: Hlc, settlements: Vec<Settlement>) -> Input {
    Input::Evaluated(Evaluated {
        upto,
        settlements,
        digests: Vec::new(),
        flushed: Hlc::ZERO,
        blocked: None,
    })
}

/// The transaction that a warm cluster has evaluated.
pub(crate) fn first(cluster: &Cluster) -> Timestamp {
    cluster.evaluated[&N1][0]
}
