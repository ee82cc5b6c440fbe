//! Invariants that a workload promises, and what every history owes: to be well formed, and answered.

use std::collections::BTreeMap;

use plimsoll::id::NodeId;

use super::operation::{Operations, Status};
use super::subset::{Explanation, UnsureAdditions};
use super::verdict::{Accusations, Verdict};
use crate::history::{History, MicroOperation, Phase};
use crate::workload::next_place;

/// What the counters of one replica hold in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalCounters {
    /// The replica.
    pub node: NodeId,
    /// The value of each counter; one that is missing is 0.
    pub values: BTreeMap<u64, i64>,
}

/// Judges the record itself: processes do one thing at a time, ends have beginnings, time does not go back, answers fit their
/// requests, and attempts under one id were answered alike.
///
/// *Gives* [`Verdict::Fail`] with `malformed-history` (the recorder's fault) or `not-once` (the system's).
pub fn well_formed(history: &History) -> Verdict {
    let mut accusations = Accusations::default();
    for malformed in Operations::of(history).malformed {
        accusations.add_ready(malformed);
    }
    accusations.verdict()
}

/// Judges that nothing is left open: every operation ended, if only as info.
///
/// *Given* a history whose recorder waited, after the faults had stopped, as long as an answer may take.
///
/// *Gives* [`Verdict::Fail`] with `unanswered`.
pub fn liveness(history: &History) -> Verdict {
    let mut accusations = Accusations::default();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    for (index, entry) in history.entries.iter().enumerate() {
        match entry.phase {
            Phase::Invoke => open.insert(entry.process, index),
            _ => open.remove(&entry.process),
        };
    }
    let mut open: Vec<usize> = open.into_values().collect();
    open.sort_unstable();
    let operations = (!open.is_empty()).then(|| Operations::of(history));
    for index in open {
        let entry = &history.entries[index];
        accusations.add("unanswered", || {
            let of_entry = |operations: &Operations<'_>| {
                let place = operations
                    .list
                    .iter()
                    .position(|operation| operation.invoke as usize == index);
                place.map(|place| operations.evidence(place))
            };
            let text = format!(
                "process {} invoked {} at {} us (entry {index}) and was never answered",
                entry.process, entry.function, entry.time_us
            );
            (text, operations.as_ref().and_then(of_entry).into_iter().collect())
        });
    }
    accusations.verdict()
}

/// Judges a workload that only moves amounts between counters: none is ever below 0, and the sum never changes.
///
/// *Given* what the accounts held in the beginning: their keys are all accounts. A read of all accounts must sum up to the
/// total, in whatever operation it is; so must the end state of every replica.
///
/// *Gives* [`Verdict::Fail`] with `total-changed` or `negative-balance`.
pub fn transfer_total(history: &History, accounts: &BTreeMap<u64, i64>, finals: &[FinalCounters]) -> Verdict {
    let mut accusations = Accusations::default();
    let total: i128 = accounts.values().map(|balance| i128::from(*balance)).sum();
    let operations = Operations::of(history);
    for (place, operation) in operations
        .list
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.is_ok())
    {
        // The first read of each account, before the operation's own additions to any.
        let mut read = BTreeMap::new();
        let mut has_added = false;
        for step in operation.value {
            match *step {
                MicroOperation::Add { .. } => has_added = true,
                MicroOperation::ReadCounter {
                    key,
                    value: Some(value),
                } if accounts.contains_key(&key) => {
                    if value < 0 {
                        accusations.add("negative-balance", || {
                            (
                                format!("account {key} was read as {value}"),
                                vec![operations.evidence(place)],
                            )
                        });
                    }
                    if !has_added {
                        read.entry(key).or_insert(value);
                    }
                }
                _ => {}
            }
        }
        let sum: i128 = read.values().map(|balance| i128::from(*balance)).sum();
        if read.len() == accounts.len() && sum != total {
            accusations.add("total-changed", || {
                (
                    format!("a read of all accounts sums up to {sum}, not to {total}"),
                    vec![operations.evidence(place)],
                )
            });
        }
    }
    for replica in finals {
        let balance = |account: &u64| replica.values.get(account).copied().unwrap_or_default();
        let sum: i128 = accounts.keys().map(|account| i128::from(balance(account))).sum();
        if sum != total {
            accusations.add("total-changed", || {
                (
                    format!(
                        "the accounts on {} sum up to {sum} in the end, not to {total}",
                        replica.node
                    ),
                    Vec::new(),
                )
            });
        }
        if let Some(account) = accounts.keys().find(|account| balance(account) < 0) {
            accusations.add("negative-balance", || {
                let text = format!(
                    "account {account} on {} holds {} in the end",
                    replica.node,
                    balance(account)
                );
                (text, Vec::new())
            });
        }
    }
    accusations.verdict()
}

/// Judges a workload that turns pieces of a ring: from every place the ring leads through all of them, in every read of all places and on every replica in the
/// end.
///
/// *Gives* [`Verdict::Fail`] with `broken-ring`.
pub fn one_ring(history: &History, places: u64, finals: &[FinalCounters]) -> Verdict {
    let mut accusations = Accusations::default();
    let operations = Operations::of(history);
    let answered = operations
        .list
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.is_ok());
    for (index, operation) in answered {
        let read = operation.value.iter().map(|step| match *step {
            MicroOperation::ReadCounter { key, value } => Some((key, value?)),
            _ => None,
        });
        let Some(read) = read.collect::<Option<BTreeMap<u64, i64>>>() else {
            continue;
        };
        if read.len() as u64 == places && !is_one_ring(places, &read) {
            accusations.add("broken-ring", || {
                (
                    "a read of all places found no single ring".to_owned(),
                    vec![operations.evidence(index)],
                )
            });
        }
    }
    for replica in finals.iter().filter(|replica| !is_one_ring(places, &replica.values)) {
        accusations.add("broken-ring", || {
            (format!("{} holds no single ring in the end", replica.node), Vec::new())
        });
    }
    accusations.verdict()
}

fn is_one_ring(places: u64, stored: &BTreeMap<u64, i64>) -> bool {
    let next = |place: u64| next_place(place, places, stored.get(&place).copied().unwrap_or_default());
    let mut place = next(0);
    let mut passed = 1;
    while place != 0 && passed < places {
        place = next(place);
        passed += 1;
    }
    place == 0 && passed == places
}

/// Judges the end state of counters: each holds what it held at first, all answered additions, and some of the unsure ones.
///
/// *Gives* [`Verdict::Fail`] with `counter-sum`; [`Verdict::Unknown`] where the state lies between the bounds of many unsure
/// additions of different amounts, or if no replica is given.
pub fn counter_sums(history: &History, initial: &BTreeMap<u64, i64>, finals: &[FinalCounters]) -> Verdict {
    let mut sums: BTreeMap<u64, (i128, Vec<i64>)> = BTreeMap::new();
    for (key, value) in initial {
        sums.entry(*key).or_default().0 += i128::from(*value);
    }
    let operations = Operations::of(history);
    for operation in &operations.list {
        let mut own: BTreeMap<u64, i64> = BTreeMap::new();
        for step in operation.value {
            if let MicroOperation::Add { key, amount } = *step {
                let sum = own.entry(key).or_default();
                *sum = sum.saturating_add(amount);
            }
        }
        for (key, amount) in own {
            let (sum, unsure) = sums.entry(key).or_default();
            match operation.status {
                Status::Ok => *sum += i128::from(amount),
                Status::Info if amount != 0 => unsure.push(amount),
                Status::Info | Status::Fail => {}
            }
        }
    }
    if finals.is_empty() {
        return Verdict::Unknown {
            why: "no replica's end state is given".to_owned(),
            size: sums.len(),
        };
    }
    let mut accusations = Accusations::default();
    let mut undecided = 0;
    for replica in finals {
        // A counter that nobody touched must still hold nothing.
        for key in replica.values.keys() {
            sums.entry(*key).or_default();
        }
        for (key, (sum, unsure)) in &sums {
            let value = replica.values.get(key).copied().unwrap_or_default();
            match UnsureAdditions::new(unsure.clone()).explain(unsure.len(), i128::from(value) - sum) {
                Explanation::Found => {}
                Explanation::Undecided => undecided += 1,
                Explanation::Impossible => accusations.add("counter-sum", || {
                    let text = format!(
                        "counter {key} on {} holds {value} in the end; the answered additions give {sum}, and {} unsure ones do not \
                         explain the rest",
                        replica.node,
                        unsure.len()
                    );
                    (text, Vec::new())
                }),
            }
        }
    }
    if undecided > 0 && accusations.is_empty() {
        return Verdict::Unknown {
            why: "counters lie within bounds, but which of the many unsure additions took effect cannot be told"
                .to_owned(),
            size: undecided,
        };
    }
    accusations.verdict()
}
