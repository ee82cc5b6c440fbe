//! Users' types as values: arguments, stored values and outputs.
//!
//! No envelope: a value lies inside a record or a version, which has one.

use bincode::enc::write::SizeWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{BoundedWriter, DecodeError, EncodeError, within_claims};
use crate::key::Value;
use crate::limits;

/// The bound on what users encode: values, outputs and records have the same.
const VALUE_ENCODING_BYTES_MAX: usize = limits::VALUE_BYTES_MAX;

const _: () = assert!(
    VALUE_ENCODING_BYTES_MAX == limits::OUTPUT_BYTES_MAX && VALUE_ENCODING_BYTES_MAX == limits::RECORD_BYTES_MAX,
    "one bound serves values, outputs and arguments"
);

/// The encoding of a user's value.
///
/// *Given* a value whose `Serialize` writes the same bytes on every replica: hold no `HashMap` or `HashSet` in it, whose
/// order is drawn anew in every process. The format does not describe itself, so attributes that leave fields out or need to look
/// ahead (`skip_serializing_if`, `untagged`, `flatten`, `tag`) cannot be read back.
///
/// *Errors*: larger than [`limits::VALUE_BYTES_MAX`], or a type without an encoding.
pub fn encode_value<T: Serialize>(value: &T) -> Result<Value, EncodeError> {
    let bytes = size(value)?;
    if bytes > VALUE_ENCODING_BYTES_MAX {
        return Err(EncodeError::Oversized {
            bytes,
            limit: VALUE_ENCODING_BYTES_MAX,
        });
    }
    let bounded = |error| EncodeError::of_bincode(error, || bytes, VALUE_ENCODING_BYTES_MAX);
    if bytes <= Value::SHORT_BYTES {
        let mut out = [0; Value::SHORT_BYTES];
        let written = bincode::serde::encode_into_slice(value, &mut out, bincode::config::standard());
        return Ok(Value::new(&out[..written.map_err(bounded)?]));
    }
    let mut out = Vec::with_capacity(bytes);
    let writer = BoundedWriter {
        out: &mut out,
        len_max: VALUE_ENCODING_BYTES_MAX,
    };
    bincode::serde::encode_into_writer(value, writer, bincode::config::standard()).map_err(bounded)?;
    Ok(Value::new(out))
}

/// The user's value that [`encode_value`] encoded.
///
/// *Errors*: larger than [`limits::VALUE_BYTES_MAX`], not an encoding of a `T`, or bytes left over. The same bytes give the
/// same error on every replica.
///
/// *Cost* is that of the bytes, for types whose lists hold something; a list in a list may reserve a mebibyte ahead of its
/// elements. Of two kinds of types beware when the bytes may be hostile: a list of `()` may say that it is endless, and a
/// type that contains itself is decoded as deep as the bytes say.
pub fn decode_value<T: DeserializeOwned>(value: &Value) -> Result<T, DecodeError> {
    let bytes = value.as_bytes();
    if bytes.len() > VALUE_ENCODING_BYTES_MAX {
        return Err(DecodeError::Oversized {
            bytes: bytes.len(),
            limit: VALUE_ENCODING_BYTES_MAX,
        });
    }
    let (decoded, read) =
        within_claims!(bytes.len(), config => bincode::serde::borrow_decode_from_slice(bytes, config))
            .map_err(|error| DecodeError::of_bincode::<T>(error, bytes.len()))?;
    if read < bytes.len() {
        return Err(DecodeError::TrailingBytes {
            bytes: bytes.len() - read,
        });
    }
    Ok(decoded)
}

/// The bytes that `value` takes when encoded.
fn size<T: Serialize>(value: &T) -> Result<usize, EncodeError> {
    let mut size = SizeWriter::default();
    bincode::serde::encode_into_writer(value, &mut size, bincode::config::standard())
        .map_err(|error| EncodeError::of_bincode(error, || 0, VALUE_ENCODING_BYTES_MAX))?;
    Ok(size.bytes_written)
}
