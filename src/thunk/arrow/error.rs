//! Why a batch is not stored.

use crate::limits::VALUE_BYTES_MAX;

/// Why a record batch cannot be stored, read or combined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes are none of Arrow's.
    #[error("not a whole stream of Arrow's IPC format, uncompressed: {0}")]
    NotAStream(String),
    /// There is no column.
    #[error("a table has at least one column, and this has none")]
    NoColumns,
    /// A column's type cannot be stored.
    #[error("the column `{column}` is of type {data_type}, which cannot be stored: cast it to a plain type before")]
    Type {
        /// The column.
        column: String,
        /// Its type, or that of something within it.
        data_type: String,
    },
    /// Two batches have not the same columns.
    #[error("the columns differ at number {number}: stored is {stored}, given is {given}")]
    Schema {
        /// Which column, from 1.
        number: usize,
        /// The stored column; `none` behind the last.
        stored: String,
        /// The given one.
        given: String,
    },
    /// There is no such column.
    #[error("there is no column `{column}` to tell rows by: there are {columns}")]
    NoKeyColumn {
        /// What was asked for.
        column: String,
        /// What there is.
        columns: String,
    },
    /// Rows cannot be told by this column.
    #[error(
        "rows cannot be told by the column `{column}` of type {data_type}: take one of integers, Utf8, LargeUtf8, Binary or LargeBinary"
    )]
    KeyType {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A row has no key.
    #[error("row {row} has no value in the column `{column}`, by which rows are told")]
    NullKey {
        /// The column.
        column: String,
        /// The row, from 0.
        row: usize,
    },
    /// The batch is larger than a value may be.
    #[error("the table has {bytes} bytes, more than {VALUE_BYTES_MAX}: split it over several keys")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
    },
}
