//! Thunks that would harm the replica and not only their transaction, and what a nested thunk's end is to its caller.

use std::fmt::Debug;

use plimsoll::client::{self, NotSubmitted};
use plimsoll::id::TransactionId;
use plimsoll::key::Value;
use plimsoll::limits::{ABORT_TEXT_BYTES_MAX, CALLS_NESTED_MAX};
use plimsoll::thunk::{CompareAndSet, Evaluation, FootprintError, Registry, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};

use crate::database::{Database, START_MS};
use crate::faults::{PLANNED, silence_planned_panics};

/// Misbehaves in one of these ways.
#[derive(Serialize, Deserialize)]
enum Rogue {
    CallsItself,
    RefusesAtLength,
    HasNoFootprint,
    WritesAndPanics,
}

impl Thunk for Rogue {
    const NAME: &'static str = "test.rogue";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        if matches!(self, Self::HasNoFootprint) {
            std::panic::panic_any(PLANNED);
        }
        Footprint::new().write("w".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        match self {
            // Passing over the refusal does not help.
            Self::CallsItself => {
                let _ = evaluation.call(self);
                Ok(())
            }
            Self::RefusesAtLength => Err(Abort::Refused("ü".repeat(ABORT_TEXT_BYTES_MAX))),
            Self::WritesAndPanics => {
                evaluation.put(&"w".into(), "nested".into())?;
                std::panic::panic_any(PLANNED)
            }
            Self::HasNoFootprint => Ok(()),
        }
    }
}

fn abort_of<T: Thunk<Output: Debug>>(thunk: &T) -> Abort {
    let mut database = Database::with::<T>();
    let abort = database.run(thunk).expect_err("it misbehaves");
    assert!(database.contents().is_empty());
    abort
}

#[test]
fn a_thunk_calls_itself_without_end_and_the_transaction_aborts_before_the_stack_is_full() {
    let (thunk, limit) = (ThunkId::of::<Rogue>(), CALLS_NESTED_MAX as u64);
    assert_eq!(abort_of(&Rogue::CallsItself), Abort::TooDeep { thunk, limit });
}

#[test]
fn a_long_refusal_is_cut_as_every_outcome_is_kept() {
    let Abort::Refused(text) = abort_of(&Rogue::RefusesAtLength) else {
        panic!("it refuses")
    };
    assert_eq!(text, "ü".repeat(ABORT_TEXT_BYTES_MAX / 2));
}

#[test]
fn a_long_value_is_named_by_its_beginning_in_a_refusal() {
    let mut database = Database::of(Registry::with_builtins());
    database.store(&[("k", Value::new(vec![b'x'; 50]))]);
    let swap = CompareAndSet {
        key: "k".into(),
        expected: None,
        new: None,
    };
    let text = format!("expected nothing at \"k\", found \"{}...\" (50 bytes)", "x".repeat(32));
    assert_eq!(database.run(&swap), Err(Abort::Refused(text)));
}

#[test]
fn a_footprint_panics_over_what_a_client_sent_and_the_client_is_told() {
    silence_planned_panics();
    let mut registry = Registry::new();
    registry.register::<Rogue>().expect("its name is free");
    let arguments = client::arguments(&Rogue::HasNoFootprint).expect("plain data");
    let id = TransactionId::from_parts(START_MS, [0; 10]);
    let (thunk, message) = (ThunkId::of::<Rogue>(), PLANNED.to_owned());
    assert_eq!(
        client::admit(&registry, id, thunk.clone(), arguments),
        Err(NotSubmitted::NoFootprint(FootprintError::Panicked { thunk, message }))
    );
}

/// Calls a thunk that panics after a write, and goes on with what it was told.
#[derive(Serialize, Deserialize)]
struct Forgiving;

impl Thunk for Forgiving {
    const NAME: &'static str = "test.forgiving";
    const VERSION: u32 = 1;
    type Output = Option<Value>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write("w".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Option<Value>, Abort> {
        evaluation.put(&"w".into(), "outer".into())?;
        let (thunk, message) = (ThunkId::of::<Rogue>(), PLANNED.to_owned());
        assert_eq!(
            evaluation.call(&Rogue::WritesAndPanics),
            Err(Abort::Panicked { thunk, message })
        );
        evaluation.get(&"w".into())
    }
}

#[test]
fn a_nested_thunk_panics_and_its_writes_are_undone_and_the_outer_goes_on() {
    silence_planned_panics();
    let mut database = Database::with::<Forgiving>();
    assert_eq!(database.run(&Forgiving), Ok(Some("outer".into())));
    assert_eq!(database.contents()[&"w".into()], "outer".into());
}

/// Names something new.
#[derive(Serialize, Deserialize)]
struct Names;

impl Thunk for Names {
    const NAME: &'static str = "test.names";
    const VERSION: u32 = 1;
    type Output = [String; 2];

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<[String; 2], Abort> {
        Ok([evaluation.uuid().to_string(), evaluation.uuid().to_string()])
    }
}

#[test]
fn the_names_that_a_transaction_gives_are_part_of_the_format() {
    let names = Database::with::<Names>().run(&Names).expect("nothing is touched");
    assert_eq!(
        names,
        [
            "14b92fb0-8039-4dac-9eb9-57ca518ab656",
            "49805fd3-2808-4ec9-a689-c9e81b86192b"
        ]
    );
}
