//! A file for redb, of which every block is verified when it is read.
//!
//! redb keeps a checksum of every page and looks at it only to repair what a crash left; what it reads otherwise it believes. So a
//! sum of every 4 KiB block is kept beside the file, in `NAME.sums`, and what does not fit its sum is an error and never a value. The sum
//! holds the number of the block: one that was written elsewhere does not fit, and neither does an older one whose writing was lost.
//!
//! **Header last.** Block 0 is redb's header: two commit slots with checksums of their own, and a byte without one that says which of
//! them counts. redb writes it over in place. Here it is held back until the sync, which
//!
//! 1. makes all other blocks durable, and their sums,
//! 2. then the header, beside the sums, in the one of two places where the last but one was, under the next number,
//! 3. then writes the header into block 0, and makes that durable too.
//!
//! What counts is the header beside the sums: block 0 is a copy, which shows that it is the last.
//!
//! **Crash.** Until step 2 is done the last header stands, with its number, and after it the new one. So a header is there only if
//! every block written before it is, with its sum, and that needs no two-phase commit of redb. redb writes no page that the last header
//! leads to (copy on write), so nothing that becomes of step 1 touches those: the other entries in a sector of sums are written again
//! as they were. What a crash leaves may be blocks that do not fit their sums; no header leads to them, and redb writes them before
//! it reads them. A block whose sum was never written is zeros.
//!
//! **Lost writes.** A crash leaves in block 0 the last header or the one before. Any other block 0 shows that the last header was lost where
//! the sums are, or that block 0 is damaged: redb would go back to an older commit, so that is an error. A header that was lost in
//! block 0 is written again. What goes unnoticed is the loss of a block *and* of its sum, of the header in both places.
//!
//! **Creation.** Until redb has written its magic number a file is as good as empty, and is begun again.
//!
//! *Cost*: four syncs of the medium for one of redb, and two where only the header was written: six for a commit in two phases. 8 bytes of
//! memory for each block, read when the file is opened. Tests: `tests/store/blocks.rs`,
//! and with redb over it `tests/store/verified.rs`.

mod sidecar;
mod sums;

use std::io;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::StorageBackend;

use self::sidecar::{Block, Sidecar, Slot};
use self::sums::Sums;
use super::{Disk, File};
use crate::store::StoreError;

/// The unit of verification: a page of redb is one or more of them.
const BLOCK_BYTES: u64 = 4096;

const BLOCK_LEN: usize = BLOCK_BYTES as usize;

/// A file with verified blocks. Clones are handles of the same.
///
/// redb takes one handle and tells of a failure only that there was one; another, kept aside, says [which](VerifiedBackend::failure).
#[derive(Clone, Debug)]
pub struct VerifiedBackend {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// What to call the file.
    path: String,
    data: Arc<dyn File>,
    sidecar: Sidecar,
    state: RwLock<State>,
    /// Held by whoever syncs: one at a time.
    syncing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    len: u64,
    /// Whether anything but the header was written since the last sync.
    data_is_new: bool,
    sums: Sums,
    /// Block 0 as redb sees it, and whether it was written since the last sync.
    header: Block,
    header_is_new: bool,
    /// The number of the last durable header.
    sequence: u64,
    failure: Option<StoreError>,
}

impl VerifiedBackend {
    /// The file of this name and its sums, created if there are none.
    ///
    /// What a crash left between the header and its copy is put right, and synced.
    ///
    /// *Errors*: [`StoreError::Damaged`] when the file does not fit its sums as far as that is seen without reading it all,
    /// [`StoreError::Future`] when a later version wrote the sums, [`StoreError::Full`] and [`StoreError::Medium`].
    pub fn open(disk: &dyn Disk, name: &str) -> Result<Self, StoreError> {
        let path = format!("{}/{name}", disk.path());
        let sums_name = format!("{name}.sums");
        let failed = |action| {
            let path = &path;
            move |error| StoreError::of_file(path, action, error)
        };
        let data = disk.open(name).map_err(failed("open the file"))?;
        let sums = disk.open(&sums_name).map_err(failed("open the sums"))?;
        disk.sync().map_err(failed("sync the folder"))?;
        let sidecar = Sidecar::new(format!("{path}.sums"), sums);
        let state = match State::read(&path, &*data, &sidecar)? {
            Some(state) => state,
            None => State::create(&path, &*data, &sidecar)?,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                data,
                sidecar,
                state: RwLock::new(state),
                syncing: Mutex::new(()),
            }),
        })
    }

    /// Why nothing is written any more: the first thing that failed. None while nothing has.
    pub fn failure(&self) -> Option<StoreError> {
        self.shared.read_state().failure.clone()
    }
}

impl State {
    /// What is there, put right after a crash; none where there is nothing yet.
    fn read(path: &str, data: &dyn File, sidecar: &Sidecar) -> Result<Option<Self>, StoreError> {
        let failed = |action| move |error| StoreError::of_file(path, action, error);
        let damaged = |place: &str, reason: &str| StoreError::Damaged {
            file: path.to_owned(),
            place: place.to_owned(),
            reason: reason.to_owned(),
        };
        let len = data.len().map_err(failed("ask for the length"))?;
        let mut copy = Block::default();
        if len >= BLOCK_BYTES {
            data.read(0, &mut *copy.0).map_err(failed("read block 0"))?;
        }
        let Some(slots) = sidecar.read_slots()? else {
            if copy.is_zero() {
                return Ok(None);
            }
            return Err(damaged("the header", "the file is not empty, but has no sums"));
        };
        let Some(last) = slots.last else {
            if copy.is_zero() {
                return Ok(None);
            }
            return Err(damaged("the header", "neither place of it beside the sums holds one"));
        };
        if last.header.is_begun() && (len == 0 || !len.is_multiple_of(BLOCK_BYTES)) {
            return Err(damaged("the end", &format!("it has {len} bytes, which it never had")));
        }
        if !copy.is_mixed_of(&last.header, &slots.before.unwrap_or_default()) {
            let reason = "block 0 is neither the last header nor the one before: one of them was lost or changed";
            return Err(damaged("the header", reason));
        }
        if !last.header.is_begun() {
            return Ok(None);
        }
        let sums = sidecar.read_sums(len / BLOCK_BYTES)?;
        if copy != last.header {
            // The header may be in the cache alone, left by a sync that failed and a process that stopped. It is to be durable before
            // block 0 follows it.
            sidecar.renew_slot(&last)?;
        }
        // Written in any case: what block 0 shows here may be in the cache alone, likewise.
        data.write(0, &*last.header.0).map_err(failed("write block 0"))?;
        data.sync().map_err(failed("sync the file"))?;
        Ok(Some(Self {
            len,
            data_is_new: false,
            sums,
            header: last.header,
            header_is_new: false,
            sequence: last.sequence,
            failure: None,
        }))
    }

    /// An empty file.
    fn create(path: &str, data: &dyn File, sidecar: &Sidecar) -> Result<Self, StoreError> {
        let failed = |action| move |error| StoreError::of_file(path, action, error);
        data.set_len(0).map_err(failed("empty the file"))?;
        data.sync().map_err(failed("sync the file"))?;
        sidecar.create()?;
        Ok(Self {
            len: 0,
            data_is_new: false,
            sums: Sums::default(),
            header: Block::default(),
            header_is_new: false,
            sequence: 0,
            failure: None,
        })
    }
}

impl Shared {
    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("nobody panics who holds the state")
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("nobody panics who holds the state")
    }

    /// The state, for changing it; an error once anything has failed.
    fn change(&self) -> io::Result<RwLockWriteGuard<'_, State>> {
        let state = self.write_state();
        match &state.failure {
            None => Ok(state),
            Some(failure @ StoreError::Full { .. }) => {
                Err(io::Error::new(io::ErrorKind::StorageFull, failure.to_string()))
            }
            Some(failure) => Err(io::Error::other(format!("nothing is written any more: {failure}"))),
        }
    }

    /// Keeps the first failure. *Gives* what redb is told.
    fn fail(&self, state: &mut State, action: &'static str, error: io::Error) -> io::Error {
        let told = io::Error::new(error.kind(), error.to_string());
        state
            .failure
            .get_or_insert_with(|| StoreError::of_file(&self.path, action, error));
        told
    }

    /// Reads whole blocks, and verifies each.
    fn read_blocks(&self, state: &State, first: u64, buffer: &mut [u8]) -> Result<(), ReadFailure> {
        self.data
            .read(first * BLOCK_BYTES, buffer)
            .map_err(ReadFailure::Medium)?;
        for (block, bytes) in (first..).zip(buffer.chunks_exact_mut(BLOCK_LEN)) {
            if block == 0 {
                bytes.copy_from_slice(&*state.header.0);
            } else {
                state
                    .sums
                    .verify(block, bytes)
                    .map_err(|reason| ReadFailure::Damage { block, reason })?;
            }
        }
        Ok(())
    }

    fn read(&self, state: &State, offset: u64, out: &mut [u8]) -> Result<(), ReadFailure> {
        let end = offset.saturating_add(out.len() as u64);
        if end > state.len {
            let reason = format!("the file has {} bytes, and byte {end} is wanted", state.len);
            return Err(ReadFailure::Beyond(reason));
        }
        let first = offset / BLOCK_BYTES;
        if offset.is_multiple_of(BLOCK_BYTES) && out.len().is_multiple_of(BLOCK_LEN) {
            return self.read_blocks(state, first, out);
        }
        let blocks = (end.div_ceil(BLOCK_BYTES) - first) as usize;
        let mut whole = vec![0; blocks * BLOCK_LEN];
        self.read_blocks(state, first, &mut whole)?;
        let from = (offset % BLOCK_BYTES) as usize;
        out.copy_from_slice(&whole[from..from + out.len()]);
        Ok(())
    }

    fn write(&self, state: &mut State, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > state.len {
            let reason = format!("the file has {} bytes, and byte {end} is to be written", state.len);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        // The header is the one block that is written in part.
        let in_header = offset.min(BLOCK_BYTES)..end.min(BLOCK_BYTES);
        let (header, blocks) = bytes.split_at((in_header.end - in_header.start) as usize);
        if !header.is_empty() {
            state.header.0[in_header.start as usize..in_header.end as usize].copy_from_slice(header);
            state.header_is_new = true;
        }
        let offset = offset.max(BLOCK_BYTES);
        if !offset.is_multiple_of(BLOCK_BYTES) || !blocks.len().is_multiple_of(BLOCK_LEN) {
            let reason = format!("{} bytes at {offset} are no whole blocks", blocks.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        if !blocks.is_empty() {
            state.data_is_new = true;
            self.data.write(offset, blocks)?;
            for (block, bytes) in (offset / BLOCK_BYTES..).zip(blocks.chunks_exact(BLOCK_LEN)) {
                state.sums.set(block, bytes);
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), (&'static str, io::Error)> {
        let (data_is_new, sums, header) = {
            let mut state = self.change().map_err(|error| ("sync the file", error))?;
            let data_is_new = std::mem::take(&mut state.data_is_new);
            let header = std::mem::take(&mut state.header_is_new).then(|| Slot {
                sequence: state.sequence + 1,
                header: state.header.clone(),
            });
            (data_is_new, state.sums.take_changes(), header)
        };
        // Nothing is locked meanwhile but further syncs: what is written from here on belongs to the next.
        if data_is_new {
            self.data.sync().map_err(|error| ("sync the file", error))?;
        }
        if !sums.is_empty() {
            self.sidecar.write_sums(&sums)?;
        }
        if let Some(slot) = header {
            self.sidecar.write_slot(&slot)?;
            let copied = self.data.write(0, &*slot.header.0);
            copied
                .and_then(|()| self.data.sync())
                .map_err(|error| ("write the header", error))?;
            self.write_state().sequence = slot.sequence;
        }
        Ok(())
    }
}

/// Why nothing is read.
enum ReadFailure {
    /// There is nothing so far behind; nothing has failed.
    Beyond(String),
    Medium(io::Error),
    Damage {
        block: u64,
        reason: String,
    },
}

impl StorageBackend for VerifiedBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.shared.read_state().len)
    }

    /// *Errors* with [`io::ErrorKind::InvalidData`] when a block does not fit its sum: `out` is not to be used then, and
    /// [`VerifiedBackend::failure`] says more. Blocks that do fit can still be read.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let result = self.shared.read(&self.shared.read_state(), offset, out);
        let Err(failure) = result else {
            return Ok(());
        };
        out.fill(0);
        match failure {
            ReadFailure::Beyond(reason) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason)),
            ReadFailure::Medium(error) => {
                let state = &mut self.shared.write_state();
                Err(self.shared.fail(state, "read the file", error))
            }
            ReadFailure::Damage { block, reason } => {
                let damage = StoreError::Damaged {
                    file: self.shared.path.clone(),
                    place: format!("the block at byte {}", block * BLOCK_BYTES),
                    reason,
                };
                let told = io::Error::new(io::ErrorKind::InvalidData, damage.to_string());
                self.shared.write_state().failure.get_or_insert(damage);
                Err(told)
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.shared.change()?;
        if !len.is_multiple_of(BLOCK_BYTES) {
            let reason = format!("{len} bytes are no whole blocks");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        if let Err(error) = self.shared.data.set_len(len) {
            return Err(self.shared.fail(&mut state, "change the length", error));
        }
        state.len = len;
        state.data_is_new = true;
        state.sums.set_blocks(len / BLOCK_BYTES);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let _one = self.shared.syncing.lock().expect("nobody panics who syncs");
        self.shared.sync().map_err(|(action, error)| {
            let state = &mut self.shared.write_state();
            self.shared.fail(state, action, error)
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.shared.change()?;
        let written = self.shared.write(&mut state, offset, data);
        written.map_err(|error| self.shared.fail(&mut state, "write the file", error))
    }
}
