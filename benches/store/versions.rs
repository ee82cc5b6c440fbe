//! What versions on disk cost beside what they are made of: the same rows in a plain table of redb, the same keys in a plain tree.
//!
//! There are two stores: one over verified blocks, as a replica has it, and one over a bare file, as the limit is. The first is what counts;
//! what lies between the two is the price of verifying.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::id::NodeId;
use plimsoll::key::{Key, Value};
use plimsoll::store::Versions;
use plimsoll::store::disk::FolderDisk;
use plimsoll::store::versions::{DiskVersions, FlushReport, Medium, Standing};
use plimsoll::time::{Hlc, Timestamp};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use redb::backends::FileBackend;
use redb::{Builder, Database, StorageBackend, TableDefinition};

use crate::measure::{Ratios, Scale, file_bytes, medians, one_round, rate, resident_bytes, timed, written_bytes};
use crate::reads;

const KEYS: usize = 1_000_000;
const UPDATES: usize = 100_000;
const ROUNDS: usize = 5;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 100;
const CACHE_BYTES: usize = 256 << 20;
const START_MS: u64 = 1_800_000_000_000;

pub(crate) const PLAIN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("plain");

/// A file without checksums of ours, as the limit has none either.
#[derive(Debug)]
struct Plain(PathBuf);

impl Medium for Plain {
    fn file(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.0)?;
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }
}

/// The table of redb alone.
pub(crate) struct Limit(pub(crate) Database);

impl Limit {
    fn new(path: &Path) -> Self {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        Self(builder.create(path).expect("an empty folder"))
    }

    /// One commit of these rows, sorted, as safe as one of ours.
    fn insert(&self, rows: &[(Vec<u8>, Vec<u8>)]) {
        let mut transaction = self.0.begin_write().expect("one writer");
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(PLAIN).expect("the table of this run");
            for (key, value) in rows {
                table.insert(key.as_slice(), value.as_slice()).expect("a sound medium");
            }
        }
        transaction.commit().expect("a sound medium");
    }
}

/// What is compared, in one folder.
pub(crate) struct Stores {
    folder: PathBuf,
    pub(crate) verified: DiskVersions,
    pub(crate) bare: DiskVersions,
    pub(crate) limit: Limit,
    scale: Scale,
    random: Xoshiro256PlusPlus,
    now_ms: u64,
    /// How many flushes were measured.
    round: usize,
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp {
        hlc: Hlc::from_unix_millis(START_MS + ms),
        node: NodeId::new(1),
    }
}

/// Sixteen bytes, in the order of the numbers.
pub(crate) fn key(number: usize) -> Key {
    Key::new(format!("row-{number:012}").into_bytes())
}

fn value(random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut value = vec![0; VALUE_BYTES];
    random.fill_bytes(&mut value);
    value
}

/// The name of the row that a plain table would hold for this version.
pub(crate) fn row_name(key: &Key, at: Timestamp) -> Vec<u8> {
    let mut name = key.as_bytes().to_vec();
    name.extend_from_slice(&at.hlc.bits().to_be_bytes());
    name.extend_from_slice(&at.node.number().to_be_bytes());
    name
}

fn flush(versions: &mut DiskVersions) -> (FlushReport, Duration) {
    let flush = versions.begin_flush(Vec::new(), Standing::default());
    let (written, took) = timed(|| flush.write());
    (versions.end_flush(written).expect("a sound medium"), took)
}

/// Runs all sections.
pub(crate) fn run(folder: &Path, scale: Scale, ratios: &mut Ratios) {
    let disk = FolderDisk::open(folder).expect("a folder of this run");
    let mut stores = Stores {
        verified: DiskVersions::open(Arc::new(disk), "verified", CACHE_BYTES).expect("an empty folder"),
        bare: DiskVersions::over(Box::new(Plain(folder.join("bare.redb"))), CACHE_BYTES).expect("an empty folder"),
        limit: Limit::new(&folder.join("limit.redb")),
        folder: folder.to_owned(),
        scale,
        random: Xoshiro256PlusPlus::seed_from_u64(1),
        now_ms: 0,
        round: 0,
    };
    let picks = fill(&mut stores, ratios);
    // While there is one row of each key here and there.
    reads::from_disk(&stores, &picks, scale, ratios);
    stores.update(false, ratios);
    stores.update(true, ratios);
    hot(&folder.join("hot"), scale);
}

/// Every key once, in memory and then on disk. *Gives* the keys that are read.
fn fill(stores: &mut Stores, ratios: &mut Ratios) -> Vec<Key> {
    let keys = stores.scale.of(KEYS);
    let values: Vec<Vec<u8>> = (0..keys).map(|_| value(&mut stores.random)).collect();
    let picks: Vec<Key> = (0..stores.scale.of(reads::GETS))
        .map(|_| key(stores.random.random_range(0..keys)))
        .collect();
    let with_values = resident_bytes();
    for (number, value) in values.iter().enumerate() {
        stores.verified.put(key(number), at(0), Some(Value::new(value.clone())));
    }
    let layer_bytes = resident_bytes() - with_values;
    let tree: BTreeMap<Vec<u8>, (Timestamp, Value)> = (0..keys)
        .zip(&values)
        .map(|(number, value)| (key(number).as_bytes().to_vec(), (at(0), Value::new(value.clone()))))
        .collect();
    let tree_bytes = resident_bytes() - with_values - layer_bytes;
    let per_million = |bytes: usize| (bytes as f64) / (1 << 20) as f64 * (KEYS as f64 / keys as f64);
    ratios.costs(
        "versions-memory",
        "MiB per million keys",
        (per_million(layer_bytes), per_million(tree_bytes)),
    );
    reads::from_memory(&stores.verified, &tree, &picks, stores.scale, ratios);
    drop(tree);
    for (number, value) in values.iter().enumerate() {
        stores.bare.put(key(number), at(0), Some(Value::new(value.clone())));
    }
    let rows: Vec<_> = (0..keys)
        .zip(values)
        .map(|(number, value)| (row_name(&key(number), at(0)), value))
        .collect();
    let [own, bare, limit] = stores.write(&rows);
    ratios.rates("versions-flush-fill", "versions/s", (own, limit));
    ratios.rates("versions-flush-fill-unverified", "versions/s", (bare, limit));
    let user = rows.len() * (KEY_BYTES + VALUE_BYTES);
    let per_byte = |prefix: &str| file_bytes(&stores.folder, prefix) as f64 / user as f64;
    ratios.costs("versions-bytes", "per byte", (per_byte("verified"), per_byte("limit")));
    picks
}

impl Stores {
    /// Writes what was put, and the same rows to the limit. *Gives* rows a second of all three.
    fn write(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> [f64; 3] {
        let Self {
            verified,
            bare,
            limit,
            round,
            ..
        } = self;
        let evaluated = at(self.now_ms).hlc;
        verified.set_evaluated(evaluated);
        bare.set_evaluated(evaluated);
        let count = rows.len();
        let ours = |versions: &mut DiskVersions| {
            let (report, took) = flush(versions);
            assert_eq!(report.written, count as u64);
            rate(count, took)
        };
        let mut verified = || ours(verified);
        let mut bare = || ours(bare);
        let mut limit = || rate(count, timed(|| limit.insert(rows)).1);
        *round += 1;
        one_round(*round, &mut [&mut verified, &mut bare, &mut limit])
    }

    /// Rounds of updates of random keys, each flushed; what they cover is removed with them or kept.
    fn update(&mut self, is_collecting: bool, ratios: &mut Ratios) {
        const ROUND_MS: u64 = 2_000;
        const KEPT_MS: u64 = 5_000;
        let mut rates = Vec::new();
        let before = written_bytes();
        let mut written = Vec::new();
        for _ in 0..self.scale.of(ROUNDS) {
            self.now_ms += ROUND_MS;
            let now = at(self.now_ms);
            if is_collecting {
                let oldest = at(self.now_ms.saturating_sub(KEPT_MS)).hlc;
                self.verified.collect(oldest);
                self.bare.collect(oldest);
            }
            let rows = self.put_updates(now);
            rates.push(self.write(&rows));
            written.push(rows.len());
        }
        let [own, bare, limit] = medians(&rates);
        let name = if is_collecting {
            "versions-flush-collect"
        } else {
            "versions-flush-update"
        };
        ratios.rates(name, "versions/s", (own, limit));
        ratios.rates(&format!("{name}-unverified"), "versions/s", (bare, limit));
        let user = written.iter().sum::<usize>() * (KEY_BYTES + VALUE_BYTES);
        println!(
            "  bytes written to all three files per byte of user data: {:.1}",
            (written_bytes() - before) as f64 / user as f64
        );
    }

    /// *Gives* the rows that the limit writes for them, sorted.
    fn put_updates(&mut self, now: Timestamp) -> Vec<(Vec<u8>, Vec<u8>)> {
        let keys = self.scale.of(KEYS);
        let count = self.scale.of(UPDATES);
        let mut updates = BTreeMap::new();
        while updates.len() < count {
            updates.insert(self.random.random_range(0..keys), value(&mut self.random));
        }
        let mut rows = Vec::with_capacity(count);
        for (number, value) in updates {
            let key = key(number);
            rows.push((row_name(&key, now), value.clone()));
            self.verified.put(key.clone(), now, Some(Value::new(value.clone())));
            self.bare.put(key, now, Some(Value::new(value)));
        }
        rows
    }
}

/// Which part of the versions of few keys is ever written: of those that nobody can read any more when they are flushed none is.
fn hot(folder: &Path, scale: Scale) {
    const HOT_KEYS: usize = 10;
    const PER_SECOND: usize = 2_000;
    const FLUSH_SECONDS: u64 = 5;
    let seconds = scale.of(60) as u64;
    let per_second = scale.of(PER_SECOND);
    println!(
        "share of the updates of {HOT_KEYS} keys, {PER_SECOND} a second and flushed every {FLUSH_SECONDS} s, that is written:"
    );
    for kept_ms in [0, 1_000, 30_000] {
        let disk = FolderDisk::open(folder.join(format!("{kept_ms}"))).expect("a folder of this run");
        let mut versions = DiskVersions::open(Arc::new(disk), "versions", CACHE_BYTES).expect("an empty folder");
        let mut total = FlushReport::default();
        let mut puts = 0;
        for second in 1..=seconds {
            for number in 0..per_second {
                let ms = second * 1_000 + (number * 1_000 / per_second) as u64;
                let hlc = Hlc::from_bits(at(ms).hlc.bits() + number as u64 % 2);
                versions.put(
                    key(number % HOT_KEYS),
                    Timestamp { hlc, ..at(ms) },
                    Some(Value::new(vec![1; VALUE_BYTES])),
                );
                puts += 1;
            }
            let evaluated = at((second + 1) * 1_000).hlc;
            versions.set_evaluated(evaluated);
            versions.collect(at(((second + 1) * 1_000).saturating_sub(kept_ms)).hlc);
            if second.is_multiple_of(FLUSH_SECONDS) || second == seconds {
                let (report, _) = flush(&mut versions);
                total.written += report.written;
                total.dropped += report.dropped;
                total.collected += report.collected;
            }
        }
        assert_eq!(
            total.written + total.dropped,
            puts,
            "every version is written or dropped"
        );
        let rows = versions.extent().expect("a sound medium").rows;
        println!(
            "  snapshots kept for {kept_ms:>6} ms: {:.2} % written, {} removed again, {rows} rows at the end",
            100.0 * total.written as f64 / puts as f64,
            total.collected,
        );
    }
}
