//! Evaluation behind the core: ordered records in, outcomes and versions out.
//!
//! Realises section 3.3 of the design. Any executor must give what [`SerialExecutor`] gives: the result of evaluating every record
//! in timestamp order, each over all that came before.

mod assembly;
mod changes;
mod checkpoint;
mod chunk;
mod digest;
mod durable;
mod exchange;
mod outcomes;
mod recent;
mod resolve;
mod serial;

pub use assembly::{Assembly, ChunkError, Progress};
pub use changes::{Changes, ChangesQuery, KeyChange, Place, Search, Sought};
pub use checkpoint::{Checkpoint, Heading};
pub use chunk::{Chunk, ChunkCursor};
pub use exchange::{SnapshotIntake, SnapshotSource};
pub use resolve::{Known, Status};
pub use serial::{Answer, DryRun, ReadError, SerialExecutor};
