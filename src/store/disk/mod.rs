//! What a store needs of a medium: files in a folder, and the moment at which what was written is durable.
//!
//! Realises the seam of section 5 of the design on which the production store is crashed: the log and the versions see a [`Disk`]
//! and nothing else. What is written is read back at once; it survives a crash of the machine only once the file was
//! [synced](File::sync), and until then any part of it may: see `docs/storage.md` for what is assumed.

mod folder;
mod simulated;
mod verified;

pub use folder::FolderDisk;
pub use simulated::{Crash, Fault, FaultRates, SECTOR_BYTES, SimulatedDisk};
pub use verified::VerifiedBackend;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// The file by which a folder is locked: no file of a store has this name.
const LOCK: &str = "lock";

/// A folder of files, without folders in it.
///
/// Names are ASCII letters, digits, `-` and `.`, and do not begin with a point; `lock` is the folder's own. With any other name
/// every call gives [`io::ErrorKind::InvalidInput`].
pub trait Disk: Send + Sync + Debug {
    /// The file of this name, created empty if there is none. Its name is durable once the folder is [synced](Disk::sync).
    ///
    /// Handles of one file see each other's writes.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// The names of all files, ascending.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Gives a file another name, in the place of a file that has it. Durable once the folder is synced, and until then the file has one
    /// of the two names.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable once the folder is synced.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names durable.
    fn sync(&self) -> io::Result<()>;

    /// What to call the folder in an error.
    fn path(&self) -> String;
}

/// The bytes of one file. A handle may be used by several threads.
pub trait File: Send + Sync + Debug {
    /// How many bytes it has.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has none.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts it, or lengthens it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` on.
    ///
    /// *Errors* with [`io::ErrorKind::UnexpectedEof`] when the file ends before.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` from `offset` on; the file grows where it must.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written before the call, and the length.
    ///
    /// *Errors*: what was written since the last success may or may not be durable, and no later sync can tell. Stop using the file. From then
    /// on reads give what is durable, so that whoever opens it next builds on nothing that a power cut takes away.
    fn sync(&self) -> io::Result<()>;
}

/// Refuses what is no name of a file of a store.
fn check_name(name: &str) -> io::Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if name.is_empty() || name.starts_with('.') || name == LOCK || !name.bytes().all(is_allowed) {
        let reason =
            format!("{name:?} is no name of a file of a store: letters, digits, `-` and `.`, and not `{LOCK}`");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    Ok(())
}
