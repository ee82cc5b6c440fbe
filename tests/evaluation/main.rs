//! What a thunk sees and does while it is evaluated, against a plain map; and that whatever it does wrong is an abort.

mod admission;
mod builtin;
mod rogue;
mod script;

use std::collections::BTreeMap;

use plimsoll::client;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Direction, Evaluation, Registry, Thunk, View};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Footprint, Outcome, ThunkId};
use rand::Rng;
use serde::{Deserialize, Serialize};

type Map = BTreeMap<Key, Value>;
type Writes = BTreeMap<Key, Option<Value>>;

/// A snapshot that is a plain map.
struct MapView<'a>(&'a Map);

impl View for MapView<'_> {
    fn get(&self, key: &Key) -> Option<Value> {
        self.0.get(key).cloned()
    }

    fn scan(&self, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Value)> {
        scan(self.0, range, limit, direction)
    }
}

fn scan(map: &Map, range: &KeyRange, limit: usize, direction: Direction) -> Vec<(Key, Value)> {
    let entries = map.iter().filter(|(key, _)| range.contains(key));
    let entries = entries.map(|(key, value)| (key.clone(), value.clone()));
    match direction {
        Direction::Forward => entries.take(limit).collect(),
        Direction::Backward => entries.rev().take(limit).collect(),
    }
}

/// Evaluates a thunk alone. *Gives* its outcome and writes.
fn evaluate_outcome<T: Thunk>(thunk: &T, map: &Map) -> (Outcome, Writes) {
    let mut registry = Registry::new();
    registry.register::<T>().expect("nothing else is registered");
    let arguments = client::arguments(thunk).expect("plain data");
    let id = TransactionId::from_parts(1_800_000_000_000, *b"random ten");
    let transaction = client::admit(&registry, id, ThunkId::of::<T>(), arguments).expect("a sound transaction");
    let now = Timestamp {
        hlc: Hlc::from_unix_millis(1_800_000_000_001),
        node: NodeId::new(3),
    };
    registry
        .evaluate(&transaction, now, &MapView(map))
        .expect("the thunk is registered")
}

/// Evaluates a thunk alone. *Gives* its output and what the map becomes, which stays as it was if the thunk aborts.
fn evaluate<T: Thunk>(thunk: &T, map: &Map) -> (Result<T::Output, Abort>, Map) {
    let (outcome, writes) = evaluate_outcome(thunk, map);
    let mut after = map.clone();
    for (key, value) in writes {
        match value {
            Some(value) => after.insert(key, value),
            None => after.remove(&key),
        };
    }
    let output = client::output::<T>(&outcome).expect("an output of this thunk");
    (output, after)
}

/// Returns everything that depends on the transaction alone.
#[derive(Serialize, Deserialize)]
struct Ambient;

impl Thunk for Ambient {
    const NAME: &'static str = "test.ambient";
    const VERSION: u32 = 1;
    type Output = (u64, u32, u128, u64, u128, u64);

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Self::Output, Abort> {
        let now = evaluation.now();
        let first = evaluation.rng().next_u64();
        let uuid = evaluation.uuid();
        assert_eq!(uuid.get_version_num(), 4);
        Ok((
            now.hlc.unix_millis(),
            now.node.number(),
            evaluation.id().as_u128(),
            first,
            uuid.as_u128(),
            evaluation.rng().next_u64(),
        ))
    }
}

/// The numbers are part of the format: a replica that draws others diverges.
#[test]
fn time_identity_and_random_numbers_come_from_the_transaction() {
    let (output, _) = evaluate(&Ambient, &Map::new());
    let id = TransactionId::from_parts(1_800_000_000_000, *b"random ten").as_u128();
    assert_eq!(
        output,
        Ok((
            1_800_000_000_001,
            3,
            id,
            18_247_401_506_402_837_887,
            0x686b_ed5e_7293_4846_8f40_df19_fe2e_924f,
            4_962_727_317_404_536_074
        ))
    );
}
