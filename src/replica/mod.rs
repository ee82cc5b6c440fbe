//! What a driver does with a store: whose it is, the protocol's log, and what was evaluated.
//!
//! Realises the driver's half of section 5 of the design, for real nodes and for the simulator alike. It knows entries and bounds, and
//! nothing of threads and time.

mod divergence;
mod identity;
mod log;
mod repair;
mod state;

pub use divergence::Recent;
pub use identity::Identity;
pub use log::ReplicaLog;
pub use repair::{Repair, repair};
pub use state::{DiskState, MemoryState, ReplicaState, StateOptions};
