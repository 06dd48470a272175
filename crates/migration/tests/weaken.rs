//! Takes each guarantee of the disk away: something reveals its lack.

mod common;

use std::path::Path;

use common::{APP, cases::*};
use myownllm_durable_fs::sim::{SimDisk, Survey, Sweep, Weakening};
use rstest::rstest;

/// Calls of a move whose lack nothing reveals, and the reason why they stay.
const SUPERFLUOUS: [(&str, &str); 4] = [
    ("> RenameNoReplace rosters", "no rename puts a directory in the place of a file"),
    ("> RenameNoReplace states", "no rename puts a directory in the place of a file"),
    ("ReadLink *", "a symlink has no content that another program could write"),
    ("MakeDir * > SyncFs .secrets, SyncDir .secrets", "the quarantine of an undo holds what is copied"),
];

/// Each barrier, each exclusive rename and each check before a removal is needed: without it, a
/// power cut or another program loses, tears or takes back a file.
#[rstest]
fn every_guarantee_of_a_move_is_needed(#[values(0, 1, 2, 3)] part: usize) {
    let written = format!("{APP}/mesh/rosters/one.json");
    let holds = |check: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok();
    let mut survey = Survey::default();
    for case in cases().into_iter().skip(part).step_by(4) {
        let (before, wanted) = (contents(&case.disk), finished(&case).tree());
        let holds = |after: &SimDisk, done: bool| {
            holds(&|| intact(&before, after, &case, "weakened"))
                && holds(&|| key_is_last(&case, after, "weakened"))
                && !(done && case.flushed && after.tree() != wanted)
        };
        let run = |disk: &SimDisk| drop(run(disk, &case.options));
        let [able, limited] = &hard(&case)[..] else { panic!("two disks") };
        let sweep = |disk| Sweep { disk, run: &run, holds: &holds, written: Some(Path::new(&written)) };
        survey.add(&sweep(&able.disk), |_| true);
        survey.add(&sweep(&limited.disk), |weakening| matches!(weakening, Weakening::PlainRename(_)));
    }
    assert!(survey.check(&SUPERFLUOUS) > 20, "{survey:#?}");
}
