//! Three and more processes of the real program on loopback, each with its folder and certificate: killed, stopped, restarted and exchanged
//! under load.
//!
//! The load is clients that write keys of their own and add to one counter. At the end every write that was acknowledged is read
//! back, nothing is there that nobody wrote, and the counter is what was acknowledged plus at most what is unknown.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Increment, Operator, Put};
use rustix::process::Signal;
use support::{Cluster, PATIENCE, refused};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const FIRST: [u32; 3] = [1, 2, 3];

/// What one client was told.
#[derive(Default)]
struct Tally {
    /// What it wrote, by key, and whether that was acknowledged; if not, it may be there or not.
    puts: BTreeMap<Key, (Value, bool)>,
    added: i64,
    /// Additions of which nobody knows.
    perhaps: i64,
}

/// Clients that write without pause.
struct Load {
    is_over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// One client for each node, which asks that one first and another when it does not answer.
    async fn start(cluster: &Cluster) -> Self {
        let mut load = Self {
            is_over: Arc::default(),
            acknowledged: Arc::default(),
            clients: Vec::new(),
        };
        for nodes in [[1, 2, 3], [2, 3, 1], [3, 1, 2]] {
            let database = cluster.handle(&nodes).await;
            let (is_over, acknowledged) = (Arc::clone(&load.is_over), Arc::clone(&load.acknowledged));
            load.clients.push(tokio::spawn(async move {
                let mut tally = Tally::default();
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    tally.write(&database, nodes[0], number, &acknowledged).await;
                }
                tally
            }));
        }
        load
    }

    /// Waits until every client together have been acknowledged so many more writes.
    async fn goes_on(&self, what: &str) {
        const MORE: u64 = 30;
        let before = self.acknowledged.load(Ordering::Relaxed);
        let grown = async {
            while self.acknowledged.load(Ordering::Relaxed) < before + MORE {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let grown = timeout(PATIENCE, grown).await;
        grown.unwrap_or_else(|_| panic!("{what}: nothing is acknowledged any more"));
    }

    async fn end(self) -> Vec<Tally> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut tallies = Vec::new();
        for client in self.clients {
            tallies.push(
                timeout(PATIENCE * 2, client)
                    .await
                    .expect("a call has a deadline")
                    .unwrap(),
            );
        }
        tallies
    }
}

impl Tally {
    /// Writes a key that nobody has written, and adds 1 to the counter.
    async fn write(&mut self, database: &Plimsoll, client: u32, number: u32, acknowledged: &AtomicU64) {
        let (key, value) = (
            Key::from(format!("load/{client}/{number:06}").as_str()),
            Value::from(number.to_string().as_str()),
        );
        let entries = vec![(key.clone(), value.clone())];
        let put = database.submit(&Put { entries }).await;
        match &put {
            Ok(_) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => assert!(error.is_worth_retrying() || !error.may_have_happened(), "{error}"),
        }
        if put.as_ref().map_or_else(|error| error.may_have_happened(), |_| true) {
            self.puts.insert(key, (value, put.is_ok()));
        }
        let key = Key::from("counter");
        match database.submit(&Increment { key, amount: 1 }).await {
            Ok(_) => {
                self.added += 1;
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.perhaps += i64::from(error.may_have_happened()),
        }
    }
}

/// What is wrong with what a node has, given what the clients were told; one line each.
fn wrong(found: &BTreeMap<Key, Value>, counter: i64, tallies: &[Tally]) -> Vec<String> {
    let written: BTreeMap<&Key, &(Value, bool)> = tallies.iter().flat_map(|tally| &tally.puts).collect();
    let mut wrong = Vec::new();
    for (key, (value, is_acknowledged)) in &written {
        match found.get(*key) {
            Some(found) if found != value => {
                wrong.push(format!("{key}: {value:?} was written, and {found:?} is there"))
            }
            None if *is_acknowledged => wrong.push(format!("{key}: was acknowledged, and is lost")),
            _ => {}
        }
    }
    let strange = found.keys().filter(|key| !written.contains_key(key));
    wrong.extend(strange.map(|key| format!("{key}: is there, and nobody wrote it")));
    let added: i64 = tallies.iter().map(|tally| tally.added).sum();
    let perhaps: i64 = tallies.iter().map(|tally| tally.perhaps).sum();
    if !(added..=added + perhaps).contains(&counter) {
        wrong.push(format!(
            "{added} additions were acknowledged and {perhaps} are unknown, but the counter is {counter}"
        ));
    }
    wrong
}

/// What is in the database is what the clients were told, as each of these nodes reads it.
async fn holds(cluster: &Cluster, nodes: &[u32], tallies: &[Tally]) {
    let acknowledged: i64 = tallies.iter().map(|tally| tally.added).sum();
    assert!(acknowledged > 50, "there was a load: {acknowledged}");
    for node in nodes {
        let database = cluster.handle(&[*node]).await;
        let found = database
            .scan(KeyRange::prefix("load/".into()), 1_000_000)
            .await
            .unwrap();
        let counter = database.get("counter").await.unwrap().unwrap();
        let counter = Operator::number(&counter).unwrap();
        let wrong = wrong(&found.into_iter().collect(), counter, tallies);
        assert!(wrong.is_empty(), "n{node}: {wrong:#?}");
    }
}

#[test]
fn what_is_lost_doubled_changed_or_strange_is_found() {
    let puts = [("a", "1", true), ("b", "2", false)];
    let tally = Tally {
        puts: puts.map(|(key, value, is)| (key.into(), (value.into(), is))).into(),
        added: 5,
        perhaps: 1,
    };
    let tallies = [tally];
    let check = |found: &[(&str, &str)], counter| {
        let found = found.iter().map(|(key, value)| (Key::from(*key), Value::from(*value)));
        wrong(&found.collect(), counter, &tallies).len()
    };
    let both = [("a", "1"), ("b", "2")];
    assert_eq!((check(&both, 5), check(&both, 6), check(&both[..1], 5)), (0, 0, 0));
    assert_eq!(check(&both[1..], 5), 1, "an acknowledged write is lost");
    assert_eq!(
        (check(&both, 4), check(&both, 7)),
        (1, 1),
        "an addition is lost, or doubled"
    );
    assert_eq!(check(&[("a", "1"), ("b", "3")], 5), 1, "another value");
    assert_eq!(check(&[("a", "1"), ("c", "2")], 5), 1, "a key of nobody");
}

async fn three() -> Cluster {
    let mut cluster = Cluster::new(5);
    for node in FIRST {
        cluster.start(node, &FIRST).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn what_any_node_commits_all_read_and_who_is_killed_or_stopped_comes_back() {
    let mut cluster = three().await;
    for node in FIRST {
        let (key, value) = (format!("of-{node}"), node.to_string());
        let commit = async {
            // At first a node may not be a coordinator yet, and another one commits for it.
            while !cluster
                .asked(&[node], &["put", &key, &value])
                .await
                .ends_with(&format!("@n{node}\n"))
            {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, commit)
            .await
            .unwrap_or_else(|_| panic!("n{node} does not commit"));
        for reader in FIRST {
            assert_eq!(cluster.asked(&[reader], &["get", &key]).await, format!("{node}\n"));
        }
    }
    let load = Load::start(&cluster).await;
    load.goes_on("at the beginning").await;
    for node in FIRST {
        cluster.kill(node).await;
        load.goes_on(&format!("without n{node}, which was killed")).await;
        // A client that names it first goes on to another.
        let others: Vec<u32> = [node]
            .into_iter()
            .chain(FIRST.into_iter().filter(|other| *other != node))
            .collect();
        assert_eq!(cluster.asked(&others, &["get", "of-1"]).await, "1\n");
        cluster.start(node, &FIRST).await;
        assert_eq!(cluster.asked(&[node], &["get", "of-2"]).await, "2\n", "n{node} is back");
        load.goes_on(&format!("with n{node} again")).await;
    }
    cluster.signal(1, Signal::STOP);
    let stopped = sleep(Duration::from_secs(5));
    load.goes_on("without n1, which is stopped").await;
    stopped.await;
    cluster.signal(1, Signal::CONT);
    assert_eq!(cluster.asked(&[1], &["get", "of-3"]).await, "3\n", "n1 goes on");
    load.goes_on("with n1 going on").await;
    let tallies = load.end().await;
    holds(&cluster, &FIRST, &tallies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_restarted_one_after_the_other_in_order() {
    let mut cluster = three().await;
    let load = Load::start(&cluster).await;
    load.goes_on("at the beginning").await;
    for node in FIRST {
        cluster.signal(node, Signal::TERM);
        let status = cluster.ended(node).await;
        assert_eq!(status.code(), Some(0), "n{node}: {}", cluster.log(node));
        load.goes_on(&format!("without n{node}")).await;
        cluster.start(node, &FIRST).await;
        cluster.asked(&[node], &["scan", "--limit", "1"]).await;
        load.goes_on(&format!("with n{node} again")).await;
    }
    let tallies = load.end().await;
    let perhaps: i64 = tallies.iter().map(|tally| tally.perhaps).sum();
    assert_eq!(perhaps, 0, "who leaves in order leaves nobody in doubt");
    holds(&cluster, &FIRST, &tallies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_node_joins_and_a_fifth_takes_the_place_of_a_dead_one() {
    let mut cluster = three().await;
    let load = Load::start(&cluster).await;
    load.goes_on("at the beginning").await;
    let told = refused(&cluster.ask(&FIRST, &["member", "remove", "9"]).await, 1);
    assert!(told.contains("n9 is no member"), "{told}");

    cluster.start(4, &FIRST).await;
    let text = cluster.asked(&FIRST, &["member", "add", "4"]).await;
    assert!(text.starts_with("join of n4: done, the epoch is e"), "{text}");
    assert_eq!(cluster.asked(&FIRST, &["member", "list"]).await, "n1\nn2\nn3\nn4\n");
    load.goes_on("with n4").await;
    cluster.asked(&[4], &["put", "of-4", "4"]).await;

    cluster.kill(2).await;
    cluster.start(5, &FIRST).await;
    let text = cluster.asked(&[1, 3, 4], &["member", "replace", "2", "5"]).await;
    assert!(text.starts_with("replacement of n2 by n5: done"), "{text}");
    assert_eq!(cluster.asked(&[5], &["member", "list"]).await, "n1\nn3\nn4\nn5\n");
    assert_eq!(
        cluster.asked(&[5], &["get", "of-4"]).await,
        "4\n",
        "n5 has what was before it"
    );
    load.goes_on("with n5").await;
    let status = cluster.asked(&[1, 3, 4, 5], &["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    for node in status["nodes"].as_array().unwrap() {
        assert_eq!(node["members"], serde_json::json!([1, 3, 4, 5]), "{status}");
    }
    let tallies = load.end().await;
    holds(&cluster, &[1, 3, 4, 5], &tallies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_nodes_are_asked_how_they_stand_and_doubt_is_ended_later() {
    let mut cluster = three().await;
    cluster.asked(&FIRST, &["put", "a", "1"]).await;
    cluster.signal(2, Signal::STOP);
    cluster.kill(3).await;
    // Given one of them, it learns where the others are.
    let output = cluster.ask(&[1], &["status", "--json", "--deadline", "4"]).await;
    let told = refused(&output, 1);
    assert!(told.contains("n2 does not answer; n3 does not answer"), "{told}");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["nodes"][0]["state"], "sound", "{status}");
    let told = refused(&cluster.ask(&[1], &["get", "a", "--deadline", "1"]).await, 1);
    assert!(told.contains("no answer within 1s"), "{told}");
    assert_eq!(cluster.asked(&[1], &["get", "a", "--mode", "snapshot"]).await, "1\n");

    let output = cluster.ask(&[1], &["put", "a", "2", "--json", "--deadline", "1"]).await;
    let told = refused(&output, 1);
    assert!(told.contains("resolve the id"), "{told}");
    let put: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(put["outcome"], "unknown", "{put}");
    cluster.signal(2, Signal::CONT);
    let resolved = cluster
        .asked(
            &[2, 1],
            &["resolve", put["id"].as_str().unwrap(), "--json", "--deadline", "20"],
        )
        .await;
    let resolved: serde_json::Value = serde_json::from_str(&resolved).unwrap();
    let expected = match resolved["outcome"].as_str() {
        Some("committed") => "2\n",
        Some("cancelled") => "1\n",
        _ => panic!("the doubt remains: {resolved}"),
    };
    for reader in [1, 2] {
        assert_eq!(cluster.asked(&[reader], &["get", "a"]).await, expected);
    }
}
