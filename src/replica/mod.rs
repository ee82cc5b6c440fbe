//! What a driver does with a store: the protocol's log on a medium.
//!
//! Realises the driver's half of section 5 of the design, for real nodes and for the simulator alike. It knows entries and bounds, and
//! nothing of threads and time.

mod log;

pub use log::ReplicaLog;
