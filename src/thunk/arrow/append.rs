//! Rows behind those that are there.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use serde::{Deserialize, Serialize};

use super::stored::{check_same_columns, not_a_stream};
use super::{BatchError, decode, encode, get, malformed, put};
use crate::key::{Key, Value};
use crate::thunk::{Evaluation, Thunk};
use crate::transaction::{Abort, Footprint};

/// Puts the rows of batches behind those at their keys. Its output is how many rows each table has then, in order.
///
/// Where nothing is, the batch becomes what is there. The transaction aborts when a table has other columns, or grows beyond
/// what a value may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// The key of each table, and the batch as [`encode`] makes it.
    pub batches: Vec<(Key, Value)>,
}

impl Append {
    /// Appends nothing yet.
    pub const fn new() -> Self {
        Self { batches: Vec::new() }
    }

    /// Adds rows for the table at `key`.
    ///
    /// *Errors* as [`encode`].
    pub fn batch(mut self, key: impl Into<Key>, batch: &RecordBatch) -> Result<Self, BatchError> {
        self.batches.push((key.into(), encode(batch)?));
        Ok(self)
    }
}

impl Thunk for Append {
    const NAME: &'static str = "plimsoll.arrow-append";
    const VERSION: u32 = 1;
    type Output = Vec<u64>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.batches.iter().map(|(key, _)| key.clone()))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<u64>, Abort> {
        let mut rows = Vec::new();
        for (key, value) in &self.batches {
            let given = decode(value).map_err(|error| malformed("the batch for the table", key, &error))?;
            let table = match get(evaluation, key)? {
                None => given,
                Some(stored) => appended(&stored, &given).map_err(|error| malformed("the table", key, &error))?,
            };
            put(evaluation, key, &table)?;
            rows.push(table.num_rows() as u64);
        }
        Ok(rows)
    }
}

fn appended(stored: &RecordBatch, given: &RecordBatch) -> Result<RecordBatch, BatchError> {
    check_same_columns(&stored.schema(), &given.schema())?;
    concat_batches(&stored.schema(), [stored, given]).map_err(not_a_stream)
}
