//! Root in the home of a user, and a user in a home of root.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use super::{GROUP, OTHER, OWNER, Tools, WRITERS, of, refuses, walk};
use integration_tests::testkit::{APP, Home, can_be_root, is_root, run, set_mode};
use rstest::rstest;

/// A user who can make a symlink in a public directory could choose the home in which root works.
#[rstest]
#[case::of_root(0)]
#[case::of_a_user(OWNER)]
fn root_follows_no_symlink_of_another_user_to_a_home(#[case] owner: u32) {
    if !can_be_root() {
        return;
    }
    let tools = Tools::new();
    let public = tempfile::Builder::new().prefix("public-").tempdir_in("/tmp").unwrap();
    set_mode(public.path(), 0o1777);
    let home = of(owner, Home::after_the_bug());
    for (name, target, rest) in
        [("to-home", home.path(""), ""), ("above", home.path("..").canonicalize().unwrap(), "home")]
    {
        let link = public.path().join(format!("{name}-{owner}"));
        std::os::unix::fs::symlink(target, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(OTHER), Some(GROUP)).unwrap();
        refuses(&tools, (&link.join(rest), 0), &home, "homes.unsafe-permissions", &link);
        // A symlink of root is fine. So is a symlink of the home's owner where nobody else can
        // make one.
        std::os::unix::fs::lchown(&link, Some(0), Some(0)).unwrap();
        tools.on(&link.join(rest), 0, &["migrate", "--dry-run"]).ends_with(0);
    }
    tools.on(&public.path().join(format!("above-{owner}/home")), 0, &["launch", "--no-daemon"]).ends_with(0);
}

/// A container runs its program under any uid, in a sticky user home of root.
#[rstest]
#[case::empty(Home::empty)]
#[case::after_the_bug(|| of(OTHER, Home::after_the_bug()))]
fn a_user_home_of_root_with_the_sticky_bit_serves_any_user(#[case] make: fn() -> Home) {
    if !can_be_root() {
        return;
    }
    let (tools, home) = (Tools::new(), make());
    set_mode(&home.path("..").canonicalize().unwrap(), 0o755);
    std::os::unix::fs::chown(home.path(""), Some(0), Some(0)).unwrap();
    set_mode(&home.path(""), 0o1777);
    tools.on(&home.path(""), OTHER, &["launch", "--once"]).ends_with(0);
    tools.on(&home.path(""), OTHER, &["doctor"]).ends_with(0);
    // Root works there as the owner of the app's home.
    tools.on(&home.path(""), 0, &["network", "add", "by-root"]).ends_with(0);
    tools.on(&home.path(""), 0, &["launch", "--once"]).ends_with(0);
    let mut all = Vec::new();
    walk(&home.path(""), &mut all);
    for (path, meta) in all {
        assert_eq!(meta.uid(), OTHER, "{}", path.display());
    }
}

/// In a container root may be unable to become another user: reading needs no such right.
#[test]
fn root_that_cannot_become_the_owner_looks_and_changes_nothing() {
    if !can_be_root() || run(Command::new("setpriv").arg("--help")).code != Some(0) {
        return;
    }
    let tools = Tools::new();
    let home = of(OWNER, Home::after_the_bug());
    let before = home.snapshot();
    for lacks in ["-setuid", "-setgid", "-setuid,-setgid"] {
        let on = |args: &[&str]| {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--bounding-set={lacks}"))
                .arg(&tools.program)
                .arg("--home")
                .arg(home.path(""));
            run(command.args(args).env("HOME", "/nonexistent").current_dir("/"))
        };
        for args in [
            &["status"][..],
            &["identity"],
            &["paths"],
            &["config", "show"],
            &["config", "history"],
            &["network", "list"],
            &["migrate", "--dry-run"],
            &["salvage", "--dry-run"],
        ] {
            on(args).ends_with(0);
        }
        on(&["doctor", "--json"]).ends_with(4).check("paths.foreign-home");
        for args in WRITERS {
            let said = on(args).ends_with(7).json();
            let found = &said["diagnostics"][0];
            assert_eq!(found["code"], "paths.foreign-home", "{args:?}: {said:#}");
            // `launch` still returns the config.
            assert_eq!(said["data"]["config"].is_object(), args[0] == "launch", "{args:?}: {said:#}");
        }
        assert!(home.snapshot() == before, "{lacks}: something was changed");
    }
    tools.on(&home.path(""), 0, &["launch", "--once"]).ends_with(0);
}

/// An earlier run of root left files that the owner of the home may not read. Root finds in
/// `doctor` what a launch finds, which runs as the owner; the printed command mends it.
#[rstest]
#[case::config("config.json")]
#[case::config_of_the_daemon(".myownmesh/config.json")]
#[case::secrets(".myownmesh/.secrets")]
#[case::key(".myownmesh/.secrets/identity.json")]
#[case::peers(".myownmesh/mesh")]
#[case::rosters(".myownmesh/mesh/rosters")]
#[case::roster(".myownmesh/mesh/rosters/home-mesh.json")]
fn doctor_of_root_foresees_what_the_owner_may_not_read(#[case] path: &str) {
    if !is_root() {
        return;
    }
    let tools = Tools::new();
    let home = of(OWNER, Home::settled());
    let on = |args: &[&str]| tools.on(&home.path(""), 0, args);
    on(&["launch", "--once"]).ends_with(0);
    let left = home.path(APP).join(path);
    std::os::unix::fs::lchown(&left, Some(0), Some(0)).unwrap();
    let doctor = on(&["doctor"]).ends_with(4);
    let is_one_file = left.is_file();
    assert!(!(is_one_file && doctor.stdout.contains("user 0 owns them")), "{path}: {doctor:?}");
    let ran = on(&["launch", "--once"]);
    assert!(ran.code == Some(1) || ran.code == Some(7), "{path}: {ran:?}");
    // The reader of the hint is root.
    let hint = doctor.stdout.lines().map(str::trim).find(|line| line.starts_with("chown -RH "));
    let hint = hint.unwrap_or_else(|| panic!("{path}: {doctor:?}"));
    assert!(Command::new("sh").args(["-c", hint]).status().unwrap().success(), "{path}: {hint}");
    on(&["launch", "--once"]).ends_with(0);
}
