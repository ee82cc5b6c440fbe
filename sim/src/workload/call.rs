//! One call of a client: its steps as the history tells them, and the request that carries them out.
//!
//! Also the way back: what a thunk put out, or the rows that a read gave, becomes the same steps with what was read.

use plimsoll::codec;
use plimsoll::key::{Key, Value};
use plimsoll::protocol::Query;
use plimsoll::transaction::ThunkId;
use serde::{Deserialize, Serialize};

use super::stored;
use crate::history::{MicroOperation, function};
use crate::port::Answer;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The name that the history gives to this kind of call.
    pub function: &'static str,
    /// Its steps, in order, with nothing read yet.
    pub steps: Vec<MicroOperation>,
    /// How they are carried out.
    pub work: Work,
    /// What a counter holds that was never written.
    pub counter_start: i64,
}

/// How a call is carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// A transaction: the thunk and its encoded arguments. Its output is a list of [`Seen`], one for each step that reads.
    Transaction {
        /// The registered code.
        thunk: ThunkId,
        /// Its encoded arguments.
        arguments: Value,
    },
    /// A read of the keys of all steps, outside transactions. Every step is a read.
    Read,
}

/// What one reading step saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// A register; absent if it was never written.
    Register(Option<u64>),
    /// A list; a missing one is empty.
    List(Vec<u64>),
    /// A counter; a missing one holds what its workload starts with.
    Counter(i64),
}

/// Why an answer is not one to the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The output of a thunk, or a stored value, is not in the form that the workload gave it.
    #[error("{what} could not be decoded: {why}")]
    Undecodable {
        /// What it is.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// It has not as many rows as keys were asked for.
    #[error("{wanted} keys were asked for, and the answer holds {keys} keys and {ranges} ranges")]
    Count {
        /// How many keys were asked for.
        wanted: usize,
        /// How many it holds.
        keys: usize,
        /// How many ranges it holds; none were asked for.
        ranges: usize,
    },
    /// It holds other things than the steps read.
    #[error("step {step} read {wanted}, but the answer there holds {found}")]
    Mismatch {
        /// The number of the step, from 0.
        step: usize,
        /// What the step reads.
        wanted: &'static str,
        /// What the answer holds.
        found: String,
    },
}

impl Call {
    /// A read of all of `steps` at one snapshot, which kind the client chooses. *Panics* where one of them is a write.
    pub fn read(steps: Vec<MicroOperation>, counter_start: i64) -> Self {
        assert!(
            !steps.iter().any(MicroOperation::is_write),
            "a read that writes: {steps:?}"
        );
        Self {
            function: function::STRICT_READ,
            steps,
            work: Work::Read,
            counter_start,
        }
    }

    /// The keys of all steps, in order: what a read asks for.
    pub fn query(&self) -> Query {
        Query::keys(self.steps.iter().map(key_of))
    }

    /// The steps with what the output of the call's thunk says was read.
    ///
    /// *Errors* where the output is not one of this call: then the system gave a wrong answer.
    pub fn steps_of_output(&self, output: &Value) -> Result<Vec<MicroOperation>, AnswerError> {
        let seen: Vec<Seen> = codec::decode_value(output).map_err(|error| AnswerError::Undecodable {
            what: "the output".to_owned(),
            why: error.to_string(),
        })?;
        self.filled(seen.into_iter().map(Ok))
    }

    /// The steps with what the rows of a read hold.
    ///
    /// *Errors* where the rows are not those of this call, or hold a value in another form: a wrong answer.
    pub fn steps_of_answer(&self, answer: &Answer) -> Result<Vec<MicroOperation>, AnswerError> {
        if answer.keys.len() != self.steps.len() || !answer.ranges.is_empty() {
            return Err(AnswerError::Count {
                wanted: self.steps.len(),
                keys: answer.keys.len(),
                ranges: answer.ranges.len(),
            });
        }
        let rows = answer.keys.iter().zip(&self.steps);
        self.filled(rows.map(|(value, step)| self.seen(step, value.as_ref().map(|versioned| &versioned.value))))
    }

    fn seen(&self, step: &MicroOperation, value: Option<&Value>) -> Result<Seen, AnswerError> {
        Ok(match step {
            MicroOperation::ReadRegister { .. } => Seen::Register(value.map(stored::decode_register).transpose()?),
            MicroOperation::ReadList { .. } => {
                Seen::List(value.map(stored::decode_list).transpose()?.unwrap_or_default())
            }
            _ => Seen::Counter(value.map_or(Ok(self.counter_start), stored::decode_counter)?),
        })
    }

    /// The steps, each reading one with the next of `seen`.
    fn filled(
        &self,
        seen: impl Iterator<Item = Result<Seen, AnswerError>>,
    ) -> Result<Vec<MicroOperation>, AnswerError> {
        let mut seen = seen.fuse();
        let mut steps = self.steps.clone();
        for (place, step) in steps.iter_mut().enumerate() {
            if step.is_write() {
                continue;
            }
            let (wanted, found) = match (&mut *step, seen.next().transpose()?) {
                (MicroOperation::ReadRegister { value, .. }, Some(Seen::Register(found))) => {
                    *value = Some(found);
                    continue;
                }
                (MicroOperation::ReadList { elements, .. }, Some(Seen::List(found))) => {
                    *elements = Some(found);
                    continue;
                }
                (MicroOperation::ReadCounter { value, .. }, Some(Seen::Counter(found))) => {
                    *value = Some(found);
                    continue;
                }
                (MicroOperation::ReadRegister { .. }, found) => ("a register", found),
                (MicroOperation::ReadList { .. }, found) => ("a list", found),
                (_, found) => ("a counter", found),
            };
            return Err(AnswerError::Mismatch {
                step: place,
                wanted,
                found: found.map_or("nothing".to_owned(), |found| format!("{found:?}")),
            });
        }
        match seen.next().transpose()? {
            None => Ok(steps),
            Some(more) => Err(AnswerError::Mismatch {
                step: steps.len(),
                wanted: "nothing more",
                found: format!("{more:?}"),
            }),
        }
    }
}

/// Where the datum of a step is stored.
pub(crate) fn key_of(step: &MicroOperation) -> Key {
    use MicroOperation as M;
    match step {
        M::Append { key, .. } | M::ReadList { key, .. } => stored::list_key(*key),
        M::Write { key, .. } | M::ReadRegister { key, .. } => stored::register_key(*key),
        M::Add { key, .. } | M::ReadCounter { key, .. } => stored::counter_key(*key),
    }
}
