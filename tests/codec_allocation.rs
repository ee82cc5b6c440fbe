//! Hostile lengths: what bytes say about themselves does not make a decoder allocate more than what came allows.
//!
//! An allocator that counts, per thread, stands in for the memory that an attacker would like to fill.

mod arbitrary;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use plimsoll::client;
use plimsoll::codec::{self, DecodeError, HEADER_BYTES, Header, Kind};
use plimsoll::executor::{Chunk, ChunkCursor, SerialExecutor};
use plimsoll::id::{ClusterId, NodeId, TransactionId};
use plimsoll::key::Value;
use plimsoll::protocol::Batch;
use plimsoll::protocol::frame::{Frame, FrameError};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{CompareAndSet, Delete, Put, Registry};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Record, ThunkId};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one hands every call to the system's"
)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size();
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // Memory of another thread may be given back here, which counts for nothing.
        LIVE.set(LIVE.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What a piece of work allocated, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Allocated {
    peak: usize,
    largest: usize,
}

fn allocated_by<T>(work: impl FnOnce() -> T) -> (T, Allocated) {
    let before = LIVE.get();
    PEAK.set(before);
    LARGEST.set(0);
    let result = work();
    let allocated = Allocated {
        peak: PEAK.get() - before,
        largest: LARGEST.get(),
    };
    (result, allocated)
}

/// Encoded lengths, from one that is plausible to the largest of each width.
fn hostile_lengths() -> Vec<Vec<u8>> {
    let mut lengths = Vec::new();
    for length in [0x4000, u16::MAX] {
        lengths.push([&[251][..], &length.to_le_bytes()].concat());
    }
    for length in [1 << 20, 1 << 24, 1 << 28, u32::MAX] {
        lengths.push([&[252][..], &length.to_le_bytes()].concat());
    }
    for length in [1 << 33, 1 << 60, u64::MAX / 64 + 1, u64::MAX] {
        lengths.push([&[253][..], &length.to_le_bytes()].concat());
    }
    lengths.push([&[254][..], &u128::MAX.to_le_bytes()].concat());
    lengths
}

fn sealed(payload: &[u8]) -> Vec<u8> {
    sealed_as(Kind::Frame, payload)
}

fn sealed_as(kind: Kind, payload: &[u8]) -> Vec<u8> {
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

fn payload(frame: &Frame) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::encode(frame.cluster, frame.from, &frame.messages, &mut out).expect("far below the limit");
    out.split_off(HEADER_BYTES)
}

/// Decodes the payload under a good checksum and asserts the bounds on what that allocates.
fn assert_modest(payload: &[u8]) -> Result<Frame, FrameError> {
    let bytes = sealed(payload);
    let (result, allocated) = allocated_by(|| Frame::decode(&bytes));
    let claims = codec::claim_bytes_max(payload.len());
    assert!(allocated.largest <= claims, "{allocated:?} for {} bytes", bytes.len());
    // Beyond the room that lists claim, elements that really came have their own.
    assert!(allocated.peak <= 4 * claims, "{allocated:?} for {} bytes", bytes.len());
    result
}

#[test]
fn a_hostile_length_at_any_place_of_any_frame_allocates_no_more_than_came_allows() {
    let mut runner = TestRunner::deterministic();
    let lengths = hostile_lengths();
    let (mut decoded, mut claimed_too_much) = (0, 0);
    for _ in 0..25 {
        let frame = arbitrary::frame().new_tree(&mut runner).expect("no filters").current();
        let honest = payload(&frame);
        for place in 0..honest.len() {
            for length in &lengths {
                let replaced = [&honest[..place], length, &honest[place + 1..]].concat();
                let cut = [&honest[..place], &length[..]].concat();
                for hostile in [replaced, cut] {
                    match assert_modest(&hostile) {
                        Ok(_) => decoded += 1,
                        Err(FrameError::Undecodable(DecodeError::ClaimsTooMuch { .. })) => claimed_too_much += 1,
                        Err(_) => {}
                    }
                }
            }
        }
    }
    assert!(
        decoded > 0 && claimed_too_much > 0,
        "both happened: {decoded}, {claimed_too_much}"
    );
}

#[test]
fn damaged_frames_under_a_good_checksum_allocate_no_more_than_came_allows() {
    let mut runner = TestRunner::deterministic();
    let damages = proptest::collection::vec(arbitrary::damage(), 1..6);
    for _ in 0..3_000 {
        let frame = arbitrary::frame().new_tree(&mut runner).expect("no filters").current();
        let mut payload = payload(&frame);
        for damage in damages.new_tree(&mut runner).expect("no filters").current() {
            damage.apply(&mut payload);
        }
        let _ = assert_modest(&payload);
    }
}

#[test]
fn a_list_that_claims_too_much_is_refused_without_any_allocation() {
    for length in [1 << 24, 1 << 33, u64::MAX] {
        let header = payload_before_messages();
        let hostile = sealed(&[&header[..], &[253], &u64::to_le_bytes(length)].concat());
        let (result, allocated) = allocated_by(|| Frame::decode(&hostile));
        assert!(
            matches!(result, Err(FrameError::Undecodable(DecodeError::ClaimsTooMuch { .. }))),
            "{result:?}"
        );
        assert_eq!(allocated, Allocated { peak: 0, largest: 0 });
    }
}

/// A frame's payload up to the number of its messages.
fn payload_before_messages() -> Vec<u8> {
    let empty = Frame {
        cluster: ClusterId::new(u128::MAX),
        from: NodeId::new(1),
        messages: Vec::new(),
    };
    let mut payload = payload(&empty);
    assert_eq!(payload.pop(), Some(0), "the number of messages is the last byte");
    payload
}

#[test]
fn a_header_is_judged_without_any_allocation() {
    let mut header = sealed(&[])[..HEADER_BYTES].to_vec();
    header[2..6].copy_from_slice(&u32::MAX.to_le_bytes());
    let (result, allocated) = allocated_by(|| (Header::read(Kind::Frame, &header), Frame::decode(&header)));
    assert!(matches!(result.0, Err(DecodeError::Oversized { .. })), "{result:?}");
    assert_eq!(allocated, Allocated { peak: 0, largest: 0 });
}

#[test]
fn a_buffer_is_reused_without_any_allocation() {
    let mut runner = TestRunner::deterministic();
    let frame = arbitrary::frame().new_tree(&mut runner).expect("no filters").current();
    let mut out = Vec::new();
    Frame::encode(frame.cluster, frame.from, &frame.messages, &mut out).expect("far below the limit");
    let first = out.clone();
    let (_, allocated) = allocated_by(|| {
        out.clear();
        Frame::encode(frame.cluster, frame.from, &frame.messages, &mut out)
    });
    assert_eq!(out, first);
    assert_eq!(allocated, Allocated { peak: 0, largest: 0 });
}

/// A piece of a checkpoint with a value, a deletion, an output and an abort in it.
fn chunk() -> Chunk {
    let mut executor = SerialExecutor::new(Arc::new(Registry::with_builtins()), MemoryVersions::default());
    let node = NodeId::new(1);
    let start_ms = 1_800_000_000_000;
    let mut evaluate = |place: u64, thunk: ThunkId, arguments: Value| {
        let hlc = Hlc::from_unix_millis(start_ms + place);
        let id = TransactionId::from_parts(start_ms + place, [place as u8; 10]);
        let transaction = client::admit(executor.registry(), id, thunk, arguments).expect("a sound transaction");
        let records = vec![(Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))];
        executor.evaluate(&Batch { records, upto: hlc });
    };
    let put = Put {
        entries: vec![("a key".into(), "a value".into()), ("other".into(), "b".into())],
    };
    let delete = Delete {
        keys: vec!["a key".into()],
    };
    let swap = CompareAndSet {
        key: "other".into(),
        expected: None,
        new: None,
    };
    let encoded = "they have an encoding";
    evaluate(1, ThunkId::of::<Put>(), client::arguments(&put).expect(encoded));
    evaluate(2, ThunkId::of::<Delete>(), client::arguments(&delete).expect(encoded));
    evaluate(
        3,
        ThunkId::of::<CompareAndSet>(),
        client::arguments(&swap).expect(encoded),
    );
    executor.checkpoint().chunk(&ChunkCursor::default(), usize::MAX)
}

#[test]
fn a_hostile_length_at_any_place_of_a_piece_of_a_checkpoint_allocates_no_more_than_came_allows() {
    let honest = chunk();
    assert_eq!(honest.extent(), (0, 6), "three versions and three outcomes");
    let honest = honest.to_bytes().split_off(HEADER_BYTES);
    let (mut decoded, mut claimed_too_much) = (0, 0);
    for place in 0..honest.len() {
        for length in hostile_lengths() {
            let hostile = [&honest[..place], &length, &honest[place + 1..]].concat();
            let bytes = sealed_as(Kind::SnapshotChunk, &hostile);
            let (result, allocated) = allocated_by(|| Chunk::from_bytes(&bytes));
            let claims = codec::claim_bytes_max(hostile.len());
            assert!(
                allocated.largest <= claims && allocated.peak <= 4 * claims,
                "{allocated:?}"
            );
            match result {
                Ok(_) => decoded += 1,
                Err(DecodeError::ClaimsTooMuch { .. }) => claimed_too_much += 1,
                Err(_) => {}
            }
        }
    }
    assert!(
        decoded > 0 && claimed_too_much > 0,
        "both happened: {decoded}, {claimed_too_much}"
    );
}

/// Serde makes room for at most a mebibyte ahead of the elements of a list.
#[test]
fn a_hostile_length_in_a_users_value_allocates_at_most_a_mebibyte_for_each_list_in_a_list() {
    const DEPTH: usize = 3;
    type Nested = Vec<Vec<(String, Vec<u64>)>>;
    let honest = codec::encode_value::<Nested>(&vec![
        vec![("some text".to_owned(), vec![1, 300, u64::MAX]); 3],
        Vec::new(),
        vec![(String::new(), Vec::new())],
    ]);
    let honest = honest.expect("far below the limit");
    let honest = honest.as_bytes();
    for place in 0..honest.len() {
        for length in hostile_lengths() {
            let hostile = [&honest[..place], &length, &honest[place + 1..]].concat();
            let claims = codec::claim_bytes_max(hostile.len());
            let hostile = Value::new(hostile);
            let (_, allocated) = allocated_by(|| codec::decode_value::<Nested>(&hostile));
            assert!(allocated.largest <= 1 << 20, "{allocated:?}");
            assert!(allocated.peak <= DEPTH * (1 << 20) + claims, "{allocated:?}");
        }
    }
}
