//! Guarded transactions, reservations and writes of others at random, on an executor, against a model that remembers every state there was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plimsoll::client;
use plimsoll::executor::SerialExecutor;
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Batch, Query, Scan};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Delete, Direction, Guarded, Put, Refuse, Registry, Reservations, Reserve, Seen, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Abort, Outcome, Record, ThunkId, Versioned};
use proptest::prelude::*;
use proptest::sample::Index;

const START_MS: u64 = 1_800_000_000_000;
const KEYS: u8 = 6;

type State = BTreeMap<Key, Versioned>;

/// A range, how many entries of it, and from which end.
type Ask = (u8, u8, usize, bool);

#[derive(Clone, Debug)]
enum Action {
    Put(BTreeSet<u8>),
    Delete(BTreeSet<u8>),
    Reserve {
        client: u8,
        /// Whether it tells since when it waits, if it does.
        is_senior: bool,
        keys: BTreeSet<u8>,
        range: Option<(u8, u8)>,
        lasts_ms: u64,
    },
    Guarded {
        /// Who may hold a reservation.
        client: Option<u8>,
        snapshot: Index,
        keys: BTreeSet<u8>,
        ranges: Vec<Ask>,
        writes: BTreeSet<u8>,
        is_refusing: bool,
    },
}

fn key(name: u8) -> Key {
    Key::new(vec![b'a' + name])
}

fn range((start, end): (u8, u8)) -> KeyRange {
    KeyRange::new(key(start), key(end))
}

fn names(most: usize) -> impl Strategy<Value = BTreeSet<u8>> {
    prop::collection::btree_set(0..KEYS, 0..=most)
}

fn action() -> impl Strategy<Value = Action> {
    let reserve = (
        0..3_u8,
        any::<bool>(),
        names(3),
        prop::option::weighted(0.3, (0..KEYS, 0..=KEYS)),
        0..2_000_u64,
    );
    let reserve = reserve.prop_map(|(client, is_senior, keys, range, lasts_ms)| Action::Reserve {
        client,
        is_senior,
        keys,
        range,
        lasts_ms,
    });
    let ranges = prop::collection::vec((0..KEYS, 0..=KEYS, 0..4_usize, any::<bool>()), 0..2);
    let client = prop::option::weighted(0.7, 0..3_u8);
    let is_refusing = prop::bool::weighted(0.1);
    let guarded = (client, any::<Index>(), names(2), ranges, names(2), is_refusing);
    let guarded = guarded.prop_map(
        |(client, snapshot, keys, ranges, writes, is_refusing)| Action::Guarded {
            client,
            snapshot,
            keys,
            ranges,
            writes,
            is_refusing,
        },
    );
    prop_oneof![
        2 => names(2).prop_map(Action::Put),
        1 => names(1).prop_map(Action::Delete),
        3 => reserve,
        6 => guarded,
    ]
}

/// What one has reserved.
#[derive(Clone, Debug)]
struct Held {
    since: Timestamp,
    until: Hlc,
    keys: BTreeSet<u8>,
    range: Option<(u8, u8)>,
}

impl Held {
    fn covers(&self, name: u8) -> bool {
        self.keys.contains(&name) || self.range.is_some_and(|(start, end)| (start..end).contains(&name))
    }
}

/// Everything that ever was.
struct Model {
    /// The states after each bound, from the first, at which there is nothing.
    states: Vec<(Hlc, State)>,
    held: BTreeMap<TransactionId, Held>,
    /// The first timestamp at which each client has reserved.
    since: BTreeMap<TransactionId, Timestamp>,
}

impl Model {
    fn newest(&self) -> &State {
        &self.states.last().expect("the first one").1
    }

    fn read(state: &State, (start, end, limit, is_forward): Ask) -> Vec<(Key, Versioned)> {
        let entries = state.iter().filter(|(found, _)| range((start, end)).contains(found));
        let entries = entries.map(|(found, versioned)| (found.clone(), versioned.clone()));
        match is_forward {
            true => entries.take(limit).collect(),
            false => entries.rev().take(limit).collect(),
        }
    }

    /// Whether somebody who comes before `holder` has reserved one of `writes`.
    fn is_in_the_way(&self, holder: Option<TransactionId>, writes: &BTreeSet<u8>, now: Hlc) -> bool {
        let is_held = |held: &Held| held.until > now;
        let own = holder.and_then(|holder| Some((self.held.get(&holder).filter(|held| is_held(held))?.since, holder)));
        self.held.iter().any(|(id, held)| {
            let is_senior = own.is_none_or(|own| (held.since, *id) < own);
            Some(*id) != holder && is_held(held) && is_senior && writes.iter().any(|name| held.covers(*name))
        })
    }
}

struct Run {
    registry: Arc<Registry>,
    executor: SerialExecutor<MemoryVersions>,
    model: Model,
    now: Timestamp,
    number: u32,
    /// How often a guarded transaction has committed, was stale, and has yielded.
    ends: [u32; 3],
}

impl Run {
    fn new() -> Self {
        let registry = Arc::new(Registry::with_builtins());
        let hlc = Hlc::from_unix_millis(START_MS);
        let mut run = Self {
            executor: SerialExecutor::new(Arc::clone(&registry), MemoryVersions::default()),
            registry,
            model: Model {
                states: vec![(hlc, State::new())],
                held: BTreeMap::new(),
                since: BTreeMap::new(),
            },
            now: Timestamp {
                hlc,
                node: NodeId::new(1),
            },
            number: 0,
            ends: [0; 3],
        };
        let records = Vec::new();
        run.executor.evaluate(&Batch { records, upto: hlc });
        run
    }

    fn client(client: u8) -> TransactionId {
        TransactionId::from_parts(START_MS, [client; 10])
    }

    fn evaluate<T: Thunk>(&mut self, thunk: &T) -> Outcome {
        self.number += 1;
        let id = TransactionId::from_parts(START_MS, [200; 10]).attempt(self.number);
        let arguments = client::arguments(thunk).unwrap();
        let transaction = client::admit(&self.registry, id, ThunkId::of::<T>(), arguments).unwrap();
        let hlc = self.now.hlc;
        let records = vec![(self.now, Arc::new(Record { hlc, transaction }))];
        let mut evaluated = self.executor.evaluate(&Batch { records, upto: hlc });
        evaluated.settlements.remove(0).outcome
    }

    /// The values of a step tell which it was.
    fn value(&self) -> Value {
        Value::from(self.now.to_string().as_str())
    }

    fn put(&self, names: &BTreeSet<u8>) -> Put {
        let entries = names.iter().map(|name| (key(*name), self.value()));
        Put {
            entries: entries.collect(),
        }
    }

    fn step(&mut self, gap_ms: u64, action: &Action) -> Result<(), TestCaseError> {
        self.now.hlc = self.now.hlc.plus(Duration::from_millis(gap_ms)).next();
        let mut state = self.model.newest().clone();
        let (timestamp, value) = (self.now, self.value());
        let mut write = |names: &BTreeSet<u8>| {
            let value = value.clone();
            state.extend(names.iter().map(|name| {
                (
                    key(*name),
                    Versioned {
                        timestamp,
                        value: value.clone(),
                    },
                )
            }));
        };
        match action {
            Action::Put(names) => {
                let outcome = self.evaluate(&self.put(names));
                prop_assert!(
                    matches!(outcome, Outcome::Committed(_)),
                    "it asks nobody: {:?}",
                    outcome
                );
                write(names);
            }
            Action::Delete(names) => {
                let keys = names.iter().copied().map(key).collect();
                self.evaluate(&Delete { keys });
                state.retain(|found, _| !names.iter().any(|name| key(*name) == *found));
            }
            Action::Reserve {
                client,
                is_senior,
                keys,
                range,
                lasts_ms,
            } => self.reserve(Self::client(*client), *is_senior, keys, *range, *lasts_ms)?,
            Action::Guarded { .. } => {
                if let Some(names) = self.guarded(action)? {
                    write(&names);
                }
            }
        }
        self.model.states.push((self.now.hlc, state));
        self.check()
    }

    fn reserve(
        &mut self,
        holder: TransactionId,
        is_senior: bool,
        names: &BTreeSet<u8>,
        of: Option<(u8, u8)>,
        lasts_ms: u64,
    ) -> Result<(), TestCaseError> {
        let since = self.model.since.get(&holder).copied().filter(|_| is_senior);
        let reserve = Reserve {
            holder,
            since,
            keys: names.iter().copied().map(key).collect(),
            ranges: of.into_iter().map(range).collect(),
            lasts_ms,
        };
        let outcome = self.evaluate(&reserve);
        let expected = since.unwrap_or(self.now);
        prop_assert_eq!(client::output::<Reserve>(&outcome).unwrap(), Ok(expected));
        self.model.held.remove(&holder);
        if !names.is_empty() || of.is_some() {
            let held = Held {
                since: expected,
                until: self.now.hlc.plus(Duration::from_millis(lasts_ms)),
                keys: names.clone(),
                range: of,
            };
            self.model.held.insert(holder, held);
            self.model.since.insert(holder, expected);
        }
        Ok(())
    }

    /// *Gives* what it has written, if it has committed.
    fn guarded(&mut self, action: &Action) -> Result<Option<BTreeSet<u8>>, TestCaseError> {
        let Action::Guarded {
            client,
            snapshot,
            keys,
            ranges,
            writes,
            is_refusing,
        } = action
        else {
            unreachable!("it is one")
        };
        let holder = client.map(Self::client);
        let (at, then) = snapshot.get(&self.model.states).clone();
        let guards = self.see(at, keys, ranges)?;
        let reason = "for a reason of its own".to_owned();
        let (thunk, arguments) = match is_refusing {
            true => (
                ThunkId::of::<Refuse>(),
                client::arguments(&Refuse { reason: reason.clone() }),
            ),
            false => (ThunkId::of::<Put>(), client::arguments(&self.put(writes))),
        };
        let writes = if *is_refusing { BTreeSet::new() } else { writes.clone() };
        let now = self.model.newest();
        let is_same = keys.iter().all(|name| then.get(&key(*name)) == now.get(&key(*name)))
            && ranges
                .iter()
                .all(|ask| Model::read(&then, *ask) == Model::read(now, *ask));
        let is_in_the_way = self.model.is_in_the_way(holder, &writes, self.now.hlc);
        let guarded = Guarded::new(&thunk, arguments.unwrap(), guards, holder);
        match self.evaluate(&guarded) {
            Outcome::Aborted(Abort::Stale { .. }) => {
                prop_assert!(!is_same, "nothing that was read has changed");
                self.ends[1] += 1;
                Ok(None)
            }
            Outcome::Aborted(Abort::Reserved { .. }) => {
                prop_assert!(is_same && is_in_the_way, "nobody is in the way");
                self.ends[2] += 1;
                Ok(None)
            }
            outcome => {
                prop_assert!(is_same && !is_in_the_way, "{:?}", outcome);
                if *is_refusing {
                    prop_assert_eq!(outcome, Outcome::Aborted(Abort::Refused(reason)));
                    return Ok(None);
                }
                prop_assert!(matches!(outcome, Outcome::Committed(_)), "{:?}", outcome);
                if let Some(holder) = holder {
                    self.model.held.remove(&holder);
                }
                self.ends[0] += 1;
                Ok(Some(writes))
            }
        }
    }

    /// Reads as stages do, at an earlier snapshot.
    fn see(&self, at: Hlc, keys: &BTreeSet<u8>, ranges: &[Ask]) -> Result<plimsoll::thunk::Guards, TestCaseError> {
        let scans = ranges.iter().map(|(start, end, limit, is_forward)| Scan {
            range: range((*start, *end)),
            limit: *limit,
            direction: match is_forward {
                true => Direction::Forward,
                false => Direction::Backward,
            },
        });
        let query = Query {
            keys: keys.iter().copied().map(key).collect(),
            ranges: scans.collect(),
        };
        let answer = self.executor.read(at, &query).unwrap();
        let mut seen = Seen::default();
        for (key, found) in query.keys.iter().zip(&answer.keys) {
            seen.add_key(key.clone(), found.is_some());
        }
        for (scan, entries) in query.ranges.iter().zip(&answer.ranges) {
            seen.add_range(scan.range.clone(), scan.limit, scan.direction, entries);
        }
        Ok(seen.into_guards(at))
    }

    /// The store holds what the model does, and the reservations too.
    fn check(&self) -> Result<(), TestCaseError> {
        let query = Query {
            keys: vec![Reservations::key()],
            ranges: vec![Scan::forward(KeyRange::from(Key::default()), 100)],
        };
        let mut answer = self.executor.read(self.now.hlc, &query).unwrap();
        let state: State = answer.ranges.remove(0).into_iter().collect();
        prop_assert_eq!(&state, self.model.newest());
        let stored = answer.keys.remove(0).map(|found| found.value);
        let reservations = Reservations::decode(stored.as_ref(), self.now.hlc).unwrap();
        for client in (0..3).map(Self::client) {
            let held = self.model.held.get(&client);
            let is_held = held.is_some_and(|held| held.until > self.now.hlc);
            prop_assert_eq!(reservations.has(client), is_held, "{:?}", held);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_guarded_transaction_commits_exactly_if_nothing_it_read_is_another_and_no_senior_has_reserved_what_it_writes(
        steps in prop::collection::vec((0..200_u64, action()), 1..60),
    ) {
        let mut run = Run::new();
        for (gap_ms, action) in &steps {
            run.step(*gap_ms, action)?;
        }
    }
}

/// The property would say little if one of the ends were rare.
#[test]
fn random_steps_come_to_every_end_often() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut ends = [0; 3];
    for _ in 0..100 {
        let steps = prop::collection::vec((0..200_u64, action()), 60)
            .new_tree(&mut runner)
            .unwrap();
        let mut run = Run::new();
        for (gap_ms, action) in &steps.current() {
            run.step(*gap_ms, action).unwrap();
        }
        for (all, one) in ends.iter_mut().zip(run.ends) {
            *all += one;
        }
    }
    println!("committed, stale, yielded: {ends:?}");
    assert!(ends.iter().all(|count| *count > 200), "{ends:?}");
}
