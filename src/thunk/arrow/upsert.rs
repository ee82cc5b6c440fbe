//! Rows in the place of those with the same key.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrowPrimitiveType, OffsetSizeTrait, RecordBatch};
use arrow_schema::DataType;
use arrow_select::interleave::interleave_record_batch;
use serde::{Deserialize, Serialize};

use super::stored::{check_same_columns, not_a_stream};
use super::{BatchError, decode, encode, get, malformed, put};
use crate::key::{Key, Value};
use crate::thunk::{Evaluation, Thunk};
use crate::transaction::{Abort, Footprint};

/// Puts rows in the place of those with the same value in a column, and behind the last where there is none. Its output says of each batch, in
/// order, what became of its rows.
///
/// The column holds integers, text or bytes, and no nulls. A row that is replaced stays where it was. Of several rows with the same key in one batch
/// the last counts, in the place of the first; of several that are stored, as appending may have left them, the first is replaced and the others go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upsert {
    /// The key of each table, the column by which its rows are told, and the batch as [`encode`] makes it.
    pub batches: Vec<(Key, String, Value)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upserted {
    /// How many keys of the batch were there.
    pub replaced: u64,
    /// How many were not.
    pub added: u64,
    /// How many rows the table has now.
    pub rows: u64,
}

impl Upsert {
    /// Upserts nothing yet.
    pub const fn new() -> Self {
        Self { batches: Vec::new() }
    }

    /// Adds rows for the table at `key`, which are told by `column`.
    ///
    /// *Errors* as [`encode`], and when there is no such column, or it cannot tell rows.
    pub fn batch(
        mut self,
        key: impl Into<Key>,
        column: impl Into<String>,
        batch: &RecordBatch,
    ) -> Result<Self, BatchError> {
        let column = column.into();
        row_keys(batch, &column)?;
        self.batches.push((key.into(), column, encode(batch)?));
        Ok(self)
    }
}

impl Thunk for Upsert {
    const NAME: &'static str = "plimsoll.arrow-upsert";
    const VERSION: u32 = 1;
    type Output = Vec<Upserted>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.batches.iter().map(|(key, ..)| key.clone()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Upserted>, Abort> {
        let mut outcomes = Vec::new();
        for (key, column, value) in &self.batches {
            let given = decode(value).map_err(|error| malformed("the batch for the table", key, &error))?;
            let stored = get(evaluation, key)?.unwrap_or_else(|| RecordBatch::new_empty(given.schema()));
            let (table, outcome) =
                upserted(&stored, &given, column).map_err(|error| malformed("the table", key, &error))?;
            put(evaluation, key, &table)?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}

fn upserted(stored: &RecordBatch, given: &RecordBatch, column: &str) -> Result<(RecordBatch, Upserted), BatchError> {
    const STORED: usize = 0;
    const GIVEN: usize = 1;
    check_same_columns(&stored.schema(), &given.schema())?;
    let (stored_keys, given_keys) = (row_keys(stored, column)?, row_keys(given, column)?);
    // The last row of each key, and whether it has its place in the table.
    let mut rows: BTreeMap<RowKey<'_>, (usize, bool)> = BTreeMap::new();
    for (row, key) in given_keys.iter().enumerate() {
        rows.insert(*key, (row, false));
    }
    let mut order = Vec::with_capacity(stored_keys.len() + rows.len());
    for (row, key) in stored_keys.iter().enumerate() {
        match rows.get_mut(key) {
            None => order.push((STORED, row)),
            Some((_, true)) => {}
            Some((given, is_placed)) => {
                order.push((GIVEN, *given));
                *is_placed = true;
            }
        }
    }
    let replaced = rows.values().filter(|(_, is_placed)| *is_placed).count();
    for key in &given_keys {
        if let Some((given, is_placed @ false)) = rows.get_mut(key) {
            order.push((GIVEN, *given));
            *is_placed = true;
        }
    }
    let outcome = Upserted {
        replaced: replaced as u64,
        added: (rows.len() - replaced) as u64,
        rows: order.len() as u64,
    };
    let table = interleave_record_batch(&[stored, given], &order).map_err(not_a_stream)?;
    Ok((table, outcome))
}

/// What tells one row from another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RowKey<'a> {
    Integer(i128),
    Bytes(&'a [u8]),
}

/// The key of every row.
fn row_keys<'a>(batch: &'a RecordBatch, column: &str) -> Result<Vec<RowKey<'a>>, BatchError> {
    let Some(array) = batch.column_by_name(column) else {
        let schema = batch.schema();
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| format!("`{}`", field.name()))
            .collect();
        return Err(BatchError::NoKeyColumn {
            column: column.to_owned(),
            columns: columns.join(", "),
        });
    };
    if let Some(row) = (0..array.len()).find(|row| array.is_null(*row)) {
        let column = column.to_owned();
        return Err(BatchError::NullKey { column, row });
    }
    Ok(match array.data_type() {
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::UInt8 => integers::<UInt8Type>(array),
        DataType::UInt16 => integers::<UInt16Type>(array),
        DataType::UInt32 => integers::<UInt32Type>(array),
        DataType::UInt64 => integers::<UInt64Type>(array),
        DataType::Utf8 => texts::<i32>(array),
        DataType::LargeUtf8 => texts::<i64>(array),
        DataType::Binary => byte_strings::<i32>(array),
        DataType::LargeBinary => byte_strings::<i64>(array),
        other => {
            return Err(BatchError::KeyType {
                column: column.to_owned(),
                data_type: other.to_string(),
            });
        }
    })
}

fn integers<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &dyn Array) -> Vec<RowKey<'_>> {
    let values = array.as_primitive::<T>().values().iter();
    values.map(|value| RowKey::Integer((*value).into())).collect()
}

fn texts<O: OffsetSizeTrait>(array: &dyn Array) -> Vec<RowKey<'_>> {
    let values = array.as_string::<O>();
    (0..values.len())
        .map(|row| RowKey::Bytes(values.value(row).as_bytes()))
        .collect()
}

fn byte_strings<O: OffsetSizeTrait>(array: &dyn Array) -> Vec<RowKey<'_>> {
    let values = array.as_binary::<O>();
    (0..values.len()).map(|row| RowKey::Bytes(values.value(row))).collect()
}
