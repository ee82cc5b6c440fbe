//! The bytes of every file of a store, kept: what an earlier release wrote, this one reads, and writes alike where the format is its own.
//!
//! A test here that fails has found a change of a format. If it is meant, raise the `FORMAT` beside it, keep the old file, and have the new
//! one written beside it, under its own name, by
//!
//! ```sh
//! cargo test --test storage golden -- --ignored
//! ```
//!
//! which writes what is missing and changes nothing that is there. Of a format that follows, every test wants an error that names it and the
//! last one that is known.

use std::fmt::Write;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use plimsoll::id::{Epoch, NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::protocol::decree::{Ballot, Decree};
use plimsoll::protocol::{Acceptor, LogEntry};
use plimsoll::replica::Identity;
use plimsoll::store::disk::{Disk, SimulatedDisk, VerifiedBackend};
use plimsoll::store::segments::{SegmentLog, SegmentOptions};
use plimsoll::store::versions::{DiskVersions, Settled, Standing};
use plimsoll::store::{History, Log, StoreError, Versions};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Footprint, Outcome, Record, ThunkId, Transaction};
use redb::{Builder, StorageBackend, TableDefinition};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::replica::OWN;

const SEGMENT: &str = "log-0000000000000001.seg";
const BLOCKS: &str = "blocks";
const VERSIONS: &str = "versions-a";
const BLOCK: u64 = 4096;
const LINE: usize = 16;

/// Where the file of this name is kept.
fn path_of(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store");
    folder.join(format!("{name}-v1.hex"))
}

/// Lines of 16 bytes behind their place in the file; one that repeats the line before is left out. Last the length.
fn hex_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut before = &[0; LINE][..];
    for (number, line) in bytes.chunks(LINE).enumerate() {
        if line != before {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:06x}: {}", number * LINE, digits.join(" ")).expect("memory");
        }
        before = line;
    }
    writeln!(text, "{:06x}", bytes.len()).expect("memory");
    text
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    let number = |digits: &str| usize::from_str_radix(digits, 16).expect("hexadecimal digits");
    for line in text.lines() {
        let (place, digits) = line.split_once(':').unwrap_or((line, ""));
        let repeated = bytes.last_chunk().copied().unwrap_or([0; LINE]);
        while bytes.len() < number(place) {
            bytes.extend_from_slice(&repeated);
        }
        bytes.truncate(number(place));
        bytes.extend(digits.split_whitespace().map(|digits| number(digits) as u8));
    }
    bytes
}

fn golden(name: &str) -> Vec<u8> {
    let path = path_of(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes_of(&text)
}

fn file_of(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("a sound disk");
    let mut bytes = vec![0; file.len().expect("a sound disk") as usize];
    file.read(0, &mut bytes).expect("a sound disk");
    bytes
}

fn put(disk: &SimulatedDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name).expect("a sound disk");
    file.set_len(0).expect("a sound disk");
    file.write(0, bytes).expect("a sound disk");
    file.sync().expect("a sound disk");
    disk.sync().expect("a sound disk");
}

/// A disk with these kept files.
fn disk_of(names: &[&str]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    for name in names {
        put(&disk, name, &golden(name));
    }
    disk
}

/// Has a file say that it is of the format that follows, in the four bytes at `place`, and that this is meant.
fn made_later(disk: &SimulatedDisk, name: &str, place: usize, seal: &dyn Fn(&mut [u8])) {
    let mut bytes = file_of(disk, name);
    assert_eq!(bytes[place..place + 4], 1_u32.to_le_bytes());
    bytes[place..place + 4].copy_from_slice(&2_u32.to_le_bytes());
    seal(&mut bytes);
    put(disk, name, &bytes);
}

#[track_caller]
fn assert_is_later<T>(opened: Result<T, StoreError>, name: &str) {
    let error = opened.map(drop).expect_err("it is of a later format");
    assert!(
        matches!(&error, StoreError::Future { file, found: 2, known: 1 } if file.ends_with(name)),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("format 2") && text.contains("up to 1"), "{text}");
}

fn at(seconds: u64) -> Hlc {
    Hlc::from_unix_millis((1_800_000_000 + seconds) * 1000)
}

fn timestamp(seconds: u64) -> Timestamp {
    Timestamp {
        hlc: at(seconds),
        node: NodeId::new(1),
    }
}

fn id(number: u8) -> TransactionId {
    TransactionId::from_parts(1_800_000_000_000, [number; 10])
}

/// One entry of each kind.
fn entries() -> Vec<LogEntry> {
    let record = |seconds| {
        let transaction = Transaction {
            id: id(seconds as u8),
            thunk: ThunkId {
                name: "bank/transfer".into(),
                version: 3,
            },
            arguments: "from to".into(),
            footprint: Footprint::new().read("account/1".into()).write("account/2".into()),
        };
        Arc::new(Record {
            hlc: at(seconds),
            transaction,
        })
    };
    let (n1, n2) = (NodeId::new(1), NodeId::new(2));
    let decree = Decree {
        epoch: Epoch::new(2),
        cut: vec![(n1, at(4)), (n2, at(3))],
        start: at(5),
        members: vec![n1, n2],
        coordinators: vec![n1],
    };
    let ballot = Ballot { round: 7, proposer: n2 };
    vec![
        LogEntry::Ceiling(at(2)),
        LogEntry::Records {
            epoch: Epoch::FIRST,
            coordinator: n1,
            records: vec![record(1), record(2)],
        },
        LogEntry::Held {
            epoch: Epoch::FIRST,
            positions: vec![(n1, at(2)), (n2, at(3))],
        },
        LogEntry::Vote {
            epoch: Epoch::FIRST,
            acceptor: Acceptor {
                promised: ballot,
                accepted: Some((ballot, decree.clone())),
            },
        },
        LogEntry::Decree(decree),
        LogEntry::Covered { bound: at(1) },
    ]
}

fn open_log(disk: &SimulatedDisk) -> Result<SegmentLog<LogEntry>, StoreError> {
    let options = SegmentOptions {
        segment_bytes: 4 << 10,
        ..SegmentOptions::default()
    };
    SegmentLog::open(Arc::new(disk.clone()), OWN.storage, options, &mut |_, _| {}).map(|(log, _)| log)
}

/// What each kept file is, written anew.
fn written() -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    OWN.create(&disk).expect("a sound disk");
    let mut log = open_log(&disk).expect("a sound disk");
    // Two syncs, so that there are two marks.
    for entries in entries().chunks(3) {
        for entry in entries {
            log.append(entry.clone()).expect("a sound disk");
        }
        log.sync().expect("a sound disk");
    }
    write_blocks(&disk);
    write_versions(&disk);
    disk
}

/// Two headers and some blocks, one of which was never written.
fn write_blocks(disk: &SimulatedDisk) {
    let backend = VerifiedBackend::open(disk, BLOCKS).expect("a sound disk");
    backend.set_len(5 * BLOCK).expect("a sound disk");
    for round in 1..3_u8 {
        for block in [0, 1, 2, 4] {
            let bytes = [0x10 * round + block; BLOCK as usize];
            backend.write(u64::from(block) * BLOCK, &bytes).expect("a sound disk");
        }
        backend.sync_data().expect("a sound disk");
    }
}

fn open_versions(disk: &SimulatedDisk) -> Result<DiskVersions, StoreError> {
    DiskVersions::open(Arc::new(disk.clone()), VERSIONS, 1 << 20)
}

fn settled(number: u8) -> Settled {
    Settled {
        id: id(number),
        effective: timestamp(u64::from(number)),
        outcome: Outcome::Committed(Value::new(vec![number])),
    }
}

fn standing() -> Standing {
    Standing {
        last: timestamp(4),
        noted: at(3),
        fold: 0x0123_4567_89ab_cdef,
    }
}

/// Versions, deletions among them, and outcomes, in two flushes.
fn write_versions(disk: &SimulatedDisk) {
    let mut versions = open_versions(disk).expect("a sound disk");
    for round in [1, 3_u8] {
        for number in [round, round + 1] {
            let value = (number != 4).then(|| Value::new(vec![number; 20]));
            versions.put(
                Key::new(vec![b'k', b'0' + number % 2]),
                timestamp(u64::from(number)),
                value,
            );
        }
        versions.set_evaluated(at(u64::from(round) + 1));
        let outcomes = vec![settled(round), settled(round + 1)];
        let flush = versions.begin_flush(outcomes, standing());
        versions.end_flush(flush.write()).expect("a sound disk");
    }
}

const OWN_FORMATS: [&str; 4] = ["identity", SEGMENT, BLOCKS, "blocks.sums"];
const OF_THE_VERSIONS: [&str; 2] = [VERSIONS, "versions-a.sums"];

#[test]
fn the_files_whose_format_is_our_own_are_written_as_they_were() {
    let disk = written();
    for name in OWN_FORMATS {
        let (found, kept) = (hex_of(&file_of(&disk, name)), hex_of(&golden(name)));
        assert!(found == kept, "{name} was\n{kept}and is now\n{found}");
    }
}

#[test]
fn an_identity_is_read_and_a_later_one_refused() {
    let disk = disk_of(&["identity"]);
    assert_eq!(Identity::load(&disk).expect("it is sound"), Some(OWN));
    made_later(&disk, "identity", 8, &|bytes| {
        let sum = bytes.len() - 8;
        let sealed = xxh3_64(&bytes[..sum]).to_le_bytes();
        bytes[sum..].copy_from_slice(&sealed);
    });
    assert_is_later(Identity::load(&disk), "/identity");
}

#[test]
fn a_segment_is_read_and_a_later_one_refused() {
    let disk = disk_of(&[SEGMENT]);
    let log = open_log(&disk).expect("it is sound");
    assert_eq!(log.read(0, usize::MAX).expect("it is sound"), entries());
    let disk = disk_of(&[SEGMENT]);
    for header in [0, 512] {
        made_later(&disk, SEGMENT, header + 8, &|bytes| {
            let sealed = xxh3_64(&bytes[header..header + 56]).to_le_bytes();
            bytes[header + 56..header + 64].copy_from_slice(&sealed);
        });
    }
    let before = file_of(&disk, SEGMENT);
    assert_is_later(open_log(&disk), SEGMENT);
    assert!(file_of(&disk, SEGMENT) == before && disk.names().expect("a sound disk") == [SEGMENT]);
}

fn seal_sums(bytes: &mut [u8]) {
    let sealed = xxh3_64_with_seed(&bytes[..12], u64::MAX).to_le_bytes();
    bytes[12..20].copy_from_slice(&sealed);
}

#[test]
fn verified_blocks_are_read_and_later_sums_refused() {
    let disk = disk_of(&[BLOCKS, "blocks.sums"]);
    let backend = VerifiedBackend::open(&disk, BLOCKS).expect("it is sound");
    assert_eq!(backend.len().expect("it is sound"), 5 * BLOCK);
    for (block, expected) in [0x20_u8, 0x21, 0x22, 0, 0x24].into_iter().enumerate() {
        let mut bytes = [0xff; BLOCK as usize];
        backend.read(block as u64 * BLOCK, &mut bytes).expect("it is sound");
        assert!(bytes.iter().all(|byte| *byte == expected), "block {block}");
    }
    made_later(&disk, "blocks.sums", 8, &seal_sums);
    assert_is_later(VerifiedBackend::open(&disk, BLOCKS), "/blocks.sums");
}

#[test]
fn versions_are_read_and_later_ones_refused() {
    let disk = disk_of(&OF_THE_VERSIONS);
    let versions = open_versions(&disk).expect("they are sound");
    assert_eq!(versions.standing(), &standing());
    assert_eq!((versions.evaluated(), versions.oldest()), (at(4), Hlc::ZERO));
    let mut history = Vec::new();
    versions.history(Hlc::ZERO, None, &mut |key, at, value| {
        history.push((key.clone(), at, value.cloned()));
        ControlFlow::Continue(())
    });
    let row = |key: &str, number: u8, is_there: bool| {
        let value = is_there.then(|| Value::new(vec![number; 20]));
        (Key::from(key), timestamp(u64::from(number)), value)
    };
    assert_eq!(
        versions.checked(history).expect("they are sound"),
        [
            row("k0", 2, true),
            row("k0", 4, false),
            row("k1", 1, true),
            row("k1", 3, true)
        ]
    );
    for number in 1..5 {
        let Settled {
            id, effective, outcome, ..
        } = settled(number);
        assert_eq!(Versions::outcome(&versions, id), Some((effective, outcome)));
    }
    drop(versions);
    let later_sums = disk.fork().reopen();
    made_later(&later_sums, "versions-a.sums", 8, &seal_sums);
    assert_is_later(open_versions(&later_sums), "/versions-a.sums");
    // The tables have a format of their own.
    let meta: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
    let backend = VerifiedBackend::open(&disk, VERSIONS).expect("it is sound");
    let database = Builder::new().create_with_backend(backend).expect("it is sound");
    let transaction = database.begin_write().expect("a sound disk");
    let mut table = transaction.open_table(meta).expect("it is there");
    table.insert("format", &2_u32.to_be_bytes()[..]).expect("a sound disk");
    drop(table);
    transaction.commit().expect("a sound disk");
    drop(database);
    assert_is_later(open_versions(&disk), "/versions-a");
}

#[test]
fn kept_files_are_small_and_their_text_says_their_bytes() {
    for name in OWN_FORMATS.iter().chain(&OF_THE_VERSIONS) {
        let text = fs::read_to_string(path_of(name)).expect("it is kept");
        assert!(text.len() < 100 << 10, "{name}: {}", text.len());
        assert_eq!(hex_of(&bytes_of(&text)), text, "{name}");
    }
    let odd: Vec<u8> = (0..100).map(|number| number / 40).collect();
    assert_eq!(bytes_of(&hex_of(&odd)), odd);
}

#[test]
#[ignore = "writes the kept files that are missing"]
fn golden_files_that_are_missing_are_written() {
    let disk = written();
    for name in OWN_FORMATS.iter().chain(&OF_THE_VERSIONS) {
        let path = path_of(name);
        if !path.exists() {
            fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be made");
            fs::write(&path, hex_of(&file_of(&disk, name))).expect("the file can be written");
        }
    }
}
