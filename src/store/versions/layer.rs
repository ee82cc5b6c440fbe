//! Versions in memory that lie on top of those on disk.
//!
//! Nearly every read is of a single key, and nearly every write of one that is there: both look it up by its hash, which misses the
//! processor's caches less often than a search in a tree. Nothing depends on a hash but the time that a look-up takes.

use std::ops::Bound;

use indexmap::map::Entry;

use super::super::chain::{Chain, Version};
use super::order::{Chains, Order};
use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};

/// Bytes that a version is reckoned to take beside a value that is not kept in place: those before the newest lie in a list that grows by
/// doubling.
const VERSION_BYTES: u64 = 56;

/// Bytes that a key is reckoned to take beside itself, if it is not kept in place, and its versions.
const KEY_BYTES: u64 = 112;

/// What a snapshot sees of a layer, key by key.
pub(super) type SeenLayer<'a> = Box<dyn Iterator<Item = (&'a [u8], &'a Version)> + 'a>;

/// What was written since the last flush began, or what a flush is writing. A deletion in it hides what lies below.
#[derive(Debug, Default)]
pub(super) struct Layer {
    chains: Chains,
    order: Order,
    /// Bytes of keys and values that were put here.
    bytes: u64,
    /// About how many bytes all that was put here takes in memory.
    memory_bytes: u64,
    /// How many versions were put here.
    versions: u64,
    /// No version here lies above.
    highest: Option<Timestamp>,
}

impl Layer {
    /// An empty one, to take what comes after this one.
    pub(super) fn next(&self) -> Self {
        Self {
            order: self.order.next(),
            ..Self::default()
        }
    }

    /// The newest version of `key` at or below `at`, which may be a deletion. None: what lies below is seen.
    pub(super) fn reached(&self, key: &Key, at: Timestamp) -> Option<&Version> {
        self.chains.get(key)?.reached(at)
    }

    /// The newest version of `key`.
    pub(super) fn newest(&self, key: &Key) -> Option<&Version> {
        self.chains.get(key).map(Chain::newest)
    }

    /// Brings what a read and a write of `key` need into the processor's caches. What is waited for here is waited for at once by several calls in
    /// a row, as none of them needs what another one fetches.
    pub(super) fn touch(&self, key: &Key) {
        std::hint::black_box(self.chains.get(key).map(Chain::touch));
    }

    /// The keys of `range` with what a snapshot at `at` sees of each, but for those of which it sees what lies below.
    pub(super) fn scan(&self, range: &KeyRange, at: Timestamp, direction: Direction) -> SeenLayer<'_> {
        let start = Bound::Included(range.start());
        let end = range.end().map_or(Bound::Unbounded, Bound::Excluded);
        let chains = (!range.is_empty()).then(|| self.order.between(&self.chains, (start, end)));
        let chains = chains.into_iter().flatten();
        let seen = chains.filter_map(move |(key, chain)| Some((key.as_bytes(), chain.reached(at)?)));
        match direction {
            Direction::Forward => Box::new(seen),
            Direction::Backward => Box::new(seen.rev()),
        }
    }

    /// The keys from `start` on, each with its versions, ascending.
    pub(super) fn chains_from<'a>(
        &'a self,
        start: Bound<&Key>,
    ) -> impl Iterator<Item = (&'a [u8], &'a Chain)> + use<'a> {
        let chains = self.order.between(&self.chains, (start, Bound::Unbounded));
        chains.map(|(key, chain)| (key.as_bytes(), chain))
    }

    /// Adds a version. *Given* that it is above all others of its key that lie below, and the lowest snapshot that anyone may read.
    ///
    /// *Panics* when a version of the key here is not below it.
    pub(super) fn put(&mut self, key: Key, version: Version, oldest: Hlc) {
        self.versions += 1;
        let value_bytes = version.1.as_ref().map_or(0, |value| value.as_bytes().len());
        let key_bytes = key.as_bytes().len();
        self.bytes += (key_bytes + value_bytes) as u64;
        self.memory_bytes += VERSION_BYTES + apart(value_bytes);
        self.highest = self.highest.max(Some(version.0));
        match self.chains.entry(key) {
            Entry::Vacant(place) => {
                self.memory_bytes += KEY_BYTES + apart(key_bytes);
                place.insert(Chain::new(version));
                self.order.add_last(&self.chains);
            }
            Entry::Occupied(mut chain) => {
                let ((last, _), at) = (chain.get().newest(), version.0);
                assert!(
                    *last < at,
                    "{} has a version at {last}, so none can be written at {at}",
                    chain.key()
                );
                chain.get_mut().push(version, oldest);
            }
        }
    }

    /// Adds what is newer.
    pub(super) fn absorb(&mut self, newer: Self, oldest: Hlc) {
        self.bytes += newer.bytes;
        self.memory_bytes += newer.memory_bytes;
        self.versions += newer.versions;
        self.highest = self.highest.max(newer.highest);
        for (key, chain) in newer.chains {
            match self.chains.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(chain);
                    self.order.add_last(&self.chains);
                }
                Entry::Occupied(mut older) => {
                    for version in chain.into_versions() {
                        older.get_mut().push(version, oldest);
                    }
                }
            }
        }
    }

    pub(super) fn highest(&self) -> Option<Timestamp> {
        self.highest
    }

    /// Bytes of keys and values that were put here.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// About how many bytes all that was put here takes in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// How many versions were put here, whether they are still kept or not.
    pub(super) fn versions(&self) -> u64 {
        self.versions
    }

    /// Of how many keys there are versions.
    pub(super) fn keys(&self) -> usize {
        self.chains.len()
    }
}

/// How many of so many bytes are not kept in place.
fn apart(bytes: usize) -> u64 {
    if bytes > Value::SHORT_BYTES { bytes as u64 } else { 0 }
}

/// What a version gives a reader; none if it is a deletion.
pub(super) fn seen((at, value): &Version) -> Option<(Timestamp, Value)> {
    Some((*at, value.clone()?))
}
