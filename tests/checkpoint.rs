//! Checkpoints: going on from one, its transfer in pieces, and what is refused on the way.

mod records;

use std::sync::Arc;
use std::time::Duration;

use plimsoll::codec::{self, Kind};
use plimsoll::executor::{
    Assembly, Checkpoint, Chunk, ChunkCursor, ChunkError, Known, SerialExecutor, SnapshotIntake, SnapshotSource,
};
use plimsoll::id::Epoch;
use plimsoll::key::{Key, KeyRange};
use plimsoll::limits::{OUTCOME_WINDOW, SNAPSHOT_CHUNK_BYTES_MAX, VALUE_BYTES_MAX, VERSION_RETENTION};
use plimsoll::protocol::message::SnapshotRequest;
use plimsoll::protocol::{Batch, ChunkTaken, Query, Scan};
use plimsoll::store::{History, MemoryVersions};
use plimsoll::thunk::{Put, Registry};
use plimsoll::time::Hlc;
use proptest::prelude::*;
use records::{
    Executor, Newer, at_ms, batch, batches, cuts, end_of, evaluate_all, executor, full_registry, id_made_at_ms, newest,
    records, stamped, step,
};

/// The pieces that a replica would send, each of at most this many bytes.
fn pieces(checkpoint: &Checkpoint, bytes_max: usize) -> Vec<Chunk> {
    let mut cursor = Some(ChunkCursor::default());
    let mut pieces = Vec::new();
    while let Some(from) = cursor {
        let piece = checkpoint.chunk(&from, bytes_max);
        cursor = piece.next();
        pieces.push(piece);
    }
    pieces
}

/// The checkpoint, sent as bytes in pieces and put together again.
fn transferred(checkpoint: &Checkpoint, bytes_max: usize) -> Checkpoint {
    let mut assembly = Assembly::new();
    for piece in pieces(checkpoint, bytes_max) {
        let piece = Chunk::from_bytes(&piece.to_bytes()).expect("own bytes");
        assembly.add(piece).expect("the next piece");
    }
    assembly.finish().expect("all pieces")
}

/// A replica with something of everything: versions old and new, a deletion, commits, an abort, a repeated id.
fn busy() -> Executor {
    let mut executor = executor();
    for (place, name) in (0..40_u8).enumerate() {
        let key = Key::new(vec![b'k', name % 5]);
        let value = "some value, so that a piece holds few of them".into();
        let entries = vec![(key, value)];
        let hlc = at_ms(place as u64 * 2_000);
        let put = stamped(hlc, 1, id_made_at_ms(place as u64 * 2_000, name), &Put { entries });
        executor.evaluate(&batch(&[&put], hlc));
    }
    executor
}

fn everything() -> Query {
    Query {
        keys: Vec::new(),
        ranges: vec![Scan::forward(KeyRange::from(Key::default()), usize::MAX)],
    }
}

proptest! {
    /// A replica that goes on from a checkpoint, be it its own or one that was sent, cannot be told from one that never stopped.
    #[test]
    fn a_replica_goes_on_from_a_checkpoint_as_if_it_had_evaluated_everything_itself(
        steps in prop::collection::vec(step(), 1..60),
        cuts in cuts(),
        stop in any::<prop::sample::Index>(),
        bytes_max in 0..2_000_usize,
    ) {
        let records = records(&steps);
        let batches = batches(&records, &cuts, end_of(&records));
        let (before, after) = batches.split_at(stop.index(batches.len() + 1));
        let mut continuous = executor();
        evaluate_all(&mut continuous, before);
        let own = continuous.checkpoint();
        let sent = transferred(&own, bytes_max);
        prop_assert_eq!(sent.heading(), own.heading());
        prop_assert_eq!(sent.bound(), continuous.versions().evaluated());
        let mut restored = [own, sent].map(|checkpoint| SerialExecutor::restore(full_registry(), checkpoint));
        let expected = evaluate_all(&mut continuous, after);
        for restored in &mut restored {
            prop_assert_eq!(&evaluate_all(restored, after), &expected, "settlements and digests");
            prop_assert_eq!(newest(restored), newest(&continuous));
            prop_assert_eq!(restored.checkpoint().heading(), continuous.checkpoint().heading());
            for (_, record) in &records {
                let id = record.transaction.id;
                prop_assert_eq!(restored.outcome(id), continuous.outcome(id));
            }
        }
    }

    /// Whatever a replica has collected and wherever its batches ended: at the same bound the pieces are the same.
    #[test]
    fn two_replicas_cut_their_batches_differently_and_have_equal_pieces_at_the_same_bound(
        steps in prop::collection::vec(step(), 1..60),
        cuts in [cuts(), cuts()],
        bytes_max in 0..2_000_usize,
    ) {
        let records = records(&steps);
        let checkpoints = cuts.map(|cuts| {
            let mut executor = executor();
            evaluate_all(&mut executor, &batches(&records, &cuts, end_of(&records)));
            executor.checkpoint()
        });
        prop_assert_eq!(pieces(&checkpoints[0], bytes_max), pieces(&checkpoints[1], bytes_max));
    }

    /// Every snapshot within the retention reads alike, deletions and what was written before included.
    #[test]
    fn a_kept_snapshot_is_read_from_a_restored_replica(
        steps in prop::collection::vec(step(), 1..60),
        cuts in cuts(),
        back_ms in 0..=VERSION_RETENTION.as_millis() as u64,
    ) {
        let records = records(&steps);
        let mut continuous = executor();
        evaluate_all(&mut continuous, &batches(&records, &cuts, records[records.len() - 1].0.hlc));
        let restored = SerialExecutor::restore(full_registry(), transferred(&continuous.checkpoint(), 500));
        let at = continuous.versions().evaluated().minus(Duration::from_millis(back_ms));
        let read = |executor: &Executor| executor.read(at, &everything());
        prop_assert_eq!(read(&restored), read(&continuous));
        prop_assert!(read(&restored).is_ok());
    }

    /// A transfer over a bad way, from two replicas by turns: pieces come twice, late, and in other sizes.
    #[test]
    fn pieces_are_repeated_lost_and_asked_for_elsewhere_and_the_checkpoint_is_whole(
        turns in prop::collection::vec((0..3_000_usize, any::<prop::sample::Index>()), 1..60),
    ) {
        let servers = [busy(), busy()].map(|executor| executor.checkpoint());
        let mut assembly = Assembly::new();
        let mut needed = ChunkCursor::default();
        let mut seen = Vec::new();
        for (turn, (bytes_max, again)) in turns.iter().cycle().enumerate() {
            let piece = servers[turn % 2].chunk(&needed, *bytes_max);
            seen.push(piece.clone());
            if turn % 3 == 2 {
                continue;
            }
            let progress = assembly.add(again.get(&seen).clone());
            let late = assembly.add(piece).expect("the piece that was asked for");
            if let Ok(progress) = progress {
                prop_assert!(progress.received <= late.received);
            }
            match late.next {
                Some(next) => needed = next,
                None => break,
            }
        }
        prop_assert_eq!(assembly.finish().expect("all pieces").heading(), servers[0].heading());
    }

    /// No byte of a piece can be changed unnoticed.
    #[test]
    fn a_byte_of_a_piece_is_damaged_and_the_piece_is_refused(
        at in any::<prop::sample::Index>(),
        damage in 1..=u8::MAX,
        bytes_max in 0..3_000_usize,
    ) {
        let piece = busy().checkpoint().chunk(&ChunkCursor::default(), bytes_max);
        let mut bytes = piece.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= damage;
        prop_assert!(Chunk::from_bytes(&bytes).is_err());
    }

    /// Nor can it by somebody who knows how to make a checksum: what decodes is refused by its content, or in the end by the hash.
    #[test]
    fn a_byte_of_a_piece_is_forged_with_its_checksum_and_the_checkpoint_is_refused(
        at in any::<prop::sample::Index>(),
        forged in any::<u8>(),
    ) {
        let checkpoint = busy().checkpoint();
        let pieces = pieces(&checkpoint, 1_000);
        let honest = at.get(&pieces).to_bytes();
        let mut payload = honest[codec::HEADER_BYTES..].to_vec();
        let place = at.index(payload.len());
        prop_assume!(payload[place] != forged);
        payload[place] = forged;
        let Ok(forged) = Chunk::from_bytes(&enveloped(&payload)) else {
            return Ok(());
        };
        let replaced = at.index(pieces.len());
        let mut assembly = Assembly::new();
        let added = pieces.iter().enumerate().try_for_each(|(number, piece)| {
            let piece = if number == replaced { &forged } else { piece };
            assembly.add(piece.clone()).map(|_| ())
        });
        let finished = added.and_then(|()| assembly.finish());
        prop_assert!(finished.is_err(), "byte {} of piece {}: {:?}", place, replaced, forged);
    }

    /// Any bytes at all: an error and no panic.
    #[test]
    fn bytes_from_anywhere_are_refused(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(chunk) = Chunk::from_bytes(&enveloped(&payload)) {
            let mut assembly = Assembly::new();
            if assembly.add(chunk).is_ok() {
                prop_assert!(assembly.finish().is_err());
            }
        }
        prop_assert!(Chunk::from_bytes(&payload).is_err());
    }
}

/// An envelope with the right checksum around a payload of any bytes.
fn enveloped(payload: &[u8]) -> Vec<u8> {
    struct Plain<'a>(&'a [u8]);
    impl bincode::Encode for Plain<'_> {
        fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
            bincode::enc::write::Writer::write(encoder.writer(), self.0)
        }
    }
    let mut bytes = Vec::new();
    codec::encode(Kind::SnapshotChunk, &Plain(payload), &mut bytes).expect("a small payload");
    bytes
}

#[test]
fn a_piece_is_as_large_as_asked_for_and_holds_one_entry_at_least() {
    let checkpoint = busy().checkpoint();
    for bytes_max in [0, 200, 1_000, 1 << 20] {
        for piece in pieces(&checkpoint, bytes_max) {
            let (entries, bytes) = (piece.extent().1, piece.to_bytes().len());
            assert!(entries == 1 || bytes <= bytes_max, "{entries} entries in {bytes} bytes");
        }
    }
    assert_eq!(pieces(&checkpoint, 1 << 20).len(), 1);
    let entries = checkpoint.heading().entries;
    assert_eq!(pieces(&checkpoint, 0).len() as u64, entries);
}

#[test]
fn values_are_as_large_as_they_may_be_and_every_piece_is_within_its_bound() {
    let mut executor = executor();
    for place in 0..6_u8 {
        let entries = vec![(Key::new(vec![place]), vec![place; VALUE_BYTES_MAX - 64].into_value())];
        let put = stamped(at_ms(u64::from(place)), 1, id_made_at_ms(0, place), &Put { entries });
        executor.evaluate(&batch(&[&put], put.0.hlc));
    }
    let checkpoint = executor.checkpoint();
    let pieces = pieces(&checkpoint, usize::MAX);
    assert!(pieces.len() > 1);
    assert!(
        pieces
            .iter()
            .all(|piece| piece.to_bytes().len() <= SNAPSHOT_CHUNK_BYTES_MAX)
    );
    assert_eq!(transferred(&checkpoint, usize::MAX).heading(), checkpoint.heading());
}

/// Makes a value of bytes.
trait IntoValue {
    fn into_value(self) -> plimsoll::key::Value;
}

impl IntoValue for Vec<u8> {
    fn into_value(self) -> plimsoll::key::Value {
        plimsoll::key::Value::new(self)
    }
}

#[test]
fn an_empty_replica_is_sent_in_one_empty_piece() {
    let checkpoint = executor().checkpoint();
    assert_eq!(pieces(&checkpoint, 0).len(), 1);
    let restored = SerialExecutor::restore(full_registry(), transferred(&checkpoint, 0));
    assert_eq!(restored.versions().evaluated(), Hlc::ZERO);
}

#[test]
fn a_piece_is_missing_and_what_comes_behind_it_is_refused_until_it_is_there() {
    let checkpoint = busy().checkpoint();
    let pieces = pieces(&checkpoint, 1_000);
    let mut assembly = Assembly::new();
    let progress = assembly.add(pieces[0].clone()).expect("the first piece");
    let error = assembly.add(pieces[2].clone()).unwrap_err();
    let (expected, found) = (progress.received, pieces[2].extent().0);
    assert_eq!(error, ChunkError::Gap { expected, found });
    let again = assembly.add(pieces[0].clone()).expect("a repeated piece");
    assert_eq!(again, progress, "it changed nothing");
    for piece in &pieces[1..] {
        let unfinished = assembly.clone().finish().unwrap_err();
        assert!(matches!(unfinished, ChunkError::Incomplete { .. }), "{unfinished}");
        assembly.add(piece.clone()).expect("the next piece");
    }
    assert_eq!(assembly.finish().expect("all pieces").heading(), checkpoint.heading());
}

#[test]
fn a_piece_of_another_bound_is_refused_and_the_transfer_goes_on() {
    let mut executor = busy();
    let checkpoint = executor.checkpoint();
    let pieces = pieces(&checkpoint, 1_000);
    let mut assembly = Assembly::new();
    let next = assembly.add(pieces[0].clone()).expect("the first piece").next;
    let next = next.expect("there are more");
    let empty = Batch {
        records: Vec::new(),
        upto: checkpoint.bound().next(),
    };
    executor.evaluate(&empty);
    let later = executor.checkpoint();
    let error = assembly.add(later.chunk(&next, 1_000)).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ChunkError::OtherCheckpoint { .. }), "{text}");
    assert!(
        [checkpoint.bound(), later.bound()]
            .iter()
            .all(|bound| text.contains(&bound.to_string())),
        "{text}"
    );
    assembly.add(pieces[1].clone()).expect("the next piece");
}

/// Between records of one time, a thunk is unknown: none of them is evaluated, so that the bound says all there is to say.
#[test]
fn a_replica_is_blocked_and_another_goes_on_from_its_checkpoint() {
    let newer = Newer { key: "k".into() };
    let put = |value: &str| Put {
        entries: vec![("p".into(), value.into())],
    };
    let records = [
        stamped(at_ms(20), 1, id_made_at_ms(0, 1), &put("a")),
        stamped(at_ms(20), 2, id_made_at_ms(0, 2), &newer),
        stamped(at_ms(20), 3, id_made_at_ms(0, 1), &put("a")),
        stamped(at_ms(9_000), 1, id_made_at_ms(0, 3), &put("b")),
    ];
    let batch = batch(&records.each_ref(), at_ms(20_000));
    let mut blocked = SerialExecutor::new(Arc::new(Registry::with_builtins()), MemoryVersions::default());
    let stopped = blocked.evaluate(&batch);
    assert!(
        stopped.blocked.is_some() && stopped.settlements.is_empty(),
        "{stopped:?}"
    );
    let checkpoint = blocked.checkpoint();
    assert!(checkpoint.heading().last.hlc <= checkpoint.bound());
    let mut restored = SerialExecutor::restore(full_registry(), transferred(&checkpoint, 50));
    let mut never_stopped = executor();
    let expected = never_stopped.evaluate(&batch);
    let rest = restored.evaluate(&batch);
    assert_eq!(rest.settlements, expected.settlements);
    assert_eq!(restored.checkpoint().heading(), never_stopped.checkpoint().heading());
}

/// Outcomes are forgotten by the second of their ids, and a second may begin again: at the bound nothing of that is seen.
#[test]
fn an_expired_outcome_is_forgotten_by_one_replica_and_still_there_in_another_and_nobody_can_tell() {
    let late_ms = OUTCOME_WINDOW.as_millis() as u64 + 1;
    let (old, younger) = (id_made_at_ms(0, 1), id_made_at_ms(500, 2));
    let put = Put { entries: Vec::new() };
    let first = stamped(at_ms(10), 1, old, &put);
    let second = stamped(at_ms(late_ms + 1), 1, younger, &put);
    let end = at_ms(late_ms + 2);
    let (mut forgot, mut kept) = (executor(), executor());
    forgot.evaluate(&batch(&[&first], at_ms(late_ms)));
    forgot.evaluate(&batch(&[&second], end));
    kept.evaluate(&batch(&[&first, &second], end));
    for executor in [&forgot, &kept] {
        assert_eq!(executor.status(old).known, Known::Expired);
        assert!(matches!(executor.status(younger).known, Known::Settled { .. }));
        assert_eq!(executor.outcome(old), None);
        assert_eq!(executor.checkpoint().heading().entries, 1, "the younger outcome alone");
    }
    assert_eq!(forgot.checkpoint().heading(), kept.checkpoint().heading());
}

#[test]
fn a_checkpoint_is_taken_and_what_the_replica_does_afterwards_does_not_reach_it() {
    let mut executor = busy();
    let checkpoint = executor.checkpoint();
    let (heading, copy) = (checkpoint.heading(), checkpoint.clone());
    let more = stamped(
        at_ms(90_000),
        2,
        id_made_at_ms(85_000, 99),
        &Put {
            entries: vec![("new".into(), "x".into())],
        },
    );
    executor.evaluate(&batch(&[&more], at_ms(100_000)));
    assert_ne!(executor.checkpoint().heading(), heading);
    let again = SerialExecutor::restore(full_registry(), copy).checkpoint();
    assert_eq!(again.heading(), heading, "computed anew");
    assert_eq!(again.versions().evaluated(), heading.bound);
}

/// A request of one who has evaluated nothing, and has pieces of the checkpoint at `bound` up to `cursor`.
fn request(bound: Option<Hlc>, cursor: &[u8]) -> SnapshotRequest {
    SnapshotRequest {
        epoch: Epoch::FIRST,
        above: Hlc::ZERO,
        bound,
        cursor: cursor.to_vec(),
    }
}

fn added(intake: &mut SnapshotIntake, bytes: &[u8]) -> ChunkTaken {
    let empty = || Ok::<_, std::convert::Infallible>(MemoryVersions::default());
    let Ok(taken) = intake.add(bytes, empty);
    taken
}

#[test]
fn a_snapshot_comes_piece_by_piece_from_two_replicas_at_one_bound_and_is_taken_whole() {
    const PIECE_BYTES: usize = 400;
    let checkpoint = busy().checkpoint();
    let mut sources = [SnapshotSource::default(), SnapshotSource::default()];
    let mut intake = SnapshotIntake::default();
    let (mut bound, mut cursor) = (None, Vec::new());
    for count in 0.. {
        let source = &mut sources[count % 2];
        let piece = source.piece(&request(bound, &cursor), PIECE_BYTES, || Some(checkpoint.clone()));
        match added(&mut intake, &piece.expect("both have the checkpoint")) {
            ChunkTaken::More { bound: of, next } if count < 100 => (bound, cursor) = (Some(of), next),
            ChunkTaken::Complete { bound } => {
                assert!(count > 5, "{count} pieces");
                assert_eq!(intake.take(bound).heading(), checkpoint.heading());
                return;
            }
            other => panic!("piece {count}: {other:?}"),
        }
    }
}

#[test]
fn a_source_keeps_its_checkpoint_while_it_is_of_use_and_takes_a_newer_one_then() {
    let mut executor = busy();
    let older = executor.checkpoint();
    executor.evaluate(&batch(&[], at_ms(200_000)));
    let newer = executor.checkpoint();
    let mut source = SnapshotSource::default();
    let bound_of = |piece: Option<Vec<u8>>| Some(Chunk::from_bytes(&piece?).expect("own bytes").heading().bound);
    assert_eq!(source.piece(&request(None, &[]), 1_000, || None), None);
    let first = source.piece(&request(None, &[]), 1_000, || Some(older.clone()));
    assert_eq!(bound_of(first), Some(older.bound()));
    let kept = source.piece(&request(None, &[]), 1_000, || Some(newer.clone()));
    assert_eq!(bound_of(kept), Some(older.bound()));
    let later = SnapshotRequest {
        above: older.bound(),
        ..request(None, &[])
    };
    assert_eq!(source.piece(&later, 1_000, || Some(older.clone())), None);
    assert_eq!(
        bound_of(source.piece(&later, 1_000, || Some(newer.clone()))),
        Some(newer.bound())
    );
}

#[test]
fn what_an_intake_cannot_use_is_thrown_away_with_everything_before_it() {
    let checkpoint = busy().checkpoint();
    let sent: Vec<Vec<u8>> = pieces(&checkpoint, 400).iter().map(Chunk::to_bytes).collect();
    let mut intake = SnapshotIntake::default();
    let mut add = |bytes: &[u8]| added(&mut intake, bytes);
    let is_more = |taken: ChunkTaken| matches!(taken, ChunkTaken::More { .. });
    assert_eq!(add(b"nonsense"), ChunkTaken::Refused);
    assert_eq!(add(&sent[1]), ChunkTaken::Refused, "nothing came before it");
    assert!(is_more(add(&sent[0])));
    assert!(is_more(add(&sent[0])), "once more changes nothing");
    assert_eq!(add(&sent[2]), ChunkTaken::Refused, "one is missing");
    assert_eq!(add(&sent[1]), ChunkTaken::Refused, "nothing is left");
}
