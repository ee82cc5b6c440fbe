//! What a thunk sees while it is evaluated.
//!
//! Realises the evaluation context of section 4 of the design: declared keys only, own writes visible, time and randomness from the
//! transaction itself, nested thunks with savepoints. Tests: `tests/thunks/`.

use std::collections::BTreeMap;
use std::ops::Bound;

use bincode::{Decode, Encode};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use uuid::Uuid;

use super::unwind::catch;
use super::{Operator, OperatorError, Thunk};
use crate::codec::{self, DecodeError, EncodeError};
use crate::id::TransactionId;
use crate::key::{Key, KeyRange, Value};
use crate::limits::{CALLS_NESTED_MAX, VALUE_BYTES_MAX};
use crate::time::Timestamp;
use crate::transaction::{Abort, Footprint, ThunkId, Transaction, Versioned};

/// A snapshot that a thunk reads from.
pub trait View {
    /// The value at `key`, and where it was written; absent where there is none.
    fn get(&self, key: &Key) -> Option<Versioned>;

    /// The first `limit` entries of `range` in this direction.
    fn scan(&self, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Versioned)>;
}

/// In which order a range is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Direction {
    /// From the lowest key up.
    Forward,
    /// From the highest key down.
    Backward,
}

/// The context of one evaluation: what the thunk may touch, what it has written so far, when it runs.
///
/// Touching anything undeclared aborts the transaction, also when the thunk swallows the error.
pub struct Evaluation<'a> {
    view: &'a dyn View,
    footprint: &'a Footprint,
    thunk: ThunkId,
    id: TransactionId,
    now: Timestamp,
    writes: BTreeMap<Key, Option<Value>>,
    /// How many thunks are being evaluated within the outermost one.
    calls: usize,
    /// What nested thunks wrote over, in order, so that it can be put back: the key and the write before, if there was one.
    undo: Vec<(Key, Option<Option<Value>>)>,
    rng: Option<Xoshiro256PlusPlus>,
    /// The first undeclared access, oversized value or call too deep: the transaction aborts with it, whatever the thunk returns.
    fault: Option<Abort>,
}

impl<'a> Evaluation<'a> {
    /// The context of `transaction` at `now`, over the snapshot just below.
    pub fn new(transaction: &'a Transaction, now: Timestamp, view: &'a dyn View) -> Self {
        Self {
            view,
            footprint: &transaction.footprint,
            thunk: transaction.thunk.clone(),
            id: transaction.id,
            now,
            writes: BTreeMap::new(),
            calls: 0,
            undo: Vec::new(),
            rng: None,
            fault: None,
        }
    }

    /// The transaction's timestamp: the only time there is.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// A generator seeded by the transaction's id: the same numbers on every replica, in the order in which they are drawn. A
    /// nested thunk goes on where the outer one is, and a rolled back one has drawn what it drew.
    ///
    /// Part of the format: xoshiro256++, its state filled by SplitMix64 from the 64 bits of XXH3 over the id's sixteen bytes,
    /// little-endian.
    pub fn rng(&mut self) -> &mut Xoshiro256PlusPlus {
        self.rng.get_or_insert_with(|| {
            let seed = xxhash_rust::xxh3::xxh3_64(&self.id.as_u128().to_le_bytes());
            Xoshiro256PlusPlus::seed_from_u64(seed)
        })
    }

    /// A UUID (version 4) of the next sixteen bytes of [`rng`](Evaluation::rng): for naming what the thunk makes. Whoever knows
    /// the transaction's id can tell it beforehand.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.rng().fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// The value at `key`, own writes included; absent where there is none.
    ///
    /// *Errors* when the footprint does not declare `key` as read or written, or in a range.
    pub fn get(&mut self, key: &Key) -> Result<Option<Value>, Abort> {
        if !self.footprint.may_read(key) {
            return Err(self.undeclared("reads", key));
        }
        Ok(match self.writes.get(key) {
            Some(written) => written.clone(),
            None => self.view.get(key).map(|versioned| versioned.value),
        })
    }

    /// Where the value was written that the transaction finds at `key`: the timestamp of another one, whatever this one writes. Absent where
    /// there is none.
    ///
    /// *Errors* as [`get`](Evaluation::get).
    pub fn version(&mut self, key: &Key) -> Result<Option<Timestamp>, Abort> {
        if !self.footprint.may_read(key) {
            return Err(self.undeclared("reads", key));
        }
        Ok(self.view.get(key).map(|versioned| versioned.timestamp))
    }

    /// The first `limit` entries of `range` in this direction, own writes included.
    ///
    /// *Errors* when no declared range covers `range`, be it that several do together.
    pub fn scan(&mut self, range: &KeyRange, limit: usize, direction: Direction) -> Result<Vec<(Key, Value)>, Abort> {
        if !self.footprint.may_scan(range) {
            return Err(self.undeclared("scans", range.start()));
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let end = range.end().map_or(Bound::Unbounded, Bound::Excluded);
        let own: Vec<_> = self.writes.range((Bound::Included(range.start()), end)).collect();
        // Each own write can hide one stored entry at most.
        let stored = self
            .view
            .scan(&range.of_users(), limit.saturating_add(own.len()), direction);
        let mut entries: BTreeMap<Key, Option<Value>> = stored
            .into_iter()
            .map(|(key, versioned)| (key, Some(versioned.value)))
            .collect();
        entries.extend(own.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        let present = entries.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok(match direction {
            Direction::Forward => present.take(limit).collect(),
            Direction::Backward => present.rev().take(limit).collect(),
        })
    }

    /// Writes `value` to `key`.
    ///
    /// *Errors* when the footprint does not declare `key` as written, or when the value has more than [`VALUE_BYTES_MAX`] bytes.
    pub fn put(&mut self, key: &Key, value: Value) -> Result<(), Abort> {
        let bytes = value.as_bytes().len();
        if bytes > VALUE_BYTES_MAX {
            return Err(self.too_large(key, bytes));
        }
        self.write(key, Some(value))
    }

    /// Removes `key`.
    ///
    /// *Errors* when the footprint does not declare `key` as written.
    pub fn delete(&mut self, key: &Key) -> Result<(), Abort> {
        self.write(key, None)
    }

    /// Combines `operand` with what is at `key`.
    ///
    /// *Errors* when the footprint does not declare `key` as written, when the result has more than [`VALUE_BYTES_MAX`] bytes, and
    /// when the stored value or the operand is not of the operator's type or a sum overflows.
    pub fn merge(&mut self, key: &Key, operator: Operator, operand: &Value) -> Result<(), Abort> {
        if !self.footprint.may_write(key) {
            return Err(self.undeclared("writes", key));
        }
        let stored = self.get(key)?;
        match operator.apply(stored.as_ref(), operand) {
            Ok(merged) => self.put(key, merged),
            Err(OperatorError::TooLarge { bytes }) => Err(self.too_large(key, bytes)),
            Err(error) => Err(Abort::Malformed(format!(
                "{operator} at {key} by thunk {}: {error}",
                self.thunk
            ))),
        }
    }

    /// The value at `key`, decoded from the encoding of [`put_as`](Evaluation::put_as).
    ///
    /// *Errors* as [`get`](Evaluation::get), and when the stored value is of another type.
    pub fn get_as<T: serde::de::DeserializeOwned>(&mut self, key: &Key) -> Result<Option<T>, Abort> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        codec::decode_value(&value)
            .map(Some)
            .map_err(|error| other_type(key, &error))
    }

    /// Writes an encoded value to `key`.
    ///
    /// *Errors* as [`put`](Evaluation::put).
    pub fn put_as<T: serde::Serialize>(&mut self, key: &Key, value: &T) -> Result<(), Abort> {
        match codec::encode_value(value) {
            Ok(value) => self.put(key, value),
            Err(EncodeError::Oversized { bytes, .. }) => Err(self.too_large(key, bytes)),
            Err(error) => Err(Abort::Malformed(format!("the value for {key}: {error}"))),
        }
    }

    /// Evaluates another thunk within this transaction. If it aborts, its writes are undone and this one may go on. It need not
    /// be registered: it is code of the thunk that calls it.
    ///
    /// *Errors* as the nested thunk does, its panic included, and when more than [`CALLS_NESTED_MAX`] are within each other. It may
    /// touch what the *outer* transaction declares: anything else aborts the whole transaction.
    pub fn call<T: Thunk>(&mut self, nested: &T) -> Result<T::Output, Abort> {
        let thunk = ThunkId::of::<T>();
        if self.calls == CALLS_NESTED_MAX {
            let limit = CALLS_NESTED_MAX as u64;
            return Err(self.fail(Abort::TooDeep { thunk, limit }));
        }
        let savepoint = self.undo.len();
        let calls = self.calls;
        let outer = std::mem::replace(&mut self.thunk, thunk);
        self.calls = calls + 1;
        let result = catch(|| nested.evaluate(self));
        self.calls = calls;
        let nested = std::mem::replace(&mut self.thunk, outer);
        let result = result.unwrap_or_else(|message| {
            let thunk = nested;
            Err(Abort::Panicked { thunk, message })
        });
        if result.is_err() {
            self.roll_back(savepoint);
        }
        if calls == 0 {
            self.undo.clear();
        }
        result
    }

    /// Puts back everything that nested thunks wrote over since `savepoint`.
    fn roll_back(&mut self, savepoint: usize) {
        for (key, before) in self.undo.drain(savepoint..).rev() {
            match before {
                Some(write) => self.writes.insert(key, write),
                None => self.writes.remove(&key),
            };
        }
    }

    /// Ends the evaluation. *Gives* the writes, or the fault because of which the transaction aborts whatever the thunk returned.
    pub fn finish(self) -> Result<BTreeMap<Key, Option<Value>>, Abort> {
        match self.fault {
            Some(fault) => Err(fault),
            None => Ok(self.writes),
        }
    }

    fn write(&mut self, key: &Key, value: Option<Value>) -> Result<(), Abort> {
        if !self.footprint.may_write(key) {
            return Err(self.undeclared("writes", key));
        }
        let before = self.writes.insert(key.clone(), value);
        if self.calls > 0 {
            self.undo.push((key.clone(), before));
        }
        Ok(())
    }

    fn too_large(&mut self, key: &Key, bytes: usize) -> Abort {
        self.fail(Abort::TooLarge {
            what: format!("the value for {key}"),
            bytes: bytes as u64,
            limit: VALUE_BYTES_MAX as u64,
        })
    }

    fn undeclared(&mut self, access: &str, key: &Key) -> Abort {
        self.fail(Abort::Undeclared {
            thunk: self.thunk.clone(),
            access: access.into(),
            key: key.clone(),
        })
    }

    fn fail(&mut self, abort: Abort) -> Abort {
        self.fault.get_or_insert(abort).clone()
    }
}

/// What is told where a stored value is not of the type that it is read as.
pub(crate) fn other_type(key: &Key, error: &DecodeError) -> Abort {
    Abort::Malformed(format!(
        "the value at {key}: {error}; read it as the type that it was written as"
    ))
}
