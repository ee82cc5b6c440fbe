//! Which keys have something on disk that nobody can see any more, or will not be able to see soon.
//!
//! A flush that leaves two rows of one key, or a deletion, notes the key under the second of its newest row. Once the oldest snapshot
//! has passed that second, everything below that row is covered, and a later flush removes it. What was noted is forgotten by a restart: then
//! a walk over all rows, a piece with every flush, finds it again. Nothing here touches the disk.

use std::collections::BTreeMap;

use super::super::second_of;
use crate::key::Key;
use crate::time::Hlc;

/// Noted keys that a flush looks after at most, beside as many as it writes.
const DUE_MAX: usize = 4_096;

/// Notes that are kept in memory at most. Beyond: they are forgotten, and the walk finds their keys.
const NOTES_MAX: usize = 1 << 20;

/// What is to be collected, and who holds it back.
#[derive(Debug)]
pub(super) struct Collection {
    /// By second, the keys that are to be looked after once the oldest snapshot has passed it.
    noted: BTreeMap<u64, Vec<Key>>,
    /// How many these are.
    notes: usize,
    walk: Walk,
    /// The snapshots that are held, and by how many.
    held: BTreeMap<Hlc, usize>,
}

/// How far the walk over all rows has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// It goes on with the first key at or behind `next`, which is the first of all if absent.
    Under { next: Option<Key>, until: Until },
    /// Every row was seen since the restart.
    Over,
}

/// Where a walk ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// At the end of the table; then the part before this key follows, unless it is the first of all.
    EndAndThen(Option<Key>),
    /// At this key.
    Key(Key),
}

impl Walk {
    /// All around, from `next` on.
    pub(super) fn around(next: Option<Key>) -> Self {
        let until = Until::EndAndThen(next.clone());
        Self::Under { next, until }
    }

    /// Goes on after a piece. *Given* the first key that was not seen; none at the end of the table.
    pub(super) fn passed(self, unseen: Option<Key>) -> Self {
        match (self, unseen) {
            (Self::Over, _) => Self::Over,
            (
                Self::Under {
                    until: Until::Key(end), ..
                },
                Some(unseen),
            ) if unseen < end => {
                let next = Some(unseen);
                let until = Until::Key(end);
                Self::Under { next, until }
            }
            (
                Self::Under {
                    until: Until::Key(_), ..
                },
                _,
            ) => Self::Over,
            (Self::Under { until, .. }, Some(unseen)) => {
                let next = Some(unseen);
                Self::Under { next, until }
            }
            (
                Self::Under {
                    until: Until::EndAndThen(Some(begin)),
                    ..
                },
                None,
            ) => {
                let until = Until::Key(begin);
                Self::Under { next: None, until }
            }
            (
                Self::Under {
                    until: Until::EndAndThen(None),
                    ..
                },
                None,
            ) => Self::Over,
        }
    }
}

impl Collection {
    /// Nothing noted; what there is will be found from `walk` on.
    pub(super) fn new(walk: Option<Key>) -> Self {
        Self {
            noted: BTreeMap::new(),
            notes: 0,
            walk: Walk::around(walk),
            held: BTreeMap::new(),
        }
    }

    /// Notes keys, each with the second of its newest row.
    pub(super) fn note(&mut self, notes: Vec<(u64, Key)>) {
        self.notes += notes.len();
        for (second, key) in notes {
            self.noted.entry(second).or_default().push(key);
        }
        if self.notes > NOTES_MAX {
            self.noted.clear();
            self.notes = 0;
            self.walk = Walk::around(None);
        }
    }

    /// Takes keys that are to be looked after now that `oldest` is the oldest snapshot; at most some more than `written`.
    ///
    /// *Gives* them ascending, none twice.
    pub(super) fn take_due(&mut self, oldest: Hlc, written: usize) -> Vec<Key> {
        let mut room = DUE_MAX + written;
        let mut due = Vec::new();
        while let Some(mut first) = self.noted.first_entry() {
            if *first.key() >= second_of(oldest) || room == 0 {
                break;
            }
            let keys = first.get_mut();
            let taken = keys.split_off(keys.len().saturating_sub(room));
            if keys.is_empty() {
                first.remove();
            }
            room -= taken.len();
            self.notes -= taken.len();
            due.extend(taken);
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    pub(super) fn walk(&self) -> &Walk {
        &self.walk
    }

    pub(super) fn set_walk(&mut self, walk: Walk) {
        self.walk = walk;
    }

    pub(super) fn hold(&mut self, at: Hlc) {
        *self.held.entry(at).or_default() += 1;
    }

    /// *Panics* when nobody holds it.
    pub(super) fn release(&mut self, at: Hlc) {
        let holders = self.held.get_mut(&at);
        let holders = holders.unwrap_or_else(|| panic!("the snapshot at {at} is released, but nobody holds it"));
        *holders -= 1;
        if *holders == 0 {
            self.held.remove(&at);
        }
    }

    /// The lowest snapshot that somebody holds.
    pub(super) fn lowest_held(&self) -> Option<Hlc> {
        self.held.first_key_value().map(|(at, _)| *at)
    }

    /// How many keys are noted, some of them more than once.
    pub(super) fn notes(&self) -> usize {
        self.notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_second(second: u64) -> Hlc {
        Hlc::from_bits(second << 32)
    }

    fn walk_over(keys: &[&'static str], begin: Option<&'static str>, piece: usize) -> Vec<&'static str> {
        let mut walk = Walk::around(begin.map(Key::from));
        let mut seen = Vec::new();
        while let Walk::Under { next, .. } = &walk {
            let from = next.clone().unwrap_or_default();
            let mut rest = keys.iter().filter(|key| Key::from(**key) >= from);
            seen.extend(rest.by_ref().take(piece));
            let unseen = rest.next().map(|key| Key::from(*key));
            walk = walk.passed(unseen);
        }
        seen
    }

    #[test]
    fn a_walk_sees_every_key_wherever_it_begins() {
        let keys = ["a", "b", "c", "d"];
        for begin in [None, Some("a"), Some("b"), Some("bb"), Some("z")] {
            for piece in 1..6 {
                let mut seen = walk_over(&keys, begin, piece);
                seen.sort_unstable();
                seen.dedup();
                assert_eq!(seen, keys, "from {begin:?} by {piece}");
            }
        }
        assert_eq!(walk_over(&[], None, 1), [""; 0]);
    }

    #[test]
    fn noted_keys_are_due_when_their_second_is_over_and_not_too_many_at_once() {
        let mut collection = Collection::new(None);
        let many = (0..DUE_MAX as u64 + 10).map(|number| (at_second(1), Key::new(number.to_be_bytes())));
        collection.note(many.map(|(at, key)| (second_of(at), key)).collect());
        collection.note(vec![(second_of(at_second(2)), "late".into())]);
        assert_eq!(collection.take_due(at_second(1), 0), []);
        assert_eq!(collection.take_due(at_second(2), 0).len(), DUE_MAX);
        assert_eq!(collection.take_due(at_second(2), 0).len(), 10);
        assert_eq!(collection.notes(), 1);
        assert_eq!(collection.take_due(at_second(9), 0), [Key::from("late")]);
        assert_eq!(collection.notes(), 0);
    }

    #[test]
    fn too_many_notes_are_forgotten_and_the_walk_begins_anew() {
        let mut collection = Collection::new(None);
        collection.set_walk(Walk::Over);
        collection.note(vec![(1, Key::default()); NOTES_MAX]);
        assert_eq!(*collection.walk(), Walk::Over);
        collection.note(vec![(1, Key::default())]);
        assert_eq!((collection.notes(), collection.walk()), (0, &Walk::around(None)));
    }

    #[test]
    fn the_lowest_held_snapshot_counts_until_the_last_holder_lets_go() {
        let mut collection = Collection::new(None);
        for second in [5, 3, 3] {
            collection.hold(at_second(second));
        }
        collection.release(at_second(3));
        assert_eq!(collection.lowest_held(), Some(at_second(3)));
        collection.release(at_second(3));
        assert_eq!(collection.lowest_held(), Some(at_second(5)));
    }
}
