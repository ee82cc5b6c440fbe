//! What can be done for a replica whose stores are damaged.
//!
//! Realises the repair of section 5 of the design. A node may go on as the member that it was only with everything that it has
//! acknowledged, promised and voted: others rely on it. Versions alone can be had again from a log that is whole. Of all else
//! something is lost that a majority may have been counted with, so such a node comes back as a new one, which its peers fill, and
//! never speaks for the old one. Tests: `tests/store/repair.rs`.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::identity::Identity;
use super::log::ReplicaLog;
use super::state::DiskState;
use crate::protocol::LogEntry;
use crate::store::disk::Disk;
use crate::store::segments::{SegmentLog, SegmentOptions};
use crate::store::{History, StoreError};

/// What a look at the stores of a replica has come to.
#[derive(Clone, Debug)]
pub enum Repair {
    /// Nothing is damaged.
    Sound,
    /// The versions were damaged and are dropped. The log is whole: the node goes on as the member that it was, and evaluates everything in
    /// it again.
    Dropped(StoreError),
    /// Something is lost that the node has acknowledged or voted with. Nothing was dropped. Start a node with a new number in an empty
    /// folder, and change the members so that it joins in the place of this one: see [`Change::Replace`](crate::protocol::Change::Replace).
    Replace(StoreError),
}

/// Looks at everything in the stores on `disk`, which no node has open, and repairs what can be.
///
/// *Errors*: the medium fails, or the stores are of a later format.
///
/// *Cost*: reads every byte that is in use.
pub fn repair(disk: &Arc<dyn Disk>, segments: SegmentOptions, cache_bytes: usize) -> Result<Repair, StoreError> {
    let lost = |error| match error {
        StoreError::Damaged { .. } => Ok(Repair::Replace(error)),
        error => Err(error),
    };
    let identity = match Identity::load(&**disk) {
        Ok(Some(identity)) => identity,
        Ok(None) => return Ok(Repair::Sound),
        Err(error) => return lost(error),
    };
    let opened = SegmentLog::<LogEntry>::open(Arc::clone(disk), identity.storage, segments, &mut |_, _| {});
    let replayed = opened.and_then(|(log, _)| ReplicaLog::open(log, usize::MAX, &mut |_| {}));
    let recovered = match replayed {
        Ok((_, recovered)) => recovered,
        Err(error) => return lost(error),
    };
    match verify_versions(disk, cache_bytes) {
        Ok(()) => Ok(Repair::Sound),
        Err(error @ StoreError::Damaged { .. }) if recovered.is_whole() => {
            DiskState::discard_versions(&**disk)?;
            Ok(Repair::Dropped(error))
        }
        Err(error) => lost(error),
    }
}

/// Reads all versions and all outcomes.
fn verify_versions(disk: &Arc<dyn Disk>, cache_bytes: usize) -> Result<(), StoreError> {
    let versions = DiskState::open_versions(disk, cache_bytes)?;
    versions.history(versions.oldest(), None, &mut |_, _, _| ControlFlow::Continue(()));
    versions.settled(None, &mut |_, _, _| ControlFlow::Continue(()));
    versions.checked(())
}
