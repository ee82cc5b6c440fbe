//! A coordinator that is put out with a record of its own, and a client that submits the same id elsewhere meanwhile: by scripts.
//!
//! The desk itself runs no thunk, so what every node has evaluated is handed to an executor afterwards, and compared with what clients were told.

use std::collections::BTreeSet;
use std::sync::Arc;

use plimsoll::client;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{Epoch, RequestId, TransactionId};
use plimsoll::key::Key;
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{Batch, Reply};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Increment, Operator, Registry};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{ThunkId, Transaction};

use crate::cluster::{Answer, Cluster, START_MS, node};
use crate::support::{SUM, increment};

fn id() -> TransactionId {
    TransactionId::from_parts(START_MS, *b"the zombie")
}

/// Adds 1, under the id of the script.
fn add_one() -> Transaction {
    let registry = Registry::with_builtins();
    let arguments = client::arguments(&increment()).unwrap();
    client::admit(&registry, id(), ThunkId::of::<Increment>(), arguments).unwrap()
}

/// Nodes 40 ms apart that have been active for a while. They evaluate anew what they had evaluated before a crash.
fn warm() -> Cluster {
    let mut cluster = Cluster::new(3, 40, Profile::wan());
    cluster.run_until_ms(500);
    cluster.submit_transaction(node(1), transaction_before());
    cluster.run_until_ms(1000);
    cluster
}

/// Another one, of another id.
fn transaction_before() -> Transaction {
    Transaction {
        id: TransactionId::from_parts(START_MS, *b"before it!"),
        ..add_one()
    }
}

fn cut_off(cluster: &mut Cluster, id: u32) {
    for other in (1..=3).filter(|other| *other != id) {
        cluster.cuts.extend([(node(id), node(other)), (node(other), node(id))]);
    }
}

/// How many records of the id these nodes have evaluated, after having seen that they agree, that they came to one effect, and that every record of
/// it was told the same.
fn records_with_one_effect(cluster: &Cluster, ids: &[u32]) -> usize {
    let orders: BTreeSet<_> = ids.iter().map(|id| &cluster.evaluated[&node(*id)]).collect();
    assert_eq!(orders.len(), 1, "they agree");
    let order = orders.first().unwrap();
    let records = order.iter().map(|at| (*at, Arc::clone(&cluster.records[at]))).collect();
    let mut executor = SerialExecutor::new(Arc::new(Registry::with_builtins()), MemoryVersions::default());
    let upto = order.last().unwrap().hlc;
    let evaluated = executor.evaluate(&Batch { records, upto });
    let of_id = evaluated.settlements.iter().filter(|settlement| settlement.id == id());
    let ends: BTreeSet<(Timestamp, String)> = of_id
        .clone()
        .map(|settlement| (settlement.effective, format!("{:?}", settlement.outcome)))
        .collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
    let (effective, _) = ends.first().unwrap();
    for (_, answer) in cluster.answers.values() {
        if let Answer::Reply(Reply::Settled(settlement)) = answer
            && settlement.id == id()
        {
            assert_eq!(settlement.effective, *effective, "a client was told of another effect");
        }
    }
    let found: Vec<_> = executor.versions().newest().collect();
    let [(key, _, value)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (key, Operator::number(value)),
        (&Key::from(SUM), Ok(2)),
        "one before, and this one"
    );
    of_id.count()
}

/// The request was answered with an end.
fn assert_settled(cluster: &Cluster, request: RequestId) {
    let answer = cluster.answers.get(&request);
    assert!(
        matches!(answer, Some((_, Answer::Reply(Reply::Settled(_))))),
        "{answer:?}"
    );
}

#[test]
fn the_record_is_void_and_issued_again_on_return_after_the_client_has_retried_elsewhere() {
    let mut cluster = warm();
    cut_off(&mut cluster, 1);
    let zombie = cluster.submit_transaction(node(1), add_one());
    cluster.run_until_ms(5000);
    let epoch = cluster.node(node(2)).membership().epoch;
    assert!(epoch > Epoch::FIRST);
    let retry = cluster.submit_transaction(node(2), add_one());
    cluster.run_until_ms(6000);
    assert_settled(&cluster, retry);
    assert!(!cluster.answers.contains_key(&zombie));
    assert_eq!(records_with_one_effect(&cluster, &[2, 3]), 1);
    cluster.cuts.clear();
    cluster.run_until_ms(16_000);
    assert_eq!(cluster.node(node(1)).counters().reissued, 1);
    assert_settled(&cluster, zombie);
    assert_eq!(records_with_one_effect(&cluster, &[1, 2, 3]), 2);
}

#[test]
fn the_client_retries_at_the_one_who_returns_too_and_at_everybody_at_once() {
    let mut cluster = warm();
    cut_off(&mut cluster, 1);
    let mut requests = vec![cluster.submit_transaction(node(1), add_one())];
    cluster.run_until_ms(5000);
    cluster.cuts.clear();
    for at in [2, 3, 1, 1, 2] {
        requests.push(cluster.submit_transaction(node(at), add_one()));
    }
    cluster.run_until_ms(16_000);
    for request in &requests[..3] {
        assert_settled(&cluster, *request);
    }
    // The coordinator that was put out knows nothing of it yet, and takes what comes, or says that it cannot.
    let refused = |request| matches!(cluster.answers[request], (_, Answer::Reply(Reply::Refused(_))));
    let refused = requests.iter().filter(|request| refused(request)).count();
    assert_eq!(records_with_one_effect(&cluster, &[1, 2, 3]), requests.len() - refused);
}

#[test]
fn the_record_is_in_doubt_and_the_coordinator_dies_and_the_cut_keeps_or_voids_it_and_it_returns() {
    for holder in [None, Some(2), Some(3)] {
        let mut cluster = warm();
        let deaf = (2..=3).filter(|other| Some(*other) != holder);
        cluster.cuts.extend(deaf.map(|other| (node(1), node(other))));
        cluster.submit_transaction(node(1), add_one());
        cluster.run_until_ms(1041);
        // On its own disk, and on that of at most one other.
        cluster.crash(node(1));
        cluster.cuts.clear();
        let retries = [2, 3].map(|at| cluster.submit_transaction(node(at), add_one()));
        cluster.run_until_ms(6000);
        assert!(cluster.node(node(2)).membership().epoch > Epoch::FIRST);
        for retry in retries {
            assert_settled(&cluster, retry);
        }
        let records = 2 + usize::from(holder.is_some());
        assert_eq!(
            records_with_one_effect(&cluster, &[2, 3]),
            records,
            "held by {holder:?}"
        );
        cluster.restart(node(1));
        let again = cluster.submit_transaction(node(1), add_one());
        cluster.run_until_ms(16_000);
        assert_settled(&cluster, again);
        // A request of before the crash waits for nothing: the void record is not issued again.
        assert_eq!(
            records_with_one_effect(&cluster, &[1, 2, 3]),
            records + 1,
            "held by {holder:?}"
        );
    }
}

#[test]
fn the_stream_of_the_old_epoch_arrives_late_and_repeatedly_after_the_retry_has_committed() {
    let mut cluster = warm();
    for other in [2, 3] {
        // What it sends from now on is seconds on its way.
        cluster.set_delay_ms(node(1), node(other), 9000);
    }
    cluster.submit_transaction(node(1), add_one());
    cluster.run_until_ms(1200);
    cluster.repeat_frames_to(node(2), 1000);
    cluster.repeat_frames_to(node(3), 3000);
    cluster.crash(node(1));
    cluster.run_until_ms(6000);
    let epoch = cluster.node(node(2)).membership().epoch;
    assert!(epoch > Epoch::FIRST);
    let retry = cluster.submit_transaction(node(2), add_one());
    cluster.run_until_ms(7000);
    assert_settled(&cluster, retry);
    let at = |cluster: &Cluster| cluster.evaluated[&node(2)].last().map_or(Hlc::ZERO, |at| at.hlc);
    let before = at(&cluster);
    cluster.run_until_ms(14_000);
    assert_eq!(at(&cluster), before, "nothing of the old stream was taken");
    assert_eq!(records_with_one_effect(&cluster, &[2, 3]), 1);
    for other in [2, 3] {
        cluster.set_delay_ms(node(1), node(other), 40);
    }
    cluster.restart(node(1));
    let again = cluster.submit_transaction(node(1), add_one());
    cluster.run_until_ms(24_000);
    assert_settled(&cluster, again);
    assert_eq!(records_with_one_effect(&cluster, &[1, 2, 3]), 2);
}
