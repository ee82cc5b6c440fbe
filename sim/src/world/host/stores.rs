//! A machine's stores: its log and its versions are written when its disk has come to it, and what fails stops the node.

use plimsoll::executor::ReadError;
use plimsoll::key::{Key, KeyRange};
use plimsoll::protocol::{LogEntry, Query, Scan, SyncMark};
use plimsoll::replica::{DiskState, ReplicaState};
use plimsoll::store::versions::Flush;
use plimsoll::store::{History, StoreError};
use plimsoll::time::Hlc;

use super::super::event::{Event, content_of};
use super::super::faults::FaultCounts;
use super::super::outcome::{DiskSample, Rule};
use super::super::outside::Outside;
use super::super::storage::{Storage, Write, Writing};
use super::faults::RESTART_US;
use super::log::ids;
use super::{Host, Running};
use crate::check::FinalEntry;
use crate::scenario::DiskFault;

/// How much timestamp time lies between two flushes, in milliseconds.
const FLUSH_EVERY_MS: u64 = 1_000;

/// Bytes written to the log after which it is looked at for what can be dropped.
const PRUNE_BYTES: usize = 32 << 10;

/// How much later a disk that is full is tried again, in microseconds.
const FULL_PAUSE_US: u64 = 50_000;

/// Versions that are to be written.
pub(super) struct PendingFlush {
    flush: Flush,
    bound: Hlc,
    bytes: usize,
    /// The log entries of what is flushed become durable first.
    behind: SyncMark,
    is_being_written: bool,
}

impl Running {
    /// What is to be written to the log and is not.
    pub(super) fn unsynced(&self) -> impl Iterator<Item = &LogEntry> {
        let waiting = self.unsynced.iter().flat_map(|(_, write)| write.entries());
        self.stuck.iter().flatten().chain(waiting)
    }

    /// The front of the log is dropped behind all that is to be written, when there is something to it.
    pub(super) fn prune_if_due(&mut self) {
        if self.unpruned_bytes >= PRUNE_BYTES
            && let Some((mark, _)) = self.unsynced.back()
        {
            let (floor, restated) = (self.node.log_floor(), self.node.restate());
            self.unsynced.push_back((*mark, Write::Prune { floor, restated }));
            self.unpruned_bytes = 0;
        }
    }

    /// The machine stops. *Given* what the running sync makes durable.
    pub(super) fn leave(mut self, syncing: Option<SyncMark>, storage: &mut Storage) {
        let writes = self.writes_to(syncing.unwrap_or_default());
        let mut writing = Vec::new();
        writing.extend(self.flush.map(|pending| Writing::Flush(pending.flush, pending.bound)));
        writing.extend(self.snapshots.installing().map(Writing::Snapshot));
        storage.crash(self.stores, writes, writing);
    }

    /// Takes what is to be written up to this mark.
    fn writes_to(&mut self, mark: SyncMark) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some((_, write)) = self.unsynced.pop_front_if(|(unsynced, _)| *unsynced <= mark) {
            writes.push(write);
        }
        writes
    }
}

impl Host {
    /// What the running sync of the disk makes durable lies in the log. *Gives* whether it does: not where there is no room, or the disk
    /// fails.
    pub(super) fn write_log(&mut self, time_us: u64, outside: &mut Outside) -> bool {
        let (Some(running), Some(mark)) = (&mut self.running, self.disk.syncing()) else {
            return false;
        };
        let (entries, result) = match running.stuck.take() {
            Some(entries) => (entries, self.storage.sync(&mut running.stores.log)),
            None => {
                let writes = running.writes_to(mark);
                let entries = writes.iter().flat_map(Write::entries).cloned().collect();
                (entries, self.storage.write(&mut running.stores.log, writes))
            }
        };
        match result {
            Ok(()) => {
                self.tell_durable(&entries, outside);
                true
            }
            Err(StoreError::Full { .. }) => {
                running.stuck = Some(entries);
                self.expect_sync(Some(time_us + FULL_PAUSE_US), outside);
                false
            }
            Err(error) => {
                self.fail(time_us, &error, outside);
                false
            }
        }
    }

    /// Those who look on learn what lies on the disk, unless that is no part of the cluster any more.
    pub(super) fn tell_durable(&self, entries: &[LogEntry], outside: &mut Outside) {
        if !self.has_lost_disk {
            for (epoch, id) in ids(entries) {
                outside.durability.on_synced(self.place, epoch, id);
            }
            outside.watcher.on_durable(self.id, entries);
        }
    }

    /// Begins to write the versions when there is enough, and their log entries are durable.
    pub(super) fn flush_if_due(&mut self, time_us: u64, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let state = &mut running.stores.state;
        let bound = state.executor().versions().evaluated();
        let is_due = bound.unix_millis() > state.flushed().unix_millis() + FLUSH_EVERY_MS;
        if running.flush.is_some() || !is_due {
            return;
        }
        let bytes = state.executor().versions().unflushed_bytes() as usize;
        if let Some(flush) = state.begin_flush(1) {
            let last = running.unsynced.back();
            running.flush = Some(PendingFlush {
                flush,
                bound,
                bytes,
                behind: last.map_or(SyncMark::default(), |(mark, _)| *mark),
                is_being_written: false,
            });
            if running.unsynced.is_empty() {
                self.write_flush_behind(time_us, SyncMark::default(), outside);
            }
        }
    }

    /// Begins to write the versions that wait for nothing behind `mark`.
    pub(super) fn write_flush_behind(&mut self, time_us: u64, mark: SyncMark, outside: &mut Outside) {
        let pending = self.running.as_mut().and_then(|running| running.flush.as_mut());
        if let Some(pending) = pending.filter(|pending| !pending.is_being_written && pending.behind <= mark) {
            pending.is_being_written = true;
            let done_us = time_us + self.disk.time_us(pending.bytes);
            let (node, incarnation) = (self.place as u16, self.incarnation);
            outside.queue.push(done_us, Event::Flushed { node, incarnation });
        }
    }

    /// The versions lie on the disk.
    pub(in crate::world) fn on_flushed(&mut self, time_us: u64, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let pending = running.flush.take().expect("the event was put in with it");
        match running.stores.state.end_flush(pending.flush.write()) {
            // One that a snapshot has overtaken has come to nothing.
            Ok(_) => self.storage.on_flushed(running.stores.state.flushed()),
            Err(StoreError::Full { .. }) => {}
            Err(error) => self.fail_at(time_us, &error, Some(pending.bound), outside),
        }
    }

    /// The stores have failed: the node stops, and somebody starts it again.
    pub(super) fn fail(&mut self, time_us: u64, error: &StoreError, outside: &mut Outside) {
        self.fail_at(time_us, error, None, outside);
    }

    fn fail_at(&mut self, time_us: u64, error: &StoreError, flushing: Option<Hlc>, outside: &mut Outside) {
        let Some(running) = self.stop(time_us, outside) else {
            return;
        };
        let installing = running.snapshots.installing();
        match self.storage.fail(running.stores, error, flushing, installing) {
            Ok(()) => {
                *outside.faults.entry("disk-stopped-node").or_default() += 1;
                outside.fallen.push((self.place, Some(RESTART_US)));
            }
            Err(what) => self.breach(Rule::Storage, what),
        }
    }

    /// Something goes wrong with the disk.
    pub(in crate::world) fn befall(&mut self, fault: DiskFault) {
        self.storage.befall(fault);
    }

    /// The disk has room again.
    pub(in crate::world) fn make_room(&mut self) {
        self.storage.make_room();
    }

    pub(in crate::world) fn sample_disk(&self, time_us: u64) -> Option<DiskSample> {
        self.running.as_ref().map(|running| DiskSample {
            time_us,
            node: self.id,
            disk: self.storage.used(),
            log: running.stores.log.log().bytes(),
            unflushed: running.stores.state.executor().versions().unflushed_bytes(),
        })
    }

    /// How often each thing went wrong with the disk.
    pub(in crate::world) fn disk_faults(&self) -> FaultCounts {
        self.storage.faults()
    }
}

/// The latest version of every key. *Errors* where the store has failed.
pub(super) fn final_state(state: &DiskState) -> Result<Vec<FinalEntry>, ReadError> {
    let query = Query::scan(Scan::forward(KeyRange::from(Key::default()), usize::MAX));
    let found = state.read(state.executor().versions().evaluated(), &query)?;
    let entries = found.ranges.into_iter().flatten();
    let entries = entries
        .map(|(key, versioned)| FinalEntry {
            key: key.as_bytes().to_vec(),
            timestamp: versioned.timestamp,
            value_hash: content_of(&versioned.value),
        })
        .collect();
    Ok(entries)
}
