//! Transactions whose outcomes depend on nothing but their order, and what each must come to.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use plimsoll::client;
use plimsoll::executor::{Answer, SerialExecutor};
use plimsoll::id::{NodeId, TransactionId};
use plimsoll::key::{Key, KeyRange, Value};
use plimsoll::protocol::{Batch, Query, Scan};
use plimsoll::store::MemoryVersions;
use plimsoll::thunk::{Append, CompareAndSet, Delete, Increment, Put, Registry, Thunk};
use plimsoll::time::{Hlc, Timestamp};
use plimsoll::transaction::{Outcome, Record, ThunkId, Transaction};

/// Milliseconds since the Unix epoch at which every run begins.
pub(crate) const START_MS: u64 = 1_800_000_000_000;

/// What a whole run lasts: longer than versions and outcomes are kept, so that both leave the disk.
const RUN_MS: u64 = 900_000;

/// So many transactions, in the order in which they take effect.
pub(crate) struct Workload {
    pub(crate) registry: Arc<Registry>,
    pub(crate) transactions: Vec<Transaction>,
    /// What each comes to.
    pub(crate) outcomes: Vec<Outcome>,
    /// The [mark](contents) of what is stored after so many of them.
    pub(crate) contents: Vec<u64>,
    /// Milliseconds from one to the next.
    pub(crate) gap_ms: u64,
}

impl Workload {
    pub(crate) fn new(count: usize) -> Self {
        let registry = Arc::new(Registry::with_builtins());
        let gap_ms = RUN_MS / count as u64;
        let transactions: Vec<Transaction> = (0..count)
            .map(|number| transaction(&registry, number as u64, START_MS + number as u64 * gap_ms))
            .collect();
        let mut executor = SerialExecutor::new(Arc::clone(&registry), MemoryVersions::default());
        let everything = |executor: &SerialExecutor<MemoryVersions>, at| {
            contents(&executor.read(at, &all()).expect("it is the newest snapshot"))
        };
        let mut outcomes = Vec::new();
        let mut marks = vec![everything(&executor, Hlc::ZERO)];
        for (number, transaction) in transactions.iter().enumerate() {
            let hlc = Hlc::from_unix_millis(START_MS + number as u64 * gap_ms);
            let node = NodeId::new(1);
            let transaction = transaction.clone();
            let records = vec![(Timestamp { hlc, node }, Arc::new(Record { hlc, transaction }))];
            let evaluated = executor.evaluate(&Batch { records, upto: hlc });
            outcomes.push(evaluated.settlements[0].outcome.clone());
            marks.push(everything(&executor, hlc));
        }
        Self {
            registry,
            transactions,
            outcomes,
            contents: marks,
            gap_ms,
        }
    }
}

/// Everything there is.
pub(crate) fn all() -> Query {
    Query {
        keys: Vec::new(),
        ranges: vec![Scan::forward(KeyRange::from(Key::default()), usize::MAX)],
    }
}

/// Tells what is stored from anything else, without when it was written.
pub(crate) fn contents(everything: &Answer) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, found) in &everything.ranges[0] {
        (key, &found.value).hash(&mut hasher);
    }
    hasher.finish()
}

fn transaction(registry: &Registry, number: u64, made_ms: u64) -> Transaction {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let id = TransactionId::from_parts(made_ms, random);
    let key = |kind: &str, keys: u64| Key::new(format!("{kind}{}", number * 7 % keys).into_bytes());
    let bytes = |count: u64| Value::new(vec![number as u8; count as usize]);
    match number % 8 {
        0 | 1 => {
            let entries = vec![(key("put", 53), bytes(50 + number * 31 % 250))];
            admitted(registry, id, &Put { entries })
        }
        // Twice is not once, and the outcome shows it.
        2 | 3 => admitted(
            registry,
            id,
            &Increment {
                key: key("count", 5),
                amount: 1,
            },
        ),
        4 => admitted(
            registry,
            id,
            &Append {
                key: key("list", 11),
                bytes: bytes(3),
            },
        ),
        5 => {
            let swap = CompareAndSet {
                key: key("swap", 3),
                expected: (number % 16 < 8).then(|| bytes(1)),
                new: Some(bytes(1)),
            };
            admitted(registry, id, &swap)
        }
        6 => admitted(
            registry,
            id,
            &Delete {
                keys: vec![key("put", 53), key("list", 11)],
            },
        ),
        _ => {
            let entries = vec![(key("put", 53), bytes(20)), (key("swap", 3), bytes(2))];
            admitted(registry, id, &Put { entries })
        }
    }
}

fn admitted<T: Thunk>(registry: &Registry, id: TransactionId, thunk: &T) -> Transaction {
    let arguments = client::arguments(thunk).expect("plain data");
    client::admit(registry, id, ThunkId::of::<T>(), arguments).expect("a sound transaction")
}
