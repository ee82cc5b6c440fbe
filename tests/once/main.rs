//! Exactly once, from outside: an id that is submitted often, at several nodes, over stops, epochs and restarts, has one effect and one outcome.
//!
//! What an executor makes of ids is in `tests/resolve.rs`, what staged transactions make of them in `tests/staged/restarted.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, and helpers of tests: a failed expectation is to stop them"
)]

#[path = "../cluster/mod.rs"]
mod cluster;
#[path = "../loopback/mod.rs"]
mod loopback;

mod increments;
mod nodes;
mod restarts;
mod support;
mod window;
mod zombie;
