//! Building footprints and asking them.

use crate::key::{Key, KeyRange};
use crate::transaction::Footprint;

impl Footprint {
    /// Touches nothing.
    pub const fn new() -> Self {
        Self {
            reads: Vec::new(),
            ranges: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// Adds a key that may be read.
    #[must_use]
    pub fn read(mut self, key: Key) -> Self {
        insert(&mut self.reads, key);
        self
    }

    /// Adds keys that may be read.
    #[must_use]
    pub fn read_all(self, keys: impl IntoIterator<Item = Key>) -> Self {
        keys.into_iter().fold(self, Self::read)
    }

    /// Adds a range that may be scanned.
    #[must_use]
    pub fn scan(mut self, range: KeyRange) -> Self {
        insert(&mut self.ranges, range);
        self
    }

    /// Adds a key that may be written, and read as well.
    #[must_use]
    pub fn write(mut self, key: Key) -> Self {
        insert(&mut self.writes, key);
        self
    }

    /// Adds keys that may be written, and read as well.
    #[must_use]
    pub fn write_all(self, keys: impl IntoIterator<Item = Key>) -> Self {
        keys.into_iter().fold(self, Self::write)
    }

    /// The same footprint with every list sorted and holding nothing twice. Its lists are public, so a thunk may fill them in
    /// any order; peers refuse a record whose footprint is out of order.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        put_in_order(&mut self.reads);
        put_in_order(&mut self.ranges);
        put_in_order(&mut self.writes);
        self
    }

    /// Whether `key` may be read.
    pub fn may_read(&self, key: &Key) -> bool {
        self.writes.binary_search(key).is_ok()
            || self.reads.binary_search(key).is_ok()
            || self.ranges.iter().any(|range| range.contains(key))
    }

    /// Whether `range` may be scanned: one declared range must cover it.
    pub fn may_scan(&self, range: &KeyRange) -> bool {
        range.is_empty() || self.ranges.iter().any(|declared| declared.covers(range))
    }

    /// Whether `key` may be written.
    pub fn may_write(&self, key: &Key) -> bool {
        self.writes.binary_search(key).is_ok()
    }

    /// Whether one may write what the other may touch. If not, their transactions may be evaluated in either order, or at once.
    ///
    /// *Cost*: a search in the other for every written key.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.writes.iter().any(|key| other.may_read(key)) || other.writes.iter().any(|key| self.may_read(key))
    }

    /// How many keys and ranges are declared.
    pub fn len(&self) -> usize {
        self.reads.len() + self.ranges.len() + self.writes.len()
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All keys that are named, ends of ranges included.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let ends = self
            .ranges
            .iter()
            .flat_map(|range| [Some(range.start()), range.end()])
            .flatten();
        self.reads.iter().chain(&self.writes).chain(ends)
    }
}

fn put_in_order<T: Ord>(list: &mut Vec<T>) {
    list.sort_unstable();
    list.dedup();
}

/// Keeps the list sorted and without repetition. Keys mostly come in order.
fn insert<T: Ord>(list: &mut Vec<T>, item: T) {
    if list.last().is_none_or(|last| *last < item) {
        list.push(item);
    } else if let Err(place) = list.binary_search(&item) {
        list.insert(place, item);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of few one-byte keys, so that they meet; filled by hand, in any order.
    fn footprint() -> impl Strategy<Value = Footprint> {
        let keys = || proptest::collection::vec((0..8_u8).prop_map(|byte| Key::new(vec![byte])), 0..4);
        let ends = proptest::collection::vec((0..8_u8, 0..9_u8), 0..2);
        (keys(), ends, keys()).prop_map(|(reads, ends, writes)| Footprint {
            reads,
            ranges: ends
                .into_iter()
                .map(|(start, end)| KeyRange::new(Key::new(vec![start]), Key::new(vec![end])))
                .collect(),
            writes,
        })
    }

    fn all_keys() -> Vec<Key> {
        (0..9_u8).map(|byte| Key::new(vec![byte])).collect()
    }

    proptest! {
        #[test]
        fn footprints_conflict_when_one_writes_a_key_that_the_other_touches(one in footprint(), other in footprint()) {
            let (one, other) = (one.in_order(), other.in_order());
            let meets = |writer: &Footprint, reader: &Footprint| {
                all_keys().iter().any(|key| {
                    let touches = reader.reads.contains(key)
                        || reader.writes.contains(key)
                        || reader.ranges.iter().any(|range| range.contains(key));
                    writer.writes.contains(key) && touches
                })
            };
            prop_assert_eq!(one.conflicts_with(&other), meets(&one, &other) || meets(&other, &one));
            prop_assert_eq!(one.conflicts_with(&other), other.conflicts_with(&one));
        }

        #[test]
        fn a_footprint_put_in_order_is_what_the_builder_would_have_made(raw in footprint()) {
            let built = Footprint::new().read_all(raw.reads.clone()).write_all(raw.writes.clone());
            let built = raw.ranges.iter().cloned().fold(built, Footprint::scan);
            prop_assert_eq!(raw.in_order(), built);
        }
    }

    #[test]
    fn lists_are_sorted_and_hold_nothing_twice() {
        let footprint = Footprint::new()
            .write_all(["c", "a", "b", "a"].map(Key::from))
            .read("z".into());
        assert_eq!(footprint.writes, ["a", "b", "c"].map(Key::from));
        assert_eq!(footprint.len(), 4);
    }

    #[test]
    fn a_written_key_and_a_key_in_a_range_may_be_read_but_not_the_other_way_round() {
        let footprint = Footprint::new()
            .write("w".into())
            .read("r".into())
            .scan(KeyRange::prefix("p".into()));
        assert!(["w", "r", "p1"].iter().all(|key| footprint.may_read(&Key::from(*key))));
        assert!(!footprint.may_read(&"x".into()));
        assert!(!footprint.may_write(&"r".into()) && !footprint.may_write(&"p1".into()));
        assert!(footprint.may_scan(&KeyRange::prefix("p1".into())));
        assert!(!footprint.may_scan(&KeyRange::prefix("w".into())));
    }
}
