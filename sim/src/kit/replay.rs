//! The witness of a kit: the transactions again, one after the other in the order of their timestamps, over a plain map.
//!
//! The system claims a place for every transaction. If evaluating the user's own thunks in that order, each id once, gives every output
//! that a client was told and everything that anybody read, then the outcome is that of some serial execution, and this one is it; that
//! the places agree with real time is for the witness of the history to say. Nothing of an executor or a store is used here but the
//! evaluation of one thunk.
//!
//! The order is what the replicas evaluated; what they came to by a snapshot of another and nobody else evaluated is not known, and
//! then what depends on it is left undecided.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll::client::admit;
use plimsoll::id::TransactionId;
use plimsoll::key::Key;
use plimsoll::thunk::Registry;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome};

use super::invariant::Invariants;
use super::kinds::Kinds;
use super::seen::{Seen, Sight, Submitted, behind_guards};
use super::state::{Entries, Replayed, State};
use crate::check::ReplicaTrace;
use crate::client::Reply;

/// Mistakes of one kind that are named.
const NAMED_MAX: usize = 5;

/// What the replay came to.
#[derive(Default)]
pub(super) struct Outcomes {
    /// Each transaction, in the order of its first record.
    pub(super) order: Vec<(Timestamp, TransactionId)>,
    /// Its outcome.
    pub(super) outcomes: BTreeMap<TransactionId, (Timestamp, Outcome)>,
    /// What the replay does not explain.
    pub(super) unexplained: Vec<String>,
    /// Answered transactions that a replica lacks, or has elsewhere.
    pub(super) misplaced: Vec<String>,
    /// How many transactions have no known place, though they may have one.
    pub(super) unplaced: usize,
}

/// What is replayed, and with what.
pub(super) struct Replay<'a> {
    pub(super) registry: &'a Registry,
    pub(super) kinds: &'a Kinds,
    pub(super) seen: &'a Seen,
    pub(super) replicas: &'a [ReplicaTrace],
}

impl Replay<'_> {
    /// Replays, and holds everything that was seen against it.
    ///
    /// *Given* what was read and what replicas hold in the end, in the order of its places; and the invariants, which are asked on the way.
    pub(super) fn run(&self, sights: &[&Sight], invariants: &mut Invariants<'_>) -> Outcomes {
        let mut result = Outcomes {
            misplaced: self.misplaced(),
            ..Outcomes::default()
        };
        let records = self.records();
        result.unplaced = self.unplaced(&records);
        let mut replayed = Replayed::default();
        let mut sights = sights.iter().peekable();
        for (at, id) in &records {
            while let Some(sight) = sights.next_if(|sight| Timestamp::last_at(sight.at) < *at) {
                compare(sight, &replayed.entries, &mut result.unexplained);
            }
            // A further record of an id has no effect; nor has one of a transaction that was cancelled before.
            if result.outcomes.contains_key(id) {
                continue;
            }
            result.order.push((*at, *id));
            self.evaluate(*at, *id, &mut replayed, &mut result);
            if self.seen.prepared.is_none_or(|prepared| prepared <= *at) {
                let told = || self.told(*at, *id);
                invariants.after_transaction(&State::new(&replayed.entries, at.hlc), told);
            }
        }
        for sight in sights {
            compare(sight, &replayed.entries, &mut result.unexplained);
        }
        self.compare_answers(&mut result);
        result
    }

    /// Every record that some replica has evaluated; and of what all of them came to by snapshots, at least what clients were told of.
    fn records(&self) -> BTreeMap<Timestamp, TransactionId> {
        let mut records = BTreeMap::new();
        for evaluated in self.replicas.iter().flat_map(|replica| &replica.evaluated) {
            records.entry(evaluated.timestamp).or_insert(evaluated.id);
        }
        let known_from = self.known_from();
        for (id, reply) in &self.seen.replies {
            if let Reply::Committed { at, .. } = reply
                && at.hlc <= known_from
            {
                records.entry(*at).or_insert(*id);
            }
        }
        records
    }

    /// Up to where no replica has evaluated anything itself.
    fn known_from(&self) -> Hlc {
        self.replicas
            .iter()
            .map(|replica| replica.start)
            .min()
            .unwrap_or_default()
    }

    fn unplaced(&self, records: &BTreeMap<Timestamp, TransactionId>) -> usize {
        if self.known_from() == Hlc::ZERO {
            return 0;
        }
        let placed: BTreeSet<&TransactionId> = records.values().collect();
        self.seen.submitted.keys().filter(|id| !placed.contains(id)).count()
    }

    /// Answered transactions that a replica has not evaluated where the answer says.
    fn misplaced(&self) -> Vec<String> {
        let mut misplaced = Vec::new();
        for replica in self.replicas {
            let evaluated: BTreeMap<Timestamp, TransactionId> =
                replica.evaluated.iter().map(|one| (one.timestamp, one.id)).collect();
            for (id, reply) in &self.seen.replies {
                let Reply::Committed { at, .. } = reply else { continue };
                let is_there = evaluated.get(at) == Some(id);
                if at.hlc > replica.start && at.hlc <= replica.end && !is_there && misplaced.len() < NAMED_MAX {
                    misplaced.push(format!(
                        "a client was told that {} took effect, and {} has evaluated {} there",
                        self.told(*at, *id),
                        replica.node,
                        evaluated.get(at).map_or("nothing".to_owned(), ToString::to_string)
                    ));
                }
            }
        }
        misplaced
    }

    fn evaluate(&self, at: Timestamp, id: TransactionId, replayed: &mut Replayed, result: &mut Outcomes) {
        let (outcome, writes) = match self.seen.submitted.get(&id) {
            None => {
                note(&mut result.unexplained, || {
                    format!("{id} was evaluated at {at}, and no client has submitted it")
                });
                return;
            }
            Some(Submitted::Resolve { target }) => {
                let cancelled = || (at, Outcome::Aborted(Abort::Cancelled { by: id }));
                result.outcomes.entry(*target).or_insert_with(cancelled);
                // Nobody compares what a resolving transaction itself puts out: it tells of the other.
                return;
            }
            Some(Submitted::Thunk { thunk, arguments }) => {
                let admitted = admit(self.registry, id, thunk.clone(), arguments.clone());
                let evaluated = admitted.map_err(|error| error.to_string()).and_then(|transaction| {
                    let evaluated = self.registry.evaluate(&transaction, at, replayed);
                    evaluated.map_err(|error| error.to_string())
                });
                match evaluated {
                    Ok(evaluated) => evaluated,
                    Err(why) => {
                        let told = self.told(at, id);
                        note(&mut result.unexplained, || {
                            format!("{told} could not be replayed: {why}")
                        });
                        return;
                    }
                }
            }
        };
        replayed.write(at, writes);
        result.outcomes.insert(id, (at, outcome));
    }

    fn compare_answers(&self, result: &mut Outcomes) {
        for (id, reply) in &self.seen.replies {
            let replayed = result.outcomes.get(id);
            let agrees = match (reply, replayed) {
                (Reply::Committed { at, output }, Some((place, Outcome::Committed(replayed)))) => {
                    (at, output) == (place, replayed)
                }
                (Reply::Aborted(abort) | Reply::Stale { abort, .. }, Some((_, Outcome::Aborted(replayed)))) => {
                    abort == replayed
                }
                (Reply::Committed { .. } | Reply::Aborted(_) | Reply::Stale { .. }, _) => false,
                // It did nothing, and so has no place; or the client does not know.
                (Reply::Refused(_), replayed) => replayed.is_none(),
                (Reply::Unknown(_) | Reply::Rows { .. } | Reply::Passed, _) => true,
            };
            if !agrees {
                let text = || {
                    let submitted = self.submitted(*id);
                    format!(
                        "the client of {submitted} was told: {}; replayed in the order of timestamps it comes to: {}",
                        self.reply(*id, reply),
                        replayed.map_or("nothing".to_owned(), |(at, outcome)| self.outcome(*id, *at, outcome))
                    )
                };
                note(&mut result.unexplained, text);
            }
        }
    }

    /// A transaction and its place in words.
    pub(super) fn told(&self, at: Timestamp, id: TransactionId) -> String {
        format!("{} at {at}", self.submitted(id))
    }

    /// A transaction in words.
    pub(super) fn submitted(&self, id: TransactionId) -> String {
        match self.seen.submitted.get(&id) {
            Some(Submitted::Thunk { thunk, arguments }) => self.kinds.call(thunk, arguments),
            Some(Submitted::Resolve { target }) => format!("resolve {target}"),
            None => id.to_string(),
        }
    }

    /// An answer in words.
    pub(super) fn reply(&self, id: TransactionId, reply: &Reply) -> String {
        match reply {
            Reply::Committed { at, output } => self.outcome(id, *at, &Outcome::Committed(output.clone())),
            Reply::Aborted(abort) | Reply::Stale { abort, .. } => format!("aborted: {abort}"),
            Reply::Refused(why) => format!("refused: {why}"),
            Reply::Unknown(why) => format!("unknown: {why}"),
            Reply::Rows { .. } => "rows".to_owned(),
            Reply::Passed => "time has passed".to_owned(),
        }
    }

    /// An outcome in words.
    pub(super) fn outcome(&self, id: TransactionId, at: Timestamp, outcome: &Outcome) -> String {
        match (outcome, self.seen.submitted.get(&id)) {
            (Outcome::Committed(output), Some(Submitted::Thunk { thunk, arguments })) => {
                let (thunk, _) = behind_guards(thunk, arguments);
                let output = self.kinds.output(&thunk, output).unwrap_or_else(|why| why);
                format!("committed at {at}, output {output}")
            }
            (Outcome::Committed(output), _) => format!("committed at {at}, output {output:?}"),
            (Outcome::Aborted(abort), _) => format!("aborted at {at}: {abort}"),
        }
    }
}

fn compare(sight: &Sight, entries: &Entries, unexplained: &mut Vec<String>) {
    if sight.entries == *entries {
        return;
    }
    let keys: BTreeSet<_> = sight.entries.keys().chain(entries.keys()).collect();
    let differs = |key: &&&Key| sight.entries.get(**key) != entries.get(**key);
    let Some(key) = keys.iter().find(differs) else { return };
    let shown = |entries: &Entries| match entries.get(*key) {
        Some(found) => format!("{:?} of {}", found.value, found.timestamp),
        None => "nothing".to_owned(),
    };
    note(unexplained, || {
        format!(
            "{} at {} found {} at the key {key}; replayed in the order of timestamps there is {}",
            sight.whose,
            sight.at,
            shown(&sight.entries),
            shown(entries)
        )
    });
}

fn note(notes: &mut Vec<String>, text: impl FnOnce() -> String) {
    if notes.len() < NAMED_MAX {
        notes.push(text());
    }
}
