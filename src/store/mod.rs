//! What a node keeps: versions of data, and the log.
//!
//! Realises the two traits of section 5 of the design, with the implementation in memory. [`Versions`] holds every value with the
//! timestamp that wrote it, so that any kept snapshot can be read; on disk they are in [`versions`]. [`Log`] holds what must survive a crash, and tells
//! written from durable.

mod chain;
pub mod disk;
mod error;
mod memory;
pub mod segments;
pub mod versions;

pub use error::StoreError;
pub use memory::{MemoryLog, MemoryVersions};
pub use versions::DiskVersions;

use std::ops::ControlFlow;

use crate::id::TransactionId;
use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Outcome, Versioned};

/// Takes one version, none being a deletion, and says whether it wants another.
pub type VersionVisitor<'a> = dyn FnMut(&Key, Timestamp, Option<&Value>) -> ControlFlow<()> + 'a;

/// Takes the outcome of an id, and where it took effect; says whether it wants another.
pub type OutcomeVisitor<'a> = dyn FnMut(TransactionId, Timestamp, &Outcome) -> ControlFlow<()> + 'a;

/// What is kept, to be passed on from beginning to end: what a checkpoint is made of.
pub trait History {
    /// What was read, if reading can fail: a `T` itself where it cannot.
    type Checked<T>;

    /// What was read, unless this read or one before it failed.
    ///
    /// *Given* `found`, which is worth nothing after a failure: reads find nothing then, and do not say so.
    fn checked<T>(&self, found: T) -> Self::Checked<T>;

    /// Why nothing is read or written any more; none as long as nothing failed.
    fn failure(&self) -> Option<StoreError> {
        None
    }

    /// Everything at or below is here: snapshots up to it may be read.
    fn evaluated(&self) -> Hlc;

    /// The lowest snapshot that can still be read.
    fn oldest(&self) -> Hlc;

    /// Shows what must be kept to read every snapshot at or above `oldest`: by key, and of each key ascending, from behind `after` on,
    /// until `visit` breaks. Written again in this order into empty versions it gives the same reads.
    ///
    /// What is shown depends on what was written alone, and not on what was collected when: below `oldest` that is the newest
    /// version of each key, unless it is a deletion, and everything above.
    ///
    /// *Given* that `oldest` is not below [`History::oldest`].
    fn history(&self, oldest: Hlc, after: Option<(&Key, Timestamp)>, visit: &mut VersionVisitor<'_>);

    /// Shows the outcomes that are kept beside the versions, by id, from behind `after` on, until `visit` breaks. There may be some
    /// that are expired.
    fn settled(&self, after: Option<TransactionId>, visit: &mut OutcomeVisitor<'_>) {
        let _ = (after, visit);
    }
}

/// Every value at every kept timestamp.
///
/// What an implementation must do is `tests/store/versions.rs`, which any of them can be put through.
pub trait Versions: History {
    /// The newest value of `key` at or below `at`; absent if there is none or it was deleted.
    ///
    /// *Given* that `at` is not below [`History::oldest`].
    fn get(&self, key: &Key, at: Timestamp) -> Option<Versioned>;

    /// The first `limit` entries of `range` in this direction, each with its newest value at or below `at`.
    ///
    /// *Given* that `at` is not below [`History::oldest`].
    fn scan(&self, range: &KeyRange, at: Timestamp, limit: usize, direction: Direction) -> Vec<(Key, Versioned)>;

    /// Says that these keys are about to be read and written. It changes nothing that can be seen: an implementation may fetch what it has
    /// of all of them at once, where one after the other would each wait for memory.
    fn expect<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        let _ = keys;
    }

    /// Writes `value` to `key` at `at`; none deletes it. Keys may be written in any order, each of them ascending.
    ///
    /// *Panics* when the key has a version at or above `at`.
    fn put(&mut self, key: Key, at: Timestamp, value: Option<Value>);

    /// Raises the evaluated bound.
    ///
    /// *Panics* when it goes back.
    fn set_evaluated(&mut self, evaluated: Hlc);

    /// Whether outcomes are kept beside the versions: then they are handed over with flushes.
    fn keeps_outcomes(&self) -> bool {
        false
    }

    /// The outcome of `id` that is kept beside the versions, and where it took effect. It may be expired.
    fn outcome(&self, id: TransactionId) -> Option<(Timestamp, Outcome)> {
        let _ = id;
        None
    }

    /// How far the versions are durable, or cannot be lost.
    fn flushed(&self) -> Hlc {
        self.evaluated()
    }

    /// Drops the versions that no snapshot at or above `oldest` can see. A bound below [`History::oldest`] changes nothing.
    fn collect(&mut self, oldest: Hlc);
}

/// Which second, of 1,024 ms, a time lies in: what is to be collected is noted by it.
fn second_of(hlc: Hlc) -> u64 {
    hlc.unix_millis() >> 10
}

/// What must survive a crash, in the order of writing. Entries are counted from the first one ever written.
///
/// What an implementation must do is `tests/store/log.rs`, which any of them can be put through.
pub trait Log {
    /// What is written.
    type Entry: Clone;
    /// Why the medium fails. After an error nothing more is made durable, and what was not durable yet may or may not be: stop.
    type Error: std::error::Error;

    /// Adds an entry; it is not durable yet. *Gives* how many are written: once as many are durable, this one is.
    fn append(&mut self, entry: Self::Entry) -> Result<u64, Self::Error>;

    /// Makes everything durable that was written. *Gives* how many entries are.
    fn sync(&mut self) -> Result<u64, Self::Error>;

    /// The number of the first entry that is kept.
    fn first(&self) -> u64;

    /// How many entries are durable, those dropped included: what is there after a crash, and never less afterwards.
    fn durable(&self) -> u64;

    /// The durable entries from number `from` on, in order, at most `limit` of them; those that were dropped are passed over.
    fn read(&self, from: u64, limit: usize) -> Result<Vec<Self::Entry>, Self::Error>;

    /// Lets the log drop the entries below number `first`, which nobody needs any more; it may keep some of the last of them. *Given* that
    /// they are durable.
    fn drop_below(&mut self, first: u64) -> Result<(), Self::Error>;
}
