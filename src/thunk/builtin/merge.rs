//! Combining with what is there: numbers, bytes, sets.

use serde::{Deserialize, Serialize};

use crate::key::{Key, Value};
use crate::thunk::{Evaluation, Operator, Thunk};
use crate::transaction::{Abort, Footprint};

/// Adds to a number (see [`Operator::Add`]; nothing counts as 0). Its output is the sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Increment {
    /// Where the number is.
    pub key: Key,
    /// What to add.
    pub amount: i64,
}

impl Thunk for Increment {
    const NAME: &'static str = "plimsoll.increment";
    const VERSION: u32 = 1;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(self.key.clone())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        evaluation.merge(&self.key, Operator::Add, &Operator::of_number(self.amount))?;
        let sum = evaluation.get(&self.key)?.expect("just written");
        Ok(Operator::number(&sum).expect("just written as a number"))
    }
}

/// Appends bytes to what is at a key. Its output is the new length in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// Where.
    pub key: Key,
    /// What to append.
    pub bytes: Value,
}

impl Thunk for Append {
    const NAME: &'static str = "plimsoll.append";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(self.key.clone())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u64, Abort> {
        evaluation.merge(&self.key, Operator::Append, &self.bytes)?;
        let stored = evaluation.get(&self.key)?.expect("just written");
        Ok(stored.as_bytes().len() as u64)
    }
}

/// Combines operands with what is at keys, without reading them back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// What to combine where, and how; in order.
    pub operands: Vec<(Key, Operator, Value)>,
}

impl Thunk for Merge {
    const NAME: &'static str = "plimsoll.merge";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.operands.iter().map(|(key, ..)| key.clone()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        self.operands
            .iter()
            .try_for_each(|(key, operator, operand)| evaluation.merge(key, *operator, operand))
    }
}
