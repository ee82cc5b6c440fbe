//! The workloads on counters: transfers between accounts, and increments.

use super::thunks::{Increment, IncrementRead, ReadCounters, Transfer, transaction};
use super::{Call, Choice, ChoiceError, READ_KEYS_MAX, Workload};
use crate::history::MicroOperation;
use crate::random::Stream;
use crate::scenario::CounterMode;

/// The share of the transactions that read accounts and change none.
const READS: f64 = 0.05;

/// Up to so many counters are read all at once.
const ALL_UP_TO: u64 = 100;

/// How many counters are read where there are more.
const SOME: usize = 10;

/// Money is moved between accounts: the total never changes, and no balance is ever negative.
///
/// 95 % move 1 to 5 from one account to another, and abort where the balance would become negative; 5 % read all accounts
/// where there are at most 100, else 10 of them.
pub(super) struct Transfers {
    choice: Choice,
    start: i64,
}

impl Transfers {
    /// *Errors* where no two accounts can be chosen.
    pub(super) fn new(choice: Choice, start: i64) -> Result<Self, ChoiceError> {
        if choice.reach() < 2 {
            return Err(ChoiceError {
                what: "the number of accounts to choose from",
                value: choice.reach() as f64,
                accepted: "at least 2: one to take from and one to give to",
            });
        }
        Ok(Self { choice, start })
    }
}

impl Workload for Transfers {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        if random.chance(READS) {
            let keys = some_or_all(&self.choice, random);
            let thunk = ReadCounters {
                keys: keys.clone(),
                start: self.start,
            };
            return transaction("read-accounts", reads(&keys), &thunk, self.start);
        }
        let [from, to] = self.choice.draw_distinct(2, random)[..] else {
            unreachable!("two accounts can be chosen, as was made sure of");
        };
        let amount = 1 + random.below(5) as i64;
        let steps = vec![
            MicroOperation::ReadCounter { key: from, value: None },
            MicroOperation::ReadCounter { key: to, value: None },
            MicroOperation::Add {
                key: from,
                amount: -amount,
            },
            MicroOperation::Add { key: to, amount },
        ];
        let thunk = Transfer {
            from,
            to,
            amount,
            start: self.start,
        };
        transaction("transfer", steps, &thunk, self.start)
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        Call::read(reads(&some_or_all(&self.choice, random)), self.start)
    }

    fn final_reads(&mut self) -> Vec<Call> {
        all(&self.choice, self.start)
    }
}

/// All transactions add 1 to one counter.
pub(super) struct Increments {
    choice: Choice,
    mode: CounterMode,
}

impl Increments {
    pub(super) fn new(choice: Choice, mode: CounterMode) -> Self {
        Self { choice, mode }
    }
}

impl Workload for Increments {
    fn transaction(&mut self, random: &mut Stream) -> Call {
        let key = self.choice.draw(random);
        let add = MicroOperation::Add { key, amount: 1 };
        match self.mode {
            CounterMode::Merge => transaction("increment", vec![add], &Increment { key, amount: 1 }, 0),
            CounterMode::ReadModifyWrite => {
                let steps = vec![MicroOperation::ReadCounter { key, value: None }, add];
                transaction("increment", steps, &IncrementRead { key, amount: 1 }, 0)
            }
        }
    }

    fn read(&mut self, random: &mut Stream) -> Call {
        Call::read(reads(&some_or_all(&self.choice, random)), 0)
    }

    fn final_reads(&mut self) -> Vec<Call> {
        all(&self.choice, 0)
    }
}

fn reads(keys: &[u64]) -> Vec<MicroOperation> {
    let read = |key: &u64| MicroOperation::ReadCounter { key: *key, value: None };
    keys.iter().map(read).collect()
}

fn some_or_all(choice: &Choice, random: &mut Stream) -> Vec<u64> {
    match choice.size() <= ALL_UP_TO {
        true => (0..choice.size()).collect(),
        false => choice.draw_distinct(SOME, random),
    }
}

/// Reads of all counters: one, unless there are very many.
fn all(choice: &Choice, start: i64) -> Vec<Call> {
    let keys: Vec<u64> = (0..choice.size()).collect();
    keys.chunks(READ_KEYS_MAX)
        .map(|keys| Call::read(reads(keys), start))
        .collect()
}
