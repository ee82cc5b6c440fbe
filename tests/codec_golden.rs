//! The bytes of every format, kept: what an earlier release wrote, this one must read and write alike.
//!
//! A test here that fails has found a change of the format. If it is meant, raise `FORMAT_VERSION`, keep the old file, and add a
//! new one beside it; what cannot be read any more must be refused by its version.

use std::sync::Arc;

use plimsoll::codec::{self, FORMAT_VERSION, Kind};
use plimsoll::id::{ClusterId, Epoch, NodeId, TransactionId};
use plimsoll::key::KeyRange;
use plimsoll::lattice::{Digest, Row};
use plimsoll::protocol::frame::Frame;
use plimsoll::protocol::message::{Append, Declaration, Declared, Fetch, Message};
use plimsoll::time::Hlc;
use plimsoll::transaction::{Footprint, Record, ThunkId, Transaction};

/// The bytes of a golden file: hexadecimal digits; spaces and what follows `#` is for the reader.
fn bytes_of(text: &str) -> Vec<u8> {
    let digits = text.lines().flat_map(|line| line.split('#').next());
    let digits: Vec<u32> = digits
        .flat_map(|digits| digits.chars().filter(|digit| !digit.is_whitespace()))
        .map(|digit| {
            digit
                .to_digit(16)
                .unwrap_or_else(|| panic!("{digit:?} is no hexadecimal digit"))
        })
        .collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn hex_of(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16);
    let hex = |line: &[u8]| {
        line.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    lines.map(hex).collect::<Vec<_>>().join("\n")
}

fn frame() -> Frame {
    let at = Hlc::from_bits;
    let transaction = Transaction {
        id: TransactionId::from_u128(0x0192_f0c1_2345_7abc_8def_0123_4567_89ab),
        thunk: ThunkId {
            name: "bank/transfer".into(),
            version: 3,
        },
        arguments: "\u{1}from\u{2}to".into(),
        footprint: Footprint {
            reads: vec!["account/1".into(), "account/2".into()],
            ranges: vec![
                KeyRange::new("limit/".into(), "limit0".into()),
                KeyRange::from("z".into()),
            ],
            writes: vec!["account/1".into(), "account/2".into()],
        },
    };
    let record = |hlc| {
        let transaction = transaction.clone();
        Arc::new(Record {
            hlc: at(hlc),
            transaction,
        })
    };
    let append = Append {
        epoch: Epoch::new(300),
        coordinator: NodeId::new(2),
        prev: at(250),
        upto: Hlc::MAX,
        records: vec![record(251), record(0x0123_4567_89ab_cdef)],
    };
    let row = Row {
        node: NodeId::new(1),
        epoch: Epoch::FIRST,
        positions: vec![(NodeId::new(0), at(70_000)), (NodeId::new(70_000), Hlc::ZERO)],
        evaluated: at(1 << 22),
        flushed: at(1 << 33),
        wanted: at(7),
        digest: Digest {
            boundary: at(6),
            value: 0xfeed_beef_0000_0001,
        },
    };
    let fetch = Fetch {
        epoch: Epoch::FIRST,
        coordinator: NodeId::MAX,
        after: Hlc::ZERO,
    };
    Frame {
        cluster: ClusterId::new(0x00ff_eedd_ccbb_aa99_8877_6655_4433_2211),
        from: NodeId::new(255),
        messages: vec![Message::Append(append), Message::Row(row), Message::Fetch(fetch)],
    }
}

#[test]
fn frames_of_version_1_are_written_and_read_as_ever() {
    let golden = bytes_of(include_str!("golden/frame-v1.hex"));
    assert_eq!(FORMAT_VERSION, 1, "add golden files of the new version, and keep these");
    let frame = frame();
    let mut written = Vec::new();
    Frame::encode(frame.cluster, frame.from, &frame.messages, &mut written).expect("small");
    assert!(
        written == golden,
        "the format of frames has changed; it is now\n{}",
        hex_of(&written)
    );
    assert_eq!(Frame::decode(&golden), Ok(frame));
}

#[test]
fn declarations_of_version_1_are_written_and_read_as_ever() {
    let thunk = |version| ThunkId {
        name: "bank/transfer".into(),
        version,
    };
    let declared = Declared {
        epoch: Epoch::new(300),
        declarations: vec![Declaration {
            node: NodeId::new(2),
            stamp: Hlc::from_bits(1 << 33),
            thunks: vec![thunk(3), thunk(251)],
            blocked: Some(thunk(2)),
        }],
        known: vec![(NodeId::new(1), Hlc::from_bits(7)), (NodeId::new(2), Hlc::MAX)],
    };
    let golden = bytes_of(include_str!("golden/declared-v1.hex"));
    let (cluster, from) = (ClusterId::new(7), NodeId::new(2));
    let messages = vec![Message::Declared(declared)];
    let mut written = Vec::new();
    Frame::encode(cluster, from, &messages, &mut written).expect("small");
    assert!(
        written == golden,
        "the format of declarations has changed; it is now\n{}",
        hex_of(&written)
    );
    let frame = Frame {
        cluster,
        from,
        messages,
    };
    assert_eq!(Frame::decode(&golden), Ok(frame));
}

#[test]
fn envelopes_of_every_kind_are_written_and_read_as_ever() {
    let payload = "07 fb2c01 0474657874 02 01 fd0000000000020000 01 feffffffffffffffffffffffffffffffff";
    for (kind, header) in [
        (Kind::Frame, "01 01 26000000 e4d0c3fbf403d47f"),
        (Kind::LogEntry, "01 02 26000000 e4e747b075ca5d86"),
        (Kind::SnapshotChunk, "01 03 26000000 e4fafb06f690c3ce"),
    ] {
        let value = (
            7_u8,
            300_u32,
            "text".to_owned(),
            vec![-1_i64, 1 << 40],
            Some(()),
            u128::MAX,
        );
        let mut written = Vec::new();
        codec::encode(kind, &value, &mut written).expect("small");
        assert_eq!(
            hex_of(&written),
            hex_of(&bytes_of(&[header, payload].concat())),
            "{kind}"
        );
        assert_eq!(codec::decode(kind, &written), Ok(value));
    }
}

#[test]
fn users_values_are_written_and_read_as_ever() {
    let value = (
        (1_u8, 251_u16, -300_i32, u64::MAX),
        ("héllo".to_owned(), 'é', true, 1.5_f64),
        vec![Some(1_u128), None],
        Result::<(), String>::Err("no".to_owned()),
    );
    let golden = bytes_of(
        "01 fbfb00 fb5702 fdffffffffffffffff
         06 68c3a96c6c6f c3a9 01 000000000000f83f
         02 01 01 00
         01 02 6e6f",
    );
    let written = codec::encode_value(&value).expect("small");
    assert_eq!(hex_of(written.as_bytes()), hex_of(&golden));
    assert_eq!(codec::decode_value(&written), Ok(value));
}
