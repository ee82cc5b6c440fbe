//! Judges from outside: what clients and replicas saw, held against what was promised.
//!
//! Realises the checkers of section 8 of the design. Nothing here knows the protocol: a checker sees a [`History`] of
//! operations, or plain samples of replica state, and gives a [`Verdict`]. Every checker is *sound*: it accuses only where no
//! explanation is left; what it cannot decide it calls unknown. Planted faults that each one must catch stand in `tests`.
//!
//! | checker | sees | finds |
//! |---|---|---|
//! | [`well_formed`] | history | a recorder's mistakes, which would make every other verdict worthless |
//! | [`list_append`] | history | anomalies up to strict serializability, from the orders that lists reveal |
//! | [`registers`] | history | the same, from the orders that can be inferred of registers |
//! | [`strict_serializability`] | history | both at once, with cycles that run through lists and registers |
//! | [`witness`] | history | reads that the claimed timestamps do not explain, and claims against real time |
//! | [`replica_agreement`] | [`ReplicaTrace`]s | replicas that evaluated differently |
//! | [`monotone_watermarks`] | [`WatermarkSample`]s | watermarks and evaluated bounds that go back |
//! | [`transfer_total`], [`counter_sums`] | history, [`FinalCounters`] | money made or lost, additions lost or repeated |
//! | [`one_ring`] | history, [`FinalCounters`] | transactions in stages that were evaluated on something else than they had read |
//! | [`liveness`] | history | operations that nobody answered |
//!
//! [`Checks`] runs those that fit a workload.
//!
//! [`History`]: crate::history::History

mod checks;
mod cycle;
mod graph;
mod invariants;
mod lists;
mod operation;
mod registers;
mod replicas;
mod serializability;
mod subset;
#[cfg(test)]
mod tests;
mod verdict;
mod watermarks;
mod witness;

pub use checks::{Checks, Observed, Workload};
pub use invariants::{FinalCounters, counter_sums, liveness, one_ring, transfer_total, well_formed};
pub use replicas::{EvaluatedTransaction, FinalEntry, ReplicaTrace, replica_agreement};
pub use serializability::{list_append, registers, strict_serializability};
pub use verdict::{CycleStep, EdgeKind, OperationEvidence, Verdict, Violation};
pub use watermarks::{WatermarkSample, monotone_watermarks};
pub use witness::{witness, witness_from};
