//! A staged transaction that is started more than once under its id: after a crash of its client, or by two at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::client::staged::{Stage, Staging};
use plimsoll::protocol::ReadMode;
use plimsoll::runtime::{StagedError, SubmitError};
use plimsoll::thunk::Reservations;
use plimsoll::transaction::Abort;

use crate::support::{PutNumbers, database};

async fn number(database: &Plimsoll, key: &str) -> u64 {
    let found = database.get(key).await.unwrap().unwrap();
    plimsoll::codec::decode_value(&found).unwrap()
}

async fn set(database: &Plimsoll, key: &str, number: u64) {
    database.submit(&PutNumbers(vec![(key.into(), number)])).await.unwrap();
}

/// Reserves after the first stale run.
fn reserving() -> Staging {
    Staging {
        reserve_after: Some(1),
        first_read: ReadMode::Strict,
        ..Staging::default()
    }
}

fn never_reserving() -> Staging {
    Staging {
        reserve_after: None,
        ..reserving()
    }
}

/// Adds 1 to `n`; the first `disturbed` runs of all starts are made stale on the way.
async fn add_one(database: &Plimsoll, stage: Stage, disturbed: &AtomicU32) -> Result<PutNumbers, Abort> {
    let n: u64 = stage.get_as("n").await?.unwrap();
    let noise = stage.get_as::<u64>("noise").await?.unwrap_or(0);
    let left = disturbed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if left.is_ok() {
        set(database, "noise", noise + 1).await;
    }
    Ok(PutNumbers(vec![("n".into(), n + 1)]))
}

#[tokio::test]
async fn one_that_had_reserved_is_started_again_in_any_way_and_takes_effect_once() {
    let database = database().await;
    for (first, again) in [
        (reserving(), reserving()),
        (reserving(), never_reserving()),
        (never_reserving(), reserving()),
    ] {
        set(&database, "n", 1).await;
        let id = Plimsoll::new_id();
        let disturbed = AtomicU32::new(2);
        let stages = async |stage: Stage| add_one(&database, stage, &disturbed).await;
        let first = database.staged_as(id, first, stages).await.unwrap();
        assert_eq!(first.runs, 3);
        for _ in 0..3 {
            let again = database.staged_as(id, again.clone(), stages).await.unwrap();
            assert_eq!(again.committed, first.committed);
        }
        assert_eq!(number(&database, "n").await, 2);
        let left = database.get(Reservations::key()).await.unwrap();
        assert_eq!(left, None, "whoever was only told of the end has let go too");
    }
}

/// Every start goes another way: how often it is stale, and whether and for how long it reserves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_started_twice_at_once_from_two_handles_and_each_takes_effect_once() {
    const EACH: u64 = 40;
    // Reservations that hold for no time help nobody: how long that takes is not what is shown.
    let builder = Plimsoll::builder().replicas(3).thunk::<PutNumbers>();
    let database = builder.deadline(Duration::from_secs(60)).open().await.unwrap();
    let start = |id, staging: Staging| {
        let other = database.clone();
        tokio::spawn(async move {
            let stages = move |stage: Stage| async move {
                // On a replica that has not come to it yet, there is none.
                let n: u64 = stage.get_as("n").await?.unwrap_or(0);
                Ok(PutNumbers(vec![("n".into(), n + 1)]))
            };
            other.staged_as(id, staging, stages).await.unwrap()
        })
    };
    let brief = Staging {
        reserve_after: Some(1),
        reservation: Duration::from_millis(2),
        runs_max: 10_000,
        ..Staging::default()
    };
    let never = Staging {
        reserve_after: None,
        ..brief.clone()
    };
    let mut pairs = Vec::new();
    for index in 0..EACH {
        let id = Plimsoll::new_id();
        let other = if index % 2 == 0 { brief.clone() } else { never.clone() };
        pairs.push((start(id, brief.clone()), start(id, other)));
    }
    let mut outputs = std::collections::BTreeSet::new();
    for (one, other) in pairs {
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!(one.committed, other.committed);
        outputs.insert(one.committed.timestamp);
    }
    assert_eq!(outputs.len() as u64, EACH);
    assert_eq!(number(&database, "n").await, EACH);
}

#[tokio::test]
async fn one_whose_client_was_dropped_in_the_middle_is_started_again_by_another_and_takes_effect_once() {
    let database = database().await;
    for after_ms in [0, 1, 2, 4, 8, 16] {
        set(&database, "n", 1).await;
        let id = Plimsoll::new_id();
        let disturbed = AtomicU32::new(2);
        let stages = async |stage: Stage| add_one(&database, stage, &disturbed).await;
        let first = database.staged_as(id, reserving(), stages);
        // Wherever it is then, what it has submitted may still take effect.
        let _ = tokio::time::timeout(Duration::from_millis(after_ms), first).await;
        let undisturbed = AtomicU32::new(0);
        let stages = async |stage: Stage| add_one(&database, stage, &undisturbed).await;
        let again = database.staged_as(id, reserving(), stages).await.unwrap();
        let once_more = database.staged_as(id, never_reserving(), stages).await.unwrap();
        assert_eq!(again.committed, once_more.committed);
        assert_eq!(number(&database, "n").await, 2, "dropped after {after_ms} ms");
    }
}

#[tokio::test]
async fn one_that_is_resolved_before_it_is_started_never_takes_effect() {
    let database = database().await;
    set(&database, "n", 1).await;
    let id = Plimsoll::new_id();
    database.resolve(id).await.unwrap();
    let undisturbed = AtomicU32::new(0);
    let stages = async |stage: Stage| add_one(&database, stage, &undisturbed).await;
    match database.staged_as(id, reserving(), stages).await {
        Err(StagedError::Submit(SubmitError::Aborted {
            abort: Abort::Cancelled { .. },
            ..
        })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(number(&database, "n").await, 1);
}
