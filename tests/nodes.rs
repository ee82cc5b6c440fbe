//! Nodes over QUIC on loopback, each with its folder and certificate, and a client elsewhere.

mod loopback;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use loopback::{Cluster, PATIENCE};
use plimsoll::Plimsoll;
use plimsoll::id::NodeId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Change, ReadMode, Scan};
use plimsoll::runtime::{OpenError, SubmitError, WatchError};
use plimsoll::table::Table;
use plimsoll::thunk::{Evaluation, Put, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

fn put(number: u32) -> Put {
    Put {
        entries: vec![(key(number), Value::from(number.to_string().as_str()))],
    }
}

fn key(number: u32) -> Key {
    Key::from(format!("key {number:03}").as_str())
}

async fn put_all(database: &Plimsoll, numbers: std::ops::Range<u32>) {
    for number in numbers {
        database.submit(&put(number)).await.expect("a majority is there");
    }
}

async fn count(database: &Plimsoll) -> usize {
    let all = KeyRange::from(Key::from("key "));
    database.scan(all, 1_000).await.expect("a majority is there").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_serve_a_client_and_each_of_them_may_be_down() {
    let cluster = Cluster::new("down", 3);
    let mut nodes = Vec::new();
    // In any order.
    for node in [3, 1, 2] {
        nodes.push((node, cluster.open(node).await));
    }
    let client = cluster.client(&[2]).await;
    put_all(&client, 0..10).await;
    put_all(&nodes[0].1, 10..20).await;
    assert_eq!(client.get(key(15)).await.unwrap(), Some(Value::from("15")));
    let members = client.members().await.unwrap();
    assert_eq!(members.members.len(), 3);
    for down in [2, 1, 3] {
        let place = nodes.iter().position(|(node, _)| *node == down).unwrap();
        let (_, stopped) = nodes.remove(place);
        // As a crash would.
        stopped.stop_replica(down).await.unwrap();
        stopped.shutdown().await;
        let first = down * 100;
        put_all(&client, first..first + 10).await;
        nodes.push((down, cluster.open(down).await));
        put_all(&client, first + 10..first + 20).await;
    }
    assert_eq!(count(&client).await, 20 + 3 * 20);
    for (_, node) in &nodes {
        assert_eq!(count(node).await, 80);
    }
    client.shutdown().await;
    for (_, node) in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_elsewhere_writes_rows_of_a_table_and_scans_them_from_either_end() {
    const SQUARES: Table<i32, u64> = Table::new("squares");
    let cluster = Cluster::new("rows", 3);
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(cluster.open(node).await);
    }
    let client = cluster.client(&[1, 2]).await;
    let entries = (-5..=5_i32).map(|number| SQUARES.entry(number, &u64::from(number.unsigned_abs().pow(2))));
    let entries = entries.collect::<Result<_, _>>().unwrap();
    client.submit(&Put { entries }).await.unwrap();
    assert_eq!(client.row(ReadMode::Strict, SQUARES, -4).await.unwrap(), Some(16));
    let rows = |scan| client.rows(ReadMode::Strict, SQUARES, scan);
    let last = rows(Scan::backward(SQUARES.range(..4), 2)).await.unwrap();
    assert_eq!(last, [(3, 9), (2, 4)]);
    let first = rows(Scan::forward(SQUARES.all(), 2)).await.unwrap();
    assert_eq!(first, [(-5, 25), (-4, 16)]);
    client.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_and_takes_the_place_of_a_dead_one() {
    let cluster = Cluster::new("join", 4);
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(cluster.open(node).await);
    }
    let client = cluster.client(&[1, 2]).await;
    put_all(&client, 0..50).await;
    let dead = nodes.pop().unwrap();
    dead.stop_replica(3).await.unwrap();
    dead.shutdown().await;
    let fourth = cluster.open(4).await;
    let change = Change::Replace {
        leaves: NodeId::new(3),
        joins: NodeId::new(4),
    };
    timeout(PATIENCE, client.change(1, change)).await.unwrap().unwrap();
    let members = client.members().await.unwrap();
    assert_eq!(members.members, [1, 2, 4].map(NodeId::new));
    assert_eq!(members.addresses[&NodeId::new(4)], cluster.address(4));
    put_all(&client, 50..60).await;
    // Two of the three new members are enough.
    nodes[0].stop_replica(1).await.unwrap();
    put_all(&client, 60..70).await;
    assert_eq!(count(&fourth).await, 70);
    nodes.push(fourth);
    client.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_moved_is_found_again() {
    let mut cluster = Cluster::new("moved", 4);
    let mut nodes = Vec::new();
    for node in 1..=3 {
        nodes.push(cluster.open(node).await);
    }
    let client = cluster.client(&[1]).await;
    put_all(&client, 0..5).await;
    nodes.remove(1).shutdown().await;
    // It comes back at another port, and nobody is told but by itself.
    cluster.addresses.swap(1, 3);
    nodes.push(cluster.open(2).await);
    nodes.remove(0).shutdown().await;
    put_all(&client, 5..10).await;
    assert_eq!(count(&client).await, 10);
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_from_elsewhere_goes_on_at_another_node_when_the_one_that_served_it_dies() {
    let cluster = Cluster::new("watch", 3);
    let mut nodes = BTreeMap::new();
    for node in 1..=3 {
        nodes.insert(node, cluster.open(node).await);
    }
    let client = cluster.client(&[1, 2, 3]).await;
    let range = KeyRange::from(Key::from("key "));
    let mut watch = client.watch(range.clone()).limit(3);
    watch.begin().await.unwrap();
    let writer = cluster.client(&[3]).await;
    let mut seen: Vec<Key> = Vec::new();
    // Which one comes back in front of each round, and which one dies.
    for (round, (up, down)) in [(None, None), (None, Some(1)), (Some(1), Some(2))]
        .into_iter()
        .enumerate()
    {
        if let Some(up) = up {
            nodes.insert(up, cluster.open(up).await);
        }
        if let Some(down) = down {
            let stopped: Plimsoll = nodes.remove(&down).unwrap();
            // As a crash would.
            stopped.stop_replica(down).await.unwrap();
            stopped.shutdown().await;
        }
        let first = round as u32 * 20;
        let writing = put_all(&writer, first..first + 20);
        let watching = async {
            while seen.len() < (first + 20) as usize {
                let batch = timeout(PATIENCE, watch.next())
                    .await
                    .expect("changes come soon")
                    .unwrap();
                assert!(batch.changes.is_sorted_by_key(|change| change.timestamp));
                seen.extend(batch.changes.into_iter().map(|change| change.key));
            }
        };
        tokio::join!(writing, watching);
    }
    assert_eq!(seen, (0..60).map(key).collect::<Vec<_>>());

    // One of a node itself asks that node alone, and sees the same from the same place.
    let resume = watch.resume().unwrap();
    put_all(&writer, 60..70).await;
    for watching in [&nodes[&1], &nodes[&3], &client] {
        let mut watch = watching.watch(range.clone()).after(resume);
        let mut seen = Vec::new();
        while seen.len() < 10 {
            let batch = timeout(PATIENCE, watch.next())
                .await
                .expect("changes come soon")
                .unwrap();
            seen.extend(batch.changes.into_iter().map(|change| change.key));
        }
        assert_eq!(seen, (60..70).map(key).collect::<Vec<_>>());
    }
    let error = client.watch(range).after(Timestamp::last_at(Hlc::ZERO)).next().await;
    assert!(matches!(error, Err(WatchError::Collected { .. })), "{error:?}");

    let run = client.dry_run(&put(100)).await.unwrap();
    assert_eq!((run.outcome, run.writes.len()), (Ok(()), 1));
    assert_eq!(client.get(key(100)).await.unwrap(), None, "nothing happened");
    let run = client.dry_run_at(ReadMode::Snapshot, &put(100)).await.unwrap();
    assert_eq!(run.writes[&key(100)], Some(Value::from("100")));
    for handle in nodes.into_values().chain([client, writer]) {
        handle.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_or_asked_says_why() {
    let cluster = Cluster::new("errors", 1);
    let as_node = Plimsoll::node(cluster.credentials(None)).folder(&cluster.folder).open();
    assert!(matches!(as_node.await, Err(OpenError::NotANode)));
    let homeless = Plimsoll::node(cluster.credentials(Some(1))).open();
    assert!(matches!(homeless.await, Err(OpenError::NoFolder)));
    let nowhere = Plimsoll::remote(cluster.credentials(None)).open();
    assert!(matches!(nowhere.await, Err(OpenError::NoNode)));
    let alone = Plimsoll::remote(cluster.credentials(None))
        .node(1, cluster.address(1))
        .deadline(Duration::from_secs(1))
        .open();
    let error = alone.await.unwrap_err().to_string();
    assert!(error.contains("the replicas do not answer"), "{error}");
    let single = Plimsoll::node(cluster.credentials(Some(1)))
        .folder(&cluster.folder)
        .listen(cluster.addresses[0])
        .open()
        .await
        .unwrap();
    let client = Plimsoll::remote(cluster.credentials(None))
        .node(1, cluster.address(1))
        .deadline(Duration::from_secs(2))
        .open()
        .await
        .unwrap();
    client.submit(&put(1)).await.unwrap();
    single.shutdown().await;
    sleep(Duration::from_millis(100)).await;
    let error = client.submit(&put(2)).await.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Refused(_) | SubmitError::Unknown { .. }),
        "{error:?}"
    );
}

/// Gives how often it was evaluated in this process, which no thunk may ask.
#[derive(Serialize, Deserialize)]
struct Counts;

impl Thunk for Counts {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<u64, Abort> {
        static EVALUATIONS: AtomicU64 = AtomicU64::new(0);
        Ok(EVALUATIONS.fetch_add(1, Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thunk_is_not_deterministic_and_a_node_that_is_asked_to_finds_out() {
    let cluster = Cluster::new("twice", 1);
    let node = || {
        Plimsoll::node(cluster.credentials(Some(1)))
            .folder(&cluster.folder)
            .listen(cluster.addresses[0])
            .thunk::<Counts>()
    };
    let database = node().open().await.unwrap();
    database.submit(&Counts).await.expect("nobody has asked");
    database.shutdown().await;
    let database = node().evaluate_twice().open().await.expect("it opens");
    let error = database.submit(&Counts).await.expect_err("it is evaluated twice");
    let is_found = matches!(&error, SubmitError::Aborted { abort: Abort::NotDeterministic { thunk, .. }, .. } if *thunk == ThunkId::of::<Counts>());
    assert!(is_found, "{error:?}");
    database.shutdown().await;
}
