//! What every store must do. Each suite is a set of functions over the trait, so that all implementations are put through the same.

mod disk;
mod folder;
mod log;
mod segments;
mod simulated;
mod verified;
mod versions;

use plimsoll::store::disk::{Crash, SimulatedDisk};
use plimsoll::store::{MemoryLog, MemoryVersions};

versions::suite!(versions_in_memory, MemoryVersions::default());
log::suite!(log_in_memory, MemoryLog::default(), MemoryLog::crashed);
log::suite!(log_in_segments, segments::OnDisk::empty(), segments::OnDisk::crashed);
disk::suite!(
    disk_in_a_folder,
    folder::ScratchDisk::new(),
    folder::ScratchDisk::restart
);
disk::suite!(disk_simulated, SimulatedDisk::new(1), |disk: SimulatedDisk| disk
    .crash(Crash::LoseAll));
