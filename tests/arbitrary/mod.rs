//! Arbitrary frames, honest in shape, and arbitrary damage to bytes.

use std::sync::Arc;

use plimsoll::id::{ClusterId, Epoch, NodeId, TransactionId};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::lattice::{Digest, Row};
use plimsoll::limits::BALLOT_ROUND_MAX;
use plimsoll::protocol::decree::{Answer, Ballot, Decree};
use plimsoll::protocol::frame::Frame;
use plimsoll::protocol::message::{
    Accept, Accepted, Append, Declaration, Declared, Fetch, Gone, Message, Outbid, Prepare, Promise, SnapshotChunk,
    SnapshotRequest,
};
use plimsoll::time::Hlc;
use plimsoll::transaction::{Footprint, Record, ThunkId, Transaction};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// Places near both ends and anywhere.
fn hlc() -> impl Strategy<Value = Hlc> {
    prop_oneof![Just(0), 0..300_u64, any::<u64>(), Just(u64::MAX)].prop_map(Hlc::from_bits)
}

fn node() -> impl Strategy<Value = NodeId> {
    prop_oneof![0..5_u32, any::<u32>()].prop_map(NodeId::new)
}

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch::new)
}

fn key() -> impl Strategy<Value = Key> {
    vec(any::<u8>(), 0..12).prop_map(Key::new)
}

fn range() -> impl Strategy<Value = KeyRange> {
    (key(), proptest::option::of(key())).prop_map(|(start, end)| match end {
        Some(end) => KeyRange::new(start, end),
        None => KeyRange::from(start),
    })
}

fn footprint() -> impl Strategy<Value = Footprint> {
    let lists = (btree_set(key(), 0..5), btree_set(range(), 0..3), btree_set(key(), 0..5));
    lists.prop_map(|(reads, ranges, writes)| Footprint {
        reads: reads.into_iter().collect(),
        ranges: ranges.into_iter().collect(),
        writes: writes.into_iter().collect(),
    })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let thunk = ("[a-zé]{0,20}", any::<u32>());
    let arguments = vec(any::<u8>(), 0..200);
    (any::<u128>(), thunk, arguments, footprint()).prop_map(|(id, (name, version), arguments, footprint)| Transaction {
        id: TransactionId::from_u128(id),
        thunk: ThunkId {
            name: name.into(),
            version,
        },
        arguments: Value::new(arguments),
        footprint,
    })
}

fn append() -> impl Strategy<Value = Append> {
    let stream = (epoch(), node(), btree_set(hlc(), 2..7), any::<bool>());
    (stream, vec(transaction(), 5)).prop_map(|((epoch, coordinator, places, ends_with_record), transactions)| {
        let places: Vec<Hlc> = places.into_iter().collect();
        let (prev, upto) = (places[0], places[places.len() - 1]);
        let places = &places[1..places.len() - usize::from(!ends_with_record)];
        let records = places.iter().zip(transactions);
        let records = records.map(|(&hlc, transaction)| Arc::new(Record { hlc, transaction }));
        Append {
            epoch,
            coordinator,
            prev,
            upto,
            records: records.collect(),
        }
    })
}

fn row() -> impl Strategy<Value = Row> {
    let positions = vec((node(), hlc()), 0..6);
    let bounds = [hlc(), hlc(), hlc(), hlc()];
    (node(), epoch(), positions, bounds, any::<u64>()).prop_map(|(node, epoch, positions, bounds, value)| {
        let [evaluated, flushed, wanted, boundary] = bounds;
        let mut row = Row::new(node, epoch);
        for (coordinator, position) in positions {
            row.raise_position(coordinator, position);
        }
        Row {
            evaluated,
            flushed,
            wanted,
            digest: Digest { boundary, value },
            ..row
        }
    })
}

fn fetch() -> impl Strategy<Value = Fetch> {
    (epoch(), node(), hlc()).prop_map(|(epoch, coordinator, after)| Fetch {
        epoch,
        coordinator,
        after,
    })
}

fn ballot() -> impl Strategy<Value = Ballot> {
    (0..=BALLOT_ROUND_MAX, node()).prop_map(|(round, proposer)| Ballot { round, proposer })
}

fn positions() -> impl Strategy<Value = Vec<(NodeId, Hlc)>> {
    btree_map(node(), hlc(), 0..6).prop_map(|positions| positions.into_iter().collect())
}

fn decree() -> impl Strategy<Value = Decree> {
    let nodes = || btree_set(node(), 1..6).prop_map(|nodes| nodes.into_iter().collect::<Vec<_>>());
    let start = (0..u64::MAX).prop_map(Hlc::from_bits);
    (2..u64::MAX, positions(), start, nodes(), nodes()).prop_map(|(epoch, cut, start, members, coordinators)| Decree {
        epoch: Epoch::new(epoch),
        cut,
        start,
        members,
        coordinators,
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let accepted = proptest::option::of((ballot(), decree()));
    (positions(), hlc(), accepted).prop_map(|(positions, clock, accepted)| Answer {
        positions,
        clock,
        accepted,
    })
}

fn gone() -> impl Strategy<Value = Gone> {
    (epoch(), node(), hlc()).prop_map(|(epoch, coordinator, through)| Gone {
        epoch,
        coordinator,
        through,
    })
}

fn snapshot_request() -> impl Strategy<Value = SnapshotRequest> {
    let place = (proptest::option::of(hlc()), vec(any::<u8>(), 0..40));
    (epoch(), hlc(), place).prop_map(|(epoch, above, (bound, cursor))| SnapshotRequest {
        epoch,
        above,
        bound,
        cursor,
    })
}

fn snapshot_chunk() -> impl Strategy<Value = SnapshotChunk> {
    (epoch(), vec(any::<u8>(), 0..300)).prop_map(|(epoch, bytes)| SnapshotChunk { epoch, bytes })
}

fn thunk() -> impl Strategy<Value = ThunkId> {
    ("[a-zé]{0,20}", any::<u32>()).prop_map(|(name, version)| ThunkId {
        name: name.into(),
        version,
    })
}

fn declared() -> impl Strategy<Value = Declared> {
    let declaration = (hlc(), btree_set(thunk(), 0..6), proptest::option::of(thunk()));
    let declarations = btree_map(node(), declaration, 0..4);
    (epoch(), declarations, positions()).prop_map(|(epoch, declarations, known)| Declared {
        epoch,
        declarations: declarations
            .into_iter()
            .map(|(node, (stamp, thunks, blocked))| Declaration {
                node,
                stamp,
                thunks: thunks.into_iter().collect(),
                blocked,
            })
            .collect(),
        known,
    })
}

fn message() -> impl Strategy<Value = Message> {
    let promise = (epoch(), ballot(), answer());
    prop_oneof![
        4 => append().prop_map(Message::Append),
        2 => row().prop_map(Message::Row),
        1 => fetch().prop_map(Message::Fetch),
        1 => (epoch(), ballot()).prop_map(|(epoch, ballot)| Message::Prepare(Prepare { epoch, ballot })),
        1 => promise.prop_map(|(epoch, ballot, answer)| Message::Promise(Promise { epoch, ballot, answer })),
        1 => (ballot(), decree()).prop_map(|(ballot, decree)| Message::Accept(Accept { ballot, decree })),
        1 => (epoch(), ballot()).prop_map(|(epoch, ballot)| Message::Accepted(Accepted { epoch, ballot })),
        1 => (epoch(), ballot()).prop_map(|(epoch, ballot)| Message::Outbid(Outbid { epoch, ballot })),
        1 => decree().prop_map(Message::Decided),
        1 => gone().prop_map(Message::Gone),
        1 => snapshot_request().prop_map(Message::SnapshotRequest),
        1 => snapshot_chunk().prop_map(Message::SnapshotChunk),
        1 => declared().prop_map(Message::Declared),
    ]
}

/// A frame that an honest node could send.
pub(crate) fn frame() -> impl Strategy<Value = Frame> {
    (any::<u128>(), node(), vec(message(), 0..5)).prop_map(|(cluster, from, messages)| Frame {
        cluster: ClusterId::new(cluster),
        from,
        messages,
    })
}

/// One way of damaging bytes. Places are taken modulo the length.
#[derive(Clone, Debug)]
pub(crate) enum Damage {
    Flip { place: usize, bits: u8 },
    Truncate { len: usize },
    Extend { bytes: Vec<u8> },
    Insert { place: usize, bytes: Vec<u8> },
    Remove { place: usize, count: usize },
    CopyWithin { from: usize, to: usize, count: usize },
}

/// Any damage.
pub(crate) fn damage() -> impl Strategy<Value = Damage> {
    // From 251 on a byte says that a longer integer follows: the interesting ones.
    let bytes = vec(prop_oneof![any::<u8>(), 248..=255_u8], 1..20);
    let place = any::<usize>;
    prop_oneof![
        (place(), 1..=255_u8).prop_map(|(place, bits)| Damage::Flip { place, bits }),
        place().prop_map(|len| Damage::Truncate { len }),
        bytes.clone().prop_map(|bytes| Damage::Extend { bytes }),
        (place(), bytes).prop_map(|(place, bytes)| Damage::Insert { place, bytes }),
        (place(), 1..20_usize).prop_map(|(place, count)| Damage::Remove { place, count }),
        (place(), place(), 1..40_usize).prop_map(|(from, to, count)| Damage::CopyWithin { from, to, count }),
    ]
}

impl Damage {
    /// Damages `bytes`.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let inside = |place: usize| place % len.max(1);
        match self {
            Self::Extend { bytes: more } => bytes.extend_from_slice(more),
            _ if len == 0 => {}
            Self::Flip { place, bits } => bytes[inside(*place)] ^= bits,
            Self::Truncate { len } => bytes.truncate(inside(*len)),
            Self::Insert { place, bytes: more } => {
                let place = inside(*place);
                bytes.splice(place..place, more.iter().copied());
            }
            Self::Remove { place, count } => {
                let place = inside(*place);
                bytes.drain(place..len.min(place + count));
            }
            Self::CopyWithin { from, to, count } => {
                let (from, to) = (inside(*from), inside(*to));
                let count = (*count).min(len - from.max(to));
                bytes.copy_within(from..from + count, to);
            }
        }
    }
}
