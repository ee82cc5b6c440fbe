//! Plimsoll: a replicated, strictly serializable transaction database that a Rust program links as a library.

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
pub mod thunk;
pub mod transaction;
// -- floor 3: memory
pub mod store;
// -- floor 4: protocol and evaluation
pub mod executor;
pub mod protocol;
// -- floor 5: clients
pub mod client;
