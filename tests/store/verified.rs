//! redb over verified blocks over a simulated disk: it survives every crash, and never gives out what was not written.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll::store::StoreError;
use plimsoll::store::disk::{Crash, Disk, Fault, SECTOR_BYTES, SimulatedDisk, VerifiedBackend};
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

const NAME: &str = "versions.redb";

const SUMS: &str = "versions.redb.sums";

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("values");

const BLOCK: u64 = 4096;

type Contents = BTreeMap<u64, Vec<u8>>;

/// How redb makes a commit durable.
#[derive(Clone, Copy, Debug)]
enum Commit {
    OnePhase,
    QuickRepair,
}

/// What commit number `number` writes: new keys and old ones, values within a page and over several, and deletions.
fn writes(number: u64) -> Vec<(u64, Option<Vec<u8>>)> {
    let value = |len: u64| Some((0..len).map(|place| (place * 7 + number * 13) as u8).collect());
    let mut writes: Vec<_> = (0..12).map(|key| (key * 5 + number, value(90 + key))).collect();
    writes.push((1000 + number % 2, value(3000 * (1 + number % 4))));
    writes.push((number * 5, None));
    writes
}

/// What is there after so many commits.
fn contents(commits: u64) -> Contents {
    let mut contents = Contents::new();
    for (key, value) in (1..=commits).flat_map(writes) {
        match value {
            Some(value) => contents.insert(key, value),
            None => contents.remove(&key),
        };
    }
    contents
}

fn commit(database: &Database, number: u64, how: Commit) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(matches!(how, Commit::QuickRepair));
    {
        let mut table = transaction.open_table(TABLE)?;
        for (key, value) in writes(number) {
            match value {
                Some(value) => table.insert(key, value.as_slice())?,
                None => table.remove(key)?,
            };
        }
    }
    transaction.commit()?;
    Ok(())
}

/// What redb reads, from the first to the last.
fn read(database: &Database) -> Result<Contents, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Contents::new()),
        table => table?,
    };
    let entries = table.iter()?.map(|entry| {
        let (key, value) = entry?;
        Ok((key.value(), value.value().to_vec()))
    });
    entries.collect()
}

/// Why a database cannot be used: what its backend says, or what redb says where that knows nothing.
#[derive(Debug)]
enum Failure {
    Store(StoreError),
    /// It is shown when a test fails.
    Redb(#[expect(dead_code)] redb::Error),
}

/// A database and a handle of what it lies on.
struct Opened {
    database: Database,
    backend: VerifiedBackend,
}

fn open(disk: &SimulatedDisk) -> Result<Opened, Failure> {
    let backend = VerifiedBackend::open(disk, NAME).map_err(Failure::Store)?;
    let database = Database::builder().create_with_backend(backend.clone());
    match database {
        Ok(database) => Ok(Opened { database, backend }),
        Err(error) => Err(failure(&backend, error.into())),
    }
}

fn failure(backend: &VerifiedBackend, error: redb::Error) -> Failure {
    match backend.failure() {
        Some(failure) => Failure::Store(failure),
        None => Failure::Redb(error),
    }
}

/// What is read of a disk that was just started.
fn read_from(disk: &SimulatedDisk) -> Result<Contents, Failure> {
    let opened = open(disk)?;
    read(&opened.database).map_err(|error| failure(&opened.backend, error))
}

/// Reads what so many commits left. Says no more than that it is not so: the contents are long.
fn expect_contents(disk: &SimulatedDisk, commits: u64) {
    let found = read_from(disk).expect("the medium is sound");
    assert!(found == contents(commits), "not what {commits} commits left");
}

/// A new database, with so many commits, closed. *Gives* after how many operations each commit was acknowledged.
fn build(disk: &SimulatedDisk, commits: u64, how: Commit) -> Vec<u64> {
    let opened = open(disk).expect("the medium is sound");
    let numbers = 1..=commits;
    let acknowledged = numbers.map(|number| {
        commit(&opened.database, number, how).expect("the medium is sound");
        disk.operations()
    });
    acknowledged.collect()
}

/// The crashes that every moment is put through.
fn crashes(operation: u64) -> impl Iterator<Item = Crash> {
    let random = (0..3).map(move |turn| Crash::Random(operation * 3 + turn));
    [Crash::LoseAll, Crash::KeepAll].into_iter().chain(random)
}

fn survives_a_crash_at_every_operation(how: Commit) {
    const COMMITS: u64 = 6;
    let disk = SimulatedDisk::new(11);
    disk.record();
    let acknowledged = build(&disk, COMMITS, how);
    let states: Vec<Contents> = (0..=COMMITS + 1).map(contents).collect();
    let recorded = disk.recorded();
    assert!(recorded.len() > 100, "{} operations are few", recorded.len());
    for moment in &recorded {
        let operation = moment.operations();
        let done = acknowledged.partition_point(|after| *after < operation);
        for crash in crashes(operation) {
            let disk = moment.fork().crash(crash);
            let found = read_from(&disk);
            let found = found.unwrap_or_else(|failure| panic!("operation {operation}, {crash:?}: {failure:?}"));
            let is_next = found == states[done + 1] && done < COMMITS as usize;
            assert!(
                found == states[done] || is_next,
                "operation {operation}, {crash:?}: not {done} commits"
            );
        }
    }
}

#[test]
fn redb_survives_a_crash_at_every_operation_with_quick_repair() {
    survives_a_crash_at_every_operation(Commit::QuickRepair);
}

#[test]
fn redb_survives_a_crash_at_every_operation_in_one_phase() {
    survives_a_crash_at_every_operation(Commit::OnePhase);
}

#[test]
fn redb_survives_a_crash_while_it_recovers_from_one_and_goes_on() {
    const COMMITS: u64 = 3;
    let disk = SimulatedDisk::new(12);
    disk.record();
    let acknowledged = build(&disk, COMMITS, Commit::QuickRepair);
    let mut recoveries = 0;
    for moment in disk.recorded().iter().step_by(7) {
        let operation = moment.operations();
        let done = acknowledged.partition_point(|after| *after < operation) as u64;
        let disk = moment.fork().crash(Crash::Random(operation));
        disk.record();
        drop(open(&disk).expect("what a crash leaves can be opened"));
        for again in disk.recorded().iter().step_by(2) {
            recoveries += 1;
            let disk = again.fork().crash(Crash::Random(operation + again.operations()));
            let opened = open(&disk).expect("what a crash leaves can be opened");
            let before = read(&opened.database).expect("what a crash leaves can be read");
            let commits = (done..=done + 1).find(|commits| before == contents(*commits));
            let commits = commits.unwrap_or_else(|| panic!("operation {operation}: not {done} commits"));
            commit(&opened.database, commits + 1, Commit::QuickRepair).expect("it goes on");
            drop(opened);
            expect_contents(&disk.crash(Crash::LoseAll), commits + 1);
        }
    }
    assert!(recoveries > 100, "{recoveries} recoveries are few");
}

/// Whether damage was found; else what was read must be what was written.
fn is_found(disk: &SimulatedDisk, written: &Contents, what: &str) -> bool {
    match read_from(disk) {
        Ok(found) => {
            assert!(found == *written, "{what}: wrong values");
            false
        }
        Err(Failure::Store(StoreError::Damaged { .. })) => true,
        Err(failure) => panic!("{what}: {failure:?}"),
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let disk = SimulatedDisk::new(13);
    build(&disk, 4, Commit::QuickRepair);
    let disk = disk.crash(Crash::LoseAll);
    let written = contents(4);
    let mut found = BTreeMap::new();
    for name in [NAME, SUMS] {
        let len = disk
            .open(name)
            .and_then(|file| file.len())
            .expect("the medium is sound");
        let mut offsets: Vec<u64> = (0..len / SECTOR_BYTES)
            .map(|sector| sector * SECTOR_BYTES + sector % SECTOR_BYTES)
            .collect();
        // Every byte of the header in all its places, and of the head of the sums.
        for place in [0, BLOCK, 3 * BLOCK] {
            offsets.extend((place..place + 340).filter(|_| name == SUMS || place == 0));
        }
        for offset in offsets {
            let disk = disk.fork();
            assert!(disk.flip(name, offset, (offset % 8) as u8));
            let is_found = is_found(&disk, &written, &format!("{name}, byte {offset}"));
            *found.entry((name, is_found)).or_insert(0) += 1;
        }
    }
    assert!(found[&(NAME, true)] > 300 && found[&(SUMS, true)] > 300, "{found:?}");
}

#[test]
fn a_write_that_is_lost_or_lands_elsewhere_is_found_or_harmless() {
    const BEFORE: u64 = 2;
    const AFTER: u64 = 4;
    let base = SimulatedDisk::new(14);
    build(&base, BEFORE, Commit::QuickRepair);
    let base = base.crash(Crash::LoseAll);
    let run = |disk: &SimulatedDisk| -> Result<(), Failure> {
        let opened = open(disk)?;
        for number in BEFORE + 1..=AFTER {
            commit(&opened.database, number, Commit::QuickRepair).map_err(|error| failure(&opened.backend, error))?;
        }
        Ok(())
    };
    let sound = base.fork();
    run(&sound).expect("the medium is sound");
    let mut found = BTreeMap::new();
    for fault in [Fault::LostWrite, Fault::StaleRead, Fault::MisdirectedWrite] {
        for operation in base.operations() + 1..=sound.operations() {
            let disk = base.fork();
            disk.inject_at(operation, fault);
            let ran = run(&disk);
            if !disk.faults().contains_key(fault.name()) {
                continue;
            }
            let what = format!("{fault:?} of operation {operation}");
            let is_found = match ran {
                Ok(()) => is_found(&disk.crash(Crash::LoseAll), &contents(AFTER), &what),
                Err(Failure::Store(StoreError::Damaged { .. })) => true,
                Err(failure) => panic!("{what}: {failure:?}"),
            };
            *found.entry((fault.name(), is_found)).or_insert(0) += 1;
        }
    }
    for fault in [Fault::LostWrite, Fault::StaleRead, Fault::MisdirectedWrite] {
        assert!(found[&(fault.name(), true)] > 10, "{found:?}");
    }
}

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
fn a_full_disk_is_told_apart_and_what_was_durable_is_read_on() {
    let disk = SimulatedDisk::new(16);
    let opened = open(&disk).expect("the medium is sound");
    commit(&opened.database, 1, Commit::QuickRepair).expect("the medium is sound");
    disk.set_capacity(Some(disk.used()));
    let mut commits = 1;
    let error = loop {
        match commit(&opened.database, commits + 1, Commit::QuickRepair) {
            Ok(()) => commits += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(&error, redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    assert!(matches!(opened.backend.failure(), Some(StoreError::Full { .. })));
    drop(opened);
    // Still full: what was durable is opened and read.
    expect_contents(&disk, commits);
    disk.set_capacity(None);
    let opened = open(&disk).expect("there is room");
    commit(&opened.database, commits + 1, Commit::QuickRepair).expect("there is room");
    drop(opened);
    expect_contents(&disk, commits + 1);
}

#[test]
fn errors_of_the_medium_stop_all_writing_and_lose_nothing_acknowledged() {
    for fault in [Fault::WriteError, Fault::SyncError] {
        let base = SimulatedDisk::new(17);
        build(&base, 2, Commit::QuickRepair);
        let base = base.crash(Crash::LoseAll);
        for operation in 0..60 {
            let disk = base.fork();
            let Ok(opened) = open(&disk) else {
                panic!("the medium is sound");
            };
            disk.inject_at(disk.operations() + operation, fault);
            let mut done = 2;
            while done < 4 && commit(&opened.database, done + 1, Commit::QuickRepair).is_ok() {
                done += 1;
            }
            if done < 4 {
                let failure = opened.backend.failure().expect("the medium failed");
                assert!(matches!(failure, StoreError::Medium { .. }), "{failure}");
                let operations = disk.operations();
                commit(&opened.database, done + 1, Commit::QuickRepair).expect_err("it failed");
                assert_eq!(disk.operations(), operations);
            }
            drop(opened);
            for disk in [disk.fork(), disk.crash(Crash::Random(operation))] {
                let found = read_from(&disk).expect("nothing durable is damaged");
                assert!(
                    found == contents(done) || found == contents(done + 1),
                    "{fault:?} {operation}"
                );
            }
        }
    }
}

#[test]
fn a_read_error_stops_all_writing_and_is_gone_once_it_is_opened_again() {
    let disk = SimulatedDisk::new(18);
    build(&disk, 2, Commit::QuickRepair);
    disk.inject(Fault::ReadError);
    let refused = read_from(&disk).expect_err("it cannot be opened");
    assert!(
        matches!(refused, Failure::Store(StoreError::Medium { .. })),
        "{refused:?}"
    );
    let backend = VerifiedBackend::open(&disk, NAME).expect("the medium is sound");
    let database = Database::builder()
        .set_cache_size(0)
        .create_with_backend(backend.clone());
    let database = database.expect("the medium is sound");
    disk.inject(Fault::ReadError);
    assert!(read(&database).is_err(), "it cannot be read, and nothing is cached");
    let failure = backend.failure().expect("the medium failed");
    assert!(failure.to_string().contains("cannot read the file"), "{failure}");
    commit(&database, 3, Commit::QuickRepair).expect_err("it failed");
    drop(database);
    expect_contents(&disk, 2);
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
    let told = open(&|disk, _| disk.remove(NAME).expect("the medium is sound"));
    assert!(told.contains("the end is damaged: it has 0 bytes"), "{told}");
    let told = open(&|_, sums| {
        for place in [1, 3] {
            sums.write(place * BLOCK, &[0; 100]).expect("the medium is sound");
        }
    });
    assert!(told.contains("neither place"), "{told}");
}
