//! Keys, values and ranges of keys.
//!
//! A key is a byte string, ordered as bytes; a value is a byte string. Typed tables encode over these. Both
//! share their bytes when cloned, unless they are few, because the log, the network and the executor hold the same ones.

mod string;

use std::fmt;

use bincode::de::{BorrowDecoder, Decoder, read::Reader};
use bincode::enc::{Encoder, write::Writer};
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use string::ByteString;

/// A byte string: a value, an argument, an output.
///
/// *Cost*: 24 bytes, in which up to 22 of the string lie; a longer one is shared with its clones.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(ByteString);

/// The name of one datum: a byte string, ordered as bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Value);

impl Value {
    /// Up to so many bytes lie in place, and are not allocated.
    pub(crate) const SHORT_BYTES: usize = string::SHORT_BYTES;

    /// The value with these bytes, which are copied.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(ByteString::new(bytes.as_ref()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Key {
    /// The key with these bytes, which are copied.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Value::new(bytes))
    }

    /// The bytes, whose order is the order of keys.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How the keys begin that belong to Plimsoll: after all others. No transaction of a user may touch them, and no scan sees them.
pub const SYSTEM_PREFIX: [u8; 2] = [0xFF, 0xFF];

impl Key {
    /// Whether the key belongs to Plimsoll.
    pub fn is_system(&self) -> bool {
        self.as_bytes().starts_with(&SYSTEM_PREFIX)
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Printable bytes as they are, the others as `\xNN`.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Encode for Value {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let bytes = self.as_bytes();
        (bytes.len() as u64).encode(encoder)?;
        encoder.writer().write(bytes)
    }
}

impl<Context> Decode<Context> for Value {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u64::decode(decoder)?;
        let length = usize::try_from(length).map_err(|_| DecodeError::OutsideUsizeRange(length))?;
        // The claim is what keeps a hostile length from becoming an allocation.
        decoder.claim_container_read::<u8>(length)?;
        ByteString::filled(length, |bytes| decoder.reader().read(bytes)).map(Self)
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Value {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Self::decode(decoder)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Value, E> {
                Ok(Value::new(bytes))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// The keys from `start` (included) to `end` (excluded; absent: to the last key).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct KeyRange {
    start: Key,
    end: Option<Key>,
}

impl KeyRange {
    /// The keys from `start` up to, but without, `end`. Empty when `end <= start`.
    pub fn new(start: Key, end: Key) -> Self {
        Self { start, end: Some(end) }
    }

    /// The keys from `start` on.
    pub fn from(start: Key) -> Self {
        Self { start, end: None }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: Key) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => {
                *last += 1;
                Self::new(prefix, Key::new(end))
            }
            None => Self::from(prefix),
        }
    }

    /// The first key that the range may hold.
    pub fn start(&self) -> &Key {
        &self.start
    }

    /// The first key after the range; absent where it goes to the last key.
    pub fn end(&self) -> Option<&Key> {
        self.end.as_ref()
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &Key) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether every key of `other` lies in this range.
    pub fn covers(&self, other: &Self) -> bool {
        other.is_empty()
            || other.start >= self.start
                && match (&self.end, &other.end) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(end), Some(other_end)) => other_end <= end,
                }
    }

    /// The range without the keys that belong to Plimsoll.
    #[must_use]
    pub fn of_users(&self) -> Self {
        let is_below = |end: &Key| end.as_bytes() <= &SYSTEM_PREFIX[..];
        match &self.end {
            Some(end) if is_below(end) => self.clone(),
            _ => Self::new(self.start.clone(), Key::new(SYSTEM_PREFIX)),
        }
    }

    /// Whether no key lies in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(end) => write!(f, "{:?}..{:?}", self.start, end),
            None => write!(f, "{:?}..", self.start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_holds_exactly_the_keys_with_the_prefix() {
        let range = KeyRange::prefix(Key::new(vec![1, 255]));
        assert!(range.contains(&Key::new(vec![1, 255])));
        assert!(range.contains(&Key::new(vec![1, 255, 0])));
        assert!(!range.contains(&Key::new(vec![2])));
        assert!(!range.contains(&Key::new(vec![1, 254, 255])));
        assert!(KeyRange::prefix(Key::new(vec![255, 255])).end().is_none());
    }

    #[test]
    fn the_range_of_users_ends_where_the_keys_of_the_system_begin() {
        let system = |rest: &[u8]| Key::new([&SYSTEM_PREFIX[..], rest].concat());
        assert!(system(b"").is_system() && system(b"x").is_system() && !Key::new(vec![0xFF]).is_system());
        let inside = KeyRange::new("a".into(), "b".into());
        assert_eq!(inside.of_users(), inside);
        assert_eq!(
            KeyRange::from("a".into()).of_users(),
            KeyRange::new("a".into(), system(b""))
        );
        assert_eq!(
            KeyRange::new("a".into(), system(b"z")).of_users(),
            KeyRange::new("a".into(), system(b""))
        );
        assert!(KeyRange::prefix(system(b"r")).of_users().is_empty());
    }

    #[test]
    fn covers_compares_both_ends() {
        let all = KeyRange::from(Key::default());
        let some = KeyRange::new("b".into(), "d".into());
        assert!(all.covers(&some) && !some.covers(&all));
        assert!(some.covers(&KeyRange::new("c".into(), "d".into())));
        assert!(!some.covers(&KeyRange::new("c".into(), "e".into())));
        assert!(
            some.covers(&KeyRange::new("z".into(), "a".into())),
            "an empty range is inside every range"
        );
    }
}
