//! Every command that asks a cluster, against one node of the real program: what it prints, in both forms, and how it exits.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use plimsoll::key::{Key, KeyRange, Value as PlimsollValue};
use plimsoll::thunk::Put;
use serde_json::{Value, json};
use support::{Cluster, PROGRAM, plimsoll, refused};

async fn one_node() -> Cluster {
    let mut cluster = Cluster::new(1);
    cluster.start(1, &[1]).await;
    cluster
}

/// What a command printed in JSON.
async fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let printed = cluster.asked(&[1], &arguments).await;
    serde_json::from_str(&printed).expect("one JSON object and nothing else")
}

/// What a command printed in JSON that ended with status 1, and what it said.
async fn failed(cluster: &Cluster, arguments: &[&str]) -> (Value, String) {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let output = cluster.ask(&[1], &arguments).await;
    let told = refused(&output, 1);
    let printed = serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    (printed, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_got_and_what_is_deleted_is_gone() {
    let cluster = one_node().await;
    let text = cluster.asked(&[1], &["put", "a", "ein Wert"]).await;
    assert!(text.starts_with("committed ") && text.ends_with("@n1\n"), "{text}");
    assert_eq!(cluster.asked(&[1], &["get", "a"]).await, "ein Wert\n");
    assert_eq!(cluster.asked(&[1], &["get", "a", "--raw"]).await, "ein Wert");
    assert_eq!(cluster.asked(&[1], &["get", "61", "--hex"]).await, "65696e2057657274\n");
    let got = json(&cluster, &["get", "a"]).await;
    assert_eq!((&got["key"], &got["value"]), (&json!("a"), &json!("ein Wert")));

    // A value that begins with a hyphen, and an id under which it takes effect once.
    let put = json(&cluster, &["put", "b", "-1"]).await;
    assert_eq!(put["outcome"], "committed");
    let id = put["id"].as_str().unwrap();
    let again = json(&cluster, &["put", "b", "-2", "--id", id]).await;
    assert_eq!(again, put, "the first outcome is told");
    let got = json(&cluster, &["get", "b"]).await;
    assert_eq!((&got["value"], &got["timestamp"]), (&json!("-1"), &put["timestamp"]));

    assert_eq!(json(&cluster, &["delete", "b"]).await["removed"], json!(true));
    assert_eq!(json(&cluster, &["delete", "b"]).await["removed"], json!(false));
    let (printed, told) = failed(&cluster, &["get", "b"]).await;
    assert_eq!(printed["value"], Value::Null);
    assert!(told.contains("there is nothing at \"b\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_in_and_out_as_hex() {
    let cluster = one_node().await;
    cluster.asked(&[1], &["put", "ff00", "1b5b324a", "--hex"]).await;
    let entries = |scanned: Value| scanned["entries"][0].clone();
    let scanned = entries(json(&cluster, &["scan"]).await);
    assert_eq!(
        (&scanned["key"], &scanned["value"]),
        (&json!({ "hex": "ff00" }), &json!("\u{1b}[2J"))
    );
    let scanned = entries(json(&cluster, &["scan", "--hex"]).await);
    assert_eq!(scanned["value"], json!({ "hex": "1b5b324a" }));
    let text = cluster.asked(&[1], &["scan"]).await;
    assert_eq!(
        text, "\"\\xff\\x00\"\t\"\\x1b[2J\"\n",
        "a terminal is not to be cleared"
    );
    let raw = cluster.ask(&[1], &["get", "ff00", "--hex", "--json"]).await;
    assert_eq!(raw.status.code(), Some(0));
    let told = refused(&cluster.ask(&[1], &["put", "fff", "00", "--hex"]).await, 2);
    assert!(told.contains("`fff` is not hexadecimal"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_has_bounds_a_limit_and_a_snapshot() {
    let cluster = one_node().await;
    let words = "put a 1 put b 2 put ba 3 put c 4 add n 7";
    let words: Vec<&str> = ["txn"].into_iter().chain(words.split(' ')).collect();
    let committed = json(&cluster, &words).await;
    let keys = async |arguments: &[&str]| {
        let text = cluster.asked(&[1], &[&["scan", "--number"], arguments].concat()).await;
        text.replace('\t', "=").replace('\n', " ")
    };
    assert_eq!(keys(&[]).await, "a=1 b=2 ba=3 c=4 n=7 ");
    assert_eq!(keys(&["--prefix", "b"]).await, "b=2 ba=3 ");
    assert_eq!(keys(&["--from", "b", "--to", "c"]).await, "b=2 ba=3 ");
    assert_eq!(keys(&["--from", "c"]).await, "c=4 n=7 ");
    assert_eq!(keys(&["--to", "b"]).await, "a=1 ");
    let limited = json(&cluster, &["scan", "--limit", "2"]).await;
    assert_eq!(
        (limited["entries"].as_array().unwrap().len(), &limited["more"]),
        (2, &json!(true))
    );

    let at = limited["at"].as_str().unwrap().to_owned();
    json(&cluster, &["put", "a", "new"]).await;
    assert_eq!(
        keys(&["--mode", &format!("at:{at}"), "--to", "b"]).await,
        "a=1 ",
        "the old snapshot"
    );
    let after = format!("after:{}", committed["timestamp"].as_str().unwrap());
    for mode in ["strict", &after, "bounded:60000", "snapshot"] {
        let found = keys(&["--mode", mode, "--from", "ba", "--to", "c"]).await;
        assert_eq!(found, "ba=3 ", "{mode}");
    }
    let told = refused(
        &cluster.ask(&[1], &["get", "a", "--mode", "at:4000000000000.0"]).await,
        1,
    );
    assert!(told.contains("ahead of this node's clock"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_takes_effect_as_a_whole_or_not_at_all() {
    let cluster = one_node().await;
    let words = "put a 1 delete b add counter 5 add counter -2 get a get b max high 3 append log x union set e absent b expect a 1 expect-number counter 3";
    let words: Vec<&str> = ["txn"].into_iter().chain(words.split(' ')).collect();
    let done = json(&cluster, &words).await;
    assert_eq!(done["outcome"], "committed");
    let results: Vec<String> = done["results"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(
        results,
        [
            "put a",
            "delete b false",
            "add counter 5",
            "add counter 3",
            "get a 1",
            "get b nothing",
            "max high 3",
            "append log",
            "union set",
            "absent b",
            "expect a",
            "expect counter",
        ]
    );
    let (aborted, why) = failed(&cluster, &["txn", "put", "a", "2", "expect", "counter", "7"]).await;
    assert_eq!(aborted["outcome"], "aborted", "a number is not its digits");
    assert!(why.contains("expected \"7\" at \"counter\""), "{why}");
    assert_eq!(
        cluster.asked(&[1], &["get", "a"]).await,
        "1\n",
        "nothing of it took effect"
    );
    let (aborted, _) = failed(&cluster, &["txn", "add", "a", "1"]).await;
    assert!(
        aborted["reason"].as_str().unwrap().contains("no number of eight bytes"),
        "{aborted}"
    );

    let text = cluster.asked(&[1], &["txn", "add", "counter", "1", "get", "a"]).await;
    assert!(text.starts_with("add\tcounter\t4\nget\ta\t1\ncommitted "), "{text}");
    assert_eq!(cluster.asked(&[1], &["get", "counter", "--number"]).await, "4\n");
}

/// An operation and what it gave, in few words.
fn told(result: &Value) -> String {
    let word = |name: &str| result[name].as_str().unwrap().to_owned();
    let mut told = format!("{} {}", word("operation"), word("key"));
    for name in ["value", "removed"] {
        match result.get(name) {
            None => {}
            Some(Value::Null) => told += " nothing",
            Some(Value::String(text)) => told += &format!(" {text}"),
            Some(other) => told += &format!(" {other}"),
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_read_from_standard_input() {
    let cluster = one_node().await;
    let run = |text: &'static str| {
        let mut child = Command::new(PROGRAM)
            .args(["txn", "--node", &format!("1={}", cluster.address(1)), "--cluster"])
            .arg(cluster.credentials("client"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = run("# two keys\nput a a value of words\n\nput b 2\n");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(cluster.asked(&[1], &["get", "a"]).await, "a value of words\n");
    for (text, expected) in [
        ("put a 1\nput b\n", "line 2: `put` lacks its value"),
        ("fly\n", "line 1: there is no operation `fly`"),
        ("# nothing\n", "there are no operations"),
    ] {
        let told = refused(&run(text), 2);
        assert!(told.contains(expected), "{told}");
    }
    assert_eq!(cluster.asked(&[1], &["get", "b"]).await, "2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_transaction_is_told_and_doubt_is_ended() {
    let cluster = one_node().await;
    let put = json(&cluster, &["put", "a", "1"]).await;
    let id = put["id"].as_str().unwrap();
    for command in ["txn-status", "resolve"] {
        let known = json(&cluster, &[command, id]).await;
        assert_eq!(
            (&known["outcome"], &known["timestamp"]),
            (&json!("committed"), &put["timestamp"])
        );
        let text = cluster.asked(&[1], &[command, id]).await;
        assert!(text.starts_with("committed at "), "{text}");
    }
    // An id of the present that nobody has submitted: the other's with another end.
    let mut never = id.to_owned();
    let last = if never.ends_with('0') { "1" } else { "0" };
    never.replace_range(never.len() - 1.., last);
    assert_eq!(json(&cluster, &["txn-status", &never]).await["outcome"], "none");
    let resolved = json(&cluster, &["resolve", &never]).await;
    assert_eq!(resolved["outcome"], "cancelled");
    assert_eq!(json(&cluster, &["txn-status", &never]).await["outcome"], "cancelled");
    let (late, why) = failed(&cluster, &["put", "a", "2", "--id", &never]).await;
    assert_eq!(late["outcome"], "aborted");
    assert!(why.contains("was cancelled by"), "{why}");

    // One of the year 2001.
    let old = "00e2f5c0-6c00-7000-8000-000000000000";
    let (expired, why) = failed(&cluster, &["resolve", old]).await;
    assert_eq!(expired["outcome"], "expired");
    assert!(why.contains("whether it did is no longer known"), "{why}");
    let told = refused(&cluster.ask(&[1], &["resolve", "12"]).await, 2);
    assert!(told.contains("a UUIDv7"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_the_node_stands_and_who_the_members_are() {
    let cluster = one_node().await;
    let status = json(&cluster, &["status"]).await;
    let node = &status["nodes"][0];
    assert_eq!(
        (&node["node"], &node["state"], &node["members"]),
        (&json!(1), &json!("sound"), &json!([1]))
    );
    for key in ["epoch", "watermark_behind_ms", "evaluated_behind_ms"] {
        assert!(node[key].is_i64(), "{key} in {status}");
    }
    let text = cluster.asked(&[1], &["status"]).await;
    assert!(text.starts_with("node  epoch") && text.contains("sound"), "{text}");
    let members = json(&cluster, &["member", "list"]).await;
    assert_eq!(
        (&members["members"], &members["coordinators"]),
        (&json!([1]), &json!([1]))
    );
    assert_eq!(cluster.asked(&[1], &["member", "list"]).await, "n1\n");
    for (arguments, expected) in [
        (&["member", "remove", "7"][..], "n7 is no member"),
        (&["member", "remove", "1", "--at", "1"], "n1 is the last member"),
        (
            &["member", "remove", "1"],
            "no member answers that could see to the change",
        ),
    ] {
        let told = refused(&cluster.ask(&[1], arguments).await, 1);
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_reached_is_told_of() {
    let cluster = one_node().await;
    let other = Cluster::new(1);
    let node = format!("1={}", cluster.address(1));
    let at = |folder: &str, more: &[&str]| {
        plimsoll(
            &[
                &["get", "a", "--cluster", folder, "--node", &node, "--deadline", "1"],
                more,
            ]
            .concat(),
        )
    };
    let foreign = other.credentials("client");
    let told = refused(&at(foreign.to_str().unwrap(), &[]), 1);
    assert!(told.contains("not read: n1 cannot be reached"), "{told}");
    let told = refused(&at("no-such-folder", &[]), 1);
    assert!(
        told.contains("no-such-folder/certificate.pem: cannot be read"),
        "{told}"
    );
    let own = cluster.credentials("client");
    let told = refused(&at(own.to_str().unwrap(), &["--node", "2"]), 2);
    assert!(told.contains("1=db1.example.org:7400"), "{told}");
    let told = refused(&plimsoll(&["get", "a"]), 2);
    assert!(told.contains("--cluster") && told.contains("--node"), "{told}");

    let nowhere = [
        "--cluster",
        own.to_str().unwrap(),
        "--node",
        "7=127.0.0.1:9",
        "--deadline",
        "1",
    ];
    let told = |arguments: &[&str]| refused(&plimsoll(&[arguments, &nowhere].concat()), 1);
    assert!(told(&["status"]).contains("n7 does not answer"));
    assert!(told(&["member", "list"]).contains("no node answers"));
    assert!(told(&["member", "add", "2"]).contains("no member answers"));
    let output = plimsoll(&[&["put", "a", "1", "--json"], &nowhere[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Where the deadline comes first, the handle does not know whether the last attempt has got through.
    let outcome = printed["outcome"].as_str().unwrap();
    assert!(["refused", "unknown"].contains(&outcome), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_more_than_a_node_answers_at_once_is_of_one_snapshot() {
    const VALUE_BYTES: usize = 900_000;
    let cluster = one_node().await;
    let database = cluster.handle(&[1]).await;
    let value = |letter: u8| PlimsollValue::new(vec![letter; VALUE_BYTES]);
    for number in 0..12 {
        let key = Key::from(format!("big/{number:02}").as_str());
        let entries = vec![(key, value(b'a' + number))];
        database.submit(&Put { entries }).await.unwrap();
    }
    let all = json(&cluster, &["scan"]).await;
    let entries = all["entries"].as_array().unwrap();
    let found: Vec<_> = entries.iter().map(|entry| entry["value"].as_str().unwrap()).collect();
    assert_eq!((found.len(), &all["more"]), (12, &json!(false)));
    for (found, letter) in found.iter().zip(b'a'..) {
        assert_eq!(found.len(), VALUE_BYTES);
        assert!(found.bytes().all(|byte| byte == letter));
    }
    // The library says what is wrong.
    let error = database.scan(KeyRange::prefix("big/".into()), 12).await.unwrap_err();
    assert!(error.to_string().contains("ask for less at a time"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_prints_what_follows_on_a_scan_and_a_place_that_was_printed() {
    let cluster = one_node().await;
    json(&cluster, &["put", "a/1", "old"]).await;
    let scanned = json(&cluster, &["scan", "--prefix", "a/"]).await;
    let at = scanned["at"].as_str().unwrap().to_owned();
    let words = "put a/1 new put b/1 beside add a/2 7";
    let words: Vec<&str> = ["txn"].into_iter().chain(words.split(' ')).collect();
    let both = json(&cluster, &words).await;
    let deleted = json(&cluster, &["delete", "a/1"]).await;
    let place = |committed: &Value| committed["timestamp"].as_str().unwrap().to_owned();
    let (both, deleted) = (place(&both), place(&deleted));
    let watch = ["watch", "--prefix", "a/", "--number", "--after"];
    let text = cluster
        .asked(&[1], &[&watch[..], &[&at, "--count", "3"]].concat())
        .await;
    let expected = format!("{both}\tput\ta/1\tnew\n{both}\tput\ta/2\t7\n{deleted}\tdelete\ta/1\n");
    assert_eq!(text, expected);
    let last = json(&cluster, &[&watch[..], &[&both, "--count", "1"]].concat()).await;
    assert_eq!(last, json!({ "timestamp": deleted, "key": "a/1", "value": null }));

    // Without a place it begins now, and waits.
    let watching = cluster.asked(&[1], &["watch", "--from", "c", "--count", "1"]);
    tokio::pin!(watching);
    let text = loop {
        tokio::select! {
            text = &mut watching => break text,
            put = json(&cluster, &["put", "c", "1"]) => assert_eq!(put["outcome"], "committed"),
        }
    };
    assert!(text.contains("\tput\tc\t") && text.ends_with('\n'), "{text}");

    let told = refused(&cluster.ask(&[1], &["watch", "--after", "1.0"]).await, 1);
    assert!(told.contains("scan the range"), "{told}");
    let told = refused(&cluster.ask(&[1], &["watch", "--after", "now"]).await, 2);
    assert!(told.contains("`now` is no place"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_a_transaction_would_do_and_does_nothing() {
    let cluster = one_node().await;
    json(&cluster, &["put", "a", "1"]).await;
    let tried = ["txn", "--dry-run", "put", "b", "2", "delete", "a", "add", "n", "3"];
    let text = cluster.asked(&[1], &[&tried[..], &["--number"]].concat()).await;
    let expected = "put\tb\tdone\ndelete\ta\tremoved\nadd\tn\t3\nwould delete\ta\nwould write\tb\t2\nwould write\tn\t3\nnothing was";
    assert!(text.starts_with(expected), "{text}");
    let run = json(&cluster, &tried).await;
    assert_eq!(
        (&run["outcome"], &run["writes"][0]),
        (&json!("would commit"), &json!({ "key": "a", "value": null }))
    );
    let (run, told) = failed(&cluster, &["txn", "--dry-run", "expect", "a", "2", "put", "a", "3"]).await;
    assert_eq!(run["outcome"], "would abort");
    assert!(told.contains("it would abort"), "{told}");
    assert_eq!(cluster.asked(&[1], &["scan"]).await, "a\t1\n");
}
