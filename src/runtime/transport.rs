//! What carries messages from node to node. They may be lost on the way: the protocol asks again.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::replica::Event;
use crate::id::NodeId;
use crate::net::Peers;
use crate::protocol::message::Message;

/// The way to the other nodes.
pub(crate) trait Transport: Send + 'static {
    /// Puts messages on their way, and waits for nothing.
    fn send(&mut self, to: NodeId, messages: Vec<Message>);
}

/// Channels to the replicas of the same process, in place of a network. A replica that is flooded loses frames, as on one.
pub(crate) struct Channels {
    own: NodeId,
    inboxes: BTreeMap<NodeId, Sender<Event>>,
}

impl Channels {
    pub(crate) fn new(own: NodeId, inboxes: BTreeMap<NodeId, Sender<Event>>) -> Self {
        Self { own, inboxes }
    }
}

impl Transport for Channels {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        let Some(inbox) = self.inboxes.get(&to) else {
            return;
        };
        let frame = Event::Frame {
            from: self.own,
            messages,
        };
        match inbox.try_send(frame) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => tracing::debug!(from = %self.own, %to, "a frame is lost: too many wait"),
            // That replica has stopped.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

impl Transport for Arc<Peers> {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        Peers::send(self, to, messages);
    }
}
