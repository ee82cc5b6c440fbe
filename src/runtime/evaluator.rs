//! The thread that evaluates, reads and serves snapshots, one thing after the other.

use std::sync::mpsc::Receiver;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::replica::Done;
use crate::executor::{Answer, Checkpoint, ReadError, SerialExecutor, SnapshotIntake, SnapshotSource, Status};
use crate::id::{Epoch, NodeId, TransactionId};
use crate::limits::SNAPSHOT_CHUNK_BYTES_MAX;
use crate::protocol::message::{Message, SnapshotChunk, SnapshotRequest};
use crate::protocol::{Batch, Query};
use crate::store::MemoryVersions;
use crate::time::Hlc;

/// What there is to do.
pub(crate) enum Work {
    Evaluate(Batch),
    Read {
        at: Hlc,
        query: Query,
        reply: oneshot::Sender<Result<(Hlc, Answer), ReadError>>,
    },
    Status {
        id: TransactionId,
        reply: oneshot::Sender<Status>,
    },
    ServeChunk {
        to: NodeId,
        epoch: Epoch,
        request: SnapshotRequest,
    },
    AddChunk(Vec<u8>),
    Restore(Hlc),
    DiscardChunks,
}

/// The executor of a replica whose versions are in memory, with the snapshots that it sends and takes in.
pub(crate) struct Evaluator {
    executor: SerialExecutor<MemoryVersions>,
    source: SnapshotSource,
    intake: SnapshotIntake,
}

impl Evaluator {
    pub(crate) fn new(executor: SerialExecutor<MemoryVersions>) -> Self {
        Self {
            executor,
            source: SnapshotSource::default(),
            intake: SnapshotIntake::default(),
        }
    }

    /// Works until nobody sends any more.
    pub(crate) fn run(mut self, work: &Receiver<Work>, done: &UnboundedSender<Done>) {
        while let Ok(next) = work.recv() {
            let told = match next {
                Work::Evaluate(batch) => done.send(Done::Evaluated(self.executor.evaluate(&batch))),
                Work::Read { at, query, reply } => {
                    // Who does not wait any more needs no answer.
                    let _ = reply.send(self.executor.read(at, &query).map(|answer| (at, answer)));
                    Ok(())
                }
                Work::Status { id, reply } => {
                    let _ = reply.send(self.executor.status(id));
                    Ok(())
                }
                Work::ServeChunk { to, epoch, request } => match self.piece(&request) {
                    Some(bytes) => done.send(Done::Send {
                        to,
                        messages: vec![Message::SnapshotChunk(SnapshotChunk { epoch, bytes })],
                    }),
                    None => Ok(()),
                },
                Work::AddChunk(bytes) => {
                    let taken = self.intake.add(&bytes, MemoryVersions::default);
                    done.send(Done::ChunkTaken(taken))
                }
                Work::Restore(bound) => {
                    self.restore(bound);
                    done.send(Done::Restored(bound))
                }
                Work::DiscardChunks => {
                    self.intake.discard();
                    Ok(())
                }
            };
            if told.is_err() {
                return;
            }
        }
    }

    fn piece(&mut self, request: &SnapshotRequest) -> Option<Vec<u8>> {
        let executor = &self.executor;
        self.source
            .piece(request, SNAPSHOT_CHUNK_BYTES_MAX, || Some(executor.checkpoint()))
    }

    fn restore(&mut self, bound: Hlc) {
        let checkpoint: Checkpoint = self.intake.take(bound);
        let registry = self.executor.shared_registry();
        self.executor = SerialExecutor::restore(registry, checkpoint);
    }
}
