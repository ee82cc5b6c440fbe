//! One segment: a file with a header and frames behind it.

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::super::StoreError;
use super::super::disk::{Disk, File};
use super::frame::{self, ALIGNMENT, FRAME_HEADER_BYTES, Frame, MARK_BODY_BYTES, MARK_BYTES};
use crate::id::StorageId;
use crate::limits::LOG_ENTRY_BYTES_MAX;

/// The format of the files, as their headers name it.
pub const FORMAT: u32 = 1;

/// Bytes of a header.
const HEADER_BYTES: usize = 64;

/// Where the header stands, in two sectors: one that is damaged is not taken for one that was never written.
const HEADERS_AT: [u64; 2] = [0, 512];

/// Where the frames begin.
pub(super) const FRAMES_AT: u64 = 1024;

const MAGIC: [u8; 8] = *b"plimsLOG";

/// Bytes that are read at once.
const WINDOW_BYTES: usize = 256 << 10;

/// Entries between two whose places are kept in memory.
const INDEX_EVERY: u64 = 256;

/// Bytes of zeros that are written at once.
const ZEROS_BYTES: usize = 1 << 20;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) storage: StorageId,
    /// Ascending from 1, without gaps.
    pub(super) number: u64,
    /// How many entries were written before, all of them durable.
    pub(super) first: u64,
}

/// What stands where a header should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FoundHeader {
    Sound(Header),
    /// It was never written, or torn by a crash, or damaged.
    None,
    /// Of a later format.
    Future(u32),
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.storage.number().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.to_le_bytes());
        let checksum = xxh3_64(&bytes[..56]);
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> FoundHeader {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        if bytes[..8] != MAGIC || xxh3_64(&bytes[..56]) != word(56) {
            return FoundHeader::None;
        }
        let format = word(8) as u32;
        if format > FORMAT {
            return FoundHeader::Future(format);
        }
        let storage = u128::from(word(16)) | u128::from(word(24)) << 64;
        FoundHeader::Sound(Self {
            storage: StorageId::new(storage),
            number: word(32),
            first: word(40),
        })
    }

    /// The header in a file. *Given* the number that its name says; one of an earlier use has a lower one, and does not count.
    pub(super) fn find(file: &dyn File, number: u64) -> io::Result<FoundHeader> {
        let length = file.len()?;
        for at in HEADERS_AT {
            let mut bytes = [0; HEADER_BYTES];
            if at + HEADER_BYTES as u64 > length {
                break;
            }
            file.read(at, &mut bytes)?;
            match Self::from_bytes(&bytes) {
                FoundHeader::None => {}
                FoundHeader::Sound(header) if header.number < number => {}
                found => return Ok(found),
            }
        }
        Ok(FoundHeader::None)
    }

    /// What goes into the checksums of the frames.
    fn seed(self) -> u64 {
        xxh3_64(&self.to_bytes())
    }
}

pub(super) fn segment_name(number: u64) -> String {
    format!("log-{number:016x}.seg")
}

pub(super) fn spare_name(number: u64) -> String {
    format!("log-spare-{number:016x}.seg")
}

/// What a name of [`segment_name`] or [`spare_name`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Segment(u64),
    Spare(u64),
}

/// *Gives* none for a file of somebody else.
pub(super) fn named(name: &str) -> Option<Named> {
    let stem = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    match stem.strip_prefix("spare-") {
        Some(digits) => number(digits).map(Named::Spare),
        None => number(stem).map(Named::Segment),
    }
}

/// Takes the number of an entry and its bytes.
pub(super) type EntryVisitor<'a> = dyn FnMut(u64, &[u8]) -> Result<(), StoreError> + 'a;

/// One segment of a log.
#[derive(Debug)]
pub(super) struct Segment {
    path: String,
    file: Arc<dyn File>,
    header: Header,
    seed: u64,
    bytes: u64,
    /// The number of the entry behind the last one here.
    end: u64,
    /// Where the next frame goes.
    offset: u64,
    /// Where every so many an entry begins.
    index: Vec<(u64, u64)>,
}

impl Segment {
    /// A new segment, of this many bytes. *Given* the name of a file that can be written again, if there is one.
    ///
    /// Its name, header and length are durable before it is given.
    pub(super) fn create(disk: &dyn Disk, header: Header, bytes: u64, spare: Option<&str>) -> Result<Self, StoreError> {
        let name = segment_name(header.number);
        let failed = |action, error| StoreError::of_medium(disk, &name, action, error);
        // One that was not begun when a crash came has its name already.
        if let Some(spare) = spare.filter(|spare| *spare != name) {
            disk.rename(spare, &name)
                .map_err(|error| failed("rename a spare to", error))?;
        }
        let file = disk.open(&name).map_err(|error| failed("create", error))?;
        if file.len().map_err(|error| failed("look at", error))? != bytes {
            // Blocks are given now and not in the middle of a sync; if there are too few, nothing is begun.
            if let Err(error) = allocate(&*file, bytes) {
                let error = failed("lengthen", error);
                // It is found as a spare without this; of the space it takes it is worth to be rid of.
                let _ = disk.remove(&name);
                return Err(error);
            }
        }
        for at in HEADERS_AT {
            file.write(at, &header.to_bytes())
                .map_err(|error| failed("write", error))?;
        }
        file.sync().map_err(|error| failed("sync", error))?;
        disk.sync().map_err(|error| failed("sync the folder of", error))?;
        Ok(Self::new(disk, file, header, bytes))
    }

    /// A segment that was found.
    pub(super) fn new(disk: &dyn Disk, file: Arc<dyn File>, header: Header, bytes: u64) -> Self {
        Self {
            path: format!("{}/{}", disk.path(), segment_name(header.number)),
            file,
            seed: header.seed(),
            bytes,
            end: header.first,
            offset: FRAMES_AT,
            index: Vec::new(),
            header,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.header.number
    }

    pub(super) fn name(&self) -> String {
        segment_name(self.header.number)
    }

    pub(super) fn path(&self) -> String {
        self.path.clone()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of the first entry.
    pub(super) fn first(&self) -> u64 {
        self.header.first
    }

    /// The number of the entry behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Whether a frame of this many bytes fits, and a mark behind it.
    pub(super) fn has_room(&self, frame_bytes: usize) -> bool {
        self.offset + (frame_bytes + MARK_BYTES) as u64 <= self.bytes
    }

    /// Writes frames and makes them durable. *Given* those of entries, one behind the other, how many bytes each has, and that there is room.
    ///
    /// *Errors*: they may or may not be durable, and can be written again.
    pub(super) fn write(&mut self, frames: &mut [u8], sizes: impl Iterator<Item = usize>) -> Result<(), StoreError> {
        assert!(self.has_room(frames.len()), "frames are written that do not fit");
        let (end, indexed) = (self.end, self.index.len());
        let mut done = 0;
        for size in sizes {
            let offset = self.offset + done as u64;
            frame::seal(self.seed, offset, &mut frames[done..done + size]);
            self.note_entry(offset);
            done += size;
        }
        assert_eq!(done, frames.len(), "the sizes of the frames are those of their bytes");
        let written = self.file.write(self.offset, frames);
        let written = written.map_err(|error| StoreError::of_file(self.path(), "write", error));
        let durable = written.and_then(|()| self.sync());
        match &durable {
            Ok(()) => self.offset += done as u64,
            Err(_) => {
                self.end = end;
                self.index.truncate(indexed);
            }
        }
        durable
    }

    fn note_entry(&mut self, offset: u64) {
        if (self.end - self.header.first).is_multiple_of(INDEX_EVERY) {
            self.index.push((self.end, offset));
        }
        self.end += 1;
    }

    /// Says that all entries are durable. The mark goes with the next sync; until then it helps as far as it comes.
    pub(super) fn mark(&mut self) -> Result<(), StoreError> {
        let mark = frame::mark(self.seed, self.offset, self.end);
        let marked = self.file.write(self.offset, &mark);
        marked.map_err(|error| StoreError::of_file(self.path(), "write", error))?;
        self.offset += mark.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync()
            .map_err(|error| StoreError::of_file(self.path(), "sync", error))
    }

    /// Looks for the frames that are there, up to entry `end` if it is known.
    ///
    /// *Gives* where the first one is that does not check, and the highest mark.
    pub(super) fn scan(&mut self, end: Option<u64>, on_bytes: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        let mut window = Window::new(self);
        let mut marked = self.header.first;
        while end.is_none_or(|end| self.end < end)
            && let Some((frame, bytes)) = window.frame(self.offset)?
        {
            match frame {
                Frame::Entry(_) => self.note_entry(self.offset),
                Frame::Mark(durable) => marked = marked.max(durable),
            }
            self.offset += bytes as u64;
            on_bytes(bytes as u64);
        }
        Ok(marked)
    }

    /// The highest mark anywhere behind the last frame that was found.
    ///
    /// *Cost*: a look at every byte.
    pub(super) fn mark_behind(&self) -> Result<Option<u64>, StoreError> {
        let mut window = Window::new(self);
        let mut highest = None;
        let mut offset = self.offset;
        while offset + MARK_BYTES as u64 <= self.bytes {
            // The length tells nearly always that there is none.
            if window.could_be_mark(offset)?
                && let Some((Frame::Mark(durable), _)) = window.frame(offset)?
            {
                highest = highest.max(Some(durable));
            }
            offset += ALIGNMENT as u64;
        }
        Ok(highest)
    }

    /// Whether something was written where the next frame would be.
    pub(super) fn has_something_behind(&self) -> Result<bool, StoreError> {
        let mut window = Window::new(self);
        Ok(window
            .at(self.offset, FRAME_HEADER_BYTES)?
            .iter()
            .any(|byte| *byte != 0))
    }

    /// Where the next frame would be.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Shows `limit` entries from number `from` on, which is here.
    ///
    /// *Errors* when one is not what was written.
    pub(super) fn read(&self, from: u64, limit: usize, visit: &mut EntryVisitor<'_>) -> Result<(), StoreError> {
        let place = self.index.partition_point(|(number, _)| *number <= from);
        let Some((mut number, mut offset)) = place.checked_sub(1).and_then(|place| self.index.get(place)).copied()
        else {
            return Ok(());
        };
        let mut window = Window::new(self);
        let mut left = limit;
        while number < self.end && left > 0 {
            let Some((frame, bytes)) = window.frame(offset)? else {
                return Err(StoreError::Damaged {
                    file: self.path(),
                    place: format!("entry {number} at byte {offset}"),
                    reason: "its checksum is not that of its bytes".to_owned(),
                });
            };
            if let Frame::Entry(entry) = frame {
                if number >= from {
                    visit(number, entry)?;
                    left -= 1;
                }
                number += 1;
            }
            offset += bytes as u64;
        }
        Ok(())
    }
}

/// Gives a file its length in blocks that are there.
fn allocate(file: &dyn File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min(bytes as usize)];
    file.set_len(0)?;
    let mut offset = 0;
    while offset < bytes {
        let part = (bytes - offset).min(zeros.len() as u64);
        file.write(offset, &zeros[..part as usize])?;
        offset += part;
    }
    file.sync()
}

/// A part of a segment in memory.
struct Window {
    path: String,
    file: Arc<dyn File>,
    seed: u64,
    bytes: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    fn new(segment: &Segment) -> Self {
        Self {
            path: segment.path(),
            file: Arc::clone(&segment.file),
            seed: segment.seed,
            bytes: segment.bytes,
            start: 0,
            buffer: Vec::new(),
        }
    }

    /// The bytes from `offset` on, so many if the segment has them.
    fn at(&mut self, offset: u64, wanted: usize) -> Result<&[u8], StoreError> {
        let wanted = wanted.min(self.bytes.saturating_sub(offset) as usize);
        let is_there = self.start <= offset && offset + wanted as u64 <= self.start + self.buffer.len() as u64;
        if !is_there {
            let length = wanted.max(WINDOW_BYTES).min(self.bytes.saturating_sub(offset) as usize);
            self.buffer.resize(length, 0);
            self.start = offset;
            let read = self.file.read(offset, &mut self.buffer);
            if let Err(error) = read {
                self.buffer.clear();
                return Err(StoreError::of_file(self.path.clone(), "read", error));
            }
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buffer[from..from + wanted])
    }

    fn frame(&mut self, offset: u64) -> Result<Option<(Frame<'_>, usize)>, StoreError> {
        let body = frame::body_bytes(self.at(offset, FRAME_HEADER_BYTES)?);
        let Some(body) = body.filter(|body| *body <= LOG_ENTRY_BYTES_MAX + 1) else {
            return Ok(None);
        };
        let seed = self.seed;
        let bytes = self.at(offset, 12 + body)?;
        Ok(frame::read(seed, offset, bytes))
    }

    fn could_be_mark(&mut self, offset: u64) -> Result<bool, StoreError> {
        let body = frame::body_bytes(self.at(offset, 4)?);
        Ok(body == Some(MARK_BODY_BYTES))
    }
}
