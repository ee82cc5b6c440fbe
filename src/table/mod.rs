//! Typed tables over raw keys.
//!
//! Realises "typed tables" of section 4 of the design. A [`Table`] is a constant: a name, a type of keys, a type of values. It turns typed
//! keys into [keys](crate::key::Key) whose order is that of the typed ones, so that ranges of a table are ranges of keys, and typed values into
//! what [`codec::encode_value`] makes of them. It holds nothing, and the database knows nothing of it: raw bytes
//! lie beside it and stay as they are.
//!
//! **Format**, of disk and wire: the key of a row is the table's name, the byte `00`, and the encoding of its key ([`key`] has them
//! all). A name holds no zero byte, so that no table's rows lie among those of another. Raw keys that are used beside tables must
//! not begin with a table's name and `00`.
//!
//! [`key`] has the encodings, [`mod@tuple`] their composition, [`rows`] what thunks do, [`number`] numbers that are added to without being read; reads
//! from outside are [`row`](crate::Plimsoll::row) and [`rows`](crate::Plimsoll::rows) of a database, and of a
//! [stage](crate::client::staged::Stage::row). `docs/tables.md` is the guide. Tests:
//! `tests/table/`.
//!
//! ```
//! use plimsoll::table::Table;
//! use plimsoll::thunk::{Direction, Evaluation, Thunk};
//! use plimsoll::transaction::{Abort, Footprint};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Post {
//!     text: String,
//! }
//!
//! /// The posts of a user by number.
//! const POSTS: Table<(String, u64), Post> = Table::new("posts");
//!
//! /// Adds a post behind the last one of its user.
//! #[derive(Serialize, Deserialize)]
//! struct Publish {
//!     user: String,
//!     number: u64,
//!     text: String,
//! }
//!
//! impl Thunk for Publish {
//!     const NAME: &'static str = "publish";
//!     const VERSION: u32 = 1;
//!     type Output = ();
//!
//!     fn footprint(&self) -> Footprint {
//!         Footprint::new()
//!             .scan(POSTS.prefix((self.user.as_str(),)))
//!             .write(POSTS.key((&self.user, self.number)))
//!     }
//!
//!     fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
//!         let range = POSTS.prefix((self.user.as_str(),));
//!         let last = POSTS.scan(evaluation, &range, 1, Direction::Backward)?;
//!         if last.iter().any(|((_, number), _)| *number >= self.number) {
//!             return Err(Abort::Refused(format!("{} has posted more already", self.user)));
//!         }
//!         let text = self.text.clone();
//!         POSTS.put(evaluation, (&self.user, self.number), &Post { text })
//!     }
//! }
//! ```

pub mod key;
pub mod number;
pub mod rows;
pub mod tuple;

pub use key::{KeyError, TableKey};
pub use number::Number;
pub use tuple::PrefixOf;

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{self, DecodeError, EncodeError};
use crate::key::{Key, KeyRange, Value};
use crate::limits::TABLE_NAME_BYTES_MAX;

/// The byte between a table's name and the keys of its rows.
const NAME_END: u8 = 0;

/// A table: rows of type `V` under keys of type `K`, in the order of the keys.
///
/// It is a name and two types, and costs nothing to make or to copy: let it be a constant.
pub struct Table<K, V> {
    name: &'static str,
    /// It takes keys and gives values, and holds neither.
    types: PhantomData<fn(K) -> V>,
}

/// Why a stored row is none of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The key is one of another table, or a raw one.
    #[error("the key {key} is none of table {table}")]
    OtherTable {
        /// The table.
        table: &'static str,
        /// The key.
        key: Key,
    },
    /// The key is none of the table's type of keys.
    #[error("the key {key} of table {table} is none of its type, from byte {at} on: {error}")]
    Key {
        /// The table.
        table: &'static str,
        /// The key.
        key: Key,
        /// Up to where its bytes were read.
        at: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The value is none of the table's type of values.
    #[error(
        "the value at {key} of table {table} is none of its type: {error}; the type of a table's values never changes: use the one that wrote it, or \
         another table"
    )]
    Value {
        /// The table.
        table: &'static str,
        /// The key.
        key: Key,
        /// What is wrong with it.
        error: DecodeError,
    },
}

impl<K, V> Table<K, V> {
    /// The table of this name. Whoever knows it by the same name and other types finds [malformed](RowError) rows: a name is for ever.
    ///
    /// *Given* a name of 1 to [`TABLE_NAME_BYTES_MAX`] bytes, all of them visible ASCII: it begins the key of every row, so a short one is cheap.
    ///
    /// *Panics* at any other name; in a constant, that is when it is compiled:
    ///
    /// ```compile_fail,E0080
    /// # use plimsoll::table::Table;
    /// const NAMELESS: Table<u64, String> = Table::new("");
    /// # NAMELESS.name();
    /// ```
    pub const fn new(name: &'static str) -> Self
    where
        K: TableKey,
    {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "a table has a name");
        assert!(
            bytes.len() <= TABLE_NAME_BYTES_MAX,
            "the name of a table has at most limits::TABLE_NAME_BYTES_MAX bytes"
        );
        let mut at = 0;
        while at < bytes.len() {
            assert!(bytes[at].is_ascii_graphic(), "the name of a table is visible ASCII");
            at += 1;
        }
        Self {
            name,
            types: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// All of its keys.
    pub fn all(&self) -> KeyRange {
        KeyRange::prefix(Key::new(self.begin()))
    }

    /// What every key begins with.
    fn begin(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.name.len() + 32);
        bytes.extend(self.name.as_bytes());
        bytes.push(NAME_END);
        bytes
    }
}

impl<K: TableKey, V> Table<K, V> {
    /// The key of a row. One with more than [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX) bytes is refused when it is submitted.
    pub fn key(&self, key: K::Borrowed<'_>) -> Key {
        Key::new(self.bytes(key))
    }

    /// The rows whose keys lie within bounds of any kind: `3..7`, `"a"..="c"`, `(Bound::Excluded(3), Bound::Unbounded)`. Bounds the wrong way
    /// round hold nothing.
    pub fn range<'k>(&self, bounds: impl RangeBounds<K::Borrowed<'k>>) -> KeyRange {
        let start = match bounds.start_bound() {
            Bound::Included(start) => self.key(*start),
            Bound::Excluded(start) => self.after(*start),
            Bound::Unbounded => Key::new(self.begin()),
        };
        let end = match bounds.end_bound() {
            Bound::Included(end) => Some(self.after(*end)),
            Bound::Excluded(end) => Some(self.key(*end)),
            Bound::Unbounded => self.all().end().cloned(),
        };
        match end {
            Some(end) => KeyRange::new(start, end),
            None => KeyRange::from(start),
        }
    }

    /// The rows whose keys begin with these components: `POSTS.prefix(("ann",))` of a `Table<(String, u64), _>`.
    pub fn prefix<P: PrefixOf<K>>(&self, components: P) -> KeyRange {
        let mut bytes = self.begin();
        components.encode_prefix(&mut bytes);
        KeyRange::prefix(Key::new(bytes))
    }

    /// The typed key of a row.
    ///
    /// *Errors* when `key` is none of this table or of its type.
    pub fn decode_key(&self, key: &Key) -> Result<K, RowError> {
        let table = self.name;
        let within = key.as_bytes().strip_prefix(self.name.as_bytes());
        let Some(encoded) = within.and_then(|rest| rest.strip_prefix(&[NAME_END])) else {
            let key = key.clone();
            return Err(RowError::OtherTable { table, key });
        };
        let mut rest = encoded;
        let decoded = match K::decode(&mut rest) {
            Ok(decoded) if rest.is_empty() => return Ok(decoded),
            Ok(_) => KeyError::TrailingBytes { bytes: rest.len() },
            Err(error) => error,
        };
        Err(RowError::Key {
            table,
            key: key.clone(),
            at: key.as_bytes().len().saturating_sub(rest.len()),
            error: decoded,
        })
    }

    fn bytes(&self, key: K::Borrowed<'_>) -> Vec<u8> {
        let mut bytes = self.begin();
        K::encode(key, &mut bytes);
        bytes
    }

    /// The first key above that of a row. As no encoding begins another one, no row lies between.
    fn after(&self, key: K::Borrowed<'_>) -> Key {
        let mut bytes = self.bytes(key);
        bytes.push(0);
        Key::new(bytes)
    }
}

impl<K, V: Serialize> Table<K, V> {
    /// What is stored of a value.
    ///
    /// *Errors*: larger than [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX), or a type without an encoding; see
    /// [`encode_value`](codec::encode_value).
    pub fn encode_value(&self, value: &V) -> Result<Value, EncodeError> {
        codec::encode_value(value)
    }
}

impl<K, V: DeserializeOwned> Table<K, V> {
    /// The typed value of what is stored at `key`.
    ///
    /// *Errors* when it is none of the table's type.
    pub fn decode_value(&self, key: &Key, value: &Value) -> Result<V, RowError> {
        codec::decode_value(value).map_err(|error| {
            let (table, key) = (self.name, key.clone());
            RowError::Value { table, key, error }
        })
    }
}

impl<K: TableKey, V: DeserializeOwned> Table<K, V> {
    /// The typed row of what is stored.
    ///
    /// *Errors* when the key is none of this table, or either is none of its types.
    pub fn decode_row(&self, key: &Key, value: &Value) -> Result<(K, V), RowError> {
        Ok((self.decode_key(key)?, self.decode_value(key, value)?))
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Table<K, V> {}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

/// The examples of the guide are compiled and run with those of the code.
#[cfg(doctest)]
#[doc = include_str!("../../docs/tables.md")]
struct Guide;
