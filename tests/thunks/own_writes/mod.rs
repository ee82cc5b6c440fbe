//! What a thunk sees of its own writes, over every kind of versions: in memory, on disk and just flushed, and half way through a flush.

mod named;
mod script;

use std::sync::Arc;

use plimsoll::executor::SerialExecutor;
use plimsoll::store::MemoryVersions;
use plimsoll::store::disk::SimulatedDisk;
use plimsoll::thunk::{Operator, Registry};
use proptest::prelude::*;

use crate::database::{Database, Flushed, Flushing, Replica};
use script::{KEYS, Map, Script, Span, Step, model, stored};

fn registry() -> Arc<Registry> {
    let mut registry = Registry::with_builtins();
    registry.register::<Script>().expect("its name is free");
    Arc::new(registry)
}

fn in_memory() -> Database<SerialExecutor<MemoryVersions>> {
    Database::over(SerialExecutor::new(registry(), MemoryVersions::default()))
}

/// Everything is read from the table, but what the transaction itself has written.
fn on_disk() -> Database<Flushed> {
    Database::over(Flushed::new(registry(), Arc::new(SimulatedDisk::new(1))))
}

/// What was written last is in memory, what came before is being flushed, and the rest in the table.
fn in_flush() -> Database<Flushing> {
    Database::over(Flushing::new(registry(), Arc::new(SimulatedDisk::new(1))))
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..KEYS;
    let number_operator = prop::sample::select(vec![Operator::Add, Operator::Min, Operator::Max]);
    let other_operator = prop::sample::select(vec![Operator::Append, Operator::Union]);
    let operator = prop_oneof![4 => number_operator, 1 => other_operator];
    let limit = || prop_oneof![4 => 0..10_usize, 1 => Just(usize::MAX)];
    let span = || {
        prop_oneof![
            4 => (0..=KEYS, 0..=KEYS).prop_map(|(from, to)| Span::Between(from, to)),
            1 => (0..=KEYS).prop_map(Span::From),
            1 => prop_oneof![4 => 0..=KEYS, 1 => Just(u8::MAX)].prop_map(Span::Prefix),
        ]
    };
    let leaf = prop_oneof![
        2 => name.clone().prop_map(Step::Get),
        2 => (name.clone(), -9..9_i64).prop_map(|(name, value)| Step::Put(name, value)),
        2 => name.clone().prop_map(Step::Delete),
        2 => (name.clone(), operator, -9..9_i64).prop_map(|(name, operator, of)| Step::Merge(name, operator, of)),
        2 => (span(), limit()).prop_map(|(span, limit)| Step::Scan(span, limit)),
        2 => (span(), limit()).prop_map(|(span, limit)| Step::ScanBack(span, limit)),
    ];
    leaf.prop_recursive(3, 30, 8, |step| {
        let script = (prop::collection::vec(step, 0..8), any::<bool>());
        script.prop_map(|(steps, refuses)| Step::Call(Script { steps, refuses }))
    })
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    let refuses = prop::bool::weighted(0.2);
    let script = (prop::collection::vec(step(), 0..15), refuses);
    prop::collection::vec(script.prop_map(|(steps, refuses)| Script { steps, refuses }), 1..6)
}

fn assert_a_plain_map_shows_the_same<R: Replica>(
    mut database: Database<R>,
    scripts: &[Script],
) -> Result<(), TestCaseError> {
    let mut map = Map::new();
    for script in scripts {
        prop_assert_eq!(database.run(script).ok(), model(script, &mut map));
        prop_assert_eq!(database.contents(), stored(&map));
    }
    Ok(())
}

proptest! {
    #[test]
    fn scripts_run_one_after_the_other_in_memory_and_see_what_a_plain_map_shows(scripts in scripts()) {
        assert_a_plain_map_shows_the_same(in_memory(), &scripts)?;
    }

    #[test]
    fn scripts_run_over_what_is_flushed_and_see_what_a_plain_map_shows(scripts in scripts()) {
        assert_a_plain_map_shows_the_same(on_disk(), &scripts)?;
    }

    #[test]
    fn scripts_run_half_way_through_flushes_and_see_what_a_plain_map_shows(scripts in scripts()) {
        assert_a_plain_map_shows_the_same(in_flush(), &scripts)?;
    }
}
