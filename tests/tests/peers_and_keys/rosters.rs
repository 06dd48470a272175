//! Rosters and states that no daemon sees.

use std::os::unix::fs::symlink;
use std::process::Command;

use super::{KEY, ROSTER};
use integration_tests::testkit::{APP, Home, MESH, diagnostic, run};
use rstest::rstest;
use serde_json::{Value, json};

#[rstest]
#[case::before_the_move(Home::legacy(), APP, None)]
#[case::after_the_move(Home::settled(), MESH, None)]
#[case::beside_an_empty_one(
    Home::settled(),
    MESH,
    Some(r#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#)
)]
fn roster_that_a_daemon_has_put_aside_comes_back(
    #[case] home: Home,
    #[case] of: &str,
    #[case] in_place: Option<&str>,
) {
    let roster = format!("{of}/{ROSTER}");
    let peers = home.bytes(&roster);
    let corrupt = [b"\xef\xbb\xbf", &peers[..]].concat();
    std::fs::remove_file(home.path(&roster)).unwrap();
    home.put(&format!("{roster}.corrupt"), &corrupt, 0o600);
    in_place.inspect(|empty| home.put(&roster, empty.as_bytes(), 0o600));
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).json();
    assert!(diagnostic(&said, "state.damaged").is_some(), "{said:#}");
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.set-aside").is_some(), "{said:#}");
    let there: Value = serde_json::from_slice(&peers).unwrap();
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], there["authorized_devices"]);
    home.still_has(&corrupt, "the file that the daemon put aside");
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.damaged").is_none(), "{said:#}");
}

#[test]
fn devices_of_a_roster_that_a_daemon_has_put_aside_are_named_beside_another_roster() {
    let home = Home::settled();
    let roster = format!("{MESH}/{ROSTER}");
    let mut peers = home.json(&roster);
    let mut lost = peers["authorized_devices"][0].clone();
    lost["device_id"] = json!("lostdevice");
    peers["authorized_devices"].as_array_mut().unwrap().push(lost);
    let before = home.bytes(&roster);
    let corrupt = format!("\u{feff}{peers}");
    home.put(&format!("{roster}.corrupt"), corrupt.as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.set-aside").unwrap_or_else(|| panic!("{said:#}"));
    assert!(reported["message"].as_str().unwrap().contains("lostdevice"), "{said:#}");
    assert_eq!(home.bytes(&roster), before);
    home.still_has(corrupt.as_bytes(), "the file that the daemon put aside");
}

/// The power failed while an earlier run moved the file, on a disk whose syncs have no effect.
#[rstest]
fn only_copy_in_a_temporary_file_gets_its_name_back_before_a_start(
    #[values("mesh/rosters/office-mesh.json", "mesh/states/home-mesh.json")] file: &str,
) {
    let home = Home::settled();
    let path = home.path(&format!("{MESH}/{file}"));
    let temporary = path.with_file_name(".durable-fs.123-4.part");
    let content = std::fs::read(&path).unwrap();
    std::fs::rename(&path, &temporary).unwrap();
    run(&mut home.with_daemon(&["status", "--check"])).ends_with(3);
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"]));
    assert!(doctor.diagnostic("migration.pending")["hint"].as_str().unwrap().ends_with(" repair"));
    let launch = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(launch["data"]["steps"][0], "move", "{launch:#}");
    assert_eq!(std::fs::read(&path).unwrap(), content);
    run(&mut home.with_daemon(&["status", "--check"])).ends_with(0);
    std::fs::rename(&path, &temporary).unwrap();
    run(&mut home.with_daemon(&["repair"])).ends_with(0);
    assert_eq!(std::fs::read(&path).unwrap(), content);

    // A daemon that has read the home keeps no launch from using it.
    run(&mut home.with_daemon(&["launch", "--detach"])).ends_with(0);
    std::fs::rename(&path, &temporary).unwrap();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert!(temporary.exists());
    run(&mut home.with_daemon(&["daemon", "stop"])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

/// A repair takes the steps that `status` names, also about a file whose devices are all in place.
#[test]
fn repair_keeps_a_file_that_a_daemon_has_put_aside_as_status_says() {
    let home = Home::settled();
    let roster = format!("{MESH}/{ROSTER}");
    let before = home.bytes(&roster);
    let corrupt = [b"\xef\xbb\xbf", &before[..]].concat();
    home.put(&format!("{roster}.corrupt"), &corrupt, 0o600);
    let is_named =
        || run(&mut home.with_daemon(&["status", "--json"])).ends_with(0).all().contains("keep-corrupt-file");
    assert!(is_named());
    run(&mut home.with_daemon(&["repair"])).ends_with(0);
    assert!(!is_named());
    assert_eq!(home.bytes(&roster), before);
    home.still_has(&corrupt, "the file that the daemon put aside");
}

#[rstest]
#[case::letter_case("HOME-MESH.json")]
#[case::sync_conflict("home-mesh (1).json")]
#[case::backup("home-mesh.json.bak")]
fn roster_of_the_active_network_under_another_name_is_named(
    #[case] name: &str,
    #[values(APP, MESH)] of: &str,
) {
    let home = if of == MESH { Home::settled() } else { Home::legacy() };
    let roster = home.path(&format!("{of}/{ROSTER}"));
    let peers = home.bytes(&format!("{of}/{ROSTER}"));
    std::fs::rename(&roster, roster.with_file_name(name)).unwrap();
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).json();
    let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{of}: {said:#}"));
    let hint = reported["hint"].as_str().unwrap().to_owned();
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.misnamed").is_some(), "{of}: {said:#}");
    if of == MESH {
        run(Command::new("sh").args(["-c", &hint])).ends_with(0);
        run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
        let there: Value = serde_json::from_slice(&peers).unwrap();
        assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], there["authorized_devices"]);
    }
}

#[rstest]
#[case::both("mesh", "mesh.bak", "mesh.bak/rosters/home-mesh.json")]
#[case::letter_case("mesh", "Mesh", "Mesh/rosters/home-mesh.json")]
#[case::copy("mesh/rosters", "mesh/rosters (1)", "mesh/rosters (1)/home-mesh.json")]
#[case::backup_of_the_daemon_home(
    "mesh",
    "../.myownmesh.bak/mesh",
    ".myownmesh.bak/mesh/rosters/home-mesh.json"
)]
#[case::both_in_the_trash(
    "mesh",
    "../../.local/share/Trash/files/mesh",
    "Trash/files/mesh/rosters/home-mesh.json"
)]
#[case::directory_in_the_trash("mesh/rosters", "../../.Trash/rosters", ".Trash/rosters/home-mesh.json")]
#[case::roster_in_the_trash(ROSTER, "../../.Trash/home-mesh.json", ".Trash/home-mesh.json")]
#[case::both_copied_into_themselves("mesh", "mesh/mesh", "mesh/mesh/rosters/home-mesh.json")]
#[case::directory_copied_into_itself(
    "mesh/rosters",
    "mesh/rosters/rosters",
    "rosters/rosters/home-mesh.json"
)]
#[case::roster_one_level_up(ROSTER, "mesh/home-mesh.json", "mesh/home-mesh.json")]
fn roster_in_a_directory_under_another_name_is_named(
    #[case] dir: &str,
    #[case] renamed: &str,
    #[case] now: &str,
) {
    let home = Home::settled();
    let peers = home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"].clone();
    let renamed = home.path(MESH).join(renamed);
    std::fs::rename(home.path(&format!("{MESH}/{dir}")), home.path("renamed")).unwrap();
    std::fs::create_dir_all(renamed.parent().unwrap()).unwrap();
    std::fs::rename(home.path("renamed"), renamed).unwrap();
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(reported["message"].as_str().unwrap().contains(now), "{said:#}");
    let hint = reported["hint"].as_str().unwrap();
    run(Command::new("sh").args(["-c", hint])).ends_with(0);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], peers, "{said:#}");
}

/// A copy with another key is another device's.
#[rstest]
fn roster_in_a_copy_of_the_home_is_named(#[values(true, false)] is_of_this_device: bool) {
    let home = Home::settled();
    let peers = home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"].clone();
    let copy = format!("{APP}.bak");
    run(Command::new("cp").arg("-a").args([home.path(APP), home.path(&copy)])).ends_with(0);
    std::fs::remove_dir_all(home.path(&format!("{MESH}/mesh"))).unwrap();
    if !is_of_this_device {
        home.put(&KEY.replace(APP, &copy), b"{}", 0o600);
    }
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.misnamed");
    assert_eq!(reported.is_some(), is_of_this_device, "{said:#}");
    let Some(reported) = reported else { return };
    run(Command::new("sh").args(["-c", reported["hint"].as_str().unwrap()])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], peers);
}

/// The move leaves it, and the daemon starts without the devices in it.
#[rstest]
#[case::byte_order_mark("roster.json", |text: String| format!("\u{feff}{text}"))]
#[case::comma("roster.json", |text: String| text.replacen('[', "[,", 1))]
#[case::copy("roster (1).json", |text| text)]
fn roster_of_the_time_before_networks_that_stays_is_named(
    #[case] name: &str,
    #[case] shape: fn(String) -> String,
) {
    let home = Home::legacy();
    let text = String::from_utf8(home.bytes(&format!("{APP}/{ROSTER}"))).unwrap();
    std::fs::remove_dir_all(home.path(&format!("{APP}/mesh/rosters"))).unwrap();
    home.put(&format!("{APP}/mesh/{name}"), shape(text.clone()).as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(reported["message"].as_str().unwrap().contains(name), "{said:#}");
    assert!(diagnostic(&said, "migration.left").is_none(), "{said:#}");
    let hint = reported["hint"].as_str().unwrap();
    run(Command::new("sh").args(["-c", hint])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let there: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], there["authorized_devices"]);
}

#[test]
fn sound_roster_of_the_time_before_networks_is_not_named() {
    let home = Home::legacy();
    let [rosters, single] = ["mesh/rosters", "mesh/roster.json"].map(|path| format!("{APP}/{path}"));
    home.put(&single, &home.bytes(&format!("{APP}/{ROSTER}")), 0o600);
    std::fs::remove_dir_all(home.path(&rosters)).unwrap();
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.misnamed").is_none(), "{said:#}");
}

/// A daemon that was started too early has written the roster in its place.
#[rstest]
fn sound_roster_of_the_time_before_networks_is_named_beside_an_empty_one(#[values(APP, MESH)] of: &str) {
    let home = if of == MESH { Home::settled() } else { Home::legacy() };
    let roster = format!("{of}/{ROSTER}");
    let peers = home.json(&roster)["authorized_devices"].clone();
    home.put(&format!("{APP}/mesh/roster.json"), &home.bytes(&roster), 0o600);
    home.put(&roster, br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#, 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(diagnostic(&said, "migration.left").is_none(), "{said:#}");
    run(Command::new("sh").args(["-c", reported["hint"].as_str().unwrap()])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], peers);
}

/// A daemon reads nothing of such a file, and writes over it.
#[rstest]
#[case::roster(MESH, "mesh/rosters")]
#[case::state(MESH, "mesh/states")]
#[case::roster_that_moves(APP, "mesh/rosters")]
fn file_with_another_spelling_of_its_network_is_mended(#[case] of: &str, #[case] dir: &str) {
    let home = if of == MESH { Home::settled() } else { Home::legacy() };
    let file = format!("{of}/{dir}/home-mesh.json");
    let before = home.bytes(&file);
    let text = String::from_utf8(before).unwrap().replace("\"home-mesh\"", "\" Home-Mesh\"");
    home.put(&file, text.as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.set-aside").is_some(), "{said:#}");
    assert_eq!(home.json(&format!("{MESH}/{dir}/home-mesh.json"))["network_id"], "home-mesh");
    home.still_has(text.as_bytes(), "the file as it was");
}

#[test]
fn roster_of_another_network_in_the_place_of_the_active_one_is_named() {
    let home = Home::settled();
    home.put(
        &format!("{MESH}/{ROSTER}"),
        &home.bytes(&format!("{MESH}/mesh/rosters/office-mesh.json")),
        0o600,
    );
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(reported["message"].as_str().unwrap().contains("another network"), "{said:#}");
}

/// The target of a broken symlink may exist on a disk that is missing.
#[rstest]
#[case::roster("rosters", "/nowhere/home-mesh.json", "it is a broken symlink")]
#[case::state("states", "/nowhere/home-mesh.json", "it is a broken symlink")]
#[case::in_a_loop("rosters", "home-mesh.json", "it is a symlink loop")]
fn no_daemon_starts_on_a_roster_or_a_state_behind_a_broken_symlink(
    #[case] dir: &str,
    #[case] target: &str,
    #[case] is: &str,
) {
    let home = Home::settled();
    let file = home.path(&format!("{MESH}/mesh/{dir}/home-mesh.json"));
    std::fs::remove_file(&file).unwrap();
    symlink(target, &file).unwrap();
    for (args, code) in [(&["doctor", "--json"][..], 4), (&["launch", "--once", "--json"], 1)] {
        let said = run(&mut home.with_daemon(args)).ends_with(code).json();
        let found = diagnostic(&said, "state.unreadable").unwrap_or_else(|| panic!("{said:#}"));
        assert!(found["message"].as_str().unwrap().ends_with(is), "{said:#}");
    }
}

/// A first screen and a check by a script say that something is pending, as the plan does.
#[test]
fn roster_that_a_launch_mends_is_pending() {
    let home = Home::settled();
    let roster = format!("{MESH}/{ROSTER}");
    let text = String::from_utf8(home.bytes(&roster)).unwrap();
    home.put(&roster, text.replacen(',', "", 1).as_bytes(), 0o600);
    let first = home.run(&[]).ends_with(3).stdout;
    assert!(first.contains(" repair  puts right"), "{first}");
    home.run(&["status", "--check"]).ends_with(3);
    home.run(&["repair"]).ends_with(0);
    assert_eq!(
        serde_json::from_slice::<Value>(&home.bytes(&roster)).unwrap(),
        serde_json::from_str::<Value>(&text).unwrap()
    );
    home.run(&["status", "--check"]).ends_with(0);
}
