//! Many staged transactions on few keys: all of them end, and each as if it had been alone.

use plimsoll::Plimsoll;
use plimsoll::client::staged::{Stage, Staging};
use plimsoll::key::Key;
use plimsoll::protocol::ReadMode;

use crate::support::PutNumbers;

const KEYS: u64 = 10;
const CLIENTS: u64 = 64;
const PER_CLIENT: u64 = 3;

fn place(index: u64) -> Key {
    Key::new(format!("ring/{index:02}").into_bytes())
}

async fn next(stage: &Stage, index: u64) -> Result<u64, plimsoll::transaction::Abort> {
    Ok(stage.get_as(place(index)).await?.unwrap())
}

/// One client: three dependent reads, and a part of the ring turned round. *Gives* the most runs that one of its transactions took.
async fn client(database: Plimsoll, number: u64, staging: Staging) -> u32 {
    let mut worst = 0;
    for round in 0..PER_CLIENT {
        let first = (number * 7 + round * 3) % KEYS;
        let stages = move |stage: Stage| async move {
            let second = next(&stage, first).await?;
            let third = next(&stage, second).await?;
            let fourth = next(&stage, third).await?;
            Ok(PutNumbers(vec![
                (place(first), third),
                (place(second), fourth),
                (place(third), second),
            ]))
        };
        let staged = database
            .staged_as(Plimsoll::new_id(), staging.clone(), stages)
            .await
            .unwrap();
        worst = worst.max(staged.runs);
    }
    worst
}

async fn turn_the_ring(mut staging: Staging) -> u32 {
    let builder = Plimsoll::builder().replicas(3).thunk::<PutNumbers>();
    let database = builder
        .deadline(std::time::Duration::from_secs(120))
        .open()
        .await
        .unwrap();
    let ring = (0..KEYS).map(|index| (place(index), (index + 1) % KEYS)).collect();
    let ring = database.submit(&PutNumbers(ring)).await.unwrap();
    // The nearest replica may not have come to the ring yet.
    staging.first_read = ReadMode::After(ring.timestamp);
    let clients = (0..CLIENTS).map(|number| tokio::spawn(client(database.clone(), number, staging.clone())));
    let clients: Vec<_> = clients.collect();
    let mut worst = 0;
    for client in clients {
        worst = worst.max(client.await.unwrap());
    }
    let read = async |stage: Stage| {
        let mut at = 0;
        let mut passed = 0;
        loop {
            at = next(&stage, at).await?;
            passed += 1;
            if at == 0 || passed > KEYS {
                return Ok(PutNumbers(vec![("length".into(), passed)]));
            }
        }
    };
    database.staged(read).await.unwrap();
    let length = database.get("length").await.unwrap().unwrap();
    assert_eq!(
        plimsoll::codec::decode_value::<u64>(&length).unwrap(),
        KEYS,
        "it is one ring"
    );
    worst
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_reservations_all_of_64_clients_on_10_keys_end_and_the_ring_stays_one() {
    let worst = turn_the_ring(Staging {
        runs_max: 1_000,
        ..Staging::default()
    })
    .await;
    println!("with reservations: at most {worst} runs of one transaction");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_reservations_all_of_64_clients_on_10_keys_end_and_the_ring_stays_one() {
    let staging = Staging {
        reserve_after: None,
        runs_max: 10_000,
        ..Staging::default()
    };
    let worst = turn_the_ring(staging).await;
    println!("without reservations: at most {worst} runs of one transaction");
}
