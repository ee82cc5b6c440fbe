//! The system's own claim as a witness: it names a timestamp for every answer, so replay them in that order.
//!
//! If a plain model, fed in the order of the claimed timestamps, gives every read, and the order agrees with real time, then the
//! history is strictly serializable and the claim proves it. This works for every kind of step, counters included. Unsure
//! operations have no timestamp: they are put where their effect is first observed, and each observation narrows the
//! window in which they can have taken effect; an empty window is a violation. The plain model is in `model`.

mod model;

use std::collections::BTreeMap;

use plimsoll::time::Timestamp;

use self::model::{Model, UnsureOperation};
use super::operation::{Operation, Operations, Recency, Status};
use super::verdict::{Accusations, Verdict};
use crate::history::History;

/// Judges the claimed timestamps of a history, with every counter at 0 in the beginning. See [`witness_from`].
pub fn witness(history: &History) -> Verdict {
    witness_from(history, &BTreeMap::new())
}

/// Judges the claimed timestamps of a history.
///
/// If every operation was sure, a pass proves strict serializability. Of an unsure operation each key is judged by itself and
/// all that was observed must fit one window; that its effects were seen on all keys alike is for
/// [`strict_serializability`](super::strict_serializability) to say.
///
/// *Given* what counters held before the first operation; those not named held 0. Elements and values are unique, as
/// for [`strict_serializability`](super::strict_serializability).
///
/// *Gives* [`Verdict::Fail`] for `timestamp-shared` (two transactions at one timestamp), `timestamp-against-real-time` (a
/// transaction or strict read below something that had ended before it was invoked), `timestamp-below-own` (a read that must
/// see what its process saw), `unexplained-read` (the model gives something else) and `unsure-nowhere` (what was
/// observed of an unsure operation leaves no moment for it). [`Verdict::Unknown`] if answers carry no timestamp, or if reads of
/// counters are within the bounds of many unsure additions and cannot be decided.
///
/// *Cost*: linear in the history, but for sorting and look-ups.
pub fn witness_from(history: &History, counters: &BTreeMap<u64, i64>) -> Verdict {
    let operations = Operations::of(history);
    let mut accusations = Accusations::default();
    for malformed in &operations.malformed {
        accusations.add_ready(malformed.clone());
    }
    if !accusations.is_empty() {
        return accusations.verdict();
    }
    let silent = operations
        .list
        .iter()
        .filter(|operation| operation.is_ok() && operation.timestamp.is_none())
        .count();
    if silent > 0 {
        return Verdict::Unknown {
            why: "answers without a timestamp claim no order: record one at every ok".to_owned(),
            size: silent,
        };
    }
    let mut claims: Vec<(Place, u32)> = Vec::new();
    for (number, operation) in operations
        .list
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.is_ok())
    {
        claims.extend(Place::of(operation).map(|place| (place, number as u32)));
    }
    claims.sort_unstable();
    unique_timestamps(&operations, &claims, &mut accusations);
    let floors = real_time(&operations, &mut accusations);
    let undecided = replay(&operations, &claims, &floors, counters, &mut accusations);
    if undecided > 0 && accusations.is_empty() {
        return Verdict::Unknown {
            why: "reads of counters lie within bounds, but which of the many unsure additions they saw cannot be told"
                .to_owned(),
            size: undecided,
        };
    }
    accusations.verdict()
}

/// A place in the claimed order. A read sees everything up to its timestamp, so it comes after a transaction there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    timestamp: Timestamp,
    is_read: bool,
}

impl Place {
    fn of(operation: &Operation<'_>) -> Option<Self> {
        let timestamp = operation.timestamp?;
        Some(Self {
            timestamp,
            is_read: !operation.is_transaction(),
        })
    }
}

fn unique_timestamps(operations: &Operations<'_>, claims: &[(Place, u32)], accusations: &mut Accusations) {
    for pair in claims
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0 && !pair[0].0.is_read)
    {
        accusations.add("timestamp-shared", || {
            let text = format!("two transactions claim the timestamp {}", pair[0].0.timestamp);
            (
                text,
                pair.iter()
                    .map(|(_, number)| operations.evidence(*number as usize))
                    .collect(),
            )
        });
    }
}

/// Holds the claimed places against real time. Gives for each operation the highest place that had been answered when it was
/// invoked, and whose it was.
fn real_time(operations: &Operations<'_>, accusations: &mut Accusations) -> Vec<Option<(Place, u32)>> {
    #[derive(Clone, Copy)]
    enum Event {
        Invoked(u32),
        Answered(u32),
    }
    let mut events = vec![None; operations.history.entries.len()];
    for (number, operation) in operations.list.iter().enumerate() {
        events[operation.invoke as usize] = Some(Event::Invoked(number as u32));
        if let Some(end) = operation.before() {
            events[end as usize] = Some(Event::Answered(number as u32));
        }
    }
    let mut floors = vec![None; operations.list.len()];
    let mut highest: Option<(Place, u32)> = None;
    let mut highest_by_process: BTreeMap<u64, (Place, u32)> = BTreeMap::new();
    for event in events.into_iter().flatten() {
        match event {
            Event::Answered(number) => {
                let operation = &operations.list[number as usize];
                let Some(place) = Place::of(operation) else { continue };
                highest = highest.max(Some((place, number)));
                let own = highest_by_process.entry(operation.process).or_insert((place, number));
                *own = (*own).max((place, number));
            }
            Event::Invoked(number) => {
                let operation = &operations.list[number as usize];
                floors[number as usize] = highest;
                let Some(place) = Place::of(operation).filter(|_| operation.is_ok()) else {
                    continue;
                };
                let (anomaly, floor, what) = match operation.recency {
                    Recency::Strict => (
                        "timestamp-against-real-time",
                        highest,
                        "had been answered before it was invoked",
                    ),
                    Recency::AfterOwn => {
                        let own = highest_by_process.get(&operation.process).copied();
                        ("timestamp-below-own", own, "its own process had seen before")
                    }
                    Recency::Snapshot => continue,
                };
                if let Some((floor, earlier)) = floor.filter(|(floor, _)| *floor > place) {
                    accusations.add(anomaly, || {
                        let text = format!(
                            "an operation claims {}, below {}, which {what}",
                            place.timestamp, floor.timestamp
                        );
                        (
                            text,
                            vec![
                                operations.evidence(earlier as usize),
                                operations.evidence(number as usize),
                            ],
                        )
                    });
                }
            }
        }
    }
    floors
}

/// Replays the claims on the model. Gives how many reads could not be decided.
fn replay(
    operations: &Operations<'_>,
    claims: &[(Place, u32)],
    floors: &[Option<(Place, u32)>],
    counters: &BTreeMap<u64, i64>,
    accusations: &mut Accusations,
) -> usize {
    let unsure = operations
        .list
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.status == Status::Info);
    let unsure = unsure.map(|(number, operation)| UnsureOperation {
        number: number as u32,
        floor: floors[number].map(|(place, _)| place),
        value: operation.value,
    });
    let mut model = Model::new(unsure, counters);
    for (place, number) in claims {
        for step in operations.list[*number as usize].value {
            if let Err(broken) = model.step(*place, *number, step) {
                accusations.add(broken.anomaly, || {
                    let evidence = broken.operations.iter().chain([number]);
                    (
                        broken.text,
                        evidence.map(|number| operations.evidence(*number as usize)).collect(),
                    )
                });
            }
        }
    }
    model.undecided()
}
