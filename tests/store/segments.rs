//! The log in segments: crashed in the middle of every operation, damaged, filled up, opened by others.

use std::collections::BTreeSet;
use std::sync::Arc;

use plimsoll::id::StorageId;
use plimsoll::store::disk::{Crash, Disk, Fault, SimulatedDisk};
use plimsoll::store::segments::{SegmentLog, SegmentOptions};
use plimsoll::store::{Log, StoreError};

pub(crate) const OWNER: StorageId = StorageId::new(7);

/// Small segments: a few dozen entries in each.
pub(crate) const SMALL: SegmentOptions = SegmentOptions {
    segment_bytes: 4 << 10,
    spares_max: 2,
};

type Entry = (u64, Vec<u8>);
type Records = SegmentLog<Entry>;

/// The entry of this number: of some length, its bytes all its own.
fn entry(number: u64) -> Entry {
    let length = match number % 50 {
        49 => 6_000,
        other => other * 13 % 300,
    };
    (number, vec![(number % 251) as u8; length as usize])
}

pub(crate) fn open(disk: &SimulatedDisk) -> Records {
    try_open(disk).expect("the disk is sound")
}

fn try_open(disk: &SimulatedDisk) -> Result<Records, StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    SegmentLog::open(disk, OWNER, SMALL, &mut |_, _| {}).map(|(log, _)| log)
}

/// What a run has come to when it stops: how many entries were appended, acknowledged as durable, and dropped at most.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    appended: u64,
    durable: u64,
    dropped: u64,
}

/// Appends, syncs, drops and reopens until the disk stops.
fn run(disk: &SimulatedDisk, entries: u64) -> Progress {
    let mut progress = Progress::default();
    let Ok(mut log) = try_open(disk) else {
        return progress;
    };
    for number in 0..entries {
        if log.append(entry(number)).is_err() {
            return progress;
        }
        progress.appended = number + 1;
        if number % 7 == 3 {
            match log.sync() {
                Ok(durable) => progress.durable = durable,
                Err(_) => return progress,
            }
        }
        if number % 90 == 80 {
            progress.dropped = progress.durable.saturating_sub(60);
            if log.drop_below(progress.dropped).is_err() {
                return progress;
            }
        }
        if number % 130 == 129 {
            match log.sync().and_then(|durable| {
                progress.durable = durable;
                drop(std::mem::replace(&mut log, try_open(disk)?));
                Ok(())
            }) {
                Ok(()) => {}
                Err(_) => return progress,
            }
        }
    }
    progress
}

/// Everything that is there, and the number of the first.
fn contents(log: &Records) -> (u64, Vec<Entry>) {
    (log.first(), log.read(0, usize::MAX).expect("the disk is sound"))
}

#[track_caller]
fn assert_holds(log: &Records, progress: Progress, what: &str) {
    let (first, entries) = contents(log);
    assert!(first <= progress.dropped, "{what}: {first} of {progress:?}");
    let end = first + entries.len() as u64;
    assert!(
        progress.durable <= end && end <= progress.appended,
        "{what}: up to {end} of {progress:?}"
    );
    for (number, found) in (first..).zip(&entries) {
        assert!(*found == entry(number), "{what}: entry {number} is {}", found.0);
    }
    assert_eq!(log.durable(), end, "{what}");
}

#[test]
fn a_crash_in_the_middle_of_any_operation_keeps_what_is_durable_and_invents_nothing() {
    const ENTRIES: u64 = 400;
    let whole = SimulatedDisk::new(1);
    let all = run(&whole, ENTRIES);
    assert_eq!(all.appended, ENTRIES);
    let operations = whole.operations();
    let mut opened = 0;
    for operation in 1..=operations {
        let disk = SimulatedDisk::new(1);
        disk.crash_at(operation);
        let progress = run(&disk, ENTRIES);
        let crashes = [Crash::LoseAll, Crash::KeepAll]
            .into_iter()
            .chain((0..4).map(Crash::Random));
        for crash in crashes {
            let left = disk.fork().crash(crash);
            let what = format!("operation {operation}, {crash:?}");
            let mut log = try_open(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_holds(&log, progress, &what);
            // It goes on, and is there again.
            let end = log.append((77, vec![1])).expect("the disk is sound");
            log.sync().expect("the disk is sound");
            drop(log);
            let again = open(&left.crash(Crash::LoseAll));
            assert_eq!(again.read(end - 1, 1).expect("sound"), [(77, vec![1])], "{what}");
            assert_eq!(again.durable(), end, "{what}");
            opened += 1;
        }
    }
    println!("{operations} operations, {opened} disks after a crash opened");
    assert!(operations > 300, "{operations}");
}

/// A log with several segments, synced, and how many entries it has.
fn written() -> (SimulatedDisk, u64) {
    let disk = SimulatedDisk::new(2);
    let mut log = open(&disk);
    for number in 0..120 {
        log.append(entry(number)).expect("the disk is sound");
        if number % 5 == 4 {
            log.sync().expect("the disk is sound");
        }
    }
    (disk.crash(Crash::KeepAll), 120)
}

#[test]
fn a_bit_flips_anywhere_and_no_entry_is_another_than_was_written() {
    let (disk, count) = written();
    let names = disk.names().expect("sound");
    let (mut refused, mut harmless) = (0, 0);
    let mut damaged_files = BTreeSet::new();
    for name in &names {
        let length = disk.open(name).expect("sound").len().expect("sound");
        for offset in (0..length).step_by(3) {
            let left = disk.fork().reopen();
            assert!(left.flip(name, offset, (offset % 8) as u8));
            match try_open(&left) {
                Ok(log) => {
                    let (first, entries) = contents(&log);
                    assert_eq!((first, entries.len() as u64), (0, count), "{name}, byte {offset}");
                    harmless += 1;
                }
                Err(StoreError::Damaged { file, .. }) => {
                    assert!(file.ends_with(name.as_str()), "{file} in place of {name}");
                    damaged_files.insert(file);
                    refused += 1;
                }
                Err(other) => panic!("{name}, byte {offset}: {other}"),
            }
        }
    }
    println!("{refused} flips refused, {harmless} harmless");
    assert!(refused > 1_000 && harmless > 100, "{refused}, {harmless}");
    assert!(damaged_files.len() + 1 >= names.len(), "{damaged_files:?} of {names:?}");
}

#[test]
fn what_is_in_front_of_the_damage_is_salvaged_and_the_rest_is_named() {
    let (disk, _) = written();
    assert!(SegmentLog::<Entry>::salvage(&disk, OWNER).expect("sound").is_none());
    let names = disk.names().expect("sound");
    let name = &names[1];
    assert!(disk.flip(name, 1_500, 3));
    let salvaged = SegmentLog::<Entry>::salvage(&disk, OWNER).expect("readable");
    let salvaged = salvaged.expect("it is damaged");
    assert!(!salvaged.entries.is_empty() && salvaged.entries.len() < 120);
    for (number, found) in (0..).zip(&salvaged.entries) {
        assert!(*found == entry(number));
    }
    assert!(
        salvaged.damage.to_string().contains(name.as_str()),
        "{}",
        salvaged.damage
    );
}

#[test]
fn a_segment_in_the_middle_is_gone_and_that_is_damage() {
    let (disk, _) = written();
    let names = disk.names().expect("sound");
    disk.remove(&names[1]).expect("sound");
    assert!(matches!(try_open(&disk), Err(StoreError::Damaged { .. })));
}

#[test]
fn the_log_of_another_storage_or_of_a_later_format_is_refused() {
    let (disk, _) = written();
    let other = SegmentLog::<Entry>::open(Arc::new(disk), StorageId::new(8), SMALL, &mut |_, _| {});
    assert!(matches!(other, Err(StoreError::Foreign { .. })));
}

#[test]
fn a_full_disk_refuses_a_sync_and_loses_nothing_and_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new(3);
    let mut log = open(&disk);
    disk.set_capacity(Some(disk.used()));
    let mut number = 0;
    let refused = loop {
        log.append(entry(number)).expect("it is kept in memory");
        number += 1;
        if let Err(error) = log.sync() {
            break error;
        }
        assert!(number < 1_000, "it never fills up");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    let durable = log.durable();
    assert!(durable < number);
    assert_eq!(
        log.read(0, usize::MAX).expect("what is there is read").len() as u64,
        durable
    );
    disk.set_capacity(None);
    assert_eq!(log.sync().expect("there is room"), number);
    let (_, entries) = contents(&open(&disk.crash(Crash::LoseAll)));
    assert!((0..number).map(entry).eq(entries));
}

#[test]
fn a_disk_that_fails_once_is_trusted_no_more() {
    for fault in [Fault::SyncError, Fault::WriteError] {
        let disk = SimulatedDisk::new(4);
        let mut log = open(&disk);
        log.append(entry(0)).expect("sound");
        log.sync().expect("sound");
        log.append(entry(1)).expect("sound");
        disk.inject(fault);
        assert!(matches!(log.sync(), Err(StoreError::Medium { .. })), "{fault:?}");
        assert!(log.sync().is_err() && log.append(entry(2)).is_err() && log.read(0, 1).is_err());
        let (_, entries) = contents(&open(&disk.crash(Crash::Random(1))));
        assert!(entries.len() <= 2 && entries[0] == entry(0), "{fault:?}");
    }
}

/// The system may hold for clean what a failed sync has not written: a process that read it back would acknowledge what no medium holds.
#[test]
fn who_opens_the_log_after_a_failed_sync_finds_nothing_that_a_power_cut_takes_away() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let mut log = open(&disk);
        for number in 0..20 {
            log.append(entry(number)).expect("sound");
            log.sync().expect("sound");
        }
        log.append(entry(20)).expect("sound");
        log.append(entry(21)).expect("sound");
        disk.inject(Fault::SyncError);
        log.sync().expect_err("planned");
        // The process stops, and the machine does not.
        let disk = disk.reopen();
        let mut log = open(&disk);
        let found = log.durable();
        log.append(entry(found)).expect("sound");
        log.sync().expect("sound");
        let (_, entries) = contents(&open(&disk.crash(Crash::LoseAll)));
        assert!((0..=found).map(entry).eq(entries), "seed {seed}");
    }
}

#[test]
fn what_is_dropped_gives_its_files_back_and_the_disk_stays_small() {
    let disk = SimulatedDisk::new(5);
    let mut log = open(&disk);
    let mut largest = 0;
    for number in 0..5_000 {
        log.append(entry(number)).expect("sound");
        if number % 10 == 9 {
            log.sync().expect("sound");
            log.drop_below(log.durable().saturating_sub(50)).expect("sound");
            largest = largest.max(disk.used());
        }
    }
    assert!(largest < 16 * SMALL.segment_bytes, "{largest} bytes");
    assert!(log.bytes() <= largest);
}

/// A log with the disk that it is on, for the suite that every log is put through.
pub(crate) struct OnDisk {
    disk: SimulatedDisk,
    log: SegmentLog<u64>,
}

impl OnDisk {
    pub(crate) fn empty() -> Self {
        Self::on(SimulatedDisk::new(6))
    }

    fn on(disk: SimulatedDisk) -> Self {
        let medium: Arc<dyn Disk> = Arc::new(disk.clone());
        let (log, _) = SegmentLog::open(medium, OWNER, SMALL, &mut |_, _| {}).expect("the disk is sound");
        Self { disk, log }
    }

    pub(crate) fn crashed(self) -> Self {
        Self::on(self.disk.crash(Crash::LoseAll))
    }
}

impl Log for OnDisk {
    type Entry = u64;
    type Error = StoreError;

    fn append(&mut self, entry: u64) -> Result<u64, StoreError> {
        self.log.append(entry)
    }

    fn sync(&mut self) -> Result<u64, StoreError> {
        self.log.sync()
    }

    fn first(&self) -> u64 {
        self.log.first()
    }

    fn durable(&self) -> u64 {
        self.log.durable()
    }

    fn read(&self, from: u64, limit: usize) -> Result<Vec<u64>, StoreError> {
        self.log.read(from, limit)
    }

    fn drop_below(&mut self, first: u64) -> Result<(), StoreError> {
        self.log.drop_below(first)
    }
}
