//! Replays recorded requests of the real daemons to the stand-in. The stand-in has to give the same
//! answers, except for keys, generated ids and times, and has to leave the same files.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use integration_tests::standin::Version;
use integration_tests::testkit::{Builder, StandIn, stand_in};
use rstest::rstest;
use serde_json::{Value, json};

fn fixture(version: Version) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(format!("daemon-{}", version.name()))
}

/// Replaces the parts that differ between runs: keys and derived values, generated ids, times.
fn settled(value: &Value) -> Value {
    match value {
        Value::String(text) => {
            let key = text.split('-').next().unwrap_or_default();
            let is_key = key.len() >= 52 && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            match text {
                _ if is_key && text.len() == 58 => "@device-id".into(),
                _ if is_key => format!("@{}", text.len()).into(),
                _ if text.starts_with("prop_") => format!("@prop {}", text.len()).into(),
                _ if text.starts_with('@') => "@time".into(),
                _ => value.clone(),
            }
        }
        Value::Array(items) => items.iter().map(settled).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| match key.as_str() {
                "ts" | "approved_at" | "created_at" | "at" => {
                    (key.clone(), json!(value.is_number() || value.is_string()))
                }
                _ if key.len() == 52 => ("@52".to_owned(), settled(value)),
                _ => (key.clone(), settled(value)),
            })
            .collect(),
        other => other.clone(),
    }
}

struct Line {
    reader: BufReader<UnixStream>,
}

impl Line {
    fn open(standin: &StandIn) -> Self {
        let stream = UnixStream::connect(standin.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    fn say(&mut self, line: &str) -> Value {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        self.hear()
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

#[rstest]
fn answers_as_the_real_daemon(
    #[values(Version::V012, Version::V038)] version: Version,
    #[values(1, 2)] session: u64,
) {
    let transcript = std::fs::read_to_string(fixture(version).join("control-transcript.jsonl")).unwrap();
    let lines: Vec<Value> = transcript.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let before = fixture(version).parent().unwrap().join("app-config-before.json");
    let first = json!({
        "auto_update": {"enabled": false, "channel": "beta", "auto_apply": "none",
        "check_interval_hours": 12},
        "auto_cleanup": {"updates": false},
    });
    let config = if session == 1 { first.to_string().into_bytes() } else { std::fs::read(before).unwrap() };
    let root = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
    let home = root.path().join(".myownllm");
    std::fs::DirBuilder::new().create(&home).unwrap();
    std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(home.join("config.json"))
        .unwrap()
        .write_all(&config)
        .unwrap();
    let mut standin = Builder::new(stand_in(), &home).version(version).start().unwrap();
    let mut events = Line::open(&standin);
    let mut second = Line::open(&standin);
    let mut answered = 0;
    for line in lines.iter().filter(|line| line["session"] == session) {
        let (expected, found) = match (line["request_line"].as_str(), line["connection"].as_str().unwrap()) {
            (Some(request), "events") => (&line["response"], events.say(request)),
            (Some(request), "second") => (&line["response"], second.say(request)),
            (Some(request), _) => (&line["response"], Line::open(&standin).say(request)),
            (None, _) => (&line["event"], events.hear()),
        };
        let request = line["request_line"].as_str().unwrap_or("(event)");
        if request.contains("network_id_generate") {
            let id = found["data"]["network_id"].as_str().unwrap();
            assert!(
                id.len() == 8 && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
                "{id}"
            );
        } else {
            assert_eq!(settled(&found), settled(expected), "{} session {session}: {request}", version.name());
        }
        answered += 1;
    }
    assert!(answered > 10, "session {session} has {answered} lines");
    if session == 2 {
        same_files(&home, version);
    }
    assert!(standin.terminate().unwrap().success(), "it ends cleanly when told to");
    assert!(std::fs::symlink_metadata(standin.socket()).is_err(), "and takes its socket with it");
}

/// Checks that the home equals the home of the fixture.
fn same_files(home: &Path, version: Version) {
    let theirs = fixture(version).join("home/.myownllm");
    let config = |home: &Path| std::fs::read_to_string(home.join("config.json")).unwrap();
    assert_eq!(config(home), config(&theirs), "the config is the real one's to the byte");
    for (name, mode) in [
        (".secrets/identity.json", 0o600),
        ("mesh/rosters/home-mesh.json", 0o600),
        ("mesh/rosters/office-mesh.json", 0o600),
        ("mesh/states/home-mesh.json", 0o600),
        ("config.json", 0),
    ] {
        let text = |home: &Path| std::fs::read_to_string(home.join(name)).unwrap();
        let json = |home: &Path| serde_json::from_str::<Value>(&text(home)).unwrap();
        assert_eq!(settled(&json(home)), settled(&json(&theirs)), "{name}");
        let members = |home: &Path| {
            let lines: Vec<String> =
                text(home).lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
            lines.into_iter().filter(|line| line.len() < 40).collect::<Vec<_>>()
        };
        assert_eq!(members(home), members(&theirs), "{name}: the order of the members");
        let found = std::fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
        let expected = match (mode, version) {
            (0, Version::V038) => 0o600,
            // Written in place: the file keeps its mode.
            (0, Version::V012) => found,
            (mode, _) => mode,
        };
        assert_eq!(found, expected, "{name}");
    }
    let mode = |name: &str| std::fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".secrets"), 0o700);
    assert_eq!(mode("mesh/rosters"), 0o755);
}
