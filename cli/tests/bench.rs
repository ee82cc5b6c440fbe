//! The real program under a load of one second: what it prints, how it exits, and what the checkers say of its history.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

mod support;

use plimsoll_sim::check::Verdict;
use plimsoll_sim::history::Phase;
use plimsoll_sim::scenario::WorkloadKind;
use serde_json::Value;
use support::{history_of, plimsoll, verdicts};

const WORKLOADS: [(&str, WorkloadKind, &str); 5] = [
    ("transfer", WorkloadKind::Transfer, "holds"),
    ("counter", WorkloadKind::Counter, "holds"),
    ("ycsb", WorkloadKind::YcsbT, "none"),
    ("retwis", WorkloadKind::Retwis, "none"),
    ("put2", WorkloadKind::Put2, "holds"),
];

/// `bench` with these arguments and `--json`, for a second after a short warm-up.
fn bench(arguments: &[&str]) -> Value {
    let mut all = vec![
        "bench",
        "--seconds",
        "1",
        "--warm-up",
        "0.1",
        "--clients",
        "8",
        "--json",
    ];
    all.extend(arguments);
    let output = plimsoll(&all);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{all:?}: {told}");
    assert!(output.stderr.is_empty(), "progress is for terminals: {told}");
    serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
}

#[test]
fn every_workload_is_measured_and_keeps_its_invariant() {
    for (workload, _, invariant) in WORKLOADS {
        let report = bench(&["--workload", workload, "--keys", "200"]);
        for key in [
            "clients",
            "replicas",
            "committed",
            "aborted",
            "unknown",
            "throughput",
            "seconds",
        ] {
            assert!(report[key].is_number(), "{workload}: {key} in {report:#}");
        }
        let quantiles: Vec<f64> = ["p50", "p90", "p99", "p999", "max"]
            .iter()
            .map(|quantile| {
                report["latency_ms"][quantile]
                    .as_f64()
                    .expect("something was committed")
            })
            .collect();
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{workload}: {quantiles:?}");
        assert_eq!(report["workload"], workload);
        assert_eq!(report["durability"], "fsync");
        assert_eq!(report["invariant"], invariant, "{report:#}");
        assert_eq!((&report["unknown"], &report["wrong_answers"]), (&0.into(), &0.into()));
        assert!(report["committed"].as_u64() > Some(0), "{report:#}");
        assert!(report["cpu_us_per_txn"].as_f64() > Some(0.0), "{report:#}");
    }
}

#[test]
fn one_three_and_five_replicas_in_memory_skewed_hot_and_at_a_rate() {
    for (replicas, dist) in [("1", "zipf:0.99"), ("3", "hot:2"), ("5", "uniform")] {
        let report = bench(&[
            "--replicas",
            replicas,
            "--dist",
            dist,
            "--durability",
            "none",
            "--rate",
            "200",
            "--keys",
            "100",
        ]);
        assert_eq!(report["replicas"].to_string(), replicas);
        assert_eq!(report["distribution"], dist);
        assert_eq!(report["invariant"], "holds", "{report:#}");
        let committed = report["committed"].as_u64().expect("a number");
        assert!(
            (100..=300).contains(&committed),
            "200 arrive, and {committed} were committed"
        );
    }
}

#[test]
fn a_database_in_a_folder_is_used_again_and_what_it_holds_counts() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let folder = parent.path().join("data");
    let folder = folder.to_str().expect("an ordinary path");
    for workload in ["counter", "counter", "transfer"] {
        let report = bench(&["--workload", workload, "--keys", "20", "--folder", folder]);
        // A counter that was incremented is an account of that much: the sum is held against what was found.
        assert_eq!(report["invariant"], "holds", "{report:#}");
    }
    let history = parent.path().join("history.json");
    let history = history.to_str().expect("an ordinary path");
    let output = plimsoll(&[
        "bench",
        "--seconds",
        "1",
        "--keys",
        "20",
        "--folder",
        folder,
        "--history",
        history,
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--history needs a new database"));
    let other = plimsoll(&["bench", "--seconds", "1", "--folder", folder, "--replicas", "1"]);
    assert_eq!(other.status.code(), Some(1));
    let told = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(told.contains("holds a database of 3 replicas"), "{told}");
}

#[test]
fn the_simulators_checkers_pass_the_history_and_fail_one_in_which_an_answer_is_changed() {
    const KEYS: u64 = 50;
    let folder = tempfile::tempdir().expect("a folder for the test");
    for (workload, kind, _) in WORKLOADS {
        let path = folder.path().join(format!("{workload}.jsonl"));
        let text = path.to_str().expect("an ordinary path");
        let report = bench(&["--workload", workload, "--keys", &KEYS.to_string(), "--history", text]);
        let mut history = history_of(&path);
        let oks = history.entries.iter().filter(|entry| entry.phase == Phase::Ok).count() as u64;
        assert!(oks >= report["committed"].as_u64().expect("a number"));
        for (check, verdict) in verdicts(kind, KEYS, &history) {
            assert!(verdict.is_pass(), "{workload}: {check}: {verdict}");
        }
        // What the last answer of all read is made another one's.
        let mut answers = history
            .entries
            .iter_mut()
            .rev()
            .filter(|entry| entry.phase == Phase::Ok);
        let is_spoilt = answers.any(|entry| spoil(&mut entry.value));
        assert!(is_spoilt, "{workload}: something was read");
        let found = verdicts(kind, KEYS, &history);
        assert!(found.values().any(Verdict::is_fail), "{workload}: {found:?}");
    }
}

/// Changes the first value that was read. *Gives* whether there is one.
fn spoil(steps: &mut [plimsoll_sim::history::MicroOperation]) -> bool {
    use plimsoll_sim::history::MicroOperation as M;
    for step in steps {
        match step {
            M::ReadCounter { value: Some(value), .. } => {
                *value += 1;
                return true;
            }
            M::ReadRegister { value: Some(value), .. } => {
                *value = value.map(|value| value + (1 << 40)).or(Some(1 << 40));
                return true;
            }
            _ => {}
        }
    }
    false
}
