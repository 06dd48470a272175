//! Takes each guarantee of the disk away: something reveals its lack.

mod common;

use std::path::PathBuf;

use common::scenes::*;
use common::*;
use myownllm_config_model::Document;
use myownllm_durable_fs::Op;
use myownllm_durable_fs::sim::{SimDisk, Survey, Sweep};
use rstest::rstest;

/// Calls whose lack nothing reveals, and the reason why they stay.
const SUPERFLUOUS: [(&str, &str); 13] = [
    ("start > Sync", UNSYNCED),
    ("Unlink * > Sync", UNSYNCED),
    ("SetMode good-… > Sync", UNSYNCED),
    ("RenameNoReplace * > SyncDir .myownllm, SyncFile config.json", UNSYNCED),
    ("CopyNew * > SyncFile *, SyncDir dotfiles", DOUBLED),
    ("HardLink app.json > SyncDir dotfiles", DOUBLED),
    ("Rename * > SyncDir ", DOUBLED),
    ("Exchange * > SyncDir ", DOUBLED),
    (
        "Rename * > Read ",
        "leaves a file that changed in its place; without it, the file is taken out and kept",
    ),
    ("SetMode good-… > Stat good-…", "no other program writes a backup"),
    ("start > Stat good-…", "no other program writes a backup"),
    ("Unlink * > Read *, Read config.json", "no other program writes a temporary file of ours"),
    ("a write before Rename of *", "the moment that `CheckedRename` tells of"),
];
/// The tests of changes that are repeated after a kill show what these syncs are for.
const UNSYNCED: &str = "syncs what a killed run, or another program, has written and not synced";
const DOUBLED: &str = "the backup is durable by then, and the directory is synced again";

fn holds(check: impl Fn()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
}

/// Returns the disk, and some disks that a killed run leaves: everything is written, not everything
/// is synced.
fn with_killed(disk: &SimDisk, run: &dyn Fn(&SimDisk), refused: &[Op]) -> Vec<SimDisk> {
    let killed = restricted(disk.clone(), refused);
    killed.record();
    run(&killed);
    let cuts = killed.recorded();
    let stride = cuts.len().div_ceil(2).max(1);
    let mut disks: Vec<_> = cuts.into_iter().rev().step_by(stride).map(|(_, cut)| cut).collect();
    disks.push(disk.clone());
    disks.into_iter().map(|disk| restricted(disk, refused)).collect()
}

/// Each sync, each exclusive rename and each check of a repair is needed.
#[rstest]
fn every_guarantee_of_a_repair_is_needed(#[values(0, 1, 2)] limits: usize, #[values(0, 1)] part: usize) {
    let refused = [CAPABLE, LIMITED[0], LIMITED[1]][limits];
    let run = |disk: &SimDisk| drop(launch(disk, &sim_paths()));
    let mut survey = Survey::default();
    for scene in scenes().into_iter().skip(part).step_by(2) {
        let before = config(&scene.disk);
        for disk in with_killed(&scene.disk, &run, refused) {
            let wanted = disk.clone();
            run(&wanted);
            let is_sound = |state: &SimDisk, done: bool| {
                holds(|| {
                    check_always(&scene, state, before.as_deref(), "weakened");
                    if done {
                        (scene.ends)(&Document::parse(&config(state).unwrap()).unwrap().document);
                        assert_eq!(backup_names(state), backup_names(&wanted));
                        assert_eq!(precious_temporaries(state), Vec::<PathBuf>::new());
                    }
                })
            };
            let sweep = Sweep { disk: &disk, run: &run, holds: &is_sound, written: Some(CONFIG.as_ref()) };
            survey.add(&sweep, |_| true);
        }
    }
    assert!(survey.check(&SUPERFLUOUS) >= 9, "{survey:#?}");
}

/// Each sync, each exclusive rename and each check of an edit and a restore is needed.
#[rstest]
fn every_guarantee_of_a_change_is_needed(#[values(0, 1, 2)] limits: usize) {
    let refused = [CAPABLE, LIMITED[0], LIMITED[1]][limits];
    let mut survey = Survey::default();
    for by_hand in changes_by_hand() {
        let run = |disk: &SimDisk| drop(change(&by_hand, disk));
        for disk in with_killed(&by_hand.disk, &run, refused) {
            let is_sound = |state: &SimDisk, done: bool| {
                holds(|| {
                    let mark = check_change(&by_hand, state, "weakened");
                    assert!(!done || mark == by_hand.marks[1]);
                    assert!(!done || precious_temporaries(state).is_empty());
                })
            };
            let sweep = Sweep { disk: &disk, run: &run, holds: &is_sound, written: Some(CONFIG.as_ref()) };
            survey.add(&sweep, |_| true);
        }
    }
    assert!(survey.check(&SUPERFLUOUS) > 6, "{survey:#?}");
}
