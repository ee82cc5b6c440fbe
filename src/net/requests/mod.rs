//! Requests and answers: one long-lived stream for each connection, on which both carry a number, so that answers come in any
//! order. What they say is not known here.
//!
//! ```text
//! bytes 0..4   the length of what follows the header, little endian
//! bytes 4..12  the request's number, little endian; the caller's choice
//! byte 12      what it is
//! bytes 13..   the request or the answer
//! ```
//!
//! A stream for each request would cost about ten times the work. Tests: `tests/net`.

mod client;
mod server;

pub use client::{ClientConnection, RequestError};
pub(super) use server::serve;

use bytes::{Buf, BytesMut};

/// Bytes in front of each request and answer.
const HEADER_BYTES: usize = 13;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// What stands behind a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Request = 0,
    Answer = 1,
    /// There is an answer, and it is beyond the bound.
    AnswerTooLarge = 2,
    /// The handler gave no answer.
    NoAnswer = 3,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Request, Self::Answer, Self::AnswerTooLarge, Self::NoAnswer]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A request or an answer.
#[derive(Debug, PartialEq, Eq)]
struct Parcel {
    number: u64,
    kind: Kind,
    bytes: Vec<u8>,
}

impl Parcel {
    /// Appends it. *Given* bytes within a bound below 4 GiB.
    fn write(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.bytes.len()).expect("the bounds of requests and answers lie below 4 GiB");
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(self.kind as u8);
        out.extend_from_slice(&self.bytes);
    }

    /// Takes the first one off what was read; none if it is not there as a whole.
    ///
    /// *Errors*: it is larger than the bound, or says that it is what nobody knows.
    fn take(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Self>, Malformed> {
        let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let &[l0, l1, l2, l3, n0, n1, n2, n3, n4, n5, n6, n7, kind] = header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let number = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        let kind = Kind::of(kind).ok_or(Malformed)?;
        if length > bytes_max {
            return Err(Malformed);
        }
        if buffer.len() - HEADER_BYTES < length {
            return Ok(None);
        }
        buffer.advance(HEADER_BYTES);
        let bytes = buffer[..length].to_vec();
        buffer.advance(length);
        Ok(Some(Self { number, kind, bytes }))
    }
}

/// What was read is no request and no answer.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parcels_are_taken_off_one_by_one_as_they_become_whole() {
        let parcels = [
            (Kind::Request, 7, vec![1, 2, 3]),
            (Kind::Answer, u64::MAX, vec![]),
            (Kind::NoAnswer, 0, vec![9]),
        ];
        let parcels = parcels.map(|(kind, number, bytes)| Parcel { number, kind, bytes });
        let mut out = Vec::new();
        parcels.iter().for_each(|parcel| parcel.write(&mut out));
        let mut buffer = BytesMut::new();
        let mut taken = Vec::new();
        for byte in out {
            buffer.extend_from_slice(&[byte]);
            taken.extend(Parcel::take(&mut buffer, 3).expect("in order"));
        }
        assert_eq!(taken, parcels);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_is_too_large_or_unknown_is_refused_by_its_header() {
        let parcel = |length: u32, kind: u8| {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend_from_slice(&[0; 8]);
            bytes.push(kind);
            BytesMut::from(&bytes[..])
        };
        assert_eq!(Parcel::take(&mut parcel(100, 0), 100), Ok(None));
        assert_eq!(Parcel::take(&mut parcel(101, 0), 100), Err(Malformed));
        assert_eq!(Parcel::take(&mut parcel(u32::MAX, 1), 100), Err(Malformed));
        assert_eq!(Parcel::take(&mut parcel(0, 4), 100), Err(Malformed));
    }
}
