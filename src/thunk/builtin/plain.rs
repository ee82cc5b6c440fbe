//! Reading, writing and removing, whatever is there.

use serde::{Deserialize, Serialize};

use crate::key::{Key, Value};
use crate::thunk::{Evaluation, Thunk};
use crate::transaction::{Abort, Footprint};

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
            removed += u64::from(remove(evaluation, key)?);
        }
        Ok(removed)
    }
}

/// Removes a key. *Gives* whether there was something.
pub(super) fn remove(evaluation: &mut Evaluation<'_>, key: &Key) -> Result<bool, Abort> {
    let was = evaluation.get(key)?.is_some();
    evaluation.delete(key)?;
    Ok(was)
}
