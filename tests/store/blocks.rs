//! Verified blocks by themselves, without redb over them.

use std::sync::Arc;

use plimsoll::store::StoreError;
use plimsoll::store::disk::{Crash, Disk, SimulatedDisk, VerifiedBackend};
use redb::StorageBackend;

const NAME: &str = "versions.redb";

const SUMS: &str = "versions.redb.sums";

const BLOCK: u64 = 4096;

/// Where the sums are in their file.
const SUMS_AT: u64 = 5 * BLOCK;

/// A backend with four blocks, each full of its number, the first one begun as redb begins it, synced.
fn with_blocks() -> (SimulatedDisk, VerifiedBackend) {
    let disk = SimulatedDisk::new(15);
    let backend = VerifiedBackend::open(&disk, NAME).expect("the medium is sound");
    backend.set_len(4 * BLOCK).expect("the medium is sound");
    for block in 0..4 {
        let bytes = vec![block as u8 + 1; BLOCK as usize];
        backend.write(block * BLOCK, &bytes).expect("the medium is sound");
    }
    backend.sync_data().expect("the medium is sound");
    (disk, backend)
}

#[test]
fn damage_is_told_with_its_place_and_nothing_is_written_after_it() {
    let (disk, backend) = with_blocks();
    assert!(disk.flip(NAME, 2 * BLOCK + 77, 5));
    let mut bytes = vec![9; 2 * BLOCK as usize];
    backend.read(0, &mut bytes).expect("these are sound");
    let error = backend.read(BLOCK, &mut bytes).expect_err("one of the two is not");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    assert!(bytes.iter().all(|byte| *byte == 0), "nothing of it is given out");
    let failure = backend.failure().expect("it failed");
    assert!(matches!(&failure, StoreError::Damaged { .. }));
    let told = failure.to_string();
    assert!(
        told.starts_with("simulated disk/versions.redb: the block at byte 8192 is damaged: its sum is "),
        "{told}"
    );
    let operations = disk.operations();
    backend.write(BLOCK, &bytes).expect_err("it failed");
    backend.set_len(BLOCK).expect_err("it failed");
    backend.sync_data().expect_err("it failed");
    assert_eq!(disk.operations(), operations);
    backend.read(3 * BLOCK, &mut bytes[..100]).expect("this one is sound");
    assert_eq!(bytes[..100], [4; 100]);
}

#[test]
fn the_same_bytes_in_another_block_are_found() {
    let (disk, backend) = with_blocks();
    drop(backend);
    let file = disk.open(NAME).expect("the medium is sound");
    let mut bytes = vec![0; BLOCK as usize];
    file.read(BLOCK, &mut bytes).expect("the medium is sound");
    file.write(2 * BLOCK, &bytes).expect("the medium is sound");
    let backend = VerifiedBackend::open(&disk, NAME).expect("the header is sound");
    backend.read(2 * BLOCK, &mut bytes).expect_err("it is block 1");
    // Not even with the sum that goes with them.
    let sums = disk.open(SUMS).expect("the medium is sound");
    let mut sum = [0; 8];
    sums.read(SUMS_AT + 8, &mut sum).expect("the medium is sound");
    sums.write(SUMS_AT + 16, &sum).expect("the medium is sound");
    let backend = VerifiedBackend::open(&disk, NAME).expect("the header is sound");
    backend.read(2 * BLOCK, &mut bytes).expect_err("it is block 1");
    backend.read(BLOCK, &mut bytes).expect("this one is sound");
}

#[test]
fn blocks_cut_off_come_back_as_zeros() {
    let (disk, backend) = with_blocks();
    backend.set_len(2 * BLOCK).expect("the medium is sound");
    backend.set_len(4 * BLOCK).expect("the medium is sound");
    backend
        .write(3 * BLOCK, &[7; BLOCK as usize])
        .expect("the medium is sound");
    backend.sync_data().expect("the medium is sound");
    let check = |backend: &VerifiedBackend| {
        let mut bytes = vec![9; 2 * BLOCK as usize];
        backend.read(2 * BLOCK, &mut bytes).expect("the medium is sound");
        assert!(bytes[..BLOCK as usize].iter().all(|byte| *byte == 0));
        assert!(bytes[BLOCK as usize..].iter().all(|byte| *byte == 7));
    };
    check(&backend);
    let disk = disk.crash(Crash::LoseAll);
    check(&VerifiedBackend::open(&disk, NAME).expect("the medium is sound"));
}

#[test]
fn what_is_no_whole_block_or_behind_the_end_is_refused() {
    let (_, backend) = with_blocks();
    backend
        .write(4 * BLOCK, &[1; BLOCK as usize])
        .expect_err("the file ends before");
    let (_, backend) = with_blocks();
    backend.write(BLOCK + 1, &[1; 10]).expect_err("no whole block");
    let (_, backend) = with_blocks();
    backend.set_len(BLOCK + 1).expect_err("no whole block");
    let error = backend
        .read(4 * BLOCK - 1, &mut [0; 2])
        .expect_err("the file ends before");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(backend.failure().is_none(), "nothing has failed by that");
    let mut bytes = [0; 4];
    backend.read(2 * BLOCK - 2, &mut bytes).expect("the medium is sound");
    assert_eq!(bytes, [2, 2, 3, 3]);
}

#[test]
fn sums_that_are_missing_or_foreign_or_later_are_errors_that_say_so() {
    let open = |change: &dyn Fn(&SimulatedDisk, &dyn plimsoll::store::disk::File)| {
        let (disk, backend) = with_blocks();
        drop(backend);
        let sums: Arc<_> = disk.open(SUMS).expect("the medium is sound");
        change(&disk, &*sums);
        VerifiedBackend::open(&disk, NAME)
            .expect_err("something is wrong")
            .to_string()
    };
    let told = open(&|disk, _| disk.remove(SUMS).expect("the medium is sound"));
    assert!(told.contains("the file is not empty, but has no sums"), "{told}");
    let told = open(&|_, sums| sums.write(0, b"something").expect("the medium is sound"));
    assert!(told.contains("versions.redb.sums: the head is damaged"), "{told}");
    let told = open(&|disk, _| {
        let file = disk.open(NAME).expect("the medium is sound");
        file.set_len(BLOCK + 5).expect("the medium is sound");
    });
    assert!(told.contains("it has 4101 bytes"), "{told}");
    let told = open(&|_, sums| {
        let mut head = b"plimsums\x02\0\0\0".to_vec();
        let sum = xxhash_rust::xxh3::xxh3_64_with_seed(&head, u64::MAX);
        head.extend(sum.to_le_bytes());
        sums.write(0, &head).expect("the medium is sound");
    });
    assert!(
        told.contains("versions.redb.sums: has format 2, but this version knows formats up to 1"),
        "{told}"
    );
    let told = open(&|disk, _| disk.remove(NAME).expect("the medium is sound"));
    assert!(told.contains("the end is damaged: it has 0 bytes"), "{told}");
    let told = open(&|_, sums| {
        for place in [1, 3] {
            sums.write(place * BLOCK, &[0; 100]).expect("the medium is sound");
        }
    });
    assert!(told.contains("neither place"), "{told}");
}

#[test]
fn the_sums_of_many_blocks_that_were_cut_off_do_not_come_back() {
    const MANY: u64 = 200;
    let disk = SimulatedDisk::new(20);
    let backend = VerifiedBackend::open(&disk, NAME).expect("the medium is sound");
    backend.set_len(MANY * BLOCK).expect("the medium is sound");
    backend
        .write(0, &vec![1; (MANY * BLOCK) as usize])
        .expect("the medium is sound");
    backend.sync_data().expect("the medium is sound");
    backend.set_len(2 * BLOCK).expect("the medium is sound");
    backend.set_len(MANY * BLOCK).expect("the medium is sound");
    backend
        .write((MANY - 1) * BLOCK, &[2; BLOCK as usize])
        .expect("the medium is sound");
    backend.sync_data().expect("the medium is sound");
    let disk = disk.crash(Crash::LoseAll);
    let backend = VerifiedBackend::open(&disk, NAME).expect("the medium is sound");
    let mut bytes = vec![9; (MANY * BLOCK) as usize];
    backend.read(0, &mut bytes).expect("the medium is sound");
    let firsts: Vec<u8> = bytes.iter().copied().step_by(BLOCK as usize).collect();
    assert_eq!((firsts[1], firsts[2], firsts[100], firsts[199]), (1, 0, 0, 2));
}

/// A header that differs from that of every other version in every sector.
fn header(version: u8) -> Vec<u8> {
    vec![version; BLOCK as usize]
}

#[test]
fn after_a_crash_the_header_is_whole_and_every_block_written_before_it_is_there() {
    const VERSIONS: u8 = 8;
    const BLOCKS: u64 = 300;
    let disk = SimulatedDisk::new(21);
    let backend = VerifiedBackend::open(&disk, NAME).expect("the medium is sound");
    backend.set_len(BLOCKS * BLOCK).expect("the medium is sound");
    backend.write(0, &header(1)).expect("the medium is sound");
    backend.sync_data().expect("the medium is sound");
    // Copy on write: each version writes other blocks than the one before, next to them in the same sectors of sums.
    let blocks = |version: u8| (1..BLOCKS).filter(move |block| block % 3 == u64::from(version % 3) && block % 7 < 2);
    disk.record();
    let mut acknowledged = vec![disk.operations()];
    for version in 2..=VERSIONS {
        for block in blocks(version) {
            backend
                .write(block * BLOCK, &[version; BLOCK as usize])
                .expect("the medium is sound");
        }
        backend.write(0, &header(version)).expect("the medium is sound");
        backend.sync_data().expect("the medium is sound");
        acknowledged.push(disk.operations());
    }
    for moment in disk.recorded() {
        let operation = moment.operations();
        let done = acknowledged.partition_point(|after| *after < operation) as u8;
        for crash in (0..4).map(Crash::Random) {
            let disk = moment.fork().crash(crash);
            let backend = VerifiedBackend::open(&disk, NAME).expect("a crash is no damage");
            let mut bytes = header(0);
            backend.read(0, &mut bytes).expect("it is in memory");
            let version = bytes[0];
            assert!(
                version == done || version == done + 1,
                "operation {operation}: {version}, not {done}"
            );
            assert!(bytes == header(version), "operation {operation}: a torn header");
            if version > 1 {
                for block in blocks(version) {
                    backend
                        .read(block * BLOCK, &mut bytes)
                        .expect("what the header leads to is there");
                    assert!(bytes == header(version), "operation {operation}: an older block");
                }
            }
        }
    }
}

#[test]
fn the_format_of_the_sums_is_that_of_version_1() {
    let (disk, _) = with_blocks();
    let file = disk.open(SUMS).expect("the medium is sound");
    let mut bytes = vec![0; (SUMS_AT + 4 * 8) as usize];
    assert_eq!(file.len().expect("the medium is sound"), bytes.len() as u64);
    file.read(0, &mut bytes).expect("the medium is sound");
    let part = |from: u64, len: u64| {
        let bytes = bytes[from as usize..(from + len) as usize].iter();
        bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let head = "706c696d73756d7301000000c8ceb9760fc84a04";
    let first_header = "0100000000000000a94f74bb5acb7ed1";
    let sums = "0000000000000000aca32ef85694506bfab1a97a1d4fae4640f552dec1440a64";
    assert_eq!(part(0, 20), head);
    assert_eq!(part(BLOCK, 16), "0".repeat(32), "there is no second header yet");
    assert_eq!(
        (part(3 * BLOCK, 16).as_str(), part(SUMS_AT, 32).as_str()),
        (first_header, sums)
    );
    assert!(
        bytes[3 * BLOCK as usize + 16..][..BLOCK as usize]
            .iter()
            .all(|byte| *byte == 1)
    );
}
