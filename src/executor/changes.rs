//! What has become of the keys of a range, in the order of timestamps: what a watch is fed with.
//!
//! The versions are the history of every key for as long as snapshots are kept, and therefore hold all of it, by key. Who asks by time has them walked,
//! in steps, so that evaluation goes on in between; what was written last is [at hand](super::recent). Everything at or below the evaluated bound
//! is final and the same on every replica, so a question may go on at another one. Tests: `tests/changes.rs`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bincode::{Decode, Encode};

use super::recent::Backlog;
use super::serial::{ReadError, SerialExecutor};
use crate::id::NodeId;
use crate::key::{Key, KeyRange, Value};
use crate::limits::{
    CHANGES_BYTES_MAX, CHANGES_MAX, CHANGES_RECENT_BYTES_MAX, CHANGES_RECENT_MAX, CHANGES_WALK_VERSIONS,
};
use crate::store::Versions;
use crate::time::{Hlc, Timestamp};

/// What a transaction did to one key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyChange {
    /// Where the transaction took effect: what one transaction wrote has one timestamp, and nothing else has it.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Key,
    /// What was written; none, if it was deleted. It may be what was there before.
    pub value: Option<Value>,
}

impl KeyChange {
    /// Bytes of its key and value.
    pub(super) fn bytes(&self) -> usize {
        bytes_of(&self.key, self.value.as_ref())
    }

    /// Just behind it.
    pub(super) fn place(&self) -> Place {
        Place {
            timestamp: self.timestamp,
            key: Some(self.key.clone()),
        }
    }
}

fn bytes_of(key: &Key, value: Option<&Value>) -> usize {
    key.as_bytes().len() + value.map_or(0, |value| value.as_bytes().len())
}

/// How far changes were seen: those below a timestamp, and at it those up to a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Place {
    /// Everything below was seen.
    pub timestamp: Timestamp,
    /// At the timestamp everything up to this key was seen; all of it, if there is none.
    pub key: Option<Key>,
}

impl Place {
    /// Behind everything at or below `timestamp`.
    pub fn after(timestamp: Timestamp) -> Self {
        Self { timestamp, key: None }
    }

    /// Whether a change lies before it.
    pub(super) fn has_passed(&self, change: &KeyChange) -> bool {
        self.has_passed_key(change.timestamp, &change.key)
    }

    fn has_passed_key(&self, timestamp: Timestamp, key: &Key) -> bool {
        let is_among = || self.key.as_ref().is_none_or(|last| key <= last);
        timestamp < self.timestamp || timestamp == self.timestamp && is_among()
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_key = || self.key.cmp(&other.key);
        let by_end = || self.key.is_none().cmp(&other.key.is_none());
        self.timestamp.cmp(&other.timestamp).then_with(by_end).then_with(by_key)
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which changes are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ChangesQuery {
    /// Of which keys.
    pub range: KeyRange,
    /// Behind which place.
    pub after: Place,
    /// How many at most; one at least and [`CHANGES_MAX`] at most are given.
    pub limit: usize,
}

/// An answer: every change of the range from behind the place of the question up to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Changes {
    /// Ascending by timestamp, and of one timestamp by key.
    pub changes: Vec<KeyChange>,
    /// Where to ask on. It names a key only if what one transaction wrote has not all come yet, being more than one answer holds.
    pub upto: Place,
}

/// The first `limit` of these changes, and as many bytes as an answer may have. *Given* the place behind the last of them.
pub(super) fn page<'a>(changes: impl Iterator<Item = &'a KeyChange>, limit: usize, end: Place) -> Changes {
    let limit = limit.clamp(1, CHANGES_MAX);
    let (mut taken, mut bytes) = (Vec::new(), 0);
    for change in changes {
        bytes += change.bytes();
        if taken.len() >= limit || !taken.is_empty() && bytes > CHANGES_BYTES_MAX {
            return cut(taken, change.timestamp);
        }
        taken.push(change.clone());
    }
    Changes {
        changes: taken,
        upto: end,
    }
}

/// An answer that ends where a transaction ends, if one does. *Given* the timestamp of the change that follows.
fn cut(mut taken: Vec<KeyChange>, next: Timestamp) -> Changes {
    let whole = taken.partition_point(|change| change.timestamp < next);
    if whole > 0 {
        taken.truncate(whole);
    }
    let last = taken.last().expect("one change is within every bound, and taken");
    let upto = match whole {
        0 => last.place(),
        _ => Place::after(last.timestamp),
    };
    Changes { changes: taken, upto }
}

/// A question, and how far the search for its answer has come.
#[derive(Debug)]
pub struct Search {
    query: ChangesQuery,
    walk: Option<Walk>,
}

impl Search {
    /// One that is to begin. Keys that belong to Plimsoll are left out, as they are of scans.
    pub fn new(query: ChangesQuery) -> Self {
        let range = query.range.of_users();
        let query = ChangesQuery { range, ..query };
        Self { query, walk: None }
    }

    /// What is searched for.
    pub fn query(&self) -> &ChangesQuery {
        &self.query
    }

    /// Whether versions have been walked for it.
    pub fn is_under_way(&self) -> bool {
        self.walk.is_some()
    }
}

/// What a step of a search comes to.
#[derive(Debug)]
pub enum Sought {
    /// The answer.
    Found(Changes),
    /// The search has to go on.
    Searching(Search),
}

/// A walk over the versions of a range.
#[derive(Debug)]
struct Walk {
    /// Changes up to this bound are looked for: the evaluated one when it began.
    bound: Hlc,
    /// The last version that was passed.
    passed: (Key, Timestamp),
    /// The first changes among those passed, as many as are kept.
    found: BTreeMap<(Timestamp, Key), Option<Value>>,
    bytes: usize,
    /// The first of those passed that are not kept.
    left_out: Option<(Timestamp, Key)>,
}

/// What a step of a walk comes to.
enum Step {
    Done,
    More,
}

impl Walk {
    fn new(range: &KeyRange, bound: Hlc) -> Self {
        let front = Timestamp {
            hlc: Hlc::ZERO,
            node: NodeId::new(0),
        };
        Self {
            bound,
            passed: (range.start().clone(), front),
            found: BTreeMap::new(),
            bytes: 0,
            left_out: None,
        }
    }

    /// Passes some versions. *Given* that all behind the place of the query are kept.
    fn step(&mut self, versions: &impl Versions, query: &ChangesQuery) -> Step {
        // Of every key its base is shown as well, which lies before the place.
        let oldest = versions.oldest().max(query.after.timestamp.hlc.prev());
        let (from, mut seen, mut step) = (self.passed.clone(), 0, Step::Done);
        versions.history(oldest, Some((&from.0, from.1)), &mut |key, at, value| {
            if query.range.end().is_some_and(|end| key >= end) {
                return ControlFlow::Break(());
            }
            if at.hlc <= self.bound && !query.after.has_passed_key(at, key) {
                self.add(at, key, value);
            }
            seen += 1;
            if seen < CHANGES_WALK_VERSIONS {
                return ControlFlow::Continue(());
            }
            self.passed = (key.clone(), at);
            step = Step::More;
            ControlFlow::Break(())
        });
        step
    }

    fn add(&mut self, at: Timestamp, key: &Key, value: Option<&Value>) {
        let name = (at, key.clone());
        if self.left_out.as_ref().is_some_and(|left_out| name >= *left_out) {
            return;
        }
        self.bytes += bytes_of(key, value);
        self.found.insert(name, value.cloned());
        while (self.found.len() > CHANGES_RECENT_MAX || self.bytes > CHANGES_RECENT_BYTES_MAX)
            && let Some((name, value)) = self.found.pop_last()
        {
            self.bytes -= bytes_of(&name.1, value.as_ref());
            self.left_out = Some(name);
        }
    }

    fn into_backlog(self, query: &ChangesQuery) -> Backlog {
        let found = self.found.into_iter();
        let changes = found
            .map(|((timestamp, key), value)| KeyChange { timestamp, key, value })
            .collect();
        let Changes { changes, upto } = match self.left_out {
            Some((next, _)) => cut(changes, next),
            None => Changes {
                changes,
                upto: Place::after(Timestamp::last_at(self.bound)),
            },
        };
        Backlog {
            range: query.range.clone(),
            from: query.after.clone(),
            upto,
            changes: changes.into(),
        }
    }
}

impl<V: Versions> SerialExecutor<V> {
    /// The first changes behind a place, of those that are final here. A place that lies ahead of this replica has none yet.
    ///
    /// *Errors* when the changes behind it are no longer all kept, or the versions have failed.
    ///
    /// *Cost*: see [`SerialExecutor::seek`], which can be interrupted.
    pub fn changes(&mut self, query: ChangesQuery) -> Result<Changes, ReadError> {
        let mut search = Search::new(query);
        loop {
            match self.seek(search)? {
                Sought::Found(changes) => return Ok(changes),
                Sought::Searching(further) => search = further,
            }
        }
    }

    /// Takes a search one step further.
    ///
    /// *Errors*: see [`SerialExecutor::changes`].
    ///
    /// *Cost*: where the changes are at hand, that of looking at them; they are, from the first question on, up to
    /// [`CHANGES_RECENT_MAX`] of them and [`CHANGES_RECENT_BYTES_MAX`] of their bytes. Else as many steps as the range has versions, by
    /// [`CHANGES_WALK_VERSIONS`], and what they found beyond the answer is at hand for the next question.
    pub fn seek(&mut self, search: Search) -> Result<Sought, ReadError> {
        let Search { query, walk } = search;
        let evaluated = self.versions.evaluated();
        let mut walk = match walk {
            Some(walk) => walk,
            None => match self.at_hand(&query, evaluated) {
                Some(changes) => return self.unless_failed(Sought::Found(changes)),
                None => Walk::new(&query.range, evaluated),
            },
        };
        self.check_behind_kept(&query.after)?;
        let step = walk.step(&self.versions, &query);
        // What was passed when reading failed is worth nothing.
        self.unless_failed(())?;
        if let Step::More = step {
            let walk = Some(walk);
            return Ok(Sought::Searching(Search { query, walk }));
        }
        let backlog = walk.into_backlog(&query);
        let answer = page(backlog.changes.iter(), query.limit, backlog.upto.clone());
        if answer.upto < backlog.upto {
            self.recent.keep(backlog);
        }
        Ok(Sought::Found(answer))
    }

    /// The answer, if no version need be looked at.
    fn at_hand(&mut self, query: &ChangesQuery, evaluated: Hlc) -> Option<Changes> {
        self.recent.ask(self.last);
        let end = Place::after(Timestamp::last_at(evaluated));
        let nothing = |upto| Changes {
            changes: Vec::new(),
            upto,
        };
        if query.after >= end {
            return Some(nothing(query.after.clone()));
        }
        if query.after >= Place::after(self.last) {
            return Some(nothing(end));
        }
        self.recent.answer(query, evaluated)
    }

    /// *Errors* when a change behind the place may have been collected: at the oldest snapshot the newest version of each key is left,
    /// and below it nothing.
    fn check_behind_kept(&self, after: &Place) -> Result<(), ReadError> {
        let oldest = self.versions.oldest();
        let is_kept =
            oldest == Hlc::ZERO || after.timestamp.hlc > oldest || *after >= Place::after(Timestamp::last_at(oldest));
        match is_kept {
            true => Ok(()),
            false => Err(ReadError::Collected {
                at: after.timestamp.hlc,
                oldest,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(count: u64) -> Timestamp {
        Timestamp {
            hlc: Hlc::from_bits(count),
            node: NodeId::new(1),
        }
    }

    fn change(count: u64, key: &str) -> KeyChange {
        KeyChange {
            timestamp: at(count),
            key: key.into(),
            value: None,
        }
    }

    #[test]
    fn places_are_ordered_as_what_they_have_passed() {
        let behind = |count, key: Option<&str>| Place {
            timestamp: at(count),
            key: key.map(Key::from),
        };
        let ascending = [
            behind(1, None),
            behind(2, Some("a")),
            behind(2, Some("b")),
            behind(2, None),
            behind(3, None),
        ];
        assert!(ascending.is_sorted());
        let passed = |place: &Place| [change(2, "a"), change(2, "b"), change(2, "c")].map(|one| place.has_passed(&one));
        let all = ascending.each_ref().map(passed);
        let [t, f] = [true, false];
        assert_eq!(all, [[f, f, f], [t, f, f], [t, t, f], [t, t, t], [t, t, t]]);
    }

    #[test]
    fn an_answer_ends_between_transactions_unless_one_has_more_than_it_holds() {
        let changes = [change(1, "a"), change(2, "a"), change(2, "b"), change(2, "c")];
        let end = Place::after(at(9));
        let of = |from: usize, limit| {
            let Changes { changes, upto } = page(changes[from..].iter(), limit, end.clone());
            (changes.len(), upto)
        };
        assert_eq!(of(0, 0), (1, Place::after(at(1))));
        assert_eq!(of(0, 3), (1, Place::after(at(1))));
        assert_eq!(of(0, 4), (4, end.clone()));
        assert_eq!(of(1, 2), (2, changes[2].place()));
        assert_eq!(of(3, 2), (1, end.clone()));
    }

    #[test]
    fn an_answer_holds_so_many_bytes_and_always_one_change() {
        let large = |count| KeyChange {
            value: Some(Value::new(vec![0; CHANGES_BYTES_MAX / 2])),
            ..change(count, "large")
        };
        let changes = [large(1), large(2), large(3)];
        assert_eq!(page(changes.iter(), 9, Place::after(at(9))).upto, Place::after(at(1)));
    }
}
