//! Several operations as one transaction.

use serde::{Deserialize, Serialize};

use super::plain::remove;
use super::write::{Entry, Expected, Intent, Written};
use crate::key::{Key, Value};
use crate::thunk::{Evaluation, Operator, Thunk};
use crate::transaction::{Abort, Footprint};

/// Operations that take effect in order, all or none. Each sees what those before it did; the output says what each gave.
///
/// For a program that has no thunks of its own and passes on what others ask for. What it cannot do: scan a range, branch, or compute a value from
/// what it read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// The operations.
    pub operations: Vec<Operation>,
}

/// One of several operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Reads a key.
    Get {
        /// Which.
        key: Key,
    },
    /// Writes a key.
    Write(Entry),
    /// Removes a key.
    Delete {
        /// Which.
        key: Key,
    },
    /// Refuses the whole transaction unless this is there.
    Expect {
        /// Where.
        key: Key,
        /// What.
        expected: Expected,
    },
}

/// What an operation gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gave {
    /// What is at the key that was read; none: nothing.
    Value(Option<Value>),
    /// What became of a write.
    Written(Written),
    /// Whether there was something at the key that was removed.
    Removed(bool),
    /// What was expected is there.
    Met,
}

impl Operation {
    /// Writes `value` whatever is there.
    pub fn put(key: Key, value: Value) -> Self {
        let on_conflict = Intent::Replace;
        Self::Write(Entry {
            key,
            value,
            on_conflict,
        })
    }

    /// Combines `operand` with what is there.
    pub fn merge(key: Key, operator: Operator, operand: Value) -> Self {
        Self::Write(Entry {
            key,
            value: operand,
            on_conflict: Intent::Append(operator),
        })
    }

    /// The key that it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Get { key } | Self::Delete { key } | Self::Expect { key, .. } => key,
            Self::Write(entry) => &entry.key,
        }
    }

    fn run(&self, evaluation: &mut Evaluation<'_>) -> Result<Gave, Abort> {
        match self {
            Self::Get { key } => evaluation.get(key).map(Gave::Value),
            Self::Write(entry) => entry.write(evaluation).map(Gave::Written),
            Self::Delete { key } => remove(evaluation, key).map(Gave::Removed),
            Self::Expect { key, expected } => {
                expected.require(evaluation, key)?;
                Ok(Gave::Met)
            }
        }
    }
}

impl Thunk for Operations {
    const NAME: &'static str = "plimsoll.operations";
    const VERSION: u32 = 1;
    type Output = Vec<Gave>;

    fn footprint(&self) -> Footprint {
        self.operations
            .iter()
            .fold(Footprint::new(), |footprint, operation| match operation {
                Operation::Get { key } | Operation::Expect { key, .. } => footprint.read(key.clone()),
                Operation::Write(Entry { key, .. }) | Operation::Delete { key } => footprint.write(key.clone()),
            })
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Gave>, Abort> {
        let operations = self.operations.iter();
        operations.map(|operation| operation.run(evaluation)).collect()
    }
}
