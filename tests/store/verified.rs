//! redb over verified blocks over a simulated disk: it survives every crash, and never gives out what was not written.

use plimsoll::store::StoreError;
use plimsoll::store::disk::{Crash, Disk, Fault, SECTOR_BYTES, SimulatedDisk, VerifiedBackend};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::collections::BTreeMap;

use crate::folder::ScratchDisk;

const NAME: &str = "versions.redb";

const SUMS: &str = "versions.redb.sums";

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("values");

const BLOCK: u64 = 4096;

type Contents = BTreeMap<u64, Vec<u8>>;

/// What one commit writes; none deletes.
type Writes = Vec<(u64, Option<Vec<u8>>)>;

/// How redb makes a commit durable.
#[derive(Clone, Copy, Debug)]
enum Commit {
    OnePhase,
    QuickRepair,
}

/// What commit number `number` writes: new keys and old ones, values within a page and over several, and deletions.
fn writes(number: u64) -> Writes {
    let value = |len: u64| Some((0..len).map(|place| (place * 7 + number * 13) as u8).collect());
    let mut writes: Writes = (0..12).map(|key| (key * 5 + number, value(90 + key))).collect();
    writes.push((1000 + number % 2, value(3000 * (1 + number % 4))));
    writes.push((number * 5, None));
    writes
}

/// What is there after these commits.
fn contents_of(commits: &[Writes]) -> Contents {
    let mut contents = Contents::new();
    for (key, value) in commits.iter().flatten() {
        match value {
            Some(value) => contents.insert(*key, value.clone()),
            None => contents.remove(key),
        };
    }
    contents
}

/// What is there after so many commits.
fn contents(commits: u64) -> Contents {
    contents_of(&(1..=commits).map(writes).collect::<Vec<_>>())
}

fn commit(database: &Database, number: u64, how: Commit) -> Result<(), redb::Error> {
    commit_writes(database, &writes(number), how)
}

fn commit_writes(database: &Database, writes: &Writes, how: Commit) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(matches!(how, Commit::QuickRepair));
    {
        let mut table = transaction.open_table(TABLE)?;
        for (key, value) in writes {
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

/// Puts a database, from its creation to its end, through these crashes at every operation of these commits. *Gives* how long its file
/// was at each.
fn survives(commits: &[Writes], how: Commit, crashes: impl Fn(u64) -> Vec<Crash>) -> Vec<u64> {
    let disk = SimulatedDisk::new(11);
    disk.record();
    let opened = open(&disk).expect("the medium is sound");
    let mut acknowledged = Vec::new();
    for writes in commits {
        commit_writes(&opened.database, writes, how).expect("the medium is sound");
        acknowledged.push(disk.operations());
    }
    drop(opened);
    let states: Vec<Contents> = (0..=commits.len()).map(|done| contents_of(&commits[..done])).collect();
    let recorded = disk.recorded();
    assert!(recorded.len() > 100, "{} operations are few", recorded.len());
    for moment in &recorded {
        let operation = moment.operations();
        let done = acknowledged.partition_point(|after| *after < operation);
        for crash in crashes(operation) {
            let found = read_from(&moment.fork().crash(crash));
            let found = found.unwrap_or_else(|failure| panic!("operation {operation}, {crash:?}: {failure:?}"));
            let is_next = states.get(done + 1).is_some_and(|next| found == *next);
            assert!(
                found == states[done] || is_next,
                "operation {operation}, {crash:?}: not {done} commits"
            );
        }
    }
    recorded.iter().map(length).collect()
}

fn length(disk: &SimulatedDisk) -> u64 {
    let len = disk.open(NAME).and_then(|file| file.len());
    len.expect("the medium is sound")
}

fn survives_a_crash_at_every_operation(how: Commit) {
    let commits: Vec<Writes> = (1..=6).map(writes).collect();
    survives(&commits, how, |operation| {
        let random = (0..2).map(|turn| Crash::Random(operation * 2 + turn));
        [Crash::LoseAll, Crash::KeepAll].into_iter().chain(random).collect()
    });
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
fn redb_survives_a_crash_at_every_operation_while_its_file_grows_and_shrinks() {
    const LARGE: u64 = 600_000;
    let large = |key: u64| (0..LARGE).map(|place| (place / BLOCK + key) as u8).collect();
    let writes = (0..2).map(|key| vec![(key, Some(large(key)))]);
    let deletions = (0..2).map(|key| vec![(key, None)]);
    let commits: Vec<Writes> = writes.chain(deletions).collect();
    let lengths = survives(&commits, Commit::QuickRepair, |operation| {
        vec![Crash::Random(operation)]
    });
    let grows = lengths.windows(2).filter(|pair| pair[0] < pair[1]).count();
    let shrinks = lengths.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(grows > 1 && shrinks > 0, "{grows}, {shrinks}");
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
        let file = disk.open(name).expect("the medium is sound");
        let sectors = file.len().expect("the medium is sound") / SECTOR_BYTES;
        // One in every sector of the sums, and one in every block.
        let in_block = BLOCK / SECTOR_BYTES;
        let mut offsets: Vec<u64> = (0..sectors)
            .filter(|sector| name == SUMS || sector % in_block == sector / in_block % in_block)
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
        let mut met = 0;
        for operation in 1..=60 {
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
            met += disk.faults().get(fault.name()).copied().unwrap_or_default();
            let is_right = |found: &Contents| *found == contents(done) || *found == contents(done + 1);
            // The machine stops too; or only the process, and the next finds in the cache what is not durable.
            let stopped = read_from(&disk.fork().crash(Crash::Random(operation)));
            let found_in_cache = disk.fork();
            VerifiedBackend::open(&found_in_cache, NAME).expect("nothing durable is damaged");
            let stopped_later = read_from(&found_in_cache.crash(Crash::LoseAll));
            let restarted = read_from(&disk).expect("nothing durable is damaged");
            for found in [stopped, stopped_later] {
                assert!(found.is_ok_and(|found| is_right(&found)), "{fault:?} {operation}");
            }
            assert!(is_right(&restarted), "{fault:?} {operation}");
            let later = read_from(&disk.crash(Crash::LoseAll)).expect("nothing durable is damaged");
            assert!(later == restarted, "{fault:?} {operation}: what was read is lost");
        }
        assert!(met > 10, "{fault:?} was met {met} times");
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
fn redb_lies_on_a_folder_of_the_file_system() {
    let mut disk = ScratchDisk::new();
    for number in 1..=3 {
        let backend = VerifiedBackend::open(&disk, NAME).expect("the medium is sound");
        let database = Database::builder()
            .create_with_backend(backend)
            .expect("the medium is sound");
        let found = read(&database).expect("the medium is sound");
        assert!(found == contents(number - 1), "not what {number} commits left");
        commit(&database, number, Commit::QuickRepair).expect("the medium is sound");
        drop(database);
        disk = disk.restart();
    }
    assert_eq!(disk.names().expect("the medium is sound"), [NAME, SUMS]);
}
