//! The movers of the daemon's state from the app's home to the daemon home: this project's, and its
//! baselines.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use myownllm_durable_fs::{Disk as _, RealDisk};
use myownllm_migration::camino::Utf8PathBuf;
use myownllm_migration::{Homes, Migrator, MoveOutcome, NoDaemons, Options};

/// The directories that hold most of the state.
const DIRS: [&str; 2] = ["mesh/rosters", "mesh/states"];
const NOTE: &str = "notes.txt";
/// The directory on the disk that is mounted at the daemon's home.
const MOUNTED: &str = "daemon";

/// The two homes, with a number of files in each of two directories; removed on drop.
#[derive(Debug)]
pub struct State {
    /// The app's home.
    pub app: PathBuf,
    /// The daemon home.
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

/// The file systems, and the other files among the daemon's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only the daemon's files, on one file system.
    Whole,
    /// One foreign file in each directory.
    Foreign,
    /// The daemon home is on another file system. Only root can mount it there.
    Across,
}

impl State {
    /// Creates the state on the disk under `disk`. For [`Kind::Across`] the app's home is in
    /// memory, under `memory`.
    #[must_use]
    pub fn new(kind: Kind, files: usize, disk: &Path, memory: &Path) -> Self {
        let on_disk = tempfile::tempdir_in(disk).expect("a directory");
        let in_memory = tempfile::tempdir_in(memory).expect("a directory");
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
        crate::homes::put_key(&self.daemon);
        for dir in DIRS {
            let dir = self.app.join(dir);
            crate::homes::fill(&dir, files);
            if self.foreign {
                std::fs::write(dir.join(NOTE), "mine").expect("a note");
            }
        }
    }

    /// Flushes the earlier writes, so that they are not part of the next measurement.
    pub fn flush(&self) {
        run(Command::new("sync").arg("-f").arg(&self.app).arg(self.disk.path()));
    }

    /// Puts everything back (within one file system: by renaming directories).
    ///
    /// The copies are removed at the very end, with all the rest. For some minutes ext4 does not
    /// reuse the inode number of a removed file, and each new file costs a search through all those
    /// numbers, which takes longer than the copy itself.
    pub fn put_back(&self, files: usize) {
        if self.is_across() {
            let aside = tempfile::tempdir_in(self.disk.path()).expect("a directory").keep();
            for entry in std::fs::read_dir(self.disk.path().join(MOUNTED)).expect("a listing") {
                let entry = entry.expect("an entry");
                std::fs::rename(entry.path(), aside.join(entry.file_name())).expect("what was moved");
            }
            self.fill(files);
            return;
        }
        for dir in DIRS {
            let (here, there) = (self.app.join(dir), self.daemon.join(dir));
            if self.foreign {
                std::fs::rename(here.join(NOTE), there.join(NOTE)).expect("the note");
                std::fs::remove_dir(&here).expect("an emptied directory");
            }
            std::fs::create_dir_all(here.parent().unwrap_or(&here)).expect("the directory above");
            std::fs::rename(there, here).expect("what was moved");
        }
        std::fs::remove_dir_all(&self.daemon).expect("the daemon's home");
        crate::homes::put_key(&self.daemon);
    }

    /// Moves with this project's mover, under the lock, as a launch does.
    pub fn ours(&self) {
        let utf8 = |path: &Path| Utf8PathBuf::try_from(path.to_owned()).expect("a path in UTF-8");
        let homes = Homes::new(utf8(&self.app), utf8(&self.daemon));
        let lock = RealDisk.lock(&self.app, Duration::ZERO).expect("the lock");
        let report = Migrator::new(&RealDisk, homes).run(&lock, &Options::forward(), &NoDaemons);
        assert_eq!(report.outcome, MoveOutcome::Done, "{:?} {:?}", report.refusals, report.errors);
    }

    /// Moves the straightforward way: for each file a check for a file at the destination, its
    /// parent directories, and a rename. Flushes nothing, and does not report the files that it
    /// could not move.
    pub fn straightforward(&self) {
        self.one_by_one(|here, there, dir| {
            if !there.exists() {
                std::fs::create_dir_all(dir).expect("the parents");
                std::fs::rename(here, there).expect("a rename");
            }
        });
    }

    /// Only renames; each rename replaces a file at the destination.
    pub fn bare(&self) {
        self.one_by_one(|here, there, _| std::fs::rename(here, there).expect("a rename"));
    }

    /// Calls `go` for each of the daemon's files with its old path, its new path and the new
    /// directory.
    fn one_by_one(&self, go: impl Fn(&Path, &Path, &Path)) {
        for dir in DIRS {
            let (from, to) = (self.app.join(dir), self.daemon.join(dir));
            std::fs::create_dir_all(&to).expect("a directory");
            for entry in std::fs::read_dir(&from).expect("a listing") {
                let here = entry.expect("an entry").path();
                if here.extension().is_some_and(|end| end == "json") {
                    go(&here, &to.join(here.file_name().expect("a name")), &to);
                }
            }
        }
        // A directory with other entries stays.
        for dir in DIRS.iter().chain(&["mesh"]) {
            let _ = std::fs::remove_dir(self.app.join(dir));
        }
    }

    /// Runs the command of a careless person: `mv` of the directory.
    pub fn mv(&self) {
        std::fs::create_dir_all(&self.daemon).expect("a directory");
        run(Command::new("mv").arg(self.app.join("mesh")).arg(&self.daemon));
    }

    /// Runs the commands of a careful person: `cp -a`, flush, `rm`.
    pub fn copy(&self) {
        std::fs::create_dir_all(&self.daemon).expect("a directory");
        let mesh = self.app.join("mesh");
        run(Command::new("cp").arg("-a").arg(&mesh).arg(&self.daemon));
        run(Command::new("sync").arg("-f").arg(&self.daemon));
        run(Command::new("rm").arg("-r").arg(&mesh));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().expect("a command").success(), "{command:?} failed");
}
