//! Strict serializability from the outside: is there one order of all operations that explains every read, and in which
//! whatever ended before something else began comes first?
//!
//! Lists and registers tell which operation depends on which ([`lists`](super::lists), [`registers`](super::registers)); here
//! real time and the order of each process join, and a cycle is a violation. Timestamps play no part: see `witness`.
//! Reads of snapshots must fit the order too, but need not be recent. Counters tell no order and are not looked at.

use super::cycle::{self, Explain, Step};
use super::graph::{GraphBuilder, Kind};
use super::lists::Lists;
use super::operation::{Operations, Recency};
use super::registers::Registers;
use super::verdict::{Accusations, EdgeKind, OperationEvidence, Verdict};
use crate::history::History;

/// Judges the lists of a history. See [`strict_serializability`].
pub fn list_append(history: &History) -> Verdict {
    judge(history, &[Object::List])
}

/// Judges the registers of a history. See [`strict_serializability`].
///
/// The order of a register's versions is inferred from transactions that read and then wrote it, and from real time;
/// versions that neither orders stay unordered, so an anomaly among them is missed. [`witness`](super::witness()) sees more.
pub fn registers(history: &History) -> Verdict {
    judge(history, &[Object::Register])
}

/// Judges lists and registers together: a cycle may run through both.
///
/// *Given* a history in which no element is appended twice to a list and no value is written twice to a register.
///
/// *Gives* [`Verdict::Fail`] with anomalies of single reads (`G1a` aborted, `G1b` intermediate, `internal`,
/// `unknown-element`, `duplicate-element`, `incompatible-order` and so on) and with one short cycle for each component
/// of operations that depend on each other (`G0`, `G1c`, `G-single`, `G2`, each plain, `-process` or `-realtime`);
/// `malformed-history` and `not-once` if the record contradicts itself.
///
/// *Cost*: linear in the history, but for sorting.
pub fn strict_serializability(history: &History) -> Verdict {
    judge(history, &[Object::List, Object::Register])
}

/// What keys hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    List,
    Register,
}

/// What a dependency is about, for its explanation. Without a value: what the second operation wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) object: Object,
    pub(super) key: u64,
    pub(super) value: Option<u64>,
}

/// What is known so far of one history.
pub(super) struct Analysis<'a, 'h> {
    pub(super) operations: &'a Operations<'h>,
    /// Operations that certainly took effect: those that were answered, and unsure ones that somebody observed.
    pub(super) is_committed: Vec<bool>,
    pub(super) graph: GraphBuilder,
    /// What labels of the graph's edges mean.
    pub(super) versions: Vec<Version>,
    accusations: Accusations,
}

impl Analysis<'_, '_> {
    /// Adds a violation shown by these operations.
    pub(super) fn accuse(&mut self, anomaly: &'static str, text: String, evidence: &[u32]) {
        let operations = self.operations;
        self.accusations.add(anomaly, || {
            let evidence = evidence.iter().map(|place| operations.evidence(*place as usize));
            (text, evidence.collect())
        });
    }

    /// Adds the order of real time. Instead of all pairs there is a chain of barriers: an operation that ended leads
    /// to the next barrier, and the last barrier before an invocation leads to what was invoked.
    fn order_by_real_time(&mut self) {
        let nothing = u32::MAX;
        let mut invoked_at = vec![nothing; self.operations.history.entries.len()];
        let mut ended_at = invoked_at.clone();
        for (place, operation) in self
            .operations
            .list
            .iter()
            .enumerate()
            .filter(|(place, _)| self.is_committed[*place])
        {
            if operation.recency == Recency::Strict {
                invoked_at[operation.invoke as usize] = place as u32;
            }
            if let Some(before) = operation.before() {
                ended_at[before as usize] = place as u32;
            }
        }
        let mut barrier = None;
        let mut ended = Vec::new();
        for (invoked, end) in invoked_at.into_iter().zip(ended_at) {
            if end != nothing {
                ended.push(end);
            }
            if invoked == nothing {
                continue;
            }
            if !ended.is_empty() {
                let next = self.graph.auxiliary();
                for operation in ended.drain(..) {
                    self.graph.edge(operation, next, Kind::Realtime, 0);
                }
                if let Some(last) = barrier {
                    self.graph.edge(last, next, Kind::Realtime, 0);
                }
                barrier = Some(next);
            }
            if let Some(barrier) = barrier {
                self.graph.edge(barrier, invoked, Kind::Realtime, 0);
            }
        }
    }

    /// Adds the order of each process as far as it holds: into a read that is recent for its own process only, too, but not
    /// into a read of some snapshot.
    fn order_by_process(&mut self) {
        let mut by_process: Vec<(u64, u32)> = Vec::new();
        for (place, operation) in self.operations.list.iter().enumerate() {
            if operation.is_ok() && !operation.is_joined {
                by_process.push((operation.process, place as u32));
            }
        }
        by_process.sort_unstable();
        for operations in by_process.chunk_by(|a, b| a.0 == b.0) {
            let mut last = None;
            let mut snapshots = Vec::new();
            for (_, operation) in operations {
                if self.operations.list[*operation as usize].recency == Recency::Snapshot {
                    snapshots.push(*operation);
                    continue;
                }
                for earlier in snapshots.drain(..).chain(last) {
                    self.graph.edge(earlier, *operation, Kind::Process, 0);
                }
                last = Some(*operation);
            }
        }
    }
}

fn judge(history: &History, objects: &[Object]) -> Verdict {
    let operations = Operations::of(history);
    let mut analysis = Analysis {
        operations: &operations,
        is_committed: operations.list.iter().map(super::operation::Operation::is_ok).collect(),
        graph: GraphBuilder::new(operations.list.len()),
        versions: Vec::new(),
        accusations: Accusations::default(),
    };
    for malformed in &operations.malformed {
        analysis.accusations.add_ready(malformed.clone());
    }
    let lists = objects.contains(&Object::List).then(|| Lists::observe(&mut analysis));
    let registers = objects
        .contains(&Object::Register)
        .then(|| Registers::observe(&mut analysis));
    if let Some(lists) = lists {
        lists.depend(&mut analysis);
    }
    if let Some(registers) = registers {
        registers.depend(&mut analysis);
    }
    analysis.order_by_real_time();
    analysis.order_by_process();
    let Analysis {
        graph,
        versions,
        mut accusations,
        ..
    } = analysis;
    let graph = graph.build();
    let cycles = cycle::violations(
        &graph,
        &Words {
            operations: &operations,
            versions: &versions,
        },
    );
    for violation in cycles {
        accusations.add_ready(violation);
    }
    accusations.verdict()
}

/// Puts dependencies into words.
struct Words<'a, 'h> {
    operations: &'a Operations<'h>,
    versions: &'a [Version],
}

impl Explain for Words<'_, '_> {
    fn operation(&self, operation: u32) -> OperationEvidence {
        self.operations.evidence(operation as usize)
    }

    fn process(&self, operation: u32) -> u64 {
        self.operations.list[operation as usize].process
    }

    fn step(&self, step: &Step, from: usize, to: usize) -> String {
        match step.kind {
            EdgeKind::Process => return format!("one process did T{from} and then T{to}"),
            EdgeKind::Realtime => return format!("T{from} had ended before T{to} was invoked"),
            _ => {}
        }
        let Version { object, key, value } = self.versions[step.label as usize];
        let (name, wrote, written) = match object {
            Object::List => ("list", "appended", "appended"),
            Object::Register => ("register", "wrote", "written"),
        };
        let what = match value {
            Some(value) if !step.is_tail => format!("{value} to {name} {key}"),
            _ => format!("to {name} {key}"),
        };
        let because = if step.is_realtime { ", as real time tells" } else { "" };
        match (step.kind, value) {
            (EdgeKind::WriteRead, Some(value)) => {
                format!("T{to} read {value}, which T{from} had {written}, in {name} {key}")
            }
            (EdgeKind::ReadWrite, _) => format!("T{from} read {name} {key} before T{to} {wrote} {what}{because}"),
            _ => format!("T{to} {wrote} {what} after what T{from} had {written} there{because}"),
        }
    }
}
