//! Frames between nodes that are honest, on ways that come and go.

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll::id::Epoch;
use plimsoll::net::{Address, Authority, Bounds, Credentials};
use plimsoll::protocol::message::{Message, SnapshotChunk};

use crate::site::{Site, authority, bounds, loopback, message, node, pair, until, within, word};

#[test]
fn two_nodes_exchange_frames_in_order() {
    within(async {
        let (mut one, mut two) = pair(&authority());
        one.say(2, 0..2_000);
        two.say(1, 5_000..7_000);
        two.hears(1, 0..2_000).await;
        one.hears(2, 5_000..7_000).await;
        let status = one.peers.status()[&node(2)];
        assert!(status.is_connected);
        assert_eq!((status.connections, status.frames_sent), (1, 2_000));
        assert!(
            status.writes < status.frames_sent,
            "what waits goes in one write: {status:?}"
        );
        assert_eq!(one.refused().total() + two.refused().total(), 0);
    });
}

#[test]
fn three_nodes_exchange_frames_whoever_starts_first() {
    within(async {
        let authority = authority();
        let mut sites: Vec<Site> = (1..=3).map(|number| Site::open(&authority, number)).collect();
        for (from, to) in [(2, 0), (0, 1), (1, 2), (1, 0), (0, 2), (2, 1)] {
            sites[from].knows(&sites[to]);
        }
        for from in &sites {
            for to in (1..=3).filter(|to| *to != from.number) {
                from.say(to, 0..100);
            }
        }
        for site in &mut sites {
            let own = site.number;
            let mut next = [0; 4];
            while next.iter().sum::<u64>() < 200 {
                let (from, messages) = site.inbox.recv().await.unwrap();
                assert_ne!(from, node(own));
                let next = &mut next[from.number() as usize];
                for message in &messages {
                    assert_eq!(word(message), *next);
                    *next += 1;
                }
            }
        }
    });
}

#[test]
fn a_node_that_starts_late_is_reached() {
    within(async {
        let authority = authority();
        let one = Site::open(&authority, 1);
        let placeholder = Site::open(&authority, 2);
        let address = placeholder.close().await;
        one.peers.set_address(node(2), address.into());
        until(|| one.peers.status()[&node(2)].attempts >= 2).await;
        let mut two = reopen(&authority, 2, address).await;
        say_until_heard(&one, &mut two).await;
    });
}

#[test]
fn a_node_that_comes_back_on_the_same_port_is_reached_again() {
    within(async {
        let authority = authority();
        let (one, mut two) = pair(&authority);
        say_until_heard(&one, &mut two).await;
        let address = two.close().await;
        until(|| !one.peers.status()[&node(2)].is_connected).await;
        let mut two = reopen(&authority, 2, address).await;
        say_until_heard(&one, &mut two).await;
        assert_eq!(one.peers.status()[&node(2)].connections, 2);
    });
}

#[test]
fn a_node_that_was_killed_and_comes_back_is_reached_before_the_idle_time_out() {
    within(async {
        let authority = authority();
        let patient = Bounds {
            // Both longer than the test.
            idle_timeout: Duration::from_secs(600),
            handshake_time_max: Duration::from_secs(600),
            ..bounds()
        };
        let one = Site::open_with(&authority, 1, loopback(), patient.clone()).unwrap();
        let issued = authority.node(node(2), None).unwrap();
        let credentials = Credentials::from_pem(&issued.certificate, &issued.key, authority.certificate()).unwrap();
        // With the runtime all of its tasks go before anybody is told.
        let doomed = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut two = {
            let _inside = doomed.enter();
            Site::open_as(&credentials, loopback(), patient.clone()).unwrap()
        };
        one.knows(&two);
        say_until_heard(&one, &mut two).await;
        let address = two.address();
        tokio::task::block_in_place(|| doomed.shutdown_timeout(Duration::from_secs(10)));
        drop(two);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(one.peers.status()[&node(2)].is_connected, "it has not noticed");
        let mut two = loop {
            match Site::open_as(&credentials, address, patient.clone()) {
                Ok(site) => break site,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        say_until_heard(&one, &mut two).await;
        assert_eq!(one.peers.status()[&node(2)].connections, 2);
    });
}

#[test]
fn a_node_that_calls_is_called_without_waiting_for_the_next_attempt() {
    within(async {
        let authority = authority();
        let patient = Bounds {
            backoff_min: Duration::from_secs(600),
            backoff_max: Duration::from_secs(600),
            // So long the first attempt lasts, and so long the second may, on a machine that has other things to do.
            handshake_time_max: Duration::from_secs(3),
            ..bounds()
        };
        let one = Site::open_with(&authority, 1, loopback(), patient).unwrap();
        let address = Site::open(&authority, 2).close().await;
        one.peers.set_address(node(2), address.into());
        one.say(2, 0..1);
        until(|| one.peers.status()[&node(2)].dropped_stale == 1).await;
        let mut two = reopen(&authority, 2, address).await;
        two.knows(&one);
        say_until_heard(&one, &mut two).await;
    });
}

#[test]
fn a_node_that_comes_back_on_another_port_is_reached_there() {
    within(async {
        let authority = authority();
        let (one, mut two) = pair(&authority);
        say_until_heard(&one, &mut two).await;
        // The old one is still there, so that its port is not the new one's.
        let mut moved = Site::open(&authority, 2);
        assert_ne!(moved.address(), two.address());
        one.knows(&moved);
        say_until_heard(&one, &mut moved).await;
        drop(two);
        say_until_heard(&one, &mut moved).await;
    });
}

#[test]
fn frames_are_sent_from_threads_outside_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (one, mut two) = runtime.block_on(async {
        let authority = authority();
        (Site::open(&authority, 1), Site::open(&authority, 2))
    });
    assert!(tokio::runtime::Handle::try_current().is_err());
    one.knows(&two);
    one.say(2, 0..10);
    let heard = async { tokio::time::timeout(Duration::from_secs(30), two.hears(1, 0..10)).await };
    runtime.block_on(heard).expect("in time");
}

#[test]
fn a_name_is_looked_up() {
    within(async {
        let authority = authority();
        let (one, mut two) = (Site::open(&authority, 1), Site::open(&authority, 2));
        let address: Address = format!("localhost:{}", two.address().port()).parse().unwrap();
        one.peers.set_address(node(2), address);
        say_until_heard(&one, &mut two).await;
    });
}

#[test]
fn a_node_that_is_forgotten_gets_no_more_frames() {
    within(async {
        let (one, mut two) = pair(&authority());
        say_until_heard(&one, &mut two).await;
        one.peers.remove(node(2));
        until(|| two.endpoint.load().nodes == 0).await;
        one.say(2, 0..10);
        assert_eq!(one.peers.unaddressed(), 10);
        one.knows(&two);
        say_until_heard(&one, &mut two).await;
    });
}

#[test]
fn large_pieces_of_snapshots_do_not_hold_up_frames() {
    const CHUNKS: usize = 6;
    within(async {
        let (one, mut two) = pair(&authority());
        say_until_heard(&one, &mut two).await;
        let bytes = vec![7; 4 << 20];
        let chunk = Message::SnapshotChunk(SnapshotChunk {
            epoch: Epoch::FIRST,
            bytes,
        });
        for _ in 0..CHUNKS {
            one.peers.send(node(2), vec![chunk.clone(), message(1)]);
        }
        let mut words = 0;
        let mut chunks_before_last_word = 0;
        let mut chunks = 0;
        while chunks < CHUNKS || words < CHUNKS {
            let (_, messages) = two.inbox.recv().await.unwrap();
            for message in messages {
                match message {
                    Message::SnapshotChunk(received) => {
                        assert!(Message::SnapshotChunk(received) == chunk, "as it was sent");
                        chunks += 1;
                    }
                    _ => {
                        words += 1;
                        chunks_before_last_word = chunks;
                    }
                }
            }
        }
        assert!(
            chunks_before_last_word < CHUNKS / 2,
            "{chunks_before_last_word} pieces came before a frame"
        );
        assert_eq!(one.peers.status()[&node(2)].chunks_sent, CHUNKS as u64);
    });
}

#[test]
fn what_waits_for_an_unreachable_node_is_bounded_and_counted() {
    within(async {
        let authority = authority();
        let tight = Bounds {
            frames_waiting_max: 10,
            // Longer than the test, so that one attempt is under way all the time.
            handshake_time_max: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(600),
            ..bounds()
        };
        let one = Site::open_with(&authority, 1, loopback(), tight).unwrap();
        // Nobody reads here, and nobody says so either.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        one.peers.set_address(node(2), silent.local_addr().unwrap().into());
        one.say(2, 0..25);
        assert_eq!(one.peers.status()[&node(2)].dropped_full, 15);
    });
}

#[test]
fn what_waited_through_a_failed_attempt_is_dropped_and_counted() {
    within(async {
        let authority = authority();
        let hasty = Bounds {
            handshake_time_max: Duration::from_millis(100),
            ..bounds()
        };
        let one = Site::open_with(&authority, 1, loopback(), hasty).unwrap();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        one.peers.set_address(node(2), silent.local_addr().unwrap().into());
        one.say(2, 0..25);
        until(|| one.peers.status()[&node(2)].dropped_stale == 25).await;
    });
}

/// Sends words until one arrives, as the protocol does, and takes in the rest of them.
async fn say_until_heard(from: &Site, to: &mut Site) {
    loop {
        from.peers.send(node(to.number), vec![message(0)]);
        let heard = tokio::time::timeout(Duration::from_millis(50), to.inbox.recv()).await;
        if let Ok(Some((sender, _))) = heard {
            assert_eq!(sender, node(from.number));
            break;
        }
    }
    // A marked word ends what is under way.
    from.peers.send(node(to.number), vec![message(u64::MAX)]);
    loop {
        let (_, messages) = to.inbox.recv().await.expect("the service goes on");
        if messages.iter().any(|message| word(message) == u64::MAX) {
            return;
        }
    }
}

/// Opens a node where one was: the system may take a moment to free the port.
async fn reopen(authority: &Authority, number: u32, address: SocketAddr) -> Site {
    loop {
        match Site::open_with(authority, number, address, bounds()) {
            Ok(site) => return site,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
