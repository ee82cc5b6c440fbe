//! Real nodes: the production core, driven with threads, clocks and entropy.
//!
//! Realises section 7 of the design. Each replica has three threads: one steps the [`Node`](crate::protocol::node::Node) and sees to its time, one
//! writes its log with group commit, one evaluates, reads and serves snapshots. They share nothing but channels, so that the order of
//! steps is the protocol's alone; what the contract at the head of [`protocol`](crate::protocol) demands of a driver is in `replica`. A thread
//! that panics stops its replica: the others get no more frames of it, and its callers an error.
//!
//! A [`Plimsoll`] is a handle on a database, the same wherever its replicas are: all in this process, in memory or in a folder
//! ([`Plimsoll::builder`]); one in this process and the others elsewhere ([`Plimsoll::node`]); or all elsewhere ([`Plimsoll::remote`]), where each is
//! called over the network in the place of one that is here. A [`Watch`] follows what is committed. Tests: `tests/embedded.rs`, `tests/watch.rs`,
//! `tests/nodes.rs`, `tests/table/`, `tests/staged/`.

mod builder;
mod calls;
mod changes;
mod code;
mod connect;
mod database;
mod directory;
mod dry_run;
mod error;
mod evaluator;
mod log;
mod node;
mod remote;
mod replica;
mod shared;
mod staged;
mod storage;
mod tables;
mod thunks;
mod time;
mod transport;
mod watch;
mod wire;

pub use builder::{Builder, OpenError};
pub use connect::RemoteBuilder;
pub use database::{Committed, Members, Plimsoll, Rows};
pub use dry_run::DryRun;
pub use error::{
    ChangeFailed, DryRunFailed, ReadFailed, ResolveFailed, StagedError, SubmitError, Unavailable, Uncertain, WatchError,
};
pub use node::NodeBuilder;
pub use replica::ReplicaStatus;
pub use staged::StagedCommitted;
pub use watch::{Batch, Watch};
