//! I-12 to I-14: what never goes back, is complete, and is kept.

use plimsoll::id::Epoch;
use plimsoll::lattice::Row;
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::invariants::Invariant;
use plimsoll::protocol::message::Message;
use plimsoll::protocol::{Evaluated, Input};
use plimsoll::time::Hlc;

use crate::cluster::Cluster;
use crate::plant::{N1, N2, N3, decide, decree, evaluated, first, found, persist, record, row, send, warm, written};

#[test]
fn i_12_a_node_that_goes_back_is_found() {
    let mut cluster = warm(3);
    let before = cluster.node(N2).clone();
    cluster.run_until_ms(1100);
    assert!(before.watermark() < cluster.node(N2).watermark());
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&before, &[])),
        [Invariant::Monotone]
    );
    let mut lower = row(&cluster, N2, Epoch::FIRST, first(&cluster).hlc);
    let position_back = send(Message::Row(lower.clone()));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N2), &[position_back])),
        [Invariant::Monotone]
    );
    lower.positions.clear();
    assert_eq!(
        found(&cluster, |watcher| watcher
            .on_step(cluster.node(N2), &[send(Message::Row(lower.clone()))])),
        []
    );
    lower.evaluated = Hlc::ZERO;
    assert_eq!(
        found(&cluster, |watcher| watcher
            .on_step(cluster.node(N2), &[send(Message::Row(lower.clone()))])),
        [Invariant::Monotone]
    );
}

#[test]
fn i_12_a_node_that_goes_back_to_an_epoch_before_is_found() {
    let mut cluster = warm(3);
    let before = cluster.node(N2).clone();
    cluster.dead.insert(N1);
    cluster.run_until_ms(6000);
    assert!(cluster.node(N2).membership().epoch > Epoch::FIRST);
    cluster.watcher.on_step(&before, &[]);
    let found = cluster.watcher.take_violations();
    assert!(found.iter().all(|it| it.invariant == Invariant::Monotone), "{found:?}");
    assert!(found[0].what.contains("back to e1"), "{found:?}");
}

#[test]
fn i_12_a_restart_below_what_was_flushed_is_found() {
    let cluster = warm(3);
    let restarted = cluster.recovered(N2, cluster.log(N2));
    let flushed = first(&cluster).hlc;
    let found = found(&cluster, |watcher| {
        let Input::Evaluated(nothing) = evaluated(flushed, Vec::new()) else {
            unreachable!()
        };
        watcher.on_input(N2, &Input::Evaluated(Evaluated { flushed, ..nothing }));
        watcher.on_crash(N2);
        watcher.on_restart(&restarted);
    });
    assert_eq!(found, [Invariant::Monotone]);
}

#[test]
fn i_13_an_acknowledgement_without_the_history_before_is_found() {
    let mut cluster = warm(3);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    let decreed = decree(&cluster, cluster.node(N1).watermark());
    let found = |id| {
        // A position of the first moment: it says nothing but that it acknowledges.
        let said = send(Message::Row(row(&cluster, id, Epoch::new(2), Hlc::ZERO.next())));
        found(&cluster, |watcher| {
            decide(watcher, 1, &decreed);
            watcher.on_step(cluster.node(id), &[said]);
        })
    };
    assert_eq!(found(N2), []);
    assert_eq!(found(N3), [Invariant::Complete]);
}

#[test]
fn i_14_a_record_that_is_dropped_while_a_member_needs_it_is_found() {
    let mut cluster = Cluster::new(3, 40, Profile::wan());
    cluster.is_flushing = true;
    cluster.run_until_ms(1000);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    assert_eq!(cluster.evaluated[&N1].len(), 1);
    assert!(cluster.node(N1).records_bytes_kept() > 0);
    // The first node is told that the third one has flushed everything, and at its next batch it drops what that one needs.
    let mut lie = Row::new(N3, Epoch::FIRST);
    lie.flushed = cluster.node(N1).evaluated();
    let from = N3;
    let messages = vec![Message::Row(lie.clone())];
    cluster.planted = Some(Invariant::Kept);
    cluster.receive(N1, from, messages);
    cluster.submit(N1, 2);
    cluster.run_until_ms(1600);
    assert!(!cluster.violations.is_empty());
    lie.evaluated = cluster.node(N3).evaluated();
    let said = send(Message::Row(lie));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N3), &[said])),
        [Invariant::Kept],
        "it says that it has flushed what its executor has not"
    );
}

#[test]
fn a_snapshot_stands_for_everything_up_to_its_bound() {
    let mut cluster = warm(3);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    let decreed = decree(&cluster, cluster.node(N1).watermark());
    let said = send(Message::Row(row(&cluster, N3, Epoch::new(2), Hlc::ZERO.next())));
    let found = found(&cluster, |watcher| {
        watcher.on_snapshot(N3, cluster.node(N1).evaluated());
        decide(watcher, 1, &decreed);
        watcher.on_step(cluster.node(N3), &[said]);
    });
    assert_eq!(found, []);
}

#[test]
fn a_violation_says_which_invariant_and_where() {
    let cluster = warm(3);
    let mut watcher = cluster.watcher.clone();
    watcher.on_step(
        cluster.node(N2),
        &[persist(written(Epoch::FIRST, N2, record(first(&cluster).hlc, 5)))],
    );
    assert!(watcher.has_found());
    let text = watcher.take_violations()[0].to_string();
    assert!(text.starts_with("I-2 promise at n2: issues "), "{text}");
    assert!(!watcher.has_found());
}
