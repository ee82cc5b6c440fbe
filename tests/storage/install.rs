//! The snapshot of another replica takes the place of what a replica has, whole or not at all; and versions that are damaged are found,
//! dropped, and filled again.

use std::sync::Arc;

use plimsoll::executor::Heading;
use plimsoll::id::Epoch;
use plimsoll::protocol::ChunkTaken;
use plimsoll::protocol::message::SnapshotRequest;
use plimsoll::replica::{DiskState, ReplicaState};
use plimsoll::store::disk::{Crash, Disk, SimulatedDisk};
use plimsoll::store::{History, StoreError};
use plimsoll::time::Hlc;

use super::crashes::short;
use super::life::{Life, Unwatched, heading};
use super::replica::state_options;
use super::workload::{Workload, all, contents};

fn try_open(disk: &SimulatedDisk, workload: &Workload) -> Result<DiskState, StoreError> {
    DiskState::open(
        Arc::new(disk.clone()),
        Arc::clone(&workload.registry),
        state_options(short().layout),
    )
}

fn open(disk: &SimulatedDisk, workload: &Workload) -> DiskState {
    try_open(disk, workload).expect("a sound disk")
}

/// The disk of a replica that has flushed the first transactions of a workload.
fn flushed_after(workload: &Workload, count: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new(count as u64);
    let mut life = Life::open(workload, short().layout, disk.clone(), 0, 0).expect("a sound disk");
    life.go_on(count, &mut Unwatched).expect("a sound disk");
    life.flushed_standing().expect("a sound disk");
    disk
}

/// Asks `source` for its snapshot, a piece at a time, until `target` has all of it. *Gives* its bound, and how many pieces there were.
fn transfer(source: &mut DiskState, target: &mut DiskState) -> Result<(Hlc, usize), StoreError> {
    let mut request = SnapshotRequest {
        epoch: Epoch::FIRST,
        above: target.executor().versions().evaluated(),
        bound: None,
        cursor: Vec::new(),
    };
    for pieces in 1.. {
        let piece = source.piece(&request)?.expect("there is one above");
        match target.add(&piece)? {
            ChunkTaken::More { bound, next } => {
                request.bound = Some(bound);
                request.cursor = next;
            }
            ChunkTaken::Complete { bound } => return Ok((bound, pieces)),
            ChunkTaken::Refused => panic!("piece {pieces} is the next one"),
        }
    }
    unreachable!("a snapshot ends")
}

fn install(source: &mut DiskState, target: &mut DiskState) -> Result<usize, StoreError> {
    let (bound, pieces) = transfer(source, target)?;
    target.restore(bound)?;
    Ok(pieces)
}

/// All that a state holds, and where it would go on.
fn held(state: &DiskState) -> Heading {
    heading(state).expect("a sound disk")
}

/// What is stored, see [`contents`].
fn stored(state: &DiskState) -> u64 {
    let at = state.executor().versions().evaluated();
    contents(&state.read(at, &all()).expect("it is the newest snapshot"))
}

/// The names of everything but the log on a disk.
fn names_of_versions(disk: &SimulatedDisk) -> Vec<String> {
    let names = disk.names().expect("a sound disk").into_iter();
    names.filter(|name| name.starts_with("versions")).collect()
}

#[test]
fn a_crash_in_any_operation_of_an_installation_leaves_the_old_state_or_the_new_one() {
    let workload = Workload::new(short().transactions);
    let disks = [10, 30, 50].map(|count| flushed_after(&workload, count));
    let target = disks[0].clone();
    let mut cases = 0;
    // Into the second place, and back into the first.
    for source in &disks[1..] {
        let mut peer = open(source, &workload);
        let new = held(&peer);
        let mut state = open(&target, &workload);
        let old = held(&state);
        assert_ne!(old, new);
        target.record();
        // Pieces that nobody goes on from, and after them all.
        let (bound, pieces) = transfer(&mut peer, &mut state).expect("a sound disk");
        state.discard();
        let (again, _) = transfer(&mut peer, &mut state).expect("a sound disk");
        assert!(bound == again && pieces > 2, "{pieces} pieces");
        let taken_in = target.operations();
        state.restore(bound).expect("a sound disk");
        assert_eq!(held(&state), new);
        let recorded = target.recorded();
        assert_eq!(
            recorded.last().map(SimulatedDisk::operations),
            Some(target.operations())
        );
        assert!(recorded.len() > 30, "{} operations", recorded.len());
        let mut found_new = 0;
        for crashed in recorded {
            let operation = crashed.operations();
            for crash in [
                Crash::LoseAll,
                Crash::KeepAll,
                Crash::Random(operation),
                Crash::Random(!operation),
            ] {
                let disk = crashed.fork().crash(crash);
                let mut state = open(&disk, &workload);
                let found = held(&state);
                assert!(
                    found == old || found == new,
                    "{crash:?} in operation {operation}: {found:?}"
                );
                assert!(
                    found == old || operation > taken_in,
                    "{crash:?} in operation {operation}"
                );
                found_new += usize::from(found == new);
                cases += 1;
                // Nothing that was left stands in the way.
                if found == old {
                    install(&mut peer, &mut state).expect("a sound disk");
                }
                drop(state);
                let state = open(&disk.crash(Crash::LoseAll), &workload);
                assert_eq!(held(&state), new, "{crash:?} in operation {operation}");
                assert_eq!(stored(&state), stored(&peer));
            }
        }
        assert!(found_new > 0);
        drop(state);
        assert_eq!(held(&open(&target, &workload)), new);
    }
    assert_eq!(names_of_versions(&target), ["versions-a", "versions-a.sums"]);
    println!("{cases} crashes of an installation");
}

#[test]
fn a_replica_goes_on_from_an_installed_snapshot_as_the_one_that_sent_it() {
    let workload = Workload::new(short().transactions);
    let (behind, ahead) = (flushed_after(&workload, 10), flushed_after(&workload, 80));
    let mut peer = open(&ahead, &workload);
    let mut state = open(&behind, &workload);
    install(&mut peer, &mut state).expect("a sound disk");
    for number in 0..workload.transactions.len() {
        let id = workload.transactions[number].id;
        assert_eq!(
            state.status(id).expect("a sound disk"),
            peer.status(id).expect("a sound disk"),
            "transaction {number}"
        );
    }
    assert_eq!(stored(&state), workload.contents[80]);
    assert_eq!(held(&state), held(&peer));
}

/// Reads everything: the outcome of each transaction, each key, and what a peer would be sent.
fn read_all(disk: &SimulatedDisk, workload: &Workload) -> Result<(Heading, u64), StoreError> {
    let mut state = try_open(disk, workload)?;
    for transaction in &workload.transactions {
        state.status(transaction.id)?;
    }
    let found = heading(&state)?;
    let at = state.executor().versions().evaluated();
    let everything = state.read(at, &all());
    state.executor().versions().checked(())?;
    let request = SnapshotRequest {
        epoch: Epoch::FIRST,
        above: Hlc::ZERO,
        bound: None,
        cursor: Vec::new(),
    };
    state.piece(&request)?;
    Ok((found, contents(&everything.expect("it is the newest snapshot"))))
}

#[test]
fn damaged_versions_are_refused_by_name_and_filled_again_by_a_peer() {
    let workload = Workload::new(short().transactions);
    let (own, ahead) = (flushed_after(&workload, 60), flushed_after(&workload, 100));
    let mut peer = open(&ahead, &workload);
    let expected = read_all(&own.fork().reopen(), &workload).expect("a sound disk");
    let (mut damages, mut with_table) = (0, 0);
    for name in ["versions-a", "versions-a.sums"] {
        let bytes = own.open(name).and_then(|file| file.len()).expect("a sound disk");
        for offset in (0..bytes).step_by(509) {
            let disk = own.fork().crash(Crash::LoseAll);
            assert!(disk.flip(name, offset, (offset % 8) as u8));
            let place = format!("{name} at {offset}");
            let error = match read_all(&disk, &workload) {
                // Nothing leads there.
                Ok(found) => {
                    assert!(found == expected, "{place}");
                    continue;
                }
                Err(error) => error,
            };
            let StoreError::Damaged { file, place: at, .. } = &error else {
                panic!("{place}: {error}");
            };
            assert!(file.contains("/versions-a"), "{place}: {error}");
            damages += 1;
            with_table += u32::from(at.starts_with("table ") && at.contains(", key "));
            if damages % 8 != 1 {
                continue;
            }
            // A damaged store is dropped, not mended, and a peer has it all.
            DiskState::discard_versions(&disk).expect("the medium is sound");
            let disk = disk.crash(Crash::LoseAll);
            assert_eq!(names_of_versions(&disk), Vec::<String>::new());
            let mut state = open(&disk, &workload);
            assert_eq!(
                (state.flushed(), stored(&state)),
                (Hlc::ZERO, workload.contents[0]),
                "{place}"
            );
            install(&mut peer, &mut state).expect("the medium is sound");
            drop(state);
            let state = open(&disk.crash(Crash::LoseAll), &workload);
            assert_eq!(held(&state), held(&peer), "{place}");
        }
    }
    println!("{damages} damages, {with_table} of them named by table and key");
    assert!(damages > 40 && with_table * 2 > damages, "{with_table} of {damages}");
}

#[test]
fn a_crash_while_versions_are_dropped_leaves_them_or_nothing_or_what_is_to_be_dropped_again() {
    let workload = Workload::new(short().transactions);
    let (own, ahead) = (flushed_after(&workload, 20), flushed_after(&workload, 40));
    let mut peer = open(&ahead, &workload);
    let nothing = held(&open(&SimulatedDisk::new(1), &workload));
    for is_second in [false, true] {
        let disk = own.fork().reopen();
        let mut state = open(&disk, &workload);
        if is_second {
            install(&mut peer, &mut state).expect("a sound disk");
        }
        let old = held(&state);
        drop(state);
        disk.record();
        DiskState::discard_versions(&disk).expect("a sound disk");
        for crashed in disk.recorded() {
            let operation = crashed.operations();
            for crash in [Crash::LoseAll, Crash::KeepAll]
                .into_iter()
                .chain((0..6).map(Crash::Random))
            {
                let disk = crashed.fork().crash(crash);
                match try_open(&disk, &workload) {
                    Ok(state) => {
                        let found = held(&state);
                        assert!(found == old || found == nothing, "{crash:?} in {operation}: {found:?}");
                    }
                    Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
                }
                DiskState::discard_versions(&disk).expect("a sound disk");
                assert_eq!(held(&open(&disk, &workload)), nothing);
            }
        }
    }
}

#[test]
fn a_replica_without_its_versions_starts_only_from_a_whole_log() {
    let workload = Workload::new(short().transactions);
    for (count, is_pruned) in [(20, false), (100, true)] {
        let disk = flushed_after(&workload, count);
        let before = open(&disk, &workload);
        let flushed = before.flushed();
        drop(before);
        DiskState::discard_versions(&disk).expect("a sound disk");
        let start = |disk: &SimulatedDisk| Life::open(&workload, short().layout, disk.clone(), 900_000_000, count);
        match start(&disk) {
            Ok(mut life) => {
                assert!(!is_pruned, "what is in front is nowhere");
                life.catch_up(&mut Unwatched).expect("a sound disk");
                life.assert_contents(&"evaluated from the whole log");
            }
            Err(error) => {
                assert!(is_pruned, "{error}");
                let text = error.to_string();
                assert!(
                    matches!(&error, StoreError::Damaged { .. }) && text.contains("/versions-a"),
                    "{text}"
                );
                assert!(text.contains("other replicas"), "{text}");
                // Nothing but the versions is missing: with those of a peer that has come as far it starts.
                let mut peer = open(&flushed_after(&workload, count), &workload);
                assert_eq!(peer.flushed(), flushed);
                install(&mut peer, &mut open(&disk, &workload)).expect("a sound disk");
                let mut life = start(&disk).expect("they are there again");
                life.catch_up(&mut Unwatched).expect("a sound disk");
                life.assert_contents(&"from a snapshot");
            }
        }
    }
}
