//! Transactions in stages in the test kit: sound ones pass, what they are told is told, and what is wrong with them or with the cluster is found.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use plimsoll::client::staged::{Stage, Staging};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Direction, Put, Refuse};
use plimsoll::transaction::Abort;
use plimsoll_sim::Kit;
use plimsoll_sim::kit::{CallEnd, State, Told};
use plimsoll_sim::scenario::{FaultsConfig, Planted};

/// Tickets that there are.
const TICKETS: u64 = 60;

fn ticket(number: u64) -> Key {
    Key::from(format!("ticket-{number:04}").as_str())
}

/// Puts a ticket behind the last one; refuses when there are enough.
async fn issue(stage: Stage, holder: u8) -> Result<Put, Abort> {
    let tickets = KeyRange::prefix(Key::from("ticket-"));
    let last = stage.scan(tickets, 1, Direction::Backward).await;
    let digits = |key: &Key| {
        key.as_bytes()[7..]
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    };
    let number = last.first().map_or(0, |(key, _)| digits(key));
    if number == TICKETS {
        return Err(Abort::Refused("sold out".to_owned()));
    }
    Ok(Put {
        entries: vec![(ticket(number + 1), Value::new(vec![holder]))],
    })
}

fn has_no_gap(state: &State<'_>) -> Result<(), String> {
    let last = state.len() as u64;
    let missing = (1..=last).find(|number| state.get(&ticket(*number)).is_none());
    missing.map_or(Ok(()), |missing| {
        Err(format!("{last} tickets, and not number {missing}"))
    })
}

/// Every ticket that somebody was told of is that somebody's.
fn is_theirs(state: &State<'_>, told: &Told<'_>) -> Result<(), String> {
    for call in told.of::<Put>() {
        let (key, value) = &call.submitted.entries[0];
        if matches!(call.end, CallEnd::Committed { .. }) && state.get(key) != Some(value) {
            return Err(format!("{key} was given to {value:?}, and {:?} has it", state.get(key)));
        }
    }
    Ok(())
}

/// *Given* after how many stale runs what was read is reserved.
fn tickets(reserve_after: Option<u32>) -> Kit {
    Kit::new()
        .staged(|random| {
            let holder = random.below(256) as u8;
            move |stage| issue(stage, holder)
        })
        .staging(Staging {
            reserve_after,
            runs_max: 1_000,
            ..Staging::default()
        })
        .invariant("no gap", has_no_gap)
        .at_end("theirs", is_theirs)
}

#[test]
fn stages_that_all_want_one_key_end_under_faults_with_and_without_reservations() {
    for reserve_after in [None, Some(2)] {
        let passed = tickets(reserve_after).swarm_faults().seeds(1..=3).run();
        assert!(passed.committed > 60, "{passed:?}");
        assert!(passed.reruns > 20 && passed.runs_max > 2, "they meet: {passed:?}");
        assert_eq!(passed.undecided, [""; 0]);
    }
}

#[test]
fn a_refusal_of_stages_is_told_and_comes_when_it_is_so() {
    let kit = tickets(None).at_end("sold out", |state, told| {
        let refusals = told.of::<Refuse>();
        assert!(refusals.iter().any(|call| call.submitted.reason == "sold out"));
        assert_eq!(state.len() as u64, TICKETS);
        Ok(())
    });
    kit.seconds(20).seeds([1]).run();
}

#[test]
fn one_run_alone_is_stale_and_has_no_effect() {
    let once = Staging {
        runs_max: 1,
        ..Staging::default()
    };
    let kit = tickets(None).staging(once).at_end("some were stale", |_, told| {
        let is_stale = |end: &CallEnd<_>| matches!(end, CallEnd::Nothing(why) if why.starts_with("stale"));
        assert!(told.of::<Put>().iter().any(|call| is_stale(&call.end)));
        Ok(())
    });
    let passed = kit.seeds([1]).run();
    assert_eq!((passed.reruns, passed.runs_max), (0, 1));
}

#[test]
fn a_cluster_that_evaluates_in_another_order_is_caught_by_the_replay_of_stages() {
    let faults = FaultsConfig {
        planted: Some(Planted::OtherOrder),
        ..FaultsConfig::default()
    };
    let failed = tickets(None).faults(faults).check().unwrap_err();
    assert!(failed.checks.iter().any(|(name, _)| name == "replay"), "{failed}");
    assert!(failed.to_string().contains("staged plimsoll.put"), "{failed}");
}

#[test]
fn stages_that_overwrite_what_others_put_are_named() {
    // Without a read there is nothing to be guarded.
    let kit = tickets(None).staged(|random| {
        let holder = random.below(256) as u8;
        async move |_: Stage| {
            let entries = vec![(ticket(1), Value::new(vec![holder]))];
            Ok(Put { entries })
        }
    });
    let failed = kit.seeds([1]).check().unwrap_err();
    let names: Vec<&str> = failed.checks.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["theirs"], "{failed}");
}

#[test]
fn stages_that_await_something_else_fail_and_the_message_says_so() {
    let kit = Kit::new().staged(|_| {
        async |_: Stage| {
            std::future::pending::<()>().await;
            Ok(Put { entries: Vec::new() })
        }
    });
    let failed = kit.check().unwrap_err();
    assert!(
        failed
            .to_string()
            .contains("a stage awaits something else than its reads"),
        "{failed}"
    );
}
