//! A medium in memory for the versions: it keeps its bytes when the database on it is closed, and fails when it is told to.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use plimsoll::store::versions::Medium;
use redb::StorageBackend;

/// One file. Clones are the same file.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// From this length on it is full.
    bytes_max: Option<usize>,
    /// Writes until one finds it full.
    until_full: Option<u64>,
    /// Operations until it fails; none: it does not.
    left: Option<u64>,
}

impl Memory {
    /// Lets it grow no more, or again.
    pub(crate) fn set_full(&self, is_full: bool) {
        let mut state = self.state();
        state.bytes_max = is_full.then_some(state.bytes.len());
    }

    /// Lets one write find it full, after this many.
    pub(crate) fn refuse_once_after(&self, writes: u64) {
        self.state().until_full = Some(writes);
    }

    /// Whether the write came that was to be refused.
    pub(crate) fn has_refused(&self) -> bool {
        self.state().until_full.take().is_none()
    }

    /// Lets every operation after this many fail.
    pub(crate) fn fail_after(&self, operations: u64) {
        self.state().left = Some(operations);
    }

    /// Lets nothing fail any more.
    pub(crate) fn recover(&self) {
        self.state().left = None;
    }

    pub(crate) fn len(&self) -> usize {
        self.state().bytes.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match &mut state.left {
            Some(0) => return Err(io::Error::other("planted")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(state)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Medium for Memory {
    fn file(&self) -> String {
        "versions.redb".to_owned()
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.clone()))
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.operate()?.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.operate()?;
        let from = offset as usize;
        out.copy_from_slice(
            state
                .bytes
                .get(from..from + out.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?,
        );
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.operate()?;
        if state.bytes_max.is_some_and(|max| bytes as usize > max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.bytes.resize(bytes as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.operate().map(drop)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.operate()?;
        state.until_full = match state.until_full {
            Some(0) => {
                state.until_full = None;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Some(left) => Some(left - 1),
            None => None,
        };
        let from = offset as usize;
        let place = state.bytes.get_mut(from..from + data.len());
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(data);
        Ok(())
    }
}
