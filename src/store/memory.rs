//! The store in memory: a tree of version chains, and a log that can lose its tail.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Log, Versioned, Versions};
use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};

/// Versions in memory: for each key its versions, ascending. A read costs a look-up in a tree and in a short list.
#[derive(Clone, Debug, Default)]
pub struct MemoryVersions {
    chains: BTreeMap<Key, Chain>,
    evaluated: Hlc,
    oldest: Hlc,
}

/// The versions of one key, ascending; none is a deletion.
type Chain = Vec<(Timestamp, Option<Value>)>;

impl MemoryVersions {
    /// The newest value of every key that has one, ascending: for comparing replicas.
    pub fn newest(&self) -> impl Iterator<Item = (&Key, Timestamp, &Value)> {
        self.chains.iter().filter_map(|(key, chain)| {
            let (timestamp, value) = chain.last()?;
            Some((key, *timestamp, value.as_ref()?))
        })
    }

    /// How many versions are kept.
    pub fn versions_kept(&self) -> usize {
        self.chains.values().map(Vec::len).sum()
    }
}

impl Versions for MemoryVersions {
    fn get(&self, key: &Key, at: Timestamp) -> Option<Versioned> {
        visible(self.chains.get(key)?, at)
    }

    fn scan(&self, range: &KeyRange, at: Timestamp, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
        if range.is_empty() {
            return Vec::new();
        }
        let end = range.end().map_or(Bound::Unbounded, Bound::Excluded);
        let chains = self.chains.range((Bound::Included(range.start()), end));
        let entry = |(key, chain): (&Key, &Chain)| Some((key.clone(), visible(chain, at)?));
        match direction {
            Direction::Forward => chains.filter_map(entry).take(limit).collect(),
            Direction::Backward => chains.rev().filter_map(entry).take(limit).collect(),
        }
    }

    fn put(&mut self, key: Key, at: Timestamp, value: Option<Value>) {
        let oldest = self.oldest;
        let chain = self.chains.entry(key).or_default();
        assert!(
            chain.last().is_none_or(|(last, _)| *last < at),
            "a version at {at} below the last one of its key"
        );
        if chain.len() == chain.capacity() {
            // Only then, so that a hot key's chain is not moved with every write.
            prune(chain, oldest);
        }
        chain.push((at, value));
    }

    fn evaluated(&self) -> Hlc {
        self.evaluated
    }

    fn set_evaluated(&mut self, evaluated: Hlc) {
        assert!(
            evaluated >= self.evaluated,
            "the evaluated bound goes back from {} to {evaluated}",
            self.evaluated
        );
        self.evaluated = evaluated;
    }

    fn oldest(&self) -> Hlc {
        self.oldest
    }

    fn collect(&mut self, oldest: Hlc) {
        if oldest <= self.oldest {
            return;
        }
        self.oldest = oldest;
        self.chains.retain(|_, chain| {
            prune(chain, oldest);
            let is_gone = matches!(&chain[..], [(deleted, None)] if deleted.hlc <= oldest);
            !is_gone
        });
    }
}

/// The newest version at or below `at`, unless it is a deletion.
fn visible(chain: &Chain, at: Timestamp) -> Option<Versioned> {
    // Nearly every read is of the newest version.
    let place = match chain.last() {
        Some((last, _)) if *last <= at => chain.len(),
        _ => chain.partition_point(|(timestamp, _)| *timestamp <= at),
    };
    let (timestamp, value) = chain.get(place.checked_sub(1)?)?;
    Some(Versioned {
        timestamp: *timestamp,
        value: value.clone()?,
    })
}

/// Drops the versions that are covered by a newer one at or below `oldest`.
fn prune(chain: &mut Chain, oldest: Hlc) {
    let covered = chain
        .partition_point(|(timestamp, _)| timestamp.hlc <= oldest)
        .saturating_sub(1);
    chain.drain(..covered);
}

/// A log in memory: a simulated crash keeps the durable part.
#[derive(Clone, Debug)]
pub struct MemoryLog<E> {
    entries: Vec<E>,
    durable: usize,
}

impl<E> MemoryLog<E> {
    /// The log after a crash: what was not durable is gone.
    #[must_use]
    pub fn crashed(mut self) -> Self {
        self.entries.truncate(self.durable);
        self
    }
}

impl<E> Default for MemoryLog<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            durable: 0,
        }
    }
}

impl<E> Log for MemoryLog<E> {
    type Entry = E;

    fn append(&mut self, entry: E) {
        self.entries.push(entry);
    }

    fn sync(&mut self) -> usize {
        self.durable = self.entries.len();
        self.durable
    }

    fn durable(&self) -> &[E] {
        &self.entries[..self.durable]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::id::NodeId;

    fn at(place: u64) -> Timestamp {
        Timestamp {
            hlc: Hlc::from_bits(place),
            node: NodeId::new(1),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, Option<u8>),
        Collect(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let put = (0..6_u8, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Put(key, value));
        let collect = (0..4_u64).prop_map(Step::Collect);
        proptest::collection::vec(prop_oneof![8 => put, 1 => collect], 0..60)
    }

    fn key(number: u8) -> Key {
        Key::new(vec![number])
    }

    proptest! {
        /// Every kept snapshot reads as a plain map that was copied at that moment.
        #[test]
        fn every_kept_snapshot_reads_as_a_copy_of_a_plain_map(steps in steps()) {
            let mut versions = MemoryVersions::default();
            let mut snapshots = vec![BTreeMap::new()];
            for step in steps {
                match step {
                    Step::Put(number, value) => {
                        let place = snapshots.len() as u64;
                        versions.put(key(number), at(place), value.map(|value| Value::new(vec![value])));
                        let mut next = snapshots.last().unwrap().clone();
                        match value {
                            Some(value) => next.insert(key(number), Value::new(vec![value])),
                            None => next.remove(&key(number)),
                        };
                        snapshots.push(next);
                    }
                    Step::Collect(back) => versions.collect(Hlc::from_bits((snapshots.len() as u64 - 1).saturating_sub(back))),
                }
            }
            let all = KeyRange::from(Key::default());
            for (place, snapshot) in snapshots.iter().enumerate().skip(versions.oldest().bits() as usize) {
                let timestamp = Timestamp::last_at(Hlc::from_bits(place as u64));
                for number in 0..6 {
                    let found = versions.get(&key(number), timestamp).map(|versioned| versioned.value);
                    prop_assert_eq!(found.as_ref(), snapshot.get(&key(number)));
                }
                for (limit, direction) in [(2, Direction::Forward), (3, Direction::Backward)] {
                    let entries = versions.scan(&all, timestamp, limit, direction);
                    let found: Vec<_> = entries.into_iter().map(|(key, versioned)| (key, versioned.value)).collect();
                    let model = snapshot.iter().map(|(key, value)| (key.clone(), value.clone()));
                    let expected: Vec<_> = match direction {
                        Direction::Forward => model.take(limit).collect(),
                        Direction::Backward => model.rev().take(limit).collect(),
                    };
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }

    #[test]
    fn collecting_leaves_one_version_of_what_is_there_and_nothing_of_what_was_deleted() {
        let mut versions = MemoryVersions::default();
        for place in 1..=5 {
            versions.put("kept".into(), at(place), Some("x".into()));
        }
        versions.put("gone".into(), at(6), Some("x".into()));
        versions.put("gone".into(), at(7), None);
        versions.collect(Hlc::from_bits(7));
        assert_eq!(versions.versions_kept(), 1);
    }

    #[test]
    fn a_crash_keeps_what_was_synced() {
        let mut log = MemoryLog::default();
        log.append(1);
        assert_eq!(log.sync(), 1);
        log.append(2);
        assert_eq!(log.durable(), [1]);
        assert_eq!(log.crashed().durable(), [1]);
    }
}
