//! Keys of tables: the trait, and how the bytes of each type come about.
//!
//! The encodings are part of the disk format: they never change. Three laws hold for each, and `tests/table/laws.rs` tries them on all:
//!
//! 1. the order of the bytes is the order of the values (`Ord`), in a tuple component by component;
//! 2. no encoding is the beginning of another one of its type, so that a component ends where its bytes say;
//! 3. each value has one encoding, and what is none is refused when it is read.
//!
//! | type | bytes |
//! |---|---|
//! | `()` | none |
//! | `bool` | one: 0 or 1 |
//! | `u8` to `u128` | as many as the type has, the highest first |
//! | `i8` to `i128` | the same, with the highest bit flipped: the lowest number is all zero bits |
//! | `String`, `Vec<u8>`, [`Key`] | the bytes (UTF-8 in a `String`), each `00` as `00 ff`, and `00 00` at the end |
//! | `[u8; N]` | its bytes |
//! | [`Uuid`] | its sixteen bytes, in the order in which it is written |
//! | `Option<K>` | `00`; or `01` and the key: none comes first |
//! | tuples of one to six | one component after the other |

use uuid::Uuid;

use crate::key::Key;

/// A type whose values name rows of a [`Table`](super::Table).
///
/// A type of one's own is a key by the encoding of a tuple, which keeps the three laws; its `Ord`, if it has one, should be the tuple's, that
/// is, derived over the same fields in the same order:
///
/// ```
/// use plimsoll::table::{KeyError, Table, TableKey};
///
/// /// The orders of a warehouse by number.
/// #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
/// struct OrderId {
///     warehouse: u16,
///     number: u64,
/// }
///
/// impl TableKey for OrderId {
///     type Borrowed<'a> = Self;
///
///     fn borrowed(&self) -> Self {
///         *self
///     }
///
///     fn encode(key: Self, out: &mut Vec<u8>) {
///         <(u16, u64)>::encode((key.warehouse, key.number), out);
///     }
///
///     fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
///         let (warehouse, number) = TableKey::decode(bytes)?;
///         Ok(Self { warehouse, number })
///     }
/// }
///
/// const ORDERS: Table<OrderId, String> = Table::new("orders");
///
/// let order = OrderId { warehouse: 3, number: 9 };
/// let key = ORDERS.key(order);
/// assert_eq!(key.as_bytes(), b"orders\0\0\x03\0\0\0\0\0\0\0\x09");
/// assert_eq!(ORDERS.decode_key(&key), Ok(order));
/// ```
///
/// Leading components of such a type are a tuple of which it says so ([`PrefixOf`](super::PrefixOf)), and then a range:
///
/// ```
/// # use plimsoll::table::{KeyError, PrefixOf, Table, TableKey};
/// # #[derive(Clone, Copy)]
/// # struct OrderId { warehouse: u16, number: u64 }
/// # impl TableKey for OrderId {
/// #     type Borrowed<'a> = Self;
/// #     fn borrowed(&self) -> Self { *self }
/// #     fn encode(key: Self, out: &mut Vec<u8>) { <(u16, u64)>::encode((key.warehouse, key.number), out); }
/// #     fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
/// #         TableKey::decode(bytes).map(|(warehouse, number)| Self { warehouse, number })
/// #     }
/// # }
/// # const ORDERS: Table<OrderId, String> = Table::new("orders");
/// impl PrefixOf<OrderId> for (u16,) {
///     fn encode_prefix(self, out: &mut Vec<u8>) {
///         <(u16,)>::encode(self, out);
///     }
/// }
///
/// let order = OrderId { warehouse: 3, number: 9 };
/// assert!(ORDERS.prefix((3,)).contains(&ORDERS.key(order)));
/// assert!(!ORDERS.prefix((4,)).contains(&ORDERS.key(order)));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key of a table",
    label = "no type of keys",
    note = "use an integer, `bool`, `String`, `Vec<u8>`, `[u8; N]`, `Uuid`, `Option` of a key or a tuple of up to six keys; or implement \
            `plimsoll::table::TableKey`"
)]
pub trait TableKey: Sized + 'static {
    /// The key as it is handed over where it need not be owned: `&str` for a `String`, the number itself for a number, a tuple of such for a
    /// tuple.
    type Borrowed<'a>: Copy;

    /// The key as it is handed over.
    fn borrowed(&self) -> Self::Borrowed<'_>;

    /// Appends the encoding of `key` to `out`.
    fn encode(key: Self::Borrowed<'_>, out: &mut Vec<u8>);

    /// Takes one key from the front of `bytes`, and leaves what follows it.
    ///
    /// *Errors* when they do not begin with the encoding of one. It never panics, and what is left then is of no use.
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError>;
}

/// Why bytes are no key of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes end within the key.
    #[error("{needed} more bytes were expected, and {found} are left")]
    TooShort {
        /// How many bytes the component has.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// A string has no end.
    #[error("a string of {bytes} bytes does not end: 00 00 was expected")]
    NoEnd {
        /// How many bytes there are.
        bytes: usize,
    },
    /// A zero byte in a string is followed by something else than what marks it or the end.
    #[error("the byte 00 of a string is followed by {found:02x}: ff or 00 was expected")]
    Escape {
        /// The byte that follows.
        found: u8,
    },
    /// A `bool` or the mark of an `Option` is neither 0 nor 1.
    #[error("the byte {found:02x} marks nothing: 00 or 01 was expected")]
    Mark {
        /// The byte.
        found: u8,
    },
    /// A string is no text.
    #[error("a string of {bytes} bytes is no UTF-8 from byte {valid} on")]
    NotText {
        /// How many bytes the string has.
        bytes: usize,
        /// How many of them are text.
        valid: usize,
    },
    /// Bytes are left behind the key.
    #[error("{bytes} bytes follow the key")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A key type of one's own refuses what its parts say.
    #[error("{0}")]
    Refused(String),
}

/// Takes the first `N` bytes.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], KeyError> {
    let found = bytes.len();
    let Some((taken, rest)) = bytes.split_first_chunk() else {
        return Err(KeyError::TooShort { needed: N, found });
    };
    *bytes = rest;
    Ok(*taken)
}

/// Takes a byte that is 0 or 1.
fn take_mark(bytes: &mut &[u8]) -> Result<bool, KeyError> {
    match take(bytes)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [found] => Err(KeyError::Mark { found }),
    }
}

/// Integers by their bytes, the highest first. *Given* what makes an unsigned number of the same order of it, and back.
macro_rules! integers {
    ($($integer:ty as $unsigned:ty: $to:expr, $from:expr;)*) => {$(
        impl TableKey for $integer {
            type Borrowed<'a> = Self;

            fn borrowed(&self) -> Self {
                *self
            }

            fn encode(key: Self, out: &mut Vec<u8>) {
                let to: fn($integer) -> $unsigned = $to;
                out.extend(to(key).to_be_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
                let from: fn($unsigned) -> $integer = $from;
                Ok(from(<$unsigned>::from_be_bytes(take(bytes)?)))
            }
        }
    )*};
}

/// Negative numbers are to come first: flips the highest bit.
macro_rules! signed_integers {
    ($($signed:ty as $unsigned:ty;)*) => {
        integers! {$(
            $signed as $unsigned: |key| key.cast_unsigned() ^ <$signed>::MIN.cast_unsigned(),
                |bits| (bits ^ <$signed>::MIN.cast_unsigned()).cast_signed();
        )*}
    };
}

integers! {
    u8 as u8: |key| key, |bits| bits;
    u16 as u16: |key| key, |bits| bits;
    u32 as u32: |key| key, |bits| bits;
    u64 as u64: |key| key, |bits| bits;
    u128 as u128: |key| key, |bits| bits;
}

signed_integers! {
    i8 as u8;
    i16 as u16;
    i32 as u32;
    i64 as u64;
    i128 as u128;
}

/// One row: a table of this key holds at most one.
impl TableKey for () {
    type Borrowed<'a> = ();

    fn borrowed(&self) {}

    fn encode((): (), _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(())
    }
}

impl TableKey for bool {
    type Borrowed<'a> = Self;

    fn borrowed(&self) -> Self {
        *self
    }

    fn encode(key: Self, out: &mut Vec<u8>) {
        out.push(u8::from(key));
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        take_mark(bytes)
    }
}

impl<const N: usize> TableKey for [u8; N] {
    type Borrowed<'a> = Self;

    fn borrowed(&self) -> Self {
        *self
    }

    fn encode(key: Self, out: &mut Vec<u8>) {
        out.extend(key);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        take(bytes)
    }
}

impl TableKey for Uuid {
    type Borrowed<'a> = Self;

    fn borrowed(&self) -> Self {
        *self
    }

    fn encode(key: Self, out: &mut Vec<u8>) {
        out.extend(key.into_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_bytes(take(bytes)?))
    }
}

impl<K: TableKey> TableKey for Option<K> {
    type Borrowed<'a> = Option<K::Borrowed<'a>>;

    fn borrowed(&self) -> Self::Borrowed<'_> {
        self.as_ref().map(K::borrowed)
    }

    fn encode(key: Self::Borrowed<'_>, out: &mut Vec<u8>) {
        out.push(u8::from(key.is_some()));
        if let Some(key) = key {
            K::encode(key, out);
        }
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        take_mark(bytes)?.then(|| K::decode(bytes)).transpose()
    }
}

impl TableKey for String {
    type Borrowed<'a> = &'a str;

    fn borrowed(&self) -> &str {
        self
    }

    fn encode(key: &str, out: &mut Vec<u8>) {
        encode_string(key.as_bytes(), out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Self::from_utf8(decode_string(bytes)?).map_err(|error| KeyError::NotText {
            bytes: error.as_bytes().len(),
            valid: error.utf8_error().valid_up_to(),
        })
    }
}

impl TableKey for Vec<u8> {
    type Borrowed<'a> = &'a [u8];

    fn borrowed(&self) -> &[u8] {
        self
    }

    fn encode(key: &[u8], out: &mut Vec<u8>) {
        encode_string(key, out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        decode_string(bytes)
    }
}

impl TableKey for Key {
    type Borrowed<'a> = &'a Self;

    fn borrowed(&self) -> &Self {
        self
    }

    fn encode(key: &Self, out: &mut Vec<u8>) {
        encode_string(key.as_bytes(), out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        decode_string(bytes).map(Self::new)
    }
}

/// What stands for a zero byte is above the end, and both are below every other byte: so a string comes before those that it begins.
const ZERO: [u8; 2] = [0, 0xff];
const END: [u8; 2] = [0, 0];

fn encode_string(string: &[u8], out: &mut Vec<u8>) {
    let mut runs = string.split(|byte| *byte == 0);
    out.extend(runs.next().unwrap_or_default());
    for run in runs {
        out.extend(ZERO);
        out.extend(run);
    }
    out.extend(END);
}

fn decode_string(bytes: &mut &[u8]) -> Result<Vec<u8>, KeyError> {
    let all = *bytes;
    let mut string = Vec::new();
    loop {
        let run = bytes.iter().position(|byte| *byte == 0);
        let (run, rest) = run.map_or((*bytes, &[][..]), |run| bytes.split_at(run));
        string.extend(run);
        let Some((zero, rest)) = rest.split_first_chunk() else {
            return Err(KeyError::NoEnd { bytes: all.len() });
        };
        *bytes = rest;
        match *zero {
            END => return Ok(string),
            ZERO => string.push(0),
            [_, found] => return Err(KeyError::Escape { found }),
        }
    }
}
