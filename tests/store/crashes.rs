//! Versions on a disk that is crashed in the middle of every operation, fails, fills up, and rots.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::store::disk::{Crash, Disk, Fault, SimulatedDisk};
use plimsoll::store::versions::{DiskVersions, Settled, Standing};
use plimsoll::store::{History, MemoryVersions, StoreError, Versions};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Outcome;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

const CACHE_BYTES: usize = 1 << 20;
const FILE: &str = "versions.redb";

fn open(disk: &SimulatedDisk) -> Result<DiskVersions, StoreError> {
    DiskVersions::open(Arc::new(disk.clone()), FILE, CACHE_BYTES)
}

fn at(place: u64) -> Timestamp {
    Timestamp {
        hlc: Hlc::from_unix_millis(1_800_000_000_000 + 700 * place),
        node: NodeId::new(1),
    }
}

fn key(number: u32) -> Key {
    Key::new(format!("k{number}").into_bytes())
}

/// All that versions hold: where they stand, their history and the outcomes beside them.
#[derive(Debug, PartialEq)]
struct Everything {
    bounds: (Hlc, Hlc),
    standing: Standing,
    history: Vec<(Key, Timestamp, Option<Value>)>,
    outcomes: Vec<Settled>,
}

fn history(versions: &impl History) -> Vec<(Key, Timestamp, Option<Value>)> {
    let mut history = Vec::new();
    versions.history(versions.oldest(), None, &mut |key, at, value| {
        history.push((key.clone(), at, value.cloned()));
        ControlFlow::Continue(())
    });
    history
}

fn everything(versions: &DiskVersions) -> Result<Everything, StoreError> {
    let mut outcomes = Vec::new();
    versions.settled(None, &mut |id, effective, outcome| {
        let outcome = outcome.clone();
        outcomes.push(Settled { id, effective, outcome });
        ControlFlow::Continue(())
    });
    versions.checked(Everything {
        bounds: (versions.evaluated(), versions.oldest()),
        standing: versions.standing().clone(),
        history: history(versions),
        outcomes,
    })
}

/// A node's life as far as its versions go, beside a model in memory.
struct Life {
    random: Xoshiro256PlusPlus,
    model: MemoryVersions,
    outcomes: BTreeMap<TransactionId, Settled>,
    place: u64,
    keys: u32,
}

impl Life {
    fn new(seed: u64, keys: u32) -> Self {
        Self {
            random: Xoshiro256PlusPlus::seed_from_u64(seed),
            model: MemoryVersions::default(),
            outcomes: BTreeMap::new(),
            place: 0,
            keys,
        }
    }

    /// Some writes, and now and then a higher oldest snapshot. *Gives* the outcomes that are new.
    fn live(&mut self, versions: &mut DiskVersions, writes: usize) -> Vec<Settled> {
        let mut settled = Vec::new();
        for _ in 0..writes {
            self.place += 1;
            let key = key(self.random.random_range(0..self.keys));
            let value = self
                .random
                .random_bool(0.8)
                .then(|| Value::new(vec![self.place as u8; 300]));
            versions.put(key.clone(), at(self.place), value.clone());
            self.model.put(key, at(self.place), value);
            settled.push(Settled {
                id: TransactionId::from_parts(at(self.place).hlc.unix_millis(), [1; 10]),
                effective: at(self.place),
                outcome: Outcome::Committed("done".into()),
            });
        }
        let (evaluated, oldest) = (at(self.place).hlc, at(self.place.saturating_sub(20)).hlc);
        versions.set_evaluated(evaluated);
        self.model.set_evaluated(evaluated);
        if self.random.random_bool(0.7) {
            versions.collect(oldest);
            self.model.collect(oldest);
        }
        self.outcomes
            .extend(settled.iter().map(|settled| (settled.id, settled.clone())));
        settled
    }

    fn standing(&self) -> Standing {
        Standing {
            last: at(self.place),
            noted: Hlc::ZERO,
            fold: self.place * 3,
        }
    }

    fn everything(&self) -> Everything {
        Everything {
            bounds: (self.model.evaluated(), self.model.oldest()),
            standing: self.standing(),
            history: history(&self.model),
            outcomes: self.outcomes.values().cloned().collect(),
        }
    }
}

/// Turns one bit around. *Gives* which.
fn flip(disk: &SimulatedDisk, random: &mut Xoshiro256PlusPlus) -> (String, u64, u8) {
    loop {
        let names = disk.names().expect("a sound medium");
        let name = &names[random.random_range(0..names.len())];
        let bytes = disk.open(name).and_then(|file| file.len()).expect("a sound medium");
        let (offset, bit) = (random.random_range(0..bytes), random.random_range(0..8));
        if disk.flip(name, offset, bit) {
            return (name.clone(), offset, bit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// After a crash in the middle of any operation the versions are, exactly, what the last flush wrote, or the one that was being
    /// written; and they go on from there.
    #[test]
    fn a_crash_in_any_operation_leaves_what_a_flush_wrote(seed in any::<u64>(), flushes in 1..6_usize) {
        let disk = SimulatedDisk::new(seed);
        disk.record();
        let mut life = Life::new(seed, 40);
        let mut versions = open(&disk).unwrap();
        // What each flush wrote, and after how many operations it had ended.
        let mut flushed = vec![(disk.operations(), None)];
        for _ in 0..flushes {
            let writes = life.random.random_range(0..60);
            let settled = life.live(&mut versions, writes);
            let flush = versions.begin_flush(settled, life.standing());
            versions.end_flush(flush.write()).unwrap();
            flushed.push((disk.operations(), Some(life.everything())));
        }
        for (number, crashed) in disk.recorded().into_iter().enumerate() {
            let operation = crashed.operations();
            let before = flushed.iter().rposition(|(end, _)| *end < operation);
            let during = before.map_or(0, |before| before + 1);
            for crash in [Crash::LoseAll, Crash::KeepAll, Crash::Random(seed ^ number as u64)] {
                let disk = crashed.fork().crash(crash);
                let mut versions = open(&disk).unwrap();
                let found = everything(&versions).unwrap();
                let is_one_of = |place: usize| match flushed.get(place) {
                    Some((_, Some(expected))) => found == *expected,
                    Some((_, None)) => found.history.is_empty() && found.bounds == (Hlc::ZERO, Hlc::ZERO),
                    None => false,
                };
                prop_assert!(
                    is_one_of(during) || before.is_some_and(is_one_of) || during == 0 && found.history.is_empty(),
                    "{crash:?} at operation {operation} of {:?}: {found:?}",
                    flushed.iter().map(|(end, _)| end).collect::<Vec<_>>(),
                );
                versions.put(key(0), at(100_000), Some("more".into()));
                let flush = versions.begin_flush(Vec::new(), Standing::default());
                prop_assert!(versions.end_flush(flush.write()).is_ok());
            }
        }
    }

    /// Whatever bit of a file turns around: an error that names the file, or exactly what was written, and never anything else.
    #[test]
    fn a_bit_that_turns_around_is_an_error_or_of_no_account(seed in any::<u64>(), bits in 1..4_usize) {
        let disk = SimulatedDisk::new(seed);
        let mut life = Life::new(seed, 200);
        let mut versions = open(&disk).unwrap();
        for _ in 0..3 {
            let settled = life.live(&mut versions, 150);
            let flush = versions.begin_flush(settled, life.standing());
            versions.end_flush(flush.write()).unwrap();
        }
        drop(versions);
        let expected = life.everything();
        let mut damages = 0;
        for _ in 0..30 {
            let disk = disk.fork().crash(Crash::KeepAll);
            let flipped: Vec<_> = (0..bits).map(|_| flip(&disk, &mut life.random)).collect();
            let found = open(&disk).and_then(|versions| {
                let found = everything(&versions)?;
                for number in 0..200 {
                    let read = versions.get(&key(number), Timestamp::last_at(Hlc::MAX));
                    versions.checked(read)?;
                }
                Ok(found)
            });
            match found {
                Ok(found) => prop_assert_eq!(&found, &expected, "{:?}", flipped),
                Err(error) => {
                    damages += 1;
                    prop_assert!(error.to_string().contains(FILE), "{error} after {flipped:?}");
                }
            }
        }
        prop_assert!(damages > 0, "most of the file is rows");
    }

    /// A medium that fails somewhere: the flush fails or succeeds, and what is opened afterwards is what one of both left.
    #[test]
    fn a_fault_in_a_flush_ends_the_store_and_opening_it_again_gives_a_flush(seed in any::<u64>(), after in 1..40_u64) {
        let disk = SimulatedDisk::new(seed);
        let mut life = Life::new(seed, 60);
        let mut versions = open(&disk).unwrap();
        let settled = life.live(&mut versions, 80);
        let flush = versions.begin_flush(settled, life.standing());
        versions.end_flush(flush.write()).unwrap();
        let before = life.everything();
        let settled = life.live(&mut versions, 80);
        let fault = [Fault::WriteError, Fault::SyncError][(seed % 2) as usize];
        disk.inject_at(disk.operations() + after, fault);
        let flush = versions.begin_flush(settled, life.standing());
        let ended = versions.end_flush(flush.write());
        prop_assert_eq!(ended.is_err(), versions.failure().is_some());
        if let Err(error) = &ended {
            prop_assert!(matches!(error, StoreError::Medium { .. }), "{error}");
            prop_assert!(everything(&versions).is_err(), "nothing is given out after a failure");
        }
        drop(versions);
        let disk = disk.crash(Crash::Random(seed));
        let found = everything(&open(&disk).unwrap()).unwrap();
        let after = life.everything();
        prop_assert!(found == after || ended.is_err() && found == before);
    }

    /// A disk that is full at any byte: nothing is lost, reads go on, and with room the flush succeeds.
    #[test]
    fn a_full_disk_at_any_byte_loses_nothing(seed in any::<u64>(), room in 0..400_000_u64) {
        let disk = SimulatedDisk::new(seed);
        let mut life = Life::new(seed, 2_000);
        let mut versions = open(&disk).unwrap();
        let mut settled = life.live(&mut versions, 100);
        let flush = versions.begin_flush(settled, life.standing());
        versions.end_flush(flush.write()).unwrap();
        settled = life.live(&mut versions, 700);
        disk.set_capacity(Some(disk.used() + room));
        let flush = versions.begin_flush(settled.clone(), life.standing());
        let ended = versions.end_flush(flush.write());
        prop_assert_eq!(history(&versions), history(&life.model), "{:?}", ended);
        prop_assert!(versions.failure().is_none());
        if let Err(error) = ended {
            prop_assert!(matches!(error, StoreError::Full { .. }), "{error}");
            disk.set_capacity(None);
            let flush = versions.begin_flush(settled, life.standing());
            versions.end_flush(flush.write()).unwrap();
        }
        drop(versions);
        let found = everything(&open(&disk.crash(Crash::LoseAll)).unwrap()).unwrap();
        prop_assert_eq!(found, life.everything());
    }
}
