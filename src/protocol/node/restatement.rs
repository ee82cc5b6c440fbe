//! What of the log may be dropped, and what must be said again before.
//!
//! Realises the pruning of the log of sections 3.7 and 5 of the design. Records are dropped from the front of the log once nobody needs them;
//! the small state stands between them, so it is written once more behind them. Tests: `tests/pruning.rs`.

use super::super::{Acceptor, LogEntry};
use super::Node;
use crate::time::Hlc;

impl Node {
    /// No record at or below is needed from the log: this node has flushed the versions of all of them, and keeps none for another.
    ///
    /// Entries that hold only such records may be dropped once what [`Node::restate`] gives is durable behind them.
    pub fn log_floor(&self) -> Hlc {
        let flushed = self.flushed().min(self.evaluated());
        let kept = self.streams_held().filter_map(|(_, _, stream)| stream.first_kept());
        kept.map(Hlc::prev).fold(flushed, Hlc::min)
    }

    /// The small state, to be written behind everything that was to be persisted until now. With the records above the floor that it
    /// names it is all that a restart needs of the log.
    pub fn restate(&self) -> Vec<LogEntry> {
        let mut entries = vec![LogEntry::Ceiling(self.clock.ceiling())];
        entries.extend(self.decrees.iter().cloned().map(LogEntry::Decree));
        let vote = self.succession.acceptor();
        if *vote != Acceptor::default() {
            entries.push(LogEntry::Vote {
                epoch: self.membership().epoch,
                acceptor: vote.clone(),
            });
        }
        entries.extend(self.periods().map(|period| LogEntry::Held {
            epoch: period.membership().epoch,
            positions: period.positions(),
        }));
        let bound = self.log_floor();
        entries.push(LogEntry::Covered { bound });
        entries
    }
}
