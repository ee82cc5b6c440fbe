//! A simulated disk: what was not synced is lost in a crash, in part and torn, and everything else goes wrong that a disk can.
//!
//! One medium, with as many handles as wanted. It is deterministic: the same seed and the same calls give the same bytes and the same
//! faults. What it takes a disk to do, and what not, stands in `docs/storage.md`. Tests: `tests/store/disk.rs`, the suite every disk is
//! put through, and `tests/store/simulated.rs`.
//!
//! - `content`: the bytes of one file, seen and durable
//! - `medium`: files and names, operations, what goes wrong with them, and what a crash leaves
//! - `fault`: what can go wrong

mod content;
mod fault;
mod medium;

pub use content::SECTOR_BYTES;
pub use fault::{Fault, FaultRates};
pub use medium::Crash;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use self::medium::{FileId, Medium, stopped};
use super::{Disk, File, check_name};

/// A handle of a simulated disk. Clones are handles of the same disk.
///
/// After a [crash](SimulatedDisk::crash) the handles of before are deaf: every call of theirs and of their files, reads too, gives an
/// error and does nothing, as befits a process that is no more. The calls that are of this type and not of [`Disk`] are those of
/// whoever tests, and work with any handle.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    handle: Handle,
}

/// A medium, and the start of the machine in which it was taken hold of.
#[derive(Clone)]
struct Handle {
    medium: Arc<Mutex<Medium>>,
    start: u64,
}

impl Handle {
    fn new(medium: Medium) -> Self {
        let start = medium.starts;
        Self {
            medium: Arc::new(Mutex::new(medium)),
            start,
        }
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        self.medium.lock().expect("nobody panics who holds the medium")
    }

    /// The medium, for a process; an error where that process is no more.
    fn live(&self) -> io::Result<MutexGuard<'_, Medium>> {
        let medium = self.medium();
        if medium.is_stopped || medium.starts != self.start {
            return Err(stopped());
        }
        Ok(medium)
    }
}

/// Says which handle it is, and nothing of the bytes.
impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "start {} of the machine", self.start)
    }
}

impl SimulatedDisk {
    /// An empty disk without faults, that never fills up. Everything drawn on it is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            handle: Handle::new(Medium::new(seed)),
        }
    }

    /// A disk that is as this one is now, with all that is unsynced and planned, and goes its own way from here on. It records nothing.
    pub fn fork(&self) -> Self {
        Self {
            handle: Handle::new(self.handle.medium().fork()),
        }
    }

    /// Stops the machine and starts it again. *Gives* a handle of the disk as it is then; all others are deaf.
    ///
    /// What was synced is there. What was not may be, as `crash` says, sector by sector. A file that has no name any more is gone. What
    /// goes wrong stays planned, but for [`SimulatedDisk::crash_at`].
    pub fn crash(&self, crash: Crash) -> Self {
        self.handle.medium().crash(crash);
        self.reopen()
    }

    /// A handle that is not deaf, unless the machine stands still.
    pub fn reopen(&self) -> Self {
        let start = self.handle.medium().starts;
        Self {
            handle: Handle {
                medium: Arc::clone(&self.handle.medium),
                start,
            },
        }
    }

    /// How many operations there were: every write, change of length, sync, creation, renaming and removal. Reads are none.
    pub fn operations(&self) -> u64 {
        self.handle.medium().operations
    }

    /// Stops the machine in the middle of operation number `operation`, counted from 1: it gives an error, and all handles are deaf until
    /// the [crash](SimulatedDisk::crash), which draws what became of it.
    ///
    /// *Panics* when that operation is past.
    pub fn crash_at(&self, operation: u64) {
        let past = self.operations();
        assert!(operation > past, "operation {operation} is past: there were {past}");
        self.handle.medium().stop_at = Some(operation);
    }

    /// From now on keeps the disk as it is in the middle of each operation, as [`SimulatedDisk::crash_at`] would leave it.
    ///
    /// *Cost*: a copy for every operation, which shares the sectors and not their index.
    pub fn record(&self) {
        self.handle.medium().recorded = Some(Vec::new());
    }

    /// What was recorded, in the order of the operations, each with the number of its operation as [`SimulatedDisk::operations`]; nothing
    /// is recorded any more.
    pub fn recorded(&self) -> Vec<Self> {
        let recorded = self.handle.medium().recorded.take().unwrap_or_default();
        let handles = recorded.into_iter().map(Handle::new);
        handles.map(|handle| Self { handle }).collect()
    }

    /// Has the next operation that can meet it meet this fault. Several are met in the order in which they were injected.
    pub fn inject(&self, fault: Fault) {
        self.handle.medium().next_faults.push(fault);
    }

    /// Has operation number `operation` meet this fault, if it can. Reads are no operations: see [`SimulatedDisk::inject`].
    ///
    /// *Panics* when that operation is past, or the fault is one of reads.
    pub fn inject_at(&self, operation: u64, fault: Fault) {
        let past = self.operations();
        assert!(operation > past, "operation {operation} is past: there were {past}");
        assert!(fault != Fault::ReadError, "a read has no number");
        self.handle.medium().planned_faults.insert(operation, fault);
    }

    /// Has every operation meet faults by chance.
    pub fn set_rates(&self, rates: FaultRates) {
        self.handle.medium().rates = rates;
    }

    /// Turns bit `bit`, from 0 to 7, of a durable byte around. *Gives* whether there is such a byte.
    ///
    /// It is read so unless something newer lies in the cache, written and not synced yet.
    pub fn flip(&self, name: &str, offset: u64, bit: u8) -> bool {
        self.handle.medium().flip(name, offset, bit)
    }

    /// Turns any durable bit around. *Gives* the file, the offset and the bit; none when nothing is durable.
    pub fn flip_any(&self) -> Option<(String, u64, u8)> {
        self.handle.medium().flip_any()
    }

    /// Bounds the room: a write that needs more than so many bytes fails with [`io::ErrorKind::StorageFull`] once it has written what fits.
    /// None bounds nothing.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.handle.medium().capacity = bytes;
    }

    /// How many bytes of room the files take: whole sectors that were written; holes take none. A removed file takes room until the names
    /// are synced.
    pub fn used(&self) -> u64 {
        self.handle.medium().used()
    }

    /// How often each thing really went wrong, by its name: the faults by [`Fault::name`], and `full`, `bit flip`, `crash`,
    /// `unsynced sector lost`, `unsynced name lost`.
    pub fn faults(&self) -> BTreeMap<&'static str, u64> {
        self.handle.medium().happened()
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        check_name(name)?;
        let mut medium = self.handle.live()?;
        let id = match medium.named(name) {
            Some(id) => id,
            None => medium.create(name)?,
        };
        Ok(Arc::new(SimulatedFile {
            handle: self.handle.clone(),
            id,
        }))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.handle.live()?.names())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut medium = self.handle.live()?;
        if medium.named(from).is_none() {
            return Err(missing(from));
        }
        medium.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let mut medium = self.handle.live()?;
        if medium.named(name).is_none() {
            return Err(missing(name));
        }
        medium.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.live()?.sync_names()
    }

    fn path(&self) -> String {
        "simulated disk".to_owned()
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
}

#[derive(Debug)]
struct SimulatedFile {
    handle: Handle,
    id: FileId,
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.handle.live()?.file(self.id).seen.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.handle.live()?.set_len(self.id, bytes)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.handle.live()?.read(self.id, offset, buffer)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.handle.live()?.write(self.id, offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.live()?.sync(self.id)
    }
}
