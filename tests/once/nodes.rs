//! Nodes over QUIC, each with a handle of its own: the same ids at all of them, at once and over the death of one.

use plimsoll::Plimsoll;
use plimsoll::client::staged::{Stage, Staging};
use plimsoll::key::Value;
use plimsoll::protocol::ReadMode;
use plimsoll::runtime::{Committed, StagedCommitted, StagedError, SubmitError};
use plimsoll::thunk::{Put, Resolution};
use plimsoll::transaction::Abort;

use crate::loopback::Cluster;
use crate::support::{add_one, check_status, sum};

const IDS: usize = 100;

async fn open(cluster: &Cluster) -> Vec<Plimsoll> {
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(cluster.open(node).await);
    }
    nodes
}

async fn shut_down(nodes: Vec<Plimsoll>) {
    for node in nodes {
        node.shutdown().await;
    }
}

/// Submits new ids, each at two nodes at once.
async fn submit_twice(nodes: &[Plimsoll], count: usize) -> Vec<Committed<i64>> {
    let submit = |at: usize, id| {
        let node = nodes[at % nodes.len()].clone();
        tokio::spawn(async move { add_one(&node, id).await.unwrap() })
    };
    let ids = (0..count).map(|number| (number, Plimsoll::new_id()));
    let pairs: Vec<_> = ids
        .map(|(number, id)| (submit(number, id), submit(number + 1, id)))
        .collect();
    let mut all = Vec::new();
    for (one, other) in pairs {
        let told = one.await.unwrap();
        assert_eq!(told, other.await.unwrap());
        all.push(told);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_increments_are_submitted_twice_at_once_at_three_nodes_and_come_to_a_hundred() {
    let cluster = Cluster::new("once-twice", 3);
    let nodes = open(&cluster).await;
    let all = submit_twice(&nodes, IDS).await;
    for node in &nodes {
        assert_eq!(sum(node).await, IDS as i64);
        for told in &all {
            check_status(node, told, 1).await;
        }
    }
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_dies_with_ids_under_way_and_returns_in_a_later_epoch_and_all_nodes_say_the_same_of_each() {
    let cluster = Cluster::new("once-dies", 3);
    let mut nodes = open(&cluster).await;
    let mut all = submit_twice(&nodes, 20).await;
    let never = Plimsoll::new_id();
    let Resolution::Cancelled { by, .. } = nodes[0].resolve(never).await.unwrap() else {
        panic!("nobody has submitted it")
    };
    // What is submitted at the node that dies is in doubt, or unanswered; its client goes to another.
    let zombie = nodes.remove(0);
    let under_way: Vec<_> = (0..20)
        .map(|_| Plimsoll::new_id())
        .map(|id| {
            let zombie = zombie.clone();
            let first = tokio::spawn(async move { zombie.submit_as(id, &crate::support::increment()).await });
            (id, first)
        })
        .collect();
    tokio::task::yield_now().await;
    zombie.stop_replica(1).await.unwrap();
    let before = nodes[0].members().await.unwrap().epoch;
    for (number, (id, first)) in under_way.into_iter().enumerate() {
        let told = add_one(&nodes[number % 2], id).await.unwrap();
        match first.await.unwrap() {
            Ok(first) => assert_eq!(first, told),
            Err(SubmitError::Unknown { .. } | SubmitError::Refused(_) | SubmitError::Unavailable(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
        all.push(told);
    }
    all.extend(submit_twice(&nodes, 20).await);
    assert!(nodes[0].members().await.unwrap().epoch > before, "it was put out");
    zombie.shutdown().await;
    nodes.push(cluster.open(1).await);
    // And a client that is no node.
    nodes.push(cluster.client(&[2, 3]).await);
    for node in &nodes {
        for told in &all {
            assert_eq!(&add_one(node, told.id).await.unwrap(), told);
            check_status(node, told, 1).await;
        }
        match node.resolve(all[25].id).await.unwrap() {
            Resolution::Committed { effective, .. } => assert_eq!(effective, all[25].timestamp),
            other => panic!("{other:?}"),
        }
        match add_one(node, never).await {
            Err(SubmitError::Aborted { abort, .. }) => assert_eq!(abort, Abort::Cancelled { by }),
            other => panic!("{other:?}"),
        }
        assert_eq!(sum(node).await, all.len() as i64);
    }
    shut_down(nodes).await;
}

/// Adds 1 to a number that is read in one stage and written in the next.
async fn staged_one(node: Plimsoll, id: plimsoll::id::TransactionId, staging: Staging) -> StagedCommitted<()> {
    loop {
        let stages = move |stage: Stage| async move {
            let found: i64 = stage.get_as("staged").await?.unwrap_or(0);
            let value: Value =
                plimsoll::codec::encode_value(&(found + 1)).map_err(|error| Abort::Refused(error.to_string()))?;
            Ok(Put {
                entries: vec![("staged".into(), value)],
            })
        };
        match node.staged_as(id, staging.clone(), stages).await {
            Ok(staged) => return staged,
            Err(StagedError::Submit(error)) if error.is_worth_retrying() => {}
            Err(StagedError::Read(_) | StagedError::Deadline(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_transactions_are_started_twice_at_once_at_two_nodes_and_each_takes_effect_once() {
    const COUNT: usize = 9;
    let cluster = Cluster::new("once-staged", 3);
    let nodes = open(&cluster).await;
    let first_read = ReadMode::Snapshot;
    let staging = |number: usize| Staging {
        reserve_after: (!number.is_multiple_of(3)).then_some(1),
        runs_max: 10_000,
        first_read,
        ..Staging::default()
    };
    let start = |number: usize, id| tokio::spawn(staged_one(nodes[number % 3].clone(), id, staging(number)));
    let ids = (0..COUNT).map(|number| (number, Plimsoll::new_id()));
    let pairs: Vec<_> = ids
        .map(|(number, id)| (start(number, id), start(number + 1, id)))
        .collect();
    for (one, other) in pairs {
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!(one.committed, other.committed);
    }
    for node in &nodes {
        let found = node.get("staged").await.unwrap().unwrap();
        assert_eq!(plimsoll::codec::decode_value::<i64>(&found).unwrap(), COUNT as i64);
    }
    shut_down(nodes).await;
}
