//! The JSON report key by key, and the table.

use serde_json::Value;

use super::*;
use crate::client::{Doubts, Fleet, FleetSettings, Mix, Pace, fake::Fake, fake::Reaction, fake::WALL_START_US};
use crate::random::Seed;
use crate::scenario::{WorkloadConfig, WorkloadKind};
use crate::workload::build;

const SECOND_US: u64 = 1_000_000;

/// One second of transfers in two regions, of which the second one has no node.
fn recorder() -> Recorder {
    let settings = FleetSettings {
        seed: Seed(1),
        nodes: vec![vec![0], vec![]],
        clients_per_region: 4,
        pace: Pace::Closed { think_us: 0 },
        mix: Mix {
            strict_reads: 0.2,
            ..Mix::default()
        },
        doubts: Doubts::default(),
        deadline_us: SECOND_US,
        refused_wait_us: 1_000,
        wall_start_us: WALL_START_US,
        warm_up_us: SECOND_US / 2,
        load_us: SECOND_US,
    };
    let config = WorkloadConfig {
        kind: WorkloadKind::Transfer,
        keys: 10,
        initial_balance: 3,
        ..WorkloadConfig::default()
    };
    let mut fake = Fake::new(Fleet::new(settings, build(&config).unwrap()), 5_000, |_, _, _| {
        Reaction::Serve
    });
    fake.run(SECOND_US, SECOND_US);
    fake.clients.into_recorder()
}

fn report(verdicts: &BTreeMap<&'static str, Verdict>) -> Report {
    let facts = RunFacts {
        scenario: "two".to_owned(),
        seed: 7,
        trace_hash: 0xabc,
        virtual_us: 1_500_000,
        wall_seconds: 0.25,
        events: 1_000,
        regions: vec![("west".to_owned(), 8.0), ("east".to_owned(), 0.0)],
        faults: BTreeMap::from([("lost".to_owned(), 3)]),
    };
    Report::new(facts, &recorder(), verdicts)
}

fn fail() -> Verdict {
    Verdict::Fail(vec![Violation::new("total-changed", "11 instead of 10", Vec::new())])
}

fn unknown() -> Verdict {
    Verdict::Unknown {
        why: "too many".to_owned(),
        size: 12,
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_json_has_exactly_the_documented_keys() {
    let json = serde_json::to_value(report(&BTreeMap::from([("transfer", fail()), ("witness", unknown())]))).unwrap();
    assert_eq!(
        keys(&json),
        [
            "checks",
            "events",
            "events_per_second",
            "faults",
            "regions",
            "scenario",
            "seed",
            "throughput_per_virtual_second",
            "trace_hash",
            "transactions",
            "violations",
            "virtual_seconds",
            "wall_seconds",
        ]
    );
    assert_eq!(
        keys(&json["transactions"]),
        ["aborted", "committed", "submitted", "unknown"]
    );
    assert_eq!(keys(&json["regions"]), ["east", "west"]);
    let west = &json["regions"]["west"];
    assert_eq!(
        keys(west),
        ["bound_ms", "commit_ms", "snapshot_read_ms", "strict_read_ms"]
    );
    for latencies in ["commit_ms", "strict_read_ms", "snapshot_read_ms"] {
        assert_eq!(keys(&west[latencies]), ["max", "p50", "p90", "p99", "p999"]);
    }
    assert!((west["commit_ms"]["p50"].as_f64().unwrap() - 10.0).abs() < 0.01);
    assert!(west["snapshot_read_ms"]["p50"].is_null(), "nothing was measured");
    assert_eq!(
        json["checks"],
        serde_json::json!({"transfer": "fail", "witness": "unknown"})
    );
    assert_eq!(json["violations"][0]["check"], "transfer");
    assert_eq!(json["violations"][0]["anomaly"], "total-changed");
    assert_eq!(json["faults"], serde_json::json!({"lost": 3}));
    assert_eq!(json["trace_hash"], "0000000000000abc");
    assert_eq!(json["events_per_second"], 4_000.0);
}

#[test]
fn the_regions_stand_in_the_order_of_the_scenario() {
    let text = serde_json::to_string(&report(&BTreeMap::new())).unwrap();
    assert!(text.find("west") < text.find("east"), "{text}");
}

#[test]
fn a_failure_outweighs_what_is_unknown_and_that_outweighs_passes() {
    let judged = |verdicts: &[(&'static str, Verdict)]| report(&verdicts.iter().cloned().collect()).judgement();
    assert_eq!(judged(&[("a", Verdict::Pass)]), Judgement::Pass);
    assert_eq!(judged(&[("a", Verdict::Pass), ("b", unknown())]), Judgement::Unknown);
    assert_eq!(judged(&[("a", unknown()), ("b", fail())]), Judgement::Fail);
}

#[test]
fn the_table_shows_latency_beside_the_bound_and_what_became_of_everything() {
    let report = report(&BTreeMap::from([("transfer", Verdict::Pass), ("witness", unknown())]));
    let table = report.table();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let words = |name| line(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words("west")[2..9],
        ["10.0", "10.0", "8.0", "1.25", "1.25", "10.0", "10.0"]
    );
    assert_eq!(
        words("east")[1..],
        ["0.0", "-", "-", "0.0", "-", "-", "-", "-", "-", "-"]
    );
    assert_eq!(line("region").len(), line("west").len(), "columns are in line");
    assert!(line("transactions").contains("balance too low: "), "{table}");
    assert!(line("faults").ends_with("lost 3"), "{table}");
    assert!(line("checks passed").ends_with(" transfer"), "{table}");
    assert!(line("undecided").ends_with(" witness"), "{table}");
    assert!(line("trace hash").ends_with("0000000000000abc"), "{table}");
    assert_eq!(report.undecided["witness"], "too many (size 12)");
    let asides = &report.asides;
    let Transactions {
        submitted,
        committed,
        aborted,
        unknown,
    } = report.transactions;
    assert_eq!(submitted, committed + aborted + asides.refused + unknown);
    assert!(aborted > 0 && asides.aborted["balance too low"] == aborted);
}
