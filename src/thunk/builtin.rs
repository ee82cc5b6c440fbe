//! Thunks for users who write none.

use serde::{Deserialize, Serialize};

use super::{Evaluation, Guarded, Operator, Refuse, Registry, RegistryError, Reserve, Resolve, Thunk};
use crate::key::{Key, Value};
use crate::transaction::{Abort, Footprint};

/// Adds every thunk of this module, [`Resolve`], and those of staged transactions to `registry`.
///
/// *Errors* when a thunk of the same name is registered already.
pub fn register_builtins(registry: &mut Registry) -> Result<(), RegistryError> {
    registry.add::<Get>()?.add::<Put>()?.add::<Delete>()?;
    registry
        .add::<CompareAndSet>()?
        .add::<PutIfAbsent>()?
        .add::<Increment>()?;
    registry.add::<Append>()?.add::<Merge>()?.add::<Resolve>()?;
    registry.add::<Guarded>()?.add::<Refuse>()?.add::<Reserve>()?;
    Ok(())
}

/// Reads keys. Its output holds a value, or none, for each key in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// What to read.
    pub keys: Vec<Key>,
}

impl Thunk for Get {
    const NAME: &'static str = "plimsoll.get";
    const VERSION: u32 = 1;
    type Output = Vec<Option<Value>>;

    fn footprint(&self) -> Footprint {
        Footprint::new().read_all(self.keys.iter().cloned())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Self::Output, Abort> {
        self.keys.iter().map(|key| evaluation.get(key)).collect()
    }
}

/// Writes values to keys, whatever is there. A key given twice gets the last value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// What to write where.
    pub entries: Vec<(Key, Value)>,
}

impl Thunk for Put {
    const NAME: &'static str = "plimsoll.put";
    const VERSION: u32 = 1;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.entries.iter().map(|(key, _)| key.clone()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        self.entries
            .iter()
            .try_for_each(|(key, value)| evaluation.put(key, value.clone()))
    }
}

/// Removes keys. Its output is the number of those that were there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delete {
    /// What to remove.
    pub keys: Vec<Key>,
}

impl Thunk for Delete {
    const NAME: &'static str = "plimsoll.delete";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.keys.iter().cloned())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u64, Abort> {
        let mut removed = 0;
        for key in &self.keys {
            removed += u64::from(evaluation.get(key)?.is_some());
            evaluation.delete(key)?;
        }
        Ok(removed)
    }
}

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
        let found = evaluation.get(&self.key)?;
        if found != self.expected {
            let Self { key, expected, .. } = self;
            return Err(Abort::Refused(format!(
                "expected {} at {key}, found {}",
                shown(expected.as_ref()),
                shown(found.as_ref())
            )));
        }
        match &self.new {
            Some(value) => evaluation.put(&self.key, value.clone()),
            None => evaluation.delete(&self.key),
        }
    }
}

/// A value for a message: its first bytes, and how many there are if that is not all.
fn shown(value: Option<&Value>) -> String {
    const SHOWN_BYTES: usize = 32;
    match value {
        None => "nothing".to_owned(),
        Some(value) if value.as_bytes().len() <= SHOWN_BYTES => format!("{value:?}"),
        Some(value) => {
            let begin = value.as_bytes()[..SHOWN_BYTES].escape_ascii();
            format!("\"{begin}...\" ({} bytes)", value.as_bytes().len())
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
        let found = evaluation.get(&self.key)?;
        if found.is_none() {
            evaluation.put(&self.key, self.value.clone())?;
        }
        Ok(found)
    }
}

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
