//! The file beside a verified one: a head, two places for the header, and the sums.
//!
//! | byte | what |
//! |---|---|
//! | 0 | the magic number, the format as 4 bytes, and the sum of these 12 bytes |
//! | 4096 | the headers with an even number: number, sum of number and header, header |
//! | 12288 | those with an odd number |
//! | 20480 | the sum of block 0, which stays 0, of block 1, and so on |
//!
//! All numbers are little-endian, sums are XXH3 of 64 bits. A header is written where the last but one is, so that one of them is always
//! whole.

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sums::{Changes, SUM_BYTES, Sums};
use super::{BLOCK_BYTES, BLOCK_LEN};
use crate::store::StoreError;
use crate::store::disk::{File, SECTOR_BYTES};

const MAGIC: [u8; 8] = *b"plimsums";

/// The format that this version writes, and the last that it knows.
const FORMAT: u32 = 1;

/// What stands for the number of the block in the sums of the head and of the headers: no block has it.
const NO_BLOCK: u64 = u64::MAX;

const HEAD_LEN: usize = MAGIC.len() + size_of::<u32>() + size_of::<u64>();

const SLOTS_AT: u64 = BLOCK_BYTES;

/// From the beginning of a place for the header to that of the next.
const SLOT_STEP: u64 = 2 * BLOCK_BYTES;

const SLOT_LEN: usize = 2 * size_of::<u64>() + BLOCK_LEN;

const SUMS_AT: u64 = SLOTS_AT + 2 * SLOT_STEP;

/// One block of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block(pub(super) Box<[u8; BLOCK_LEN]>);

impl Default for Block {
    fn default() -> Self {
        Self(Box::new([0; BLOCK_LEN]))
    }
}

impl Block {
    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Whether redb has written its magic number, which it does once the rest of the file is there.
    pub(super) fn is_begun(&self) -> bool {
        self.0[0] != 0
    }

    /// Whether each sector is that of one of the two: what a crash leaves where one was written over the other.
    pub(super) fn is_mixed_of(&self, first: &Self, second: &Self) -> bool {
        let sectors = |block: &Self| block.0.as_chunks::<{ SECTOR_BYTES as usize }>().0.to_vec();
        let (first, second) = (sectors(first), sectors(second));
        let mut own = sectors(self).into_iter().enumerate();
        own.all(|(place, sector)| sector == first[place] || sector == second[place])
    }
}

/// A header of redb, and which it is: they are counted from 1.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) sequence: u64,
    pub(super) header: Block,
}

impl Slot {
    fn place(sequence: u64) -> u64 {
        SLOTS_AT + sequence % 2 * SLOT_STEP
    }

    fn sum(&self) -> u64 {
        let mut bytes = self.sequence.to_le_bytes().to_vec();
        bytes.extend_from_slice(&*self.header.0);
        xxh3_64_with_seed(&bytes, NO_BLOCK)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SLOT_LEN);
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.sum().to_le_bytes());
        bytes.extend_from_slice(&*self.header.0);
        bytes
    }

    /// None where it is not whole, or not in its place.
    fn from_bytes(bytes: &[u8; SLOT_LEN], place: u64) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk()?;
        let (sum, header) = rest.split_first_chunk()?;
        let slot = Self {
            sequence: u64::from_le_bytes(*sequence),
            header: Block(Box::new(header.try_into().ok()?)),
        };
        let is_whole = slot.sum() == u64::from_le_bytes(*sum);
        (is_whole && slot.sequence > 0 && Self::place(slot.sequence) == place).then_some(slot)
    }
}

/// The headers that are whole.
pub(super) struct Slots {
    pub(super) last: Option<Slot>,
    /// The one before the last, and no older one.
    pub(super) before: Option<Block>,
}

/// The sums of a file, on the medium.
#[derive(Debug)]
pub(super) struct Sidecar {
    path: String,
    file: Arc<dyn File>,
}

impl Sidecar {
    pub(super) fn new(path: String, file: Arc<dyn File>) -> Self {
        Self { path, file }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> StoreError + '_ {
        move |error| StoreError::of_file(&self.path, action, error)
    }

    /// An empty one, with room for the headers, so that writing them never fails for want of it.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        let mut bytes = vec![0; SUMS_AT as usize];
        bytes[..HEAD_LEN].copy_from_slice(&head(FORMAT));
        self.file.set_len(0).map_err(self.failed("empty the file"))?;
        self.file.write(0, &bytes).map_err(self.failed("write the file"))?;
        self.file.sync().map_err(self.failed("sync the file"))
    }

    /// The headers; none where there is no head yet.
    pub(super) fn read_slots(&self) -> Result<Option<Slots>, StoreError> {
        let len = self.file.len().map_err(self.failed("ask for the length"))?;
        if len < SUMS_AT {
            return Ok(None);
        }
        let mut bytes = [0; HEAD_LEN];
        self.file.read(0, &mut bytes).map_err(self.failed("read the head"))?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let format = [8, 9, 10, 11].map(|place| bytes[place]);
        let found = u32::from_le_bytes(format);
        if bytes != head(found) {
            return Err(StoreError::Damaged {
                file: self.path.clone(),
                place: "the head".to_owned(),
                reason: "it is not that of a file of sums".to_owned(),
            });
        }
        if found > FORMAT {
            return Err(StoreError::Future {
                file: self.path.clone(),
                found,
                known: FORMAT,
            });
        }
        let mut slots = Vec::new();
        for place in [SLOTS_AT, SLOTS_AT + SLOT_STEP] {
            let mut bytes = [0; SLOT_LEN];
            self.file
                .read(place, &mut bytes)
                .map_err(self.failed("read a header"))?;
            slots.extend(Slot::from_bytes(&bytes, place));
        }
        slots.sort_unstable_by_key(|slot| slot.sequence);
        let last = slots.pop();
        let is_next = |slot: &Slot| last.as_ref().is_some_and(|last| last.sequence == slot.sequence + 1);
        let before = slots.pop().filter(is_next).map(|slot| slot.header);
        Ok(Some(Slots { last, before }))
    }

    /// The sums of a file of so many blocks.
    pub(super) fn read_sums(&self, blocks: u64) -> Result<Sums, StoreError> {
        let len = self.file.len().map_err(self.failed("ask for the length"))?;
        let mut bytes = vec![0; (len - SUMS_AT) as usize];
        self.file
            .read(SUMS_AT, &mut bytes)
            .map_err(self.failed("read the sums"))?;
        Ok(Sums::from_bytes(&bytes, blocks))
    }

    /// Makes durable again what may be in the cache alone.
    pub(super) fn renew_slot(&self, slot: &Slot) -> Result<(), StoreError> {
        let written = self.write_slot(slot);
        written.map_err(|(action, error)| StoreError::of_file(&self.path, action, error))
    }

    /// Makes a header durable.
    pub(super) fn write_slot(&self, slot: &Slot) -> Result<(), (&'static str, io::Error)> {
        let written = self.file.write(Slot::place(slot.sequence), &slot.to_bytes());
        let synced = written.and_then(|()| self.file.sync());
        synced.map_err(|error| ("write the header beside the sums", error))
    }

    /// Makes sums durable.
    pub(super) fn write_sums(&self, changes: &Changes) -> Result<(), (&'static str, io::Error)> {
        if let Some(sums) = changes.cut {
            let cut = self.file.set_len(SUMS_AT + sums * SUM_BYTES);
            cut.map_err(|error| ("cut the sums", error))?;
        }
        for (first, bytes) in &changes.runs {
            let written = self.file.write(SUMS_AT + first * SUM_BYTES, bytes);
            written.map_err(|error| ("write the sums", error))?;
        }
        self.file.sync().map_err(|error| ("sync the sums", error))
    }
}

fn head(format: u32) -> [u8; HEAD_LEN] {
    let mut bytes = [0; HEAD_LEN];
    let (words, sum) = bytes.split_at_mut(MAGIC.len() + size_of::<u32>());
    words[..MAGIC.len()].copy_from_slice(&MAGIC);
    words[MAGIC.len()..].copy_from_slice(&format.to_le_bytes());
    sum.copy_from_slice(&xxh3_64_with_seed(words, NO_BLOCK).to_le_bytes());
    bytes
}
