//! The observer's account: what was issued in every stream, and which part of it each node holds, has synced and has acknowledged.
//!
//! Records are counted along their stream: as what a node holds of a stream is a prefix, how many records it holds says which. A bound
//! is turned into a count by a pointer that follows it upwards.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::config::Membership;
use super::super::decree::{Ballot, Decree};
use crate::id::{NodeId, RequestId, TransactionId};
use crate::quorum::majority;
use crate::time::Hlc;
use crate::transaction::Record;

/// A record as its coordinator issued it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued {
    pub(super) hlc: Hlc,
    pub(super) id: TransactionId,
    /// Of all that it says.
    pub(super) print: u64,
}

impl Issued {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            hlc: record.hlc,
            id: record.transaction.id,
            print: print(record),
        }
    }

    pub(super) fn is(&self, record: &Record) -> bool {
        self.hlc == record.hlc && self.id == record.transaction.id && self.print == print(record)
    }
}

/// A hash of what is to be evaluated.
fn print(record: &Record) -> u64 {
    let transaction = &record.transaction;
    let footprint = &transaction.footprint;
    let mut print = xxh3_64_with_seed(transaction.arguments.as_bytes(), u64::from(transaction.thunk.version));
    print = xxh3_64_with_seed(transaction.thunk.name.as_bytes(), print);
    for keys in [&footprint.reads, &footprint.writes] {
        print = print.rotate_left(1) ^ keys.len() as u64;
        for key in keys {
            print = xxh3_64_with_seed(key.as_bytes(), print);
        }
    }
    for range in &footprint.ranges {
        print = xxh3_64_with_seed(range.start().as_bytes(), print);
        print = range
            .end()
            .map_or(!print, |end| xxh3_64_with_seed(end.as_bytes(), print));
    }
    print
}

/// Everything that one coordinator issued in one epoch.
#[derive(Clone, Debug)]
pub(super) struct StreamSeen {
    pub(super) coordinator: NodeId,
    /// Ascending.
    pub(super) issued: Vec<Issued>,
    /// How many of them are final, from the first: at or below a watermark, or, once the epoch has ended, at or below the cut.
    pub(super) final_count: usize,
    /// The highest bound up to which any node believed a majority to hold the stream.
    pub(super) believed: Hlc,
}

impl StreamSeen {
    pub(super) fn last(&self) -> Hlc {
        self.issued.last().map_or(Hlc::ZERO, |last| last.hlc)
    }

    /// How many records lie at or below `bound`.
    pub(super) fn count_to(&self, bound: Hlc) -> usize {
        if self.last() <= bound {
            return self.issued.len();
        }
        self.issued.partition_point(|issued| issued.hlc <= bound)
    }

    /// The same, from a count for a lower bound on.
    pub(super) fn follow(&self, count: usize, bound: Hlc) -> usize {
        let above = self.issued.get(count..).unwrap_or_default();
        match above.first() {
            Some(next) if next.hlc <= bound => count + above.partition_point(|issued| issued.hlc <= bound),
            _ => count,
        }
    }
}

/// An epoch that has begun.
#[derive(Clone, Debug)]
pub(super) struct EpochSeen {
    pub(super) membership: Membership,
    /// The places of the members that were seen.
    pub(super) members: Vec<usize>,
    pub(super) start: Hlc,
    /// By coordinator, ascending.
    pub(super) streams: Vec<StreamSeen>,
    /// The highest watermark that any node has shown in the epoch.
    pub(super) watermark: Hlc,
    /// Who has durably voted for what, by ballot.
    pub(super) votes: BTreeMap<Ballot, (Decree, Vec<NodeId>)>,
    pub(super) decided: Option<Decree>,
}

impl EpochSeen {
    pub(super) fn new(membership: Membership, start: Hlc) -> Self {
        let stream = |coordinator: &NodeId| StreamSeen {
            coordinator: *coordinator,
            issued: Vec::new(),
            final_count: 0,
            believed: start,
        };
        Self {
            streams: membership.coordinators.iter().map(stream).collect(),
            members: Vec::new(),
            membership,
            start,
            watermark: start,
            votes: BTreeMap::new(),
            decided: None,
        }
    }

    pub(super) fn on_node(&mut self, node: NodeId, place: usize) {
        if self.membership.is_member(node) {
            self.members.push(place);
        }
    }

    pub(super) fn majority(&self) -> usize {
        majority(self.membership.members.len())
    }

    pub(super) fn stream_place(&self, coordinator: NodeId) -> Option<usize> {
        let place = self
            .streams
            .binary_search_by_key(&coordinator, |stream| stream.coordinator);
        place.ok()
    }
}

/// How far a node has come in one stream, in records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holding {
    /// In memory, in this run.
    pub(super) held: usize,
    /// On its disk.
    pub(super) durable: usize,
    /// At or below what it received, as it believes.
    pub(super) received: usize,
    /// At or below its position, as it has said in this run.
    pub(super) said: usize,
    /// The same of all its runs.
    pub(super) said_ever: usize,
    /// What it has said in this run.
    pub(super) position: Hlc,
    /// It has dropped the records up to here, and was right to.
    pub(super) dropped: Hlc,
}

/// One node's part in one epoch.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// By coordinator, as the epoch's streams.
    pub(super) holdings: Vec<Holding>,
    /// How many records of each stream were durable when its first vote was: it may acknowledge no more of them.
    pub(super) fenced_at: Option<Vec<usize>>,
    /// The highest ballot that it has durably promised.
    pub(super) promised: Ballot,
    /// It has restarted in the epoch: it issues nothing any more.
    pub(super) is_resumed: bool,
    /// It has promised to issue nothing in the epoch any more.
    pub(super) has_resigned: bool,
    /// It has acknowledged something in this run.
    pub(super) has_acknowledged: bool,
}

impl Part {
    fn new(epoch: &EpochSeen) -> Self {
        Self {
            holdings: vec![Holding::default(); epoch.streams.len()],
            fenced_at: None,
            promised: Ballot::ZERO,
            is_resumed: false,
            has_resigned: false,
            has_acknowledged: false,
        }
    }
}

/// A node, in all its runs.
#[derive(Clone, Debug)]
pub(super) struct NodeSeen {
    pub(super) id: NodeId,
    /// By epoch, as those of the observer.
    pub(super) parts: Vec<Part>,
    /// It has said that it will issue nothing at or below.
    pub(super) promised: Hlc,
    /// The ceiling that is on its disk.
    pub(super) ceiling: Hlc,
    /// Its executor has said that its versions are durable up to here.
    pub(super) flushed: Hlc,
    /// It has installed snapshots up to here.
    pub(super) covered: Hlc,
    /// The place of the oldest epoch that it has not forgotten.
    pub(super) first_kept: usize,
    /// It has dropped something for lack of room, in whatever run.
    pub(super) has_lacked_room: bool,
    pub(super) run: Run,
}

/// What a node has shown since it started.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// The place of its epoch.
    pub(super) epoch: usize,
    pub(super) watermark: Hlc,
    pub(super) evaluated: Hlc,
    /// The evaluated and the flushed bound that it has said.
    pub(super) said: (Hlc, Hlc),
    /// How many transactions of the final order its executor has settled.
    pub(super) settled: usize,
    /// How many records are in the batch that is out.
    pub(super) batch: Option<usize>,
    /// The strict reads that wait, each with a bound below which everything was answered when it began.
    pub(super) strict_reads: BTreeMap<RequestId, Hlc>,
    /// How much it has dropped for lack of room, as it says.
    pub(super) dropped_for_room: u64,
    /// It has come back from its executor in this step.
    pub(super) has_evaluated: bool,
}

impl NodeSeen {
    pub(super) fn new(id: NodeId, epochs: &[EpochSeen]) -> Self {
        Self {
            id,
            parts: epochs.iter().map(Part::new).collect(),
            promised: Hlc::ZERO,
            ceiling: Hlc::ZERO,
            flushed: Hlc::ZERO,
            first_kept: 0,
            has_lacked_room: false,
            covered: Hlc::ZERO,
            run: Run::default(),
        }
    }

    pub(super) fn begin_epoch(&mut self, epoch: &EpochSeen) {
        self.parts.push(Part::new(epoch));
    }
}
