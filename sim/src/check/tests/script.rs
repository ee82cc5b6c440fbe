//! Histories written by hand: operations with their times, from which the entries follow.

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::time::{Hlc, Timestamp};

use crate::check::Verdict;
use crate::history::MicroOperation::{self, Add, Append, ReadCounter, ReadList, ReadRegister, Write};
use crate::history::{Entry, History, Phase};

/// One operation of a hand-made history. Each operation has a process of its own unless told otherwise.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub(super) begin: u64,
    /// None: it never ends.
    pub(super) end: Option<u64>,
    pub(super) phase: Phase,
    pub(super) process: Option<u64>,
    pub(super) function: &'static str,
    pub(super) id: Option<u128>,
    pub(super) at: Option<u64>,
    pub(super) value: Vec<MicroOperation>,
}

/// A transaction answered in this interval.
pub(super) fn ok(begin: u64, end: u64, value: Vec<MicroOperation>) -> Op {
    Op {
        begin,
        end: Some(end),
        phase: Phase::Ok,
        process: None,
        function: "txn",
        id: None,
        at: None,
        value,
    }
}

impl Op {
    pub(super) fn phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    /// By this process.
    pub(super) fn by(self, process: u64) -> Self {
        Self {
            process: Some(process),
            ..self
        }
    }

    /// With this claimed time; transactions claim node 1, reads the end of the snapshot.
    pub(super) fn at(self, at: u64) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(super) fn id(self, id: u128) -> Self {
        Self { id: Some(id), ..self }
    }

    pub(super) fn function(self, function: &'static str) -> Self {
        Self { function, ..self }
    }
}

/// The history of these operations.
pub(super) fn history(operations: &[Op]) -> History {
    let mut entries = Vec::new();
    for (number, op) in operations.iter().enumerate() {
        let hlc = op.at.map(Hlc::from_bits);
        let timestamp = |hlc| match op.value.iter().any(MicroOperation::is_write) || op.id.is_some() {
            true => Timestamp {
                hlc,
                node: NodeId::new(1),
            },
            false => Timestamp::last_at(hlc),
        };
        let entry = Entry {
            process: op.process.unwrap_or(100 + number as u64),
            time_us: op.begin,
            phase: Phase::Invoke,
            function: op.function,
            value: op.value.iter().map(unread).collect(),
            id: op.id.map(TransactionId::from_u128),
            timestamp: None,
            error: None,
            region: 0,
        };
        if let Some(end) = op.end {
            let is_ok = op.phase == Phase::Ok;
            entries.push(Entry {
                time_us: end,
                phase: op.phase,
                value: if is_ok { op.value.clone() } else { entry.value.clone() },
                timestamp: hlc.map(timestamp).filter(|_| is_ok),
                ..entry.clone()
            });
        }
        entries.push(entry);
    }
    entries.sort_by_key(|entry| entry.time_us);
    History { entries }
}

/// The step as it is at the invocation.
pub(super) fn unread(step: &MicroOperation) -> MicroOperation {
    match *step {
        ReadList { key, .. } => ReadList { key, elements: None },
        ReadRegister { key, .. } => ReadRegister { key, value: None },
        ReadCounter { key, .. } => ReadCounter { key, value: None },
        ref write => write.clone(),
    }
}

pub(super) fn append(key: u64, element: u64) -> MicroOperation {
    Append { key, element }
}

pub(super) fn list(key: u64, elements: &[u64]) -> MicroOperation {
    ReadList {
        key,
        elements: Some(elements.to_vec()),
    }
}

pub(super) fn write(key: u64, value: u64) -> MicroOperation {
    Write { key, value }
}

/// A read of a register; 0 is never written.
pub(super) fn register(key: u64, value: u64) -> MicroOperation {
    ReadRegister {
        key,
        value: Some(Some(value).filter(|value| *value != 0)),
    }
}

pub(super) fn add(key: u64, amount: i64) -> MicroOperation {
    Add { key, amount }
}

pub(super) fn counter(key: u64, value: i64) -> MicroOperation {
    ReadCounter {
        key,
        value: Some(value),
    }
}

/// The names of the anomalies of a verdict, each once.
pub(super) fn anomalies(verdict: &Verdict) -> Vec<&'static str> {
    let mut names: Vec<&str> = verdict.violations().iter().map(|violation| violation.anomaly).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// *Panics* unless the verdict has exactly these anomalies.
#[track_caller]
pub(super) fn assert_anomalies(verdict: &Verdict, expected: &[&str]) {
    assert_eq!(anomalies(verdict), expected, "{verdict}");
}
