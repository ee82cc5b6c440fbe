//! A cluster of nodes over QUIC on loopback, each with its folder and certificate, and clients elsewhere.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::id::{ClusterId, NodeId};
use plimsoll::net::{Address, Authority, Credentials};

/// Longer than anything here takes, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster that is to be: its authority, a folder, and an address for each node.
pub(crate) struct Cluster {
    authority: Authority,
    pub(crate) folder: PathBuf,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Cluster {
    /// Of a test with this name, so many nodes.
    pub(crate) fn new(name: &str, nodes: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("plimsoll-nodes-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let sockets: Vec<_> = (0..nodes)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port"))
            .collect();
        Self {
            authority: Authority::new(ClusterId::new(7), None).expect("certificates are made and read"),
            folder,
            addresses: sockets
                .iter()
                .map(|socket| socket.local_addr().expect("it is bound"))
                .collect(),
        }
    }

    pub(crate) fn address(&self, node: u32) -> Address {
        Address::Socket(self.addresses[node as usize - 1])
    }

    pub(crate) fn credentials(&self, node: Option<u32>) -> Credentials {
        let issued = match node {
            Some(node) => self
                .authority
                .node(NodeId::new(node), None)
                .expect("certificates are made and read"),
            None => self.authority.client(None).expect("certificates are made and read"),
        };
        Credentials::from_pem(&issued.certificate, &issued.key, self.authority.certificate())
            .expect("certificates are made and read")
    }

    /// Opens a node of a cluster whose first members are 1 to 3; it is told where these are.
    pub(crate) async fn open(&self, node: u32) -> Plimsoll {
        let builder = Plimsoll::node(self.credentials(Some(node)))
            .folder(self.folder.join(format!("node-{node}")))
            .listen(self.addresses[node as usize - 1])
            .members([1, 2, 3]);
        let peers = (1..=3).filter(|peer| *peer != node);
        let builder = peers.fold(builder, |builder, peer| builder.peer(peer, self.address(peer)));
        builder.open().await.expect("it opens")
    }

    pub(crate) async fn client(&self, nodes: &[u32]) -> Plimsoll {
        let mut builder = Plimsoll::remote(self.credentials(None)).deadline(PATIENCE);
        for node in nodes {
            builder = builder.node(*node, self.address(*node));
        }
        builder.open().await.expect("it opens")
    }
}
