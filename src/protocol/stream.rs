//! One coordinator's stream of one epoch, as one node holds it.
//!
//! Realises the receiving half of section 3.1 of the design. A stream is held up to a position: everything of it at or
//! below is here, and nothing else will ever be there. Holding and holding *durably* are two positions, because only the
//! second one counts in quorums; the sync marks that lie between them are kept here.
//!
//! It does not decide whom to send to (`replication`) nor what to do about a hole (`catchup`).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::SyncMark;
use super::message::Append;
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;
use crate::transaction::Record;

/// A stream as held by one node.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Stream {
    epoch: Epoch,
    coordinator: NodeId,
    /// Records above `dropped`, ascending.
    records: VecDeque<Held>,
    /// Everything at or below has been dropped from `records`, or was never in it.
    dropped: Hlc,
    /// Everything at or below is held.
    received: Hlc,
    /// Everything at or below is held durably.
    durable: Hlc,
    /// What becomes durable with which mark, ascending in both.
    pending: VecDeque<(SyncMark, Hlc)>,
    /// The weight of all records ever held, in bytes.
    weight: u64,
}

/// A record, and the weight of the stream up to and including it.
#[derive(Clone, Debug)]
struct Held {
    /// The record's place, beside it: a search for places would have to fetch the records themselves from memory.
    hlc: Hlc,
    record: Arc<Record>,
    weight: u64,
}

impl Hash for Held {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The place is the record's.
        (&self.record, self.weight).hash(state);
    }
}

/// An `Append` did not join on to what is held: records between are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The missing part reaches at least up to here.
    pub upto: Hlc,
}

impl Stream {
    /// The empty stream of `coordinator` in `epoch`; nothing in it lies at or below `start`.
    pub(crate) fn new(epoch: Epoch, coordinator: NodeId, start: Hlc) -> Self {
        Self {
            epoch,
            coordinator,
            records: VecDeque::new(),
            dropped: start,
            received: start,
            durable: start,
            pending: VecDeque::new(),
            weight: 0,
        }
    }

    /// The stream as a restarted node finds it: these records, and nothing else up to `held`, all of it durable.
    ///
    /// *Given* `records` ascending and above `start`: the epoch's, or where a snapshot in it ends.
    pub(crate) fn recovered(epoch: Epoch, coordinator: NodeId, start: Hlc, records: &[Arc<Record>], held: Hlc) -> Self {
        let mut stream = Self::new(epoch, coordinator, start);
        let last = records.last().map_or(start, |last| last.hlc);
        stream.extend(records, held.max(last), SyncMark(0));
        stream.on_persisted(SyncMark(0));
        stream
    }

    /// Everything at or below is held.
    pub(crate) fn received(&self) -> Hlc {
        self.received
    }

    /// Everything at or below is held durably.
    pub(crate) fn durable(&self) -> Hlc {
        self.durable
    }

    /// Records at or below may have been dropped.
    pub(crate) fn dropped(&self) -> Hlc {
        self.dropped
    }

    /// The first record that is kept; none if none is.
    pub(crate) fn first_kept(&self) -> Option<Hlc> {
        self.records.front().map(|first| first.hlc)
    }

    /// The weight of the records kept, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes_above(self.dropped)
    }

    /// The weight of the records above `after`, in bytes.
    pub(crate) fn bytes_above(&self, after: Hlc) -> usize {
        let first = self.first_above(after);
        // What the one before came to is at hand; the weight of the first one itself lies with its record, which would have to be fetched.
        let before = match (first.checked_sub(1), self.records.get(first)) {
            (_, None) => self.weight,
            (Some(last), _) => self.records[last].weight,
            (None, Some(first)) => first.weight - first.record.weight() as u64,
        };
        (self.weight - before) as usize
    }

    /// How many records above `after` are held.
    pub(crate) fn count_above(&self, after: Hlc) -> usize {
        self.records.len() - self.first_above(after)
    }

    /// The place of the last record; of a stream without records, where they begin.
    pub(crate) fn last_record(&self) -> Hlc {
        self.records.back().map_or(self.dropped, |last| last.hlc)
    }

    /// Adds what `append` brings beyond what is held. Idempotent.
    ///
    /// *Given* an append of this stream, its records ascending and within its bounds. `mark` is the sync mark under which the caller
    /// will make the new records durable.
    ///
    /// *Gives* the new records, which the caller must persist under `mark`; none for a pure promise and for what was held already.
    ///
    /// *Errors* when records between are missing; then nothing changed.
    pub(crate) fn accept(&mut self, append: Append, mark: SyncMark) -> Result<Vec<Arc<Record>>, Gap> {
        assert!(
            append.coordinator == self.coordinator && append.epoch == self.epoch,
            "an append of {} in {} for the stream of {} in {}",
            append.coordinator,
            append.epoch,
            self.coordinator,
            self.epoch
        );
        if append.prev > self.received {
            return Err(Gap { upto: append.prev });
        }
        if append.upto <= self.received {
            return Ok(Vec::new());
        }
        let mut new = append.records;
        let known = new.partition_point(|record| record.hlc <= self.received);
        new.drain(..known);
        self.extend(&new, append.upto, mark);
        Ok(new)
    }

    /// Adds one's own records or promise. *Given* `records` ascending, above what is held and at most `upto`.
    pub(crate) fn extend(&mut self, records: &[Arc<Record>], upto: Hlc, mark: SyncMark) {
        assert!(
            upto >= self.received,
            "I-12: the stream of {} goes back from {} to {upto}",
            self.coordinator,
            self.received
        );
        for record in records {
            let last = self.last_record();
            assert!(
                record.hlc > last && record.hlc <= upto,
                "I-1: the record {} lies outside {last}..={upto}",
                record.hlc
            );
            self.weight += record.weight() as u64;
            self.records.push_back(Held {
                hlc: record.hlc,
                record: record.clone(),
                weight: self.weight,
            });
        }
        self.received = upto;
        match self.pending.back_mut() {
            _ if !records.is_empty() => self.pending.push_back((mark, upto)),
            // A promise needs no sync of its own, but it says nothing before the records below it are durable.
            Some((_, position)) => *position = upto,
            None => self.durable = upto,
        }
    }

    /// Everything persisted at or below `mark` is durable now. *Gives* whether records became durable.
    pub(crate) fn on_persisted(&mut self, mark: SyncMark) -> bool {
        let before = self.pending.len();
        while let Some((_, position)) = self.pending.pop_front_if(|(pending, _)| *pending <= mark) {
            self.durable = position;
        }
        assert!(
            self.durable <= self.received,
            "I-3: durable to {}, and held to {}",
            self.durable,
            self.received
        );
        self.pending.len() < before
    }

    /// The records in `after < hlc <= upto`, ascending.
    ///
    /// *Panics* when `after` lies in the part that was dropped.
    pub(crate) fn records_between(&self, after: Hlc, upto: Hlc) -> impl Iterator<Item = &Arc<Record>> {
        assert!(
            after >= self.dropped || self.records.is_empty(),
            "{after} of {} was dropped",
            self.coordinator
        );
        let above = self.records.range(self.first_above(after)..);
        above.take_while(move |held| held.hlc <= upto).map(|held| &held.record)
    }

    /// A piece of the stream from `after` on: records up to about `bytes_max` (one at least), and the position they reach.
    ///
    /// What was dropped is not served: such a piece begins where records are still kept. Who asks has it, as far as is known here, or
    /// is told that it is gone. A piece joins on to the last record before it, since a node that has
    /// restarted knows of no promise above its last record. Who asks for more than is held is told what is held, and no further:
    /// between there may be records that this node has never seen.
    pub(crate) fn piece(&self, after: Hlc, bytes_max: usize) -> Append {
        let after = after.min(self.received).max(self.dropped);
        let before = self.first_above(after).checked_sub(1);
        let prev = before.map_or(self.dropped, |place| self.records[place].hlc);
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut upto = self.received;
        for record in self.records_between(after, self.received) {
            if bytes > 0 && bytes + record.weight() > bytes_max {
                upto = records.last().map_or(after, |last: &Arc<Record>| last.hlc);
                break;
            }
            bytes += record.weight();
            records.push(record.clone());
        }
        Append {
            epoch: self.epoch,
            coordinator: self.coordinator,
            prev,
            upto,
            records,
        }
    }

    /// Drops the records at or below `through`: nobody needs them any more. What is not durable here is kept.
    pub(crate) fn drop_through(&mut self, through: Hlc) {
        let through = through.min(self.durable);
        while let Some(held) = self.records.pop_front_if(|held| held.hlc <= through) {
            self.dropped = held.hlc;
        }
    }

    /// The place of the first record kept; absent where there is none.
    pub(crate) fn first_record(&self) -> Option<Hlc> {
        self.records.front().map(|first| first.hlc)
    }

    /// The durable versions of this node hold everything up to `bound`: the stream is held up to there, without its records, which may
    /// never have been here.
    pub(crate) fn cover(&mut self, bound: Hlc) {
        let held = self.first_above(bound);
        self.records.drain(..held);
        self.dropped = self.dropped.max(bound);
        self.received = self.received.max(bound);
        self.durable = self.durable.max(bound);
        self.pending.retain(|(_, position)| *position > bound);
        if self.pending.is_empty() {
            // What is above was durable, or is a promise behind records that need to be durable no more.
            self.durable = self.received;
        }
    }

    /// Drops what lies above `cut`: it is void. *Gives* the dropped records, ascending.
    pub(crate) fn truncate(&mut self, cut: Hlc) -> Vec<Arc<Record>> {
        let void = self.records.split_off(self.first_above(cut));
        self.weight = self.records.back().map_or(self.weight, |last| last.weight);
        self.received = self.received.min(cut.max(self.dropped));
        self.durable = self.durable.min(self.received);
        for (_, position) in &mut self.pending {
            *position = (*position).min(self.received);
        }
        void.into_iter().map(|held| held.record).collect()
    }

    fn first_above(&self, after: Hlc) -> usize {
        self.records.partition_point(|held| held.hlc <= after)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, record};
    use super::*;

    fn append(prev: u64, upto: u64, records: &[u64]) -> Append {
        Append {
            epoch: Epoch::FIRST,
            coordinator: NodeId::new(1),
            prev: hlc(prev),
            upto: hlc(upto),
            records: records.iter().map(|place| record(*place)).collect(),
        }
    }

    fn stream() -> Stream {
        Stream::new(Epoch::FIRST, NodeId::new(1), Hlc::ZERO)
    }

    fn places(records: &[Arc<Record>]) -> Vec<Hlc> {
        records.iter().map(|record| record.hlc).collect()
    }

    #[test]
    fn a_repeated_or_overlapping_append_adds_only_what_is_new() {
        let mut stream = stream();
        assert_eq!(
            places(&stream.accept(append(0, 5, &[2, 4]), SyncMark(1)).unwrap()),
            [hlc(2), hlc(4)]
        );
        assert_eq!(stream.accept(append(0, 5, &[2, 4]), SyncMark(2)).unwrap(), []);
        assert_eq!(
            places(&stream.accept(append(2, 9, &[4, 7]), SyncMark(3)).unwrap()),
            [hlc(7)]
        );
        assert_eq!(stream.received(), hlc(9));
    }

    #[test]
    fn an_append_after_a_hole_changes_nothing() {
        let mut stream = stream();
        stream.accept(append(0, 3, &[]), SyncMark(1)).unwrap();
        assert_eq!(
            stream.accept(append(4, 9, &[7]), SyncMark(2)),
            Err(Gap { upto: hlc(4) })
        );
        assert_eq!((stream.received(), stream.durable()), (hlc(3), hlc(3)));
    }

    #[test]
    fn a_promise_is_not_durable_before_the_records_below_it() {
        let mut stream = stream();
        stream.accept(append(0, 5, &[4]), SyncMark(1)).unwrap();
        stream.accept(append(4, 8, &[]), SyncMark(2)).unwrap();
        assert_eq!((stream.received(), stream.durable()), (hlc(8), hlc(0)));
        assert!(!stream.on_persisted(SyncMark(0)));
        assert!(stream.on_persisted(SyncMark(1)));
        assert_eq!(stream.durable(), hlc(8));
        stream.accept(append(4, 9, &[]), SyncMark(3)).unwrap();
        assert_eq!(stream.durable(), hlc(9));
    }

    #[test]
    fn a_piece_is_complete_up_to_the_position_it_names() {
        let mut stream = stream();
        stream.accept(append(0, 9, &[2, 4, 6]), SyncMark(1)).unwrap();
        let weight = record(2).weight();
        let piece = stream.piece(hlc(2), 2 * weight);
        assert_eq!((places(&piece.records), piece.upto), (vec![hlc(4), hlc(6)], hlc(9)));
        let piece = stream.piece(hlc(0), 2 * weight);
        assert_eq!((places(&piece.records), piece.upto), (vec![hlc(2), hlc(4)], hlc(4)));
        let piece = stream.piece(hlc(0), 1);
        assert_eq!(
            (places(&piece.records), piece.upto),
            (vec![hlc(2)], hlc(2)),
            "one record at least"
        );
    }

    #[test]
    fn a_piece_reaches_no_further_than_what_is_held_whatever_is_asked_for() {
        let mut stream = stream();
        stream.accept(append(0, 5, &[2]), SyncMark(1)).unwrap();
        // The one who asks may have forgotten, when the answer comes, what it held when it asked.
        assert_eq!(stream.piece(hlc(9), 1000), append(2, 5, &[]));
    }

    #[test]
    fn what_is_dropped_is_neither_served_nor_counted() {
        let mut stream = stream();
        stream.accept(append(0, 9, &[2, 4, 6]), SyncMark(1)).unwrap();
        stream.drop_through(hlc(4));
        assert_eq!(stream.bytes(), 3 * record(2).weight(), "not durable, so kept");
        stream.on_persisted(SyncMark(1));
        stream.drop_through(hlc(5));
        assert_eq!(stream.bytes(), record(6).weight());
        assert_eq!(stream.piece(hlc(2), 1000), append(4, 9, &[6]));
    }
}
