//! Doubt about a transaction, and how it ends: `status`, `resolve`, and the same id submitted again.

mod records;

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::client;
use plimsoll::executor::{Known, SerialExecutor, Status};
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, Value};
use plimsoll::limits::{ID_AHEAD_MAX, OUTCOME_WINDOW, OUTPUT_BYTES_MAX, VALUE_BYTES_MAX};
use plimsoll::protocol::Batch;
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{CompareAndSet, Evaluation, Get, Increment, Put, Registry, Resolution, Resolve, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Footprint, Outcome, Record, Settlement, ThunkId, Transaction};
use proptest::prelude::*;
use records::{
    Executor, Stamped, at_ms, batch, batches, cuts, end_of, executor, id_made_at_ms, newest, records, stamped, step,
};
use serde::{Deserialize, Serialize};

const WINDOW_MS: u64 = OUTCOME_WINDOW.as_millis() as u64;

fn increment() -> Increment {
    Increment {
        key: "sum".into(),
        amount: 5,
    }
}

/// A record of the target's: adds to a sum.
fn target_at(ms: u64, node: u32, id: TransactionId) -> Stamped {
    stamped(at_ms(ms), node, id, &increment())
}

/// A record that resolves `target`.
fn resolve_at(ms: u64, node: u32, id: TransactionId, target: TransactionId) -> Stamped {
    let hlc = at_ms(ms);
    let transaction = client::resolve(id, target);
    let node = plimsoll::id::NodeId::new(node);
    (Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))
}

/// What came out of a resolving record.
fn resolution(settlement: &Settlement) -> Resolution {
    let resolution = client::resolution(&settlement.outcome).expect("an output of its own");
    resolution.unwrap_or_else(|abort| panic!("{} was aborted: {abort}", settlement.id))
}

fn cancelled(settlement: &Settlement) -> Option<(Timestamp, TransactionId)> {
    match settlement.outcome {
        Outcome::Aborted(Abort::Cancelled { by }) => Some((settlement.effective, by)),
        _ => None,
    }
}

fn ids() -> [TransactionId; 4] {
    [1, 2, 3, 4].map(|name| id_made_at_ms(0, name))
}

#[test]
fn the_target_has_committed_and_its_output_and_place_come_out() {
    let [target, resolver, ..] = ids();
    let done = target_at(10, 1, target);
    let ends = executor()
        .evaluate(&batch(&[&done, &resolve_at(20, 2, resolver, target)], at_ms(30)))
        .settlements;
    let Resolution::Committed { effective, output } = resolution(&ends[1]) else {
        panic!("{:?}", ends[1])
    };
    assert_eq!(effective, done.0);
    let output = Outcome::Committed(output.expect("a small one"));
    assert_eq!(client::output::<Increment>(&output), Ok(Ok(5)));
    assert_eq!(ends[1].effective.hlc, at_ms(20));
}

#[test]
fn the_target_was_aborted_and_its_reason_comes_out() {
    let [target, resolver, ..] = ids();
    let swap = CompareAndSet {
        key: "k".into(),
        expected: Some("there".into()),
        new: None,
    };
    let refused = stamped(at_ms(10), 1, target, &swap);
    let ends = executor()
        .evaluate(&batch(&[&refused, &resolve_at(20, 2, resolver, target)], at_ms(30)))
        .settlements;
    let Outcome::Aborted(abort) = ends[0].outcome.clone() else {
        panic!("{:?}", ends[0])
    };
    let effective = refused.0;
    assert_eq!(resolution(&ends[1]), Resolution::Aborted { effective, abort });
}

#[test]
fn the_resolver_comes_first_and_the_target_has_no_effect_wherever_it_comes_again() {
    let [target, resolver, ..] = ids();
    let first = resolve_at(10, 2, resolver, target);
    let late = target_at(20, 1, target);
    let again = target_at(40, 3, target);
    let mut executor = executor();
    let mut ends = executor.evaluate(&batch(&[&first, &late], at_ms(30))).settlements;
    ends.extend(executor.evaluate(&batch(&[&again], at_ms(50))).settlements);
    let (effective, by) = (first.0, resolver);
    assert_eq!(resolution(&ends[0]), Resolution::Cancelled { effective, by });
    for (end, record) in ends[1..].iter().zip([&late, &again]) {
        assert_eq!((end.record, cancelled(end)), (record.0, Some((effective, by))));
    }
    assert_eq!(ends.len(), 3, "the target's end is told with its own records alone");
    assert_eq!(newest(&executor), [], "nothing was ever written");
}

/// Both are under way at once, at different coordinators and at one `Hlc`: the order of timestamps decides.
#[test]
fn the_target_and_the_resolver_have_one_time_and_the_lower_node_goes_first() {
    let [target, resolver, ..] = ids();
    let mut ends = executor().evaluate(&batch(
        &[&target_at(10, 1, target), &resolve_at(10, 2, resolver, target)],
        at_ms(20),
    ));
    let found = resolution(&ends.settlements[1]);
    assert!(matches!(found, Resolution::Committed { .. }), "{found:?}");
    ends = executor().evaluate(&batch(
        &[&resolve_at(10, 1, resolver, target), &target_at(10, 2, target)],
        at_ms(20),
    ));
    let found = resolution(&ends.settlements[0]);
    assert!(matches!(found, Resolution::Cancelled { .. }), "{found:?}");
    assert!(cancelled(&ends.settlements[1]).is_some());
}

#[test]
fn two_resolve_the_same_id_and_both_are_told_of_the_first() {
    let [target, one, other, _] = ids();
    let first = resolve_at(10, 1, one, target);
    let ends = executor()
        .evaluate(&batch(&[&first, &resolve_at(20, 2, other, target)], at_ms(30)))
        .settlements;
    let (effective, by) = (first.0, one);
    for end in &ends {
        assert_eq!(resolution(end), Resolution::Cancelled { effective, by });
    }
}

#[test]
fn a_resolver_is_submitted_twice_and_gets_the_first_resolution() {
    let [target, resolver, ..] = ids();
    let first = resolve_at(10, 1, resolver, target);
    let again = resolve_at(40, 2, resolver, target);
    let mut executor = executor();
    let mut ends = executor.evaluate(&batch(&[&first], at_ms(20))).settlements;
    ends.extend(executor.evaluate(&batch(&[&again], at_ms(50))).settlements);
    assert_eq!(ends[1].outcome, ends[0].outcome);
    assert_eq!(ends[1].effective, first.0);
}

#[test]
fn a_resolver_is_cancelled_by_another_and_does_not_cancel_its_own_target() {
    let [target, resolver, canceller, _] = ids();
    let records = [
        resolve_at(10, 1, canceller, resolver),
        resolve_at(20, 2, resolver, target),
        target_at(30, 3, target),
    ];
    let ends = executor().evaluate(&batch(&records.each_ref(), at_ms(40))).settlements;
    assert_eq!(cancelled(&ends[1]), Some((records[0].0, canceller)));
    assert_eq!(client::output::<Increment>(&ends[2].outcome), Ok(Ok(5)));
}

#[test]
fn the_target_is_too_old_and_neither_its_outcome_nor_a_cancellation_comes_out() {
    let [target, settled, ..] = ids();
    let resolvers = [5, 6, 7].map(|name| id_made_at_ms(WINDOW_MS, name));
    let done = target_at(10, 1, settled);
    let young = resolve_at(WINDOW_MS, 1, resolvers[0], settled);
    let old = [
        resolve_at(WINDOW_MS + 1, 1, resolvers[1], target),
        resolve_at(WINDOW_MS + 1, 2, resolvers[2], settled),
    ];
    let mut executor = executor();
    let mut ends = executor
        .evaluate(&batch(&[&done, &young], at_ms(WINDOW_MS)))
        .settlements;
    let end = at_ms(WINDOW_MS + 2);
    ends.extend(executor.evaluate(&batch(&[&old[0], &old[1]], end)).settlements);
    let found = resolution(&ends[1]);
    assert!(
        matches!(found, Resolution::Committed { .. }),
        "just young enough: {found:?}"
    );
    assert_eq!(resolution(&ends[2]), Resolution::Expired);
    assert_eq!(resolution(&ends[3]), Resolution::Expired, "also if it has an outcome");
    assert_eq!(executor.status(target).known, Known::Expired);
}

#[test]
fn the_target_is_from_the_future_and_the_resolver_is_refused_and_changes_nothing() {
    let limit_ms = ID_AHEAD_MAX.as_millis() as u64;
    let target = id_made_at_ms(limit_ms + 11, 1);
    let [_, resolver, ..] = ids();
    let ends = executor()
        .evaluate(&batch(
            &[&resolve_at(10, 1, resolver, target), &target_at(11, 1, target)],
            at_ms(20),
        ))
        .settlements;
    let ahead_ms = limit_ms + 1;
    let refused = Abort::FromFuture { ahead_ms, limit_ms };
    assert_eq!(client::resolution(&ends[0].outcome), Ok(Err(refused)));
    assert_eq!(client::output::<Increment>(&ends[1].outcome), Ok(Ok(5)));
}

#[test]
fn a_resolver_of_itself_and_one_of_no_id_are_refused() {
    let [resolver, other, ..] = ids();
    let itself = resolve_at(10, 1, resolver, resolver);
    let mut malformed = client::resolve(other, resolver);
    malformed.arguments = Value::new(vec![0xff]);
    let hlc = at_ms(11);
    let record = Arc::new(Record {
        hlc,
        transaction: malformed,
    });
    let node = itself.0.node;
    let ends = executor()
        .evaluate(&batch(&[&itself, &(Timestamp { hlc, node }, record)], at_ms(20)))
        .settlements;
    assert!(
        matches!(&ends[0].outcome, Outcome::Aborted(Abort::Refused(why)) if why.contains("resolve itself")),
        "{:?}",
        ends[0]
    );
    assert!(
        matches!(&ends[1].outcome, Outcome::Aborted(Abort::Malformed(_))),
        "{:?}",
        ends[1]
    );
}

#[test]
fn an_output_is_too_large_for_another_one_and_is_fetched_by_the_same_id() {
    let ids = ids();
    let entries = vec![(Key::from("k"), Value::new(vec![7; VALUE_BYTES_MAX - 64]))];
    let put = stamped(at_ms(5), 1, ids[0], &Put { entries });
    let get = Get { keys: vec!["k".into()] };
    let large = stamped(at_ms(10), 1, ids[1], &get);
    let again = stamped(at_ms(30), 2, ids[1], &get);
    let resolver = resolve_at(20, 2, ids[2], ids[1]);
    let ends = executor()
        .evaluate(&batch(&[&put, &large, &resolver, &again], at_ms(40)))
        .settlements;
    let Outcome::Committed(output) = &ends[1].outcome else {
        panic!("{:?}", ends[1].outcome)
    };
    assert!(output.as_bytes().len() > OUTPUT_BYTES_MAX - 64);
    let (effective, output) = (large.0, None);
    assert_eq!(resolution(&ends[2]), Resolution::Committed { effective, output });
    assert_eq!(ends[3].outcome, ends[1].outcome);
}

#[test]
fn a_replica_without_any_thunk_resolves_like_all_others() {
    let [target, resolver, ..] = ids();
    let mut executor = SerialExecutor::new(Arc::new(Registry::new()), MemoryVersions::default());
    let record = resolve_at(10, 1, resolver, target);
    let evaluated = executor.evaluate(&batch(&[&record], at_ms(20)));
    assert_eq!(evaluated.blocked, None);
    assert!(matches!(
        resolution(&evaluated.settlements[0]),
        Resolution::Cancelled { .. }
    ));
}

#[test]
fn a_dry_run_of_a_resolver_tells_what_is_known_at_its_snapshot_and_cancels_nothing() {
    let [target, resolver, ..] = ids();
    let done = target_at(10, 1, target);
    let mut executor = executor();
    executor.evaluate(&batch(&[&done], at_ms(20)));
    let run = |at| {
        let run = executor.dry_run(&client::resolve(resolver, target), at);
        let outcome = run.expect("a kept snapshot").expect("always known").outcome;
        client::resolution(&outcome)
            .expect("its own output")
            .expect("not aborted")
    };
    assert!(matches!(run(at_ms(20)), Resolution::Committed { .. }));
    assert!(matches!(run(at_ms(9)), Resolution::Cancelled { .. }));
    assert!(matches!(executor.status(target).known, Known::Settled { effective, .. } if effective == done.0));
    assert_eq!(executor.status(resolver).known, Known::NotYet);
}

/// A thunk that wants to cancel on its own.
#[derive(Serialize, Deserialize)]
struct Caller {
    target: TransactionId,
}

impl Thunk for Caller {
    const NAME: &'static str = "test.caller";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        let target = self.target;
        evaluation.call(&Resolve { target }).map(|_| ())
    }
}

#[test]
fn another_thunk_calls_resolve_and_is_refused() {
    let [target, caller, ..] = ids();
    let mut registry = Registry::with_builtins();
    registry.register::<Caller>().expect("its name is free");
    let arguments = client::arguments(&Caller { target }).expect("plain data");
    let transaction: Transaction =
        client::admit(&registry, caller, ThunkId::of::<Caller>(), arguments).expect("a sound transaction");
    let mut executor = SerialExecutor::new(Arc::new(registry), MemoryVersions::default());
    let (timestamp, _) = target_at(10, 1, target);
    let hlc = timestamp.hlc;
    let record = Arc::new(Record { hlc, transaction });
    let evaluated = executor.evaluate(&batch(&[&(timestamp, record)], at_ms(20)));
    let outcome = &evaluated.settlements[0].outcome;
    assert!(
        matches!(outcome, Outcome::Aborted(Abort::Refused(why)) if why.contains("submit it")),
        "{outcome:?}"
    );
    assert_eq!(executor.status(target).known, Known::NotYet);
}

#[test]
fn a_client_submits_a_resolver_by_its_name_as_any_transaction() {
    let [target, resolver, ..] = ids();
    let registry = Registry::with_builtins();
    let arguments = client::arguments(&Resolve { target }).expect("plain data");
    let admitted =
        client::admit(&registry, resolver, ThunkId::of::<Resolve>(), arguments).expect("a sound transaction");
    assert_eq!(admitted, client::resolve(resolver, target));
}

#[test]
fn a_status_goes_from_not_yet_over_settled_to_expired() {
    let [target, ..] = ids();
    let done = target_at(10, 1, target);
    let mut executor = executor();
    let evaluated = at_ms(9);
    executor.evaluate(&batch(&[], evaluated));
    let known = Known::NotYet;
    assert_eq!(executor.status(target), Status { evaluated, known });
    let evaluated = at_ms(WINDOW_MS);
    let end = executor.evaluate(&batch(&[&done], evaluated)).settlements.remove(0);
    let (effective, outcome) = (end.effective, end.outcome);
    let known = Known::Settled { effective, outcome };
    assert_eq!(executor.status(target), Status { evaluated, known });
    let evaluated = at_ms(WINDOW_MS + 1);
    executor.evaluate(&batch(&[], evaluated));
    let known = Known::Expired;
    assert_eq!(executor.status(target), Status { evaluated, known });
}

/// What must come of the records, told without forgetting anything: by id, the first outcome or cancellation.
#[derive(Default)]
struct Model {
    ends: BTreeMap<TransactionId, (Timestamp, Option<TransactionId>)>,
}

impl Model {
    fn is_in_window(id: TransactionId, at: Hlc) -> bool {
        id.unix_millis() + WINDOW_MS >= at.unix_millis()
    }

    fn is_too_early(id: TransactionId, at: Hlc) -> bool {
        id.unix_millis() > at.unix_millis() + ID_AHEAD_MAX.as_millis() as u64
    }

    /// Whether the settlement is what must become of the record.
    fn check(&mut self, (at, record): &Stamped, end: &Settlement) -> Result<(), TestCaseError> {
        let transaction = &record.transaction;
        let id = transaction.id;
        prop_assert_eq!((end.record, end.id), (*at, id));
        if !Self::is_in_window(id, at.hlc) {
            prop_assert!(
                matches!(end.outcome, Outcome::Aborted(Abort::Expired { .. })),
                "{:?}",
                end
            );
            return Ok(());
        }
        if let Some((effective, by)) = self.ends.get(&id) {
            prop_assert_eq!(end.effective, *effective, "the first end stays");
            prop_assert_eq!(cancelled(end), by.map(|by| (*effective, by)));
            return Ok(());
        }
        prop_assert_eq!((end.effective, cancelled(end)), (*at, None));
        self.ends.insert(id, (*at, None));
        if !Resolve::is(&transaction.thunk) {
            return Ok(());
        }
        let target = plimsoll::codec::decode_value::<Resolve>(&transaction.arguments);
        let target = target.expect("a resolving record").target;
        if target == id || Self::is_too_early(target, at.hlc) {
            prop_assert!(matches!(end.outcome, Outcome::Aborted(_)), "{:?}", end);
            return Ok(());
        }
        let found = resolution(end);
        if !Self::is_in_window(target, at.hlc) {
            prop_assert_eq!(found, Resolution::Expired);
            return Ok(());
        }
        match (*self.ends.entry(target).or_insert((*at, Some(id))), found) {
            ((effective, Some(by)), found) => prop_assert_eq!(found, Resolution::Cancelled { effective, by }),
            ((place, None), Resolution::Committed { effective, .. } | Resolution::Aborted { effective, .. }) => {
                prop_assert_eq!(effective, place);
            }
            ((place, None), found) => prop_assert!(false, "{:?}, but {} ended at {}", found, target, place),
        }
        Ok(())
    }
}

/// How far a status has come.
fn rank(known: &Known) -> u8 {
    match known {
        Known::NotYet => 0,
        Known::Settled { .. } => 1,
        Known::Expired => 2,
    }
}

proptest! {
    /// However ids are repeated, resolved and resolved again, and however long ago they were made.
    #[test]
    fn every_record_ends_as_a_model_says_that_forgets_nothing(
        steps in prop::collection::vec(step(), 1..60),
        cuts in cuts(),
    ) {
        let records = records(&steps);
        let mut executor = executor();
        let mut model = Model::default();
        let mut rest = &records[..];
        for batch in batches(&records, &cuts, end_of(&records)) {
            let ends = executor.evaluate(&batch).settlements;
            let (of_batch, later) = rest.split_at(batch.records.len());
            rest = later;
            prop_assert_eq!(ends.len(), of_batch.len());
            for (record, end) in of_batch.iter().zip(&ends) {
                model.check(record, end)?;
            }
        }
    }

    /// What a client was told of an id is never taken back.
    #[test]
    fn a_status_never_goes_back_and_what_is_settled_stays_as_it_is(
        steps in prop::collection::vec(step(), 1..60),
        cuts in cuts(),
        gaps_ms in prop::collection::vec(0..700_000_u64, 0..4),
    ) {
        let records = records(&steps);
        let mut batches = batches(&records, &cuts, end_of(&records));
        let mut upto = end_of(&records);
        for gap_ms in gaps_ms {
            upto = upto.plus(std::time::Duration::from_millis(gap_ms));
            batches.push(Batch { records: Vec::new(), upto });
        }
        let mut executor = executor();
        let mut before: BTreeMap<TransactionId, Known> = BTreeMap::new();
        for batch in &batches {
            executor.evaluate(batch);
            for (_, record) in &records {
                let id = record.transaction.id;
                let Status { evaluated, known } = executor.status(id);
                prop_assert_eq!(evaluated, batch.upto);
                if let Some(before) = before.get(&id) {
                    prop_assert!(rank(before) <= rank(&known), "{} went from {:?} to {:?}", id, before, known);
                    prop_assert!(rank(before) < rank(&known) || *before == known, "{} has two ends", id);
                }
                before.insert(id, known);
            }
        }
        check_settled(&executor, &records)?;
    }
}

/// Whatever was evaluated and is not too old, is settled.
fn check_settled(executor: &Executor, records: &[Stamped]) -> Result<(), TestCaseError> {
    for (_, record) in records {
        let Status { evaluated, known } = executor.status(record.transaction.id);
        let expected = match Model::is_in_window(record.transaction.id, evaluated) {
            true => 1,
            false => 2,
        };
        prop_assert_eq!(rank(&known), expected);
    }
    Ok(())
}
