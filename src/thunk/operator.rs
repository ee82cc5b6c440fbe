//! Merge operators: what combines an operand with what is stored, so that the client need not read it.
//!
//! What is stored, and part of the format:
//!
//! - a number: an `i64` in eight bytes, little-endian, in two's complement;
//! - a set: what [`encode_value`](crate::codec::encode_value) makes of a `BTreeSet<Vec<u8>>`: how many elements there are, then each with its length
//!   before it, ascending. An operand may name its elements in any order and more than once; what is stored does not.
//! - bytes: as they are.
//!
//! Where nothing is stored, the operand becomes what is stored, once it is found to be of the operator's type.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec::{self, DecodeError, EncodeError};
use crate::key::Value;
use crate::limits::VALUE_BYTES_MAX;

/// How an operand is combined with what is stored.
///
/// Every operator is associative: operands may be combined with each other, in their order, before they are merged. All but [`Operator::Append`]
/// are commutative as well; [`Operator::Min`], [`Operator::Max`] and [`Operator::Union`] count an operand once however often it comes. So it is of
/// [`Operator::Add`] too unless a sum on the way overflows, which is refused even where the whole would not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The sum of two numbers; refuses to overflow.
    Add,
    /// The smaller of two numbers.
    Min,
    /// The larger of two numbers.
    Max,
    /// The stored bytes followed by the operand.
    Append,
    /// The union of two sets.
    Union,
}

/// Why a value could not be combined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// A number was expected.
    #[error("{bytes} bytes are no number of eight bytes")]
    NotANumber {
        /// How many bytes were found.
        bytes: usize,
    },
    /// The sum is no `i64`.
    #[error("the sum overflows 64 bits")]
    Overflow,
    /// A set was expected.
    #[error("not a set: {0}")]
    NotASet(DecodeError),
    /// The union is larger than a value may be.
    #[error("the set has {bytes} bytes, more than {VALUE_BYTES_MAX}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
}

impl Operator {
    /// Combines `stored` with `operand`.
    ///
    /// *Errors* when either is not of the operator's type, when a sum overflows, or when a union is larger than a value may be. The
    /// size of what [`Operator::Append`] gives is for the caller to check.
    pub fn apply(self, stored: Option<&Value>, operand: &Value) -> Result<Value, OperatorError> {
        let numbers = |combine: fn(i64, i64) -> Option<i64>| {
            let operand = Self::number(operand)?;
            let combined = match stored.map(Self::number).transpose()? {
                Some(stored) => combine(stored, operand).ok_or(OperatorError::Overflow)?,
                None => operand,
            };
            Ok(Self::of_number(combined))
        };
        match self {
            Self::Add => numbers(i64::checked_add),
            Self::Min => numbers(|a, b| Some(a.min(b))),
            Self::Max => numbers(|a, b| Some(a.max(b))),
            Self::Append => Ok(Value::new(
                [stored.map_or(&[][..], Value::as_bytes), operand.as_bytes()].concat(),
            )),
            Self::Union => {
                let mut union = set(operand)?;
                if let Some(stored) = stored {
                    union.extend(set(stored)?);
                }
                codec::encode_value(&union).map_err(|error| match error {
                    EncodeError::Oversized { bytes, .. } => OperatorError::TooLarge { bytes },
                    other => unreachable!("a set of byte strings has an encoding: {other}"),
                })
            }
        }
    }

    /// The number in a value.
    ///
    /// *Errors* when it has not eight bytes.
    pub fn number(value: &Value) -> Result<i64, OperatorError> {
        let bytes = value.as_bytes();
        let number = <[u8; 8]>::try_from(bytes).map_err(|_| OperatorError::NotANumber { bytes: bytes.len() })?;
        Ok(i64::from_le_bytes(number))
    }

    /// The value that holds a number: an operand of [`Operator::Add`], [`Operator::Min`] and [`Operator::Max`].
    pub fn of_number(number: i64) -> Value {
        Value::new(number.to_le_bytes())
    }
}

fn set(value: &Value) -> Result<BTreeSet<Vec<u8>>, OperatorError> {
    codec::decode_value(value).map_err(OperatorError::NotASet)
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Min => "min",
            Self::Max => "max",
            Self::Append => "append",
            Self::Union => "union",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i64) -> Value {
        Operator::of_number(number)
    }

    #[test]
    fn numbers_are_added_and_compared() {
        for (operator, expected) in [(Operator::Add, 2), (Operator::Min, -3), (Operator::Max, 5)] {
            assert_eq!(
                operator.apply(Some(&number(5)), &number(-3)),
                Ok(number(expected)),
                "{operator}"
            );
            assert_eq!(
                operator.apply(None, &number(-3)),
                Ok(number(-3)),
                "{operator} of nothing"
            );
        }
        assert_eq!(
            Operator::Add.apply(Some(&number(i64::MAX)), &number(1)),
            Err(OperatorError::Overflow)
        );
        let not_a_number = Err(OperatorError::NotANumber { bytes: 4 });
        assert_eq!(Operator::Max.apply(Some(&"text".into()), &number(1)), not_a_number);
        assert_eq!(Operator::Max.apply(None, &"text".into()), not_a_number);
    }

    #[test]
    fn bytes_are_appended_and_sets_united() {
        assert_eq!(
            Operator::Append.apply(Some(&"ab".into()), &"c".into()),
            Ok("abc".into())
        );
        let set =
            |items: &[&str]| codec::encode_value(&items.iter().map(|item| item.as_bytes()).collect::<BTreeSet<_>>());
        let union = Operator::Union.apply(Some(&set(&["a", "c"]).unwrap()), &set(&["b", "c"]).unwrap());
        assert_eq!(union, Ok(set(&["a", "b", "c"]).unwrap()));
        let not_a_set = Operator::Union.apply(None, &Value::new(vec![200])).unwrap_err();
        assert!(matches!(not_a_set, OperatorError::NotASet(_)), "{not_a_set}");
    }

    #[test]
    fn the_stored_forms_are_these_bytes() {
        let stored = |operator: Operator, operand: Value| operator.apply(None, &operand).unwrap();
        assert_eq!(
            stored(Operator::Add, number(-2)).as_bytes(),
            [254, 255, 255, 255, 255, 255, 255, 255]
        );
        let unsorted = codec::encode_value(&vec![vec![7_u8, 8], vec![5], vec![7, 8]]).unwrap();
        assert_eq!(stored(Operator::Union, unsorted).as_bytes(), [2, 1, 5, 2, 7, 8]);
    }

    #[test]
    fn a_union_beyond_the_bound_is_refused_with_its_size() {
        let set = |byte| codec::encode_value(&BTreeSet::from([vec![byte; VALUE_BYTES_MAX - 9]])).unwrap();
        let result = Operator::Union.apply(Some(&set(1)), &set(2));
        let Err(OperatorError::TooLarge { bytes }) = result else {
            panic!("two such sets do not fit into one value")
        };
        assert!(bytes > 2 * (VALUE_BYTES_MAX - 9));
    }
}
