//! A thunk that does whatever it is told, against a plain map that does the same.

use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::thunk::{Direction, Evaluation, Operator, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Map, evaluate, scan};

/// One step of a script. Keys are single bytes below [`KEYS`].
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Step {
    Get(u8),
    Scan {
        from: u8,
        to: u8,
        limit: u8,
        is_backward: bool,
    },
    Put(u8, u8),
    Delete(u8),
    Append(u8, u8),
    Call {
        steps: Vec<Step>,
        end: End,
    },
}

/// How a nested script ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    Returns,
    Refuses,
    Panics,
}

const KEYS: u8 = 6;

/// Follows its script and returns all that it saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Script {
    steps: Vec<Step>,
    end: End,
}

type Seen = Vec<Vec<(Key, Value)>>;

fn key(number: u8) -> Key {
    Key::new(vec![number])
}

fn value(number: u8) -> Value {
    Value::new(vec![number])
}

fn range(from: u8, to: u8) -> KeyRange {
    KeyRange::new(key(from), key(to))
}

fn direction(is_backward: bool) -> Direction {
    if is_backward {
        Direction::Backward
    } else {
        Direction::Forward
    }
}

impl Thunk for Script {
    const NAME: &'static str = "test.script";
    const VERSION: u32 = 1;
    type Output = Seen;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all((0..KEYS).map(key)).scan(range(0, KEYS))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Seen, Abort> {
        let mut seen = Seen::new();
        for step in &self.steps {
            match step {
                Step::Get(number) => {
                    let found = evaluation.get(&key(*number))?;
                    seen.push(found.map(|found| (key(*number), found)).into_iter().collect());
                }
                Step::Scan {
                    from,
                    to,
                    limit,
                    is_backward,
                } => {
                    let (range, limit) = (range(*from, *to), usize::from(*limit));
                    seen.push(evaluation.scan(&range, limit, direction(*is_backward))?);
                }
                Step::Put(number, byte) => evaluation.put(&key(*number), value(*byte))?,
                Step::Delete(number) => evaluation.delete(&key(*number))?,
                Step::Append(number, byte) => evaluation.merge(&key(*number), Operator::Append, &value(*byte))?,
                Step::Call { steps, end } => {
                    let nested = Script {
                        steps: steps.clone(),
                        end: *end,
                    };
                    match evaluation.call(&nested) {
                        Ok(nested) => seen.extend(nested),
                        Err(abort) => assert_eq!(Err(abort), end_of(*end)),
                    }
                }
            }
        }
        match self.end {
            End::Panics => std::panic::panic_any("as told"),
            end => end_of(end).map(|()| seen),
        }
    }
}

/// What the caller of a script gets.
fn end_of(end: End) -> Result<(), Abort> {
    match end {
        End::Returns => Ok(()),
        End::Refuses => Err(Abort::Refused("as told".into())),
        End::Panics => Err(Abort::Panicked {
            thunk: ThunkId::of::<Script>(),
            message: "as told".into(),
        }),
    }
}

/// What the script must do, on a plain map that is copied at every call.
fn follow(steps: &[Step], map: &mut Map) -> Seen {
    let mut seen = Seen::new();
    for step in steps {
        match step {
            Step::Get(number) => {
                let found = map.get(&key(*number)).cloned();
                seen.push(found.map(|found| (key(*number), found)).into_iter().collect());
            }
            Step::Scan {
                from,
                to,
                limit,
                is_backward,
            } => {
                let (range, limit) = (range(*from, *to), usize::from(*limit));
                seen.push(scan(map, &range, limit, direction(*is_backward)));
            }
            Step::Put(number, byte) => drop(map.insert(key(*number), value(*byte))),
            Step::Delete(number) => drop(map.remove(&key(*number))),
            Step::Append(number, byte) => {
                let mut bytes = map
                    .get(&key(*number))
                    .map_or(Vec::new(), |value| value.as_bytes().to_vec());
                bytes.push(*byte);
                map.insert(key(*number), Value::new(bytes));
            }
            Step::Call { steps, end } => {
                let mut copy = map.clone();
                let nested = follow(steps, &mut copy);
                if *end == End::Returns {
                    *map = copy;
                    seen.extend(nested);
                }
            }
        }
    }
    seen
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    let simple = prop_oneof![
        key().prop_map(Step::Get),
        (key(), 0..=KEYS, 0..5_u8, any::<bool>()).prop_map(|(from, to, limit, is_backward)| Step::Scan {
            from,
            to,
            limit,
            is_backward
        }),
        (key(), any::<u8>()).prop_map(|(key, byte)| Step::Put(key, byte)),
        key().prop_map(Step::Delete),
        (key(), any::<u8>()).prop_map(|(key, byte)| Step::Append(key, byte)),
    ];
    simple.prop_recursive(3, 30, 8, |inner| {
        // A panic costs a line of the panic hook's: few of them say as much.
        let end = prop_oneof![12 => Just(End::Returns), 8 => Just(End::Refuses), 1 => Just(End::Panics)];
        (proptest::collection::vec(inner, 0..8), end).prop_map(|(steps, end)| Step::Call { steps, end })
    })
}

proptest! {
    #[test]
    fn a_script_sees_and_leaves_what_a_plain_map_would(
        steps in proptest::collection::vec(step(), 0..20),
        stored in proptest::collection::btree_map((0..KEYS).prop_map(key), any::<u8>().prop_map(value), 0..6),
    ) {
        let mut model = stored.clone();
        let expected = follow(&steps, &mut model);
        let (seen, after) = evaluate(&Script { steps, end: End::Returns }, &stored);
        prop_assert_eq!(seen, Ok(expected));
        prop_assert_eq!(after, model);
    }
}

#[test]
fn a_refusal_after_writes_leaves_everything_as_it_was() {
    let steps = vec![Step::Put(1, 1), Step::Delete(2)];
    for end in [End::Refuses, End::Panics] {
        let stored = Map::from([(key(2), value(9))]);
        let (output, after) = evaluate(
            &Script {
                steps: steps.clone(),
                end,
            },
            &stored,
        );
        assert_eq!(output, Err(end_of(end).unwrap_err()));
        assert_eq!(after, stored);
    }
}
