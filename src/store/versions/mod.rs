//! Versions on disk: what was written last in memory, and everything older in a table.
//!
//! Realises the versions of section 5 of the design. What is put lies in a layer in memory first. A *flush* writes a layer in one commit,
//! with the evaluated bound and everything else that an executor goes on from; what comes after the last flush is lost by a crash, and
//! evaluated again from the log. The store makes no decision about when to flush; who drives it does.
//!
//! Bytes, invariants and crash cases: `docs/storage.md`. Tests: in the parts, and in `tests/store/`.

mod collection;
mod database;
mod fault;
mod flush;
mod layer;
mod merge;
mod order;
mod retained;
mod snapshot;
mod table;

use std::sync::Arc;

use super::disk::Disk;
use super::{History, OutcomeVisitor, StoreError, VersionVisitor, Versions};
use crate::id::{NodeId, TransactionId};
use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Outcome, Versioned};

use collection::Collection;
pub use database::{Extent, Medium};
use database::{Reader, Store, VerifiedFile};
use flush::{Covered, Frozen};
pub use flush::{Flush, FlushReport, Flushed};
use layer::{Layer, seen};
use retained::RetainedLayers;
pub use snapshot::FlushedVersions;
use table::State;
pub use table::{Settled, Standing};

/// Versions of which the older ones are on disk.
///
/// Reads that fail find nothing and are remembered: [`History::failure`] says why, [`History::checked`] keeps back what was made of them,
/// and nothing is read or written any more. Whoever sees a failure stops the node.
///
/// *Cost*: a read whose version is in memory touches no disk. Others are a look-up in a B-tree whose pages are cached.
#[derive(Debug)]
pub struct DiskVersions {
    store: Arc<Store>,
    reader: Arc<Reader>,
    /// What is being flushed.
    frozen: Option<Arc<Frozen>>,
    active: Layer,
    /// What was flushed, but for what was covered in it.
    retained: RetainedLayers,
    evaluated: Hlc,
    oldest: Hlc,
    collection: Collection,
}

impl DiskVersions {
    /// The versions in the file `name` of `disk`, as the last flush left them; empty if there is no such file. Every block that is read is
    /// verified.
    ///
    /// *Given* how many bytes of the database may be kept in memory for reads and commits.
    ///
    /// *Errors*: the medium fails or is full, the database is damaged, in use, or of a later format. Nothing was changed, but for a
    /// database that may have been begun.
    pub fn open(disk: Arc<dyn Disk>, name: &str, cache_bytes: usize) -> Result<Self, StoreError> {
        let name = name.to_owned();
        Self::over(Box::new(VerifiedFile { disk, name }), cache_bytes)
    }

    /// The versions on `medium`, see [`DiskVersions::open`]. Nothing is verified but what the medium verifies.
    pub fn over(medium: Box<dyn Medium>, cache_bytes: usize) -> Result<Self, StoreError> {
        let (store, reader) = Store::open(medium, cache_bytes)?;
        Ok(Self {
            store,
            frozen: None,
            active: Layer::default(),
            retained: RetainedLayers::default(),
            evaluated: reader.state.evaluated,
            oldest: reader.state.oldest,
            collection: Collection::new(reader.walk.clone()),
            reader: Arc::new(reader),
        })
    }

    /// From now on keeps covered versions in memory alone, where they take no more than about so many bytes: until then a flush writes the
    /// newest version of each key, and the snapshots below it are lost by a crash. Unless this is said, all that can be read is written.
    pub fn retain(&mut self, bytes_max: u64) {
        self.retained.set_bytes_max(bytes_max);
    }

    /// Where the executor stood at the last flush.
    pub fn standing(&self) -> &Standing {
        &self.reader.state.beside
    }

    /// What the last flush wrote, to be passed on while evaluation goes on.
    ///
    /// *Errors*: the store has failed.
    ///
    /// *Cost*: as long as it is kept, the disk cannot use the room again of what is removed meanwhile.
    pub fn snapshot(&self) -> Result<FlushedVersions, StoreError> {
        let versions = FlushedVersions::new(Arc::clone(&self.store), Arc::clone(&self.reader));
        self.checked(versions)
    }

    /// Bytes of the keys and values that were put since the last flush began: what a flush would write, and what memory holds.
    pub fn unflushed_bytes(&self) -> u64 {
        self.active.bytes()
    }

    /// Whether a flush was begun that has not ended.
    pub fn is_flushing(&self) -> bool {
        self.frozen.is_some()
    }

    /// How much is on disk.
    ///
    /// *Errors*: the store has failed.
    pub fn extent(&self) -> Result<Extent, StoreError> {
        self.store.extent()
    }

    /// How many keys are noted in memory because something on disk will be covered, some of them more than once.
    pub fn notes(&self) -> usize {
        self.collection.notes()
    }

    /// Keeps the snapshot at `at`, and all above it, until it is [released](DiskVersions::release): for a reader that comes back to it, or
    /// a member that is behind.
    ///
    /// *Gives* whether it is still there to be kept.
    pub fn hold(&mut self, at: Hlc) -> bool {
        let is_there = at >= self.oldest;
        if is_there {
            self.collection.hold(at);
        }
        is_there
    }

    /// Lets a snapshot go that was held.
    ///
    /// *Panics* when it is not.
    pub fn release(&mut self, at: Hlc) {
        self.collection.release(at);
    }

    /// Takes everything that was put so far for a flush. It goes on being read from memory until the flush has ended.
    ///
    /// *Given* the outcomes that are new since the last flush, and where the executor stands.
    ///
    /// *Panics* when a flush was begun and has not ended.
    pub fn begin_flush(&mut self, outcomes: impl Into<Arc<Vec<Settled>>>, beside: Standing) -> Flush {
        assert!(self.frozen.is_none(), "a flush begins before the last one has ended");
        let next = self.active.next();
        let layer = std::mem::replace(&mut self.active, next);
        self.retained.release(self.oldest);
        let covered = match self.retained.has_room_for(&layer) {
            true => Covered::Retained,
            false => Covered::Written,
        };
        let unwritten = match covered {
            Covered::Retained => self.evaluated,
            // What was left out before is not there.
            Covered::Written => self.reader.state.oldest,
        };
        let state = State {
            flushes: self.reader.state.flushes + 1,
            evaluated: self.evaluated,
            oldest: self.oldest.max(unwritten),
            highest: self.reader.state.highest.max(layer.highest()),
            beside,
        };
        let due = self.collection.take_due(self.oldest, layer.keys());
        let oldest = self.oldest;
        let frozen = Arc::new(Frozen {
            layer,
            state,
            outcomes: outcomes.into(),
            oldest,
            covered,
        });
        self.frozen = Some(Arc::clone(&frozen));
        Flush {
            store: Arc::clone(&self.store),
            frozen,
            due,
            walk: self.collection.walk().clone(),
            discarded: self.retained.take_discarded(),
        }
    }

    /// Ends a flush.
    ///
    /// *Errors*: [`StoreError::Full`]: nothing was written, nothing is lost, and it is as if the flush had not begun; begin one again
    /// when there is room. All others: the store has failed.
    ///
    /// *Panics* when none was begun.
    pub fn end_flush(&mut self, flushed: Flushed) -> Result<FlushReport, StoreError> {
        let frozen = self.frozen.take().expect("a flush ends that was begun");
        let Flushed { result, due } = flushed;
        // Also after a failure: the database may have been opened again.
        match self.store.reader() {
            Ok(reader) => self.reader = Arc::new(reader),
            Err(error) => self.store.fail(error),
        }
        let result = result.and_then(|written| self.checked(written));
        let frozen = Arc::into_inner(frozen).expect("a flush that was written gave its share back");
        match result {
            Ok(written) => {
                assert_eq!(
                    self.reader.state, frozen.state,
                    "the flush that ends is the last commit"
                );
                let rest = match frozen.covered {
                    Covered::Retained => {
                        let State { evaluated, flushes, .. } = frozen.state;
                        self.retained.keep(frozen.layer, evaluated, flushes);
                        None
                    }
                    Covered::Written => Some(frozen.layer),
                };
                self.retained.discard(rest, frozen.outcomes);
                self.collection.note(written.notes);
                if let Some(walk) = written.walk {
                    self.collection.set_walk(walk);
                }
                Ok(written.report)
            }
            Err(error) => {
                let newer = std::mem::replace(&mut self.active, frozen.layer);
                self.active.absorb(newer, self.oldest);
                self.collection.note(due.into_iter().map(|key| (0, key)).collect());
                Err(error)
            }
        }
    }

    /// What a read of the last commit gives, and nothing after a failure.
    fn read<T: Default>(&self, mut read: impl FnMut(&Reader) -> Result<T, StoreError>) -> T {
        if self.store.failure().is_some() {
            return T::default();
        }
        let mut found = read(&self.reader);
        if found.is_err() && self.is_flushing() {
            // A flush that found the medium full closes the database and opens it again; what was committed is the same.
            found = self.store.reader().and_then(|reader| read(&reader));
        }
        found.unwrap_or_else(|error| {
            self.store.fail(error);
            T::default()
        })
    }

    /// The layers that a snapshot at `at` sees something of which is not on disk, newest first.
    fn layers(&self, at: Timestamp) -> impl Iterator<Item = &Layer> {
        let frozen = self.frozen.as_ref().map(|frozen| &frozen.layer);
        [&self.active]
            .into_iter()
            .chain(frozen)
            .chain(self.retained.seen_at(at))
    }

    /// The timestamp of the newest version of `key` below the active layer.
    fn newest_below(&self, key: &Key) -> Option<Timestamp> {
        let frozen = self.frozen.as_ref().and_then(|frozen| frozen.layer.newest(key));
        match frozen {
            Some((at, _)) => Some(*at),
            None => self
                .read(|reader| merge::reached_on_disk(&self.store, reader, key, Timestamp::last_at(Hlc::MAX)))
                .map(|(at, _)| at),
        }
    }
}

impl History for DiskVersions {
    type Checked<T> = Result<T, StoreError>;

    fn checked<T>(&self, found: T) -> Result<T, StoreError> {
        match self.store.failure() {
            None => Ok(found),
            Some(failure) => Err(failure.clone()),
        }
    }

    fn failure(&self) -> Option<StoreError> {
        self.store.failure().cloned()
    }

    fn evaluated(&self) -> Hlc {
        self.evaluated
    }

    fn oldest(&self) -> Hlc {
        self.oldest
    }

    fn history(&self, oldest: Hlc, after: Option<(&Key, Timestamp)>, visit: &mut VersionVisitor<'_>) {
        let layers: Vec<&Layer> = self
            .layers(Timestamp {
                hlc: oldest,
                node: NodeId::new(0),
            })
            .collect();
        let mut after = after.map(|(key, at)| (key.clone(), at));
        self.read(|reader| {
            let passed = after.clone();
            let passed = passed.as_ref().map(|(key, at)| (key, *at));
            // Should it be read twice, it goes on where it was.
            merge::history((&self.store, reader), &layers, oldest, passed, &mut |key, at, value| {
                after = Some((key.clone(), at));
                visit(key, at, value)
            })
        });
    }

    fn settled(&self, after: Option<TransactionId>, visit: &mut OutcomeVisitor<'_>) {
        let mut after = after;
        self.read(|reader| {
            merge::settled((&self.store, reader), after, &mut |id, effective, outcome| {
                after = Some(id);
                visit(id, effective, outcome)
            })
        });
    }
}

impl Versions for DiskVersions {
    fn get(&self, key: &Key, at: Timestamp) -> Option<Versioned> {
        let flushed_last = self.retained.of_last(self.reader.state.flushes);
        let mut layers = self.layers(at).chain(flushed_last);
        let in_memory = layers.find_map(|layer| layer.reached(key, at));
        let (timestamp, value) = match in_memory {
            Some(version) => seen(version)?,
            None => {
                let (at, value) = self.read(|reader| merge::reached_on_disk(&self.store, reader, key, at))?;
                (at, value?)
            }
        };
        Some(Versioned { timestamp, value })
    }

    fn scan(&self, range: &KeyRange, at: Timestamp, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
        self.read(|reader| {
            let layers = self.layers(at).map(|layer| layer.scan(range, at, direction));
            merge::scan((&self.store, reader), layers.collect(), range, at, limit, direction)
        })
    }

    fn expect<'a>(&self, keys: impl Iterator<Item = &'a Key>) {
        for key in keys {
            self.active.touch(key);
        }
    }

    fn put(&mut self, key: Key, at: Timestamp, value: Option<Value>) {
        let below = self.frozen.as_ref().map_or(&self.reader.state, |frozen| &frozen.state);
        // Whatever is above all that was flushed need not be looked for.
        if Some(at) <= below.highest
            && self.active.newest(&key).is_none()
            && let Some(last) = self.newest_below(&key).filter(|last| *last >= at)
        {
            panic!("{key} has a version at {last}, so none can be written at {at}");
        }
        self.active.put(key, (at, value), self.oldest);
    }

    fn set_evaluated(&mut self, evaluated: Hlc) {
        assert!(
            evaluated >= self.evaluated,
            "the evaluated bound goes back from {} to {evaluated}",
            self.evaluated
        );
        self.evaluated = evaluated;
    }

    fn keeps_outcomes(&self) -> bool {
        true
    }

    fn outcome(&self, id: TransactionId) -> Option<(Timestamp, Outcome)> {
        self.read(|reader| merge::outcome((&self.store, reader), id))
    }

    fn flushed(&self) -> Hlc {
        self.reader.state.evaluated
    }

    fn collect(&mut self, oldest: Hlc) {
        let oldest = self.collection.lowest_held().map_or(oldest, |held| held.min(oldest));
        self.oldest = self.oldest.max(oldest);
        self.retained.release(self.oldest);
        if self.active.keys() == 0 {
            // No flush comes that would take it along.
            drop(self.retained.take_discarded());
        }
    }
}
