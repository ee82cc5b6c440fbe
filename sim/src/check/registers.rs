//! What registers tell: who wrote the value that was read, and some of the order of the values.
//!
//! A transaction that reads a value and then writes the register puts its own value right after the one it read. So values
//! form *chains*, and the versions of a chain stand together in any serial order. Between chains, real time decides where it
//! can: a chain that some ended operation had touched comes before a chain that a later operation touched. Of each
//! chain the earliest end and the latest invocation are all that matters (*Source*: the zones of Gibbons and Korach, 1997).
//! What neither decides stays unordered.

use super::graph::Kind;
use super::operation::{Recency, Status};
use super::serializability::{Analysis, Object, Version};
use crate::history::MicroOperation;

/// One write of any operation.
#[derive(Clone, Copy, Debug)]
struct Write {
    key: u64,
    value: u64,
    operation: u32,
    /// Whether it is its operation's last write to the key: only that may others read.
    is_last: bool,
}

/// What one operation read of one register before it wrote it.
#[derive(Clone, Copy, Debug)]
struct Read {
    key: u64,
    operation: u32,
    value: Option<u64>,
    is_consistent: bool,
}

/// The registers of a history.
pub(super) struct Registers {
    writes: Vec<Write>,
    reads: Vec<Read>,
}

/// One version of one register.
struct Node {
    /// Who wrote it; absent of the version before the first write.
    writer: Option<u32>,
    value: Option<u64>,
    readers: Vec<u32>,
    /// The version that a reader of this one wrote.
    next: Option<usize>,
    has_previous: bool,
}

/// Versions that stand together, with their zone in real time.
struct Chain {
    first: usize,
    last: usize,
    /// The earliest end of an operation that touched it, and which.
    end: Option<(u32, u32)>,
    /// The latest invocation of an operation that touched it, and which.
    invoke: Option<(u32, u32)>,
    /// Whether it begins before the first write.
    is_initial: bool,
}

impl Registers {
    /// Judges each read by itself, and notes which unsure operations were observed.
    pub(super) fn observe(analysis: &mut Analysis<'_, '_>) -> Self {
        let mut registers = Self {
            writes: Vec::new(),
            reads: Vec::new(),
        };
        for (place, operation) in analysis.operations.list.iter().enumerate() {
            registers.collect_writes(place as u32, operation.value);
            if operation.is_ok()
                && let Err(text) = registers.collect_reads(place as u32, operation.value)
            {
                analysis.accuse("internal", text, &[place as u32]);
            }
        }
        registers
            .writes
            .sort_unstable_by_key(|write| (write.key, write.value, write.operation));
        registers.reads.sort_unstable_by_key(|read| (read.key, read.operation));
        for pair in registers.writes.windows(2) {
            if (pair[0].key, pair[0].value) == (pair[1].key, pair[1].value) {
                let text = format!(
                    "the workload writes {} to register {} twice: values must be unique",
                    pair[0].value, pair[0].key
                );
                analysis.accuse("malformed-history", text, &[pair[0].operation, pair[1].operation]);
            }
        }
        let Self { writes, reads } = &mut registers;
        for read in reads {
            read.is_consistent = observe_value(analysis, writes, read);
        }
        registers
    }

    fn collect_writes(&mut self, operation: u32, value: &[MicroOperation]) {
        for (place, step) in value.iter().enumerate() {
            if let MicroOperation::Write { key, value: written } = *step {
                self.writes.push(Write {
                    key,
                    value: written,
                    operation,
                    is_last: last_write(&value[place + 1..], key).is_none(),
                });
            }
        }
    }

    /// Notes what an operation read before it wrote; says what is not consistent in itself.
    fn collect_reads(&mut self, operation: u32, value: &[MicroOperation]) -> Result<(), String> {
        let first = self.reads.len();
        let mut inconsistent = Ok(());
        for (place, step) in value.iter().enumerate() {
            let MicroOperation::ReadRegister { key, value: Some(read) } = *step else {
                continue;
            };
            let known = self.reads[first..].iter().find(|known| known.key == key);
            match (last_write(&value[..place], key), known) {
                (Some(own), _) if read != Some(own) => {
                    inconsistent = Err(format!(
                        "a read of register {key} does not give {own}, which its own transaction had written"
                    ));
                }
                (None, Some(known)) if read != known.value => {
                    inconsistent = Err(format!(
                        "one transaction read register {key} twice and saw two values of others"
                    ));
                }
                (None, None) => self.reads.push(Read {
                    key,
                    operation,
                    value: read,
                    is_consistent: true,
                }),
                _ => {}
            }
        }
        inconsistent
    }

    /// Adds the dependencies. *Given* that all observed operations are known.
    pub(super) fn depend(&self, analysis: &mut Analysis<'_, '_>) {
        let (mut writes, mut reads) = (&self.writes[..], &self.reads[..]);
        while let Some(key) = writes
            .first()
            .map(|write| write.key)
            .into_iter()
            .chain(reads.first().map(|read| read.key))
            .min()
        {
            let (of_key, rest) = writes.split_at(writes.partition_point(|write| write.key == key));
            writes = rest;
            let (reads_of_key, rest) = reads.split_at(reads.partition_point(|read| read.key == key));
            reads = rest;
            Register::of(analysis, key, of_key, reads_of_key).depend(analysis);
        }
    }
}

/// The versions of one register.
struct Register {
    key: u64,
    /// The version before the first write comes first.
    nodes: Vec<Node>,
    /// The label of the first node; the others follow, and after them that of "some later version".
    labels: u32,
}

impl Register {
    fn of(analysis: &mut Analysis<'_, '_>, key: u64, writes: &[Write], reads: &[Read]) -> Self {
        let node = |writer, value| Node {
            writer,
            value,
            readers: Vec::new(),
            next: None,
            has_previous: false,
        };
        let mut nodes = vec![node(None, None)];
        let committed = |write: &&Write| write.is_last && analysis.is_committed[write.operation as usize];
        let effective = writes.iter().filter(committed);
        nodes.extend(effective.map(|write| node(Some(write.operation), Some(write.value))));
        let labels = analysis.versions.len() as u32;
        let version = |value| Version {
            object: Object::Register,
            key,
            value,
        };
        analysis.versions.extend(nodes.iter().map(|node| version(node.value)));
        analysis.versions.push(version(None));

        let mut written: Vec<(u32, usize)> = Vec::new();
        for (place, node) in nodes.iter().enumerate() {
            written.extend(node.writer.map(|writer| (writer, place)));
        }
        written.sort_unstable();
        for read in reads.iter().filter(|read| read.is_consistent) {
            let Ok(place) = nodes.binary_search_by_key(&read.value, |node| node.value) else {
                continue;
            };
            nodes[place].readers.push(read.operation);
            let Ok(own) = written.binary_search_by_key(&read.operation, |(writer, _)| *writer) else {
                continue;
            };
            let own = written[own].1;
            match nodes[place].next {
                None => {
                    nodes[place].next = Some(own);
                    nodes[own].has_previous = true;
                }
                // Two transactions overwrote what both had read: each comes before the other.
                Some(other) => {
                    let operation = nodes[other]
                        .writer
                        .expect("only the version before all writes has none");
                    analysis
                        .graph
                        .edge(operation, read.operation, Kind::ReadWrite, labels + own as u32);
                    analysis
                        .graph
                        .edge(read.operation, operation, Kind::ReadWrite, labels + other as u32);
                }
            }
        }
        Self { key, nodes, labels }
    }

    fn depend(&self, analysis: &mut Analysis<'_, '_>) {
        for (place, node) in self.nodes.iter().enumerate() {
            let label = self.labels + place as u32;
            for reader in &node.readers {
                if let Some(writer) = node.writer {
                    analysis.graph.edge(writer, *reader, Kind::WriteRead, label);
                }
            }
            if let Some((next, writer)) = node.next.and_then(|next| Some((next, self.nodes[next].writer?))) {
                self.lead(analysis, place, writer, self.labels + next as u32);
            }
        }
        let chains = self.chains(analysis);
        if chains.len() < 2 {
            return;
        }
        let label = self.labels + self.nodes.len() as u32;
        let tails: Vec<u32> = chains
            .iter()
            .map(|chain| {
                let tail = analysis.graph.auxiliary();
                self.lead(analysis, chain.last, tail, label);
                tail
            })
            .collect();
        let heads: Vec<Option<u32>> = chains.iter().map(|chain| self.nodes[chain.first].writer).collect();
        if let Some(initial) = chains.iter().position(|chain| chain.is_initial) {
            for head in heads.iter().flatten() {
                analysis.graph.edge(tails[initial], *head, Kind::Tail, label);
            }
        }
        self.order_by_real_time(analysis, &chains, &tails, &heads);
    }

    /// Puts the writer and the readers of a version before `to`.
    fn lead(&self, analysis: &mut Analysis<'_, '_>, version: usize, to: u32, label: u32) {
        let node = &self.nodes[version];
        if let Some(writer) = node.writer {
            analysis.graph.edge(writer, to, Kind::WriteWrite, label);
        }
        for reader in &node.readers {
            analysis.graph.edge(*reader, to, Kind::ReadWrite, label);
        }
    }

    /// The chains, but for those that bite their own tail, which are cycles of information flow anyway.
    fn chains(&self, analysis: &Analysis<'_, '_>) -> Vec<Chain> {
        let mut chains = Vec::new();
        for first in (0..self.nodes.len()).filter(|place| !self.nodes[*place].has_previous) {
            let mut chain = Chain {
                first,
                last: first,
                end: None,
                invoke: None,
                is_initial: first == 0,
            };
            let mut place = Some(first);
            while let Some(version) = place {
                chain.last = version;
                let node = &self.nodes[version];
                for toucher in node.readers.iter().chain(&node.writer) {
                    let operation = &analysis.operations.list[*toucher as usize];
                    if let Some(end) = operation.before()
                        && chain.end.is_none_or(|(earliest, _)| end < earliest)
                    {
                        chain.end = Some((end, *toucher));
                    }
                    if operation.recency == Recency::Strict
                        && chain.invoke.is_none_or(|(latest, _)| operation.invoke > latest)
                    {
                        chain.invoke = Some((operation.invoke, *toucher));
                    }
                }
                place = node.next;
            }
            chains.push(chain);
        }
        chains
    }

    /// Orders chains of which one had been touched by an operation that ended before one that touched the other began.
    fn order_by_real_time(
        &self,
        analysis: &mut Analysis<'_, '_>,
        chains: &[Chain],
        tails: &[u32],
        heads: &[Option<u32>],
    ) {
        let label = self.labels + self.nodes.len() as u32;
        let sane = self.without_contradictions(analysis, chains);
        let invoke = |chain: usize| chains[chain].invoke.map_or(0, |(invoke, _)| invoke);
        // What comes after others in real time, by its latest invocation.
        let mut after: Vec<usize> = sane
            .iter()
            .copied()
            .filter(|chain| heads[*chain].is_some() && chains[*chain].invoke.is_some())
            .collect();
        after.sort_unstable_by_key(|chain| invoke(*chain));
        // What comes before others. A chain whose own latest invocation is later must not lead to itself: it enters real time
        // there, and is led at once to the few that lie between.
        let mut before: Vec<(u32, usize)> = Vec::new();
        for chain in sane.iter().copied().filter(|chain| !chains[*chain].is_initial) {
            let Some((end, _)) = chains[chain].end else { continue };
            before.push((end.max(invoke(chain)), chain));
            let from = after.partition_point(|other| invoke(*other) <= end);
            let between = after[from..].iter().take_while(|other| invoke(**other) < invoke(chain));
            for head in between.filter_map(|other| heads[*other]) {
                analysis.graph.edge(tails[chain], head, Kind::TailRealtime, label);
            }
        }
        before.sort_unstable();
        let mut before = before.into_iter().peekable();
        let mut barrier = None;
        for later in after {
            let mut ended = Vec::new();
            while let Some((_, chain)) = before.next_if(|(entry, _)| *entry < invoke(later)) {
                ended.push(tails[chain]);
            }
            if !ended.is_empty() {
                let next = analysis.graph.auxiliary();
                for tail in ended.into_iter().chain(barrier) {
                    analysis.graph.edge(tail, next, Kind::TailRealtime, label);
                }
                barrier = Some(next);
            }
            if let (Some(barrier), Some(head)) = (barrier, heads[later]) {
                analysis.graph.edge(barrier, head, Kind::TailRealtime, label);
            }
        }
    }

    /// Accuses chains each of which must come before the other, and gives the others.
    fn without_contradictions(&self, analysis: &mut Analysis<'_, '_>, chains: &[Chain]) -> Vec<usize> {
        // Entries count from 1 here, so that the chain before the first write has ended before all of them.
        let zone = |chain: usize| {
            let chain = &chains[chain];
            let end = if chain.is_initial {
                Some(0)
            } else {
                chain.end.map(|(end, _)| u64::from(end) + 1)
            };
            (
                end.unwrap_or(u64::MAX),
                chain.invoke.map_or(0, |(invoke, _)| u64::from(invoke) + 1),
            )
        };
        let (mut forward, backward): (Vec<usize>, Vec<usize>) =
            (0..chains.len()).partition(|chain| zone(*chain).0 < zone(*chain).1);
        forward.sort_unstable_by_key(|chain| zone(*chain));
        let mut kept: Vec<usize> = Vec::new();
        for chain in forward {
            match kept.last() {
                Some(last) if zone(chain).0 < zone(*last).1 => {
                    self.contradict(analysis, &chains[*last], &chains[chain])
                }
                _ => kept.push(chain),
            }
        }
        let mut sane = kept.clone();
        for chain in backward {
            let around = kept
                .partition_point(|other| zone(*other).0 < zone(chain).1)
                .checked_sub(1)
                .map(|place| kept[place]);
            match around.filter(|around| zone(chain).0 < zone(*around).1) {
                Some(around) => self.contradict(analysis, &chains[around], &chains[chain]),
                None => sane.push(chain),
            }
        }
        sane.sort_unstable();
        sane
    }

    fn contradict(&self, analysis: &mut Analysis<'_, '_>, a: &Chain, b: &Chain) {
        let value = |chain: &Chain| match self.nodes[chain.last].value {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        let text = format!(
            "register {} held {} before {}, and {} before {}: in each case an operation on the one had ended before one on the \
             other was invoked",
            self.key,
            value(a),
            value(b),
            value(b),
            value(a)
        );
        let evidence: Vec<u32> = [a.end, b.invoke, b.end, a.invoke]
            .iter()
            .flatten()
            .map(|(_, operation)| *operation)
            .collect();
        analysis.accuse("stale-read-realtime", text, &evidence);
    }
}

/// Finds who wrote a value that was read, and judges whether it may have been read. Gives whether it tells anything.
fn observe_value(analysis: &mut Analysis<'_, '_>, writes: &[Write], read: &Read) -> bool {
    let Some(value) = read.value else {
        return true;
    };
    let key = read.key;
    let Ok(at) = writes.binary_search_by_key(&(key, value), |write| (write.key, write.value)) else {
        let text = format!("register {key} was read with {value}, which nobody wrote");
        analysis.accuse("unknown-value", text, &[read.operation]);
        return false;
    };
    let write = writes[at];
    if write.operation == read.operation {
        let text = format!("a read of register {key} gives {value}, which its own transaction writes later");
        analysis.accuse("internal", text, &[read.operation]);
        return false;
    }
    match analysis.operations.list[write.operation as usize].status {
        Status::Fail => {
            let text = format!("register {key} was read with {value}, whose write had failed");
            analysis.accuse("G1a", text, &[write.operation, read.operation]);
            return false;
        }
        Status::Info => analysis.is_committed[write.operation as usize] = true,
        Status::Ok => {}
    }
    if !write.is_last {
        let text = format!("register {key} was read with {value}, which the same transaction overwrote");
        analysis.accuse("G1b", text, &[write.operation, read.operation]);
    }
    write.is_last
}

/// The last value that these steps write to `key`.
fn last_write(steps: &[MicroOperation], key: u64) -> Option<u64> {
    steps.iter().rev().find_map(|step| match step {
        MicroOperation::Write { key: own, value } if *own == key => Some(*value),
        _ => None,
    })
}
