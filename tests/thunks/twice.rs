//! Thunks that are not deterministic: each is caught when it is evaluated twice, and named; those that are deterministic are left alone.

use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll::key::{Key, Value};
use plimsoll::thunk::{Direction, Evaluation, Operator, Registry, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::database::{Database, number};
use crate::faults::{PLANNED, silence_planned_panics};

/// Not deterministic in one of these ways.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Fickle {
    WritesInTheOrderOfAHashMap,
    GivesTheOrderOfAHashMap,
    WritesTheWallClock,
    GivesACounter,
    RefusesEverySecondTime,
    CommitsEverySecondTime,
    RefusesInOtherWords,
    WritesOtherKeys,
    RemovesEverySecondTime,
    CallsAFickleOne,
    PanicsTheSecondTime,
    /// What it does not let be seen is nobody's business.
    HidesACounter,
}

/// How often something was done in this process: what no thunk may ask.
fn next() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    COUNTER.fetch_add(1, Ordering::Relaxed)
}

/// How often something was done in this thread: even and odd in turns, whatever other tests do meanwhile.
fn is_odd_time() -> bool {
    thread_local! {
        static ODD: std::cell::Cell<bool> = const { std::cell::Cell::new(true) };
    }
    ODD.with(|odd| odd.replace(!odd.get()))
}

#[expect(
    clippy::disallowed_types,
    reason = "this is what users do, and what is to be found out"
)]
fn words_in_the_order_of_a_hash_map() -> String {
    let words: std::collections::HashMap<String, usize> = (0..16).map(|n| (format!("word {n}"), n)).collect();
    words.into_keys().collect::<Vec<_>>().join(",")
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is what users do, and what is to be found out"
)]
fn wall_clock_nanos() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("it is later than 1970").as_nanos().to_string()
}

impl Thunk for Fickle {
    const NAME: &'static str = "test.fickle";
    const VERSION: u32 = 3;
    type Output = String;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(["a", "b", "c"].map(Key::from))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<String, Abort> {
        let refuse = |text: &str| Err(Abort::Refused(text.into()));
        let mut put = |key: &str, text: &str| evaluation.put(&Key::from(key), Value::from(text));
        put("b", "the same")?;
        match self {
            Self::WritesInTheOrderOfAHashMap => put("c", &words_in_the_order_of_a_hash_map())?,
            Self::GivesTheOrderOfAHashMap => return Ok(words_in_the_order_of_a_hash_map()),
            Self::WritesTheWallClock => put("a", &wall_clock_nanos())?,
            Self::GivesACounter => return Ok(next().to_string()),
            Self::RefusesEverySecondTime if !is_odd_time() => return refuse("not again"),
            Self::CommitsEverySecondTime if is_odd_time() => return refuse("not yet"),
            Self::RefusesInOtherWords => return refuse(if is_odd_time() { "one" } else { "other" }),
            Self::WritesOtherKeys if is_odd_time() => put("a", "odd")?,
            Self::WritesOtherKeys => put("c", "even")?,
            Self::RemovesEverySecondTime if is_odd_time() => evaluation.delete(&"a".into())?,
            Self::RemovesEverySecondTime => put("a", "even")?,
            Self::CallsAFickleOne => return evaluation.call(&Self::GivesACounter),
            Self::PanicsTheSecondTime if !is_odd_time() => std::panic::panic_any(PLANNED),
            Self::HidesACounter => {
                next();
            }
            _ => {}
        }
        Ok("the same".into())
    }
}

fn registry<T: Thunk>() -> Registry {
    let mut registry = Registry::with_builtins();
    registry.register::<T>().expect("its name is free");
    registry
}

fn database_evaluating_twice<T: Thunk>() -> Database {
    let mut registry = registry::<T>();
    registry.evaluate_twice();
    Database::of(registry)
}

#[test]
fn each_cause_is_caught_and_the_abort_names_the_thunk_and_what_differed() {
    silence_planned_panics();
    for (fickle, differed) in [
        (Fickle::WritesInTheOrderOfAHashMap, "at \"c\" it wrote \"word "),
        (Fickle::GivesTheOrderOfAHashMap, "its encoded output was "),
        (Fickle::WritesTheWallClock, "at \"a\" it wrote \""),
        (Fickle::GivesACounter, "its encoded output was "),
        (
            Fickle::RefusesEverySecondTime,
            "it committed, and then aborted: not again",
        ),
        (
            Fickle::CommitsEverySecondTime,
            "it aborted, and then committed: not yet",
        ),
        (
            Fickle::RefusesInOtherWords,
            "it aborted for one reason (one) and then for another (other)",
        ),
        (
            Fickle::WritesOtherKeys,
            "at \"a\" it wrote \"odd\" and then wrote nothing",
        ),
        (
            Fickle::RemovesEverySecondTime,
            "at \"a\" it removed what was there and then wrote \"even\"",
        ),
        (Fickle::CallsAFickleOne, "its encoded output was "),
        (
            Fickle::PanicsTheSecondTime,
            "it committed, and then aborted: thunk test.fickle v3 panicked: ",
        ),
    ] {
        let mut database = database_evaluating_twice::<Fickle>();
        let abort = database.run(&fickle).expect_err("it is not deterministic");
        let Abort::NotDeterministic { thunk, what } = &abort else {
            panic!("{fickle:?}: {abort}")
        };
        assert_eq!(*thunk, ThunkId::of::<Fickle>());
        assert!(what.starts_with(differed), "{fickle:?}: {what}");
        assert!(database.contents().is_empty(), "nothing took effect of {fickle:?}");
        let text = abort.to_string();
        assert!(
            text.starts_with("thunk test.fickle v3 is not deterministic: "),
            "{text}"
        );
        for remedy in ["now()", "rng()", "BTreeMap", "a static"] {
            assert!(text.contains(remedy), "{text}");
        }
    }
}

#[test]
fn nobody_asked_for_it_and_what_is_not_deterministic_commits() {
    let mut database = Database::of(registry::<Fickle>());
    database
        .run(&Fickle::WritesInTheOrderOfAHashMap)
        .expect("it is evaluated once");
    assert_eq!(database.contents().len(), 2);
}

#[test]
fn a_counter_that_reaches_neither_writes_nor_output_is_no_difference() {
    let mut database = database_evaluating_twice::<Fickle>();
    assert_eq!(database.run(&Fickle::HidesACounter), Ok("the same".into()));
}

/// Panics, or calls what panics and goes on, and counts how often it was evaluated.
#[derive(Serialize, Deserialize)]
struct Panics;

impl Panics {
    fn evaluations() -> &'static AtomicU64 {
        static EVALUATIONS: AtomicU64 = AtomicU64::new(0);
        &EVALUATIONS
    }
}

impl Thunk for Panics {
    const NAME: &'static str = "test.panics";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<(), Abort> {
        Self::evaluations().fetch_add(1, Ordering::Relaxed);
        std::panic::panic_any(PLANNED)
    }
}

#[test]
fn a_thunk_that_panics_is_evaluated_and_reported_once() {
    silence_planned_panics();
    let (thunk, message) = (ThunkId::of::<Panics>(), PLANNED.to_owned());
    let ended = database_evaluating_twice::<Panics>().run(&Panics);
    assert_eq!(ended, Err(Abort::Panicked { thunk, message }));
    assert_eq!(Panics::evaluations().load(Ordering::Relaxed), 1);
}

/// Everything that an evaluation offers, in one thunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Steady {
    adds: Vec<i64>,
    depth: u8,
    refuses: bool,
}

impl Thunk for Steady {
    const NAME: &'static str = "test.steady";
    const VERSION: u32 = 1;
    type Output = (String, u64, Vec<(Key, Value)>);

    fn footprint(&self) -> Footprint {
        let range = plimsoll::key::KeyRange::prefix("s".into());
        Footprint::new().write_all(["s1", "s2"].map(Key::from)).scan(range)
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Self::Output, Abort> {
        let name = evaluation.uuid().to_string();
        evaluation.put(&"s1".into(), Value::from(name.as_str()))?;
        for add in &self.adds {
            evaluation.merge(&"s2".into(), Operator::Add, &number(*add))?;
        }
        if self.depth > 0 {
            let nested = Self {
                depth: self.depth - 1,
                refuses: !self.refuses,
                ..self.clone()
            };
            let _ = evaluation.call(&nested);
        }
        if self.refuses {
            return Err(Abort::Refused(format!("{name} at {}", evaluation.now())));
        }
        let range = plimsoll::key::KeyRange::prefix("s".into());
        let seen = evaluation.scan(&range, 10, Direction::Backward)?;
        Ok((name, evaluation.now().hlc.bits(), seen))
    }
}

proptest! {
    #[test]
    fn deterministic_thunks_come_to_the_same_evaluated_once_and_twice(
        thunks in prop::collection::vec(
            (prop::collection::vec(-9..9_i64, 0..4), 0..4_u8, any::<bool>())
                .prop_map(|(adds, depth, refuses)| Steady { adds, depth, refuses }),
            1..6,
        ),
    ) {
        let (mut once, mut twice) = (Database::with::<Steady>(), database_evaluating_twice::<Steady>());
        for thunk in &thunks {
            prop_assert_eq!(once.run(thunk), twice.run(thunk));
            prop_assert_eq!(once.contents(), twice.contents());
        }
    }
}
