//! The bridge to tokio: the rules of the synchronous client hold through it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod peer;

use std::{
    io::{BufRead, BufReader, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use myownllm_daemon::{AsyncClient, AsyncEvents, ControlError, DaemonControl as _, Event, Pushed};
use peer::{Peer, SLACK, STATUS, Stream, TryClone as _, WITHIN, bounded, wait_for_ever};
use serde_json::{Map, json};

const SUBSCRIBED: &[u8] = b"{\"ok\":true,\"data\":{\"subscribed\":true,\"client_id\":\"c0\"}}\n";

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

/// A peer that answers each request, and calls `push` on the connection that subscribes.
fn pushing(push: impl Fn(Stream) + Send + Sync + Clone + 'static) -> Peer {
    Peer::new(move |stream| {
        let mut to = stream.try_clone().unwrap();
        for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
            if line.contains("events_subscribe") {
                to.write_all(SUBSCRIBED).unwrap();
                return push(stream);
            }
            to.write_all(format!("{STATUS}\n").as_bytes()).unwrap();
        }
    })
}

async fn connect(peer: &Peer) -> AsyncClient {
    AsyncClient::connect(&peer.endpoint(), WITHIN).await.unwrap()
}

#[test]
fn requests_of_clones_get_their_own_answers() {
    let peer = Peer::answering(|line| {
        let op = line.split('"').nth(3).unwrap().to_owned();
        format!("{}\n", json!({"ok": true, "data": op})).into_bytes()
    });
    run(async {
        let client = connect(&peer).await;
        let ask = |op: &'static str| {
            let client = client.clone();
            tokio::spawn(async move { client.request(op, Map::new()).await.unwrap() })
        };
        for (op, task) in ["a", "b", "c", "d"].map(|op| (op, ask(op))) {
            assert_eq!(task.await.unwrap(), op);
        }
    });
}

#[test]
fn events_come_in_order_while_requests_go_on() {
    let peer = pushing(|mut stream| {
        stream.write_all(b"{\"kind\":\"event\",\"event\":{\"event_kind\":\"one\"}}\n").unwrap();
        stream
            .write_all(b"{\"kind\":\"lagged\",\"missed\":3}\n{\"kind\":\"rpc_inbound\",\"id\":7}\n")
            .unwrap();
    });
    run(async {
        let client = connect(&peer).await;
        let mut events = client.subscribe().await.unwrap();
        assert_eq!(events.client_id(), "c0");
        assert_eq!(client.run(|client| client.status()).await.unwrap().version, "0.3.8");
        let event = Event { kind: "one".to_owned(), event: json!({"event_kind": "one"}) };
        assert_eq!(events.next().await.unwrap().unwrap(), Pushed::Event(event));
        let line = json!({"kind": "lagged", "missed": 3});
        assert_eq!(events.next().await.unwrap().unwrap(), Pushed::Lagged { line });
        let line = json!({"kind": "rpc_inbound", "id": 7});
        assert_eq!(
            events.next().await.unwrap().unwrap(),
            Pushed::Other { kind: "rpc_inbound".to_owned(), line }
        );
        let ended = events.next().await.unwrap().unwrap_err();
        assert!(matches!(ended, ControlError::Closed { .. }), "{ended:?}");
        assert!(events.next().await.is_none(), "the stream has ended");
    });
}

/// A pipe stays open until its daemon sends more, or ends.
#[cfg(unix)]
#[test]
fn drop_of_the_stream_ends_the_connection_to_a_silent_daemon() {
    let (closed, is_closed) = mpsc::channel();
    let peer = pushing(move |mut stream| {
        let read = std::io::Read::read(&mut stream, &mut [0]);
        closed.send(read.unwrap()).unwrap();
    });
    run(async {
        let events = connect(&peer).await.subscribe().await.unwrap();
        assert!(is_closed.recv_timeout(WITHIN).is_err(), "the connection stays while the stream lives");
        drop(events);
        assert_eq!(is_closed.recv_timeout(SLACK).unwrap(), 0, "the end of the connection");
    });
}

#[test]
fn stalling_peer_is_busy_at_the_deadline() {
    let peer = Peer::new(wait_for_ever);
    run(async {
        let client = connect(&peer).await;
        let began = Instant::now();
        let error = client.request("status", Map::new()).await.unwrap_err();
        assert!(matches!(error, ControlError::Busy { .. }), "{error:?}");
        let error = client.subscribe().await.unwrap_err();
        assert!(matches!(error, ControlError::Busy { .. }), "{error:?}");
        assert!(began.elapsed() < WITHIN * 2 + SLACK);
    });
    let line = Peer::new(|mut stream| while stream.write_all(&[b'x'; 1 << 16]).is_ok() {});
    let error = bounded(WITHIN, || run(async { connect(&line).await.subscribe().await.unwrap_err() }));
    assert!(matches!(error, ControlError::Protocol { .. } | ControlError::Busy { .. }), "{error:?}");
}

/// The answer to the request whose future was dropped comes late, and belongs to nobody.
#[test]
fn dropped_request_leaves_no_answer_to_the_next_one() {
    let peer = Peer::answering(|line| {
        if line.contains("status") {
            thread::sleep(WITHIN * 2);
            return format!("{STATUS}\n").into_bytes();
        }
        b"{\"ok\":true,\"data\":\"next\"}\n".to_vec()
    });
    run(async {
        let client = connect(&peer).await;
        let dropped = tokio::spawn({
            let client = client.clone();
            async move { client.request("status", Map::new()).await }
        });
        tokio::task::yield_now().await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
        assert_eq!(client.request("next", Map::new()).await.unwrap(), "next");
    });
}

#[test]
fn flood_of_events_stops_when_nobody_reads_and_ends_with_the_stream() {
    let written = Arc::new(AtomicUsize::new(0));
    let (ended, has_ended) = mpsc::channel();
    let peer = pushing({
        let written = written.clone();
        move |mut stream| {
            let line = format!("{}\n", json!({"kind": "event", "event": {"filler": "x".repeat(1 << 10)}}));
            while stream.write_all(line.as_bytes()).is_ok() {
                written.fetch_add(line.len(), Ordering::SeqCst);
            }
            ended.send(()).unwrap();
        }
    });
    run(async {
        let mut events = connect(&peer).await.subscribe().await.unwrap();
        // Until nothing more is written: the queue and the buffers of the system are full.
        let (began, mut before) = (Instant::now(), usize::MAX);
        while before != written.load(Ordering::SeqCst) {
            assert!(began.elapsed() < SLACK, "{before} bytes, and it goes on");
            before = written.load(Ordering::SeqCst);
            thread::sleep(Duration::from_millis(300));
        }
        assert!(before < 4 << 20, "{before} bytes wait");
        // Nothing of the flood was lost, and more comes.
        for _ in 0..1000 {
            assert!(matches!(events.next().await, Some(Ok(Pushed::Event(_)))));
        }
        drop(events);
        has_ended.recv_timeout(SLACK).unwrap();
    });
}

/// Compiles only if the types can be kept in the state of a GUI, and used as a stream.
#[test]
fn types_are_send_sync_and_a_stream() {
    fn keeps<T: Send + Sync + std::fmt::Debug>() {}
    fn streams<T: futures_core::Stream<Item = Result<Pushed, ControlError>> + Unpin>() {}
    keeps::<(AsyncClient, AsyncEvents)>();
    streams::<AsyncEvents>();
}
