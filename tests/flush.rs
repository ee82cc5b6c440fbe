//! The executor over versions on disk: flushed, opened again and restored, it is the one that never left memory.

#[path = "store/medium.rs"]
mod medium;
mod records;

use plimsoll::executor::{Assembly, Checkpoint, Chunk, ChunkCursor, ReadError, SerialExecutor};
use plimsoll::id::TransactionId;
use plimsoll::key::{Key, KeyRange};
use plimsoll::limits::VERSION_RETENTION;
use plimsoll::protocol::{Evaluated, Query, Scan};
use plimsoll::store::versions::{DiskVersions, Flush};
use plimsoll::store::{History, StoreError, Versions};
use plimsoll::thunk::{Increment, Put};
use plimsoll::time::Hlc;
use plimsoll::transaction::Outcome;
use proptest::prelude::*;

use medium::Memory;
use records::{
    Stamped, at_ms, batch, batches, cuts, end_of, executor, full_registry, id_made_at_ms, records, stamped, step,
};

type OnDisk = SerialExecutor<DiskVersions>;

const CACHE_BYTES: usize = 1 << 20;

fn versions(medium: &Memory) -> DiskVersions {
    DiskVersions::over(Box::new(medium.clone()), CACHE_BYTES).expect("the medium does not fail")
}

fn open(medium: &Memory) -> OnDisk {
    SerialExecutor::open(full_registry(), versions(medium)).expect("the medium does not fail")
}

fn flush(executor: &mut OnDisk) {
    let flush = executor.begin_flush();
    executor.end_flush(flush.write()).expect("the medium does not fail");
}

/// What happens behind a batch.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Flush,
    BeginFlush,
    EndFlush,
    /// The medium is full at this write of the flush that was begun.
    FailFlush(u64),
    /// A crash.
    Reopen,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Nothing),
        2 => Just(Event::Flush),
        2 => Just(Event::BeginFlush),
        2 => Just(Event::EndFlush),
        2 => (0..20_u64).prop_map(Event::FailFlush),
        1 => Just(Event::Reopen),
    ];
    prop::collection::vec(event, 1..40)
}

fn everything() -> Query {
    Query {
        keys: (0..5_u8).map(|key| Key::new(vec![key])).collect(),
        ranges: vec![Scan::forward(KeyRange::from(Key::default()), usize::MAX)],
    }
}

/// The ids of all records, and one that none has.
fn ids(records: &[Stamped]) -> impl Iterator<Item = TransactionId> + '_ {
    let known = records.iter().map(|(_, record)| record.transaction.id);
    known.chain([id_made_at_ms(1, 77)])
}

/// The checkpoint, sent in pieces into empty versions on disk.
fn transferred(checkpoint: &Checkpoint<impl History<Checked<Chunk> = Result<Chunk, StoreError>>>) -> OnDisk {
    let mut assembly = Assembly::over(versions(&Memory::default()));
    let mut cursor = Some(ChunkCursor::default());
    while let Some(from) = cursor {
        let piece = checkpoint.chunk(&from, 600).expect("the medium does not fail");
        cursor = piece.next();
        assembly.add(piece).expect("the next piece");
    }
    SerialExecutor::restore(full_registry(), assembly.finish().expect("all pieces"))
}

proptest! {
    /// Flushed at any time, with evaluation going on in between, and stopped at any time: what was evaluated since the last flush is
    /// evaluated again, and nobody can tell.
    #[test]
    fn an_executor_that_is_flushed_and_opened_again_gives_what_one_in_memory_gives(
        steps in prop::collection::vec(step(), 1..60),
        cuts in cuts(),
        events in events(),
    ) {
        let records = records(&steps);
        let batches = batches(&records, &cuts, end_of(&records));
        let mut memory = executor();
        let expected: Vec<(Evaluated, _)> = batches
            .iter()
            .map(|batch| (memory.evaluate(batch), memory.checkpoint().heading()))
            .collect();
        let medium = Memory::default();
        let mut disk = open(&medium);
        // How many batches are evaluated, are in the flush that was begun, and are durable.
        let (mut done, mut flushing, mut durable) = (0, None::<(usize, Flush)>, 0_usize);
        let mut events = events.iter().chain(std::iter::repeat(&Event::Nothing));
        while done < batches.len() {
            let evaluated = disk.evaluate(&batches[done]).expect("the medium does not fail");
            prop_assert_eq!(&evaluated.settlements, &expected[done].0.settlements);
            prop_assert_eq!(&evaluated.digests, &expected[done].0.digests);
            let flushed = durable.checked_sub(1).map_or(Hlc::ZERO, |last| expected[last].0.upto);
            prop_assert_eq!(evaluated.flushed, flushed);
            done += 1;
            match events.next().expect("there are enough") {
                Event::Flush if flushing.is_none() => {
                    flush(&mut disk);
                    durable = done;
                }
                Event::BeginFlush if flushing.is_none() => flushing = Some((done, disk.begin_flush())),
                Event::EndFlush => if let Some((begun, flush)) = flushing.take() {
                    disk.end_flush(flush.write()).expect("the medium does not fail");
                    durable = begun;
                    let sent = disk.flushed_checkpoint().expect("the medium does not fail");
                    prop_assert_eq!(sent.heading().expect("the medium does not fail"), expected[durable - 1].1);
                },
                Event::FailFlush(writes) => if let Some((begun, flush)) = flushing.take() {
                    medium.refuse_once_after(*writes);
                    let ended = disk.end_flush(flush.write());
                    let has_refused = medium.has_refused();
                    match ended {
                        Ok(_) => durable = begun,
                        Err(error) => {
                            let is_full = matches!(error, StoreError::Full { .. });
                            prop_assert!(is_full && has_refused, "{error}");
                        }
                    }
                },
                Event::Reopen => {
                    flushing = None;
                    drop(disk);
                    disk = open(&medium);
                    done = durable;
                    prop_assert_eq!(disk.versions().evaluated(), disk.versions().flushed());
                }
                Event::Nothing | Event::Flush | Event::BeginFlush => {}
            }
        }
        drop(flushing.map(|(_, flush)| disk.end_flush(flush.write())));
        flush(&mut disk);
        let sent = transferred(&disk.flushed_checkpoint().expect("the medium does not fail"));
        drop(disk);
        for disk in [open(&medium), sent] {
            for id in ids(&records) {
                prop_assert_eq!(disk.status(id).expect("the medium does not fail"), memory.status(id));
                prop_assert_eq!(disk.outcome(id).expect("the medium does not fail"), memory.outcome(id));
            }
            let end = memory.versions().evaluated();
            for (at, _) in &records {
                let kept = at.hlc >= end.minus(VERSION_RETENTION);
                if kept {
                    prop_assert_eq!(disk.read(at.hlc, &everything()), memory.read(at.hlc, &everything()));
                }
            }
            prop_assert_eq!(disk.read(end, &everything()), memory.read(end, &everything()));
        }
    }
}

#[test]
fn an_outcome_that_left_memory_is_found_on_disk_and_its_id_takes_no_effect_again() {
    for is_reopened in [false, true] {
        let medium = Memory::default();
        let mut executor = open(&medium);
        let increment = Increment {
            key: "n".into(),
            amount: 1,
        };
        let first = stamped(at_ms(0), 1, id_made_at_ms(0, 1), &increment);
        let first = executor
            .evaluate(&batch(&[&first], at_ms(200_000)))
            .expect("the medium does not fail");
        flush(&mut executor);
        if is_reopened {
            drop(executor);
            executor = open(&medium);
        }
        let again = stamped(at_ms(300_000), 1, id_made_at_ms(0, 1), &increment);
        let again = executor
            .evaluate(&batch(&[&again], at_ms(300_000)))
            .expect("the medium does not fail");
        assert_eq!(again.settlements[0].effective, first.settlements[0].effective);
        assert_eq!(again.settlements[0].outcome, first.settlements[0].outcome);
        let answer = executor.read(at_ms(300_000), &everything()).expect("it is kept");
        assert_eq!(answer.ranges[0][0].1.timestamp, first.settlements[0].effective);
    }
}

#[test]
fn only_new_outcomes_are_written_and_expired_ones_leave_the_disk() {
    let mut executor = open(&Memory::default());
    let mut written = Vec::new();
    for round in 0..20_u64 {
        let hlc = at_ms(round * 60_000);
        for name in 0..10 {
            let at = hlc.plus(std::time::Duration::from_millis(u64::from(name)));
            let put = Put {
                entries: vec![(Key::new(vec![name]), "v".into())],
            };
            let put = stamped(at, 1, id_made_at_ms(round * 60_000, name), &put);
            executor
                .evaluate(&batch(&[&put], at))
                .expect("the medium does not fail");
        }
        let flush = executor.begin_flush();
        let report = executor.end_flush(flush.write()).expect("the medium does not fail");
        written.push((report.outcomes, report.expired));
    }
    let window_rounds = 10;
    let steady = written[window_rounds + 2..].iter();
    assert!(written.iter().all(|(new, _)| *new == 10), "{written:?}");
    assert!(steady.clone().all(|(_, expired)| *expired == 10), "{written:?}");
    let extent = executor.versions().extent().expect("the medium does not fail");
    assert!(extent.outcomes <= 10 * (window_rounds as u64 + 2), "{extent:?}");
}

#[test]
fn a_read_that_fails_lets_nothing_out_and_ends_evaluation() {
    let medium = Memory::default();
    let mut executor = open(&medium);
    let value = "a value that fills some more pages than are kept in memory at a time".into();
    for key in 0..30_000_u32 {
        let entries = vec![(Key::new(key.to_be_bytes()), plimsoll::key::Value::clone(&value))];
        let ms = u64::from(key);
        let put = stamped(at_ms(ms), 1, id_made_at_ms(ms, 1), &Put { entries });
        executor
            .evaluate(&batch(&[&put], at_ms(ms)))
            .expect("the medium does not fail");
    }
    flush(&mut executor);
    medium.fail_after(0);
    let increments = (0..30_000_u32).map(|key| {
        let ms = 40_000 + u64::from(key);
        let key = Key::new(key.to_be_bytes());
        stamped(at_ms(ms), 1, id_made_at_ms(ms, 2), &Increment { key, amount: 1 })
    });
    let mut failed = None;
    for record in increments {
        let before = executor.versions().failure();
        match executor.evaluate(&batch(&[&record], record.0.hlc)) {
            Ok(evaluated) => {
                assert!(before.is_none() && failed.is_none());
                // The value is no number: an increment that was evaluated over nothing would have been one.
                assert!(
                    matches!(evaluated.settlements[0].outcome, Outcome::Aborted(_)),
                    "{:?}",
                    evaluated.settlements
                );
            }
            Err(error) => failed = Some(error),
        }
    }
    let error = failed.expect("more than the cache holds was read");
    assert!(error.to_string().contains("versions.redb"), "{error}");
    let kept = executor.versions().oldest();
    assert_eq!(executor.read(kept, &everything()), Err(ReadError::Failed));
    assert!(executor.status(id_made_at_ms(0, 1)).is_err());
    assert!(executor.flushed_checkpoint().is_err());
    let flush = executor.begin_flush();
    assert!(executor.end_flush(flush.write()).is_err());
}
