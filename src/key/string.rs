//! How the bytes of keys and values are kept: in place while they are few, and else shared.
//!
//! Most keys and many values have less than two dozen bytes. In place they cost no allocation, no count of owners that three replicas
//! in one process would pass from core to core, and no cache miss of their own where a tree of keys is searched.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Bytes that are kept in place: with them and their number this is no larger than a shared slice and a tag.
pub(super) const SHORT_BYTES: usize = 22;

/// A byte string, ordered as bytes.
#[derive(Clone)]
pub(super) enum ByteString {
    /// The bytes behind `length` are zero, see [`rank`].
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    /// More than would lie in place.
    Long(Arc<[u8]>),
}

const _: () = assert!(
    size_of::<Option<ByteString>>() == 24,
    "what may be absent takes no more room"
);

impl ByteString {
    pub(super) fn new(given: &[u8]) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        match bytes.get_mut(..given.len()) {
            Some(place) => {
                place.copy_from_slice(given);
                let length = given.len() as u8;
                Self::Short { length, bytes }
            }
            None => Self::Long(given.into()),
        }
    }

    /// The string of this length that `fill` writes, over zeros.
    ///
    /// *Errors*: those of `fill`.
    pub(super) fn filled<E>(length: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut bytes = [0; SHORT_BYTES];
        if let Some(place) = bytes.get_mut(..length) {
            fill(place)?;
            let length = length as u8;
            return Ok(Self::Short { length, bytes });
        }
        let mut shared: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        fill(Arc::get_mut(&mut shared).expect("nobody else has it yet"))?;
        Ok(Self::Long(shared))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(shared) => shared,
        }
    }
}

/// Numbers in the order of the strings: the bytes with the zeros behind them, and then how many there are, since of two strings that
/// differ in zeros at the end the shorter one begins the other.
fn rank(length: u8, bytes: &[u8; SHORT_BYTES]) -> (u128, u64) {
    let (front, back) = bytes
        .split_first_chunk::<16>()
        .expect("there are more than sixteen bytes");
    let mut rest = [0; 8];
    rest[..back.len()].copy_from_slice(back);
    rest[7] = length;
    (u128::from_be_bytes(*front), u64::from_be_bytes(rest))
}

impl Default for ByteString {
    fn default() -> Self {
        Self::Short {
            length: 0,
            bytes: [0; SHORT_BYTES],
        }
    }
}

impl PartialEq for ByteString {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Short { length, bytes },
                Self::Short {
                    length: other_length,
                    bytes: other_bytes,
                },
            ) => length == other_length && bytes == other_bytes,
            _ => self.as_bytes() == other.as_bytes(),
        }
    }
}

impl Eq for ByteString {}

impl PartialOrd for ByteString {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByteString {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (
                Self::Short { length, bytes },
                Self::Short {
                    length: other_length,
                    bytes: other_bytes,
                },
            ) => rank(*length, bytes).cmp(&rank(*other_length, other_bytes)),
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

impl Hash for ByteString {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_bytes_and_order_across_the_length_up_to_which_they_lie_in_place() {
        let lengths = [0, 1, 2, 15, 16, 17, SHORT_BYTES - 1, SHORT_BYTES, SHORT_BYTES + 1, 100];
        let mut all = Vec::new();
        for length in lengths {
            for byte in [0, 1, 127, 128, 255] {
                let mut bytes = vec![byte; length];
                all.push(bytes.clone());
                for place in [0, 7, 15, 16, SHORT_BYTES - 1] {
                    if let Some(changed) = bytes.get_mut(place) {
                        *changed ^= 1;
                        all.push(bytes.clone());
                    }
                }
            }
        }
        for one in &all {
            let string = ByteString::new(one);
            assert_eq!(string.as_bytes(), one);
            assert_eq!(matches!(string, ByteString::Short { .. }), one.len() <= SHORT_BYTES);
            let filled = ByteString::filled(one.len(), |place| {
                place.copy_from_slice(one);
                Ok::<_, ()>(())
            });
            assert_eq!(filled.map(|filled| filled.as_bytes().to_vec()), Ok(one.clone()));
            for other in &all {
                assert_eq!(
                    string.cmp(&ByteString::new(other)),
                    one.cmp(other),
                    "{one:?} and {other:?}"
                );
            }
        }
    }

    #[test]
    fn a_string_that_cannot_be_filled_is_none() {
        for length in [SHORT_BYTES, SHORT_BYTES + 1] {
            let refused = ByteString::filled(length, |_| Err("no more"));
            assert!(matches!(refused, Err("no more")));
        }
    }
}
