//! The versions of one key in memory.
//!
//! Laid out for the read of a newest version, which nearly every read is: a tree of keys and chains is searched
//! without following a pointer out of its nodes, and so with few misses of the processor's caches.

use crate::key::Value;
use crate::time::{Hlc, Timestamp};
use crate::transaction::Versioned;

/// What was written at a timestamp; none is a deletion.
pub(super) type Version = (Timestamp, Option<Value>);

/// The versions of one key; at least one.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    newest: Version,
    /// Those before it, ascending.
    older: Vec<Version>,
}

impl Chain {
    pub(super) fn new(version: Version) -> Self {
        Self {
            newest: version,
            older: Vec::new(),
        }
    }

    pub(super) fn newest(&self) -> &Version {
        &self.newest
    }

    /// Reads what a read of the newest version and another write will read.
    pub(super) fn touch(&self) -> (Timestamp, Option<Timestamp>) {
        (self.newest.0, self.older.last().map(|(at, _)| *at))
    }

    /// How many versions are kept.
    pub(super) fn len(&self) -> usize {
        self.older.len() + 1
    }

    /// The newest version at or below `at`, which may be a deletion.
    pub(super) fn reached(&self, at: Timestamp) -> Option<&Version> {
        if self.newest.0 <= at {
            return Some(&self.newest);
        }
        let place = self.older.partition_point(|(timestamp, _)| *timestamp <= at);
        self.older.get(place.checked_sub(1)?)
    }

    /// The newest version at or below `at`, unless it is a deletion.
    pub(super) fn visible(&self, at: Timestamp) -> Option<Versioned> {
        let (timestamp, value) = self.reached(at)?;
        Some(Versioned {
            timestamp: *timestamp,
            value: value.clone()?,
        })
    }

    /// All versions, ascending.
    pub(super) fn into_versions(self) -> impl Iterator<Item = Version> {
        self.older.into_iter().chain([self.newest])
    }

    /// The versions that a snapshot at or above `oldest` can see, ascending.
    pub(super) fn kept(&self, oldest: Hlc) -> impl Iterator<Item = &Version> {
        self.older[self.base(oldest)..].iter().chain([&self.newest])
    }

    /// The versions that a snapshot at or above `oldest` can see, ascending, but for a deletion that stands in front of all others.
    pub(super) fn history(&self, oldest: Hlc) -> impl Iterator<Item = &Version> {
        let (timestamp, value) = self.older.get(self.base(oldest)).unwrap_or(&self.newest);
        let is_void = timestamp.hlc <= oldest && value.is_none();
        self.kept(oldest).skip(usize::from(is_void))
    }

    /// The place of the newest version at or below `oldest`; if there is none, of the first.
    fn base(&self, oldest: Hlc) -> usize {
        if self.newest.0.hlc <= oldest {
            self.older.len()
        } else {
            let reached = self.older.partition_point(|(timestamp, _)| timestamp.hlc <= oldest);
            reached.saturating_sub(1)
        }
    }

    /// Adds a version. *Given* that it is above all others, and the lowest snapshot that anyone may read.
    pub(super) fn push(&mut self, version: Version, oldest: Hlc) {
        if self.older.len() == self.older.capacity() {
            // Only then, so that a hot key's chain is not moved with every write.
            self.prune(oldest);
        }
        self.older.push(std::mem::replace(&mut self.newest, version));
    }

    /// Drops the versions that are covered by a newer one at or below `oldest`.
    pub(super) fn prune(&mut self, oldest: Hlc) {
        if self.newest.0.hlc <= oldest {
            // Most keys have one version for most of the time, and then no list.
            self.older = Vec::new();
        } else {
            let reached = self.older.partition_point(|(timestamp, _)| timestamp.hlc <= oldest);
            self.older.drain(..reached.saturating_sub(1));
        }
    }

    /// Whether no snapshot at or above `oldest` finds anything here, nor anything else in the place of it.
    pub(super) fn is_gone(&self, oldest: Hlc) -> bool {
        matches!(self.newest, (deleted, None) if deleted.hlc <= oldest)
    }
}
