//! Thunks that do what they should not: whatever it is, it is an abort that says so.

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::limits::{ABORT_TEXT_BYTES_MAX, CALLS_NESTED_MAX, VALUE_BYTES_MAX};
use plimsoll::thunk::{Direction, Evaluation, Operator, Put, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};

use crate::{Map, evaluate};

/// What a [`Trespasser`] does to the undeclared key `"theirs"`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Trespass {
    Reads,
    Scans,
    Puts,
    Deletes,
    Merges,
    WritesWhatIsReadable,
    CallsOneWhoPuts,
    PutsTooMuch,
}

/// Declares `"mine"` written and `"read"` read, and passes over every error that it is given.
#[derive(Serialize, Deserialize)]
struct Trespasser(Trespass);

impl Thunk for Trespasser {
    const NAME: &'static str = "test.trespasser";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new()
            .write("mine".into())
            .read("read".into())
            .scan(KeyRange::prefix("p".into()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        let theirs = Key::from("theirs");
        evaluation.put(&"mine".into(), "written".into())?;
        let is_error = match self.0 {
            Trespass::Reads => evaluation.get(&theirs).is_err(),
            Trespass::Scans => evaluation
                .scan(&KeyRange::from("p".into()), 1, Direction::Forward)
                .is_err(),
            Trespass::Puts => evaluation.put(&theirs, "x".into()).is_err(),
            Trespass::Deletes => evaluation.delete(&theirs).is_err(),
            Trespass::Merges => evaluation.merge(&theirs, Operator::Append, &"x".into()).is_err(),
            Trespass::WritesWhatIsReadable => evaluation.put(&"read".into(), "x".into()).is_err(),
            Trespass::CallsOneWhoPuts => evaluation
                .call(&Put {
                    entries: vec![(theirs, "x".into())],
                })
                .is_err(),
            Trespass::PutsTooMuch => evaluation
                .put(&"mine".into(), Value::new(vec![0; VALUE_BYTES_MAX + 1]))
                .is_err(),
        };
        assert!(is_error, "{:?} is refused at once", self.0);
        Ok(())
    }
}

#[test]
fn a_swallowed_undeclared_access_still_aborts_and_names_thunk_access_and_key() {
    let own = ThunkId::of::<Trespasser>();
    for (trespass, thunk, access, key) in [
        (Trespass::Reads, own.clone(), "reads", "theirs"),
        (Trespass::Scans, own.clone(), "scans", "p"),
        (Trespass::Puts, own.clone(), "writes", "theirs"),
        (Trespass::Deletes, own.clone(), "writes", "theirs"),
        (Trespass::Merges, own.clone(), "writes", "theirs"),
        (Trespass::WritesWhatIsReadable, own.clone(), "writes", "read"),
        (Trespass::CallsOneWhoPuts, ThunkId::of::<Put>(), "writes", "theirs"),
    ] {
        let expected = Abort::Undeclared {
            thunk,
            access: access.into(),
            key: key.into(),
        };
        assert_eq!(aborts(&Trespasser(trespass)), expected, "{trespass:?}");
    }
}

#[test]
fn a_swallowed_oversized_value_still_aborts_with_its_size() {
    let Abort::TooLarge { what, bytes, limit } = aborts(&Trespasser(Trespass::PutsTooMuch)) else {
        panic!("the value is too large")
    };
    assert!(what.contains("mine"), "{what}");
    assert_eq!((bytes, limit), (VALUE_BYTES_MAX as u64 + 1, VALUE_BYTES_MAX as u64));
}

/// Misbehaves in one of these ways.
#[derive(Serialize, Deserialize)]
pub(crate) enum Rogue {
    CallsItself,
    ReturnsTooMuch,
    EncodesTooMuch,
    RefusesAtLength,
    HasNoFootprint,
}

impl Thunk for Rogue {
    const NAME: &'static str = "test.rogue";
    const VERSION: u32 = 1;
    type Output = Vec<u8>;

    fn footprint(&self) -> Footprint {
        assert!(!matches!(self, Self::HasNoFootprint), "no footprint for this");
        Footprint::new().write("k".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<u8>, Abort> {
        match self {
            Self::CallsItself => {
                // Passing over the refusal does not help.
                let _ = evaluation.call(self);
                Ok(Vec::new())
            }
            Self::ReturnsTooMuch => Ok(vec![0; VALUE_BYTES_MAX]),
            Self::EncodesTooMuch => {
                evaluation.put_as(&"k".into(), &vec![0_u8; VALUE_BYTES_MAX])?;
                Ok(Vec::new())
            }
            Self::RefusesAtLength | Self::HasNoFootprint => Err(Abort::Refused("x".repeat(10 * VALUE_BYTES_MAX))),
        }
    }
}

#[test]
fn a_thunk_calls_itself_without_end_and_the_transaction_aborts() {
    let expected = Abort::TooDeep {
        thunk: ThunkId::of::<Rogue>(),
        limit: CALLS_NESTED_MAX as u64,
    };
    assert_eq!(aborts(&Rogue::CallsItself), expected);
}

#[test]
fn what_is_too_large_aborts_as_such_and_a_long_refusal_is_cut() {
    for rogue in [Rogue::ReturnsTooMuch, Rogue::EncodesTooMuch] {
        let abort = aborts(&rogue);
        assert!(
            matches!(abort, Abort::TooLarge { bytes, .. } if bytes > VALUE_BYTES_MAX as u64),
            "{abort}"
        );
    }
    let Abort::Refused(text) = aborts(&Rogue::RefusesAtLength) else {
        panic!("it refuses")
    };
    assert_eq!(text.len(), ABORT_TEXT_BYTES_MAX);
}

fn aborts<T: Thunk>(thunk: &T) -> Abort
where
    T::Output: std::fmt::Debug,
{
    let (output, after) = evaluate(thunk, &Map::new());
    assert_eq!(after, Map::new(), "an abort writes nothing");
    output.expect_err("the thunk aborts")
}
