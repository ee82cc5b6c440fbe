//! TPC-C on a database of three replicas in this process: concurrent clients, all of whose transactions end, and its conditions of consistency, each of
//! which finds what breaks it. The same workload under faults is in `sim/tests/tpcc.rs`, and for as long as one likes in `examples/tpcc.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, and helpers of tests: a failed expectation is to stop them"
)]

mod drive;
mod planted;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use drive::Tally;
use plimsoll::Plimsoll;
use plimsoll::protocol::ReadMode;
use workload::Scale;

const SCALE: Scale = Scale {
    warehouses: 2,
    districts: 10,
    customers: 30,
    items: 100,
    orders: 30,
};

const CLIENTS: u64 = 16;
const PER_CLIENT: u64 = 40;

/// Looks at one snapshot after the other, strict ones and nearest ones in turn. *Gives* at how many.
async fn watch(database: Plimsoll, is_over: Arc<AtomicBool>) -> u32 {
    let mut looks = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mode = match looks % 2 {
            0 => ReadMode::Strict,
            _ => ReadMode::Snapshot,
        };
        assert_eq!(drive::broken(&database, mode).await.unwrap(), []);
        looks += 1;
    }
    looks
}

async fn clients_end_and_conditions_hold(scale: Scale) -> Tally {
    let builder = Plimsoll::builder().replicas(3).deadline(Duration::from_secs(120));
    let database = drive::with_thunks(builder).open().await.unwrap();
    let loaded = drive::load(&database, &scale, 1).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(database.clone(), Arc::clone(&is_over)));
    let clients = (0..CLIENTS).map(|seed| {
        let staging = drive::staging(loaded);
        let goes_on = |done| done < PER_CLIENT;
        tokio::spawn(drive::client(database.clone(), scale, seed, staging, goes_on))
    });
    let clients: Vec<_> = clients.collect();
    let mut tally = Tally::default();
    for client in clients {
        tally.add(client.await.unwrap());
    }
    is_over.store(true, Ordering::Relaxed);
    let looks = watcher.await.unwrap();
    assert_eq!(drive::broken(&database, ReadMode::Strict).await.unwrap(), []);
    database.shutdown().await;
    println!("{tally}\nlooks on the way: {looks}");
    assert!(looks > 0, "nobody looked on the way");
    assert!(tally.failed.is_empty(), "{tally}");
    assert_eq!(
        tally.committed() as u64 + tally.invalid_items,
        CLIENTS * PER_CLIENT,
        "{tally}"
    );
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transactions_of_16_clients_end_and_the_conditions_hold_on_the_way_and_in_the_end() {
    let tally = clients_end_and_conditions_hold(SCALE).await;
    assert_eq!(tally.kinds.len(), 6, "each kind has committed: {tally}");
    assert!(tally.invalid_items > 0, "{tally}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_transactions_of_16_clients_end_where_all_of_them_want_one_district() {
    let scale = Scale {
        warehouses: 1,
        districts: 1,
        ..SCALE
    };
    let tally = clients_end_and_conditions_hold(scale).await;
    assert!(tally.runs_max() > 1, "they met: {tally}");
}
