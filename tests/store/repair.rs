//! What can be done for a replica whose stores are damaged: which of them may go on, and which may not.

use std::sync::Arc;

use plimsoll::id::{ClusterId, Epoch, NodeId, StorageId, TransactionId};
use plimsoll::key::{Key, Value};
use plimsoll::protocol::{Batch, LogEntry};
use plimsoll::replica::{DiskState, Identity, Repair, ReplicaLog, ReplicaState, StateOptions, repair};
use plimsoll::store::disk::{Crash, Disk, SimulatedDisk};
use plimsoll::store::segments::{SegmentLog, SegmentOptions};
use plimsoll::store::{History, StoreError};
use plimsoll::thunk::{Put, Registry};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Record, ThunkId};

const SEGMENTS: SegmentOptions = SegmentOptions {
    segment_bytes: 64 << 10,
    spares_max: 2,
};
const STATE: StateOptions = StateOptions {
    cache_bytes: 1 << 20,
    retained_bytes: 4 << 10,
    piece_bytes: 8 << 10,
};
const NODE: NodeId = NodeId::new(1);

fn record(number: u64) -> Arc<Record> {
    let put = Put {
        entries: vec![(Key::from(format!("key {number}").as_str()), Value::new(vec![7; 100]))],
    };
    let arguments = plimsoll::client::arguments(&put).expect("bytes can be encoded");
    let id = TransactionId::from_parts(
        Hlc::from_unix_millis(1_800_000_000_000).unix_millis(),
        [number as u8; 10],
    );
    let transaction =
        plimsoll::client::admit(&Registry::with_builtins(), id, ThunkId::of::<Put>(), arguments).expect("it is known");
    Arc::new(Record {
        hlc: hlc(number),
        transaction,
    })
}

fn hlc(number: u64) -> Hlc {
    Hlc::from_unix_millis(1_800_000_000_000 + number)
}

/// A replica that has logged, evaluated and flushed some transactions. *Gives* its disk.
fn replica(further: Option<LogEntry>) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let medium: Arc<dyn Disk> = Arc::new(disk.clone());
    let identity = Identity {
        cluster: ClusterId::new(1),
        node: NODE,
        storage: StorageId::new(1),
    };
    identity.create(&*medium).expect("sound");
    let (segments, _) =
        SegmentLog::open(Arc::clone(&medium), identity.storage, SEGMENTS, &mut |_, _| {}).expect("sound");
    let (mut log, _) = ReplicaLog::open(segments, usize::MAX, &mut |_| {}).expect("sound");
    let records: Vec<_> = (1..50).map(record).collect();
    let entry = LogEntry::Records {
        epoch: Epoch::FIRST,
        coordinator: NODE,
        records: records.clone(),
    };
    log.append([entry].into_iter().chain(further)).expect("sound");
    log.sync().expect("sound");
    // With the next sync it is durable that the last one was: what is damaged then is not what a crash has torn.
    log.append([LogEntry::Ceiling(hlc(100))]).expect("sound");
    log.sync().expect("sound");
    let mut state = DiskState::open(medium, Arc::new(Registry::with_builtins()), STATE).expect("sound");
    let batch = Batch {
        upto: hlc(50),
        records: records
            .into_iter()
            .map(|record| {
                (
                    Timestamp {
                        hlc: record.hlc,
                        node: NODE,
                    },
                    record,
                )
            })
            .collect(),
    };
    state.evaluate(&batch).expect("sound");
    let flush = state.begin_flush(1).expect("there is something");
    state.end_flush(flush.write()).expect("sound");
    drop((log, state));
    disk.crash(Crash::LoseAll)
}

fn look(disk: &SimulatedDisk) -> Repair {
    let medium: Arc<dyn Disk> = Arc::new(disk.clone());
    repair(&medium, SEGMENTS, STATE.cache_bytes).expect("the medium is sound")
}

/// Turns a bit around in every block of the file.
fn damage(disk: &SimulatedDisk, name: &str) {
    let bytes = disk.open(name).expect("it is there").len().expect("sound");
    for offset in (100..bytes).step_by(4_096) {
        disk.flip(name, offset, 3);
    }
}

#[test]
fn what_is_sound_stays() {
    let disk = replica(None);
    assert!(matches!(look(&disk), Repair::Sound));
    assert!(
        matches!(look(&SimulatedDisk::new(2)), Repair::Sound),
        "nothing is there"
    );
    let state = DiskState::open(Arc::new(disk), Arc::new(Registry::with_builtins()), STATE).expect("sound");
    assert_eq!(state.flushed(), hlc(50));
}

#[test]
fn damaged_versions_are_evaluated_again_from_a_whole_log() {
    let disk = replica(None);
    damage(&disk, "versions-a");
    let Repair::Dropped(StoreError::Damaged { file, .. }) = look(&disk) else {
        panic!("they are damaged");
    };
    assert!(file.ends_with("versions-a"), "{file}");
    assert!(matches!(look(&disk), Repair::Sound), "once is enough");
    let state = DiskState::open(Arc::new(disk), Arc::new(Registry::with_builtins()), STATE).expect("they are new");
    assert_eq!(state.executor().versions().evaluated(), Hlc::ZERO);
}

#[test]
fn without_all_of_its_log_or_with_damage_in_it_a_node_is_replaced_and_nothing_is_dropped() {
    let pruned = replica(Some(LogEntry::Covered { bound: hlc(10) }));
    damage(&pruned, "versions-a");
    let torn = replica(None);
    assert!(torn.flip("log-0000000000000001.seg", 2_000, 1));
    let nameless = replica(None);
    assert!(nameless.flip("identity", 20, 1));
    for (disk, name) in [(pruned, "versions-a"), (torn, ".seg"), (nameless, "identity")] {
        let names = disk.names().expect("sound");
        for _ in 0..2 {
            let Repair::Replace(StoreError::Damaged { file, .. }) = look(&disk) else {
                panic!("{name} is damaged");
            };
            assert!(file.ends_with(name), "{file}");
        }
        let left = disk.names().expect("sound");
        assert!(names.iter().all(|name| left.contains(name)), "{left:?} of {names:?}");
    }
}
