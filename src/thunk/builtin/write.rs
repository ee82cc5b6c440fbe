//! Writes that say what is to happen where something else is found: conflict intents.
//!
//! There is no conflict between transactions in the sense of locks: each is evaluated over what all before it left. A conflict here is that a
//! client decided upon a value by what it had read, and that this is no longer there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::{Key, Value};
use crate::thunk::shown::shown;
use crate::thunk::{Evaluation, Operator, Thunk};
use crate::time::Timestamp;
use crate::transaction::{Abort, Footprint};

/// Writes to keys, each under an [`Intent`]. Its output says of each entry, in order, what became of it.
///
/// All or none: one entry that [fails](Intent::Fail) aborts the transaction. One that is [ignored](Intent::Ignore) does not. Entries see the values
/// that those before them wrote. The values that the output shows are bounded as every output is, by
/// [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX).
///
/// ```
/// use plimsoll::thunk::{Expected, Operator, Write};
///
/// let write = Write::new()
///     .fail("order/7", "paid", Expected::Value("open".into()))
///     .ignore("first-paid", "order/7", Expected::Absent)
///     .replace("last-paid", "order/7")
///     .append("paid", Operator::of_number(1), Operator::Add);
/// assert_eq!(write.entries.len(), 4);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// What to write where, in order.
    pub entries: Vec<Entry>,
}

/// One key that is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where.
    pub key: Key,
    /// What to write; with [`Intent::Append`] the operand.
    pub value: Value,
    /// What to do about what is there.
    pub on_conflict: Intent,
}

/// What a write does about what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// Aborts the transaction unless this is there. The abort says what was expected and what was found.
    Fail(Expected),
    /// Leaves the key as it is unless this is there, and says so in the output.
    Ignore(Expected),
    /// Writes whatever is there.
    Replace,
    /// Combines the value with what is there.
    Append(Operator),
}

/// What is to be at a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// Something, whatever it is.
    Present,
    /// This value. One that was replaced and written again is there as well: to find that out, expect a version.
    Value(Value),
    /// What the transaction at this timestamp wrote, and nobody since: the timestamp that a read gives beside the value. It is that of
    /// what the transaction found, whatever it has written itself.
    Version(Timestamp),
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Written {
    /// It was written, or appended.
    Done,
    /// It was combined with the number that was there, and this is there now.
    Number(i64),
    /// Nothing was written, because something else was there than [expected](Intent::Ignore).
    Ignored {
        /// What is there; none: nothing.
        value: Option<Value>,
        /// Where the transaction found it written; none: it found nothing.
        version: Option<Timestamp>,
    },
}

impl Write {
    /// Writes nothing yet.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a write that aborts the transaction unless `expected` is there.
    #[must_use]
    pub fn fail(self, key: impl Into<Key>, value: impl Into<Value>, expected: Expected) -> Self {
        self.entry(key, value, Intent::Fail(expected))
    }

    /// Adds a write that is left out unless `expected` is there.
    #[must_use]
    pub fn ignore(self, key: impl Into<Key>, value: impl Into<Value>, expected: Expected) -> Self {
        self.entry(key, value, Intent::Ignore(expected))
    }

    /// Adds a write over whatever is there.
    #[must_use]
    pub fn replace(self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.entry(key, value, Intent::Replace)
    }

    /// Adds an operand that is combined with what is there.
    #[must_use]
    pub fn append(self, key: impl Into<Key>, operand: impl Into<Value>, operator: Operator) -> Self {
        self.entry(key, operand, Intent::Append(operator))
    }

    fn entry(mut self, key: impl Into<Key>, value: impl Into<Value>, on_conflict: Intent) -> Self {
        let (key, value) = (key.into(), value.into());
        self.entries.push(Entry {
            key,
            value,
            on_conflict,
        });
        self
    }
}

impl Thunk for Write {
    const NAME: &'static str = "plimsoll.write";
    const VERSION: u32 = 1;
    type Output = Vec<Written>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.entries.iter().map(|entry| entry.key.clone()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Written>, Abort> {
        self.entries.iter().map(|entry| entry.write(evaluation)).collect()
    }
}

impl Entry {
    /// Does what the entry says.
    pub(super) fn write(&self, evaluation: &mut Evaluation<'_>) -> Result<Written, Abort> {
        let Self {
            key,
            value,
            on_conflict,
        } = self;
        match on_conflict {
            Intent::Fail(expected) => expected.require(evaluation, key)?,
            Intent::Ignore(expected) => {
                if let Some(Found { value, version }) = expected.other_than(evaluation, key)? {
                    return Ok(Written::Ignored { value, version });
                }
            }
            Intent::Replace => {}
            Intent::Append(operator) => {
                evaluation.merge(key, *operator, value)?;
                // What grows need not be sent back each time.
                let grows = matches!(operator, Operator::Append | Operator::Union);
                let merged = if grows { None } else { evaluation.get(key)? };
                let number = merged.as_ref().and_then(|merged| Operator::number(merged).ok());
                return Ok(number.map_or(Written::Done, Written::Number));
            }
        }
        evaluation.put(key, value.clone())?;
        Ok(Written::Done)
    }
}

/// What is at a key.
pub(super) struct Found {
    value: Option<Value>,
    version: Option<Timestamp>,
}

impl Expected {
    /// A value, or nothing.
    pub fn of(value: Option<Value>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }

    /// What is at `key` if it is something else.
    fn other_than(&self, evaluation: &mut Evaluation<'_>, key: &Key) -> Result<Option<Found>, Abort> {
        let value = evaluation.get(key)?;
        let version = evaluation.version(key)?;
        let is_so = match self {
            Self::Absent => value.is_none(),
            Self::Present => value.is_some(),
            Self::Value(expected) => value.as_ref() == Some(expected),
            Self::Version(expected) => version == Some(*expected),
        };
        Ok((!is_so).then_some(Found { value, version }))
    }

    /// Refuses unless this is at `key`.
    pub(super) fn require(&self, evaluation: &mut Evaluation<'_>, key: &Key) -> Result<(), Abort> {
        let Some(found) = self.other_than(evaluation, key)? else {
            return Ok(());
        };
        let found = match (self, found.version) {
            (Self::Version(_), Some(version)) => format!("the version {version}"),
            (Self::Version(_), None) => "nothing".to_owned(),
            _ => shown(found.value.as_ref()),
        };
        Err(Abort::Refused(format!("expected {self} at {key}, found {found}")))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Present => f.write_str("a value"),
            Self::Value(value) => f.write_str(&shown(Some(value))),
            Self::Version(version) => write!(f, "the version {version}"),
        }
    }
}
