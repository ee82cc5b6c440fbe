//! Clients that do not leave it at doubt, and what they were told.

use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::executor::{Known, Status};
use plimsoll::id::TransactionId;
use plimsoll::runtime::{Committed, SubmitError};
use plimsoll::thunk::Increment;
use plimsoll::transaction::Outcome;

pub(crate) const SUM: &str = "sum";

pub(crate) fn increment() -> Increment {
    let (key, amount) = (SUM.into(), 1);
    Increment { key, amount }
}

/// The milliseconds of the wall clock, which ids are made by.
pub(crate) fn now_ms() -> u64 {
    Plimsoll::new_id().unix_millis()
}

/// Adds 1 under this id, as often as it takes to be told of the end.
pub(crate) async fn add_one(database: &Plimsoll, id: TransactionId) -> Result<Committed<i64>, SubmitError> {
    loop {
        match database.submit_as(id, &increment()).await {
            Err(error) if error.is_worth_retrying() => tokio::time::sleep(Duration::from_millis(20)).await,
            told => return told,
        }
    }
}

/// What all increments come to: an increment by nothing says it.
pub(crate) async fn sum(database: &Plimsoll) -> i64 {
    let nothing = Increment {
        amount: 0,
        ..increment()
    };
    loop {
        match database.submit(&nothing).await {
            Ok(committed) => return committed.output,
            Err(error) if error.is_worth_retrying() => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Asks this handle until as many replicas as there are have come to the end of `told`, and sees to it that none says anything else of it.
pub(crate) async fn check_status(database: &Plimsoll, told: &Committed<i64>, replicas: usize) {
    let mut settled = 0;
    // The replicas of a process are asked by turns, so that many in a row that know are all of them.
    while settled < replicas {
        let Status { evaluated, known } = database.status(told.id).await.unwrap();
        match known {
            Known::Settled {
                effective,
                outcome: Outcome::Committed(output),
            } => {
                assert_eq!(effective, told.timestamp);
                assert_eq!(plimsoll::codec::decode_value::<i64>(&output).unwrap(), told.output);
                settled += 1;
            }
            Known::NotYet => {
                assert!(
                    evaluated < told.timestamp.hlc,
                    "it has come to {evaluated} and knows nothing of {told:?}"
                );
                settled = 0;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            known => panic!("{told:?} is {known:?}"),
        }
    }
}
