//! One key, written on a condition.

use serde::{Deserialize, Serialize};

use super::write::{Entry, Expected, Intent, Written};
use crate::key::{Key, Value};
use crate::thunk::{Evaluation, Thunk};
use crate::transaction::{Abort, Footprint};

/// Writes a value, or removes the key, if what is there is what was expected; else refuses and says what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareAndSet {
    /// Where.
    pub key: Key,
    /// What must be there; none: nothing.
    pub expected: Option<Value>,
    /// What is to be there; none: nothing.
    pub new: Option<Value>,
}

impl Thunk for CompareAndSet {
    const NAME: &'static str = "plimsoll.compare-and-set";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write(self.key.clone())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        Expected::of(self.expected.clone()).require(evaluation, &self.key)?;
        match &self.new {
            Some(value) => evaluation.put(&self.key, value.clone()),
            None => evaluation.delete(&self.key),
        }
    }
}

/// Writes a value where there is none. Its output is what was there: none if the value was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutIfAbsent {
    /// Where.
    pub key: Key,
    /// What to write.
    pub value: Value,
}

impl Thunk for PutIfAbsent {
    const NAME: &'static str = "plimsoll.put-if-absent";
    const VERSION: u32 = 1;
    type Output = Option<Value>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(self.key.clone())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Option<Value>, Abort> {
        let entry = Entry {
            key: self.key.clone(),
            value: self.value.clone(),
            on_conflict: Intent::Ignore(Expected::Absent),
        };
        Ok(match entry.write(evaluation)? {
            Written::Ignored { value, .. } => value,
            Written::Done | Written::Number(_) => None,
        })
    }
}
