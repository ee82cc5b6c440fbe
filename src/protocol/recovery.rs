//! What a node finds in its log when it starts again.
//!
//! Realises the durable side of sections 3.5 and 3.6 of the design: the small state (ceiling, decrees, the vote) and the records
//! of every stream, gathered from the entries of the log in the order of their writing. What follows from it is not decided here:
//! `node` goes on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decree::Decree;
use super::{Acceptor, LogEntry};
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;
use crate::transaction::Record;

/// The durable state of a node that is not running.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    ceiling: Hlc,
    decrees: BTreeMap<Epoch, Decree>,
    votes: BTreeMap<Epoch, Acceptor>,
    streams: BTreeMap<(Epoch, NodeId), Vec<Arc<Record>>>,
    held: BTreeMap<(Epoch, NodeId), Hlc>,
    /// The bounds of the snapshots that were to be installed.
    covered: BTreeSet<Hlc>,
}

impl Recovered {
    /// What these entries come to, in the order of their writing.
    pub fn from_entries(entries: impl IntoIterator<Item = LogEntry>) -> Self {
        let mut recovered = Self::default();
        entries.into_iter().for_each(|entry| recovered.add(entry));
        recovered
    }

    /// Adds the next entry.
    pub fn add(&mut self, entry: LogEntry) {
        match entry {
            LogEntry::Records {
                epoch,
                coordinator,
                records,
            } => self.streams.entry((epoch, coordinator)).or_default().extend(records),
            LogEntry::Held { epoch, positions } => {
                for (coordinator, position) in positions {
                    let held = self.held.entry((epoch, coordinator)).or_default();
                    *held = position.max(*held);
                }
            }
            LogEntry::Ceiling(ceiling) => self.ceiling = ceiling.max(self.ceiling),
            LogEntry::Vote { epoch, acceptor } => {
                self.votes.insert(epoch, acceptor);
            }
            LogEntry::Decree(decree) => {
                // It may be said again.
                self.decrees.insert(decree.epoch, decree);
            }
            LogEntry::Covered { bound } => {
                self.covered.insert(bound);
            }
        }
    }

    /// Nothing above was ever issued, promised or acknowledged.
    pub fn ceiling(&self) -> Hlc {
        self.ceiling
    }

    /// The lowest bound in it below which records may be missing; [`Hlc::ZERO`] if there is none.
    pub(crate) fn lowest_covered(&self) -> Hlc {
        self.covered.first().copied().unwrap_or_default()
    }

    /// Whether every record that the node ever held is in it: nothing was dropped in front, and nothing came as a snapshot.
    pub fn is_whole(&self) -> bool {
        self.covered.is_empty()
    }

    /// The decrees that were installed, ascending.
    pub(crate) fn decrees(&self) -> impl Iterator<Item = &Decree> {
        self.decrees.values()
    }

    /// The last vote on the end of `epoch`.
    pub(crate) fn vote(&self, epoch: Epoch) -> Option<&Acceptor> {
        self.votes.get(&epoch)
    }

    /// Records at or below may be missing: the versions, which hold everything up to `evaluated`, may have come as a snapshot. One that
    /// was not installed any more before the node stopped lies above.
    pub(crate) fn covered(&self, evaluated: Hlc) -> Hlc {
        self.covered
            .range(..=evaluated)
            .next_back()
            .copied()
            .unwrap_or_default()
    }

    /// The records of a stream, ascending, and how far the stream is known to be held; that may lie above the last record.
    pub(crate) fn stream(&self, epoch: Epoch, coordinator: NodeId) -> (&[Arc<Record>], Hlc) {
        let records = self.streams.get(&(epoch, coordinator)).map_or(&[][..], Vec::as_slice);
        let held = self.held.get(&(epoch, coordinator)).copied().unwrap_or_default();
        (records, records.last().map_or(held, |last| held.max(last.hlc)))
    }
}
