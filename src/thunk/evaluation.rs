//! What a thunk sees while it is evaluated.
//!
//! Realises the evaluation context of section 4 of the design: declared keys only, own writes visible, time and randomness from the
//! transaction itself, nested thunks with savepoints.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{Operator, Thunk};
use crate::codec::{self, EncodeError};
use crate::id::TransactionId;
use crate::key::{Key, KeyRange, Value};
use crate::limits::VALUE_BYTES_MAX;
use crate::time::Timestamp;
use crate::transaction::{Abort, Footprint, ThunkId, Transaction};

/// A snapshot that a thunk reads from.
pub trait View {
    /// The value at `key`; absent where there is none.
    fn get(&self, key: &Key) -> Option<Value>;

    /// The first `limit` entries of `range` in this direction.
    fn scan(&self, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Value)>;
}

/// In which order a range is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    rng: Option<Xoshiro256PlusPlus>,
    /// The first undeclared access or oversized value: the transaction aborts with it, whatever the thunk returns.
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

    /// A generator seeded by the transaction's id: the same numbers on every replica. Its algorithm, xoshiro256++, is part
    /// of the format.
    pub fn rng(&mut self) -> &mut Xoshiro256PlusPlus {
        let seed = xxhash_rust::xxh3::xxh3_64(&self.id.as_u128().to_le_bytes());
        self.rng.get_or_insert_with(|| Xoshiro256PlusPlus::seed_from_u64(seed))
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
            None => self.view.get(key),
        })
    }

    /// The first `limit` entries of `range` in this direction, own writes included.
    ///
    /// *Errors* when no declared range covers `range`.
    pub fn scan(&mut self, range: &KeyRange, limit: usize, direction: Direction) -> Result<Vec<(Key, Value)>, Abort> {
        if !self.footprint.may_scan(range) {
            return Err(self.undeclared("scans", range.start()));
        }
        let own: Vec<_> = self.writes.iter().filter(|(key, _)| range.contains(key)).collect();
        // Each own write can hide one stored entry at most.
        let stored = self.view.scan(range, limit.saturating_add(own.len()), direction);
        let mut entries: BTreeMap<Key, Option<Value>> =
            stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
        entries.extend(own.into_iter().map(|(key, value)| (key.clone(), value.clone())));
        let present = entries.into_iter().filter_map(|(key, value)| Some((key, value?)));
        Ok(match direction {
            Direction::Forward => present.take(limit).collect(),
            Direction::Backward => present.rev().take(limit).collect(),
        })
    }

    /// Writes `value` to `key`.
    ///
    /// *Errors* when the footprint does not declare `key` as written, or when the value is too large.
    pub fn put(&mut self, key: &Key, value: Value) -> Result<(), Abort> {
        let bytes = value.as_bytes().len();
        if bytes > VALUE_BYTES_MAX {
            return Err(self.too_large(bytes));
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
    /// *Errors* when the footprint does not declare `key` as written, or when the stored value or the operand is not of the operator's
    /// type.
    pub fn merge(&mut self, key: &Key, operator: Operator, operand: &Value) -> Result<(), Abort> {
        if !self.footprint.may_write(key) {
            return Err(self.undeclared("writes", key));
        }
        let stored = self.get(key)?;
        let merged = operator
            .apply(stored.as_ref(), operand)
            .map_err(|reason| Abort::Malformed(format!("{operator} at {key} by thunk {}: {reason}", self.thunk)))?;
        self.put(key, merged)
    }

    /// The value at `key`, decoded from the encoding of [`put_as`](Evaluation::put_as).
    ///
    /// *Errors* as [`get`](Evaluation::get), and when the stored value is of another type.
    pub fn get_as<T: serde::de::DeserializeOwned>(&mut self, key: &Key) -> Result<Option<T>, Abort> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        codec::decode_value(&value)
            .map(Some)
            .map_err(|error| Abort::Malformed(format!("the value at {key}: {error}")))
    }

    /// Writes an encoded value to `key`.
    ///
    /// *Errors* as [`put`](Evaluation::put).
    pub fn put_as<T: serde::Serialize>(&mut self, key: &Key, value: &T) -> Result<(), Abort> {
        match codec::encode_value(value) {
            Ok(value) => self.put(key, value),
            Err(EncodeError::Oversized { bytes, .. }) => Err(self.too_large(bytes)),
            Err(error) => Err(Abort::Malformed(format!("the value for {key}: {error}"))),
        }
    }

    /// Evaluates another thunk within this transaction. If it aborts, its writes are undone and this one may go on.
    ///
    /// *Errors* as the nested thunk does. It may touch what the *outer* transaction declares.
    pub fn call<T: Thunk>(&mut self, nested: &T) -> Result<T::Output, Abort> {
        let savepoint = self.writes.clone();
        let outer = std::mem::replace(
            &mut self.thunk,
            ThunkId {
                name: T::NAME.into(),
                version: T::VERSION,
            },
        );
        let result = nested.evaluate(self);
        self.thunk = outer;
        if result.is_err() {
            self.writes = savepoint;
        }
        result
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
        self.writes.insert(key.clone(), value);
        Ok(())
    }

    fn too_large(&mut self, bytes: usize) -> Abort {
        self.fail(Abort::TooLarge {
            what: "the value".into(),
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
