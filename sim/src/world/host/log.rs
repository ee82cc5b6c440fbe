//! What is in the entries of a log, for the costs and for those who look on.

use plimsoll::id::{Epoch, NodeId, TransactionId};
use plimsoll::protocol::LogEntry;
use plimsoll::transaction::Record;

/// The transactions whose records are to be logged, each with its epoch.
pub(super) fn ids<'a>(entries: impl IntoIterator<Item = &'a LogEntry>) -> impl Iterator<Item = (Epoch, TransactionId)> {
    records(entries).map(|(epoch, _, record)| (epoch, record.transaction.id))
}

/// The records among log entries, each with its epoch and its coordinator.
pub(super) fn records<'a>(
    entries: impl IntoIterator<Item = &'a LogEntry>,
) -> impl Iterator<Item = (Epoch, NodeId, &'a Record)> {
    let pieces = entries.into_iter().filter_map(|entry| match entry {
        LogEntry::Records {
            epoch,
            coordinator,
            records,
        } => Some((*epoch, *coordinator, records)),
        LogEntry::Ceiling(_)
        | LogEntry::Vote { .. }
        | LogEntry::Decree(_)
        | LogEntry::Held { .. }
        | LogEntry::Covered { .. } => None,
    });
    pieces.flat_map(|(epoch, coordinator, records)| records.iter().map(move |record| (epoch, coordinator, &**record)))
}

/// How many records there are to log, and about how many bytes in all.
pub(super) fn weigh(entries: &[LogEntry]) -> (u64, usize) {
    const ENTRY_BYTES: usize = 16;
    let mut records_logged = 0;
    let mut bytes = entries.len() * ENTRY_BYTES;
    for entry in entries {
        if let LogEntry::Records { records, .. } = entry {
            records_logged += records.len() as u64;
            bytes += records.iter().map(|record| record.weight()).sum::<usize>();
        }
    }
    (records_logged, bytes)
}
