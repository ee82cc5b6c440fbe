//! The observer of the invariants: silent over random sound runs, and awake at every planted violation.
//!
//! A violation is planted after a sound beginning, in what the observer is told: a step of a real node with an effect that it never
//! wanted, a real node that was told lies, a disk that has synced something else. Every other test on the desk, and every run of the
//! simulator, shows that it is silent where nothing is planted.

#[path = "../cluster/mod.rs"]
mod cluster;

mod bounds;
mod ends;
mod order;
mod plant;
mod streams;
mod swarm;
