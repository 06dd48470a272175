//! Key files: those of real daemons, and every way to be none.

#![allow(clippy::disallowed_methods, reason = "tests may read as they like")]

mod common;

use common::key_file;
use myownllm_migration::identity::{Identity, inspect};

fn fixture(version: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/daemon-");
    std::fs::read(format!("{root}{version}/home/.myownllm/.secrets/identity.json"))
        .expect("the fixture is there")
}

fn transcript(version: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/daemon-");
    std::fs::read_to_string(format!("{root}{version}/control-transcript.jsonl"))
        .expect("the fixture is there")
}

#[test]
fn the_device_id_is_what_the_real_daemon_says() {
    for version in ["0.1.2", "0.3.8"] {
        let found = inspect(&fixture(version));
        let key = found.key().expect("a sound key");
        assert_eq!(key.label, "my laptop");
        let said = format!("\"device_id\": \"{}\"", key.device_id);
        assert!(transcript(version).contains(&said), "{version}: {}", key.device_id);
    }
}

#[test]
fn whatever_is_no_sound_key_is_damaged() {
    let good = String::from_utf8(key_file(1, "x")).expect("text");
    let (other_public, secret) = {
        let other = serde_json::from_slice::<serde_json::Value>(&key_file(2, "x")).expect("JSON");
        let own = serde_json::from_str::<serde_json::Value>(&good).expect("JSON");
        let text = |value: &serde_json::Value, key: &str| value[key].as_str().expect("a text").to_owned();
        (text(&other, "public_key"), text(&own, "secret_key"))
    };
    let own_public =
        serde_json::from_str::<serde_json::Value>(&good).expect("JSON")["public_key"].to_string();
    let mut odd = vec![
        Vec::new(),
        vec![0; 217],
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        good.replace(&own_public, &format!("{other_public:?}")).into_bytes(),
        good.replace(&secret, &secret[..51]).into_bytes(),
        good.replace(&secret, &format!("{secret}a")).into_bytes(),
        good.replace(&secret, "").into_bytes(),
        good.replace("\"version\": 1", "\"version\": \"1\"").into_bytes(),
        good.replace("\"version\": 1", "\"version\": 0").into_bytes(),
        good.replace("\"version\": 1,", "").into_bytes(),
        [&good.as_bytes()[..good.len() - 3], b"\xff\n}\n"].concat(),
    ];
    odd.extend((0..good.trim_end().len()).map(|end| good.as_bytes()[..end].to_vec()));
    for bytes in odd {
        let found = inspect(&bytes);
        assert!(
            matches!(found, Identity::Damaged { .. }),
            "{:?}: {found:?}",
            String::from_utf8_lossy(&bytes)
        );
        assert!(!format!("{found:?}").contains(&secret), "the secret is not told");
    }
}

#[test]
fn a_newer_version_is_not_damaged() {
    let newer =
        String::from_utf8(key_file(1, "x")).expect("text").replace("\"version\": 1", "\"version\": 2");
    assert_eq!(inspect(newer.as_bytes()), Identity::Newer { version: 2 });
    assert_eq!(inspect(b"{\"version\": 7, \"sealed\": true}"), Identity::Newer { version: 7 });
}
