//! A cache that follows a database: `cargo run --example watch`.
//!
//! A lesson in four steps. Three replicas in memory hold a stock of goods. A range is read at one snapshot (1) and watched from there on (2), so that nothing is
//! missed and nothing comes twice. Sellers write meanwhile (3), and a replica stops for good in the middle of it. The cache takes over every
//! change as it comes, and at the end it holds what a scan finds (4).

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Query, ReadMode, Scan};
use plimsoll::runtime::{Batch, SubmitError, Watch, WatchError};
use plimsoll::thunk::{Delete, Put};
use plimsoll::time::Timestamp;
use tokio::time::{sleep, timeout};

const GOODS: u32 = 50;
const SELLERS: u32 = 3;
const SALES: u32 = 200;

/// Longer than the changes take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn stock() -> KeyRange {
    KeyRange::prefix("stock/".into())
}

fn good(number: u32) -> Key {
    Key::from(format!("stock/{number:03}").as_str())
}

fn amount(number: u32) -> Value {
    Value::from(format!("{number} pieces").as_str())
}

/// What the cache holds, and how many changes have made it so.
struct Cache {
    entries: BTreeMap<Key, Value>,
    changes: usize,
}

impl Cache {
    /// Steps 1 and 2: a scan, and a watch behind the snapshot of that scan.
    ///
    /// Whoever keeps a cache on a disk keeps `batch.resume` beside it and begins there after a restart. If that is longer ago than
    /// changes are kept, the watch says so, and it begins with a scan again.
    async fn begin(database: &Plimsoll) -> Result<(Self, Watch), Box<dyn Error>> {
        let query = Query {
            keys: Vec::new(),
            ranges: vec![Scan::forward(stock(), usize::MAX)],
        };
        let rows = database.read(ReadMode::Strict, query).await?;
        let watch = database.watch(stock()).after(Timestamp::last_at(rows.at));
        let entries = rows.answer.ranges.into_iter().flatten();
        let cache = Self {
            entries: entries.map(|(key, found)| (key, found.value)).collect(),
            changes: 0,
        };
        Ok((cache, watch))
    }

    /// Takes changes over until everything up to a place is here.
    async fn follow(&mut self, watch: &mut Watch, upto: Timestamp) -> Result<(), WatchError> {
        while watch.resume().is_none_or(|resume| resume < upto) {
            self.take_over(watch.next().await?);
        }
        Ok(())
    }

    /// A batch holds whole transactions, so that between two of them the cache is what the database was at a moment.
    fn take_over(&mut self, batch: Batch) {
        self.changes += batch.changes.len();
        for change in batch.changes {
            match change.value {
                Some(value) => self.entries.insert(change.key, value),
                None => self.entries.remove(&change.key),
            };
        }
    }
}

/// Step 3: one of the tasks that write.
async fn seller(database: Plimsoll, seller: u32) -> Result<Timestamp, SubmitError> {
    let mut last = None;
    for sale in 0..SALES {
        let (one, other) = ((seller * 7 + sale * 3) % GOODS, (seller * 11 + sale * 5 + 1) % GOODS);
        let committed = if sale % 10 == 9 {
            let delete = Delete { keys: vec![good(one)] };
            database.submit(&delete).await?.timestamp
        } else {
            let entries = vec![(good(one), amount(sale)), (good(other), amount(sale + 1))];
            database.submit(&Put { entries }).await?.timestamp
        };
        last = last.max(Some(committed));
    }
    Ok(last.expect("there is a sale"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Plimsoll::builder().replicas(3).open().await?;
    let entries = (0..GOODS).map(|number| (good(number), amount(number))).collect();
    database.submit(&Put { entries }).await?;

    let (mut cache, mut watch) = Cache::begin(&database).await?;
    println!("the cache begins with {} goods", cache.entries.len());

    let sellers: Vec<_> = (0..SELLERS)
        .map(|number| tokio::spawn(seller(database.clone(), number)))
        .collect();
    let shop = database.clone();
    let selling = async move {
        sleep(Duration::from_millis(100)).await;
        shop.stop_replica(1).await?;
        println!("replica 1 has stopped, and the watch goes on at another");
        let mut last = None;
        for seller in sellers {
            last = last.max(Some(seller.await??));
        }
        let last = last.ok_or("there is a seller")?;
        // The end that the cache waits for, so that this program ends.
        let put = Put {
            entries: vec![(good(GOODS), amount(0))],
        };
        let end = shop.submit(&put).await?.timestamp;
        assert!(last < end, "what is submitted after an answer has a later timestamp");
        Ok::<_, Box<dyn Error>>(end)
    };
    // The cache follows while they write. A wait that is given up loses nothing.
    tokio::pin!(selling);
    let end = loop {
        tokio::select! {
            end = &mut selling => break end?,
            batch = watch.next() => cache.take_over(batch?),
        }
    };
    timeout(PATIENCE, cache.follow(&mut watch, end)).await??;

    // Step 4: the same as what is there.
    let found: BTreeMap<Key, Value> = database.scan(stock(), usize::MAX).await?.into_iter().collect();
    println!(
        "{} changes have come; the cache holds {} goods",
        cache.changes,
        cache.entries.len()
    );
    assert_eq!(cache.entries, found, "the cache is what a scan finds");
    drop(watch);
    database.shutdown().await;
    Ok(())
}
