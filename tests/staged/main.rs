//! Staged transactions on a database of three replicas in this process: what the stages saw is so at the timestamp of their end.

#![allow(
    clippy::unwrap_used,
    reason = "these are tests, and helpers of tests: a failed expectation is to stop them"
)]

mod contended;
mod driven;
mod guarded;
mod model;
mod restarted;
mod support;
