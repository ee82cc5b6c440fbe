//! What the log in segments costs beside a bare file that is written and synced, and beside a table of redb.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::id::StorageId;
use plimsoll::store::Log;
use plimsoll::store::disk::FolderDisk;
use plimsoll::store::segments::{Opened, SegmentLog, SegmentOptions};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use redb::{Builder, Database, Durability, TableDefinition};
use xxhash_rust::xxh3::Xxh3;

use crate::measure::{Ratios, Scale, by_turns, file_bytes, median, rate, timed};

const RECORD_BYTES: usize = 300;

/// Records of one sync, and how many syncs there are in a round. Many short rounds, so that what else the disk has to do meets all alike.
const BATCHES: [(usize, usize); 4] = [(1, 50), (100, 20), (1_000, 8), (10_000, 2)];

const ROUNDS: usize = 49;

/// User data of the log that is opened again.
const REOPENED_BYTES: usize = 256 << 20;

static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

const GIB: f64 = (1_u64 << 30) as f64;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

const STORAGE: StorageId = StorageId::new(1);

/// Segments of so many bytes in the test, so that they change there too.
const TINY_SEGMENT_BYTES: u64 = 64 << 10;

fn options(scale: Scale) -> SegmentOptions {
    match scale {
        Scale::Full => SegmentOptions::default(),
        Scale::Tiny => SegmentOptions {
            segment_bytes: TINY_SEGMENT_BYTES,
            ..SegmentOptions::default()
        },
    }
}

/// Runs all sections.
pub(crate) fn run(folder: &Path, scale: Scale, ratios: &mut Ratios) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
    let mut record = || {
        let mut record = vec![0; RECORD_BYTES];
        random.fill_bytes(&mut record);
        record
    };
    let records: Vec<Vec<u8>> = (0..scale.of(BATCHES[3].0)).map(|_| record()).collect();
    for (batch, syncs) in BATCHES {
        let folder = folder.join(format!("batch-{batch}"));
        let [own, plain, rows] = appends(&folder, scale, &records[..scale.of(batch)], scale.of(syncs));
        ratios.rates(&format!("log-append-{batch}"), "records/s", (own, plain));
        ratios.rates(&format!("log-append-{batch}-to-redb"), "records/s", (own, rows));
    }
    reopening(&folder.join("reopened"), scale, &records, ratios);
}

/// Records a second of the log, of a bare file and of a table.
fn appends(folder: &Path, scale: Scale, records: &[Vec<u8>], syncs: usize) -> [f64; 3] {
    fs::create_dir_all(folder).expect("the target folder can be written");
    let mut bare = Bare::new(&folder.join("bare"), options(scale).segment_bytes);
    let mut ours = Ours::new(folder.join("ours"), scale);
    let mut table = Table::new(&folder.join("table.redb"));
    let round = |append: &mut dyn FnMut(Vec<Vec<u8>>)| {
        let mut took = Duration::ZERO;
        for _ in 0..syncs {
            // Whoever appends gives its records away.
            let given = records.to_vec();
            let ((), appended) = timed(|| append(given));
            took += appended;
        }
        rate(records.len() * syncs, took)
    };
    let rates = by_turns(
        scale.of(ROUNDS),
        [
            &mut || round(&mut |given| ours.append(given)),
            &mut || round(&mut |given| bare.append(&given)),
            &mut || round(&mut |given| table.append(&given)),
        ],
    );
    drop((ours, table));
    fs::remove_dir_all(folder).expect("what was made here can be removed");
    rates
}

/// The log as a replica has it after a while: there is a spare, and segments that have become full are dropped.
struct Ours {
    log: SegmentLog<Vec<u8>>,
}

impl Ours {
    fn new(folder: PathBuf, scale: Scale) -> Self {
        let (log, _) = open(folder, options(scale));
        let mut ours = Self { log };
        let one_segment = ours.log.bytes();
        while ours.log.bytes() == one_segment {
            let count = scale.of(10_000);
            ours.append(vec![vec![1; RECORD_BYTES]; count]);
        }
        ours
    }

    fn append(&mut self, records: Vec<Vec<u8>>) {
        for record in records {
            self.log.append(record).expect("a sound medium");
        }
        let durable = self.log.sync().expect("a sound medium");
        self.log.drop_below(durable).expect("a sound medium");
    }
}

fn open(folder: PathBuf, options: SegmentOptions) -> (SegmentLog<Vec<u8>>, Opened) {
    let disk = FolderDisk::open(folder).expect("a folder of this run");
    SegmentLog::open(Arc::new(disk), STORAGE, options, &mut |_, _| {}).expect("what this run has written")
}

/// A file that has its blocks, written from front to back and again.
struct Bare {
    file: fs::File,
    bytes: u64,
    offset: u64,
    buffer: Vec<u8>,
}

impl Bare {
    fn new(path: &Path, bytes: u64) -> Self {
        let file = fs::File::create(path).expect("a folder of this run");
        // In pieces, as the log does.
        for offset in (0..bytes).step_by(ZEROS.len()) {
            let part = ZEROS.len().min((bytes - offset) as usize);
            file.write_all_at(&ZEROS[..part], offset).expect("a sound medium");
        }
        file.sync_all().expect("a sound medium");
        Self {
            file,
            bytes,
            offset: 0,
            buffer: Vec::new(),
        }
    }

    fn append(&mut self, records: &[Vec<u8>]) {
        self.buffer.clear();
        for record in records {
            self.buffer.extend_from_slice(record);
        }
        if self.offset + self.buffer.len() as u64 > self.bytes {
            self.offset = 0;
        }
        self.file
            .write_all_at(&self.buffer, self.offset)
            .expect("a sound medium");
        self.file.sync_data().expect("a sound medium");
        self.offset += self.buffer.len() as u64;
    }
}

/// A table by number of the record, and a commit for each batch.
struct Table {
    database: Database,
    next: u64,
}

impl Table {
    fn new(path: &Path) -> Self {
        let database = Builder::new().create(path).expect("a folder of this run");
        Self { database, next: 0 }
    }

    fn append(&mut self, records: &[Vec<u8>]) {
        let mut transaction = self.database.begin_write().expect("one writer");
        transaction
            .set_durability(Durability::Immediate)
            .expect("nothing was written before");
        {
            let mut table = transaction.open_table(TABLE).expect("the table of this run");
            for record in records {
                table.insert(self.next, record.as_slice()).expect("a sound medium");
                self.next += 1;
            }
        }
        transaction.commit().expect("a sound medium");
    }
}

/// What a log takes on disk, and how long it takes to open it again.
fn reopening(folder: &Path, scale: Scale, records: &[Vec<u8>], ratios: &mut Ratios) {
    let ours = folder.join("ours");
    let mut table = Table::new(&{
        fs::create_dir_all(folder).expect("the target folder can be written");
        folder.join("table.redb")
    });
    let user_bytes = scale.of(REOPENED_BYTES);
    let count = (user_bytes / RECORD_BYTES).next_multiple_of(records.len());
    let user_bytes = count * RECORD_BYTES;
    let (mut log, _) = open(ours.clone(), options(scale));
    for _ in 0..count / records.len() {
        for record in records {
            log.append(record.clone()).expect("a sound medium");
        }
        log.sync().expect("a sound medium");
        table.append(records);
    }
    drop((log, table));
    let ((log, opened), after_writing) = timed(|| open(ours.clone(), options(scale)));
    assert_eq!(opened.entries, count as u64);
    drop(log);
    let per_byte = |bytes: u64| bytes as f64 / user_bytes as f64;
    let rows = per_byte(file_bytes(folder, "table"));
    ratios.costs("log-bytes", "per byte", (per_byte(opened.bytes), 1.0));
    ratios.costs("log-bytes-to-redb", "per byte", (per_byte(opened.bytes), rows));
    println!(
        "  the files of the log, with what is laid out for later: {:.2} per byte",
        per_byte(file_bytes(&ours, "log-"))
    );
    println!(
        "  opened after it was written, with a new segment begun: {:.2} s",
        after_writing.as_secs_f64()
    );
    let per_gib = |took: Duration, bytes: u64| took.as_secs_f64() * GIB / bytes as f64;
    let mut replays = Vec::new();
    let [own, plain] = by_turns(
        scale.of(5),
        [
            &mut || {
                let ((log, opened), took) = timed(|| open(ours.clone(), options(scale)));
                let (entries, replayed) = timed(|| replay(&log));
                assert_eq!(entries, count);
                replays.push(per_gib(replayed, opened.bytes));
                per_gib(took, opened.bytes)
            },
            &mut || {
                let (bytes, took) = timed(|| sum_of_files(&ours));
                per_gib(took, bytes)
            },
        ],
    );
    ratios.costs("log-reopen", "s per GiB", (own, plain));
    ratios.costs("log-replay", "s per GiB", (median(&mut replays), plain));
}

/// Reads all entries, as a replica does that starts.
fn replay(log: &SegmentLog<Vec<u8>>) -> usize {
    const AT_ONCE: usize = 1_024;
    let mut count = 0;
    loop {
        let entries = log.read(count as u64, AT_ONCE).expect("a sound medium");
        if entries.is_empty() {
            return count;
        }
        count += black_box(entries).len();
    }
}

/// Reads the segments and nothing but a checksum of each. *Gives* how many bytes these were.
fn sum_of_files(folder: &Path) -> u64 {
    const WINDOW_BYTES: usize = 256 << 10;
    let mut buffer = vec![0; WINDOW_BYTES];
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("a folder of this run").flatten() {
        let file = fs::File::open(entry.path()).expect("a file of this run");
        let length = file.metadata().expect("a sound medium").len();
        let mut sum = Xxh3::new();
        let mut offset = 0;
        while offset < length {
            let part = (length - offset).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..part], offset).expect("a sound medium");
            sum.update(&buffer[..part]);
            offset += part as u64;
        }
        black_box(sum.digest());
        bytes += length;
    }
    bytes
}
