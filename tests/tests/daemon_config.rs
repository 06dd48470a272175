//! The bug in reverse, end to end: the daemon's config has the content of another program.
#![cfg(target_os = "linux")]

use std::os::unix::fs::symlink;

use integration_tests::testkit::{CONFIG, Home, MESH, diagnostic, run};
use myownllm_config_model::DaemonFile;
use rstest::rstest;
use serde_json::{Value, json};

const OWN_CONFIG: &str = ".myownllm/.myownmesh/config.json";

/// A home whose daemon has run and left its config.
fn with_daemon_config() -> Home {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert!(home.has(OWN_CONFIG));
    home
}

/// The app's config with keys of the daemon.
fn mixed(home: &Home) -> Vec<u8> {
    let mut config = home.json(CONFIG);
    config["version"] = json!(1);
    config["daemon"] = json!({ "log_level": "debug" });
    config.to_string().into_bytes()
}

#[rstest]
#[case::app(|home: &Home| home.bytes(CONFIG), "daemon.config-misplaced", Value::Null)]
#[case::app_with_daemon_keys(mixed, "daemon.config-misplaced", json!("debug"))]
#[case::empty_object(|_: &Home| b"{}".to_vec(), "daemon.config-misplaced", Value::Null)]
#[case::garbage(|_: &Home| b"not JSON".to_vec(), "daemon.config-damaged", Value::Null)]
#[case::empty(|_: &Home| Vec::new(), "daemon.config-damaged", Value::Null)]
#[case::torn(
    |_: &Home| br#"{"version": 1, "daemon": {"log_level": "debug"}, "netw"#.to_vec(),
        "daemon.config-damaged", json!("debug")
)]
#[case::byte_order_mark(
    |_: &Home| b"\xef\xbb\xbf{\"version\": 3, \"daemon\": {\"log_level\": \"debug\"}}".to_vec(),
        "daemon.config-damaged", json!("debug")
)]
#[case::another_type(
    |_: &Home| br#"{"version": "3", "daemon": {"log_level": "debug"}}"#.to_vec(),
        "daemon.config-damaged", json!("debug")
)]
#[case::kind_in_capitals(
    |_: &Home| br#"{"daemon": {"log_level": "debug"},
        "networks": [{"id": "n", "network_id": "home-mesh", "kind": "Closed"}]}"#.to_vec(),
        "daemon.config-damaged", json!("debug")
)]
#[case::not_utf8(
    |_: &Home| b"{\"daemon\": {\"log_level\": \"debug\"}, \"identity_path\": \"\xe9\"}".to_vec(),
        "daemon.config-damaged", json!("debug")
)]
fn misplaced_daemon_config_is_kept_and_set_aside_before_a_daemon_starts(
    #[case] make: fn(&Home) -> Vec<u8>,
    #[case] code: &str,
    #[case] level: Value,
    #[values(&["launch", "--once"], &["launch", "--no-daemon"], &["repair"])] args: &[&str],
) {
    let home = with_daemon_config();
    let device = home.run(&["identity", "--json"]).json()["data"]["device_id"].take();
    let (app, bytes) = (home.bytes(CONFIG), make(&home));
    home.put(OWN_CONFIG, &bytes, 0o600);
    let tree = home.snapshot();
    let check = home.run(&["doctor", "--json"]).ends_with(4).check("daemon.config");
    assert_eq!((&check["result"], &check["code"]), (&json!("problem"), &json!(code)));
    let status = home.run(&["status", "--check", "--json"]).ends_with(3).json();
    assert_eq!(diagnostic(&status, code).unwrap()["severity"], "warning");
    assert!(status["data"]["launch_steps"].as_array().unwrap().contains(&json!("set-daemon-config-aside")));
    assert_eq!(home.snapshot(), tree, "nothing is written by looking");

    let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
    let reported = diagnostic(&said, "daemon.config-set-aside").unwrap_or_else(|| panic!("{said:#}"));
    assert_eq!(said["data"]["outcome"], "repaired");
    home.still_has(&bytes, "the misplaced file");
    let history = home.run(&["config", "history", "--json"]).json();
    let copies = history["data"]["copies"].as_array().unwrap();
    let number = |copy: &Value| copy["id"].as_str()?.split('-').nth(1)?.parse::<u64>().ok();
    let message = reported["message"].as_str().unwrap();
    let is_named = |copy: &&Value| message.contains(&format!("is backup {} now", number(copy).unwrap()));
    assert_eq!(copies.iter().find(is_named).unwrap()["kind"], "kept");
    assert_eq!(home.bytes(CONFIG), app);
    if args.contains(&"--once") || level != Value::Null {
        let daemons = home.json(OWN_CONFIG);
        assert_eq!(
            (daemons["providers"].clone(), daemons["active_family"].clone()),
            (Value::Null, Value::Null)
        );
        if level != Value::Null {
            assert_eq!(daemons["daemon"]["log_level"], level, "what is the daemon's stays");
        }
    } else {
        assert!(!home.has(OWN_CONFIG));
    }
    let now = home.run(&["identity", "--json"]).json()["data"]["device_id"].take();
    assert_eq!(now, device);
    home.run(&["doctor"]).ends_with(0);
    let again = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(diagnostic(&again, "daemon.config-set-aside"), None);
}

#[test]
fn misplaced_config_is_backed_up_while_a_daemon_runs_and_set_aside_afterwards() {
    let home = with_daemon_config();
    let daemon = home.daemon(MESH).start().unwrap();
    let misplaced = mixed(&home);
    home.put(OWN_CONFIG, &misplaced, 0o600);
    // A repair would not mend it either: doctor names what does.
    for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"]] {
        let said = run(&mut home.with_daemon(args)).ends_with(0).json();
        let reported = diagnostic(&said, "daemon.config-misplaced").unwrap_or_else(|| panic!("{said:#}"));
        assert!(reported["hint"].as_str().unwrap().ends_with(" daemon restart"), "{reported}");
    }
    let history = home.run(&["config", "history", "--json"]).json();
    let copies = history["data"]["copies"].as_array().unwrap();
    assert!(copies.iter().any(|copy| copy["kind"] == "kept"), "{history:#}");
    drop(daemon);
    home.still_has(&misplaced, "the misplaced file");
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    home.still_has(&misplaced, "the misplaced file");
    home.run(&["doctor"]).ends_with(0);
}

#[test]
fn no_daemon_starts_where_a_symlink_makes_both_configs_one_file() {
    let home = Home::settled();
    let app = home.bytes(CONFIG);
    symlink("../config.json", home.path(OWN_CONFIG)).unwrap();
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7).json();
    assert!(diagnostic(&said, "daemon.config-is-the-apps").is_some(), "{said:#}");
    assert_eq!(said["data"]["daemon"]["state"], "none");
    assert_eq!(home.bytes(CONFIG), app);
    run(&mut home.with_daemon(&["launch", "--no-daemon"])).ends_with(0);
}

const ROSTER: &str = ".myownllm/.myownmesh/mesh/rosters/home-mesh.json";
const STATE: &str = ".myownllm/.myownmesh/mesh/states/home-mesh.json";

fn with_byte_order_mark(bytes: &[u8]) -> Vec<u8> {
    [b"\xef\xbb\xbf", bytes].concat()
}

#[rstest]
#[case::byte_order_mark(with_byte_order_mark, true)]
#[case::trailing_zeros(|bytes: &[u8]| [bytes, b"\0\0\0"].concat(), true)]
#[case::torn(|bytes: &[u8]| bytes[..20].to_vec(), false)]
#[case::empty(|_: &[u8]| Vec::new(), false)]
#[case::no_member(|_: &[u8]| b"{}".to_vec(), false)]
fn peers_that_a_daemon_cannot_read_are_kept_before_it_starts(
    #[case] damage: fn(&[u8]) -> Vec<u8>,
    #[case] is_mended: bool,
    #[values(ROSTER, STATE)] path: &str,
    #[values(false, true)] by_repair: bool,
) {
    let home = with_daemon_config();
    let (whole, whole_json) = (home.bytes(path), home.json(path));
    let damaged = damage(&whole);
    home.put(path, &damaged, 0o600);
    let tree = home.snapshot();
    home.run(&["doctor", "--json"]).ends_with(0).check("state.damaged");
    assert_eq!(home.snapshot(), tree, "nothing is written by looking");

    let mends = match by_repair {
        true => run(&mut home.with_daemon(&["repair", "--json"])),
        false => run(&mut home.with_daemon(&["launch", "--once", "--json"])),
    };
    let said = mends.ends_with(0).json();
    assert!(diagnostic(&said, "state.set-aside").is_some(), "{said:#}");
    assert!(by_repair || said["data"]["outcome"] == "repaired", "{said:#}");
    assert!(!home.has(&format!("{path}.corrupt")), "the daemon could read what it found");
    assert_eq!(home.bytes(&format!("{path}.set-aside-1")), damaged);
    if is_mended {
        assert_eq!(home.json(path), whole_json, "the peers are still approved");
    }
    home.run(&["doctor"]).ends_with(0);
    let again = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(diagnostic(&again, "state.set-aside"), None);

    let other = with_byte_order_mark(&whole);
    home.put(path, &other, 0o600);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(home.bytes(&format!("{path}.set-aside-1")), damaged, "nothing is written over it");
    assert_eq!(home.bytes(&format!("{path}.set-aside-2")), other);
}

/// A daemon that does not know the version refuses the network; one that does not know a word drops
/// the file.
#[rstest]
#[case::version(|file: &mut Value| file["version"] = json!(9))]
#[case::word(|file: &mut Value| match file.pointer_mut("/authorized_devices/0") {
    Some(device) => device["role"] = json!("moderator"),
    None => file["kind"] = json!("moderated"),
})]
fn roster_of_a_newer_daemon_is_copied_once_and_reported(
    #[case] change: fn(&mut Value),
    #[values(ROSTER, STATE)] path: &str,
    #[values("launch --once", "repair")] command: &str,
) {
    let home = with_daemon_config();
    let mut newer = home.json(path);
    change(&mut newer);
    newer["later"] = "kept".into();
    let newer = newer.to_string().into_bytes();
    home.put(path, &newer, 0o600);
    let doctor = home.run(&["doctor", "--json"]).ends_with(0).json();
    assert!(doctor["data"]["checks"].to_string().contains("state.newer"), "{doctor:#}");
    let args: Vec<&str> = command.split(' ').chain(["--json"]).collect();
    let reported =
        || diagnostic(&run(&mut home.with_daemon(&args)).ends_with(0).json(), "state.newer").is_some();
    assert!(reported());
    assert_eq!(home.bytes(&format!("{path}.set-aside-1")), newer);
    assert!(!reported());
    assert!(!home.has(&format!("{path}.set-aside-2")));
    let doctor = home.run(&["doctor", "--json"]).ends_with(0).json();
    // The daemon drops a state with an unknown word.
    let is_there = home.has(path) && home.bytes(path) == newer;
    let is_told = doctor["data"]["checks"].to_string().contains("is a copy of it");
    assert_eq!(is_told, is_there, "{doctor:#}");
}

/// A newer daemon would read the file, so it stays.
#[test]
fn word_that_no_known_daemon_knows_is_reported() {
    let home = with_daemon_config();
    let network = json!({"id": "net-1", "network_id": "home-mesh", "kind": "moderated"});
    home.edit(OWN_CONFIG, |config| config["networks"] = json!([network]));
    for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"]] {
        let said = run(&mut home.with_daemon(args)).ends_with(0).json();
        let reported = diagnostic(&said, "daemon.config-newer").unwrap_or_else(|| panic!("{said:#}"));
        assert!(reported["message"].as_str().unwrap().contains("/networks/0/kind"), "{said:#}");
        assert_eq!(reported["severity"], "warning");
    }
}

/// The daemon runs on its defaults by now: which of the two configs is right, only the user knows.
#[test]
fn config_that_a_daemon_put_aside_is_named_if_its_settings_are_not_in_use() {
    let home = with_daemon_config();
    let corrupt = format!("{OWN_CONFIG}.corrupt");
    let mut former = home.json(OWN_CONFIG);
    let said = |args: &[&str]| run(&mut home.with_daemon(args)).stdout;
    let aside = |number| format!("config.json.corrupt.set-aside-{number}");
    // The same settings are in use.
    home.put(&corrupt, format!("{former},").as_bytes(), 0o600);
    assert!(!said(&["doctor"]).contains("config.json.corrupt"));
    assert!(!said(&["launch", "--once", "--json"]).contains(&aside(1)));
    former["daemon"]["log_level"] = "trace".into();
    home.put(&corrupt, format!("{former},").as_bytes(), 0o600);
    assert!(said(&["doctor"]).contains("its settings are not in use (daemon)"));
    assert!(said(&["launch", "--once", "--json"]).contains(&aside(2)));
}

#[rstest]
#[case::config(OWN_CONFIG)]
#[case::roster(ROSTER)]
#[case::state(STATE)]
fn file_that_a_daemon_put_aside_is_not_overwritten(#[case] path: &str) {
    let home = with_daemon_config();
    let corrupt = format!("{path}.corrupt");
    for number in 1..=2 {
        let content = format!("the only copy of peers, {number}");
        home.put(&corrupt, content.as_bytes(), 0o600);
        run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
        assert!(!home.has(&corrupt));
        assert_eq!(home.bytes(&format!("{corrupt}.set-aside-{number}")), content.as_bytes());
    }
}

/// The daemon that starts next would rename such a file, and start at its defaults.
#[rstest]
#[case::wrong_type(r#""log_level": "#, r#""log_level": 5, "was": "#)]
#[case::duplicate(r#""version": 1,"#, r#""version": 1, "version": 1,"#)]
fn repair_publishes_a_half_that_a_daemon_reads(#[case] from: &str, #[case] to: &str) {
    let home = Home::after_the_bug();
    let overwritten = String::from_utf8(home.bytes(CONFIG)).unwrap();
    assert!(overwritten.contains(from), "{overwritten}");
    home.put(CONFIG, overwritten.replacen(from, to, 1).as_bytes(), 0o600);
    home.run(&["repair"]).ends_with(0);
    assert!(DaemonFile::Config.is_readable(&home.bytes(&format!("{MESH}/config.json"))));
    let doctor = home.run(&["doctor"]).stdout;
    assert!(!doctor.contains("daemon.config"), "{doctor}");
}
