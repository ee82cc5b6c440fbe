//! The log of a node loses its front, and the node starts again from what is left.

mod cluster;

use cluster::{Cluster, node};
use plimsoll::id::{NodeId, RequestId};
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{Change, LogEntry};

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N3: NodeId = NodeId::new(3);

fn pruned(count: u32) -> Cluster {
    let mut cluster = Cluster::new(count, 10, Profile::wan());
    (cluster.is_flushing, cluster.is_pruning) = (true, true);
    cluster.run_until_ms(500);
    cluster
}

/// This many transactions at a node, ten milliseconds apart, each of which must be settled in time.
fn write(cluster: &mut Cluster, at: NodeId, count: u64) {
    let first = 1_000_000 * u64::from(at.number()) + cluster.now_us;
    let requests: Vec<RequestId> = (0..count)
        .map(|number| {
            run_for(cluster, 10);
            cluster.submit(at, first + number)
        })
        .collect();
    run_for(cluster, 4_000);
    for request in requests {
        cluster.settlement(request);
    }
}

fn run_for(cluster: &mut Cluster, ms: u64) {
    let until_ms = cluster.now_us / 1000 + ms;
    cluster.run_until_ms(until_ms);
}

/// How many records a log holds.
fn records(log: &[LogEntry]) -> usize {
    let records = log.iter().map(|entry| match entry {
        LogEntry::Records { records, .. } => records.len(),
        _ => 0,
    });
    records.sum()
}

#[test]
fn what_every_member_has_flushed_is_dropped_and_a_restart_needs_it_no_more() {
    let mut cluster = pruned(3);
    for round in 0..5 {
        write(&mut cluster, node(1 + round % 3), 50);
        for id in [N1, N2, N3] {
            assert!(records(cluster.log(id)) < 50, "{id}: {}", records(cluster.log(id)));
            assert!(cluster.log(id).len() < 200, "{id}: {}", cluster.log(id).len());
        }
        let restarted = node(1 + (round + 1) % 3);
        cluster.crash(restarted);
        run_for(&mut cluster, 100);
        cluster.restart(restarted);
        run_for(&mut cluster, 3_000);
    }
    assert!(
        cluster.pruned.values().all(|count| *count > 200),
        "{:?}",
        cluster.pruned
    );
    let orders: Vec<_> = [N1, N2, N3].map(|id| cluster.evaluated[&id].clone()).to_vec();
    assert_eq!(orders[0].len(), 250);
    assert!(orders.iter().all(|order| *order == orders[0]));
}

#[test]
fn a_member_is_down_and_the_others_keep_what_it_lacks() {
    let mut cluster = pruned(3);
    write(&mut cluster, N1, 20);
    cluster.crash(N3);
    write(&mut cluster, N1, 60);
    assert!(records(cluster.log(N1)) >= 60 && records(cluster.log(N2)) >= 60);
    // All that is left of the records lies in two pruned logs.
    cluster.crash(N1);
    cluster.crash(N2);
    for id in [N1, N2, N3] {
        cluster.restart(id);
    }
    run_for(&mut cluster, 4_000);
    write(&mut cluster, N2, 5);
    assert_eq!(cluster.evaluated[&N3].len(), 85);
    assert_eq!(
        cluster.node(N3).counters().snapshots_installed,
        0,
        "the records came from the logs"
    );
    assert!(records(cluster.log(N1)) < 30, "now they are gone");
}

#[test]
fn the_small_state_survives_the_entries_that_it_was_written_with() {
    let mut cluster = pruned(3);
    let change = cluster.change(N1, Change::Leave(N3));
    run_for(&mut cluster, 2_000);
    cluster.answered_at_ms(change);
    for _ in 0..3 {
        write(&mut cluster, N1, 60);
    }
    let epoch = cluster.node(N1).membership().epoch;
    let first = cluster
        .log(N1)
        .iter()
        .position(|entry| matches!(entry, LogEntry::Decree(_)));
    assert!(first.is_some_and(|place| place < 20), "it was restated: {first:?}");
    cluster.crash(N1);
    cluster.restart(N1);
    assert_eq!(cluster.node(N1).membership().epoch, epoch);
    assert_eq!(cluster.node(N1).membership().members, [N1, N2]);
    run_for(&mut cluster, 3_000);
    write(&mut cluster, N1, 5);
}
