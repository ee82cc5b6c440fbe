//! The wire and disk format: the only place that encodes and decodes.
//!
//! Everything that leaves a node travels in an envelope: format version, what it holds, length, checksum, payload. The payload is `bincode`
//! with variable-length integers. Decoding never panics, whatever the bytes: lengths are checked before anything is
//! allocated for them, and what a whole payload may claim in memory is bounded.
//!
//! ```text
//! byte 0      format version (1)
//! byte 1      kind of content
//! bytes 2..6  length of the payload, u32 little-endian
//! bytes 6..14 XXH3 (64 bits) of bytes 0..6 and the payload, little-endian
//! bytes 14..  payload
//! ```
//!
//! Users' values (arguments, outputs, what thunks store) are serde types in the same encoding without an envelope: they
//! lie inside records and versions, which have one.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3Default;

use crate::key::Value;
use crate::limits::{FRAME_BYTES_MAX, FRAME_CLAIM_BYTES_MAX, RECORD_BYTES_MAX};

/// The version of the format that this code writes, and the only one that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Bytes of an envelope before its payload.
pub const ENVELOPE_BYTES: usize = 14;

const WIRE: Configuration<LittleEndian, Varint, Limit<FRAME_CLAIM_BYTES_MAX>> =
    bincode::config::standard().with_limit::<FRAME_CLAIM_BYTES_MAX>();

const USER: Configuration<LittleEndian, Varint, Limit<{ 4 * RECORD_BYTES_MAX }>> =
    bincode::config::standard().with_limit::<{ 4 * RECORD_BYTES_MAX }>();

/// What an envelope holds: one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A frame between two nodes.
    Frame = 1,
}

/// Why bytes could not be decoded. Nothing was taken from them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than an envelope, or than it announces.
    #[error("{got} bytes, but {needed} were announced: the rest is missing")]
    TooShort {
        /// How many are there.
        got: usize,
        /// How many there should be.
        needed: usize,
    },
    /// Another format version.
    #[error("format version {found}, but this program reads version {known}: upgrade the older side")]
    Version {
        /// The version found.
        found: u8,
        /// The version that can be read.
        known: u8,
    },
    /// Another kind of content.
    #[error("content of kind {found}, but kind {wanted} was expected")]
    Kind {
        /// The kind found.
        found: u8,
        /// The kind asked for.
        wanted: u8,
    },
    /// More bytes than the bound.
    #[error("{bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// The size.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The checksum does not match: the bytes were damaged.
    #[error("the checksum does not match: the bytes were damaged on the way or on disk")]
    Checksum,
    /// The payload is not what it should be.
    #[error("malformed content: {0}")]
    Malformed(String),
}

/// Why a value could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be encoded: {0}")]
pub struct EncodeError(String);

/// Writes `content` in an envelope to the end of `out`.
///
/// *Panics* when the payload is larger than 4 GiB: everything that is encoded is bounded far below, see
/// [`limits`](crate::limits).
pub fn encode_into<T: bincode::Encode>(kind: Kind, content: &T, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + ENVELOPE_BYTES, 0);
    // Writing to a vector has no way to fail, and the types have no value that cannot be encoded.
    bincode::encode_into_std_write(content, &mut *out, WIRE).expect("plain data into memory");
    let payload_bytes = out.len() - start - ENVELOPE_BYTES;
    let length = u32::try_from(payload_bytes).expect("bounded by the limits of what is encoded");
    out[start] = FORMAT_VERSION;
    out[start + 1] = kind as u8;
    out[start + 2..start + 6].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&out[start..]);
    out[start + 6..start + 14].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads one envelope of `kind`, which must be all that `bytes` hold.
///
/// *Errors*: see [`DecodeError`]; nothing is allocated for more than the bytes that are there can hold.
pub fn decode<T: bincode::Decode<()>>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() < ENVELOPE_BYTES {
        return Err(DecodeError::TooShort {
            got: bytes.len(),
            needed: ENVELOPE_BYTES,
        });
    }
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            bytes: bytes.len(),
            limit: FRAME_BYTES_MAX,
        });
    }
    if bytes[0] != FORMAT_VERSION {
        return Err(DecodeError::Version {
            found: bytes[0],
            known: FORMAT_VERSION,
        });
    }
    if bytes[1] != kind as u8 {
        return Err(DecodeError::Kind {
            found: bytes[1],
            wanted: kind as u8,
        });
    }
    let length = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
    let payload = &bytes[ENVELOPE_BYTES..];
    if payload.len() < length {
        return Err(DecodeError::TooShort {
            got: bytes.len(),
            needed: ENVELOPE_BYTES + length,
        });
    }
    if payload.len() > length {
        return Err(trailing(payload.len() - length));
    }
    if bytes[6..14] != checksum(bytes).to_le_bytes() {
        return Err(DecodeError::Checksum);
    }
    let (content, used) = bincode::decode_from_slice(payload, WIRE).map_err(malformed)?;
    if used < length {
        Err(trailing(length - used))
    } else {
        Ok(content)
    }
}

/// Writes `content` without an envelope to the end of `out`: for hashing.
pub(crate) fn append_plain<T: bincode::Encode>(content: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(content, out, WIRE).expect("plain data into memory");
}

/// How many bytes `content` takes without an envelope.
pub fn encoded_len<T: bincode::Encode>(content: &T) -> usize {
    let mut counted = bincode::enc::write::SizeWriter::default();
    bincode::encode_into_writer(content, &mut counted, WIRE).expect("counting cannot fail");
    counted.bytes_written
}

/// Encodes a user's value.
///
/// *Errors* when its serde implementation refuses.
pub fn encode_value<T: Serialize>(value: &T) -> Result<Value, EncodeError> {
    let bytes = bincode::serde::encode_to_vec(value, USER).map_err(|error| EncodeError(error.to_string()))?;
    Ok(Value::new(bytes))
}

/// Decodes a user's value, which must be all that the bytes hold.
///
/// *Errors* when they are of another type, or were damaged.
pub fn decode_value<T: DeserializeOwned>(value: &Value) -> Result<T, DecodeError> {
    let bytes = value.as_bytes();
    let (decoded, used) = bincode::serde::decode_from_slice(bytes, USER).map_err(malformed)?;
    if used < bytes.len() {
        Err(trailing(bytes.len() - used))
    } else {
        Ok(decoded)
    }
}

/// Over the header without the checksum itself, and the payload.
fn checksum(envelope: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&envelope[..6]);
    hasher.update(&envelope[ENVELOPE_BYTES..]);
    hasher.digest()
}

fn trailing(bytes: usize) -> DecodeError {
    DecodeError::Malformed(format!("{bytes} bytes too many at the end"))
}

fn malformed(error: bincode::error::DecodeError) -> DecodeError {
    DecodeError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(content: &Vec<u64>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_into(Kind::Frame, content, &mut out);
        out
    }

    fn seal(envelope: &mut [u8]) {
        let length = (envelope.len() - ENVELOPE_BYTES) as u32;
        envelope[2..6].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(envelope);
        envelope[6..14].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn content_comes_back_and_the_bytes_are_the_documented_ones() {
        let content = vec![1_u64, 300];
        let bytes = envelope(&content);
        assert_eq!(decode::<Vec<u64>>(Kind::Frame, &bytes), Ok(content.clone()));
        assert_eq!(bytes[..6], [1, 1, 5, 0, 0, 0]);
        assert_eq!(bytes[14..], [2, 1, 251, 44, 1]);
        assert_eq!(encoded_len(&content), 5);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let bytes = envelope(&vec![7; 20]);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            assert!(decode::<Vec<u64>>(Kind::Frame, &damaged).is_err(), "byte {place}");
        }
        for length in 0..bytes.len() {
            assert!(
                decode::<Vec<u64>>(Kind::Frame, &bytes[..length]).is_err(),
                "cut to {length}"
            );
        }
    }

    #[test]
    fn an_error_says_what_was_found_and_what_is_possible() {
        let mut bytes = envelope(&vec![7]);
        bytes[0] = 9;
        let error = decode::<Vec<u64>>(Kind::Frame, &bytes).expect_err("another version");
        assert_eq!(
            error.to_string(),
            "format version 9, but this program reads version 1: upgrade the older side"
        );
        let large = vec![0; FRAME_BYTES_MAX + 1];
        let error = decode::<Vec<u64>>(Kind::Frame, &large).expect_err("too large");
        assert_eq!(
            error,
            DecodeError::TooLarge {
                bytes: FRAME_BYTES_MAX + 1,
                limit: FRAME_BYTES_MAX
            }
        );
    }

    #[test]
    fn a_hostile_length_is_refused_before_anything_is_allocated() {
        let mut bytes = envelope(&vec![]);
        bytes.truncate(ENVELOPE_BYTES);
        // A vector of 2^60 numbers, with a right checksum.
        bytes.push(253);
        bytes.extend_from_slice(&(1_u64 << 60).to_le_bytes());
        seal(&mut bytes);
        let error = decode::<Vec<u64>>(Kind::Frame, &bytes).expect_err("too much");
        assert!(matches!(error, DecodeError::Malformed(_)), "{error}");
    }

    #[test]
    fn users_values_come_back_and_another_type_is_an_error() {
        let value = encode_value(&("name".to_string(), 7_i64, Some(true))).expect("plain data");
        assert_eq!(decode_value(&value), Ok(("name".to_string(), 7_i64, Some(true))));
        assert!(decode_value::<u8>(&value).is_err());
        assert!(decode_value::<Vec<String>>(&Value::new(vec![0xff; 30])).is_err());
    }
}
