//! Changes in the order of timestamps, as an executor gives them: over versions in memory and on disk, against a plain list.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

#[path = "store/medium.rs"]
mod medium;
mod records;

use plimsoll::executor::{ChangesQuery, KeyChange, Place, ReadError, Search, SerialExecutor, Sought};
use plimsoll::key::{Key, KeyRange};
use plimsoll::limits::{CHANGES_RECENT_MAX, CHANGES_WALK_VERSIONS, VERSION_RETENTION};
use plimsoll::protocol::{Batch, Query};
use plimsoll::store::versions::{DiskVersions, Flush};
use plimsoll::store::{History, Versions};
use plimsoll::thunk::{Delete, Put, Reservations, Reserve};
use plimsoll::time::{Hlc, Timestamp};
use proptest::prelude::*;

use medium::Memory;
use records::{
    Executor, Newer, START_MS, Stamped, at_ms, batch, batches, cuts, end_of, executor, full_registry, id_made_at_ms,
    stamped,
};

/// One transaction: milliseconds and counts since the one before, its node, its keys, and whether it deletes them.
type Write = (u64, u64, u32, Vec<u8>, bool);

fn write() -> impl Strategy<Value = Write> {
    let gap_ms = prop_oneof![4 => Just(0), 4 => 1..2_000_u64, 1 => 5_000..40_000_u64];
    let keys = prop::collection::btree_set(0..6_u8, 1..4).prop_map(|keys| keys.into_iter().collect());
    (gap_ms, 0..2_u64, 1..4_u32, keys, prop::bool::weighted(0.3))
}

fn key(name: u8) -> Key {
    Key::new(vec![b'a' + name])
}

/// The records, in order; of two at one place the first counts.
fn stamp(writes: &[Write]) -> Vec<Stamped> {
    let (mut ms, mut counts, mut records) = (0, 0, Vec::<Stamped>::new());
    for (number, (gap_ms, gap_counts, node, keys, is_deletion)) in writes.iter().enumerate() {
        ms += gap_ms;
        counts = if *gap_ms > 0 { 0 } else { counts + gap_counts };
        let (hlc, id) = (
            Hlc::from_bits(at_ms(ms).bits() + counts),
            id_made_at_ms(ms, number as u8),
        );
        let record = if *is_deletion {
            let keys = keys.iter().map(|name| key(*name)).collect();
            stamped(hlc, *node, id, &Delete { keys })
        } else {
            let value = |name: &u8| (key(*name), format!("{number}/{name}").as_str().into());
            let entries = keys.iter().map(value).collect();
            stamped(hlc, *node, id, &Put { entries })
        };
        if records.last().is_none_or(|(last, _)| *last < record.0) {
            records.push(record);
        }
    }
    records
}

/// Every change of these records: what each of them alone would do, in front of the rest.
fn model(records: &[Stamped]) -> Vec<KeyChange> {
    let mut executor = executor();
    let mut all = Vec::new();
    for (at, record) in records {
        let run = executor
            .dry_run(&record.transaction, executor.versions().evaluated())
            .unwrap();
        let writes = run.unwrap().writes;
        all.extend(writes.into_iter().map(|(key, value)| KeyChange {
            timestamp: *at,
            key,
            value,
        }));
        executor.evaluate(&batch(&[&(*at, record.clone())], at.hlc));
    }
    all
}

fn place_of(change: &KeyChange) -> Place {
    Place {
        timestamp: change.timestamp,
        key: Some(change.key.clone()),
    }
}

/// Of the changes those of a range behind a place and up to a bound.
fn expected<'a>(model: &'a [KeyChange], range: &KeyRange, after: &Place, upto: Hlc) -> Vec<&'a KeyChange> {
    let is_among =
        |change: &&KeyChange| range.contains(&change.key) && place_of(change) > *after && change.timestamp.hlc <= upto;
    model.iter().filter(is_among).collect()
}

/// Asks until there is nothing more. *Gives* what came, and the place behind it.
fn all_behind<V: Versions>(
    executor: &mut SerialExecutor<V>,
    range: &KeyRange,
    after: Place,
    limit: usize,
) -> Result<(Vec<KeyChange>, Place), ReadError> {
    let (mut all, mut place) = (Vec::new(), after);
    loop {
        let found = executor.changes(ChangesQuery {
            range: range.clone(),
            after: place.clone(),
            limit,
        })?;
        assert!(found.upto >= place, "{:?} lies before {place:?}", found.upto);
        assert!(found.changes.len() <= limit);
        if found.upto.key.is_some() {
            let first = found.changes.first().expect("a part of a transaction");
            assert_eq!(
                first.timestamp, found.upto.timestamp,
                "only one that is too large is split"
            );
        }
        let is_end = found.upto == place;
        all.extend(found.changes);
        place = found.upto;
        if is_end {
            return Ok((all, place));
        }
    }
}

/// Who asks for the changes of a range, so many at a time, as often as something was evaluated.
#[derive(Clone, Debug)]
struct Watcher {
    range: KeyRange,
    limit: usize,
    place: Place,
}

impl Watcher {
    fn look<V: Versions>(&mut self, executor: &mut SerialExecutor<V>, model: &[KeyChange]) {
        let (oldest, evaluated) = (executor.versions().oldest(), executor.versions().evaluated());
        match all_behind(executor, &self.range, self.place.clone(), self.limit) {
            Ok((all, place)) => {
                let all: Vec<&KeyChange> = all.iter().collect();
                assert_eq!(all, expected(model, &self.range, &self.place, evaluated));
                let end = Place::after(Timestamp::last_at(evaluated));
                assert_eq!(place, end.max(self.place.clone()));
                self.place = place;
            }
            Err(error) => {
                let at = self.place.timestamp.hlc;
                assert_eq!(error, ReadError::Collected { at, oldest });
                assert!(at <= oldest, "{at} is kept, {oldest} being the oldest");
                self.place = Place::after(Timestamp::last_at(oldest));
                self.look(executor, model);
            }
        }
    }
}

/// Some that look after each batch, and some now and then: whether the ring serves them or the versions do differs.
fn watchers() -> impl Strategy<Value = Vec<(Watcher, usize)>> {
    let range = prop_oneof![
        Just(KeyRange::from(Key::default())),
        (0..6_u8, 0..6_u8).prop_map(|(from, to)| KeyRange::new(key(from), key(to))),
        (0..6_u8).prop_map(|name| KeyRange::prefix(key(name))),
    ];
    let watcher = (range, 1..6_usize, 1..8_usize).prop_map(|(range, limit, every)| {
        let place = Place::after(Timestamp::last_at(Hlc::ZERO));
        (Watcher { range, limit, place }, every)
    });
    prop::collection::vec(watcher, 1..4)
}

fn look_all<V: Versions>(
    executor: &mut SerialExecutor<V>,
    watchers: &mut [(Watcher, usize)],
    round: usize,
    model: &[KeyChange],
) {
    for (watcher, every) in watchers {
        if round.is_multiple_of(*every) {
            watcher.look(executor, model);
        }
    }
}

/// From behind every change, and from behind every transaction, the rest comes; what is no longer kept is told.
fn resume_everywhere<V: Versions>(executor: &mut SerialExecutor<V>, model: &[KeyChange], limit: usize) {
    let (oldest, evaluated) = (executor.versions().oldest(), executor.versions().evaluated());
    let all = KeyRange::from(Key::default());
    for change in model {
        for after in [place_of(change), Place::after(change.timestamp)] {
            let found = all_behind(executor, &all, after.clone(), limit);
            match found {
                Ok((found, _)) => {
                    let found: Vec<&KeyChange> = found.iter().collect();
                    assert_eq!(found, expected(model, &all, &after, evaluated));
                }
                Err(_) => assert!(after.timestamp.hlc <= oldest, "{after:?} is kept"),
            }
        }
    }
}

/// What happens behind a batch.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Flush,
    BeginFlush,
    EndFlush,
    /// A crash.
    Reopen,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Nothing),
        2 => Just(Event::Flush),
        2 => Just(Event::BeginFlush),
        2 => Just(Event::EndFlush),
        1 => Just(Event::Reopen),
    ];
    prop::collection::vec(event, 1..40)
}

type OnDisk = SerialExecutor<DiskVersions>;

fn open(medium: &Memory) -> OnDisk {
    let versions = DiskVersions::over(Box::new(medium.clone()), 1 << 20).unwrap();
    SerialExecutor::open(full_registry(), versions).unwrap()
}

proptest! {
    #[test]
    fn in_memory_watchers_see_what_was_written_in_order_and_once_from_wherever_they_begin(
        writes in prop::collection::vec(write(), 1..60),
        cuts in cuts(),
        watchers in watchers(),
        limit in 1..6_usize,
    ) {
        let (records, mut watchers) = (stamp(&writes), watchers);
        let model = model(&records);
        let mut executor = executor();
        for (round, batch) in batches(&records, &cuts, end_of(&records)).iter().enumerate() {
            executor.evaluate(batch);
            look_all(&mut executor, &mut watchers, round, &model);
        }
        resume_everywhere(&mut executor, &model, limit);
        // One that went on from a checkpoint has nothing at hand.
        let mut restored = SerialExecutor::restore(full_registry(), executor.checkpoint());
        resume_everywhere(&mut restored, &model, limit);
    }

    #[test]
    fn on_disk_watchers_see_the_same_over_flushes_and_crashes(
        writes in prop::collection::vec(write(), 1..60),
        cuts in cuts(),
        events in events(),
        watchers in watchers(),
        limit in 1..6_usize,
    ) {
        let (records, mut watchers) = (stamp(&writes), watchers);
        let model = model(&records);
        let batches = batches(&records, &cuts, end_of(&records));
        let medium = Memory::default();
        let mut executor = open(&medium);
        let (mut done, mut flushing, mut durable) = (0, None::<(usize, Flush)>, 0);
        let mut events = events.iter().chain(std::iter::repeat(&Event::Nothing));
        while done < batches.len() {
            executor.evaluate(&batches[done]).unwrap();
            done += 1;
            look_all(&mut executor, &mut watchers, done, &model);
            match events.next().unwrap() {
                Event::Flush if flushing.is_none() => {
                    let flush = executor.begin_flush();
                    executor.end_flush(flush.write()).unwrap();
                    durable = done;
                }
                Event::BeginFlush if flushing.is_none() => flushing = Some((done, executor.begin_flush())),
                Event::EndFlush => {
                    if let Some((upto, flush)) = flushing.take() {
                        executor.end_flush(flush.write()).unwrap();
                        durable = upto;
                    }
                }
                Event::Reopen => {
                    flushing = None;
                    drop(executor);
                    executor = open(&medium);
                    done = durable;
                    // Whoever has seen more than this replica has now sees nothing twice.
                    look_all(&mut executor, &mut watchers, 0, &model);
                }
                _ => {}
            }
        }
        resume_everywhere(&mut executor, &model, limit);
    }
}

/// Writes each of these keys in transactions of a hundred, one a millisecond.
fn write_many(executor: &mut Executor, keys: std::ops::Range<u32>) -> Vec<KeyChange> {
    let mut all = Vec::new();
    for first in keys.step_by(100) {
        let name = |key: u32| Key::from(format!("{:05}", (key * 7_919) % 100_000).as_str());
        let mut entries: Vec<_> = (first..first + 100).map(|key| (name(key), "x".into())).collect();
        entries.sort();
        let hlc = executor
            .versions()
            .evaluated()
            .max(at_ms(0))
            .plus(std::time::Duration::from_millis(1));
        let record = stamped(
            hlc,
            1,
            id_made_at_ms(hlc.unix_millis() - START_MS, 1),
            &Put {
                entries: entries.clone(),
            },
        );
        all.extend(entries.into_iter().map(|(key, value)| KeyChange {
            timestamp: record.0,
            key,
            value: Some(value),
        }));
        executor.evaluate(&batch(&[&record], hlc));
    }
    all
}

/// In front of everything that is written here, and not older than what is kept.
fn front() -> Place {
    Place::after(Timestamp::last_at(at_ms(0)))
}

fn query(after: Place, limit: usize) -> ChangesQuery {
    ChangesQuery {
        range: KeyRange::from(Key::default()),
        after,
        limit,
    }
}

/// How many steps an answer takes.
fn steps(executor: &mut Executor, query: ChangesQuery) -> usize {
    let (mut search, mut steps) = (Search::new(query), 0);
    loop {
        steps += 1;
        match executor.seek(search).unwrap() {
            Sought::Found(_) => return steps,
            Sought::Searching(further) => search = further,
        }
    }
}

#[test]
fn a_walk_is_made_in_steps_and_its_further_answers_are_at_hand() {
    const KEYS: u32 = 20_000;
    let mut executor = executor();
    let model = write_many(&mut executor, 0..KEYS);
    assert_eq!(
        steps(&mut executor, query(front(), 250)),
        1 + KEYS as usize / CHANGES_WALK_VERSIONS
    );
    let second = Place::after(model[199].timestamp);
    assert_eq!(steps(&mut executor, query(second, 250)), 1);
    let (found, _) = all_behind(&mut executor, &KeyRange::from(Key::default()), front(), 250).unwrap();
    assert!(found == model, "{} of {} changes", found.len(), model.len());
    // Behind the first question everything is in the ring.
    let (place, later) = (
        Place::after(model[KEYS as usize - 1].timestamp),
        write_many(&mut executor, 0..1_000),
    );
    assert_eq!(steps(&mut executor, query(place.clone(), 250)), 1);
    let (found, _) = all_behind(&mut executor, &KeyRange::from(Key::default()), place, 250).unwrap();
    assert!(found == later, "{} of {} changes", found.len(), later.len());
}

#[test]
fn more_changes_than_one_walk_keeps_are_found_by_further_ones() {
    let mut executor = executor();
    let model = write_many(&mut executor, 0..CHANGES_RECENT_MAX as u32 + 10_000);
    let (found, _) = all_behind(&mut executor, &KeyRange::from(Key::default()), front(), 10_000).unwrap();
    assert!(found == model, "{} of {} changes", found.len(), model.len());
}

#[test]
fn a_transaction_beyond_the_limit_is_given_in_pieces_that_can_be_resumed() {
    let mut executor = executor();
    let model = write_many(&mut executor, 0..100);
    let mut place = front();
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    loop {
        let found = executor.changes(query(place, 40)).unwrap();
        if found.changes.is_empty() {
            break;
        }
        sizes.push((found.changes.len(), found.upto.key.is_some()));
        all.extend(found.changes);
        place = found.upto;
    }
    assert_eq!(sizes, [(40, true), (40, true), (20, false)]);
    assert_eq!(all, model);
}

/// Of two records at one time the second has an unknown thunk: the first has been written, and is not final.
#[test]
fn what_was_written_above_the_bound_of_a_blocked_replica_is_not_told() {
    let registry = std::sync::Arc::new(plimsoll::thunk::Registry::with_builtins());
    let put = Put {
        entries: vec![("a".into(), "1".into())],
    };
    let known = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &put);
    let unknown = stamped(at_ms(10), 2, id_made_at_ms(0, 2), &Newer { key: "b".into() });
    for is_watched_before in [true, false] {
        let versions = plimsoll::store::MemoryVersions::default();
        let mut executor = SerialExecutor::new(std::sync::Arc::clone(&registry), versions);
        let ask = |executor: &mut Executor| executor.changes(query(front(), 9)).unwrap();
        if is_watched_before {
            ask(&mut executor);
        }
        let both: Batch = batch(&[&known, &unknown], at_ms(20));
        assert!(executor.evaluate(&both).blocked.is_some());
        let found = ask(&mut executor);
        assert_eq!(
            (found.changes, found.upto),
            (Vec::new(), Place::after(Timestamp::last_at(at_ms(10).prev())))
        );
        executor.set_registry(full_registry());
        executor.evaluate(&both);
        let found = ask(&mut executor);
        let keys: Vec<Key> = found.changes.into_iter().map(|change| change.key).collect();
        assert_eq!(keys, ["a".into(), "b".into()]);
    }
}

#[test]
fn a_place_that_is_too_old_is_told_so_and_one_ahead_has_nothing_yet() {
    let mut executor = executor();
    let put = Put {
        entries: vec![("a".into(), "1".into())],
    };
    let first = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &put);
    executor.evaluate(&batch(&[&first], at_ms(20)));
    let late = at_ms(20).plus(3 * VERSION_RETENTION);
    let second = stamped(late, 1, id_made_at_ms(90_000, 2), &put);
    executor.evaluate(&batch(&[&second], late));
    let oldest = late.minus(VERSION_RETENTION);
    let ask = |executor: &mut Executor, hlc| executor.changes(query(Place::after(Timestamp::last_at(hlc)), 9));
    let error = ask(&mut executor, at_ms(20)).unwrap_err();
    assert_eq!(error, ReadError::Collected { at: at_ms(20), oldest });
    assert_eq!(ask(&mut executor, oldest).unwrap().changes.len(), 1);
    let ahead = Place::after(Timestamp::last_at(late.plus(VERSION_RETENTION)));
    let found = executor.changes(query(ahead.clone(), 9)).unwrap();
    assert_eq!((found.changes, found.upto), (Vec::new(), ahead));
}

#[test]
fn a_watch_of_everything_is_not_told_of_reservations() {
    for is_watched_before in [true, false] {
        let mut executor = executor();
        if is_watched_before {
            assert_eq!(executor.changes(query(front(), 9)).unwrap().changes, []);
        }
        let put = Put {
            entries: vec![("a".into(), "1".into())],
        };
        let reserve = Reserve {
            holder: id_made_at_ms(0, 9),
            since: None,
            keys: vec!["a".into()],
            ranges: Vec::new(),
            lasts_ms: 1_000,
        };
        let put = stamped(at_ms(10), 1, id_made_at_ms(0, 1), &put);
        let reserve = stamped(at_ms(11), 1, id_made_at_ms(0, 2), &reserve);
        executor.evaluate(&batch(&[&put, &reserve], at_ms(20)));
        let its_key = Query {
            keys: vec![Reservations::key()],
            ranges: Vec::new(),
        };
        let found = executor.read(at_ms(20), &its_key).unwrap();
        assert!(found.keys[0].is_some(), "there is a reservation");
        let told = executor.changes(query(front(), 9)).unwrap().changes;
        let keys: Vec<Key> = told.into_iter().map(|change| change.key).collect();
        assert_eq!(keys, ["a".into()]);
    }
}
