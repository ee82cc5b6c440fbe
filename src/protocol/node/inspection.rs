//! What an observer of the whole cluster may look at: read-only, and of no use to the protocol itself.

use super::super::acceptor::Acceptor;
use super::super::decree::Decree;
use super::super::stream::Stream;
use super::Node;
use crate::id::{Epoch, NodeId};
use crate::time::Hlc;

impl Node {
    /// Which node this is.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// Every decree installed here, ascending.
    pub(crate) fn decrees(&self) -> &[Decree] {
        &self.decrees
    }

    /// What this member has promised and accepted for the end of the current epoch.
    pub(crate) fn vote(&self) -> &Acceptor {
        self.succession.acceptor()
    }

    /// What a majority durably holds of the stream of `coordinator` in the current epoch, as far as this node knows.
    pub(crate) fn stable(&self, coordinator: NodeId) -> Hlc {
        self.period.watermark().stable(coordinator)
    }

    /// The streams of the epochs that are not forgotten yet, the oldest epoch first, ascending by coordinator.
    pub(crate) fn streams_held(&self) -> impl Iterator<Item = (Epoch, NodeId, &Stream)> {
        self.periods().flat_map(|period| {
            let epoch = period.membership().epoch;
            let streams = period.streams().iter();
            streams.map(move |(coordinator, stream)| (epoch, *coordinator, stream))
        })
    }
}
