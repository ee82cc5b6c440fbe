//! The thread that evaluates, reads and serves snapshots, one thing after the other, and has what is evaluated flushed.
//!
//! A flush is written by a thread of its own, one at a time, while evaluation goes on.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::calls::Tried;
use super::changes::{ChangesReply, Watches};
use super::replica::Done;
use crate::executor::{Answer, ReadError, Search, Status};
use crate::id::{Epoch, NodeId, TransactionId};
use crate::protocol::message::{Message, SnapshotChunk, SnapshotRequest};
use crate::protocol::{Batch, Divergence, Query, SyncMark};
use crate::replica::{Recent, ReplicaState};
use crate::store::StoreError;
use crate::store::versions::Flushed;
use crate::thunk::Registry;
use crate::time::Hlc;
use crate::transaction::Transaction;

/// So many bytes are worth a flush: the more there are, the more of them go to one page.
const FLUSH_BYTES: u64 = 64 << 20;

/// How long to wait before the log is looked at again, when a flush must not be ahead of it.
const LOG_PAUSE: Duration = Duration::from_millis(1);

/// After so much timestamp time anything is.
const FLUSH_AFTER_MS: u64 = 5_000;

/// Bytes of a dump that go into the log where there is no folder for it.
const LOGGED_BYTES_MAX: usize = 16 << 10;

/// What there is to do.
pub(crate) enum Work {
    /// *Given* the last entries of the log that were written before.
    Evaluate(Batch, SyncMark),
    Read {
        at: Hlc,
        query: Query,
        reply: oneshot::Sender<Result<(Hlc, Answer), ReadError>>,
    },
    DryRun {
        at: Hlc,
        transaction: Transaction,
        reply: oneshot::Sender<Result<(Hlc, Tried), ReadError>>,
    },
    /// A search for changes is to be taken one step further.
    Changes {
        search: Search,
        reply: oneshot::Sender<ChangesReply>,
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
    /// What follows is evaluated with these thunks.
    Load(Arc<Registry>),
    /// The replica has found itself different from a majority.
    Dump(Divergence),
    DiscardChunks,
    /// A flush was written, or could not be.
    Flushed(Flushed),
    /// The replica stops.
    Stop,
}

/// What a replica has evaluated, and what its thread needs to have it flushed.
pub(crate) struct Evaluator<S> {
    state: S,
    watches: Watches,
    node: NodeId,
    /// Where a dump goes; none for a replica in memory.
    folder: Option<PathBuf>,
    /// What would be dumped.
    recent: Recent,
    /// The last mark whose entries are durable.
    logged: Arc<AtomicU64>,
    work: Sender<Work>,
    done: UnboundedSender<Done>,
    /// The bound at which the last flush began.
    flush_begun: Hlc,
    /// The thread that writes a flush, or has written the last one.
    flusher: Option<JoinHandle<()>>,
}

impl<S: ReplicaState> Evaluator<S> {
    pub(crate) fn new(
        state: S,
        node: NodeId,
        folder: Option<PathBuf>,
        logged: Arc<AtomicU64>,
        work: Sender<Work>,
        done: UnboundedSender<Done>,
    ) -> Self {
        Self {
            state,
            watches: Watches::default(),
            node,
            folder,
            recent: Recent::default(),
            logged,
            work,
            done,
            flush_begun: Hlc::ZERO,
            flusher: None,
        }
    }

    /// Works until the replica is gone, or the state fails: then the replica is told why, and stops.
    pub(crate) fn run(mut self, to_do: &Receiver<Work>) {
        while let Ok(next) = to_do.recv() {
            if matches!(next, Work::Stop) {
                break;
            }
            let result = self.work_on(next);
            if let Err(error) = result {
                let _ = self.done.send(Done::Failed(error.to_string()));
                break;
            }
            if self.done.is_closed() {
                break;
            }
        }
        // The folder is free for another when nobody writes to it any more.
        if let Some(flusher) = self.flusher.take() {
            let _ = flusher.join();
        }
    }

    fn work_on(&mut self, work: Work) -> Result<(), StoreError> {
        match work {
            Work::Evaluate(batch, mark) => {
                let evaluated = self.state.evaluate(&batch)?;
                let upto = evaluated.upto;
                self.recent.note(&batch, upto);
                self.tell(Done::Evaluated(evaluated));
                self.flush_if_due(upto, mark);
                self.tell_watches();
            }
            Work::Read { at, query, reply } => {
                // Who does not wait any more needs no answer.
                let _ = reply.send(self.state.read(at, &query).map(|answer| (at, answer)));
            }
            Work::DryRun { at, transaction, reply } => {
                let tried = self.state.dry_run(&transaction, at);
                let _ = reply.send(tried.map(|tried| (at, tried.ok())));
            }
            Work::Changes { search, reply } => {
                let later = self.watches.seek(&mut self.state, search, reply);
                self.do_later(later);
            }
            Work::Status { id, reply } => {
                let _ = reply.send(self.state.status(id)?);
            }
            Work::ServeChunk { to, epoch, request } => {
                if let Some(bytes) = self.state.piece(&request)? {
                    let messages = vec![Message::SnapshotChunk(SnapshotChunk { epoch, bytes })];
                    self.tell(Done::Send { to, messages });
                }
            }
            Work::AddChunk(bytes) => {
                let taken = self.state.add(&bytes)?;
                self.tell(Done::ChunkTaken(taken));
            }
            Work::Restore(bound) => {
                self.state.restore(bound)?;
                self.tell(Done::Restored(bound));
                self.tell_watches();
            }
            Work::Load(registry) => self.state.set_registry(registry),
            Work::Dump(divergence) => self.dump(&divergence),
            Work::DiscardChunks => self.state.discard(),
            Work::Stop => {}
            Work::Flushed(flushed) => match self.state.end_flush(flushed) {
                Ok(report) => tracing::debug!(node = %self.node, ?report, "has flushed"),
                Err(error @ StoreError::Full { .. }) => {
                    tracing::warn!(node = %self.node, %error, "cannot flush: it will be tried again");
                }
                Err(error) => return Err(error),
            },
        }
        Ok(())
    }

    /// Tells those who wait for changes of what there is now.
    fn tell_watches(&mut self) {
        let later = self.watches.on_evaluated(&mut self.state);
        self.do_later(later);
    }

    /// Does it behind what waits already.
    fn do_later(&self, work: impl IntoIterator<Item = Work>) {
        for work in work {
            // The other end is this evaluator's own.
            let _ = self.work.send(work);
        }
    }

    /// Shows the transactions among which this replica went another way, in a file of its folder or, without one, the first of them in the log.
    fn dump(&self, divergence: &Divergence) {
        let dump = self.recent.dump(self.node, divergence, |id| self.state.status(id).ok());
        let (node, transactions) = (self.node, self.recent.suspects(divergence));
        let Some(folder) = &self.folder else {
            let first = &dump[..dump.floor_char_boundary(LOGGED_BYTES_MAX)];
            tracing::error!(%node, transactions, "went another way than a majority among these transactions: {first}");
            return;
        };
        let file = folder.join(format!("divergence-{}.txt", divergence.own.boundary.unix_millis()));
        match fs::write(&file, dump) {
            Ok(()) => {
                let file = file.display();
                tracing::error!(%node, transactions, %file, "went another way than a majority among the transactions in this file");
            }
            Err(error) => {
                let file = file.display();
                tracing::error!(%node, transactions, %file, %error, "the transactions of the divergence cannot be written");
            }
        }
    }

    fn tell(&self, done: Done) {
        // A replica that is gone needs to know nothing.
        let _ = self.done.send(done);
    }

    /// Begins a flush if it is worth one. *Given* the evaluated bound, and the last entries of the log before it: versions become durable no
    /// earlier than those.
    fn flush_if_due(&mut self, upto: Hlc, mark: SyncMark) {
        let is_late = upto.unix_millis().saturating_sub(self.flush_begun.unix_millis()) >= FLUSH_AFTER_MS;
        let Some(flush) = self.state.begin_flush(if is_late { 1 } else { FLUSH_BYTES }) else {
            return;
        };
        self.flush_begun = upto;
        let (work, done, logged) = (self.work.clone(), self.done.clone(), Arc::clone(&self.logged));
        let name = format!("plimsoll-{}-flush", self.node);
        let write = move || {
            if wait_for(&logged, mark, &done) {
                let _ = work.send(Work::Flushed(flush.write()));
            }
        };
        match thread::Builder::new().name(name).spawn(write) {
            Ok(flusher) => self.flusher = Some(flusher),
            Err(error) => self.tell(Done::Failed(format!("a flush cannot be started: {error}"))),
        }
    }
}

/// Waits until the log is durable up to `mark`. *Gives* whether it is: not if the replica stops before.
#[allow(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do than to wait for the log"
)]
fn wait_for(logged: &AtomicU64, mark: SyncMark, done: &UnboundedSender<Done>) -> bool {
    while logged.load(Ordering::Acquire) < mark.0 {
        if done.is_closed() {
            return false;
        }
        thread::sleep(LOG_PAUSE);
    }
    true
}
