//! The files that a repair takes the settings from: backups, copies and renamed files.

use std::io::ErrorKind;
use std::path::Path;

use crate::common::scenes::home;
use crate::common::{
    APP, BACKUPS, CONFIG, FakeClock, OVERWRITTEN_V3, SCHEMA, hash_of, healthy, is_kept, launch, launch_with,
    sim_paths,
};
use crate::{live, load, of_kind, reported, seen_healthy, text, with_config, with_crlf};
use myownllm_config_model::Document;
use myownllm_config_store::{AppSchema as _, FileShape, Limits, Store};
use myownllm_durable_fs::sim::{Fault, SimDisk};
use myownllm_durable_fs::{Op, sim_path};
use rstest::rstest;
use serde_json::json;

const SIBLING: &str = sim_path!("/home/u/.myownllm/config.json.corrupt");

#[test]
fn damaged_backup_is_skipped_for_an_older_one() {
    let disk = seen_healthy(&healthy("old"));
    disk.put(CONFIG, &healthy("new"));
    launch(&disk, &sim_paths()).unwrap();
    let newest = format!("{BACKUPS}/{}", of_kind(&disk, "good").last().unwrap().0);
    disk.put(&newest, b"{\"rot\"");
    disk.put(CONFIG, b"");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("old"));
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.copy-damaged"));
}

fn with_bom(config: &[u8]) -> Vec<u8> {
    [b"\xef\xbb\xbf", config].concat()
}

fn in_utf16(config: &[u8]) -> Vec<u8> {
    let text = format!("\u{feff}{}", String::from_utf8_lossy(config));
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[rstest]
#[case::line_ends(with_crlf)]
#[case::byte_order_mark(with_bom)]
#[case::utf16(in_utf16)]
fn backup_that_another_program_changed_is_used_if_no_other_has_the_settings(
    #[case] change: fn(&[u8]) -> Vec<u8>,
    #[values(OVERWRITTEN_V3, b"", b"{\"torn", b"{}")] config: &[u8],
) {
    let disk = seen_healthy(&healthy("mine"));
    let (name, bytes) = of_kind(&disk, "good").remove(0);
    disk.put(format!("{BACKUPS}/{name}"), &change(&bytes));
    disk.put(CONFIG, config);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
    let reported = loaded.diagnostics.iter().filter(|d| d.code == "store.copy-damaged").count();
    assert_eq!((reported, loaded.report.reset_keys.as_slice()), (1, &[][..]));
}

#[rstest]
fn backup_under_another_name_is_used_if_no_other_has_the_settings(
    #[values("{} (1).json", "{}.JSON", "{}.json.bak", "Copy of {}.json")] renamed: &str,
    #[values(OVERWRITTEN_V3, b"")] config: &[u8],
) {
    let disk = seen_healthy(&healthy("mine"));
    let (name, bytes) = of_kind(&disk, "good").remove(0);
    let renamed = renamed.replace("{}", name.strip_suffix(".json").unwrap());
    disk.remove(format!("{BACKUPS}/{name}"));
    disk.put(format!("{BACKUPS}/{renamed}"), &bytes);
    disk.put(CONFIG, config);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, Some(renamed));
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
}

#[rstest]
fn copy_of_the_config_under_another_name_is_used_if_no_backup_has_the_settings(
    #[values(
        "config.json.bak",
        "config.json~",
        "Config (1).json",
        "Copy of config.json",
        "config-backups (1)/any",
        "config-backups.bak/000001-good-0.json"
    )]
    name: &str,
    #[values(OVERWRITTEN_V3, b"", b"{}")] config: &[u8],
) {
    let disk = with_config(config);
    let path = Path::new(CONFIG).with_file_name(name);
    disk.put_dir(path.parent().unwrap(), 0o700);
    disk.put(&path, &healthy("mine"));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(name));
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
    assert_eq!(disk.content(&path), Some(healthy("mine")), "the copy stays");
}

/// Returns a config of the user's that has keys of a daemon too.
fn mixed() -> Vec<u8> {
    let mut mixed = Document::parse(&healthy("mine")).unwrap().document;
    let networks = json!([{"id": "n1", "network_id": "office"}]);
    for (key, value) in [("version", json!(3)), ("daemon", json!({})), ("networks", networks)] {
        mixed.set(&[key], value);
    }
    mixed.set(&["active_family"], json!("of the user"));
    mixed.to_bytes()
}

#[rstest]
#[case::beside_the_config("config.json.bak")]
#[case::set_aside_by_hand("config.json.aside")]
#[case::in_a_copy_of_the_backups("config-backups (1)/any")]
fn app_half_of_a_mixed_copy_is_used_if_no_other_has_the_settings(
    #[case] name: &str,
    #[values(OVERWRITTEN_V3, b"", b"{}")] config: &[u8],
) {
    let disk = with_config(config);
    let path = Path::new(CONFIG).with_file_name(name);
    disk.put_dir(path.parent().unwrap(), 0o700);
    disk.put(&path, &mixed());
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(name));
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("of the user"));
    assert_eq!(load(&disk).unwrap().shape, FileShape::App);
}

#[test]
fn app_half_of_a_mixed_config_that_was_set_aside_is_used_after_configs_of_the_app_alone() {
    let disk = seen_healthy(&mixed());
    for (name, _) in of_kind(&disk, "good") {
        disk.remove(format!("{BACKUPS}/{name}"));
    }
    disk.put(CONFIG, b"");
    let (loaded, _) = launch(&disk.clone(), &sim_paths()).unwrap();
    assert_eq!(text(&loaded.document.to_bytes(), "active_family").as_deref(), Some("of the user"));
    disk.put(Path::new(CONFIG).with_file_name("config.json.bak"), &healthy("alone"));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some("config.json.bak"));
}

/// A comma too many, as a hand leaves it.
fn with_comma(config: &[u8]) -> Vec<u8> {
    [&config[..config.iter().rposition(|byte| *byte == b'}').unwrap()], b",}"].concat()
}

fn cut_off(config: &[u8]) -> Vec<u8> {
    config[..config.len() - 12].to_vec()
}

/// Puts a config of the user's at `path` and checks that a launch takes the settings from it, under
/// the name `source`.
#[track_caller]
fn check_source(config: &[u8], (path, source): (&str, &str), change: fn(&[u8]) -> Vec<u8>) {
    let disk = with_config(config);
    disk.put_dir("/home/u/.myownllm/.myownmesh", 0o700);
    let mut lost = Document::parse(&healthy("mine")).unwrap().document;
    lost.set(&["active_family"], json!("of the user"));
    lost.set(&["last"], json!(true));
    disk.put(path, &change(&lost.to_bytes()));
    // A config that was set aside hides no other source if it has no setting of the user's.
    let defaults = SCHEMA.defaults().to_bytes();
    disk.put_dir(BACKUPS, 0o700);
    disk.put(format!("{BACKUPS}/kept-00000001-{}.json", hash_of(&defaults)), &defaults);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(source));
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("of the user"));
}

/// The daemon's parser refuses a whole config of the app's too.
#[rstest]
fn config_that_a_daemon_could_not_parse_and_renamed_is_used(
    #[values("/home/u/.myownllm/config.json.corrupt", "/home/u/.myownllm/.myownmesh/config.json.corrupt")]
    path: &str,
    #[values(<[u8]>::to_vec, with_comma, cut_off, in_utf16)] change: fn(&[u8]) -> Vec<u8>,
    #[values(OVERWRITTEN_V3, b"")] config: &[u8],
) {
    check_source(config, (path, "config.json.corrupt"), change);
}

/// An app, or a sync, may have put a part of the app's config there.
#[rstest]
#[case::about_to_be_written("/home/u/.myownllm/config.json.tmp", "config.json.tmp")]
#[case::in_the_daemons_place("/home/u/.myownllm/.myownmesh/config.json", ".myownmesh/config.json")]
fn torn_config_in_another_place_gives_its_members(
    #[case] path: &str,
    #[case] name: &str,
    #[values(with_comma, cut_off)] change: fn(&[u8]) -> Vec<u8>,
) {
    check_source(b"", (path, name), change);
}

#[rstest]
fn torn_backup_gives_its_members_if_no_other_file_has_the_settings(
    #[values(OVERWRITTEN_V3, b"", b"{\"torn", b"{}")] config: &[u8],
) {
    let mut rich = Document::parse(&healthy("mine")).unwrap().document;
    rich.set(&["last"], json!("the part that is torn off"));
    let disk = seen_healthy(&rich.to_bytes());
    let (name, bytes) = of_kind(&disk, "good").remove(0);
    disk.put(format!("{BACKUPS}/{name}"), &cut_off(&bytes));
    disk.put(CONFIG, config);
    let loaded = load(&disk).unwrap();
    assert_eq!(loaded.report.restored_from, name.strip_suffix(".json").map(str::to_owned));
    assert!(reported(&loaded, "store.recovered").message.contains(&name));
    assert!(loaded.diagnostics.iter().all(|found| !found.message.contains("no backup")), "{loaded:?}");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
}

#[test]
fn later_file_that_is_used_instead_of_a_backup_is_named() {
    let disk = seen_healthy(&healthy("newest"));
    disk.put("/home/u/.myownllm/config.json.corrupt", &healthy("a year old"));
    disk.put(CONFIG, OVERWRITTEN_V3);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some("config.json.corrupt"));
    let reported = loaded.diagnostics.iter().find(|found| found.code == "store.later-file").unwrap();
    assert!(reported.message.contains("backup 1"), "{reported:?}");
    assert_eq!(reported.hint.as_deref(), Some("myownllm-mesh config restore 1"));
}

/// The renamed file holds both halves: it is repaired as the config itself would be.
#[rstest]
fn mixed_config_that_a_daemon_renamed_is_used(
    #[values("corrupt", "tmp")] ending: &str,
    #[values(<[u8]>::to_vec, with_comma)] change: fn(&[u8]) -> Vec<u8>,
) {
    let disk = with_config(br#"{"version": 3, "daemon": {}, "networks": []}"#);
    disk.put(format!("/home/u/.myownllm/config.json.{ending}"), &change(&mixed()));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    let name = format!("config.json.{ending}");
    assert_eq!(loaded.report.restored_from.as_deref(), Some(&*name));
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("of the user"));
    let config = Document::parse(&live(&disk)).unwrap().document;
    let saved = myownllm_config_model::networks::saved(&config);
    assert!(saved.iter().any(|network| network.network_id == "office"), "{saved:?}");
}

/// A daemon had overwritten the config already when a second one could not parse it. Then that
/// daemon wrote a new one, or it did not.
#[rstest]
fn networks_of_an_overwritten_config_that_a_daemon_renamed_come_back(
    #[values(<[u8]>::to_vec, with_comma, cut_off)] change: fn(&[u8]) -> Vec<u8>,
    #[values(Some(r#"{"version": 3, "daemon": {}, "networks": []}"#), Some(""), None)] config: Option<&str>,
    #[values("corrupt", "tmp")] ending: &str,
) {
    let lost = json!({"version": 3, "daemon": {}, "networks": [{"id": "n1", "network_id": "office"}],
        "identity_path": null, "last": true});
    let disk = home();
    if let Some(config) = config {
        disk.put(CONFIG, config.as_bytes());
    }
    disk.put(format!("/home/u/.myownllm/config.json.{ending}"), &change(lost.to_string().as_bytes()));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.recovered_networks, ["office"]);
    let config = Document::parse(&live(&disk)).unwrap().document;
    let saved = myownllm_config_model::networks::saved(&config);
    assert_eq!(saved.iter().map(|network| &*network.network_id).collect::<Vec<_>>(), ["office"]);
}

#[rstest]
#[case::alone(None)]
#[case::beside_a_leaked_config(Some(OVERWRITTEN_V3))]
#[case::beside_an_empty_config(Some(b"".as_slice()))]
fn file_that_a_daemon_moved_aside_is_a_source(
    #[case] leaked: Option<&[u8]>,
    #[values(".corrupt", ".tmp")] end: &str,
) {
    let disk = home();
    disk.put(format!("{CONFIG}{end}"), APP);
    if let Some(bytes) = leaked {
        disk.put(CONFIG, bytes);
    }
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(format!("config.json{end}").as_str()));
    assert!(loaded.pending.repairs(), "it is not a fresh install");
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("qwen3"));
    assert_eq!(disk.content(format!("{CONFIG}{end}")).unwrap(), APP, "it stays");
}

#[rstest]
#[case::leaked(OVERWRITTEN_V3)]
#[case::torn(b"{")]
#[case::empty(b"{}")]
fn file_that_a_daemon_moved_aside_is_no_source_unless_it_is_the_apps(#[case] bytes: &[u8]) {
    let disk = home();
    disk.put(SIBLING, bytes);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, None);
}

#[rstest]
#[case::directory(|disk: &SimDisk, path: String| disk.put_dir(path, 0o700))]
#[case::pipe(|disk: &SimDisk, path: String| disk.put_pipe(path))]
fn directory_named_like_a_moved_aside_config_is_no_source(
    #[case] put: fn(&SimDisk, String),
    #[values(".corrupt", ".tmp")] end: &str,
    #[values(OVERWRITTEN_V3, b"")] config: &[u8],
) {
    let disk = with_config(config);
    put(&disk, format!("{CONFIG}{end}"));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, None);
}

#[test]
fn moved_aside_config_that_cannot_be_read_is_named() {
    let disk = with_config(OVERWRITTEN_V3);
    let aside = format!("{CONFIG}.tmp");
    disk.put(&aside, APP);
    disk.reset_ops();
    load(&disk).unwrap();
    let from = disk.ops().iter().position(|op| op.op == Op::Read && op.path == Path::new(&aside)).unwrap();
    disk.reset_ops();
    disk.fail(Fault { from, ..Fault::always(Op::Read, ErrorKind::PermissionDenied) });
    let error = load(&disk).unwrap_err();
    assert_eq!((error.code(), error.path()), ("store.copy-unreadable", Path::new(&aside)));
    assert!(error.hint().unwrap().starts_with("chmod u+r "), "{error:?}");
}

#[test]
fn newer_of_backup_and_moved_aside_file_wins() {
    let later = seen_healthy(&healthy("copied"));
    later.put(SIBLING, &healthy("changed since"));
    later.remove(CONFIG);
    launch(&later, &sim_paths()).unwrap();
    assert_eq!(text(&live(&later), "mark").as_deref(), Some("changed since"));

    let earlier = with_config(&healthy("copied"));
    earlier.put(SIBLING, &healthy("lay there before"));
    launch(&earlier, &sim_paths()).unwrap();
    earlier.remove(CONFIG);
    launch(&earlier, &sim_paths()).unwrap();
    assert_eq!(text(&live(&earlier), "mark").as_deref(), Some("copied"));
}

#[test]
fn a_clock_that_goes_backwards_does_not_change_the_order() {
    // The simulated disk gives later and later times to its files. The order must come from the
    // names alone, so two backups get names and times that disagree.
    let disk = seen_healthy(&healthy("old"));
    disk.put(CONFIG, &healthy("new"));
    launch(&disk, &sim_paths()).unwrap();
    let good = of_kind(&disk, "good");
    disk.put(format!("{BACKUPS}/{}", good[0].0), &good[0].1); // written again: it has the later time now
    disk.put(CONFIG, b"");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("new"));
}

/// A backup, or a file that a daemon moved aside, is no source if it is larger than any config.
#[test]
fn file_larger_than_the_limit_is_no_source() {
    let long = healthy(&"long".repeat(1000));
    for path in [SIBLING.to_owned(), format!("{BACKUPS}/good-00000009-{}.json", hash_of(&long))] {
        let disk = with_config(b"{\"torn");
        disk.put(&path, &long);
        let clock = FakeClock::default();
        let limits = Limits { config_bytes: long.len() as u64 - 1, ..Limits::default() };
        let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
        launch_with(&store).unwrap();
        assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("gemma4"), "{path}");
        assert!(is_kept(&disk, b"{\"torn"));
    }
}
