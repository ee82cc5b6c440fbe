//! The store in memory: a tree of version chains, and a log that can lose its tail. Tests: here and in `tests/store/`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::ops::Bound;

use super::chain::Chain;
use super::{History, Log, VersionVisitor, Versions, second_of};
use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};
use crate::transaction::Versioned;

/// Versions in memory: for each key its versions, ascending.
///
/// *Cost*: a read is a look-up in a tree and in a short list; collecting looks only at keys that were written over or deleted.
#[derive(Clone, Debug, Default)]
pub struct MemoryVersions {
    chains: BTreeMap<Key, Chain>,
    /// By second of their timestamps, the keys whose versions covered an older one or deleted: when the bound passes such a
    /// second, there is something to collect in their chains. A key may stand in one second more than once.
    covering: BTreeMap<u64, Vec<Key>>,
    evaluated: Hlc,
    oldest: Hlc,
}

impl MemoryVersions {
    /// The newest value of every key that has one, ascending: for comparing replicas.
    pub fn newest(&self) -> impl Iterator<Item = (Key, Timestamp, &Value)> {
        self.chains.iter().filter_map(|(key, chain)| {
            let (timestamp, value) = chain.newest();
            Some((key.clone(), *timestamp, value.as_ref()?))
        })
    }

    /// How many versions are kept.
    pub fn versions_kept(&self) -> usize {
        self.chains.values().map(Chain::len).sum()
    }

    /// Drops what is covered at the oldest snapshot from the chain of `key`, and all of it if what is left is a deletion that nobody
    /// looks behind.
    fn collect_key(&mut self, key: &Key) {
        let Some(chain) = self.chains.get_mut(key) else {
            return;
        };
        chain.prune(self.oldest);
        if chain.is_gone(self.oldest) {
            self.chains.remove(key);
        }
    }
}

impl History for MemoryVersions {
    type Checked<T> = T;

    fn checked<T>(&self, found: T) -> T {
        found
    }

    fn evaluated(&self) -> Hlc {
        self.evaluated
    }

    fn oldest(&self) -> Hlc {
        self.oldest
    }

    fn history(&self, oldest: Hlc, after: Option<(&Key, Timestamp)>, visit: &mut VersionVisitor<'_>) {
        let start = after.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key));
        for (key, chain) in self.chains.range((start, Bound::Unbounded)) {
            let is_passed = |at: Timestamp| after.is_some_and(|(after, passed)| key == after && at <= passed);
            for (at, value) in chain.history(oldest).filter(|(at, _)| !is_passed(*at)) {
                if visit(key, *at, value.as_ref()).is_break() {
                    return;
                }
            }
        }
    }
}

impl Versions for MemoryVersions {
    fn get(&self, key: &Key, at: Timestamp) -> Option<Versioned> {
        self.chains.get(key)?.visible(at)
    }

    fn scan(&self, range: &KeyRange, at: Timestamp, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
        if range.is_empty() {
            return Vec::new();
        }
        let end = range.end().map_or(Bound::Unbounded, Bound::Excluded);
        let chains = self.chains.range((Bound::Included(range.start()), end));
        let entry = |(key, chain): (&Key, &Chain)| {
            let visible = chain.visible(at)?;
            Some((key.clone(), visible))
        };
        match direction {
            Direction::Forward => chains.filter_map(entry).take(limit).collect(),
            Direction::Backward => chains.rev().filter_map(entry).take(limit).collect(),
        }
    }

    fn put(&mut self, key: Key, at: Timestamp, value: Option<Value>) {
        let second = second_of(at.hlc);
        let is_noted = match self.chains.entry(key.clone()) {
            Entry::Vacant(place) => {
                let is_deletion = value.is_none();
                place.insert(Chain::new((at, value)));
                !is_deletion
            }
            Entry::Occupied(mut chain) => {
                let chain = chain.get_mut();
                let (last, written) = chain.newest();
                assert!(
                    *last < at,
                    "{key} has a version at {last}, so none can be written at {at}"
                );
                // The last version is noted itself if it deleted or covered one.
                let is_noted = second_of(last.hlc) == second && (chain.len() > 1 || written.is_none());
                chain.push((at, value), self.oldest);
                is_noted
            }
        };
        if !is_noted {
            self.covering.entry(second).or_default().push(key);
        }
    }

    fn set_evaluated(&mut self, evaluated: Hlc) {
        assert!(
            evaluated >= self.evaluated,
            "the evaluated bound goes back from {} to {evaluated}",
            self.evaluated
        );
        self.evaluated = evaluated;
    }

    fn collect(&mut self, oldest: Hlc) {
        if oldest <= self.oldest {
            return;
        }
        self.oldest = oldest;
        let later = self.covering.split_off(&second_of(oldest));
        for key in std::mem::replace(&mut self.covering, later).into_values().flatten() {
            self.collect_key(&key);
        }
        // The second of the bound is not over: its keys will be looked at again.
        if let Some(keys) = self.covering.remove(&second_of(oldest)) {
            for key in &keys {
                self.collect_key(key);
            }
            self.covering.insert(second_of(oldest), keys);
        }
    }
}

/// A log in memory: a simulated crash keeps the durable part.
#[derive(Clone, Debug)]
pub struct MemoryLog<E> {
    entries: VecDeque<E>,
    /// The number of the first entry that is kept.
    first: u64,
    durable: u64,
}

impl<E> MemoryLog<E> {
    /// The log after a crash: what was not durable is gone.
    #[must_use]
    pub fn crashed(mut self) -> Self {
        self.entries.truncate((self.durable - self.first) as usize);
        self
    }
}

impl<E> Default for MemoryLog<E> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            durable: 0,
        }
    }
}

impl<E: Clone> Log for MemoryLog<E> {
    type Entry = E;
    type Error = Infallible;

    fn append(&mut self, entry: E) -> Result<u64, Infallible> {
        self.entries.push_back(entry);
        Ok(self.first + self.entries.len() as u64)
    }

    fn sync(&mut self) -> Result<u64, Infallible> {
        self.durable = self.first + self.entries.len() as u64;
        Ok(self.durable)
    }

    fn first(&self) -> u64 {
        self.first
    }

    fn durable(&self) -> u64 {
        self.durable
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<E>, Infallible> {
        let skipped = from.max(self.first) - self.first;
        let kept = (self.durable - self.first).saturating_sub(skipped);
        let entries = self.entries.iter().skip(skipped as usize).take(kept as usize);
        Ok(entries.take(limit).cloned().collect())
    }

    fn drop_below(&mut self, first: u64) -> Result<(), Infallible> {
        assert!(
            first <= self.durable,
            "entries up to {first} are to be dropped, but only {} are durable",
            self.durable
        );
        if first > self.first {
            self.entries.drain(..(first - self.first) as usize);
            self.first = first;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn at_second(second: u64, count: u64) -> Timestamp {
        Timestamp {
            hlc: Hlc::from_bits((second << 32) + count),
            node: NodeId::new(1),
        }
    }

    #[test]
    fn a_hot_key_is_noted_once_a_second_and_a_key_written_once_not_at_all() {
        let mut versions = MemoryVersions::default();
        versions.put("cold".into(), at_second(1, 0), Some("x".into()));
        for second in 1..=3 {
            for count in 1..=100 {
                versions.put("hot".into(), at_second(second, count), Some("x".into()));
            }
        }
        let noted: Vec<usize> = versions.covering.values().map(Vec::len).collect();
        assert_eq!(noted, [1, 1, 1]);
        versions.collect(at_second(3, 50).hlc);
        assert_eq!(versions.versions_kept(), 1 + 51);
        versions.collect(at_second(4, 0).hlc);
        assert_eq!((versions.versions_kept(), versions.covering.len()), (2, 0));
    }

    #[test]
    fn nothing_is_left_of_a_key_that_was_deleted_also_in_the_second_of_the_bound() {
        for bound in [at_second(2, 9), at_second(3, 0)] {
            let mut versions = MemoryVersions::default();
            versions.put("gone".into(), at_second(1, 0), Some("x".into()));
            versions.put("gone".into(), at_second(2, 0), None);
            versions.put("never".into(), at_second(2, 0), None);
            versions.collect(bound.hlc);
            assert_eq!(versions.versions_kept(), 0, "collected at {bound}");
        }
    }
}
