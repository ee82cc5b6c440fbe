//! The mixes of the workloads, and their thunks on the production executor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use plimsoll::client::admit;
use plimsoll::codec::encode_value;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::protocol::Batch;
use plimsoll::store::MemoryVersions;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome, Record};

use super::thunks::Transfer;
use super::*;
use crate::history::MicroOperation;
use crate::random::Seed;
use crate::scenario::CounterMode;

fn config(kind: WorkloadKind, keys: u64) -> WorkloadConfig {
    WorkloadConfig {
        kind,
        keys,
        ..WorkloadConfig::default()
    }
}

fn transactions(config: &WorkloadConfig, count: usize) -> Vec<Call> {
    let mut workload = build(config).unwrap();
    let mut random = Seed(9).stream("test");
    (0..count).map(|_| workload.transaction(&mut random)).collect()
}

/// The share of the calls of each function.
fn shares(calls: &[Call]) -> BTreeMap<&'static str, f64> {
    let mut shares: BTreeMap<&'static str, f64> = BTreeMap::new();
    for call in calls {
        *shares.entry(call.function).or_default() += 1.0 / calls.len() as f64;
    }
    shares
}

fn shape(call: &Call) -> (usize, usize) {
    let writes = call.steps.iter().filter(|step| step.is_write()).count();
    (call.steps.len() - writes, writes)
}

/// A replica that settles one call after the other.
struct Replica {
    executor: SerialExecutor<MemoryVersions>,
    at: Hlc,
}

impl Replica {
    fn new() -> Self {
        Self {
            executor: SerialExecutor::new(Arc::new(registry()), MemoryVersions::default()),
            at: Hlc::from_unix_millis(1_780_000_000_000),
        }
    }

    fn settle(&mut self, call: &Call) -> Outcome {
        let Work::Transaction { thunk, arguments } = &call.work else {
            panic!("{call:?} is no transaction");
        };
        self.at = self.at.next();
        let hlc = self.at;
        let id = TransactionId::from_parts(
            hlc.unix_millis(),
            (hlc.bits() as u128).to_be_bytes()[6..].try_into().unwrap(),
        );
        let transaction = admit(self.executor.registry(), id, thunk.clone(), arguments.clone()).unwrap();
        let at = Timestamp {
            hlc,
            node: NodeId::new(1),
        };
        let batch = Batch {
            records: vec![(at, Arc::new(Record { hlc, transaction }))],
            upto: hlc,
        };
        self.executor.evaluate(&batch).settlements.remove(0).outcome
    }

    fn steps(&mut self, call: &Call) -> Vec<MicroOperation> {
        match self.settle(call) {
            Outcome::Committed(output) => call.steps_of_output(&output).unwrap(),
            Outcome::Aborted(abort) => panic!("{call:?} aborted: {abort}"),
        }
    }

    fn read(&self, call: &Call) -> Vec<MicroOperation> {
        let answer = self.executor.read(self.at, &call.query()).unwrap();
        call.steps_of_answer(&answer).unwrap()
    }
}

#[test]
fn transfer_moves_1_to_5_in_95_of_100_and_reads_all_accounts_or_10_in_the_others() {
    for (keys, read) in [(8, 8), (100, 100), (1_000, 10)] {
        let calls = transactions(&config(WorkloadKind::Transfer, keys), 20_000);
        let shares = shares(&calls);
        assert!((shares["transfer"] - 0.95).abs() < 0.01, "{shares:?}");
        let mut amounts = BTreeSet::new();
        for call in &calls {
            match (call.function, &call.steps[..]) {
                ("read-accounts", steps) => assert_eq!((shape(call), steps.len()), ((read, 0), read)),
                (
                    _,
                    [
                        MicroOperation::ReadCounter { key: a, .. },
                        MicroOperation::ReadCounter { key: b, .. },
                        MicroOperation::Add {
                            key: from,
                            amount: less,
                        },
                        MicroOperation::Add { key: to, amount: more },
                    ],
                ) => {
                    assert!(a == from && b == to && from != to && *less == -more);
                    amounts.insert(*more);
                }
                _ => panic!("{call:?}"),
            }
        }
        assert_eq!(amounts, (1..=5).collect());
    }
}

#[test]
fn retwis_has_the_mix_of_the_benchmark() {
    let calls = transactions(&config(WorkloadKind::Retwis, 1_000), 20_000);
    let shares = shares(&calls);
    for (function, share) in [("add-user", 0.05), ("follow", 0.15), ("post", 0.3), ("timeline", 0.5)] {
        assert!((shares[function] - share).abs() < 0.015, "{shares:?}");
    }
    let mut timelines = BTreeSet::new();
    for call in &calls {
        match call.function {
            "add-user" => assert_eq!(shape(call), (1, 3)),
            "follow" => assert_eq!(shape(call), (2, 2)),
            "post" => assert_eq!(shape(call), (3, 5)),
            _ => {
                assert_eq!(shape(call).1, 0);
                timelines.insert(shape(call).0);
            }
        }
    }
    assert_eq!(timelines, (1..=10).collect());
}

#[test]
fn ycsb_t_modifies_four_registers_and_no_value_is_written_twice() {
    let mut written = BTreeSet::new();
    for call in transactions(&config(WorkloadKind::YcsbT, 10), 1_000) {
        assert_eq!(shape(&call), (4, 4));
        for pair in call.steps.chunks(2) {
            let [
                MicroOperation::ReadRegister { key, .. },
                MicroOperation::Write { key: same, value },
            ] = pair
            else {
                panic!("{call:?}");
            };
            assert_eq!(key, same);
            assert!(written.insert(*value));
        }
    }
}

#[test]
fn lists_are_read_half_of_the_time_and_give_way_after_64_to_128_appends() {
    let config = config(WorkloadKind::ListAppend, 5);
    let calls = transactions(&config, 5_000);
    let mut appends: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let (mut reads, mut steps) = (0, 0);
    for call in &calls {
        assert!((1..=4).contains(&call.steps.len()));
        let mut keys = BTreeSet::new();
        for step in &call.steps {
            steps += 1;
            match step {
                MicroOperation::ReadList { key, .. } => {
                    reads += 1;
                    assert!(keys.insert(*key));
                }
                MicroOperation::Append { key, element } => {
                    assert!(keys.insert(*key));
                    appends.entry(*key).or_default().push(*element);
                }
                _ => panic!("{step:?}"),
            }
        }
    }
    assert!((f64::from(reads) / f64::from(steps) - 0.5).abs() < 0.02);
    assert!(appends.len() > 40, "lists rotate");
    let newest = appends.len() as u64 - 5;
    for (key, elements) in &appends {
        assert_eq!(
            *elements,
            (1..=elements.len() as u64).collect::<Vec<_>>(),
            "unique and in order of their drawing"
        );
        let length = elements.len() as u64;
        assert!(
            length <= 128 && (length >= 64 || *key >= newest),
            "list {key} has {length}"
        );
    }
    let mut workload = build(&config).unwrap();
    let mut random = Seed(9).stream("test");
    let used: BTreeSet<u64> = (0..5_000)
        .flat_map(|_| workload.transaction(&mut random).steps)
        .map(|step| match step {
            MicroOperation::ReadList { key, .. } | MicroOperation::Append { key, .. } => key,
            _ => panic!("{step:?}"),
        })
        .collect();
    let read: BTreeSet<u64> = workload
        .final_reads()
        .into_iter()
        .flat_map(|call| call.steps)
        .map(|step| match step {
            MicroOperation::ReadList { key, .. } => key,
            _ => panic!("{step:?}"),
        })
        .collect();
    assert!(read.is_superset(&used), "every list is read in the end");
}

#[test]
fn what_thunks_put_out_and_what_reads_give_is_the_same_state() {
    for kind in [
        WorkloadKind::Transfer,
        WorkloadKind::Retwis,
        WorkloadKind::YcsbT,
        WorkloadKind::Put2,
        WorkloadKind::ListAppend,
        WorkloadKind::Counter,
    ] {
        for counter in [CounterMode::Merge, CounterMode::ReadModifyWrite] {
            let mut config = config(kind, 6);
            config.counter = counter;
            let mut model = Model::default();
            let mut replica = Replica::new();
            let mut workload = build(&config).unwrap();
            let mut random = Seed(2).stream("test");
            for _ in 0..300 {
                let call = workload.transaction(&mut random);
                model.check(&replica.steps(&call), call.counter_start);
                let read = workload.read(&mut random);
                model.check(&replica.read(&read), read.counter_start);
            }
            for call in workload.final_reads() {
                model.check(&replica.read(&call), call.counter_start);
            }
        }
    }
}

/// The data as the steps of the history say they are.
#[derive(Default)]
struct Model {
    lists: BTreeMap<u64, Vec<u64>>,
    registers: BTreeMap<u64, u64>,
    counters: BTreeMap<u64, i64>,
}

impl Model {
    fn check(&mut self, steps: &[MicroOperation], start: i64) {
        for step in steps {
            match step {
                MicroOperation::Append { key, element } => self.lists.entry(*key).or_default().push(*element),
                MicroOperation::ReadList { key, elements } => {
                    assert_eq!(elements.as_ref(), Some(&*self.lists.entry(*key).or_default()));
                }
                MicroOperation::Write { key, value } => {
                    self.registers.insert(*key, *value);
                }
                MicroOperation::ReadRegister { key, value } => {
                    assert_eq!(*value, Some(self.registers.get(key).copied()));
                }
                MicroOperation::Add { key, amount } => *self.counters.entry(*key).or_insert(start) += amount,
                MicroOperation::ReadCounter { key, value } => {
                    assert_eq!(*value, Some(*self.counters.entry(*key).or_insert(start)));
                }
            }
        }
    }
}

#[test]
fn a_transfer_that_would_leave_less_than_nothing_aborts_and_moves_nothing() {
    let mut replica = Replica::new();
    let thunk = Transfer {
        from: 0,
        to: 1,
        amount: 5,
        start: 7,
    };
    let call = thunks::transaction("transfer", Vec::new(), &thunk, 7);
    assert!(matches!(replica.settle(&call), Outcome::Committed(_)));
    assert_eq!(
        replica.settle(&call),
        Outcome::Aborted(Abort::Refused("balance too low".into()))
    );
    let read = |key| MicroOperation::ReadCounter { key, value: None };
    let balances = replica.read(&Call::read(vec![read(0), read(1), read(2)], 7));
    let balance = |key, value| MicroOperation::ReadCounter {
        key,
        value: Some(value),
    };
    assert_eq!(balances, [balance(0, 2), balance(1, 12), balance(2, 7)]);
}

#[test]
fn an_output_of_another_call_is_no_answer() {
    let read = |key| MicroOperation::ReadRegister { key, value: None };
    let call = Call::read(vec![read(1), read(2)], 0);
    let output = |seen: &[Seen]| encode_value(&seen).unwrap();
    let (one, list) = (Seen::Register(Some(1)), Seen::List(vec![1]));
    assert!(call.steps_of_output(&output(&[one.clone(), one.clone()])).is_ok());
    for wrong in [
        output(&[]),
        output(std::slice::from_ref(&one)),
        output(&[one.clone(), list.clone()]),
        output(&[one.clone(), one.clone(), one]),
        "no list".into(),
    ] {
        assert!(call.steps_of_output(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn both_keys_of_a_pair_get_one_value_that_nobody_else_writes() {
    let mut values = std::collections::BTreeSet::new();
    for call in transactions(&config(WorkloadKind::Put2, 10), 1_000) {
        let [
            MicroOperation::Write { key, value },
            MicroOperation::Write {
                key: other,
                value: second,
            },
        ] = call.steps[..]
        else {
            panic!("two writes: {call:?}")
        };
        assert!(key % 2 == 0 && other == key + 1 && value == second, "{call:?}");
        assert!(values.insert(value), "{value} is written twice");
    }
    let error = build(&config(WorkloadKind::Put2, 9)).err().unwrap().to_string();
    assert!(error.contains("an even number"), "{error}");
}

#[test]
fn one_account_is_not_enough_for_a_transfer() {
    let mut config = config(WorkloadKind::Transfer, 10);
    config.distribution = Distribution::Hot { keys: 1 };
    let error = build(&config).err().unwrap().to_string();
    assert!(error.contains("at least 2"), "{error}");
}
