//! Programs that write a file while it moves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Home;
use crate::common::Mount;
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::{Homes, Migrator, MoveOutcome, MoveReport, NoDaemons, Options};
use rstest::rstest;

/// A shell that opens a file, reports that, and then executes commands line by line.
struct Writer(std::process::Child);

impl Writer {
    fn open(redirection: &str, file: &Path) -> Self {
        use std::io::Read;
        let script = format!("exec 3{redirection}\"$1\"; echo; while read -r line; do eval \"$line\"; done");
        let mut child = std::process::Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(file)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        child.stdout.take().expect("piped").read_exact(&mut [0]).expect("it says that it is open");
        Self(child)
    }

    /// Executes the command and ends the shell.
    fn end(mut self, command: &str) {
        use std::io::Write;
        writeln!(self.0.stdin.take().expect("piped"), "{command}").expect("written");
        assert!(self.0.wait().expect("reaped").success());
    }
}

/// A home whose daemon home is on another file system, or holds the same files already.
struct Removing {
    /// Dropped before the home: a mounted home cannot be removed.
    _other: Option<Mount>,
    home: Home,
    homes: Homes,
}

impl Removing {
    fn identical(roster: &[u8]) -> Option<Self> {
        let home = Home::full();
        home.put(".myownmesh/mesh/rosters/one.json", roster);
        home.put("mesh/rosters/one.json", roster);
        Some(Self { homes: home.homes(), home, _other: None })
    }

    fn across(roster: &[u8]) -> Option<Self> {
        let home = Home::full();
        home.put("mesh/rosters/one.json", roster);
        let Some(other) = Mount::memory(&home.new_home("")) else {
            eprintln!("skipped: only root can mount another file system");
            return None;
        };
        Some(Self { homes: home.homes(), home, _other: Some(other) })
    }

    fn run(&self) -> MoveReport {
        let lock = RealDisk.lock(&self.home.app, Duration::from_secs(5)).expect("free");
        Migrator::new(&RealDisk, self.homes.clone()).run(&lock, &Options::forward(), &NoDaemons)
    }

    fn moved_to(&self) -> PathBuf {
        self.homes.daemon().join("mesh/rosters/one.json").into()
    }
}

#[rstest]
#[case::identical(Removing::identical, false)]
#[case::across_file_systems(Removing::across, true)]
fn a_file_that_a_program_has_open_for_writing_stays_until_it_is_closed(
    #[case] make: fn(&[u8]) -> Option<Removing>,
    #[case] is_moved: bool,
) {
    const MORE: &[u8] = b"rostermore";
    let Some(this) = make(b"roster") else { return };
    let home = &this.home;
    let writer = Writer::open(">>", &home.at("mesh/rosters/one.json"));
    let report = this.run();
    assert_eq!(report.outcome, MoveOutcome::Partial, "{report:#?}");
    let changed = report.errors.iter().find(|error| error.code() == "migration.changed");
    assert_eq!(changed.expect("it is reported").path(), home.at("mesh/rosters/one.json"));
    assert!(home.at(".secrets/identity.json").exists(), "the key does not go before its rosters");
    assert!(!home.at("mesh/rosters/.durable-fs.claimed").exists());
    writer.end("printf more >&3");
    assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("it has its name"), MORE);
    let report = this.run();
    if is_moved {
        assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
        assert_eq!(fs::read(this.moved_to()).expect("moved"), MORE);
    } else {
        // Two files that differ both stay.
        assert_eq!(report.collisions.len(), 1, "{report:#?}");
        assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("kept"), MORE);
    }
}

/// A program truncates a roster and writes it a moment later, and the move begins at any moment
/// before, between or after.
#[rstest]
#[case::identical(Removing::identical)]
#[case::across_file_systems(Removing::across)]
fn a_writer_that_truncates_loses_nothing_at_whatever_time_the_move_comes(
    #[case] make: fn(&[u8]) -> Option<Removing>,
) {
    const WHOLE: &[u8] = br#"{"version":1,"network_id":"one","authorized_devices":[]}"#;
    for round in 0..20_u64 {
        let Some(this) = make(b"{}") else { return };
        let home = &this.home;
        let path = home.at("mesh/rosters/one.json");
        let wrote = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                use std::io::Write;
                std::thread::sleep(Duration::from_micros(round * 137 % 4000));
                let mut file = fs::OpenOptions::new().write(true).truncate(true).open(&path).ok()?;
                std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
                file.write_all(WHOLE).ok()
            });
            this.run();
            writer.join().expect("it does not panic")
        });
        if wrote.is_some() {
            let places = [path, this.moved_to()];
            let there = places.iter().any(|place| fs::read(place).is_ok_and(|bytes| bytes == WHOLE));
            assert!(there, "round {round}: {:?}", home.tree());
        }
    }
}
