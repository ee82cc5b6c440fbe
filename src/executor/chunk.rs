//! A piece of a checkpoint, as it is sent.
//!
//! Realises the transfer of snapshots of section 3.7 of the design. A piece says which checkpoint it belongs to and which entries it holds, so
//! it can be asked for again, of another replica too. Tests: `tests/checkpoint.rs`.

use std::ops::ControlFlow;

use bincode::{Decode, Encode};

use super::checkpoint::{Checkpoint, Entry, Heading, Place};
use crate::codec::{self, DecodeError, HEADER_BYTES, Kind};
use crate::limits::{ABORT_TEXT_BYTES_MAX, KEY_BYTES_MAX, OUTPUT_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX, VALUE_BYTES_MAX};
use crate::store::History;

/// Bytes of an encoded chunk beside its entries: the envelope's header, twelve numbers of at most nine bytes, and some room.
const BESIDE_ENTRIES_BYTES: usize = HEADER_BYTES + 12 * 9 + 6;

/// Bytes of the numbers and tags of one entry at most, twice over.
const ENTRY_FIXED_BYTES: usize = 128;

const _: () = {
    let version = KEY_BYTES_MAX + VALUE_BYTES_MAX;
    let aborted = 3 * ABORT_TEXT_BYTES_MAX;
    let largest = if version > OUTPUT_BYTES_MAX {
        version
    } else {
        OUTPUT_BYTES_MAX
    };
    assert!(
        aborted < largest && largest + ENTRY_FIXED_BYTES + BESIDE_ENTRIES_BYTES <= SNAPSHOT_CHUNK_BYTES_MAX,
        "every entry fits into a chunk"
    );
};

/// A piece of a checkpoint: some of its entries, in order.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    pub(super) heading: Heading,
    /// The number of the first entry here, counted from 0.
    pub(super) first: u64,
    pub(super) entries: Vec<Entry>,
}

/// Where a piece of a checkpoint begins. The default is its beginning; where to go on is told by [`Chunk::next`] to who sends and
/// by [`Progress`](super::Progress) to who receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ChunkCursor {
    pub(super) first: u64,
    pub(super) after: Place,
}

impl ChunkCursor {
    /// Its bytes, as they are asked for.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode_plain(self, &mut bytes);
        bytes
    }

    /// The cursor with these bytes; none if there is no such.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        codec::decode_plain(bytes).ok()
    }
}

impl<V: History> Checkpoint<V> {
    /// The piece that begins at `cursor`, as large as `bytes_max` allows when encoded.
    ///
    /// *Given* a cursor of this checkpoint, or of one with an equal [heading](Checkpoint::heading); what comes of another's is
    /// refused by who puts it together. One entry is in every piece, how large it may be, and none is larger than
    /// [`SNAPSHOT_CHUNK_BYTES_MAX`].
    ///
    /// *Cost*: that of the piece, but for the first one, see [`Checkpoint::heading`].
    pub fn chunk(&self, cursor: &ChunkCursor, bytes_max: usize) -> V::Checked<Chunk> {
        self.versions.checked(self.chunk_found(cursor, bytes_max))
    }

    /// The piece, which is to be [checked](History::checked).
    pub(super) fn chunk_found(&self, cursor: &ChunkCursor, bytes_max: usize) -> Chunk {
        let room = bytes_max
            .min(SNAPSHOT_CHUNK_BYTES_MAX)
            .saturating_sub(BESIDE_ENTRIES_BYTES);
        let mut entries = Vec::new();
        let mut bytes = 0;
        self.entries(&cursor.after, &mut |entry| {
            bytes += codec::encoded_len(&entry);
            if bytes > room && !entries.is_empty() {
                return ControlFlow::Break(());
            }
            entries.push(entry);
            ControlFlow::Continue(())
        });
        Chunk {
            heading: self.heading_found(),
            first: cursor.first,
            entries,
        }
    }
}

impl Chunk {
    /// What it says of the checkpoint that it belongs to.
    pub fn heading(&self) -> &Heading {
        &self.heading
    }

    /// Which entries it holds: the number of the first, counted from 0, and how many.
    pub fn extent(&self) -> (u64, usize) {
        (self.first, self.entries.len())
    }

    /// Whether nothing comes behind it.
    pub fn is_last(&self) -> bool {
        self.end() >= self.heading.entries
    }

    /// Where the piece behind it begins; absent if it is the last.
    pub fn next(&self) -> Option<ChunkCursor> {
        let after = self.entries.last().filter(|_| !self.is_last())?.place();
        let first = self.end();
        Some(ChunkCursor { first, after })
    }

    /// The number of the entry behind it.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.entries.len() as u64)
    }

    /// Its bytes, in the envelope of a [`Kind::SnapshotChunk`].
    ///
    /// *Panics* if an entry is larger than any that evaluation lets pass.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode(Kind::SnapshotChunk, self, &mut bytes)
            .expect("entries are bounded, and a chunk is filled up to its bound");
        bytes
    }

    /// The piece with these bytes.
    ///
    /// *Errors*: whatever is wrong with the bytes. What the entries say is checked when they are
    /// [added](super::Assembly::add).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(Kind::SnapshotChunk, bytes)
    }
}
