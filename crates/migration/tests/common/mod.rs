//! What the tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of each test binary")]

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use myownllm_migration::Homes;

pub const APP: &str = "/home/ann/.myownllm";
pub const DAEMON: &str = "/home/ann/.myownllm/.myownmesh";

pub fn homes() -> Homes {
    Homes::new(APP, DAEMON)
}

/// A key file with a key of its own for each `seed`.
pub fn key_file(seed: u8, label: &str) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let text = |bytes: &[u8]| BASE32_NOPAD.encode(bytes).to_ascii_lowercase();
    format!(
        "{{\n  \"version\": 1,\n  \"created_at\": \"@17954010{seed:02}\",\n  \"secret_key\": \"{}\",\n  \"public_key\": \"{}\",\n  \"label\": \"{label}\"\n}}\n",
        text(&[seed; 32]),
        text(&key.verifying_key().to_bytes()),
    )
    .into_bytes()
}
