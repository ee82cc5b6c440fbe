//! Records for an executor, by hand and at random, and what it made of them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::client;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::protocol::{Batch, Evaluated};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Append, CompareAndSet, Delete, Evaluation, Increment, Registry, Resolve, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Footprint, Record, Settlement, ThunkId, Transaction};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

pub(crate) const START_MS: u64 = 1_800_000_000_000;

pub(crate) type Executor = SerialExecutor<MemoryVersions>;
pub(crate) type Stamped = (Timestamp, Arc<Record>);

/// A thunk that not every replica knows.
#[derive(Serialize, Deserialize)]
pub(crate) struct Newer {
    pub(crate) key: Key,
}

impl Thunk for Newer {
    const NAME: &'static str = "test.newer";
    const VERSION: u32 = 3;
    type Output = ();

    fn footprint(&self) -> Footprint {
        Footprint::new().write(self.key.clone())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<(), Abort> {
        evaluation.put(&self.key, "newer".into())
    }
}

pub(crate) fn full_registry() -> Arc<Registry> {
    let mut registry = Registry::with_builtins();
    registry.register::<Newer>().expect("its name is free");
    Arc::new(registry)
}

pub(crate) fn executor() -> Executor {
    SerialExecutor::new(full_registry(), MemoryVersions::default())
}

pub(crate) fn at_ms(ms: u64) -> Hlc {
    Hlc::from_unix_millis(START_MS + ms)
}

/// An id made this many milliseconds after the start.
pub(crate) fn id_made_at_ms(ms: u64, name: u8) -> TransactionId {
    TransactionId::from_parts(START_MS + ms, [name; 10])
}

pub(crate) fn transaction<T: Thunk>(id: TransactionId, thunk: &T) -> Transaction {
    let arguments = client::arguments(thunk).expect("plain data");
    client::admit(&full_registry(), id, ThunkId::of::<T>(), arguments).expect("a sound transaction")
}

pub(crate) fn stamped<T: Thunk>(hlc: Hlc, node: u32, id: TransactionId, thunk: &T) -> Stamped {
    let node = NodeId::new(node);
    let transaction = transaction(id, thunk);
    (Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))
}

pub(crate) fn batch(records: &[&Stamped], upto: Hlc) -> Batch {
    let records = records.iter().map(|record| (*record).clone()).collect();
    Batch { records, upto }
}

pub(crate) fn newest(executor: &Executor) -> Vec<(Key, Timestamp, Value)> {
    let entries = executor.versions().newest();
    entries
        .map(|(key, at, value)| (key.clone(), at, value.clone()))
        .collect()
}

/// How a record follows the one before: the gap in milliseconds and counts, its node, what it does, and under which id.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    gap_ms: u64,
    gap_counts: u64,
    node: u32,
    action: u8,
    key: u8,
    /// Whose end a resolving record asks for: an id of any step, also of a later one.
    target: prop::sample::Index,
    /// The id of an earlier record, counted back; a fresh one if there is none.
    repeats: Option<prop::sample::Index>,
    id_age_ms: u64,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let gap_ms = prop_oneof![3 => Just(0), 3 => 1..3_000_u64, 2 => 0..300_000_u64];
    let id_age_ms = prop_oneof![6 => 0..10_000_u64, 1 => 590_000..610_000_u64];
    let repeats = prop::option::weighted(0.3, any::<prop::sample::Index>());
    let parts = (gap_ms, 0..2_u64, 1..4_u32, 0..7_u8, 0..4_u8, repeats, id_age_ms);
    let parts = (parts, any::<prop::sample::Index>());
    parts.prop_map(
        |((gap_ms, gap_counts, node, action, key, repeats, id_age_ms), target)| Step {
            gap_ms,
            gap_counts,
            node,
            action,
            key,
            target,
            repeats,
            id_age_ms,
        },
    )
}

/// The records of the steps, in timestamp order and each timestamp once.
pub(crate) fn records(steps: &[Step]) -> Vec<Stamped> {
    let mut places: Vec<(Hlc, TransactionId)> = Vec::new();
    let mut hlc = at_ms(700_000);
    for (place, step) in steps.iter().enumerate() {
        hlc = Hlc::from_bits(hlc.plus(Duration::from_millis(step.gap_ms)).bits() + step.gap_counts);
        let id = match &step.repeats {
            Some(earlier) if !places.is_empty() => earlier.get(&places).1,
            _ => TransactionId::from_parts(hlc.unix_millis() - step.id_age_ms, [place as u8; 10]),
        };
        places.push((hlc, id));
    }
    let mut records: BTreeMap<Timestamp, Arc<Record>> = BTreeMap::new();
    for (place, (step, (hlc, id))) in steps.iter().zip(&places).enumerate() {
        let (hlc, id) = (*hlc, *id);
        let key = Key::new(vec![step.key]);
        let (timestamp, record) = match step.action {
            0 => stamped(hlc, step.node, id, &Increment { key, amount: 1 }),
            1 => {
                let bytes = Value::new(vec![place as u8]);
                stamped(hlc, step.node, id, &Append { key, bytes })
            }
            2 => stamped(hlc, step.node, id, &Delete { keys: vec![key] }),
            3 | 4 => {
                let target = step.target.get(&places).1;
                stamped(hlc, step.node, id, &Resolve { target })
            }
            _ => {
                let swap = CompareAndSet {
                    key,
                    expected: None,
                    new: Some("first".into()),
                };
                stamped(hlc, step.node, id, &swap)
            }
        };
        records.insert(timestamp, record);
    }
    records.into_iter().collect()
}

/// The records in batches that end before each record that `cuts` chooses, somewhere after the one before.
pub(crate) fn batches(records: &[Stamped], cuts: &[Option<u16>], end: Hlc) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut begin = 0;
    for place in 1..records.len() {
        let (before, after) = (records[place - 1].0.hlc, records[place].0.hlc);
        let Some(share) = cuts[place % cuts.len()].filter(|_| before < after) else {
            continue;
        };
        let room = u128::from(after.bits() - before.bits() - 1);
        let upto = Hlc::from_bits(before.bits() + (room * u128::from(share) / u128::from(u16::MAX)) as u64);
        let records = records[begin..place].to_vec();
        batches.push(Batch { records, upto });
        begin = place;
    }
    let records = records[begin..].to_vec();
    batches.push(Batch { records, upto: end });
    batches
}

pub(crate) fn evaluate_all(executor: &mut Executor, batches: &[Batch]) -> Vec<Evaluated> {
    batches.iter().map(|batch| executor.evaluate(batch)).collect()
}

/// Where the records are cut, see [`batches`].
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Option<u16>>> {
    prop::collection::vec(prop::option::of(any::<u16>()), 1..40)
}

/// The last record's time and a while more.
pub(crate) fn end_of(records: &[Stamped]) -> Hlc {
    records
        .last()
        .expect("one at least")
        .0
        .hlc
        .plus(Duration::from_secs(10))
}

/// The digests by boundary.
pub(crate) fn digests(evaluated: &[Evaluated]) -> BTreeMap<Hlc, u64> {
    let digests = evaluated.iter().flat_map(|evaluated| &evaluated.digests);
    digests.map(|digest| (digest.boundary, digest.value)).collect()
}

pub(crate) fn settlements(evaluated: Vec<Evaluated>) -> Vec<Settlement> {
    evaluated
        .into_iter()
        .flat_map(|evaluated| evaluated.settlements)
        .collect()
}
