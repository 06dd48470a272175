//! An unreadable entry is not absent: for any failing call, no home that had a key, or peers, is
//! taken for one that has none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{io::ErrorKind, path::Path};

use common::{key_file, public_key, short};
use myownllm_durable_fs::{
    sim::{Fault, SimDisk},
    sim_path,
};
use myownllm_identity::{Answer, IdentityPaths, scan};
use rstest::rstest;

const APP: &str = sim_path!("/home/ann/.app");
/// A place outside of the homes.
const ELSEWHERE: &str = sim_path!("/keys/id.json");

fn places() -> IdentityPaths {
    IdentityPaths::new(APP, format!("{APP}/mesh"))
}

fn disk(files: &[&str]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir(APP, 0o700);
    disk.put_dir(Path::new(ELSEWHERE).parent().unwrap(), 0o700);
    for file in files {
        if let Some((link, target)) = file.split_once(" -> ") {
            disk.put_link(Path::new(APP).join(link), target);
            continue;
        }
        let bytes = match *file {
            name if name.ends_with("config.json") => {
                format!("{{\"identity_path\": {ELSEWHERE:?}}}").into_bytes()
            }
            name if name.contains("good-") => br#"{"cloud_mesh": {"networks": [{}]}}"#.to_vec(),
            name if name.contains("mesh/rosters") || name.contains("custody") => b"{}".to_vec(),
            _ => key_file(1, "x"),
        };
        disk.put(Path::new(APP).join(file), &bytes);
    }
    disk
}

#[rstest]
#[case::in_the_daemons_home(&["mesh/.secrets/identity.json"])]
#[case::at_the_old_location(&[".secrets/identity.json"])]
#[case::in_both(&["mesh/.secrets/identity.json", ".secrets/identity.json"])]
#[case::quarantined(&[".secrets/.durable-fs.claimed/identity.json"])]
#[case::named_by_the_config(&["mesh/config.json", ELSEWHERE])]
#[case::named_by_the_apps_config(&["config.json", ELSEWHERE])]
#[case::under_another_name(&["mesh/.secrets/identity.bak"])]
#[case::under_another_name_of_before(&[".secrets/identity.bak"])]
#[case::in_a_directory_below(&[".secrets/old/key"])]
#[case::in_the_home(&["identity.json"])]
#[case::among_the_backups_of_configs(&["config-backups/identity.json"])]
#[case::custody(&["mesh/.secrets/custody.json"])]
#[case::copy_of_peers(&["mesh/rosters.bak/home.json"])]
#[case::peers(&["mesh/mesh/rosters/home.json"])]
#[case::peers_on_a_missing_disk(&["mesh/mesh -> /mnt/gone"])]
#[case::rosters_on_a_missing_disk_before(&["mesh/rosters -> nowhere"])]
#[case::peers_of_before(&["mesh/rosters/home.json"])]
#[case::secrets_on_a_missing_disk(&["mesh/.secrets -> ../../../../keys", "config-backups/good-000001-00.json"])]
#[case::rosters_on_a_missing_disk(&["mesh/mesh/rosters -> ../../../../../keys",
    "config-backups/good-000001-00.json"])]
fn whichever_call_fails_no_new_key_is_made(#[case] files: &[&str]) {
    let sound = disk(files);
    let healthy = short(&scan(&sound, &places()).answer());
    assert_ne!(healthy, "none yet");
    let calls = sound.op_count();
    assert!(calls > 1);
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Other] {
        for number in 0..calls {
            for persistent in [false, true] {
                let disk = disk(files);
                disk.fail(Fault { persistent, ..Fault::once(number, kind) });
                let answer = scan(&disk, &places()).answer();
                let call = disk.op_number(number);
                assert!(!matches!(answer, Answer::NoneYet), "{call:?} failed ({kind:?})");
                if let Answer::Sound { key, .. } = answer {
                    assert_eq!(key.public_key, public_key(1), "{call:?}");
                }
            }
        }
    }
}

#[test]
fn key_that_another_process_moves_between_the_looks_is_found() {
    let disk = disk(&[".secrets/identity.json", "mesh/mesh/rosters/home.json"]);
    disk.put_dir(Path::new(APP).join("mesh/.secrets"), 0o700);
    let [from, to] =
        [".secrets/identity.json", "mesh/.secrets/identity.json"].map(|at| Path::new(APP).join(at));
    disk.set_hook(move |record, other| {
        if record.path == from && other.put(&to, &key_file(1, "x")) {
            other.remove(&from);
        }
    });
    assert_eq!(short(&scan(&disk, &places()).answer()), format!("sound {}", public_key(1)));
}

/// A scan takes no lock and writes nothing.
#[test]
fn a_look_changes_nothing() {
    let disk = disk(&[".secrets/identity.bak", "config.json", "mesh/rosters/home.json"]);
    let _ = scan(&disk, &places());
    assert!(
        disk.ops().iter().all(|call| !call.is_change() && call.op != myownllm_durable_fs::Op::Lock),
        "{:?}",
        disk.ops()
    );
}

/// A start with nothing to do needs few calls.
#[test]
fn a_sound_key_costs_a_handful_of_calls() {
    let disk = disk(&["mesh/.secrets/identity.json", "mesh/mesh/rosters/home.json"]);
    assert_eq!(short(&scan(&disk, &places()).answer()), format!("sound {}", public_key(1)));
    assert!(disk.op_count() <= 12, "{:#?}", disk.ops());
}

/// The names beyond the bound may include the key.
#[test]
fn a_directory_with_very_many_files_is_not_taken_for_one_without_a_key() {
    let sim = disk(&[]);
    for number in 0..5000 {
        sim.put(format!("{APP}/.secrets/{number}"), b"x");
    }
    assert_eq!(short(&scan(&sim, &places()).answer()), "migration.unreadable");
}

/// A directory that is not a secrets directory does not block the first start, however many files
/// it holds. A file with `identity` in its name is found in it.
#[test]
fn a_directory_of_models_with_very_many_files_blocks_nothing() {
    let sim = disk(&[]);
    for number in 0..5000 {
        sim.put(format!("{APP}/models/{number:05}"), b"x");
    }
    assert_eq!(short(&scan(&sim, &places()).answer()), "none yet");
    sim.put(format!("{APP}/backup/identity.json"), &key_file(1, "x"));
    assert_eq!(short(&scan(&sim, &places()).answer()), "identity.gone");
}
