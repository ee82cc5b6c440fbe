//! Merge operators: what combines an operand with what is stored, so that the client need not read it.
//!
//! Numbers are `i64` in eight bytes, little-endian. A set is a list of byte strings, ascending and each once, in the
//! encoding of users' values. Where nothing is stored, the operand is what is stored.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::key::Value;

/// How an operand is combined with what is stored.
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

impl Operator {
    /// Combines `stored` with `operand`.
    ///
    /// *Errors* when either is not of the operator's type, or when a sum overflows.
    pub fn apply(self, stored: Option<&Value>, operand: &Value) -> Result<Value, String> {
        let numbers = |combine: fn(i64, i64) -> Option<i64>| {
            let operand = Self::number(operand)?;
            let combined = match stored {
                Some(stored) => combine(Self::number(stored)?, operand).ok_or("the sum overflows 64 bits")?,
                None => operand,
            };
            Ok(Value::new(combined.to_le_bytes().to_vec()))
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
                codec::encode_value(&union).map_err(|error| error.to_string())
            }
        }
    }

    /// The number in a value.
    ///
    /// *Errors* when it has not eight bytes.
    pub fn number(value: &Value) -> Result<i64, String> {
        let bytes = value.as_bytes();
        let number =
            <[u8; 8]>::try_from(bytes).map_err(|_| format!("{} bytes are no number of eight bytes", bytes.len()))?;
        Ok(i64::from_le_bytes(number))
    }
}

fn set(value: &Value) -> Result<BTreeSet<Vec<u8>>, String> {
    codec::decode_value(value).map_err(|error| format!("not a set: {error}"))
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
        Value::new(number.to_le_bytes().to_vec())
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
        assert!(
            Operator::Add
                .apply(Some(&number(i64::MAX)), &number(1))
                .unwrap_err()
                .contains("overflows")
        );
        assert!(
            Operator::Max
                .apply(Some(&"text".into()), &number(1))
                .unwrap_err()
                .contains("4 bytes")
        );
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
        assert!(
            Operator::Union
                .apply(None, &Value::new(vec![200]))
                .unwrap_err()
                .contains("not a set")
        );
    }
}
