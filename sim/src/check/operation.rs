//! Operations: an invocation and its end, paired by process, and joined where a client tried again under the same id.
//!
//! Several attempts under one transaction id are one operation: it takes effect at most once, after the first
//! invocation and before the first good answer, whichever attempt did it.

use std::collections::BTreeMap;

use plimsoll::id::TransactionId;
use plimsoll::time::Timestamp;

use super::verdict::{OperationEvidence, Violation};
use crate::history::{Entry, History, MicroOperation, Phase, function};

/// Characters of an operation's value that evidence shows; the rest is cut.
const VALUE_CHARACTERS_MAX: usize = 400;

/// How an operation ended, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It took effect.
    Ok,
    /// It had no effect.
    Fail,
    /// It may have had an effect, or may yet have one. An operation that never ended is one of these.
    Info,
}

/// What an operation must see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recency {
    /// Everything that was answered before it was invoked: transactions and strict reads.
    Strict,
    /// Everything that its own process saw before.
    AfterOwn,
    /// Some earlier state.
    Snapshot,
}

/// One operation. Entries are named by their number in the history.
#[derive(Clone, Debug)]
pub(super) struct Operation<'h> {
    pub(super) status: Status,
    pub(super) recency: Recency,
    /// The entry of the first invocation: the effect is later.
    pub(super) invoke: u32,
    /// The entry of the first end that is `ok`: the effect is earlier. Else that of the last end; absent if there is none.
    pub(super) end: Option<u32>,
    pub(super) process: u64,
    pub(super) id: Option<TransactionId>,
    pub(super) timestamp: Option<Timestamp>,
    /// The steps: with what was read if it is ok.
    pub(super) value: &'h [MicroOperation],
    /// Whether more than one attempt was joined.
    pub(super) is_joined: bool,
}

/// All operations of a history, in order of their invocation, and what is wrong with the record itself.
pub(super) struct Operations<'h> {
    pub(super) history: &'h History,
    pub(super) list: Vec<Operation<'h>>,
    pub(super) malformed: Vec<Violation>,
}

impl Operation<'_> {
    /// Whether it is more than a read of a snapshot: it has a timestamp of its own.
    pub(super) fn is_transaction(&self) -> bool {
        self.id.is_some() || self.value.iter().any(MicroOperation::is_write)
    }

    pub(super) fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// The entry before which it took effect; absent if it is not known to have.
    pub(super) fn before(&self) -> Option<u32> {
        self.end.filter(|_| self.is_ok())
    }
}

impl<'h> Operations<'h> {
    /// Pairs and joins the entries of `history`. Where the record is malformed, it goes on with what can be made of it.
    pub(super) fn of(history: &'h History) -> Self {
        assert!(
            u32::try_from(history.entries.len()).is_ok(),
            "a history has less than 2^32 entries"
        );
        let mut operations = Self {
            history,
            list: Vec::with_capacity(history.entries.len() / 2),
            malformed: Vec::new(),
        };
        operations.pair();
        operations.join_attempts();
        operations
    }

    fn pair(&mut self) {
        /// What a process is doing.
        enum Process {
            Idle,
            Busy(usize),
            Ended,
        }
        let mut processes: BTreeMap<u64, Process> = BTreeMap::new();
        let mut time_last = 0;
        for (index, entry) in self.history.entries.iter().enumerate() {
            if entry.time_us < time_last {
                self.complain(
                    index,
                    format!("its time lies before {time_last} us, that of the entry before"),
                );
            }
            time_last = time_last.max(entry.time_us);
            let process = processes.entry(entry.process).or_insert(Process::Idle);
            match (entry.phase, &*process) {
                (Phase::Invoke, Process::Idle) => {
                    *process = Process::Busy(self.list.len());
                    self.list.push(Operation {
                        status: Status::Info,
                        recency: recency(entry),
                        invoke: index as u32,
                        end: None,
                        process: entry.process,
                        id: entry.id,
                        timestamp: None,
                        value: &entry.value,
                        is_joined: false,
                    });
                }
                (Phase::Invoke, Process::Busy(_)) => {
                    self.complain(
                        index,
                        "its process has an operation open: a process does one at a time".to_owned(),
                    );
                }
                (Phase::Invoke, Process::Ended) => {
                    let text = "its process had an info: the id of such a process is not used again";
                    self.complain(index, text.to_owned());
                }
                (_, Process::Busy(operation)) => {
                    let operation = *operation;
                    *process = match entry.phase {
                        Phase::Info => Process::Ended,
                        _ => Process::Idle,
                    };
                    self.end(operation, index);
                }
                (_, Process::Idle | Process::Ended) => {
                    self.complain(
                        index,
                        "it ends an operation that its process had not invoked".to_owned(),
                    );
                }
            }
        }
    }

    fn end(&mut self, operation: usize, index: usize) {
        let entry = &self.history.entries[index];
        let invocation = &self.history.entries[self.list[operation].invoke as usize];
        if entry.phase == Phase::Ok && !is_answer(&entry.value, &invocation.value) {
            self.complain(
                index,
                "its steps are not those of its invocation, or a read of it holds nothing".to_owned(),
            );
        }
        if entry.id.is_some() && invocation.id.is_some() && entry.id != invocation.id {
            self.complain(index, "its id is not that of its invocation".to_owned());
        }
        let operation = &mut self.list[operation];
        operation.end = Some(index as u32);
        operation.id = operation.id.or(entry.id);
        match entry.phase {
            Phase::Ok => {
                operation.status = Status::Ok;
                operation.value = &entry.value;
                operation.timestamp = entry.timestamp;
            }
            Phase::Fail => operation.status = Status::Fail,
            Phase::Info | Phase::Invoke => {}
        }
    }

    fn complain(&mut self, index: usize, text: String) {
        let entry = &self.history.entries[index];
        let phase = entry.phase.name();
        let message = format!(
            "entry {index} ({phase} of process {}, {} us): {text}",
            entry.process, entry.time_us
        );
        self.malformed
            .push(Violation::new("malformed-history", message, Vec::new()));
    }

    /// Makes one operation of all attempts under the same id.
    fn join_attempts(&mut self) {
        let mut named: Vec<(TransactionId, u32)> = Vec::new();
        for (place, operation) in self.list.iter().enumerate() {
            named.extend(operation.id.map(|id| (id, place as u32)));
        }
        named.sort_unstable();
        let mut superfluous = Vec::new();
        for attempts in named.chunk_by(|a, b| a.0 == b.0).filter(|attempts| attempts.len() > 1) {
            let first = attempts[0].1 as usize;
            for (_, again) in &attempts[1..] {
                self.join(first, *again as usize);
                superfluous.push(*again);
            }
        }
        if superfluous.is_empty() {
            return;
        }
        superfluous.sort_unstable();
        let mut superfluous = superfluous.into_iter().peekable();
        let mut place = 0;
        self.list.retain(|_| {
            let keep = superfluous.next_if_eq(&place).is_none();
            place += 1;
            keep
        });
    }

    fn join(&mut self, first: usize, again: usize) {
        let (a, b) = (self.list[first].clone(), self.list[again].clone());
        let differ = match (a.status, b.status) {
            (Status::Ok, Status::Ok) => a.value != b.value || a.timestamp != b.timestamp,
            _ => !is_same_request(a.value, b.value),
        };
        if differ {
            let text = "two attempts under one transaction id were answered differently, or asked for different things";
            let evidence = vec![self.evidence(first), self.evidence(again)];
            self.malformed.push(Violation::new("not-once", text, evidence));
        }
        let joined = &mut self.list[first];
        joined.is_joined = true;
        joined.invoke = a.invoke.min(b.invoke);
        match (a.status, b.status) {
            (Status::Ok, Status::Ok) => joined.end = a.end.min(b.end),
            (Status::Ok, _) => {}
            (_, Status::Ok) => {
                joined.end = b.end;
                joined.status = Status::Ok;
                joined.value = b.value;
                joined.timestamp = b.timestamp;
            }
            (Status::Fail, Status::Fail) => joined.end = a.end.max(b.end),
            _ => {
                joined.end = if a.status == Status::Info { a.end } else { b.end };
                joined.status = Status::Info;
            }
        }
    }

    /// The operation at `place` for a violation.
    pub(super) fn evidence(&self, place: usize) -> OperationEvidence {
        let operation = &self.list[place];
        let invocation = &self.history.entries[operation.invoke as usize];
        let end = operation.end.map(|end| &self.history.entries[end as usize]);
        let mut value = crate::history::steps_in_edn(operation.value);
        if let Some((cut, _)) = value.char_indices().nth(VALUE_CHARACTERS_MAX) {
            value.truncate(cut);
            value.push_str(" ...");
        }
        OperationEvidence {
            index: operation.invoke as usize,
            index_end: operation.end.map(|end| end as usize),
            process: operation.process,
            function: invocation.function,
            phase: end.map_or(Phase::Invoke, |end| end.phase).name(),
            invoked_us: invocation.time_us,
            ended_us: end.map(|end| end.time_us),
            id: operation.id.map(|id| id.to_string()),
            timestamp: operation.timestamp.map(|at| at.to_string()),
            value,
        }
    }
}

fn recency(entry: &Entry) -> Recency {
    match entry.function {
        function::AFTER_READ => Recency::AfterOwn,
        function::SNAPSHOT_READ => Recency::Snapshot,
        _ => Recency::Strict,
    }
}

/// Whether `answer` has the steps of `request`, and every read holds something.
fn is_answer(answer: &[MicroOperation], request: &[MicroOperation]) -> bool {
    let holds = |step: &MicroOperation| match step {
        MicroOperation::ReadList { elements, .. } => elements.is_some(),
        MicroOperation::ReadRegister { value, .. } => value.is_some(),
        MicroOperation::ReadCounter { value, .. } => value.is_some(),
        _ => true,
    };
    is_same_request(answer, request) && answer.iter().all(holds)
}

/// Whether two values have the same steps, whatever was read.
fn is_same_request(a: &[MicroOperation], b: &[MicroOperation]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|steps| match steps {
            (MicroOperation::ReadList { key: a, .. }, MicroOperation::ReadList { key: b, .. })
            | (MicroOperation::ReadRegister { key: a, .. }, MicroOperation::ReadRegister { key: b, .. })
            | (MicroOperation::ReadCounter { key: a, .. }, MicroOperation::ReadCounter { key: b, .. }) => a == b,
            (a, b) => a == b,
        })
}
