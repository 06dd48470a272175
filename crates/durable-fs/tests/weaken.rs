//! Takes the guarantees of the disk away, one call at a time. Each sync, each exclusive rename and
//! each check is needed, or its reason is named here.

use std::{io::ErrorKind, path::Path, time::Duration};

use myownllm_durable_fs::{
    Disk, LockedDir, Op, Replaced, make_dirs, publish_new, rename_or_link, replace,
    sim::{Entry, Fault, SimDisk, Survey, Sweep},
};
use rstest::rstest;

/// Calls whose lack nothing reveals, and the reason why they stay.
const SUPERFLUOUS: [(&str, &str); 3] = [
    (
        "Rename * > Read config",
        "leaves a file that changed in its place; without it, the file is taken out and kept",
    ),
    ("HardLink config > SyncDir home", "the caller that discards the old file does without its second name"),
    ("a write before Rename of *", "the moment that `CheckedRename` tells of"),
];

struct Subject {
    run: fn(&LockedDir),
    /// True if a disk after a crash, or after the run, is as promised.
    holds: fn(&SimDisk, bool) -> bool,
}

const PUBLISH: Subject = Subject {
    run: |home| drop(publish_new(home, Path::new("/home/new"), b"new", 0o600, None)),
    holds: |disk, done| has(disk, "/home/new", &[b"new"]) || (!done && lacks(disk, "/home/new")),
};

const REPLACE: Subject = Subject {
    run: |home| drop(replace(home, Path::new("/home/config"), b"new", b"old", 100)),
    holds: |disk, done| is_replaced(disk, done) && is_kept(disk, b"old"),
};

const REPLACE_AND_DISCARD: Subject = Subject {
    run: |home| {
        let replaced = replace(home, Path::new("/home/config"), b"new", b"old", 100);
        if let Ok(Replaced::Expected { displaced, .. }) = replaced {
            displaced.discard(home).ok();
        }
    },
    holds: is_replaced,
};

const RENAME: Subject = Subject {
    run: |home| drop(rename_or_link(home, Path::new("/home/from"), Path::new("/home/to"))),
    holds: |disk, _| is_kept(disk, b"from"),
};

const MAKE_DIRS: Subject = Subject {
    run: |home| drop(make_dirs(home, Path::new("/home"), Path::new("/home/a/b"), 0o700, None)),
    holds: |disk, done| !done || disk.stat(Path::new("/home/a/b")).is_ok(),
};

fn has(disk: &SimDisk, path: &str, allowed: &[&[u8]]) -> bool {
    disk.content(path).is_some_and(|bytes| allowed.contains(&&*bytes))
}

fn lacks(disk: &SimDisk, path: &str) -> bool {
    disk.stat(Path::new(path)).is_err()
}

fn is_kept(disk: &SimDisk, wanted: &[u8]) -> bool {
    disk.tree().into_values().any(|entry| matches!(entry, Entry::File(bytes, _) if bytes == wanted))
}

fn is_replaced(disk: &SimDisk, done: bool) -> bool {
    has(disk, "/home/config", if done { &[b"new"] } else { &[b"old", b"new"] })
}

#[rstest]
#[case::publish(PUBLISH, &[], 3)]
#[case::publish_by_link(PUBLISH, &[Op::RenameNoReplace], 4)]
#[case::replace(REPLACE, &[], 2)]
#[case::replace_by_rename(REPLACE, &[Op::Exchange], 4)]
#[case::replace_by_rename_and_copy(REPLACE, &[Op::Exchange, Op::HardLink], 4)]
#[case::replace_and_discard(REPLACE_AND_DISCARD, &[], 3)]
#[case::replace_by_rename_and_discard(REPLACE_AND_DISCARD, &[Op::Exchange], 4)]
#[case::rename(RENAME, &[], 1)]
#[case::rename_by_link(RENAME, &[Op::RenameNoReplace], 2)]
#[case::make_dirs(MAKE_DIRS, &[], 2)]
fn every_guarantee_is_needed(#[case] subject: Subject, #[case] refused: &[Op], #[case] needed: usize) {
    let disk = SimDisk::new();
    disk.put("/home/config", b"old");
    disk.put("/home/from", b"from");
    disk.flush_all();
    refused.iter().for_each(|op| disk.fail(Fault::always(*op, ErrorKind::InvalidInput)));
    let run = |disk: &SimDisk| (subject.run)(&disk.lock(Path::new("/home"), Duration::ZERO).expect("free"));
    let mut survey = Survey::default();
    survey.add(&Sweep { disk: &disk, run: &run, holds: &subject.holds, written: None }, |_| true);
    assert_eq!(survey.check(&SUPERFLUOUS), needed, "{survey:#?}");
}
