//! With which storage each peer has come: a node that has lost its disk does not come back under its old name.
//!
//! Realises the identity part of section 3.6 of the design. A member whose disk was replaced has forgotten what it acknowledged and promised;
//! as the same member it could help a majority to decide against what another majority rests on. So everybody keeps the storage that a
//! peer first came with, and takes nothing from that peer with another one. The driver asks, since only the transport knows who
//! speaks with which storage.

use std::collections::BTreeMap;

use crate::id::{NodeId, StorageId};

/// The storage of each peer, as it was first met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    storages: BTreeMap<NodeId, StorageId>,
}

/// A peer has come with another storage than before. Nothing that it says may be used: it is to be given a new node id, and to join as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{peer} comes with storage {found}, but it is known with {known}: its disk was lost or replaced, so what it had acknowledged is gone; \
     let it join under a new node id in the place of {peer}"
)]
pub struct ForeignStorage {
    /// The peer.
    pub peer: NodeId,
    /// The storage that it first came with.
    pub known: StorageId,
    /// The storage that it comes with now.
    pub found: StorageId,
}

/// Whether a peer has come before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// With the same storage.
    Again,
    /// For the first time: that it did must be durable before anything that it says is used.
    First,
}

impl Peers {
    /// Those that were met before the node started, as the driver has made them durable.
    pub fn new(met: impl IntoIterator<Item = (NodeId, StorageId)>) -> Self {
        Self {
            storages: met.into_iter().collect(),
        }
    }

    /// A peer comes with this storage.
    ///
    /// *Errors* when it is known with another one.
    pub fn meet(&mut self, peer: NodeId, storage: StorageId) -> Result<Meeting, ForeignStorage> {
        match self.storages.get(&peer) {
            None => {
                self.storages.insert(peer, storage);
                Ok(Meeting::First)
            }
            Some(known) if *known == storage => Ok(Meeting::Again),
            Some(known) => Err(ForeignStorage {
                peer,
                known: *known,
                found: storage,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;

    #[test]
    fn who_comes_with_another_disk_is_refused_and_with_the_first_one_taken_in_again() {
        let (first, other) = (StorageId::new(1), StorageId::new(2));
        let mut peers = Peers::new([(node(2), first)]);
        assert_eq!(peers.meet(node(2), first), Ok(Meeting::Again));
        assert_eq!(peers.meet(node(3), other), Ok(Meeting::First));
        assert_eq!(peers.meet(node(3), other), Ok(Meeting::Again));
        let refused = peers.meet(node(3), first).unwrap_err();
        assert_eq!((refused.peer, refused.known, refused.found), (node(3), other, first));
        assert_eq!(peers.meet(node(3), other), Ok(Meeting::Again), "the first one stays");
    }
}
