//! Real nodes: the production core, driven with threads, clocks and entropy.
//!
//! Realises section 7 of the design. Each replica has three threads: one steps the [`Node`](crate::protocol::node::Node) and sees to its time, one
//! writes its log with group commit, one evaluates, reads and serves snapshots. They share nothing but channels, so that the order of
//! steps is the protocol's alone; what the contract at the head of [`protocol`](crate::protocol) demands of a driver is in `replica`. A thread
//! that panics stops its replica: the others get no more frames of it, and its callers an error.
//!
//! What is here: replicas within one process, in memory or in a folder ([`Plimsoll::builder`]). Tests: `tests/embedded.rs`.

mod builder;
mod database;
mod error;
mod evaluator;
mod log;
mod replica;
mod storage;
mod time;
mod transport;

pub use builder::{Builder, OpenError};
pub use database::{Committed, Plimsoll, Rows};
pub use error::{ChangeFailed, ReadFailed, ResolveFailed, SubmitError, Unavailable, Uncertain};
pub use replica::ReplicaStatus;
