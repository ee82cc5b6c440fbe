//! Replicas of one process that stop, epochs that end, and folders that are opened again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use plimsoll::Plimsoll;
use plimsoll::id::{Epoch, TransactionId};
use plimsoll::runtime::{Committed, SubmitError};
use plimsoll::thunk::Resolution;
use plimsoll::transaction::Abort;

use crate::support::{add_one, check_status, sum};

/// A folder that is removed when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("plimsoll-once-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    async fn open(&self) -> Plimsoll {
        let builder = Plimsoll::builder().replicas(3).folder(&self.0);
        builder.open().await.unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// All that clients were told of so far, and of which ids they were told that they were cancelled, and by whom.
#[derive(Default)]
struct Told {
    committed: BTreeMap<TransactionId, Committed<i64>>,
    cancelled: BTreeMap<TransactionId, TransactionId>,
}

impl Told {
    fn note(&mut self, told: Committed<i64>) {
        let before = self.committed.insert(told.id, told.clone());
        assert!(
            before.is_none_or(|before| before == told),
            "{told:?} was told otherwise before"
        );
    }

    /// Submits every id again, asks for it and resolves it: everybody says what was said before.
    async fn check(&mut self, database: &Plimsoll, replicas: usize) {
        for (id, told) in &self.committed {
            assert_eq!(&add_one(database, *id).await.unwrap(), told);
            check_status(database, told, replicas).await;
        }
        // Each costs a transaction.
        for (id, told) in self.committed.iter().step_by(10) {
            match database.resolve(*id).await.unwrap() {
                Resolution::Committed { effective, .. } => assert_eq!(effective, told.timestamp),
                other => panic!("{told:?} is {other:?}"),
            }
        }
        for (id, first) in &self.cancelled {
            match add_one(database, *id).await {
                Err(SubmitError::Aborted {
                    abort: Abort::Cancelled { by },
                    ..
                }) => assert_eq!(by, *first),
                other => panic!("{id} was cancelled, and is {other:?}"),
            }
            match database.resolve(*id).await.unwrap() {
                Resolution::Cancelled { by, .. } => assert_eq!(by, *first),
                other => panic!("{id} was cancelled, and is {other:?}"),
            }
        }
        assert_eq!(sum(database).await, self.committed.len() as i64);
    }

    /// Cancels an id that nobody has submitted.
    async fn cancel(&mut self, database: &Plimsoll) {
        let id = Plimsoll::new_id();
        match database.resolve(id).await.unwrap() {
            Resolution::Cancelled { by, .. } => self.cancelled.insert(id, by),
            other => panic!("{other:?}"),
        };
    }
}

/// The clients of a round: each id goes twice at once, while replica `stopped` is stopped as by a crash.
async fn round(database: &Plimsoll, stopped: u32, told: &mut Told) {
    let submit = |id| {
        let database = database.clone();
        tokio::spawn(async move { add_one(&database, id).await.unwrap() })
    };
    let mut clients = Vec::new();
    for number in 0..60 {
        let id = Plimsoll::new_id();
        clients.push((submit(id), submit(id)));
        if number == 20 {
            database.stop_replica(stopped).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
    for (one, other) in clients {
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert_eq!(one, other);
        told.note(one);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_are_stopped_with_transactions_under_way_and_return_in_a_later_epoch_and_each_id_has_one_effect() {
    let scratch = Scratch::new("stopped");
    let mut told = Told::default();
    let mut epoch = Epoch::FIRST;
    for stopped in [1, 2, 3] {
        let database = scratch.open().await;
        told.cancel(&database).await;
        round(&database, stopped, &mut told).await;
        // Without its stream they go on only in a new epoch.
        let members = database.members().await.unwrap();
        assert!(members.epoch > epoch, "{members:?}");
        assert!(
            !members.coordinators.iter().any(|node| node.number() == stopped),
            "{members:?}"
        );
        epoch = members.epoch;
        told.check(&database, 2).await;
        if stopped == 2 {
            // All of them as by a crash.
            for replica in [1, 3] {
                database.stop_replica(replica).await.unwrap();
            }
        }
        database.shutdown().await;
        // Whoever was out has its records of the last epoch in its log, and is asked by turns like the others.
        let database = scratch.open().await;
        told.check(&database, 3).await;
        database.shutdown().await;
    }
    assert_eq!(told.committed.len(), 180);
}
