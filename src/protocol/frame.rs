//! What travels between two nodes at once: a few messages, under the name of the cluster and of the sender.
//!
//! Decoding checks whatever the machines take for granted of a peer's message: an ill-formed one is the peer's error, and never
//! reaches them.

use bincode::{Decode, Encode};

use super::message::{Append, Message};
use crate::codec::{self, DecodeError, Kind};
use crate::id::{ClusterId, NodeId};
use crate::key::Key;
use crate::lattice::Row;
use crate::limits::{COORDINATORS_MAX, FOOTPRINT_KEYS_MAX, KEY_BYTES_MAX, THUNK_NAME_BYTES_MAX};
use crate::transaction::Record;

/// The messages that one node sends another at once.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Frame {
    /// The sender's cluster: another cluster's frame is dropped.
    pub cluster: ClusterId,
    /// The sender. The transport must have authenticated it.
    pub from: NodeId,
    /// The messages, in order.
    pub messages: Vec<Message>,
}

impl Frame {
    /// Writes the encoded frame to the end of `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        codec::encode_into(Kind::Frame, self, out);
    }

    /// Reads a frame, which must be all that `bytes` hold.
    ///
    /// *Errors* when the bytes are damaged or of another version, and when a message is one that no node sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let frame: Self = codec::decode(Kind::Frame, bytes)?;
        for message in &frame.messages {
            match message {
                Message::Append(append) => check_append(append)?,
                Message::Row(row) => check_row(row)?,
                Message::Fetch(_) => {}
            }
        }
        Ok(frame)
    }
}

fn check_append(append: &Append) -> Result<(), DecodeError> {
    let mut last = append.prev;
    for record in &append.records {
        check(record.hlc > last, || {
            format!("the record at {} does not come after {last}", record.hlc)
        })?;
        last = record.hlc;
        check_record(record)?;
    }
    check(last <= append.upto, || {
        format!("an append up to {} that holds {last}", append.upto)
    })
}

fn check_record(record: &Record) -> Result<(), DecodeError> {
    let transaction = &record.transaction;
    let name_bytes = transaction.thunk.name.len();
    check(name_bytes <= THUNK_NAME_BYTES_MAX, || {
        format!("a thunk's name of {name_bytes} bytes")
    })?;
    let footprint = &transaction.footprint;
    let count = footprint.reads.len() + footprint.ranges.len() + footprint.writes.len();
    check(count <= FOOTPRINT_KEYS_MAX, || {
        format!("a footprint of {count} keys and ranges")
    })?;
    let is_ascending = footprint.reads.is_sorted_by(|a, b| a < b)
        && footprint.writes.is_sorted_by(|a, b| a < b)
        && footprint.ranges.is_sorted_by(|a, b| a < b);
    check(is_ascending, || "a footprint that is not ascending".to_string())?;
    let ends = footprint
        .ranges
        .iter()
        .flat_map(|range| [Some(range.start()), range.end()])
        .flatten();
    let is_short = |key: &Key| key.as_bytes().len() <= KEY_BYTES_MAX;
    let are_short = footprint
        .reads
        .iter()
        .chain(&footprint.writes)
        .chain(ends)
        .all(is_short);
    check(are_short, || format!("a key of more than {KEY_BYTES_MAX} bytes"))
}

fn check_row(row: &Row) -> Result<(), DecodeError> {
    let count = row.positions.len();
    check(count <= COORDINATORS_MAX, || format!("a row of {count} positions"))?;
    let is_ascending = row.positions.is_sorted_by(|(a, _), (b, _)| a < b);
    check(is_ascending, || "a row that is not ascending".to_string())
}

fn check(is_well_formed: bool, what: impl FnOnce() -> String) -> Result<(), DecodeError> {
    if is_well_formed {
        Ok(())
    } else {
        Err(DecodeError::Malformed(what()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node, record};
    use super::*;
    use crate::id::Epoch;

    fn frame(messages: Vec<Message>) -> Frame {
        Frame {
            cluster: ClusterId::new(7),
            from: node(2),
            messages,
        }
    }

    fn append(prev: u64, upto: u64, records: &[u64]) -> Message {
        Message::Append(Append {
            epoch: Epoch::FIRST,
            coordinator: node(2),
            prev: hlc(prev),
            upto: hlc(upto),
            records: records.iter().map(|place| record(*place)).collect(),
        })
    }

    fn decoded(messages: Vec<Message>) -> Result<Frame, DecodeError> {
        let mut bytes = Vec::new();
        frame(messages).encode_into(&mut bytes);
        Frame::decode(&bytes)
    }

    #[test]
    fn a_frame_comes_back() {
        let mut row = Row::new(node(2), Epoch::FIRST);
        row.raise_position(node(1), hlc(5));
        let messages = vec![append(1, 9, &[2, 9]), Message::Row(row)];
        assert_eq!(decoded(messages.clone()), Ok(frame(messages)));
    }

    #[test]
    fn a_message_that_no_node_sends_is_refused() {
        let mut row = Row::new(node(2), Epoch::FIRST);
        row.positions = vec![(node(3), hlc(1)), (node(1), hlc(1))];
        for (message, why) in [
            (append(5, 9, &[5]), "does not come after"),
            (append(5, 9, &[7, 6]), "does not come after"),
            (append(5, 9, &[10]), "that holds"),
            (append(5, 4, &[]), "that holds"),
            (Message::Row(row), "not ascending"),
        ] {
            let error = decoded(vec![message]).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
