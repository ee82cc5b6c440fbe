//! Snapshots from replica to replica: what a driver does with the effects that serve a checkpoint and take one in.
//!
//! Realises the driver's side of the snapshots of section 3.7 of the design; when which piece is asked for is for the core. The contract
//! stands at the head of [`protocol`](crate::protocol). Tests: `tests/checkpoint.rs`.

use super::assembly::{Assembly, ChunkError};
use super::checkpoint::Checkpoint;
use super::chunk::{Chunk, ChunkCursor};
use crate::protocol::ChunkTaken;
use crate::protocol::message::SnapshotRequest;
use crate::store::{History, MemoryVersions, Versions};
use crate::time::Hlc;

/// The checkpoint of which others are sent pieces.
#[derive(Clone, Debug)]
pub struct SnapshotSource<V = MemoryVersions> {
    kept: Option<Checkpoint<V>>,
}

impl<V> Default for SnapshotSource<V> {
    fn default() -> Self {
        Self { kept: None }
    }
}

impl<V: History> SnapshotSource<V> {
    /// The piece that answers a request: that which begins where it says, if its checkpoint is the one kept, else the first of one that is
    /// of use to it. *Gives* nothing if there is none.
    ///
    /// *Given* a way to a flushed checkpoint, which is taken if the one kept is of no use and is kept from then on; and how
    /// large the piece may be.
    pub fn piece(
        &mut self,
        request: &SnapshotRequest,
        bytes_max: usize,
        flushed: impl FnOnce() -> Option<Checkpoint<V>>,
    ) -> Option<V::Checked<Vec<u8>>> {
        self.kept.take_if(|kept| kept.bound() <= request.above);
        if self.kept.is_none() {
            self.kept = flushed().filter(|flushed| flushed.bound() > request.above);
        }
        let kept = self.kept.as_ref()?;
        let asked = request.bound.filter(|bound| *bound == kept.bound());
        // A cursor that nobody here has written begins anew, and the receiver finds that it has those pieces.
        let cursor = asked.and_then(|_| ChunkCursor::from_bytes(&request.cursor));
        let piece = kept.chunk_found(&cursor.unwrap_or_default(), bytes_max);
        Some(kept.versions().checked(piece.to_bytes()))
    }

    /// Forgets the checkpoint that is kept: nobody has asked for it for long.
    pub fn forget(&mut self) {
        self.kept = None;
    }
}

/// The checkpoint that is being taken in.
#[derive(Clone, Debug)]
pub struct SnapshotIntake<V = MemoryVersions> {
    stage: Stage<V>,
}

#[derive(Clone, Debug)]
enum Stage<V> {
    Nothing,
    Pieces(Assembly<V>),
    Complete(Checkpoint<V>),
}

impl<V> Default for SnapshotIntake<V> {
    fn default() -> Self {
        Self { stage: Stage::Nothing }
    }
}

impl<V: Versions> SnapshotIntake<V> {
    /// Adds a piece. *Given* a way to empty versions, for the first piece of a checkpoint; what came before it is gone then.
    ///
    /// *Errors* when there are no empty versions; nothing is left of what had come.
    pub fn add<E>(&mut self, bytes: &[u8], empty: impl FnOnce() -> Result<V, E>) -> Result<ChunkTaken, E> {
        let Ok(chunk) = Chunk::from_bytes(bytes) else {
            return Ok(self.refuse());
        };
        let bound = chunk.heading().bound;
        let (first, _) = chunk.extent();
        let begun = match std::mem::replace(&mut self.stage, Stage::Nothing) {
            Stage::Pieces(assembly) if assembly.heading() == Some(chunk.heading()) => Some(assembly),
            // What is complete is complete, whatever comes late.
            Stage::Complete(complete) if complete.heading_found() == *chunk.heading() => {
                self.stage = Stage::Complete(complete);
                return Ok(ChunkTaken::Complete { bound });
            }
            _ => None,
        };
        let mut assembly = match begun {
            Some(assembly) => assembly,
            None if first == 0 => Assembly::over(empty()?),
            None => return Ok(self.refuse()),
        };
        Ok(match assembly.add(chunk) {
            Ok(progress) => match progress.next {
                Some(next) => {
                    self.stage = Stage::Pieces(assembly);
                    ChunkTaken::More {
                        bound,
                        next: next.to_bytes(),
                    }
                }
                None => self.complete(assembly),
            },
            Err(error) => {
                tracing::warn!(%error, "a piece of a snapshot is of no use");
                self.refuse()
            }
        })
    }

    fn complete(&mut self, assembly: Assembly<V>) -> ChunkTaken {
        match assembly.finish() {
            Ok(checkpoint) => {
                let bound = checkpoint.bound();
                self.stage = Stage::Complete(checkpoint);
                ChunkTaken::Complete { bound }
            }
            Err(error @ ChunkError::Damaged { .. }) => {
                tracing::warn!(%error, "a snapshot is thrown away");
                self.refuse()
            }
            Err(error) => unreachable!("all pieces are there: {error}"),
        }
    }

    /// Throws away what has come.
    pub fn discard(&mut self) {
        self.stage = Stage::Nothing;
    }

    fn refuse(&mut self) -> ChunkTaken {
        self.discard();
        ChunkTaken::Refused
    }

    /// The checkpoint that has come, and nothing is left of it here.
    ///
    /// *Panics* if the one at `bound` is not complete.
    pub fn take(&mut self, bound: Hlc) -> Checkpoint<V> {
        match std::mem::replace(&mut self.stage, Stage::Nothing) {
            Stage::Complete(checkpoint) if checkpoint.bound() == bound => checkpoint,
            _ => panic!("no complete checkpoint at {bound} is there"),
        }
    }
}
