//! The workload on lists, for the checker of serializability: appends of unique elements, and reads.

use super::thunks::{ListStep, ListTransaction, transaction};
use super::{Call, Choice, Workload};
use crate::history::MicroOperation;
use crate::random::Stream;

/// A list is put out of use after so many appends, drawn for each list. Lists that grow without end would cost more to
/// read with every append, and a checker learns little from a long one that it did not learn from a short one.
const APPENDS_MIN: u64 = 64;
const APPENDS_MAX: u64 = 128;

/// Lists that one final read asks for: each holds up to a kilobyte.
const FINAL_READ_KEYS: usize = 64;

/// Transactions of 1 to `operations_max` appends and reads, each as likely, of different lists out of a rotating set.
pub(super) struct ListAppend {
    choice: Choice,
    operations_max: usize,
    /// The lists in use, by their places in the choice.
    lists: Vec<List>,
    /// Lists below this number have been in use.
    next_key: u64,
}

/// A list in use.
struct List {
    key: u64,
    appended: u64,
    appends_max: u64,
}

impl ListAppend {
    pub(super) fn new(choice: Choice, operations_max: usize) -> Self {
        let places = choice.size();
        // The first limits are spread evenly, so that the lists do not all go out of use at once.
        let first = |place| List {
            key: place,
            appended: 0,
            appends_max: APPENDS_MIN + place % (APPENDS_MAX - APPENDS_MIN + 1),
        };
        Self {
            lists: (0..places).map(first).collect(),
            next_key: places,
            choice,
            operations_max,
        }
    }

    /// The next append to the list at a place; then the list may give way to a new one.
    fn append(&mut self, place: usize, random: &mut Stream) -> ListStep {
        let list = &mut self.lists[place];
        list.appended += 1;
        let (key, element) = (list.key, list.appended);
        if list.appended == list.appends_max {
            *list = List {
                key: self.next_key,
                appended: 0,
                appends_max: APPENDS_MIN + random.below(APPENDS_MAX - APPENDS_MIN + 1),
            };
            self.next_key += 1;
        }
        ListStep::Append { key, element }
    }

    fn draw(&mut self, random: &mut Stream) -> Vec<usize> {
        let count = 1 + random.below(self.operations_max as u64) as usize;
        let places = self.choice.draw_distinct(count, random);
        places.into_iter().map(|place| place as usize).collect()
    }
}

impl Workload for ListAppend {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        let mut steps = Vec::new();
        for place in self.draw(random) {
            steps.push(match random.chance(0.5) {
                true => ListStep::Read {
                    key: self.lists[place].key,
                },
                false => self.append(place, random),
            });
        }
        let told = steps.iter().map(|step| match *step {
            ListStep::Read { key } => MicroOperation::ReadList { key, elements: None },
            ListStep::Append { key, element } => MicroOperation::Append { key, element },
        });
        transaction("txn", told.collect(), &ListTransaction { steps: steps.clone() }, 0)
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        let keys: Vec<u64> = self
            .draw(random)
            .into_iter()
            .map(|place| self.lists[place].key)
            .collect();
        read_of(&keys)
    }

    fn final_reads(&mut self) -> Vec<Call> {
        let keys: Vec<u64> = (0..self.next_key).collect();
        keys.chunks(FINAL_READ_KEYS).map(read_of).collect()
    }
}

fn read_of(keys: &[u64]) -> Call {
    let read = |key: &u64| MicroOperation::ReadList {
        key: *key,
        elements: None,
    };
    Call::read(keys.iter().map(read).collect(), 0)
}
