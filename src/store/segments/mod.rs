//! A log in segments: files of one size, written from front to back, and written again when nobody needs what is in them.
//!
//! Realises the log of section 5 of the design. A sync is one write and one `fdatasync`, since a segment has its length, and blocks, before
//! it is used. What is on the disk byte by byte, and which crash leaves what, is in `docs/storage.md`; here in short:
//!
//! - A segment's header says which log it belongs to, its number, and how many entries were written before it. Everything before a
//!   header was durable when the header was written, so what lacks in front of one is damage, and never a crash.
//! - Frames carry a checksum of their bytes, their segment's header and their place, so a frame of an earlier use of the file, or one
//!   that was written to a wrong place, is none.
//! - After each sync a mark says how many entries are durable. So behind the last mark a frame that does not check is what a crash has
//!   torn, and in front of any mark it is damage.
//! - A log that is opened begins a new segment: nothing is ever written where something torn may lie behind.
//!
//! Tests: here, `tests/store/log.rs`, `tests/store/segments.rs`.

mod frame;
mod recovery;
mod segment;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use bincode::{Decode, Encode};

use self::frame::{FRAME_HEADER_BYTES, MARK_BYTES};
use self::segment::{FRAMES_AT, Header, Segment};
use super::disk::Disk;
use super::{Log, StoreError};
use crate::codec;
use crate::id::StorageId;
use crate::limits::LOG_ENTRY_BYTES_MAX;

pub use self::segment::FORMAT;

/// How a log in segments is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Bytes of one segment. An entry that does not fit into an empty one gets a larger one.
    pub segment_bytes: u64,
    /// Segments that are kept to be written again; further ones are removed.
    pub spares_max: usize,
}

impl Default for SegmentOptions {
    /// Segments of 64 MiB, two spares.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spares_max: 2,
        }
    }
}

/// What opening a log has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Entries that are there.
    pub entries: u64,
    /// Bytes that were looked at.
    pub bytes: u64,
    /// Whether something torn was left by a crash behind the last entry.
    pub is_torn: bool,
}

/// What could be saved of a damaged log.
#[derive(Clone, Debug)]
pub struct Salvaged<E> {
    /// The entries in front of the damage, from the first one kept on.
    pub entries: Vec<E>,
    /// Why there are not more.
    pub damage: StoreError,
}

/// A log in segments on a disk.
#[derive(Debug)]
pub struct SegmentLog<E> {
    disk: Arc<dyn Disk>,
    storage: StorageId,
    options: SegmentOptions,
    /// Ascending; the last one is written to.
    segments: VecDeque<Segment>,
    /// Names of files that can be written again.
    spares: Vec<String>,
    pending: Pending,
    durable: u64,
    /// How many spares were ever made, for their names.
    spares_made: u64,
    poison: Option<StoreError>,
    entry: PhantomData<fn() -> E>,
}

/// Frames of entries that are not durable yet. They are written as they lie here, and get their checksums when it is known where.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How many bytes each frame has.
    sizes: VecDeque<usize>,
}

/// Bytes that are kept for pending frames while there are none.
const PENDING_BYTES_KEPT: usize = 8 << 20;

impl Pending {
    /// Lets the first frames go.
    fn drop_first(&mut self, count: usize, bytes: usize) {
        self.sizes.drain(..count);
        self.bytes.drain(..bytes);
        self.bytes.shrink_to(PENDING_BYTES_KEPT);
    }
}

impl<E: Encode + Decode<()>> SegmentLog<E> {
    /// The log on `disk`; an empty one if there is none.
    ///
    /// *Given* whose storage it is, and someone to tell how many bytes of how many were looked at, now and then.
    ///
    /// *Errors* when something durable is missing or damaged, or the files are not of this storage or of a later format: nothing was
    /// changed. Or when the medium fails.
    pub fn open(
        disk: Arc<dyn Disk>,
        storage: StorageId,
        options: SegmentOptions,
        on_progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Opened), StoreError> {
        let found = recovery::look(&*disk, storage, on_progress)?;
        if let Some(damage) = found.damage {
            return Err(damage);
        }
        let mut log = Self {
            storage,
            options,
            segments: found.segments.into(),
            spares: found.spares,
            pending: Pending::default(),
            durable: found.entries,
            spares_made: found.spares_made,
            poison: None,
            entry: PhantomData,
            disk,
        };
        if let Some(last) = log.segments.back() {
            // What a crash has left without having said so counts from now on, so it must not go any more.
            last.sync()?;
        }
        let is_untouched = log.segments.back().is_some_and(|last| last.first() == last.end()) && !found.is_torn;
        let opened = Opened {
            entries: found.entries - log.segments.front().map_or(0, Segment::first),
            bytes: found.bytes,
            is_torn: found.is_torn,
        };
        if !is_untouched {
            log.begin_segment(0)?;
        }
        Ok((log, opened))
    }

    /// What is left of a log that [`SegmentLog::open`] finds damaged; changes nothing. *Gives* none if it is sound.
    ///
    /// What is missing was durable: the node has voted and acknowledged with it. It may not go on as the member that it was.
    pub fn salvage(disk: &dyn Disk, storage: StorageId) -> Result<Option<Salvaged<E>>, StoreError> {
        let found = recovery::look(disk, storage, &mut |_, _| {})?;
        let Some(damage) = found.damage else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        for segment in &found.segments {
            segment.read(segment.first(), usize::MAX, &mut |number, bytes| {
                entries.push(decode(segment, number, bytes)?);
                Ok(())
            })?;
        }
        Ok(Some(Salvaged { entries, damage }))
    }

    /// Bytes of all files of the log, spares included.
    pub fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(Segment::bytes).sum();
        segments + self.spares.len() as u64 * self.options.segment_bytes
    }

    fn check(&self) -> Result<(), StoreError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// Poisons the log, unless the medium is merely full: what was durable still is, and what was not is still to be written.
    fn failed<T>(&mut self, error: StoreError) -> Result<T, StoreError> {
        if !matches!(error, StoreError::Full { .. }) {
            self.poison = Some(error.clone());
        }
        Err(error)
    }

    /// Begins a new segment behind all that is written. *Given* that this is durable; the bytes of the frame that it must have room for.
    fn begin_segment(&mut self, needed: usize) -> Result<(), StoreError> {
        let number = self.segments.back().map_or(1, |last| last.number() + 1);
        let header = Header {
            storage: self.storage,
            number,
            first: self.durable,
        };
        let bytes = self.options.segment_bytes.max(FRAMES_AT + (needed + MARK_BYTES) as u64);
        let spare = self.spares.pop();
        let segment = Segment::create(&*self.disk, header, bytes, spare.as_deref());
        match segment {
            Ok(segment) => {
                self.segments.push_back(segment);
                Ok(())
            }
            Err(error) => {
                // A spare that was not used is found again when the log is opened.
                self.spares.extend(spare);
                Err(error)
            }
        }
    }

    fn write_pending(&mut self) -> Result<(), StoreError> {
        while let Some(first) = self.pending.sizes.front() {
            let last = self.segments.back_mut().expect("one is begun when the log is opened");
            let (mut count, mut bytes) = (0, 0);
            for size in &self.pending.sizes {
                if !last.has_room(bytes + size) {
                    break;
                }
                count += 1;
                bytes += size;
            }
            if count == 0 {
                // Everything in front of its header is durable: what was written came with a sync.
                let needed = *first;
                self.begin_segment(needed)?;
                continue;
            }
            let sizes = self.pending.sizes.iter().take(count).copied();
            last.write(&mut self.pending.bytes[..bytes], sizes)?;
            self.durable = last.end();
            self.pending.drop_first(count, bytes);
            last.mark()?;
        }
        Ok(())
    }

    fn drop_first_segment(&mut self) -> Result<(), StoreError> {
        let segment = self.segments.pop_front().expect("the caller has seen it");
        let name = segment.name();
        let is_wanted = self.spares.len() < self.options.spares_max && segment.bytes() == self.options.segment_bytes;
        if is_wanted {
            self.spares_made += 1;
            let spare = segment::spare_name(self.spares_made);
            let renamed = self.disk.rename(&name, &spare);
            renamed.map_err(|error| StoreError::of_medium(&*self.disk, &name, "rename", error))?;
            self.spares.push(spare);
        } else {
            let removed = self.disk.remove(&name);
            removed.map_err(|error| StoreError::of_medium(&*self.disk, &name, "remove", error))?;
        }
        // One after the other, so that a crash leaves no gap.
        let synced = self.disk.sync();
        synced.map_err(|error| StoreError::of_medium(&*self.disk, &name, "sync the folder of", error))
    }
}

/// An entry from its bytes, which were found to be those that were written.
fn decode<E: Decode<()>>(segment: &Segment, number: u64, bytes: &[u8]) -> Result<E, StoreError> {
    codec::decode_plain(bytes).map_err(|error| StoreError::Damaged {
        file: segment.path(),
        place: format!("entry {number}"),
        reason: format!("it is none of this log: {error}"),
    })
}

impl<E: Encode + Decode<()> + Clone> Log for SegmentLog<E> {
    type Entry = E;
    type Error = StoreError;

    /// *Panics* when the entry's encoding is larger than [`LOG_ENTRY_BYTES_MAX`].
    fn append(&mut self, entry: E) -> Result<u64, StoreError> {
        self.check()?;
        let frames = &mut self.pending.bytes;
        let start = frames.len() + FRAME_HEADER_BYTES;
        let mut end = start;
        let size = frame::add_entry(frames, |out| {
            codec::encode_plain(&entry, out);
            end = out.len();
        });
        assert!(
            end - start <= LOG_ENTRY_BYTES_MAX,
            "an entry of {} bytes, more than {LOG_ENTRY_BYTES_MAX}",
            end - start
        );
        self.pending.sizes.push_back(size);
        Ok(self.durable + self.pending.sizes.len() as u64)
    }

    fn sync(&mut self) -> Result<u64, StoreError> {
        self.check()?;
        match self.write_pending() {
            Ok(()) => Ok(self.durable),
            Err(error) => self.failed(error),
        }
    }

    fn first(&self) -> u64 {
        self.segments.front().map_or(0, Segment::first)
    }

    fn durable(&self) -> u64 {
        self.durable
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<E>, StoreError> {
        self.check()?;
        let mut entries = Vec::new();
        let mut next = from.max(self.first());
        for segment in &self.segments {
            let end = segment.end().min(self.durable);
            let count = (limit - entries.len()).min(end.saturating_sub(next) as usize);
            if segment.first() <= next && count > 0 {
                segment.read(next, count, &mut |number, bytes| {
                    entries.push(decode(segment, number, bytes)?);
                    Ok(())
                })?;
                next += count as u64;
            }
        }
        Ok(entries)
    }

    fn drop_below(&mut self, first: u64) -> Result<(), StoreError> {
        self.check()?;
        assert!(
            first <= self.durable,
            "entries up to {first} are to be dropped, but only {} are durable",
            self.durable
        );
        while self.segments.len() > 1 && self.segments[0].end() <= first {
            if let Err(error) = self.drop_first_segment() {
                return self.failed(error);
            }
        }
        Ok(())
    }
}
