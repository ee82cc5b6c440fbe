//! What the network costs on loopback: `cargo bench --bench net`. Two endpoints in one process, one runtime of two threads.
//!
//! A round trip is a frame to the other node and a frame back, or a request and its answer; so many are under way at a time. CPU is
//! that of the whole process, both ends together.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use plimsoll::id::{ClusterId, Epoch, NodeId};
use plimsoll::net::{Authority, Bounds, ClientConnection, Credentials, Endpoint, Peers, Service};
use plimsoll::protocol::message::{Fetch, Message, SnapshotChunk};
use plimsoll::time::Hlc;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;

const REQUEST_BYTES: usize = 128;
const CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 4 << 20;

struct Site {
    endpoint: Endpoint,
    peers: Peers,
    inbox: Receiver<Vec<Message>>,
}

fn open(authority: &Authority, number: u32) -> Site {
    let issued = authority.node(NodeId::new(number), None).expect("entropy");
    let credentials = Credentials::from_pem(&issued.certificate, &issued.key, authority.certificate());
    let bounds = Bounds {
        requests_max: 1_024,
        bytes_waiting_max: 2 * CHUNKS * CHUNK_BYTES,
        ..Bounds::default()
    };
    let loopback: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let endpoint = Endpoint::open(loopback, &credentials.expect("what was just made"), bounds).expect("a free port");
    let (sender, inbox) = channel(1 << 16);
    let take = move |_, messages| sender.try_send(messages).is_ok();
    endpoint.serve(Service::new(take, |_, request| async move { request }));
    let peers = Peers::new(&endpoint);
    Site { endpoint, peers, inbox }
}

fn message() -> Message {
    Message::Fetch(Fetch {
        epoch: Epoch::FIRST,
        coordinator: NodeId::new(1),
        after: Hlc::from_bits(1),
    })
}

/// The CPU time of this process, where the system tells it: in hundredths of a second, as Linux counts.
fn cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    let (user, system) = (fields.next()??, fields.next()??);
    Some(Duration::from_millis(10 * (user + system)))
}

/// Prints what `count` of something took.
async fn measure(what: &str, count: usize, work: impl Future<Output = ()>) {
    let (began, cpu_began) = (Instant::now(), cpu());
    work.await;
    let each = |all: Duration| all.as_secs_f64() * 1e6 / count as f64;
    let cpu = cpu()
        .zip(cpu_began)
        .map_or(f64::NAN, |(ended, began)| each(ended - began));
    println!(
        "{what:<44} {:>9.2} us wall {cpu:>9.2} us CPU, each of {count}",
        each(began.elapsed())
    );
}

async fn echoes(one: &mut Site, two: &mut Site, under_way: usize, count: usize) {
    let (to_one, to_two) = (NodeId::new(1), NodeId::new(2));
    (0..under_way).for_each(|_| one.peers.send(to_two, vec![message()]));
    let mut sent = under_way;
    let mut back = 0;
    while back < count {
        tokio::select! {
            Some(messages) = two.inbox.recv() => two.peers.send(to_one, messages),
            Some(messages) = one.inbox.recv() => {
                back += 1;
                if sent < count {
                    sent += 1;
                    one.peers.send(to_two, messages);
                }
            }
        }
    }
}

async fn requests(connection: &ClientConnection, under_way: usize, count: usize) {
    let mut callers = JoinSet::new();
    for _ in 0..under_way {
        let connection = connection.clone();
        callers.spawn(async move {
            for _ in 0..count / under_way {
                connection.request(vec![7; REQUEST_BYTES]).await.expect("an answer");
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no panic");
    }
}

async fn run() {
    let authority = Authority::new(ClusterId::new(1), None).expect("entropy");
    let (mut one, mut two) = (open(&authority, 1), open(&authority, 2));
    let address = two.endpoint.local_address().expect("an open socket");
    one.peers.set_address(NodeId::new(2), address.into());
    two.peers.set_address(
        NodeId::new(1),
        one.endpoint.local_address().expect("an open socket").into(),
    );
    echoes(&mut one, &mut two, 1, 100).await;
    for (under_way, count) in [(1, 20_000), (64, 400_000), (1_024, 1_000_000)] {
        let what = format!("frame there and back, {under_way} under way");
        measure(&what, count, echoes(&mut one, &mut two, under_way, count)).await;
    }
    let connection = ClientConnection::open(&one.endpoint, NodeId::new(2), address)
        .await
        .expect("a connection");
    for (under_way, count) in [(1, 20_000), (64, 256_000), (1_024, 512_000)] {
        let what = format!("request of {REQUEST_BYTES} bytes, {under_way} under way");
        measure(&what, count, requests(&connection, under_way, count)).await;
    }
    let chunk = Message::SnapshotChunk(SnapshotChunk {
        epoch: Epoch::FIRST,
        bytes: vec![7; CHUNK_BYTES - 1_024],
    });
    measure("piece of a snapshot of 4 MiB", CHUNKS, async {
        (0..CHUNKS).for_each(|_| one.peers.send(NodeId::new(2), vec![chunk.clone()]));
        for _ in 0..CHUNKS {
            two.inbox.recv().await.expect("the service goes on");
        }
    })
    .await;
    let client = authority.client(None).expect("entropy");
    let client = Credentials::from_pem(&client.certificate, &client.key, authority.certificate());
    let anywhere: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let client = Endpoint::open(anywhere, &client.expect("what was just made"), Bounds::default()).expect("a port");
    measure("connection of a client, and one request", 500, async {
        for _ in 0..500 {
            let connection = ClientConnection::open(&client, NodeId::new(2), address)
                .await
                .expect("a connection");
            connection.request(vec![7]).await.expect("an answer");
        }
    })
    .await;
    println!(
        "refused meanwhile: {}",
        two.endpoint.refused().total() + one.endpoint.refused().total()
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("threads").block_on(run());
}
