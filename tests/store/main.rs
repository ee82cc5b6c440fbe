//! What every store must do. Each suite is a set of functions over the trait, so that all implementations are put through the same.

mod log;
mod versions;

use plimsoll::store::{MemoryLog, MemoryVersions};

versions::suite!(versions_in_memory, MemoryVersions::default());
log::suite!(log_in_memory, MemoryLog::default(), MemoryLog::crashed);
