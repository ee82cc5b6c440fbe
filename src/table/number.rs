//! Numbers as values, for which there are merge operators.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Table, TableKey};
use crate::thunk::{Evaluation, Increment, Operator};
use crate::transaction::Abort;

/// A number that [`Operator::Add`], [`Operator::Min`] and [`Operator::Max`] combine: eight bytes, little-endian, in two's complement. A row that
/// there is not counts as 0 for a sum, and as any operand for the others.
///
/// An `i64` as a value is stored in another form, which the operators do not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub i64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_le_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(deserializer).map(|bytes| Self(i64::from_le_bytes(bytes)))
    }
}

/// Tables of numbers.
impl<K: TableKey> Table<K, Number> {
    /// Adds `amount` to the number at `key`.
    ///
    /// *Errors* when the footprint does not declare [`key`](Table::key) as written, when the sum overflows, and when what is stored is no number.
    pub fn add(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>, amount: i64) -> Result<(), Abort> {
        self.merge(evaluation, key, Operator::Add, amount)
    }

    /// Lowers the number at `key` to `bound`, if it is above or absent.
    ///
    /// *Errors* when the footprint does not declare [`key`](Table::key) as written, and when what is stored is no number.
    pub fn lower(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>, bound: i64) -> Result<(), Abort> {
        self.merge(evaluation, key, Operator::Min, bound)
    }

    /// Raises the number at `key` to `bound`, if it is below or absent.
    ///
    /// *Errors* as [`lower`](Table::lower).
    pub fn raise(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>, bound: i64) -> Result<(), Abort> {
        self.merge(evaluation, key, Operator::Max, bound)
    }

    /// A thunk that adds `amount` to the number at `key`, and gives the sum.
    pub fn adding(&self, key: K::Borrowed<'_>, amount: i64) -> Increment {
        let key = self.key(key);
        Increment { key, amount }
    }

    fn merge(
        &self,
        evaluation: &mut Evaluation<'_>,
        key: K::Borrowed<'_>,
        operator: Operator,
        operand: i64,
    ) -> Result<(), Abort> {
        evaluation.merge(&self.key(key), operator, &Operator::of_number(operand))
    }
}
