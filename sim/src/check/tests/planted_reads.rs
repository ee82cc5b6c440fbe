//! Reads that are wrong in themselves, records that contradict themselves, and claims that do not hold.

use std::collections::BTreeMap;

use super::script::{Op, add, append, assert_anomalies, counter, history, list, ok, register, write};
use crate::check::{Verdict, list_append, liveness, registers, well_formed, witness, witness_from};
use crate::history::{Phase, function};

fn lists(operations: &[Op]) -> Verdict {
    list_append(&history(operations))
}

fn claims(operations: &[Op]) -> Verdict {
    witness(&history(operations))
}

#[test]
fn g1a_an_element_of_a_failed_operation_was_read() {
    let failed = ok(0, 1, vec![append(1, 1)]).phase(Phase::Fail);
    assert_eq!(lists(&[failed.clone(), ok(2, 3, vec![list(1, &[])])]), Verdict::Pass);
    assert_anomalies(&lists(&[failed, ok(2, 3, vec![list(1, &[1])])]), &["G1a"]);
    let failed = ok(0, 1, vec![write(1, 1)]).phase(Phase::Fail);
    assert_anomalies(
        &registers(&history(&[failed, ok(2, 3, vec![register(1, 1)])])),
        &["G1a"],
    );
}

#[test]
fn g1b_an_intermediate_state_was_read() {
    let twice = ok(0, 5, vec![append(1, 1), append(1, 2)]);
    let verdict = lists(&[twice, ok(1, 6, vec![list(1, &[1])]), ok(7, 8, vec![list(1, &[1, 2])])]);
    assert!(
        verdict.violations().iter().any(|violation| violation.anomaly == "G1b"),
        "{verdict}"
    );
    let twice = ok(0, 5, vec![write(1, 1), write(1, 2)]);
    assert_anomalies(&registers(&history(&[twice, ok(1, 6, vec![register(1, 1)])])), &["G1b"]);
}

#[test]
fn an_element_may_be_appended_once_only() {
    let writer = ok(0, 1, vec![append(1, 1)]);
    assert_anomalies(
        &lists(&[writer.clone(), ok(2, 3, vec![list(1, &[1, 1])])]),
        &["duplicate-element"],
    );
    assert_anomalies(&lists(&[writer, ok(2, 3, vec![append(1, 1)])]), &["malformed-history"]);
    let twice = [ok(0, 1, vec![write(1, 1)]), ok(2, 3, vec![write(1, 1)])];
    assert_anomalies(&registers(&history(&twice)), &["malformed-history"]);
}

#[test]
fn what_nobody_wrote_cannot_be_read() {
    assert_anomalies(&lists(&[ok(0, 1, vec![list(1, &[5])])]), &["unknown-element"]);
    assert_anomalies(
        &registers(&history(&[ok(0, 1, vec![register(1, 5)])])),
        &["unknown-value"],
    );
}

#[test]
fn reads_of_a_list_are_prefixes_of_one_another() {
    let verdict = lists(&[
        ok(0, 9, vec![append(1, 1)]),
        ok(0, 9, vec![append(1, 2)]),
        ok(1, 8, vec![list(1, &[1])]),
        ok(2, 7, vec![list(1, &[2])]),
    ]);
    assert_anomalies(&verdict, &["incompatible-order"]);
}

#[test]
fn a_transaction_reads_its_own_appends_and_no_others_between() {
    let other = ok(0, 9, vec![append(1, 1)]);
    let not_repeatable = ok(1, 8, vec![list(1, &[]), list(1, &[1])]);
    assert_anomalies(&lists(&[other.clone(), not_repeatable]), &["internal"]);
    let not_own = ok(1, 8, vec![append(1, 2), list(1, &[1])]);
    assert_anomalies(&lists(&[other.clone(), not_own]), &["internal"]);
    let early = ok(1, 8, vec![list(1, &[2]), append(1, 2)]);
    assert_anomalies(&lists(&[other.clone(), early]), &["internal"]);
    let good = ok(
        1,
        8,
        vec![list(1, &[1]), append(1, 2), append(1, 3), list(1, &[1, 2, 3])],
    );
    assert_eq!(lists(&[other, good]), Verdict::Pass);
    for value in [
        vec![register(1, 0), register(1, 1)],
        vec![write(1, 2), register(1, 1)],
        vec![register(1, 2), write(1, 2)],
    ] {
        let verdict = registers(&history(&[ok(0, 9, vec![write(1, 1)]), ok(1, 8, value)]));
        assert_anomalies(&verdict, &["internal"]);
    }
}

#[test]
fn a_malformed_record_is_no_pass() {
    let mut twice_open = history(&[ok(0, 5, vec![append(1, 1)]).by(1), ok(1, 6, vec![append(1, 2)]).by(1)]);
    assert_anomalies(&well_formed(&twice_open), &["malformed-history"]);
    assert!(list_append(&twice_open).is_fail() && witness(&twice_open).is_fail());
    twice_open.entries.truncate(1);
    assert_eq!(well_formed(&twice_open), Verdict::Pass);
    let after_info = [
        ok(0, 1, vec![append(1, 1)]).phase(Phase::Info).by(1),
        ok(2, 3, vec![append(1, 2)]).by(1),
    ];
    assert_anomalies(&well_formed(&history(&after_info)), &["malformed-history"]);
    let mut no_beginning = history(&[ok(0, 1, vec![append(1, 1)])]);
    no_beginning.entries.remove(0);
    assert_anomalies(&well_formed(&no_beginning), &["malformed-history"]);
    let mut unread = history(&[ok(0, 1, vec![list(1, &[])])]);
    unread.entries[1].value = unread.entries[0].value.clone();
    assert_anomalies(&well_formed(&unread), &["malformed-history"]);
    let mut back = history(&[ok(5, 6, vec![append(1, 1)])]);
    back.entries[1].time_us = 4;
    assert_anomalies(&well_formed(&back), &["malformed-history"]);
}

#[test]
fn what_was_submitted_is_answered() {
    let mut operations = [
        ok(0, 1, vec![append(1, 1)]),
        ok(0, 2, vec![append(1, 2)]).phase(Phase::Info),
    ];
    assert_eq!(liveness(&history(&operations)), Verdict::Pass);
    operations[0].end = None;
    let verdict = liveness(&history(&operations));
    assert_anomalies(&verdict, &["unanswered"]);
    assert_eq!(verdict.violations()[0].operations[0].index, 0);
}

#[test]
fn claims_that_explain_every_read_pass() {
    let good = [
        ok(0, 5, vec![append(1, 1), add(3, 5)]).at(20),
        ok(1, 6, vec![append(1, 2), counter(3, 0), write(2, 1)]).at(10),
        ok(7, 8, vec![list(1, &[2, 1]), counter(3, 5), register(2, 1)])
            .at(20)
            .function(function::STRICT_READ),
        ok(9, 10, vec![list(1, &[2])]).at(19).function(function::SNAPSHOT_READ),
    ];
    assert_eq!(claims(&good), Verdict::Pass);
    let mut without = good;
    without[0].at = None;
    assert!(matches!(claims(&without), Verdict::Unknown { size: 1, .. }));
}

#[test]
fn claims_that_do_not_explain_a_read_are_caught() {
    let writer = ok(0, 5, vec![append(1, 1), write(2, 1), add(3, 1)]).at(10);
    for (value, at) in [
        (list(1, &[]), 10),
        (list(1, &[1]), 9),
        (list(1, &[1, 2]), 10),
        (register(2, 0), 10),
        (register(2, 1), 9),
        (counter(3, 0), 10),
        (counter(3, 2), 10),
    ] {
        let reader = ok(1, 6, vec![value]).at(at).function(function::SNAPSHOT_READ);
        assert_anomalies(&claims(&[writer.clone(), reader]), &["unexplained-read"]);
    }
}

#[test]
fn claims_against_real_time_are_caught() {
    let first = ok(0, 1, vec![append(1, 1)]).at(10);
    let lower = ok(2, 3, vec![append(2, 1)]).at(9);
    assert_anomalies(&claims(&[first.clone(), lower]), &["timestamp-against-real-time"]);
    let stale = ok(2, 3, vec![list(2, &[])]).at(9);
    assert_anomalies(
        &claims(&[first.clone(), stale.clone()]),
        &["timestamp-against-real-time"],
    );
    let snapshot = stale.clone().function(function::SNAPSHOT_READ);
    assert_eq!(claims(&[first.clone(), snapshot]), Verdict::Pass);
    let after = stale.function(function::AFTER_READ);
    assert_eq!(claims(&[first.clone(), after.clone()]), Verdict::Pass);
    assert_anomalies(&claims(&[first.clone().by(1), after.by(1)]), &["timestamp-below-own"]);
    let read_first = ok(0, 1, vec![list(2, &[])]).at(10);
    let below_read = ok(2, 3, vec![append(1, 1)]).at(10);
    assert_anomalies(&claims(&[read_first, below_read]), &["timestamp-against-real-time"]);
    let same = ok(0, 3, vec![append(2, 1)]).at(10);
    assert_anomalies(&claims(&[first, same]), &["timestamp-shared"]);
}

#[test]
fn an_unsure_operation_is_put_where_it_was_observed() {
    let unsure = ok(2, 3, vec![append(1, 9), write(2, 9), add(3, 9)]).phase(Phase::Info);
    let read = |at, elements: &[u64], value, sum| {
        ok(4, 5, vec![list(1, elements), register(2, value), counter(3, sum)]).at(at)
    };
    let base = [
        ok(0, 1, vec![append(1, 1), write(2, 1), add(3, 1)]).at(10),
        unsure,
        ok(4, 5, vec![append(1, 2)]).at(20),
    ];
    let with = |reads: &[Op]| claims(&[&base[..], reads].concat());
    assert_eq!(
        with(&[read(15, &[1], 1, 1), read(30, &[1, 2], 1, 1)]),
        Verdict::Pass,
        "it never took effect"
    );
    assert_eq!(
        with(&[read(15, &[1, 9], 9, 10), read(30, &[1, 9, 2], 9, 10)]),
        Verdict::Pass
    );
    assert_eq!(
        with(&[read(15, &[1], 1, 1), read(30, &[1, 2, 9], 9, 10)]),
        Verdict::Pass
    );
    assert_eq!(with(&[read(30, &[1, 9, 2], 9, 10)]), Verdict::Pass);
    assert_anomalies(
        &with(&[read(15, &[1], 1, 1), read(30, &[9, 1, 2], 1, 1)]),
        &["unexplained-read"],
    );
    assert_anomalies(&with(&[read(30, &[9, 1, 2], 1, 1)]), &["unsure-nowhere"]);
    assert_anomalies(
        &with(&[read(15, &[1, 9], 9, 10), read(30, &[1, 2], 9, 10)]),
        &["unexplained-read"],
    );
    assert_anomalies(
        &with(&[read(15, &[1, 9], 9, 10), read(30, &[1, 9, 2], 1, 10)]),
        &["unexplained-read"],
    );
    assert_anomalies(
        &with(&[read(15, &[1, 9], 9, 10), read(30, &[1, 9, 2], 9, 1)]),
        &["unexplained-read"],
    );
    // The list says above 20, the register below 15.
    assert_anomalies(
        &with(&[read(15, &[1], 9, 1), read(30, &[1, 2, 9], 9, 1)]),
        &["unsure-nowhere"],
    );
}

#[test]
fn an_unsure_operation_takes_effect_after_its_invocation() {
    let operations = [
        ok(0, 1, vec![append(2, 1)]).at(20),
        ok(2, 3, vec![append(1, 9), add(3, 1)]).phase(Phase::Info),
        ok(0, 9, vec![list(1, &[9])]).at(19).function(function::SNAPSHOT_READ),
    ];
    assert_anomalies(&claims(&operations), &["unsure-nowhere"]);
    let mut counted = operations;
    counted[2].value = vec![counter(3, 1)];
    assert_anomalies(&claims(&counted), &["unexplained-read"]);
}

#[test]
fn many_unsure_additions_leave_a_counter_undecided() {
    let mut operations: Vec<Op> = (1..=20)
        .map(|amount| ok(0, 1, vec![add(1, amount)]).phase(Phase::Info))
        .collect();
    operations.push(ok(2, 3, vec![counter(1, 100)]).at(10));
    assert!(matches!(claims(&operations), Verdict::Unknown { size: 1, .. }));
    operations.push(ok(4, 5, vec![counter(1, 211)]).at(20));
    assert_anomalies(&claims(&operations), &["unexplained-read"]);
}

#[test]
fn counters_begin_where_they_are_said_to() {
    let read = history(&[ok(0, 1, vec![counter(1, 100)]).at(1)]);
    assert_eq!(witness_from(&read, &BTreeMap::from([(1, 100)])), Verdict::Pass);
    assert_anomalies(&witness(&read), &["unexplained-read"]);
}
