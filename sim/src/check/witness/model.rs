//! The plain model that a claimed order is replayed on: lists, registers and counters, and what unsure operations may have
//! done to them.

use std::collections::BTreeMap;

use super::Place;
use crate::check::subset::{Explanation, UnsureAdditions};
use crate::history::MicroOperation;

/// An operation that may have taken effect at any place above its floor.
pub(super) struct UnsureOperation<'h> {
    pub(super) number: u32,
    pub(super) floor: Option<Place>,
    pub(super) value: &'h [MicroOperation],
}

/// A read that the model does not explain.
pub(super) struct Broken {
    pub(super) anomaly: &'static str,
    pub(super) text: String,
    /// Operations that show it, beside the reader.
    pub(super) operations: Vec<u32>,
}

/// The state at one place of the claimed order.
pub(super) struct Model {
    lists: BTreeMap<u64, List>,
    registers: BTreeMap<u64, Register>,
    counters: BTreeMap<u64, Counter>,
    unsure: Unsure,
    undecided: usize,
}

/// What unsure operations may have written, and what is known of when.
struct Unsure {
    /// By key and element or value: who wrote it, and whether it has been put into the model.
    elements: BTreeMap<(u64, u64), (u32, bool)>,
    values: BTreeMap<(u64, u64), (u32, bool)>,
    windows: BTreeMap<u32, Window>,
}

/// An unsure operation took effect above `after` and below `before`; the reader that tells so is noted.
#[derive(Clone, Copy)]
struct Window {
    after: Option<Place>,
    before: Option<(Place, u32)>,
}

#[derive(Default)]
struct List {
    /// The elements with the place of their append; of an unsure operation's none.
    elements: Vec<(u64, Option<Place>)>,
    /// How many of them were read: between these nothing can come any more.
    settled: usize,
    last_read: Option<Place>,
    is_broken: bool,
}

#[derive(Default)]
struct Register {
    value: Option<u64>,
    /// Where it was last written or read.
    last: Option<Place>,
    is_broken: bool,
}

struct Counter {
    sum: i128,
    /// From where on each unsure addition can have taken effect, ascending.
    floors: Vec<Option<Place>>,
    additions: UnsureAdditions,
    is_broken: bool,
}

impl Model {
    pub(super) fn new<'h>(unsure: impl Iterator<Item = UnsureOperation<'h>>, counters: &BTreeMap<u64, i64>) -> Self {
        let mut known = Unsure {
            elements: BTreeMap::new(),
            values: BTreeMap::new(),
            windows: BTreeMap::new(),
        };
        let mut additions: BTreeMap<u64, Vec<(Option<Place>, i64)>> = BTreeMap::new();
        for operation in unsure {
            let mut last_values = BTreeMap::new();
            let mut sums: BTreeMap<u64, i64> = BTreeMap::new();
            for step in operation.value {
                match *step {
                    MicroOperation::Append { key, element } => {
                        known.elements.insert((key, element), (operation.number, false));
                    }
                    MicroOperation::Write { key, value } => {
                        last_values.insert(key, value);
                    }
                    MicroOperation::Add { key, amount } => {
                        let sum = sums.entry(key).or_default();
                        *sum = sum.saturating_add(amount);
                    }
                    _ => {}
                }
            }
            for entry in last_values {
                known.values.insert(entry, (operation.number, false));
            }
            for (key, amount) in sums.into_iter().filter(|(_, amount)| *amount != 0) {
                additions.entry(key).or_default().push((operation.floor, amount));
            }
            let window = Window {
                after: operation.floor,
                before: None,
            };
            known.windows.insert(operation.number, window);
        }
        let mut model = Self {
            lists: BTreeMap::new(),
            registers: BTreeMap::new(),
            counters: BTreeMap::new(),
            unsure: known,
            undecided: 0,
        };
        for (key, mut additions) in additions {
            additions.sort_unstable();
            let counter = Counter {
                sum: 0,
                floors: additions.iter().map(|(floor, _)| *floor).collect(),
                additions: UnsureAdditions::new(additions.into_iter().map(|(_, amount)| amount).collect()),
                is_broken: false,
            };
            model.counters.insert(key, counter);
        }
        for (key, start) in counters {
            model.counter(*key).sum = i128::from(*start);
        }
        model
    }

    /// Reads of counters that could not be decided.
    pub(super) fn undecided(&self) -> usize {
        self.undecided
    }

    /// Applies one step of the operation `number` at `place`. *Errors* if it is a read that the state does not explain; of
    /// that key nothing more is said then.
    pub(super) fn step(&mut self, place: Place, number: u32, step: &MicroOperation) -> Result<(), Broken> {
        match step {
            MicroOperation::Append { key, element } => {
                let list = self.lists.entry(*key).or_default();
                list.elements.push((*element, Some(place)));
                Ok(())
            }
            MicroOperation::ReadList { key, elements } => {
                let list = self.lists.entry(*key).or_default();
                let elements = elements.as_deref().unwrap_or_default();
                if list.is_broken {
                    return Ok(());
                }
                let result = list.read(*key, elements, place, number, &mut self.unsure);
                list.is_broken = result.is_err();
                result
            }
            MicroOperation::Write { key, value } => {
                let register = self.registers.entry(*key).or_default();
                register.value = Some(*value);
                register.last = Some(place);
                Ok(())
            }
            MicroOperation::ReadRegister { key, value } => {
                let register = self.registers.entry(*key).or_default();
                if register.is_broken {
                    return Ok(());
                }
                let result = register.read(*key, value.flatten(), place, number, &mut self.unsure);
                register.is_broken = result.is_err();
                result
            }
            MicroOperation::Add { key, amount } => {
                self.counter(*key).sum += i128::from(*amount);
                Ok(())
            }
            MicroOperation::ReadCounter { key, value } => {
                let counter = self.counter(*key);
                if counter.is_broken {
                    return Ok(());
                }
                let value = value.unwrap_or_default();
                let extra = i128::from(value) - counter.sum;
                let possible = counter
                    .floors
                    .partition_point(|floor| floor.is_none_or(|floor| floor < place));
                match counter.additions.explain(possible, extra) {
                    Explanation::Found => Ok(()),
                    Explanation::Undecided => {
                        self.undecided += 1;
                        Ok(())
                    }
                    Explanation::Impossible => {
                        counter.is_broken = true;
                        let sum = counter.sum;
                        Err(Broken {
                            anomaly: "unexplained-read",
                            text: format!(
                                "counter {key} was read as {value}; the answered additions below the timestamp sum up to {sum}, \
                                 and {possible} unsure ones do not explain the rest"
                            ),
                            operations: Vec::new(),
                        })
                    }
                }
            }
        }
    }

    fn counter(&mut self, key: u64) -> &mut Counter {
        self.counters.entry(key).or_insert_with(|| Counter {
            sum: 0,
            floors: Vec::new(),
            additions: UnsureAdditions::new(Vec::new()),
            is_broken: false,
        })
    }
}

impl List {
    fn read(&mut self, key: u64, read: &[u64], place: Place, number: u32, unsure: &mut Unsure) -> Result<(), Broken> {
        for (position, element) in read.iter().enumerate() {
            if self.elements.get(position).is_some_and(|(known, _)| known == element) {
                continue;
            }
            let observed = unsure
                .elements
                .get_mut(&(key, *element))
                .filter(|(_, is_placed)| !is_placed);
            let Some((operation, is_placed)) = observed.filter(|_| position >= self.settled) else {
                let expected = match self.elements.get(position) {
                    Some((expected, _)) => expected.to_string(),
                    None => "its end".to_owned(),
                };
                return Err(Broken {
                    anomaly: "unexplained-read",
                    text: format!(
                        "list {key} was read with {element} at position {position}; the appends below the timestamp {} give {expected} \
                         there",
                        place.timestamp
                    ),
                    operations: Vec::new(),
                });
            };
            *is_placed = true;
            let operation = *operation;
            let left = self.elements[..position].iter().rev().find_map(|(_, place)| *place);
            let right = self.elements[position..].iter().find_map(|(_, place)| *place);
            self.elements.insert(position, (*element, None));
            let after = left.max(self.last_read);
            let before = right.map_or(place, |right| right.min(place));
            unsure.narrow(operation, after, before, number)?;
        }
        if let Some((missing, _)) = self.elements.get(read.len()) {
            return Err(Broken {
                anomaly: "unexplained-read",
                text: format!(
                    "list {key} was read without {missing}, which was appended below the timestamp {}",
                    place.timestamp
                ),
                operations: Vec::new(),
            });
        }
        self.settled = self.elements.len();
        self.last_read = Some(place);
        Ok(())
    }
}

impl Register {
    fn read(
        &mut self,
        key: u64,
        read: Option<u64>,
        place: Place,
        number: u32,
        unsure: &mut Unsure,
    ) -> Result<(), Broken> {
        if read != self.value {
            let value = read.and_then(|value| unsure.values.get_mut(&(key, value)));
            let Some((operation, is_placed)) = value.filter(|(_, is_placed)| !is_placed) else {
                let show =
                    |value: Option<u64>| value.map_or_else(|| "never written".to_owned(), |value| value.to_string());
                return Err(Broken {
                    anomaly: "unexplained-read",
                    text: format!(
                        "register {key} was read as {}; at the timestamp {} it is {}",
                        show(read),
                        place.timestamp,
                        show(self.value)
                    ),
                    operations: Vec::new(),
                });
            };
            *is_placed = true;
            let operation = *operation;
            unsure.narrow(operation, self.last, place, number)?;
            self.value = read;
        }
        self.last = Some(place);
        Ok(())
    }
}

impl Unsure {
    /// Notes that an unsure operation took effect above `after` and below `before`, as the operation `reader` tells.
    fn narrow(&mut self, operation: u32, after: Option<Place>, before: Place, reader: u32) -> Result<(), Broken> {
        let window = self
            .windows
            .get_mut(&operation)
            .expect("every unsure operation has a window");
        let other = window.before.map(|(_, reader)| reader);
        window.after = window.after.max(after);
        if window.before.is_none_or(|(known, _)| before < known) {
            window.before = Some((before, reader));
        }
        match (window.after, window.before) {
            (Some(after), Some((before, _))) if after >= before => Err(Broken {
                anomaly: "unsure-nowhere",
                text: format!(
                    "an unsure operation was observed, but it must have taken effect both above {} and below {}",
                    after.timestamp, before.timestamp
                ),
                operations: [operation]
                    .into_iter()
                    .chain(other.filter(|other| *other != reader))
                    .collect(),
            }),
            _ => Ok(()),
        }
    }
}
