//! Ways to bring the daemon's state from the app's folder to its own: ours, and those it is measured against.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use myownllm_durable_fs::{Disk as _, RealDisk};
use myownllm_migration::{Homes, Migrator, NoDaemons, Options, Outcome, StateMigrator as _};

/// The folders that hold most of the state.
const FOLDERS: [&str; 2] = ["mesh/rosters", "mesh/states"];
const NOTE: &str = "notes.txt";
/// The directory on the disk that is mounted at the daemon's home.
const MOUNTED: &str = "daemon";

/// The two homes, with so many files in each of two folders; removed when this is dropped.
#[derive(Debug)]
pub struct State {
    /// The app's home.
    pub app: PathBuf,
    /// The daemon's.
    pub daemon: PathBuf,
    foreign: bool,
    disk: tempfile::TempDir,
    _memory: tempfile::TempDir,
}

impl Drop for State {
    fn drop(&mut self) {
        if self.is_across() {
            run(Command::new("umount").arg("--lazy").arg(&self.daemon));
        }
    }
}

/// Which file systems, and what lies among our files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All ours, on one file system.
    Whole,
    /// One file of somebody else's in each folder.
    Foreign,
    /// The daemon's home is on another file system, which only root can mount there.
    Across,
}

impl State {
    /// Makes it, on the disk under `disk`; for [`Kind::Across`] the app's home is in memory, under `memory`.
    #[must_use]
    pub fn new(kind: Kind, files: usize, disk: &Path, memory: &Path) -> Self {
        let on_disk = tempfile::tempdir_in(disk).expect("a folder");
        let in_memory = tempfile::tempdir_in(memory).expect("a folder");
        let app = if kind == Kind::Across { in_memory.path() } else { on_disk.path() }.join("app");
        let daemon = app.join(".myownmesh");
        if kind == Kind::Across {
            let mounted = on_disk.path().join(MOUNTED);
            for dir in [&mounted, &daemon] {
                std::fs::create_dir_all(dir).expect("a directory");
            }
            run(Command::new("mount").arg("--bind").args([&mounted, &daemon]));
        }
        let foreign = kind == Kind::Foreign;
        let state = Self { app, daemon, foreign, disk: on_disk, _memory: in_memory };
        state.fill(files);
        state
    }

    fn is_across(&self) -> bool {
        self.disk.path().join(MOUNTED).is_dir()
    }

    fn fill(&self, files: usize) {
        for folder in FOLDERS {
            let folder = self.app.join(folder);
            crate::homes::fill(&folder, files);
            if self.foreign {
                std::fs::write(folder.join(NOTE), "mine").expect("a note");
            }
        }
    }

    /// Flushes what was done so far, so that it is not part of what is measured next.
    pub fn flush(&self) {
        run(Command::new("sync").arg("-f").arg(&self.app).arg(self.disk.path()));
    }

    /// Puts everything back (within one file system: by renaming folders).
    ///
    /// What was copied is removed at the very end, with all the rest: ext4 does not use the number of a removed file again for
    /// some minutes, and each new file costs a search through all those numbers, which is more than the copy itself.
    pub fn put_back(&self, files: usize) {
        if self.is_across() {
            let aside = tempfile::tempdir_in(self.disk.path()).expect("a folder").keep();
            for entry in std::fs::read_dir(self.disk.path().join(MOUNTED)).expect("a listing") {
                let entry = entry.expect("an entry");
                std::fs::rename(entry.path(), aside.join(entry.file_name())).expect("what was moved");
            }
            self.fill(files);
            return;
        }
        for folder in FOLDERS {
            let (here, there) = (self.app.join(folder), self.daemon.join(folder));
            if self.foreign {
                std::fs::rename(here.join(NOTE), there.join(NOTE)).expect("the note");
                std::fs::remove_dir(&here).expect("an emptied folder");
            }
            std::fs::create_dir_all(here.parent().unwrap_or(&here)).expect("the folder above");
            std::fs::rename(there, here).expect("what was moved");
        }
        std::fs::remove_dir_all(&self.daemon).expect("the daemon's home");
    }

    /// Ours, with the lock, as a launch does it.
    pub fn ours(&self) {
        let homes = Homes::new(&self.app, &self.daemon);
        let lock = RealDisk.lock(&self.app, Duration::ZERO).expect("the lock");
        let report = Migrator::new(&RealDisk, homes).run(&lock, &Options::forward(), &NoDaemons);
        assert_eq!(report.outcome, Outcome::Done, "{:?}", report.errors);
    }

    /// The straightforward mover: for each file a look whether there is one at the destination, its parents, and a rename. No
    /// flush, and nothing is said of what could not be moved.
    pub fn straightforward(&self) {
        self.one_by_one(|here, there, folder| {
            if !there.exists() {
                std::fs::create_dir_all(folder).expect("the parents");
                std::fs::rename(here, there).expect("a rename");
            }
        });
    }

    /// Nothing but the renames, each of which replaces what is there.
    pub fn bare(&self) {
        self.one_by_one(|here, there, _| std::fs::rename(here, there).expect("a rename"));
    }

    /// Moves by `go` each file of ours from one path to another, in the folder that is named last.
    fn one_by_one(&self, go: impl Fn(&Path, &Path, &Path)) {
        for folder in FOLDERS {
            let (from, to) = (self.app.join(folder), self.daemon.join(folder));
            std::fs::create_dir_all(&to).expect("a folder");
            for entry in std::fs::read_dir(&from).expect("a listing") {
                let here = entry.expect("an entry").path();
                if here.extension().is_some_and(|end| end == "json") {
                    go(&here, &to.join(here.file_name().expect("a name")), &to);
                }
            }
        }
        // What something else is in stays.
        for folder in FOLDERS.iter().chain(&["mesh"]) {
            let _ = std::fs::remove_dir(self.app.join(folder));
        }
    }

    /// What a careless person types: `mv` of the folder.
    pub fn mv(&self) {
        std::fs::create_dir_all(&self.daemon).expect("a folder");
        run(Command::new("mv").arg(self.app.join("mesh")).arg(&self.daemon));
    }

    /// What a careful person types: `cp -a`, flush, `rm`.
    pub fn copy(&self) {
        std::fs::create_dir_all(&self.daemon).expect("a folder");
        let mesh = self.app.join("mesh");
        run(Command::new("cp").arg("-a").arg(&mesh).arg(&self.daemon));
        run(Command::new("sync").arg("-f").arg(&self.daemon));
        run(Command::new("rm").arg("-r").arg(&mesh));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().expect("a command").success(), "{command:?} failed");
}
