//! The stores of the replicas of one folder: made, or opened and replayed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builder::OpenError;
use crate::id::{ClusterId, NodeId, StorageId};
use crate::protocol::{LogEntry, Recovered};
use crate::replica::{DiskState, Identity, ReplicaLog, StateOptions};
use crate::store::StoreError;
use crate::store::disk::{Disk, FolderDisk};
use crate::store::segments::{SegmentLog, SegmentOptions};
use crate::thunk::Registry;

/// Bytes of records after which a part of a log is dropped as a whole.
pub(crate) const RUN_BYTES: usize = 1 << 20;

/// Bytes of one segment of a log: it is filled with zeros when it is made, so a small one opens a small database quickly.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Entries between two lines of progress.
const PROGRESS_ENTRIES: u64 = 100_000;

/// A replica's store, and what was found in it.
pub(crate) struct Opened {
    pub(crate) identity: Identity,
    pub(crate) log: ReplicaLog<SegmentLog<LogEntry>>,
    pub(crate) recovered: Recovered,
    pub(crate) state: DiskState,
}

/// The stores of these nodes in `folder`, each in a folder of its own; made if there are none.
pub(crate) fn open_all(folder: &Path, nodes: &[NodeId], registry: &Arc<Registry>) -> Result<Vec<Opened>, OpenError> {
    let found = fs::read_dir(folder).map_or(0, |entries| {
        let names = entries.flatten().map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("replica-"))
            .count()
    });
    if found > 0 && found != nodes.len() {
        return Err(OpenError::OtherReplicas {
            folder: folder.to_owned(),
            found,
            asked: nodes.len(),
        });
    }
    let mut cluster = ClusterId::new(uuid::Uuid::new_v4().as_u128());
    let mut stores: Vec<Opened> = Vec::new();
    for node in nodes {
        let disk = FolderDisk::open(folder_of(folder, *node))?;
        let opened = open(Arc::new(disk), *node, cluster, registry)?;
        if let Some(first) = stores.first()
            && first.identity.cluster != opened.identity.cluster
        {
            return Err(StoreError::Foreign {
                folder: folder_of(folder, *node).display().to_string(),
                found: format!("cluster {}", opened.identity.cluster),
                expected: format!("cluster {}", first.identity.cluster),
            }
            .into());
        }
        cluster = opened.identity.cluster;
        stores.push(opened);
    }
    Ok(stores)
}

/// The folder of one of the replicas in `folder`.
pub(crate) fn folder_of(folder: &Path, node: NodeId) -> PathBuf {
    folder.join(format!("replica-{}", node.number()))
}

/// The store of `node` in `folder`; made if there is none.
pub(crate) fn open_one(
    folder: &Path,
    node: NodeId,
    cluster: ClusterId,
    registry: &Arc<Registry>,
) -> Result<Opened, StoreError> {
    let disk = FolderDisk::open(folder)?;
    let opened = open(Arc::new(disk), node, cluster, registry)?;
    let found = opened.identity.cluster;
    if found != cluster {
        return Err(StoreError::Foreign {
            folder: folder.display().to_string(),
            found: format!("cluster {found}"),
            expected: format!("cluster {cluster}"),
        });
    }
    Ok(opened)
}

/// The store of `node` on `disk`. *Given* the cluster of one that is to be made.
fn open(disk: Arc<dyn Disk>, node: NodeId, cluster: ClusterId, registry: &Arc<Registry>) -> Result<Opened, StoreError> {
    let identity = match Identity::load(&*disk)? {
        Some(identity) => identity,
        None => {
            let storage = StorageId::new(uuid::Uuid::new_v4().as_u128());
            let identity = Identity { cluster, node, storage };
            identity.create(&*disk)?;
            identity
        }
    };
    if identity.node != node {
        return Err(StoreError::Foreign {
            folder: disk.path(),
            found: identity.node.to_string(),
            expected: node.to_string(),
        });
    }
    let state = DiskState::open(Arc::clone(&disk), Arc::clone(registry), StateOptions::default())?;
    let options = SegmentOptions {
        segment_bytes: SEGMENT_BYTES,
        ..SegmentOptions::default()
    };
    let (segments, opened) = SegmentLog::open(disk, identity.storage, options, &mut |_, _| {})?;
    if opened.is_torn {
        tracing::info!(%node, "what a crash had torn behind the end of the log was left out");
    }
    let (log, recovered) = ReplicaLog::open(segments, RUN_BYTES, &mut |entries| {
        if entries.is_multiple_of(PROGRESS_ENTRIES) {
            tracing::info!(%node, entries, of = opened.entries, "replays its log");
        }
    })?;
    state.check_reach(log.needs_versions())?;
    Ok(Opened {
        identity,
        log,
        recovered,
        state,
    })
}
