//! The hints of homes in which the user may not do everything, and of causes that several files
//! share.

use std::os::unix::fs::symlink;
use std::process::Command;

use integration_tests::testkit::{
    Home, MESH, NOBODY, Ran, Unprivileged, path_with_program, run, set_mode, wrapped,
};
use rstest::rstest;
use serde_json::Value;

/// Returns the checks that did not pass.
fn failed_checks(doctor: &Ran) -> Vec<Value> {
    let all = doctor.json()["data"]["checks"].as_array().unwrap().clone();
    let failed = |check: &Value| check["result"] == "problem" || check["result"] == "warning";
    all.into_iter().filter(failed).collect()
}

fn hints(checks: &[Value], result: &str) -> Vec<String> {
    let wanted = checks.iter().filter(|check| check["result"] == result);
    let mut hints: Vec<String> =
        wanted.filter_map(|check| check["hint"].as_str()).map(str::to_owned).collect();
    hints.dedup();
    hints
}

/// Follows a hint as the user, in whose home the program runs.
fn follow_as(user: &Unprivileged, home: &Home, hint: &str) {
    if hint.ends_with(" repair") {
        user.run(home, &["repair"]).ends_with(0);
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", hint]).current_dir("/").env("PATH", path_with_program());
    if user.is_dropped {
        let nobody = NOBODY.to_string();
        command = wrapped(&["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups"], &command);
    }
    run(&mut command).ends_with(0);
}

fn mesh_behind_a_symlink(home: &Home) {
    home.run(&["migrate", "--undo"]).ends_with(0);
    std::fs::rename(home.path(".myownllm/mesh"), home.path("meshdata")).unwrap();
    symlink("../meshdata", home.path(".myownllm/mesh")).unwrap();
    set_mode(&home.path("meshdata/rosters/home-mesh.json"), 0);
}

fn daemon_home_behind_a_symlink(home: &Home) {
    std::fs::rename(home.path(MESH), home.path("daemon-home")).unwrap();
    symlink("../daemon-home", home.path(MESH)).unwrap();
    set_mode(&home.path("daemon-home/mesh/rosters/home-mesh.json"), 0);
}

/// Each hint works for the user of the home, and the last one leaves nothing to put right.
#[rstest]
#[case::mesh_behind_a_symlink(mesh_behind_a_symlink, 3)]
#[case::daemon_home_behind_a_symlink(daemon_home_behind_a_symlink, 2)]
fn hint_works_for_a_user_who_may_not_do_everything(#[case] make: fn(&Home), #[case] rounds: usize) {
    let home = Home::settled();
    make(&home);
    let Some(user) = Unprivileged::new(&home) else { return };
    for _ in 0..rounds {
        let doctor = user.run(&home, &["doctor", "--json"]);
        hints(&failed_checks(&doctor), "problem").iter().for_each(|hint| follow_as(&user, &home, hint));
    }
    user.run(&home, &["repair"]).ends_with(0);
    user.run(&home, &["doctor"]).ends_with(0);
    let names: Vec<_> = std::fs::read_dir(home.path(".myownllm")).unwrap().collect();
    assert!(
        !names.iter().flatten().any(|entry| entry.path().to_string_lossy().contains(".copy")),
        "{names:?}"
    );
}
