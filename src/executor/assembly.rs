//! Pieces of a checkpoint, put together again.
//!
//! Realises the receiving side of the transfer of snapshots of section 3.7 of the design. Nothing of an assembly is used before
//! the hash of the whole is found to be that of the heading. Tests: `tests/checkpoint.rs`.

use super::checkpoint::{Checkpoint, Entry, EntryHasher, Heading};
use super::chunk::{Chunk, ChunkCursor};
use super::digest::DigestFold;
use super::outcomes::Outcomes;
use crate::limits::{KEY_BYTES_MAX, OUTPUT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::store::{MemoryVersions, Versions};
use crate::time::Hlc;
use crate::transaction::Outcome;

/// A checkpoint that is being received.
#[derive(Clone, Debug)]
pub struct Assembly<V = MemoryVersions> {
    /// That of the first piece; none before it came.
    heading: Option<Heading>,
    /// What is to come next.
    next: ChunkCursor,
    hasher: EntryHasher,
    versions: V,
    outcomes: Outcomes,
}

/// How far an assembly has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the piece begins that is needed now; absent when all are there. It may come from any replica whose checkpoint has the same
    /// heading.
    pub next: Option<ChunkCursor>,
    /// How many entries are there.
    pub received: u64,
    /// How many there will be.
    pub entries: u64,
}

/// Why a piece was refused, or a checkpoint not finished. A refused piece changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The piece belongs to another checkpoint.
    #[error(
        "a piece of the checkpoint at {} with hash {:016x}, but the one at {} with hash {:016x} is being received: \
         ask for that one, or begin anew", found.bound, found.hash, expected.bound, expected.hash
    )]
    OtherCheckpoint {
        /// The heading of the checkpoint that is being received.
        expected: Box<Heading>,
        /// The heading of the piece.
        found: Box<Heading>,
    },
    /// Pieces in front of it are missing.
    #[error("the piece begins with entry {found}, but {expected} comes next: ask for what is missing first")]
    Gap {
        /// The entry that comes next.
        expected: u64,
        /// The first entry of the piece.
        found: u64,
    },
    /// What the piece says cannot be.
    #[error("the piece is none of a checkpoint: {reason}; ask another replica")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Not all pieces are there.
    #[error("{received} entries are there of {entries}: the rest is missing")]
    Incomplete {
        /// How many are there.
        received: u64,
        /// How many there will be; 0 if that was not said yet.
        entries: u64,
    },
    /// The pieces do not make the checkpoint that they name.
    #[error("the pieces have the hash {computed:016x}, but the checkpoint has {expected:016x}: begin anew")]
    Damaged {
        /// The hash in the heading.
        expected: u64,
        /// The hash of what came.
        computed: u64,
    },
}

impl Assembly {
    /// Nothing received yet; the versions will be in memory.
    pub fn new() -> Self {
        Self::over(MemoryVersions::default())
    }
}

impl Default for Assembly {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Versions> Assembly<V> {
    /// Nothing received yet. *Given* empty versions.
    pub fn over(versions: V) -> Self {
        assert_eq!(versions.evaluated(), Hlc::ZERO, "the versions are not empty");
        Self {
            heading: None,
            next: ChunkCursor::default(),
            hasher: EntryHasher::default(),
            versions,
            outcomes: Outcomes::default(),
        }
    }

    /// What the pieces say of the whole; absent before the first.
    pub fn heading(&self) -> Option<&Heading> {
        self.heading.as_ref()
    }

    /// Adds a piece. One that is there already changes nothing, and of one that is there in part the rest is taken.
    ///
    /// *Errors*: a piece of another checkpoint, one behind a gap, or one that no replica can have made; it changed nothing, and what
    /// is there can be gone on with.
    pub fn add(&mut self, chunk: Chunk) -> Result<Progress, ChunkError> {
        let heading = chunk.heading;
        match &self.heading {
            None => check_heading(&heading)?,
            Some(expected) if *expected != heading => {
                return Err(ChunkError::OtherCheckpoint {
                    expected: Box::new(*expected),
                    found: Box::new(heading),
                });
            }
            Some(_) => {}
        }
        let fresh = self.fresh_entries(chunk)?;
        if self.heading.is_none() {
            self.heading = Some(heading);
            self.versions.collect(heading.oldest);
        }
        for entry in fresh {
            self.take(entry);
        }
        let received = self.next.first;
        Ok(Progress {
            next: (received < heading.entries).then(|| self.next.clone()),
            received,
            entries: heading.entries,
        })
    }

    /// The checkpoint.
    ///
    /// *Errors* when pieces are missing, or when what came is not what the heading names: then begin anew.
    pub fn finish(mut self) -> Result<Checkpoint<V>, ChunkError> {
        let received = self.next.first;
        let heading = match self.heading {
            Some(heading) if received == heading.entries => heading,
            heading => {
                let entries = heading.map_or(0, |heading| heading.entries);
                return Err(ChunkError::Incomplete { received, entries });
            }
        };
        let computed = self.hasher.finish(&heading);
        if computed != heading.hash {
            return Err(ChunkError::Damaged {
                expected: heading.hash,
                computed,
            });
        }
        self.versions.set_evaluated(heading.bound);
        let digest = DigestFold::resume(heading.noted, heading.fold);
        Ok(Checkpoint::new(self.versions, self.outcomes, digest, heading.last))
    }

    /// The entries of a piece that are not there yet, each found to be sound.
    fn fresh_entries(&self, chunk: Chunk) -> Result<impl Iterator<Item = Entry> + use<V>, ChunkError> {
        let malformed = |reason| Err(ChunkError::Malformed { reason });
        let received = self.next.first;
        if chunk.end() > chunk.heading.entries {
            return malformed("it has more entries than the whole");
        }
        if chunk.entries.is_empty() && received < chunk.heading.entries {
            return malformed("it has no entries, and is not all");
        }
        if chunk.first > received {
            return Err(ChunkError::Gap {
                expected: received,
                found: chunk.first,
            });
        }
        // A piece has far fewer entries than a `usize` counts, or the difference is none of it at all.
        let there = usize::try_from(received - chunk.first).unwrap_or(usize::MAX);
        let mut before = self.next.after.clone();
        for entry in chunk.entries.iter().skip(there) {
            let place = entry.place();
            if place <= before {
                return malformed("its entries are not in order");
            }
            before = place;
            if let Err(reason) = check_entry(entry, &chunk.heading) {
                return malformed(reason);
            }
        }
        Ok(chunk.entries.into_iter().skip(there))
    }

    fn take(&mut self, entry: Entry) {
        self.hasher.add(&entry);
        self.next.first += 1;
        self.next.after = entry.place();
        match entry {
            Entry::Version { key, at, value } => self.versions.put(key, at, value),
            Entry::Outcome { id, effective, outcome } => self.outcomes.insert(id, effective, outcome),
        }
    }
}

fn check_heading(heading: &Heading) -> Result<(), ChunkError> {
    let is_sound =
        heading.oldest <= heading.bound && heading.noted <= heading.bound && heading.last.hlc <= heading.bound.next();
    if is_sound {
        Ok(())
    } else {
        let reason = "the bounds in its heading contradict each other";
        Err(ChunkError::Malformed { reason })
    }
}

/// Whether evaluation could have left this entry: whoever holds it may have to send it on.
fn check_entry(entry: &Entry, heading: &Heading) -> Result<(), &'static str> {
    match entry {
        Entry::Version { at, .. } if *at > heading.last => Err("a version lies above the last record"),
        Entry::Outcome { effective, .. } if *effective > heading.last => Err("an outcome lies above the last record"),
        Entry::Version { key, .. } if key.as_bytes().len() > KEY_BYTES_MAX => Err("a key is too long"),
        Entry::Version { value: Some(value), .. } if value.as_bytes().len() > VALUE_BYTES_MAX => {
            Err("a value is too large")
        }
        Entry::Outcome { outcome, .. } => match outcome {
            Outcome::Committed(output) if output.as_bytes().len() > OUTPUT_BYTES_MAX => Err("an output is too large"),
            Outcome::Aborted(abort) if *abort != abort.clone().within_bounds() => {
                Err("the wording of an abort is too long")
            }
            Outcome::Committed(_) | Outcome::Aborted(_) => Ok(()),
        },
        Entry::Version { .. } => Ok(()),
    }
}
