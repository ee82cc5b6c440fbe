//! I-7 to I-11: the one order of final transactions, and what is evaluated, answered and read of it.
//!
//! The order is derived from what was issued, from watermarks and from cuts, and from nothing that an executor says.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::{Batch, Evaluated, ReadMode, Reply};
use super::seen::StreamSeen;
use super::{Invariant, Watcher};
use crate::codec;
use crate::id::{NodeId, RequestId, TransactionId};
use crate::time::{Hlc, Timestamp};
use crate::transaction::{Abort, Outcome, Settlement};

/// Below every timestamp.
const NEVER: Timestamp = Timestamp {
    hlc: Hlc::ZERO,
    node: NodeId::new(0),
};

/// Every transaction that is final, in the one order, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    transactions: Vec<Final>,
    ids: BTreeMap<TransactionId, IdSeen>,
    /// The highest timestamp that was answered.
    answered: Timestamp,
    digests: BTreeMap<Hlc, u64>,
}

/// A final transaction.
#[derive(Clone, Copy, Debug)]
struct Final {
    timestamp: Timestamp,
    id: TransactionId,
    /// The places of its epoch, of its stream in it, and of its record in that.
    epoch: u32,
    stream: u32,
    record: usize,
    /// What the first replica made of it, hashed.
    outcome: Option<u64>,
}

/// What is known of a transaction id.
#[derive(Clone, Copy, Debug)]
struct IdSeen {
    /// The highest timestamp that had been answered when the id was first submitted.
    answered_before: Timestamp,
    is_final: bool,
    /// Where it took effect.
    committed: Option<Timestamp>,
}

impl IdSeen {
    fn new(answered_before: Timestamp) -> Self {
        Self {
            answered_before,
            is_final: false,
            committed: None,
        }
    }
}

impl Default for Order {
    fn default() -> Self {
        Self {
            transactions: Vec::new(),
            ids: BTreeMap::new(),
            answered: NEVER,
            digests: BTreeMap::new(),
        }
    }
}

impl Order {
    pub(super) fn on_submit(&mut self, id: TransactionId) {
        let answered = self.answered;
        self.ids.entry(id).or_insert(IdSeen::new(answered));
    }

    /// How many transactions lie at or below `bound`.
    pub(super) fn count_to(&self, bound: Hlc) -> usize {
        self.transactions.partition_point(|it| it.timestamp.hlc <= bound)
    }

    fn find(&self, timestamp: Timestamp) -> Option<&Final> {
        let place = self.transactions.binary_search_by_key(&timestamp, |it| it.timestamp);
        Some(&self.transactions[place.ok()?])
    }

    /// Puts the transactions from `first` on, which have become final together, into their order.
    ///
    /// Invariant I-9: a transaction that was submitted after another had been answered lies above it.
    fn settle_from(&mut self, first: usize, mut found: impl FnMut(String)) {
        let new = &mut self.transactions[first..];
        new.sort_unstable_by_key(|it| it.timestamp);
        for it in new {
            let id = self.ids.entry(it.id).or_insert(IdSeen::new(NEVER));
            if !std::mem::replace(&mut id.is_final, true) && it.timestamp <= id.answered_before {
                let (id, timestamp, answered) = (it.id, it.timestamp, id.answered_before);
                found(format!(
                    "{id} is final at {timestamp}, and was submitted after the transaction at {answered} had been answered"
                ));
            }
        }
    }

    /// Invariant I-10: an id takes effect once, and every other submission of it is given that effect.
    fn check_once(&mut self, settlement: &Settlement, print: u64) -> Result<(), String> {
        let Settlement {
            record,
            id,
            effective,
            outcome,
        } = settlement;
        if effective != record {
            let first = self.find(*effective);
            return match first {
                // Whoever wanted its doubt to end has cancelled it: the effect is that of the other's record.
                Some(first) if matches!(outcome, Outcome::Aborted(Abort::Cancelled { by }) if *by == first.id) => {
                    Ok(())
                }
                Some(first) if first.id == *id && first.outcome == Some(print) => Ok(()),
                _ => Err(format!(
                    "{id} at {record} is given the outcome at {effective}, which is another"
                )),
            };
        }
        let seen = self.ids.entry(*id).or_insert(IdSeen::new(NEVER));
        match (outcome, seen.committed) {
            (Outcome::Aborted(_), _) => Ok(()),
            (Outcome::Committed(_), None) => {
                seen.committed = Some(*record);
                Ok(())
            }
            (Outcome::Committed(_), Some(first)) => Err(format!("{id} takes effect at {first} and again at {record}")),
        }
    }
}

impl Watcher {
    /// What lies at or below the bound of each stream of an epoch is final. *Given* the node at whose step it became so.
    pub(super) fn finalize(&mut self, place: usize, at: usize, bound: impl Fn(&StreamSeen) -> Hlc) {
        let Self {
            epochs,
            nodes,
            order,
            found,
            ..
        } = self;
        let first = order.transactions.len();
        for (slot, stream) in epochs[at].streams.iter_mut().enumerate() {
            let count = stream.follow(stream.final_count, bound(stream));
            for record in stream.final_count..count {
                let issued = stream.issued[record];
                order.transactions.push(Final {
                    timestamp: Timestamp {
                        hlc: issued.hlc,
                        node: stream.coordinator,
                    },
                    id: issued.id,
                    epoch: at as u32,
                    stream: slot as u32,
                    record,
                    outcome: None,
                });
            }
            stream.final_count = count;
        }
        if order.transactions.len() > first {
            let node = nodes[place].id;
            order.settle_from(first, |text| found.add(Invariant::RealTime, node, || text));
        }
    }

    /// A node hands a batch to its executor.
    ///
    /// Invariant I-7: it is what follows in the one order, and nothing is left out up to its bound.
    pub(super) fn on_batch(&mut self, place: usize, batch: &Batch) {
        let Self {
            nodes, order, found, ..
        } = self;
        let node = &mut nodes[place];
        let next = order.transactions.get(node.run.settled..).unwrap_or_default();
        let is = |(it, (timestamp, record)): (&Final, &(Timestamp, _))| {
            let record: &std::sync::Arc<crate::transaction::Record> = record;
            it.timestamp == *timestamp && it.id == record.transaction.id
        };
        let count = batch.records.len();
        let is_next = next.len() >= count && next.iter().zip(&batch.records).all(is);
        let is_complete = next.get(count).is_none_or(|it| it.timestamp.hlc > batch.upto);
        if !is_next || !is_complete {
            found.add(Invariant::Agreement, node.id, || {
                let of = |timestamps: &mut dyn Iterator<Item = Timestamp>| timestamps.take(8).collect::<Vec<_>>();
                let batched = of(&mut batch.records.iter().map(|(timestamp, _)| *timestamp));
                let due = next.iter().map(|it| it.timestamp);
                let due = of(&mut due.take_while(|timestamp| timestamp.hlc <= batch.upto));
                format!("evaluates {batched:?} up to {}, where {due:?} is due", batch.upto)
            });
        }
        node.run.batch = Some(count);
    }

    /// Invariant I-7: a bound that is reached without a batch has nothing below it that was left out.
    pub(super) fn on_evaluated_to(&mut self, place: usize, evaluated: Hlc) {
        let node = &self.nodes[place];
        let left_out = self.order.transactions.get(node.run.settled);
        if let Some(left_out) = left_out.filter(|it| it.timestamp.hlc <= evaluated) {
            self.found.add(Invariant::Agreement, node.id, || {
                format!("has evaluated to {evaluated} without {}", left_out.timestamp)
            });
        }
    }

    /// The executor of a node has finished a batch.
    ///
    /// Invariant I-7: the outcomes and digests are those of the other replicas.
    pub(super) fn on_evaluated(&mut self, node: NodeId, evaluated: &Evaluated) {
        let place = self.place_of(node);
        let Self {
            nodes, order, found, ..
        } = self;
        let seen = &mut nodes[place];
        let run = &mut seen.run;
        run.has_evaluated = true;
        seen.flushed = seen.flushed.max(evaluated.flushed);
        for settlement in &evaluated.settlements {
            if let Err((invariant, what)) = order.on_settlement(run.settled, settlement) {
                found.add(invariant, node, || what);
            }
            run.settled += 1;
        }
        let (due, done) = (run.batch.take().unwrap_or_default(), evaluated.settlements.len());
        if done > due || done < due && evaluated.blocked.is_none() {
            found.add(Invariant::Agreement, node, || {
                format!("evaluates {done} of the {due} transactions of a batch")
            });
        }
        for digest in &evaluated.digests {
            let known = *order.digests.entry(digest.boundary).or_insert(digest.value);
            if known != digest.value {
                found.add(Invariant::Agreement, node, || {
                    let (boundary, value) = (digest.boundary, digest.value);
                    format!("has the digest {value:016x} at {boundary}, where another replica has {known:016x}")
                });
            }
        }
    }

    /// A node answers a client.
    ///
    /// Invariant I-8: what it tells of is final, and on the disks of a majority.
    pub(super) fn on_reply(&mut self, place: usize, request: RequestId, reply: &Reply) {
        let node = &mut self.nodes[place];
        node.run.strict_reads.remove(&request);
        let Reply::Settled(settlement) = reply else { return };
        let id = node.id;
        if let Err(what) = self.check_answer(place, settlement) {
            self.found.add(Invariant::Durability, id, || what);
        }
        self.order.answered = self.order.answered.max(settlement.effective);
    }

    fn check_answer(&self, place: usize, settlement: &Settlement) -> Result<(), String> {
        let Settlement {
            record,
            id,
            effective,
            outcome,
        } = settlement;
        let is_final = |timestamp, id| self.order.find(timestamp).filter(|it| it.id == id);
        // Whoever has cancelled it has another id.
        let effective_id = match outcome {
            Outcome::Aborted(Abort::Cancelled { by }) => *by,
            Outcome::Aborted(_) | Outcome::Committed(_) => *id,
        };
        let (Some(it), Some(_)) = (is_final(*record, *id), is_final(*effective, effective_id)) else {
            return Err(format!(
                "answers {id} with {record}, effective at {effective}, which is not final"
            ));
        };
        if it.outcome != Some(print(settlement)) {
            return Err(format!(
                "answers {id} at {record} with another outcome than was evaluated"
            ));
        }
        let settled = self.order.transactions.get(self.nodes[place].run.settled);
        if settled.is_some_and(|next| next.timestamp <= *record) {
            return Err(format!("answers {id} at {record} before it has evaluated it"));
        }
        let epoch = &self.epochs[it.epoch as usize];
        let holding = |member: &usize| self.nodes[*member].parts[it.epoch as usize].holdings[it.stream as usize];
        let holders = epoch
            .members
            .iter()
            .filter(|member| holding(member).durable > it.record)
            .count();
        if holders < epoch.majority() {
            let disks = epoch.membership.members.len();
            return Err(format!(
                "answers {id} at {record}, which {holders} of {disks} disks hold"
            ));
        }
        Ok(())
    }

    /// A client asks a node for a read.
    pub(super) fn on_read(&mut self, node: NodeId, request: RequestId, mode: ReadMode) {
        if mode == ReadMode::Strict {
            let place = self.place_of(node);
            let answered = self.order.answered.hlc;
            self.nodes[place].run.strict_reads.insert(request, answered);
        }
    }

    /// A node gives a read its snapshot.
    ///
    /// Invariant I-11: all of it is evaluated, and if the read is strict, everything that was answered before it began is in it.
    pub(super) fn on_read_given(&mut self, place: usize, request: RequestId, at: Hlc) {
        let node = &mut self.nodes[place];
        let answered = node.run.strict_reads.remove(&request).unwrap_or_default();
        let evaluated = node.run.evaluated;
        if at < answered || at > evaluated {
            self.found.add(Invariant::StrictReads, node.id, || {
                format!("reads at {at}, has evaluated to {evaluated}, and before the read began {answered} had been answered")
            });
        }
    }
}

impl Order {
    /// A replica has evaluated the transaction at this place of the order.
    fn on_settlement(&mut self, place: usize, settlement: &Settlement) -> Result<(), (Invariant, String)> {
        let print = print(settlement);
        let (record, id) = (settlement.record, settlement.id);
        let disagrees = |what| Err((Invariant::Agreement, what));
        let Some(due) = self.transactions.get_mut(place) else {
            return disagrees(format!("settles {id} at {record}, which is not final"));
        };
        if (due.timestamp, due.id) != (record, id) {
            let (timestamp, due) = (due.timestamp, due.id);
            return disagrees(format!("settles {id} at {record}, where {due} at {timestamp} is due"));
        }
        match due.outcome {
            Some(known) if known == print => Ok(()),
            Some(_) => disagrees(format!(
                "settles {id} at {record} with another outcome than another replica"
            )),
            None => {
                due.outcome = Some(print);
                let once = self.check_once(settlement, print);
                once.map_err(|what| (Invariant::Once, what))
            }
        }
    }
}

/// A hash of where a transaction took effect, and how; without wording, as in the digests.
fn print(settlement: &Settlement) -> u64 {
    let Timestamp { hlc, node } = settlement.effective;
    let seed = hlc.bits() ^ u64::from(node.number()).rotate_left(48);
    match &settlement.outcome {
        Outcome::Committed(output) => xxh3_64_with_seed(output.as_bytes(), seed),
        Outcome::Aborted(abort) => {
            let mut buffer = Vec::new();
            codec::encode_plain(abort.without_wording().as_ref(), &mut buffer);
            xxh3_64_with_seed(&buffer, !seed)
        }
    }
}
