//! Values that are tables: Arrow record batches, to which rows are appended or in which they are replaced by key.
//!
//! With the Cargo feature `arrow`. What is stored at a key is one record batch as a stream of Arrow's IPC format, uncompressed; so a client can read it
//! with any Arrow library, or by [`decode`]. The thunks are not among the built-in ones: [`register`] them at every node. Tests: `tests/arrow.rs`.
//!
//! # What may be stored
//!
//! Columns of booleans, integers, floats, decimals, dates, times, intervals, text and bytes, and of lists and structs of them. Not dictionaries, whose
//! numbering is no part of what they say, nor run ends, unions, maps and views: cast them to plain columns first. A value is bounded by
//! [`VALUE_BYTES_MAX`], and a transaction, with its batches, by [`RECORD_BYTES_MAX`](crate::limits::RECORD_BYTES_MAX): a larger table is to be split over
//! several keys, which one transaction can write.
//!
//! # Why every replica stores the same bytes
//!
//! A batch is decoded, combined and encoded again by each replica. The library that does it keeps metadata in order of their keys, and hashes nothing but
//! dictionaries, which are refused. Its version is pinned, since another one might lay out bytes differently.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
//! use plimsoll::thunk::Registry;
//! use plimsoll::thunk::arrow::{self, Append, Upsert};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut registry = Registry::with_builtins();
//! arrow::register(&mut registry)?;
//!
//! let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
//! let names: ArrayRef = Arc::new(StringArray::from(vec!["ann", "bob"]));
//! let users = RecordBatch::try_from_iter([("id", ids), ("name", names)])?;
//! // Several keys in one transaction, all or none.
//! let append = Append::new().batch("users/log", &users)?.batch("users/2026", &users)?;
//! let upsert = Upsert::new().batch("users", "id", &users)?;
//! # assert_eq!((append.batches.len(), upsert.batches.len()), (2, 1));
//! # Ok(())
//! # }
//! ```

mod append;
mod error;
mod stored;
mod upsert;

pub use append::Append;
pub use error::BatchError;
pub use stored::{decode, encode};
pub use upsert::{Upsert, Upserted};

use super::{Evaluation, Registry, RegistryError};
use crate::key::Key;
use crate::limits::VALUE_BYTES_MAX;
use crate::transaction::Abort;

use arrow_array::RecordBatch;

/// Adds [`Append`] and [`Upsert`] to `registry`.
///
/// *Errors* when they are registered already.
pub fn register(registry: &mut Registry) -> Result<(), RegistryError> {
    registry.add::<Append>()?.add::<Upsert>()?;
    Ok(())
}

/// The batch at `key`; absent where there is nothing.
fn get(evaluation: &mut Evaluation<'_>, key: &Key) -> Result<Option<RecordBatch>, Abort> {
    let Some(value) = evaluation.get(key)? else {
        return Ok(None);
    };
    decode(&value)
        .map(Some)
        .map_err(|error| malformed("the value", key, &error))
}

/// Stores `batch` at `key`.
fn put(evaluation: &mut Evaluation<'_>, key: &Key, batch: &RecordBatch) -> Result<(), Abort> {
    match encode(batch) {
        Ok(value) => evaluation.put(key, value),
        Err(BatchError::TooLarge { bytes }) => Err(Abort::TooLarge {
            what: format!("the table at {key}, of {} rows,", batch.num_rows()),
            bytes: bytes as u64,
            limit: VALUE_BYTES_MAX as u64,
        }),
        Err(error) => Err(malformed("the table", key, &error)),
    }
}

/// The wording is partly the library's, and so is left out of digests.
fn malformed(what: &str, key: &Key, error: &BatchError) -> Abort {
    Abort::Malformed(format!("{what} at {key}: {error}"))
}
