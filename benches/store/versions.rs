//! What versions on disk cost beside what they are made of: the same rows in a plain table of redb, the same keys in a plain tree.
//!
//! Every figure of ours stands beside the limit's of the same run, on the same machine in the same minute; `ratio NAME VALUE` is
//! ours over the limit's, so that more is better but for `bytes` and `memory`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll::id::NodeId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::store::Versions;
use plimsoll::store::versions::{DiskVersions, FlushReport, Medium, Standing};
use plimsoll::thunk::Direction;
use plimsoll::time::{Hlc, Timestamp};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, StorageBackend, TableDefinition};

const KEYS: u32 = 1_000_000;
const UPDATES: usize = 100_000;
const VALUE_BYTES: usize = 100;
const CACHE_BYTES: usize = 256 << 20;
const READS: usize = 200_000;

const PLAIN: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("plain");

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
struct Limit(Database);

impl Limit {
    fn new(path: &Path) -> Self {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        Self(builder.create(path).expect("an empty folder"))
    }

    /// One commit of these rows, sorted.
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

fn at(ms: u64) -> Timestamp {
    Timestamp {
        hlc: Hlc::from_unix_millis(1_800_000_000_000 + ms),
        node: NodeId::new(1),
    }
}

/// Sixteen bytes, in the order of the numbers.
fn key(number: u32) -> Key {
    Key::new(format!("row-{number:012}").into_bytes())
}

fn value(random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    (0..VALUE_BYTES).map(|_| random.random()).collect()
}

/// The row that a plain table would hold for this version.
fn row(key: &Key, at: Timestamp, value: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut name = key.as_bytes().to_vec();
    name.extend_from_slice(&at.hlc.bits().to_be_bytes());
    name.extend_from_slice(&at.node.number().to_be_bytes());
    (name, value.to_vec())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let made = work();
    (made, begin.elapsed())
}

fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Prints both rates. *Gives* their ratio.
fn compare(name: &str, unit: &str, (ours, limit): (f64, f64)) -> (String, f64) {
    println!(
        "{name:<28} {ours:>12.0} {unit}, the limit {limit:>12.0}: {:.2}",
        ours / limit
    );
    (name.to_owned(), ours / limit)
}

fn flush(versions: &mut DiskVersions) -> (FlushReport, Duration) {
    let flush = versions.begin_flush(Vec::new(), Standing::default());
    let (written, took) = timed(|| flush.write());
    (versions.end_flush(written).expect("a sound medium"), took)
}

/// Bytes that this process holds in memory; zero where that cannot be asked.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

/// Bytes that this process wrote to files so far; zero where that cannot be asked.
fn written_bytes() -> u64 {
    let counters = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let written = counters.lines().find_map(|line| line.strip_prefix("wchar: "));
    written.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// The keys and values of one round of updates, by key.
fn updates(random: &mut Xoshiro256PlusPlus) -> BTreeMap<u32, Vec<u8>> {
    let mut updates = BTreeMap::new();
    while updates.len() < UPDATES {
        updates.insert(random.random_range(0..KEYS), value(random));
    }
    updates
}

/// Runs all sections and prints what came of them.
pub(crate) fn run() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-versions");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let limit = Limit::new(&folder.join("limit.redb"));
    let medium = Plain(folder.join("versions.redb"));
    let mut versions = DiskVersions::over(Box::new(medium), CACHE_BYTES).expect("an empty folder");
    let mut ratios = Vec::new();

    let before = resident_bytes();
    let values: Vec<Vec<u8>> = (0..KEYS).map(|_| value(&mut random)).collect();
    let with_values = resident_bytes();
    for (number, value) in (0..KEYS).zip(&values) {
        versions.put(key(number), at(0), Some(Value::new(value.clone())));
    }
    let layer_bytes = resident_bytes() - with_values;
    let tree: BTreeMap<Vec<u8>, (Timestamp, Value)> = (0..KEYS)
        .zip(&values)
        .map(|(number, value)| (key(number).as_bytes().to_vec(), (at(0), Value::new(value.clone()))))
        .collect();
    let tree_bytes = resident_bytes() - with_values - layer_bytes;
    println!(
        "memory per million keys: {} MiB in the layer, {} MiB in a plain tree, {} MiB of keys and values",
        layer_bytes >> 20,
        tree_bytes >> 20,
        ((with_values - before) >> 20) + 16
    );
    ratios.push(("memory".to_owned(), layer_bytes as f64 / tree_bytes as f64));

    let picks: Vec<Key> = (0..READS).map(|_| key(random.random_range(0..KEYS))).collect();
    ratios.push(reads_from_memory(&versions, &tree, &picks));
    drop(tree);

    versions.set_evaluated(at(0).hlc);
    let rows: Vec<_> = (0..KEYS)
        .zip(&values)
        .map(|(number, value)| row(&key(number), at(0), value))
        .collect();
    drop(values);
    let ((), limit_took) = timed(|| limit.insert(&rows));
    drop(rows);
    let (report, took) = flush(&mut versions);
    assert_eq!(report.written, u64::from(KEYS));
    let count = KEYS as usize;
    ratios.push(compare(
        "flush-fill",
        "versions/s",
        (rate(count, took), rate(count, limit_took)),
    ));

    let mut rates = (Vec::new(), Vec::new());
    let mut collecting = (Vec::new(), Vec::new());
    let mut bytes = (0, 0);
    for round in 1..=10_u64 {
        let is_collecting = round > 5;
        let ms = round * 2_000;
        if is_collecting {
            versions.collect(at(ms - 5_000).hlc);
        }
        let updates = updates(&mut random);
        let rows: Vec<_> = updates
            .iter()
            .map(|(number, value)| row(&key(*number), at(ms), value))
            .collect();
        for (number, value) in updates {
            versions.put(key(number), at(ms), Some(Value::new(value)));
        }
        versions.set_evaluated(at(ms).hlc);
        let before = written_bytes();
        let ((), limit_took) = timed(|| limit.insert(&rows));
        let between = written_bytes();
        let (report, took) = flush(&mut versions);
        if is_collecting {
            println!("  round {round}: {report:?}");
        } else {
            bytes.0 += written_bytes() - between;
            bytes.1 += between - before;
        }
        let (ours, limits) = if is_collecting { &mut collecting } else { &mut rates };
        ours.push(rate(UPDATES, took));
        limits.push(rate(UPDATES, limit_took));
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let both = (median(&mut rates.0), median(&mut rates.1));
    ratios.push(compare("flush-update", "versions/s", both));
    let both = (median(&mut collecting.0), median(&mut collecting.1));
    ratios.push(compare("flush-update-and-collect", "versions/s", both));
    let user = (5 * UPDATES * (16 + VALUE_BYTES)) as f64;
    println!(
        "bytes written per byte of user data: {:.1}, the limit {:.1}",
        bytes.0 as f64 / user,
        bytes.1 as f64 / user
    );
    ratios.push(("bytes".to_owned(), bytes.0 as f64 / bytes.1 as f64));

    ratios.extend(reads_from_disk(&versions, &limit, &picks));
    for (name, ratio) in ratios {
        println!("ratio versions-{name} {ratio:.2}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}

fn reads_from_memory(
    versions: &DiskVersions,
    tree: &BTreeMap<Vec<u8>, (Timestamp, Value)>,
    picks: &[Key],
) -> (String, f64) {
    let snapshot = at(1);
    let read = || picks.iter().filter(|key| versions.get(key, snapshot).is_some()).count();
    let plain = || {
        picks
            .iter()
            .filter(|key| black_box(tree.get(key.as_bytes()).cloned()).is_some())
            .count()
    };
    read();
    let (found, took) = timed(read);
    let (plainly, limit) = timed(plain);
    assert_eq!((found, plainly), (picks.len(), picks.len()));
    compare("get-memory", "reads/s", (rate(found, took), rate(plainly, limit)))
}

fn reads_from_disk(versions: &DiskVersions, limit: &Limit, picks: &[Key]) -> Vec<(String, f64)> {
    let snapshot = at(1 << 20);
    let transaction = limit.0.begin_read().expect("a sound medium");
    let table = transaction.open_table(PLAIN).expect("the table of this run");
    let names: Vec<Vec<u8>> = picks.iter().map(|key| row(key, at(0), &[]).0).collect();
    let read = || picks.iter().filter(|key| versions.get(key, snapshot).is_some()).count();
    let plain = || {
        let get = |name: &&Vec<u8>| {
            let row = table.get(name.as_slice()).expect("a sound medium");
            row.map(|row| black_box(row.value().to_vec())).is_some()
        };
        names.iter().filter(get).count()
    };
    read();
    plain();
    let (found, took) = timed(read);
    let (plainly, limit_took) = timed(plain);
    assert_eq!((found, plainly), (picks.len(), picks.len()));
    let mut ratios = vec![compare(
        "get-disk",
        "reads/s",
        (rate(found, took), rate(plainly, limit_took)),
    )];
    let ranges = &picks[..2_000];
    for (name, length) in [("scan-100", 100), ("scan-1", 1)] {
        for direction in [Direction::Forward, Direction::Backward] {
            let ours = || {
                let scan = |key: &Key| {
                    let range = match direction {
                        Direction::Forward => KeyRange::from(key.clone()),
                        Direction::Backward => KeyRange::new(Key::default(), key.clone()),
                    };
                    versions.scan(&range, snapshot, length, direction).len()
                };
                ranges.iter().map(scan).sum::<usize>()
            };
            let plain = || {
                let mut entries = 0;
                for key in ranges {
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
            };
            ours();
            plain();
            let (found, took) = timed(ours);
            let (plainly, limit_took) = timed(plain);
            let name = format!("{name}-{}", format!("{direction:?}").to_lowercase());
            ratios.push(compare(
                &name,
                "entries/s",
                (rate(found, took), rate(plainly, limit_took)),
            ));
        }
    }
    ratios
}
