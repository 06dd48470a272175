//! Tests a file in the place of the daemon's config that is not the daemon's, on the simulated
//! disk.
#![expect(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, FileShape, SetAside, Store, StoreError};
use myownllm_durable_fs::Disk;
use myownllm_durable_fs::sim::SimDisk;
use rstest::rstest;
use serde_json::{Value, json};

/// Returns a home with a healthy app config, and with these bytes in the place of the daemon's
/// config.
fn home_with(daemon_config: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put(CONFIG, &healthy("here"));
    launch(&disk, &sim_paths()).unwrap();
    disk.put_dir(DAEMON_HOME, 0o700);
    disk.put(DAEMON_CONFIG, daemon_config);
    disk.flush_all();
    disk
}

fn with_store<T>(disk: &SimDisk, act: impl FnOnce(&Store<'_>) -> T) -> T {
    let clock = FakeClock::default();
    act(&Store::new(disk, &clock, sim_paths(), &*SCHEMA))
}

fn set_aside(disk: &SimDisk) -> Result<Option<SetAside>, StoreError> {
    with_store(disk, |store| store.lock(Duration::ZERO).unwrap().set_misplaced_aside())
}

fn json_at(disk: &SimDisk, path: &str) -> Value {
    Document::parse(&disk.content(path).unwrap()).unwrap().document.root().to_value()
}

/// Returns an app config with keys of the daemon's.
fn mixed() -> Vec<u8> {
    let mut value = Document::parse(&healthy("there")).unwrap().document.root().to_value();
    value["version"] = json!(3);
    value["identity_path"] = json!("/keys/identity.json");
    value["networks"] = json!([{ "id": "d", "network_id": "theirs" }]);
    value["daemon"] = json!({ "log_level": "debug" });
    value.to_string().into_bytes()
}

#[rstest]
#[case::app(healthy("there"), FileShape::App)]
#[case::one_key_of_the_app(br#"{"active_family":"qwen3"}"#.to_vec(), FileShape::App)]
#[case::empty_object(b"{}".to_vec(), FileShape::Unknown)]
#[case::strange_object(br#"{"kind":"myownllm.network-settings"}"#.to_vec(), FileShape::Unknown)]
#[case::empty_file(Vec::new(), FileShape::Corrupt)]
#[case::garbage(b"\0\0\0\0".to_vec(), FileShape::Corrupt)]
#[case::array(b"[1]".to_vec(), FileShape::Corrupt)]
fn misplaced_file_is_a_backup_before_its_place_is_empty(#[case] bytes: Vec<u8>, #[case] shape: FileShape) {
    let disk = home_with(&bytes);
    assert_eq!(with_store(&disk, |store| store.misplaced()).unwrap().shape, shape);
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), bytes, "to judge it changes nothing");
    let done = set_aside(&disk).unwrap().unwrap();
    assert_eq!((done.misplaced.shape, &done.restored_from), (shape, &None));
    assert_eq!(disk.content(DAEMON_CONFIG), None);
    let kept =
        backups(&disk).into_iter().find(|(path, _)| path.file_stem().unwrap() == &*done.backup.to_string());
    assert_eq!(kept.unwrap().1, bytes);
    // The same holds after a power cut: nothing is pending, and no temporary file is left.
    for after in disk.crash_states(8, 1) {
        assert!(is_kept(&after, &bytes) && after.content(DAEMON_CONFIG).is_none());
        assert_eq!(set_aside(&after).unwrap(), None);
        assert_eq!(after.list(Path::new(DAEMON_HOME)).unwrap().len(), 0);
    }
}

#[rstest]
#[case::version_1(OVERWRITTEN_V1)]
#[case::version_3(OVERWRITTEN_V3)]
#[case::one_key(br#"{"daemon":{"log_level":"debug"}}"#)]
#[case::shared_key(br#"{"auto_update":{"enabled":false}}"#)]
#[case::newer(br#"{"version":9,"api":{}}"#)]
fn daemons_own_config_is_not_touched(#[case] bytes: &[u8]) {
    let disk = home_with(bytes);
    disk.reset_ops();
    assert_eq!(with_store(&disk, |store| store.misplaced()), None);
    assert_eq!(set_aside(&disk).unwrap(), None);
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), bytes);
}

#[test]
fn daemons_part_of_a_mixed_file_stays_and_names_the_identity_file() {
    let disk = home_with(&mixed());
    let done = set_aside(&disk).unwrap().unwrap();
    assert_eq!(done.misplaced.shape, FileShape::Mixed);
    assert_eq!(done.misplaced.daemon_keys, ["version", "identity_path", "daemon", "networks"]);
    let left = json_at(&disk, DAEMON_CONFIG);
    assert_eq!(left["identity_path"], "/keys/identity.json");
    assert_eq!(left["networks"][0]["network_id"], "theirs");
    assert_eq!((&left["providers"], &left["cloud_mesh"]), (&Value::Null, &Value::Null));
    assert!(is_kept(&disk, &mixed()));
    assert_eq!(with_store(&disk, |store| store.misplaced()), None, "it is the daemon's now");
}

#[rstest]
#[case::byte_order_mark(
    b"\xef\xbb\xbf{\"version\":3,\"daemon\":{\"log_level\":\"debug\"}}",
    json!({ "version": 3, "daemon": { "log_level": "debug" } })
)]
#[case::duplicate_member(br#"{"version":2,"version":3}"#, json!({ "version": 3 }))]
#[case::version_as_a_string(
    br#"{"version":"3","daemon":{"log_level":"debug"}}"#,
    json!({ "daemon": { "log_level": "debug" } })
)]
#[case::latin1(
    b"{\"daemon\":{\"log_level\":\"caf\xe9\"}}",
    json!({ "daemon": { "log_level": "caf\u{fffd}" } })
)]
#[case::shared_key(
    b"\xef\xbb\xbf{\"auto_update\":{\"enabled\":false}}",
    json!({ "auto_update": { "enabled": false } })
)]
fn config_that_no_daemon_can_read_is_mended(#[case] damaged: &[u8], #[case] mended: Value) {
    let disk = home_with(damaged);
    let done = set_aside(&disk).unwrap().unwrap();
    assert_eq!(done.misplaced.shape, FileShape::Daemon);
    assert_eq!(json_at(&disk, DAEMON_CONFIG), mended);
    assert!(is_kept(&disk, damaged));
    assert_eq!(with_store(&disk, |store| store.misplaced()), None, "a daemon can read it now");
}

#[test]
fn whole_members_of_a_torn_file_stay() {
    let torn = br#"{"version":3,"identity_path":"/keys/identity.json","daemon":{"log_le"#;
    let disk = home_with(torn);
    let done = set_aside(&disk).unwrap().unwrap();
    assert_eq!((done.misplaced.shape, done.misplaced.daemon_keys.len()), (FileShape::Corrupt, 2));
    assert_eq!(
        json_at(&disk, DAEMON_CONFIG),
        json!({ "version": 3, "identity_path": "/keys/identity.json" })
    );
    assert!(is_kept(&disk, torn));
}

#[test]
fn configs_that_have_changed_places_are_each_put_right() {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put_dir(DAEMON_HOME, 0o700);
    disk.put(CONFIG, OVERWRITTEN_V3);
    disk.put(DAEMON_CONFIG, &healthy("there"));
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(applied.unwrap().report.restored_from.as_deref(), Some(&*spelled(".myownmesh/config.json")));
    let done = set_aside(&disk).unwrap().unwrap();
    assert!(done.restored_from.unwrap().to_string().starts_with("daemon-"));
    assert_eq!(json_at(&disk, CONFIG)["mark"], "there");
    assert_eq!(json_at(&disk, DAEMON_CONFIG)["version"], 3);
    assert!(is_kept(&disk, OVERWRITTEN_V3) && is_kept(&disk, &healthy("there")));
}

#[rstest]
#[case::missing(None)]
#[case::garbage(Some(b"{\"".as_slice()))]
#[case::wiped(Some(b"{}".as_slice()))]
fn misplaced_app_config_is_the_last_source_of_a_repair(
    #[case] config: Option<&[u8]>,
    #[values(false, true)] backed_up: bool,
) {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put_dir(DAEMON_HOME, 0o700);
    if backed_up {
        disk.put(CONFIG, &healthy("here"));
        launch(&disk, &sim_paths()).unwrap();
        disk.remove(CONFIG);
    }
    disk.put(DAEMON_CONFIG, &mixed());
    if let Some(bytes) = config {
        disk.put(CONFIG, bytes);
    }
    launch(&disk, &sim_paths()).unwrap();
    let now = json_at(&disk, CONFIG);
    assert_eq!(now["mark"], if backed_up { "here" } else { "there" });
    assert_eq!(
        (&now["version"], &now["networks"]),
        (&Value::Null, &Value::Null),
        "without the daemon's keys"
    );
}

#[test]
fn config_that_a_symlink_makes_both_is_left_alone() {
    let disk = home_with(b"{}");
    disk.remove(DAEMON_CONFIG);
    disk.put_link(DAEMON_CONFIG, "../config.json");
    assert_eq!(with_store(&disk, |store| store.misplaced()), None);
    assert_eq!(set_aside(&disk).unwrap(), None);
    assert_eq!(disk.content(CONFIG).unwrap(), healthy("here"));
}

#[test]
fn symlink_is_moved_aside_and_what_it_leads_to_is_not_touched() {
    let disk = home_with(b"{}");
    disk.remove(DAEMON_CONFIG);
    disk.put("/home/u/.myownllm/elsewhere.json", &healthy("there"));
    disk.put_link(DAEMON_CONFIG, "../elsewhere.json");
    disk.put("/home/u/.myownllm/.myownmesh/config.json.aside", b"somebody's");
    set_aside(&disk).unwrap().unwrap();
    assert_eq!(disk.content("/home/u/.myownllm/elsewhere.json").unwrap(), healthy("there"));
    assert!(disk.stat(Path::new(DAEMON_CONFIG)).is_err());
    assert!(disk.stat("/home/u/.myownllm/.myownmesh/config.json.aside-2".as_ref()).unwrap().is_symlink());
}

#[test]
fn kept_while_a_daemon_runs_is_a_backup_and_stays() {
    let disk = home_with(&healthy("there"));
    for _ in 0..2 {
        with_store(&disk, |store| store.lock(Duration::ZERO).unwrap().keep_misplaced()).unwrap().unwrap();
        assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), healthy("there"));
    }
    let kept = backup_names(&disk).into_iter().filter(|name| kind_of(name) == "kept").count();
    assert_eq!(kept, 1, "one backup of each content");
}

/// Killed, or cut off from power, before each operation: the file is in its place or among the
/// backups, and the next run finishes.
#[rstest]
#[case::healthy(healthy("there"))]
#[case::mixed(mixed())]
fn no_instant_loses_a_misplaced_file(#[case] bytes: Vec<u8>) {
    let whole = home_with(&bytes);
    whole.reset_ops();
    set_aside(&whole).unwrap();
    let number = whole.op_count();
    assert!(number > 10);
    for at in 0..number {
        let disk = home_with(&bytes);
        with_store(&disk, |store| {
            let locked = store.lock(Duration::ZERO).unwrap();
            disk.reset_ops();
            disk.crash_at(at);
            let _ = locked.set_misplaced_aside();
        });
        let states = disk.crash_states(8, 1);
        for after in states.into_iter().chain([disk.after_kill()]) {
            assert!(contents(&after).contains(&bytes), "lost at {at}");
            set_aside(&after).unwrap();
            assert_eq!(with_store(&after, |store| store.misplaced()), None);
            assert!(is_kept(&after, &bytes), "not kept after {at}");
        }
    }
}
