//! Plimsoll: a replicated, strictly serializable transaction database that a Rust program links as a library.
//!
//! A transaction is a deterministic [thunk](thunk::Thunk) with a static footprint: the keys that it reads and writes are known
//! before it runs. The node that receives it stamps it with a hybrid-clock timestamp and writes it blindly to a
//! majority; once a gossiped watermark has passed the timestamp, every replica evaluates it in timestamp order. Conflicts
//! cost nothing: there are no locks, no aborts because of others, and no retries.
//!
//! A [`Plimsoll`] is a handle on a database: [in this process](Plimsoll::builder), as [one node of a cluster](Plimsoll::node), or
//! [elsewhere](Plimsoll::remote). Below it are the protocol core ([`protocol`]) without I/O, the executor behind it ([`executor`]), the transactions
//! ([`thunk`]), typed over raw keys by [tables](table), and what lies on disk ([`store`]); the simulator, `plimsoll-sim`, drives the same. `docs/architecture.md` shows the house and
//! `docs/protocol.md` argues why it is safe.
//!
//! # A transaction from beginning to end
//!
//! ```
//! use std::sync::Arc;
//!
//! use plimsoll::client;
//! use plimsoll::executor::SerialExecutor;
//! use plimsoll::id::{NodeId, TransactionId};
//! use plimsoll::key::Key;
//! use plimsoll::protocol::Batch;
//! use plimsoll::store::MemoryVersions;
//! use plimsoll::thunk::{Evaluation, Registry, Thunk};
//! use plimsoll::time::{Hlc, Timestamp};
//! use plimsoll::transaction::{Abort, Footprint, Record, ThunkId};
//! use serde::{Deserialize, Serialize};
//!
//! /// Moves money, unless there is too little.
//! #[derive(Serialize, Deserialize)]
//! struct Transfer {
//!     from: String,
//!     to: String,
//!     amount: i64,
//! }
//!
//! impl Thunk for Transfer {
//!     const NAME: &'static str = "transfer";
//!     const VERSION: u32 = 1;
//!     type Output = i64;
//!
//!     fn footprint(&self) -> Footprint {
//!         Footprint::new().write(Key::from(self.from.as_str())).write(Key::from(self.to.as_str()))
//!     }
//!
//!     fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
//!         let (from, to) = (Key::from(self.from.as_str()), Key::from(self.to.as_str()));
//!         let balance = evaluation.get_as::<i64>(&from)?.unwrap_or(100) - self.amount;
//!         if balance < 0 {
//!             return Err(Abort::Refused(format!("{} lacks {}", self.from, -balance)));
//!         }
//!         let other = evaluation.get_as::<i64>(&to)?.unwrap_or(100) + self.amount;
//!         evaluation.put_as(&from, &balance)?;
//!         evaluation.put_as(&to, &other)?;
//!         Ok(balance)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut registry = Registry::with_builtins();
//! registry.register::<Transfer>()?;
//! let registry = Arc::new(registry);
//!
//! // What a coordinator does with a client's request: admit it, and stamp it.
//! let now_ms = 1_800_000_000_000;
//! let transfer = Transfer { from: "ann".into(), to: "bob".into(), amount: 30 };
//! let id = TransactionId::from_parts(now_ms, *b"random ten");
//! let transaction = client::admit(&registry, id, ThunkId::of::<Transfer>(), client::arguments(&transfer)?)?;
//! let hlc = Hlc::from_unix_millis(now_ms);
//! let record = Arc::new(Record { hlc, transaction });
//!
//! // What every replica does once the watermark has passed it.
//! let mut executor = SerialExecutor::new(registry, MemoryVersions::default());
//! let timestamp = Timestamp { hlc, node: NodeId::new(1) };
//! let evaluated = executor.evaluate(&Batch { records: vec![(timestamp, record)], upto: hlc });
//! assert_eq!(client::output::<Transfer>(&evaluated.settlements[0].outcome)?, Ok(70));
//! # Ok(())
//! # }
//! ```

// -- floor 0: words
pub mod id;
pub mod key;
pub mod limits;
pub mod time;
// -- floor 1: arithmetic
pub mod codec;
pub mod lattice;
pub mod quorum;
// -- floor 2: transactions
pub mod table;
pub mod thunk;
pub mod transaction;
// -- floor 3: memory
pub mod store;
// -- floor 4: protocol and evaluation
pub mod executor;
pub mod protocol;
// -- floor 5: clients, and drivers without threads
pub mod client;
pub mod replica;
// -- roof
pub mod net;
pub mod runtime;

pub use runtime::Plimsoll;
