//! The bytes of one simulated file: those the process sees, those that are durable, and what lies between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The unit in which writes become durable: each sector that a write touches is there after a crash or not, on its own.
pub const SECTOR_BYTES: u64 = 512;

const SECTOR_LEN: usize = SECTOR_BYTES as usize;

/// What stands in a sector; none is a hole, which reads as zeros and takes no room.
pub(super) type Sector = Option<Arc<[u8; SECTOR_LEN]>>;

/// What a file holds at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    sectors: BTreeMap<u64, Arc<[u8; SECTOR_LEN]>>,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes of room it takes.
    pub(super) fn room(&self) -> u64 {
        self.sectors.len() as u64 * SECTOR_BYTES
    }

    fn sector(&self, number: u64) -> Sector {
        self.sectors.get(&number).cloned()
    }

    fn set_sector(&mut self, number: u64, sector: Sector) {
        match sector {
            Some(bytes) => self.sectors.insert(number, bytes),
            None => self.sectors.remove(&number),
        };
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            let reason = format!(
                "the file has {} bytes, and {} are wanted from {offset} on",
                self.len,
                buffer.len()
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        for piece in pieces(offset, buffer.len()) {
            let target = &mut buffer[piece.taken..piece.taken + piece.len];
            match self.sectors.get(&piece.sector) {
                Some(bytes) => target.copy_from_slice(&bytes[piece.from..piece.from + piece.len]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    /// Turns one bit around. *Gives* whether the file reaches so far.
    fn flip(&mut self, offset: u64, bit: u8) -> bool {
        if offset >= self.len {
            return false;
        }
        let sector = self
            .sectors
            .entry(offset / SECTOR_BYTES)
            .or_insert_with(|| Arc::new([0; SECTOR_LEN]));
        Arc::make_mut(sector)[(offset % SECTOR_BYTES) as usize] ^= 1 << (bit % 8);
        true
    }

    /// Gives it this length; what lay behind is gone, and reads as zeros if it grows again.
    fn resize(&mut self, len: u64) {
        if len < self.len {
            self.sectors.split_off(&len.div_ceil(SECTOR_BYTES));
            let kept = (len % SECTOR_BYTES) as usize;
            if kept > 0
                && let Some(last) = self.sectors.get_mut(&(len / SECTOR_BYTES))
            {
                Arc::make_mut(last)[kept..].fill(0);
            }
        }
        self.len = len;
    }
}

/// The part of a read or write that falls into one sector.
struct Piece {
    sector: u64,
    /// Where in the sector it begins.
    from: usize,
    /// Where in the buffer it begins.
    taken: usize,
    len: usize,
}

fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
    let mut taken = 0;
    std::iter::from_fn(move || {
        (taken < len).then(|| {
            let at = offset + taken as u64;
            let from = (at % SECTOR_BYTES) as usize;
            let piece = Piece {
                sector: at / SECTOR_BYTES,
                from,
                taken,
                len: (SECTOR_LEN - from).min(len - taken),
            };
            taken += piece.len;
            piece
        })
    })
}

/// Which of what was written and not synced is durable after all.
pub(super) trait Draw {
    /// A number up to and with `newest`: 0 is what was durable before, `newest` what was written last.
    fn version(&mut self, newest: usize) -> usize;
}

/// A file with its past since the last sync.
#[derive(Clone, Debug, Default)]
pub(super) struct FileState {
    /// What is read back.
    pub(super) seen: Content,
    durable: Content,
    /// What was written to each sector since the last sync, oldest first.
    unsynced: BTreeMap<u64, Vec<Sector>>,
    /// What lengths the file had since the last sync, oldest first.
    lengths: Vec<u64>,
}

impl FileState {
    /// Writes, to be durable with the next sync.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.write_at(offset, offset, bytes);
    }

    /// Writes what is read back at `offset`, but becomes durable at `lands`. *Given* that the two are whole sectors apart, and that
    /// the file reaches behind what lands elsewhere.
    pub(super) fn write_at(&mut self, offset: u64, lands: u64, bytes: &[u8]) {
        let is_elsewhere = lands != offset;
        assert!(
            lands % SECTOR_BYTES == offset % SECTOR_BYTES,
            "a write at {offset} cannot land at {lands}"
        );
        for (piece, landed) in pieces(offset, bytes.len()).zip(pieces(lands, bytes.len())) {
            let part = &bytes[piece.taken..piece.taken + piece.len];
            let mut sector = self
                .seen
                .sector(piece.sector)
                .unwrap_or_else(|| Arc::new([0; SECTOR_LEN]));
            Arc::make_mut(&mut sector)[piece.from..piece.from + piece.len].copy_from_slice(part);
            self.seen.set_sector(piece.sector, Some(Arc::clone(&sector)));
            if is_elsewhere {
                let mut hit = self.newest(landed.sector).unwrap_or_else(|| Arc::new([0; SECTOR_LEN]));
                Arc::make_mut(&mut hit)[piece.from..piece.from + piece.len].copy_from_slice(part);
                sector = hit;
            }
            self.unsynced.entry(landed.sector).or_default().push(Some(sector));
        }
        self.grow_to(offset + bytes.len() as u64);
    }

    /// Takes a write that never becomes durable; it is read back all the same, from the cache.
    pub(super) fn write_lost(&mut self, offset: u64, bytes: &[u8]) {
        for piece in pieces(offset, bytes.len()) {
            let mut sector = self
                .seen
                .sector(piece.sector)
                .unwrap_or_else(|| Arc::new([0; SECTOR_LEN]));
            Arc::make_mut(&mut sector)[piece.from..piece.from + piece.len]
                .copy_from_slice(&bytes[piece.taken..piece.taken + piece.len]);
            self.seen.set_sector(piece.sector, Some(sector));
        }
        self.grow_to(offset + bytes.len() as u64);
    }

    /// Lengthens it to `len` where it is shorter.
    pub(super) fn grow_to(&mut self, len: u64) {
        if len > self.seen.len {
            self.seen.len = len;
            self.lengths.push(len);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.seen.len {
            let first = len / SECTOR_BYTES;
            let mut touched: Vec<u64> = self.seen.sectors.range(first..).map(|(number, _)| *number).collect();
            touched.extend(self.unsynced.range(first..).map(|(number, _)| *number));
            touched.extend(self.durable.sectors.range(first..).map(|(number, _)| *number));
            touched.sort_unstable();
            touched.dedup();
            self.seen.resize(len);
            for number in touched {
                let left = self.seen.sector(number);
                self.unsynced.entry(number).or_default().push(left);
            }
        }
        self.seen.len = len;
        self.lengths.push(len);
    }

    /// What a sector holds once all that was written is durable.
    fn newest(&self, number: u64) -> Sector {
        match self.unsynced.get(&number).and_then(|versions| versions.last()) {
            Some(newest) => newest.clone(),
            None => self.durable.sector(number),
        }
    }

    /// How many of `len` bytes at `offset` can be written when the file may take so many bytes of room more.
    pub(super) fn fitting(&self, offset: u64, len: usize, more: u64) -> usize {
        let room_max = self.room().saturating_add(more);
        let mut room = self.seen.room();
        for piece in pieces(offset, len) {
            if !self.seen.sectors.contains_key(&piece.sector) {
                room += SECTOR_BYTES;
                if room > room_max {
                    return piece.taken;
                }
            }
        }
        len
    }

    /// How many bytes of room it takes, seen or durable.
    pub(super) fn room(&self) -> u64 {
        self.seen.room().max(self.durable.room())
    }

    pub(super) fn durable_len(&self) -> u64 {
        self.durable.len
    }

    /// Turns a durable bit around; it is seen so unless something newer lies in the cache.
    pub(super) fn flip(&mut self, offset: u64, bit: u8) -> bool {
        let number = offset / SECTOR_BYTES;
        let is_cached = self.unsynced.contains_key(&number) || self.seen.sector(number) != self.durable.sector(number);
        let flipped = self.durable.flip(offset, bit);
        if flipped && !is_cached && offset < self.seen.len {
            let sector = self.durable.sector(number);
            self.seen.set_sector(number, sector);
        }
        flipped
    }

    /// Makes durable what was drawn of the unsynced; the rest will never be. *Gives* of how many sectors the newest write was not.
    ///
    /// What is seen stays, until it is [forgotten](FileState::forget).
    pub(super) fn settle(&mut self, draw: &mut impl Draw) -> u64 {
        let mut lost = 0;
        for (number, versions) in std::mem::take(&mut self.unsynced) {
            let drawn = draw.version(versions.len());
            lost += u64::from(drawn < versions.len());
            if let Some(kept) = drawn.checked_sub(1) {
                self.durable.set_sector(number, versions[kept].clone());
            }
        }
        // Sectors may have landed behind the end that was drawn, and are cut off with it.
        let lengths = std::mem::take(&mut self.lengths);
        let len = match draw.version(lengths.len()).checked_sub(1) {
            Some(kept) => lengths[kept],
            None => self.durable.len,
        };
        self.durable.len = u64::MAX;
        self.durable.resize(len);
        lost
    }

    /// Lets go of the cache: from now on what is durable is seen.
    pub(super) fn forget(&mut self) {
        assert!(
            self.unsynced.is_empty() && self.lengths.is_empty(),
            "what is not settled is not forgotten"
        );
        self.seen = self.durable.clone();
    }
}
