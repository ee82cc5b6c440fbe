//! Record batches as bytes.

use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::MetadataVersion;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::concat::concat_batches;

use super::BatchError;
use crate::key::Value;
use crate::limits::VALUE_BYTES_MAX;
use crate::thunk::unwind::catch;

/// Buffers begin at multiples of this: the least that the format has, as values are small.
const ALIGNMENT: usize = 8;

/// The value that holds `batch`.
///
/// *Errors* when it has columns that cannot be stored, or is larger than a value may be.
pub fn encode(batch: &RecordBatch) -> Result<Value, BatchError> {
    check_schema(&batch.schema())?;
    // Before anything is written: columns may share memory that they do not share in the stream.
    check_size(batch_bytes(batch)?)?;
    let write = || {
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
        writer.write(batch)?;
        writer.into_inner()
    };
    let bytes: Vec<u8> = write().map_err(not_a_stream)?;
    check_size(bytes.len())?;
    Ok(Value::new(bytes))
}

/// The batch in a value: all of them one after the other, if the stream has several.
///
/// *Errors* when it is no whole stream, or one of what cannot be stored.
pub fn decode(value: &Value) -> Result<RecordBatch, BatchError> {
    // The library panics over some damaged streams, where it slices before it has looked.
    catch(|| decode_stream(value)).unwrap_or_else(|message| Err(BatchError::NotAStream(message)))
}

fn decode_stream(value: &Value) -> Result<RecordBatch, BatchError> {
    let mut rest = Buffer::from(value.as_bytes());
    let mut decoder = StreamDecoder::new();
    let mut batches = Vec::new();
    let mut bytes = 0;
    while let Some(batch) = decoder.decode(&mut rest).map_err(not_a_stream)? {
        // Whoever made the stream may have had its columns share bytes: what they come to is bounded before anything is copied.
        check_schema(&batch.schema())?;
        bytes += batch_bytes(&batch)?;
        check_size(bytes)?;
        batches.push(batch);
    }
    decoder.finish().map_err(not_a_stream)?;
    let schema = decoder
        .schema()
        .ok_or_else(|| BatchError::NotAStream("there is no schema".into()))?;
    check_schema(&schema)?;
    concat_batches(&schema, &batches).map_err(not_a_stream)
}

/// Checks that rows of `given` can stand below those of `stored`: that their columns have the same names, types and metadata, in the same order.
/// Other metadata of the given table are passed over.
pub(super) fn check_same_columns(stored: &Schema, given: &Schema) -> Result<(), BatchError> {
    let columns = stored.fields().len().max(given.fields().len());
    let differs = |number: &usize| stored.fields().get(*number) != given.fields().get(*number);
    let Some(number) = (0..columns).find(differs) else {
        return Ok(());
    };
    let [stored, given] = [stored, given].map(|schema| schema.fields().get(number));
    let are_alike = matches!((stored, given), (Some(one), Some(other)) if shown(one) == shown(other));
    let beside = if are_alike { ", with other metadata" } else { "" };
    let [stored, given] = [stored, given].map(|field| field.map_or("none".to_owned(), |field| shown(field)));
    Err(BatchError::Schema {
        number: number + 1,
        stored,
        given: given + beside,
    })
}

fn shown(field: &Field) -> String {
    let nulls = if field.is_nullable() { ", with nulls" } else { "" };
    format!("`{}` of {}{nulls}", field.name(), field.data_type())
}

fn check_schema(schema: &Schema) -> Result<(), BatchError> {
    if schema.fields().is_empty() {
        return Err(BatchError::NoColumns);
    }
    for field in schema.fields() {
        if let Some(data_type) = refused(field.data_type()) {
            return Err(BatchError::Type {
                column: field.name().clone(),
                data_type: data_type.to_string(),
            });
        }
    }
    Ok(())
}

/// What cannot be stored of a type: what is not the same bytes for the same rows, and what has rows but no bytes, whose number nothing would bound.
fn refused(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Binary
        | DataType::LargeBinary => None,
        DataType::FixedSizeBinary(bytes) => (*bytes <= 0).then_some(data_type),
        DataType::List(item) | DataType::LargeList(item) => refused(item.data_type()),
        DataType::FixedSizeList(item, items) if *items > 0 => refused(item.data_type()),
        DataType::Struct(fields) if !fields.is_empty() => fields.iter().find_map(|field| refused(field.data_type())),
        _ => Some(data_type),
    }
}

/// What the rows come to in bytes.
fn batch_bytes(batch: &RecordBatch) -> Result<usize, BatchError> {
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| column.to_data().get_slice_memory_size());
    bytes.sum::<Result<usize, ArrowError>>().map_err(not_a_stream)
}

fn check_size(bytes: usize) -> Result<(), BatchError> {
    match bytes > VALUE_BYTES_MAX {
        true => Err(BatchError::TooLarge { bytes }),
        false => Ok(()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(super) fn not_a_stream(error: ArrowError) -> BatchError {
    BatchError::NotAStream(error.to_string())
}
