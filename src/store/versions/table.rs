//! The tables of the database and the bytes in them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `versions` | the key's bytes, then 8 bytes of [`Hlc`] and 4 of node, big-endian | `1` and the value's bytes, or `0`: deleted |
//! | `outcomes` | the 16 bytes of the id, big-endian | the 12 bytes of the timestamp, then the outcome, encoded |
//! | `meta` | `format`, `state`, `walk` | 4 bytes of format, big-endian; [`State`], encoded; the bytes of a key |
//!
//! Rows of `versions` are ordered by key and then by timestamp, which is not the order of their bytes where one key begins with
//! another. Tests: here, and the golden ones in `tests/store/`.

use std::cmp::Ordering;

use bincode::{Decode, Encode};
use redb::{TableDefinition, TypeName};

use crate::codec;
use crate::id::{NodeId, TransactionId};
use crate::key::{Key, Value};
use crate::time::{Hlc, Timestamp};
use crate::transaction::Outcome;

/// The format of the tables. A later one is refused.
pub(super) const FORMAT: u32 = 1;

pub(super) const VERSIONS: TableDefinition<'_, VersionKey, &[u8]> = TableDefinition::new("versions");
pub(super) const OUTCOMES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("outcomes");
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const META_FORMAT: &str = "format";
pub(super) const META_STATE: &str = "state";
pub(super) const META_WALK: &str = "walk";

/// Bytes of a timestamp in a row.
const TIMESTAMP_BYTES: usize = 12;

/// What is written beside the rows with every flush: where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct State {
    /// How many flushes there were.
    pub(super) flushes: u64,
    pub(super) evaluated: Hlc,
    pub(super) oldest: Hlc,
    /// No version lies above.
    pub(super) highest: Option<Timestamp>,
    pub(super) beside: Standing,
}

/// Where an executor stood: what it goes on from, beside the versions and the outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Standing {
    /// The last record evaluated.
    pub last: Timestamp,
    /// The digest boundary that was noted last.
    pub noted: Hlc,
    /// The running value of the digest.
    pub fold: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            last: Timestamp::last_at(Hlc::ZERO),
            noted: Hlc::ZERO,
            fold: 0,
        }
    }
}

/// The name of a row of [`VERSIONS`]: a key's bytes, and those of a timestamp.
#[derive(Debug)]
pub(super) struct VersionKey;

impl redb::Value for VersionKey {
    type SelfType<'a> = &'a [u8];
    type AsBytes<'a> = &'a [u8];

    fn fixed_width() -> Option<usize> {
        None
    }

    fn from_bytes<'a>(bytes: &'a [u8]) -> &'a [u8]
    where
        Self: 'a,
    {
        bytes
    }

    fn as_bytes<'a, 'b: 'a>(value: &'a Self::SelfType<'b>) -> &'a [u8]
    where
        Self: 'b,
    {
        value
    }

    fn type_name() -> TypeName {
        TypeName::new("plimsoll::VersionKey")
    }
}

impl redb::Key for VersionKey {
    fn compare(left: &[u8], right: &[u8]) -> Ordering {
        let (left_key, left_at) = cut(left);
        let (right_key, right_at) = cut(right);
        left_key.cmp(right_key).then_with(|| left_at.cmp(right_at))
    }
}

/// The bytes of a row's key, and those of its timestamp; damaged bytes that are too few are all key.
fn cut(row: &[u8]) -> (&[u8], &[u8]) {
    row.split_at_checked(row.len().wrapping_sub(TIMESTAMP_BYTES))
        .unwrap_or((row, &[]))
}

/// Names of rows, built in one buffer.
#[derive(Debug, Default)]
pub(super) struct RowName(Vec<u8>);

impl RowName {
    /// The name of the version of `key` at `at`.
    pub(super) fn of(&mut self, key: &[u8], at: Timestamp) -> &[u8] {
        self.0.clear();
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(&timestamp_bytes(at));
        &self.0
    }
}

/// The name of the version of `key` at `at`.
pub(super) fn row_name(key: &[u8], at: Timestamp) -> Vec<u8> {
    let mut name = RowName::default();
    name.of(key, at);
    name.0
}

/// The bytes of the key in the name of a row, and the timestamp.
///
/// *Errors*: what is wrong with the bytes.
pub(super) fn parse_row_name(name: &[u8]) -> Result<(&[u8], Timestamp), &'static str> {
    let (key, at) = cut(name);
    Ok((key, parse_timestamp(at)?))
}

/// Writes what a row of [`VERSIONS`] holds for this value into `bytes`; none is a deletion.
pub(super) fn write_content(value: Option<&Value>, bytes: &mut Vec<u8>) {
    bytes.clear();
    match value {
        Some(value) => {
            bytes.push(1);
            bytes.extend_from_slice(value.as_bytes());
        }
        None => bytes.push(0),
    }
}

/// The bytes of the value in a row; none is a deletion.
///
/// *Errors*: what is wrong with the bytes.
pub(super) fn parse_content(content: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    match content.split_first() {
        Some((1, value)) => Ok(Some(value)),
        Some((0, [])) => Ok(None),
        _ => Err("the row holds neither a value nor a deletion"),
    }
}

/// An outcome, and of which id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The id.
    pub id: TransactionId,
    /// Where it took effect, or was aborted.
    pub effective: Timestamp,
    /// Its outcome.
    pub outcome: Outcome,
}

impl Settled {
    /// Writes what its row holds into `bytes`.
    pub(super) fn write_content(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        bytes.extend_from_slice(&timestamp_bytes(self.effective));
        codec::encode_plain(&self.outcome, bytes);
    }

    /// The outcome in a row.
    ///
    /// *Errors*: what is wrong with the bytes.
    pub(super) fn parse(id: &[u8; 16], content: &[u8]) -> Result<Self, String> {
        let (effective, outcome) = content
            .split_at_checked(TIMESTAMP_BYTES)
            .ok_or("the row is too short for a timestamp")?;
        Ok(Self {
            id: TransactionId::from_u128(u128::from_be_bytes(*id)),
            effective: parse_timestamp(effective)?,
            outcome: codec::decode_plain(outcome).map_err(|error| error.to_string())?,
        })
    }
}

/// The key of the row of `id`.
pub(super) fn outcome_name(id: TransactionId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// What the key of a row says of itself, for an error.
pub(super) fn key_of(bytes: &[u8]) -> Key {
    Key::new(bytes)
}

fn timestamp_bytes(at: Timestamp) -> [u8; TIMESTAMP_BYTES] {
    let mut bytes = [0; TIMESTAMP_BYTES];
    bytes[..8].copy_from_slice(&at.hlc.bits().to_be_bytes());
    bytes[8..].copy_from_slice(&at.node.number().to_be_bytes());
    bytes
}

fn parse_timestamp(bytes: &[u8]) -> Result<Timestamp, &'static str> {
    let (hlc, node) = bytes
        .split_first_chunk::<8>()
        .and_then(|(hlc, node)| Some((hlc, node.first_chunk::<4>()?)))
        .ok_or("the row is too short for a timestamp")?;
    Ok(Timestamp {
        hlc: Hlc::from_bits(u64::from_be_bytes(*hlc)),
        node: NodeId::new(u32::from_be_bytes(*node)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::Key as _;

    use super::*;

    fn timestamp(hlc: u64, node: u32) -> Timestamp {
        Timestamp {
            hlc: Hlc::from_bits(hlc),
            node: NodeId::new(node),
        }
    }

    proptest! {
        #[test]
        fn rows_are_ordered_by_key_and_then_by_timestamp(
            rows in proptest::collection::vec((proptest::collection::vec(0..3_u8, 0..4), 0..4_u64, 0..3_u32), 2),
        ) {
            let [left, right] = [0, 1].map(|row: usize| {
                let (key, hlc, node) = rows[row].clone();
                (Key::new(key), timestamp(hlc, node))
            });
            let [left_name, right_name] = [&left, &right].map(|(key, at)| row_name(key.as_bytes(), *at));
            prop_assert_eq!(VersionKey::compare(&left_name, &right_name), left.cmp(&right));
            prop_assert_eq!(parse_row_name(&left_name), Ok((left.0.as_bytes(), left.1)));
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_ordered_without_a_panic() {
        assert!(parse_row_name(b"short").is_err());
        assert_eq!(
            VersionKey::compare(b"short", &row_name(b"short", timestamp(0, 0))),
            Ordering::Less
        );
        for content in [&b""[..], b"\x00x", b"\x02x"] {
            assert!(parse_content(content).is_err());
        }
        assert!(Settled::parse(&[0; 16], &[0; 11]).is_err());
        assert!(Settled::parse(&[0; 16], &[0xff; 40]).is_err());
    }
}
