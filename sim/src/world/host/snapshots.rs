//! Snapshots at a machine: pieces are made, added and installed on the executor's processor, one thing at a time.

use plimsoll::id::{Epoch, NodeId};
use plimsoll::protocol::message::{Message, SnapshotChunk, SnapshotRequest};
use plimsoll::protocol::{Effect, Input};
use plimsoll::replica::ReplicaState;
use plimsoll::time::Hlc;

use super::super::event::{Event, content_of};
use super::super::outside::Outside;
use super::Host;
use crate::cost::bytes_ns;

/// The snapshot that a node takes in.
#[derive(Default)]
pub(super) struct Snapshots {
    /// Bytes of the pieces that have come.
    bytes: usize,
    /// What the executor's processor is busy with.
    work: Option<Work>,
}

impl Snapshots {
    /// The bound of the snapshot that is being installed.
    pub(super) fn installing(&self) -> Option<Hlc> {
        match self.work {
            Some(Work::Install(bound)) => Some(bound),
            _ => None,
        }
    }
}

enum Work {
    /// A piece was added; the node is told this.
    Added(Input),
    /// The versions become those of the snapshot at this bound.
    Install(Hlc),
}

impl Host {
    pub(super) fn serve_chunk(&mut self, to: NodeId, epoch: Epoch, request: &SnapshotRequest, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let issued_us = self.protocol.work(0);
        let bytes = match running.stores.state.piece(request) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => return self.fail(issued_us, &error, outside),
        };
        self.executor.begin(issued_us);
        self.executor.work(bytes_ns(bytes.len(), outside.prices.kib));
        let messages = vec![Message::SnapshotChunk(SnapshotChunk { epoch, bytes })];
        self.carry_out(Effect::Send { to, messages }, outside);
    }

    pub(super) fn add_chunk(&mut self, bytes: &[u8], outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let issued_us = self.protocol.work(0);
        let taken = match running.stores.state.add(bytes) {
            Ok(taken) => taken,
            Err(error) => return self.fail(issued_us, &error, outside),
        };
        running.snapshots.bytes += bytes.len();
        self.begin_work(Work::Added(Input::ChunkTaken(taken)), bytes.len(), outside);
    }

    pub(super) fn restore(&mut self, bound: Hlc, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let bytes = std::mem::take(&mut running.snapshots.bytes);
        self.begin_work(Work::Install(bound), bytes, outside);
    }

    pub(super) fn discard_chunks(&mut self) {
        if let Some(running) = &mut self.running {
            running.snapshots.bytes = 0;
            running.stores.state.discard();
        }
    }

    fn begin_work(&mut self, work: Work, bytes: usize, outside: &mut Outside) {
        let issued_us = self.protocol.work(0);
        self.executor.begin(issued_us);
        let done_us = self.executor.work(bytes_ns(bytes, outside.prices.kib));
        let running = self.running.as_mut().expect("who has work runs");
        let before = running.snapshots.work.replace(work);
        assert!(before.is_none(), "the node hands out one thing at a time");
        let (node, incarnation) = (self.place as u16, self.incarnation);
        outside.queue.push(done_us, Event::Snapshot { node, incarnation });
    }

    /// The work on a snapshot is done. *Gives* a hash of what came of it.
    pub(in crate::world) fn on_snapshot(&mut self, time_us: u64, outside: &mut Outside) -> u64 {
        let running = self.running.as_mut().expect("the event is of this incarnation");
        let work = running.snapshots.work.take().expect("the event was put in with it");
        let input = match work {
            Work::Added(input) => input,
            Work::Install(bound) => {
                if let Err(error) = running.stores.state.restore(bound) {
                    running.snapshots.work = Some(Work::Install(bound));
                    self.fail(time_us, &error, outside);
                    return 0;
                }
                self.storage.on_flushed(bound);
                self.evaluated.clear();
                self.start = bound;
                if !self.has_lost_disk {
                    outside.watcher.on_snapshot(self.id, bound);
                }
                Input::Restored { bound }
            }
        };
        let content = content_of(&format!("{input:?}"));
        self.step(time_us, 0, input, outside);
        content
    }
}
