//! Strict serializability by its definition: try every order. For histories of a few operations only.

use super::generate::{Store, all_unread};
use crate::history::{History, MicroOperation, Phase};

struct Operation<'h> {
    begin: usize,
    end: usize,
    is_sure: bool,
    value: &'h [MicroOperation],
}

/// Whether some order of the answered operations, and of any unsure ones between them, gives every read and agrees with
/// real time.
///
/// *Given* a history without repeated ids and without reads of snapshots.
pub(super) fn is_strictly_serializable(history: &History) -> bool {
    let mut operations = Vec::new();
    for (begin, invocation) in history
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.phase == Phase::Invoke)
    {
        let end = (begin + 1..history.entries.len()).find(|end| history.entries[*end].process == invocation.process);
        let entry = end.map_or(invocation, |end| &history.entries[end]);
        match entry.phase {
            Phase::Fail => {}
            Phase::Ok => operations.push(Operation {
                begin,
                end: end.unwrap_or(usize::MAX),
                is_sure: true,
                value: &entry.value,
            }),
            Phase::Info | Phase::Invoke => operations.push(Operation {
                begin,
                end: usize::MAX,
                is_sure: false,
                value: &invocation.value,
            }),
        }
    }
    let mut left: Vec<usize> = (0..operations.len()).collect();
    can_finish(&operations, &mut left, &Store::default())
}

fn can_finish(operations: &[Operation<'_>], left: &mut Vec<usize>, store: &Store) -> bool {
    if left.iter().all(|number| !operations[*number].is_sure) {
        return true;
    }
    for place in 0..left.len() {
        let number = left[place];
        let next = &operations[number];
        let must_wait = left.iter().any(|other| operations[*other].end < next.begin);
        let mut after = store.clone();
        let read = after.run(&all_unread(next.value));
        if must_wait || next.is_sure && read != next.value {
            continue;
        }
        left.remove(place);
        let can = can_finish(operations, left, &after);
        left.insert(place, number);
        if can {
            return true;
        }
    }
    false
}

#[test]
fn the_oracle_knows_good_from_bad() {
    use super::script::{append, history, list, ok};
    let at_once = |read: &[u64]| history(&[ok(0, 9, vec![append(1, 1)]), ok(1, 8, vec![list(1, read)])]);
    assert!(is_strictly_serializable(&at_once(&[])) && is_strictly_serializable(&at_once(&[1])));
    assert!(!is_strictly_serializable(&at_once(&[2])));
    let stale = history(&[ok(0, 1, vec![append(1, 1)]), ok(2, 3, vec![list(1, &[])])]);
    assert!(!is_strictly_serializable(&stale));
    let unsure = |read: &[u64]| {
        history(&[
            ok(0, 1, vec![append(1, 1)]).phase(Phase::Info),
            ok(2, 3, vec![list(1, read)]),
        ])
    };
    assert!(is_strictly_serializable(&unsure(&[])) && is_strictly_serializable(&unsure(&[1])));
    let skew = [
        ok(0, 5, vec![list(1, &[]), append(2, 1)]),
        ok(1, 6, vec![list(2, &[]), append(1, 1)]),
    ];
    assert!(!is_strictly_serializable(&history(&skew)));
}
