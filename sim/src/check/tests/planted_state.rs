//! Replicas that disagree, bounds that go back, money that appears.

use std::collections::BTreeMap;

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::time::{Hlc, Timestamp};

use super::script::{Op, add, append, assert_anomalies, counter, history, ok};
use crate::check::{
    Checks, EvaluatedTransaction, FinalCounters, FinalEntry, Observed, ReplicaTrace, Verdict, WatermarkSample,
    Workload, counter_sums, monotone_watermarks, one_ring, replica_agreement, transfer_total,
};
use crate::history::{History, Phase};

fn at(hlc: u64) -> Timestamp {
    Timestamp {
        hlc: Hlc::from_bits(hlc),
        node: NodeId::new(1),
    }
}

fn replica(node: u32, evaluated: &[u64]) -> ReplicaTrace {
    ReplicaTrace {
        node: NodeId::new(node),
        start: Hlc::ZERO,
        end: Hlc::from_bits(*evaluated.last().unwrap_or(&0)),
        evaluated: evaluated
            .iter()
            .map(|hlc| EvaluatedTransaction {
                timestamp: at(*hlc),
                id: TransactionId::from_u128(u128::from(*hlc)),
                outcome_hash: *hlc,
            })
            .collect(),
        state: evaluated.iter().map(|hlc| entry(*hlc, *hlc)).collect(),
    }
}

fn entry(key: u64, hlc: u64) -> FinalEntry {
    FinalEntry {
        key: key.to_be_bytes().to_vec(),
        timestamp: at(hlc),
        value_hash: hlc,
    }
}

#[test]
fn replicas_that_are_behind_agree_as_far_as_they_are() {
    let mut joined = replica(3, &[4, 5]);
    joined.start = Hlc::from_bits(3);
    joined.state = replica(1, &[1, 2, 3, 4, 5]).state;
    let ahead = replica(1, &[1, 2, 3, 4, 5]);
    assert_eq!(
        replica_agreement(&[ahead.clone(), replica(2, &[1, 2, 3]), joined]),
        Verdict::Pass
    );
    let mut replaced = ahead;
    replaced.state[0] = entry(1, 5);
    replaced.state.truncate(3);
    replaced.state.remove(2);
    assert_eq!(
        replica_agreement(&[replaced, replica(2, &[1, 2, 3])]),
        Verdict::Pass,
        "replaced and deleted since"
    );
}

#[test]
fn replicas_that_evaluated_otherwise_are_caught() {
    let good = replica(1, &[1, 2, 3]);
    let other = |change: &dyn Fn(&mut ReplicaTrace)| {
        let mut other = replica(2, &[1, 2, 3]);
        change(&mut other);
        replica_agreement(&[good.clone(), other])
    };
    assert_anomalies(
        &other(&|other| other.evaluated.swap(0, 1)),
        &["replica-order", "replica-transaction"],
    );
    assert_anomalies(
        &other(&|other| other.evaluated.retain(|evaluated| evaluated.timestamp != at(2))),
        &["replica-transaction"],
    );
    assert_anomalies(&other(&|other| other.evaluated.truncate(2)), &["replica-transaction"]);
    assert_anomalies(
        &other(&|other| other.evaluated[1].id = TransactionId::from_u128(9)),
        &["replica-transaction"],
    );
    assert_anomalies(
        &other(&|other| other.evaluated[1].outcome_hash = 9),
        &["replica-outcome"],
    );
    assert_anomalies(&other(&|other| other.state[1].value_hash = 9), &["replica-state"]);
    assert_anomalies(&other(&|other| other.state[1].timestamp = at(1)), &["replica-state"]);
    assert_anomalies(&other(&|other| other.state.truncate(2)), &["replica-state"]);
    assert_anomalies(&other(&|other| other.state.push(entry(1, 2))), &["replica-state"]);
    assert_anomalies(&other(&|other| other.end = Hlc::from_bits(2)), &["replica-order"]);
    let first = other(&|other| other.evaluated[1].outcome_hash = 9);
    let text = &first.violations()[0].message;
    assert!(
        text.starts_with("n1 and n2 agree on 1 transactions"),
        "the first difference is named: {text}"
    );
}

#[test]
fn a_replica_behind_must_not_miss_what_the_other_still_has() {
    let mut behind = replica(2, &[1, 2]);
    behind.state.remove(0);
    assert_anomalies(
        &replica_agreement(&[replica(1, &[1, 2, 3]), behind]),
        &["replica-state"],
    );
}

fn sample(time_us: u64, run: u32, watermark: u64, evaluated: u64) -> WatermarkSample {
    WatermarkSample {
        time_us,
        node: NodeId::new(1),
        run,
        watermark: Hlc::from_bits(watermark),
        evaluated: Hlc::from_bits(evaluated),
    }
}

#[test]
fn bounds_never_go_back_within_a_run() {
    let good = [
        sample(1, 0, 5, 3),
        sample(2, 0, 5, 5),
        sample(3, 1, 0, 4),
        sample(4, 1, 9, 9),
    ];
    assert_eq!(monotone_watermarks(&good), Verdict::Pass);
    let judge = |second| monotone_watermarks(&[sample(1, 0, 5, 3), second]);
    assert_anomalies(&judge(sample(2, 0, 4, 3)), &["watermark-back"]);
    assert_anomalies(&judge(sample(2, 0, 5, 2)), &["evaluated-back"]);
    assert_anomalies(&judge(sample(2, 0, 5, 6)), &["evaluated-above-watermark"]);
    assert_anomalies(&judge(sample(2, 1, 5, 6)), &["evaluated-above-watermark"]);
    assert_anomalies(&judge(sample(0, 0, 5, 3)), &["malformed-samples"]);
    let mut other_node = sample(2, 0, 1, 1);
    other_node.node = NodeId::new(2);
    assert_eq!(judge(other_node), Verdict::Pass);
}

fn transfers() -> Vec<Op> {
    vec![
        ok(0, 1, vec![counter(1, 10), add(1, -3), add(2, 3)]).at(1),
        ok(2, 3, vec![counter(1, 7), counter(2, 13)]).at(2),
    ]
}

fn finals(one: i64, two: i64) -> Vec<FinalCounters> {
    vec![FinalCounters {
        node: NodeId::new(1),
        values: BTreeMap::from([(1, one), (2, two)]),
    }]
}

#[test]
fn money_is_neither_made_nor_lost() {
    let accounts = BTreeMap::from([(1, 10), (2, 10)]);
    let judge = |operations: &[Op], finals: &[FinalCounters]| transfer_total(&history(operations), &accounts, finals);
    assert_eq!(judge(&transfers(), &finals(7, 13)), Verdict::Pass);
    assert_anomalies(&judge(&transfers(), &finals(7, 14)), &["total-changed"]);
    assert_anomalies(&judge(&transfers(), &finals(-1, 21)), &["negative-balance"]);
    let mut made = transfers();
    made[1].value[0] = counter(1, 8);
    assert_anomalies(&judge(&made, &[]), &["total-changed"]);
    made[1].value = vec![counter(2, -1)];
    assert_anomalies(&judge(&made, &[]), &["negative-balance"]);
}

#[test]
fn a_ring_that_falls_into_two_or_ends_blindly_is_seen_in_a_read_and_in_the_end() {
    // Each place of four names the next one; what is stored is how far from that it names another.
    let judge = |stored: [i64; 4]| {
        let read = (0..4).zip(stored).map(|(key, value)| counter(key, value)).collect();
        let in_a_read = one_ring(&history(&[ok(0, 1, read)]), 4, &[]);
        let replica = FinalCounters {
            node: NodeId::new(1),
            values: (0..4).zip(stored).collect(),
        };
        assert_eq!(in_a_read.is_pass(), one_ring(&history(&[]), 4, &[replica]).is_pass());
        in_a_read
    };
    // As it was at first, and the other way round.
    assert_eq!(judge([0, 0, 0, 0]), Verdict::Pass);
    assert_eq!(judge([2, 2, 2, 2]), Verdict::Pass);
    // 0 and 1 name each other, as 2 and 3 do; and 2 is named by two.
    assert_anomalies(&judge([0, -2, 0, -2]), &["broken-ring"]);
    assert_anomalies(&judge([1, 0, 0, 0]), &["broken-ring"]);
    // A read of some of them says nothing.
    assert_eq!(
        one_ring(&history(&[ok(0, 1, vec![counter(0, 1)])]), 4, &[]),
        Verdict::Pass
    );
}

#[test]
fn additions_are_neither_lost_nor_repeated() {
    let unsure = ok(0, 1, vec![add(1, 2)]).phase(Phase::Info);
    let operations = history(&[
        ok(0, 1, vec![add(1, 5)]),
        unsure.clone(),
        unsure,
        ok(0, 1, vec![add(1, 7)]).phase(Phase::Fail),
    ]);
    let judge = |one| counter_sums(&operations, &BTreeMap::from([(1, 100)]), &finals(one, 0));
    for good in [105, 107, 109] {
        assert_eq!(judge(good), Verdict::Pass);
    }
    for bad in [100, 104, 106, 110, 111, 112] {
        assert_anomalies(&judge(bad), &["counter-sum"]);
    }
    assert_anomalies(
        &counter_sums(&operations, &BTreeMap::from([(1, 100)]), &finals(105, 1)),
        &["counter-sum"],
    );
    assert!(matches!(
        counter_sums(&operations, &BTreeMap::new(), &[]),
        Verdict::Unknown { .. }
    ));
}

#[test]
fn the_same_addition_under_one_id_counts_once() {
    let addition = |phase| ok(0, 1, vec![add(1, 5)]).phase(phase).id(7);
    let tried_again = [
        addition(Phase::Info),
        Op {
            begin: 2,
            end: Some(3),
            ..addition(Phase::Ok)
        },
    ];
    let judge = |one| counter_sums(&history(&tried_again), &BTreeMap::new(), &finals(one, 0));
    assert_eq!(judge(5), Verdict::Pass);
    assert_anomalies(&judge(10), &["counter-sum"]);
}

#[test]
fn checks_run_what_fits_the_workload() {
    let accounts = BTreeMap::from([(1, 10), (2, 10)]);
    let (history, finals) = (history(&transfers()), finals(7, 13));
    let replicas = [replica(1, &[1]), replica(2, &[1])];
    let watermarks = [sample(1, 0, 5, 3)];
    let observed = Observed {
        history: &history,
        replicas: &replicas,
        watermarks: &watermarks,
        finals: &finals,
    };
    let checks =
        Checks::new(Workload::Transfer { accounts })
            .without("liveness")
            .with("mine", |observed| match observed.finals {
                [] => Verdict::Pass,
                _ => Verdict::Unknown {
                    why: "as planted".to_owned(),
                    size: 1,
                },
            });
    let verdicts = checks.run(&observed);
    let names: Vec<&str> = verdicts.keys().copied().collect();
    assert_eq!(
        names,
        [
            "mine",
            "monotone-watermarks",
            "replica-agreement",
            "transfer",
            "well-formed",
            "witness"
        ]
    );
    assert!(
        verdicts
            .iter()
            .all(|(name, verdict)| verdict.is_pass() == (*name != "mine")),
        "{verdicts:?}"
    );
    let few = Checks::new(Workload::ListAppend).run(&Observed::history(&History::default()));
    assert_eq!(
        few.keys().copied().collect::<Vec<_>>(),
        ["list-append", "liveness", "well-formed", "witness"]
    );
    assert!(few.values().all(Verdict::is_pass));
}

#[test]
fn only_the_first_of_many_violations_are_shown() {
    let many: Vec<Op> = (0..50)
        .map(|key| ok(key, 100 + key, vec![append(key, 1), append(key, 1)]))
        .collect();
    let verdict = crate::check::list_append(&history(&many));
    assert_eq!(verdict.violations().len(), 5);
    assert!(verdict.to_string().contains("(and 45 more of this kind)"), "{verdict}");
}
