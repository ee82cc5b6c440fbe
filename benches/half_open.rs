//! What handshakes that are begun and never ended cost a running load: `cargo bench --bench half_open`. Three nodes over QUIC on loopback and a
//! client elsewhere, all in this process; a thread of it is the attacker.
//!
//! The attacker sends the first datagrams of 10,000 handshakes, each from a socket of one of 64 addresses and with its own connection id, and
//! never answers: at an even pace in one round, and all at once in the next. They were recorded before, so that the attack costs it little.
//! The load is the same all the time, and rounds without an attack lie between those with one: what differs from round to round
//! without an attack is noise.

#![expect(clippy::disallowed_methods, reason = "a bench measures time")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use plimsoll::Plimsoll;
use plimsoll::id::{ClusterId, NodeId};
use plimsoll::key::{Key, Value};
use plimsoll::net::{Address, Authority, Bounds, ClientConnection, Credentials, Endpoint};
use plimsoll::thunk::Put;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const HALF_OPEN: usize = 10_000;
const SOURCES: usize = 64;
const CLIENTS: usize = 64;
const KEYS: u64 = 100_000;
const ROUND: Duration = Duration::from_secs(5);

/// How often each kind of round is measured.
const ROUNDS: usize = 7;

/// Handshakes that are recorded at a time.
const RECORDED_AT_ONCE: usize = 250;

/// Bytes of a connection id in the first datagram of a handshake, and where its length stands (RFC 9000, section 17.2).
const ID_LENGTH_AT: usize = 5;

fn credentials(authority: &Authority, node: Option<u32>) -> Credentials {
    let issued = match node {
        Some(node) => authority.node(NodeId::new(node), None),
        None => authority.client(None),
    };
    let issued = issued.expect("entropy");
    Credentials::from_pem(&issued.certificate, &issued.key, authority.certificate()).expect("what was just made")
}

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a free port")
}

fn address_of(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("it is bound")
}

/// The first datagrams of so many handshakes with node 1, one of each.
async fn record(authority: &Authority) -> Vec<Vec<u8>> {
    let sink = socket();
    let (address, timeout) = (address_of(&sink), Duration::from_secs(30));
    sink.set_read_timeout(Some(timeout)).expect("it is not zero");
    let recorder = std::thread::spawn(move || {
        let mut first = BTreeMap::new();
        let mut bytes = [0; 2_048];
        while first.len() < HALF_OPEN {
            let length = sink.recv(&mut bytes).expect("handshakes are being begun");
            let id_length = usize::from(bytes[ID_LENGTH_AT]);
            let id = bytes[ID_LENGTH_AT + 1..][..id_length].to_vec();
            first.entry(id).or_insert_with(|| bytes[..length].to_vec());
        }
        first.into_values().collect()
    });
    let bounds = Bounds {
        handshake_time_max: Duration::from_millis(20),
        ..Bounds::default()
    };
    let anywhere = "127.0.0.1:0".parse().expect("an address");
    let client = Endpoint::open(anywhere, &credentials(authority, None), bounds);
    let client = Arc::new(client.expect("a free port"));
    let places = Arc::new(Semaphore::new(RECORDED_AT_ONCE));
    while !recorder.is_finished() {
        let place = Arc::clone(&places).acquire_owned().await.expect("it is not closed");
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            // Nobody answers.
            let _ = ClientConnection::open(&client, NodeId::new(1), address).await;
            drop(place);
        });
    }
    recorder.join().expect("it has them all")
}

/// Sends them to `target`, over so long.
fn attack(datagrams: &[Vec<u8>], target: SocketAddr, over: Duration) {
    let sources: Vec<UdpSocket> = (0..SOURCES).map(|_| socket()).collect();
    let began = Instant::now();
    for (number, datagram) in datagrams.iter().enumerate() {
        let due = began + over.mul_f64(number as f64 / datagrams.len() as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = sources[number % SOURCES].send_to(datagram, target);
        sent.expect("loopback takes it");
    }
}

/// What a client of the load does until it is told to end.
async fn client(database: Plimsoll, number: u64, latencies: Arc<Latencies>) {
    let mut state = number + 1;
    loop {
        // A generator of full period, for keys that are spread evenly.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let entries = [state >> 33, state >> 17].map(|draw| {
            let key = Key::new((draw % KEYS).to_be_bytes());
            (key, Value::from("some value"))
        });
        let began = Instant::now();
        let put = Put {
            entries: entries.to_vec(),
        };
        database.submit(&put).await.expect("three nodes are there");
        latencies.note(began.elapsed());
    }
}

/// How many calls ended within so many tenths of a millisecond.
struct Latencies(Vec<AtomicU64>);

impl Latencies {
    fn new() -> Self {
        Self((0..100_000).map(|_| AtomicU64::new(0)).collect())
    }

    fn note(&self, latency: Duration) {
        let tenths = (latency.as_micros() / 100) as usize;
        self.0[tenths.min(self.0.len() - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was noted: how many a second, and the latencies in milliseconds that a half and 99 of 100 stayed within.
    fn take(&self, time: Duration) -> [f64; 3] {
        let counts: Vec<u64> = self.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let within = |share: f64| {
            let mut below = 0;
            let tenths = counts.iter().position(|count| {
                below += count;
                below as f64 >= share * all as f64
            });
            tenths.unwrap_or(counts.len()) as f64 / 10.0
        };
        [all as f64 / time.as_secs_f64(), within(0.5), within(0.99)]
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn run() {
    let authority = Authority::new(ClusterId::new(1), None).expect("entropy");
    let datagrams = Arc::new(record(&authority).await);
    let folder = std::env::temp_dir().join(format!("plimsoll-half-open-{}", std::process::id()));
    let addresses: Vec<SocketAddr> = (0..3).map(|_| socket()).map(|socket| address_of(&socket)).collect();
    let address = |node: u32| Address::Socket(addresses[node as usize - 1]);
    let mut nodes = Vec::new();
    for node in 1..=3 {
        let mut builder = Plimsoll::node(credentials(&authority, Some(node)))
            .folder(folder.join(format!("node-{node}")))
            .listen(addresses[node as usize - 1]);
        for peer in (1..=3).filter(|peer| *peer != node) {
            builder = builder.peer(peer, address(peer));
        }
        nodes.push(builder.open().await.expect("it opens"));
    }
    let remote = Plimsoll::remote(credentials(&authority, None)).node(1, address(1));
    let database = remote.open().await.expect("it opens");
    let latencies = Arc::new(Latencies::new());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS as u64 {
        clients.spawn(client(database.clone(), number, Arc::clone(&latencies)));
    }
    tokio::time::sleep(ROUND).await;

    let kinds = [
        ("no attack", None),
        ("10,000 over the round", Some(ROUND.mul_f64(0.9))),
        ("no attack, after that", None),
        ("10,000 at once", Some(Duration::ZERO)),
    ];
    let mut measured: BTreeMap<usize, Vec<[f64; 3]>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (kind, (_, over)) in kinds.iter().enumerate() {
            let attacker = over.map(|over| {
                let (datagrams, target) = (Arc::clone(&datagrams), addresses[0]);
                std::thread::spawn(move || attack(&datagrams, target, over))
            });
            let began = Instant::now();
            latencies.take(ROUND);
            tokio::time::sleep(ROUND).await;
            measured.entry(kind).or_default().push(latencies.take(began.elapsed()));
            if let Some(attacker) = attacker {
                attacker.join().expect("loopback takes it");
            }
        }
    }
    println!(
        "{CLIENTS} clients, two blind puts each, medians of {ROUNDS} rounds of {ROUND:?}, least and most in brackets"
    );
    for (kind, (what, _)) in kinds.iter().enumerate() {
        let rounds = &measured[&kind];
        let figures = |figure: usize| rounds.iter().map(|round| round[figure]).collect::<Vec<_>>();
        let rates = figures(0);
        let (least, most) = (
            rates.iter().copied().fold(f64::MAX, f64::min),
            rates.iter().copied().fold(0.0, f64::max),
        );
        println!(
            "{what:<24} {:>8.0} committed/s ({least:.0} to {most:.0})   p50 {:>5.1} ms   p99 {:>6.1} ms",
            median(rates),
            median(figures(1)),
            median(figures(2)),
        );
    }
    clients.shutdown().await;
    database.shutdown().await;
    for node in nodes {
        node.shutdown().await;
    }
    // What cannot be removed stays in the folder for temporary files.
    let _ = std::fs::remove_dir_all(&folder);
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("threads").block_on(run());
}
