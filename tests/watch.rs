//! Watches and dry runs in databases within this process.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::executor::KeyChange;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::limits::VERSION_RETENTION;
use plimsoll::protocol::{Query, ReadMode, Refusal, Scan};
use plimsoll::runtime::{Batch, DryRunFailed, Watch, WatchError};
use plimsoll::thunk::{CompareAndSet, Delete, Increment, Put};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Abort;
use tokio::time::{sleep, timeout};

/// Longer than anything here takes, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(replicas: u32) -> Plimsoll {
    let builder = Plimsoll::builder().replicas(replicas);
    builder.open().await.expect("threads and memory")
}

fn put(key: &str, value: &str) -> Put {
    Put {
        entries: vec![(key.into(), value.into())],
    }
}

async fn next(watch: &mut Watch) -> Batch {
    let next = timeout(PATIENCE, watch.next()).await;
    next.expect("changes come soon").expect("a replica answers")
}

/// The next changes, so many of them at least.
async fn take(watch: &mut Watch, count: usize) -> Vec<KeyChange> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = next(watch).await;
        assert!(batch.changes.iter().all(|change| change.timestamp <= batch.resume));
        all.extend(batch.changes);
    }
    all
}

/// What a range holds, and the snapshot at which it was read.
async fn scan(database: &Plimsoll, range: &KeyRange) -> (BTreeMap<Key, Value>, Timestamp) {
    let query = Query {
        keys: Vec::new(),
        ranges: vec![Scan::forward(range.clone(), usize::MAX)],
    };
    let rows = database
        .read(ReadMode::Strict, query)
        .await
        .expect("a majority is there");
    let entries = rows.answer.ranges.into_iter().flatten();
    let entries = entries.map(|(key, found)| (key, found.value)).collect();
    (entries, Timestamp::last_at(rows.at))
}

/// Writes through a handle until it has done so often, some of it deletions. *Gives* what it wrote.
async fn write(database: Plimsoll, writer: u32, count: u32) -> Vec<(Timestamp, Key, Option<Value>)> {
    let mut written = Vec::new();
    for number in 0..count {
        let name = |key: u32| Key::from(format!("k/{}", key % 7).as_str());
        let (first, second) = (name(number * 3 + writer), name(number * 3 + writer + 1));
        let value = Value::from(format!("{writer}/{number}").as_str());
        if number % 5 == 4 {
            let keys = vec![first.clone()];
            let committed = database.submit(&Delete { keys }).await.expect("a majority is there");
            written.push((committed.timestamp, first, None));
        } else {
            let entries = vec![(first.clone(), value.clone()), (second.clone(), value.clone())];
            let committed = database.submit(&Put { entries }).await.expect("a majority is there");
            written.push((committed.timestamp, first, Some(value.clone())));
            written.push((committed.timestamp, second, Some(value)));
        }
    }
    written
}

fn as_tuple(change: KeyChange) -> (Timestamp, Key, Option<Value>) {
    (change.timestamp, change.key, change.value)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_seen_once_and_in_order_while_a_replica_stops_and_resumed_watches_see_the_rest() {
    const WRITERS: u32 = 4;
    let database = open(3).await;
    database
        .submit(&put("k/0", "before"))
        .await
        .expect("nothing is in the way");
    let range = KeyRange::prefix("k/".into());
    let (mut cache, start) = scan(&database, &range).await;
    // One for each replica that is asked first, with answers of different sizes.
    let watching: Vec<_> = [1, 7, 1_000]
        .map(|limit| database.watch(range.clone()).after(start).limit(limit))
        .into_iter()
        .map(|mut watch| {
            tokio::spawn(async move {
                let mut batches = Vec::<Batch>::new();
                // The last write is told by its key.
                while batches
                    .last()
                    .is_none_or(|batch| batch.changes.iter().all(|change| change.key != "k/end".into()))
                {
                    batches.push(next(&mut watch).await);
                }
                batches
            })
        })
        .collect();
    let writing: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(database.clone(), writer, 60)))
        .collect();
    sleep(Duration::from_millis(50)).await;
    database.stop_replica(1).await.expect("there is one");
    let mut written = Vec::new();
    for writer in writing {
        written.extend(writer.await.expect("no writer panics"));
    }
    let end = database
        .submit(&put("k/end", "1"))
        .await
        .expect("two of three are a majority");
    written.push((end.timestamp, "k/end".into(), Some("1".into())));
    written.sort();
    for watch in watching {
        let batches = watch.await.expect("no watcher panics");
        for pair in batches.windows(2) {
            assert!(
                pair[0].resume < pair[1].changes[0].timestamp,
                "a transaction is not split"
            );
        }
        let seen = batches.into_iter().flat_map(|batch| batch.changes);
        let seen: Vec<_> = seen.map(as_tuple).collect();
        assert_eq!(seen, written);
    }

    // From behind any change that was seen, also at a replica that has told nobody of it.
    for place in (0..written.len()).step_by(41) {
        let after = written[place].0;
        let rest: Vec<_> = written.iter().filter(|(at, ..)| *at > after).cloned().collect();
        let mut watch = database.watch(range.clone()).after(after).limit(20);
        let seen = take(&mut watch, rest.len()).await;
        assert_eq!(seen.into_iter().map(as_tuple).collect::<Vec<_>>(), rest);
    }

    // A cache that follows the changes is what a scan finds.
    for (_, key, value) in written {
        match value {
            Some(value) => cache.insert(key, value),
            None => cache.remove(&key),
        };
    }
    assert_eq!(cache, scan(&database, &range).await.0);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_told_nothing_begins_now_and_sees_its_range_alone() {
    let database = open(3).await;
    database
        .submit(&put("a/1", "before"))
        .await
        .expect("nothing is in the way");
    let mut watch = database.watch(KeyRange::prefix("a/".into()));
    assert_eq!(watch.resume(), None);
    let begun = watch.begin().await.expect("a majority is there");
    assert_eq!((watch.begin().await, watch.resume()), (Ok(begun), Some(begun)));
    database
        .submit(&put("b/1", "beside"))
        .await
        .expect("nothing is in the way");
    let committed = database
        .submit(&put("a/2", "behind"))
        .await
        .expect("nothing is in the way");
    let seen = next(&mut watch).await.changes;
    let expected = KeyChange {
        timestamp: committed.timestamp,
        key: "a/2".into(),
        value: Some("behind".into()),
    };
    assert_eq!(seen, [expected]);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_given_up_loses_nothing_and_a_quiet_watch_moves_on() {
    let database = open(3).await;
    let mut watch = database.watch(KeyRange::prefix("a/".into()));
    let begun = watch.begin().await.expect("a majority is there");
    let moved = async {
        while watch.resume() == Some(begun) {
            let waited = timeout(Duration::from_millis(20), watch.next()).await;
            // Longer waits are needed to be told anything.
            let waited = match waited {
                Err(_) => timeout(Duration::from_secs(3), watch.next()).await,
                answered => answered,
            };
            assert!(waited.is_err(), "nothing has changed");
        }
    };
    timeout(PATIENCE, moved).await.expect("it moves on within seconds");
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let put = put(&format!("a/{number:02}"), "x");
        let waited = timeout(Duration::from_millis(number % 4), watch.next());
        let (submitted, waited) = tokio::join!(database.submit(&put), waited);
        written.push(submitted.expect("nothing is in the way").timestamp);
        if let Ok(batch) = waited {
            seen.extend(batch.expect("a replica answers").changes);
        }
    }
    let left = written.len() - seen.len();
    seen.extend(take(&mut watch, left).await);
    assert_eq!(
        seen.into_iter().map(|change| change.timestamp).collect::<Vec<_>>(),
        written
    );
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_gets_so_much_at_a_time_and_all_of_it() {
    let database = open(1).await;
    let mut watch = database.watch(KeyRange::from(Key::default())).limit(10);
    watch.begin().await.expect("it is alone");
    let mut written = Vec::new();
    for number in 0..50 {
        let entries = (0..3).map(|key| (format!("{number}/{key}").as_str().into(), "x".into()));
        let entries: Vec<(Key, Value)> = entries.collect();
        let committed = database.submit(&Put { entries }).await.expect("it is alone");
        written.push(committed.timestamp);
    }
    let mut seen = Vec::new();
    while seen.len() < 150 {
        let batch = next(&mut watch).await;
        assert_eq!(batch.changes.len() % 3, 0, "transactions are whole");
        assert!(batch.changes.len() <= 10);
        assert_eq!(
            batch.changes.last().map(|last| last.timestamp <= batch.resume),
            Some(true)
        );
        seen.extend(batch.changes.into_iter().map(|change| change.timestamp));
    }
    seen.dedup();
    assert_eq!(seen, written);

    // One transaction that is larger than the limit is whole as well.
    let entries: Vec<(Key, Value)> = (0..100)
        .map(|key| (format!("{key}").as_str().into(), "x".into()))
        .collect();
    database.submit(&Put { entries }).await.expect("it is alone");
    assert_eq!(next(&mut watch).await.changes.len(), 100);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_the_folder_was_closed_and_opened_again() {
    let folder = std::env::temp_dir().join(format!("plimsoll-watch-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let open = || Plimsoll::builder().replicas(3).folder(&folder).open();
    let database = open().await.expect("a folder of its own");
    let range = KeyRange::prefix("k/".into());
    let (_, start) = scan(&database, &range).await;
    let mut watch = database.watch(range.clone()).after(start);
    let mut written = write(database.clone(), 1, 20).await;
    let mut seen: Vec<_> = take(&mut watch, written.len() / 2).await;
    let resume = watch.resume().expect("it has begun");
    written.extend(write(database.clone(), 2, 20).await);
    database.shutdown().await;

    let database = open().await.expect("it is there");
    let error = watch.next().await.expect_err("its database is shut down");
    assert!(matches!(error, WatchError::Unavailable(_)), "{error}");
    written.extend(write(database.clone(), 3, 20).await);
    let mut watch = database.watch(range).after(resume);
    seen.extend(take(&mut watch, written.len() - seen.len()).await);
    written.sort();
    assert_eq!(seen.into_iter().map(as_tuple).collect::<Vec<_>>(), written);
    database.shutdown().await;
    let _ = std::fs::remove_dir_all(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_too_old_or_lies_ahead_is_refused_and_says_what_to_do() {
    let database = open(3).await;
    let all = KeyRange::from(Key::default());
    let committed = database.submit(&put("a", "1")).await.expect("nothing is in the way");
    let at = committed.timestamp.hlc;
    // With its first batch a replica puts its oldest snapshot so much before it. Before that it has all there ever was.
    let all_have_evaluated = async {
        while database.replicas().await.iter().any(|replica| replica.evaluated < at) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, all_have_evaluated).await.expect("they go on");
    let old = Timestamp::last_at(at.minus(10 * VERSION_RETENTION));
    let mut watch = database.watch(all.clone()).after(old);
    let error = watch.next().await.expect_err("it is too old");
    let WatchError::Collected { after, oldest } = error.clone() else {
        panic!("{error}")
    };
    assert!(after == old && oldest > old.hlc && oldest <= at, "{error}");
    assert!(error.to_string().contains("scan the range"), "{error}");
    // It stays where it is.
    assert_eq!(watch.resume(), Some(old));
    // Told what to do, it goes on.
    let mut watch = database
        .watch(all.clone())
        .after(Timestamp::last_at(oldest.max(at.prev())));
    assert_eq!(next(&mut watch).await.changes.len(), 1);

    let ahead = Timestamp::last_at(at.plus(Duration::from_secs(3_600)));
    let error = database
        .watch(all.clone())
        .after(ahead)
        .next()
        .await
        .expect_err("nobody was told of it");
    assert!(
        matches!(error, WatchError::Refused(Refusal::InFuture { .. })),
        "{error}"
    );
    let error = database.watch(all).after(Timestamp::last_at(Hlc::ZERO)).next().await;
    assert!(matches!(error, Err(WatchError::Collected { .. })), "{error:?}");
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_outcome_and_writes_and_nothing_happens() {
    let database = open(3).await;
    let increment = Increment {
        key: "n".into(),
        amount: 5,
    };
    let first = database.submit(&increment).await.expect("nothing is in the way");
    let run = database.dry_run(&increment).await.expect("a majority is there");
    assert_eq!(run.outcome, Ok(10));
    assert!(run.at >= first.timestamp.hlc);
    let ten = Value::new(10_i64.to_le_bytes());
    assert_eq!(run.writes, BTreeMap::from([("n".into(), Some(ten))]));
    let again = database.dry_run(&increment).await.expect("a majority is there");
    assert_eq!(again.outcome, Ok(10), "the first one did nothing");

    let before = ReadMode::At(first.timestamp.hlc.prev());
    let run = database.dry_run_at(before, &increment).await.expect("it is kept");
    assert_eq!((run.at, run.outcome), (first.timestamp.hlc.prev(), Ok(5)));
    let after = ReadMode::After(first.timestamp);
    assert_eq!(
        database.dry_run_at(after, &increment).await.expect("alive").outcome,
        Ok(10)
    );
    let now = database.dry_run_at(ReadMode::Snapshot, &increment).await;
    assert!(matches!(now.expect("alive").outcome, Ok(5 | 10)));

    let swap = CompareAndSet {
        key: "n".into(),
        expected: Some("text".into()),
        new: None,
    };
    let run = database.dry_run(&swap).await.expect("a majority is there");
    assert!(matches!(run.outcome, Err(Abort::Refused(_))), "{:?}", run.outcome);
    assert!(run.writes.is_empty());
    let long = Delete {
        keys: vec![Key::new(vec![0; 5_000])],
    };
    let error = database.dry_run(&long).await.expect_err("it would not be admitted");
    assert!(matches!(error, DryRunFailed::Invalid(_)), "{error}");
    let (all, _) = scan(&database, &KeyRange::from(Key::default())).await;
    assert_eq!(all.len(), 1);
    database.shutdown().await;
}
