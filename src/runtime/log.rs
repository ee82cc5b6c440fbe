//! The thread that writes a replica's log: what arrived while the last sync ran goes into the next one, together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::replica::Done;
use crate::protocol::{LogEntry, SyncMark};
use crate::replica::ReplicaLog;
use crate::store::{Log, StoreError};
use crate::time::Hlc;

/// How long to wait before a medium that is full is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// What is to be done to the log, in order.
pub(crate) enum Write {
    Entries {
        mark: SyncMark,
        entries: Vec<LogEntry>,
    },
    /// What lies below the floor may be dropped, now that the small state was restated.
    Prune {
        floor: Hlc,
        restated: Vec<LogEntry>,
    },
}

/// What others may see of the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogView {
    /// The last mark whose entries are durable.
    pub(crate) logged: Arc<AtomicU64>,
    /// Whether there is no room for more.
    pub(crate) is_full: Arc<AtomicBool>,
}

/// The errors of a log that pass when there is room again.
pub(crate) trait MayBeFull {
    fn is_full(&self) -> bool;
}

impl MayBeFull for StoreError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl MayBeFull for std::convert::Infallible {
    fn is_full(&self) -> bool {
        match *self {}
    }
}

/// Writes until nobody sends any more, or the medium fails: then the replica is told why, and stops.
pub(crate) fn run<L>(mut log: ReplicaLog<L>, writes: &Receiver<Write>, view: &LogView, done: &UnboundedSender<Done>)
where
    L: Log<Entry = LogEntry>,
    L::Error: MayBeFull,
{
    while let Ok(first) = writes.recv() {
        if let Err(error) = write_all(&mut log, first, writes, view, done) {
            let _ = done.send(Done::Failed(format!("the log cannot be written: {error}")));
            return;
        }
        if done.is_closed() {
            return;
        }
    }
}

/// Writes the first one and all that wait, with one sync.
fn write_all<L>(
    log: &mut ReplicaLog<L>,
    first: Write,
    writes: &Receiver<Write>,
    view: &LogView,
    done: &UnboundedSender<Done>,
) -> Result<(), L::Error>
where
    L: Log<Entry = LogEntry>,
    L::Error: MayBeFull,
{
    let mut written = None;
    let mut prune = None;
    for next in std::iter::once(first).chain(writes.try_iter()) {
        match next {
            Write::Entries { mark, entries } => {
                log.append(entries)?;
                written = Some(mark);
            }
            Write::Prune { floor, restated } => {
                prune = Some((floor, restated));
                // What follows must stand behind what is restated.
                break;
            }
        }
    }
    if let Some(mark) = written {
        sync(log, view)?;
        view.logged.store(mark.0, Ordering::Release);
        let _ = done.send(Done::Persisted(mark));
    }
    match prune {
        // Without room nothing is dropped, and nothing is lost: what was restated stands in the log once more.
        Some((floor, restated)) => log.prune(floor, restated).or_else(|error| match error.is_full() {
            true => Ok(()),
            false => Err(error),
        }),
        None => Ok(()),
    }
}

/// Makes durable what was appended, and waits for room if there is none.
#[allow(
    clippy::disallowed_methods,
    reason = "this thread has nothing else to do than to wait for room"
)]
fn sync<L>(log: &mut ReplicaLog<L>, view: &LogView) -> Result<(), L::Error>
where
    L: Log<Entry = LogEntry>,
    L::Error: MayBeFull,
{
    loop {
        match log.sync() {
            Err(error) if error.is_full() => {
                if !view.is_full.swap(true, Ordering::AcqRel) {
                    tracing::warn!(%error, "takes no transactions until there is room");
                }
                thread::sleep(FULL_PAUSE);
            }
            result => {
                view.is_full.store(false, Ordering::Release);
                return result;
            }
        }
    }
}
