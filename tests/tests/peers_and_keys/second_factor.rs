//! The lock of the second factor.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use super::LOCK;
use super::running::Detached;
use integration_tests::testkit::{APP, Home, MESH, Unprivileged, diagnostic, follow, run, stand_in};
use rstest::rstest;

#[rstest]
#[case::letter_case("CUSTODY.JSON")]
#[case::sync_conflict("custody (1).json")]
#[case::backup("custody.json.bak")]
#[case::directory("../.secrets.bak/custody.json")]
#[case::directory_at_the_old_location("../../.secrets.bak/custody.json")]
#[case::backup_of_the_daemon_home("../../.myownmesh.bak/.secrets/custody.json")]
#[case::temporary_file(".durable-fs.123-10.part")]
fn lock_of_the_second_factor_under_another_name_is_named(#[case] name: &str) {
    let home = Home::settled();
    home.put(&format!("{MESH}/.secrets/{name}"), LOCK, 0o600);
    for args in [&["doctor"][..], &["launch", "--once"]] {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
        let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(reported["message"].as_str().unwrap().contains(name.trim_start_matches("../")), "{said:#}");
    }
}

/// A power cut can leave nothing else of a file.
#[test]
fn lock_of_the_second_factor_in_a_temporary_file_is_named() {
    for (home, dir) in [(Home::legacy(), APP), (Home::settled(), MESH)] {
        let lock =
            br#"{"networks":{"home-mesh":{"secret_b32":"JBSWY3DP","recovery_hashes":[],"created_at":1}}}"#;
        home.put(&format!("{dir}/.secrets/.durable-fs.123-10.part"), lock, 0o600);
        for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"]] {
            let said = run(&mut home.with_daemon(args)).ends_with(0).json();
            let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
            if args[0] == "launch" {
                // In the home that has moved by now, the daemon's place is the one that counts.
                follow(&reported["hint"]);
                assert_eq!(home.bytes(&format!("{MESH}/.secrets/custody.json")), lock, "{said:#}");
            }
        }
    }
}

/// A lock that no daemon can read is not the one to keep, and does no harm at the old location.
#[rstest]
#[case::torn(br#"{"networks":{"home-mesh":{"secret_b32":"JBSW"#)]
#[case::odd_entry(
    br#"{"networks":{"home-mesh":{"secret_b32":7,"recovery_hashes":["aaaaaaaaaaaaaaaaaaaa"],"created_at":1}}}"#
)]
fn damaged_lock_beside_a_sound_one_is_not_kept(#[case] damaged: &[u8], #[values(true, false)] is_old: bool) {
    let home = Home::settled();
    let (old, new) = if is_old { (damaged, LOCK) } else { (LOCK, damaged) };
    home.put(&format!("{APP}/.secrets/custody.json"), old, 0o600);
    home.put(&format!("{MESH}/.secrets/custody.json"), new, 0o600);
    let said = home.run(&["doctor", "--json"]).json();
    assert_eq!(diagnostic(&said, "state.damaged").is_none(), is_old, "{said:#}");
    follow(&diagnostic(&said, "migration.collision").unwrap()["hint"]);
    assert_eq!(home.bytes(&format!("{MESH}/.secrets/custody.json")), LOCK, "{said:#}");
    home.still_has(damaged, "custody.json");
}

/// A running daemon could write its lock over the mended file. Of a damaged one it may have the only
/// sound content, so it runs on.
#[rstest]
#[case::with_a_byte_order_mark(b"\xef\xbb\xbf{\"networks\":{}}", true)]
#[case::torn(b"{", false)]
fn lock_is_mended_after_the_daemon_has_ended(#[case] lock: &[u8], #[case] ends: bool) {
    let home = Home::settled();
    let daemon = Detached::start(&home, stand_in());
    home.put(&format!("{MESH}/.secrets/custody.json"), lock, 0o600);
    let said = home.run(&["doctor", "--json"]).json();
    follow(&diagnostic(&said, "state.damaged").unwrap()["hint"]);
    assert_eq!(daemon.is_running(), !ends, "{said:#}");
    let said = home.run(&["doctor", "--json"]).json();
    assert!(diagnostic(&said, "state.damaged").is_none(), "{said:#}");
    home.still_has(lock, "custody.json");
}

#[rstest]
#[case::empty(b"")]
#[case::with_a_byte_order_mark(b"\xef\xbb\xbf{\"networks\":{}}")]
#[case::torn(br#"{"networks":{"home-mesh":{"secret_b32":"JBSW"#)]
#[case::zero_bytes(&[0; 120])]
#[case::odd_entry(
    br#"{"networks":{"home-mesh":{"secret_b32":"JBSW","recovery_hashes":[],"created_at":"1"}}}"#
)]
#[case::capitals(br#"{"networks":{"Home-Mesh":{"secret_b32":"JBSW","recovery_hashes":[],"created_at":1}}}"#)]
#[case::array(br#"{"networks":[1]}"#)]
fn damaged_lock_of_the_second_factor_is_named(#[case] bytes: &[u8]) {
    let (old, moved) = (Home::legacy(), Home::settled());
    for (home, place) in [(&old, format!("{APP}/.secrets")), (&moved, format!("{MESH}/.secrets"))] {
        home.put(&format!("{place}/custody.json"), bytes, 0o600);
        let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
        let launch = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
        for said in [doctor, launch] {
            let reported = diagnostic(&said, "state.damaged").unwrap_or_else(|| panic!("{place}: {said:#}"));
            assert!(reported["message"].as_str().unwrap().contains("custody.json"), "{said:#}");
        }
        let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
        let hint = diagnostic(&said, "state.damaged").unwrap()["hint"].as_str().unwrap().to_owned();
        assert!(Command::new("sh").args(["-c", &hint]).status().unwrap().success(), "{hint}");
        let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
        assert!(diagnostic(&said, "state.damaged").is_none(), "{said:#}");
        home.still_has(bytes, "custody.json");
    }
}

#[rstest]
#[case::directory(|lock: &Path| std::fs::create_dir(lock))]
#[case::symlink_to_a_directory(|lock: &Path| symlink("/", lock))]
#[case::pipe(|lock: &Path| {
    Command::new("mkfifo").arg(lock).status()?;
    Ok(())
})]
#[case::of_root(|lock: &Path| {
    std::fs::write(lock, LOCK)?;
    std::os::unix::fs::chown(lock, Some(0), Some(0))?;
    std::fs::set_permissions(lock, Permissions::from_mode(0o600))
})]
#[case::closed(|lock: &Path| {
    std::fs::write(lock, LOCK)?;
    std::fs::set_permissions(lock, Permissions::from_mode(0o000))
})]
fn lock_of_the_second_factor_that_no_daemon_can_read_is_named(
    #[case] make: fn(&Path) -> std::io::Result<()>,
    #[values(false, true)] is_moved: bool,
) {
    let home = if is_moved { Home::settled() } else { Home::legacy() };
    let place = format!("{}/.secrets/custody.json", if is_moved { MESH } else { APP });
    let Some(user) = Unprivileged::new(&home) else { return };
    make(&home.path(&place)).unwrap();
    for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"], &["doctor", "--json"]] {
        let said = user.run(&home, args).json();
        let all = said["diagnostics"].as_array().unwrap();
        let reported = all
            .iter()
            .find(|reported| reported["path"].as_str().is_some_and(|path| path.ends_with("custody.json")));
        assert!(reported.is_some_and(|reported| reported["hint"].is_string()), "{args:?}: {said:#}");
    }
}

#[test]
fn broken_symlink_or_an_empty_file_in_the_locks_place_is_named() {
    for (make, code) in [
        ((|home, at| symlink("/nowhere/lock", home.path(at)).unwrap()) as fn(&Home, &str), "state.damaged"),
        (
            |home, at| {
                home.put(at, br#"{"networks":{}}"#, 0o600);
                home.put(&format!("{at}.bak"), LOCK, 0o600);
            },
            "state.misnamed",
        ),
    ] {
        let home = Home::settled();
        make(&home, &format!("{MESH}/.secrets/custody.json"));
        for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"]] {
            let said = run(&mut home.with_daemon(args)).ends_with(0).json();
            let reported = diagnostic(&said, code).unwrap_or_else(|| panic!("{said:#}"));
            assert!(reported["message"].as_str().unwrap().contains("custody.json"), "{said:#}");
        }
    }
}
