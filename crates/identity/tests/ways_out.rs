//! Tests ways out that bring the peers back with the key.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests may write as they like")]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::key_file;
use myownllm_durable_fs::RealDisk;
use myownllm_identity::{IdentityPaths, scan};
use rstest::rstest;

const ROSTER: &str = r#"{"version": 1, "network_id": "home", "authorized_devices": []}"#;

fn put(path: PathBuf, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Makes a copy of a daemon home in an app's home that has directories of peers of its own. Returns
/// the first way out.
fn first_way_out(app: &Path) -> String {
    put(app.join("old/.secrets/identity.json"), key_file(1, "x"));
    put(app.join("old/mesh/rosters/home.json"), ROSTER);
    put(app.join("old/mesh/states/office.json"), "{}");
    put(app.join("mesh/rosters/notes.txt"), "");
    put(app.join("daemon/notes.txt"), "");
    let places = IdentityPaths::new(app.to_str().unwrap(), app.join("daemon").to_str().unwrap());
    let answer = scan(&RealDisk, &places).answer();
    answer.refusal().unwrap().hint().unwrap()
}

/// A directory above may have the name of the rosters, or braces, which `find` replaces.
#[rstest]
#[case::plain("a")]
#[case::braces("a{}b")]
#[case::name_of_the_rosters("rosters")]
#[case::pattern("a*[b]?")]
fn peers_come_back_with_the_key_in_a_home_of_any_name(#[case] name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join(name).join("app");
    let command = first_way_out(&app);
    for round in 0..2 {
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success() || round > 0, "{command}");
        for file in ["mesh/rosters/home.json", "mesh/states/office.json", ".secrets/identity.json"] {
            assert!(app.join(file).exists(), "round {round}: {file}: {command}");
        }
        let rosters = std::fs::read_dir(app.join("mesh/rosters")).unwrap();
        assert_eq!(rosters.count(), 2, "{command}");
    }
}

#[test]
fn key_stays_where_its_peers_cannot_be_moved() {
    let dir = tempfile::tempdir().unwrap();
    let app = dir.path().join("app");
    let command = first_way_out(&app);
    let bin = dir.path().join("bin");
    put(bin.join("mv"), "#!/bin/sh\ncase \"$*\" in *home.json*) exit 1;; esac\nexec /bin/mv \"$@\"\n");
    std::fs::set_permissions(bin.join("mv"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let status = Command::new("sh").args(["-c", &command]).env("PATH", path).status().unwrap();
    assert!(!status.success(), "{command}");
    assert!(app.join("old/.secrets/identity.json").exists(), "{command}");
}
