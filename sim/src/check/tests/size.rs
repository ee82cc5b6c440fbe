//! How long large histories take: not asserted, since machines differ, but printed when asked for.

use std::time::Instant;

use super::generate::{Shape, generate};
use super::script::unread;
use crate::check::{Verdict, list_append, registers, witness};
use crate::history::History;
use crate::history::MicroOperation::ReadList;

fn large(lists: bool) -> History {
    let shape = Shape {
        operations: 1_000_000,
        processes: 50,
        keys: 10,
        steps_max: 4,
        lists,
        registers: !lists,
        counters: false,
        keys_rotate: true,
        ..Shape::SMALL
    };
    generate(1, &shape).0
}

/// Lets an early transaction read a list of the end, so that nearly all operations between form one component.
fn see_the_future(history: &mut History) {
    let ends: Vec<usize> = (0..history.entries.len())
        .filter(|end| history.entries[*end].timestamp.is_some())
        .collect();
    let (early, late) = ends.split_at(1000);
    let future = late
        .iter()
        .rev()
        .flat_map(|end| &history.entries[*end].value)
        .find_map(|step| match step {
            ReadList {
                elements: Some(elements),
                ..
            } if !elements.is_empty() => Some(step.clone()),
            _ => None,
        });
    let future = future.expect("some list is read late");
    let end = *early.last().expect("a thousand");
    let process = history.entries[end].process;
    let begin = (0..end).rev().find(|begin| history.entries[*begin].process == process);
    let begin = begin.expect("an answer has an invocation");
    history.entries[begin].value.push(unread(&future));
    history.entries[end].value.push(future);
}

fn timed(name: &str, history: &History, check: fn(&History) -> Verdict) -> Verdict {
    #[allow(clippy::disallowed_methods, reason = "it measures")]
    let start = Instant::now();
    let verdict = check(history);
    println!(
        "{name}: {} entries in {:.2} s",
        history.entries.len(),
        start.elapsed().as_secs_f64()
    );
    verdict
}

#[test]
#[ignore = "takes long, and says how long: run it in release with --nocapture"]
fn a_million_operations() {
    let mut lists = large(true);
    assert!(timed("list-append, good", &lists, list_append).is_pass());
    assert!(timed("witness of lists, good", &lists, witness).is_pass());
    see_the_future(&mut lists);
    let verdict = timed("list-append, bad", &lists, list_append);
    assert!(
        verdict.violations().iter().any(|violation| violation.cycle.len() == 2),
        "{verdict}"
    );
    drop(lists);
    let values = large(false);
    assert!(timed("registers, good", &values, registers).is_pass());
    assert!(timed("witness of registers, good", &values, witness).is_pass());
}
