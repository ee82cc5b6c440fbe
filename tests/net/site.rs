//! A node's network on loopback, as the tests drive it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll::id::{ClusterId, Epoch, NodeId};
use plimsoll::net::{Authority, Bounds, Caller, Credentials, Endpoint, OpenError, Peers, Refused, Service};
use plimsoll::protocol::message::{Fetch, Message};
use plimsoll::time::Hlc;
use tokio::sync::mpsc::{Receiver, channel};

/// The cluster of all tests.
pub(crate) const CLUSTER: ClusterId = ClusterId::new(0x0123_4567_89ab_cdef_0011_2233_4455_6677);

/// How long a test may take.
const TEST_TIME_MAX: Duration = Duration::from_secs(60);

/// How long to wait before looking again whether something has happened.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) fn node(number: u32) -> NodeId {
    NodeId::new(number)
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// Runs a test within its bound, on a runtime of two threads.
pub(crate) fn within(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("threads");
    runtime.block_on(async {
        tokio::time::timeout(TEST_TIME_MAX, test)
            .await
            .expect("the test ends in time")
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// Waits until something holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

pub(crate) fn authority() -> Authority {
    Authority::new(CLUSTER, None).expect("entropy")
}

pub(crate) fn credentials_of_node(authority: &Authority, number: u32) -> Credentials {
    let issued = authority.node(node(number), None).expect("entropy");
    Credentials::from_pem(&issued.certificate, &issued.key, authority.certificate()).expect("what was just made")
}

pub(crate) fn credentials_of_client(authority: &Authority) -> Credentials {
    let issued = authority.client(None).expect("entropy");
    Credentials::from_pem(&issued.certificate, &issued.key, authority.certificate()).expect("what was just made")
}

/// Bounds with which calls follow each other soon, and a machine that is busy with other tests takes no connection for dead.
pub(crate) fn bounds() -> Bounds {
    Bounds {
        idle_timeout: Duration::from_secs(20),
        keep_alive: Duration::from_millis(200),
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(100),
        handshake_time_max: Duration::from_secs(2),
        ..Bounds::default()
    }
}

/// One node: its endpoint, the way to the others, and what has come from them.
pub(crate) struct Site {
    pub(crate) number: u32,
    pub(crate) endpoint: Endpoint,
    pub(crate) peers: Peers,
    pub(crate) inbox: Receiver<(NodeId, Vec<Message>)>,
}

impl Site {
    /// A node that answers requests with their bytes in reverse.
    pub(crate) fn open(authority: &Authority, number: u32) -> Self {
        Self::open_with(authority, number, loopback(), bounds()).expect("a free port")
    }

    pub(crate) fn open_with(
        authority: &Authority,
        number: u32,
        address: SocketAddr,
        bounds: Bounds,
    ) -> Result<Self, OpenError> {
        Self::open_as(&credentials_of_node(authority, number), address, bounds)
    }

    pub(crate) fn open_as(credentials: &Credentials, address: SocketAddr, bounds: Bounds) -> Result<Self, OpenError> {
        let Caller::Node(own) = credentials.caller() else {
            panic!("a site is a node's");
        };
        let endpoint = Endpoint::open(address, credentials, bounds)?;
        let (sender, inbox) = channel(1 << 16);
        let take = move |from, messages| sender.try_send((from, messages)).is_ok();
        endpoint.serve(Service::new(take, |_, mut request: Vec<u8>| async move {
            request.reverse();
            request
        }));
        let peers = Peers::new(&endpoint);
        Ok(Self {
            number: own.number(),
            endpoint,
            peers,
            inbox,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_address().expect("an open socket")
    }

    pub(crate) fn knows(&self, other: &Self) {
        self.peers.set_address(node(other.number), other.address().into());
    }

    /// Sends one numbered word after another.
    pub(crate) fn say(&self, to: u32, words: std::ops::Range<u64>) {
        for word in words {
            self.peers.send(node(to), vec![message(word)]);
        }
    }

    /// Waits until these words have come from a node, in this order and with nothing in between.
    pub(crate) async fn hears(&mut self, from: u32, words: std::ops::Range<u64>) {
        let mut heard = Vec::new();
        while heard.len() < (words.end - words.start) as usize {
            let (sender, messages) = self.inbox.recv().await.expect("the service goes on");
            assert_eq!(sender, node(from));
            heard.extend(messages.iter().map(word));
        }
        assert_eq!(heard, words.collect::<Vec<_>>());
    }

    pub(crate) fn refused(&self) -> Refused {
        self.endpoint.refused()
    }

    /// Shuts the node down, and *gives* where it was.
    pub(crate) async fn close(self) -> SocketAddr {
        let address = self.address();
        drop(self.peers);
        self.endpoint.close().await;
        address
    }
}

/// A message that carries a number.
pub(crate) fn message(word: u64) -> Message {
    Message::Fetch(Fetch {
        epoch: Epoch::FIRST,
        coordinator: node(1),
        after: Hlc::from_bits(word),
    })
}

pub(crate) fn word(message: &Message) -> u64 {
    let Message::Fetch(fetch) = message else {
        panic!("not a numbered word: {message:?}");
    };
    fetch.after.bits()
}

/// Two nodes that know each other.
pub(crate) fn pair(authority: &Authority) -> (Site, Site) {
    let (one, two) = (Site::open(authority, 1), Site::open(authority, 2));
    one.knows(&two);
    two.knows(&one);
    (one, two)
}
