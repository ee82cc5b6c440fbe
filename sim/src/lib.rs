//! A discrete-event simulator of whole Plimsoll clusters. Tests of one's own thunks begin at [`Kit`].

pub mod bound;
pub mod bundled;
pub mod check;
pub mod client;
pub mod clock;
pub mod cost;
pub mod delays;
pub mod history;
pub mod kit;
pub mod network;
pub mod port;
pub mod queue;
pub mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod swarm;
pub mod sweep;
pub mod topology;
pub mod workload;
pub mod world;

pub use kit::Kit;

/// The examples of `docs/testing.md`, to be compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct TestingPage;
