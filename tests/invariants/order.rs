//! I-7 to I-11: the one order, its outcomes and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::id::{Epoch, NodeId, RequestId};
use plimsoll::lattice::{Digest, Row};
use plimsoll::protocol::invariants::{Invariant, Watcher};
use plimsoll::protocol::message::Message;
use plimsoll::protocol::node::Node;
use plimsoll::protocol::{Batch, Effect, Evaluated, Input, LogEntry, Query, ReadMode};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Record;

use crate::cluster::START_MS;
use crate::plant::{
    N1, N2, N3, SECOND, append, evaluated, first, found, last_record, persist, record, settled, settlement, underway,
    warm, written,
};

#[test]
fn i_7_a_replica_that_evaluates_other_transactions_is_found() {
    let mut cluster = warm(3);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    let issued = last_record(&cluster);
    assert!(cluster.node(N1).evaluated() > issued.hlc);
    // The third node has not evaluated what has become final meanwhile, for it has not got it.
    let late = cluster.node(N3);
    let found = |records: &[&Arc<Record>], upto| {
        let stamped = |record: &&Arc<Record>| {
            let hlc = record.hlc;
            (Timestamp { hlc, node: N1 }, Arc::clone(record))
        };
        let records = records.iter().map(stamped).collect();
        let effect = Effect::Evaluate(Batch { records, upto });
        found(&cluster, |watcher| watcher.on_step(late, &[effect]))
    };
    let other = record(issued.hlc, 9);
    let never_issued = record(issued.hlc.next(), 9);
    assert_eq!(found(&[&issued], issued.hlc), []);
    assert_eq!(found(&[], issued.hlc), [Invariant::Agreement], "it leaves one out");
    assert_eq!(found(&[&other], issued.hlc), [Invariant::Agreement]);
    assert_eq!(
        found(&[&issued, &never_issued], never_issued.hlc),
        [Invariant::Agreement]
    );
}

#[test]
fn i_7_a_replica_with_another_outcome_or_digest_is_found() {
    let mut cluster = warm(3);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    let issued = cluster.evaluated[&N1][1];
    let late = cluster.node(N3);
    let batch = || {
        Effect::Evaluate(Batch {
            records: vec![(issued, last_record(&cluster))],
            upto: issued.hlc,
        })
    };
    let found = |input: Input| {
        found(&cluster, |watcher| {
            watcher.on_step(late, &[batch()]);
            watcher.on_input(N3, &input);
        })
    };
    let right = settlement(issued, issued, 1, "2");
    assert_eq!(found(evaluated(issued.hlc, vec![right.clone()])), []);
    let other_outcome = settlement(issued, issued, 1, "3");
    assert_eq!(
        found(evaluated(issued.hlc, vec![other_outcome])),
        [Invariant::Agreement]
    );
    let other_transaction = settlement(issued, issued, 2, "2");
    assert_eq!(
        found(evaluated(issued.hlc, vec![other_transaction])),
        [Invariant::Agreement]
    );
    assert_eq!(
        found(evaluated(issued.hlc, vec![])),
        [Invariant::Agreement],
        "it leaves one out"
    );
    let more = evaluated(issued.hlc, vec![right.clone(), right.clone()]);
    assert_eq!(found(more), [Invariant::Agreement], "it makes one up");
    let boundary = Hlc::from_unix_millis(START_MS / 1024 * 1024);
    let digests = vec![Digest { boundary, value: 77 }];
    let Input::Evaluated(right) = evaluated(issued.hlc, vec![right]) else {
        unreachable!()
    };
    assert_eq!(
        found(Input::Evaluated(Evaluated { digests, ..right })),
        [Invariant::Agreement]
    );
}

#[test]
fn i_7_a_bound_that_is_reached_without_a_transaction_below_it_is_found() {
    let mut cluster = warm(3);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    // The executor of the third node says that it is done with a batch that it was never given.
    let mut deceived = cluster.node(N3).clone();
    let watermark = cluster.node(N1).watermark();
    let stream = |coordinator| append(coordinator, Hlc::ZERO, watermark);
    let mut claims = Row::new(N1, Epoch::FIRST);
    let mut other_claims = Row::new(N2, Epoch::FIRST);
    for coordinator in [N1, N2, N3] {
        claims.raise_position(coordinator, watermark);
        other_claims.raise_position(coordinator, watermark);
    }
    let messages = vec![stream(N1), stream(N2), Message::Row(claims), Message::Row(other_claims)];
    let mut effects = Vec::new();
    deceived.step(cluster.now(N3), Input::Receive { from: N1, messages }, &mut effects);
    effects.retain(|effect| matches!(effect, Effect::Evaluate(_)));
    let found = found(&cluster, |watcher| watcher.on_step(&deceived, &effects));
    assert!(found.contains(&Invariant::Agreement), "{found:?}");
}

#[test]
fn i_8_an_answer_that_rests_on_nothing_is_found() {
    let (cluster, issued) = underway();
    let first = first(&cluster);
    let reply = |settlement| {
        found(&cluster, |watcher| {
            watcher.on_step(cluster.node(N1), &[settled(settlement)])
        })
    };
    assert_eq!(reply(settlement(first, first, 0, "1")), []);
    let timestamp = Timestamp {
        hlc: issued.hlc,
        node: N1,
    };
    assert_eq!(
        reply(settlement(timestamp, timestamp, 1, "2")),
        [Invariant::Durability],
        "not final"
    );
    assert_eq!(reply(settlement(first, timestamp, 0, "1")), [Invariant::Durability]);
    assert_eq!(
        reply(settlement(first, first, 0, "5")),
        [Invariant::Durability],
        "another outcome"
    );
    assert_eq!(
        reply(settlement(first, first, 1, "1")),
        [Invariant::Durability],
        "another transaction"
    );
}

#[test]
fn i_8_an_answer_before_the_own_evaluation_is_found() {
    let mut cluster = warm(3);
    cluster.cuts.extend([(N1, N3), (N2, N3)]);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    let issued = cluster.evaluated[&N1][1];
    let right = settlement(issued, issued, 1, "2");
    let found = |id| {
        found(&cluster, |watcher| {
            watcher.on_step(cluster.node(id), &[settled(right.clone())])
        })
    };
    assert_eq!(found(N1), []);
    assert_eq!(found(N3), [Invariant::Durability]);
}

#[test]
fn i_8_disks_that_forget_what_was_synced_are_found() {
    let cluster = warm(3);
    let mut log = cluster.log(N2).to_vec();
    log.retain(|entry| !matches!(entry, LogEntry::Records { .. } | LogEntry::Held { .. }));
    let restarted = cluster.recovered(N2, &log);
    let lost = found(&cluster, |watcher| {
        watcher.on_crash(N2);
        watcher.on_restart(&restarted);
    });
    assert_eq!(lost, [Invariant::Durability]);
    // Two disks forget it, and then somebody is told that it is safe.
    let first = first(&cluster);
    let restarted = [N2, N3].map(|id| cluster.recovered(id, &log));
    let answered = found(&cluster, |watcher| {
        for restarted in &restarted {
            watcher.on_crash(restarted.id());
            watcher.on_restart(restarted);
        }
        watcher.take_violations();
        watcher.on_step(cluster.node(N1), &[settled(settlement(first, first, 0, "1"))]);
    });
    assert_eq!(answered, [Invariant::Durability]);
    let (cluster, issued) = underway();
    let hole = |watcher: &mut Watcher| {
        watcher.on_step(
            cluster.node(N1),
            &[persist(written(Epoch::FIRST, N1, record(issued.hlc.plus(SECOND), 6)))],
        );
        watcher.on_durable(N2, &[written(Epoch::FIRST, N1, record(issued.hlc.plus(SECOND), 6))]);
    };
    assert_eq!(found(&cluster, hole), [Invariant::Durability], "a hole in the log");
}

#[test]
fn i_9_a_transaction_below_one_that_was_answered_before_it_is_found() {
    let mut cluster = warm(3);
    let first = first(&cluster);
    let ahead = Timestamp {
        hlc: first.hlc.plus(60 * SECOND),
        node: N1,
    };
    let early = settled(settlement(first, ahead, 0, "1"));
    let n1 = cluster.node(N1).clone();
    cluster.watcher.on_step(&n1, &[early]);
    cluster.watcher.take_violations();
    cluster.planted = Some(Invariant::RealTime);
    cluster.submit(N2, 1);
    cluster.run_until_ms(1300);
    assert_eq!(cluster.violations.len(), 1, "{:?}", cluster.violations);
}

#[test]
fn i_10_two_effects_of_one_id_are_found() {
    let mut cluster = warm(3);
    cluster.planted = Some(Invariant::Once);
    cluster.is_forgetful = true;
    cluster.submit(N1, 1);
    cluster.submit(N2, 1);
    cluster.run_until_ms(1300);
    assert_eq!(cluster.violations.len(), 1, "{:?}", cluster.violations);
}

#[test]
fn i_10_an_outcome_that_is_said_to_be_an_earlier_one_and_is_not_is_found() {
    let mut cluster = warm(3);
    // The first node's executor does not get past the transaction, which becomes final.
    cluster.blocked = Some(N1);
    let first = first(&cluster);
    let before: BTreeMap<NodeId, Node> = [N1, N2, N3].map(|id| (id, cluster.node(id).clone())).into();
    let mut seen = cluster.watcher.clone();
    cluster.submit(N1, 1);
    cluster.run_until_ms(1300);
    let record = last_record(&cluster);
    let issued = Timestamp {
        hlc: record.hlc,
        node: N1,
    };
    // To the observer it is final, and nobody has said yet what became of it.
    let entry = written(Epoch::FIRST, N1, record);
    for id in [N1, N2] {
        seen.on_step(&before[&id], &[persist(entry.clone())]);
        seen.on_durable(id, std::slice::from_ref(&entry));
    }
    seen.on_step(
        cluster.node(N1),
        &[Effect::Evaluate(Batch {
            records: vec![(issued, last_record(&cluster))],
            upto: issued.hlc,
        })],
    );
    assert_eq!(seen.take_violations(), []);
    seen.on_input(N1, &evaluated(issued.hlc, vec![settlement(issued, first, 1, "1")]));
    let found = seen.take_violations();
    assert_eq!((found.len(), found[0].invariant), (1, Invariant::Once), "{found:?}");
}

#[test]
fn i_11_a_read_of_a_snapshot_that_is_too_old_or_not_there_yet_is_found() {
    let cluster = warm(3);
    let (answered, evaluated) = (first(&cluster).hlc, cluster.node(N2).evaluated());
    let found = |mode, at| {
        found(&cluster, |watcher| {
            let (request, query) = (RequestId(50), Query::default());
            watcher.on_input(N2, &Input::Read { request, mode, query });
            let query = Query::default();
            watcher.on_step(cluster.node(N2), &[Effect::Read { request, at, query }]);
        })
    };
    assert_eq!(found(ReadMode::Strict, answered), []);
    assert_eq!(found(ReadMode::Strict, answered.prev()), [Invariant::StrictReads]);
    assert_eq!(found(ReadMode::Snapshot, answered.prev()), []);
    assert_eq!(found(ReadMode::Snapshot, evaluated.next()), [Invariant::StrictReads]);
}
