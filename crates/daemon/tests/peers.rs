//! Peers that misbehave. Each bound is compared with the clock, with slack for a slow machine; no
//! test sleeps for a fixed time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod peer;

use std::{
    io::{BufRead, BufReader, Write},
    thread,
    time::{Duration, Instant},
};

use myownllm_daemon::{
    Absence, Client, ControlError, DaemonControl, Endpoint, Event, Probe, Pushed, StopError, probe,
    stop_daemon,
};
use peer::{Peer, SHOWS_PEER, SLACK, STATUS, TryClone as _, WITHIN, bounded, wait_for_ever};
use rstest::rstest;

#[test]
fn probe_and_client_read_the_status_of_a_daemon() {
    let peer = Peer::answering(|line| {
        assert_eq!(line, r#"{"op":"status"}"#);
        format!("{STATUS}\n").into_bytes()
    });
    let found = probe(&peer.endpoint(), WITHIN + SLACK);
    let Probe::Answered { status, pid } = &found else { panic!("{found:?}") };
    assert_eq!((status.version.as_str(), status.joined_networks.len()), ("0.3.8", 1));
    if SHOWS_PEER {
        assert_eq!(*pid, Some(std::process::id()));
    }
    let mut client = peer.client();
    for _ in 0..3 {
        assert_eq!(client.status().unwrap().device_id, "d-1");
    }
}

#[test]
fn probe_is_absent_when_no_process_listens() {
    let peer = Peer::absent();
    let absent = |why| Probe::Absent { why };
    assert_eq!(probe(&peer.endpoint(), WITHIN), absent(Absence::NoSocket));
    assert!(matches!(Client::connect(&peer.endpoint(), WITHIN), Err(ControlError::Unreachable { .. })));
}

#[cfg(unix)]
#[test]
fn probe_is_absent_when_a_file_or_the_socket_of_a_killed_daemon_is_there() {
    let peer = Peer::absent();
    let absent = |why| Probe::Absent { why };
    // A file instead of the socket's directory.
    let file = peer.path().with_file_name("f");
    std::fs::OpenOptions::new().create_new(true).write(true).open(&file).unwrap();
    assert_eq!(probe(&Endpoint::unix(file.join("s")), WITHIN), absent(Absence::NoSocket));
    // A regular file, and the socket of a killed daemon.
    assert_eq!(probe(&Endpoint::unix(&file), WITHIN), absent(Absence::Refused));
    drop(std::os::unix::net::UnixListener::bind(peer.path()).unwrap());
    assert_eq!(probe(&peer.endpoint(), WITHIN), absent(Absence::Refused));
    assert!(matches!(Client::connect(&peer.endpoint(), WITHIN), Err(ControlError::Unreachable { .. })));
}

#[cfg(unix)]
#[test]
fn probe_reports_a_path_that_is_too_long() {
    let long = format!("/tmp/{}", "x".repeat(120));
    let found = probe(&Endpoint::unix(&long), WITHIN);
    assert!(matches!(found, Probe::PathTooLong { length: 125, limit } if limit < 108), "{found:?}");
    let error = Client::connect(&Endpoint::unix(&long), WITHIN).unwrap_err();
    assert_eq!(error.code(), "daemon.socket-too-long");
    // The longest possible path is accepted.
    assert!(probe(&Endpoint::unix(&long[..103]), WITHIN).is_absent());
}

#[test]
fn silent_peer_is_busy_and_not_absent() {
    let peer = Peer::new(wait_for_ever);
    let found = bounded(WITHIN, || probe(&peer.endpoint(), WITHIN));
    assert!(matches!(found, Probe::Busy { .. }), "{found:?}");
    if SHOWS_PEER {
        assert_eq!(found.pid(), Some(std::process::id()));
    }
    let error = bounded(WITHIN, || peer.client().status()).unwrap_err();
    assert_eq!(error.code(), "daemon.busy");
    assert!(error.hint().is_some());
}

/// On other systems a full queue refuses the connection.
#[cfg(target_os = "linux")]
#[test]
fn peer_that_accepts_no_connection_is_busy() {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };
    let peer = Peer::absent();
    let new = |flags| socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    let address = SocketAddrUnix::new(peer.path().as_std_path()).unwrap();
    let listener = new(SocketFlags::CLOEXEC);
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    // Fills the queue.
    let mut waiting = Vec::new();
    loop {
        let socket = new(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        match connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(_) => break,
        }
    }
    let found = bounded(WITHIN, || probe(&peer.endpoint(), WITHIN));
    assert!(matches!(found, Probe::Busy { .. }), "{found:?}");
    assert_eq!(found.pid(), Some(std::process::id()), "its process is found all the same");
    let error = bounded(WITHIN, || Client::connect(&peer.endpoint(), WITHIN)).unwrap_err();
    assert!(matches!(error, ControlError::Busy { .. }), "{error:?}");
}

/// A pipe that accepts no connection is in use by the client that came first.
#[cfg(windows)]
#[test]
fn pipe_that_accepts_no_connection_is_busy() {
    let peer = Peer::absent();
    let _listener = peer.listen();
    let _first = peer.client();
    let found = bounded(WITHIN, || probe(&peer.endpoint(), WITHIN));
    assert!(matches!(found, Probe::Busy { .. }), "{found:?}");
    let error = bounded(WITHIN, || Client::connect(&peer.endpoint(), WITHIN)).unwrap_err();
    assert!(matches!(error, ControlError::Busy { .. }), "{error:?}");
}

#[test]
fn slow_bytes_do_not_extend_the_deadline() {
    let half = Peer::answering(|_| STATUS.as_bytes()[..20].to_vec());
    assert!(matches!(bounded(WITHIN, || probe(&half.endpoint(), WITHIN)), Probe::Busy { .. }));

    let drip = Peer::new(|mut stream| {
        // Each byte comes within any timeout that a single read could have.
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    });
    assert!(matches!(bounded(WITHIN, || probe(&drip.endpoint(), WITHIN)), Probe::Busy { .. }));
}

#[test]
fn line_without_an_end_is_a_protocol_error() {
    let flood = Peer::new(|mut stream| while stream.write_all(&[b'x'; 1 << 16]).is_ok() {});
    let mut client = Client::connect(&flood.endpoint(), Duration::from_secs(60)).unwrap();
    let error = bounded(Duration::ZERO, || client.status()).unwrap_err();
    assert!(matches!(error, ControlError::Protocol { .. }), "{error:?}");
    assert!(!error.to_string().contains("xxx"), "what came is not quoted: {error}");
}

#[test]
fn endless_events_do_not_extend_the_deadline() {
    let flood =
        Peer::new(|mut stream| while stream.write_all(b"{\"kind\":\"event\",\"event\":{}}\n").is_ok() {});
    assert!(matches!(bounded(WITHIN, || probe(&flood.endpoint(), WITHIN)), Probe::Busy { .. }));
    let error = bounded(WITHIN, || flood.client().status()).unwrap_err();
    assert!(matches!(error, ControlError::Busy { .. }), "{error:?}");
}

#[test]
fn peer_that_reads_nothing_is_busy() {
    let deaf = Peer::new(|stream| {
        // Keeps the connection and reads nothing.
        thread::park_timeout(Duration::from_secs(60));
        drop(stream);
    });
    let config = serde_json::json!({"id": "x", "filler": "y".repeat(8 << 20)});
    let error = bounded(WITHIN, || deaf.client().network_add(&config)).unwrap_err();
    assert!(matches!(error, ControlError::Busy { .. }), "{error:?}");
}

#[rstest]
#[case::no_json(b"garbage\n", "not JSON")]
#[case::not_utf8(b"{\"ok\":true,\"data\":\"\xff\"}\n", "not UTF-8")]
#[case::array(b"[]\n", "not a JSON object")]
#[case::no_ok(b"{\"data\":{}}\n", "neither an answer")]
#[case::no_version(b"{\"ok\":true,\"data\":{}}\n", "version")]
#[case::no_data(b"{\"ok\":true}\n", "no object")]
#[case::refusal(b"{\"ok\":false,\"error\":\"go away\"}\n", "go away")]
fn probe_names_the_problem_of_a_nonsense_answer(#[case] answer: &'static [u8], #[case] problem: &str) {
    let peer = Peer::answering(move |_| answer.to_vec());
    let found = probe(&peer.endpoint(), WITHIN + SLACK);
    let Probe::Unusable { problem: found, .. } = &found else { panic!("{found:?}") };
    assert!(found.contains(problem), "{found}");
}

/// A logger may have bound a socket for datagrams there.
#[cfg(target_os = "linux")]
#[test]
fn process_with_a_socket_of_another_kind_is_named() {
    let peer = Peer::absent();
    let _socket = std::os::unix::net::UnixDatagram::bind(peer.path()).unwrap();
    let found = probe(&peer.endpoint(), WITHIN);
    assert!(matches!(&found, Probe::Unusable { pid: Some(_), .. }), "{found:?}");
    assert_eq!(found.pid(), Some(std::process::id()));
}

#[test]
fn peer_that_closes_is_neither_absent_nor_usable() {
    let peer = Peer::new(drop);
    let found = bounded(WITHIN, || probe(&peer.endpoint(), WITHIN));
    assert!(matches!(found, Probe::Unusable { .. }), "{found:?}");
    let error = peer.client().status().unwrap_err();
    assert!(matches!(error, ControlError::Closed { .. }), "{error:?}");
    let half = Peer::new(|mut stream| {
        let _ = stream.write_all(&STATUS.as_bytes()[..20]);
    });
    let error = half.client().status().unwrap_err();
    assert!(matches!(error, ControlError::Protocol { .. } | ControlError::Closed { .. }), "{error:?}");
}

#[test]
fn client_skips_events_and_rejects_unasked_answers() {
    let event = "{\"kind\":\"event\",\"event\":{\"event_kind\":\"diag\"}}\n";
    let chatty = Peer::answering(move |_| format!("{event}{event}{STATUS}\n{event}").into_bytes());
    let mut client = chatty.client();
    for _ in 0..3 {
        assert_eq!(client.status().unwrap().version, "0.3.8");
    }

    let twice = Peer::answering(|_| format!("{STATUS}\n{STATUS}\n").into_bytes());
    let mut client = twice.client();
    client.status().unwrap();
    let error = client.config_show().unwrap_err();
    assert!(matches!(error, ControlError::Protocol { .. }), "{error:?}");
    // The client makes a new connection.
    client.status().unwrap();
}

#[test]
fn late_answer_is_not_taken_for_the_next_one() {
    let slow = Peer::answering(|line| {
        if line.contains("status") {
            thread::sleep(WITHIN * 2);
            return format!("{STATUS}\n").into_bytes();
        }
        b"{\"ok\":true,\"data\":{\"network_id\":\"abc\"}}\n".to_vec()
    });
    let mut client = slow.client();
    assert!(matches!(client.status(), Err(ControlError::Busy { .. })));
    let generated = client.request("network_id_generate", serde_json::Map::new()).unwrap();
    assert_eq!(generated, serde_json::json!({"network_id": "abc"}));
}

#[test]
fn refusals_unknown_ops_and_bad_requests_have_different_codes() {
    let peer = Peer::answering(|line| {
        let error = match line.contains("network_update") {
            true => "parse: unknown variant `network_update`, expected one of `status` at line 1 column 2",
            false => "unknown network: nope",
        };
        format!("{}\n", serde_json::json!({"ok": false, "error": error})).into_bytes()
    });
    let mut client = peer.client();
    let error = client.network_update("n1", &serde_json::json!({})).unwrap_err();
    assert_eq!(error.code(), "daemon.unknown-op");
    let error = client.network_remove("nope").unwrap_err();
    assert_eq!(error.code(), "daemon.refused-op");
    assert!(error.to_string().contains("unknown network: nope"));
    let fields = serde_json::Map::from_iter([("op".to_owned(), "other".into())]);
    assert_eq!(client.request("status", fields).unwrap_err().code(), "daemon.bad-request");
}

#[test]
fn event_stream_returns_every_pushed_line_in_order() {
    let peer = Peer::new(|stream| {
        let mut to = stream.try_clone().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        assert!(line.contains("events_subscribe"));
        to.write_all(b"{\"ok\":true,\"data\":{\"subscribed\":true,\"client_id\":\"c0\"}}\n").unwrap();
        // An event in two pieces, two lines of other kinds, and an event without a kind.
        to.write_all(b"{\"kind\":\"event\",\"event\":{\"event_kind\":\"one\"").unwrap();
        thread::sleep(Duration::from_millis(20));
        to.write_all(b",\"ts\":1}}\n{\"kind\":\"lagged\",\"missed\":3}\n").unwrap();
        to.write_all(b"{\"kind\":\"rpc_inbound\",\"id\":7}\n{\"kind\":\"event\",\"event\":{}}\n").unwrap();
        wait_for_ever(stream);
    });
    let mut events = peer.client().subscribe().unwrap();
    assert_eq!(events.client_id(), "c0");
    let mut next = || {
        let deadline = Instant::now() + SLACK;
        loop {
            // Short waits lose nothing.
            match events.next_within(Duration::from_millis(1)).unwrap() {
                Some(pushed) => return pushed,
                None => assert!(Instant::now() < deadline),
            }
        }
    };
    use serde_json::json;
    let event = |kind: &str, event| Pushed::Event(Event { kind: kind.to_owned(), event });
    assert_eq!(next(), event("one", json!({"event_kind": "one", "ts": 1})));
    assert_eq!(next(), Pushed::Lagged { line: json!({"kind": "lagged", "missed": 3}) });
    let line = json!({"kind": "rpc_inbound", "id": 7});
    assert_eq!(next(), Pushed::Other { kind: "rpc_inbound".to_owned(), line });
    assert_eq!(next(), event("", json!({})));
    assert!(events.next_within(Duration::ZERO).unwrap().is_none());
}

/// Compiles only if a GUI can keep the front-door types in its state.
#[test]
fn front_door_types_are_send_sync_and_debug() {
    fn keeps<T: Send + Sync + std::fmt::Debug>() {}
    use myownllm_daemon::{
        Candidate, Detection, EventStream, ExitWatch, HomeDaemons, RunningDaemon, SpawnError, Spawned,
        Status, Suspect, reconcile,
    };
    keeps::<Client>();
    keeps::<EventStream>();
    keeps::<Spawned>();
    keeps::<ExitWatch>();
    keeps::<HomeDaemons>();
    keeps::<RunningDaemon>();
    keeps::<(Endpoint, Candidate, Detection, Probe, Status, Suspect, Pushed)>();
    keeps::<(ControlError, SpawnError, StopError)>();
    keeps::<(reconcile::Plan, reconcile::Outcome, reconcile::ReconcileInput)>();
}

#[test]
fn stop_daemon_never_signals_this_process() {
    let peer = Peer::new(wait_for_ever);
    let error = bounded(WITHIN, || stop_daemon(&peer.endpoint(), WITHIN)).unwrap_err();
    assert!(
        matches!(
            error,
            StopError::Signal { .. } | StopError::UnknownProcess { .. } | StopError::Unsupported { .. }
        ),
        "{error:?}"
    );
    assert_eq!(
        stop_daemon(&Peer::absent().endpoint(), WITHIN).unwrap(),
        myownllm_daemon::StoppedDaemon::WasAbsent
    );
}

/// Another crate builds such values in its fakes.
#[test]
fn results_can_be_built_by_another_implementation() {
    use myownllm_daemon::{Attempt, Decision, Detection, Role, ServingProcess};
    let endpoint = Endpoint::unix("/nowhere/daemon.sock");
    let absent = Probe::Absent { why: Absence::NoSocket };
    let looked = Attempt::new(Role::Own, endpoint, absent, Duration::from_millis(2));
    let found = Detection::new(vec![looked], Decision::Spawn);
    assert_eq!(found.attempts[0].took_us, 2000);
    assert_eq!(ServingProcess::new(7, None).pid, 7);
}
