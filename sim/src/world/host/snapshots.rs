//! Snapshots at a machine: pieces are made, added and installed on the executor's processor, one thing at a time.

use std::convert::Infallible;

use plimsoll::executor::{Checkpoint, SnapshotIntake, SnapshotSource};
use plimsoll::id::{Epoch, NodeId};
use plimsoll::protocol::message::{Message, SnapshotChunk, SnapshotRequest};
use plimsoll::protocol::{Effect, Input};
use plimsoll::store::MemoryVersions;
use plimsoll::time::Hlc;

use super::super::event::{Event, content_of};
use super::super::outside::Outside;
use super::super::replica::Replica;
use super::Host;
use crate::cost::bytes_ns;

/// Bytes of a piece: little, so that a small world's snapshot has several.
const PIECE_BYTES: usize = 8 << 10;

/// The snapshots that a node sends and takes in.
#[derive(Default)]
pub(super) struct Snapshots {
    source: SnapshotSource,
    intake: SnapshotIntake,
    /// What the executor's processor is busy with.
    work: Option<Work>,
}

enum Work {
    /// A piece was added; the node is told this.
    Added(Input),
    /// The versions become these.
    Installed(Checkpoint),
}

impl<R: Replica> Host<R> {
    pub(super) fn serve_chunk(&mut self, to: NodeId, epoch: Epoch, request: &SnapshotRequest, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let replica = &running.replica;
        let source = &mut running.snapshots.source;
        let Some(bytes) = source.piece(request, PIECE_BYTES, || Some(replica.checkpoint())) else {
            return;
        };
        let issued_us = self.protocol.work(0);
        self.executor.begin(issued_us);
        self.executor.work(bytes_ns(bytes.len(), outside.prices.kib));
        let messages = vec![Message::SnapshotChunk(SnapshotChunk { epoch, bytes })];
        self.carry_out(Effect::Send { to, messages }, outside);
    }

    pub(super) fn add_chunk(&mut self, bytes: &[u8], outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let empty = || Ok::<_, Infallible>(MemoryVersions::default());
        let Ok(taken) = running.snapshots.intake.add(bytes, empty);
        self.begin_work(Work::Added(Input::ChunkTaken(taken)), bytes.len(), outside);
    }

    pub(super) fn restore(&mut self, bound: Hlc, outside: &mut Outside) {
        let Some(running) = &mut self.running else {
            return;
        };
        let checkpoint = running.snapshots.intake.take(bound);
        let bytes = checkpoint.heading().entries as usize * PIECE_BYTES / 64;
        self.begin_work(Work::Installed(checkpoint), bytes, outside);
    }

    pub(super) fn discard_chunks(&mut self) {
        if let Some(running) = &mut self.running {
            running.snapshots.intake.discard();
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
            Work::Installed(checkpoint) => {
                let bound = checkpoint.bound();
                running.replica.restore(checkpoint);
                running.flushing = None;
                running.evaluated.clear();
                running.start = bound;
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
