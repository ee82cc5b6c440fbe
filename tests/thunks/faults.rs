//! What aborts a transaction whatever its thunk returns, and what it leaves: nothing.

use std::sync::Once;

use plimsoll::id::TransactionId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::limits::{OUTPUT_BYTES_MAX, VALUE_BYTES_MAX};
use plimsoll::thunk::{Direction, Evaluation, Operator, Registry, Thunk};
use plimsoll::transaction::{Abort, Footprint, Outcome, ThunkId};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::database::{Database, START_MS, number};

/// What a thunk does that its footprint does not declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Access {
    Get,
    Scan,
    ScanBeyond,
    Put,
    PutToRead,
    PutIntoRange,
    Delete,
    Merge,
}

/// Writes what it declares, and then touches what it does not.
#[derive(Serialize, Deserialize)]
struct Trespass {
    access: Access,
    swallows: bool,
}

impl Thunk for Trespass {
    const NAME: &'static str = "test.trespass";
    const VERSION: u32 = 2;
    type Output = ();

    fn footprint(&self) -> Footprint {
        let range = KeyRange::new("p".into(), "q".into());
        Footprint::new().write("w".into()).read("r".into()).scan(range)
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        evaluation.put(&"w".into(), "written".into())?;
        let other = Key::from("x");
        let result = match self.access {
            Access::Get => evaluation.get(&other).map(drop),
            Access::Scan => evaluation
                .scan(&KeyRange::prefix("x".into()), 1, Direction::Forward)
                .map(drop),
            Access::ScanBeyond => {
                let wider = KeyRange::new("p".into(), "r".into());
                evaluation.scan(&wider, 1, Direction::Backward).map(drop)
            }
            Access::Put => evaluation.put(&other, "v".into()),
            Access::PutToRead => evaluation.put(&"r".into(), "v".into()),
            Access::PutIntoRange => evaluation.put(&"p1".into(), "v".into()),
            Access::Delete => evaluation.delete(&other),
            Access::Merge => evaluation.merge(&other, Operator::Add, &number(1)),
        };
        if self.swallows { Ok(()) } else { result }
    }
}

#[test]
fn an_undeclared_access_aborts_with_key_and_thunk_even_if_the_thunk_swallows_the_error() {
    for (access, verb, key) in [
        (Access::Get, "reads", "x"),
        (Access::Scan, "scans", "x"),
        (Access::ScanBeyond, "scans", "p"),
        (Access::Put, "writes", "x"),
        (Access::PutToRead, "writes", "r"),
        (Access::PutIntoRange, "writes", "p1"),
        (Access::Delete, "writes", "x"),
        (Access::Merge, "writes", "x"),
    ] {
        for swallows in [false, true] {
            let mut database = Database::with::<Trespass>();
            let stored = [("x", number(1)), ("r", number(2)), ("p1", number(3))];
            database.store(&stored);
            let before = database.contents();
            let abort = database.run(&Trespass { access, swallows }).expect_err("undeclared");
            let by = match verb {
                "reads" => "read(key)",
                "scans" => "scan(range), one that covers all that is scanned",
                _ => "write(key)",
            };
            let text = format!(
                "thunk test.trespass v2 {verb} the key \"{key}\", which its footprint does not declare: add it to the footprint by {by}"
            );
            assert_eq!(abort.to_string(), text, "{access:?}");
            assert_eq!(database.contents(), before, "{access:?} leaves no write");
        }
    }
}

/// Calls a thunk that trespasses, and passes over that.
#[derive(Serialize, Deserialize)]
struct Outer;

impl Thunk for Outer {
    const NAME: &'static str = "test.outer";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write("w".into()).write("o".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        let trespass = Trespass {
            access: Access::Get,
            swallows: false,
        };
        let _ = evaluation.call(&trespass);
        evaluation.put(&"o".into(), "went on".into())
    }
}

#[test]
fn a_nested_thunk_touches_what_the_outer_does_not_declare_and_is_named() {
    let mut database = Database::with::<Outer>();
    let abort = database.run(&Outer).expect_err("undeclared");
    let (thunk, access) = (ThunkId::of::<Trespass>(), "reads".to_owned());
    assert_eq!(
        abort,
        Abort::Undeclared {
            thunk,
            access,
            key: "x".into()
        }
    );
    assert!(database.contents().is_empty());
}

/// Writes, and then panics in one of three ways.
#[derive(Serialize, Deserialize)]
struct Panics {
    way: u8,
}

pub(crate) const PLANNED: &str = "a planned panic";

impl Thunk for Panics {
    const NAME: &'static str = "test.panics";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write("w".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        evaluation.put(&"w".into(), "written".into())?;
        match self.way {
            0 => std::panic::panic_any(PLANNED),
            1 => panic!("{PLANNED} of number {}", self.way),
            _ => std::panic::panic_any(PlannedWithoutMessage),
        }
    }
}

struct PlannedWithoutMessage;

/// Keeps the planned panics, and only them, out of the output of the tests.
pub(crate) fn silence_planned_panics() {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_planned = panic.payload().is::<PlannedWithoutMessage>()
                || panic.payload_as_str().is_some_and(|text| text.starts_with(PLANNED));
            if !is_planned {
                report(panic);
            }
        }));
    });
}

#[test]
fn a_thunk_panics_and_aborts_with_the_message_and_without_a_write() {
    silence_planned_panics();
    for (way, message) in [
        (0, PLANNED),
        (1, "a planned panic of number 1"),
        (2, "without a message"),
    ] {
        let mut database = Database::with::<Panics>();
        let (thunk, message) = (ThunkId::of::<Panics>(), message.to_owned());
        assert_eq!(
            database.run(&Panics { way }),
            Err(Abort::Panicked { thunk, message }),
            "way {way}"
        );
        assert!(database.contents().is_empty());
        database.store(&[("w", "later".into())]);
        assert_eq!(database.contents().len(), 1, "the replica goes on");
    }
}

/// Writes this many bytes and returns that many, passing over errors.
#[derive(Serialize, Deserialize)]
struct Large {
    value_bytes: usize,
    encodes: bool,
    output_bytes: usize,
}

impl Thunk for Large {
    const NAME: &'static str = "test.large";
    const VERSION: u32 = 1;
    type Output = Value;

    fn footprint(&self) -> Footprint {
        Footprint::new().write("w".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Value, Abort> {
        let value = Value::new(vec![7; self.value_bytes]);
        let _ = if self.encodes {
            evaluation.put_as(&"w".into(), &value)
        } else {
            evaluation.put(&"w".into(), value)
        };
        Ok(Value::new(vec![7; self.output_bytes]))
    }
}

/// Bytes that the length of a large value takes in front of it.
const LENGTH_BYTES: usize = 5;

#[test]
fn a_value_is_larger_than_the_limit_and_aborts_with_its_size() {
    for (encodes, extra_bytes) in [(false, 0), (true, LENGTH_BYTES)] {
        let mut database = Database::with::<Large>();
        let mut large = Large {
            value_bytes: VALUE_BYTES_MAX - extra_bytes,
            encodes,
            output_bytes: 0,
        };
        assert!(database.run(&large).is_ok(), "the limit itself is allowed");
        let before = database.contents();
        large.value_bytes += 1;
        let abort = database.run(&large).expect_err("one byte too many");
        assert_eq!(
            abort.to_string(),
            "the value for \"w\" has 1048577 bytes, more than the limit of 1048576: make it smaller, or split it"
        );
        assert_eq!(database.contents(), before);
    }
}

#[test]
fn an_output_is_larger_than_the_limit_and_aborts_with_its_size() {
    let mut database = Database::with::<Large>();
    let mut large = Large {
        value_bytes: 0,
        encodes: false,
        output_bytes: OUTPUT_BYTES_MAX - LENGTH_BYTES,
    };
    assert!(database.run(&large).is_ok(), "the limit itself is allowed");
    let mut fresh = Database::with::<Large>();
    large.output_bytes += 1;
    let abort = fresh.run(&large).expect_err("one byte too many");
    assert_eq!(
        abort.to_string(),
        "the output has 1048577 bytes, more than the limit of 1048576: make it smaller, or split it"
    );
    assert!(fresh.contents().is_empty());
}

/// Draws numbers.
#[derive(Serialize, Deserialize)]
struct Dice;

impl Thunk for Dice {
    const NAME: &'static str = "test.dice";
    const VERSION: u32 = 1;
    type Output = Vec<u64>;

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<u64>, Abort> {
        // Asked for twice, the generator goes on where it was.
        let first = evaluation.rng().next_u64();
        Ok(vec![first, evaluation.rng().next_u64()])
    }
}

#[test]
fn one_id_draws_the_same_numbers_on_every_replica_and_another_id_others() {
    let draw = |name: u8, at_ms: u64| {
        let mut database = Database::with::<Dice>();
        let mut transaction = database.admit(&Dice);
        for _ in 0..at_ms {
            database.store(&[]);
        }
        transaction.id = TransactionId::from_parts(START_MS, [name; 10]);
        match database.evaluate(transaction) {
            Outcome::Committed(output) => plimsoll::codec::decode_value::<Vec<u64>>(&output).expect("numbers"),
            Outcome::Aborted(abort) => panic!("{abort}"),
        }
    };
    assert_eq!(draw(1, 0), draw(1, 5), "the time does not matter");
    assert_ne!(draw(1, 0), draw(2, 0));
    assert_ne!(draw(1, 0)[0], draw(1, 0)[1]);
    // The algorithm is part of the format: replicas of another build must draw these.
    assert_eq!(draw(1, 0), [11_591_064_409_783_325_563, 13_931_781_061_406_163_848]);
}

#[test]
fn arguments_of_another_type_reach_evaluation_and_abort() {
    let mut database = Database::of(Registry::with_builtins());
    let mut transaction = database.admit(&plimsoll::thunk::Get { keys: Vec::new() });
    transaction.arguments = Value::new(vec![0xff; 3]);
    let outcome = database.evaluate(transaction);
    assert!(
        matches!(&outcome, Outcome::Aborted(Abort::Malformed(text)) if text.starts_with("arguments: ")),
        "{outcome:?}"
    );
}
