//! What can happen in a world, and the trace of what did.

use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::Xxh3;

/// Something that happens at a moment. Small, because the queue copies it; what it carries lies in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A frame arrives at a node.
    Frame { node: u16, slot: u32 },
    /// A node's moment has come.
    Wake { node: u16, incarnation: u32 },
    /// A node's disk has finished a sync.
    Synced { node: u16, incarnation: u32 },
    /// A node's executor has finished its batch.
    Evaluated { node: u16, incarnation: u32 },
    /// A client's moment has come.
    ClientWake { client: u32 },
    /// A client's request arrives at a node.
    Request { node: u16, slot: u32 },
    /// An answer arrives at a client.
    Response { slot: u32 },
    /// Something goes wrong with a machine, by its number in the world's plan.
    Fault { number: u32 },
    /// A node's executor has added a piece of a snapshot, or installed one.
    Snapshot { node: u16, incarnation: u32 },
    /// A node's versions were written.
    Flushed { node: u16, incarnation: u32 },
    /// Every node's watermark is looked at.
    Sample,
}

/// The kinds of events, as they are counted and traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A frame arrived at a node.
    Frame,
    /// A node's moment came.
    Wake,
    /// A node's disk finished a sync.
    Synced,
    /// A node's executor finished a batch.
    Evaluated,
    /// A client's moment came.
    ClientWake,
    /// A client's request arrived at a node.
    Request,
    /// An answer arrived at a client.
    Response,
    /// Something went wrong with a machine.
    Fault,
    /// Every node's watermark was looked at.
    Sample,
    /// A node's executor added a piece of a snapshot, or installed one.
    Snapshot,
    /// A node's versions were written.
    Flushed,
}

impl EventKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Frame,
        Self::Wake,
        Self::Synced,
        Self::Evaluated,
        Self::ClientWake,
        Self::Request,
        Self::Response,
        Self::Fault,
        Self::Sample,
        Self::Snapshot,
        Self::Flushed,
    ];
}

/// One event as the trace has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// When, in virtual microseconds.
    pub time_us: u64,
    /// What.
    pub kind: EventKind,
    /// At which node or client, by its place; 0 for an event of all nodes.
    pub place: u32,
    /// A hash of what the event brought.
    pub content: u64,
}

/// The trace: a hash of all events, counts of each kind, and the last few themselves.
pub(super) struct Trace {
    hash: Xxh3,
    counts: [u64; EventKind::ALL.len()],
    /// The last events, in a ring.
    last: Vec<TraceEntry>,
    total: u64,
}

/// How many of the last events are kept, for whoever looks into a failure.
const KEPT: usize = 256;

impl Trace {
    pub(super) fn new() -> Self {
        Self {
            hash: Xxh3::new(),
            counts: [0; EventKind::ALL.len()],
            last: Vec::with_capacity(KEPT),
            total: 0,
        }
    }

    pub(super) fn add(&mut self, entry: TraceEntry) {
        let mut bytes = [0; 21];
        bytes[..8].copy_from_slice(&entry.time_us.to_le_bytes());
        bytes[8] = entry.kind as u8;
        bytes[9..13].copy_from_slice(&entry.place.to_le_bytes());
        bytes[13..].copy_from_slice(&entry.content.to_le_bytes());
        self.hash.update(&bytes);
        self.counts[entry.kind as usize] += 1;
        if self.last.len() < KEPT {
            self.last.push(entry);
        } else {
            self.last[self.total as usize % KEPT] = entry;
        }
        self.total += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.digest()
    }

    pub(super) fn counts(&self) -> [(EventKind, u64); EventKind::ALL.len()] {
        EventKind::ALL.map(|kind| (kind, self.counts[kind as usize]))
    }

    /// The last events, oldest first.
    pub(super) fn last(mut self) -> Vec<TraceEntry> {
        if self.total as usize > KEPT {
            self.last.rotate_left(self.total as usize % KEPT);
        }
        self.last
    }
}

/// A hash of a value: the same in every process on one kind of machine.
pub(super) fn content_of(value: &impl Hash) -> u64 {
    let mut hasher = Xxh3::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time_us: u64) -> TraceEntry {
        TraceEntry {
            time_us,
            kind: EventKind::Wake,
            place: 1,
            content: 7,
        }
    }

    #[test]
    fn every_part_of_an_event_counts_and_so_does_the_order() {
        let hash = |entries: &[TraceEntry]| {
            let mut trace = Trace::new();
            entries.iter().for_each(|entry| trace.add(*entry));
            trace.hash()
        };
        let base = hash(&[entry(1), entry(2)]);
        let other = |change: fn(&mut TraceEntry)| {
            let mut changed = entry(2);
            change(&mut changed);
            hash(&[entry(1), changed])
        };
        assert_eq!(base, hash(&[entry(1), entry(2)]));
        assert_ne!(base, hash(&[entry(2), entry(1)]));
        assert_ne!(base, other(|entry| entry.time_us += 1));
        assert_ne!(base, other(|entry| entry.kind = EventKind::Frame));
        assert_ne!(base, other(|entry| entry.place += 1));
        assert_ne!(base, other(|entry| entry.content += 1));
    }

    #[test]
    fn the_last_events_are_kept_oldest_first() {
        let mut trace = Trace::new();
        (0..1_000).for_each(|time_us| trace.add(entry(time_us)));
        let last: Vec<u64> = trace.last().iter().map(|entry| entry.time_us).collect();
        assert_eq!(last, (1_000 - KEPT as u64..1_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 12);
    }
}
