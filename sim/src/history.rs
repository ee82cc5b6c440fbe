//! What clients saw: the history that the checkers judge.
//!
//! An entry is recorded as `Invoke` before a request is sent, `Ok` after its reply, `Fail` when it certainly had no
//! effect, and `Info` when the client cannot be sure; after an `Info` its process id is never used again. The forms of
//! the file are in `json` and `edn`.

mod edn;
mod json;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

pub(crate) use edn::steps_in_edn;
pub use json::ReadHistoryError;
use plimsoll::id::TransactionId;
use plimsoll::time::Timestamp;

/// One step of a transaction as the client sees it. Reads hold nothing at the invocation and what was read at `Ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MicroOperation {
    /// Append `element`, unique for its key in the whole history, to the list at `key`.
    Append {
        /// The list.
        key: u64,
        /// The element.
        element: u64,
    },
    /// Read the list at `key`; a missing one is empty.
    ReadList {
        /// The list.
        key: u64,
        /// What was read.
        elements: Option<Vec<u64>>,
    },
    /// Write `value`, unique for its key in the whole history, to the register at `key`.
    Write {
        /// The register.
        key: u64,
        /// The value.
        value: u64,
    },
    /// Read the register at `key`.
    ReadRegister {
        /// The register.
        key: u64,
        /// What was read: the inner none is a register never written.
        value: Option<Option<u64>>,
    },
    /// Add `amount` to the counter at `key`; a missing one is 0.
    Add {
        /// The counter.
        key: u64,
        /// What to add.
        amount: i64,
    },
    /// Read the counter at `key`.
    ReadCounter {
        /// The counter.
        key: u64,
        /// What was read.
        value: Option<i64>,
    },
}

/// What an entry says of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The request is about to be sent.
    Invoke,
    /// The reply has come and it took effect.
    Ok,
    /// It certainly took no effect.
    Fail,
    /// It may or may not have taken effect, now or later.
    Info,
}

/// One line of the history. A process has at most one operation open at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The client process, unique over the whole run.
    pub process: u64,
    /// Virtual time in microseconds since the start of the run; entries are in this order.
    pub time_us: u64,
    /// What the entry says.
    pub phase: Phase,
    /// What kind of operation: `txn`, `transfer`, `read`, ...
    pub function: &'static str,
    /// Its steps, in order; the same at the invocation and at the end but for what was read.
    pub value: Vec<MicroOperation>,
    /// The transaction's id; absent for reads outside transactions.
    pub id: Option<TransactionId>,
    /// At `Ok`: where the system says that it took effect. A read's is the end of its snapshot.
    pub timestamp: Option<Timestamp>,
    /// At `Fail` and `Info`: why.
    pub error: Option<String>,
    /// Number of the client's region in the scenario.
    pub region: usize,
}

/// All entries of a run, in order of time.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Phase {
    /// The name in files: `invoke`, `ok`, `fail` or `info`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Invoke, Self::Ok, Self::Fail, Self::Info]
            .into_iter()
            .find(|phase| phase.name() == name)
    }
}

impl MicroOperation {
    /// Whether the step changes anything.
    pub const fn is_write(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Write { .. } | Self::Add { .. })
    }
}

impl History {
    /// Writes the history to a new file, in the form that its name ends in: `.edn`, or lines of JSON for `.json`, `.jsonl` and
    /// `.ndjson`.
    ///
    /// *Errors* `InvalidInput` for another ending, before anything is written; else those of the file.
    pub fn write_to_file(&self, path: &Path) -> io::Result<()> {
        let file = || File::create(path).map(BufWriter::new);
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("edn") => self.write_edn(file()?),
            Some("json" | "jsonl" | "ndjson") => self.write_json_lines(file()?),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("the name of the history file {path:?} ends in neither .edn nor .json, .jsonl or .ndjson"),
            )),
        }
    }
}

/// The time of an entry as files have it.
fn nanoseconds(entry: &Entry) -> io::Result<u64> {
    entry.time_us.checked_mul(1000).ok_or_else(|| {
        let text = format!("the time {} us has no form in nanoseconds of 64 bits", entry.time_us);
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Names of functions that the checkers treat in a way of their own. An operation of any other name must see everything
/// that was answered before it began.
pub mod function {
    /// A read that sees everything that was answered anywhere before it began.
    pub const STRICT_READ: &str = "strict-read";
    /// A read of some earlier state, whole but not recent.
    pub const SNAPSHOT_READ: &str = "snapshot-read";
    /// A read that sees at least what its own process has seen and written before.
    pub const AFTER_READ: &str = "after-read";
}
