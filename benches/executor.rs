//! What a transaction costs the serial executor: decoding the arguments, evaluating, writing, outcome and digest.
//!
//! `cargo bench --bench executor`. Each sample evaluates a batch over stored keys, all drawn at random; figures in
//! `docs/performance.md`.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use plimsoll::client;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::protocol::Batch;
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Evaluation, Get, Put, Registry, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Footprint, Record, ThunkId};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

const START_MS: u64 = 1_800_000_000_000;
const KEYS: u64 = 100_000;
const BATCH: usize = 1_000;
/// Batches a second: with a thousand records each, what is measured has the outcomes and old versions of steady work beside it.
const BATCH_MS: u64 = 5;

fn main() {
    divan::main();
}

/// Reads numbers and writes each of them, one higher.
#[derive(Serialize, Deserialize)]
struct AddOne {
    keys: Vec<Key>,
}

impl Thunk for AddOne {
    const NAME: &'static str = "bench.add-one";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.keys.iter().cloned())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<u64, Abort> {
        let mut sum = 0;
        for key in &self.keys {
            let number = evaluation.get_as::<u64>(key)?.unwrap_or_default() + 1;
            evaluation.put_as(key, &number)?;
            sum += number;
        }
        Ok(sum)
    }
}

/// A replica with numbers under all keys, and the clients that write to it.
struct World {
    executor: SerialExecutor<MemoryVersions>,
    rng: Xoshiro256PlusPlus,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self::empty();
        for number in 0..KEYS / 1_000 {
            let keys = (number * 1_000..(number + 1) * 1_000).map(key).collect();
            let batch = world.batch(1, |_| AddOne { keys });
            world.executor.evaluate(&batch);
        }
        world
    }

    fn empty() -> Self {
        let mut registry = Registry::with_builtins();
        registry.register::<AddOne>().expect("its name is free");
        Self {
            executor: SerialExecutor::new(Arc::new(registry), MemoryVersions::default()),
            rng: Xoshiro256PlusPlus::seed_from_u64(1),
            now_ms: START_MS,
        }
    }

    fn keys(&mut self, count: usize) -> Vec<Key> {
        (0..count).map(|_| key(self.rng.next_u64() % KEYS)).collect()
    }

    /// Records of the thunks that `make` makes.
    fn batch<T: Thunk>(&mut self, count: usize, make: impl FnOnce(&mut Self) -> T + Clone) -> Batch {
        self.now_ms += BATCH_MS;
        let hlc = Hlc::from_unix_millis(self.now_ms);
        let mut records = Vec::with_capacity(count);
        for place in 0..count as u64 {
            let thunk = make.clone()(self);
            let hlc = Hlc::from_bits(hlc.bits() + place);
            let mut random = [0; 10];
            self.rng.fill_bytes(&mut random);
            let id = TransactionId::from_parts(self.now_ms, random);
            let arguments = client::arguments(&thunk).expect("plain data");
            let transaction =
                client::admit(self.executor.registry(), id, ThunkId::of::<T>(), arguments).expect("few and short keys");
            let node = NodeId::new(1);
            records.push((Timestamp { hlc, node }, Arc::new(Record { hlc, transaction })));
        }
        let upto = Hlc::from_bits(hlc.bits() + count as u64);
        Batch { records, upto }
    }
}

fn key(number: u64) -> Key {
    Key::new(format!("bench/{number:08}").into_bytes())
}

fn evaluate<T: Thunk>(bencher: Bencher<'_, '_>, make: impl Fn(&mut World) -> T) {
    let world = std::cell::RefCell::new(World::new());
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| world.borrow_mut().batch(BATCH, &make))
        .bench_local_refs(|batch| world.borrow_mut().executor.evaluate(batch));
}

#[divan::bench(args = [2, 4], min_time = 1)]
fn read_modify_write(bencher: Bencher<'_, '_>, keys: usize) {
    evaluate(bencher, |world| AddOne { keys: world.keys(keys) });
}

#[divan::bench(args = [2, 4], min_time = 1)]
fn blind_put(bencher: Bencher<'_, '_>, keys: usize) {
    evaluate(bencher, |world| {
        let keys = world.keys(keys).into_iter();
        Put {
            entries: keys.map(|key| (key, Value::from("eight by"))).collect(),
        }
    });
}

#[divan::bench(args = [2, 4], min_time = 1)]
fn get(bencher: Bencher<'_, '_>, keys: usize) {
    evaluate(bencher, |world| Get { keys: world.keys(keys) });
}

/// Of a replica behind a minute and a half of writes to few keys, at a thousand transactions a second.
#[divan::bench(args = [100, 1_000, 10_000], min_time = 1)]
fn checkpoint(bencher: Bencher<'_, '_>, keys: u64) {
    const TRANSACTIONS_BETWEEN: usize = 300;
    let mut world = World::empty();
    for _ in 0..90_000 / TRANSACTIONS_BETWEEN {
        step(&mut world, TRANSACTIONS_BETWEEN, keys);
    }
    let world = std::cell::RefCell::new(world);
    // Between two of them the replica goes on, and copies what they share.
    bencher
        .with_inputs(|| step(&mut world.borrow_mut(), TRANSACTIONS_BETWEEN, keys))
        .bench_local_refs(|()| world.borrow().executor.checkpoint());
}

/// So many transactions of two of the first `keys` keys, as many milliseconds.
fn step(world: &mut World, transactions: usize, keys: u64) {
    let batch = world.batch(transactions, |world| {
        let keys = (0..2).map(|_| key(world.rng.next_u64() % keys)).collect();
        AddOne { keys }
    });
    world.executor.evaluate(&batch);
    world.now_ms += transactions as u64 - BATCH_MS;
}
