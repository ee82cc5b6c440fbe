//! A disk that has no room: nothing that was acknowledged is lost, reads go on, and so does everything else once there is room.

use plimsoll::executor::Known;
use plimsoll::replica::ReplicaState;
use plimsoll::store::StoreError;
use plimsoll::store::disk::{Crash, Fault, SimulatedDisk};

use super::crashes::short;
use super::life::{Life, Unwatched};
use super::replica::Layout;
use super::workload::{Workload, contents};

/// How many transactions there are before the process is started again, and in all.
const HALVES: [usize; 2] = [35, 70];

fn layout() -> Layout {
    Layout {
        segment_bytes: 3 << 10,
        flush_records: 8,
        ..short().layout
    }
}

fn workload() -> Workload {
    Workload::new(short().transactions)
}

/// What was refused for want of room in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Refused {
    openings: usize,
    writes: usize,
    flushes: u64,
}

#[track_caller]
fn assert_is_full(error: &StoreError) {
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("simulated disk/") && text.contains("make room"),
        "{text}"
    );
}

/// Every answered transaction is known, and all that is stored can be read.
fn assert_reads_go_on(life: &Life<'_>) {
    for transaction in &life.workload.transactions[..life.settled] {
        let status = life.replica.state.status(transaction.id).expect("reads need no room");
        assert!(matches!(status.known, Known::Settled { .. }), "{status:?}");
    }
    life.replica.everything();
}

/// One process after the other. *Given* what to do when there is no room; it is told how many transactions are answered.
fn run(disk: &SimulatedDisk, workload: &Workload, on_full: &mut dyn FnMut(usize)) -> Refused {
    let mut refused = Refused::default();
    let (mut now_us, mut settled) = (0, 0);
    for until in HALVES {
        let mut life = loop {
            match Life::open(workload, layout(), disk.reopen(), now_us, settled) {
                Ok(life) => break life,
                Err(error) => {
                    assert_is_full(&error);
                    refused.openings += 1;
                    on_full(settled);
                }
            }
        };
        while let Err(error) = life.go_on(until, &mut Unwatched) {
            assert_is_full(&error);
            assert_reads_go_on(&life);
            refused.writes += 1;
            on_full(life.settled);
        }
        life.assert_contents(&refused);
        refused.flushes += life.replica.flushes_refused;
        (now_us, settled) = (life.now_us + 1_000_000, life.settled);
    }
    refused
}

/// After a crash that loses whatever it can everything is there that was answered.
fn assert_survives(disk: &SimulatedDisk, workload: &Workload, settled: usize, what: &dyn std::fmt::Debug) {
    let disk = disk.fork();
    disk.set_capacity(None);
    let disk = disk.crash(Crash::LoseAll);
    let opened = Life::open(workload, layout(), disk, 900_000_000, settled);
    let mut life = opened.unwrap_or_else(|error| panic!("{what:?}: {error}"));
    life.catch_up(&mut Unwatched).expect("there is room");
    assert_reads_go_on(&life);
    let found = contents(&life.replica.everything());
    let at_least = &workload.contents[settled..(settled + 9).min(workload.contents.len())];
    assert!(at_least.contains(&found), "{what:?}: after {settled} transactions");
}

#[test]
fn a_disk_that_is_full_in_any_one_operation_refuses_and_goes_on() {
    let workload = workload();
    let sound = SimulatedDisk::new(1);
    assert_eq!(run(&sound, &workload, &mut |_| {}), Refused::default());
    let mut all = Refused::default();
    let mut met = 0;
    for operation in 1..=sound.operations() {
        let disk = SimulatedDisk::new(1);
        disk.inject_at(operation, Fault::Full);
        let refused = run(&disk, &workload, &mut |settled| {
            assert_survives(&disk, &workload, settled, &operation);
        });
        let faults = disk.faults().get("full").copied().unwrap_or_default();
        met += faults;
        assert!(faults <= 1);
        all.openings += refused.openings;
        all.writes += refused.writes;
        all.flushes += refused.flushes;
        assert_survives(&disk, &workload, HALVES[1], &operation);
    }
    println!("{} operations, {met} of them needed room: {all:?}", sound.operations());
    assert!(all.openings > 3 && all.writes > 1 && all.flushes > 3, "{all:?}");
}

#[test]
fn a_disk_that_stays_full_keeps_what_was_answered_and_goes_on_when_there_is_room() {
    /// How often it is tried in vain.
    const PATIENCE: u32 = 4;
    let workload = workload();
    let sound = SimulatedDisk::new(1);
    sound.record();
    run(&sound, &workload, &mut |_| {});
    let mut rooms: Vec<u64> = sound.recorded().iter().map(SimulatedDisk::used).collect();
    rooms.sort_unstable();
    rooms.dedup();
    let mut all = Refused::default();
    for room in &rooms {
        let disk = SimulatedDisk::new(1);
        disk.set_capacity(Some(*room));
        let mut tries = 0;
        let refused = run(&disk, &workload, &mut |settled| {
            tries += 1;
            if tries == PATIENCE {
                assert_survives(&disk, &workload, settled, room);
                disk.set_capacity(None);
            }
        });
        all.openings += refused.openings;
        all.writes += refused.writes;
        all.flushes += refused.flushes;
        assert_survives(&disk, &workload, HALVES[1], room);
    }
    println!("{} amounts of room: {all:?}", rooms.len());
    assert!(rooms.len() > 20 && all.openings > 10 && all.writes > 10, "{all:?}");
}
