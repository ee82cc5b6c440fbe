//! Cycles of dependencies, one of each name, in lists and in registers.

use super::script::{Op, append, assert_anomalies, history, list, ok, register, write};
use crate::check::{EdgeKind, Verdict, list_append, registers, strict_serializability};
use crate::history::{Phase, function};

fn lists(operations: &[Op]) -> Verdict {
    list_append(&history(operations))
}

fn of_registers(operations: &[Op]) -> Verdict {
    registers(&history(operations))
}

/// Two transactions over lists 1 and 2 at the same time, and a later read of both.
fn two_at_once(a: Op, b: Op, first: &[u64], second: &[u64]) -> Verdict {
    lists(&[a, b, ok(10, 11, vec![list(1, first), list(2, second)])])
}

#[test]
fn a_serial_history_passes() {
    let verdict = lists(&[
        ok(0, 1, vec![append(1, 1)]),
        ok(2, 3, vec![list(1, &[1]), append(1, 2), list(1, &[1, 2])]),
        ok(4, 5, vec![list(1, &[1, 2])]),
    ]);
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn operations_at_once_may_be_read_in_any_order_that_all_agree_on() {
    let a = ok(0, 5, vec![append(1, 1), append(2, 1)]);
    let b = ok(1, 6, vec![append(1, 2), append(2, 2)]);
    assert_eq!(two_at_once(a.clone(), b.clone(), &[1, 2], &[1, 2]), Verdict::Pass);
    assert_eq!(two_at_once(a, b, &[2, 1], &[2, 1]), Verdict::Pass);
}

#[test]
fn g0_two_transactions_append_in_two_orders() {
    let a = ok(0, 5, vec![append(1, 1), append(2, 1)]);
    let b = ok(1, 6, vec![append(1, 2), append(2, 2)]);
    let verdict = two_at_once(a, b, &[1, 2], &[2, 1]);
    assert_anomalies(&verdict, &["G0"]);
    let violation = &verdict.violations()[0];
    assert_eq!(
        violation.operations.len(),
        2,
        "the reader shows it but is no part of it"
    );
    assert!(violation.cycle.iter().all(|step| step.kind == EdgeKind::WriteWrite));
    assert!(
        verdict.to_string().contains("T1 appended 2 to list 1 after"),
        "{verdict}"
    );
}

#[test]
fn g1c_two_transactions_read_each_other() {
    let verdict = lists(&[
        ok(0, 5, vec![append(1, 1), list(2, &[2])]),
        ok(1, 6, vec![append(2, 2), list(1, &[1])]),
    ]);
    assert_anomalies(&verdict, &["G1c"]);
}

#[test]
fn g_single_is_read_skew() {
    let verdict = lists(&[
        ok(0, 5, vec![append(1, 1), append(2, 1)]),
        ok(1, 6, vec![list(1, &[]), list(2, &[1])]),
        ok(7, 8, vec![list(1, &[1])]),
    ]);
    assert_anomalies(&verdict, &["G-single"]);
}

#[test]
fn g_single_shows_even_where_nobody_read_the_other_list_again() {
    let verdict = lists(&[
        ok(0, 5, vec![append(1, 1), append(2, 1)]),
        ok(1, 6, vec![list(1, &[]), list(2, &[1])]),
    ]);
    assert_anomalies(&verdict, &["G-single"]);
}

#[test]
fn lost_update_is_two_transactions_that_append_to_what_both_read() {
    let verdict = lists(&[
        ok(0, 5, vec![list(1, &[]), append(1, 1)]),
        ok(1, 6, vec![list(1, &[]), append(1, 2)]),
        ok(7, 8, vec![list(1, &[1, 2])]),
    ]);
    assert_anomalies(&verdict, &["G-single"]);
    let unread = lists(&[
        ok(0, 5, vec![list(1, &[]), append(1, 1)]),
        ok(1, 6, vec![list(1, &[]), append(1, 2)]),
    ]);
    assert_anomalies(&unread, &["G2"]);
}

#[test]
fn g2_is_write_skew() {
    let verdict = lists(&[
        ok(0, 5, vec![list(1, &[]), append(2, 1)]),
        ok(1, 6, vec![list(2, &[]), append(1, 1)]),
        ok(7, 8, vec![list(1, &[1]), list(2, &[1])]),
    ]);
    assert_anomalies(&verdict, &["G2"]);
}

#[test]
fn a_reader_that_appends_unread_is_no_cycle_by_itself() {
    let verdict = lists(&[
        ok(0, 5, vec![list(1, &[]), append(1, 1)]),
        ok(1, 6, vec![append(1, 2)]),
        ok(2, 7, vec![list(1, &[])]),
    ]);
    assert_eq!(verdict, Verdict::Pass);
}

#[test]
fn a_stale_strict_read_breaks_real_time() {
    let stale = [
        ok(0, 1, vec![append(1, 1)]),
        ok(2, 3, vec![append(1, 2)]),
        ok(4, 5, vec![list(1, &[1])]).function(function::STRICT_READ),
        ok(6, 7, vec![list(1, &[1, 2])]),
    ];
    assert_anomalies(&lists(&stale), &["G-single-realtime"]);
    let mut own = stale.clone();
    own[1] = own[1].clone().by(7);
    own[2] = own[2].clone().by(7);
    assert_anomalies(&lists(&own), &["G-single-process"]);
    let mut snapshot = own;
    snapshot[2].function = function::SNAPSHOT_READ;
    assert_eq!(lists(&snapshot), Verdict::Pass, "a snapshot may be old");
    snapshot[2].function = function::AFTER_READ;
    assert_anomalies(&lists(&snapshot), &["G-single-process"]);
    snapshot[2] = snapshot[2].clone().by(8);
    assert_eq!(
        lists(&snapshot),
        Verdict::Pass,
        "another process's read need not see it"
    );
}

#[test]
fn an_element_that_was_answered_and_is_lost_breaks_real_time() {
    let verdict = lists(&[ok(0, 1, vec![append(1, 1)]), ok(2, 3, vec![list(1, &[])])]);
    assert_anomalies(&verdict, &["G-single-realtime"]);
}

#[test]
fn writes_against_real_time_are_a_cycle() {
    let verdict = lists(&[
        ok(0, 1, vec![append(1, 1)]),
        ok(2, 3, vec![append(1, 2)]),
        ok(4, 5, vec![list(1, &[2, 1])]),
    ]);
    assert_anomalies(&verdict, &["G0-realtime"]);
}

#[test]
fn a_snapshot_read_must_still_be_of_one_moment() {
    let read = vec![list(1, &[]), list(2, &[1])];
    let verdict = lists(&[
        ok(0, 1, vec![append(1, 1), append(2, 1)]),
        ok(2, 3, read).function(function::SNAPSHOT_READ),
    ]);
    assert_anomalies(&verdict, &["G-single"]);
}

#[test]
fn an_unsure_operation_counts_once_it_is_observed_and_not_before() {
    let unsure = ok(0, 1, vec![append(1, 1), append(2, 1)]).phase(Phase::Info);
    let unseen = lists(&[unsure.clone(), ok(2, 3, vec![list(1, &[]), list(2, &[])])]);
    assert_eq!(unseen, Verdict::Pass);
    let late = [
        unsure.clone(),
        ok(2, 3, vec![list(1, &[])]),
        ok(4, 5, vec![list(1, &[1]), list(2, &[1])]),
    ];
    assert_eq!(lists(&late), Verdict::Pass, "it took effect late");
    let torn = lists(&[unsure, ok(2, 3, vec![list(1, &[1]), list(2, &[])])]);
    assert_anomalies(&torn, &["G-single"]);
}

#[test]
fn an_operation_that_never_ended_may_have_taken_effect() {
    let mut open = ok(0, 1, vec![append(1, 1)]);
    open.end = None;
    assert_eq!(lists(&[open.clone(), ok(2, 3, vec![list(1, &[1])])]), Verdict::Pass);
    assert_eq!(lists(&[open, ok(2, 3, vec![list(1, &[])])]), Verdict::Pass);
}

#[test]
fn attempts_under_one_id_are_one_operation() {
    let value = vec![append(1, 1)];
    let first = ok(0, 1, value.clone()).phase(Phase::Info).id(9);
    // The read sees the first attempt's effect before the second attempt begins.
    let good = [
        first.clone(),
        ok(2, 3, vec![list(1, &[1])]),
        ok(4, 5, value.clone()).id(9),
    ];
    assert_eq!(lists(&good), Verdict::Pass);
    let early = [ok(2, 3, vec![list(1, &[1])]), first.clone(), ok(4, 5, value).id(9)];
    assert_eq!(
        lists(&early),
        Verdict::Pass,
        "the order in which they are written down says nothing"
    );
    let other = [first, ok(4, 5, vec![append(1, 2)]).id(9)];
    assert_anomalies(&lists(&other), &["not-once"]);
}

#[test]
fn registers_have_the_same_anomalies() {
    let good = [
        ok(0, 1, vec![write(1, 1)]),
        ok(2, 3, vec![register(1, 1), write(1, 2), register(1, 2)]),
        ok(4, 5, vec![register(1, 2)]),
    ];
    assert_eq!(of_registers(&good), Verdict::Pass);
    let g1c = [
        ok(0, 5, vec![write(1, 1), register(2, 2)]),
        ok(1, 6, vec![write(2, 2), register(1, 1)]),
    ];
    assert_anomalies(&of_registers(&g1c), &["G1c"]);
    let skew = [
        ok(0, 5, vec![write(1, 1), write(2, 1)]),
        ok(1, 6, vec![register(1, 0), register(2, 1)]),
    ];
    assert_anomalies(&of_registers(&skew), &["G-single"]);
    let write_skew = [
        ok(0, 5, vec![register(1, 0), write(2, 1)]),
        ok(1, 6, vec![register(2, 0), write(1, 1)]),
    ];
    assert_anomalies(&of_registers(&write_skew), &["G2"]);
    let lost_update = [
        ok(0, 5, vec![register(1, 0), write(1, 1)]),
        ok(1, 6, vec![register(1, 0), write(1, 2)]),
    ];
    assert!(of_registers(&lost_update).is_fail());
}

#[test]
fn g0_of_registers_shows_where_readers_overwrote() {
    let verdict = of_registers(&[
        ok(0, 5, vec![register(2, 2), write(2, 3), write(1, 1)]),
        ok(1, 6, vec![register(1, 1), write(1, 2), write(2, 2)]),
    ]);
    assert_anomalies(&verdict, &["G0"]);
}

#[test]
fn a_register_never_goes_back_in_real_time() {
    let stale = [
        ok(0, 1, vec![write(1, 1)]),
        ok(2, 3, vec![write(1, 2)]),
        ok(4, 5, vec![register(1, 1)]),
    ];
    assert_anomalies(&of_registers(&stale), &["stale-read-realtime"]);
    let never = [ok(0, 1, vec![write(1, 1)]), ok(4, 5, vec![register(1, 0)])];
    assert_anomalies(&of_registers(&never), &["G-single-realtime", "stale-read-realtime"]);
    let mut snapshot = stale.clone();
    snapshot[2].function = function::SNAPSHOT_READ;
    assert_eq!(of_registers(&snapshot), Verdict::Pass);
    let alternating = [
        ok(0, 9, vec![write(1, 1)]),
        ok(0, 9, vec![write(1, 2)]),
        ok(10, 11, vec![register(1, 1)]),
        ok(12, 13, vec![register(1, 2)]),
        ok(14, 15, vec![register(1, 1)]),
    ];
    assert_anomalies(&of_registers(&alternating), &["stale-read-realtime"]);
}

#[test]
fn the_order_of_registers_in_real_time_joins_other_dependencies() {
    // Register 1 is 1 while 2 is being written; who read 1 late comes before 2, but saw what came after it.
    let verdict = of_registers(&[
        ok(0, 1, vec![write(1, 1)]),
        ok(2, 9, vec![write(1, 2), write(2, 2)]),
        ok(3, 8, vec![register(1, 1), register(2, 2)]),
    ]);
    assert_anomalies(&verdict, &["G-single-realtime"]);
}

#[test]
fn a_cycle_may_run_through_lists_and_registers() {
    let operations = [
        ok(0, 5, vec![write(1, 1), list(2, &[])]),
        ok(1, 6, vec![append(2, 2), register(1, 0)]),
        ok(7, 8, vec![list(2, &[2])]),
    ];
    assert_eq!(lists(&operations), Verdict::Pass);
    assert_eq!(of_registers(&operations), Verdict::Pass);
    assert_anomalies(&strict_serializability(&history(&operations)), &["G2"]);
}
