//! A thunk evaluated twice, to find out whether it is deterministic.
//!
//! Realises a check of what section 4 of the design demands of thunks. Two evaluations in one process, over one snapshot and with the same arguments, differ
//! for the reasons for which replicas do: a clock, randomness, the order of a hash map, something that is remembered from one evaluation to
//! the next. They do not differ by what is the same in one process and not in another, such as a setting or the platform. Tests: `tests/thunks/twice.rs`.

use std::collections::BTreeMap;

use super::shown::shown;
use crate::key::{Key, Value};
use crate::transaction::{Abort, Outcome, ThunkId};

/// What an evaluation came to: its outcome and its writes.
pub(super) type Effects = (Outcome, BTreeMap<Key, Option<Value>>);

/// What an evaluation came to, if another one comes to the same; else the abort that says what differed.
///
/// What panicked is not evaluated again: the panic is reported once.
pub(super) fn agreed(thunk: &ThunkId, first: Effects, again: impl FnOnce() -> Effects) -> Effects {
    if matches!(first.0, Outcome::Aborted(Abort::Panicked { .. })) {
        return first;
    }
    match difference(&first, &again()) {
        None => first,
        Some(what) => {
            let thunk = thunk.clone();
            let abort = Abort::NotDeterministic { thunk, what }.within_bounds();
            (Outcome::Aborted(abort), BTreeMap::new())
        }
    }
}

/// What differs, for a message; a key tells more than an encoded output.
fn difference((first, writes): &Effects, (second, writes_again): &Effects) -> Option<String> {
    match (first, second) {
        (Outcome::Committed(_), Outcome::Aborted(abort)) => Some(format!("it committed, and then aborted: {abort}")),
        (Outcome::Aborted(abort), Outcome::Committed(_)) => Some(format!("it aborted, and then committed: {abort}")),
        (Outcome::Aborted(one), Outcome::Aborted(other)) => {
            (one != other).then(|| format!("it aborted for one reason ({one}) and then for another ({other})"))
        }
        (Outcome::Committed(output), Outcome::Committed(output_again)) => {
            let differs = |key: &&Key| writes.get(key) != writes_again.get(key);
            if let Some(key) = writes.keys().chain(writes_again.keys()).filter(differs).min() {
                let [one, other] = [writes, writes_again].map(|writes| written(writes.get(key)));
                return Some(format!("at {key} it {one} and then {other}"));
            }
            (output != output_again).then(|| {
                let [one, other] = [output, output_again].map(|output| shown(Some(output)));
                format!("its encoded output was {one} and then {other}")
            })
        }
    }
}

fn written(write: Option<&Option<Value>>) -> String {
    match write {
        None => "wrote nothing".to_owned(),
        Some(None) => "removed what was there".to_owned(),
        Some(Some(value)) => format!("wrote {}", shown(Some(value))),
    }
}
