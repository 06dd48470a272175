//! Tests a table of homes against their answers, and runs each way out.
//!
//! Homes with symlinks and pipes are for Unix alone. On Windows, no way out is run: each is a
//! command of a POSIX shell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests may write as they like")]

mod common;

mod answer {
    mod elsewhere;
    mod no_key;
    mod peers;
    mod permit;
    mod sound;
}

#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::process::{Command, ExitStatus};

use common::{Home, key_file, public_key};

/// The identity file of the daemon home and of the old location.
const NEW: &str = "mesh/.secrets/identity.json";
const OLD: &str = ".secrets/identity.json";

/// A roster and a state in the form that a daemon writes.
const ROSTER: &[u8] = br#"{"version": 1, "network_id": "home", "authorized_devices": []}"#;
const STATE: &[u8] = br#"{"version": 2, "network_id": "home", "transitions": []}"#;
/// A config of an app that saves a network.
const SAVED: &[u8] = br#"{"cloud_mesh": {"networks": [{"network_id": "home"}]}}"#;
/// A config that a daemon has written after it had joined a network.
const USED: &[u8] = br#"{"version": 3, "daemon": {}, "networks": [{"network_id": "home"}]}"#;

/// The content of one path of a home.
#[derive(Clone, Copy, Debug)]
enum Put {
    Key(&'static str, u8),
    Bytes(&'static str, &'static [u8]),
    Cut(&'static str, u8),
    /// The key of seed 1 in another form.
    Shaped(&'static str, fn(Vec<u8>) -> Vec<u8>),
    Newer(&'static str),
    #[cfg(unix)]
    Link(&'static str, &'static str),
    Dir(&'static str),
    #[cfg(unix)]
    Pipe(&'static str),
    /// A config that names an identity file. A relative path lies in the user's home.
    Names(&'static str, &'static str),
    /// A key in the user's home.
    Outside(&'static str, u8),
    /// A roster in the daemon's home.
    Known,
    /// A roster at the old location.
    KnownBefore,
    State,
    OneRoster(&'static str),
    /// A roster or state that names these seeds: owner, member, signer.
    Peers(&'static str, [u8; 3]),
}
use Put::*;

fn home_of(parts: &[Put]) -> Home {
    let home = Home::new();
    for part in parts {
        match *part {
            Key(path, seed) => home.put(path, &key_file(seed, "x")),
            Bytes(path, bytes) => home.put(path, bytes),
            Cut(path, seed) => home.put(path, &key_file(seed, "x")[..90]),
            Shaped(path, shape) => home.put(path, &shape(key_file(1, "x"))),
            Newer(path) => home.put(path, b"{\"version\": 2}"),
            #[cfg(unix)]
            Link(path, target) => {
                std::fs::create_dir_all(home.at(path).parent().unwrap()).unwrap();
                symlink(target, home.at(path)).unwrap();
            }
            Dir(path) => std::fs::create_dir_all(home.at(path)).unwrap(),
            #[cfg(unix)]
            Pipe(path) => {
                std::fs::create_dir_all(home.at(path).parent().unwrap()).unwrap();
                assert!(Command::new("mkfifo").arg(home.at(path)).status().unwrap().success());
            }
            Names(config, named) => {
                let named = if named.starts_with("./") { named.into() } else { home.user().join(named) };
                let text = format!(
                    "{{\n  \"version\": 3,\n  \"identity_path\": {:?},\n  \"daemon\": {{}}\n}}\n",
                    named
                );
                home.put(config, text.as_bytes());
            }
            Outside(path, seed) => home.put(&format!("../{path}"), &key_file(seed, "x")),
            Known => home.put("mesh/mesh/rosters/home.json", b"{}"),
            KnownBefore => home.put("mesh/rosters/home.json", b"{}"),
            State => home.put("mesh/mesh/states/home.json", b"{}"),
            OneRoster(path) => home.put(path, b"{}"),
            Peers(path, seeds) => {
                let [owner, member, signer] = seeds.map(public_key);
                let text = serde_json::json!({
                    "network_id": "home",
                    "authorized_devices": [
                        {"device_id": member, "role": "member"},
                        {"device_id": owner, "role": "owner"},
                    ],
                    "roles": {owner: "owner", member: "member"},
                    "transitions": [{"signers": [signer], "signatures": []}],
                });
                home.put(path, text.to_string().as_bytes());
            }
        }
    }
    home
}

/// Runs a way out. Returns `None` on Windows, which need not have a shell.
fn sh(command: &str) -> Option<ExitStatus> {
    cfg!(unix).then(|| Command::new("sh").args(["-c", command]).status().unwrap())
}

fn sound(seed: u8) -> String {
    format!("sound {}", public_key(seed))
}

fn pending(seed: u8) -> String {
    format!("pending {}", public_key(seed))
}
