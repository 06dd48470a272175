//! The program and a daemon with odd answers. A peer in the test's own process plays the daemon.
//! Each run ends in time, with an exit code of the contract and a message that names the fault.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use integration_tests::testkit::{CONFIG, Home, MESH, Ran, can_trace, run, wrapped};
use serde_json::{Value, json};

const KEY: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da";

/// A daemon on the app's own socket. `asked` records the ops of all connections.
struct Peer {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn new(home: &Home, talk: impl Fn(&mut Talk<'_>) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(home.path(&format!("{MESH}/daemon.sock"))).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (talk, noted) = (Arc::new(talk), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (talk, noted) = (Arc::clone(&talk), Arc::clone(&noted));
                std::thread::spawn(move || {
                    let lines = BufReader::new(stream.try_clone().unwrap());
                    talk(&mut Talk { lines, to: stream, asked: &noted });
                });
            }
        });
        Self { asked }
    }

    /// Answers each request with the bytes that `answer` makes from the op and the true answer.
    fn answering(home: &Home, answer: impl Fn(&str, &Value) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::new(home, move |talk| {
            while let Some(op) = talk.next() {
                if talk.to.write_all(&answer(&op, &truth(&op))).is_err() {
                    return;
                }
            }
        })
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

struct Talk<'a> {
    lines: BufReader<UnixStream>,
    to: UnixStream,
    asked: &'a Mutex<Vec<String>>,
}

impl Talk<'_> {
    /// Returns the next op.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let op = serde_json::from_str::<Value>(&line).unwrap()["op"].as_str().unwrap().to_owned();
        self.asked.lock().unwrap().push(op.clone());
        Some(op)
    }
}

/// Returns the answer of a daemon on the settled home that has joined its active network.
fn truth(op: &str) -> Value {
    let data = match op {
        "status" => {
            json!({"version": "0.3.8", "device_id": format!("{KEY}-00000"), "joined_networks": ["home-mesh"]})
        }
        "config_show" => json!({"config": {"version": 3, "networks": []}}),
        "network_add" => json!({"added": {"config_id": "n", "network_id": "home-mesh"}}),
        "network_remove" => json!({"removed": "n"}),
        _ => json!({}),
    };
    json!({"ok": true, "data": data})
}

fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// Replaces one member of `data` in the answer.
fn with(answer: &Value, key: &str, value: Value) -> Vec<u8> {
    let mut answer = answer.clone();
    answer["data"][key] = value;
    line(&answer)
}

type Answer = Box<dyn Fn(&str, &Value) -> Vec<u8> + Send + Sync>;

/// Gives the true answer to all ops except `op`.
fn only(op: &'static str, answer: impl Fn(&Value) -> Vec<u8> + Send + Sync + 'static) -> Answer {
    Box::new(move |asked, truth| if asked == op { answer(truth) } else { line(truth) })
}

/// A home whose active network the peer has joined.
fn home() -> Home {
    let home = Home::settled();
    home.run(&["network", "use", "home-mesh"]).ends_with(0);
    home
}

/// Fails the test if a run panics or prints control characters.
#[track_caller]
fn is_sane(ran: &Ran, label: &str) {
    let said = ran.all();
    assert!(!said.contains("panicked") && ran.code.is_some(), "{label}: {said}");
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{label}: {said:?}");
}

/// Runs `launch`, `status` and `doctor`, and checks that they agree about the daemon. With `words`,
/// the launch has to fail with that text.
fn plays(name: &str, answer: Answer, code: i32, words: &str) -> Vec<String> {
    let home = home();
    let peer = Peer::answering(&home, answer);
    let ran = home.run(&["launch", "--once"]).ends_with(code);
    is_sane(&ran, name);
    assert!(ran.stderr.contains(words), "{name}: {words}: {ran:?}");
    assert_eq!(ran.stderr.is_empty(), code == 0, "{name}: {ran:?}");
    let asked = peer.asked();
    let status = home.run(&["status"]).ends_with(0);
    is_sane(&status, name);
    // `status` sends only the op `status`, so it cannot predict a later failure.
    let attaches = code == 0 || asked.iter().any(|op| op != "status");
    assert_eq!(status.stdout.contains("attach to the app's daemon"), attaches, "{name}: {status:?}");
    let doctor = home.run(&["doctor", "--json"]).ends_with(if attaches { 0 } else { 4 });
    let said = doctor.json()["data"]["checks"].clone();
    let own = said.as_array().unwrap().iter().find(|check| check["id"] == "daemon.own").unwrap();
    assert_eq!(own["result"], if attaches { "ok" } else { "problem" }, "{name}: {own}");
    asked
}

#[test]
fn a_status_of_another_kind_is_taken_where_it_says_enough() {
    let status =
        |key: &'static str, value: Value| only("status", move |truth| with(truth, key, value.clone()));
    let raw = |text: &'static str| only("status", move |_| format!("{text}\n").into_bytes());
    for (key, value, code, words) in [
        ("version", json!("not a version \u{1b}[31m\n"), 0, ""),
        ("version", Value::Null, 5, "`version` is no text"),
        ("version", json!(3), 5, "`version` is no text"),
        ("device_id", Value::Null, 5, "`device_id` is no text"),
        ("device_id", json!(" "), 5, "`device_id` is empty"),
        // The letter case and the check digits do not change the key.
        ("device_id", json!(KEY.to_uppercase()), 0, ""),
        ("device_id", json!("abc\u{7}-1"), 7, r"has the Device ID abc\u{7}-1"),
        ("joined_networks", Value::Null, 0, ""),
        ("joined_networks", json!("home-mesh"), 5, "`joined_networks` is no list"),
        ("joined_networks", json!([{"network_id": "home-mesh"}]), 5, "holds something that is no text"),
        ("uptime", json!(u64::MAX), 0, ""),
        ("load", json!({"deep": [[[null, -1.5e300]]]}), 0, ""),
    ] {
        plays(&format!("{key} {value}"), status(key, value), code, words);
    }
    for (text, words) in [
        (r#"{"ok":true}"#, "`data` is no object"),
        (r#"{"ok":true,"data":null}"#, "`data` is no object"),
        (r#"{"ok":true,"data":[]}"#, "`data` is no object"),
        (r#"{"ok":true,"data":{"version":"1","device_id":"d","up":1e999}}"#, "a number out of range"),
        (r#"{"ok":"true","data":{}}"#, "neither an answer"),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "neither an answer"),
        (r#"{"ok":false}"#, "refuses to tell its status: no reason given"),
        (r#"{"ok":false,"error":{"code":-3,"message":"go\taway"}}"#, r"its status: go\taway"),
        (r#"{"ok":false,"error":["go",1]}"#, r#"its status: [\"go\",1]"#),
        ("220 mail.example.org ESMTP", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "neither an answer"),
    ] {
        plays(text, raw(text), 5, words);
    }
    plays(
        "not UTF-8",
        only("status", |_| b"{\"ok\":true,\"data\":\"\xff\"}\n".to_vec()),
        5,
        "not UTF-8 (byte 19)",
    );
    plays("nothing but line ends", only("status", |_| b"\n\r\n".to_vec()), 5, "did not answer within 800 ms");
    plays(
        "half a line",
        only("status", |truth| line(truth)[..20].to_vec()),
        5,
        "did not answer within 800 ms",
    );
    plays("a line without an end", only("status", |_| vec![b'x'; 17 << 20]), 5, "a line without an end");
}

#[test]
fn networks_of_another_kind_are_brought_in_line_all_the_same() {
    let joined = |value: Value| only("status", move |truth| with(truth, "joined_networks", value.clone()));
    let changes =
        |asked: Vec<String>| asked.into_iter().filter(|op| op.starts_with("network_")).collect::<Vec<_>>();
    let twice = plays("twice", joined(json!(["home-mesh", "home-mesh", "x", "x"])), 0, "");
    assert_eq!(changes(twice), ["network_remove"], "what is there twice is left once");
    let odd = plays("odd", joined(json!(["home-mesh", "../../etc", "a b\u{1b}[2J", "é"])), 0, "");
    assert_eq!(changes(odd).len(), 3);
    let unsaid = only("status", |truth| {
        let mut truth = truth.clone();
        truth["data"].as_object_mut().unwrap().remove("joined_networks");
        line(&truth)
    });
    assert_eq!(changes(plays("unsaid", unsaid, 0, "")), ["network_add"]);
    // An unreadable member of the daemon's config is skipped; an unreadable config is an error.
    for (config, code, words) in [
        (json!({"networks": null}), 0, ""),
        (json!({"networks": [null, 3, "x", {"id": 7, "network_id": null}, {}]}), 0, ""),
        (json!({}), 0, ""),
        (Value::Null, 5, "`config_show` cannot be used: `config` is no object"),
    ] {
        let shown = only("config_show", move |_| line(&json!({"ok": true, "data": {"config": config}})));
        assert!(changes(plays("config", shown, code, words)).is_empty());
    }
    let old = "parse: unknown variant `config_show`, expected one of `status`";
    for error in [old, "I would rather not"] {
        plays(error, only("config_show", move |_| line(&json!({"ok": false, "error": error}))), 0, "");
    }
    plays(
        "config",
        only("config_show", |_| b"\xff\n".to_vec()),
        5,
        "`config_show` cannot be used: not UTF-8",
    );
    // A refusal in any form is reported in its own words.
    for (error, words) in [
        (json!("join: the disk is full\n"), r"the daemon refused `network_add`: join: the disk is full\n"),
        (json!({"message": "the disk is full"}), "the daemon refused `network_add`: the disk is full"),
        (json!(null), "the daemon refused `network_add`: no reason given"),
        (json!(17), "the daemon refused `network_add`: 17"),
    ] {
        let home = home();
        let _peer = Peer::answering(&home, move |op, truth| match op {
            "status" => with(truth, "joined_networks", json!([])),
            "network_add" => line(&json!({"ok": false, "error": error})),
            _ => line(truth),
        });
        let ran = home.run(&["launch", "--once"]).ends_with(1);
        is_sane(&ran, words);
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    }
}

/// Answers come byte by byte, slowly, with events between them, over one connection or many.
#[test]
fn chunks_of_answers_make_no_difference() {
    let plain: fn(&mut Talk<'_>, &[u8]) = |talk, answer| talk.to.write_all(answer).unwrap();
    let in_pieces: fn(&mut Talk<'_>, &[u8]) = |talk, answer| {
        answer.iter().for_each(|byte| talk.to.write_all(&[*byte]).unwrap());
    };
    let with_events: fn(&mut Talk<'_>, &[u8]) = |talk, answer| {
        let event = b"{\"kind\":\"event\",\"event\":{\"event_kind\":\"diag\"}}\r\n\n";
        talk.to.write_all(&[event, event, answer, event].concat()).unwrap();
    };
    let slowly: fn(&mut Talk<'_>, &[u8]) = |talk, answer| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        talk.to.write_all(answer).unwrap();
    };
    for (name, say) in
        [("plain", plain), ("in pieces", in_pieces), ("with events", with_events), ("slowly", slowly)]
    {
        for closes in [false, true] {
            let label = format!("{name}, closes: {closes}");
            let home = home();
            let peer = Peer::new(&home, move |talk| {
                while let Some(op) = talk.next() {
                    let answer = match op.as_str() {
                        "status" => with(&truth(&op), "joined_networks", json!(["other", "another"])),
                        _ => line(&truth(&op)),
                    };
                    say(talk, &answer);
                    if closes {
                        return;
                    }
                }
            });
            let ran = home.run(&["launch", "--once"]).ends_with(0);
            assert!(ran.stdout.contains("joined home-mesh, left other, left another"), "{label}: {ran:?}");
            // The launch looks twice: for the plan, and again under the lock. No change is
            // requested twice.
            let ops = ["network_add", "network_remove", "network_remove"];
            assert_eq!(peer.asked(), [&LOOKED_TWICE[..], &ops].concat(), "{label}");
        }
    }
}

/// A daemon that confirms a change but reports the old value causes a warning, not a failure.
#[test]
fn a_daemon_with_words_of_its_own_is_no_failure() {
    let home = home();
    let mut config = home.json(CONFIG);
    for network in config["cloud_mesh"]["networks"].as_array_mut().unwrap() {
        network["label"] = "Home".into();
    }
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    let id = config["cloud_mesh"]["active_network_id"].clone();
    let shown = json!({"id": id, "network_id": "home-mesh", "label": "HOME"});
    let _peer = Peer::answering(
        &home,
        only("config_show", move |truth| with(truth, "config", json!({"version": 3, "networks": [shown]}))),
    );
    let said = home.run(&["launch", "--once", "--json"]).ends_with(0).json();
    let found =
        said["diagnostics"].as_array().unwrap().iter().find(|one| one["code"] == "daemon.not-applied");
    assert_eq!(found.unwrap()["severity"], "warning", "{said}");
}

/// The program prints only a part of a long answer, and no control characters.
#[test]
fn a_daemon_of_many_words_is_quoted_in_part() {
    let long = |end: &str| format!("begins\u{202e}{}{end}", "x".repeat(1 << 20));
    let home = home();
    let id = home.json(CONFIG)["cloud_mesh"]["active_network_id"].clone();
    let peer = Peer::answering(&home, move |op, truth| match op {
        "status" => {
            let mut truth = truth.clone();
            truth["data"]["version"] = long("version").into();
            truth["data"]["joined_networks"] = json!([long("joined")]);
            truth["data"][long("key")] = 1.into();
            truth["data"]["more"] = json!([long("more"), vec!["m"; 100_000]]);
            line(&truth)
        }
        "config_show" => {
            let network = json!({"id": id, "network_id": long("joined"), "label": long("label")});
            with(truth, "config", json!({"version": 3, "networks": [network]}))
        }
        _ => line(&json!({"ok": false, "error": long("refused")})),
    });
    for args in [&["status"][..], &["doctor"], &["launch", "--once"], &["network", "use", "--none"]] {
        for json in [&[][..], &["--json"]] {
            let ran = run(&mut home.command(&[args, json].concat()));
            let said = ran.all();
            assert!(said.len() < 100_000, "{args:?} says {} bytes: {}", said.len(), &said[..2000]);
            assert!(json.contains(&"--json") || !said.contains('\u{202e}'), "{args:?}");
            assert!(ran.code.is_some_and(|code| code < 8), "{args:?}");
        }
    }
    assert!(peer.asked().contains(&"network_remove".to_owned()));
    let ran = home.run(&["network", "use", "--none"]);
    assert!(ran.stderr.contains("begins\\u{202e}xxx"), "{ran:?}");
}

/// A launch that finds a change to request looks again under the lock.
const LOOKED_TWICE: [&str; 4] = ["status", "config_show", "status", "config_show"];

/// Without an answer the outcome is unknown: the program asks for the status, once more in case
/// that the daemon ends, and does not repeat the request.
#[test]
fn request_that_a_daemon_took_without_an_answer_is_not_sent_twice() {
    let home = home();
    let peer = Peer::new(&home, |talk| {
        while let Some(op) = talk.next() {
            let answer = match op.as_str() {
                "network_add" => return,
                "status" => with(&truth(&op), "joined_networks", json!([])),
                _ => line(&truth(&op)),
            };
            talk.to.write_all(&answer).unwrap();
        }
    });
    let ran = home.run(&["launch", "--once"]).ends_with(5);
    assert!(ran.stderr.contains("closed the connection during `network_add`"), "{ran:?}");
    assert_eq!(peer.asked(), [&LOOKED_TWICE[..], &["network_add", "status", "status"]].concat());
}

/// Resource exhaustion of this process is its own failure; it says nothing about a daemon.
#[test]
fn no_file_handle_left_is_no_daemon() {
    if !can_trace() {
        return;
    }
    let strace = ["strace", "-f", "-o", "/dev/null", "-e", "inject=socket:error=EMFILE"];
    let home = Home::after_the_bug();
    let before = home.contents();
    for args in [&["launch", "--once"][..], &["migrate"], &["migrate", "--check"], &["salvage"]] {
        let ran = run(&mut wrapped(&strace, &home.command(args))).ends_with(1);
        assert!(
            ran.stderr.contains("cannot check for a daemon at") && ran.stderr.contains("Too many open files"),
            "{args:?}: {ran:?}"
        );
        assert!(!ran.all().contains("--stop-legacy-daemon"), "{args:?}: nobody is to be ended: {ran:?}");
    }
    assert!(home.contents() == before, "nothing was moved or repaired");
}

/// A surplus answer could be taken for the next one, so the program reports it and requests no
/// change.
#[test]
fn answers_that_nobody_asked_for_are_none() {
    let home = home();
    let peer = Peer::answering(&home, |_, truth| [line(truth), line(truth)].concat());
    let ran = home.run(&["launch", "--once"]).ends_with(5);
    assert!(ran.stderr.contains("daemon.protocol"), "{ran:?}");
    assert!(peer.asked().iter().all(|op| !op.starts_with("network_")));
}

/// A daemon may quote the request in any form.
#[test]
fn secrets_quoted_by_a_daemon_are_not_shown() {
    for secret in ["turn-credential-77ab", "a\"quoted\\credential'", "crédential\u{200b}-x", "q\""] {
        let home = home();
        let mut config = home.json(".myownllm/config.json");
        config["cloud_mesh"]["networks"][0]["turn_servers"] =
            json!([{"url": "turn:t.example:3478", "username": "u", "credential": secret}]);
        home.put(".myownllm/config.json", config.to_string().as_bytes(), 0o600);
        let rust = format!("parse: invalid type: string {secret:?}, expected a map");
        for error in [json!(rust.clone()), json!({"was": secret}), json!({"of": {"message": rust}})] {
            let dir = home.path(&format!("{MESH}/daemon.sock"));
            let _ = std::fs::remove_file(dir);
            let _peer = Peer::answering(&home, move |op, truth| match op {
                "status" => with(truth, "joined_networks", json!([])),
                "network_add" => line(&json!({"ok": false, "error": error})),
                _ => line(truth),
            });
            for json in [&["launch", "--once"][..], &["launch", "--once", "--json"]] {
                let ran = run(&mut home.command(json)).ends_with(1);
                // The secret, in any of its escaped forms.
                let part: String = secret.chars().skip(1).take(8).collect();
                let part = if secret.len() < 4 { "q\\\"".to_owned() } else { part };
                assert!(ran.all().contains("***") && !ran.all().contains(&part), "{secret}: {ran:?}");
            }
        }
    }
}
