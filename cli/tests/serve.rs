//! What `plimsoll serve` is started with, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use plimsoll::key::Value;
use plimsoll::thunk::Put;
use rustix::process::Signal;
use support::{Cluster, PROGRAM, plimsoll, refused, succeeded};

#[test]
fn a_file_that_cannot_be_used_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    let path = path.to_str().unwrap();
    let told = refused(&plimsoll(&["serve", "--config", path]), 2);
    assert!(told.contains("node.toml: cannot be read"), "{told}");
    for (text, expected) in [
        (
            "log = \"json\"\nfoldr = \"x\"\n",
            &["node.toml", "line 2", "unknown field `foldr`", "expected one of"][..],
        ),
        ("members = [1, 0]\n", &["line 1", "nodes are numbered from 1"]),
        ("folder = \n", &["line 1"]),
        ("folder = \"x\"\n", &["listens on all addresses", "PLIMSOLL_ADVERTISE"]),
        (
            "listen = \"127.0.0.1:0\"\n",
            &["there is no folder", "PLIMSOLL_FOLDER", "--folder"],
        ),
    ] {
        fs::write(path, text).unwrap();
        let told = refused(&plimsoll(&["serve", "--config", path]), 2);
        for part in expected {
            assert!(told.contains(part), "{text}: {told}");
        }
    }
}

#[test]
fn a_flag_is_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.toml");
    fs::write(
        &path,
        "folder = \"data\"\nlog = \"human\"\nlog_level = \"error\"\nprofile = \"wan\"\n",
    )
    .unwrap();
    let output = Command::new(PROGRAM)
        .args(["serve", "--print-config", "--log-level", "debug", "--config"])
        .arg(&path)
        .env("PLIMSOLL_LOG", "json")
        .env("PLIMSOLL_LOG_LEVEL", "trace")
        .env("PLIMSOLL_PEERS", "2=db2:7400,3=db3:7400")
        .output()
        .unwrap();
    let printed = succeeded(&output);
    let beside = format!("folder = {:?}", folder.path().join("data"));
    for line in [
        beside.as_str(),
        "log = \"json\"",
        "log_level = \"debug\"",
        "profile = \"wan\"",
        "listen = \"0.0.0.0:7400\"",
        "peers = { 2 = \"db2:7400\", 3 = \"db3:7400\" }",
        "# credentials =",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line} in {printed}");
    }
}

#[test]
fn credentials_that_are_no_nodes_and_a_folder_that_is_another_nodes_are_refused() {
    let cluster = Cluster::new(2);
    let data = cluster.folder().join("data");
    let serve = |name: &str| {
        let credentials = cluster.credentials(name);
        let (data, credentials) = (data.to_str().unwrap(), credentials.to_str().unwrap());
        plimsoll(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--folder",
            data,
            "--credentials",
            credentials,
        ])
    };
    assert!(refused(&serve("client"), 1).contains("these are the credentials of a client"));
    assert!(refused(&serve("none"), 1).contains("none/certificate.pem: cannot be read"));
    assert!(refused(&serve("authority"), 1).contains("it is an authority's"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_that_it_serves_and_ends_in_order_when_it_is_told_to() {
    let mut cluster = Cluster::new(2);
    for (signal, node) in [(Signal::TERM, 1), (Signal::INT, 1)] {
        cluster.start(node, &[node]).await;
        let log = cluster.log(node);
        assert!(log.contains("its folder is ") && log.contains("data-1"), "{log}");
        cluster.asked(&[node], &["put", "a", "1"]).await;
        cluster.signal(node, signal);
        let status = cluster.ended(node).await;
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", cluster.log(node));
    }
    // The folder is the first node's now.
    fs::rename(cluster.folder().join("data-1"), cluster.folder().join("data")).unwrap();
    let (data, second) = (cluster.folder().join("data"), cluster.credentials("node-2"));
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--folder",
        data.to_str().unwrap(),
        "--credentials",
        second.to_str().unwrap(),
    ];
    let told = refused(&plimsoll(&arguments), 1);
    assert!(told.contains("n2 is not started"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_json_on_every_line() {
    let mut cluster = Cluster::new(1);
    let settings = "log = \"json\"\nlog_level = \"debug\"\n";
    cluster.start_with(1, &[1], settings, "\"message\":\"serves\"").await;
    cluster.asked(&[1], &["put", "a", "1"]).await;
    cluster.signal(1, Signal::TERM);
    assert_eq!(cluster.ended(1).await.code(), Some(0));
    let log = cluster.log(1);
    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok_and(|parsed| parsed.is_object()), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_fails_ends_the_process_and_says_why() {
    const VALUE_BYTES: usize = 1_000_000;
    let mut cluster = Cluster::new(1);
    cluster.start(1, &[1]).await;
    let database = cluster.handle(&[1]).await;
    // The next file of the log cannot be made.
    let folder = cluster.folder().join("data-1");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "no folder").unwrap();
    let fill = async {
        for number in 0..100 {
            let entries = vec![("a".into(), Value::new(vec![number; VALUE_BYTES]))];
            if database.submit(&Put { entries }).await.is_err() {
                // It ends now.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        () = fill => {}
        status = cluster.ended(1) => {
            assert_eq!(status.code(), Some(1));
            let log = cluster.log(1);
            assert!(log.contains("the log cannot be written"), "{log}");
            assert!(log.ends_with("error: n1 has stopped by itself: the log says why\n"), "{log}");
            return;
        }
    }
    panic!("the node still takes transactions: {}", cluster.log(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_nobody_hears_ends_in_order_all_the_same_and_at_once_when_it_is_told_twice() {
    let mut cluster = Cluster::new(2);
    for (signals, expected) in [(1, 0), (2, 1)] {
        cluster.start(1, &[1, 2]).await;
        cluster.signal(1, Signal::TERM);
        if signals == 2 {
            // Signals of one kind that come together count once.
            while !cluster.log(1).contains("shutting down") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cluster.signal(1, Signal::TERM);
        }
        let status = cluster.ended(1).await;
        assert_eq!(status.code(), Some(expected), "{}", cluster.log(1));
    }
    assert!(cluster.log(1).contains("was told twice to stop"), "{}", cluster.log(1));
}
