//! Changes of the members by scripts: join, leave, replace, and what is refused.

mod cluster;

use cluster::{Answer, Cluster, node};
use plimsoll::id::{NodeId, RequestId};
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{Change, ChangeError, Refusal, Reply};

/// Nodes 40 ms apart that have been active for a while.
fn warm(count: u32) -> Cluster {
    let mut cluster = Cluster::new(count, 40, Profile::wan());
    cluster.run_until_ms(500);
    cluster.submit(node(1), 0);
    cluster.run_until_ms(1000);
    cluster
}

fn members(cluster: &Cluster, id: u32) -> Vec<NodeId> {
    cluster.node(node(id)).membership().members.clone()
}

#[track_caller]
fn assert_changed(cluster: &Cluster, request: RequestId) {
    let answer = cluster.answers.get(&request);
    assert!(
        matches!(answer, Some((_, Answer::Reply(Reply::Changed { .. })))),
        "{answer:?}"
    );
}

#[track_caller]
fn assert_refused(cluster: &Cluster, request: RequestId, error: ChangeError) {
    let refused = Answer::Reply(Reply::Refused(Refusal::Change(error)));
    assert_eq!(cluster.answers.get(&request).map(|(_, answer)| answer), Some(&refused));
}

#[track_caller]
fn assert_agree(cluster: &Cluster, ids: &[u32], count: usize) {
    for id in ids {
        assert_eq!(cluster.evaluated[&node(*id)].len(), count, "n{id}");
        assert_eq!(cluster.evaluated[&node(*id)], cluster.evaluated[&node(ids[0])]);
    }
}

#[test]
fn a_learner_joins_and_coordinates() {
    let mut cluster = warm(3);
    cluster.start_learner(node(4));
    cluster.run_until_ms(2000);
    assert_agree(&cluster, &[1, 2, 3, 4], 1);
    let change = cluster.change(node(2), Change::Join(node(4)));
    cluster.run_until_ms(4000);
    assert_changed(&cluster, change);
    for id in 1..=4 {
        assert_eq!(members(&cluster, id), [1, 2, 3, 4].map(node));
    }
    let request = cluster.submit(node(4), 1);
    cluster.run_until_ms(5000);
    cluster.settlement(request);
    assert_agree(&cluster, &[1, 2, 3, 4], 2);
}

#[test]
fn a_dead_member_is_replaced_and_then_another_one_may_die() {
    let mut cluster = warm(3);
    cluster.crash(node(3));
    cluster.start_learner(node(4));
    let replace = Change::Replace {
        leaves: node(3),
        joins: node(4),
    };
    let change = cluster.change(node(1), replace);
    cluster.run_until_ms(8000);
    assert_changed(&cluster, change);
    cluster.crash(node(1));
    let request = cluster.submit(node(4), 1);
    cluster.run_until_ms(16_000);
    cluster.settlement(request);
    assert_agree(&cluster, &[2, 4], 2);
}

#[test]
fn a_member_leaves_and_holds_nobody_back() {
    for leaves in 1..=3 {
        let mut cluster = warm(3);
        let change = cluster.change(node(1), Change::Leave(node(leaves)));
        cluster.run_until_ms(3000);
        assert_changed(&cluster, change);
        cluster.crash(node(leaves));
        let at = leaves % 3 + 1;
        let request = cluster.submit(node(at), 1);
        cluster.run_until_ms(3300);
        cluster.settlement(request);
        assert!(!members(&cluster, at).contains(&node(leaves)));
    }
}

#[test]
fn who_has_left_and_is_not_switched_off_follows_as_a_learner() {
    let mut cluster = warm(3);
    let change = cluster.change(node(1), Change::Leave(node(2)));
    cluster.run_until_ms(3000);
    assert_changed(&cluster, change);
    for number in 1..20 {
        cluster.submit(node(3), number);
        let until_ms = cluster.now_us / 1000 + 500;
        cluster.run_until_ms(until_ms);
    }
    assert_agree(&cluster, &[1, 2, 3], 20);
}

#[test]
fn members_are_changed_one_after_the_other_until_none_of_the_first_is_left() {
    let mut cluster = warm(3);
    for (leaves, joins) in [(1, 4), (2, 5), (3, 6)] {
        cluster.start_learner(node(joins));
        let change = Change::Replace {
            leaves: node(leaves),
            joins: node(joins),
        };
        let change = cluster.change(node(joins - 1), change);
        let until_ms = cluster.now_us / 1000 + 6000;
        cluster.run_until_ms(until_ms);
        assert_changed(&cluster, change);
        cluster.crash(node(leaves));
    }
    let request = cluster.submit(node(5), 1);
    let until_ms = cluster.now_us / 1000 + 1000;
    cluster.run_until_ms(until_ms);
    cluster.settlement(request);
    assert_agree(&cluster, &[4, 5, 6], 2);
}

#[test]
fn who_is_replaced_while_it_sees_to_another_change_says_that_it_cannot() {
    let mut cluster = warm(3);
    cluster.start_learner(node(4));
    cluster.run_until_ms(600);
    let replacement = Change::Replace {
        leaves: node(2),
        joins: node(4),
    };
    let replacement = cluster.change(node(1), replacement);
    // Nobody has started this one.
    let in_vain = cluster.change(node(2), Change::Join(node(5)));
    cluster.run_until_ms(5000);
    assert_changed(&cluster, replacement);
    assert_refused(&cluster, in_vain, ChangeError::HasLeft(node(2)));
}

#[test]
fn what_would_lose_the_data_is_refused_and_nothing_is_changed() {
    let mut cluster = Cluster::new(1, 0, Profile::wan());
    cluster.run_until_ms(100);
    let last = cluster.change(node(1), Change::Leave(node(1)));
    assert_refused(&cluster, last, ChangeError::LastMember(node(1)));
    let stranger = cluster.change(node(1), Change::Leave(node(7)));
    assert_refused(&cluster, stranger, ChangeError::NotMember(node(7)));
    let absent = cluster.change(node(1), Change::Join(node(7)));
    let second = cluster.change(node(1), Change::Join(node(8)));
    assert_refused(&cluster, second, ChangeError::Busy(Change::Join(node(7))));
    cluster.run_until_ms(70_000);
    let error = ChangeError::NotCaughtUp {
        node: node(7),
        seconds: 60,
    };
    assert_refused(&cluster, absent, error);
    assert_eq!(members(&cluster, 1), [node(1)]);
}

#[test]
fn a_member_that_restarts_in_the_middle_of_a_change_is_in_the_new_membership() {
    for at_ms in (1000..1400).step_by(20) {
        let mut cluster = warm(3);
        cluster.start_learner(node(4));
        cluster.run_until_ms(1000);
        cluster.change(node(1), Change::Join(node(4)));
        cluster.run_until_ms(at_ms);
        cluster.crash(node(2));
        cluster.run_until_ms(at_ms + 300);
        cluster.restart(node(2));
        let request = cluster.submit(node(3), 1);
        cluster.run_until_ms(at_ms + 9000);
        cluster.settlement(request);
        assert_agree(&cluster, &[1, 2, 3, 4], 2);
        assert_eq!(members(&cluster, 2), members(&cluster, 1));
    }
}
