//! The thunks that the workloads run. Their footprints follow from their arguments, their outputs are what their steps read.
//!
//! A few general ones serve several workloads. Every output is a list of [`Seen`], one for each step that reads, in the order
//! of the steps: what a client needs to know for the history, and no more.

use plimsoll::codec;
use plimsoll::key::Value;
use plimsoll::thunk::{Evaluation, Operator, Registry, RegistryError, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};

use super::stored;
use super::{Call, Seen, Work};
use crate::history::MicroOperation;

/// Every thunk of the workloads, and the built-in ones.
pub fn registry() -> Registry {
    let mut registry = Registry::with_builtins();
    register(&mut registry).expect("the names are short, distinct and not those of built-in thunks");
    registry
}

fn register(registry: &mut Registry) -> Result<(), RegistryError> {
    registry
        .register::<RegisterTransaction>()?
        .register::<ListTransaction>()?;
    registry.register::<Transfer>()?.register::<ReadCounters>()?;
    registry.register::<Increment>()?.register::<IncrementRead>()?;
    registry.register::<SetCounters>()?;
    Ok(())
}

/// The call of a transaction: its steps and the thunk that carries them out.
///
/// *Given* a thunk whose arguments are numbers and lists of them, which are always encodable.
pub(super) fn transaction<T: Thunk>(
    function: &'static str,
    steps: Vec<MicroOperation>,
    thunk: &T,
    counter_start: i64,
) -> Call {
    Call {
        function,
        steps,
        work: Work::Transaction {
            thunk: ThunkId::of::<T>(),
            arguments: codec::encode_value(thunk).expect("numbers and lists of them can be encoded"),
        },
        counter_start,
    }
}

/// One step on a register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RegisterStep {
    /// Read the register.
    Read { key: u64 },
    /// Write a value to it.
    Write { key: u64, value: u64 },
}

/// Reads and writes of registers, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RegisterTransaction {
    pub(super) steps: Vec<RegisterStep>,
}

impl Thunk for RegisterTransaction {
    const NAME: &'static str = "workload.registers";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        self.steps.iter().fold(Footprint::new(), |footprint, step| match step {
            RegisterStep::Read { key } => footprint.read(stored::register_key(*key)),
            RegisterStep::Write { key, .. } => footprint.write(stored::register_key(*key)),
        })
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let mut seen = Vec::new();
        for step in &self.steps {
            match step {
                RegisterStep::Read { key } => {
                    let value = evaluation.get(&stored::register_key(*key))?;
                    let value = value.as_ref().map(stored::decode_register).transpose()?;
                    seen.push(Seen::Register(value));
                }
                RegisterStep::Write { key, value } => {
                    evaluation.put(&stored::register_key(*key), stored::encode_register(*value))?;
                }
            }
        }
        Ok(seen)
    }
}

/// One step on a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ListStep {
    /// Read the list.
    Read { key: u64 },
    /// Append an element to it.
    Append { key: u64, element: u64 },
}

/// Reads of and appends to lists, in order. An append reads the list and writes it anew: if a transaction were evaluated on
/// another state than that of its place, elements would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListTransaction {
    pub(super) steps: Vec<ListStep>,
}

impl Thunk for ListTransaction {
    const NAME: &'static str = "workload.lists";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        self.steps.iter().fold(Footprint::new(), |footprint, step| match step {
            ListStep::Read { key } => footprint.read(stored::list_key(*key)),
            ListStep::Append { key, .. } => footprint.write(stored::list_key(*key)),
        })
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let mut seen = Vec::new();
        for step in &self.steps {
            let (ListStep::Read { key } | ListStep::Append { key, .. }) = step;
            let place = stored::list_key(*key);
            let list = evaluation.get(&place)?;
            let mut list = list.as_ref().map(stored::decode_list).transpose()?.unwrap_or_default();
            match step {
                ListStep::Read { .. } => seen.push(Seen::List(list)),
                ListStep::Append { element, .. } => {
                    list.push(*element);
                    evaluation.put(&place, stored::encode_list(&list))?;
                }
            }
        }
        Ok(seen)
    }
}

/// Moves an amount between two accounts. Its output is both balances before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) amount: i64,
    /// What an account holds that was never written.
    pub(super) start: i64,
}

impl Thunk for Transfer {
    const NAME: &'static str = "workload.transfer";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all([self.from, self.to].map(stored::counter_key))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let from = counter(evaluation, self.from, self.start)?;
        let to = counter(evaluation, self.to, self.start)?;
        let (Some(less), Some(more)) = (from.checked_sub(self.amount), to.checked_add(self.amount)) else {
            return Err(Abort::Refused("balance out of range".into()));
        };
        if less < 0 {
            return Err(Abort::Refused("balance too low".into()));
        }
        evaluation.put(&stored::counter_key(self.from), stored::encode_counter(less))?;
        evaluation.put(&stored::counter_key(self.to), stored::encode_counter(more))?;
        Ok(vec![Seen::Counter(from), Seen::Counter(to)])
    }
}

/// Reads counters, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReadCounters {
    pub(super) keys: Vec<u64>,
    /// What a counter holds that was never written.
    pub(super) start: i64,
}

impl Thunk for ReadCounters {
    const NAME: &'static str = "workload.read-counters";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        Footprint::new().read_all(self.keys.iter().map(|key| stored::counter_key(*key)))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let read = |key: &u64| counter(evaluation, *key, self.start).map(Seen::Counter);
        self.keys.iter().map(read).collect()
    }
}

/// Adds to a counter by a merge operator. It reads nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Increment {
    pub(super) key: u64,
    pub(super) amount: i64,
}

impl Thunk for Increment {
    const NAME: &'static str = "workload.increment";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(stored::counter_key(self.key))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let operand: Value = stored::encode_counter(self.amount);
        evaluation.merge(&stored::counter_key(self.key), Operator::Add, &operand)?;
        Ok(Vec::new())
    }
}

/// Writes counters, whatever they hold. It reads nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetCounters {
    /// Each with what it is to hold.
    pub(super) counters: Vec<(u64, i64)>,
}

impl Thunk for SetCounters {
    const NAME: &'static str = "workload.set-counters";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write_all(self.counters.iter().map(|(key, _)| stored::counter_key(*key)))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        for (key, counter) in &self.counters {
            evaluation.put(&stored::counter_key(*key), stored::encode_counter(*counter))?;
        }
        Ok(Vec::new())
    }
}

/// Adds to a counter by a read and a write. Its output is the counter before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IncrementRead {
    pub(super) key: u64,
    pub(super) amount: i64,
}

impl Thunk for IncrementRead {
    const NAME: &'static str = "workload.increment-read";
    const VERSION: u32 = 1;
    type Output = Vec<Seen>;

    fn footprint(&self) -> Footprint {
        Footprint::new().write(stored::counter_key(self.key))
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<Vec<Seen>, Abort> {
        let before = counter(evaluation, self.key, 0)?;
        let after = before
            .checked_add(self.amount)
            .ok_or_else(|| Abort::Refused("the sum is out of range".into()))?;
        evaluation.put(&stored::counter_key(self.key), stored::encode_counter(after))?;
        Ok(vec![Seen::Counter(before)])
    }
}

/// What a counter holds; `start` where it was never written.
fn counter(evaluation: &mut Evaluation<'_>, key: u64, start: i64) -> Result<i64, Abort> {
    let value = evaluation.get(&stored::counter_key(key))?;
    Ok(value.as_ref().map_or(Ok(start), stored::decode_counter)?)
}
