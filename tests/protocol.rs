//! The protocol core by scripts: one situation each, with the delays and syncs that it needs.

mod cluster;

use cluster::{Answer, Cluster, START_MS, ms, node};
use plimsoll::id::{Epoch, RequestId};
use plimsoll::lattice::Row;
use plimsoll::limits::{FRAME_BYTES_MAX, RECORD_BYTES_MAX};
use plimsoll::protocol::config::{Membership, Profile};
use plimsoll::protocol::message::{Append, Message};
use plimsoll::protocol::{ReadMode, Refusal, Reply};
use plimsoll::time::{Hlc, Timestamp};

/// Three nodes, 40 ms apart, that have been active for a while.
fn warm() -> Cluster {
    let mut cluster = Cluster::new(3, 40, Profile::wan());
    cluster.run_until_ms(500);
    cluster.submit(node(1), 0);
    cluster.run_until_ms(1000);
    cluster
}

#[test]
fn a_transaction_is_answered_after_one_round_trip_to_a_majority() {
    let mut cluster = warm();
    let request = cluster.submit(node(2), 1);
    cluster.run_until_ms(2000);
    let latency = cluster.answered_at_ms(request) - 1000.0;
    assert!(
        (80.0..92.0).contains(&latency),
        "{latency} ms for a round trip of 80 ms and at most two ticks of 5 ms"
    );
    for id in 1..=3 {
        assert_eq!(cluster.evaluated[&node(id)].len(), 2, "every replica evaluates it");
    }
}

#[test]
fn the_first_transaction_after_a_long_silence_waits_for_promises_but_no_tick() {
    let mut cluster = Cluster::new(3, 40, Profile::wan());
    cluster.run_until_ms(10_000);
    let frames = cluster.frames;
    cluster.run_until_ms(11_000);
    assert!(
        cluster.frames - frames <= 6 * 11,
        "an idle cluster sends a frame per peer and idle tick"
    );
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(12_000);
    let latency = cluster.answered_at_ms(request) - 11_000.0;
    assert!(
        (80.0..90.0).contains(&latency),
        "{latency} ms: out, and the promises back"
    );
}

#[test]
fn a_node_whose_disk_never_syncs_does_not_count_in_the_majority() {
    let mut cluster = warm();
    cluster.sync_us.insert(node(2), None);
    cluster.sync_us.insert(node(3), None);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(1500);
    assert!(
        !cluster.answers.contains_key(&request),
        "only its coordinator holds it durably"
    );
    assert!(cluster.evaluated.values().all(|order| order.len() == 1));
}

#[test]
fn a_majority_without_the_coordinators_own_disk_is_enough() {
    let mut cluster = warm();
    cluster.sync_us.insert(node(1), None);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(1500);
    assert!(cluster.answers.contains_key(&request));
}

#[test]
fn all_replicas_evaluate_one_order_and_clients_learn_their_place_in_it() {
    let mut cluster = warm();
    let mut requests = Vec::new();
    for number in 0..60 {
        let at = node(number as u32 % 3 + 1);
        requests.push(cluster.submit(at, number + 10));
        cluster.run_until_ms(1000 + number * 3);
    }
    cluster.run_until_ms(2000);
    let orders: Vec<_> = cluster.evaluated.values().collect();
    assert_eq!(orders[0].len(), 61);
    assert!(orders.iter().all(|order| *order == orders[0]));
    let places: std::collections::BTreeSet<_> = requests
        .iter()
        .map(|request| cluster.settlement(*request).record)
        .collect();
    assert_eq!(places.len(), 60);
}

#[test]
fn a_strict_read_sees_everything_that_was_answered_before_it_began() {
    let mut cluster = warm();
    let write = cluster.submit(node(1), 1);
    while !cluster.answers.contains_key(&write) {
        cluster.run_until_ms(cluster.now_us / 1000 + 1);
    }
    let began = cluster.now_us;
    let read = cluster.read(node(3), ReadMode::Strict);
    cluster.run_until_ms(2000);
    let Answer::Read(at) = &cluster.answers[&read].1 else {
        panic!("no read")
    };
    assert!(*at >= cluster.settlement(write).record.hlc);
    let latency = cluster.answered_at_ms(read) - began as f64 / 1000.0;
    assert!((80.0..92.0).contains(&latency), "{latency} ms");
}

#[test]
fn a_strict_read_waits_for_ever_where_no_majority_can_be_reached() {
    let mut cluster = warm();
    for other in [1, 2] {
        cluster.cuts.insert((node(3), node(other)));
        cluster.cuts.insert((node(other), node(3)));
    }
    let strict = cluster.read(node(3), ReadMode::Strict);
    let snapshot = cluster.read(node(3), ReadMode::Snapshot);
    cluster.run_until_ms(5000);
    assert!(!cluster.answers.contains_key(&strict));
    assert_eq!(cluster.answers[&snapshot].0, 1_000_000, "a snapshot read needs nobody");
}

#[test]
fn a_snapshot_read_sends_nothing_and_an_after_read_waits_for_its_timestamp() {
    let mut cluster = warm();
    let frames = cluster.frames;
    cluster.read(node(2), ReadMode::Snapshot);
    assert_eq!(cluster.frames, frames);
    let write = cluster.submit(node(1), 1);
    let hlc = Hlc::from_unix_millis(START_MS + 1000).next();
    let after = cluster.read(node(2), ReadMode::After(Timestamp { hlc, node: node(1) }));
    cluster.run_until_ms(1500);
    let Answer::Read(at) = &cluster.answers[&after].1 else {
        panic!("no read")
    };
    assert!(*at >= cluster.settlement(write).record.hlc);
    assert!(
        cluster.answered_at_ms(after) > 1040.0,
        "node 2 could not know of it earlier"
    );
}

#[test]
fn a_bounded_read_is_local_when_the_replica_is_fresh_and_waits_when_it_is_not() {
    let mut cluster = warm();
    let fresh = cluster.read(node(2), ReadMode::Bounded(ms(200)));
    assert!(cluster.answers.contains_key(&fresh));
    cluster.run_until_ms(20_000);
    let stale = cluster.read(node(2), ReadMode::Bounded(ms(1)));
    assert!(!cluster.answers.contains_key(&stale));
    cluster.run_until_ms(20_200);
    assert!(cluster.answers.contains_key(&stale), "the idle cluster was woken");
}

#[test]
fn a_node_whose_evaluation_is_far_behind_refuses_until_it_has_caught_up() {
    let profile = Profile {
        submissions_max: 4,
        ..Profile::wan()
    };
    let mut cluster = Cluster::new(3, 40, profile);
    cluster.run_until_ms(1_000);
    cluster.evaluation_us.insert(node(3), 5_000_000);
    let at_three = cluster.submit(node(3), 1);
    // 4 under way at each of 3 nodes, twice: one more of the others' is too many.
    for number in 2..=30 {
        cluster.run_until_ms(1_000 + 100 * number);
        let there = cluster.submit(node(1 + number as u32 % 2), number);
        cluster.run_until_ms(1_090 + 100 * number);
        cluster.settlement(there);
        let waiting = number - 1;
        let refused = cluster.submit(node(3), 1_000 + number);
        let answer = cluster.answers.get(&refused).map(|(_, answer)| answer);
        match answer {
            None => assert!(waiting <= 24, "{waiting} wait"),
            Some(Answer::Reply(Reply::Refused(refusal))) => {
                let text = refusal.to_string();
                let is_full = text.contains("transactions wait for their evaluation (4 at most)");
                let is_behind = text.contains("transactions of all nodes wait to be evaluated here (24 at most)");
                assert!(is_full || is_behind && cluster.node(node(3)).is_behind(), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(cluster.node(node(3)).is_behind());
    assert!(!cluster.node(node(1)).is_behind());
    cluster.evaluation_us.clear();
    cluster.run_until_ms(20_000);
    cluster.settlement(at_three);
    assert!(!cluster.node(node(3)).is_behind());
    let taken = cluster.submit(node(3), 5_000);
    cluster.run_until_ms(20_500);
    cluster.settlement(taken);
}

#[test]
fn a_read_in_the_future_is_refused() {
    let mut cluster = warm();
    let read = cluster.read(node(1), ReadMode::At(Hlc::from_unix_millis(START_MS + 60_000)));
    let Answer::Reply(Reply::Refused(refusal)) = &cluster.answers[&read].1 else {
        panic!("not refused")
    };
    assert!(matches!(refusal, Refusal::InFuture { .. }), "{refusal}");
    assert!(refusal.to_string().contains("59000 ms ahead"), "{refusal}");
}

#[test]
fn two_nodes_that_cannot_talk_commit_over_the_third_at_the_pace_of_the_detour() {
    let mut cluster = warm();
    cluster.cuts.extend([(node(1), node(2)), (node(2), node(1))]);
    let mut slowest: f64 = 0.0;
    for round in 0..100_u64 {
        let began = cluster.now_us / 1000;
        let request = cluster.submit(node(1 + round as u32 % 3), 100 + round);
        cluster.run_until_ms(began + 200);
        if round < 10 {
            continue;
        }
        assert!(
            cluster.answers.contains_key(&request),
            "round {round} was not answered within 200 ms"
        );
        slowest = slowest.max(cluster.answered_at_ms(request) - began as f64);
    }
    assert!(slowest < 140.0, "{slowest} ms over a detour of 80 ms one way");
    assert_eq!(cluster.node(node(1)).membership().epoch, Epoch::FIRST);
}

#[test]
fn a_frame_that_is_lost_is_sent_again_and_only_costs_time() {
    let mut cluster = warm();
    cluster.cuts.extend([(node(1), node(2)), (node(1), node(3))]);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(1004);
    cluster.cuts.clear();
    cluster.run_until_ms(1400);
    assert!(
        cluster.answered_at_ms(request) < 1250.0,
        "{}",
        cluster.answered_at_ms(request)
    );
    assert!(cluster.node(node(1)).counters().retransmissions + cluster.node(node(2)).counters().fetches > 0);
}

#[test]
fn what_lies_too_far_ahead_of_the_own_clock_is_refused_and_counted() {
    let mut cluster = warm();
    cluster.offset_ms.insert(node(3), 700);
    cluster.run_until_ms(1500);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(1600);
    assert!(cluster.node(node(1)).counters().ahead_of_clock > 0);
    assert!(
        !cluster.answers.contains_key(&request),
        "a node with such a clock is a failed node"
    );
    cluster.offset_ms.insert(node(3), 0);
    cluster.run_until_ms(3000);
    assert!(
        cluster.answers.contains_key(&request),
        "and is back when its clock is right again"
    );
}

#[test]
fn a_clock_that_lags_behind_costs_latency_and_nothing_else() {
    let mut cluster = warm();
    cluster.offset_ms.insert(node(3), -100);
    let requests: Vec<RequestId> = (0..50)
        .map(|number| {
            cluster.run_until_ms(1000 + number * 20);
            cluster.submit(node(1 + number as u32 % 3), number + 1)
        })
        .collect();
    cluster.run_until_ms(4000);
    assert!(requests.iter().all(|request| cluster.answers.contains_key(request)));
    let orders: Vec<_> = cluster.evaluated.values().collect();
    assert!(orders.iter().all(|order| *order == orders[0]));
}

#[test]
fn a_message_of_another_epoch_is_dropped_and_counted() {
    let mut cluster = warm();
    let before = cluster.node(node(1)).watermark();
    let mut row = Row::new(node(2), Epoch::new(9));
    row.raise_position(node(2), Hlc::MAX);
    let append = Append {
        epoch: Epoch::new(9),
        coordinator: node(2),
        prev: Hlc::ZERO,
        upto: Hlc::MAX,
        records: vec![],
    };
    cluster.receive(node(1), node(2), vec![Message::Row(row), Message::Append(append)]);
    assert_eq!(cluster.node(node(1)).counters().other_epoch, 2);
    assert_eq!(cluster.node(node(1)).watermark(), before);
}

#[test]
fn a_member_that_does_not_coordinate_acknowledges_and_evaluates_until_it_is_let_in() {
    let members = [node(1), node(2), node(3)];
    let membership = Membership::new(Epoch::FIRST, members, [node(1), node(2)]).unwrap();
    let mut cluster = Cluster::with_membership(membership, 40, Profile::wan());
    let refused = cluster.submit(node(3), 2);
    let Answer::Reply(Reply::Refused(refusal)) = &cluster.answers[&refused].1 else {
        panic!("not refused")
    };
    assert!(matches!(refusal, Refusal::NotCoordinator { .. }), "{refusal}");
    cluster.cuts.extend([(node(1), node(2)), (node(2), node(1))]);
    cluster.run_until_ms(10);
    let kept = cluster.submit(node(1), 1);
    cluster.run_until_ms(5000);
    assert!(cluster.answers.contains_key(&kept), "node 3 makes the majority");
    assert_eq!(cluster.evaluated[&node(3)].len(), 1);
    assert!(
        cluster.node(node(3)).membership().is_coordinator(node(3)),
        "a live member coordinates"
    );
}

#[test]
fn one_node_alone_is_a_cluster() {
    let mut cluster = Cluster::new(1, 0, Profile::lan());
    cluster.run_until_ms(10);
    let write = cluster.submit(node(1), 1);
    let strict = cluster.read(node(1), ReadMode::Strict);
    cluster.run_until_ms(20);
    assert!(cluster.answered_at_ms(write) < 11.0);
    assert!(cluster.answers.contains_key(&strict));
    cluster.run_until_ms(5000);
    let bounded = cluster.read(node(1), ReadMode::Bounded(ms(10)));
    cluster.run_until_ms(5001);
    assert!(cluster.answers.contains_key(&bounded));
}

#[test]
fn a_replica_that_disagrees_with_a_majority_stops_serving_and_the_others_go_on() {
    let mut cluster = warm();
    cluster.corrupt = Some(node(2));
    for number in 0..40 {
        cluster.run_until_ms(1000 + number * 100);
        cluster.submit(node(1), number + 1);
    }
    cluster.run_until_ms(6000);
    assert_eq!(cluster.quarantined, [node(2)]);
    let (refused, answered) = (cluster.submit(node(2), 100), cluster.submit(node(3), 101));
    cluster.run_until_ms(6500);
    let Answer::Reply(Reply::Refused(refusal)) = &cluster.answers[&refused].1 else {
        panic!("not refused")
    };
    assert_eq!(*refusal, Refusal::Quarantined { node: node(2) });
    assert!(
        cluster.answers.contains_key(&answered),
        "its streams and acknowledgements are sound"
    );
}

#[test]
fn records_are_kept_only_until_every_member_has_flushed_them() {
    let mut cluster = warm();
    cluster.is_flushing = true;
    for number in 0..100 {
        cluster.submit(node(1), number + 1);
        cluster.run_until_ms(1000 + number * 10);
    }
    cluster.run_until_ms(4000);
    assert_eq!(cluster.node(node(1)).records_bytes_kept(), 0);
    assert_eq!(cluster.node(node(2)).records_bytes_kept(), 0);
}

#[test]
fn one_node_alone_reads_a_snapshot_that_its_clock_has_yet_to_reach() {
    let mut cluster = Cluster::new(1, 0, Profile::lan());
    cluster.run_until_ms(10);
    let read = cluster.read(node(1), ReadMode::At(Hlc::from_unix_millis(START_MS + 200)));
    cluster.run_until_ms(300);
    assert!(
        (200.0..202.0).contains(&cluster.answered_at_ms(read)),
        "within a tick of its bound, with nobody to wake it"
    );
}

#[test]
fn a_quarantined_node_whose_evaluation_is_blocked_does_not_ask_to_be_woken_at_once_for_ever() {
    let mut cluster = warm();
    cluster.blocked = Some(node(2));
    cluster.corrupt = Some(node(2));
    for number in 0..40 {
        cluster.run_until_ms(1000 + number * 100);
        cluster.submit(node(1), number + 1);
    }
    cluster.run_until_ms(6000);
    assert_eq!(cluster.quarantined, [node(2)]);
}

#[test]
fn a_disk_slower_than_the_ceiling_is_ahead_costs_time_and_nothing_else() {
    let mut cluster = Cluster::new(3, 40, Profile::wan());
    cluster.sync_us.extend((1..=3).map(|id| (node(id), Some(5_000_000))));
    cluster.run_until_ms(20_000);
    let requests: Vec<RequestId> = (1..=3).map(|id| cluster.submit(node(id), u64::from(id))).collect();
    cluster.run_until_ms(100_000);
    for request in requests {
        cluster.settlement(request);
    }
}

#[test]
fn a_row_of_a_stranger_is_dropped_and_counted() {
    let mut cluster = warm();
    let mut row = Row::new(node(77), Epoch::FIRST);
    row.raise_position(node(2), Hlc::from_unix_millis(START_MS + 1400));
    cluster.receive(node(1), node(2), vec![Message::Row(row)]);
    cluster.run_until_ms(3000);
    let counters = cluster.node(node(1)).counters();
    assert_eq!((counters.not_for_us, counters.fetches), (1, 0));
}

#[test]
fn a_node_that_stores_nothing_asks_for_no_stream() {
    let members = [node(1), node(2), node(3)];
    let coordinators = [node(1), node(2), node(3), node(4)];
    let membership = Membership::new(Epoch::FIRST, members, coordinators).unwrap();
    let mut cluster = Cluster::with_membership(membership, 10, Profile::lan());
    cluster.run_until_ms(100);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(3000);
    assert!(cluster.answers.contains_key(&request));
    let counters = cluster.node(node(4)).counters();
    assert_eq!((counters.fetches, counters.not_for_us), (0, 0));
}

#[test]
fn streams_relayed_together_fit_into_frames() {
    let mut cluster = Cluster::new(11, 10, Profile::wan());
    cluster.run_until_ms(500);
    for other in 3..=11 {
        cluster.cuts.extend([(node(1), node(other)), (node(other), node(1))]);
    }
    cluster.run_until_ms(1000);
    let requests: Vec<RequestId> = (3..=11)
        .map(|other| cluster.submit_bytes(node(other), u64::from(other), RECORD_BYTES_MAX - 100))
        .collect();
    cluster.run_until_ms(4000);
    assert!(requests.iter().all(|request| cluster.answers.contains_key(request)));
    assert_eq!(cluster.evaluated[&node(1)].len(), requests.len());
    assert!(
        cluster.frame_bytes_largest <= FRAME_BYTES_MAX,
        "{} bytes in one frame",
        cluster.frame_bytes_largest
    );
}
