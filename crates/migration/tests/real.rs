//! The move on a real file system. Scenes of symlinks, modes, owners and mounts are for Unix alone.
#![allow(clippy::disallowed_methods, reason = "tests play the other programs")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

mod common;

mod real {
    mod collisions;
    #[cfg(unix)]
    mod dir_links;
    #[cfg(unix)]
    mod file_systems;
    mod keys;
    mod killed_runs;
    #[cfg(target_os = "linux")]
    mod open_files;
    #[cfg(unix)]
    mod permissions;
    mod runs;
}

use std::collections::BTreeMap;
use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::key_file;
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::identity::{Answer, IdentityPaths, scan};
use myownllm_migration::{Homes, Migrator, MoveReport, NoDaemons, Options};

struct Home {
    _dir: tempfile::TempDir,
    app: PathBuf,
}

fn homes_at(app: &Path, daemon: &Path) -> Homes {
    Homes::new(app.to_str().expect("UTF-8"), daemon.to_str().expect("UTF-8"))
}

impl Home {
    fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let app = dir.path().join(".myownllm");
        fs::create_dir(&app).expect("made");
        Self { _dir: dir, app }
    }

    fn full() -> Self {
        let home = Self::empty();
        home.put("mesh/states/one.json", b"state");
        home.put("mesh/rosters/one.json", b"roster");
        home.put(".secrets/custody.json", b"custody");
        home.put(".secrets/identity.json", &key_file(1, "x"));
        home
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.app.join(name)
    }

    fn new_home(&self, name: &str) -> PathBuf {
        self.app.join(".myownmesh").join(name)
    }

    fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }

    fn homes(&self) -> Homes {
        homes_at(&self.app, &self.app.join(".myownmesh"))
    }

    fn run(&self, options: &Options) -> MoveReport {
        let lock = RealDisk.lock(&self.app, Duration::from_secs(5)).expect("free");
        Migrator::new(&RealDisk, self.homes()).run(&lock, options, &NoDaemons)
    }

    /// Tells if a daemon may be started, and why not.
    fn answer(&self) -> Answer {
        scan(&RealDisk, &IdentityPaths::new(self.homes().app(), self.homes().daemon())).answer()
    }

    fn may_start(&self) -> bool {
        self.answer().expected().is_ok()
    }

    fn tree(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        fn visit(root: &Path, dir: &Path, tree: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
            for entry in fs::read_dir(dir).expect("readable") {
                let path = entry.expect("an entry").path();
                if cfg!(windows) && path.ends_with(".lock") {
                    continue;
                }
                let meta = fs::symlink_metadata(&path).expect("there");
                let content = if meta.is_file() {
                    fs::read(&path).expect("readable")
                } else if meta.is_symlink() {
                    fs::read_link(&path).expect("a link").as_os_str().as_encoded_bytes().to_vec()
                } else {
                    Vec::new()
                };
                tree.insert(path.strip_prefix(root).expect("below").to_owned(), (mode(&path), content));
                if meta.is_dir() {
                    visit(root, &path, tree);
                }
            }
        }
        let mut tree = BTreeMap::new();
        visit(&self.app, &self.app, &mut tree);
        tree
    }

    fn pending(&self) -> bool {
        Migrator::new(&RealDisk, self.homes()).is_pending()
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").mode() & 0o777
}

/// Windows has no modes: each file counts as private.
#[cfg(windows)]
fn mode(_: &Path) -> u32 {
    0o600
}

#[cfg(unix)]
fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}
