//! What a replica has evaluated, in memory or on disk, behind one trait: what a driver's executor thread works on.
//!
//! On disk the versions lie in one of two databases; a snapshot of another replica is taken into the other one, which takes its place
//! when it is whole and durable. Tests: `tests/embedded.rs`.

use std::convert::Infallible;
use std::sync::Arc;

use crate::executor::{
    Answer, DryRun, ReadError, Search, SerialExecutor, SnapshotIntake, SnapshotSource, Sought, Status,
};
use crate::id::TransactionId;
use crate::limits::SNAPSHOT_CHUNK_BYTES_MAX;
use crate::protocol::message::SnapshotRequest;
use crate::protocol::{Batch, ChunkTaken, Evaluated, Query};
use crate::store::disk::Disk;
use crate::store::versions::{DiskVersions, Flush, FlushReport, Flushed, FlushedVersions};
use crate::store::{History, MemoryVersions, StoreError, Versions};
use crate::thunk::{Registry, UnknownThunk};
use crate::time::Hlc;
use crate::transaction::Transaction;

/// What a replica has evaluated, and the snapshots that it sends and takes in.
///
/// After an error nothing more is to be asked of it, and the node stops; [`StoreError::Full`] alone may pass.
pub trait ReplicaState: Send {
    /// Evaluates a batch, which follows on the one before.
    fn evaluate(&mut self, batch: &Batch) -> Result<Evaluated, StoreError>;

    /// Evaluates what follows with these thunks, see [`SerialExecutor::set_registry`].
    fn set_registry(&mut self, registry: Arc<Registry>);

    /// Reads the snapshot at `at`, see [`SerialExecutor::read`].
    fn read(&self, at: Hlc, query: &Query) -> Result<Answer, ReadError>;

    /// What a transaction would do at the snapshot at `at`, see [`SerialExecutor::dry_run`].
    fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Result<Result<DryRun, UnknownThunk>, ReadError>;

    /// Everything at or below is evaluated.
    fn evaluated(&self) -> Hlc;

    /// Takes a search for changes one step further, see [`SerialExecutor::seek`].
    fn seek(&mut self, search: Search) -> Result<Sought, ReadError>;

    /// What is known of a transaction.
    fn status(&self, id: TransactionId) -> Result<Status, StoreError>;

    /// The piece of a snapshot that answers a request; none if there is none.
    fn piece(&mut self, request: &SnapshotRequest) -> Result<Option<Vec<u8>>, StoreError>;

    /// Adds a piece of the snapshot of another replica.
    fn add(&mut self, bytes: &[u8]) -> Result<ChunkTaken, StoreError>;

    /// Goes on from the snapshot at `bound`, which has come whole; it is durable then.
    fn restore(&mut self, bound: Hlc) -> Result<(), StoreError>;

    /// Throws away the pieces that have come.
    fn discard(&mut self);

    /// What is worth flushing now, if nothing is being flushed: to be written, on another thread if that is of use, and
    /// [ended](ReplicaState::end_flush). *Given* how many bytes must have come together.
    fn begin_flush(&mut self, bytes_min: u64) -> Option<Flush>;

    /// A flush was written, or could not be. *Gives* what was written; none if a snapshot has taken the place of these versions meanwhile.
    fn end_flush(&mut self, flushed: Flushed) -> Result<Option<FlushReport>, StoreError>;
}

/// A replica whose versions are in memory: nothing of it survives the process, and while that runs nothing is lost.
pub struct MemoryState {
    executor: SerialExecutor<MemoryVersions>,
    source: SnapshotSource,
    intake: SnapshotIntake,
}

impl MemoryState {
    /// A replica that has evaluated nothing.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            executor: SerialExecutor::new(registry, MemoryVersions::default()),
            source: SnapshotSource::default(),
            intake: SnapshotIntake::default(),
        }
    }
}

impl ReplicaState for MemoryState {
    fn evaluate(&mut self, batch: &Batch) -> Result<Evaluated, StoreError> {
        Ok(self.executor.evaluate(batch))
    }

    fn set_registry(&mut self, registry: Arc<Registry>) {
        self.executor.set_registry(registry);
    }

    fn read(&self, at: Hlc, query: &Query) -> Result<Answer, ReadError> {
        self.executor.read(at, query)
    }

    fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Result<Result<DryRun, UnknownThunk>, ReadError> {
        self.executor.dry_run(transaction, at)
    }

    fn evaluated(&self) -> Hlc {
        self.executor.versions().evaluated()
    }

    fn seek(&mut self, search: Search) -> Result<Sought, ReadError> {
        self.executor.seek(search)
    }

    fn status(&self, id: TransactionId) -> Result<Status, StoreError> {
        Ok(self.executor.status(id))
    }

    fn piece(&mut self, request: &SnapshotRequest) -> Result<Option<Vec<u8>>, StoreError> {
        let executor = &self.executor;
        let newest = || Some(executor.checkpoint());
        Ok(self.source.piece(request, SNAPSHOT_CHUNK_BYTES_MAX, newest))
    }

    fn add(&mut self, bytes: &[u8]) -> Result<ChunkTaken, StoreError> {
        let Ok(taken) = self
            .intake
            .add(bytes, || Ok::<_, Infallible>(MemoryVersions::default()));
        Ok(taken)
    }

    fn restore(&mut self, bound: Hlc) -> Result<(), StoreError> {
        let checkpoint = self.intake.take(bound);
        self.executor = SerialExecutor::restore(self.executor.shared_registry(), checkpoint);
        Ok(())
    }

    fn discard(&mut self) {
        self.intake.discard();
    }

    fn begin_flush(&mut self, _: u64) -> Option<Flush> {
        None
    }

    fn end_flush(&mut self, _: Flushed) -> Result<Option<FlushReport>, StoreError> {
        unreachable!("none is begun")
    }
}

/// The two names of which one is that of the versions.
const NAMES: [&str; 2] = ["versions-a", "versions-b"];

/// The file that is there if the second one is.
const SECOND: &str = "versions-b.current";

/// How a replica keeps its versions on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// Bytes of the versions on disk that may be kept in memory.
    pub cache_bytes: usize,
    /// About how many bytes versions may take that were not written to the disk since newer ones cover them, see
    /// [`DiskVersions::retain`].
    pub retained_bytes: u64,
    /// Bytes that a piece of a snapshot may have, if its largest entry has not more.
    pub piece_bytes: usize,
}

impl Default for StateOptions {
    /// 64 MiB of the disk and 512 MiB beside it in memory, the largest pieces.
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            retained_bytes: 512 << 20,
            piece_bytes: SNAPSHOT_CHUNK_BYTES_MAX,
        }
    }
}

/// A replica whose versions are on disk.
pub struct DiskState {
    disk: Arc<dyn Disk>,
    options: StateOptions,
    /// Which of the names counts.
    current: usize,
    executor: SerialExecutor<DiskVersions>,
    source: SnapshotSource<FlushedVersions>,
    intake: SnapshotIntake<DiskVersions>,
    is_flushing: bool,
    /// Whether what is being flushed are versions whose place a snapshot has taken.
    is_overtaken: bool,
}

impl DiskState {
    /// The replica on `disk`, as the last flush left it; one that has evaluated nothing if there is none.
    ///
    /// *Errors*: see [`DiskVersions::open`].
    pub fn open(disk: Arc<dyn Disk>, registry: Arc<Registry>, options: StateOptions) -> Result<Self, StoreError> {
        let current = current(&*disk)?;
        let mut versions = open_versions(&disk, current, options.cache_bytes)?;
        versions.retain(options.retained_bytes);
        Ok(Self {
            executor: SerialExecutor::open(registry, versions)?,
            source: SnapshotSource::default(),
            intake: SnapshotIntake::default(),
            is_flushing: false,
            is_overtaken: false,
            current,
            options,
            disk,
        })
    }

    /// The versions alone, as the last flush left them.
    pub(super) fn open_versions(disk: &Arc<dyn Disk>, cache_bytes: usize) -> Result<DiskVersions, StoreError> {
        open_versions(disk, current(&**disk)?, cache_bytes)
    }

    /// Everything at or below is durable.
    pub fn flushed(&self) -> Hlc {
        self.executor.versions().flushed()
    }

    /// What evaluates.
    pub fn executor(&self) -> &SerialExecutor<DiskVersions> {
        &self.executor
    }

    /// The log beside these versions can do without what they hold.
    ///
    /// *Given* how far it [needs](super::ReplicaLog::needs_versions) them.
    ///
    /// *Errors* with [`StoreError::Damaged`] when they do not reach so far: they were dropped, or are older than the log. A node that
    /// started with both would evaluate the rest of its log as if it were all there is.
    pub fn check_reach(&self, needed: Hlc) -> Result<(), StoreError> {
        let flushed = self.flushed();
        if flushed >= needed {
            return Ok(());
        }
        Err(StoreError::Damaged {
            file: format!("{}/{}", self.disk.path(), NAMES[self.current]),
            place: "the bound of the last flush".to_owned(),
            reason: format!(
                "it is {flushed}, but the front of the log was dropped up to {needed}, and is nowhere else"
            ),
        })
    }

    /// Drops all versions on `disk`, which nobody has open: they are damaged. The log stays, and with it all that the node has acknowledged,
    /// voted and promised.
    ///
    /// What they held must come from somewhere else, and be durable, before a node starts from that log: from a log whose front was never
    /// dropped, or from a peer's snapshot. [`DiskState::check_reach`] says so.
    ///
    /// *Errors*: the medium fails; some may be gone.
    pub fn discard_versions(disk: &dyn Disk) -> Result<(), StoreError> {
        for place in [0, 1] {
            remove_versions(disk, place)?;
        }
        let failed = |action| move |error| StoreError::of_medium(disk, SECOND, action, error);
        if disk.names().map_err(failed("list"))?.iter().any(|name| name == SECOND) {
            disk.remove(SECOND).map_err(failed("remove"))?;
            disk.sync().map_err(failed("sync the folder of"))?;
        }
        Ok(())
    }

    /// From now on the other name counts.
    fn switch(&mut self) -> Result<(), StoreError> {
        let disk = &self.disk;
        let failed = |action| move |error| StoreError::of_medium(&**disk, SECOND, action, error);
        if self.current == 0 {
            disk.open(SECOND).map_err(failed("create"))?;
        } else {
            disk.remove(SECOND).map_err(failed("remove"))?;
        }
        disk.sync().map_err(failed("sync the folder of"))?;
        self.current = 1 - self.current;
        Ok(())
    }
}

/// Which of the names counts.
fn current(disk: &dyn Disk) -> Result<usize, StoreError> {
    let names = disk.names();
    let names = names.map_err(|error| StoreError::of_medium(disk, SECOND, "list", error))?;
    Ok(usize::from(names.iter().any(|name| name == SECOND)))
}

/// Removes the versions under one of the names, if there are any.
fn remove_versions(disk: &dyn Disk, place: usize) -> Result<(), StoreError> {
    let victim = NAMES[place];
    let failed = |action| move |error| StoreError::of_medium(disk, victim, action, error);
    for name in disk.names().map_err(failed("list"))? {
        if name == victim || name == format!("{victim}.sums") {
            disk.remove(&name).map_err(failed("remove"))?;
        }
    }
    disk.sync().map_err(failed("sync the folder of"))
}

fn open_versions(disk: &Arc<dyn Disk>, place: usize, cache_bytes: usize) -> Result<DiskVersions, StoreError> {
    DiskVersions::open(Arc::clone(disk), NAMES[place], cache_bytes)
}

impl ReplicaState for DiskState {
    fn evaluate(&mut self, batch: &Batch) -> Result<Evaluated, StoreError> {
        let mut evaluated = self.executor.evaluate(batch)?;
        evaluated.flushed = self.flushed().min(evaluated.upto);
        Ok(evaluated)
    }

    fn set_registry(&mut self, registry: Arc<Registry>) {
        self.executor.set_registry(registry);
    }

    fn read(&self, at: Hlc, query: &Query) -> Result<Answer, ReadError> {
        self.executor.read(at, query)
    }

    fn dry_run(&self, transaction: &Transaction, at: Hlc) -> Result<Result<DryRun, UnknownThunk>, ReadError> {
        self.executor.dry_run(transaction, at)
    }

    fn evaluated(&self) -> Hlc {
        self.executor.versions().evaluated()
    }

    fn seek(&mut self, search: Search) -> Result<Sought, ReadError> {
        self.executor.seek(search)
    }

    fn status(&self, id: TransactionId) -> Result<Status, StoreError> {
        self.executor.status(id)
    }

    fn piece(&mut self, request: &SnapshotRequest) -> Result<Option<Vec<u8>>, StoreError> {
        let mut failure = None;
        let executor = &self.executor;
        let flushed = || match executor.flushed_checkpoint() {
            Ok(checkpoint) => Some(checkpoint),
            Err(error) => {
                failure = Some(error);
                None
            }
        };
        let piece = self
            .source
            .piece(request, self.options.piece_bytes, flushed)
            .transpose()?;
        failure.map_or(Ok(piece), Err)
    }

    fn add(&mut self, bytes: &[u8]) -> Result<ChunkTaken, StoreError> {
        let (disk, current, options) = (&self.disk, self.current, self.options);
        self.intake.add(bytes, || {
            remove_versions(&**disk, 1 - current)?;
            let mut versions = open_versions(disk, 1 - current, options.cache_bytes)?;
            versions.retain(options.retained_bytes);
            Ok(versions)
        })
    }

    fn restore(&mut self, bound: Hlc) -> Result<(), StoreError> {
        let checkpoint = self.intake.take(bound);
        let mut executor = SerialExecutor::restore(self.executor.shared_registry(), checkpoint);
        let flushed = executor.begin_flush().write();
        executor.end_flush(flushed)?;
        self.switch()?;
        self.is_overtaken = self.is_flushing;
        self.executor = executor;
        self.source.forget();
        remove_versions(&*self.disk, 1 - self.current)
    }

    fn discard(&mut self) {
        self.intake.discard();
    }

    fn begin_flush(&mut self, bytes_min: u64) -> Option<Flush> {
        let is_due = !self.is_flushing && self.executor.versions().unflushed_bytes() >= bytes_min;
        is_due.then(|| {
            self.is_flushing = true;
            self.executor.begin_flush()
        })
    }

    fn end_flush(&mut self, flushed: Flushed) -> Result<Option<FlushReport>, StoreError> {
        self.is_flushing = false;
        match std::mem::take(&mut self.is_overtaken) {
            true => Ok(None),
            false => self.executor.end_flush(flushed).map(Some),
        }
    }
}
