//! Plimsoll: a replicated, strictly serializable transaction database that a Rust program links as a library.
//!
//! A transaction is a deterministic [thunk](thunk::Thunk) with a static footprint: the keys that it reads and writes are known
//! before it runs. The node that receives it stamps it with a hybrid-clock timestamp and writes it blindly to a
//! majority; once a gossiped watermark has passed the timestamp, every replica evaluates it in timestamp order. Conflicts
//! cost nothing: there are no locks, no aborts because of others, and no retries.
//!
//! # From nothing
//!
//! ```toml
//! [dependencies]
//! plimsoll = { path = "../plimsoll" } # where you have it
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! Write a thunk, open a database with it, submit, read:
//!
//! ```
//! use plimsoll::Plimsoll;
//! use plimsoll::protocol::ReadMode;
//! use plimsoll::table::Table;
//! use plimsoll::thunk::{Evaluation, Thunk};
//! use plimsoll::transaction::{Abort, Footprint};
//! use serde::{Deserialize, Serialize};
//!
//! const ACCOUNTS: Table<String, i64> = Table::new("accounts");
//!
//! /// Moves money, unless there is too little. Its fields are the arguments.
//! #[derive(Serialize, Deserialize)]
//! struct Transfer {
//!     from: String,
//!     to: String,
//!     amount: i64,
//! }
//!
//! impl Thunk for Transfer {
//!     const NAME: &'static str = "bank.transfer";
//!     const VERSION: u32 = 1;
//!     type Output = i64;
//!
//!     /// All that it may touch, known before it runs.
//!     fn footprint(&self) -> Footprint {
//!         Footprint::new().write(ACCOUNTS.key(&self.from)).write(ACCOUNTS.key(&self.to))
//!     }
//!
//!     /// What it does: on every replica, at the transaction's place in the one order of all.
//!     fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
//!         let left = ACCOUNTS.get(evaluation, &self.from)?.unwrap_or(100) - self.amount;
//!         if left < 0 {
//!             return Err(Abort::Refused(format!("{} lacks {}", self.from, -left)));
//!         }
//!         ACCOUNTS.put(evaluation, &self.from, &left)?;
//!         let more = ACCOUNTS.get(evaluation, &self.to)?.unwrap_or(100) + self.amount;
//!         ACCOUNTS.put(evaluation, &self.to, &more)?;
//!         Ok(left)
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // Three replicas in this process, in memory; `.folder("bank")` keeps them on disk.
//!     let bank = Plimsoll::builder().replicas(3).thunk::<Transfer>().open().await?;
//!
//!     let transfer = Transfer { from: "ann".into(), to: "bob".into(), amount: 30 };
//!     assert_eq!(bank.submit(&transfer).await?.output, 70);
//!     assert_eq!(bank.row(ReadMode::Strict, ACCOUNTS, "bob").await?, Some(130));
//!
//!     let too_much = Transfer { amount: 71, ..transfer };
//!     let error = bank.submit(&too_much).await.expect_err("there is too little");
//!     assert_eq!(error.to_string(), "aborted: ann lacks 1");
//!
//!     // What is read decides what is touched: who has more gives the other half of the difference, whoever that is by then.
//!     let levelled = bank.staged(async |stage| {
//!         let ann = stage.row(ACCOUNTS, "ann").await?.unwrap_or(100);
//!         let bob = stage.row(ACCOUNTS, "bob").await?.unwrap_or(100);
//!         let (from, to) = if ann > bob { ("ann", "bob") } else { ("bob", "ann") };
//!         Ok(Transfer { from: from.into(), to: to.into(), amount: (ann - bob).abs() / 2 })
//!     });
//!     assert_eq!(levelled.await?.committed.output, 100);
//!
//!     bank.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! # Where to go next
//!
//! - `docs/thunks.md` teaches transactions from nothing to everything, with each mistake and what it says: [`Thunk`](thunk::Thunk),
//!   [`Footprint`](transaction::Footprint), [`Evaluation`](thunk::Evaluation), [`Abort`](transaction::Abort).
//! - **Databases**: a [`Plimsoll`] is a handle on one [in this process](Plimsoll::builder), on one as [a node of a cluster](Plimsoll::node), or on one
//!   [elsewhere](Plimsoll::remote). What a caller is told when there is no answer: [`runtime::SubmitError`], [`runtime::ReadFailed`].
//! - **Submitting**: [`submit`](Plimsoll::submit); [`submit_as`](Plimsoll::submit_as) under an id of one's own ([`new_id`](Plimsoll::new_id));
//!   [`status`](Plimsoll::status) and [`resolve`](Plimsoll::resolve), which end doubt; [`staged`](Plimsoll::staged); [`dry_run`](Plimsoll::dry_run).
//! - **Reading**: [`get`](Plimsoll::get), [`scan`](Plimsoll::scan), [`row`](Plimsoll::row), [`rows`](Plimsoll::rows), [`read`](Plimsoll::read) with a
//!   [`ReadMode`](protocol::ReadMode); [`watch`](Plimsoll::watch) for changes.
//! - **Without thunks of one's own**: [`thunk::Put`], [`thunk::Write`] with its conflict [intents](thunk::Intent), [`thunk::Operations`], merge
//!   [operators](thunk::Operator).
//! - **Typed rows**: [`table::Table`], and `docs/tables.md`.
//! - **Bounds** of everything, each with what exceeding it gives: [`limits`].
//! - **Testing** under simulated faults: `plimsoll-sim` and `docs/testing.md`. **Upgrades** of code: `docs/upgrading.md`, [`register`](Plimsoll::register).
//!
//! Below the handle are the protocol core ([`protocol`]) without I/O, the executor behind it ([`executor`]), what a driver of both does ([`replica`],
//! [`client`]), and what lies on disk ([`store`]); the simulator drives the same. `docs/architecture.md` shows the house and `docs/protocol.md` argues why it is safe.

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

/// The example of the README is compiled and run with those of the code.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
