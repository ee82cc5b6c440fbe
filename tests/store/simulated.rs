//! That a simulated disk loses and damages what a real one may, and nothing else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use plimsoll::store::disk::{Crash, Disk, Fault, FaultRates, File, SECTOR_BYTES, SimulatedDisk};

use crate::disk::all_of;

const SECTOR: usize = SECTOR_BYTES as usize;

/// A disk with one durable file `a` of so many sectors of `1`.
fn with_sectors(sectors: usize) -> (SimulatedDisk, Arc<dyn File>) {
    let disk = SimulatedDisk::new(7);
    let file = disk.open("a").expect("the medium is sound");
    file.write(0, &vec![1; sectors * SECTOR]).expect("the medium is sound");
    file.sync().expect("the medium is sound");
    disk.sync().expect("the medium is sound");
    (disk, file)
}

fn bytes_of(disk: &SimulatedDisk, name: &str) -> Vec<u8> {
    all_of(&*disk.open(name).expect("the medium is sound"))
}

/// The first byte of each sector.
fn sectors_of(bytes: &[u8]) -> Vec<u8> {
    for sector in bytes.chunks(SECTOR) {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is whole");
    }
    bytes.iter().copied().step_by(SECTOR).collect()
}

/// What `seen` says of the disk after each of many crashes.
fn outcomes<T: Ord>(disk: &SimulatedDisk, seen: impl Fn(&SimulatedDisk) -> T) -> BTreeSet<T> {
    (0..400)
        .map(|seed| seen(&disk.fork().crash(Crash::Random(seed))))
        .collect()
}

#[test]
fn a_crash_leaves_of_each_unsynced_sector_any_version_and_of_the_synced_ones_the_last() {
    let (disk, file) = with_sectors(3);
    file.write(0, &[2; 2 * SECTOR]).expect("the medium is sound");
    file.write(0, &[3; SECTOR]).expect("the medium is sound");
    let found = outcomes(&disk, |disk| sectors_of(&bytes_of(disk, "a")));
    let any: BTreeSet<Vec<u8>> = [1, 2, 3]
        .into_iter()
        .flat_map(|first| [1, 2].map(|second| vec![first, second, 1]))
        .collect();
    assert_eq!(found, any);
    let all = |crash| sectors_of(&bytes_of(&disk.fork().crash(crash), "a"));
    assert_eq!(
        (all(Crash::LoseAll), all(Crash::KeepAll)),
        (vec![1, 1, 1], vec![3, 2, 1])
    );
    file.sync().expect("the medium is sound");
    let found = outcomes(&disk, |disk| sectors_of(&bytes_of(disk, "a")));
    assert_eq!(found, [vec![3, 2, 1]].into());
}

#[test]
fn a_crash_leaves_any_length_the_file_had_and_zeros_where_it_grew_without_its_bytes() {
    let (disk, file) = with_sectors(1);
    file.write(SECTOR_BYTES, &[2; SECTOR]).expect("the medium is sound");
    file.set_len(3 * SECTOR_BYTES).expect("the medium is sound");
    let found = outcomes(&disk, |disk| sectors_of(&bytes_of(disk, "a")));
    let any = [vec![1], vec![1, 0], vec![1, 2], vec![1, 0, 0], vec![1, 2, 0]];
    assert_eq!(found, any.into());
}

#[test]
fn what_was_cut_may_be_there_after_a_crash_until_the_cut_is_synced() {
    let (disk, file) = with_sectors(2);
    file.set_len(SECTOR_BYTES + 1).expect("the medium is sound");
    let found = outcomes(&disk, |disk| bytes_of(disk, "a").len());
    assert_eq!(found, [SECTOR + 1, 2 * SECTOR].into());
    file.sync().expect("the medium is sound");
    file.set_len(2 * SECTOR_BYTES).expect("the medium is sound");
    file.sync().expect("the medium is sound");
    let bytes = bytes_of(&disk.crash(Crash::LoseAll), "a");
    assert_eq!((bytes[SECTOR], bytes[SECTOR + 1]), (1, 0));
}

#[test]
fn names_are_durable_once_they_are_synced_and_a_renamed_file_has_one_of_the_two() {
    let (disk, _) = with_sectors(1);
    let new = disk.open("b").expect("the medium is sound");
    new.write(0, b"new").expect("the medium is sound");
    new.sync().expect("the medium is sound");
    let names = |disk: &SimulatedDisk| disk.names().expect("the medium is sound");
    assert_eq!(
        outcomes(&disk, names).len(),
        2,
        "a file that was synced may have no name"
    );
    disk.sync().expect("the medium is sound");
    disk.rename("b", "a").expect("the medium is sound");
    let found = outcomes(&disk, |disk| {
        let files = names(disk);
        files
            .iter()
            .map(|name| (name.clone(), bytes_of(disk, name).len()))
            .collect::<Vec<_>>()
    });
    let before = vec![("a".to_owned(), SECTOR), ("b".to_owned(), 3)];
    let after = vec![("a".to_owned(), 3)];
    assert_eq!(found, [before, after.clone()].into());
    // What follows on the same names does not overtake it.
    disk.remove("a").expect("the medium is sound");
    disk.open("c").expect("the medium is sound");
    let found = outcomes(&disk, names);
    let lists: [&[&str]; 6] = [&["a", "b"], &["a"], &[], &["a", "b", "c"], &["a", "c"], &["c"]];
    let expected = lists.map(|list| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(found, expected.into());
    disk.sync().expect("the medium is sound");
    assert_eq!(outcomes(&disk, names), [vec!["c".to_owned()]].into());
}

#[test]
fn after_a_crash_old_handles_are_deaf_and_do_nothing() {
    let (disk, file) = with_sectors(1);
    let after = disk.crash(Crash::KeepAll);
    let operations = after.operations();
    let calls = [
        file.len().map(drop),
        file.set_len(0),
        file.read(0, &mut [0]),
        file.write(0, b"x"),
        file.sync(),
        disk.open("b").map(drop),
        disk.names().map(drop),
        disk.rename("a", "b"),
        disk.remove("a"),
        disk.sync(),
    ];
    for call in calls {
        call.expect_err("the process is no more");
    }
    assert_eq!(after.operations(), operations);
    assert_eq!(sectors_of(&bytes_of(&after, "a")), [1]);
    assert_eq!(sectors_of(&bytes_of(&disk.reopen(), "a")), [1]);
}

#[test]
fn the_machine_stops_in_the_middle_of_the_operation_that_was_planned() {
    let run = |disk: &SimulatedDisk| -> std::io::Result<()> {
        let file = disk.open("a")?;
        disk.sync()?;
        for value in 1..4 {
            file.write(0, &[value; SECTOR])?;
            file.sync()?;
        }
        disk.rename("a", "b")?;
        disk.remove("b")
    };
    let whole = SimulatedDisk::new(3);
    whole.record();
    run(&whole).expect("the medium is sound");
    let recorded = whole.recorded();
    assert_eq!((whole.operations(), recorded.len()), (10, 10));
    for (operation, recorded) in (1..).zip(&recorded) {
        let disk = SimulatedDisk::new(3);
        disk.crash_at(operation);
        run(&disk).expect_err("the machine stops");
        assert_eq!((disk.operations(), recorded.operations()), (operation, operation));
        disk.reopen().names().expect_err("the machine stands still");
        for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random(operation)] {
            let state = |disk: SimulatedDisk| {
                let names = disk.names().expect("the medium is sound");
                names.iter().map(|name| bytes_of(&disk, name)).collect::<Vec<_>>()
            };
            let left = state(disk.fork().crash(crash));
            assert_eq!(left, state(recorded.fork().crash(crash)), "operation {operation}");
            // The write of the third value is operation 7, and its sync operation 8.
            let value = left.first().and_then(|bytes| bytes.first().copied());
            match (operation, crash) {
                (7 | 8, Crash::LoseAll) => assert_eq!(value, Some(2)),
                (7 | 8, Crash::KeepAll) => assert_eq!(value, Some(3)),
                (9, _) => assert_eq!(value, Some(3)),
                _ => {}
            }
        }
    }
}

#[test]
fn a_disk_that_is_full_once_refuses_the_write_that_needs_room() {
    let (disk, file) = with_sectors(2);
    let next = disk.operations() + 1;
    for operation in [next, next + 1] {
        disk.inject_at(operation, Fault::Full);
    }
    file.write(0, &[2; 2 * SECTOR])
        .expect("what is written over takes no room");
    let error = file
        .write(SECTOR_BYTES, &[3; 2 * SECTOR])
        .expect_err("there is no room for the second");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(sectors_of(&bytes_of(&disk, "a")), [2, 3]);
    file.write(SECTOR_BYTES, &[3; 2 * SECTOR]).expect("there is room again");
    assert_eq!(disk.faults()["full"], 1);
}

#[test]
fn a_full_disk_takes_what_fits_and_goes_on_when_there_is_room() {
    let (disk, file) = with_sectors(2);
    assert_eq!(disk.used(), 2 * SECTOR_BYTES);
    disk.set_capacity(Some(3 * SECTOR_BYTES + 100));
    file.write(0, &[2; 2 * SECTOR])
        .expect("what is written over takes no room");
    file.set_len(100 * SECTOR_BYTES).expect("a hole takes no room");
    let error = file
        .write(2 * SECTOR_BYTES, &[3; 2 * SECTOR])
        .expect_err("one sector fits");
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!((disk.used(), disk.faults()["full"]), (3 * SECTOR_BYTES, 1));
    assert_eq!(sectors_of(&bytes_of(&disk, "a"))[..5], [2, 2, 3, 0, 0]);
    disk.set_capacity(Some(4 * SECTOR_BYTES));
    file.write(2 * SECTOR_BYTES, &[3; 2 * SECTOR])
        .expect("there is room now");
    file.set_len(0).expect("the medium is sound");
    file.sync().expect("the medium is sound");
    assert_eq!(disk.used(), 0);
    file.write(0, &[4; SECTOR]).expect("the medium is sound");
    disk.remove("a").expect("the medium is sound");
    assert_eq!(disk.used(), SECTOR_BYTES, "until the names are synced");
    disk.sync().expect("the medium is sound");
    assert_eq!(disk.used(), 0);
}

#[test]
fn errors_are_met_once_by_the_next_operation_of_their_kind_and_counted_then() {
    let (disk, file) = with_sectors(4);
    for fault in [Fault::ReadError, Fault::WriteError, Fault::SyncError] {
        disk.inject(fault);
    }
    assert!(disk.faults().is_empty(), "nothing happened yet");
    file.read(0, &mut [0]).expect_err("planned");
    file.read(0, &mut [0]).expect("only once");
    file.write(0, &[2; 4 * SECTOR]).expect_err("planned");
    let found = sectors_of(&bytes_of(&disk, "a"));
    assert!(found.iter().all(|value| [1, 2].contains(value)), "{found:?}");
    file.write(0, &[3; 4 * SECTOR]).expect("only once");
    file.sync().expect_err("planned");
    let found = sectors_of(&bytes_of(&disk, "a"));
    assert!(found.iter().all(|value| [1, 2, 3].contains(value)), "{found:?}");
    file.sync().expect("only once");
    let counts = disk.faults();
    let names = [Fault::ReadError, Fault::WriteError, Fault::SyncError].map(Fault::name);
    assert!(names.iter().all(|name| counts[name] == 1), "{counts:?}");
}

#[test]
fn what_a_failed_sync_did_not_make_durable_no_later_sync_does() {
    let found: BTreeSet<Vec<u8>> = (0..200)
        .map(|seed| {
            let disk = SimulatedDisk::new(seed);
            let file = disk.open("a").expect("the medium is sound");
            disk.sync().expect("the medium is sound");
            file.write(0, &[1; 2 * SECTOR]).expect("the medium is sound");
            file.sync().expect("the medium is sound");
            file.write(0, &[2; 2 * SECTOR]).expect("the medium is sound");
            disk.inject_at(disk.operations() + 1, Fault::SyncError);
            file.sync().expect_err("planned");
            let seen = sectors_of(&bytes_of(&disk, "a"));
            file.sync().expect("only once");
            let durable = sectors_of(&bytes_of(&disk.crash(Crash::KeepAll), "a"));
            assert_eq!(seen, durable, "nothing is read back that is not durable");
            durable
        })
        .collect();
    assert_eq!(found, [vec![1, 1], vec![1, 2], vec![2, 1], vec![2, 2]].into());
}

#[test]
fn a_lost_write_is_read_back_until_the_machine_stops() {
    for (fault, cached) in [(Fault::LostWrite, 2), (Fault::StaleRead, 1)] {
        let (disk, file) = with_sectors(2);
        disk.inject(fault);
        file.write(SECTOR_BYTES, &[2; 2 * SECTOR]).expect("acknowledged");
        file.sync().expect("the medium says so");
        assert_eq!(sectors_of(&bytes_of(&disk, "a"))[..2], [1, cached]);
        let disk = disk.crash(Crash::KeepAll);
        assert_eq!(sectors_of(&bytes_of(&disk, "a")), [1, 1, 0], "{fault:?}");
        assert_eq!(disk.faults()[fault.name()], 1);
    }
}

#[test]
fn a_misdirected_write_lands_elsewhere_in_the_file() {
    let found: BTreeSet<Vec<u8>> = (0..100)
        .map(|seed| {
            let disk = SimulatedDisk::new(seed);
            let file = disk.open("a").expect("the medium is sound");
            disk.sync().expect("the medium is sound");
            file.write(0, &[1; 3 * SECTOR]).expect("the medium is sound");
            disk.inject(Fault::MisdirectedWrite);
            file.write(SECTOR_BYTES, &[2; SECTOR]).expect("acknowledged");
            file.sync().expect("the medium says so");
            assert_eq!(sectors_of(&bytes_of(&disk, "a")), [1, 2, 1], "the cache hides it");
            sectors_of(&bytes_of(&disk.crash(Crash::LoseAll), "a"))
        })
        .collect();
    assert_eq!(found, [vec![2, 1, 1], vec![1, 1, 2]].into());
    // A file of one sector has no other place.
    let (disk, file) = with_sectors(1);
    disk.inject(Fault::MisdirectedWrite);
    file.write(0, &[2; SECTOR]).expect("the medium is sound");
    assert!(disk.faults().is_empty());
}

#[test]
fn a_flipped_bit_is_read_unless_something_newer_is_cached() {
    let (disk, file) = with_sectors(2);
    file.write(SECTOR_BYTES, &[4; SECTOR]).expect("the medium is sound");
    assert!(disk.flip("a", 3, 1) && disk.flip("a", SECTOR_BYTES, 1));
    assert!(
        !disk.flip("a", 2 * SECTOR_BYTES, 0) && !disk.flip("b", 0, 0),
        "there is no such byte"
    );
    let seen = bytes_of(&disk, "a");
    assert_eq!((seen[2], seen[3], seen[SECTOR]), (1, 3, 4));
    assert_eq!(disk.faults()["bit flip"], 2);
    let lost = bytes_of(&disk.fork().crash(Crash::LoseAll), "a");
    assert_eq!((lost[3], lost[SECTOR], lost[SECTOR + 1]), (3, 3, 1));
    let (name, offset, bit) = disk.flip_any().expect("something is durable");
    assert_eq!(name, "a");
    assert!(offset < 2 * SECTOR_BYTES && bit < 8);
    assert_eq!(SimulatedDisk::new(1).flip_any(), None);
}

#[test]
fn rates_make_every_fault_happen_and_the_same_seed_the_same_ones() {
    let run = |seed| {
        let disk = SimulatedDisk::new(seed);
        let rate = 0.1;
        disk.set_rates(FaultRates {
            read_error: rate,
            write_error: rate,
            sync_error: rate,
            lost_write: rate,
            stale_read: rate,
            misdirected_write: rate,
        });
        let file = disk.open("a").expect("the medium is sound");
        let mut outcomes = Vec::new();
        for turn in 0..400_u64 {
            let offset = turn * 7 % 40 * SECTOR_BYTES;
            outcomes.push(file.write(offset, &[turn as u8; SECTOR]).is_ok());
            outcomes.push(file.read(offset, &mut [0; SECTOR]).is_ok());
            outcomes.push(file.sync().is_ok());
        }
        while disk.sync().is_err() {}
        let disk = disk.crash(Crash::Random(seed));
        disk.set_rates(FaultRates::default());
        (outcomes, disk.faults(), bytes_of(&disk, "a"))
    };
    let (outcomes, faults, bytes) = run(5);
    let all = [
        Fault::ReadError,
        Fault::WriteError,
        Fault::SyncError,
        Fault::LostWrite,
        Fault::StaleRead,
        Fault::MisdirectedWrite,
    ];
    for fault in all {
        assert!(faults[fault.name()] > 10, "{fault:?}: {faults:?}");
    }
    assert_eq!(run(5), (outcomes, faults, bytes));
    assert_ne!(run(6).0, run(5).0);
}
