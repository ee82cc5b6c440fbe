//! What every message of an honest sender obeys, whatever the state of its receiver.
//!
//! Realises the shapes that section 3.1, 3.2 and 4 of the design give to streams, rows and footprints, and the bounds in
//! [`limits`]. The machines rely on them: a row is searched by its order, a footprint too. What depends on the
//! receiver (its epoch, its members, its clock) is for the machines to judge.

use crate::id::{Epoch, NodeId};
use crate::key::{Key, KeyRange};
use crate::lattice::Row;
use crate::limits;
use crate::time::Hlc;
use crate::transaction::{Footprint, Record, ThunkId};

use super::config::Membership;
use super::decree::{Ballot, Decree};
use super::message::{Append, Declaration, Declared, Message};

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// An `Append` ends before it begins.
    #[error("an append from {prev} ends at {upto}, which is lower")]
    Backwards {
        /// Where it begins.
        prev: Hlc,
        /// Where it ends.
        upto: Hlc,
    },
    /// A record lies outside the piece of the stream that its `Append` is, or not above the record before it.
    #[error("the record at {hlc} does not lie above {above} and at most at {upto}")]
    RecordOutOfPlace {
        /// The record's place.
        hlc: Hlc,
        /// The record before it, or the append's beginning.
        above: Hlc,
        /// The append's end.
        upto: Hlc,
    },
    /// A decree's members or coordinators are none, too many, not ascending, or its epoch or start is none that can be.
    #[error("the decree that begins {epoch} describes no epoch")]
    Decree {
        /// The epoch that it would begin.
        epoch: Epoch,
    },
    /// A row names the same coordinator twice, or in the wrong order.
    #[error("the positions of a row are not ascending by coordinator at {coordinator}")]
    PositionsNotAscending {
        /// The first coordinator that is not above the one before it.
        coordinator: NodeId,
    },
    /// A list of a footprint holds something twice, or in the wrong order.
    #[error("the {list} of the footprint at {hlc} are not ascending at place {place}")]
    FootprintNotAscending {
        /// The record's place.
        hlc: Hlc,
        /// Which list: `reads`, `ranges` or `writes`.
        list: &'static str,
        /// The first place whose element is not above the one before it.
        place: usize,
    },
    /// A list of declarations, or one in them, holds something twice, or in the wrong order.
    #[error("the {list} of a declaration are not ascending at place {place}")]
    DeclarationNotAscending {
        /// Which list: `nodes`, `stamps` or `thunks`.
        list: &'static str,
        /// The first place whose element is not above the one before it.
        place: usize,
    },
    /// Something is larger than its bound in [`limits`].
    #[error("{what}: {found}, more than the limit of {limit}")]
    TooLarge {
        /// What, and counted how.
        what: &'static str,
        /// How large it is.
        found: usize,
        /// Its bound.
        limit: usize,
    },
}

/// Whether an honest sender can have made the message.
///
/// *Errors*: the first thing that is wrong. *Cost*: linear in its records and their footprints.
pub fn validate(message: &Message) -> Result<(), InvalidMessage> {
    match message {
        Message::Append(append) => validate_append(append),
        Message::Row(row) => validate_row(row),
        Message::Prepare(prepare) => validate_ballot(prepare.ballot),
        Message::Promise(promise) => {
            validate_ballot(promise.ballot)?;
            validate_positions(&promise.answer.positions)?;
            match &promise.answer.accepted {
                Some((ballot, decree)) => validate_ballot(*ballot).and_then(|()| validate_decree(decree)),
                None => Ok(()),
            }
        }
        Message::Accept(accept) => validate_ballot(accept.ballot).and_then(|()| validate_decree(&accept.decree)),
        Message::Accepted(accepted) => validate_ballot(accepted.ballot),
        Message::Outbid(outbid) => validate_ballot(outbid.ballot),
        Message::Decided(decree) => validate_decree(decree),
        // A request for a stream may name any place in any stream, and so may its refusal.
        Message::Fetch(_) | Message::Gone(_) => Ok(()),
        Message::SnapshotRequest(request) => at_most(
            "bytes of a place in a snapshot",
            request.cursor.len(),
            limits::SNAPSHOT_CURSOR_BYTES_MAX,
        ),
        Message::SnapshotChunk(chunk) => at_most(
            "bytes of a piece of a snapshot",
            chunk.bytes.len(),
            limits::SNAPSHOT_CHUNK_BYTES_MAX,
        ),
        Message::Declared(declared) => validate_declared(declared),
    }
}

fn validate_ballot(ballot: Ballot) -> Result<(), InvalidMessage> {
    let found = usize::try_from(ballot.round).unwrap_or(usize::MAX);
    at_most("rounds of ballots", found, limits::BALLOT_ROUND_MAX as usize)
}

fn validate_decree(decree: &Decree) -> Result<(), InvalidMessage> {
    validate_positions(&decree.cut)?;
    let Decree {
        epoch,
        members,
        coordinators,
        ..
    } = decree;
    let is_membership = |membership: &Membership| {
        *membership == decree.membership() && *epoch > Epoch::FIRST && decree.start < Hlc::MAX
    };
    match Membership::new(*epoch, members.iter().copied(), coordinators.iter().copied()) {
        Ok(membership) if is_membership(&membership) => Ok(()),
        _ => Err(InvalidMessage::Decree { epoch: *epoch }),
    }
}

fn validate_append(append: &Append) -> Result<(), InvalidMessage> {
    let Append { prev, upto, .. } = *append;
    if prev > upto {
        return Err(InvalidMessage::Backwards { prev, upto });
    }
    let mut above = prev;
    for record in &append.records {
        let hlc = record.hlc;
        if hlc <= above || hlc > upto {
            return Err(InvalidMessage::RecordOutOfPlace { hlc, above, upto });
        }
        validate_record(record)?;
        above = hlc;
    }
    Ok(())
}

fn validate_row(row: &Row) -> Result<(), InvalidMessage> {
    validate_positions(&row.positions)
}

fn validate_positions(positions: &[(NodeId, Hlc)]) -> Result<(), InvalidMessage> {
    at_most("positions", positions.len(), limits::COORDINATORS_MAX)?;
    match first_not_above(positions, |(coordinator, _)| coordinator) {
        Some(place) => Err(InvalidMessage::PositionsNotAscending {
            coordinator: positions[place].0,
        }),
        None => Ok(()),
    }
}

fn validate_record(record: &Record) -> Result<(), InvalidMessage> {
    let transaction = &record.transaction;
    validate_thunk(&transaction.thunk)?;
    let footprint_bytes = validate_footprint(record.hlc, &transaction.footprint)?;
    // Without the few bytes for lengths: what the sender's bound let pass is never refused here.
    let bytes = transaction.arguments.as_bytes().len() + footprint_bytes;
    at_most("bytes of a record", bytes, limits::RECORD_BYTES_MAX)
}

fn validate_thunk(thunk: &ThunkId) -> Result<(), InvalidMessage> {
    at_most(
        "bytes of a thunk's name",
        thunk.name.len(),
        limits::THUNK_NAME_BYTES_MAX,
    )
}

fn validate_declared(declared: &Declared) -> Result<(), InvalidMessage> {
    let Declared {
        declarations, known, ..
    } = declared;
    at_most("declarations", declarations.len(), limits::DECLARATIONS_MAX)?;
    at_most("stamps of declarations", known.len(), limits::DECLARATIONS_MAX)?;
    let ascending = |list, place: Option<usize>| match place {
        Some(place) => Err(InvalidMessage::DeclarationNotAscending { list, place }),
        None => Ok(()),
    };
    ascending("nodes", first_not_above(declarations, |declaration| &declaration.node))?;
    ascending("stamps", first_not_above(known, |(node, _)| node))?;
    for Declaration { thunks, blocked, .. } in declarations {
        at_most("thunks of a declaration", thunks.len(), limits::THUNKS_MAX)?;
        ascending("thunks", first_not_above(thunks, |thunk| thunk))?;
        thunks.iter().chain(blocked).try_for_each(validate_thunk)?;
    }
    Ok(())
}

/// *Gives* the bytes of all keys in the footprint.
fn validate_footprint(hlc: Hlc, footprint: &Footprint) -> Result<usize, InvalidMessage> {
    let Footprint { reads, ranges, writes } = footprint;
    let keys = reads.len() + ranges.len() + writes.len();
    at_most("keys and ranges of a footprint", keys, limits::FOOTPRINT_KEYS_MAX)?;
    for (list, place) in [
        ("reads", first_not_above(reads, |key| key)),
        ("ranges", first_not_above(ranges, |range| range)),
        ("writes", first_not_above(writes, |key| key)),
    ] {
        if let Some(place) = place {
            return Err(InvalidMessage::FootprintNotAscending { hlc, list, place });
        }
    }
    let ends = ranges.iter().filter_map(KeyRange::end);
    let keys = reads
        .iter()
        .chain(writes)
        .chain(ranges.iter().map(KeyRange::start))
        .chain(ends);
    keys.map(Key::as_bytes).try_fold(0, |bytes, key| {
        at_most("bytes of a key", key.len(), limits::KEY_BYTES_MAX)?;
        Ok(bytes + key.len())
    })
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), InvalidMessage> {
    if found > limit {
        return Err(InvalidMessage::TooLarge { what, found, limit });
    }
    Ok(())
}

/// The first place whose element is not strictly above the one before it.
fn first_not_above<T, K: Ord>(list: &[T], by: impl Fn(&T) -> &K) -> Option<usize> {
    let mut pairs = list.windows(2);
    let below = pairs.position(|pair| by(&pair[0]) >= by(&pair[1]))?;
    Some(below + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::TransactionId;
    use crate::key::Value;
    use crate::protocol::message::Prepare;
    use crate::transaction::{ThunkId, Transaction};

    fn at(bits: u64) -> Hlc {
        Hlc::from_bits(bits)
    }

    fn record(bits: u64) -> Record {
        Record {
            hlc: at(bits),
            transaction: Transaction {
                id: TransactionId::from_u128(bits.into()),
                thunk: ThunkId {
                    name: "put".into(),
                    version: 1,
                },
                arguments: "arguments".into(),
                footprint: Footprint {
                    reads: vec!["a".into(), "b".into()],
                    ranges: vec![KeyRange::new("c".into(), "d".into()), KeyRange::from("e".into())],
                    writes: vec!["a".into(), "z".into()],
                },
            },
        }
    }

    fn append(prev: u64, upto: u64, records: Vec<Record>) -> Message {
        Message::Append(Append {
            epoch: Epoch::FIRST,
            coordinator: NodeId::new(1),
            prev: at(prev),
            upto: at(upto),
            records: records.into_iter().map(Arc::new).collect(),
        })
    }

    /// The refusal of an append whose one record was changed in one way.
    fn refusal(change: impl FnOnce(&mut Record)) -> InvalidMessage {
        let mut changed = record(5);
        change(&mut changed);
        validate(&append(1, 9, vec![changed])).expect_err("the record is invalid")
    }

    #[test]
    fn appends_of_every_honest_shape_pass() {
        assert_eq!(validate(&append(3, 3, vec![])), Ok(()));
        assert_eq!(validate(&append(0, u64::MAX, vec![])), Ok(()));
        assert_eq!(validate(&append(1, 9, vec![record(2), record(3), record(9)])), Ok(()));
    }

    #[test]
    fn an_append_that_ends_before_it_begins_is_refused() {
        let (prev, upto) = (at(4), at(3));
        assert_eq!(
            validate(&append(4, 3, vec![])),
            Err(InvalidMessage::Backwards { prev, upto })
        );
    }

    #[test]
    fn records_outside_their_append_or_out_of_order_are_refused() {
        for (places, wrong, above) in [
            (vec![1], 1, 1),
            (vec![10], 10, 1),
            (vec![5, 5], 5, 5),
            (vec![5, 4], 4, 5),
            (vec![2, 9, 10], 10, 9),
        ] {
            let refused = validate(&append(1, 9, places.into_iter().map(record).collect()));
            let (hlc, above, upto) = (at(wrong), at(above), at(9));
            assert_eq!(refused, Err(InvalidMessage::RecordOutOfPlace { hlc, above, upto }));
        }
    }

    #[test]
    fn footprints_with_disorder_or_repetition_are_refused() {
        let not_ascending = |list, place| InvalidMessage::FootprintNotAscending {
            hlc: at(5),
            list,
            place,
        };
        let reads = refusal(|record| record.transaction.footprint.reads.push("b".into()));
        assert_eq!(reads, not_ascending("reads", 2));
        let ranges = refusal(|record| record.transaction.footprint.ranges.reverse());
        assert_eq!(ranges, not_ascending("ranges", 1));
        let writes = refusal(|record| record.transaction.footprint.writes.insert(0, "b".into()));
        assert_eq!(writes, not_ascending("writes", 1));
    }

    #[test]
    fn sizes_pass_at_their_limit_and_are_refused_beyond() {
        let what_of = |refused| match refused {
            InvalidMessage::TooLarge { what, found, limit } => {
                assert_eq!(found, limit + 1);
                what
            }
            other => panic!("{other:?}"),
        };
        let key = |bytes| Key::new(vec![b'z'; bytes]);
        let largest = |record: &mut Record| {
            let transaction = &mut record.transaction;
            transaction.thunk.name = "n".repeat(limits::THUNK_NAME_BYTES_MAX).into();
            transaction.footprint = Footprint {
                reads: vec![key(limits::KEY_BYTES_MAX)],
                ranges: vec![KeyRange::new("a".into(), key(limits::KEY_BYTES_MAX))],
                writes: vec![],
            };
            let footprint_bytes = 2 * limits::KEY_BYTES_MAX + 1;
            transaction.arguments = Value::new(vec![0; limits::RECORD_BYTES_MAX - footprint_bytes]);
        };
        let mut record = record(5);
        largest(&mut record);
        assert_eq!(validate(&append(1, 9, vec![record])), Ok(()));

        let refused = refusal(|record| {
            largest(record);
            record.transaction.footprint.writes.push("y".into());
        });
        assert_eq!(what_of(refused), "bytes of a record");
        let refused = refusal(|record| record.transaction.footprint.reads = vec![key(limits::KEY_BYTES_MAX + 1)]);
        assert_eq!(what_of(refused), "bytes of a key");
        let refused = refusal(|record| {
            let end = key(limits::KEY_BYTES_MAX + 1);
            record.transaction.footprint.ranges = vec![KeyRange::new("a".into(), end)];
        });
        assert_eq!(what_of(refused), "bytes of a key");
        let name = "n".repeat(limits::THUNK_NAME_BYTES_MAX + 1);
        let refused = refusal(|record| record.transaction.thunk.name = name.into());
        assert_eq!(what_of(refused), "bytes of a thunk's name");
        let refused = refusal(|record| {
            let numbers = 0..limits::FOOTPRINT_KEYS_MAX as u32 + 1;
            record.transaction.footprint = Footprint {
                writes: numbers.map(|number| Key::new(number.to_be_bytes())).collect(),
                ..Footprint::default()
            };
        });
        assert_eq!(what_of(refused), "keys and ranges of a footprint");
    }

    #[test]
    fn rows_with_too_many_or_disordered_positions_are_refused() {
        let mut row = Row::new(NodeId::new(1), Epoch::FIRST);
        for number in 0..limits::COORDINATORS_MAX as u32 {
            row.raise_position(NodeId::new(number), at(1));
        }
        assert_eq!(validate(&Message::Row(row.clone())), Ok(()));

        let mut disordered = row.clone();
        disordered.positions.swap(3, 4);
        let coordinator = NodeId::new(3);
        let refused = validate(&Message::Row(disordered));
        assert_eq!(refused, Err(InvalidMessage::PositionsNotAscending { coordinator }));

        let mut repeated = row.clone();
        repeated.positions[1].0 = NodeId::new(0);
        let coordinator = NodeId::new(0);
        let refused = validate(&Message::Row(repeated));
        assert_eq!(refused, Err(InvalidMessage::PositionsNotAscending { coordinator }));

        row.raise_position(NodeId::MAX, at(1));
        assert!(matches!(
            validate(&Message::Row(row)),
            Err(InvalidMessage::TooLarge { .. })
        ));
    }

    #[test]
    fn a_ballot_that_could_not_be_outbid_and_a_decree_of_no_epoch_are_refused() {
        let ballot = |round| Ballot {
            round,
            proposer: NodeId::new(1),
        };
        let prepare = |round| {
            Message::Prepare(Prepare {
                epoch: Epoch::FIRST,
                ballot: ballot(round),
            })
        };
        assert_eq!(validate(&prepare(limits::BALLOT_ROUND_MAX)), Ok(()));
        assert!(matches!(
            validate(&prepare(u64::MAX)),
            Err(InvalidMessage::TooLarge { .. })
        ));
        let members = vec![NodeId::new(1), NodeId::new(2)];
        let decree = Decree {
            epoch: Epoch::new(2),
            cut: vec![],
            start: at(9),
            coordinators: members.clone(),
            members,
        };
        assert_eq!(validate(&Message::Decided(decree.clone())), Ok(()));
        for wrong in [
            Decree {
                epoch: Epoch::FIRST,
                ..decree.clone()
            },
            Decree {
                members: vec![],
                ..decree.clone()
            },
            Decree {
                coordinators: vec![NodeId::new(2), NodeId::new(1)],
                ..decree.clone()
            },
            Decree {
                start: Hlc::MAX,
                ..decree
            },
        ] {
            let refused = validate(&Message::Decided(wrong));
            assert!(matches!(refused, Err(InvalidMessage::Decree { .. })), "{refused:?}");
        }
    }
}
