//! The wire and disk format: bincode within bounds, and an envelope around it.
//!
//! Realises sections 5 and 6 of the design as far as bytes go. This is the only module that calls bincode's functions, so that
//! a codec of the same format can take its place. [`encode`] and [`decode`] are for what Plimsoll itself sends and stores;
//! [`encode_value`] and [`decode_value`] are for users' types.
//!
//! Decoding takes any bytes: it refuses and never panics, and a length inside the bytes cannot make it allocate beyond a
//! small multiple of what really came ([`claim_bytes_max`]). What a message may say is not decided here, but in
//! the protocol. Tests: in the parts, `tests/codec.rs`, `tests/codec_allocation.rs`, `tests/codec_golden.rs`.

mod envelope;
mod error;
mod value;

pub use envelope::{FORMAT_VERSION, HEADER_BYTES, Header, Kind, decode, encode};
pub use error::{DecodeError, EncodeError};
pub use value::{decode_value, encode_value};

use bincode::enc::write::{SizeWriter, Writer};
use bincode::{Decode, Encode};

use crate::limits;

/// The two smaller bounds on claims, each with the largest encoding that it serves.
const SMALL_ENCODING: (usize, usize) = (2 << 10, 128 << 10);
const MEDIUM_ENCODING: (usize, usize) = (128 << 10, 8 << 20);

/// How many bytes the lists of a value may claim in memory when its encoding has `encoded` bytes.
///
/// A list says its length first, and room for it is made before its elements are read: without a bound a few bytes could ask
/// for gigabytes. What is written here stays below it. The emptiest element, a key without bytes, takes one
/// byte for 24 in memory, against 64 in a small encoding; in a large one no footprint or row is large beside the
/// whole, and what is read already claims at most eight for each byte ([`limits::FRAME_CLAIM_BYTES_MAX`]). Elements that
/// really came take room of their own; all in all a value takes less than four times this. There are few steps because each is
/// code of its own.
pub const fn claim_bytes_max(encoded: usize) -> usize {
    if encoded <= SMALL_ENCODING.0 {
        SMALL_ENCODING.1
    } else if encoded <= MEDIUM_ENCODING.0 {
        MEDIUM_ENCODING.1
    } else {
        limits::FRAME_CLAIM_BYTES_MAX
    }
}

/// Evaluates `$decode` with `$config` bound to bincode's configuration whose limit is that of `$encoded` bytes.
macro_rules! within_claims {
    ($encoded:expr, $config:ident => $decode:expr) => {{
        let standard = bincode::config::standard();
        let encoded: usize = $encoded;
        if encoded <= $crate::codec::SMALL_ENCODING.0 {
            let $config = standard.with_limit::<{ $crate::codec::SMALL_ENCODING.1 }>();
            $decode
        } else if encoded <= $crate::codec::MEDIUM_ENCODING.0 {
            let $config = standard.with_limit::<{ $crate::codec::MEDIUM_ENCODING.1 }>();
            $decode
        } else {
            let $config = standard.with_limit::<{ $crate::limits::FRAME_CLAIM_BYTES_MAX }>();
            $decode
        }
    }};
}
use within_claims;

/// The bytes that `value` takes when encoded, without an envelope; allocates nothing.
///
/// *Panics* if the value cannot be encoded: an unreadable lock, a path or a time outside the format. None of Plimsoll's own
/// types holds one.
pub fn encoded_len<T: Encode + ?Sized>(value: &T) -> usize {
    let mut size = SizeWriter::default();
    bincode::encode_into_writer(value, &mut size, bincode::config::standard())
        .expect("a size writer takes every byte, and Plimsoll's types hold nothing that cannot be encoded");
    size.bytes_written
}

/// Appends the encoding of `value` without an envelope to `out`: for hashing.
///
/// *Panics* as [`encoded_len`].
pub fn encode_plain<T: Encode + ?Sized>(value: &T, out: &mut Vec<u8>) {
    bincode::encode_into_std_write(value, out, bincode::config::standard())
        .expect("a vector takes every byte, and Plimsoll's types hold nothing that cannot be encoded");
}

/// The value in the encoding without an envelope that `bytes` are, all of them. Whoever stores or sends such bytes sees to it that
/// they are whole, and what they are.
///
/// *Errors*: no encoding of a `T`, claims beyond [`claim_bytes_max`], or bytes left over.
pub fn decode_plain<T: Decode<()>>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (value, read) = within_claims!(bytes.len(), config => bincode::decode_from_slice(bytes, config))
        .map_err(|error| DecodeError::of_bincode::<T>(error, bytes.len()))?;
    if read < bytes.len() {
        return Err(DecodeError::TrailingBytes {
            bytes: bytes.len() - read,
        });
    }
    Ok(value)
}

/// Appends to a buffer, up to a bound on the buffer's length.
struct BoundedWriter<'a> {
    out: &'a mut Vec<u8>,
    len_max: usize,
}

impl Writer for BoundedWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        if bytes.len() > self.len_max - self.out.len() {
            return Err(bincode::error::EncodeError::UnexpectedEnd);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}
