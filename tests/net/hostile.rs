//! Hostile input: each is refused and counted, and an exchange beside it goes on.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use plimsoll::codec::{HEADER_BYTES, Kind};
use plimsoll::id::{ClusterId, NodeId};
use plimsoll::limits::FRAME_BYTES_MAX;
use plimsoll::net::{Authority, Bounds, ClientConnection, Endpoint, Refused};
use plimsoll::protocol::frame::Frame;
use plimsoll::protocol::message::{Append, Message};
use plimsoll::time::Hlc;
use quinn::{ConnectionError, VarInt};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rcgen::{CertificateParams, KeyPair};

use crate::intruder::Intruder;
use crate::site::{
    CLUSTER, Site, authority, bounds, credentials_of_client, loopback, message, node, pair, until, within,
};

/// Handshakes that are begun and never ended.
const HALF_OPEN: usize = 2_000;

/// Datagrams of random bytes.
const RANDOM_DATAGRAMS: usize = 20_000;

/// Frames with one flipped bit each.
const FLIPPED_FRAMES: usize = 60;

/// A pair of nodes that talk all the while.
struct Beside {
    one: Site,
    two: Site,
    said: u64,
}

impl Beside {
    async fn new(authority: &Authority) -> Self {
        let (one, two) = pair(authority);
        let mut beside = Self { one, two, said: 0 };
        beside.goes_on().await;
        beside
    }

    fn address(&self) -> SocketAddr {
        self.one.address()
    }

    fn refused(&self) -> Refused {
        self.one.refused()
    }

    /// Both still hear each other, and lost nothing since the last time.
    async fn goes_on(&mut self) {
        let words = self.said..self.said + 50;
        self.said = words.end;
        self.one.say(2, words.clone());
        self.two.say(1, words.clone());
        self.two.hears(1, words.clone()).await;
        self.one.hears(2, words).await;
        for (site, other) in [(&self.one, 2), (&self.two, 1)] {
            assert_eq!(
                site.peers.status()[&node(other)].connections,
                1,
                "the same connection as ever"
            );
        }
    }
}

/// The counter of one cause.
type Counter = fn(&mut Refused) -> &mut u64;

/// One refusal of one cause, and nothing else.
fn once(count: impl FnOnce(&mut Refused) -> &mut u64) -> Refused {
    let mut refused = Refused::default();
    *count(&mut refused) = 1;
    refused
}

#[test]
fn random_bytes_at_the_port_change_nothing() {
    within(async {
        let mut beside = Beside::new(&authority()).await;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut bytes = [0; 1_400];
        for number in 0..RANDOM_DATAGRAMS {
            random.fill_bytes(&mut bytes);
            // Every other one looks like the first packet of version 1 at first sight.
            if number % 2 == 0 {
                bytes[0] |= 0xc0;
                bytes[1..5].copy_from_slice(&[0, 0, 0, 1]);
                bytes[5] = 8;
                bytes[14] = 8;
            }
            let length = 1 + random.next_u64() as usize % bytes.len();
            let _ = socket.send_to(&bytes[..length], beside.address());
            if number % 1_000 == 0 {
                beside.goes_on().await;
            }
        }
        beside.goes_on().await;
        assert_eq!(beside.one.endpoint.load().nodes, 1);
        assert_eq!(beside.one.endpoint.load().handshakes, 0);
    });
}

/// A caller that is thrown out for one cause, whatever it was.
async fn is_thrown_out(authority: &Authority, intruder: &Intruder, expected: Refused) {
    let mut beside = Beside::new(authority).await;
    let why = intruder.thrown_out(1, beside.address()).await;
    assert!(matches!(why, ConnectionError::ConnectionClosed(_)), "{why:?}");
    until(|| beside.refused() == expected).await;
    beside.goes_on().await;
    assert_eq!(beside.refused(), expected);
}

#[test]
fn a_caller_without_a_certificate_is_refused() {
    within(async {
        let authority = authority();
        let intruder = Intruder::new(&authority, None, b"plimsoll/1");
        is_thrown_out(&authority, &intruder, once(|refused| &mut refused.no_certificate)).await;
    });
}

#[test]
fn a_certificate_of_another_authority_is_refused_even_with_the_clusters_names() {
    within(async {
        let (own, foreign) = (authority(), authority());
        let issued = foreign.node(node(2), None).unwrap();
        let intruder = Intruder::new(&own, Some((&issued.certificate, &issued.key)), b"plimsoll/1");
        is_thrown_out(&own, &intruder, once(|refused| &mut refused.foreign_certificate)).await;
    });
}

#[test]
fn a_certificate_of_another_cluster_is_refused() {
    within(async {
        let own = authority();
        let other = Authority::new(ClusterId::new(9), None).unwrap();
        let issued = other.node(node(2), None).unwrap();
        let intruder = Intruder::new(&own, Some((&issued.certificate, &issued.key)), b"plimsoll/1");
        is_thrown_out(&own, &intruder, once(|refused| &mut refused.foreign_certificate)).await;
    });
}

/// A certificate that the cluster's authority has signed, by somebody who misuses its key.
fn signed(authority: &Authority, names: &[&str]) -> (String, String) {
    let mut parameters = CertificateParams::new(Vec::<String>::new()).expect("sound parts");
    let common_name = format!("Plimsoll cluster {CLUSTER}");
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, common_name);
    let issuer = rcgen::Issuer::new(parameters, KeyPair::from_pem(&authority.key()).expect("sound parts"));
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().expect("sound parts");
    let certificate = CertificateParams::new(names)
        .expect("sound parts")
        .signed_by(&key, &issuer)
        .expect("sound parts");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_well_signed_certificate_with_a_foreign_name_is_refused() {
    within(async {
        let authority = authority();
        let elsewhere = format!("node-2.{}.plimsoll", ClusterId::new(9));
        let here = format!("node-2.{CLUSTER}.plimsoll");
        let of_authority = format!("authority.{CLUSTER}.plimsoll");
        let lists: [&[&str]; 5] = [
            &[&elsewhere],
            &[],
            &["example.org"],
            &[&of_authority],
            &[&here, &elsewhere],
        ];
        for names in lists {
            let (certificate, key) = signed(&authority, names);
            let intruder = Intruder::new(&authority, Some((&certificate, &key)), b"plimsoll/1");
            is_thrown_out(&authority, &intruder, once(|refused| &mut refused.foreign_name)).await;
        }
        // The way of signing is not what is refused.
        let (certificate, key) = signed(&authority, &[&here]);
        let intruder = Intruder::new(&authority, Some((&certificate, &key)), b"plimsoll/1");
        let site = Site::open(&authority, 1);
        let connection = intruder.connect(1, site.address()).await.unwrap();
        until(|| site.endpoint.load().nodes == 1).await;
        drop(connection);
    });
}

#[test]
fn an_expired_certificate_is_refused() {
    within(async {
        let authority = authority();
        let past = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let issued = authority.node(node(2), Some(past)).unwrap();
        let intruder = Intruder::new(&authority, Some((&issued.certificate, &issued.key)), b"plimsoll/1");
        is_thrown_out(&authority, &intruder, once(|refused| &mut refused.foreign_certificate)).await;
    });
}

#[test]
fn another_protocol_or_none_is_refused() {
    within(async {
        let authority = authority();
        let issued = authority.node(node(2), None).unwrap();
        for protocol in [&b"plimsoll/0"[..], b"h3"] {
            let intruder = Intruder::new(&authority, Some((&issued.certificate, &issued.key)), protocol);
            is_thrown_out(&authority, &intruder, once(|refused| &mut refused.wrong_protocol)).await;
        }
        let intruder = Intruder::new(&authority, Some((&issued.certificate, &issued.key)), b"");
        is_thrown_out(&authority, &intruder, once(|refused| &mut refused.wrong_protocol)).await;
    });
}

#[test]
fn a_node_that_answers_in_anothers_place_is_refused_by_its_caller() {
    within(async {
        let authority = authority();
        let (one, mut two) = (Site::open(&authority, 1), Site::open(&authority, 2));
        // Node 2 is believed to be where node 3 is.
        let three = Site::open(&authority, 3);
        one.peers.set_address(node(2), three.address().into());
        until(|| one.refused().wrong_node >= 2).await;
        assert_eq!(one.peers.status()[&node(2)].connections, 0);
        let client = Endpoint::open(loopback(), &credentials_of_client(&authority), bounds()).unwrap();
        let error = ClientConnection::open(&client, node(2), three.address())
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("node-3."), "{error}");
        assert_eq!(client.refused(), once(|refused| &mut refused.wrong_node));
        one.knows(&two);
        until(|| one.peers.status()[&node(2)].is_connected).await;
        one.say(2, 0..10);
        two.hears(1, 0..10).await;
    });
}

#[test]
fn a_node_of_another_authority_is_refused_by_its_caller() {
    within(async {
        let (own, foreign) = (authority(), authority());
        let (one, other) = (Site::open(&own, 1), Site::open(&foreign, 2));
        one.knows(&other);
        until(|| one.refused().foreign_certificate >= 1).await;
        assert_eq!(one.peers.status()[&node(2)].connections, 0);
    });
}

fn frame(cluster: ClusterId, from: NodeId, messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    Frame::encode(cluster, from, messages, &mut out).expect("small");
    out
}

/// Says it on a stream of a connection of node 9's, with its own certificate, and *gives* why the connection is closed.
async fn says(authority: &Authority, to: SocketAddr, bytes: &[u8]) -> String {
    let intruder = Intruder::certified(authority, Some(9));
    let connection = intruder.connect(1, to).await.expect("an honest certificate");
    let mut stream = connection.open_uni().await.expect("a node may");
    // The other end may have heard enough before all is written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.finish();
    connection.closed().await.to_string()
}

#[test]
fn a_frame_that_is_not_in_order_costs_its_sender_the_connection() {
    within(async {
        let authority = authority();
        let own = node(9);
        let good = frame(CLUSTER, own, &[message(0)]);
        let oversized = {
            let mut bytes = good.clone();
            bytes[2..6].copy_from_slice(&((FRAME_BYTES_MAX - HEADER_BYTES + 1) as u32).to_le_bytes());
            bytes
        };
        let other_kind = {
            let mut bytes = good.clone();
            bytes[1] = Kind::LogEntry.byte();
            bytes
        };
        let backwards = Message::Append(Append {
            epoch: plimsoll::id::Epoch::FIRST,
            coordinator: own,
            prev: Hlc::from_bits(2),
            upto: Hlc::from_bits(1),
            records: Vec::new(),
        });
        let malformed: Counter = |refused| &mut refused.malformed_frame;
        let cases: [(Vec<u8>, Counter); 8] = [
            (frame(CLUSTER, node(2), &[message(0)]), |refused| {
                &mut refused.wrong_sender
            }),
            (frame(ClusterId::new(9), own, &[message(0)]), |refused| {
                &mut refused.wrong_cluster
            }),
            (oversized, |refused| &mut refused.oversized_frame),
            (other_kind, malformed),
            (good[..good.len() - 1].to_vec(), malformed),
            (good[..3].to_vec(), malformed),
            (frame(CLUSTER, own, &[backwards]), malformed),
            (vec![0xff; 4_096], malformed),
        ];
        for (bytes, cause) in cases {
            let mut beside = Beside::new(&authority).await;
            let why = says(&authority, beside.address(), &bytes).await;
            assert!(why.contains("a frame "), "{why}");
            beside.goes_on().await;
            assert_eq!(beside.refused(), once(cause));
        }
    });
}

#[test]
fn whole_frames_before_a_damaged_one_are_taken() {
    within(async {
        let authority = authority();
        let mut site = Site::open(&authority, 1);
        let mut bytes = frame(CLUSTER, node(9), &[message(0)]);
        bytes.extend(frame(CLUSTER, node(9), &[message(1)]));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        says(&authority, site.address(), &bytes).await;
        site.hears(9, 0..1).await;
        assert!(site.inbox.try_recv().is_err());
        assert_eq!(site.refused(), once(|refused| &mut refused.malformed_frame));
    });
}

#[test]
fn frames_with_a_flipped_bit_are_never_taken() {
    within(async {
        let authority = authority();
        let mut beside = Beside::new(&authority).await;
        let good = frame(CLUSTER, node(9), &[message(5), message(6)]);
        let mut random = Xoshiro256PlusPlus::seed_from_u64(2);
        for _ in 0..FLIPPED_FRAMES {
            let mut bytes = good.clone();
            let bit = random.next_u64() as usize % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            says(&authority, beside.address(), &bytes).await;
        }
        // What node 9 says arrives nowhere: those beside would hear it among their own words.
        beside.goes_on().await;
        let refused = beside.refused();
        assert_eq!(refused.total(), FLIPPED_FRAMES as u64);
        assert_eq!(refused.malformed_frame + refused.oversized_frame, FLIPPED_FRAMES as u64);
    });
}

#[test]
fn a_client_can_open_no_stream_for_frames() {
    within(async {
        let authority = authority();
        let mut beside = Beside::new(&authority).await;
        let intruder = Intruder::certified(&authority, None);
        let connection = intruder.connect(1, beside.address()).await.unwrap();
        let opened = tokio::time::timeout(Duration::from_millis(300), connection.open_uni()).await;
        assert!(opened.is_err(), "it waits for a permission that never comes");
        beside.goes_on().await;
    });
}

#[test]
fn requests_that_are_none_cost_their_sender_the_connection() {
    within(async {
        let authority = authority();
        let mut beside = Beside::new(&authority).await;
        let intruder = Intruder::certified(&authority, None);
        let announced = |length: u32, kind: u8| {
            let mut bytes = [0; 13];
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[12] = kind;
            bytes
        };
        let too_large = Bounds::default().request_bytes_max as u32 + 1;
        let cases = [
            announced(too_large, 0),
            announced(u32::MAX, 0),
            announced(0, 1),
            announced(0, 77),
            announced(1, 0),
        ];
        for bytes in cases {
            let connection = intruder.connect(1, beside.address()).await.unwrap();
            let (mut stream, _receiving) = connection.open_bi().await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let _ = stream.finish();
            let why = connection.closed().await.to_string();
            assert!(why.contains("a request is malformed or too large"), "{why}");
        }
        beside.goes_on().await;
        assert_eq!(beside.refused().malformed_request, 5);
        assert_eq!(beside.refused().total(), 5);
    });
}

#[test]
fn a_node_that_connects_again_and_again_holds_a_bounded_number() {
    within(async {
        let authority = authority();
        let mut beside = Beside::new(&authority).await;
        let intruder = Intruder::certified(&authority, Some(9));
        let mut connections = Vec::new();
        for _ in 0..20 {
            connections.push(intruder.connect(1, beside.address()).await.unwrap());
        }
        let first = connections[0].closed().await.to_string();
        assert!(
            first.contains("replaced by a later connection of the same node"),
            "{first}"
        );
        let bound = Bounds::default().connections_per_node_max;
        until(|| beside.one.endpoint.load().nodes == 1 + bound).await;
        beside.goes_on().await;
        connections
            .iter()
            .for_each(|connection| connection.close(VarInt::from_u32(0), b""));
        until(|| beside.one.endpoint.load().nodes == 1).await;
    });
}

#[test]
fn a_full_inbox_loses_frames_and_counts_them() {
    within(async {
        let authority = authority();
        let mut site = Site::open(&authority, 1);
        let intruder = Intruder::certified(&authority, Some(9));
        let connection = intruder.connect(1, site.address()).await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        let frames = (1 << 16) + 100;
        let bytes = frame(CLUSTER, node(9), &[message(0)]).repeat(frames);
        stream.write_all(&bytes).await.unwrap();
        until(|| site.refused().inbox_full == 100).await;
        let _ = site.inbox.recv().await;
        stream.write_all(&frame(CLUSTER, node(9), &[message(1)])).await.unwrap();
        until(|| site.inbox.len() == 1 << 16).await;
        assert_eq!(site.refused(), {
            let mut expected = Refused::default();
            expected.inbox_full = 100;
            expected
        });
    });
}

/// Carries datagrams one way: what is sent to it arrives, and nothing comes back.
async fn one_way(to: SocketAddr) -> SocketAddr {
    let entrance = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let exit = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = entrance.local_addr().expect("an open socket");
    tokio::spawn(async move {
        let mut bytes = [0; 2_048];
        while let Ok((length, _)) = entrance.recv_from(&mut bytes).await {
            let _ = exit.send_to(&bytes[..length], to).await;
        }
    });
    address
}

#[test]
fn half_open_handshakes_hold_a_bounded_number_of_places_and_let_others_in() {
    within(async {
        let authority = authority();
        let mut beside = Beside::new(&authority).await;
        let bound = Bounds::default().handshakes_unvalidated_max;
        let entrance = one_way(beside.address()).await;
        let intruder = Intruder::certified(&authority, Some(9));
        let mut begun = Vec::new();
        let mut most = 0;
        for number in 0..HALF_OPEN {
            begun.push(intruder.begin(1, entrance));
            most = most.max(beside.one.endpoint.load().handshakes);
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
            if number % 500 == 0 {
                beside.goes_on().await;
            }
        }
        until(|| beside.one.endpoint.load().handshakes == bound).await;
        assert!(most <= bound, "{most} handshakes under way");
        // An honest node and an honest client show that they receive at their addresses, and are let in.
        let three = Site::open(&authority, 3);
        three.knows(&beside.one);
        until(|| three.peers.status()[&node(1)].is_connected).await;
        let client = Endpoint::open(loopback(), &credentials_of_client(&authority), bounds()).unwrap();
        let connection = ClientConnection::open(&client, node(1), beside.address())
            .await
            .unwrap();
        assert_eq!(connection.request(vec![1, 2]).await, Ok(vec![2, 1]));
        beside.goes_on().await;
        assert!(beside.one.endpoint.load().handshakes <= bound);
        // They are given up in time, and counted.
        drop((begun, intruder));
        until(|| beside.one.endpoint.load().handshakes == 0).await;
        assert!(
            beside.refused().broken_handshake >= bound as u64,
            "{:?}",
            beside.refused()
        );
    });
}

#[test]
fn handshakes_beyond_the_bound_are_refused_even_from_true_addresses() {
    within(async {
        let authority = authority();
        let tight = Bounds {
            handshakes_max: 1,
            handshakes_unvalidated_max: 1,
            ..bounds()
        };
        let site = Site::open_with(&authority, 1, loopback(), tight).unwrap();
        // Holds the one place: it never hears the answer.
        let silent = Intruder::certified(&authority, Some(8));
        let begun = silent.begin(1, one_way(site.address()).await);
        until(|| site.endpoint.load().handshakes == 1).await;
        let intruder = Intruder::certified(&authority, Some(9));
        let why = intruder.thrown_out(1, site.address()).await;
        assert!(matches!(why, ConnectionError::ConnectionClosed(_)), "{why:?}");
        assert_eq!(site.refused().handshakes_pending, 1);
        drop(begun);
        drop(silent);
        until(|| site.endpoint.load().handshakes == 0).await;
        let connection = intruder.connect(1, site.address()).await.unwrap();
        until(|| site.endpoint.load().nodes == 1).await;
        drop(connection);
    });
}
