//! A machine's disk and the production stores on it: opened, torn by crashes, and held against what they have said to be durable.
//!
//! The log and the versions are those of a real node, over the simulated disk that the stores are tested with. What they write lies on it
//! at the moment at which the machine's disk has synced it; a crash in the middle leaves what a crash leaves there.

use std::collections::VecDeque;
use std::sync::Arc;

use plimsoll::id::{ClusterId, NodeId, StorageId};
use plimsoll::protocol::{LogEntry, Recovered};
use plimsoll::replica::{DiskState, Identity, Repair, ReplicaLog, ReplicaState, StateOptions, repair};
use plimsoll::store::disk::{self, Fault, SimulatedDisk};
use plimsoll::store::segments::{SegmentLog, SegmentOptions};
use plimsoll::store::versions::Flush;
use plimsoll::store::{Log, StoreError};
use plimsoll::thunk::Registry;
use plimsoll::time::Hlc;

use super::faults::FaultCounts;
use crate::random::{Seed, Stream};
use crate::scenario::DiskFault;

/// A node's log, as a real one has it.
pub(super) type NodeLog = ReplicaLog<SegmentLog<LogEntry>>;

/// Little of everything, so that a small world has several segments, runs and pieces.
const SEGMENTS: SegmentOptions = SegmentOptions {
    segment_bytes: 64 << 10,
    spares_max: 2,
};
const RUN_BYTES: usize = 16 << 10;
const STATE: StateOptions = StateOptions {
    cache_bytes: 1 << 20,
    retained_bytes: 64 << 10,
    piece_bytes: 8 << 10,
};

/// Operations of a disk within which a crash catches what is being written.
const TORN_WITHIN: u64 = 24;

/// A disk, and what is known to be on it.
pub(super) struct Storage {
    node: NodeId,
    cluster: ClusterId,
    id: StorageId,
    registry: Arc<Registry>,
    disk: SimulatedDisk,
    random: Stream,
    /// The entries that the log has said to be durable, and has not dropped.
    logged: VecDeque<LogEntry>,
    /// The number of the first of them.
    first: u64,
    /// What was written to the log since its last sync.
    pending: Vec<LogEntry>,
    /// The bound of the last flush or snapshot that was said to be durable.
    flushed: Hlc,
    /// The bound of a flush that a crash or an error has caught.
    flushing: Option<Hlc>,
    /// The bound of a snapshot whose installation a crash or an error has caught.
    installing: Option<Hlc>,
    /// The floor of a pruning that a crash or an error has caught.
    pruning: Option<Hlc>,
    /// Whether anything has befallen the disk.
    is_faulty: bool,
    /// Whether durable bits were turned around.
    is_rotten: bool,
    /// Whether the versions were found damaged, and are to be dropped.
    are_versions_damaged: bool,
    /// What has happened to disks that were here before.
    happened: FaultCounts,
}

/// What is open of a storage while a node runs.
pub(super) struct Stores {
    pub(super) log: NodeLog,
    pub(super) state: DiskState,
}

/// What is written to a log, in order.
pub(super) enum Write {
    Entries(Vec<LogEntry>),
    /// What lies below the floor may be dropped, now that the small state was restated.
    Prune {
        floor: Hlc,
        restated: Vec<LogEntry>,
    },
}

impl Write {
    /// What is new in it.
    pub(super) fn entries(&self) -> &[LogEntry] {
        match self {
            Self::Entries(entries) => entries,
            Self::Prune { .. } => &[],
        }
    }
}

/// What was found on a disk.
pub(super) struct Found {
    pub(super) stores: Stores,
    pub(super) recovered: Recovered,
    /// Entries that are durable, and of which the disk had not said so.
    pub(super) unsaid: Vec<LogEntry>,
    /// The bound of a snapshot that is installed, and of which that was not said.
    pub(super) installed: Option<Hlc>,
    /// Whether the versions were damaged, and are evaluated again.
    pub(super) are_versions_lost: bool,
}

/// Why a node does not start with its disk.
pub(super) enum Trouble {
    /// Something that may pass: no room, an error of the medium.
    Passing,
    /// Bits of its disk have rotten: it may not go on as the member that it was.
    Damaged,
    /// Something is wrong that never may be.
    Broken(String),
}

impl Storage {
    /// An empty disk.
    pub(super) fn new(node: NodeId, cluster: ClusterId, id: StorageId, registry: Arc<Registry>, seed: Seed) -> Self {
        let mut random = seed.stream(&format!("storage.{node}"));
        Self {
            disk: SimulatedDisk::new(random.bits()),
            node,
            cluster,
            id,
            registry,
            random,
            logged: VecDeque::new(),
            first: 0,
            pending: Vec::new(),
            flushed: Hlc::ZERO,
            flushing: None,
            installing: None,
            pruning: None,
            is_faulty: false,
            is_rotten: false,
            are_versions_damaged: false,
            happened: FaultCounts::new(),
        }
    }

    /// What is opened from now on evaluates with these thunks.
    pub(super) fn install(&mut self, registry: Arc<Registry>) {
        self.registry = registry;
    }

    /// Another disk in the place of this one, empty.
    pub(super) fn replace(&mut self, id: StorageId) {
        self.happened = self.faults();
        self.disk = SimulatedDisk::new(self.random.bits());
        self.id = id;
        self.logged.clear();
        self.first = 0;
        self.pending.clear();
        self.flushed = Hlc::ZERO;
        self.flushing = None;
        self.installing = None;
        self.pruning = None;
        self.is_faulty = false;
        self.is_rotten = false;
        self.are_versions_damaged = false;
    }

    /// Whether durable bits were turned around.
    pub(super) fn is_rotten(&self) -> bool {
        self.is_rotten
    }

    pub(super) fn id(&self) -> StorageId {
        self.id
    }

    /// The entries that the log has said to be durable, and has not dropped.
    pub(super) fn logged(&self) -> impl Iterator<Item = &LogEntry> {
        self.logged.iter()
    }

    /// The bound of the last flush or snapshot that was said to be durable.
    pub(super) fn flushed(&self) -> Hlc {
        self.flushed
    }

    /// How many bytes the disk holds.
    pub(super) fn used(&self) -> u64 {
        self.disk.used()
    }

    /// How often each thing went wrong with the disks that were here.
    pub(super) fn faults(&self) -> FaultCounts {
        let mut counts = self.happened.clone();
        for (name, times) in self.disk.faults() {
            let kind = match name {
                "write error" => "disk-write-error",
                "sync error" => "disk-sync-error",
                "full" => "disk-full",
                "bit flip" => "disk-rot",
                "unsynced sector lost" => "disk-torn",
                _ => continue,
            };
            *counts.entry(kind).or_default() += times;
        }
        counts
    }

    /// Something goes wrong with the disk. A full one has room again after [`Storage::make_room`].
    pub(super) fn befall(&mut self, fault: DiskFault) {
        self.is_faulty = true;
        match fault {
            DiskFault::WriteError => self.disk.inject(Fault::WriteError),
            DiskFault::SyncError => self.disk.inject(Fault::SyncError),
            DiskFault::Full => self.disk.set_capacity(Some(self.disk.used())),
            DiskFault::Rot => self.is_rotten |= self.disk.flip_any().is_some(),
        }
    }

    /// There is room again.
    pub(super) fn make_room(&mut self) {
        self.disk.set_capacity(None);
    }

    /// Writes to the log, and makes it durable.
    ///
    /// *Errors*: [`StoreError::Full`]: it is to be [synced](Storage::sync) again when there is room. All others: the node stops.
    pub(super) fn write(
        &mut self,
        log: &mut NodeLog,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<(), StoreError> {
        for write in writes {
            match write {
                Write::Entries(entries) => {
                    self.pending.extend(entries.iter().cloned());
                    log.append(entries)?;
                }
                Write::Prune { floor, restated } => {
                    if !log.has_below(floor) {
                        continue;
                    }
                    self.pruning = Some(floor);
                    self.pending.extend(restated.iter().cloned());
                    match log.prune(floor, restated) {
                        Ok(()) => self.settle(log),
                        // Nothing was dropped.
                        Err(StoreError::Full { .. }) => {}
                        Err(error) => return Err(error),
                    }
                    self.pruning = None;
                }
            }
        }
        self.sync(log)
    }

    /// Makes durable what was written to the log. *Errors*: see [`Storage::write`].
    pub(super) fn sync(&mut self, log: &mut NodeLog) -> Result<(), StoreError> {
        log.sync()?;
        self.settle(log);
        Ok(())
    }

    /// All that was written is durable.
    fn settle(&mut self, log: &NodeLog) {
        self.logged.extend(self.pending.drain(..));
        let dropped = log.log().first().saturating_sub(self.first);
        self.logged.drain(..dropped as usize);
        self.first += dropped;
    }

    /// The versions have said that all up to this bound is durable.
    pub(super) fn on_flushed(&mut self, bound: Hlc) {
        self.flushed = bound;
    }

    /// Opens what is on the disk, as a real node does, and sees to it that all is there that was said to be durable.
    pub(super) fn open(&mut self) -> Result<Found, Trouble> {
        let disk: Arc<dyn disk::Disk> = Arc::new(self.disk.clone());
        self.open_identity(&*disk)?;
        let said = self.flushed;
        let state = self.open_state(&disk)?;
        let are_versions_lost = self.flushed < said;
        let bound = state.flushed();
        let segments = SegmentLog::open(Arc::clone(&disk), self.id, SEGMENTS, &mut |_, _| {});
        let (segments, _) = segments.map_err(|error| self.judge(error))?;
        let opened = ReplicaLog::open(segments, RUN_BYTES, &mut |_| {});
        let (log, recovered) = opened.map_err(|error| self.judge(error))?;
        state
            .check_reach(log.needs_versions())
            .map_err(|error| Trouble::Broken(error.to_string()))?;
        let unsaid = self.compare(log.log()).map_err(Trouble::Broken)?;
        self.pending.extend(unsaid.iter().cloned());
        self.settle(&log);
        let installed = self
            .installing
            .filter(|installing| *installing == bound && bound != said);
        self.flushing = None;
        self.installing = None;
        self.pruning = None;
        Ok(Found {
            installed,
            are_versions_lost,
            stores: Stores { log, state },
            recovered,
            unsaid,
        })
    }

    fn open_identity(&self, disk: &dyn disk::Disk) -> Result<(), Trouble> {
        let expected = Identity {
            cluster: self.cluster,
            node: self.node,
            storage: self.id,
        };
        match Identity::load(disk).map_err(|error| self.judge(error))? {
            None => expected.create(disk).map_err(|error| self.judge(error)),
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(Trouble::Broken(format!("{found:?} has come of {expected:?}"))),
        }
    }

    /// The versions, evaluated again from nothing where they were damaged and the log is whole.
    fn open_state(&mut self, disk: &Arc<dyn disk::Disk>) -> Result<DiskState, Trouble> {
        let open = |registry: &Arc<Registry>| DiskState::open(Arc::clone(disk), Arc::clone(registry), STATE);
        let mut state = open(&self.registry);
        if self.is_rotten && (self.are_versions_damaged || matches!(state, Err(StoreError::Damaged { .. }))) {
            drop(state);
            match repair(disk, SEGMENTS, STATE.cache_bytes).map_err(|error| self.judge(error))? {
                // What was read before lay where nothing is any more.
                Repair::Sound => {}
                Repair::Dropped(_) => {
                    self.flushed = Hlc::ZERO;
                    *self.happened.entry("disk-versions-dropped").or_default() += 1;
                }
                Repair::Replace(_) => return Err(Trouble::Damaged),
            }
            self.are_versions_damaged = false;
            state = open(&self.registry);
        }
        let state = state.map_err(|error| self.judge(error))?;
        let bound = state.flushed();
        let under_way = [self.flushing, self.installing];
        if bound != self.flushed && !under_way.contains(&Some(bound)) {
            let flushed = self.flushed;
            return Err(Trouble::Broken(format!(
                "the versions stand at {bound}, where {flushed} or one of {under_way:?} was durable"
            )));
        }
        self.flushed = bound;
        Ok(state)
    }

    /// Errors are excused by what has befallen the disk, and by nothing else.
    fn judge(&self, error: StoreError) -> Trouble {
        match error {
            StoreError::Damaged { .. } if self.is_rotten => Trouble::Damaged,
            StoreError::Damaged { .. } => Trouble::Broken(error.to_string()),
            _ if self.is_faulty => Trouble::Passing,
            _ => Trouble::Broken(error.to_string()),
        }
    }

    /// What stands in the log behind the entries that were said to be durable; all of these are there, but for what was being dropped.
    fn compare(&mut self, log: &SegmentLog<LogEntry>) -> Result<Vec<LogEntry>, String> {
        while self.first < log.first() {
            let floor = self.pruning.unwrap_or(Hlc::ZERO);
            let entry = self.logged.pop_front();
            let highest = match &entry {
                Some(LogEntry::Records { records, .. }) => records.last().map_or(Hlc::ZERO, |last| last.hlc),
                _ => Hlc::ZERO,
            };
            if self.pruning.is_none() || highest > floor || entry.is_none() {
                let first = log.first();
                return Err(format!(
                    "the log begins with entry {first}, and {entry:?} was not dropped"
                ));
            }
            self.first += 1;
        }
        let found = log.read(self.first, usize::MAX);
        let mut found = found.map_err(|error| error.to_string())?.into_iter();
        for (number, entry) in (self.first..).zip(&self.logged) {
            let found = found.next();
            if found.as_ref() != Some(entry) {
                return Err(format!("entry {number} of the log was {entry:?}, and is {found:?}"));
            }
        }
        Ok(found.collect())
    }

    /// The machine stops in the middle of what is being written.
    ///
    /// *Given* what a sync of the log is making durable, and what the versions are writing beside it.
    pub(super) fn crash(&mut self, stores: Stores, writes: Vec<Write>, writing: Vec<Writing>) {
        let Stores { mut log, mut state } = stores;
        let said = (self.logged.clone(), self.first);
        let pruned = writes.iter().find_map(|write| match write {
            Write::Prune { floor, .. } => Some(*floor),
            Write::Entries(_) => None,
        });
        let is_log_first = self.random.chance(0.5);
        let torn_at = self.disk.operations() + 1 + self.random.below(TORN_WITHIN);
        self.disk.crash_at(torn_at);
        // What comes of either nobody learns any more.
        let mut writes = Some(writes);
        if is_log_first {
            let _ = self.write(&mut log, writes.take().unwrap_or_default());
        }
        for writing in writing {
            match writing {
                Writing::Flush(flush, bound) => {
                    self.flushing = Some(bound);
                    let _ = state.end_flush(flush.write());
                }
                Writing::Snapshot(bound) => {
                    self.installing = Some(bound);
                    let _ = state.restore(bound);
                }
            }
        }
        let _ = self.write(&mut log, writes.take().unwrap_or_default());
        (self.logged, self.first) = said;
        self.pending.clear();
        self.pruning = pruned.or(self.pruning);
        self.disk = self.disk.crash(disk::Crash::Random(self.random.bits()));
    }

    /// The process stops at an error of its stores, and the machine may stop too. *Given* the bounds of a flush and of a snapshot that were not
    /// done.
    ///
    /// *Errors* where nothing has befallen the disk that would explain it.
    pub(super) fn fail(
        &mut self,
        stores: Stores,
        error: &StoreError,
        flushing: Option<Hlc>,
        installing: Option<Hlc>,
    ) -> Result<(), String> {
        self.pending.clear();
        self.flushing = flushing;
        self.installing = installing;
        match error {
            StoreError::Damaged { .. } if self.is_rotten => self.are_versions_damaged = true,
            _ if !self.is_faulty || matches!(error, StoreError::Damaged { .. }) => return Err(error.to_string()),
            _ => {}
        }
        drop(stores);
        self.disk = match self.random.chance(0.5) {
            true => self.disk.reopen(),
            false => self.disk.crash(disk::Crash::Random(self.random.bits())),
        };
        Ok(())
    }
}

/// What a crash can catch beside a sync of the log.
pub(super) enum Writing {
    Flush(Flush, Hlc),
    Snapshot(Hlc),
}
