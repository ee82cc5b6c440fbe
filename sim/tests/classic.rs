//! The classic failures of a replicated coordinator, replica, network, client and clock of epochs, each as a bundled scenario
//! with its invariant: the run passes every check, and the situation that it is named after really came about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plimsoll::id::TransactionId;
use plimsoll::protocol::node::Counters;
use plimsoll_sim::bundled;
use plimsoll_sim::history::{Entry, Phase};
use plimsoll_sim::report::Judgement;
use plimsoll_sim::run::{Finished, run};
use plimsoll_sim::scenario::Scenario;
use plimsoll_sim::world::Crash;

/// The wall clock at the start of every run.
const START_MS: u64 = plimsoll_sim::clock::START_UNIX_MS;

const SEEDS: [u64; 3] = [1, 2, 3];

/// What a cancelled transaction's abort says in a report.
const CANCELLED: &str = "cancelled by its client";

/// Runs a classic with each seed; each run must pass every check and `assert_came_about`.
fn classic(name: &str, assert_came_about: fn(&Finished)) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/classic/{name}.toml"));
    let scenario = Scenario::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
    for seed in SEEDS {
        let finished = run(name, &scenario, seed, &mut |_| {}).unwrap_or_else(|problems| panic!("{problems:?}"));
        let report = &finished.report;
        assert_eq!(
            report.judgement(),
            Judgement::Pass,
            "{name} with seed {seed}: {:?}\n{:?}\n{:?}",
            report.checks,
            report.violations,
            report.undecided
        );
        assert!(report.checks.contains_key("invariants"), "{:?}", report.checks);
        assert!(
            report.transactions.committed > 100,
            "{name} with seed {seed}: {report:?}"
        );
        assert_came_about(&finished);
    }
}

/// How often a kind of fault happened.
fn times(finished: &Finished, fault: &str) -> u64 {
    finished.report.faults.get(fault).copied().unwrap_or_default()
}

/// What the counters of all nodes that run at the end come to.
fn sum(finished: &Finished, counter: fn(&Counters) -> u64) -> u64 {
    let counters = finished.nodes.iter().map(|node| &node.counters);
    counters.map(counter).sum()
}

/// The transactions that a client was told the end of before `time_us`, each with whether it took effect.
fn told_before(finished: &Finished, time_us: u64) -> BTreeMap<TransactionId, bool> {
    let told = |entry: &&Entry| entry.time_us < time_us && matches!(entry.phase, Phase::Ok | Phase::Fail);
    let told = finished.history.entries.iter().filter(told);
    told.filter_map(|entry| Some((entry.id?, entry.phase == Phase::Ok)))
        .collect()
}

/// The transactions that a crash made its replica forget although a client had been told this end.
fn forgotten_though_told(finished: &Finished, crash: &Crash, took_effect: bool) -> usize {
    let told = told_before(finished, crash.time_us);
    crash
        .forgotten
        .iter()
        .filter(|id| told.get(id) == Some(&took_effect))
        .count()
}

/// The one crash of a run, of a coordinator with calls under way.
fn only_crash(finished: &Finished) -> &Crash {
    let [crash] = &finished.crashes[..] else {
        panic!("one crash: {:?}", finished.crashes);
    };
    assert!(crash.is_coordinator && crash.calls_open > 0, "{crash:?}");
    crash
}

/// How many milliseconds of timestamps the furthest of the others had evaluated more, and the one that was furthest behind.
fn leads_ms(crash: &Crash) -> (i64, i64) {
    let lead = |other: &plimsoll::time::Hlc| other.unix_millis() as i64 - crash.evaluated.unix_millis() as i64;
    let leads = crash.others_evaluated.iter().map(lead);
    let most = leads.clone().max().expect("some node goes on");
    (most, leads.min().expect("some node goes on"))
}

/// How many ends clients learned by asking again; they must have learned all.
fn all_cleared(finished: &Finished) -> u64 {
    let (pursued, cleared) = finished.report.asides.doubts;
    assert!(pursued > 0 && cleared == pursued, "{cleared} of {pursued} cleared");
    cleared
}

/// How many transactions a `resolve` cancelled.
fn cancelled(finished: &Finished) -> u64 {
    let aborted = &finished.report.asides.aborted;
    aborted.get(CANCELLED).copied().unwrap_or_default()
}

fn assert_restarted(finished: &Finished, nodes: usize) {
    assert_eq!(
        (times(finished, "restart"), finished.crashes.len()),
        (nodes as u64, nodes)
    );
    assert!(
        finished.nodes.iter().all(|node| node.is_running),
        "some node does not run"
    );
}

#[test]
fn c1_normal() {
    classic("c1-normal", |run| {
        assert_eq!((run.epoch_changes, run.report.faults.len()), (0, 0));
        let transactions = run.report.transactions;
        assert_eq!(transactions.committed, transactions.submitted);
    });
}

#[test]
fn c2_coordinator_dies_before_a_majority() {
    classic("c2-coordinator-dies-before-a-majority", |run| {
        let crash = only_crash(run);
        assert!(
            !crash.holders.is_empty() && crash.holders.iter().all(|disks| *disks == 1),
            "{crash:?}"
        );
        assert!(run.epoch_changes > 0 && times(run, "cut-one-way") > 0);
        // Nobody was told, and all of it is gone.
        assert_eq!(all_cleared(run), crash.holders.len() as u64);
        assert_eq!(cancelled(run), crash.holders.len() as u64);
    });
}

#[test]
fn c3_coordinator_dies_before_its_watermark() {
    classic("c3-coordinator-dies-before-its-watermark", |run| {
        let crash = only_crash(run);
        assert!(
            !crash.holders.is_empty() && crash.holders.iter().all(|disks| *disks == 3),
            "{crash:?}"
        );
        assert!(leads_ms(crash).1 > 0, "its watermark stood still: {crash:?}");
        assert!(run.epoch_changes > 0);
        // All of it is kept.
        assert_eq!(all_cleared(run), crash.holders.len() as u64);
        assert_eq!(cancelled(run), 0);
    });
}

#[test]
fn c4_coordinator_restarts_after_its_log() {
    classic("c4-coordinator-restarts-after-its-log", |run| {
        let crash = only_crash(run);
        assert!(
            !crash.holders.is_empty() && crash.holders.iter().all(|disks| *disks == 1),
            "{crash:?}"
        );
        assert_restarted(run, 1);
        assert!(
            run.epoch_changes > 0,
            "it coordinates again in an epoch of its own asking"
        );
        assert_eq!(all_cleared(run), crash.holders.len() as u64);
    });
}

#[test]
fn c5_some_replicas_have_evaluated() {
    classic("c5-some-replicas-have-evaluated", |run| {
        let (most, least) = leads_ms(only_crash(run));
        assert!(
            most > -50 && least < -100,
            "one is near the coordinator and one far behind: {most}, {least}"
        );
        assert!(run.epoch_changes > 0 && times(run, "cut-one-way") > 0);
    });
}

#[test]
fn c6_reply_lost_same_id_again() {
    classic("c6-reply-lost-same-id-again", |run| {
        let crash = &run.crashes[0];
        assert!(
            !crash.holders.is_empty() && crash.holders.iter().all(|disks| *disks > 1),
            "{crash:?}"
        );
        assert!(
            crash.calls_open > 0 && leads_ms(crash).1 > 0,
            "the others have evaluated: {crash:?}"
        );
        // The same ids again, and what they came to: the first answers, where they came at last, said the same.
        assert!(
            all_cleared(run) > 20 && run.report.asides.echoes > 20,
            "{:?}",
            run.report.asides
        );
        assert_eq!(run.report.transactions.committed, run.report.transactions.submitted);
        assert_restarted(run, 2);
    });
}

#[test]
fn c7_client_acknowledges_late_or_never() {
    classic("c7-client-acknowledges-late-or-never", |run| {
        let asides = &run.report.asides;
        assert!(
            asides.late > 10 && run.report.transactions.unknown > 5,
            "never: {:?}",
            run.report
        );
        assert!(asides.doubts.1 > 0, "late: {asides:?}");
        assert_eq!(run.epoch_changes, 0);
    });
}

#[test]
fn s1_replica_down_before_the_write() {
    classic("s1-replica-down-before-the-write", |run| {
        let crash = &run.crashes[0];
        assert!(
            crash.calls_open == 0 && crash.forgotten.is_empty(),
            "nothing had begun: {crash:?}"
        );
        assert_restarted(run, 1);
        assert!(run.epoch_changes > 1, "it was put out and came back");
        assert!(told_before(run, 4_900_000).len() > 100, "the others go on without it");
    });
}

#[test]
fn s2_acknowledgement_lost() {
    classic("s2-acknowledgement-lost", |run| {
        assert!(times(run, "cut-one-way") > 100);
        assert_eq!((run.epoch_changes, run.crashes.len()), (0, 0));
        assert_eq!(run.report.transactions.committed, run.report.transactions.submitted);
    });
}

#[test]
fn s3_acknowledged_then_dies() {
    classic("s3-acknowledged-then-dies", |run| {
        let crash = only_crash(run);
        assert!(crash.records_unevaluated > 0, "{crash:?}");
        assert!(leads_ms(crash).1 > 20, "the others had evaluated more: {crash:?}");
        assert_restarted(run, 1);
    });
}

#[test]
fn s4_dies_between_flushes() {
    classic("s4-dies-between-flushes", |run| {
        assert_restarted(run, 3);
        for crash in &run.crashes {
            assert!(
                crash.flushed.unix_millis() > START_MS,
                "there is a checkpoint: {crash:?}"
            );
            assert!(
                crash.flushed < crash.evaluated && !crash.forgotten.is_empty(),
                "{crash:?}"
            );
        }
        assert_eq!((times(run, "crash-at-sync"), times(run, "crash-at-send")), (1, 1));
        assert!(
            run.crashes.iter().any(|crash| crash.records_unsynced > 0),
            "a sync was cut short"
        );
    });
}

#[test]
fn s5_dies_after_evaluation() {
    classic("s5-dies-after-evaluation", |run| {
        assert_restarted(run, 3);
        for crash in &run.crashes {
            assert!(forgotten_though_told(run, crash, true) > 10, "{crash:?}");
        }
        assert!(run.epoch_changes > 0);
    });
}

#[test]
fn s6_dies_after_an_abort() {
    classic("s6-dies-after-an-abort", |run| {
        assert_restarted(run, 3);
        for crash in &run.crashes {
            assert!(forgotten_though_told(run, crash, false) > 0, "{crash:?}");
        }
    });
}

#[test]
fn n1_partition_in_s_phase() {
    classic("n1-partition-in-s-phase", |run| {
        assert!(times(run, "cut-symmetric") > 100 && run.epoch_changes > 0);
        assert!(
            sum(run, |counters| counters.reissued) > 0,
            "what was dropped is issued again"
        );
        assert!(run.crashes.is_empty());
        assert_eq!(run.report.transactions.committed, run.report.transactions.submitted);
    });
}

#[test]
fn n2_partition_between_groups() {
    classic("n2-partition-between-groups", |run| {
        assert!(times(run, "cut-symmetric") > 1_000 && run.epoch_changes > 0);
        assert!(run.crashes.is_empty());
    });
}

#[test]
fn n3_cut_off_during_an_epoch_change() {
    classic("n3-cut-off-during-an-epoch-change", |run| {
        assert!(only_crash(run).is_coordinator && times(run, "cut-symmetric") > 500);
        assert!(run.epoch_changes > 0);
        let recovery_us = run.recoveries_us[0];
        assert!(
            recovery_us > 1_200_000,
            "no group could end the epoch before 5.2 s: {recovery_us}"
        );
    });
}

#[test]
fn cl1_client_dies_before_the_answer() {
    classic("cl1-client-dies-before-the-answer", |run| {
        let asides = &run.report.asides;
        assert!(asides.late > 10, "answers come to clients that are gone: {asides:?}");
        assert!(run.report.transactions.unknown > 10 && asides.doubts == (0, 0));
        assert_eq!(run.epoch_changes, 0);
    });
}

#[test]
fn cl2_client_dies_after_the_answer() {
    classic("cl2-client-dies-after-the-answer", |run| {
        let asides = &run.report.asides;
        assert!(asides.doubled > 100 && asides.echoes > 100, "{asides:?}");
        assert!(forgotten_though_told(run, only_crash(run), true) > 10);
        assert_restarted(run, 1);
    });
}

#[test]
fn cl3_restarted_client_asks_for_the_status() {
    classic("cl3-restarted-client-asks-for-the-status", |run| {
        let asides = &run.report.asides;
        assert!(asides.doubts.1 > 10 && asides.echoes > 10, "{asides:?}");
        assert!(times(run, "slow-link") > 0);
        assert_restarted(run, 1);
    });
}

#[test]
fn t1_acknowledgement_after_the_fence() {
    classic("t1-acknowledgement-after-the-fence", |run| {
        assert!(times(run, "slow-link") > 100 && times(run, "slow-disk") == 1);
        assert!(only_crash(run).is_coordinator && run.epoch_changes > 0);
        assert!(
            sum(run, |counters| counters.fenced) > 50,
            "appends came after the fence"
        );
        assert!(
            sum(run, |counters| counters.other_epoch) > 100,
            "rows came after the epoch"
        );
    });
}

#[test]
fn t2_old_message_after_a_restart() {
    classic("t2-old-message-after-a-restart", |run| {
        assert_restarted(run, 2);
        assert!(times(run, "late") > 100 && run.epoch_changes > 1);
        assert!(sum(run, |counters| counters.other_epoch) > 300);
    });
}

#[test]
fn t3_two_proposers_race() {
    classic("t3-two-proposers-race", |run| {
        let crash = &run.crashes[0];
        assert!(
            !crash.holders.is_empty() && crash.holders.iter().all(|disks| *disks == 2),
            "{crash:?}"
        );
        assert!(times(run, "restart") == 2 && run.epoch_changes > 0);
        assert!(run.contested_epochs > 0, "one node alone tried to end the epoch");
    });
}

#[test]
fn every_classic_is_bundled_and_names_its_invariant() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/classic");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let names: BTreeSet<String> = files
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 22, "{names:?}");
    for name in names {
        let description = bundled::load(&name, &[]).unwrap().description;
        assert!(description.contains("(I-"), "{name}: {description}");
    }
}
