//! Clients that do not leave it at doubt, against a cluster that answers as its script says.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::id::TransactionId;

use super::doubt::CANCELLED;
use super::fake::Reaction;
use super::tests::{SECOND_US, Script, assert_checks_pass, config, run, serve, settings};
use super::{Doubts, FleetSettings, Recorder};
use crate::check::{Checks, Observed};
use crate::history::Phase;
use crate::port::{ClientRequest, RequestBody};
use crate::scenario::{WorkloadConfig, WorkloadKind};
use crate::workload::judged_as;

pub(super) const RETRY: Doubts = Doubts {
    retry: 1.0,
    resolve: 0.0,
    status: 0.0,
    double_submit: 0.0,
};
const RESOLVE: Doubts = Doubts {
    retry: 0.0,
    resolve: 1.0,
    ..RETRY
};
const STATUS: Doubts = Doubts {
    retry: 0.0,
    status: 1.0,
    ..RETRY
};
const DOUBLE: Doubts = Doubts {
    retry: 0.0,
    double_submit: 1.0,
    ..RETRY
};

fn with(doubts: Doubts) -> FleetSettings {
    FleetSettings { doubts, ..settings() }
}

/// A number below 17 for a moment, without a rhythm that meets that of the clients.
fn draw(time_us: u64) -> u64 {
    let mixed = time_us.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) % 17
}

/// Of what the load sends, some is served in silence, held back for long, refused, or left in doubt.
pub(super) fn unreliable(time_us: u64, _: usize, request: &ClientRequest) -> Reaction {
    match (&request.body, draw(time_us)) {
        (RequestBody::Read { .. }, _) => Reaction::Serve,
        (_, 0 | 1) => Reaction::ServeSilently,
        (_, 2) => Reaction::Doubt,
        (_, 3) => Reaction::Hold { for_us: 170_000 },
        (_, 4) => Reaction::Refuse,
        _ => Reaction::Serve,
    }
}

fn kinds() -> [WorkloadConfig; 5] {
    [
        WorkloadKind::Transfer,
        WorkloadKind::Retwis,
        WorkloadKind::YcsbT,
        WorkloadKind::ListAppend,
        WorkloadKind::Counter,
    ]
    .map(config)
}

/// Runs a workload in a cluster that loses and delays, and finds nothing wrong with what the clients learned.
fn learned(doubts: Doubts, config: &WorkloadConfig, script: Script) -> Recorder {
    let recorder = run(with(doubts), config, script).clients.into_recorder();
    assert_eq!(recorder.wrong_answers, [""; 0]);
    assert_checks_pass(config, &recorder.history);
    recorder
}

#[test]
fn an_id_is_submitted_again_until_it_is_answered_and_takes_effect_once() {
    for config in kinds() {
        let counts = learned(RETRY, &config, unreliable).counts;
        assert!(counts.pursued > 20, "{:?}: {counts:?}", config.kind);
        assert_eq!((counts.cleared, counts.unknown()), (counts.pursued, 0));
        assert!(counts.echoes > 0, "what was held back comes in the end: {counts:?}");
    }
}

#[test]
fn a_doubt_is_resolved_and_the_transaction_has_committed_or_never_will() {
    for config in kinds() {
        let counts = learned(RESOLVE, &config, unreliable).counts;
        assert!(counts.pursued > 20, "{:?}: {counts:?}", config.kind);
        assert_eq!((counts.cleared, counts.unknown()), (counts.pursued, 0));
        let cancelled = counts.aborted[CANCELLED];
        assert!(0 < cancelled && cancelled < counts.cleared, "some, not all: {counts:?}");
    }
}

#[test]
fn a_status_tells_of_what_was_evaluated_and_the_rest_stays_unknown() {
    let silent: Script = |time_us, node, request| match (&request.body, draw(time_us)) {
        (RequestBody::Submit { .. }, 3) => Reaction::Hold { for_us: 500_000 },
        _ => unreliable(time_us, node, request),
    };
    // With so many unknown additions nobody can tell which of them a counter holds.
    let is_counters = |kind| matches!(kind, WorkloadKind::Transfer | WorkloadKind::Counter);
    for config in kinds().into_iter().filter(|config| !is_counters(config.kind)) {
        let counts = learned(STATUS, &config, silent).counts;
        assert!(counts.cleared > 20, "{:?}: {counts:?}", config.kind);
        let unknown = counts.pursued - counts.cleared;
        assert!(0 < unknown, "those that were held back: {counts:?}");
        assert_eq!(counts.unknown(), unknown);
    }
}

#[test]
fn all_is_submitted_twice_and_both_answers_are_one() {
    for config in kinds() {
        let fake = run(with(DOUBLE), &config, serve);
        let mut nodes: BTreeMap<TransactionId, BTreeSet<usize>> = BTreeMap::new();
        for (_, node, request) in &fake.arrivals {
            if let RequestBody::Submit { id, .. } = request.body {
                nodes.entry(id).or_default().insert(*node);
            }
        }
        assert!(
            nodes.values().all(|nodes| nodes.len() == 2),
            "each at two nodes: {nodes:?}"
        );
        let record = fake.clients.into_recorder();
        let counts = &record.counts;
        assert_eq!((counts.doubled, counts.unknown()), (counts.submitted, 0));
        assert!(
            counts.echoes >= counts.submitted - 6,
            "but for the last of each client: {counts:?}"
        );
        assert_eq!(record.wrong_answers, [""; 0]);
        assert_checks_pass(&config, &record.history);
        let invoked = record
            .history
            .entries
            .iter()
            .filter(|entry| entry.phase == Phase::Invoke);
        let ids: Vec<_> = invoked.filter_map(|entry| entry.id).collect();
        assert_eq!(ids.len() as u64, counts.submitted, "one operation each");
    }
}

#[test]
fn one_of_two_nodes_refuses_and_the_other_one_counts() {
    let first_refuses: Script = |_, node, _| match node {
        0 => Reaction::Refuse,
        _ => Reaction::Serve,
    };
    let counts = learned(DOUBLE, &config(WorkloadKind::Counter), first_refuses).counts;
    assert_eq!((counts.refused, counts.unknown()), (0, 0), "{counts:?}");
    let all_refuse: Script = |_, _, request| match request.body {
        RequestBody::Submit { .. } => Reaction::Refuse,
        _ => Reaction::Serve,
    };
    let counts = learned(DOUBLE, &config(WorkloadKind::Counter), all_refuse).counts;
    assert_eq!((counts.refused, counts.committed), (counts.submitted, 0));
    // One refuses, the other may have done it: the refusal says nothing of that.
    let one_doubts: Script = |_, node, request| match (&request.body, node) {
        (RequestBody::Submit { .. }, 0) => Reaction::Refuse,
        (RequestBody::Submit { .. }, _) => Reaction::Doubt,
        _ => Reaction::Serve,
    };
    let counts = learned(DOUBLE, &config(WorkloadKind::Counter), one_doubts).counts;
    assert!(
        counts.refused == 0 && counts.unknown() == counts.submitted,
        "{counts:?}"
    );
}

#[test]
fn a_pursuit_goes_from_node_to_node_with_one_id_of_its_own() {
    let submits_lost: Script = |_, _, request| match request.body {
        RequestBody::Submit { .. } => Reaction::ServeSilently,
        RequestBody::Resolve { .. } => Reaction::Refuse,
        _ => Reaction::Serve,
    };
    let config = config(WorkloadKind::Counter);
    let fleet = super::Fleet::new(with(RESOLVE), crate::workload::build(&config).unwrap());
    let mut fake = super::fake::Fake::new(fleet, 1_000, submits_lost);
    fake.run(SECOND_US, SECOND_US);
    let mut attempts: BTreeMap<TransactionId, Vec<(TransactionId, usize)>> = BTreeMap::new();
    for (_, node, request) in &fake.arrivals {
        if let RequestBody::Resolve { id, target } = request.body {
            attempts.entry(target).or_default().push((id, *node));
        }
    }
    assert_eq!(attempts.len(), 6, "nobody goes on without knowing");
    for attempts in attempts.values() {
        assert!(attempts.len() > 10);
        assert!(attempts.iter().all(|(id, _)| *id == attempts[0].0));
        let nodes: BTreeSet<usize> = attempts[..3].iter().map(|(_, node)| *node).collect();
        assert_eq!(nodes, BTreeSet::from([0, 1, 2]), "all nodes by turns");
    }
}

#[test]
fn a_cluster_that_evaluates_an_id_twice_is_found_out() {
    let repeats: Script = |time_us, _, request| match (&request.body, draw(time_us)) {
        (RequestBody::Submit { .. }, 0) => Reaction::ServeSilently,
        (RequestBody::Submit { .. }, _) => Reaction::Repeat,
        _ => Reaction::Serve,
    };
    for config in kinds() {
        let record = run(with(RETRY), &config, repeats).clients.into_recorder();
        assert!(record.counts.pursued > 20, "{:?}", record.counts);
        let verdicts = Checks::new(judged_as(&config)).run(&Observed::history(&record.history));
        assert!(
            verdicts.values().any(|verdict| verdict.is_fail()),
            "{:?} overlooked it: {verdicts:?}",
            config.kind
        );
        let record = run(with(DOUBLE), &config, repeats).clients.into_recorder();
        assert!(record.wrong_answers_count > 20, "two answers that differ");
        assert!(
            record.wrong_answers[0].contains("first and"),
            "{}",
            record.wrong_answers[0]
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_history_also_in_doubt() {
    let doubts = Doubts {
        retry: 0.3,
        resolve: 0.3,
        status: 0.3,
        double_submit: 0.3,
    };
    let config = config(WorkloadKind::ListAppend);
    let recorders = [0, 1].map(|_| learned(doubts, &config, unreliable));
    assert_eq!(recorders[0].history.entries, recorders[1].history.entries);
    assert_eq!(recorders[0].counts, recorders[1].counts);
}
