//! The end of an epoch by scripts: who dies, who is cut off, what was on its way, and what becomes of it.

mod cluster;

use std::collections::BTreeSet;

use cluster::{Answer, Cluster, node};
use plimsoll::id::{Epoch, NodeId, RequestId};
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{ReadMode, Reply};

/// Nodes 40 ms apart that have been active for a while.
fn warm(count: u32) -> Cluster {
    let mut cluster = Cluster::new(count, 40, Profile::wan());
    cluster.run_until_ms(500);
    cluster.submit(node(1), 0);
    cluster.run_until_ms(1000);
    cluster
}

fn epoch(cluster: &Cluster, id: u32) -> Epoch {
    cluster.node(node(id)).membership().epoch
}

fn coordinators(cluster: &Cluster, id: u32) -> Vec<NodeId> {
    cluster.node(node(id)).membership().coordinators.clone()
}

fn assert_agree(cluster: &Cluster, ids: &[u32]) {
    let orders: Vec<_> = ids.iter().map(|id| &cluster.evaluated[&node(*id)]).collect();
    for order in &orders {
        assert_eq!(*order, orders[0]);
    }
}

fn assert_settled(cluster: &Cluster, request: RequestId) {
    assert!(
        matches!(
            cluster.answers.get(&request),
            Some((_, Answer::Reply(Reply::Settled(_))))
        ),
        "{request:?}: {:?}",
        cluster.answers.get(&request)
    );
}

#[test]
fn a_dead_coordinator_is_put_out_and_the_others_go_on() {
    for dead in 1..=3 {
        let mut cluster = warm(3);
        cluster.dead.insert(node(dead));
        let alive: Vec<u32> = (1..=3).filter(|id| *id != dead).collect();
        let request = cluster.submit(node(alive[0]), 1);
        cluster.run_until_ms(6000);
        assert_settled(&cluster, request);
        let stall = cluster.answered_at_ms(request) - 1000.0;
        // Suspicion, the turn of the second node, prepare and accept, and the commit itself.
        assert!(stall < 2000.0 + 1300.0 + 4.0 * 80.0, "n{dead}: {stall} ms");
        for id in &alive {
            assert!(epoch(&cluster, *id) > Epoch::FIRST);
            assert_eq!(
                coordinators(&cluster, *id),
                alive.iter().map(|id| node(*id)).collect::<Vec<_>>()
            );
        }
        assert_agree(&cluster, &alive);
    }
}

#[test]
fn two_of_five_may_die_at_once() {
    let mut cluster = warm(5);
    cluster.dead.extend([node(1), node(4)]);
    let requests: Vec<RequestId> = [2, 3, 5].map(|at| cluster.submit(node(at), u64::from(at))).to_vec();
    cluster.run_until_ms(8000);
    for request in requests {
        assert_settled(&cluster, request);
    }
    assert_eq!(coordinators(&cluster, 3), [node(2), node(3), node(5)]);
    assert_agree(&cluster, &[2, 3, 5]);
}

#[test]
fn a_majority_that_is_dead_stops_everything_and_decides_nothing() {
    let mut cluster = warm(3);
    cluster.dead.extend([node(1), node(2)]);
    let request = cluster.submit(node(3), 1);
    cluster.run_until_ms(20_000);
    assert!(!cluster.answers.contains_key(&request));
    assert_eq!(epoch(&cluster, 3), Epoch::FIRST);
}

#[test]
fn the_record_of_a_dead_coordinator_that_a_majority_holds_is_kept() {
    let mut cluster = warm(3);
    cluster.submit(node(1), 1);
    cluster.run_until_ms(1041);
    // Both others have it on their disks; the coordinator dies before any row can have come back.
    cluster.dead.insert(node(1));
    cluster.run_until_ms(6000);
    assert_eq!(cluster.evaluated[&node(2)].len(), 2);
    assert_agree(&cluster, &[2, 3]);
}

#[test]
fn the_record_of_a_dead_coordinator_that_one_node_holds_is_kept_or_void_but_the_same_everywhere() {
    for answers in [true, false] {
        let mut cluster = warm(3);
        cluster.cuts.insert((node(1), node(3)));
        cluster.submit(node(1), 1);
        cluster.run_until_ms(1041);
        cluster.dead.insert(node(1));
        if !answers {
            // Who holds it is not heard while the epoch ends; the majority must then be the two others, so nothing can be decided.
            cluster.cuts.extend([(node(2), node(3)), (node(3), node(2))]);
        }
        cluster.run_until_ms(5000);
        if !answers {
            assert_eq!(epoch(&cluster, 3), Epoch::FIRST);
            cluster.cuts.clear();
            cluster.run_until_ms(12_000);
        }
        assert_eq!(
            cluster.evaluated[&node(3)].len(),
            2,
            "the one who holds it answered, so it is in the cut"
        );
        assert_agree(&cluster, &[2, 3]);
    }
}

#[test]
fn a_living_coordinator_that_was_cut_off_issues_its_void_records_again() {
    let mut cluster = warm(3);
    for other in [2, 3] {
        cluster.cuts.extend([(node(1), node(other)), (node(other), node(1))]);
    }
    let requests: Vec<RequestId> = (1..=5).map(|number| cluster.submit(node(1), number)).collect();
    let elsewhere = cluster.submit(node(2), 100);
    cluster.run_until_ms(6000);
    assert_settled(&cluster, elsewhere);
    assert_eq!(coordinators(&cluster, 2), [node(2), node(3)]);
    assert!(requests.iter().all(|request| !cluster.answers.contains_key(request)));
    cluster.cuts.clear();
    cluster.run_until_ms(16_000);
    for request in &requests {
        assert_settled(&cluster, *request);
    }
    assert_eq!(cluster.node(node(1)).counters().reissued, 5);
    assert_eq!(
        coordinators(&cluster, 3),
        [node(1), node(2), node(3)],
        "it was heard again, and is back"
    );
    assert_agree(&cluster, &[1, 2, 3]);
    let order: BTreeSet<_> = cluster.evaluated[&node(1)].iter().collect();
    assert_eq!(order.len(), 7, "each once");
}

#[test]
fn a_strict_read_of_an_epoch_that_ends_starts_over() {
    let mut cluster = warm(3);
    cluster.dead.insert(node(1));
    let read = cluster.read(node(2), ReadMode::Strict);
    cluster.run_until_ms(6000);
    let (_, Answer::Read(at)) = &cluster.answers[&read] else {
        panic!("no read")
    };
    assert!(*at > cluster.node(node(2)).epoch_start(), "{at}");
}

#[test]
fn a_member_that_slept_through_epochs_is_given_the_chain_and_catches_up() {
    let mut cluster = warm(5);
    let sleeper = node(5);
    for other in 1..=4 {
        cluster.cuts.extend([(sleeper, node(other)), (node(other), sleeper)]);
    }
    cluster.run_until_ms(5000);
    cluster.dead.insert(node(1));
    cluster.run_until_ms(10_000);
    for number in 0..20 {
        cluster.submit(node(2 + number % 3), u64::from(number) + 10);
        cluster.run_until_ms(10_000 + u64::from(number) * 20);
    }
    assert!(epoch(&cluster, 2) >= Epoch::new(3));
    cluster.cuts.clear();
    cluster.run_until_ms(20_000);
    assert_eq!(epoch(&cluster, 5), epoch(&cluster, 2));
    assert_eq!(cluster.evaluated[&sleeper].len(), 21);
    assert_agree(&cluster, &[2, 3, 4, 5]);
    assert_eq!(coordinators(&cluster, 2), [node(2), node(3), node(4), node(5)]);
}

#[test]
fn a_cluster_at_peace_stays_in_its_epoch() {
    let mut cluster = warm(5);
    cluster.run_until_ms(30_000);
    assert_eq!(epoch(&cluster, 3), Epoch::FIRST);
}

#[test]
fn an_attempt_that_hangs_in_its_second_half_asks_for_no_wake_in_the_past() {
    let mut cluster = warm(3);
    cluster.dead.insert(node(1));
    // The first half is answered only just before the proposer would give up, and the second half never.
    cluster.cuts.insert((node(3), node(2)));
    cluster.run_until_ms(6700);
    cluster.cuts.clear();
    cluster.run_until_ms(6900);
    cluster.cuts.extend([(node(2), node(3)), (node(3), node(2))]);
    cluster.run_until_ms(20_000);
    cluster.cuts.clear();
    let request = cluster.submit(node(2), 1);
    cluster.run_until_ms(30_000);
    assert_settled(&cluster, request);
    assert_agree(&cluster, &[2, 3]);
}

#[test]
fn a_node_that_restarts_coordinates_again_in_the_next_epoch_and_has_lost_nothing() {
    for restarted in 1..=3 {
        for down_ms in [1, 100, 5000] {
            let mut cluster = warm(3);
            let before = cluster.submit(node(restarted), 1);
            cluster.run_until_ms(1200);
            assert_settled(&cluster, before);
            cluster.crash(node(restarted));
            cluster.run_until_ms(1200 + down_ms);
            cluster.restart(node(restarted));
            let installed = epoch(&cluster, restarted);
            let request = cluster.submit(node(restarted), 2);
            let elsewhere = cluster.submit(node(restarted % 3 + 1), 3);
            cluster.run_until_ms(1200 + down_ms + 4000);
            assert!(
                epoch(&cluster, restarted) > installed,
                "n{restarted}, down for {down_ms} ms"
            );
            assert_settled(&cluster, request);
            assert_settled(&cluster, elsewhere);
            assert_eq!(coordinators(&cluster, restarted), [1, 2, 3].map(node));
            assert_agree(&cluster, &[1, 2, 3]);
            assert_eq!(cluster.evaluated[&node(1)].len(), 4);
        }
    }
}

#[test]
fn everybody_may_crash_at_once_and_what_was_answered_is_still_there() {
    let mut cluster = warm(3);
    let requests = [1, 2, 3].map(|at| cluster.submit(node(at), u64::from(at)));
    cluster.run_until_ms(1300);
    for request in requests {
        assert_settled(&cluster, request);
    }
    (1..=3).for_each(|id| cluster.crash(node(id)));
    cluster.run_until_ms(2000);
    (1..=3).for_each(|id| cluster.restart(node(id)));
    let request = cluster.submit(node(2), 4);
    cluster.run_until_ms(12_000);
    assert_settled(&cluster, request);
    assert_eq!(cluster.evaluated[&node(3)].len(), 5);
    assert_agree(&cluster, &[1, 2, 3]);
}

#[test]
fn a_record_that_the_coordinator_forgot_and_others_hold_is_kept_and_its_place_is_not_used_again() {
    let mut cluster = warm(3);
    // It never gets to its own disk.
    cluster.sync_us.insert(node(1), None);
    cluster.submit(node(1), 1);
    cluster.run_until_ms(1060);
    cluster.crash(node(1));
    cluster.sync_us.insert(node(1), Some(100));
    cluster.run_until_ms(1100);
    cluster.restart(node(1));
    let request = cluster.submit(node(1), 2);
    cluster.run_until_ms(6000);
    assert_settled(&cluster, request);
    assert_eq!(
        cluster.evaluated[&node(1)].len(),
        3,
        "the first, the forgotten and the new one"
    );
    assert_agree(&cluster, &[1, 2, 3]);
}

#[test]
fn a_member_that_restarts_with_a_vote_stays_fenced() {
    let mut cluster = warm(3);
    cluster.crash(node(1));
    // Long enough for promises, too short for a decision: the proposer hears nobody.
    cluster.run_until_ms(2990);
    cluster.cuts.extend([(node(3), node(2))]);
    cluster.run_until_ms(3500);
    assert_eq!(epoch(&cluster, 3), Epoch::FIRST);
    cluster.crash(node(3));
    cluster.restart(node(3));
    let request = cluster.submit(node(3), 1);
    cluster.run_until_ms(4000);
    cluster.cuts.clear();
    cluster.run_until_ms(12_000);
    assert_settled(&cluster, request);
    assert_agree(&cluster, &[2, 3]);
}

#[test]
fn who_resigns_costs_the_others_no_stall_and_coordinates_again_when_it_returns() {
    for resigns in 1..=3 {
        let mut cluster = warm(3);
        let own = cluster.submit(node(resigns), 1);
        cluster.resign(node(resigns));
        cluster.run_until_ms(1500);
        assert_settled(&cluster, own);
        assert_eq!(cluster.resigned.len(), 1);
        cluster.crash(node(resigns));
        let other = resigns % 3 + 1;
        for number in 2..60 {
            let at_ms = 1500 + number * 100;
            cluster.run_until_ms(at_ms);
            let request = cluster.submit(node(other), number);
            cluster.run_until_ms(at_ms + 100);
            let took = cluster.answered_at_ms(request) - at_ms as f64;
            assert!(took < 95.0, "n{resigns}, {number}: {took} ms");
        }
        assert_eq!(epoch(&cluster, other), Epoch::FIRST);
        cluster.restart(node(resigns));
        let again = cluster.submit(node(resigns), 100);
        cluster.run_until_ms(9000);
        assert_settled(&cluster, again);
    }
}

#[test]
fn when_everybody_has_resigned_the_cluster_can_be_started_again() {
    let mut cluster = warm(3);
    (1..=3).for_each(|id| cluster.resign(node(id)));
    let refused = cluster.submit(node(1), 1);
    assert!(matches!(&cluster.answers[&refused].1, Answer::Reply(Reply::Refused(_))));
    cluster.run_until_ms(2000);
    assert_eq!(cluster.resigned.len(), 3);
    for id in 1..=3 {
        cluster.crash(node(id));
        cluster.restart(node(id));
    }
    let request = cluster.submit(node(2), 2);
    cluster.run_until_ms(9000);
    assert_settled(&cluster, request);
    assert_agree(&cluster, &[1, 2, 3]);
}
