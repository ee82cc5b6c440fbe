//! What earlier stages of a transaction saw, to be found unchanged at the transaction's own timestamp.
//!
//! Realises the guards of section 4 of the design. All stages see one snapshot, so a guard need not name versions: what was there
//! at the snapshot and has not been written since is the same. A key is unchanged if its version is not above the snapshot, or it was absent and is
//! absent; a range, if no version in it is above the snapshot and there are as many entries as there were, for then they are the same ones.
//! Tests: here, and `tests/staged/`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{Direction, View};
use crate::key::{Key, KeyRange};
use crate::limits::STALE_KEYS_NAMED_MAX;
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Footprint, Versioned};

/// What was seen at one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    at: Hlc,
    /// The keys, ascending, each with whether there was a value.
    keys: Vec<(Key, bool)>,
    /// The ranges, each with the number of its entries.
    ranges: Vec<(KeyRange, u64)>,
}

/// Guards while stages are still reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    keys: BTreeMap<Key, bool>,
    ranges: BTreeMap<KeyRange, u64>,
}

impl Seen {
    /// A stage has seen `key`.
    pub fn add_key(&mut self, key: Key, is_present: bool) {
        self.keys.insert(key, is_present);
    }

    /// A stage has asked for the first `limit` entries of `range` in this direction and has seen `entries`: what lies behind the last of as many as it
    /// asked for, it has not seen.
    pub fn add_range(&mut self, range: KeyRange, limit: usize, direction: Direction, entries: &[(Key, Versioned)]) {
        let range = match entries.last() {
            _ if entries.len() < limit => range,
            None => return,
            Some((last, _)) => match direction {
                Direction::Forward => KeyRange::new(range.start().clone(), behind(last)),
                Direction::Backward => match range.end() {
                    Some(end) => KeyRange::new(last.clone(), end.clone()),
                    None => KeyRange::from(last.clone()),
                },
            },
        };
        self.ranges.insert(range, entries.len() as u64);
    }

    /// Guards of all that was seen, at the snapshot at `at`.
    pub fn into_guards(self, at: Hlc) -> Guards {
        Guards {
            at,
            keys: self.keys.into_iter().collect(),
            ranges: self.ranges.into_iter().collect(),
        }
    }
}

/// The first key after `key`.
fn behind(key: &Key) -> Key {
    let mut bytes = key.as_bytes().to_vec();
    bytes.push(0);
    Key::new(bytes)
}

impl Guards {
    /// The snapshot.
    pub fn at(&self) -> Hlc {
        self.at
    }

    /// The keys that were seen one by one, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// The ranges that were seen, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = &KeyRange> {
        self.ranges.iter().map(|(range, _)| range)
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }

    /// `footprint` with what is guarded, which is read again.
    pub(super) fn added_to(&self, footprint: Footprint) -> Footprint {
        let footprint = footprint.read_all(self.keys().cloned());
        self.ranges().cloned().fold(footprint, Footprint::scan)
    }

    /// Whether everything is in `view`, the state just below `now`, as it was seen.
    ///
    /// *Errors* with [`Abort::Stale`] if not, and where the snapshot is not below `now`: nobody can have seen it.
    pub(super) fn check(&self, view: &dyn View, now: Timestamp) -> Result<(), Abort> {
        if self.at >= now.hlc {
            let at = self.at;
            return Err(Abort::Malformed(format!(
                "guards of a snapshot at {at}, which is not before the transaction at {now}: take the `at` of a read"
            )));
        }
        let keys = self.keys.iter().filter(|(key, was_present)| {
            let found = view.get(key);
            !self.is_unchanged(found.as_ref()) || found.is_some() != *was_present
        });
        let keys = keys.map(|(key, _)| key.clone());
        let ranges = self
            .ranges
            .iter()
            .flat_map(|(range, count)| self.changes(range, *count, view));
        let stale: Vec<Key> = keys.chain(ranges).take(STALE_KEYS_NAMED_MAX).collect();
        if stale.is_empty() {
            return Ok(());
        }
        Err(Abort::Stale {
            at: self.at,
            keys: stale,
        })
    }

    fn is_unchanged(&self, found: Option<&Versioned>) -> bool {
        found.is_none_or(|versioned| versioned.timestamp.hlc <= self.at)
    }

    /// The keys in `range` that were written since; its start, if all that can be said is that there are fewer.
    fn changes(&self, range: &KeyRange, count: u64, view: &dyn View) -> Vec<Key> {
        // More than there were need not be looked at: one of them at least is new.
        let limit = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1);
        let entries = view.scan(&range.of_users(), limit, Direction::Forward);
        let is_as_many = entries.len() as u64 == count;
        let written = entries.into_iter().filter(|(_, found)| !self.is_unchanged(Some(found)));
        let mut changes: Vec<Key> = written.map(|(key, _)| key).take(STALE_KEYS_NAMED_MAX).collect();
        if changes.is_empty() && !is_as_many {
            changes.push(range.start().clone());
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::NodeId;
    use crate::key::Value;

    /// All versions of a few keys.
    #[derive(Clone, Debug, Default)]
    struct History(BTreeMap<(u8, u64), bool>);

    struct At<'a>(&'a History, u64);

    fn key(name: u8) -> Key {
        Key::new(vec![name])
    }

    impl View for At<'_> {
        fn get(&self, key: &Key) -> Option<Versioned> {
            let [name] = key.as_bytes() else { return None };
            let (&(_, at), is_present) = self.0.0.range((*name, 0)..=(*name, self.1)).next_back()?;
            let timestamp = Timestamp {
                hlc: Hlc::from_bits(at),
                node: NodeId::new(1),
            };
            is_present.then(|| Versioned {
                timestamp,
                value: Value::default(),
            })
        }

        fn scan(&self, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
            let found = (0..8).map(key).filter(|key| range.contains(key));
            let mut found: Vec<_> = found.filter_map(|key| Some((key.clone(), self.get(&key)?))).collect();
            if direction == Direction::Backward {
                found.reverse();
            }
            found.truncate(limit);
            found
        }
    }

    fn writes(times: std::ops::Range<u64>) -> impl Strategy<Value = BTreeMap<(u8, u64), bool>> {
        proptest::collection::btree_map((0..8_u8, times), any::<bool>(), 0..12)
    }

    fn direction() -> impl Strategy<Value = Direction> {
        prop_oneof![Just(Direction::Forward), Just(Direction::Backward)]
    }

    proptest! {
        #[test]
        fn guards_hold_exactly_as_long_as_no_read_could_tell_a_write_since(
            before in writes(1..10),
            since in writes(11..20),
            keys in proptest::collection::vec(0..8_u8, 0..3),
            ranges in proptest::collection::vec((0..8_u8, 0..9_u8, 0..5_usize, direction()), 0..3),
        ) {
            let mut history = History(before);
            let (at, now) = (10, 30);
            let mut seen = Seen::default();
            let mut reads = Vec::new();
            for name in keys {
                let found = At(&history, at).get(&key(name));
                seen.add_key(key(name), found.is_some());
                reads.push((KeyRange::new(key(name), key(name + 1)), 1, Direction::Forward));
            }
            for (start, end, limit, direction) in ranges {
                let range = KeyRange::new(key(start), key(end));
                let entries = At(&history, at).scan(&range, limit, direction);
                seen.add_range(range.clone(), limit, direction, &entries);
                reads.push((range, limit, direction));
            }
            let view = |history: &History, upto| -> Vec<_> {
                reads.iter().map(|(range, limit, direction)| At(history, upto).scan(range, *limit, *direction)).collect()
            };
            let found = view(&history, at);
            history.0.extend(since);
            let is_same = found == view(&history, now);
            let now = Timestamp { hlc: Hlc::from_bits(now), node: NodeId::new(1) };
            let checked = seen.into_guards(Hlc::from_bits(at)).check(&At(&history, 30), now);
            // What was deleted and is written again with the same value is another version, and told apart by its timestamp.
            prop_assert_eq!(checked.is_ok(), is_same, "{:?}", checked);
            if let Err(Abort::Stale { keys, .. }) = checked {
                prop_assert!(!keys.is_empty() && keys.len() <= STALE_KEYS_NAMED_MAX);
            }
        }
    }

    #[test]
    fn a_snapshot_that_nobody_can_have_seen_is_refused() {
        let guards = Seen::default().into_guards(Hlc::from_bits(5));
        let now = Timestamp {
            hlc: Hlc::from_bits(5),
            node: NodeId::new(1),
        };
        assert!(matches!(
            guards.check(&At(&History::default(), 5), now),
            Err(Abort::Malformed(_))
        ));
    }
}
