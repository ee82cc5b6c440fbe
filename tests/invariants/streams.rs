//! I-1 to I-3: streams, promises and what disks hold.

use std::sync::Arc;

use plimsoll::id::{Epoch, NodeId};
use plimsoll::key::Value;
use plimsoll::protocol::invariants::{Invariant, Thoroughness, Watcher};
use plimsoll::protocol::message::Message;
use plimsoll::protocol::{Input, LogEntry};
use plimsoll::time::Hlc;
use plimsoll::transaction::Record;

use crate::plant::{
    N1, N2, N3, SECOND, append, first, found, last_record, persist, record, row, send, underway, underway_watched,
    warm, written,
};

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
    for thoroughness in [Thoroughness::Cheap, Thoroughness::Full] {
        let (cluster, issued) = underway_watched(thoroughness);
        let ahead = issued.hlc.plus(SECOND);
        let mut deceived = cluster.node(N1).clone();
        let lie = |id| {
            let mut row = row(&cluster, id, Epoch::FIRST, ahead);
            row.raise_position(N2, ahead);
            row.raise_position(N3, ahead);
            Message::Row(row)
        };
        let received = Input::Receive {
            from: N2,
            messages: vec![lie(N2), lie(N3)],
        };
        deceived.step(cluster.now(N1), received, &mut Vec::new());
        assert_eq!(deceived.watermark(), ahead);
        let mut watcher = cluster.watcher.clone();
        watcher.on_step(&deceived, &[]);
        assert_eq!(watcher.take_violations()[0].invariant, Invariant::Stable);
        // And so is whoever issues below it, though it has promised nothing of the kind.
        let low = persist(written(Epoch::FIRST, N3, record(ahead, 5)));
        watcher.on_step(cluster.node(N3), &[low]);
        assert_eq!(watcher.take_violations()[0].invariant, Invariant::Promise);
    }
}

#[test]
fn i_3_a_belief_in_a_stable_stream_that_is_none_is_found_before_a_watermark_rests_on_it() {
    let (mut cluster, _) = underway();
    // So new that nobody can have promised as much to the first node yet.
    cluster.submit(N1, 2);
    cluster.run_until_ms(1052);
    let issued = last_record(&cluster);
    let mut deceived = cluster.node(N1).clone();
    let lie = |id| Message::Row(row(&cluster, id, Epoch::FIRST, issued.hlc));
    let received = Input::Receive {
        from: N2,
        messages: vec![lie(N2)],
    };
    deceived.step(cluster.now(N1), received, &mut Vec::new());
    assert!(deceived.watermark() < issued.hlc);
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&deceived, &[])),
        [Invariant::Stable]
    );
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
}

#[test]
fn i_3_a_node_that_is_told_of_a_sync_that_never_was_is_found() {
    let mut cluster = warm(5);
    cluster.sync_us.insert(N2, None);
    cluster.submit(N1, 1);
    cluster.run_until_ms(1050);
    let mut deceived = cluster.node(N2).clone();
    let (mark, _) = cluster.unsynced[&N2].back().expect("its disk is stuck");
    deceived.step(cluster.now(N2), Input::Persisted(*mark), &mut Vec::new());
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&deceived, &[])),
        [Invariant::Stable]
    );
}
