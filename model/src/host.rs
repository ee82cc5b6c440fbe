//! One node with its disk and its executor.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use plimsoll::id::{Epoch, NodeId, TransactionId};
use plimsoll::protocol::node::Node;
use plimsoll::protocol::{Batch, LogEntry, SyncMark};
use plimsoll::time::{Hlc, Monotonic, Timestamp};

/// The place of a record: its epoch, its coordinator, its time.
pub type Place = (Epoch, NodeId, Hlc);

/// One node, running or not, and what is on its disk.
#[derive(Clone)]
pub struct Host {
    /// The node; absent while it is down.
    pub node: Option<Node>,
    /// The durable entries.
    pub log: Vec<Arc<LogEntry>>,
    /// What was written and is not durable, by the write.
    pub pending: Vec<(SyncMark, Vec<Arc<LogEntry>>)>,
    /// The batch that is out.
    pub work: Option<Batch>,
    /// What it has evaluated since it started, in order.
    pub sequence: Vec<(Timestamp, TransactionId)>,
    /// Its monotonic clock.
    pub now: Monotonic,
    hash: u64,
}

impl Host {
    /// A new node and its empty disk.
    pub fn new(node: Node) -> Self {
        Self {
            node: Some(node),
            log: Vec::new(),
            pending: Vec::new(),
            work: None,
            sequence: Vec::new(),
            now: Monotonic(1),
            hash: 0,
        }
    }

    /// Everything that was written is durable now. *Gives* the last mark.
    pub fn sync(&mut self) -> Option<SyncMark> {
        let last = self.pending.last().map(|(mark, _)| *mark);
        let entries = self.pending.drain(..).flat_map(|(_, entries)| entries);
        self.log.extend(entries);
        last
    }

    /// The node is gone. Of what was written and not synced, the first `kept` writes are on the disk all the same.
    pub fn crash(&mut self, kept: usize) {
        self.pending.truncate(kept);
        self.sync();
        self.node = None;
        self.work = None;
        self.sequence.clear();
    }

    /// Whether the record is durable here.
    pub fn holds(&self, (epoch, coordinator, hlc): Place) -> bool {
        self.log.iter().any(|entry| match &**entry {
            LogEntry::Records {
                epoch: of_epoch,
                coordinator: of,
                records,
            } => *of_epoch == epoch && *of == coordinator && records.iter().any(|record| record.hlc == hlc),
            _ => false,
        })
    }

    /// Computes the hash of what it is now; the host must not change afterwards.
    pub fn seal(&mut self) {
        let mut hasher = DefaultHasher::new();
        (&self.node, &self.log, &self.pending, &self.sequence, self.now).hash(&mut hasher);
        self.work.as_ref().map(|batch| batch.upto).hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}
