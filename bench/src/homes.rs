//! Homes in temporary directories, libraries as in the program.

use std::path::{Path, PathBuf};

use myownllm_config_store::{ConfigStore as _, Loaded};
use myownllm_launch::{Options, Outcome, launch};
use myownllm_mesh::context::{Context, fresh_ids};

/// Returns the program's view of a home.
#[must_use]
pub fn context(home: &Path) -> Context {
    Context::new(Some(home)).unwrap_or_else(|notice| panic!("{}: {}", home.display(), notice.message))
}

/// Runs the steps of a launch before it looks for a daemon.
#[must_use]
pub fn start(context: &Context) -> Outcome {
    let libraries = context.libraries();
    launch(&libraries.launch_context(), &Options { daemon: false, ..context.options() }, &mut fresh_ids())
}

/// Reads the config, classifies and completes it, and decides the writes.
#[must_use]
pub fn load(context: &Context) -> Loaded {
    context.libraries().store.load(&mut fresh_ids()).expect("a config that can be read")
}

/// Puts an identity file into a daemon home. Without one, a launch searches the homes for it, and
/// a move leaves the rosters in place.
pub fn put_key(daemon_home: &Path) {
    let key = include_bytes!("../../tests/fixtures/daemon-0.3.8/home/.myownllm/.secrets/identity.json");
    let secrets = daemon_home.join(".secrets");
    std::fs::create_dir_all(&secrets).expect("a directory");
    std::fs::write(secrets.join("identity.json"), key).expect("a key");
}

/// A user's home.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    /// Removed on drop.
    _dir: Option<tempfile::TempDir>,
}

impl Home {
    /// Creates a home in this directory. `config` gets the directory of conversations, and returns
    /// the config.
    #[must_use]
    pub fn at(path: PathBuf, config: impl FnOnce(&str) -> Vec<u8>) -> Self {
        let home = Self { path, _dir: None };
        let conversations = home.path().join(".myownllm/conversations");
        std::fs::create_dir_all(home.rosters()).expect("the homes");
        std::fs::write(home.config(), config(&conversations.to_string_lossy())).expect("the config");
        put_key(&home.path().join(".myownllm/.myownmesh"));
        home
    }

    /// Creates a home in a directory that is removed on drop.
    #[must_use]
    pub fn with(config: impl FnOnce(&str) -> Vec<u8>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = Self::at(dir.path().to_owned(), config);
        Self { _dir: Some(dir), ..home }
    }

    /// Runs the home's first start: the next one finds nothing to do.
    #[must_use]
    pub fn settle(self) -> Self {
        let context = context(self.path());
        assert!(start(&context).class().is_none());
        assert!(load(&context).pending.is_empty());
        self
    }

    /// Returns a home after its first start.
    #[must_use]
    pub fn settled(config: impl FnOnce(&str) -> Vec<u8>) -> Self {
        Self::with(config).settle()
    }

    /// Returns the path of the user's home.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of the app's config.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path().join(".myownllm/config.json")
    }

    /// Returns the directory of the rosters in the daemon home.
    #[must_use]
    pub fn rosters(&self) -> PathBuf {
        self.path().join(".myownllm/.myownmesh/mesh/rosters")
    }
}

/// Creates this number of small `.json` files.
pub fn fill(dir: &Path, files: usize) {
    std::fs::create_dir_all(dir).expect("a directory");
    for n in 0..files {
        let text = format!(r#"{{"version":1,"network_id":"network-{n}","authorized_devices":[]}}"#);
        std::fs::write(dir.join(format!("network-{n}.json")), text).expect("a file");
    }
}

/// Fills a folder with files that are not the daemon's, and one roster.
pub fn fill_with_foreign(folder: &Path, files: usize) {
    fill(folder, 1);
    for n in 0..files {
        std::fs::write(folder.join(format!("{n}.txt")), "mine").expect("a file");
    }
}
