//! What every store must do. Each suite is a set of functions over the trait, so that all implementations are put through the same.

mod flushed;
mod log;
mod medium;
mod versions;

use plimsoll::store::{MemoryLog, MemoryVersions};

versions::suite!(versions_in_memory, MemoryVersions::default());
versions::suite!(versions_on_disk, flushed::Restless::new(3));
versions::suite!(versions_on_disk_flushed_with_every_write, flushed::Restless::new(1));
versions::suite!(versions_on_disk_not_flushed, flushed::Restless::new(u32::MAX));
log::suite!(log_in_memory, MemoryLog::default(), MemoryLog::crashed);
