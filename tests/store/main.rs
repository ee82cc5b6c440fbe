//! What every store must do. Each suite is a set of functions over the trait, so that all implementations are put through the same.

mod blocks;
mod crashes;
mod disk;
mod flushed;
mod folder;
mod log;
mod medium;
mod repair;
mod segments;
mod simulated;
mod verified;
mod versions;

use plimsoll::store::disk::{Crash, SimulatedDisk};
use plimsoll::store::{MemoryLog, MemoryVersions};

versions::suite!(versions_in_memory, MemoryVersions::default());
versions::suite!(versions_on_disk, flushed::Restless::new(3));
versions::suite!(versions_on_disk_flushed_with_every_write, flushed::Restless::new(1));
versions::suite!(versions_on_disk_retained, flushed::Restless::retaining(3));
versions::suite!(
    versions_on_disk_retained_and_flushed_with_every_write,
    flushed::Restless::retaining(1)
);
versions::suite!(versions_on_disk_not_flushed, flushed::Restless::new(u32::MAX));
log::suite!(log_in_memory, MemoryLog::default(), MemoryLog::crashed);
log::suite!(log_in_segments, segments::OnDisk::empty(), segments::OnDisk::crashed);
disk::suite!(
    disk_in_a_folder,
    folder::ScratchDisk::new(),
    folder::ScratchDisk::restart
);
disk::suite!(disk_simulated, SimulatedDisk::new(1), |disk: SimulatedDisk| disk
    .crash(Crash::LoseAll));
