//! The workloads: what clients ask for, and what it means.
//!
//! Realises the workloads of section 8 of the design, as `docs/workloads.md` defines them. A [`Workload`] draws [`Call`]s: their
//! steps as the history tells them, and the thunk that carries them out. Nothing is loaded before a run: what was never
//! written is an empty list, a register never written, or a counter that holds what its workload starts with. Whether
//! the system kept its word is judged by [`check`] from the history alone; [`judged_as`] says as what.

mod call;
mod choice;
mod counters;
mod cycle;
mod lists;
mod registers;
mod stored;
#[cfg(test)]
mod tests;
mod thunks;
mod versions;

use std::collections::BTreeMap;

use crate::check;
use crate::client;
use crate::random::Stream;
use crate::scenario::{Distribution, WorkloadConfig, WorkloadKind};
pub use call::{AnswerError, Call, Seen, Work};
pub use choice::{Choice, ChoiceError};
pub(crate) use cycle::next_place;
pub use stored::{counter_of, counter_range};
pub use thunks::registry;
pub use versions::{ListCode, in_second_version};

/// Keys that one read asks for at most, where a workload reads all that there are.
const READ_KEYS_MAX: usize = 10_000;

/// What clients ask for. One value serves all clients of a run, each with a generator of its own.
pub trait Workload: Send {
    /// The next transaction of a client.
    fn transaction(&mut self, random: &mut Stream) -> Call;

    /// The next read outside transactions of a client.
    fn read(&mut self, random: &mut Stream) -> Call;

    /// The reads that are made when the load has ended; each is one strict read.
    fn final_reads(&mut self) -> Vec<Call>;
}

/// What the clients of a scenario do, be it in stages.
///
/// *Errors* as [`build`].
pub fn scripts(config: &WorkloadConfig) -> Result<Box<dyn client::Scripts>, ChoiceError> {
    Ok(match config.kind {
        WorkloadKind::Cycle => Box::new(cycle::Cycle::new(choice(config)?, config.reserve_after)?),
        _ => Box::new(build(config)?),
    })
}

/// The workload that a scenario describes, each of whose calls is one request.
///
/// *Panics* where its transactions are staged.
///
/// *Errors* where a parameter of the distribution is outside its range, or the keys do not suffice.
pub fn build(config: &WorkloadConfig) -> Result<Box<dyn Workload>, ChoiceError> {
    let choice = choice(config)?;
    Ok(match config.kind {
        WorkloadKind::Transfer => Box::new(counters::Transfers::new(choice, config.initial_balance as i64)?),
        WorkloadKind::Counter => Box::new(counters::Increments::new(choice, config.counter)),
        WorkloadKind::Retwis => Box::new(registers::Retwis::new(choice)),
        WorkloadKind::YcsbT => Box::new(registers::YcsbT::new(choice)),
        WorkloadKind::Put2 => Box::new(registers::PutTwo::new(choice)?),
        WorkloadKind::ListAppend => Box::new(lists::ListAppend::new(choice, config.operations_max)),
        WorkloadKind::Cycle => panic!("the transactions of a cycle are staged: ask for its scripts"),
    })
}

fn choice(config: &WorkloadConfig) -> Result<Choice, ChoiceError> {
    match config.distribution {
        Distribution::Uniform => Ok(Choice::uniform(config.keys)),
        Distribution::Zipf { theta } => Choice::zipf(config.keys, theta),
        Distribution::Hot { keys } => Choice::hot(config.keys, keys),
        Distribution::Hotspot { data, operations } => Choice::hotspot(config.keys, data, operations),
    }
}

/// As what the history of a workload is judged.
pub fn judged_as(config: &WorkloadConfig) -> check::Workload {
    match config.kind {
        WorkloadKind::Transfer => check::Workload::Transfer {
            accounts: (0..config.keys)
                .map(|account| (account, config.initial_balance as i64))
                .collect(),
        },
        WorkloadKind::Counter => check::Workload::Counters {
            initial: BTreeMap::new(),
        },
        WorkloadKind::Retwis | WorkloadKind::YcsbT | WorkloadKind::Put2 => check::Workload::Registers,
        WorkloadKind::ListAppend => check::Workload::ListAppend,
        WorkloadKind::Cycle => check::Workload::Ring { places: config.keys },
    }
}
