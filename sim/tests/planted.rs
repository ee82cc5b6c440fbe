//! Bugs planted at the boundary of the production nodes: each must be caught by the checks that are meant for it, and the
//! same run without it must pass.

use std::path::Path;

use plimsoll_sim::report::Judgement;
use plimsoll_sim::run::run;
use plimsoll_sim::scenario::Scenario;

/// The checks that fail in a short run of a bundled scenario with these settings.
fn failing(scenario: &str, settings: &[&str]) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scenarios")
        .join(format!("{scenario}.toml"));
    let short = ["world.load_s=6", "world.warm_up_s=0", "world.drain_s=5"];
    let settings: Vec<String> = short.iter().chain(settings).map(ToString::to_string).collect();
    let scenario = Scenario::load(&path, &settings).unwrap_or_else(|error| panic!("{error}"));
    let finished = run("planted", &scenario, 1, &mut |_| {}).unwrap_or_else(|problems| panic!("{problems:?}"));
    let checks = finished.report.checks.into_iter();
    let failed = checks.filter(|(_, judgement)| *judgement == Judgement::Fail);
    failed.map(|(name, _)| name).collect()
}

fn assert_caught(scenario: &str, settings: &[&str], bug: &str, by: &[&str]) {
    assert_eq!(failing(scenario, settings), Vec::<String>::new(), "without a bug");
    let planted = format!("faults.planted=\"{bug}\"");
    let settings: Vec<&str> = settings.iter().copied().chain([&planted[..]]).collect();
    let failing = failing(scenario, &settings);
    for check in by {
        assert!(
            failing.iter().any(|failed| failed == check),
            "{bug} must fail {check}, and failed {failing:?}"
        );
    }
}

#[test]
fn a_stale_strict_read_is_caught_by_the_histories_of_lists_and_of_timestamps() {
    assert_caught("list-append", &[], "stale-strict-read", &["list-append", "witness"]);
}

#[test]
fn a_reply_before_evaluation_is_caught_by_the_histories_and_by_the_disks() {
    assert_caught("list-append", &[], "early-reply", &["list-append", "witness"]);
}

#[test]
fn a_reply_before_evaluation_is_caught_by_registers_too() {
    assert_caught("ycsb-t", &["workload.keys=50"], "early-reply", &["registers"]);
}

#[test]
fn replicas_that_evaluate_in_another_order_are_caught_by_comparing_them() {
    assert_caught(
        "three-regions-busy",
        &["workload.keys=100"],
        "other-order",
        &["replica-agreement", "nodes", "invariants"],
    );
}

#[test]
fn a_watermark_from_a_minority_is_caught_by_the_disks() {
    // The first node hears everybody and nobody hears it, so nobody else can hold what it accepts.
    let unheard = "faults.cut=[{from=\"us-east-1\", to=\"eu-west-1\", from_s=2, until_s=5}, \
                   {from=\"us-east-1\", to=\"ap-northeast-1\", from_s=2, until_s=5}]";
    assert_caught(
        "list-append",
        &[unheard],
        "minority-watermark",
        &["durability", "invariants"],
    );
}
