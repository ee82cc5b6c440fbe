//! Scripts: thunks that do what their arguments say, what they see, and a plain map that does the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use plimsoll::codec;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Direction, Evaluation, Operator, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

use crate::database::number;

/// Keys are the bytes below this.
pub(crate) const KEYS: u8 = 8;

/// One thing that a script does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Get(u8),
    Put(u8, i64),
    Delete(u8),
    Merge(u8, Operator, i64),
    Scan(Span, usize),
    ScanBack(Span, usize),
    /// Another script within this one; if it refuses, its steps are undone.
    Call(Script),
}

/// Which keys a scan goes over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Span {
    /// From the one to below the other.
    Between(u8, u8),
    /// From one on, without end.
    From(u8),
    /// Those that begin with this byte: one at most.
    Prefix(u8),
}

/// Steps in order, and whether to refuse after the last one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    pub(crate) refuses: bool,
}

/// What one step saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Seen {
    Value(Option<Value>),
    Entries(Vec<(Key, Value)>),
    Nested(Option<Vec<Seen>>),
}

/// What a plain map holds.
pub(crate) type Map = BTreeMap<u8, Vec<u8>>;

pub(crate) fn key(name: u8) -> Key {
    Key::new(vec![name])
}

/// A map as a database holds it.
pub(crate) fn stored(map: &Map) -> BTreeMap<Key, Value> {
    let entries = map.iter().map(|(name, bytes)| (key(*name), Value::new(bytes.clone())));
    entries.collect()
}

impl Span {
    fn range(self) -> KeyRange {
        match self {
            Self::Between(from, to) => KeyRange::new(key(from), key(to)),
            Self::From(from) => KeyRange::from(key(from)),
            Self::Prefix(byte) => KeyRange::prefix(key(byte)),
        }
    }

    fn holds(self, name: u8) -> bool {
        match self {
            Self::Between(from, to) => (from..to).contains(&name),
            Self::From(from) => name >= from,
            Self::Prefix(byte) => name == byte,
        }
    }
}

/// What an operator is given for a number.
fn operand(operator: Operator, of: i64) -> Value {
    let byte = of.to_le_bytes()[0];
    match operator {
        Operator::Add | Operator::Min | Operator::Max => number(of),
        Operator::Append => Value::new(vec![byte]),
        Operator::Union => codec::encode_value(&BTreeSet::from([vec![byte]])).expect("plain data"),
    }
}

impl Thunk for Script {
    const NAME: &'static str = "test.script";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        let everything = KeyRange::from(Key::default());
        Footprint::new().write_all((0..KEYS).map(key)).scan(everything)
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let mut seen = Vec::new();
        for step in &self.steps {
            match step {
                Step::Get(name) => seen.push(Seen::Value(evaluation.get(&key(*name))?)),
                Step::Put(name, value) => evaluation.put(&key(*name), number(*value))?,
                Step::Delete(name) => evaluation.delete(&key(*name))?,
                Step::Merge(name, operator, of) => {
                    evaluation.merge(&key(*name), *operator, &operand(*operator, *of))?;
                }
                Step::Scan(span, limit) => {
                    seen.push(Seen::Entries(evaluation.scan(
                        &span.range(),
                        *limit,
                        Direction::Forward,
                    )?));
                }
                Step::ScanBack(span, limit) => {
                    seen.push(Seen::Entries(evaluation.scan(
                        &span.range(),
                        *limit,
                        Direction::Backward,
                    )?));
                }
                Step::Call(script) => seen.push(Seen::Nested(evaluation.call(script).ok())),
            }
        }
        if self.refuses {
            return Err(Abort::Refused("as the script says".into()));
        }
        Ok(seen)
    }
}

/// What a script does to a plain map. *Gives* what its steps saw; none when it refused or a value was not of an operator's type, and then the
/// map is as before.
pub(crate) fn model(script: &Script, map: &mut Map) -> Option<Vec<Seen>> {
    let before = map.clone();
    let seen = steps(script, map).filter(|_| !script.refuses);
    if seen.is_none() {
        *map = before;
    }
    seen
}

fn steps(script: &Script, map: &mut Map) -> Option<Vec<Seen>> {
    let mut seen = Vec::new();
    for step in &script.steps {
        match step {
            Step::Get(name) => seen.push(Seen::Value(map.get(name).cloned().map(Value::new))),
            Step::Put(name, value) => {
                map.insert(*name, value.to_le_bytes().to_vec());
            }
            Step::Delete(name) => {
                map.remove(name);
            }
            Step::Merge(name, operator, of) => {
                let merged = merged(map.get(name), *operator, *of)?;
                map.insert(*name, merged);
            }
            Step::Scan(span, limit) => seen.push(entries(map.iter(), *span, *limit)),
            Step::ScanBack(span, limit) => seen.push(entries(map.iter().rev(), *span, *limit)),
            Step::Call(nested) => seen.push(Seen::Nested(model(nested, map))),
        }
    }
    Some(seen)
}

fn entries<'a>(map: impl Iterator<Item = (&'a u8, &'a Vec<u8>)>, span: Span, limit: usize) -> Seen {
    let within = map.filter(|(name, _)| span.holds(**name)).take(limit);
    Seen::Entries(
        within
            .map(|(name, bytes)| (key(*name), Value::new(bytes.clone())))
            .collect(),
    )
}

/// The bytes that an operator makes of those that are there; none where they are not of its type.
fn merged(found: Option<&Vec<u8>>, operator: Operator, of: i64) -> Option<Vec<u8>> {
    let byte = of.to_le_bytes()[0];
    let numbers = |combine: fn(i64, i64) -> i64| {
        let Some(bytes) = found else { return Some(of) };
        let found = i64::from_le_bytes(bytes.as_slice().try_into().ok()?);
        Some(combine(found, of))
    };
    let number = match operator {
        Operator::Add => numbers(|a, b| a + b)?,
        Operator::Min => numbers(|a, b| a.min(b))?,
        Operator::Max => numbers(|a, b| a.max(b))?,
        Operator::Append => return Some([found.map_or(&[][..], Vec::as_slice), &[byte]].concat()),
        Operator::Union => {
            let mut set = found.map_or(Some(BTreeSet::new()), |bytes| set_of(bytes))?;
            set.insert(vec![byte]);
            let elements = set
                .iter()
                .flat_map(|element| [&[short(element)], element.as_slice()].concat());
            return Some(std::iter::once(short(&set)).chain(elements).collect());
        }
    };
    Some(number.to_le_bytes().to_vec())
}

fn short<'a, T>(of: &'a T) -> u8
where
    &'a T: IntoIterator,
{
    u8::try_from(of.into_iter().count()).expect("few enough for one byte")
}

/// A set as it is stored: how many elements, then each with its length before it. Counts from 251 on take more bytes; nothing here has so many.
fn set_of(bytes: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let (count, mut rest) = bytes.split_first().filter(|(count, _)| **count < 251)?;
    let mut set = BTreeSet::new();
    for _ in 0..*count {
        let (length, behind) = rest.split_first().filter(|(length, _)| **length < 251)?;
        let (element, behind) = behind.split_at_checked(usize::from(*length))?;
        set.insert(element.to_vec());
        rest = behind;
    }
    rest.is_empty().then_some(set)
}

/// As the tables of named scripts say it: numbers as such, other bytes as `x` and two digits for each.
fn told(value: &[u8]) -> String {
    match <[u8; 8]>::try_from(value) {
        Ok(bytes) => i64::from_le_bytes(bytes).to_string(),
        Err(_) => std::iter::once("x".to_owned())
            .chain(value.iter().map(|byte| format!("{byte:02x}")))
            .collect(),
    }
}

/// Entries as `[1=10 3=30]`.
pub(crate) fn told_entries<'a>(entries: impl IntoIterator<Item = (&'a Key, &'a Value)>) -> String {
    let entries = entries.into_iter();
    let told: Vec<_> = entries
        .map(|(key, value)| format!("{}={}", key.as_bytes()[0], told(value.as_bytes())))
        .collect();
    format!("[{}]", told.join(" "))
}

/// What steps saw, as `10; none; [1=10]; (10)`; what is in parentheses was seen by a nested script.
pub(crate) fn told_all(seen: &[Seen]) -> String {
    let told: Vec<_> = seen.iter().map(Seen::to_string).collect();
    told.join("; ")
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(None) => f.write_str("none"),
            Self::Value(Some(value)) => f.write_str(&told(value.as_bytes())),
            Self::Entries(entries) => f.write_str(&told_entries(entries.iter().map(|(key, value)| (key, value)))),
            Self::Nested(None) => f.write_str("undone"),
            Self::Nested(Some(seen)) => write!(f, "({})", told_all(seen)),
        }
    }
}
