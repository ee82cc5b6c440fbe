//! The medium that the handles of a simulated disk share.

use std::collections::BTreeMap;
use std::io;

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::content::{Draw, FileState, SECTOR_BYTES};
use super::fault::{Fault, FaultRates, Target};

/// What becomes of what was not synced when the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// None of it is durable.
    LoseAll,
    /// All of it is, as when the process stops and the machine does not.
    KeepAll,
    /// Any of it, drawn from this seed: of each sector any of what was written to it, of each file any of its lengths, and of each
    /// name what was done to it up to any moment.
    Random(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// What was done to the names.
#[derive(Clone, Debug)]
enum Naming {
    Create(String, FileId),
    Rename(String, String),
    Remove(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, FileId>) {
        match self {
            Self::Create(name, id) => {
                names.insert(name.clone(), *id);
            }
            Self::Rename(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }

    fn touched(&self) -> impl Iterator<Item = &String> {
        let (first, second) = match self {
            Self::Create(name, _) | Self::Remove(name) => (name, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }
}

/// Everything about the disk, and about the machine it is in.
pub(super) struct Medium {
    /// How often the machine was started: handles of an earlier time are deaf.
    pub(super) starts: u64,
    /// Whether the machine stands still, and every handle is deaf.
    pub(super) is_stopped: bool,
    files: BTreeMap<FileId, FileState>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    unsynced_names: Vec<Naming>,
    next_file: u64,
    random: Xoshiro256PlusPlus,
    pub(super) operations: u64,
    pub(super) stop_at: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) rates: FaultRates,
    /// Faults for the next operation of their kind, in this order.
    pub(super) next_faults: Vec<Fault>,
    /// Faults by the number of the operation.
    pub(super) planned_faults: BTreeMap<u64, Fault>,
    happened: BTreeMap<&'static str, u64>,
    /// How the medium stood in the middle of each operation, where that is recorded.
    pub(super) recorded: Option<Vec<Medium>>,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            starts: 0,
            is_stopped: false,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            next_file: 0,
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            operations: 0,
            stop_at: None,
            capacity: None,
            rates: FaultRates::default(),
            next_faults: Vec::new(),
            planned_faults: BTreeMap::new(),
            happened: BTreeMap::new(),
            recorded: None,
        }
    }

    /// The medium as it is, without what was recorded.
    pub(super) fn fork(&self) -> Self {
        Self {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced_names: self.unsynced_names.clone(),
            random: self.random.clone(),
            next_faults: self.next_faults.clone(),
            planned_faults: self.planned_faults.clone(),
            happened: self.happened.clone(),
            recorded: None,
            ..*self
        }
    }

    // Files and names, as a process sees them.

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn named(&self, name: &str) -> Option<FileId> {
        self.names.get(name).copied()
    }

    pub(super) fn file(&mut self, id: FileId) -> &mut FileState {
        self.files.get_mut(&id).expect("a file is kept while the machine runs")
    }

    /// The bytes of room that all files take which have a name, or durably had one.
    pub(super) fn used(&self) -> u64 {
        let has_name = |id: &FileId| {
            let mut named = self.names.values().chain(self.durable_names.values());
            named.any(|named| named == id)
        };
        let named = self.files.iter().filter(|(id, _)| has_name(id));
        named.map(|(_, file)| file.room()).sum()
    }

    // Operations. Each is counted, and is the last one where the machine is to stop at it.

    pub(super) fn create(&mut self, name: &str) -> io::Result<FileId> {
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(id, FileState::default());
        self.name(Naming::Create(name.to_owned(), id))?;
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.name(Naming::Rename(from.to_owned(), to.to_owned()))
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.name(Naming::Remove(name.to_owned()))
    }

    fn name(&mut self, naming: Naming) -> io::Result<()> {
        self.operations += 1;
        naming.apply(&mut self.names);
        self.unsynced_names.push(naming);
        self.end_operation()
    }

    pub(super) fn sync_names(&mut self) -> io::Result<()> {
        self.operations += 1;
        // A sync that the machine does not live to see may have made anything durable, which is what a crash draws.
        self.end_operation()?;
        if self.meets(Target::Sync).is_some() {
            self.happens(Fault::SyncError.name(), 1);
            let seed = self.random.next_u64();
            self.settle_names(&mut Chance::new(Crash::Random(seed)));
            return Err(io::Error::other("simulated: the names cannot be synced"));
        }
        self.unsynced_names.clear();
        self.durable_names.clone_from(&self.names);
        Ok(())
    }

    pub(super) fn set_len(&mut self, id: FileId, bytes: u64) -> io::Result<()> {
        self.operations += 1;
        self.file(id).set_len(bytes);
        self.end_operation()
    }

    pub(super) fn sync(&mut self, id: FileId) -> io::Result<()> {
        self.operations += 1;
        self.end_operation()?;
        if self.meets(Target::Sync).is_some() {
            self.happens(Fault::SyncError.name(), 1);
            let seed = self.random.next_u64();
            let file = self.file(id);
            file.settle(&mut Chance::new(Crash::Random(seed)));
            file.forget();
            return Err(io::Error::other("simulated: the file cannot be synced"));
        }
        self.file(id).settle(&mut Chance::new(Crash::KeepAll));
        Ok(())
    }

    pub(super) fn write(&mut self, id: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.operations += 1;
        let written = self.write_or_fail(id, offset, bytes);
        self.end_operation()?;
        written
    }

    fn write_or_fail(&mut self, id: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let met = self.meets(Target::Write);
        let more = match met {
            Some(Fault::Full) => Some(0),
            _ => self.capacity.map(|capacity| capacity.saturating_sub(self.used())),
        };
        let fitting = more.map(|more| self.file(id).fitting(offset, bytes.len(), more));
        if let Some(fitting) = fitting
            && fitting < bytes.len()
        {
            // A file system may have written what there was room for.
            self.file(id).write(offset, &bytes[..fitting]);
            self.happens("full", 1);
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "simulated: the medium is full",
            ));
        }
        match met {
            Some(Fault::WriteError) => {
                self.happens(Fault::WriteError.name(), 1);
                self.write_in_part(id, offset, bytes);
                return Err(io::Error::other("simulated: the file cannot be written"));
            }
            Some(fault @ Fault::LostWrite) => {
                self.happens(fault.name(), 1);
                self.file(id).write_lost(offset, bytes);
            }
            Some(fault @ Fault::StaleRead) => {
                self.happens(fault.name(), 1);
                self.file(id).grow_to(offset + bytes.len() as u64);
            }
            Some(fault @ Fault::MisdirectedWrite) => match self.elsewhere(id, offset, bytes.len()) {
                Some(lands) => {
                    self.happens(fault.name(), 1);
                    self.file(id).write_at(offset, lands, bytes);
                }
                None => self.file(id).write(offset, bytes),
            },
            Some(Fault::ReadError | Fault::SyncError | Fault::Full) | None => self.file(id).write(offset, bytes),
        }
        Ok(())
    }

    /// Writes any sectors of a write, as far as they lie within the file or continue it.
    fn write_in_part(&mut self, id: FileId, offset: u64, bytes: &[u8]) {
        let mut from = 0;
        while from < bytes.len() {
            let at = offset + from as u64;
            let len = ((SECTOR_BYTES - at % SECTOR_BYTES) as usize).min(bytes.len() - from);
            if self.random.next_u64() & 1 == 0 {
                self.file(id).write(at, &bytes[from..from + len]);
            }
            from += len;
        }
    }

    /// Another place of the file, whole sectors away, with room for so many bytes.
    fn elsewhere(&mut self, id: FileId, offset: u64, len: usize) -> Option<u64> {
        let within = offset % SECTOR_BYTES;
        let file_len = self.file(id).seen.len();
        let last = file_len.checked_sub(within + len as u64)? / SECTOR_BYTES;
        let own = offset / SECTOR_BYTES;
        // Of the places 0 up to and with `last`, one that is not the own.
        let places = last + u64::from(own > last);
        let drawn = below(&mut self.random, places)?;
        let place = drawn + u64::from(own <= last && drawn >= own);
        Some(place * SECTOR_BYTES + within)
    }

    pub(super) fn read(&mut self, id: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.meets(Target::Read).is_some() {
            self.happens(Fault::ReadError.name(), 1);
            return Err(io::Error::other("simulated: the file cannot be read"));
        }
        self.file(id).seen.read(offset, buffer)
    }

    /// Records the moment, and stops the machine if it is to stop.
    fn end_operation(&mut self) -> io::Result<()> {
        if self.recorded.is_some() {
            let now = Self {
                stop_at: None,
                ..self.fork()
            };
            self.recorded.get_or_insert_default().push(now);
        }
        if self.stop_at == Some(self.operations) {
            self.stop_at = None;
            self.is_stopped = true;
            return Err(stopped());
        }
        Ok(())
    }

    // What goes wrong.

    /// The fault that this operation meets, if any.
    fn meets(&mut self, target: Target) -> Option<Fault> {
        if target != Target::Read
            && let Some(fault) = self.planned_faults.remove(&self.operations)
            && fault.target() == target
        {
            return Some(fault);
        }
        if let Some(place) = self.next_faults.iter().position(|fault| fault.target() == target) {
            return Some(self.next_faults.remove(place));
        }
        let mut rates = self.rates.of(target).into_iter();
        let met = rates.find(|(_, rate)| chance(&mut self.random, *rate));
        met.map(|(fault, _)| fault)
    }

    fn happens(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.happened.entry(what).or_default() += times;
        }
    }

    pub(super) fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.happened.clone()
    }

    pub(super) fn flip(&mut self, name: &str, offset: u64, bit: u8) -> bool {
        let Some(id) = self.durable_names.get(name).copied() else {
            return false;
        };
        let flipped = self.file(id).flip(offset, bit);
        self.happens("bit flip", u64::from(flipped));
        flipped
    }

    /// Turns any durable bit around. *Gives* where; none when nothing is durable.
    pub(super) fn flip_any(&mut self) -> Option<(String, u64, u8)> {
        let files = self.durable_names.iter();
        let lengths: Vec<(String, u64)> = files
            .map(|(name, id)| (name.clone(), self.files[id].durable_len()))
            .collect();
        let all = lengths.iter().map(|(_, len)| len).sum();
        let mut offset = below(&mut self.random, all)?;
        let bit = (self.random.next_u64() % 8) as u8;
        for (name, len) in lengths {
            if offset < len {
                let flipped = self.flip(&name, offset, bit);
                assert!(flipped, "{name} has a byte {offset}");
                return Some((name, offset, bit));
            }
            offset -= len;
        }
        None
    }

    pub(super) fn crash(&mut self, crash: Crash) {
        self.happens("crash", 1);
        let mut chance = Chance::new(crash);
        let mut lost = 0;
        for file in self.files.values_mut() {
            lost += file.settle(&mut chance);
            file.forget();
        }
        self.happens("unsynced sector lost", lost);
        let lost = self.settle_names(&mut chance);
        self.happens("unsynced name lost", lost);
        self.names.clone_from(&self.durable_names);
        let named: Vec<FileId> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        self.starts += 1;
        self.is_stopped = false;
        self.stop_at = None;
    }

    /// Makes durable what was drawn of what was done to the names. *Gives* how much of it was not.
    ///
    /// What was done to one name is kept up to some moment, and what was done to different names independently.
    fn settle_names(&mut self, chance: &mut Chance) -> u64 {
        let mut lost = 0;
        let mut closed: Vec<String> = Vec::new();
        for naming in std::mem::take(&mut self.unsynced_names) {
            let follows_lost = naming.touched().any(|name| closed.contains(name));
            if !follows_lost && chance.version(1) == 1 {
                naming.apply(&mut self.durable_names);
            } else {
                lost += 1;
                closed.extend(naming.touched().cloned());
            }
        }
        lost
    }
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("simulated: the machine has stopped")
}

/// Draws what becomes of what was not synced.
struct Chance {
    crash: Crash,
    random: Xoshiro256PlusPlus,
    /// How many of 16 draws are the newest: a crash that keeps half of everything shows other faults than one that keeps nearly all
    /// or nearly none.
    newest: u64,
}

impl Chance {
    fn new(crash: Crash) -> Self {
        let seed = match crash {
            Crash::Random(seed) => seed,
            Crash::LoseAll | Crash::KeepAll => 0,
        };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let newest = [1, 8, 15][(random.next_u64() % 3) as usize];
        Self { crash, random, newest }
    }
}

impl Draw for Chance {
    fn version(&mut self, newest: usize) -> usize {
        match self.crash {
            Crash::LoseAll => 0,
            Crash::KeepAll => newest,
            Crash::Random(_) if newest == 0 || self.random.next_u64() % 16 < self.newest => newest,
            Crash::Random(_) => (self.random.next_u64() % newest as u64) as usize,
        }
    }
}

/// A number below `end`; none when there is none.
fn below(random: &mut Xoshiro256PlusPlus, end: u64) -> Option<u64> {
    (end > 0).then(|| ((u128::from(random.next_u64()) * u128::from(end)) >> u64::BITS) as u64)
}

/// Whether something of this probability happens. Draws nothing where it never or always does.
fn chance(random: &mut Xoshiro256PlusPlus, probability: f64) -> bool {
    const MANTISSA_BITS: u32 = 53;
    let unit = |bits: u64| (bits >> (u64::BITS - MANTISSA_BITS)) as f64 / (1_u64 << MANTISSA_BITS) as f64;
    probability > 0.0 && (probability >= 1.0 || unit(random.next_u64()) < probability)
}
