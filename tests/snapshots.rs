//! Snapshots by scripts: who was away for too long, joins too late, or is interrupted while it catches up.

mod cluster;

use cluster::{Answer, Cluster, node};
use plimsoll::id::{NodeId, RequestId};
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::message::{Gone, Message};
use plimsoll::protocol::{Change, Doubt, Reply};

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N3: NodeId = NodeId::new(3);
const N4: NodeId = NodeId::new(4);

/// Nodes 10 ms apart that keep next to nothing for others.
fn forgetful(count: u32) -> Cluster {
    let profile = Profile {
        records_kept_bytes: 1_000,
        ..Profile::wan()
    };
    let mut cluster = Cluster::new(count, 10, profile);
    cluster.is_flushing = true;
    cluster.run_until_ms(500);
    cluster
}

/// This many transactions at a node, ten milliseconds apart, each of which must be settled in time.
fn write(cluster: &mut Cluster, at: NodeId, count: u64) {
    let first = 1_000_000 * u64::from(at.number()) + cluster.now_us;
    let requests: Vec<RequestId> = (0..count)
        .map(|number| {
            run_for(cluster, 10);
            cluster.submit_bytes(at, first + number, 100)
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

fn snapshots(cluster: &Cluster, id: NodeId) -> u64 {
    cluster.node(id).counters().snapshots_installed
}

#[track_caller]
fn assert_agree(cluster: &Cluster, count: usize) {
    for (id, order) in &cluster.evaluated {
        if !cluster.dead.contains(id) {
            assert_eq!(order.len(), count, "{id}");
            assert_eq!(order, &cluster.evaluated[&N1], "{id}");
        }
    }
}

/// Three nodes of which the third was away while the others wrote 40 transactions and dropped most of them.
fn away() -> Cluster {
    let mut cluster = forgetful(3);
    write(&mut cluster, N1, 2);
    cluster.crash(N3);
    write(&mut cluster, N1, 40);
    for id in [N1, N2] {
        assert!(cluster.node(id).records_bytes_kept() <= 1_000, "{id}");
        assert!(cluster.node(id).counters().bytes_dropped_for_room > 0, "{id}");
    }
    cluster
}

#[test]
fn a_member_that_was_away_for_too_long_goes_on_from_a_snapshot_and_nobody_was_refused_meanwhile() {
    let mut cluster = away();
    cluster.restart(N3);
    run_for(&mut cluster, 8_000);
    assert_eq!(snapshots(&cluster, N3), 1);
    assert_agree(&cluster, 42);
    for id in [N3, N1, N2] {
        write(&mut cluster, id, 1);
    }
    assert_agree(&cluster, 45);
}

#[test]
fn a_learner_joins_when_the_first_records_are_gone() {
    let mut cluster = forgetful(3);
    write(&mut cluster, N1, 30);
    // An epoch that has ended is forgotten with its records.
    cluster.crash(N3);
    write(&mut cluster, N2, 30);
    cluster.restart(N3);
    run_for(&mut cluster, 8_000);
    cluster.start_learner(N4);
    run_for(&mut cluster, 6_000);
    assert!(snapshots(&cluster, N4) >= 1);
    assert_agree(&cluster, 60);
    let change = cluster.change(N1, Change::Join(N4));
    run_for(&mut cluster, 4_000);
    assert!(
        matches!(cluster.answers[&change].1, Answer::Reply(Reply::Changed { .. })),
        "{:?}",
        cluster.answers[&change]
    );
    write(&mut cluster, N4, 3);
    assert_agree(&cluster, 63);
}

#[test]
fn pieces_that_are_lost_or_come_twice_or_late_only_take_time() {
    let mut cluster = away();
    cluster.restart(N3);
    for round in 0..200 {
        // Every other moment nothing gets through to the one that is behind.
        cluster.cuts.clear();
        if round % 3 == 0 {
            cluster.cuts.extend([(N1, N3), (N2, N3)]);
        }
        run_for(&mut cluster, 35);
        cluster.repeat_frames_to(N3, 20);
    }
    cluster.cuts.clear();
    run_for(&mut cluster, 8_000);
    assert!(snapshots(&cluster, N3) >= 1);
    assert_agree(&cluster, 42);
}

#[test]
fn another_member_goes_on_when_the_one_that_serves_falls_silent() {
    let mut cluster = away();
    cluster.restart(N3);
    while cluster.served.len() < 4 {
        run_for(&mut cluster, 5);
    }
    let (_, first, _) = cluster.served[3];
    assert_eq!(snapshots(&cluster, N3), 0);
    cluster.cuts.insert((first, N3));
    run_for(&mut cluster, 12_000);
    assert!(cluster.served.iter().any(|(_, by, _)| *by != first));
    assert_eq!(snapshots(&cluster, N3), 1);
    assert_agree(&cluster, 42);
}

#[test]
fn a_crash_at_any_moment_of_the_transfer_loses_nothing_but_time() {
    let mut restored = 0;
    for after_ms in (0..2_800).step_by(200) {
        let mut cluster = away();
        cluster.restore_us = 30_000;
        cluster.restart(N3);
        run_for(&mut cluster, after_ms);
        cluster.crash(N3);
        restored += usize::from(cluster.evaluated[&N3].len() > 10);
        cluster.restart(N3);
        run_for(&mut cluster, 10_000);
        assert_agree(&cluster, 42);
        write(&mut cluster, N3, 1);
        assert_agree(&cluster, 43);
        // What it holds now it serves to nobody with a hole.
        cluster.crash(N3);
        cluster.restart(N3);
        run_for(&mut cluster, 8_000);
        assert_agree(&cluster, 43);
    }
    assert!((1..14).contains(&restored), "{restored} of 14 crashes came after it");
}

#[test]
fn a_refusal_that_comes_late_changes_nothing() {
    let mut cluster = forgetful(3);
    write(&mut cluster, N1, 3);
    let through = cluster.node(N1).evaluated();
    let gone = Gone {
        epoch: cluster.node(N1).membership().epoch,
        coordinator: N1,
        through,
    };
    cluster.receive(N3, N2, vec![Message::Gone(gone)]);
    run_for(&mut cluster, 2_000);
    assert_eq!(cluster.served, []);
    write(&mut cluster, N3, 1);
    assert_agree(&cluster, 4);
}

#[test]
fn a_client_whose_transaction_a_snapshot_covers_is_told_to_ask_for_its_outcome() {
    let mut cluster = forgetful(3);
    write(&mut cluster, N1, 2);
    // The third node is heard, and hears of the others' streams nothing any more.
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    let request = cluster.submit(N3, 77);
    run_for(&mut cluster, 300);
    write(&mut cluster, N1, 40);
    cluster.cuts.clear();
    run_for(&mut cluster, 8_000);
    assert_eq!(snapshots(&cluster, N3), 1);
    let answer = &cluster.answers[&request].1;
    assert!(
        matches!(answer, Answer::Reply(Reply::Unknown(Doubt::CoveredBySnapshot { node, .. })) if *node == N3),
        "{answer:?}"
    );
    assert_agree(&cluster, 43);
}

#[test]
fn members_are_replaced_one_after_the_other_though_nothing_is_kept_for_who_joins() {
    let mut cluster = forgetful(3);
    write(&mut cluster, N1, 20);
    for (leaves, joins) in [(2, 4), (3, 5)] {
        cluster.start_learner(node(joins));
        let replace = Change::Replace {
            leaves: node(leaves),
            joins: node(joins),
        };
        let change = cluster.change(N1, replace);
        run_for(&mut cluster, 8_000);
        assert!(
            matches!(cluster.answers[&change].1, Answer::Reply(Reply::Changed { .. })),
            "{:?}",
            cluster.answers[&change]
        );
        cluster.crash(node(leaves));
        write(&mut cluster, node(joins), 20);
    }
    assert_agree(&cluster, 60);
}
