//! Clients against a cluster that answers as its script says.

use std::collections::{BTreeMap, BTreeSet};

use super::fake::{Fake, Reaction, WALL_START_US};
use super::*;
use crate::check::{Checks, Observed};
use crate::history::{History, Phase as EntryPhase, function};
use crate::port::{ClientRequest, RequestBody};
use crate::scenario::{CounterMode, Distribution, WorkloadConfig, WorkloadKind};
use crate::workload::{build, judged_as};

pub(super) const SECOND_US: u64 = 1_000_000;

pub(super) fn settings() -> FleetSettings {
    FleetSettings {
        seed: Seed(1),
        nodes: vec![vec![0, 1], vec![2]],
        clients_per_region: 3,
        pace: Pace::Closed { think_us: 1_000 },
        mix: Mix::default(),
        doubts: Doubts::default(),
        deadline_us: 50_000,
        refused_wait_us: 5_000,
        wall_start_us: WALL_START_US,
        warm_up_us: 0,
        load_us: SECOND_US,
    }
}

pub(super) fn config(kind: WorkloadKind) -> WorkloadConfig {
    WorkloadConfig {
        kind,
        keys: 8,
        distribution: Distribution::Zipf { theta: 0.9 },
        ..WorkloadConfig::default()
    }
}

fn all_reads() -> Mix {
    Mix {
        strict_reads: 0.1,
        snapshot_reads: 0.1,
        after_reads: 0.1,
        bounded_reads: 0.1,
        bound_us: 1_000,
    }
}

pub(super) fn serve(_: u64, _: usize, _: &ClientRequest) -> Reaction {
    Reaction::Serve
}

pub(super) type Script = fn(u64, usize, &ClientRequest) -> Reaction;

/// A run of one second of load; the answers of requests take 2 ms.
pub(super) fn run(settings: FleetSettings, config: &WorkloadConfig, script: Script) -> Fake<Script> {
    let fleet = Fleet::new(settings, build(config).unwrap());
    let mut fake = Fake::new(fleet, 1_000, script);
    fake.run(SECOND_US, 60 * SECOND_US);
    assert!(fake.clients.is_idle(), "the clients did not come to an end");
    fake
}

pub(super) fn assert_checks_pass(config: &WorkloadConfig, history: &History) {
    for (name, verdict) in Checks::new(judged_as(config)).run(&Observed::history(history)) {
        assert!(verdict.is_pass(), "{name}: {verdict:#?}");
    }
}

#[test]
fn every_workload_runs_to_its_end_and_every_check_passes() {
    let kinds = [
        WorkloadKind::Transfer,
        WorkloadKind::Retwis,
        WorkloadKind::YcsbT,
        WorkloadKind::Put2,
        WorkloadKind::ListAppend,
        WorkloadKind::Counter,
    ];
    for kind in kinds {
        for counter in [CounterMode::Merge, CounterMode::ReadModifyWrite] {
            let config = WorkloadConfig {
                counter,
                ..config(kind)
            };
            let mix = all_reads();
            let fake = run(FleetSettings { mix, ..settings() }, &config, serve);
            assert_eq!(fake.clients.final_reads_unanswered(), Some(0));
            let record = fake.clients.into_recorder();
            assert!(record.counts.committed > 500, "{kind:?}: {:?}", record.counts);
            assert_eq!(record.counts.unknown() + record.counts.refused + record.counts.late, 0);
            assert_eq!(record.wrong_answers, [""; 0]);
            assert_checks_pass(&config, &record.history);
            let measures = &record.regions[0];
            for latencies in [
                &measures.commit,
                &measures.strict_read,
                &measures.snapshot_read,
                &measures.after_read,
                &measures.bounded_read,
            ] {
                assert!((latencies.quantile_ms(0.5).unwrap() - 2.0).abs() < 0.01);
            }
        }
    }
}

#[test]
fn a_cluster_that_forgets_a_few_transactions_is_found_out_by_every_workload() {
    let forgets: Script = |time_us, _, request| match (&request.body, time_us % 53) {
        (RequestBody::Submit { .. }, 0) => Reaction::Forget,
        _ => Reaction::Serve,
    };
    // Transactions of put2 read nothing: a write that was forgotten shows where it was the last of its key.
    let kinds = [
        WorkloadKind::Transfer,
        WorkloadKind::Retwis,
        WorkloadKind::YcsbT,
        WorkloadKind::ListAppend,
        WorkloadKind::Counter,
    ];
    for kind in kinds {
        for counter in [CounterMode::Merge, CounterMode::ReadModifyWrite] {
            let config = WorkloadConfig {
                counter,
                ..config(kind)
            };
            let history = run(settings(), &config, forgets).clients.into_recorder().history;
            let verdicts = Checks::new(judged_as(&config)).run(&Observed::history(&history));
            let own = match kind {
                WorkloadKind::ListAppend => "list-append",
                WorkloadKind::Retwis | WorkloadKind::YcsbT => "registers",
                // The total stays the same without a whole transfer: balances and the claimed order tell.
                WorkloadKind::Transfer | WorkloadKind::Counter | WorkloadKind::Put2 | WorkloadKind::Cycle => "witness",
            };
            assert!(
                verdicts[own].is_fail(),
                "{kind:?}: {own} overlooked it: {:?}",
                verdicts[own]
            );
            assert!(verdicts["witness"].is_fail(), "{kind:?}: {:?}", verdicts["witness"]);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history_and_another_one_another() {
    let config = config(WorkloadKind::Retwis);
    let history = |seed| {
        let mix = all_reads();
        let seed = Seed(seed);
        run(
            FleetSettings {
                seed,
                mix,
                ..settings()
            },
            &config,
            serve,
        )
        .clients
        .into_recorder()
        .history
    };
    assert_eq!(history(5).entries, history(5).entries);
    assert_ne!(history(5).entries, history(6).entries);
}

#[test]
fn a_closed_client_thinks_between_calls_and_uses_nodes_of_its_region() {
    let fake = run(settings(), &config(WorkloadKind::YcsbT), serve);
    let mut sent: BTreeMap<usize, Vec<(u64, usize)>> = BTreeMap::new();
    for (time_us, node, request) in &fake.arrivals {
        sent.entry(request.client).or_default().push((*time_us, *node));
    }
    assert_eq!(sent.len(), 6);
    for calls in sent.values() {
        assert!(
            calls.windows(2).all(|pair| pair[1].0 - pair[0].0 == 3_000),
            "2 ms of delay and 1 of thinking"
        );
        assert!(
            calls.iter().all(|call| call.1 == calls[0].1),
            "a node that answers is kept"
        );
    }
    let nodes: BTreeSet<usize> = fake.arrivals.iter().map(|(_, node, _)| *node).collect();
    assert!(nodes.contains(&2));
}

#[test]
fn open_arrivals_keep_their_rate_however_slow_the_answers_are() {
    let pace = Pace::Open { rate_per_s: 200.0 };
    let silent: Script = |_, _, _| Reaction::ServeSilently;
    for (script, deadline_us) in [(serve as Script, 50_000), (silent, 10 * SECOND_US)] {
        let settings = FleetSettings {
            pace,
            deadline_us,
            ..settings()
        };
        let fake = run(settings, &config(WorkloadKind::YcsbT), script);
        let in_load = fake
            .arrivals
            .iter()
            .filter(|(time_us, ..)| *time_us <= SECOND_US)
            .count() as f64;
        // 2 regions, 3 clients, 200 a second: five standard deviations of a Poisson process are 173.
        assert!((in_load - 1_200.0).abs() < 173.0, "{in_load} arrivals");
        let record = fake.clients.into_recorder();
        assert_eq!(
            record.counts.submitted as usize,
            record.counts.committed as usize + record.counts.unknown() as usize
        );
        assert_checks_pass(&config(WorkloadKind::YcsbT), &record.history);
    }
}

#[test]
fn a_call_without_an_answer_ends_as_info_and_its_process_is_never_used_again() {
    let some_silent: Script = |time_us, _, _| match time_us % 13 {
        0 => Reaction::ServeSilently,
        1 => Reaction::Doubt,
        _ => Reaction::Serve,
    };
    let config = config(WorkloadKind::ListAppend);
    let fake = run(settings(), &config, some_silent);
    assert_eq!(
        fake.clients.final_reads_unanswered(),
        Some(0),
        "final reads are tried again"
    );
    let record = fake.clients.into_recorder();
    assert!(record.counts.unknown() > 10, "{:?}", record.counts);
    let mut retired = BTreeSet::new();
    for entry in &record.history.entries {
        assert!(
            !retired.contains(&entry.process),
            "process {} goes on after its info",
            entry.process
        );
        if entry.phase == EntryPhase::Info {
            retired.insert(entry.process);
        }
    }
    assert_checks_pass(&config, &record.history);
}

#[test]
fn a_refused_call_fails_and_the_next_one_goes_to_another_node_after_a_wait() {
    let first_node_refuses: Script = |_, node, _| match node {
        0 => Reaction::Refuse,
        _ => Reaction::Serve,
    };
    let fake = run(settings(), &config(WorkloadKind::Transfer), first_node_refuses);
    let mut refused: BTreeMap<usize, u64> = BTreeMap::new();
    for (time_us, node, request) in &fake.arrivals {
        if let Some(before_us) = refused.remove(&request.client) {
            assert_eq!(
                (*node, time_us - before_us),
                (1, 7_000),
                "2 ms of delay and 5 of waiting"
            );
        }
        if *node == 0 {
            refused.insert(request.client, *time_us);
        }
    }
    let record = fake.clients.into_recorder();
    assert!(
        record.counts.refused > 0 && record.counts.unknown() == 0,
        "{:?}",
        record.counts
    );
    assert_checks_pass(&config(WorkloadKind::Transfer), &record.history);
}

#[test]
fn an_answer_that_is_none_is_a_wrong_answer_and_says_nothing_of_the_call() {
    let garbles: Script = |time_us, _, _| match time_us < SECOND_US / 10 {
        true => Reaction::Garble,
        false => Reaction::Serve,
    };
    let mix = all_reads();
    let record = run(
        FleetSettings { mix, ..settings() },
        &config(WorkloadKind::YcsbT),
        garbles,
    )
    .clients
    .into_recorder();
    assert!(record.wrong_answers_count > 10);
    let says = |text: &str| record.wrong_answers.iter().any(|wrong| wrong.contains(text));
    assert!(
        says("a transaction was answered as a read"),
        "{:#?}",
        record.wrong_answers
    );
    assert!(says("the answer holds 0 keys"), "{:#?}", record.wrong_answers);
    assert_checks_pass(&config(WorkloadKind::YcsbT), &record.history);
}

#[test]
fn an_after_read_asks_for_what_its_client_has_seen() {
    let mix = Mix {
        after_reads: 0.5,
        ..Mix::default()
    };
    let fake = run(
        FleetSettings { mix, ..settings() },
        &config(WorkloadKind::Counter),
        serve,
    );
    let mut after = 0;
    for (_, _, request) in &fake.arrivals {
        if let RequestBody::Read {
            mode: plimsoll::protocol::ReadMode::After(at),
            ..
        } = &request.body
        {
            assert!(at.hlc.unix_millis() * 1_000 >= WALL_START_US);
            after += 1;
        }
    }
    assert!(after > 100, "{after}");
    let entries = fake.clients.into_recorder().history.entries;
    let named = entries
        .iter()
        .filter(|entry| entry.function == function::AFTER_READ)
        .count();
    assert_eq!(named, 2 * after);
}

#[test]
fn ids_carry_the_virtual_wall_time_and_are_all_different() {
    let fake = run(settings(), &config(WorkloadKind::YcsbT), serve);
    let mut ids = BTreeSet::new();
    for (time_us, _, request) in &fake.arrivals {
        if let RequestBody::Submit { id, .. } = &request.body {
            assert_eq!(id.unix_millis(), (WALL_START_US + time_us - 1_000) / 1_000);
            assert!(ids.insert(*id));
        }
    }
}

#[test]
fn final_reads_go_to_other_nodes_when_their_own_do_not_answer() {
    let region_lost: Script = |time_us, node, _| match (time_us > SECOND_US, node) {
        (true, 0 | 1) => Reaction::ServeSilently,
        _ => Reaction::Serve,
    };
    let fake = run(settings(), &config(WorkloadKind::ListAppend), region_lost);
    assert_eq!(fake.clients.final_reads_unanswered(), Some(0));
    let record = fake.clients.into_recorder();
    let last_region = record.history.entries.last().unwrap().region;
    assert!(last_region < 2);
    let lists: BTreeSet<u64> = appended(&record.history);
    assert_eq!(lists, read_in_the_end(&record.history), "every list is read in the end");
}

#[test]
fn nothing_is_sent_after_the_stop_but_final_reads() {
    let fake = run(settings(), &config(WorkloadKind::Transfer), serve);
    for (time_us, _, request) in &fake.arrivals {
        // A request that arrives up to 1 ms after the stop was sent before it.
        let is_read = matches!(request.body, RequestBody::Read { .. });
        assert!(*time_us <= SECOND_US + 1_000 || is_read, "{request:?} at {time_us} us");
    }
    assert!(matches!(fake.arrivals.last().unwrap().2.body, RequestBody::Read { .. }));
}

fn appended(history: &History) -> BTreeSet<u64> {
    let steps = history.entries.iter().flat_map(|entry| &entry.value);
    let keys = steps.filter_map(|step| match step {
        crate::history::MicroOperation::Append { key, .. } => Some(*key),
        _ => None,
    });
    keys.collect()
}

fn read_in_the_end(history: &History) -> BTreeSet<u64> {
    let last = history
        .entries
        .iter()
        .rev()
        .take_while(|entry| entry.time_us > SECOND_US);
    let ok = last.filter(|entry| entry.phase == EntryPhase::Ok && entry.function == function::STRICT_READ);
    let keys = ok.flat_map(|entry| &entry.value).filter_map(|step| match step {
        crate::history::MicroOperation::ReadList { key, .. } => Some(*key),
        _ => None,
    });
    keys.collect()
}
