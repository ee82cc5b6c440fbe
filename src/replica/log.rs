//! A node's log with its front taken off: what nobody needs any more does not stay.
//!
//! A log knows entries by number, the protocol knows records by timestamp. This keeps, for each run of entries, the
//! highest record in it. Runs from the front on whose records all lie at or below the node's
//! [floor](crate::protocol::node::Node::log_floor) are dropped, when what the node [restates](crate::protocol::node::Node::restate)
//! is durable behind them. Tests: here, and `tests/pruning.rs`.

use std::collections::VecDeque;

use crate::protocol::{LogEntry, Recovered};
use crate::store::Log;
use crate::time::Hlc;

/// A log of protocol entries, from whose front can be dropped what is no longer needed.
#[derive(Debug)]
pub struct ReplicaLog<L> {
    log: L,
    /// Of entries that are not dropped.
    runs: VecDeque<Run>,
    /// Bytes of records after which a new run begins.
    run_bytes: usize,
    /// Bytes of records in all runs.
    bytes: usize,
    /// How far versions beside it must reach, see [`ReplicaLog::needs_versions`].
    needed: Hlc,
}

/// Entries that are dropped together.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// The number of the entry behind its last one.
    end: u64,
    /// The highest record.
    highest: Hlc,
    /// About how many bytes of records there are.
    bytes: usize,
}

/// Entries that are read at once when a log is replayed.
const READ_AT_ONCE: usize = 1_024;

impl<L: Log<Entry = LogEntry>> ReplicaLog<L> {
    /// The log of a node that starts, and what was found in it.
    ///
    /// *Given* someone to tell how many entries were replayed, now and then; after how many bytes of records a part of the log is
    /// dropped as a whole.
    ///
    /// *Errors* when the log cannot be read: nothing of it may be used.
    pub fn open(log: L, run_bytes: usize, on_progress: &mut dyn FnMut(u64)) -> Result<(Self, Recovered), L::Error> {
        let mut recovered = Recovered::default();
        let first = log.first();
        let mut replica_log = Self {
            needed: Hlc::ZERO,
            log,
            runs: VecDeque::new(),
            run_bytes,
            bytes: 0,
        };
        let mut next = first;
        loop {
            let entries = replica_log.log.read(next, READ_AT_ONCE)?;
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                next += 1;
                replica_log.note(next, &entry);
                recovered.add(entry);
            }
            on_progress(next - first);
        }
        if first > 0 {
            // What was restated before the front went is there. Bounds of snapshots that were only about to be installed lie above.
            replica_log.needed = recovered.lowest_covered();
        }
        Ok((replica_log, recovered))
    }

    /// Writes entries; they are not durable yet.
    ///
    /// *Errors*: stop, nothing more is made durable.
    pub fn append(&mut self, entries: impl IntoIterator<Item = LogEntry>) -> Result<(), L::Error> {
        for entry in entries {
            let (highest, bytes) = weigh(&entry);
            let end = self.log.append(entry)?;
            self.extend(end, highest, bytes);
        }
        Ok(())
    }

    /// Makes durable what was written.
    ///
    /// *Errors*: stop, what was written since the last success may or may not be durable.
    pub fn sync(&mut self) -> Result<(), L::Error> {
        self.log.sync().map(drop)
    }

    /// How far the versions beside it must have been flushed when it was opened: its front is gone, and with it records at or below, which
    /// were in them. [`Hlc::ZERO`] if nothing was dropped.
    pub fn needs_versions(&self) -> Hlc {
        self.needed
    }

    /// About how many bytes of records it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something can be dropped with this floor: then it is worth to have the node restate its small state.
    pub fn has_below(&self, floor: Hlc) -> bool {
        // The last run is still written to.
        self.runs.len() > 1 && self.runs[0].highest <= floor
    }

    /// Drops what lies at the front and is not needed, with a sync before.
    ///
    /// *Given* the node's floor, and what it restated at that floor after everything that was appended.
    ///
    /// *Errors*: stop, as with [`ReplicaLog::sync`].
    pub fn prune(&mut self, floor: Hlc, restated: Vec<LogEntry>) -> Result<(), L::Error> {
        if !self.has_below(floor) {
            return Ok(());
        }
        // In a run of its own, or a part of it could go with what is dropped.
        let behind = self.runs.len();
        self.runs.push_back(Run::default());
        self.append(restated)?;
        self.sync()?;
        let needed = |run: &Run| run.highest > floor;
        let count = self.runs.iter().take(behind).take_while(|run| !needed(run)).count();
        let dropped: Vec<Run> = self.runs.drain(..count).collect();
        self.bytes -= dropped.iter().map(|run| run.bytes).sum::<usize>();
        let last = dropped.last().expect("there is one below the floor");
        self.log.drop_below(last.end)
    }

    /// The log itself.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The log itself.
    pub fn into_inner(self) -> L {
        self.log
    }

    fn note(&mut self, end: u64, entry: &LogEntry) {
        let (highest, bytes) = weigh(entry);
        self.extend(end, highest, bytes);
    }

    fn extend(&mut self, end: u64, highest: Hlc, bytes: usize) {
        self.bytes += bytes;
        // What is restated stays together, however much it is.
        match self
            .runs
            .back_mut()
            .filter(|run| run.bytes < self.run_bytes || highest == Hlc::ZERO)
        {
            Some(run) => {
                run.end = end;
                run.highest = run.highest.max(highest);
                run.bytes += bytes;
            }
            None => self.runs.push_back(Run { end, highest, bytes }),
        }
    }
}

/// The highest record of an entry, and about how many bytes it has.
fn weigh(entry: &LogEntry) -> (Hlc, usize) {
    const ENTRY_BYTES: usize = 16;
    match entry {
        LogEntry::Records { records, .. } => {
            let highest = records.last().map_or(Hlc::ZERO, |last| last.hlc);
            let bytes: usize = records.iter().map(|record| record.weight()).sum();
            (highest, ENTRY_BYTES + bytes)
        }
        _ => (Hlc::ZERO, ENTRY_BYTES),
    }
}
