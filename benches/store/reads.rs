//! Reads of a snapshot: from memory beside a plain tree, from disk beside a table of redb.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Bound;

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::store::Versions;
use plimsoll::store::versions::DiskVersions;
use plimsoll::thunk::Direction;
use plimsoll::time::Timestamp;
use redb::{ReadOnlyTable, ReadableDatabase};

use crate::measure::{Ratios, Scale, by_turns, rate, timed};
use crate::versions::{PLAIN, Stores, at, row_name};

/// Reads of one key in a round.
pub(crate) const GETS: usize = 40_000;

/// Scans in a round.
const SCANS: usize = 500;

const ROUNDS: usize = 21;

/// Later than everything that was written.
const LATE_MS: u64 = 1 << 20;

/// Point reads of the newest version in memory.
pub(crate) fn from_memory(
    versions: &DiskVersions,
    tree: &BTreeMap<Vec<u8>, (Timestamp, Value)>,
    picks: &[Key],
    scale: Scale,
    ratios: &mut Ratios,
) {
    let plain = || {
        let get = |key: &&Key| black_box(tree.get(key.as_bytes()).cloned()).is_some();
        counted(picks.len(), || picks.iter().filter(get).count())
    };
    let [own, limit] = by_turns(scale.of(ROUNDS), [&mut || gets(versions, picks), &mut { plain }]);
    ratios.rates("versions-get-memory", "reads/s", (own, limit));
}

/// Runs `work`. *Gives* its rate. *Panics* unless it found `expected`.
fn counted(expected: usize, work: impl FnOnce() -> usize) -> f64 {
    let (found, took) = timed(work);
    assert_eq!(found, expected);
    rate(found, took)
}

fn gets(versions: &DiskVersions, picks: &[Key]) -> f64 {
    let snapshot = at(LATE_MS);
    let is_there = |key: &&Key| black_box(versions.get(key, snapshot)).is_some();
    counted(picks.len(), || picks.iter().filter(is_there).count())
}

/// Point reads and scans of what was flushed.
pub(crate) fn from_disk(stores: &Stores, picks: &[Key], scale: Scale, ratios: &mut Ratios) {
    let transaction = stores.limit.0.begin_read().expect("a sound medium");
    let table = transaction.open_table(PLAIN).expect("the table of this run");
    let names: Vec<Vec<u8>> = picks.iter().map(|key| row_name(key, at(0))).collect();
    let mut limit = || {
        let get = |name: &&Vec<u8>| {
            let row = table.get(name.as_slice()).expect("a sound medium");
            row.map(|row| black_box(row.value().to_vec())).is_some()
        };
        counted(names.len(), || names.iter().filter(get).count())
    };
    let rounds = scale.of(ROUNDS);
    // What is read first comes from the disk or the machine's cache, and is verified then; both are warm afterwards.
    let cold = gets(&stores.verified, picks);
    let cold_limit = limit();
    ratios.rates("versions-get-disk-first", "reads/s", (cold, cold_limit));
    let [own, bare, limit] = by_turns(
        rounds,
        [
            &mut || gets(&stores.verified, picks),
            &mut || gets(&stores.bare, picks),
            &mut limit,
        ],
    );
    ratios.rates("versions-get-disk", "reads/s", (own, limit));
    ratios.rates("versions-get-disk-unverified", "reads/s", (bare, limit));
    let starts = &picks[..scale.of(SCANS).min(picks.len())];
    for length in [100, 1] {
        for direction in [Direction::Forward, Direction::Backward] {
            let entries = Cell::new((0, 0));
            let [own, limit] = by_turns(
                rounds,
                [
                    &mut || {
                        let (found, took) = timed(|| scans(&stores.verified, starts, length, direction));
                        entries.set((found, entries.get().1));
                        rate(found, took)
                    },
                    &mut || {
                        let (found, took) = timed(|| plain_scans(&table, starts, length, direction));
                        entries.set((entries.get().0, found));
                        rate(found, took)
                    },
                ],
            );
            let (found, plainly) = entries.get();
            assert!(found > 0 && plainly >= found, "{found} entries, and {plainly} rows");
            let name = format!("versions-scan-{length}-{}", format!("{direction:?}").to_lowercase());
            ratios.rates(&name, "entries/s", (own, limit));
        }
    }
}

fn scans(versions: &DiskVersions, starts: &[Key], length: usize, direction: Direction) -> usize {
    let scan = |key: &Key| {
        let range = match direction {
            Direction::Forward => KeyRange::from(key.clone()),
            Direction::Backward => KeyRange::new(Key::default(), key.clone()),
        };
        black_box(versions.scan(&range, at(LATE_MS), length, direction)).len()
    };
    starts.iter().map(scan).sum()
}

fn plain_scans(
    table: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    starts: &[Key],
    length: usize,
    direction: Direction,
) -> usize {
    let mut entries = 0;
    for key in starts {
        let bound = key.as_bytes();
        let range = match direction {
            Direction::Forward => (Bound::Included(bound), Bound::Unbounded),
            Direction::Backward => (Bound::Unbounded, Bound::Excluded(bound)),
        };
        let mut rows = table.range::<&[u8]>(range).expect("a sound medium");
        for _ in 0..length {
            let row = match direction {
                Direction::Forward => rows.next(),
                Direction::Backward => rows.next_back(),
            };
            let Some(row) = row else { break };
            let (key, value) = row.expect("a sound medium");
            black_box((key.value().to_vec(), value.value().to_vec()));
            entries += 1;
        }
    }
    entries
}
