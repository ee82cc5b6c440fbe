//! What a thunk sees of its own writes, against a plain map.

use std::collections::BTreeMap;

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Direction, Evaluation, Operator, Thunk};
use plimsoll::transaction::{Abort, Footprint};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::database::{Database, number};

const KEYS: u8 = 8;

/// One thing that a script does.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Get(u8),
    Put(u8, i64),
    Delete(u8),
    Merge(u8, Operator, i64),
    Scan {
        from: u8,
        to: u8,
        limit: usize,
        is_backward: bool,
    },
    /// Another script within this one; if it refuses, its steps are undone.
    Call(Script),
}

/// Steps in order, and whether to refuse after the last one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Script {
    steps: Vec<Step>,
    refuses: bool,
}

/// What one step saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Seen {
    Value(Option<Value>),
    Entries(Vec<(Key, Value)>),
    Nested(Option<Vec<Seen>>),
}

fn key(name: u8) -> Key {
    Key::new(vec![name])
}

fn range(from: u8, to: u8) -> KeyRange {
    KeyRange::new(key(from), key(to))
}

impl Thunk for Script {
    const NAME: &'static str = "test.script";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all((0..KEYS).map(key)).scan(range(0, KEYS))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let mut seen = Vec::new();
        for step in &self.steps {
            match step {
                Step::Get(name) => seen.push(Seen::Value(evaluation.get(&key(*name))?)),
                Step::Put(name, value) => evaluation.put(&key(*name), number(*value))?,
                Step::Delete(name) => evaluation.delete(&key(*name))?,
                Step::Merge(name, operator, operand) => {
                    evaluation.merge(&key(*name), *operator, &number(*operand))?;
                }
                Step::Scan {
                    from,
                    to,
                    limit,
                    is_backward,
                } => {
                    let direction = if *is_backward {
                        Direction::Backward
                    } else {
                        Direction::Forward
                    };
                    seen.push(Seen::Entries(evaluation.scan(&range(*from, *to), *limit, direction)?));
                }
                Step::Call(script) => seen.push(Seen::Nested(evaluation.call(script).ok())),
            }
        }
        if self.refuses {
            return Err(Abort::Refused("as the script says".into()));
        }
        Ok(seen)
    }
}

/// What a script does to a plain map. *Gives* what its steps saw; none when it refused, and then the map is as before.
fn model(script: &Script, map: &mut BTreeMap<u8, i64>) -> Option<Vec<Seen>> {
    let before = map.clone();
    let mut seen = Vec::new();
    for step in &script.steps {
        match step {
            Step::Get(name) => seen.push(Seen::Value(map.get(name).copied().map(number))),
            Step::Put(name, value) => {
                map.insert(*name, *value);
            }
            Step::Delete(name) => {
                map.remove(name);
            }
            Step::Merge(name, operator, operand) => {
                let merged = match (map.get(name), operator) {
                    (None, _) => *operand,
                    (Some(stored), Operator::Add) => stored + operand,
                    (Some(stored), Operator::Min) => *stored.min(operand),
                    (Some(stored), _) => *stored.max(operand),
                };
                map.insert(*name, merged);
            }
            Step::Scan {
                from,
                to,
                limit,
                is_backward,
            } => {
                let mut entries: Vec<_> = map.iter().filter(|(name, _)| (from..to).contains(name)).collect();
                if *is_backward {
                    entries.reverse();
                }
                let entries = entries.into_iter().take(*limit);
                seen.push(Seen::Entries(
                    entries.map(|(name, value)| (key(*name), number(*value))).collect(),
                ));
            }
            Step::Call(nested) => seen.push(Seen::Nested(model(nested, map))),
        }
    }
    if script.refuses {
        *map = before;
        return None;
    }
    Some(seen)
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..KEYS;
    let operator = prop::sample::select(vec![Operator::Add, Operator::Min, Operator::Max]);
    let limit = prop_oneof![4 => 0..10_usize, 1 => Just(usize::MAX)];
    let leaf = prop_oneof![
        2 => name.clone().prop_map(Step::Get),
        2 => (name.clone(), -9..9_i64).prop_map(|(name, value)| Step::Put(name, value)),
        2 => name.clone().prop_map(Step::Delete),
        2 => (name.clone(), operator, -9..9_i64).prop_map(|(name, operator, operand)| Step::Merge(name, operator, operand)),
        3 => (0..=KEYS, 0..=KEYS, limit, any::<bool>())
            .prop_map(|(from, to, limit, is_backward)| Step::Scan { from, to, limit, is_backward }),
    ];
    leaf.prop_recursive(3, 30, 8, |step| {
        let script = (prop::collection::vec(step, 0..8), any::<bool>());
        script.prop_map(|(steps, refuses)| Step::Call(Script { steps, refuses }))
    })
}

fn script() -> impl Strategy<Value = Script> {
    let refuses = prop::bool::weighted(0.2);
    (prop::collection::vec(step(), 0..15), refuses).prop_map(|(steps, refuses)| Script { steps, refuses })
}

proptest! {
    #[test]
    fn scripts_run_one_after_the_other_and_see_what_a_plain_map_shows(scripts in prop::collection::vec(script(), 1..6)) {
        let mut database = Database::with::<Script>();
        let mut map = BTreeMap::new();
        for script in &scripts {
            prop_assert_eq!(database.run(script).ok(), model(script, &mut map));
            let expected: BTreeMap<_, _> = map.iter().map(|(name, value)| (key(*name), number(*value))).collect();
            prop_assert_eq!(database.contents(), expected);
        }
    }
}

fn run(steps: Vec<Step>) -> Vec<Seen> {
    let mut database = Database::with::<Script>();
    let stored = (0..4).map(|name| Step::Put(name, i64::from(name))).collect();
    let refuses = false;
    database.run(&Script { steps: stored, refuses }).expect("declared");
    database.run(&Script { steps, refuses }).expect("declared")
}

fn entries(names: &[u8]) -> Seen {
    Seen::Entries(
        names
            .iter()
            .map(|name| (key(*name), number(i64::from(*name))))
            .collect(),
    )
}

#[test]
fn a_key_is_deleted_and_a_limited_scan_reaches_the_entry_behind_it() {
    let scan = |is_backward| Step::Scan {
        from: 0,
        to: KEYS,
        limit: 2,
        is_backward,
    };
    let seen = run(vec![Step::Delete(0), scan(false), Step::Delete(3), scan(true)]);
    assert_eq!(seen, [entries(&[1, 2]), entries(&[2, 1])]);
}

#[test]
fn a_nested_thunk_refuses_and_only_its_own_writes_are_undone() {
    let nested = Script {
        steps: vec![Step::Put(0, 99), Step::Delete(1), Step::Put(7, 99)],
        refuses: true,
    };
    let seen = run(vec![
        Step::Put(0, 7),
        Step::Call(nested),
        Step::Get(0),
        Step::Get(1),
        Step::Get(7),
    ]);
    let expected = [
        Seen::Nested(None),
        Seen::Value(Some(number(7))),
        Seen::Value(Some(number(1))),
        Seen::Value(None),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_merge_is_followed_by_a_get_and_a_merge_after_a_delete_begins_anew() {
    let steps = vec![
        Step::Merge(3, Operator::Add, 4),
        Step::Get(3),
        Step::Delete(3),
        Step::Merge(3, Operator::Add, 4),
        Step::Get(3),
    ];
    assert_eq!(run(steps), [Seen::Value(Some(number(7))), Seen::Value(Some(number(4)))]);
}
