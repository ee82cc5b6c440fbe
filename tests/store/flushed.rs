//! Versions on disk, flushed in the middle of everything: they must not be told from versions that never leave memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::store::versions::{DiskVersions, FlushReport, Standing};
use plimsoll::store::{History, MemoryVersions, StoreError, VersionVisitor, Versions};
use plimsoll::thunk::Direction;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Versioned;
use proptest::prelude::*;

use crate::medium::Memory;

const CACHE_BYTES: usize = 1 << 20;

pub(crate) fn open(medium: &Memory) -> DiskVersions {
    DiskVersions::over(Box::new(medium.clone()), CACHE_BYTES).expect("the medium does not fail")
}

pub(crate) fn flush(versions: &mut DiskVersions) -> Result<FlushReport, StoreError> {
    let flush = versions.begin_flush(Vec::new(), Standing::default());
    versions.end_flush(flush.write())
}

/// Versions on disk that flush by themselves every few writes, and leave some of the flushes open for a while.
pub(crate) struct Restless {
    versions: DiskVersions,
    open: Option<plimsoll::store::versions::Flush>,
    /// Writes since the last step of a flush.
    writes: u32,
    every: u32,
}

impl Restless {
    /// One whose covered versions stay in memory.
    pub(crate) fn retaining(every: u32) -> Self {
        let mut restless = Self::new(every);
        restless.versions.retain(u64::MAX);
        restless
    }

    pub(crate) fn new(every: u32) -> Self {
        let versions = open(&Memory::default());
        Self {
            versions,
            open: None,
            writes: 0,
            every,
        }
    }

    fn step(&mut self) {
        self.writes += 1;
        if self.writes.is_multiple_of(self.every) {
            self.open = match self.open.take() {
                None => Some(self.versions.begin_flush(Vec::new(), Standing::default())),
                Some(flush) => {
                    self.versions
                        .end_flush(flush.write())
                        .expect("the medium does not fail");
                    None
                }
            };
        }
    }
}

impl History for Restless {
    type Checked<T> = Result<T, StoreError>;

    fn checked<T>(&self, found: T) -> Result<T, StoreError> {
        self.versions.checked(found)
    }

    fn evaluated(&self) -> Hlc {
        self.versions.evaluated()
    }

    fn oldest(&self) -> Hlc {
        self.versions.oldest()
    }

    fn history(&self, oldest: Hlc, after: Option<(&Key, Timestamp)>, visit: &mut VersionVisitor<'_>) {
        self.versions.history(oldest, after, visit);
    }
}

impl Versions for Restless {
    fn get(&self, key: &Key, at: Timestamp) -> Option<Versioned> {
        self.versions.get(key, at)
    }

    fn scan(&self, range: &KeyRange, at: Timestamp, limit: usize, direction: Direction) -> Vec<(Key, Versioned)> {
        self.versions.scan(range, at, limit, direction)
    }

    fn put(&mut self, key: Key, at: Timestamp, value: Option<Value>) {
        self.versions.put(key, at, value);
        self.step();
    }

    fn set_evaluated(&mut self, evaluated: Hlc) {
        self.versions.set_evaluated(evaluated);
    }

    fn collect(&mut self, oldest: Hlc) {
        self.versions.collect(oldest);
        self.step();
    }
}

fn at(place: u64) -> Timestamp {
    const PLACE_MS: u64 = 400;
    Timestamp {
        hlc: Hlc::from_unix_millis(1_800_000_000_000 + PLACE_MS * place),
        node: plimsoll::id::NodeId::new(1),
    }
}

type Shown = Vec<(Key, Timestamp, Option<Value>)>;

fn history(versions: &impl Versions, oldest: Hlc) -> Shown {
    let mut shown = Vec::new();
    versions.history(oldest, None, &mut |key, at, value| {
        shown.push((key.clone(), at, value.cloned()));
        ControlFlow::Continue(())
    });
    shown
}

#[derive(Clone, Debug)]
enum Step {
    Write(BTreeMap<u8, Option<u8>>),
    Collect(u64),
    BeginFlush,
    EndFlush,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = proptest::collection::btree_map(0..8_u8, proptest::option::of(any::<u8>()), 1..5);
    let step = prop_oneof![
        8 => writes.prop_map(Step::Write),
        1 => (0..10_u64).prop_map(Step::Collect),
        2 => Just(Step::BeginFlush),
        2 => Just(Step::EndFlush),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Keys of which some begin with others, so that the order of rows is not that of their bytes.
fn key(number: u8) -> Key {
    let bytes = [
        &b""[..],
        b"a",
        b"a\0",
        b"a\0\0\0\0\0\0\0\0\0\0\0\x01",
        b"a\xff",
        b"ab",
        b"b",
        b"\xff\xff",
    ];
    Key::new(bytes[usize::from(number)])
}

fn compare(disk: &DiskVersions, memory: &MemoryVersions, last: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(disk.evaluated(), memory.evaluated());
    prop_assert_eq!(disk.oldest(), memory.oldest());
    let oldest = memory.oldest();
    prop_assert_eq!(history(disk, oldest), history(memory, oldest));
    for place in (0..=last).filter(|place| at(*place).hlc >= oldest) {
        let at = at(place);
        for number in 0..8 {
            prop_assert_eq!(disk.get(&key(number), at), memory.get(&key(number), at));
        }
        for (start, end) in [(0, None), (1, Some(5)), (2, Some(7)), (5, Some(1))] {
            let range = match end {
                None => KeyRange::from(key(start)),
                Some(end) => KeyRange::new(key(start), key(end)),
            };
            for direction in [Direction::Forward, Direction::Backward] {
                for limit in [1, 3, usize::MAX] {
                    let found = disk.scan(&range, at, limit, direction);
                    prop_assert_eq!(found, memory.scan(&range, at, limit, direction));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_is_flushed_and_opened_again_reads_as_in_memory(
        steps in steps(),
        retained_bytes in prop_oneof![Just(0), Just(400), Just(u64::MAX)],
    ) {
        let medium = Memory::default();
        let mut disk = open(&medium);
        disk.retain(retained_bytes);
        let mut memory = MemoryVersions::default();
        let mut flushing = None;
        // What a crash goes back to, and how far it had come.
        let (mut durable, mut begun) = ((memory.clone(), 0), (memory.clone(), 0));
        let mut place = 0;
        for step in steps {
            match step {
                Step::Write(writes) => {
                    place += 1;
                    for (number, value) in writes {
                        let value = value.map(|value| Value::new(vec![value]));
                        disk.put(key(number), at(place), value.clone());
                        memory.put(key(number), at(place), value);
                    }
                    disk.set_evaluated(at(place).hlc);
                    memory.set_evaluated(at(place).hlc);
                }
                Step::Collect(back) => {
                    let oldest = at(place.saturating_sub(back)).hlc;
                    disk.collect(oldest);
                    memory.collect(oldest);
                }
                Step::BeginFlush if flushing.is_none() => {
                    flushing = Some(disk.begin_flush(Vec::new(), Standing::default()));
                    begun = (memory.clone(), place);
                }
                Step::EndFlush => if let Some(flush) = flushing.take() {
                    disk.end_flush(flush.write()).unwrap();
                    durable = begun.clone();
                    prop_assert_eq!(disk.flushed(), durable.0.evaluated());
                },
                Step::Reopen => {
                    drop(flushing.take());
                    drop(disk);
                    disk = open(&medium);
                    disk.retain(retained_bytes);
                    (memory, place) = durable.clone();
                    let unwritten = if retained_bytes > 0 { memory.evaluated() } else { Hlc::ZERO };
                    let forgotten = memory.oldest().max(unwritten);
                    prop_assert!(memory.oldest() <= disk.oldest() && disk.oldest() <= forgotten);
                    memory.collect(disk.oldest());
                }
                Step::BeginFlush => {}
            }
        }
        compare(&disk, &memory, place)?;
        prop_assert!(disk.failure().is_none());
    }
}

#[test]
fn a_full_medium_loses_nothing_and_the_flush_succeeds_when_there_is_room() {
    let medium = Memory::default();
    let mut versions = open(&medium);
    let mut place = 0;
    let mut write = |versions: &mut DiskVersions, count: u32| {
        place += 1;
        for number in 0..count {
            let key = Key::new(number.to_be_bytes());
            versions.put(key, at(place), Some(Value::new(vec![place as u8; 500])));
        }
        versions.set_evaluated(at(place).hlc);
    };
    write(&mut versions, 1_000);
    flush(&mut versions).unwrap();
    medium.set_full(true);
    write(&mut versions, 20_000);
    let begun = versions.begin_flush(Vec::new(), Standing::default());
    write(&mut versions, 3);
    let written = begun.write();
    assert_eq!(
        versions.get(&Key::new(900_u32.to_be_bytes()), at(1)).unwrap().timestamp,
        at(1),
        "read meanwhile"
    );
    let error = versions.end_flush(written).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(versions.failure().is_none());
    let read = |versions: &DiskVersions| {
        let all = KeyRange::from(Key::default());
        [at(1), at(2), at(3)].map(|at| versions.scan(&all, at, usize::MAX, Direction::Forward))
    };
    let before = read(&versions);
    assert_eq!(before.each_ref().map(Vec::len), [1_000, 20_000, 20_000]);
    assert_eq!(before[2][2].1.timestamp, at(3));
    assert!(matches!(flush(&mut versions), Err(StoreError::Full { .. })));
    assert_eq!(versions.flushed(), at(1).hlc);
    medium.set_full(false);
    assert_eq!(flush(&mut versions).unwrap().written, 20_003);
    assert!(read(&versions) == before);
    assert!(read(&open_again(versions, &medium)) == before);
}

fn open_again(versions: DiskVersions, medium: &Memory) -> DiskVersions {
    drop(versions);
    open(medium)
}

#[test]
fn a_medium_that_fails_stops_everything_and_what_was_flushed_is_there_afterwards() {
    let medium = Memory::default();
    let mut versions = open(&medium);
    for number in 0..50_000_u32 {
        versions.put(Key::new(number.to_be_bytes()), at(1), Some(Value::new(vec![1; 50])));
    }
    versions.set_evaluated(at(1).hlc);
    flush(&mut versions).unwrap();
    versions.put(Key::default(), at(2), Some("new".into()));
    let key = |number: u32| Key::new(number.to_be_bytes());
    medium.fail_after(0);
    assert!(versions.get(&Key::default(), at(2)).is_some(), "memory does not fail");
    let found = (0..50_000)
        .filter(|number| versions.get(&key(*number), at(2)).is_some())
        .count();
    let failure = versions.failure().expect("more than the cache holds was read");
    assert!(found < 50_000 && versions.checked(()).is_err(), "{failure}");
    assert!(failure.to_string().contains("versions.redb"), "{failure}");
    assert!(matches!(flush(&mut versions), Err(StoreError::Medium { .. })));
    drop(versions);
    medium.recover();
    let versions = open(&medium);
    assert_eq!(
        (versions.evaluated(), versions.get(&Key::default(), at(2))),
        (at(1).hlc, None)
    );
    assert!((0..50_000).all(|number| versions.get(&key(number), at(2)).is_some()));
}
