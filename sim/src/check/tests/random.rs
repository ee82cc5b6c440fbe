//! Random histories: good ones pass, planted faults are caught, and of tiny ones an oracle tells which is which.

use std::collections::BTreeMap;

use plimsoll::id::NodeId;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::generate::{Shape, generate};
use super::oracle::is_strictly_serializable;
use crate::check::{
    Checks, FinalCounters, Observed, Verdict, Workload, counter_sums, list_append, registers, strict_serializability,
    witness,
};
use crate::history::MicroOperation::{self, ReadCounter, ReadList, ReadRegister};
use crate::history::{History, Phase};

const TINY: Shape = Shape {
    operations: 5,
    processes: 3,
    keys: 2,
    steps_max: 3,
    counters: false,
    ..Shape::SMALL
};

/// So many times as many cases as are usual.
fn config(times: u32) -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: times * usual.cases,
        failure_persistence: None,
        ..usual
    }
}

/// Drops the operations that the oracle does not know: reads of snapshots, and further attempts under one id.
fn without_what_the_oracle_does_not_know(history: &mut History) {
    let mut ids = std::collections::BTreeSet::new();
    let mut dropped = std::collections::BTreeSet::new();
    for entry in history.entries.iter().filter(|entry| entry.phase == Phase::Invoke) {
        if matches!(entry.function, "snapshot-read" | "after-read") || entry.id.is_some_and(|id| !ids.insert(id)) {
            dropped.insert((entry.process, entry.time_us, entry.value.len()));
        }
    }
    let mut skipping = std::collections::BTreeSet::new();
    history.entries.retain(|entry| match entry.phase {
        Phase::Invoke => {
            let is_dropped = dropped.contains(&(entry.process, entry.time_us, entry.value.len()));
            is_dropped.then(|| skipping.insert(entry.process)).is_none()
        }
        _ => !skipping.remove(&entry.process),
    });
}

/// Changes one read of an answered operation into something else that looks likely; gives whether there was any.
fn change_a_read(history: &mut History, random: &mut Xoshiro256PlusPlus) -> bool {
    let steps = history
        .entries
        .iter_mut()
        .filter(|entry| entry.phase == Phase::Ok)
        .flat_map(|entry| &mut entry.value);
    let mut reads: Vec<&mut MicroOperation> = steps.filter(|step| !step.is_write()).collect();
    if reads.is_empty() {
        return false;
    }
    let other = random.random_range(0..reads.len());
    let other = reads[other].clone();
    let read = random.random_range(0..reads.len());
    match (&mut *reads[read], other) {
        (
            ReadList {
                elements: Some(elements),
                ..
            },
            ReadList {
                elements: Some(others), ..
            },
        ) => match random.random_range(0..5) {
            0 => drop(elements.pop()),
            1 if elements.len() > 1 => {
                let place = random.random_range(1..elements.len());
                elements.swap(place - 1, place);
            }
            2 => *elements = others,
            3 if !elements.is_empty() => drop(elements.remove(random.random_range(0..elements.len()))),
            _ => elements.push(random.random_range(1..20)),
        },
        (ReadRegister { value, .. }, ReadRegister { value: other, .. }) => match random.random_range(0..3) {
            0 => *value = Some(None),
            1 => *value = other,
            _ => *value = Some(Some(random.random_range(1..20))),
        },
        (ReadCounter { value: Some(value), .. }, _) => *value += random.random_range(-2..=2),
        (
            ReadList {
                elements: Some(elements),
                ..
            },
            _,
        ) => drop(elements.pop()),
        (ReadRegister { value, .. }, _) => *value = Some(None),
        _ => {}
    }
    true
}

/// Moves an entry of an operation that is at its ends, so that real time changes.
fn change_the_times(history: &mut History, random: &mut Xoshiro256PlusPlus) {
    if history.entries.len() < 2 {
        return;
    }
    let place = random.random_range(1..history.entries.len());
    let (a, b) = (&history.entries[place - 1], &history.entries[place]);
    if a.process != b.process {
        let (earlier, later) = (a.time_us, b.time_us);
        history.entries.swap(place - 1, place);
        history.entries[place - 1].time_us = earlier;
        history.entries[place].time_us = later;
    }
}

fn finals(store: &super::generate::Store) -> Vec<FinalCounters> {
    vec![FinalCounters {
        node: NodeId::new(0),
        values: store.counters.clone(),
    }]
}

/// The operations that were answered with a strict view, as entry numbers of invocation and end.
fn answered(history: &History) -> Vec<(usize, usize)> {
    let mut open = BTreeMap::new();
    let mut answered = Vec::new();
    for (index, entry) in history.entries.iter().enumerate() {
        match entry.phase {
            Phase::Invoke => drop(open.insert(entry.process, index)),
            Phase::Ok => answered.extend(open.get(&entry.process).map(|begin| (*begin, index))),
            _ => {}
        }
    }
    answered
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn what_a_serial_store_did_passes(seed in any::<u64>(), operations in 1..200_usize, processes in 1..9_usize, keys in 1..5_u64) {
        let (history, store) = generate(seed, &Shape { operations, processes, keys, ..Shape::SMALL });
        let verdicts = Checks::new(Workload::Mixed).without("liveness").run(&Observed::history(&history));
        for (name, verdict) in verdicts {
            // Of counters with many unsure additions nobody can tell more.
            let is_fine = verdict.is_pass() || name == "witness" && !verdict.is_fail();
            prop_assert!(is_fine, "{name}: {verdict}");
        }
        prop_assert!(!counter_sums(&history, &BTreeMap::new(), &finals(&store)).is_fail());
        prop_assert!(list_append(&history).is_pass() && registers(&history).is_pass());
    }

    #[test]
    fn a_history_without_unsure_counters_is_decided(seed in any::<u64>()) {
        let (history, _) = generate(seed, &Shape { counters: false, ..Shape::SMALL });
        prop_assert_eq!(witness(&history), Verdict::Pass);
        let (history, store) = generate(seed, &Shape { is_rough: false, ..Shape::SMALL });
        prop_assert_eq!(witness(&history), Verdict::Pass);
        prop_assert_eq!(counter_sums(&history, &BTreeMap::new(), &finals(&store)), Verdict::Pass);
    }

    #[test]
    fn a_changed_history_never_stops_a_checker(seed in any::<u64>(), changes in 1..6) {
        let (mut history, _) = generate(seed, &Shape::SMALL);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..changes {
            change_a_read(&mut history, &mut random);
            change_the_times(&mut history, &mut random);
            let dropped = random.random_range(0..history.entries.len());
            if random.random_range(0..5) == 0 {
                history.entries.remove(dropped);
            }
        }
        for verdict in Checks::new(Workload::Mixed).run(&Observed::history(&history)).values() {
            prop_assert!(!verdict.to_string().is_empty());
        }
    }

    #[test]
    fn a_lost_or_invented_or_repeated_element_is_caught(seed in any::<u64>()) {
        let shape = Shape { operations: 20, counters: false, registers: false, ..Shape::SMALL };
        let (history, _) = generate(seed, &shape);
        for (begin, end) in answered(&history) {
            for (place, step) in history.entries[end].value.iter().enumerate() {
                let ReadList { elements: Some(elements), key } = step else { continue };
                let changed = |elements: Vec<u64>| {
                    let mut changed = history.clone();
                    changed.entries[end].value[place] = ReadList { key: *key, elements: Some(elements) };
                    changed
                };
                prop_assert!(list_append(&changed([&elements[..], &[1 << 40]].concat())).is_fail());
                let Some(last) = elements.last() else { continue };
                prop_assert!(list_append(&changed([&elements[..], &[*last]].concat())).is_fail());
                let shorter = changed(elements[..elements.len() - 1].to_vec());
                let was_answered_before = answered(&history).iter().any(|(_, answer)| {
                    let append = MicroOperation::Append { key: *key, element: *last };
                    *answer < begin && history.entries[*answer].value.contains(&append)
                });
                let is_strict = !matches!(history.entries[begin].function, "snapshot-read" | "after-read");
                // Another attempt under the same id may have taken effect before this one was invoked.
                let id = history.entries[begin].id;
                let is_first = !history.entries[..begin].iter().any(|entry| id.is_some() && entry.id == id);
                if was_answered_before && is_strict && is_first {
                    prop_assert!(list_append(&shorter).is_fail(), "{last} of list {key} is lost at {end}");
                }
                prop_assert!(witness(&changed([&elements[..], &[1 << 40]].concat())).is_fail());
            }
        }
    }

    #[test]
    fn a_wrong_counter_is_caught_by_the_claims(seed in any::<u64>(), error in prop::sample::select(vec![-1_i64, 1, 7])) {
        let (mut history, _) = generate(seed, &Shape { is_rough: false, ..Shape::SMALL });
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut reads = Vec::new();
        for entry in history.entries.iter_mut().filter(|entry| entry.phase == Phase::Ok) {
            reads.extend(entry.value.iter_mut().filter_map(|step| match step {
                ReadCounter { value: Some(value), .. } => Some(value),
                _ => None,
            }));
        }
        prop_assume!(!reads.is_empty());
        let read = random.random_range(0..reads.len());
        *reads[read] += error;
        prop_assert!(witness(&history).is_fail());
    }

    #[test]
    fn swapped_timestamps_against_real_time_are_caught(seed in any::<u64>()) {
        let (mut history, _) = generate(seed, &Shape { is_rough: false, ..Shape::SMALL });
        let answered = answered(&history);
        let (first, last) = (answered[0], answered[answered.len() - 1]);
        prop_assume!(first.1 < last.0);
        let swapped = (history.entries[first.1].timestamp, history.entries[last.1].timestamp);
        (history.entries[last.1].timestamp, history.entries[first.1].timestamp) = swapped;
        prop_assert!(witness(&history).is_fail());
    }
}

proptest! {
    #![proptest_config(config(6))]

    #[test]
    fn whoever_is_accused_is_guilty(seed in any::<u64>(), changes in 0..4, times in 0..6) {
        let (mut history, _) = generate(seed, &TINY);
        without_what_the_oracle_does_not_know(&mut history);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..changes {
            change_a_read(&mut history, &mut random);
        }
        for _ in 0..times {
            change_the_times(&mut history, &mut random);
        }
        let is_good = is_strictly_serializable(&history);
        for verdict in [list_append(&history), registers(&history), strict_serializability(&history)] {
            prop_assert!(!(is_good && verdict.is_fail()), "{verdict}");
        }
        // Claims are stronger: they may fail where some other order would do. But if they hold, the history is good.
        if witness(&history).is_pass() {
            prop_assert!(is_good || has_unsure(&history), "the claims hold, but no order explains the history");
        }
    }

    #[test]
    fn with_all_lists_read_at_the_end_nobody_guilty_escapes(seed in any::<u64>(), changes in 0..4, times in 0..6) {
        let shape = Shape { operations: 5, registers: false, reads_all: true, ..TINY };
        let (mut history, _) = generate(seed, &shape);
        without_what_the_oracle_does_not_know(&mut history);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let last = history.entries.split_off(history.entries.len() - 2);
        for _ in 0..changes {
            change_a_read(&mut history, &mut random);
        }
        for _ in 0..times {
            change_the_times(&mut history, &mut random);
        }
        history.entries.extend(last);
        let verdict = list_append(&history);
        prop_assert_eq!(verdict.is_pass(), is_strictly_serializable(&history), "{}", verdict);
    }
}

fn has_unsure(history: &History) -> bool {
    answered(history).len()
        < history
            .entries
            .iter()
            .filter(|entry| entry.phase == Phase::Invoke)
            .count()
}
