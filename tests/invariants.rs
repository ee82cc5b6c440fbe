//! The observer of the invariants: silent over random sound runs, and awake at every planted violation.
//!
//! A violation is planted after a sound beginning, in what the observer is told: a step of a real node with an effect that it never
//! wanted, a real node that was told lies, a disk that has synced something else. Every other test on the desk, and every run of the
//! simulator, shows that it is silent where nothing is planted.

mod cluster;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, START_MS, node, transaction};
use plimsoll::id::{Epoch, NodeId, RequestId};
use plimsoll::key::Value;
use plimsoll::lattice::{Digest, Row};
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::decree::{Answer, Ballot, Decree};
use plimsoll::protocol::invariants::{Invariant, Watcher};
use plimsoll::protocol::message::{Append, Message, Promise};
use plimsoll::protocol::node::Node;
use plimsoll::protocol::{
    Acceptor, Batch, Change, Effect, Evaluated, Input, LogEntry, Query, ReadMode, Reply, SyncMark,
};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Outcome, Record, Settlement};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N3: NodeId = NodeId::new(3);
const SECOND: Duration = Duration::from_secs(1);

/// Nodes 40 ms apart that have been active for a while; the first one has issued a transaction, and it is evaluated everywhere.
fn warm(count: u32) -> Cluster {
    let mut cluster = Cluster::new(count, 40, Profile::wan());
    cluster.run_until_ms(500);
    cluster.submit(N1, 0);
    cluster.run_until_ms(1000);
    cluster
}

/// The same, and the first node has issued another transaction: it is on its own disk and not on that of the second one, and the third one
/// has not heard of it.
fn underway() -> (Cluster, Arc<Record>) {
    let mut cluster = warm(3);
    cluster.sync_us.insert(N2, None);
    cluster.cuts.insert((N1, N3));
    cluster.submit(N1, 1);
    cluster.run_until_ms(1050);
    let record = last_record(&cluster);
    (cluster, record)
}

/// The last record on the disk of the first node.
fn last_record(cluster: &Cluster) -> Arc<Record> {
    let records = cluster.log(N1).iter().filter_map(|entry| match entry {
        LogEntry::Records { records, .. } => records.last(),
        _ => None,
    });
    records.last().expect("the first node has issued something").clone()
}

fn record(hlc: Hlc, number: u64) -> Arc<Record> {
    let transaction = transaction(number);
    Arc::new(Record { hlc, transaction })
}

/// The invariants that an observer who has seen a sound beginning finds broken when it is told more.
#[track_caller]
fn found(cluster: &Cluster, plant: impl FnOnce(&mut Watcher)) -> Vec<Invariant> {
    let mut watcher = cluster.watcher.clone();
    plant(&mut watcher);
    let found = watcher.take_violations().into_iter();
    let mut found: Vec<Invariant> = found.map(|violation| violation.invariant).collect();
    found.dedup();
    found
}

fn written(epoch: Epoch, coordinator: NodeId, record: Arc<Record>) -> LogEntry {
    LogEntry::Records {
        epoch,
        coordinator,
        records: vec![record],
    }
}

fn persist(entry: LogEntry) -> Effect {
    Effect::Persist {
        mark: SyncMark(u64::MAX),
        entries: vec![entry],
    }
}

fn send(message: Message) -> Effect {
    Effect::Send {
        to: node(99),
        messages: vec![message],
    }
}

fn append(coordinator: NodeId, prev: Hlc, upto: Hlc) -> Message {
    Message::Append(Append {
        epoch: Epoch::FIRST,
        coordinator,
        prev,
        upto,
        records: Vec::new(),
    })
}

/// What `id` would say of itself if it held the stream of the first node up to `position`.
fn row(cluster: &Cluster, id: NodeId, epoch: Epoch, position: Hlc) -> Row {
    let mut row = Row::new(id, epoch);
    row.raise_position(N1, position);
    row.evaluated = cluster.node(id).evaluated();
    row
}

/// The end of the first epoch with this cut in every stream, starting well above everything.
fn decree(cluster: &Cluster, cut: Hlc) -> Decree {
    let nodes = cluster.node(N1).membership().members.clone();
    Decree {
        epoch: Epoch::new(2),
        cut: nodes.iter().map(|coordinator| (*coordinator, cut)).collect(),
        start: cluster.node(N1).watermark().plus(5 * SECOND),
        members: nodes.clone(),
        coordinators: nodes,
    }
}

fn vote(round: u64, decree: Option<&Decree>) -> LogEntry {
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
fn decide(watcher: &mut Watcher, round: u64, decree: &Decree) {
    for id in [N1, N2] {
        watcher.on_durable(id, &[vote(round, Some(decree))]);
    }
}

fn settlement(record: Timestamp, effective: Timestamp, number: u64, output: &str) -> Settlement {
    Settlement {
        record,
        id: transaction(number).id,
        effective,
        outcome: Outcome::Committed(Value::new(output.to_owned())),
    }
}

fn settled(settlement: Settlement) -> Effect {
    Effect::Reply {
        request: RequestId(1),
        reply: Reply::Settled(settlement),
    }
}

fn evaluated(upto: Hlc, settlements: Vec<Settlement>) -> Input {
    Input::Evaluated(Evaluated {
        upto,
        settlements,
        digests: Vec::new(),
        flushed: Hlc::ZERO,
        blocked: None,
    })
}

/// The transaction that a warm cluster has evaluated.
fn first(cluster: &Cluster) -> Timestamp {
    cluster.evaluated[&N1][0]
}

#[test]
fn i_1_a_node_that_holds_other_records_than_were_issued_is_found() {
    let (cluster, issued) = underway();
    let node = |id| cluster.node(id);
    let other = record(issued.hlc, 7);
    let another_content = Arc::new(Record {
        transaction: plimsoll::transaction::Transaction {
            arguments: Value::new("other"),
            ..issued.transaction.clone()
        },
        ..*issued
    });
    let never_issued = record(issued.hlc.next(), 8);
    for wrong in [other, another_content, never_issued] {
        let entry = persist(written(Epoch::FIRST, N1, wrong));
        assert_eq!(
            found(&cluster, |watcher| watcher.on_step(node(N3), &[entry])),
            [Invariant::Prefix]
        );
    }
    let entry = persist(written(Epoch::FIRST, NodeId::new(9), issued.clone()));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(node(N3), &[entry])),
        [Invariant::Prefix]
    );
    let entry = persist(written(Epoch::FIRST, N1, issued));
    assert_eq!(found(&cluster, |watcher| watcher.on_step(node(N3), &[entry])), []);
}

#[test]
fn i_1_a_node_that_passes_over_a_record_is_found_by_what_it_notes_sends_and_believes() {
    let (cluster, issued) = underway();
    let held = LogEntry::Held {
        epoch: Epoch::FIRST,
        positions: vec![(N1, issued.hlc)],
    };
    let effect = persist(held);
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N3), &[effect])),
        [Invariant::Prefix]
    );
    for speaker in [N1, N3] {
        let effect = send(append(N1, issued.hlc.prev(), issued.hlc));
        assert_eq!(
            found(&cluster, |watcher| watcher.on_step(cluster.node(speaker), &[effect])),
            [Invariant::Prefix]
        );
    }
    let mut deceived = cluster.node(N3).clone();
    let received = Input::Receive {
        from: N1,
        messages: vec![append(N1, Hlc::ZERO, issued.hlc)],
    };
    deceived.step(cluster.now(N3), received, &mut Vec::new());
    let found = found(&cluster, |watcher| watcher.on_step(&deceived, &[]));
    assert_eq!(found[0], Invariant::Prefix, "{found:?}");
}

#[test]
fn i_1_a_node_that_restarts_with_other_records_is_found() {
    let cluster = warm(3);
    let mut log = cluster.log(N2).to_vec();
    for entry in &mut log {
        if let LogEntry::Records { records, .. } = entry {
            *records = vec![record(records[0].hlc, 9)];
        }
    }
    let restarted = cluster.recovered(N2, &log);
    let found = found(&cluster, |watcher| {
        watcher.on_crash(N2);
        watcher.on_restart(&restarted);
    });
    assert_eq!(found, [Invariant::Prefix]);
}

#[test]
fn i_2_a_coordinator_that_issues_below_its_promise_or_a_watermark_is_found() {
    let cluster = warm(3);
    let issue = |hlc| persist(written(Epoch::FIRST, N2, record(hlc, 5)));
    let low = first(&cluster).hlc.next();
    let below = found(&cluster, |watcher| watcher.on_step(cluster.node(N2), &[issue(low)]));
    assert_eq!(below[0], Invariant::Promise, "{below:?}");
    // Far above everything but its ceiling.
    let high = first(&cluster).hlc.plus(60 * SECOND);
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N2), &[issue(high)])),
        [Invariant::Promise]
    );
    let promise = send(append(N2, high.prev(), high));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N2), &[promise])),
        [Invariant::Promise]
    );
    let next = cluster.node(N2).watermark().plus(SECOND);
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N2), &[issue(next)])),
        []
    );
    let resigned = send(append(N2, Hlc::ZERO, Hlc::MAX));
    let after = |watcher: &mut Watcher| {
        watcher.on_step(cluster.node(N2), &[resigned]);
        watcher.on_step(cluster.node(N2), &[issue(next)]);
    };
    assert_eq!(found(&cluster, after), [Invariant::Promise]);
}

#[test]
fn i_2_a_coordinator_that_continues_its_stream_after_a_restart_is_found() {
    let cluster = warm(3);
    let restarted = cluster.recovered(N2, cluster.log(N2));
    let next = cluster.node(N2).watermark().plus(SECOND);
    let issue = persist(written(Epoch::FIRST, N2, record(next, 5)));
    let found = found(&cluster, |watcher| {
        watcher.on_crash(N2);
        watcher.on_restart(&restarted);
        watcher.on_step(&restarted, &[issue]);
    });
    assert_eq!(found, [Invariant::Promise]);
}

#[test]
fn i_2_an_acknowledgement_above_the_durable_ceiling_is_found() {
    let cluster = warm(3);
    let row = row(&cluster, N2, Epoch::FIRST, first(&cluster).hlc.plus(60 * SECOND));
    let said = send(Message::Row(row));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(cluster.node(N2), &[said])),
        [Invariant::Promise]
    );
}

#[test]
fn i_3_a_watermark_over_what_no_majority_has_on_its_disks_is_found() {
    let (cluster, issued) = underway();
    let mut deceived = cluster.node(N1).clone();
    let lie = |id| {
        let mut row = row(&cluster, id, Epoch::FIRST, issued.hlc);
        row.raise_position(N2, issued.hlc);
        row.raise_position(N3, issued.hlc);
        Message::Row(row)
    };
    let received = Input::Receive {
        from: N2,
        messages: vec![lie(N2), lie(N3)],
    };
    let mut effects = Vec::new();
    deceived.step(cluster.now(N1), received, &mut effects);
    assert!(deceived.watermark() >= issued.hlc);
    let found = found(&cluster, |watcher| watcher.on_step(&deceived, &effects));
    assert!(found.contains(&Invariant::Stable), "{found:?}");
}

#[test]
fn i_3_an_acknowledgement_of_what_is_not_on_the_disk_is_found() {
    let (cluster, issued) = underway();
    let said = send(Message::Row(row(&cluster, N2, Epoch::FIRST, issued.hlc)));
    for speaker in [N2, N1] {
        // It says so itself, or another carries it.
        assert_eq!(
            found(&cluster, |watcher| watcher
                .on_step(cluster.node(speaker), std::slice::from_ref(&said))),
            [Invariant::Stable]
        );
    }
    let synced = found(&cluster, |watcher| {
        watcher.on_durable(N2, &[written(Epoch::FIRST, N1, issued.clone())]);
        watcher.on_step(cluster.node(N2), std::slice::from_ref(&said));
    });
    assert_eq!(synced, []);
    let mut deceived = cluster.node(N2).clone();
    let (mark, _) = cluster.unsynced[&N2].back().expect("its disk is stuck");
    deceived.step(cluster.now(N2), Input::Persisted(*mark), &mut Vec::new());
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&deceived, &[])),
        [Invariant::Stable]
    );
}

#[test]
fn i_4_a_cut_below_a_watermark_or_above_what_a_majority_holds_is_found() {
    let (cluster, issued) = underway();
    let found = |cut: Hlc| found(&cluster, |watcher| decide(watcher, 1, &decree(&cluster, cut)));
    assert_eq!(found(first(&cluster).hlc.prev()), [Invariant::Cut]);
    assert_eq!(found(issued.hlc), [Invariant::Cut], "one disk holds it");
    assert_eq!(found(issued.hlc.prev()), []);
}

#[test]
fn i_4_a_row_that_rises_after_the_vote_is_found() {
    let (cluster, issued) = underway();
    let said = send(Message::Row(row(&cluster, N2, Epoch::FIRST, issued.hlc)));
    let found = found(&cluster, |watcher| {
        watcher.on_durable(N2, &[vote(1, None)]);
        watcher.on_durable(N2, &[written(Epoch::FIRST, N1, issued)]);
        watcher.on_step(cluster.node(N2), &[said]);
    });
    assert_eq!(found, [Invariant::Cut]);
}

#[test]
fn i_4_and_i_6_an_answer_that_says_too_little_or_too_much_is_found() {
    let (cluster, issued) = underway();
    let node = cluster.node(N2);
    let found = |position, clock| {
        let answer = Answer {
            positions: vec![(N1, position)],
            clock,
            accepted: None,
        };
        let ballot = Ballot { round: 1, proposer: N1 };
        let epoch = Epoch::FIRST;
        let effect = send(Message::Promise(Promise { epoch, ballot, answer }));
        found(&cluster, |watcher| watcher.on_step(node, &[effect]))
    };
    let (low, true_one, high) = (first(&cluster).hlc.prev(), issued.hlc.prev(), issued.hlc);
    assert_eq!(found(true_one, Hlc::MAX), []);
    assert_eq!(found(low, Hlc::MAX), [Invariant::Cut], "it has acknowledged more");
    assert_eq!(found(high, Hlc::MAX), [Invariant::Cut], "it is not on its disk");
    assert_eq!(found(true_one, low), [Invariant::Order], "it has promised more");
}

#[test]
fn i_4_and_i_6_a_watermark_that_passes_a_cut_afterwards_is_found() {
    let (cluster, issued) = underway();
    // The second record is cut off, and then a node is told that everybody holds it.
    let mut low = decree(&cluster, issued.hlc.prev());
    low.start = issued.hlc.next();
    let mut deceived = cluster.node(N1).clone();
    let lie = |id| {
        let mut row = row(&cluster, id, Epoch::FIRST, issued.hlc.plus(SECOND));
        row.raise_position(N2, issued.hlc.plus(SECOND));
        row.raise_position(N3, issued.hlc.plus(SECOND));
        Message::Row(row)
    };
    let received = Input::Receive {
        from: N2,
        messages: vec![lie(N2), lie(N3)],
    };
    deceived.step(cluster.now(N1), received, &mut Vec::new());
    let found = found(&cluster, |watcher| {
        decide(watcher, 1, &low);
        watcher.on_step(&deceived, &[]);
    });
    assert!(
        found.contains(&Invariant::Cut) && found.contains(&Invariant::Order),
        "{found:?}"
    );
}

#[test]
fn i_5_two_decrees_of_one_epoch_are_found_however_they_come_about() {
    let cluster = warm(3);
    let decreed = decree(&cluster, cluster.node(N1).watermark());
    let mut other = decreed.clone();
    other.coordinators.pop();
    let is_one_decree = |plant: &dyn Fn(&mut Watcher)| {
        assert_eq!(found(&cluster, |watcher| plant(watcher)), [Invariant::OneDecree]);
    };
    let install = |decree: &Decree| persist(LogEntry::Decree(decree.clone()));
    // Two majorities; one ballot with two decrees; a decree without a majority; another than was decided; one of a later epoch.
    is_one_decree(&|watcher| {
        decide(watcher, 1, &decreed);
        decide(watcher, 2, &other);
    });
    is_one_decree(&|watcher| {
        watcher.on_durable(N1, &[vote(1, Some(&decreed))]);
        watcher.on_durable(N2, &[vote(1, Some(&other))]);
    });
    is_one_decree(&|watcher| watcher.on_step(cluster.node(N1), &[install(&decreed)]));
    is_one_decree(&|watcher| {
        decide(watcher, 1, &decreed);
        watcher.on_step(cluster.node(N1), &[install(&other)]);
    });
    is_one_decree(&|watcher| {
        let epoch = Epoch::new(5);
        watcher.on_step(
            cluster.node(N1),
            &[install(&Decree {
                epoch,
                ..decreed.clone()
            })],
        );
    });
    let found = found(&cluster, |watcher| {
        decide(watcher, 1, &decreed);
        decide(watcher, 2, &decreed);
        watcher.on_step(cluster.node(N1), &[install(&decreed)]);
    });
    assert_eq!(found, [], "the same decree with a higher ballot is the same");
}

#[test]
fn i_5_a_restart_with_a_decree_that_was_none_or_without_its_vote_is_found() {
    let cluster = warm(3);
    let mut log = cluster.log(N2).to_vec();
    let forgetful = cluster.recovered(N2, &log);
    log.push(LogEntry::Decree(decree(&cluster, cluster.node(N1).watermark())));
    let invented = cluster.recovered(N2, &log);
    let found = |restarted| {
        found(&cluster, |watcher| {
            watcher.on_durable(N2, &[vote(1, None)]);
            watcher.on_crash(N2);
            watcher.on_restart(restarted);
        })
    };
    assert_eq!(found(&forgetful), [Invariant::OneDecree]);
    assert!(found(&invented).contains(&Invariant::OneDecree));
}

#[test]
fn i_5_a_node_in_an_epoch_that_no_decree_has_begun_is_found() {
    let cluster = warm(3);
    let mut deceived = cluster.node(N2).clone();
    let received = Input::Receive {
        from: N1,
        messages: vec![Message::Decided(decree(&cluster, cluster.node(N1).watermark()))],
    };
    let mut effects = Vec::new();
    deceived.step(cluster.now(N2), received, &mut effects);
    effects.retain(|effect| !matches!(effect, Effect::Persist { .. }));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&deceived, &effects))[0],
        Invariant::OneDecree
    );
}

#[test]
fn i_6_a_start_at_or_below_what_was_before_is_found() {
    let cluster = warm(3);
    let watermark = cluster.node(N1).watermark();
    let mut early = decree(&cluster, first(&cluster).hlc);
    early.start = first(&cluster).hlc.next();
    assert_eq!(
        found(&cluster, |watcher| decide(watcher, 1, &early)),
        [Invariant::Order]
    );
    let high_cut = Decree {
        start: watermark.plus(SECOND),
        ..decree(&cluster, watermark.plus(2 * SECOND))
    };
    assert_eq!(
        found(&cluster, |watcher| decide(watcher, 1, &high_cut)),
        [Invariant::Order]
    );
    // And a record in the new epoch at or below its start.
    let sound = decree(&cluster, watermark);
    let issue = persist(written(Epoch::new(2), N2, record(sound.start, 5)));
    let found = found(&cluster, |watcher| {
        decide(watcher, 1, &sound);
        watcher.on_durable(N2, &[LogEntry::Ceiling(Hlc::MAX)]);
        watcher.on_step(cluster.node(N2), &[issue]);
    });
    assert!(found.contains(&Invariant::Order), "{found:?}");
}

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
    // The desk's executor keeps no outcomes, and evaluates a transaction as often as it is submitted.
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
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&before, &[])),
        [Invariant::Monotone]
    );
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

#[test]
fn random_scripts_of_faults_break_nothing() {
    (0..8).for_each(swarm);
}

/// A minute or so of crashes, restarts, cuts, stuck disks, wrong clocks and changes of the members under load. The desk ends the script
/// at the first violation.
fn swarm(seed: u64) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut count = [1, 3, 3, 5][random.random_range(0..4)];
    let profile = match random.random_bool(0.5) {
        true => Profile::wan(),
        false => Profile::lan(),
    };
    let mut cluster = Cluster::new(count, random.random_range(1..40), profile);
    // What the versions hold does not survive a restart on the desk, so they must not be said to be flushed where there are any.
    cluster.is_flushing = random.random_bool(0.3);
    let weights: [u32; 5] = [20, 4, 6, 4, 2].map(|most| random.random_range(0..=most));
    let pause_ms = [5, 50, 400][random.random_range(0..3)];
    let (mut now_ms, mut number) = (0, 0);
    for _ in 0..120 {
        now_ms += random.random_range(0..pause_ms);
        if random.random_bool(0.03) {
            now_ms += random.random_range(0..8_000);
        }
        cluster.run_until_ms(now_ms);
        let mut some = || node(random.random_range(1..=count));
        let (at, other) = (some(), some());
        let dice = random.random_range(0..=weights.iter().sum::<u32>());
        let mut reached = 0;
        let kind = weights.iter().position(|weight| {
            reached += weight;
            dice < reached
        });
        match kind {
            Some(1) if cluster.dead.contains(&at) && !cluster.is_flushing => cluster.restart(at),
            Some(1) if !cluster.dead.contains(&at) => cluster.crash(at),
            Some(2) if random.random_bool(0.3) => cluster.cuts.clear(),
            Some(2) if at != other => drop(cluster.cuts.insert((at, other))),
            Some(3) => {
                let sync_us = [Some(100), Some(5_000), Some(300_000), None][random.random_range(0..4)];
                cluster.sync_us.insert(at, sync_us);
                cluster.offset_ms.insert(other, random.random_range(-300..300));
            }
            Some(4) if count < 7 && random.random_bool(0.4) => {
                count += 1;
                cluster.start_learner(node(count));
            }
            Some(4) => {
                let change = match random.random_range(0..5) {
                    0 => Change::Leave(other),
                    1 => Change::Replace {
                        leaves: some_of(&mut random, count),
                        joins: other,
                    },
                    _ => Change::Join(other),
                };
                cluster.change(at, change);
            }
            _ if random.random_bool(0.02) => cluster.resign(at),
            _ if random.random_bool(0.25) => drop(cluster.read(at, ReadMode::Strict)),
            _ => {
                number += 1;
                cluster.submit(at, number);
            }
        }
    }
}

fn some_of(random: &mut Xoshiro256PlusPlus, count: u32) -> NodeId {
    node(random.random_range(1..=count))
}
