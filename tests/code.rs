//! Which code there is where, as scripts: who is waited for, who is refused because of whom, and what a node that is stopped says.

mod cluster;

use cluster::{Answer, Cluster, node};
use plimsoll::id::{NodeId, RequestId};
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{Change, Doubt, ReadMode, Refusal, Reply};
use plimsoll::transaction::ThunkId;

/// The thunk of every transaction of a script.
fn test_thunk() -> ThunkId {
    thunk("test", 1)
}

fn thunk(name: &str, version: u32) -> ThunkId {
    let name = name.into();
    ThunkId { name, version }
}

fn refusal(cluster: &Cluster, request: RequestId) -> Option<&Refusal> {
    match cluster.answers.get(&request) {
        Some((_, Answer::Reply(Reply::Refused(refusal)))) => Some(refusal),
        _ => None,
    }
}

fn lacking(nodes: &[u32]) -> Refusal {
    Refusal::Lacking {
        thunk: test_thunk(),
        nodes: nodes.iter().copied().map(node).collect(),
    }
}

/// Three nodes 10 ms apart, which have declared this much.
fn declared(code: [&[ThunkId]; 3]) -> Cluster {
    let mut cluster = Cluster::new(3, 10, Profile::lan());
    for (number, thunks) in (1..).zip(code) {
        cluster.declare(node(number), thunks);
    }
    cluster
}

#[test]
fn a_thunk_is_refused_with_the_members_that_lack_it_and_taken_as_soon_as_the_last_one_has_it() {
    let all = [test_thunk()];
    let mut cluster = declared([&all, &[], &[]]);
    cluster.run_until_ms(200);
    let request = cluster.submit(node(1), 1);
    assert_eq!(refusal(&cluster, request), Some(&lacking(&[2, 3])));
    cluster.declare(node(2), &all);
    cluster.run_until_ms(400);
    let request = cluster.submit(node(1), 2);
    assert_eq!(refusal(&cluster, request), Some(&lacking(&[3])));
    let elsewhere = cluster.submit(node(2), 3);
    assert_eq!(refusal(&cluster, elsewhere), Some(&lacking(&[3])));
    let there = cluster.submit(node(3), 4);
    assert_eq!(
        refusal(&cluster, there),
        Some(&lacking(&[3])),
        "the coordinator is a member too"
    );
    cluster.declare(node(3), &all);
    cluster.run_until_ms(600);
    let requests = [1, 2, 3].map(|number| cluster.submit(node(number), 10 + u64::from(number)));
    cluster.run_until_ms(1_000);
    for request in requests {
        cluster.settlement(request);
    }
    assert_eq!(cluster.node(node(1)).counters().lacking, 2);
}

#[test]
fn what_is_submitted_before_everybody_has_spoken_waits_for_them_and_is_not_refused() {
    let all = [test_thunk()];
    let mut cluster = declared([&all, &all, &all]);
    cluster.run_until_ms(5);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(8);
    assert!(!cluster.answers.contains_key(&request));
    cluster.run_until_ms(200);
    cluster.settlement(request);
}

#[test]
fn a_member_that_is_dead_from_the_first_moment_on_stops_nobody() {
    let all = [test_thunk()];
    let mut cluster = Cluster::new(3, 10, Profile::lan());
    cluster.dead.insert(node(3));
    cluster.declare(node(1), &all);
    cluster.declare(node(2), &all);
    cluster.run_until_ms(50);
    let request = cluster.submit(node(1), 1);
    cluster.run_until_ms(3_000);
    cluster.settlement(request);
}

#[test]
fn a_member_that_died_with_old_code_counts_until_it_is_put_out_and_again_when_it_is_back() {
    let (all, both) = ([test_thunk()], [thunk("new", 1), test_thunk()]);
    let mut cluster = declared([&both, &both, &[thunk("new", 1)]]);
    cluster.run_until_ms(200);
    cluster.crash(node(3));
    let request = cluster.submit(node(1), 1);
    assert_eq!(refusal(&cluster, request), Some(&lacking(&[3])));
    cluster.run_until_ms(3_000);
    assert!(!cluster.node(node(1)).membership().is_coordinator(node(3)));
    let request = cluster.submit(node(1), 2);
    cluster.run_until_ms(3_500);
    cluster.settlement(request);
    cluster.restart(node(3));
    cluster.declare(node(3), &[thunk("new", 1)]);
    cluster.run_until_ms(6_000);
    let request = cluster.submit(node(1), 3);
    assert_eq!(refusal(&cluster, request), Some(&lacking(&[3])));
    cluster.declare(node(3), &all);
    cluster.run_until_ms(6_500);
    let request = cluster.submit(node(1), 4);
    cluster.run_until_ms(7_000);
    cluster.settlement(request);
}

#[test]
fn two_nodes_that_cannot_reach_each_other_hear_of_their_code_from_the_third() {
    let all = [test_thunk()];
    let mut cluster = Cluster::new(3, 10, Profile::lan());
    cluster.cuts.extend([(node(1), node(2)), (node(2), node(1))]);
    cluster.declare(node(1), &all);
    cluster.declare(node(2), &[]);
    cluster.declare(node(3), &all);
    cluster.run_until_ms(2_000);
    let request = cluster.submit(node(1), 1);
    assert_eq!(refusal(&cluster, request), Some(&lacking(&[2])));
}

#[test]
fn a_cluster_in_which_nothing_changes_says_nothing_about_its_code() {
    let all = [test_thunk()];
    let mut cluster = declared([&all, &all, &all]);
    cluster.run_until_ms(2_000);
    let said = |cluster: &Cluster| [1, 2, 3].map(|number| cluster.node(node(number)).counters().declarations);
    let before = said(&cluster);
    assert!(before.iter().all(|times| (2..20).contains(times)), "{before:?}");
    cluster.run_until_ms(60_000);
    assert_eq!(said(&cluster), before);
}

#[test]
fn a_node_that_joins_without_the_code_is_named_and_one_that_has_left_is_not_asked() {
    let all = [test_thunk()];
    let mut cluster = declared([&all, &all, &[]]);
    cluster.run_until_ms(100);
    cluster.start_learner(node(4));
    cluster.declare(node(4), &[]);
    cluster.run_until_ms(500);
    let (leaves, joins) = (node(3), node(4));
    cluster.change(node(1), Change::Replace { leaves, joins });
    cluster.run_until_ms(5_000);
    assert!(cluster.node(node(1)).membership().is_member(node(4)));
    let request = cluster.submit(node(1), 1);
    assert_eq!(refusal(&cluster, request), Some(&lacking(&[4])));
    cluster.declare(node(4), &all);
    cluster.run_until_ms(5_500);
    let request = cluster.submit(node(1), 2);
    cluster.run_until_ms(6_000);
    cluster.settlement(request);
}

#[test]
fn a_node_that_is_stopped_names_the_thunk_to_everybody_and_goes_on_when_it_has_it() {
    let mut cluster = Cluster::new(3, 10, Profile::lan());
    cluster.run_until_ms(500);
    cluster.blocked = Some(node(2));
    let waits = cluster.submit(node(2), 1);
    let elsewhere = cluster.submit(node(1), 2);
    cluster.run_until_ms(1_000);
    cluster.settlement(elsewhere);
    let (node_2, thunk) = (node(2), test_thunk());
    let doubt = Doubt::Blocked {
        node: node_2,
        thunk: thunk.clone(),
    };
    let answered = |request| cluster.answers.get(&request).map(|(_, answer)| answer.clone());
    assert_eq!(answered(waits), Some(Answer::Reply(Reply::Unknown(doubt))));
    assert_eq!(cluster.node(node(2)).blocked_by(), Some(&thunk));
    let refused = Refusal::Blocked { node: node_2, thunk };
    let requests = [cluster.submit(node(2), 3), cluster.read(node(2), ReadMode::Strict)];
    for request in requests {
        assert_eq!(refusal(&cluster, request), Some(&refused));
    }
    let snapshot = cluster.read(node(2), ReadMode::Snapshot);
    assert!(
        matches!(cluster.answers[&snapshot].1, Answer::Read(_)),
        "what it has can be read"
    );

    let evaluated = |cluster: &Cluster, id: NodeId| cluster.evaluated.get(&id).map_or(0, Vec::len);
    assert_eq!((evaluated(&cluster, node(1)), evaluated(&cluster, node(2))), (2, 0));
    cluster.blocked = None;
    cluster.declare(node(2), &[test_thunk()]);
    cluster.run_until_ms(1_020);
    assert_eq!(
        evaluated(&cluster, node(2)),
        2,
        "at once, and not when it would be tried again"
    );
    assert_eq!(cluster.node(node(2)).blocked_by(), None);
    assert_eq!(cluster.node(node(2)).counters().blocked, 1);
}
