//! The changes that a replica has at hand for watches: a ring of the last ones, and what walks over the versions have found.
//!
//! Most watches are at the end of what happens, and are served from the ring. It is filled only while somebody asks: a replica that nobody watches pays
//! one branch for each write. That nobody asks is seen by the ring itself, once it has gone round since the last question: by then it would serve nobody
//! who comes back. So there is no time-out, and what is kept depends on inputs alone.

use std::collections::VecDeque;

use super::changes::{Changes, ChangesQuery, KeyChange, Place, page};
use crate::key::{Key, KeyRange, Value};
use crate::limits::{CHANGES_BACKLOGS_MAX, CHANGES_RECENT_BYTES_MAX, CHANGES_RECENT_MAX};
use crate::time::{Hlc, Timestamp};

/// What is at hand; nothing, as long as nobody asks.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ring: Option<Ring>,
    /// The last walks, the oldest first, whose changes have not all been asked for.
    backlogs: VecDeque<Backlog>,
}

impl Recent {
    /// A transaction writes a key.
    pub(super) fn note(&mut self, timestamp: Timestamp, key: &Key, value: Option<&Value>) {
        let Some(ring) = &mut self.ring else { return };
        ring.push(KeyChange {
            timestamp,
            key: key.clone(),
            value: value.cloned(),
        });
        if !ring.has_turned_unasked() {
            return;
        }
        *self = Self::default();
    }

    /// Somebody asks. *Given* the last record evaluated: whatever follows is noted from now on.
    pub(super) fn ask(&mut self, last: Timestamp) {
        self.ring.get_or_insert_with(|| Ring::new(last)).unasked = 0;
    }

    /// The answer to a query, if it is at hand. *Given* the bound up to which changes are final.
    pub(super) fn answer(&mut self, query: &ChangesQuery, evaluated: Hlc) -> Option<Changes> {
        let from_ring = self.ring.as_ref().and_then(|ring| ring.answer(query, evaluated));
        from_ring.or_else(|| self.answer_from_backlog(query))
    }

    fn answer_from_backlog(&mut self, query: &ChangesQuery) -> Option<Changes> {
        let place = self.backlogs.iter().position(|backlog| backlog.serves(query))?;
        let backlog = &mut self.backlogs[place];
        let answer = backlog.answer(query);
        if answer.upto >= backlog.upto {
            self.backlogs.remove(place);
        }
        Some(answer)
    }

    /// Keeps what a walk has found.
    pub(super) fn keep(&mut self, backlog: Backlog) {
        if self.backlogs.len() >= CHANGES_BACKLOGS_MAX {
            self.backlogs.pop_front();
        }
        self.backlogs.push_back(backlog);
    }
}

/// The last changes of all keys, ascending.
#[derive(Debug)]
struct Ring {
    changes: VecDeque<KeyChange>,
    bytes: usize,
    /// Every change behind it is here.
    from: Place,
    /// How many have come since somebody asked.
    unasked: usize,
}

impl Ring {
    fn new(last: Timestamp) -> Self {
        Self {
            changes: VecDeque::new(),
            bytes: 0,
            from: Place::after(last),
            unasked: 0,
        }
    }

    fn push(&mut self, change: KeyChange) {
        self.bytes += change.bytes();
        self.unasked += 1;
        self.changes.push_back(change);
        while (self.changes.len() > CHANGES_RECENT_MAX || self.bytes > CHANGES_RECENT_BYTES_MAX)
            && let Some(gone) = self.changes.pop_front()
        {
            self.bytes -= gone.bytes();
            self.from = gone.place();
        }
    }

    /// Whether something that came since the last question has gone already.
    fn has_turned_unasked(&self) -> bool {
        self.unasked > self.changes.len()
    }

    fn answer(&self, query: &ChangesQuery, evaluated: Hlc) -> Option<Changes> {
        let end = Place::after(Timestamp::last_at(evaluated));
        if query.after < self.from || end < self.from {
            return None;
        }
        let first = self.changes.partition_point(|change| query.after.has_passed(change));
        let behind = self.changes.range(first..);
        // A batch that stopped in the middle has left some above the bound.
        let is_final = |change: &&KeyChange| change.timestamp.hlc <= evaluated;
        let changes = behind
            .take_while(is_final)
            .filter(|change| query.range.contains(&change.key));
        Some(page(changes, query.limit, end))
    }
}

/// What a walk over the versions has found of one range.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) range: KeyRange,
    /// Every change of the range behind it and up to `upto` is here.
    pub(super) from: Place,
    pub(super) upto: Place,
    /// Ascending.
    pub(super) changes: VecDeque<KeyChange>,
}

impl Backlog {
    fn serves(&self, query: &ChangesQuery) -> bool {
        self.range == query.range && self.from <= query.after && query.after < self.upto
    }

    /// Lets go of what whoever asks has seen.
    fn answer(&mut self, query: &ChangesQuery) -> Changes {
        let seen = self.changes.partition_point(|change| query.after.has_passed(change));
        self.changes.drain(..seen);
        self.from = query.after.clone();
        page(self.changes.iter(), query.limit, self.upto.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn at(count: u64) -> Timestamp {
        Timestamp {
            hlc: Hlc::from_bits(count),
            node: NodeId::new(1),
        }
    }

    fn write(recent: &mut Recent, counts: std::ops::Range<u64>, value: &Value) {
        for count in counts {
            recent.note(at(count), &"k".into(), Some(value));
        }
    }

    fn query(after: u64) -> ChangesQuery {
        ChangesQuery {
            range: KeyRange::from(Key::default()),
            after: Place::after(at(after)),
            limit: 1,
        }
    }

    #[test]
    fn nothing_is_noted_before_somebody_asks_and_everything_behind_the_question_is() {
        let mut recent = Recent::default();
        write(&mut recent, 1..5, &"x".into());
        assert!(recent.ring.is_none());
        recent.ask(at(4));
        write(&mut recent, 5..9, &"x".into());
        assert_eq!(recent.answer(&query(3), at(8).hlc), None);
        let found = recent.answer(&query(4), at(8).hlc).expect("it was noted");
        assert_eq!((found.changes[0].timestamp, found.upto), (at(5), Place::after(at(5))));
    }

    #[test]
    fn a_ring_is_bounded_in_number_and_in_bytes_while_somebody_asks() {
        let (count_max, large) = (CHANGES_RECENT_MAX as u64, Value::new(vec![0; 1 << 20]));
        let mut recent = Recent::default();
        recent.ask(at(0));
        write(&mut recent, 1..count_max, &"x".into());
        recent.ask(at(count_max));
        write(&mut recent, count_max..count_max + 10, &"x".into());
        let ring = recent.ring.as_ref().expect("somebody asks");
        assert_eq!((ring.changes.len(), ring.from.timestamp), (CHANGES_RECENT_MAX, at(9)));
        write(&mut recent, count_max + 10..count_max + 13, &large);
        recent.ask(at(count_max + 13));
        write(&mut recent, count_max + 13..count_max + 19, &large);
        let ring = recent.ring.as_ref().expect("somebody asks");
        assert!(
            ring.bytes <= CHANGES_RECENT_BYTES_MAX && ring.changes.len() == 7,
            "{}",
            ring.changes.len()
        );
    }

    #[test]
    fn a_ring_that_has_turned_since_the_last_question_is_let_go() {
        let mut recent = Recent::default();
        recent.ask(at(0));
        let turned = CHANGES_RECENT_MAX as u64 + 1;
        write(&mut recent, 1..turned, &"x".into());
        assert!(recent.ring.is_some());
        write(&mut recent, turned..turned + 1, &"x".into());
        assert!(recent.ring.is_none());
    }
}
