//! Requests and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll::net::{Authority, Bounds, Caller, ClientConnection, ConnectError, Endpoint, RequestError, Service};
use tokio::sync::Semaphore;

use crate::site::{Site, authority, bounds, credentials_of_client, credentials_of_node, loopback, node, until, within};

fn client(authority: &Authority) -> Endpoint {
    Endpoint::open(loopback(), &credentials_of_client(authority), bounds()).expect("sound parts")
}

async fn connect(client: &Endpoint, site: &Endpoint) -> ClientConnection {
    ClientConnection::open(client, node(1), site.local_address().expect("sound parts"))
        .await
        .expect("sound parts")
}

/// Node 1, which answers requests with this.
fn answering<H, A>(authority: &Authority, bounds: Bounds, handler: H) -> Endpoint
where
    H: Fn(Caller, Vec<u8>) -> A + Send + Sync + 'static,
    A: Future<Output = Vec<u8>> + Send + 'static,
{
    let endpoint = Endpoint::open(loopback(), &credentials_of_node(authority, 1), bounds).expect("sound parts");
    endpoint.serve(Service::new(|_, _| true, handler));
    endpoint
}

#[test]
fn every_request_gets_its_own_answer() {
    within(async {
        let authority = authority();
        let many = Bounds {
            requests_max: 500,
            ..bounds()
        };
        let site = Site::open(&authority, 1);
        let client = Endpoint::open(loopback(), &credentials_of_client(&authority), many).unwrap();
        let connection = connect(&client, &site.endpoint).await;
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..500_u32 {
            let connection = connection.clone();
            asked.spawn(async move {
                let mut request = number.to_le_bytes().to_vec();
                request.resize(4 + number as usize * 100, 3);
                let answer = connection.request(request.clone()).await.unwrap();
                request.reverse();
                assert!(answer == request, "the answer to another request");
            });
        }
        while let Some(ended) = asked.join_next().await {
            ended.unwrap();
        }
        assert_eq!(connection.request(Vec::new()).await, Ok(Vec::new()));
        assert_eq!(site.endpoint.load().clients, 1);
        drop(connection);
        until(|| site.endpoint.load().clients == 0).await;
        assert_eq!(site.refused().total(), 0);
    });
}

#[test]
fn answers_come_in_any_order() {
    within(async {
        let authority = authority();
        let gate = Arc::new(Semaphore::new(0));
        let kept = Arc::clone(&gate);
        let site = answering(&authority, bounds(), move |_, request| {
            let gate = Arc::clone(&kept);
            async move {
                if request == b"slow" {
                    gate.acquire().await.unwrap().forget();
                }
                request
            }
        });
        let client = client(&authority);
        let connection = connect(&client, &site).await;
        let slow = connection.request(b"slow".to_vec());
        tokio::pin!(slow);
        tokio::select! {
            biased;
            _ = &mut slow => panic!("it was not let through yet"),
            fast = connection.request(b"fast".to_vec()) => assert_eq!(fast.unwrap(), b"fast"),
        }
        gate.add_permits(1);
        assert_eq!(slow.await.unwrap(), b"slow");
    });
}

#[test]
fn the_handler_is_told_who_asks() {
    within(async {
        let authority = authority();
        let site = answering(&authority, bounds(), |caller, _| async move {
            caller.to_string().into_bytes()
        });
        let client = client(&authority);
        let other_node = Endpoint::open(loopback(), &credentials_of_node(&authority, 9), bounds()).unwrap();
        for (endpoint, expected) in [(&client, "a client"), (&other_node, "n9")] {
            let answer = connect(endpoint, &site).await.request(Vec::new()).await.unwrap();
            assert_eq!(answer, expected.as_bytes());
        }
    });
}

#[test]
fn waiting_requests_fail_when_the_node_goes_away() {
    within(async {
        let authority = authority();
        let arrived = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&arrived);
        let site = answering(&authority, bounds(), move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::pending()
        });
        let client = client(&authority);
        let connection = connect(&client, &site).await;
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let connection = connection.clone();
            asked.spawn(async move { connection.request(vec![1]).await });
        }
        until(|| arrived.load(Ordering::Relaxed) == 10).await;
        site.close().await;
        while let Some(ended) = asked.join_next().await {
            let error = ended.unwrap().unwrap_err();
            assert!(error.may_have_happened(), "{error:?}");
            let words = error.to_string();
            assert!(
                words.starts_with("the connection to n1 ended before it answered: "),
                "{words}"
            );
        }
        let error = connection.request(vec![1]).await.unwrap_err();
        assert!(
            matches!(error, RequestError::Closed { .. }) && !error.may_have_happened(),
            "{error:?}"
        );
        assert!(connection.ended().is_some());
    });
}

#[test]
fn a_client_sends_no_more_than_the_bounds_allow() {
    within(async {
        let authority = authority();
        let site = answering(&authority, bounds(), |_, _| std::future::pending());
        let tight = Bounds {
            requests_max: 3,
            request_bytes_max: 10,
            ..bounds()
        };
        let client = Endpoint::open(loopback(), &credentials_of_client(&authority), tight).unwrap();
        let connection = connect(&client, &site).await;
        assert_eq!(
            connection.request(vec![0; 11]).await,
            Err(RequestError::TooLarge { bytes: 11, limit: 10 })
        );
        for _ in 0..3 {
            // Given up, but the node still works on it.
            let waiting = tokio::time::timeout(Duration::from_millis(1), connection.request(vec![0; 10])).await;
            assert!(waiting.is_err());
        }
        assert_eq!(
            connection.request(vec![0]).await,
            Err(RequestError::Overloaded { limit: 3 })
        );
    });
}

#[test]
fn a_node_works_on_no_more_requests_of_a_connection_than_its_bound() {
    within(async {
        let authority = authority();
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, highest) = (Arc::clone(&now), Arc::clone(&most));
        let tight = Bounds {
            requests_max: 4,
            ..bounds()
        };
        let site = answering(&authority, tight, move |_, request| {
            let (now, most) = (Arc::clone(&counted), Arc::clone(&highest));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                request
            }
        });
        let client = client(&authority);
        let connection = connect(&client, &site).await;
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..100 {
            let connection = connection.clone();
            asked.spawn(async move { assert_eq!(connection.request(vec![number]).await, Ok(vec![number])) });
        }
        while let Some(ended) = asked.join_next().await {
            ended.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn a_node_reads_no_further_while_requests_and_answers_of_a_connection_hold_its_bound() {
    within(async {
        let authority = authority();
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let tight = Bounds {
            requests_bytes_max: 1 << 20,
            ..bounds()
        };
        let site = answering(&authority, tight, move |_, request| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move { request.repeat(1 << 20) }
        });
        // Answers of a mebibyte each, which nobody reads; the windows take a few of them.
        let intruder = crate::intruder::Intruder::certified(&authority, None);
        let connection = intruder.connect(1, site.local_address().unwrap()).await.unwrap();
        let (mut sending, mut receiving) = connection.open_bi().await.unwrap();
        const ASKED: usize = 100;
        for number in 0..ASKED as u64 {
            let mut request = [0; 14];
            request[0] = 1;
            request[4..12].copy_from_slice(&number.to_le_bytes());
            sending.write_all(&request).await.unwrap();
            // What is begun at once is bounded by its number alone.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut last = usize::MAX;
        while last != begun.load(Ordering::SeqCst) {
            last = begun.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        assert!((1..ASKED / 2).contains(&last), "{last} requests were begun");
        sending.finish().unwrap();
        let answers = receiving.read_to_end(ASKED * (13 + (1 << 20))).await.unwrap();
        assert_eq!(answers.len(), ASKED * (13 + (1 << 20)));
        assert_eq!(begun.load(Ordering::SeqCst), ASKED);
    });
}

#[test]
fn an_answer_too_large_and_a_failed_handler_are_told_and_the_rest_goes_on() {
    within(async {
        let authority = authority();
        let tight = Bounds {
            answer_bytes_max: 1_000,
            ..bounds()
        };
        let site = answering(&authority, tight, |_, request| async move {
            match request.as_slice() {
                b"fail" => panic!("as the test wants it"),
                b"large" => vec![0; 1_001],
                _ => request,
            }
        });
        let client = client(&authority);
        let connection = connect(&client, &site).await;
        let one = node(1);
        assert_eq!(
            connection.request(b"fail".to_vec()).await,
            Err(RequestError::Failed { node: one })
        );
        assert_eq!(
            connection.request(b"large".to_vec()).await,
            Err(RequestError::AnswerTooLarge { node: one })
        );
        assert_eq!(connection.request(b"small".to_vec()).await, Ok(b"small".to_vec()));
    });
}

#[test]
fn a_request_beyond_the_nodes_bound_costs_its_sender_the_connection() {
    within(async {
        let authority = authority();
        let tight = Bounds {
            request_bytes_max: 1_000,
            ..bounds()
        };
        let site = answering(&authority, tight, |_, request| async move { request });
        let client = client(&authority);
        let (bold, honest) = (connect(&client, &site).await, connect(&client, &site).await);
        let error = bold.request(vec![0; 1_001]).await.unwrap_err();
        assert!(
            error.to_string().contains("a request is malformed or too large"),
            "{error}"
        );
        assert_eq!(site.refused().malformed_request, 1);
        assert_eq!(honest.request(vec![1]).await, Ok(vec![1]));
    });
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    within(async {
        let authority = authority();
        let impatient = Bounds {
            answer_time_max: Duration::from_millis(300),
            ..bounds()
        };
        let site = answering(&authority, impatient, |_, _| async { vec![0; 4 << 20] });
        let intruder = crate::intruder::Intruder::certified(&authority, None);
        let connection = intruder.connect(1, site.local_address().unwrap()).await.unwrap();
        let (mut sending, _unread) = connection.open_bi().await.unwrap();
        for number in 0..4_u64 {
            let mut request = [0; 13];
            request[4..12].copy_from_slice(&number.to_le_bytes());
            sending.write_all(&request).await.unwrap();
        }
        let why = connection.closed().await.to_string();
        assert!(why.contains("answers are not read"), "{why}");
    });
}

#[test]
fn clients_beyond_the_bound_are_refused_and_nodes_are_not() {
    within(async {
        let authority = authority();
        let tight = Bounds {
            clients_max: 2,
            ..bounds()
        };
        let mut site = Site::open_with(&authority, 1, loopback(), tight).unwrap();
        let client = client(&authority);
        let mut connections = Vec::new();
        for _ in 0..2 {
            let connection = connect(&client, &site.endpoint).await;
            assert_eq!(connection.request(vec![1]).await, Ok(vec![1]));
            connections.push(connection);
        }
        // It is told at the latest when it asks something: a caller believes itself connected before it is judged.
        let why = match ClientConnection::open(&client, node(1), site.address()).await {
            Ok(third) => third.request(vec![1]).await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(why.contains("too many connections of clients"), "{why}");
        assert_eq!(site.refused().too_many_connections, 1);
        let other = Site::open(&authority, 2);
        other.knows(&site);
        other.say(1, 0..10);
        site.hears(2, 0..10).await;
        connections.pop();
        until(|| site.endpoint.load().clients == 1).await;
        let next = connect(&client, &site.endpoint).await;
        assert_eq!(next.request(vec![1]).await, Ok(vec![1]));
    });
}

#[test]
fn nobody_answers_where_nobody_is() {
    within(async {
        let authority = authority();
        let hasty = Bounds {
            handshake_time_max: Duration::from_millis(200),
            ..bounds()
        };
        let client = Endpoint::open(loopback(), &credentials_of_client(&authority), hasty).unwrap();
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let error = ClientConnection::open(&client, node(1), address).await.err().unwrap();
        assert_eq!(error, ConnectError::NoAnswer { node: node(1), address });
    });
}
