//! Shared helpers of the tests.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of each test binary")]
#![allow(clippy::disallowed_methods, reason = "tests may write as they like")]

use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use myownllm_durable_fs::RealDisk;
use myownllm_identity::{Answer, IdentityPaths, scan};

/// Returns an identity file with another key for each `seed`.
pub fn key_file(seed: u8, label: &str) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let text = |bytes: &[u8]| BASE32_NOPAD.encode(bytes).to_ascii_lowercase();
    format!(
        "{{\n  \"version\": 1,\n  \"created_at\": \"@17954010{seed:02}\",\
            \n  \"secret_key\": \"{}\",\n  \"public_key\": \"{}\",\
            \n  \"label\": \"{label}\"\n}}\n",
        text(&[seed; 32]),
        text(&key.verifying_key().to_bytes()),
    )
    .into_bytes()
}

/// Returns the public key of a seed.
pub fn public_key(seed: u8) -> String {
    BASE32_NOPAD.encode(&SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()).to_ascii_lowercase()
}

/// A user's home with an app's home in it.
#[derive(Debug)]
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir(home.app()).expect("made");
        home
    }

    pub fn user(&self) -> &Path {
        self.dir.path()
    }

    pub fn app(&self) -> PathBuf {
        self.dir.path().join("my app")
    }

    pub fn daemon(&self) -> PathBuf {
        self.app().join("mesh")
    }

    /// Returns a path in the app's home.
    pub fn at(&self, path: &str) -> PathBuf {
        self.app().join(path)
    }

    pub fn places(&self) -> IdentityPaths {
        IdentityPaths::new(self.app().to_str().unwrap(), self.daemon().to_str().unwrap())
    }

    pub fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    pub fn answer(&self) -> Answer {
        scan(&RealDisk, &self.places()).answer()
    }

    /// Returns the bytes of every file.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        fn walk(dir: &Path, out: &mut Vec<Vec<u8>>) {
            for entry in std::fs::read_dir(dir).expect("readable").flatten() {
                let kind = entry.file_type().expect("a type");
                if kind.is_dir() {
                    walk(&entry.path(), out);
                } else if kind.is_file() {
                    out.push(std::fs::read(entry.path()).expect("readable"));
                }
            }
        }
        let mut out = Vec::new();
        walk(self.user(), &mut out);
        out
    }
}

/// Returns an answer in short form: its kind, and the key or the code.
pub fn short(answer: &Answer) -> String {
    match answer {
        Answer::Sound { key, .. } => format!("sound {}", key.public_key),
        Answer::Pending { key, .. } => format!("pending {}", key.public_key),
        Answer::NoneYet => "none yet".to_owned(),
        Answer::Refused(refusal) => refusal.code().to_owned(),
        _ => "unknown".to_owned(),
    }
}
