//! Ids that are too old or too young for anybody to know whether they have had an effect.

use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::executor::Known;
use plimsoll::id::TransactionId;
use plimsoll::limits::{ID_AHEAD_MAX, OUTCOME_WINDOW};
use plimsoll::runtime::SubmitError;
use plimsoll::thunk::Resolution;
use plimsoll::transaction::Abort;

use crate::support::{add_one, check_status, now_ms, sum};

const WINDOW_MS: u64 = OUTCOME_WINDOW.as_millis() as u64;

fn made_at(ms: u64) -> TransactionId {
    let random = Plimsoll::new_id().as_u128().to_le_bytes();
    TransactionId::from_parts(ms, random[..10].try_into().unwrap())
}

fn abort(error: SubmitError) -> Abort {
    assert!(!error.may_have_happened() && !error.is_worth_retrying());
    match error {
        SubmitError::Aborted { abort, .. } => abort,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_the_window_is_refused_as_expired_and_one_before_is_told_of_the_first_end() {
    let database = Plimsoll::builder().replicas(3).open().await.unwrap();
    // One that is about to leave the window, if it comes in at all on a slow machine.
    let (told, tries) = 'first: {
        for tries in 1.. {
            let id = made_at(now_ms() - WINDOW_MS + 1_500);
            if let Ok(told) = add_one(&database, id).await {
                break 'first (told, tries);
            }
        }
        unreachable!("somebody comes in")
    };
    let error = loop {
        match add_one(&database, told.id).await {
            Ok(again) => assert_eq!(again, told, "after {tries} tries"),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let text = error.to_string();
    assert!(text.contains("outcomes are kept for 600000 ms"), "{text}");
    match abort(error) {
        Abort::Expired { age_ms, window_ms } => assert!(age_ms > window_ms && window_ms == WINDOW_MS),
        other => panic!("{other:?}"),
    }
    assert_eq!(database.resolve(told.id).await.unwrap(), Resolution::Expired);
    for _ in 0..3 {
        assert!(
            abort(add_one(&database, told.id).await.unwrap_err())
                .to_string()
                .contains("was made")
        );
    }
    // Each replica, once it has come there.
    let mut expired = 0;
    while expired < 3 {
        match database.status(told.id).await.unwrap().known {
            Known::Expired => expired += 1,
            Known::Settled { effective, .. } => {
                assert_eq!((effective, expired), (told.timestamp, 0));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Known::NotYet => panic!("it was settled before"),
        }
    }
    assert_eq!(sum(&database).await, 1);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_long_ago_is_refused_though_it_was_never_seen() {
    let database = Plimsoll::builder().replicas(3).open().await.unwrap();
    let id = made_at(now_ms() - 2 * WINDOW_MS);
    for _ in 0..3 {
        let error = add_one(&database, id).await.unwrap_err();
        assert!(matches!(abort(error), Abort::Expired { .. }));
    }
    assert_eq!(sum(&database).await, 0);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_the_far_future_is_refused_and_one_of_a_clock_that_is_a_little_ahead_has_one_effect() {
    let database = Plimsoll::builder().replicas(3).open().await.unwrap();
    let limit_ms = ID_AHEAD_MAX.as_millis() as u64;
    let far = made_at(now_ms() + 10 * limit_ms);
    for _ in 0..3 {
        match abort(add_one(&database, far).await.unwrap_err()) {
            Abort::FromFuture {
                ahead_ms,
                limit_ms: told,
            } => assert!(ahead_ms > told && told == limit_ms),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        database.resolve(far).await.is_err(),
        "its cancellation would have to be kept for too long"
    );
    let near = made_at(now_ms() + limit_ms / 2);
    let told = add_one(&database, near).await.unwrap();
    for _ in 0..3 {
        assert_eq!(add_one(&database, near).await.unwrap(), told);
    }
    check_status(&database, &told, 3).await;
    assert_eq!(sum(&database).await, 1);
    database.shutdown().await;
}
