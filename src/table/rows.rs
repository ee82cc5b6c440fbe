//! Rows of a table: within a thunk, and as arguments of the built-in thunks.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RowError, Table, TableKey};
use crate::codec::EncodeError;
use crate::key::{Key, KeyRange, Value};
use crate::thunk::{Delete, Direction, Evaluation, Put};
use crate::transaction::Abort;

/// A row that is none is for the transaction what any stored value of another type is.
impl From<RowError> for Abort {
    fn from(error: RowError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Within a thunk. Each needs what the same call of [`Evaluation`] with the row's key needs, and aborts as that does.
impl<K: TableKey, V> Table<K, V> {
    /// The row at `key`, own writes included; absent where there is none.
    ///
    /// *Errors* when the footprint does not declare [`key`](Table::key), and when what is stored is of another type
    /// ([`Abort::Malformed`], which names the table and the key).
    pub fn get(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>) -> Result<Option<V>, Abort>
    where
        V: DeserializeOwned,
    {
        let key = self.key(key);
        let found = evaluation.get(&key)?;
        Ok(found.map(|value| self.decode_value(&key, &value)).transpose()?)
    }

    /// Whether there is a row at `key`, own writes included; what it holds is not looked at.
    ///
    /// *Errors* when the footprint does not declare [`key`](Table::key).
    pub fn contains(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>) -> Result<bool, Abort> {
        Ok(evaluation.get(&self.key(key))?.is_some())
    }

    /// Writes `value` to the row at `key`.
    ///
    /// *Errors* when the footprint does not declare [`key`](Table::key) as written, and when the value is larger than
    /// [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX) or has no encoding.
    pub fn put(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>, value: &V) -> Result<(), Abort>
    where
        V: Serialize,
    {
        evaluation.put_as(&self.key(key), value)
    }

    /// Removes the row at `key`.
    ///
    /// *Errors* when the footprint does not declare [`key`](Table::key) as written.
    pub fn delete(&self, evaluation: &mut Evaluation<'_>, key: K::Borrowed<'_>) -> Result<(), Abort> {
        evaluation.delete(&self.key(key))
    }

    /// The first `limit` rows of `range` in this direction, own writes included.
    ///
    /// *Given* a range of this table: [`all`](Table::all), [`range`](Table::range), [`prefix`](Table::prefix).
    ///
    /// *Errors* when no declared range covers `range`, and when one of the rows is none of this table or of its types.
    pub fn scan(
        &self,
        evaluation: &mut Evaluation<'_>,
        range: &KeyRange,
        limit: usize,
        direction: Direction,
    ) -> Result<Vec<(K, V)>, Abort>
    where
        V: DeserializeOwned,
    {
        let found = evaluation.scan(range, limit, direction)?;
        let rows = found.iter().map(|(key, value)| self.decode_row(key, value));
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// For who writes no thunk.
impl<K: TableKey, V> Table<K, V> {
    /// A row as [`Put`] takes several, be they of several tables: `Put { entries: vec![USERS.entry(..)?, POSTS.entry(..)?] }`.
    ///
    /// *Errors*: the value is larger than [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX), or has no encoding.
    pub fn entry(&self, key: K::Borrowed<'_>, value: &V) -> Result<(Key, Value), EncodeError>
    where
        V: Serialize,
    {
        Ok((self.key(key), self.encode_value(value)?))
    }

    /// A thunk that writes one row: `database.submit(&USERS.putting("ann", &ann)?)`.
    ///
    /// *Errors* as [`entry`](Table::entry).
    pub fn putting(&self, key: K::Borrowed<'_>, value: &V) -> Result<Put, EncodeError>
    where
        V: Serialize,
    {
        let entries = vec![self.entry(key, value)?];
        Ok(Put { entries })
    }

    /// A thunk that removes one row, and gives how many there were.
    pub fn deleting(&self, key: K::Borrowed<'_>) -> Delete {
        let keys = vec![self.key(key)];
        Delete { keys }
    }
}
