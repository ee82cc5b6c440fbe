//! The serial executor through its public door: order, exactly once, digests, blocked thunks, reads and dry runs.

mod records;

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::client;
use plimsoll::executor::{ReadError, SerialExecutor};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::limits::{ID_AHEAD_MAX, OUTCOME_WINDOW, VERSION_RETENTION};
use plimsoll::protocol::{Query, Scan};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Append, CompareAndSet, Get, Increment, Put, Registry, Thunk};
use plimsoll::time::Hlc;
use plimsoll::transaction::{Abort, Outcome, Settlement, ThunkId, Versioned};
use proptest::prelude::*;
use records::{
    Executor, Newer, Stamped, at_ms, batch, batches, cuts, digests, end_of, evaluate_all, executor, full_registry,
    id_made_at_ms, newest, records, settlements, stamped, step, transaction,
};

fn append(text: &str) -> Append {
    Append {
        key: "log".into(),
        bytes: text.into(),
    }
}

fn increment(amount: i64) -> Increment {
    Increment {
        key: "sum".into(),
        amount,
    }
}

fn read(executor: &Executor, at: Hlc, key: &str) -> Option<Value> {
    let query = Query {
        keys: vec![key.into()],
        ranges: Vec::new(),
    };
    let answer = executor.read(at, &query).expect("the snapshot is kept");
    answer.keys[0].clone().map(|versioned| versioned.value)
}

fn output<T: Thunk>(settlement: &Settlement) -> Result<T::Output, Abort> {
    client::output::<T>(&settlement.outcome).expect("an output of this thunk")
}

#[test]
fn two_coordinators_write_at_one_hlc_and_the_lower_node_goes_first() {
    let mut executor = executor();
    let later = stamped(at_ms(11), 1, id_made_at_ms(0, 3), &append("c"));
    let low = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &append("a"));
    let high = stamped(at_ms(10), 2, id_made_at_ms(0, 2), &append("b"));
    let evaluated = executor.evaluate(&batch(&[&low, &high, &later], at_ms(20)));
    assert_eq!(evaluated.upto, at_ms(20));
    let places: Vec<_> = evaluated.settlements.iter().map(|end| end.effective).collect();
    assert_eq!(places, [low.0, high.0, later.0]);
    let lengths: Vec<_> = evaluated.settlements.iter().map(output::<Append>).collect();
    assert_eq!(lengths, [Ok(1), Ok(2), Ok(3)], "each sees those before it");
    assert_eq!(read(&executor, at_ms(20), "log"), Some("abc".into()));
    assert_eq!(
        read(&executor, at_ms(10), "log"),
        Some("ab".into()),
        "both are in the snapshot at their time"
    );
    assert_eq!(read(&executor, at_ms(10).prev(), "log"), None);
}

#[test]
fn an_id_comes_again_from_another_coordinator_and_gets_the_first_outcome_without_a_second_effect() {
    let mut executor = executor();
    let id = id_made_at_ms(0, 1);
    let first = stamped(at_ms(10), 1, id, &increment(5));
    let same_batch = stamped(at_ms(10), 2, id, &increment(5));
    let next_batch = stamped(at_ms(30), 3, id, &increment(5));
    let mut ends = executor.evaluate(&batch(&[&first, &same_batch], at_ms(20))).settlements;
    ends.extend(executor.evaluate(&batch(&[&next_batch], at_ms(40))).settlements);
    for (end, record) in ends.iter().zip([&first, &same_batch, &next_batch]) {
        assert_eq!((end.record, end.id, end.effective), (record.0, id, first.0));
        assert_eq!(output::<Increment>(end), Ok(5));
    }
    assert_eq!(ends.len(), 3);
    assert_eq!(read(&executor, at_ms(40), "sum"), Some(Value::new(5_i64.to_le_bytes())));
    assert_eq!(executor.outcome(id).map(|(place, _)| place), Some(first.0));
    assert_eq!(executor.versions().versions_kept(), 1);
}

#[test]
fn an_aborted_id_comes_again_when_it_would_succeed_and_stays_aborted() {
    let mut executor = executor();
    let id = id_made_at_ms(0, 1);
    let swap = CompareAndSet {
        key: "k".into(),
        expected: Some("there".into()),
        new: Some("new".into()),
    };
    let put = Put {
        entries: vec![("k".into(), "there".into())],
    };
    let refused = stamped(at_ms(10), 1, id, &swap);
    let between = stamped(at_ms(11), 1, id_made_at_ms(0, 2), &put);
    let again = stamped(at_ms(12), 2, id, &swap);
    let ends = executor
        .evaluate(&batch(&[&refused, &between, &again], at_ms(20)))
        .settlements;
    assert!(
        matches!(ends[0].outcome, Outcome::Aborted(Abort::Refused(_))),
        "{:?}",
        ends[0]
    );
    assert_eq!(ends[2].outcome, ends[0].outcome);
    assert_eq!(ends[2].effective, refused.0);
    assert_eq!(read(&executor, at_ms(20), "k"), Some("there".into()));
}

#[test]
fn an_id_is_older_than_outcomes_are_kept_and_is_refused_with_its_age() {
    let mut executor = executor();
    let window_ms = OUTCOME_WINDOW.as_millis() as u64;
    let oldest = stamped(at_ms(window_ms), 1, id_made_at_ms(0, 1), &increment(1));
    let expired = stamped(at_ms(window_ms + 1), 1, id_made_at_ms(0, 2), &increment(1));
    let ends = executor
        .evaluate(&batch(&[&oldest, &expired], at_ms(window_ms + 2)))
        .settlements;
    assert_eq!(output::<Increment>(&ends[0]), Ok(1), "just young enough");
    let age_ms = window_ms + 1;
    assert_eq!(ends[1].outcome, Outcome::Aborted(Abort::Expired { age_ms, window_ms }));
    assert_eq!(ends[1].effective, expired.0);
    assert_eq!(
        read(&executor, at_ms(window_ms + 2), "sum"),
        Some(Value::new(1_i64.to_le_bytes()))
    );
}

#[test]
fn a_known_id_comes_again_after_the_window_and_is_refused_however_the_batches_are_cut() {
    let id = id_made_at_ms(0, 1);
    let late_ms = OUTCOME_WINDOW.as_millis() as u64 + 1;
    let first = stamped(at_ms(10), 1, id, &increment(1));
    let again = stamped(at_ms(late_ms), 2, id, &increment(1));
    let (mut one, mut two) = (executor(), executor());
    let whole = one.evaluate(&batch(&[&first, &again], at_ms(late_ms)));
    let mut halves = two.evaluate(&batch(&[&first], at_ms(late_ms).prev())).settlements;
    two.evaluate(&batch(&[], at_ms(late_ms).prev()));
    halves.extend(two.evaluate(&batch(&[&again], at_ms(late_ms))).settlements);
    assert_eq!(whole.settlements, halves);
    assert!(
        matches!(halves[1].outcome, Outcome::Aborted(Abort::Expired { .. })),
        "{halves:?}"
    );
    assert_eq!(one.outcome(id), None, "forgotten, as it can never come again");
}

#[test]
fn an_id_is_from_the_future_and_is_refused_until_its_time_is_near() {
    let mut executor = executor();
    let limit_ms = ID_AHEAD_MAX.as_millis() as u64;
    let id = id_made_at_ms(limit_ms + 1, 1);
    let early = stamped(at_ms(0), 1, id, &increment(1));
    let near = stamped(at_ms(1), 1, id, &increment(1));
    let again = stamped(at_ms(2), 2, id, &increment(1));
    let ends = executor
        .evaluate(&batch(&[&early, &near, &again], at_ms(3)))
        .settlements;
    let ahead_ms = limit_ms + 1;
    let refused = Abort::FromFuture { ahead_ms, limit_ms };
    assert!(refused.to_string().ends_with("check the client's clock"), "{refused}");
    assert_eq!(ends[0].outcome, Outcome::Aborted(refused));
    assert_eq!(
        (output::<Increment>(&ends[1]), ends[1].effective),
        (Ok(1), near.0),
        "a refusal for the future is not kept"
    );
    assert_eq!(
        (output::<Increment>(&ends[2]), ends[2].effective),
        (Ok(1), near.0),
        "but one effect at most"
    );
}

#[test]
fn a_batch_is_evaluated_by_two_executors_with_equal_results() {
    let records = [
        stamped(at_ms(5), 1, id_made_at_ms(0, 1), &append("a")),
        stamped(at_ms(5), 2, id_made_at_ms(0, 1), &append("a")),
        stamped(at_ms(3000), 1, id_made_at_ms(9, 2), &increment(i64::MAX)),
        stamped(at_ms(3001), 3, id_made_at_ms(9, 3), &increment(1)),
    ];
    let batch = batch(&records.each_ref(), at_ms(9000));
    let (mut one, mut two) = (executor(), executor());
    let evaluated = one.evaluate(&batch);
    assert_eq!(evaluated, two.evaluate(&batch));
    assert_eq!(newest(&one), newest(&two));
    assert_eq!((evaluated.flushed, evaluated.blocked), (at_ms(9000), None));
    assert!(evaluated.digests.is_sorted_by(|a, b| a.boundary < b.boundary));
    assert!(
        evaluated.digests.len() >= 2,
        "one between the records and one at the end"
    );
}

#[test]
fn a_batch_is_handed_out_twice_and_the_second_time_does_nothing() {
    let mut executor = executor();
    let record = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &increment(1));
    let batch = batch(&[&record], at_ms(20));
    assert_eq!(executor.evaluate(&batch).settlements.len(), 1);
    let before = newest(&executor);
    let again = executor.evaluate(&batch);
    assert_eq!((again.upto, again.settlements.len()), (at_ms(20), 0));
    assert_eq!(newest(&executor), before);
}

/// A record whose thunk some replicas lack, between others of which two have its own time.
fn records_around_an_unknown_thunk() -> [Stamped; 5] {
    let newer = Newer { key: "k".into() };
    [
        stamped(at_ms(10), 1, id_made_at_ms(0, 1), &append("a")),
        stamped(at_ms(20), 1, id_made_at_ms(0, 2), &append("b")),
        stamped(at_ms(20), 2, id_made_at_ms(0, 3), &newer),
        stamped(at_ms(20), 3, id_made_at_ms(0, 4), &append("c")),
        stamped(at_ms(5000), 1, id_made_at_ms(0, 5), &append("d")),
    ]
}

#[test]
fn an_unknown_thunk_stops_evaluation_before_its_time_and_only_there() {
    let mut executor = SerialExecutor::new(Arc::new(Registry::with_builtins()), MemoryVersions::default());
    let records = records_around_an_unknown_thunk();
    let batch = batch(&records.each_ref(), at_ms(9000));
    let stopped = executor.evaluate(&batch);
    assert_eq!(stopped.blocked, Some(ThunkId::of::<Newer>()));
    assert_eq!(stopped.upto, at_ms(20).prev(), "below the record that waits");
    assert_eq!(
        stopped.settlements.len(),
        1,
        "those before its time are done: the bound covers all of one time"
    );
    let still = executor.evaluate(&batch);
    assert_eq!(still.blocked, stopped.blocked);
    assert_eq!((still.upto, still.settlements.len()), (stopped.upto, 0));
    assert_eq!(read(&executor, stopped.upto, "log"), Some("a".into()));
}

#[test]
fn the_unknown_thunk_is_registered_and_evaluation_goes_on_without_repeating_anything() {
    let records = records_around_an_unknown_thunk();
    let batch = batch(&records.each_ref(), at_ms(9000));
    let mut never_stopped = executor();
    let expected = never_stopped.evaluate(&batch);

    let mut stopped = SerialExecutor::new(Arc::new(Registry::with_builtins()), MemoryVersions::default());
    let before = stopped.evaluate(&batch);
    stopped.set_registry(full_registry());
    let after = stopped.evaluate(&batch);
    assert_eq!((after.upto, after.blocked), (at_ms(9000), None));
    let settlements: Vec<_> = [before.settlements, after.settlements].concat();
    assert_eq!(settlements, expected.settlements);
    assert_eq!(newest(&stopped), newest(&never_stopped));
    assert_eq!(read(&stopped, at_ms(9000), "log"), Some("abcd".into()));
    assert_eq!(
        after.digests.last(),
        expected.digests.last(),
        "the fold goes on where it stopped"
    );
}

#[test]
fn a_dry_run_says_what_would_happen_and_leaves_everything_as_it_was() {
    let mut executor = executor();
    let first = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &increment(1));
    executor.evaluate(&batch(&[&first], at_ms(20)));
    let before = newest(&executor);
    let id = id_made_at_ms(0, 2);
    let tried = transaction(id, &increment(41));
    let run = executor
        .dry_run(&tried, at_ms(20))
        .expect("a kept snapshot")
        .expect("a known thunk");
    assert_eq!(client::output::<Increment>(&run.outcome), Ok(Ok(42)));
    let sum = Value::new(42_i64.to_le_bytes());
    assert_eq!(run.writes, BTreeMap::from([("sum".into(), Some(sum))]));
    let earlier = executor
        .dry_run(&tried, at_ms(9))
        .expect("a kept snapshot")
        .expect("a known thunk");
    assert_eq!(
        client::output::<Increment>(&earlier.outcome),
        Ok(Ok(41)),
        "at another snapshot"
    );
    assert_eq!(newest(&executor), before);
    assert_eq!(executor.outcome(id), None);

    // What follows is what an executor does that never heard of the dry runs.
    let mut untouched = self::executor();
    untouched.evaluate(&batch(&[&first], at_ms(20)));
    let real = stamped(at_ms(30), 1, id, &increment(41));
    let next = batch(&[&real], at_ms(9000));
    assert_eq!(executor.evaluate(&next), untouched.evaluate(&next));
    assert_eq!(newest(&executor), newest(&untouched));
}

#[test]
fn a_dry_run_of_an_abort_writes_nothing_and_one_of_an_unknown_thunk_says_so() {
    let executor = executor();
    let swap = CompareAndSet {
        key: "k".into(),
        expected: Some("x".into()),
        new: None,
    };
    let run = executor.dry_run(&transaction(id_made_at_ms(0, 1), &swap), at_ms(0));
    let run = run.expect("a kept snapshot").expect("a known thunk");
    assert!(matches!(run.outcome, Outcome::Aborted(Abort::Refused(_))), "{run:?}");
    assert!(run.writes.is_empty());
    let without = SerialExecutor::new(Arc::new(Registry::with_builtins()), MemoryVersions::default());
    let newer = transaction(id_made_at_ms(0, 2), &Newer { key: "k".into() });
    let unknown = without.dry_run(&newer, at_ms(0)).expect("a kept snapshot").unwrap_err();
    assert_eq!(unknown.thunk, ThunkId::of::<Newer>());
}

#[test]
fn a_collected_snapshot_is_read_and_the_error_names_it_and_the_oldest() {
    let mut executor = executor();
    let first = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &append("a"));
    let second = stamped(at_ms(20), 1, id_made_at_ms(0, 2), &append("b"));
    executor.evaluate(&batch(&[&first, &second], at_ms(20)));
    let upto = at_ms(20).plus(3 * VERSION_RETENTION);
    executor.evaluate(&batch(&[], upto));
    let oldest = upto.minus(VERSION_RETENTION);
    let query = Query {
        keys: vec!["log".into()],
        ranges: vec![Scan::forward(KeyRange::prefix("log".into()), 9)],
    };
    let error = executor.read(at_ms(10), &query).unwrap_err();
    let at = at_ms(10);
    assert_eq!(error, ReadError::Collected { at, oldest });
    let text = error.to_string();
    assert!(
        text.contains(&at.to_string()) && text.contains(&oldest.to_string()),
        "{text}"
    );
    let get = transaction(
        id_made_at_ms(0, 3),
        &Get {
            keys: vec!["log".into()],
        },
    );
    assert_eq!(executor.dry_run(&get, at).unwrap_err(), error);
    let answer = executor.read(oldest, &query).expect("the oldest is kept");
    let found = answer.keys[0].clone().expect("written before");
    assert_eq!((found.timestamp, found.value.clone()), (second.0, "ab".into()));
    assert_eq!(answer.ranges, [[("log".into(), found)]]);
}

proptest! {
    /// Replicas cut the same records into batches at will, and still agree on everything.
    #[test]
    fn records_are_cut_into_other_batches_and_outcomes_and_digests_are_the_same(
        steps in prop::collection::vec(step(), 1..40),
        cuts in [cuts(), cuts()],
    ) {
        let records = records(&steps);
        let end = end_of(&records);
        let (mut one, mut two) = (executor(), executor());
        let first = evaluate_all(&mut one, &batches(&records, &cuts[0], end));
        let second = evaluate_all(&mut two, &batches(&records, &cuts[1], end));
        let (own, other) = (digests(&first), digests(&second));
        for (boundary, value) in &own {
            prop_assert!(other.get(boundary).is_none_or(|other| other == value), "at {boundary}");
        }
        prop_assert_eq!(own.last_key_value(), other.last_key_value(), "the fold of everything");
        prop_assert_eq!(newest(&one), newest(&two));
        prop_assert_eq!(settlements(first), settlements(second));
    }

    /// The digest is worth something: another outcome is another digest.
    #[test]
    fn one_record_is_missing_and_the_last_digest_differs(
        steps in prop::collection::vec(step(), 1..20),
        missing in any::<prop::sample::Index>(),
    ) {
        let records = records(&steps);
        let end = end_of(&records);
        let mut fewer = records.clone();
        fewer.remove(missing.index(records.len()));
        let last = |records| digests(&evaluate_all(&mut executor(), &batches(records, &[None], end))).pop_last();
        prop_assert_ne!(last(&records), last(&fewer));
    }
}

#[test]
fn a_read_backward_counts_from_the_end_of_its_range() {
    let mut executor = executor();
    let entries = ["a", "b", "c", "d"].map(|name| (name.into(), name.into())).into();
    let put = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &Put { entries });
    executor.evaluate(&batch(&[&put], at_ms(10)));
    let range = || KeyRange::new("a".into(), "d".into());
    let query = Query {
        keys: Vec::new(),
        ranges: vec![Scan::backward(range(), 2), Scan::forward(range(), 2)],
    };
    let answer = executor.read(at_ms(10), &query).unwrap();
    let keys = |entries: &[(Key, Versioned)]| entries.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&answer.ranges[0]), ["c".into(), "b".into()]);
    assert_eq!(keys(&answer.ranges[1]), ["a".into(), "b".into()]);
}
