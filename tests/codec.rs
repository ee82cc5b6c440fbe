//! Laws of the format: what was encoded comes back, what was damaged is refused, and no bytes whatever make a decoder panic.

mod arbitrary;

use std::collections::BTreeSet;
use std::sync::Arc;

use plimsoll::codec::{self, DecodeError, HEADER_BYTES, Header, Kind};
use plimsoll::id::{ClusterId, Epoch, NodeId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::lattice::Row;
use plimsoll::limits;
use plimsoll::protocol::frame::{Frame, FrameError};
use plimsoll::protocol::message::{Accept, Append, Fetch, Message};
use plimsoll::time::Hlc;
use plimsoll::transaction::{Footprint, Record, ThunkId, Transaction};
use proptest::collection::vec;
use proptest::prelude::*;

use arbitrary::{damage, frame};

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::encode(frame.cluster, frame.from, &frame.messages, &mut out).expect("far below the limit");
    out
}

/// A well-formed envelope around any payload: what an attacker inside the cluster can make.
fn sealed(kind: Kind, payload: &[u8]) -> Vec<u8> {
    struct Raw<'a>(&'a [u8]);
    impl bincode::Encode for Raw<'_> {
        fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
            bincode::enc::write::Writer::write(encoder.writer(), self.0)
        }
    }
    let mut out = Vec::new();
    codec::encode(kind, &Raw(payload), &mut out).expect("far below the limit");
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_frame_comes_back_as_it_was(frame in frame()) {
        let bytes = encoded(&frame);
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame.clone()));
        let header = Header::read(Kind::Frame, &bytes).expect("as it was encoded");
        prop_assert_eq!(header.envelope_bytes(), bytes.len());
        prop_assert_eq!(codec::encoded_len(&(frame.cluster, frame.from, &frame.messages)), header.payload_bytes());
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(Frame::decode(&bytes).is_err(), "a checksum of 64 bits does not hold by chance");
        for kind in [Kind::Frame, Kind::LogEntry, Kind::SnapshotChunk] {
            let _ = Header::read(kind, &bytes);
        }
    }

    #[test]
    fn any_payload_is_refused_or_decoded_without_panic(payload in vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = Frame::decode(&sealed(Kind::Frame, &payload)) {
            prop_assert_eq!(Frame::decode(&encoded(&frame)), Ok(frame));
        }
    }

    #[test]
    fn a_damaged_frame_is_refused(frame in frame(), damages in vec(damage(), 1..4)) {
        let bytes = encoded(&frame);
        let mut damaged = bytes.clone();
        for damage in &damages {
            damage.apply(&mut damaged);
        }
        prop_assert_eq!(Frame::decode(&damaged).is_ok(), damaged == bytes);
    }

    /// Spliced from two frames: each half is genuine.
    #[test]
    fn a_frame_spliced_from_two_is_refused(a in frame(), b in frame(), cut_a in any::<usize>(), cut_b in any::<usize>()) {
        let (a, b) = (encoded(&a), encoded(&b));
        let spliced = [&a[..cut_a % a.len()], &b[cut_b % b.len()..]].concat();
        prop_assert_eq!(Frame::decode(&spliced).is_ok(), spliced == a || spliced == b);
    }

    /// With a good checksum over a damaged payload only the decoder and the validation stand in the way.
    #[test]
    fn a_damaged_payload_under_a_new_checksum_is_refused_or_within_every_limit(
        frame in frame(),
        damages in vec(damage(), 1..6),
    ) {
        let mut payload = encoded(&frame).split_off(HEADER_BYTES);
        for damage in &damages {
            damage.apply(&mut payload);
        }
        match Frame::decode(&sealed(Kind::Frame, &payload)) {
            Ok(decoded) => {
                assert_within_limits(&decoded);
                prop_assert_eq!(Frame::decode(&encoded(&decoded)), Ok(decoded));
            }
            Err(FrameError::Undecodable(error)) => prop_assert!(
                matches!(
                    error,
                    DecodeError::Malformed { .. } | DecodeError::ClaimsTooMuch { .. } | DecodeError::TrailingBytes { .. }
                ),
                "{:?}", error
            ),
            Err(FrameError::Invalid { .. }) => {}
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn users_values_come_back_as_they_were(
        integers: (u64, i128, bool),
        text in proptest::option::of(".{0,20}"),
        list in vec((any::<char>(), proptest::num::f64::NORMAL), 0..10),
        result: Result<(), u16>,
    ) {
        let value = (integers, text, list, result);
        let bytes = codec::encode_value(&value).expect("far below the limit");
        prop_assert_eq!(codec::decode_value(&bytes), Ok(value));
    }

    #[test]
    fn any_bytes_are_no_users_value_or_one_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        let value = Value::new(bytes);
        let _ = codec::decode_value::<(u8, Vec<String>, BTreeSet<u64>, Option<char>)>(&value);
        let _ = codec::decode_value::<Vec<Vec<Vec<u128>>>>(&value);
        let _ = codec::decode_value::<std::time::Duration>(&value);
    }
}

/// What the machines rely on, asked again in other words than the validation's own.
fn assert_within_limits(frame: &Frame) {
    let unique = |keys: &[Key]| keys.iter().collect::<BTreeSet<_>>().into_iter().eq(keys);
    for message in &frame.messages {
        match message {
            Message::Append(append) => {
                let places: Vec<Hlc> = append.records.iter().map(|record| record.hlc).collect();
                assert!(places.is_sorted_by(|a, b| a < b) && append.prev <= append.upto);
                assert!(places.iter().all(|place| append.prev < *place && *place <= append.upto));
                for Record { transaction, .. } in append.records.iter().map(Arc::as_ref) {
                    let Footprint { reads, ranges, writes } = &transaction.footprint;
                    assert!(transaction.thunk.name.len() <= limits::THUNK_NAME_BYTES_MAX);
                    assert!(reads.len() + ranges.len() + writes.len() <= limits::FOOTPRINT_KEYS_MAX);
                    assert!(unique(reads) && unique(writes) && ranges.is_sorted_by(|a, b| a < b));
                }
            }
            Message::Row(row) => {
                assert!(row.positions.is_sorted_by(|a, b| a.0 < b.0));
                assert!(row.positions.len() <= limits::COORDINATORS_MAX);
            }
            Message::Accept(Accept { decree, .. }) | Message::Decided(decree) => {
                assert!(decree.members.is_sorted_by(|a, b| a < b) && !decree.members.is_empty());
                assert!(decree.cut.is_sorted_by(|a, b| a.0 < b.0));
            }
            Message::Promise(promise) => assert!(promise.answer.positions.is_sorted_by(|a, b| a.0 < b.0)),
            Message::SnapshotChunk(chunk) => assert!(chunk.bytes.len() <= limits::SNAPSHOT_CHUNK_BYTES_MAX),
            Message::SnapshotRequest(_) | Message::Gone(_) => {}
            Message::Declared(declared) => {
                assert!(declared.known.is_sorted_by(|a, b| a.0 < b.0));
                assert!(declared.declarations.is_sorted_by(|a, b| a.node < b.node));
                for declaration in &declared.declarations {
                    assert!(declaration.thunks.len() <= limits::THUNKS_MAX);
                    assert!(declaration.thunks.is_sorted_by(|a, b| a < b));
                    let mut names = declaration.thunks.iter().chain(&declaration.blocked);
                    assert!(names.all(|thunk| thunk.name.len() <= limits::THUNK_NAME_BYTES_MAX));
                }
            }
            Message::Fetch(_) | Message::Prepare(_) | Message::Accepted(_) | Message::Outbid(_) => {}
        }
    }
}

fn sample() -> Vec<u8> {
    let fetch = Fetch {
        epoch: Epoch::FIRST,
        coordinator: NodeId::new(3),
        after: Hlc::from_bits(1 << 40),
    };
    encoded(&Frame {
        cluster: ClusterId::new(5),
        from: NodeId::new(1),
        messages: vec![Message::Fetch(fetch)],
    })
}

fn refusal(bytes: &[u8]) -> DecodeError {
    match Frame::decode(bytes) {
        Err(FrameError::Undecodable(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_shorter_frame_is_too_short() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let needed = if len < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
        assert_eq!(refusal(&bytes[..len]), DecodeError::TooShort { bytes: len, needed });
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = sample();
    for place in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[place / 8] ^= 1 << (place % 8);
        let error = refusal(&flipped);
        let expected = match place / 8 {
            0 => matches!(error, DecodeError::UnknownVersion { known: 1, .. }),
            1 => matches!(
                error,
                DecodeError::WrongKind {
                    expected: Kind::Frame,
                    ..
                }
            ),
            2..6 => matches!(
                error,
                DecodeError::Oversized { .. } | DecodeError::TooShort { .. } | DecodeError::TrailingBytes { .. }
            ),
            _ => matches!(error, DecodeError::ChecksumMismatch { .. }),
        };
        assert!(expected, "bit {place}: {error:?}");
    }
}

#[test]
fn another_version_is_named_even_if_the_rest_is_missing() {
    let error = refusal(&[2]);
    assert_eq!(error, DecodeError::UnknownVersion { found: 2, known: 1 });
    let text = error.to_string();
    assert!(text.contains("version 2") && text.contains("version 1"), "{text}");
}

#[test]
fn another_kind_is_refused_though_its_checksum_holds() {
    let payload = sample().split_off(HEADER_BYTES);
    let (found, expected) = (Kind::LogEntry.byte(), Kind::Frame);
    assert_eq!(
        refusal(&sealed(Kind::LogEntry, &payload)),
        DecodeError::WrongKind { found, expected }
    );
}

#[test]
fn a_kind_that_was_changed_by_accident_does_not_pass_as_the_other() {
    let mut bytes = sample();
    bytes[1] = Kind::LogEntry.byte();
    let refused = codec::decode::<(ClusterId, NodeId, Vec<Message>)>(Kind::LogEntry, &bytes);
    assert!(
        matches!(refused, Err(DecodeError::ChecksumMismatch { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_header_that_announces_too_much_is_refused_before_its_payload_came() {
    let mut header = sample()[..HEADER_BYTES].to_vec();
    let limit = limits::FRAME_BYTES_MAX;
    for payload in [limit - HEADER_BYTES + 1, u32::MAX as usize] {
        header[2..6].copy_from_slice(&(payload as u32).to_le_bytes());
        let bytes = payload + HEADER_BYTES;
        assert_eq!(refusal(&header), DecodeError::Oversized { bytes, limit });
    }
    header[2..6].copy_from_slice(&((limit - HEADER_BYTES) as u32).to_le_bytes());
    let needed = limit;
    assert_eq!(
        refusal(&header),
        DecodeError::TooShort {
            bytes: HEADER_BYTES,
            needed
        }
    );
}

#[test]
fn bytes_behind_the_last_message_are_refused_inside_and_outside_the_envelope() {
    let bytes = sample();
    let outside = [&bytes[..], &[0, 0]].concat();
    assert_eq!(refusal(&outside), DecodeError::TrailingBytes { bytes: 2 });
    let inside = sealed(Kind::Frame, &[&bytes[HEADER_BYTES..], &[0]].concat());
    assert_eq!(refusal(&inside), DecodeError::TrailingBytes { bytes: 1 });
}

#[test]
fn a_value_that_is_too_large_is_not_encoded_and_the_buffer_stays() {
    let limit = limits::FRAME_BYTES_MAX;
    let value = Value::new(vec![0; limit]);
    let mut out = vec![9; 3];
    let error = codec::encode(Kind::Frame, &value, &mut out).expect_err("the header does not fit beside it");
    let bytes = HEADER_BYTES + codec::encoded_len(&value);
    assert_eq!(error, codec::EncodeError::Oversized { bytes, limit });
    assert_eq!(out, [9; 3]);

    const LENGTH_BYTES: usize = 5;
    let bytes = limit - HEADER_BYTES - LENGTH_BYTES;
    codec::encode(Kind::Frame, &Value::new(vec![0; bytes]), &mut out).expect("exactly at the limit");
    assert_eq!(out.len(), 3 + limit);
    let back: Value = codec::decode(Kind::Frame, &out[3..]).expect("exactly at the limit");
    assert_eq!(back.as_bytes().len(), bytes);
}

#[test]
fn users_values_beyond_the_limit_are_refused_both_ways() {
    const LENGTH_BYTES: usize = 5;
    let limit = limits::VALUE_BYTES_MAX;
    let bytes = limit + LENGTH_BYTES;
    let refused = codec::encode_value(&vec![0_u8; limit]);
    assert_eq!(refused, Err(codec::EncodeError::Oversized { bytes, limit }));
    let largest = vec![7_u8; limit - LENGTH_BYTES];
    let value = codec::encode_value(&largest).expect("exactly at the limit");
    assert_eq!(value.as_bytes().len(), limit);
    assert_eq!(codec::decode_value(&value), Ok(largest));
    let bytes = limit + 1;
    let refused = codec::decode_value::<u8>(&Value::new(vec![0; bytes]));
    assert_eq!(refused, Err(DecodeError::Oversized { bytes, limit }));
    let refused = codec::decode_value::<u8>(&Value::new(vec![1, 2]));
    assert_eq!(refused, Err(DecodeError::TrailingBytes { bytes: 1 }));
}

#[test]
fn users_values_without_an_encoding_say_so() {
    struct WithoutLength;
    impl serde::Serialize for WithoutLength {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serde::ser::SerializeSeq::end(serializer.serialize_seq(None)?)
        }
    }
    let refused = codec::encode_value(&WithoutLength);
    assert!(
        matches!(refused, Err(codec::EncodeError::Unsupported { .. })),
        "{refused:?}"
    );
}

/// A transaction with the shortest possible keys: what claims most memory for its bytes among all that may be sent.
fn dense_transaction(keys: usize) -> Transaction {
    let shortest = |number: usize| match number {
        0 => Vec::new(),
        1..=256 => vec![(number - 1) as u8],
        _ => ((number - 257) as u16).to_be_bytes().to_vec(),
    };
    let writes: BTreeSet<Key> = (0..keys).map(|number| Key::new(shortest(number))).collect();
    Transaction {
        id: TransactionId::from_u128(0),
        thunk: ThunkId {
            name: "".into(),
            version: 0,
        },
        arguments: Value::default(),
        footprint: Footprint {
            writes: writes.into_iter().collect(),
            ..Footprint::default()
        },
    }
}

fn assert_comes_back(messages: Vec<Message>) {
    let frame = Frame {
        cluster: ClusterId::new(0),
        from: NodeId::new(0),
        messages,
    };
    let back = Frame::decode(&encoded(&frame)).expect("an honest frame");
    assert!(back == frame);
}

fn dense_append(keys: usize, bytes: usize) -> Message {
    let transaction = dense_transaction(keys);
    let record_bytes = 9 + codec::encoded_len(&transaction);
    let records = (1..=(bytes / record_bytes).max(1) as u64).map(|place| {
        let transaction = transaction.clone();
        let hlc = Hlc::from_bits(place);
        Arc::new(Record { hlc, transaction })
    });
    Message::Append(Append {
        epoch: Epoch::FIRST,
        coordinator: NodeId::new(0),
        prev: Hlc::ZERO,
        upto: Hlc::MAX,
        records: records.collect(),
    })
}

#[test]
fn the_densest_appends_of_every_size_are_within_the_claims() {
    for keys in [0, 1, 10, 300, limits::FOOTPRINT_KEYS_MAX] {
        for bytes in [0, 1 << 10, 2 << 10, 16 << 10, 128 << 10, 200 << 10] {
            assert_comes_back(vec![dense_append(keys, bytes)]);
        }
    }
}

#[test]
fn the_densest_frame_of_full_size_is_within_the_claims() {
    let bytes = limits::FRAME_BYTES_MAX - (64 << 10);
    assert_comes_back(vec![dense_append(300, bytes)]);
}

#[test]
fn the_densest_rows_in_any_number_are_within_the_claims() {
    for positions in [0, 1, limits::COORDINATORS_MAX as u32] {
        for rows in [1, 31, 300, 3_000, 30_000] {
            let mut row = Row::new(NodeId::new(0), Epoch::FIRST);
            (0..positions).for_each(|coordinator| row.raise_position(NodeId::new(coordinator), Hlc::ZERO));
            assert_comes_back(vec![Message::Row(row); rows]);
        }
    }
}

#[test]
fn the_densest_users_value_is_within_the_claims() {
    let numbers = vec![0_u128; limits::VALUE_BYTES_MAX - 5];
    let value = codec::encode_value(&numbers).expect("exactly at the limit");
    assert!(codec::decode_value::<Vec<u128>>(&value).is_ok_and(|back| back == numbers));
}
