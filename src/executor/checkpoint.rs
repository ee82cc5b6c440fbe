//! A replica's state at its evaluated bound: all it needs to go on from there.
//!
//! Realises the snapshots of section 3.7 of the design, and what a replica restarts from. What counts in a checkpoint, its
//! *entries*, is a function of what was evaluated up to the bound: two replicas at the same bound have equal entries however their
//! batches were cut and whatever they have collected, so either can go on with a transfer that the other began. On the way it is
//! cut into pieces, see [`chunk`](super::chunk), which [`assembly`](super::assembly) puts together. Tests: `tests/checkpoint.rs`.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::digest::DigestFold;
use super::outcomes::{Ledger, Outcomes};
use crate::codec;
use crate::id::TransactionId;
use crate::key::{Key, Value};
use crate::limits::VERSION_RETENTION;
use crate::store::{History, MemoryVersions};
use crate::time::{Hlc, Timestamp};
use crate::transaction::Outcome;

/// The state of a replica at its evaluated bound.
///
/// Holds every version that a snapshot within [`VERSION_RETENTION`] of the bound can see, deletions included, as far as the versions
/// show it of which it was taken (of what was flushed the disk may have the newest alone); the outcomes of
/// transaction ids that are not expired; and the fold of the digest. A replica that was
/// [restored](super::SerialExecutor::restore) from it gives the outcomes, reads and digests that it would have given had it
/// evaluated everything itself.
///
/// *Cost*: a clone copies the trees of the versions, whose values are shared; outcomes are shared by the second.
#[derive(Clone, Debug)]
pub struct Checkpoint<V = MemoryVersions> {
    pub(super) versions: V,
    pub(super) outcomes: Outcomes,
    pub(super) digest: DigestFold,
    pub(super) last: Timestamp,
    heading: OnceLock<Heading>,
}

/// What every piece of a checkpoint says of the whole. Equal headings are those of equal checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Heading {
    /// The evaluated bound.
    pub bound: Hlc,
    /// The last record evaluated. Above the bound if evaluation stopped between records of one [`Hlc`].
    pub last: Timestamp,
    /// The oldest snapshot that can be read.
    pub oldest: Hlc,
    /// The digest boundary that was noted last.
    pub noted: Hlc,
    /// The running value of the digest.
    pub fold: u64,
    /// How many entries there are.
    pub entries: u64,
    /// The hash of all else in the heading and of all entries, in order.
    pub hash: u64,
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum Entry {
    /// What was written to a key; none is a deletion.
    Version {
        key: Key,
        at: Timestamp,
        value: Option<Value>,
    },
    /// The first outcome of an id.
    Outcome {
        id: TransactionId,
        effective: Timestamp,
        outcome: Outcome,
    },
}

/// Where an entry stands: entries ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(super) enum Place {
    /// In front of all entries.
    #[default]
    Front,
    Version(Key, Timestamp),
    Outcome(TransactionId),
}

impl Entry {
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Version { key, at, .. } => Place::Version(key.clone(), *at),
            Self::Outcome { id, .. } => Place::Outcome(*id),
        }
    }
}

impl<V: History> Checkpoint<V> {
    /// *Given* versions at their evaluated bound, and what belongs beside them.
    pub(super) fn new(versions: V, outcomes: Outcomes, digest: DigestFold, last: Timestamp) -> Self {
        Self {
            versions,
            outcomes,
            digest,
            last,
            heading: OnceLock::new(),
        }
    }

    /// The evaluated bound: everything at or below is in it.
    pub fn bound(&self) -> Hlc {
        self.versions.evaluated()
    }

    /// The versions.
    pub fn versions(&self) -> &V {
        &self.versions
    }

    /// What tells it from other checkpoints.
    ///
    /// *Cost*: the first time a pass over all entries.
    pub fn heading(&self) -> V::Checked<Heading> {
        self.versions.checked(self.heading_found())
    }

    /// The heading, which is to be [checked](History::checked): what was made of entries that could not be read is never given out.
    pub(super) fn heading_found(&self) -> Heading {
        *self.heading.get_or_init(|| {
            let mut heading = Heading {
                bound: self.bound(),
                last: self.last,
                oldest: self.oldest(),
                noted: self.digest.noted(),
                fold: self.digest.value(),
                entries: 0,
                hash: 0,
            };
            let mut hasher = EntryHasher::default();
            self.entries(&Place::Front, &mut |entry| {
                hasher.add(&entry);
                heading.entries += 1;
                ControlFlow::Continue(())
            });
            heading.hash = hasher.finish(&heading);
            heading
        })
    }

    /// The oldest snapshot that is kept, whatever else the versions still hold.
    fn oldest(&self) -> Hlc {
        self.bound().minus(VERSION_RETENTION).max(self.versions.oldest())
    }

    /// Shows the entries behind `after` until `visit` breaks.
    pub(super) fn entries(&self, after: &Place, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) {
        let (version, outcome) = match after {
            Place::Front => (None, None),
            Place::Version(key, at) => (Some((key, *at)), None),
            Place::Outcome(id) => (None, Some(*id)),
        };
        let mut flow = ControlFlow::Continue(());
        if outcome.is_none() {
            self.versions.history(self.oldest(), version, &mut |key, at, value| {
                flow = visit(Entry::Version {
                    key: key.clone(),
                    at,
                    value: value.cloned(),
                });
                flow
            });
        }
        if flow.is_break() {
            return;
        }
        let ledger = Ledger {
            outcomes: &self.outcomes,
            versions: &self.versions,
        };
        ledger.history(outcome, &mut |id, effective, outcome| {
            let outcome = outcome.clone();
            visit(Entry::Outcome { id, effective, outcome })
        });
    }
}

/// The hash of entries, one after the other, however they are cut into pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct EntryHasher {
    hash: u64,
    buffer: Vec<u8>,
}

impl EntryHasher {
    pub(super) fn add(&mut self, entry: &Entry) {
        self.fold(entry);
    }

    /// The hash of all that was added under `heading`, whose own hash does not count.
    pub(super) fn finish(mut self, heading: &Heading) -> u64 {
        self.fold(&Heading { hash: 0, ..*heading });
        self.hash
    }

    fn fold<T: Encode>(&mut self, value: &T) {
        self.buffer.clear();
        codec::encode_plain(value, &mut self.buffer);
        self.hash = xxh3_64_with_seed(&self.buffer, self.hash);
    }
}
