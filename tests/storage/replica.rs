//! One replica over a simulated disk, as a real node has it, with all its threads in one.

use std::collections::VecDeque;
use std::sync::Arc;

use plimsoll::executor::Answer;
use plimsoll::id::{ClusterId, Epoch, NodeId, RequestId, StorageId};
use plimsoll::protocol::config::{Membership, NodeConfig, Profile};
use plimsoll::protocol::node::Node;
use plimsoll::protocol::{Effect, Input, LogEntry, Reply, SyncMark};
use plimsoll::replica::{DiskState, Identity, ReplicaLog, ReplicaState, StateOptions};
use plimsoll::store::disk::{Disk, SimulatedDisk};
use plimsoll::store::segments::{SegmentLog, SegmentOptions};
use plimsoll::store::versions::Flush;
use plimsoll::store::{History, StoreError};
use plimsoll::thunk::Registry;
use plimsoll::time::{Hlc, Monotonic, Now, Timestamp, WallTime};
use plimsoll::transaction::Record;

use super::workload::{START_MS, all};

pub(crate) const N1: NodeId = NodeId::new(1);

pub(crate) const OWN: Identity = Identity {
    cluster: ClusterId::new(1),
    node: N1,
    storage: StorageId::new(7),
};

/// How much comes together in a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) segment_bytes: u64,
    pub(crate) run_bytes: usize,
    /// Records from one flush to the next.
    pub(crate) flush_records: usize,
    pub(crate) retained_bytes: u64,
    pub(crate) planted: Option<Planted>,
}

/// What a replica does wrong when a test has planted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// It takes for durable what was not synced.
    SyncLeftOut,
    /// It drops the front of its log and writes nothing of it again.
    Unrestated,
    /// It drops records of its log that are not flushed.
    FloorTooHigh,
}

/// Pages of the versions that stay in memory.
const CACHE_BYTES: usize = 64 << 10;

/// Steps that a flush takes while evaluation goes on.
const FLUSH_STEPS: usize = 6;

/// A flush that was begun.
struct Flushing {
    flush: Flush,
    steps_left: usize,
}

/// A running replica.
pub(crate) struct Replica {
    pub(crate) node: Node,
    pub(crate) log: ReplicaLog<SegmentLog<LogEntry>>,
    pub(crate) state: DiskState,
    layout: Layout,
    inputs: VecDeque<Input>,
    /// The last one under which something was written.
    mark: SyncMark,
    durable: SyncMark,
    flushing: Option<Flushing>,
    /// Records evaluated since the last flush began.
    unflushed: usize,
    /// Answers that nobody has taken yet.
    pub(crate) replies: Vec<(RequestId, Reply)>,
    /// Records that were given to the log, and nobody has taken yet.
    pub(crate) logged: Vec<(Timestamp, Arc<Record>)>,
    /// The bounds at which flushes began, and nobody has taken yet.
    pub(crate) flushes_begun: Vec<Hlc>,
    /// How often the front of the log was dropped.
    pub(crate) prunings: u64,
    /// Flushes that found the disk full.
    pub(crate) flushes_refused: u64,
}

pub(crate) fn now(at_us: u64) -> Now {
    Now {
        wall: WallTime(START_MS * 1000 + at_us),
        monotonic: Monotonic(at_us),
    }
}

pub(crate) fn state_options(layout: Layout) -> StateOptions {
    StateOptions {
        cache_bytes: CACHE_BYTES,
        retained_bytes: layout.retained_bytes,
        piece_bytes: 700,
    }
}

impl Replica {
    /// The replica on `disk`, as a node opens it; made if there is none.
    pub(crate) fn open(
        disk: &SimulatedDisk,
        registry: &Arc<Registry>,
        layout: Layout,
        at_us: u64,
    ) -> Result<Self, StoreError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        match Identity::load(&*disk)? {
            Some(found) => assert_eq!(found, OWN),
            None => OWN.create(&*disk)?,
        }
        let state = DiskState::open(Arc::clone(&disk), Arc::clone(registry), state_options(layout))?;
        let options = SegmentOptions {
            segment_bytes: layout.segment_bytes,
            ..SegmentOptions::default()
        };
        let (segments, _) = SegmentLog::open(disk, OWN.storage, options, &mut |_, _| {})?;
        let (log, recovered) = ReplicaLog::open(segments, layout.run_bytes, &mut |_| {})?;
        state.check_reach(log.needs_versions())?;
        let config = NodeConfig {
            id: OWN.node,
            cluster: OWN.cluster,
            profile: Profile::lan(),
            seed: 7,
        };
        let genesis = Membership::new(Epoch::FIRST, vec![N1], vec![N1]).expect("one node");
        let node = Node::recover(config, genesis, &recovered, state.flushed(), Monotonic(at_us));
        Ok(Self {
            node,
            log,
            state,
            layout,
            inputs: VecDeque::new(),
            mark: SyncMark::default(),
            durable: SyncMark::default(),
            flushing: None,
            unflushed: 0,
            replies: Vec::new(),
            logged: Vec::new(),
            flushes_begun: Vec::new(),
            prunings: 0,
            flushes_refused: 0,
        })
    }

    /// Takes an input later, behind those that wait.
    pub(crate) fn give(&mut self, input: Input) {
        self.inputs.push_back(input);
    }

    /// Steps through everything that waits.
    pub(crate) fn step(&mut self, at_us: u64) -> Result<(), StoreError> {
        while let Some(input) = self.inputs.pop_front() {
            let mut effects = Vec::new();
            self.node.step(now(at_us), input, &mut effects);
            for effect in effects {
                self.carry_out(effect)?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), StoreError> {
        match effect {
            Effect::Persist { mark, entries } => {
                for entry in &entries {
                    if let LogEntry::Records {
                        coordinator, records, ..
                    } = entry
                    {
                        let stamp = |record: &Arc<Record>| {
                            let (hlc, node) = (record.hlc, *coordinator);
                            (Timestamp { hlc, node }, Arc::clone(record))
                        };
                        self.logged.extend(records.iter().map(stamp));
                    }
                }
                self.log.append(entries)?;
                self.mark = mark;
            }
            Effect::Evaluate(batch) => {
                self.unflushed += batch.records.len();
                let evaluated = self.state.evaluate(&batch)?;
                self.inputs.push_back(Input::Evaluated(evaluated));
            }
            Effect::Reply { request, reply } => self.replies.push((request, reply)),
            other => panic!("a replica alone does nothing of this kind: {other:?}"),
        }
        Ok(())
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if self.has_unsynced() {
            if self.layout.planted != Some(Planted::SyncLeftOut) {
                self.log.sync()?;
            }
            self.durable = self.mark;
            self.inputs.push_back(Input::Persisted(self.mark));
        }
        Ok(())
    }

    /// Drops the front of the log, if nobody needs it. *Given* that everything written is durable.
    pub(crate) fn prune(&mut self) -> Result<(), StoreError> {
        let floor = match self.layout.planted {
            Some(Planted::FloorTooHigh) => self.node.evaluated(),
            _ => self.node.log_floor(),
        };
        if self.log.has_below(floor) {
            let restated = match self.layout.planted {
                Some(Planted::Unrestated) => Vec::new(),
                _ => self.node.restate(),
            };
            self.log.prune(floor, restated)?;
            self.prunings += 1;
        }
        Ok(())
    }

    /// Begins a flush when one is due, and writes it some steps later.
    pub(crate) fn flush_in_time(&mut self) -> Result<(), StoreError> {
        if let Some(flushing) = &mut self.flushing {
            flushing.steps_left = flushing.steps_left.saturating_sub(1);
            if flushing.steps_left > 0 {
                return Ok(());
            }
            return self.end_flush();
        }
        // Versions are durable no earlier than the entries before them.
        if self.unflushed >= self.layout.flush_records && !self.has_unsynced() {
            self.begin_flush();
        }
        Ok(())
    }

    fn begin_flush(&mut self) {
        self.unflushed = 0;
        self.flushes_begun.push(self.state.executor().versions().evaluated());
        self.flushing = self.state.begin_flush(0).map(|flush| Flushing {
            flush,
            steps_left: FLUSH_STEPS,
        });
    }

    /// Writes the flush that was begun. A disk that is full is no error.
    fn end_flush(&mut self) -> Result<(), StoreError> {
        let Some(Flushing { flush, .. }) = self.flushing.take() else {
            return Ok(());
        };
        match self.state.end_flush(flush.write()) {
            Err(StoreError::Full { .. }) => {
                self.flushes_refused += 1;
                self.unflushed = self.layout.flush_records;
                Ok(())
            }
            ended => ended.map(drop),
        }
    }

    /// Flushes everything, at once. *Given* that everything written is durable.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        self.end_flush()?;
        self.begin_flush();
        self.end_flush()
    }

    /// Whether something is to be made durable.
    pub(crate) fn has_unsynced(&self) -> bool {
        self.durable < self.mark
    }

    /// Whether nothing waits and nothing is to be made durable.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.inputs.is_empty() && !self.has_unsynced()
    }

    /// Everything that is stored.
    pub(crate) fn everything(&self) -> Answer {
        let at = self.state.executor().versions().evaluated();
        self.state.read(at, &all()).expect("it is the newest snapshot")
    }
}
