//! Stages driven by hand: what is asked, in which order, and under which ids.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use plimsoll::client::staged::{self, Ask, AskId, End, Ended, Mailbox, Stage, Staging, Told};
use plimsoll::executor::Answer;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::protocol::ReadMode;
use plimsoll::thunk::{Put, Registry, Reserve};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome, Settlement, ThunkId, Transaction};

fn id() -> TransactionId {
    TransactionId::from_parts(1_800_000_000_000, *b"driven by ")
}

fn holder() -> TransactionId {
    TransactionId::from_parts(1_800_000_000_000, *b"who waits ")
}

fn at(bits: u64) -> Timestamp {
    Timestamp {
        hlc: Hlc::from_bits(bits),
        node: NodeId::new(1),
    }
}

/// Reads two keys, one after the other, and writes a third.
async fn two_reads(stage: Stage) -> Result<Put, Abort> {
    stage.get("a").await;
    stage.get("b").await;
    Ok(Put {
        entries: vec![("c".into(), Value::from("it"))],
    })
}

/// The next question; *panics* where the stages have ended.
fn asked(stages: &mut Pin<&mut impl Future<Output = Ended>>, mailbox: &Mailbox) -> (AskId, Ask) {
    let polled = stages.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "{polled:?}");
    mailbox.take().expect("they wait for something")
}

/// Expects a read of this mode, and answers that there is nothing at this snapshot.
fn expect_read(
    stages: &mut Pin<&mut impl Future<Output = Ended>>,
    mailbox: &Mailbox,
    expected: ReadMode,
    told: Option<u64>,
) {
    let (ask_id, ask) = asked(stages, mailbox);
    let Ask::Read(mode, query) = ask else { panic!("{ask:?}") };
    assert_eq!(mode, expected);
    let answer = Answer {
        keys: vec![None; query.keys.len()],
        ranges: Vec::new(),
    };
    let told = told.map_or(Told::Gone, |bits| Told::Rows(Hlc::from_bits(bits), answer));
    mailbox.answer(ask_id, told);
}

/// Expects a transaction, and answers with this outcome.
fn expect_submit(
    stages: &mut Pin<&mut impl Future<Output = Ended>>,
    mailbox: &Mailbox,
    effective: Timestamp,
    outcome: Outcome,
) -> Transaction {
    loop {
        match asked(stages, mailbox) {
            (ask_id, Ask::Submit(transaction)) => {
                let settlement = Settlement {
                    record: effective,
                    id: transaction.id,
                    effective,
                    outcome,
                };
                mailbox.answer(ask_id, Told::Settled(settlement));
                return transaction;
            }
            (ask_id, Ask::Pause(_)) => mailbox.answer(ask_id, Told::Passed),
            (_, ask) => panic!("{ask:?}"),
        }
    }
}

fn ended(stages: &mut Pin<&mut impl Future<Output = Ended>>) -> Ended {
    match stages.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => ended,
        Poll::Pending => panic!("they wait"),
    }
}

fn committed() -> Outcome {
    Outcome::Committed(Value::default())
}

fn stale() -> Outcome {
    Outcome::Aborted(Abort::Stale {
        at: Hlc::from_bits(5),
        keys: vec![Key::from("a")],
    })
}

#[test]
fn a_snapshot_is_gone_between_two_reads_and_the_stages_run_again_on_a_newer_one_with_the_id_not_used_up() {
    let registry = Arc::new(Registry::with_builtins());
    let (mailbox, stages) = staged::start(registry, id(), holder(), Staging::default(), two_reads);
    let mut stages = pin!(stages);
    expect_read(&mut stages, &mailbox, ReadMode::Snapshot, Some(5));
    expect_read(&mut stages, &mailbox, ReadMode::At(Hlc::from_bits(5)), None);
    expect_read(&mut stages, &mailbox, ReadMode::Strict, Some(9));
    expect_read(&mut stages, &mailbox, ReadMode::At(Hlc::from_bits(9)), Some(9));
    let transaction = expect_submit(&mut stages, &mailbox, at(20), committed());
    assert_eq!(
        transaction.id,
        id(),
        "another start has submitted its first end under this one"
    );
    let ended = ended(&mut stages);
    assert!(matches!(ended.end, End::Settled(_)) && ended.runs == 2, "{ended:?}");
}

#[test]
fn a_snapshot_that_is_gone_in_every_run_ends_the_stages_and_names_no_key() {
    let registry = Arc::new(Registry::with_builtins());
    let staging = Staging {
        runs_max: 2,
        ..Staging::default()
    };
    let (mailbox, stages) = staged::start(registry, id(), holder(), staging, two_reads);
    let mut stages = pin!(stages);
    for (mode, bits) in [(ReadMode::Snapshot, 5), (ReadMode::Strict, 9)] {
        expect_read(&mut stages, &mailbox, mode, Some(bits));
        expect_read(&mut stages, &mailbox, ReadMode::At(Hlc::from_bits(bits)), None);
    }
    let keys = Vec::new();
    assert_eq!(ended(&mut stages).end, End::Exhausted { keys });
}

#[test]
fn ends_have_ids_of_the_transaction_and_reservations_of_the_start_however_they_alternate() {
    let registry = Arc::new(Registry::with_builtins());
    let staging = Staging {
        reserve_after: Some(1),
        ..Staging::default()
    };
    let no_reads = async |_: Stage| {
        Ok(Put {
            entries: vec![("c".into(), Value::from("it"))],
        })
    };
    let (mailbox, stages) = staged::start(registry, id(), holder(), staging, no_reads);
    let mut stages = pin!(stages);
    let crowded = Outcome::Aborted(Abort::Refused("too many".into()));
    let since = Outcome::Committed(plimsoll::codec::encode_value(&at(30)).unwrap());
    let mut ends = Vec::new();
    let mut reservations = Vec::new();
    // It is refused, or has expired before it is looked at: the stages go on without.
    for reserved in [&crowded, &since, &crowded, &since] {
        ends.push(expect_submit(&mut stages, &mailbox, at(20), stale()));
        reservations.push(expect_submit(&mut stages, &mailbox, at(30), reserved.clone()));
        expect_read(&mut stages, &mailbox, ReadMode::After(at(30)), Some(30));
    }
    for (number, end) in ends.iter().enumerate() {
        assert_eq!(end.id, id().attempt(number as u32));
    }
    for (number, reservation) in reservations.iter().enumerate() {
        assert_eq!(reservation.thunk, ThunkId::of::<Reserve>());
        assert_eq!(reservation.id, holder().attempt(number as u32));
    }
}
