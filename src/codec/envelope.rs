//! The envelope: what a run of bytes is, how long it is, and whether it is still what was written.
//!
//! ```text
//! byte 0       the format version
//! byte 1       the kind of what is inside
//! bytes 2..6   the length of the payload, little endian
//! bytes 6..14  the checksum of the bytes before and of the payload, little endian
//! bytes 14..   the payload: bincode, little endian, integers of variable length
//! ```
//!
//! The same for a frame on the wire and an entry on the disk. The first byte is the version so that a later format may change
//! all the others.

use std::fmt;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use super::{BoundedWriter, DecodeError, EncodeError, decode_plain, encoded_len};
use crate::limits;

/// The version of the format that this build writes, and the only one that it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Bytes of an envelope before its payload.
pub const HEADER_BYTES: usize = 14;

/// Where the checksum begins in the header; it covers what is before.
const CHECKSUM_START: usize = 6;

/// What an envelope holds. A decoder refuses any other kind than the one that it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Messages from one node to another.
    Frame = 1,
    /// An entry of a node's log.
    LogEntry = 2,
    /// A piece of a snapshot.
    SnapshotChunk = 3,
}

impl Kind {
    /// The byte that names the kind in an envelope.
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The largest envelope of this kind in bytes, its header included.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Frame => limits::FRAME_BYTES_MAX,
            Self::LogEntry => limits::LOG_ENTRY_BYTES_MAX,
            Self::SnapshotChunk => limits::SNAPSHOT_CHUNK_BYTES_MAX,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame",
            Self::LogEntry => "log entry",
            Self::SnapshotChunk => "snapshot chunk",
        })
    }
}

/// An envelope's header, already found to be of the version and kind that is expected, and within the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The bytes that the checksum covers.
    covered: [u8; CHECKSUM_START],
    checksum: u64,
}

impl Header {
    /// Reads a header, so that whoever reads from a stream or a file knows how many bytes to wait for, and allocates only then.
    ///
    /// *Given* the first bytes of an envelope, at least [`HEADER_BYTES`]; more are passed over.
    ///
    /// *Errors*: too few bytes, another version, another kind, or an envelope beyond [`Kind::bytes_max`].
    pub fn read(kind: Kind, bytes: &[u8]) -> Result<Self, DecodeError> {
        // The version comes first: whatever another version means by the rest, its name is told.
        match bytes.first() {
            Some(&found) if found != FORMAT_VERSION => {
                let known = FORMAT_VERSION;
                return Err(DecodeError::UnknownVersion { found, known });
            }
            _ => {}
        }
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::TooShort {
                bytes: bytes.len(),
                needed: HEADER_BYTES,
            });
        };
        let [version, found, l0, l1, l2, l3, c0, c1, c2, c3, c4, c5, c6, c7] = *header;
        if found != kind.byte() {
            return Err(DecodeError::WrongKind { found, expected: kind });
        }
        let header = Self {
            covered: [version, found, l0, l1, l2, l3],
            checksum: u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]),
        };
        if header.envelope_bytes() > kind.bytes_max() {
            return Err(DecodeError::Oversized {
                bytes: header.envelope_bytes(),
                limit: kind.bytes_max(),
            });
        }
        Ok(header)
    }

    /// The bytes of the payload.
    pub fn payload_bytes(&self) -> usize {
        let [_, _, l0, l1, l2, l3] = self.covered;
        u32::from_le_bytes([l0, l1, l2, l3]) as usize
    }

    /// The bytes of the whole envelope, header and payload.
    pub fn envelope_bytes(&self) -> usize {
        HEADER_BYTES.saturating_add(self.payload_bytes())
    }
}

/// Appends the envelope of `value` to `out`. What `out` holds already stays, so that one buffer serves many frames.
///
/// *Errors*: the envelope would be larger than [`Kind::bytes_max`], or the value cannot be encoded; `out` is then as it was.
pub fn encode<T: Encode + ?Sized>(kind: Kind, value: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let len_max = start + kind.bytes_max();
    let writer = BoundedWriter { out, len_max };
    if let Err(error) = bincode::encode_into_writer(value, writer, bincode::config::standard()) {
        out.truncate(start);
        let bytes = || HEADER_BYTES + encoded_len(value);
        return Err(EncodeError::of_bincode(error, bytes, kind.bytes_max()));
    }
    let (header, payload) = out[start..].split_at_mut(HEADER_BYTES);
    let length = u32::try_from(payload.len()).expect("the bound of every kind is checked to fit below");
    header[0] = FORMAT_VERSION;
    header[1] = kind.byte();
    header[2..CHECKSUM_START].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(&header[..CHECKSUM_START], payload);
    header[CHECKSUM_START..].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// The value in the envelope that `bytes` are, all of them.
///
/// *Errors*: whatever is wrong with the bytes, each checked before the next: version, length of the header, kind, bound,
/// length, checksum, claims, payload.
///
/// *Cost*: one pass for the checksum and one for the value; allocates at most [`claim_bytes_max`](super::claim_bytes_max).
pub fn decode<T: Decode<()>>(kind: Kind, bytes: &[u8]) -> Result<T, DecodeError> {
    let header = Header::read(kind, bytes)?;
    let payload = &bytes[HEADER_BYTES..];
    if payload.len() < header.payload_bytes() {
        return Err(DecodeError::TooShort {
            bytes: bytes.len(),
            needed: header.envelope_bytes(),
        });
    }
    if payload.len() > header.payload_bytes() {
        return Err(DecodeError::TrailingBytes {
            bytes: payload.len() - header.payload_bytes(),
        });
    }
    let computed = checksum(&header.covered, payload);
    if computed != header.checksum {
        return Err(DecodeError::ChecksumMismatch {
            stored: header.checksum,
            computed,
        });
    }
    decode_plain(payload)
}

/// The checksum of a header's first bytes and a payload.
///
/// The header is spread over all bits by an odd factor and mixed in, so that a damaged kind or length does not pass either.
fn checksum(covered: &[u8], payload: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..CHECKSUM_START].copy_from_slice(covered);
    xxh3_64(payload) ^ u64::from_le_bytes(word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

const _: () = {
    assert!(
        Kind::Frame.bytes_max() <= u32::MAX as usize
            && Kind::LogEntry.bytes_max() <= u32::MAX as usize
            && Kind::SnapshotChunk.bytes_max() <= u32::MAX as usize,
        "the length of every payload fits into the header"
    );
};
