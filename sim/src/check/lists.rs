//! What lists tell: every read of a list shows the order of all appends before it.
//!
//! Two reads of one list must be prefixes of one another, so the longest gives the order of the versions, and with it all
//! dependencies. An append that was answered and that the longest read lacks comes after every read. Lists cost time linear in
//! the size of the history, but for sorting, and quadratic in the steps of a single transaction.

use super::graph::Kind;
use super::operation::Status;
use super::serializability::{Analysis, Object, Version};
use crate::history::MicroOperation;

/// No such position, operation or version.
const NONE: u32 = u32::MAX;

/// One append of any operation.
#[derive(Clone, Copy, Debug)]
struct Append {
    key: u64,
    element: u64,
    operation: u32,
    /// Whether it is its operation's last append to the key: only that may be the end of what others read.
    is_last: bool,
    /// Where it stands in the longest read of the key.
    position: u32,
}

/// What one operation read of one list.
#[derive(Clone, Copy, Debug)]
struct Read<'h> {
    key: u64,
    operation: u32,
    /// Elements that others had appended before.
    others: u32,
    /// The last read, own appends included.
    elements: &'h [u64],
    /// Whether it is a prefix of the longest read.
    is_consistent: bool,
}

/// The lists of a history, each key with its range of appends, reads and versions.
pub(super) struct Lists<'h> {
    appends: Vec<Append>,
    reads: Vec<Read<'h>>,
    keys: Vec<Key>,
    /// The operation that appended each element of each longest read, or [`NONE`].
    writers: Vec<u32>,
}

/// The parts of one key.
struct Key {
    appends: std::ops::Range<usize>,
    reads: std::ops::Range<usize>,
    writers: std::ops::Range<usize>,
}

impl<'h> Lists<'h> {
    /// Judges each read by itself and against the other reads of its list, and notes which unsure operations were observed.
    pub(super) fn observe(analysis: &mut Analysis<'_, 'h>) -> Self {
        let mut lists = Self {
            appends: Vec::new(),
            reads: Vec::new(),
            keys: Vec::new(),
            writers: Vec::new(),
        };
        for (place, operation) in analysis.operations.list.iter().enumerate() {
            lists.collect_appends(place as u32, operation.value);
            if operation.is_ok() {
                let consistent = lists.collect_reads(place as u32, operation.value);
                if let Err(text) = consistent {
                    analysis.accuse("internal", text, &[place as u32]);
                }
            }
        }
        lists
            .appends
            .sort_unstable_by_key(|append| (append.key, append.element, append.operation));
        lists.reads.sort_unstable_by_key(|read| (read.key, read.operation));
        let repeated = lists
            .appends
            .windows(2)
            .filter(|pair| (pair[0].key, pair[0].element) == (pair[1].key, pair[1].element));
        for pair in repeated {
            let text = format!(
                "the workload appends {} to list {} twice: elements must be unique",
                pair[0].element, pair[0].key
            );
            analysis.accuse("malformed-history", text, &[pair[0].operation, pair[1].operation]);
        }
        lists.split_by_key();
        for key in 0..lists.keys.len() {
            lists.order_versions(analysis, key);
        }
        lists
    }

    fn collect_appends(&mut self, operation: u32, value: &[MicroOperation]) {
        for (place, step) in value.iter().enumerate() {
            if let MicroOperation::Append { key, element } = *step {
                self.appends.push(Append {
                    key,
                    element,
                    operation,
                    is_last: own_appends(&value[place + 1..], key).next().is_none(),
                    position: NONE,
                });
            }
        }
    }

    /// Notes what an operation read, if it is consistent in itself; else says what is not.
    fn collect_reads(&mut self, operation: u32, value: &'h [MicroOperation]) -> Result<(), String> {
        let first = self.reads.len();
        let mut inconsistent = Ok(());
        for (place, step) in value.iter().enumerate() {
            let MicroOperation::ReadList {
                key,
                elements: Some(elements),
            } = step
            else {
                continue;
            };
            let known = self.reads[first..].iter_mut().find(|read| read.key == *key);
            let before = match &known {
                Some(read) => &elements[..elements.len().min(read.others as usize)],
                None => {
                    &elements[..elements
                        .len()
                        .saturating_sub(own_appends(&value[..place], *key).count())]
                }
            };
            let others_agree = known
                .as_ref()
                .is_none_or(|read| *before == read.elements[..read.others as usize]);
            let own_visible = elements[before.len()..]
                .iter()
                .copied()
                .eq(own_appends(&value[..place], *key));
            let own_early = own_appends(value, *key).find(|own| before.contains(own));
            if !others_agree {
                inconsistent = Err(format!(
                    "one transaction read list {key} twice and saw what others appended between"
                ));
            } else if !own_visible {
                inconsistent = Err(format!(
                    "a read of list {key} does not end in what its own transaction had appended to it before"
                ));
            } else if let Some(own) = own_early {
                inconsistent = Err(format!(
                    "a read of list {key} has {own}, which its own transaction appends, among the elements of others"
                ));
            } else if let Some(read) = known {
                read.elements = elements;
            } else {
                self.reads.push(Read {
                    key: *key,
                    operation,
                    others: before.len() as u32,
                    elements,
                    is_consistent: true,
                });
            }
        }
        inconsistent
    }

    fn split_by_key(&mut self) {
        let (mut append, mut read) = (0, 0);
        while append < self.appends.len() || read < self.reads.len() {
            let next = self.appends.get(append).map(|append| append.key);
            let key = next.into_iter().chain(self.reads.get(read).map(|read| read.key)).min();
            let Some(key) = key else { break };
            let appends = append + self.appends[append..].partition_point(|append| append.key == key);
            let reads = read + self.reads[read..].partition_point(|read| read.key == key);
            self.keys.push(Key {
                appends: append..appends,
                reads: read..reads,
                writers: 0..0,
            });
            (append, read) = (appends, reads);
        }
    }

    /// Takes the longest read of a key as the order of its versions, and holds every other read against it.
    fn order_versions(&mut self, analysis: &mut Analysis<'_, 'h>, key: usize) {
        let Key { appends, reads, .. } = &self.keys[key];
        let appends = &mut self.appends[appends.clone()];
        let reads = &mut self.reads[reads.clone()];
        let start = self.writers.len();
        // Of several longest ones the first: sorting by operation has made that a matter of the history alone.
        let longest = reads.iter().rev().max_by_key(|read| read.elements.len()).copied();
        if let Some(longest) = longest {
            for (position, element) in longest.elements.iter().enumerate() {
                let writer = observe_element(analysis, appends, &longest, *element, Some(position as u32));
                self.writers.push(writer);
            }
            for read in reads.iter_mut() {
                let same = read
                    .elements
                    .iter()
                    .zip(longest.elements)
                    .take_while(|(a, b)| a == b)
                    .count();
                if same < read.elements.len() {
                    read.is_consistent = false;
                    let text = format!(
                        "two reads of list {} are not prefixes of one another: at position {same} one has {}, the other {}",
                        read.key, read.elements[same], longest.elements[same]
                    );
                    analysis.accuse("incompatible-order", text, &[read.operation, longest.operation]);
                    for element in &read.elements[same..] {
                        observe_element(analysis, appends, read, *element, None);
                    }
                }
            }
            for read in reads.iter().filter(|read| read.others > 0) {
                let end = read.elements[read.others as usize - 1];
                let append = appends
                    .binary_search_by_key(&end, |append| append.element)
                    .map(|at| appends[at]);
                if let Ok(append) = append
                    && !append.is_last
                    && append.operation != read.operation
                {
                    let text = format!(
                        "a read of list {} ends in {end}, after which the same transaction appended more to it",
                        read.key
                    );
                    analysis.accuse("G1b", text, &[append.operation, read.operation]);
                }
            }
        }
        self.keys[key].writers = start..self.writers.len();
    }

    /// Adds the dependencies. *Given* that all observed operations are known.
    pub(super) fn depend(&self, analysis: &mut Analysis<'_, 'h>) {
        for key in &self.keys {
            self.depend_by_key(analysis, key);
        }
    }

    fn depend_by_key(&self, analysis: &mut Analysis<'_, 'h>, key: &Key) {
        let appends = &self.appends[key.appends.clone()];
        let reads = &self.reads[key.reads.clone()];
        let writers = &self.writers[key.writers.clone()];
        let name = match (appends.first(), reads.first()) {
            (Some(append), _) => append.key,
            (None, Some(read)) => read.key,
            (None, None) => return,
        };
        let labels = analysis.versions.len() as u32;
        let longest = reads.iter().rev().max_by_key(|read| read.elements.len());
        let elements = longest.map_or(&[][..], |read| read.elements);
        let version = |element: Option<u64>| Version {
            object: Object::List,
            key: name,
            value: element,
        };
        analysis
            .versions
            .extend(elements.iter().map(|element| version(Some(*element))));
        analysis.versions.push(version(None));

        for (position, pair) in writers.windows(2).enumerate() {
            if pair[0] != NONE && pair[1] != NONE {
                analysis
                    .graph
                    .edge(pair[0], pair[1], Kind::WriteWrite, labels + position as u32 + 1);
            }
        }
        let mut last_readers = Vec::new();
        for read in reads.iter().filter(|read| read.is_consistent) {
            let others = read.others as usize;
            if let Some(writer) = others
                .checked_sub(1)
                .map(|last| writers[last])
                .filter(|writer| *writer != NONE)
            {
                analysis
                    .graph
                    .edge(writer, read.operation, Kind::WriteRead, labels + others as u32 - 1);
            }
            match writers.get(others) {
                Some(&NONE) => {}
                Some(&next) => analysis
                    .graph
                    .edge(read.operation, next, Kind::ReadWrite, labels + others as u32),
                None => last_readers.push(read.operation),
            }
        }
        let mut unseen: Vec<u32> = appends
            .iter()
            .filter(|append| append.position == NONE && analysis.is_committed[append.operation as usize])
            .map(|append| append.operation)
            .collect();
        unseen.sort_unstable();
        unseen.dedup();
        let last_writer = writers.last().copied().filter(|writer| *writer != NONE);
        depend_on_end(
            analysis,
            last_writer,
            &last_readers,
            &unseen,
            labels + writers.len() as u32,
        );
    }
}

/// Puts the operations whose appends nobody saw after the last version that somebody saw, its writer and its readers.
///
/// All of these lead through one auxiliary node, so that the edges are as many as the operations. A reader that itself
/// appended unseen must not lead to itself; if there are two such, each comes before the other.
fn depend_on_end(analysis: &mut Analysis<'_, '_>, writer: Option<u32>, readers: &[u32], unseen: &[u32], label: u32) {
    if unseen.is_empty() || writer.is_none() && readers.is_empty() {
        return;
    }
    let is_unseen = |operation: &u32| unseen.binary_search(operation).is_ok();
    let tail = analysis.graph.auxiliary();
    for operation in unseen {
        analysis.graph.edge(tail, *operation, Kind::Tail, label);
    }
    for writer in writer.iter().filter(|writer| !is_unseen(writer)) {
        analysis.graph.edge(*writer, tail, Kind::WriteWrite, label);
    }
    for reader in readers.iter().filter(|reader| !is_unseen(reader)) {
        analysis.graph.edge(*reader, tail, Kind::ReadWrite, label);
    }
    let both: Vec<u32> = readers.iter().copied().filter(is_unseen).collect();
    if let [reader] = both[..] {
        let beside = analysis.graph.auxiliary();
        analysis.graph.edge(reader, beside, Kind::ReadWrite, label);
        for operation in unseen.iter().filter(|operation| **operation != reader) {
            analysis.graph.edge(beside, *operation, Kind::Tail, label);
        }
    } else if let [first, second, ..] = both[..] {
        analysis.graph.edge(first, second, Kind::ReadWrite, label);
        analysis.graph.edge(second, first, Kind::ReadWrite, label);
    }
}

/// Finds who appended an element that was read, and judges whether it may be there. Gives the operation or [`NONE`].
///
/// *Given* the appends of its key, and the position if the read is the longest one.
fn observe_element(
    analysis: &mut Analysis<'_, '_>,
    appends: &mut [Append],
    read: &Read<'_>,
    element: u64,
    position: Option<u32>,
) -> u32 {
    let key = read.key;
    let Ok(at) = appends.binary_search_by_key(&element, |append| append.element) else {
        let text = format!("list {key} was read with {element}, which nobody appended");
        analysis.accuse("unknown-element", text, &[read.operation]);
        return NONE;
    };
    let append = &mut appends[at];
    if let Some(position) = position {
        if append.position != NONE {
            let text = format!(
                "list {key} was read with {element} at the positions {} and {position}",
                append.position
            );
            analysis.accuse("duplicate-element", text, &[append.operation, read.operation]);
            return NONE;
        }
        append.position = position;
    }
    match analysis.operations.list[append.operation as usize].status {
        Status::Fail => {
            let text = format!("list {key} was read with {element}, whose append had failed");
            analysis.accuse("G1a", text, &[append.operation, read.operation]);
            return NONE;
        }
        Status::Info => analysis.is_committed[append.operation as usize] = true,
        Status::Ok => {}
    }
    append.operation
}

/// The elements that these steps append to `key`, in order.
fn own_appends(steps: &[MicroOperation], key: u64) -> impl Iterator<Item = u64> + '_ {
    steps.iter().filter_map(move |step| match step {
        MicroOperation::Append { key: own, element } if *own == key => Some(*element),
        _ => None,
    })
}
