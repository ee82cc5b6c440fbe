//! What a database holds at one moment, as invariants see it.

use std::collections::BTreeMap;
use std::ops::Bound;

use plimsoll::codec;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Direction, View};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Versioned;
use serde::de::DeserializeOwned;

/// Every key with its value.
pub(super) type Entries = BTreeMap<Key, Versioned>;

/// The whole database at one moment: a snapshot that a client has read, what a replica holds, or what the transactions up to some place
/// come to when they are replayed.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    entries: &'a Entries,
    at: Hlc,
}

impl<'a> State<'a> {
    pub(super) fn new(entries: &'a Entries, at: Hlc) -> Self {
        Self { entries, at }
    }

    /// Everything at or below it is in the state, and nothing above.
    pub fn at(&self) -> Hlc {
        self.at
    }

    /// The value at `key`; absent where there is none.
    pub fn get(&self, key: &Key) -> Option<&'a Value> {
        self.entries.get(key).map(|versioned| &versioned.value)
    }

    /// The value at `key` that a thunk wrote with [`put_as`](plimsoll::thunk::Evaluation::put_as); absent where there is none.
    ///
    /// *Errors* where it is no `T`, in the words of which an invariant may fail.
    pub fn get_as<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<T>, String> {
        let value = self.get(key);
        value.map(|value| decoded(key, value)).transpose()
    }

    /// The entries in a range, ascending.
    pub fn range(&self, range: &KeyRange) -> impl Iterator<Item = (&'a Key, &'a Value)> + use<'a> {
        within(self.entries, range).map(|(key, versioned)| (key, &versioned.value))
    }

    /// The entries whose keys begin with `prefix`, ascending, as thunks wrote them with [`put_as`](plimsoll::thunk::Evaluation::put_as).
    ///
    /// *Errors* where one is no `T`.
    pub fn all_as<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(&'a Key, T)>, String> {
        let entries = self.range(&KeyRange::prefix(Key::from(prefix)));
        entries.map(|(key, value)| Ok((key, decoded(key, value)?))).collect()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn decoded<T: DeserializeOwned>(key: &Key, value: &Value) -> Result<T, String> {
    codec::decode_value(value)
        .map_err(|error| format!("the value at {key} is no {}: {error}", std::any::type_name::<T>()))
}

fn within<'a>(
    entries: &'a Entries,
    range: &KeyRange,
) -> impl DoubleEndedIterator<Item = (&'a Key, &'a Versioned)> + use<'a> {
    let end = match range.end() {
        // An empty range has no end that lies behind its start.
        Some(end) => Bound::Excluded(end.max(range.start()).clone()),
        None => Bound::Unbounded,
    };
    entries.range((Bound::Included(range.start().clone()), end))
}

/// What thunks read when they are replayed: what users have, and what the library keeps beside it, which no scan shows.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) entries: Entries,
    of_system: Entries,
}

impl Replayed {
    /// A transaction has written at `timestamp`.
    pub(super) fn write(&mut self, timestamp: Timestamp, writes: BTreeMap<Key, Option<Value>>) {
        for (key, value) in writes {
            let entries = match key.is_system() {
                true => &mut self.of_system,
                false => &mut self.entries,
            };
            match value {
                Some(value) => entries.insert(key, Versioned { timestamp, value }),
                None => entries.remove(&key),
            };
        }
    }
}

impl View for Replayed {
    fn get(&self, key: &Key) -> Option<Versioned> {
        self.entries.get(key).or_else(|| self.of_system.get(key)).cloned()
    }

    fn scan(&self, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
        let entries = within(&self.entries, range);
        let owned = |(key, versioned): (&Key, &Versioned)| (key.clone(), versioned.clone());
        match direction {
            Direction::Forward => entries.take(limit).map(owned).collect(),
            Direction::Backward => entries.rev().take(limit).map(owned).collect(),
        }
    }
}
