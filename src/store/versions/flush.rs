//! One flush: a layer, and what belongs beside it, in one commit.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use redb::{
    CursorError, CursorMut, Key as _, ReadableTable, ReadableTableMetadata, StorageError, Table, WriteTransaction,
};

use super::super::chain::{Chain, Version};
use super::super::{StoreError, second_of};
use super::collection::Walk;
use super::database::Store;
use super::layer::Layer;
use super::merge::FRONT;
use super::retained::Discarded;
use super::table::{
    META, META_STATE, META_WALK, OUTCOMES, RowName, Settled, State, VERSIONS, VersionKey, key_of, outcome_name,
    parse_content, parse_row_name, row_name, write_content,
};
use crate::codec;
use crate::id::TransactionId;
use crate::key::Key;
use crate::limits::OUTCOME_WINDOW;
use crate::time::{Hlc, Timestamp};

/// Rows that the walk sees with each flush.
const WALK_ROWS: usize = 4_096;

/// Expired outcomes that a flush removes at most, beside twice as many as it writes.
const EXPIRED_MAX: usize = 4_096;

/// What a flush writes: the state at one evaluated bound.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) layer: Layer,
    pub(super) state: State,
    /// New since the last flush, in any order.
    pub(super) outcomes: Arc<Vec<Settled>>,
    /// The oldest snapshot that may still be read, be it from memory.
    pub(super) oldest: Hlc,
    pub(super) covered: Covered,
}

/// Where the versions stay that are covered within a layer, but can still be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Covered {
    /// In memory alone, with the layer.
    Retained,
    /// On disk.
    Written,
}

/// A flush that was begun. It may be written on another thread.
#[derive(Debug)]
#[must_use = "what is to be flushed is not durable before it is written and the flush has ended"]
pub struct Flush {
    pub(super) store: Arc<Store>,
    pub(super) frozen: Arc<Frozen>,
    /// Keys to look after, ascending.
    pub(super) due: Vec<Key>,
    pub(super) walk: Walk,
    /// Dropped with it.
    pub(super) discarded: Discarded,
}

/// A flush that was written, or could not be. Hand it to [`DiskVersions::end_flush`](super::DiskVersions::end_flush).
#[derive(Debug)]
#[must_use = "a flush has to be ended before the next one begins"]
pub struct Flushed {
    pub(super) result: Result<Written, StoreError>,
    pub(super) due: Vec<Key>,
}

/// What came of a flush.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) report: FlushReport,
    /// Keys of which something will be covered, and the second after which it is.
    pub(super) notes: Vec<(u64, Key)>,
    pub(super) walk: Option<Walk>,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// Versions that were written.
    pub written: u64,
    /// Versions that were not written: no snapshot that may still be read can see them, or only ones that are kept in memory.
    pub dropped: u64,
    /// Versions that were removed from the disk, because no snapshot that may still be read can see them.
    pub collected: u64,
    /// Outcomes that were written.
    pub outcomes: u64,
    /// Outcomes that were removed from the disk, because they are expired.
    pub expired: u64,
}

impl Flush {
    /// Writes it in one commit: durable once this returns without an error.
    ///
    /// *Cost*: that of the commit; this is the slow part, and may run on another thread than the one that evaluates.
    pub fn write(self) -> Flushed {
        let Self {
            store,
            frozen,
            due,
            walk,
            discarded,
        } = self;
        drop(discarded);
        let result = store.commit(frozen.state.flushes, |transaction| {
            let mut writer = Writer {
                store: &store,
                transaction,
                oldest: frozen.oldest,
                readable: frozen.state.oldest,
                written: Written::default(),
                content: Vec::new(),
                name: RowName::default(),
            };
            writer.write_versions(&frozen.layer, &due, walk)?;
            writer.write_outcomes(&frozen)?;
            writer.write_meta(&frozen.state)?;
            Ok(writer.written)
        });
        Flushed { result, due }
    }
}

type VersionTable<'a> = Table<'a, VersionKey, &'static [u8]>;

/// How rows come into the table: a run of them with a cursor, which costs half as much, single ones by their names.
enum Inserter<'a, 'b> {
    Table(&'a mut VersionTable<'b>),
    Cursor(Box<CursorMut<'a, VersionKey, &'static [u8]>>),
}

impl Inserter<'_, '_> {
    fn insert(&mut self, name: &[u8], content: &[u8]) -> Result<(), StorageError> {
        match self {
            Self::Table(table) => table.insert(name, content).map(drop),
            Self::Cursor(cursor) => cursor.insert_before(name, content).map_err(storage_error),
        }
    }
}

/// A row that is out of order in a place that was looked up is damage.
fn storage_error(error: CursorError) -> StorageError {
    match error {
        CursorError::Storage(error) => error,
        other => StorageError::Corrupted(other.to_string()),
    }
}

/// The first version of a chain that is kept.
fn first_kept(chain: &Chain, oldest: Hlc) -> Timestamp {
    let (at, _) = chain
        .kept(oldest)
        .next()
        .expect("a chain has a version, and the newest is always kept");
    *at
}

/// The state of one commit that is being made.
struct Writer<'a> {
    store: &'a Store,
    transaction: &'a WriteTransaction,
    /// The oldest snapshot that may still be read: what is covered there is removed.
    oldest: Hlc,
    /// The oldest snapshot that can be read from the disk alone, at or above that one: what is covered there is not written.
    readable: Hlc,
    written: Written,
    /// Of the row that is being written.
    content: Vec<u8>,
    name: RowName,
}

/// What is on disk of one key, as far as the first row above the oldest snapshot.
#[derive(Debug, Default)]
struct Below {
    /// Rows that are covered at the oldest snapshot.
    covered: Vec<Timestamp>,
    /// The newest row at or below the oldest snapshot, and whether it is a deletion.
    base: Option<(Timestamp, bool)>,
    /// Whether there is a row above the oldest snapshot.
    has_more: bool,
}

/// What lies around the place of a row that is to be written.
struct Gap {
    /// The newest row of the same key.
    newest: Option<Newest>,
    /// The name of the row behind it; none at the end of the table.
    next: Option<Vec<u8>>,
}

struct Newest {
    at: Timestamp,
    is_deletion: bool,
    /// Whether it is the only one of its key.
    is_alone: bool,
}

/// The chains of a layer that are still to be written.
type Chains<'a> = Peekable<Box<dyn Iterator<Item = (&'a [u8], &'a Chain)> + 'a>>;

impl Writer<'_> {
    fn write_versions(&mut self, layer: &Layer, due: &[Key], walk: Walk) -> Result<(), StoreError> {
        let place = self.store.place("versions", "write");
        let table = self.transaction.open_table(VERSIONS);
        let mut table = table.map_err(|error| place.table(error))?;
        let mut due = due.iter().peekable();
        let chains: Box<dyn Iterator<Item = _>> = Box::new(layer.chains_from(Bound::Unbounded));
        let mut chains = chains.peekable();
        while let Some((key, chain)) = chains.next() {
            while let Some(due) = due.next_if(|due| due.as_bytes() < key) {
                self.collect(&mut table, due.as_bytes())?;
            }
            // Writing a key looks after it as well.
            due.next_if(|due| due.as_bytes() == key);
            self.write_chain(&mut table, (key, chain), &mut chains)?;
        }
        for due in due {
            self.collect(&mut table, due.as_bytes())?;
        }
        self.written.report.dropped = layer.versions() - self.written.report.written;
        let walk = self.walk(&mut table, walk)?;
        self.written.walk = Some(walk);
        Ok(())
    }

    /// Writes what is kept of the versions of `key`, and removes what is covered below them; with it all that follow into the same gap.
    fn write_chain<'c>(
        &mut self,
        table: &mut VersionTable<'_>,
        (key, chain): (&'c [u8], &'c Chain),
        chains: &mut Chains<'c>,
    ) -> Result<(), StoreError> {
        let first = first_kept(chain, self.readable);
        let gap = self.gap(table, key, first)?;
        let Some(newest) = gap.newest else {
            let readable = self.readable;
            let follows = |(key, chain): &(&[u8], &Chain)| {
                let first = first_kept(chain, readable);
                gap.next
                    .as_ref()
                    .is_none_or(|next| VersionKey::compare(&row_name(key, first), next).is_lt())
            };
            if chains.peek().is_some_and(follows) {
                let run = std::iter::once((key, chain)).chain(std::iter::from_fn(|| chains.next_if(follows)));
                return self.write_run(table, run);
            }
            return self.write_rows(key, chain, false, &mut Inserter::Table(table));
        };
        let rows_left = if first.hlc <= self.oldest {
            // All that is on disk lies below it.
            let mut below = self.below(table, key)?;
            assert!(
                !below.has_more,
                "rows lie above a version that is not above the oldest snapshot"
            );
            below.covered.extend(below.base.take().map(|(at, _)| at));
            self.remove(table, key, &below)?
        } else if newest.is_alone && !(newest.is_deletion && newest.at.hlc <= self.oldest) {
            true
        } else {
            let below = self.below(table, key)?;
            self.remove(table, key, &below)?
        };
        self.write_rows(key, chain, rows_left, &mut Inserter::Table(table))
    }

    /// Writes chains of keys of which nothing is on disk, and between whose rows nothing is.
    fn write_run<'c>(
        &mut self,
        table: &mut VersionTable<'_>,
        run: impl Iterator<Item = (&'c [u8], &'c Chain)>,
    ) -> Result<(), StoreError> {
        let place = self.store.place("versions", "write");
        let mut run = run.peekable();
        let Some((key, chain)) = run.peek() else {
            return Ok(());
        };
        let first = row_name(key, first_kept(chain, self.readable));
        let cursor = table.lower_bound_mut(Bound::Included(first.as_slice()));
        let mut inserter = Inserter::Cursor(Box::new(cursor.map_err(|error| place.storage(&"any", error))?));
        for (key, chain) in run {
            self.write_rows(key, chain, false, &mut inserter)?;
        }
        match inserter {
            Inserter::Cursor(cursor) => cursor.close().map_err(|error| place.storage(&"any", error)),
            Inserter::Table(_) => Ok(()),
        }
    }

    /// Writes what is kept of a chain, and notes the key if something will have to be collected. *Given* whether rows of it are left on disk.
    fn write_rows(
        &mut self,
        key: &[u8],
        chain: &Chain,
        rows_left: bool,
        inserter: &mut Inserter<'_, '_>,
    ) -> Result<(), StoreError> {
        // Nobody looks behind a deletion at or below the oldest snapshot, and behind it nothing is left.
        let is_void = |(at, value): &&Version| at.hlc <= self.oldest && value.is_none();
        let (mut rows, mut is_noted, mut last) = (u64::from(rows_left), false, None);
        for (at, value) in chain.kept(self.readable).skip_while(is_void) {
            write_content(value.as_ref(), &mut self.content);
            inserter
                .insert(self.name.of(key, *at), &self.content)
                .map_err(|error| self.store.place("versions", "write").storage(&key_of(key), error))?;
            rows += 1;
            is_noted |= rows > 1 || value.is_none();
            last = Some(*at);
        }
        self.written.report.written += rows - u64::from(rows_left);
        if let Some(last) = last.filter(|_| is_noted) {
            self.written.notes.push((second_of(last.hlc), key_of(key)));
        }
        Ok(())
    }

    /// Removes what is covered of a key that is not written now.
    fn collect(&mut self, table: &mut VersionTable<'_>, key: &[u8]) -> Result<(), StoreError> {
        let below = self.below(table, key)?;
        self.remove(table, key, &below)?;
        Ok(())
    }

    /// What lies around the place of the row of `key` at `at`.
    fn gap(&mut self, table: &VersionTable<'_>, key: &[u8], at: Timestamp) -> Result<Gap, StoreError> {
        let place = self.store.place("versions", "read");
        let failed = |error| place.storage(&key_of(key), error);
        let damaged = |reason: &'static str| place.damaged(&key_of(key), reason);
        let name = self.name.of(key, at);
        let mut cursor = table.lower_bound(Bound::Included(name)).map_err(failed)?;
        let next = cursor
            .peek_next()
            .map_err(failed)?
            .map(|(name, _)| name.value().to_vec());
        let mut newest = None;
        if let Some((name, content)) = cursor.prev().map_err(failed)? {
            let (last_key, at) = parse_row_name(name.value()).map_err(damaged)?;
            if last_key == key {
                let before = cursor.peek_prev().map_err(failed)?;
                let is_alone = match before {
                    Some((name, _)) => parse_row_name(name.value()).map_err(damaged)?.0 != key,
                    None => true,
                };
                newest = Some(Newest {
                    at,
                    is_deletion: parse_content(content.value()).map_err(damaged)?.is_none(),
                    is_alone,
                });
            }
        }
        Ok(Gap { newest, next })
    }

    /// What is on disk of `key`, as far as the first row above the oldest snapshot.
    fn below(&mut self, table: &VersionTable<'_>, key: &[u8]) -> Result<Below, StoreError> {
        let place = self.store.place("versions", "read");
        let failed = |error| place.storage(&key_of(key), error);
        let damaged = |reason: &'static str| place.damaged(&key_of(key), reason);
        let name = self.name.of(key, FRONT);
        let mut cursor = table.lower_bound(Bound::Included(name)).map_err(failed)?;
        let mut below = Below::default();
        while let Some((name, content)) = cursor.next().map_err(failed)? {
            let (row_key, at) = parse_row_name(name.value()).map_err(damaged)?;
            if row_key != key {
                break;
            }
            if at.hlc > self.oldest {
                below.has_more = true;
                break;
            }
            let content = parse_content(content.value()).map_err(damaged)?;
            let base = below.base.replace((at, content.is_none()));
            below.covered.extend(base.map(|(at, _)| at));
        }
        Ok(below)
    }

    /// Removes what is covered. *Gives* whether a row of the key is left.
    fn remove(&mut self, table: &mut VersionTable<'_>, key: &[u8], below: &Below) -> Result<bool, StoreError> {
        let void = below.base.filter(|(_, is_deletion)| *is_deletion);
        for at in below.covered.iter().copied().chain(void.map(|(at, _)| at)) {
            table
                .remove(self.name.of(key, at))
                .map_err(|error| self.store.place("versions", "write").storage(&key_of(key), error))?;
            self.written.report.collected += 1;
        }
        Ok(below.has_more || (below.base.is_some() && void.is_none()))
    }

    /// Looks after the keys of the next piece of the walk, and notes those that must be looked after later.
    fn walk(&mut self, table: &mut VersionTable<'_>, walk: Walk) -> Result<Walk, StoreError> {
        let Walk::Under { next, .. } = &walk else {
            return Ok(walk);
        };
        let place = self.store.place("versions", "read");
        let start = row_name(next.as_ref().map_or(&[], Key::as_bytes), FRONT);
        let mut found: Vec<(Key, Timestamp)> = Vec::new();
        let mut unseen = None;
        let mut current: Option<(Key, usize, Timestamp)> = None;
        let rows = table.range::<&[u8]>(start.as_slice()..);
        for (number, row) in rows.map_err(|error| place.storage(&"any", error))?.enumerate() {
            let (name, content) = row.map_err(|error| place.storage(&"any", error))?;
            let (key, at) =
                parse_row_name(name.value()).map_err(|reason| place.damaged(&key_of(name.value()), reason))?;
            let content = parse_content(content.value()).map_err(|reason| place.damaged(&key_of(key), reason))?;
            let is_deletion = usize::from(content.is_none());
            match &mut current {
                Some((seen, weight, last)) if seen.as_bytes() == key => {
                    *weight += 1 + is_deletion;
                    *last = at;
                }
                _ => {
                    found.extend(
                        current
                            .take()
                            .and_then(|(key, weight, last)| (weight > 1).then_some((key, last))),
                    );
                    if number >= WALK_ROWS {
                        unseen = Some(key_of(key));
                        break;
                    }
                    current = Some((key_of(key), 1 + is_deletion, at));
                }
            }
        }
        found.extend(current.and_then(|(key, weight, last)| (weight > 1).then_some((key, last))));
        for (key, last) in found {
            let below = self.below(table, key.as_bytes())?;
            if self.remove(table, key.as_bytes(), &below)? && below.has_more {
                self.written.notes.push((second_of(last.hlc), key));
            }
        }
        Ok(walk.passed(unseen))
    }

    fn write_outcomes(&mut self, frozen: &Frozen) -> Result<(), StoreError> {
        let place = self.store.place("outcomes", "write");
        let mut table = self
            .transaction
            .open_table(OUTCOMES)
            .map_err(|error| place.table(error))?;
        let mut by_id: Vec<&Settled> = frozen.outcomes.iter().collect();
        by_id.sort_unstable_by_key(|settled| settled.id);
        let last = table.last().map_err(|error| place.storage(&"any", error))?;
        let last = last.map(|(id, _)| TransactionId::from_u128(u128::from_be_bytes(*id.value())));
        // Ids begin with the time they were made at, so nearly all lie behind those of earlier flushes.
        let (between, behind) = by_id.split_at(by_id.partition_point(|settled| Some(settled.id) <= last));
        for settled in between {
            settled.write_content(&mut self.content);
            table
                .insert(&outcome_name(settled.id), self.content.as_slice())
                .map_err(|error| place.storage(&settled.id, error))?;
        }
        if !behind.is_empty() {
            let cursor = table.upper_bound_mut(Bound::<&[u8; 16]>::Unbounded);
            let mut cursor = cursor.map_err(|error| place.storage(&"any", error))?;
            for settled in behind {
                settled.write_content(&mut self.content);
                cursor
                    .insert_before(&outcome_name(settled.id), self.content.as_slice())
                    .map_err(|error| place.storage(&settled.id, storage_error(error)))?;
            }
            cursor.close().map_err(|error| place.storage(&"any", error))?;
        }
        self.written.report.outcomes = frozen.outcomes.len() as u64;
        let evaluated_ms = frozen.state.evaluated.unix_millis();
        let end_ms = evaluated_ms.saturating_sub(OUTCOME_WINDOW.as_millis() as u64);
        // The first id that is not expired: an id begins with its 48 bits of milliseconds.
        let end = outcome_name(TransactionId::from_u128(u128::from(end_ms) << 80));
        let before = table.len().map_err(|error| place.storage(&"any", error))?;
        let expired = table.extract_from_if::<&[u8; 16], _>(..&end, |_, _| true);
        let mut expired = expired.map_err(|error| place.storage(&"any", error))?;
        for _ in 0..EXPIRED_MAX + 2 * frozen.outcomes.len() {
            match expired.next() {
                Some(row) => row.map_err(|error| place.storage(&"any", error))?,
                None => break,
            };
        }
        drop(expired);
        let after = table.len().map_err(|error| place.storage(&"any", error))?;
        self.written.report.expired = before - after;
        Ok(())
    }

    fn write_meta(&mut self, state: &State) -> Result<(), StoreError> {
        let place = self.store.place("meta", "write");
        let mut table = self.transaction.open_table(META).map_err(|error| place.table(error))?;
        self.content.clear();
        codec::encode_plain(state, &mut self.content);
        table
            .insert(META_STATE, self.content.as_slice())
            .map_err(|error| place.storage(&META_STATE, error))?;
        match &self.written.walk {
            Some(Walk::Under { next: Some(next), .. }) => table
                .insert(META_WALK, next.as_bytes())
                .map_err(|error| place.storage(&META_WALK, error))?,
            Some(Walk::Under { next: None, .. }) => table
                .remove(META_WALK)
                .map_err(|error| place.storage(&META_WALK, error))?,
            Some(Walk::Over) | None => None,
        };
        Ok(())
    }
}
