//! What a checker says: a verdict, and the evidence of every violation.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Violations of one anomaly that a verdict carries; the others are counted in the text of the last one.
const VIOLATIONS_MAX: usize = 5;

/// What a checker says of what it saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Nothing contradicts the promise.
    Pass,
    /// The promise was broken, or the history itself is malformed. At least one violation.
    Fail(Vec<Violation>),
    /// It cannot be decided.
    Unknown {
        /// Why, and what would help.
        why: String,
        /// How much remained undecided: operations, reads or samples, as `why` says.
        size: usize,
    },
}

/// One broken promise and the least that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The field's name for it, such as `G1c`, `G-single-realtime`, `aborted-read` or `total-changed`.
    pub anomaly: &'static str,
    /// What happened, in a sentence.
    pub message: String,
    /// The operations that show it. Of a cycle: in its order.
    pub operations: Vec<OperationEvidence>,
    /// Of a cycle: why each operation comes before the next, and the last before the first. Else empty.
    pub cycle: Vec<CycleStep>,
}

/// One operation as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OperationEvidence {
    /// Number of its invocation in the history.
    pub index: usize,
    /// Number of its end in the history; absent if it never ended.
    pub index_end: Option<usize>,
    /// Its process.
    pub process: u64,
    /// Its function.
    pub function: &'static str,
    /// `ok`, `fail`, `info` or, while it is open, `invoke`.
    pub phase: &'static str,
    /// When it was invoked, in microseconds.
    pub invoked_us: u64,
    /// When it ended, in microseconds.
    pub ended_us: Option<u64>,
    /// Its transaction id.
    pub id: Option<String>,
    /// Where it is said to have taken effect.
    pub timestamp: Option<String>,
    /// Its steps and what they read, in Elle's notation.
    pub value: String,
}

/// Why one operation of a cycle comes before the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CycleStep {
    /// The kind of the dependency.
    pub kind: EdgeKind,
    /// The dependency in words.
    pub why: String,
}

/// The kind of a dependency between two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum EdgeKind {
    /// The second overwrote or appended after what the first wrote.
    WriteWrite,
    /// The second read what the first wrote.
    WriteRead,
    /// The second overwrote what the first read.
    ReadWrite,
    /// One process did the first, then the second.
    Process,
    /// The first had ended before the second was invoked.
    Realtime,
}

impl EdgeKind {
    /// The short name: `ww`, `wr`, `rw`, `process` or `realtime`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteWrite => "ww",
            Self::WriteRead => "wr",
            Self::ReadWrite => "rw",
            Self::Process => "process",
            Self::Realtime => "realtime",
        }
    }
}

impl Violation {
    /// A violation that is no cycle.
    pub fn new(anomaly: &'static str, message: impl Into<String>, operations: Vec<OperationEvidence>) -> Self {
        Self {
            anomaly,
            message: message.into(),
            operations,
            cycle: Vec::new(),
        }
    }
}

/// Violations as they are found: the first few of each anomaly, and a count of the others.
#[derive(Debug, Default)]
pub(super) struct Accusations {
    kept: Vec<Violation>,
    counts: BTreeMap<&'static str, usize>,
}

impl Accusations {
    /// Adds one; `violation` is only called if it is kept.
    pub(super) fn add(&mut self, anomaly: &'static str, violation: impl FnOnce() -> (String, Vec<OperationEvidence>)) {
        let count = self.counts.entry(anomaly).or_default();
        *count += 1;
        if *count <= VIOLATIONS_MAX {
            let (message, operations) = violation();
            self.kept.push(Violation::new(anomaly, message, operations));
        }
    }

    /// Adds one that is there already.
    pub(super) fn add_ready(&mut self, violation: Violation) {
        let count = self.counts.entry(violation.anomaly).or_default();
        *count += 1;
        if *count <= VIOLATIONS_MAX {
            self.kept.push(violation);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// [`Verdict::Pass`] if there is none, else [`Verdict::Fail`].
    pub(super) fn verdict(mut self) -> Verdict {
        for (anomaly, count) in self.counts.into_iter().filter(|(_, count)| *count > VIOLATIONS_MAX) {
            let more = format!(" (and {} more of this kind)", count - VIOLATIONS_MAX);
            if let Some(last) = self.kept.iter_mut().rfind(|violation| violation.anomaly == anomaly) {
                last.message.push_str(&more);
            }
        }
        match self.kept.is_empty() {
            true => Verdict::Pass,
            false => Verdict::Fail(self.kept),
        }
    }
}

impl Verdict {
    /// Whether nothing contradicts the promise.
    pub fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }

    /// Whether the promise was broken.
    pub fn is_fail(&self) -> bool {
        matches!(self, Self::Fail(_))
    }

    /// The violations; none unless the verdict is [`Verdict::Fail`].
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Fail(violations) => violations,
            _ => &[],
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Unknown { why, size } => write!(f, "unknown ({size}): {why}"),
            Self::Fail(violations) => {
                write!(f, "fail: {} violations", violations.len())?;
                violations.iter().try_for_each(|violation| write!(f, "\n{violation}"))
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.anomaly, self.message)?;
        for (place, operation) in self.operations.iter().enumerate() {
            write!(f, "\n  T{place} {operation}")?;
        }
        for (place, step) in self.cycle.iter().enumerate() {
            let next = (place + 1) % self.cycle.len();
            write!(f, "\n  T{place} -{}-> T{next}: {}", step.kind.name(), step.why)?;
        }
        Ok(())
    }
}

impl fmt::Display for OperationEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[entry {}, process {}, {} ", self.index, self.process, self.function)?;
        match self.ended_us {
            Some(ended) => write!(f, "{} from {} to {ended} us", self.phase, self.invoked_us)?,
            None => write!(f, "{} since {} us", self.phase, self.invoked_us)?,
        }
        if let Some(timestamp) = &self.timestamp {
            write!(f, ", timestamp {timestamp}")?;
        }
        write!(f, "] {}", self.value)
    }
}
