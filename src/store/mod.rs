//! What a node keeps: versions of data, and the log.
//!
//! Realises the two traits of section 5 of the design, with the implementation in memory. [`Versions`] holds every value with the
//! timestamp that wrote it, so that any kept snapshot can be read. [`Log`] holds what must survive a crash, and tells
//! written from durable.

mod memory;

pub use memory::{MemoryLog, MemoryVersions};

use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};

/// A value and the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// Where it was written.
    pub timestamp: Timestamp,
    /// The value.
    pub value: Value,
}

/// Every value at every kept timestamp.
pub trait Versions {
    /// The newest value of `key` at or below `at`; absent if there is none or it was deleted.
    ///
    /// *Given* that `at` is not below [`Versions::oldest`].
    fn get(&self, key: &Key, at: Timestamp) -> Option<Versioned>;

    /// The first `limit` entries of `range` in this direction, each with its newest value at or below `at`.
    ///
    /// *Given* that `at` is not below [`Versions::oldest`].
    fn scan(&self, range: &KeyRange, at: Timestamp, limit: usize, direction: Direction) -> Vec<(Key, Versioned)>;

    /// Writes `value` to `key` at `at`; none deletes it. *Given* that nothing of the key was written at or above `at`.
    fn put(&mut self, key: Key, at: Timestamp, value: Option<Value>);

    /// Everything at or below is here: snapshots up to it may be read.
    fn evaluated(&self) -> Hlc;

    /// Raises the evaluated bound.
    fn set_evaluated(&mut self, evaluated: Hlc);

    /// The lowest snapshot that can still be read.
    fn oldest(&self) -> Hlc;

    /// Drops the versions that no snapshot at or above `oldest` can see.
    fn collect(&mut self, oldest: Hlc);
}

/// What must survive a crash, in the order of writing.
pub trait Log {
    /// What is written.
    type Entry;

    /// Adds an entry; it is not durable yet.
    fn append(&mut self, entry: Self::Entry);

    /// Makes everything durable that was appended. *Gives* how many entries are durable in all.
    fn sync(&mut self) -> usize;

    /// The durable entries, in order: what is there after a crash.
    fn durable(&self) -> &[Self::Entry];
}
