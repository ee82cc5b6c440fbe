//! Rows of the table and versions in memory, merged as a reader passes over them.

use std::ops::{Bound, ControlFlow};

use redb::{AccessGuard, Range, ReadableTable, StorageError};

use super::super::chain::Version;
use super::super::{OutcomeVisitor, StoreError, VersionVisitor};
use super::database::{Reader, Store};
use super::layer::{Layer, SeenLayer};
use super::table::{Settled, VersionKey, key_of, outcome_name, parse_content, parse_row_name, row_name};
use crate::id::{NodeId, TransactionId};
use crate::key::{Key, KeyRange, Value};
use crate::thunk::Direction;
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Outcome, Versioned};

/// In front of all timestamps.
pub(super) const FRONT: Timestamp = Timestamp {
    hlc: Hlc::ZERO,
    node: NodeId::new(0),
};

type Pair = (AccessGuard<'static, VersionKey>, AccessGuard<'static, &'static [u8]>);

/// A row, its name parsed.
pub(super) struct Row {
    name: AccessGuard<'static, VersionKey>,
    content: AccessGuard<'static, &'static [u8]>,
    pub(super) at: Timestamp,
}

impl Row {
    fn new((name, content): Pair, store: &Store) -> Result<Self, StoreError> {
        let at = match parse_row_name(name.value()) {
            Ok((_, at)) => at,
            Err(reason) => return Err(store.place("versions", "read").damaged(&key_of(name.value()), reason)),
        };
        Ok(Self { name, content, at })
    }

    pub(super) fn key(&self) -> &[u8] {
        let name = self.name.value();
        // The name was parsed when the row was read.
        parse_row_name(name).map_or(name, |(key, _)| key)
    }

    /// Its value; none is a deletion.
    pub(super) fn value(&self, store: &Store) -> Result<Option<Value>, StoreError> {
        match parse_content(self.content.value()) {
            Ok(value) => Ok(value.map(Value::new)),
            Err(reason) => Err(store.place("versions", "read").damaged(&key_of(self.key()), reason)),
        }
    }
}

/// Rows one after the other, in one direction.
pub(super) struct Rows<'a> {
    store: &'a Store,
    range: Range<'static, VersionKey, &'static [u8]>,
    direction: Direction,
}

impl<'a> Rows<'a> {
    /// The rows whose names lie within these bounds.
    pub(super) fn new(
        store: &'a Store,
        reader: &Reader,
        (start, end): (Bound<&[u8]>, Bound<&[u8]>),
        direction: Direction,
    ) -> Result<Self, StoreError> {
        let range = reader.versions.range::<&[u8]>((start, end));
        let range = range.map_err(|error| store.place("versions", "read").storage(&"any", error))?;
        Ok(Self {
            store,
            range,
            direction,
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>, StoreError> {
        let pair: Option<Result<Pair, StorageError>> = match self.direction {
            Direction::Forward => self.range.next(),
            Direction::Backward => self.range.next_back(),
        };
        match pair {
            None => Ok(None),
            Some(Ok(pair)) => Row::new(pair, self.store).map(Some),
            Some(Err(error)) => Err(self.store.place("versions", "read").storage(&"any", error)),
        }
    }
}

/// The newest version of `key` at or below `at` on disk, which may be a deletion.
pub(super) fn reached_on_disk(
    store: &Store,
    reader: &Reader,
    key: &Key,
    at: Timestamp,
) -> Result<Option<(Timestamp, Option<Value>)>, StoreError> {
    let place = store.place("versions", "read");
    let failed = |error| place.storage(key, error);
    let damaged = |reason: &'static str| place.damaged(key, reason);
    let name = row_name(key.as_bytes(), at);
    // One descent: a range would make one to either of its ends.
    let mut cursor = reader
        .versions
        .upper_bound(Bound::Included(name.as_slice()))
        .map_err(failed)?;
    let Some((name, content)) = cursor.peek_prev().map_err(failed)? else {
        return Ok(None);
    };
    let (found, at) = parse_row_name(name.value()).map_err(damaged)?;
    if found != key.as_bytes() {
        return Ok(None);
    }
    let value = parse_content(content.value()).map_err(damaged)?;
    Ok(Some((at, value.map(Value::new))))
}

/// What a snapshot sees of the keys on disk, one after the other; deletions are among it.
struct SeenRows<'a> {
    rows: Rows<'a>,
    at: Timestamp,
    /// A row that was read and belongs to the next key.
    ahead: Option<Row>,
}

impl<'a> SeenRows<'a> {
    fn new(
        store: &'a Store,
        reader: &Reader,
        range: &KeyRange,
        at: Timestamp,
        direction: Direction,
    ) -> Result<Self, StoreError> {
        let start = row_name(range.start().as_bytes(), FRONT);
        let end = range.end().map(|end| row_name(end.as_bytes(), FRONT));
        let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        Ok(Self {
            rows: Rows::new(store, reader, (Bound::Included(&start), end), direction)?,
            at,
            ahead: None,
        })
    }

    /// The next key of which the snapshot sees a row: the newest at or below it.
    fn next(&mut self) -> Result<Option<Row>, StoreError> {
        match self.rows.direction {
            Direction::Forward => self.next_forward(),
            Direction::Backward => self.next_backward(),
        }
    }

    /// Of each key the last row that is not above.
    fn next_forward(&mut self) -> Result<Option<Row>, StoreError> {
        let mut found: Option<Row> = None;
        loop {
            let Some(row) = self.read()? else {
                return Ok(found);
            };
            match &found {
                Some(seen) if seen.key() != row.key() => {
                    self.ahead = Some(row);
                    return Ok(found);
                }
                _ if row.at <= self.at => found = Some(row),
                _ => {}
            }
        }
    }

    /// Of each key the first row that is not above; the others are passed over.
    fn next_backward(&mut self) -> Result<Option<Row>, StoreError> {
        let found = loop {
            match self.read()? {
                None => return Ok(None),
                Some(row) if row.at <= self.at => break row,
                Some(_) => {}
            }
        };
        while let Some(row) = self.read()? {
            if row.key() != found.key() {
                self.ahead = Some(row);
                break;
            }
        }
        Ok(Some(found))
    }

    fn read(&mut self) -> Result<Option<Row>, StoreError> {
        match self.ahead.take() {
            Some(row) => Ok(Some(row)),
            None => self.rows.next(),
        }
    }
}

/// The first `limit` entries that a snapshot sees in `layers`, newest first, and below them on disk.
pub(super) fn scan(
    (store, reader): (&Store, &Reader),
    layers: Vec<SeenLayer<'_>>,
    range: &KeyRange,
    at: Timestamp,
    limit: usize,
    direction: Direction,
) -> Result<Vec<(Key, Versioned)>, StoreError> {
    let mut entries = Vec::new();
    if limit == 0 || range.is_empty() {
        return Ok(entries);
    }
    let mut layers: Vec<_> = layers.into_iter().map(Iterator::peekable).collect();
    let mut rows = SeenRows::new(store, reader, range, at, direction)?;
    let mut row = rows.next()?;
    while entries.len() < limit {
        let heads = layers.iter_mut().filter_map(|layer| Some(layer.peek()?.0));
        let keys = heads.chain(row.as_ref().map(Row::key));
        let next = match direction {
            Direction::Forward => keys.min(),
            Direction::Backward => keys.max(),
        };
        let Some(key) = next.map(key_of) else {
            break;
        };
        // The newest layer that has the key hides all others, and each is passed on.
        let mut found: Option<&Version> = None;
        for layer in &mut layers {
            let here = layer.next_if(|(name, _)| *name == key.as_bytes());
            found = found.or(here.map(|(_, version)| version));
        }
        let on_disk = row.take_if(|row| row.key() == key.as_bytes());
        let visible = match (found, &on_disk) {
            (Some((at, value)), _) => value.clone().map(|value| (*at, value)),
            (None, Some(row)) => row.value(store)?.map(|value| (row.at, value)),
            (None, None) => None,
        };
        if let Some((timestamp, value)) = visible {
            entries.push((key, Versioned { timestamp, value }));
        }
        if on_disk.is_some() {
            row = rows.next()?;
        }
    }
    Ok(entries)
}

/// Shows what must be kept to read every snapshot at or above `oldest`, see [`History::history`](super::super::History::history).
///
/// *Given* the layers, newest first.
pub(super) fn history(
    (store, reader): (&Store, &Reader),
    layers: &[&Layer],
    oldest: Hlc,
    after: Option<(&Key, Timestamp)>,
    visit: &mut VersionVisitor<'_>,
) -> Result<(), StoreError> {
    let start = after.map(|(key, at)| row_name(key.as_bytes(), at));
    let start = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rows = Rows::new(store, reader, (start, Bound::Unbounded), Direction::Forward)?;
    let mut row = rows.next()?;
    let start = after.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key));
    let oldest_first = layers.iter().rev();
    let mut chains: Vec<_> = oldest_first.map(|layer| layer.chains_from(start).peekable()).collect();
    let mut versions: Vec<Version> = Vec::new();
    loop {
        let heads = chains.iter_mut().filter_map(|chains| Some(chains.peek()?.0));
        let Some(key) = heads.chain(row.as_ref().map(Row::key)).min() else {
            return Ok(());
        };
        let key = key_of(key);
        let passed = after.filter(|(after, _)| **after == key).map(|(_, passed)| passed);
        let mut kept = Kept {
            key: &key,
            oldest,
            base: None,
            visit: &mut *visit,
        };
        while let Some(found) = row.take_if(|row| row.key() == key.as_bytes()) {
            versions.push((found.at, found.value(store)?));
            row = rows.next()?;
        }
        for chains in &mut chains {
            let Some((_, chain)) = chains.next_if(|(name, _)| *name == key.as_bytes()) else {
                continue;
            };
            let unpassed = chain
                .kept(oldest)
                .filter(|(at, _)| passed.is_none_or(|passed| *at > passed));
            versions.extend(unpassed.cloned());
        }
        // The newest of a layer may be on disk as well, above what the layer alone has.
        versions.sort_by_key(|(at, _)| *at);
        versions.dedup_by_key(|(at, _)| *at);
        let flow = versions.drain(..).try_for_each(|(at, value)| kept.add(at, value));
        if flow.is_break() || kept.end().is_break() {
            return Ok(());
        }
    }
}

/// The versions of one key as they come by, ascending: those that are kept are shown.
struct Kept<'a, 'b> {
    key: &'a Key,
    oldest: Hlc,
    /// The newest so far at or below the oldest snapshot, unless it is a deletion.
    base: Option<(Timestamp, Value)>,
    visit: &'a mut VersionVisitor<'b>,
}

impl Kept<'_, '_> {
    fn add(&mut self, at: Timestamp, value: Option<Value>) -> ControlFlow<()> {
        if at.hlc <= self.oldest {
            self.base = value.map(|value| (at, value));
            return ControlFlow::Continue(());
        }
        self.end()?;
        (self.visit)(self.key, at, value.as_ref())
    }

    /// Nothing at or below the oldest snapshot follows.
    fn end(&mut self) -> ControlFlow<()> {
        match self.base.take() {
            Some((at, value)) => (self.visit)(self.key, at, Some(&value)),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Shows the outcomes on disk, see [`History::settled`](super::super::History::settled).
pub(super) fn settled(
    (store, reader): (&Store, &Reader),
    after: Option<TransactionId>,
    visit: &mut OutcomeVisitor<'_>,
) -> Result<(), StoreError> {
    let place = store.place("outcomes", "read");
    let after = after.map(outcome_name);
    let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let rows = reader.outcomes.range::<&[u8; 16]>((start, Bound::Unbounded));
    for row in rows.map_err(|error| place.storage(&"any", error))? {
        let (id, content) = row.map_err(|error| place.storage(&"any", error))?;
        let settled = Settled::parse(id.value(), content.value());
        let Settled { id, effective, outcome } = settled.map_err(|reason| {
            let id = TransactionId::from_u128(u128::from_be_bytes(*id.value()));
            place.damaged(&id, reason)
        })?;
        if visit(id, effective, &outcome).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// The outcome of `id` on disk.
pub(super) fn outcome(
    (store, reader): (&Store, &Reader),
    id: TransactionId,
) -> Result<Option<(Timestamp, Outcome)>, StoreError> {
    let place = store.place("outcomes", "read");
    let name = outcome_name(id);
    let row = reader.outcomes.get(&name).map_err(|error| place.storage(&id, error))?;
    let settled = row.map(|row| Settled::parse(&name, row.value())).transpose();
    let settled = settled.map_err(|reason| place.damaged(&id, reason))?;
    Ok(settled.map(|settled| (settled.effective, settled.outcome)))
}
