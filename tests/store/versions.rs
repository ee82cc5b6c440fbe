//! What versions must do, over any implementation of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use plimsoll::id::NodeId;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::store::Versions;
use plimsoll::thunk::Direction;
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::Versioned;
use proptest::prelude::*;

/// The suite over one implementation, as tests in a module. *Given* the module's name and empty versions.
macro_rules! suite {
    ($name:ident, $empty:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_read_finds_the_newest_version_at_or_below_its_snapshot() {
                versions::a_read_finds_the_newest_version_at_or_below_its_snapshot($empty);
            }

            #[test]
            fn a_scan_gives_what_is_there_in_its_direction_up_to_its_limit() {
                versions::a_scan_gives_what_is_there_in_its_direction_up_to_its_limit($empty);
            }

            #[test]
            fn keys_are_written_out_of_order_and_each_ascends() {
                versions::keys_are_written_out_of_order_and_each_ascends($empty);
            }

            #[test]
            #[should_panic(expected = "has a version")]
            fn a_version_below_the_last_of_its_key_is_refused() {
                versions::write_one_key_backwards($empty);
            }

            #[test]
            #[should_panic(expected = "goes back")]
            fn the_evaluated_bound_does_not_go_back() {
                versions::lower_the_evaluated_bound($empty);
            }

            #[test]
            fn the_bounds_rise_and_a_lower_one_collects_nothing() {
                versions::the_bounds_rise_and_a_lower_one_collects_nothing($empty);
            }

            #[test]
            fn every_kept_snapshot_reads_as_a_copy_of_a_plain_map() {
                versions::every_kept_snapshot_reads_as_a_copy_of_a_plain_map(|| $empty);
            }

            #[test]
            fn the_history_is_written_into_empty_versions_and_every_kept_snapshot_reads_alike() {
                versions::the_history_is_written_into_empty_versions_and_every_kept_snapshot_reads_alike(|| $empty);
            }
        }
    };
}
pub(crate) use suite;

/// The timestamp of this place; places lie apart as far as collection may notice.
fn at(place: u64) -> Timestamp {
    on(place, 1)
}

fn on(place: u64, node: u32) -> Timestamp {
    Timestamp {
        hlc: hlc(place),
        node: NodeId::new(node),
    }
}

fn hlc(place: u64) -> Hlc {
    const PLACE_MS: u64 = 300;
    Hlc::from_unix_millis(1_800_000_000_000 + PLACE_MS * place)
}

fn entry(key: &str, timestamp: Timestamp, value: &str) -> (Key, Versioned) {
    let value = value.into();
    (key.into(), Versioned { timestamp, value })
}

pub(crate) fn a_read_finds_the_newest_version_at_or_below_its_snapshot(mut versions: impl Versions) {
    let key = Key::from("k");
    assert_eq!(versions.get(&key, at(9)), None);
    versions.put(key.clone(), on(2, 1), Some("a".into()));
    versions.put(key.clone(), on(2, 5), Some("b".into()));
    versions.put(key.clone(), at(4), None);
    versions.put(key.clone(), at(6), Some(Value::default()));
    let read = |at| versions.get(&key, at).map(|found| (found.timestamp, found.value));
    assert_eq!(read(at(1)), None);
    assert_eq!(read(on(2, 0)), None);
    assert_eq!(read(on(2, 1)), Some((on(2, 1), "a".into())));
    assert_eq!(read(on(2, 4)), Some((on(2, 1), "a".into())));
    assert_eq!(read(Timestamp::last_at(hlc(2))), Some((on(2, 5), "b".into())));
    assert_eq!(read(at(3)), Some((on(2, 5), "b".into())));
    assert_eq!((read(at(4)), read(at(5))), (None, None), "deleted");
    assert_eq!(read(at(6)), Some((at(6), Value::default())), "empty is not deleted");
    assert_eq!(read(Timestamp::last_at(Hlc::MAX)), Some((at(6), Value::default())));
    assert_eq!(versions.get(&"kk".into(), at(9)), None);
}

pub(crate) fn a_scan_gives_what_is_there_in_its_direction_up_to_its_limit(mut versions: impl Versions) {
    for (place, key) in ["a", "b", "ba", "c", "d"].into_iter().enumerate() {
        versions.put(key.into(), at(place as u64), Some(key.into()));
    }
    versions.put("b".into(), at(6), None);
    versions.put("c".into(), at(7), Some("new".into()));
    let scan = |range: &KeyRange, place, limit, direction| versions.scan(range, at(place), limit, direction);
    let (all, some) = (KeyRange::from(Key::default()), KeyRange::new("b".into(), "d".into()));
    let of_some = [entry("ba", at(2), "ba"), entry("c", at(7), "new")];
    assert_eq!(scan(&some, 9, 9, Direction::Forward), of_some);
    assert_eq!(scan(&some, 9, 1, Direction::Forward), of_some[..1]);
    assert_eq!(scan(&some, 9, 1, Direction::Backward), of_some[1..]);
    assert_eq!(scan(&some, 9, 0, Direction::Forward), []);
    let earlier = [entry("b", at(1), "b"), entry("ba", at(2), "ba"), entry("c", at(3), "c")];
    assert_eq!(scan(&some, 5, usize::MAX, Direction::Forward), earlier);
    let last = [entry("d", at(4), "d"), entry("c", at(7), "new")];
    assert_eq!(scan(&all, 9, 2, Direction::Backward), last);
    let empty = KeyRange::new("d".into(), "b".into());
    assert_eq!(scan(&empty, 9, 9, Direction::Forward), []);
    assert_eq!(
        scan(&KeyRange::prefix("b".into()), 9, 9, Direction::Backward),
        of_some[..1]
    );
}

pub(crate) fn keys_are_written_out_of_order_and_each_ascends(mut versions: impl Versions) {
    versions.put("late".into(), at(50), Some("x".into()));
    versions.put("late".into(), at(60), Some("y".into()));
    versions.put("early".into(), at(1), Some("x".into()));
    versions.put("early".into(), at(2), None);
    versions.collect(hlc(10));
    assert_eq!(versions.get(&"early".into(), at(10)), None);
    assert_eq!(
        versions.get(&"late".into(), at(55)).map(|found| found.timestamp),
        Some(at(50))
    );
    versions.collect(hlc(70));
    assert_eq!(
        versions.get(&"late".into(), at(70)).map(|found| found.timestamp),
        Some(at(60))
    );
}

pub(crate) fn write_one_key_backwards(mut versions: impl Versions) {
    versions.put("k".into(), at(2), None);
    versions.put("other".into(), at(1), None);
    versions.put("k".into(), at(2), Some("x".into()));
}

pub(crate) fn lower_the_evaluated_bound(mut versions: impl Versions) {
    versions.set_evaluated(hlc(2));
    versions.set_evaluated(hlc(1));
}

pub(crate) fn the_bounds_rise_and_a_lower_one_collects_nothing(mut versions: impl Versions) {
    assert_eq!((versions.evaluated(), versions.oldest()), (Hlc::ZERO, Hlc::ZERO));
    versions.put("k".into(), at(1), Some("x".into()));
    versions.put("k".into(), at(5), Some("y".into()));
    versions.set_evaluated(hlc(5));
    versions.set_evaluated(hlc(5));
    assert_eq!(versions.evaluated(), hlc(5));
    versions.collect(hlc(3));
    versions.collect(hlc(2));
    assert_eq!(versions.oldest(), hlc(3));
    assert_eq!(
        versions.get(&"k".into(), at(3)).map(|found| found.timestamp),
        Some(at(1))
    );
}

#[derive(Clone, Debug)]
enum Step {
    /// Writes these keys at the next place; none deletes.
    Write(BTreeMap<u8, Option<u8>>),
    /// Collects up to this many places back.
    Collect(u64),
}

const KEYS: u8 = 6;

fn key(number: u8) -> Key {
    Key::new(vec![number])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let writes = proptest::collection::btree_map(0..KEYS, proptest::option::of(any::<u8>()), 0..4);
    let step = prop_oneof![8 => writes.prop_map(Step::Write), 1 => (0..12_u64).prop_map(Step::Collect)];
    proptest::collection::vec(step, 0..60)
}

type Snapshot = BTreeMap<u8, (Timestamp, u8)>;

/// The whole history from `oldest` on, asked for in pieces of this many versions.
fn history(versions: &impl Versions, oldest: Hlc, piece: usize) -> Vec<(Key, Timestamp, Option<Value>)> {
    let mut history: Vec<(Key, Timestamp, Option<Value>)> = Vec::new();
    loop {
        let begin = history.len();
        let after = history.last().map(|(key, at, _)| (key.clone(), *at));
        let after = after.as_ref().map(|(key, at)| (key, *at));
        versions.history(oldest, after, &mut |key, at, value| {
            history.push((key.clone(), at, value.cloned()));
            if history.len() == begin + piece {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if history.len() == begin {
            return history;
        }
    }
}

pub(crate) fn the_history_is_written_into_empty_versions_and_every_kept_snapshot_reads_alike<V: Versions>(
    empty: impl Fn() -> V,
) {
    proptest!(|(steps in steps(), back in 0..12_u64, piece in 1..9_usize)| {
        // One collects as it is told, the other never.
        let (mut collecting, mut keeping) = (empty(), empty());
        let mut place = 0;
        for step in steps {
            match step {
                Step::Write(writes) => {
                    place += 1;
                    for (number, value) in writes {
                        let value = value.map(|value| Value::new(vec![value]));
                        collecting.put(key(number), at(place), value.clone());
                        keeping.put(key(number), at(place), value);
                    }
                }
                Step::Collect(back) => collecting.collect(hlc(place.saturating_sub(back))),
            }
        }
        let oldest = collecting.oldest().max(hlc(place.saturating_sub(back)));
        let kept = history(&keeping, oldest, usize::MAX);
        prop_assert_eq!(&history(&collecting, oldest, piece), &kept, "whatever was collected");
        prop_assert!(kept.is_sorted_by(|a, b| (&a.0, a.1) < (&b.0, b.1)));
        let mut copy = empty();
        copy.collect(oldest);
        for (key, at, value) in kept {
            copy.put(key, at, value);
        }
        for place in (0..=place).filter(|place| hlc(*place) >= oldest) {
            let at = Timestamp::last_at(hlc(place));
            let all = KeyRange::from(Key::default());
            let read = |versions: &V| versions.scan(&all, at, usize::MAX, Direction::Forward);
            prop_assert_eq!(read(&copy), read(&keeping));
        }
    });
}

pub(crate) fn every_kept_snapshot_reads_as_a_copy_of_a_plain_map<V: Versions>(empty: impl Fn() -> V) {
    proptest!(|(steps in steps())| {
        let mut versions = empty();
        let mut snapshots = vec![Snapshot::new()];
        let mut oldest = 0;
        for step in steps {
            let place = snapshots.len() as u64;
            match step {
                Step::Write(writes) => {
                    let mut next = snapshots[snapshots.len() - 1].clone();
                    for (number, value) in writes {
                        versions.put(key(number), at(place), value.map(|value| Value::new(vec![value])));
                        match value {
                            Some(value) => next.insert(number, (at(place), value)),
                            None => next.remove(&number),
                        };
                    }
                    snapshots.push(next);
                }
                Step::Collect(back) => {
                    oldest = oldest.max((place - 1).saturating_sub(back));
                    versions.collect(hlc(oldest));
                    // A place is before the first write: nothing is there to be collected.
                    prop_assert_eq!(versions.oldest(), hlc(oldest));
                }
            }
        }
        for (place, snapshot) in snapshots.iter().enumerate().skip(oldest as usize) {
            check_snapshot(&versions, Timestamp::last_at(hlc(place as u64)), snapshot)?;
        }
    });
}

fn check_snapshot(versions: &impl Versions, at: Timestamp, snapshot: &Snapshot) -> Result<(), TestCaseError> {
    let versioned = |(timestamp, value): &(Timestamp, u8)| Versioned {
        timestamp: *timestamp,
        value: Value::new(vec![*value]),
    };
    for number in 0..KEYS {
        let expected = snapshot.get(&number).map(versioned);
        prop_assert_eq!(versions.get(&key(number), at), expected, "key {} at {}", number, at);
    }
    for (from, limit) in [(0, usize::MAX), (1, 2), (3, 3)] {
        let range = KeyRange::new(key(from), key(KEYS - 1));
        let model = snapshot.range(from..KEYS - 1);
        let mut expected: Vec<_> = model.map(|(number, found)| (key(*number), versioned(found))).collect();
        let forward = versions.scan(&range, at, limit, Direction::Forward);
        prop_assert_eq!(&forward, &expected[..expected.len().min(limit)]);
        expected.reverse();
        let backward = versions.scan(&range, at, limit, Direction::Backward);
        prop_assert_eq!(&backward, &expected[..expected.len().min(limit)]);
    }
    Ok(())
}
