//! Databases within this process: real threads and clocks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, KeyRange};
use plimsoll::protocol::{Query, ReadMode};
use plimsoll::runtime::{Builder, OpenError, SubmitError};
use plimsoll::thunk::{Evaluation, Increment, Put, Registry, Resolution, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use serde::{Deserialize, Serialize};

/// Moves money, unless there is too little.
#[derive(Serialize, Deserialize)]
struct Transfer {
    from: u32,
    to: u32,
    amount: i64,
}

impl Transfer {
    fn account(number: u32) -> Key {
        Key::from(format!("account/{number}").as_str())
    }
}

impl Thunk for Transfer {
    const NAME: &'static str = "transfer";
    const VERSION: u32 = 1;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new()
            .write(Self::account(self.from))
            .write(Self::account(self.to))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        let (from, to) = (Self::account(self.from), Self::account(self.to));
        let left = evaluation.get_as::<i64>(&from)?.unwrap_or(100) - self.amount;
        if left < 0 {
            return Err(Abort::Refused(format!("{} lacks {}", self.from, -left)));
        }
        let other = evaluation.get_as::<i64>(&to)?.unwrap_or(100) + self.amount;
        evaluation.put_as(&from, &left)?;
        evaluation.put_as(&to, &other)?;
        Ok(left)
    }
}

async fn open(replicas: u32) -> Plimsoll {
    Plimsoll::builder()
        .replicas(replicas)
        .thunk::<Transfer>()
        .open()
        .await
        .expect("threads and memory")
}

fn put(key: &str, value: &str) -> Put {
    Put {
        entries: vec![(key.into(), value.into())],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_three_and_five_replicas_commit_and_read_what_was_written() {
    for replicas in [1, 3, 5] {
        let database = open(replicas).await;
        let committed = database.submit(&put("a", "1")).await.expect("nothing is in the way");
        database.submit(&put("b", "2")).await.expect("nothing is in the way");
        assert_eq!(database.get("a").await.expect("alive"), Some("1".into()));
        assert_eq!(database.get("c").await.expect("alive"), None);
        let all = database.scan(KeyRange::from(Key::default()), 10).await.expect("alive");
        assert_eq!(all, [("a".into(), "1".into()), ("b".into(), "2".into())]);
        let query = Query {
            keys: vec!["a".into(), "b".into()],
            ranges: Vec::new(),
        };
        let mode = ReadMode::At(committed.timestamp.hlc);
        let rows = database.read(mode, query).await.expect("alive");
        let found: Vec<bool> = rows.answer.keys.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, false], "the snapshot at the first write");
        let statuses = database.replicas().await;
        assert_eq!(statuses.len(), replicas as usize);
        database.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_move_money_at_once_and_the_sum_stays() {
    const ACCOUNTS: u32 = 5;
    let database = open(3).await;
    let clients: Vec<_> = (0..16_u32)
        .map(|client| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut refused = 0;
                for number in 0..50_u32 {
                    let transfer = Transfer {
                        from: (client + number) % ACCOUNTS,
                        to: (client * 3 + number + 1) % ACCOUNTS,
                        amount: i64::from(number % 40),
                    };
                    if transfer.from == transfer.to {
                        continue;
                    }
                    match database.submit(&transfer).await {
                        Ok(_) => {}
                        Err(SubmitError::Aborted {
                            abort: Abort::Refused(_),
                            ..
                        }) => refused += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
                refused
            })
        })
        .collect();
    let mut refused = 0;
    for client in clients {
        refused += client.await.expect("no client panics");
    }
    assert!(refused < 800, "not everything was refused");
    let accounts = database
        .scan(KeyRange::prefix("account/".into()), 100)
        .await
        .expect("alive");
    let sum: i64 = accounts
        .iter()
        .map(|(_, value)| plimsoll::codec::decode_value::<i64>(value).expect("as it was put"))
        .sum();
    assert_eq!(sum, 100 * accounts.len() as i64);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_stops_and_the_others_go_on() {
    let database = open(3).await;
    let increment = Increment {
        key: "n".into(),
        amount: 1,
    };
    for number in 1..=60_i64 {
        if number == 20 {
            database.stop_replica(1).await.expect("there is one");
        }
        let committed = database.submit(&increment).await.expect("two of three are a majority");
        assert_eq!(committed.output, number);
    }
    assert_eq!(database.replicas().await.len(), 2);
    database.stop_replica(2).await.expect("there is one");
    let alone = Plimsoll::submit(&database, &increment);
    let error = tokio::time::timeout(Duration::from_secs(1), alone).await;
    assert!(error.is_err(), "one of three answers nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_submitted_often_and_takes_effect_once_and_one_in_doubt_is_resolved() {
    let database = open(3).await;
    let id = TransactionId::from_parts(now_ms(), *b"ten bytes.");
    let increment = Increment {
        key: "n".into(),
        amount: 1,
    };
    let first = database.submit_as(id, &increment).await.expect("nothing is in the way");
    for _ in 0..5 {
        assert_eq!(database.submit_as(id, &increment).await.as_ref(), Ok(&first));
    }
    assert!(matches!(database.resolve(id).await, Ok(Resolution::Committed { .. })));
    let never = TransactionId::from_parts(now_ms(), *b"bytes, ten");
    let resolution = database.resolve(never).await.expect("nothing is in the way");
    assert!(matches!(resolution, Resolution::Cancelled { .. }), "{resolution:?}");
    let error = database
        .submit_as(never, &increment)
        .await
        .expect_err("it was cancelled");
    assert!(
        matches!(
            &error,
            SubmitError::Aborted {
                abort: Abort::Cancelled { .. },
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.may_have_happened());
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shutdown_other_handles_are_told_so() {
    let database = open(3).await;
    let other = database.clone();
    database.submit(&put("a", "1")).await.expect("nothing is in the way");
    database.shutdown().await;
    let error = other.submit(&put("a", "2")).await.expect_err("it is shut down");
    assert!(matches!(error, SubmitError::Unavailable(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_or_submitted_says_why() {
    let none = Plimsoll::builder().replicas(0).open().await;
    assert!(matches!(none, Err(OpenError::Replicas { count: 0, .. })));
    let twice = Plimsoll::builder().thunk::<Transfer>().thunk::<Transfer>().open().await;
    assert!(matches!(twice, Err(OpenError::Registry(_))));
    let database = Plimsoll::builder().open().await.expect("one replica in memory");
    let transfer = Transfer {
        from: 1,
        to: 2,
        amount: 3,
    };
    let error = database.submit(&transfer).await.expect_err("it is not registered");
    assert!(matches!(error, SubmitError::Invalid(_)), "{error}");
    assert!(!error.may_have_happened() && !error.is_worth_retrying());
}

/// The wall clock; ids must be of the present.
#[allow(clippy::disallowed_methods, reason = "the database runs by the real clock")]
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64
}

/// A folder that is removed when the test is over.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_when_the_folder_is_opened_again() {
    let scratch = Scratch::new("reopened");
    let open = || Plimsoll::builder().replicas(3).folder(&scratch.0).open();
    let increment = Increment {
        key: "n".into(),
        amount: 1,
    };
    let id = TransactionId::from_parts(now_ms(), *b"first run!");
    for run in 0..4_i64 {
        let database = open().await.expect("a folder of its own");
        for number in 1..=50 {
            let committed = database.submit(&increment).await.expect("nothing is in the way");
            assert_eq!(
                committed.output,
                51 * run.min(1) + 50 * (run - 1).max(0) + number,
                "run {run}"
            );
        }
        let once = database.submit_as(id, &increment).await.expect("nothing is in the way");
        assert_eq!(once.output, 51, "in run {run} it is the outcome of the first");
        match run % 2 {
            0 => database.shutdown().await,
            _ => {
                // As a crash would.
                for replica in 1..=3 {
                    database.stop_replica(replica).await.expect("there is one");
                }
                drop(database);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    let two = Plimsoll::builder().replicas(1).folder(&scratch.0).open().await;
    assert!(matches!(two, Err(OpenError::OtherReplicas { found: 3, asked: 1, .. })));
    let database = open().await.expect("it is there");
    let second = open().await.expect_err("it is open");
    assert!(
        second.to_string().contains("another process has this store open"),
        "{second}"
    );
    database.shutdown().await;
}

/// More than is flushed at once, so that versions go to the disk and the log is pruned.
#[tokio::test(flavor = "multi_thread")]
async fn more_is_written_than_memory_would_hold_back_and_all_of_it_is_there_afterwards() {
    let scratch = Scratch::new("flushed");
    let open = || Plimsoll::builder().replicas(3).folder(&scratch.0).open();
    let value = "x".repeat(100_000);
    let name = |number: u32| format!("key/{number:04}");
    let database = open().await.expect("a folder of its own");
    let writers: Vec<_> = (0..4_u32)
        .map(|writer| {
            let (database, value) = (database.clone(), value.clone());
            tokio::spawn(async move {
                for number in 0..100_u32 {
                    let entry = put(&name(writer * 100 + number), &value);
                    database.submit(&entry).await.expect("nothing is in the way");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    database.shutdown().await;
    let database = open().await.expect("it is there");
    for number in (0..400).step_by(7) {
        let found = database.get(name(number).as_str()).await.expect("alive");
        assert_eq!(
            found.map(|found| found.as_bytes().len()),
            Some(value.len()),
            "{}",
            name(number)
        );
    }
    assert_eq!(
        database
            .scan(KeyRange::prefix("key/".into()), 1000)
            .await
            .expect("alive")
            .len(),
        400
    );
    database.shutdown().await;
}

/// Gives how often it was evaluated in this process, which no thunk may ask.
#[derive(Serialize, Deserialize)]
struct Counts;

impl Thunk for Counts {
    const NAME: &'static str = "counts";
    const VERSION: u32 = 1;
    type Output = u64;

    fn footprint(&self) -> Footprint {
        Footprint::new()
    }

    fn evaluate(&self, _: &mut Evaluation<'_>) -> Result<u64, Abort> {
        static EVALUATIONS: AtomicU64 = AtomicU64::new(0);
        Ok(EVALUATIONS.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether a database that is opened like this finds out that a thunk is not deterministic.
async fn finds_out(builder: Builder) -> bool {
    let database = builder.thunk::<Counts>().open().await.expect("threads and memory");
    let submitted = database.submit(&Counts).await;
    database.shutdown().await;
    match submitted {
        Ok(_) => false,
        Err(SubmitError::Aborted { abort, .. }) => matches!(abort, Abort::NotDeterministic { .. }),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thunk_is_not_deterministic_and_a_debug_build_finds_out_unless_it_is_told_not_to() {
    assert_eq!(finds_out(Plimsoll::builder()).await, cfg!(debug_assertions));
    assert!(!finds_out(Plimsoll::builder().evaluate_once()).await);
    assert!(finds_out(Plimsoll::builder().evaluate_once().evaluate_twice()).await);
    let replaced = Plimsoll::builder().evaluate_twice().registry(Registry::with_builtins());
    assert!(finds_out(replaced).await, "a registry given later is asked twice too");
    let mut registry = Registry::with_builtins();
    registry.evaluate_twice();
    let of_itself = Plimsoll::builder().evaluate_once().registry(registry);
    assert!(
        finds_out(of_itself).await,
        "a registry that says so by itself is believed"
    );
}
