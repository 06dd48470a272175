//! Helpers for all tests.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "a module of each test binary")]

pub mod cases;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use myownllm_durable_fs::sim_path;
use myownllm_migration::Homes;

pub const APP: &str = sim_path!("/home/ann/.myownllm");
pub const DAEMON: &str = sim_path!("/home/ann/.myownllm/.myownmesh");

/// Returns a path with `/` between its parts, as in [`APP`], on every platform.
pub fn with_slashes(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

pub fn homes() -> Homes {
    Homes::new(APP, DAEMON)
}

/// A file system that is mounted at a directory until this is dropped. Only root can mount one.
pub struct Mount(PathBuf);

impl Mount {
    /// Makes the directory `at` and mounts a new file system in memory there.
    #[allow(clippy::disallowed_methods, reason = "a test makes what it mounts at")]
    pub fn memory(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("made");
        Self::mounted(&["-t", "tmpfs", "-o", "mode=0700", "tmpfs"], at)
    }

    /// Makes the directory `at` and mounts the directory `dir` there.
    #[allow(clippy::disallowed_methods, reason = "a test makes what it mounts at")]
    pub fn bind(dir: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("made");
        Self::mounted(&["--bind", &dir.to_string_lossy()], at)
    }

    fn mounted(what: &[&str], at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(what).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// Returns an identity file with its own identity for each `seed`.
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
