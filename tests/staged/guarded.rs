//! One staged transaction, and what comes between its stages and its end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::client::staged::{Stage, Staging};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::ReadMode;
use plimsoll::runtime::{StagedError, SubmitError};
use plimsoll::thunk::{Delete, Direction, Put, Reservations, Reserve};
use plimsoll::transaction::Abort;

use crate::support::{PutNumbers, database, put, text};

fn entry(key: &str, value: &str) -> (Key, Value) {
    (key.into(), value.into())
}

fn once() -> Staging {
    Staging {
        runs_max: 1,
        first_read: ReadMode::Strict,
        ..Staging::default()
    }
}

#[tokio::test]
async fn one_read_decides_the_next_and_what_is_written() {
    let database = database().await;
    put(&database, &[("by-name/ann", "user/7"), ("user/7", "Ann")]).await;
    let stages = async |stage: Stage| {
        let Some(user) = stage.get("by-name/ann").await else {
            return Err(Abort::Refused("there is no ann".into()));
        };
        let user = Key::new(user.as_bytes());
        let name = text(stage.get(user.clone()).await).unwrap();
        Ok(Put {
            entries: vec![(user, Value::from(format!("{name} Bo").as_str()))],
        })
    };
    let staged = database.staged(stages).await.unwrap();
    assert!(!staged.has_reserved);
    assert_eq!(text(database.get("user/7").await.unwrap()).as_deref(), Some("Ann Bo"));
}

#[tokio::test]
async fn a_future_of_stages_may_be_spawned_and_typed_reads_awaited_together() {
    let database = database().await;
    database
        .submit(&PutNumbers(vec![("a".into(), 2), ("b".into(), 3)]))
        .await
        .unwrap();
    let other = database.clone();
    let sum = tokio::spawn(async move {
        let stages = async |stage: Stage| {
            let (a, b) = tokio::join!(stage.get_as::<u64>("a"), stage.get_as::<u64>("b"));
            Ok(PutNumbers(vec![("sum".into(), a?.unwrap_or(0) + b?.unwrap_or(0))]))
        };
        other.staged(stages).await
    });
    assert_eq!(sum.await.unwrap().unwrap().committed.output, 1);
    let read = async |stage: Stage| {
        let sum = stage.get_as::<u64>("sum").await?;
        Err::<Put, _>(Abort::Refused(format!("{sum:?}")))
    };
    let told = database.staged(read).await.unwrap_err();
    assert!(told.to_string().contains("Some(5)"), "{told}");
}

#[tokio::test]
async fn what_was_seen_changes_in_between_and_the_stages_run_again_on_it() {
    let database = database().await;
    put(&database, &[("cell", "old")]).await;
    let runs = AtomicU32::new(0);
    let stages = async |stage: Stage| {
        let seen = text(stage.get("cell").await).unwrap();
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            put(&database, &[("cell", "new")]).await;
        }
        Ok(Put {
            entries: vec![entry("copy", &seen)],
        })
    };
    let staging = Staging {
        first_read: ReadMode::Strict,
        ..Staging::default()
    };
    let staged = database.staged_as(Plimsoll::new_id(), staging, stages).await.unwrap();
    assert_eq!((staged.runs, runs.load(Ordering::Relaxed)), (2, 2));
    assert_eq!(text(database.get("copy").await.unwrap()).as_deref(), Some("new"));
}

#[tokio::test]
async fn every_kind_of_change_makes_it_stale_and_names_a_key() {
    let database = database().await;
    let setting = [
        ("read", "1"),
        ("list/b", "1"),
        ("list/d", "1"),
        ("list/f", "1"),
        ("gone", "1"),
    ];
    type Change = (&'static str, Vec<(Key, Value)>, Vec<Key>);
    let changes: [Change; 6] = [
        ("read", vec![entry("read", "2")], vec![]),
        ("absent", vec![entry("absent", "2")], vec![]),
        ("gone", vec![], vec!["gone".into()]),
        ("list/c", vec![entry("list/c", "2")], vec![]),
        ("list/d", vec![entry("list/d", "2")], vec![]),
        ("list/", vec![], vec!["list/b".into()]),
    ];
    for (name, entries, keys) in changes {
        put(&database, &setting).await;
        database
            .submit(&Delete {
                keys: vec!["list/c".into(), "absent".into()],
            })
            .await
            .unwrap();
        let stages = async |stage: Stage| {
            stage.get_all(["read", "absent", "gone"].map(Key::from)).await;
            assert_eq!(
                stage
                    .scan(KeyRange::prefix("list/".into()), 2, Direction::Forward)
                    .await
                    .len(),
                2
            );
            database
                .submit(&Put {
                    entries: entries.clone(),
                })
                .await
                .unwrap();
            database.submit(&Delete { keys: keys.clone() }).await.unwrap();
            Ok(Put {
                entries: vec![entry("wrote", "it")],
            })
        };
        match database.staged_as(Plimsoll::new_id(), once(), stages).await {
            Err(StagedError::Exhausted { runs: 1, keys }) => assert_eq!(keys, [Key::from(name)]),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(database.get("wrote").await.unwrap(), None);
}

#[tokio::test]
async fn what_was_not_seen_may_change() {
    let database = database().await;
    put(&database, &[("list/b", "1"), ("list/d", "1"), ("list/f", "1")]).await;
    let stages = async |stage: Stage| {
        // It has asked for two, and so has seen nothing behind the second.
        stage
            .scan(KeyRange::prefix("list/".into()), 2, Direction::Forward)
            .await;
        put(&database, &[("list/e", "2"), ("list/f", "2"), ("read", "1")]).await;
        Ok(Put {
            entries: vec![entry("wrote", "it")],
        })
    };
    let staged = database.staged_as(Plimsoll::new_id(), once(), stages).await.unwrap();
    assert_eq!(staged.runs, 1);
}

#[tokio::test]
async fn a_refusal_of_the_stages_holds_only_if_what_they_saw_still_does() {
    let database = database().await;
    put(&database, &[("balance", "0")]).await;
    let runs = AtomicU32::new(0);
    let stages = async |stage: Stage| {
        let balance = text(stage.get("balance").await).unwrap();
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            put(&database, &[("balance", "9")]).await;
        }
        match balance.as_str() {
            "0" => Err(Abort::Refused("nothing left".into())),
            _ => Ok(Put {
                entries: vec![entry("balance", "8")],
            }),
        }
    };
    let staging = Staging {
        first_read: ReadMode::Strict,
        ..Staging::default()
    };
    let staged = database.staged_as(Plimsoll::new_id(), staging, stages).await.unwrap();
    assert_eq!(staged.runs, 2);
    let refusing = async |stage: Stage| {
        stage.get("balance").await;
        Err::<Put, _>(Abort::Refused("never".into()))
    };
    match database.staged(refusing).await {
        Err(StagedError::Submit(SubmitError::Aborted { abort, .. })) => {
            assert_eq!(abort, Abort::Refused("never".into()))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn started_again_under_its_id_it_takes_effect_once() {
    let database = database().await;
    database.submit(&PutNumbers(vec![("n".into(), 1)])).await.unwrap();
    let id = Plimsoll::new_id();
    let stages = async |stage: Stage| {
        let n: u64 = stage.get_as("n").await?.unwrap();
        Ok(PutNumbers(vec![("n".into(), n + 1)]))
    };
    let first = database.staged_as(id, once(), stages).await.unwrap();
    let again = database.staged_as(id, once(), stages).await.unwrap();
    assert_eq!(first.committed.timestamp, again.committed.timestamp);
    let n = plimsoll::codec::decode_value::<u64>(&database.get("n").await.unwrap().unwrap()).unwrap();
    assert_eq!(n, 2);
}

#[tokio::test]
async fn a_staged_transaction_yields_to_a_reservation_until_it_expires() {
    let database = database().await;
    let reserve = |milliseconds| Reserve {
        holder: Plimsoll::new_id(),
        since: None,
        keys: vec!["hot".into()],
        ranges: Vec::new(),
        lasts_ms: milliseconds,
    };
    database.submit(&reserve(60_000)).await.unwrap();
    let stages = async |_: Stage| {
        Ok(Put {
            entries: vec![entry("hot", "mine")],
        })
    };
    match database.staged_as(Plimsoll::new_id(), once(), stages).await {
        Err(StagedError::Exhausted { keys, .. }) => assert_eq!(keys, [Key::from("hot")]),
        other => panic!("{other:?}"),
    }
    // A transaction that is not guarded does not ask.
    put(&database, &[("hot", "theirs")]).await;
    let stored = database.get(Reservations::key()).await.unwrap();
    assert!(stored.is_some());
    assert!(
        database.scan(KeyRange::from(Key::default()), 10).await.unwrap().len() == 1,
        "no scan shows it"
    );
    let waiting = Staging {
        reserve_after: Some(1),
        reservation: Duration::from_millis(300),
        ..Staging::default()
    };
    let staged = database.staged_as(Plimsoll::new_id(), waiting, stages);
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reservations = Reservations::decode(stored.as_ref(), plimsoll::time::Hlc::ZERO).unwrap();
        let holder = reservations.in_the_way(None, &["hot".into()]).unwrap().0.holder;
        let release = Reserve {
            holder,
            keys: Vec::new(),
            ..reserve(0)
        };
        database.submit(&release).await.unwrap();
    };
    let (staged, ()) = tokio::join!(staged, release);
    let staged = staged.unwrap();
    assert!(staged.has_reserved && staged.runs == 2, "{staged:?}");
    assert_eq!(database.get(Reservations::key()).await.unwrap(), None, "it has let go");
}

#[tokio::test]
async fn keys_of_the_system_are_refused_to_users() {
    let database = database().await;
    let put = Put {
        entries: vec![(Reservations::key(), Value::from("mine"))],
    };
    let refused = database.submit(&put).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to Plimsoll"), "{refused}");
    let stages = async |_: Stage| {
        Ok(Put {
            entries: vec![(Reservations::key(), Value::from("mine"))],
        })
    };
    let refused = database.staged(stages).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to Plimsoll"), "{refused}");
}
