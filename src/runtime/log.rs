//! The thread that writes a replica's log: what arrived while the last sync ran goes into the next one, together.

use std::sync::mpsc::Receiver;

use tokio::sync::mpsc::UnboundedSender;

use super::replica::Done;
use crate::protocol::{LogEntry, SyncMark};
use crate::store::Log;

/// What is to be written.
pub(crate) struct Write {
    pub(crate) mark: SyncMark,
    pub(crate) entries: Vec<LogEntry>,
}

/// Writes until nobody sends any more, or the medium fails: then the replica is told why, and stops.
pub(crate) fn run<L: Log<Entry = LogEntry>>(mut log: L, writes: &Receiver<Write>, done: &UnboundedSender<Done>) {
    while let Ok(first) = writes.recv() {
        let told = match write_all(&mut log, first, writes) {
            Ok(mark) => done.send(Done::Persisted(mark)),
            Err(error) => {
                let _ = done.send(Done::Failed(format!("the log cannot be written: {error}")));
                return;
            }
        };
        if told.is_err() {
            return;
        }
    }
}

/// Writes the first one and all that wait, with one sync. *Gives* the last mark.
fn write_all<L: Log<Entry = LogEntry>>(
    log: &mut L,
    first: Write,
    writes: &Receiver<Write>,
) -> Result<SyncMark, L::Error> {
    let mut mark = first.mark;
    for entry in first.entries {
        log.append(entry)?;
    }
    while let Ok(next) = writes.try_recv() {
        mark = next.mark;
        for entry in next.entries {
            log.append(entry)?;
        }
    }
    log.sync()?;
    Ok(mark)
}
