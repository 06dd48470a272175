//! Tests a config that parses and has suddenly lost the user's settings, on the simulated disk.
#![expect(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

mod common;

mod wipe {
    pub(crate) mod leftovers;
}

use std::io::ErrorKind;
use std::path::Path;

use common::*;
use myownllm_config_model::app_config::{self, Loss};
use myownllm_config_model::{Diagnostic, Document, Severity, networks};
use myownllm_config_store::{
    BackupId, ConfigStore, FileShape, HistoryEntry, Loaded, Restored, Step, Store, StoreError,
};
use myownllm_durable_fs::Op;
use myownllm_durable_fs::sim::{Fault, SimDisk};
use rstest::rstest;
use serde_json::{Value, json};
use wipe::leftovers::{PART, home_with_leftover};

/// Returns a home whose config was healthy and had many settings.
fn rich_home() -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put(CONFIG, &healthy("rich"));
    launch(&disk, &sim_paths()).unwrap();
    disk.reset_ops();
    disk
}

fn store_on<'d>(disk: &'d SimDisk, clock: &'d FakeClock) -> Store<'d> {
    Store::new(disk, clock, sim_paths(), &*SCHEMA)
}

fn load(disk: &SimDisk) -> Result<Loaded, StoreError> {
    store_on(disk, &FakeClock::default()).load(&mut ids())
}

fn history(disk: &SimDisk) -> Vec<HistoryEntry> {
    store_on(disk, &FakeClock::default()).history().unwrap()
}

fn recommended(disk: &SimDisk) -> Option<BackupId> {
    let mut entries = history(disk).into_iter().filter(|entry| entry.recommended);
    let first = entries.next();
    assert!(entries.next().is_none(), "only one is recommended");
    first.map(|entry| entry.id)
}

fn restore(disk: &SimDisk, id: &BackupId) -> Restored {
    locked(&store_on(disk, &FakeClock::default())).restore(&mut ids(), id).unwrap()
}

#[rstest]
#[case::changed(|bytes: &mut Vec<u8>| bytes.push(b'\n'))]
#[case::torn(|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 12))]
fn changed_backup_is_recommended_if_no_intact_one_has_the_settings(#[case] change: fn(&mut Vec<u8>)) {
    let disk = rich_home();
    let (name, intact) = good(&disk).remove(0);
    let mut bytes = intact.clone();
    change(&mut bytes);
    disk.put(format!("{BACKUPS}/{name}.json"), &bytes);
    disk.put(CONFIG, b"{ }");
    let id = recommended(&disk).expect("the only backup");
    restore(&disk, &id);
    let before: Value = serde_json::from_slice(&intact).unwrap();
    assert_eq!(live(&disk)["active_family"], before["active_family"]);
    disk.put(CONFIG, &intact);
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, b"{ }");
    let id = recommended(&disk).unwrap();
    assert!(history(&disk).iter().any(|entry| entry.id == id && entry.intact), "an intact one comes first");
}

#[rstest]
#[case::foreign_keys(json!({"foo": 1, "bar": {"x": 2}, "version": 3}), 0)]
#[case::one_of_each(json!({"foo": 1, "active_family": "other"}), 1)]
fn settings_that_the_backup_does_not_have_are_not_counted_as_left(
    #[case] config: Value,
    #[case] left: usize,
) {
    let disk = rich_home();
    disk.put(CONFIG, config.to_string().as_bytes());
    let loaded = load(&disk).unwrap();
    assert_eq!(loaded.report.wiped.as_ref().map(|wipe| wipe.left), Some(left));
    let note = wiped_note(&loaded.diagnostics).unwrap();
    assert!(note.message.contains(&format!(": {left} of the ")), "{note:?}");
}

fn add_network(disk: &SimDisk, name: &str) -> Result<(), StoreError> {
    let mut edit = |doc: &mut Document| Ok(networks::add(doc, name, false, &mut ids())?.changed);
    locked(&store_on(disk, &FakeClock::default())).update(&mut ids(), &mut edit).map(drop)
}

fn live(disk: &SimDisk) -> Value {
    Document::parse(&disk.content(CONFIG).unwrap()).unwrap().document.root().to_value()
}

/// Returns the original config with an edit.
fn edited(edit: impl Fn(&mut Value)) -> Vec<u8> {
    let mut value = Document::parse(&healthy("rich")).unwrap().document.root().to_value();
    edit(&mut value);
    value.to_string().into_bytes()
}

/// Returns the config that the app writes for a user without settings, with some members changed.
fn fresh_with(extra: Value) -> Vec<u8> {
    let mut value = app_config::defaults("/home/u/.myownllm/conversations").root().to_value();
    value.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    value.to_string().into_bytes()
}

/// Returns the config that an older app writes after a daemon of version 3 overwrote the config: the
/// app's defaults, the settings of the daemon that both schemas have, and keys of the daemon.
fn recovered_by_older_app(keys: Value) -> Vec<u8> {
    let auto_cleanup = json!({"models": true, "transcribe_buffer": true, "legacy": true, "updates": false,
        "conversations": true});
    let auto_update = json!({"enabled": true, "channel": "stable", "auto_apply": "all",
        "check_interval_hours": 6, "stable_url": null, "beta_url": null});
    let mut value =
        json!({"auto_cleanup": auto_cleanup, "auto_update": auto_update, "model_cleanup_days": 7});
    value.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    fresh_with(value)
}

fn wiped_note(diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    diagnostics.iter().find(|found| found.code == "config.wiped")
}

fn good(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let of = |(path, bytes): (std::path::PathBuf, Vec<u8>)| {
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    backups(disk).into_iter().map(of).filter(|(name, _)| kind_of(name) == "good").collect()
}

#[rstest]
#[case::an_empty_object(b"{}".to_vec())]
#[case::with_a_blank(b"{ }".to_vec())]
#[case::over_lines(b"\n{\n\t\r\n}\n\n".to_vec())]
#[case::with_a_byte_order_mark(b"\xef\xbb\xbf{}".to_vec())]
#[case::one_key(br#"{"active_family":"qwen3"}"#.to_vec())]
#[case::one_empty_key(br#"{"providers":[]}"#.to_vec())]
#[case::an_empty_catalogue(br#"{"cloud_mesh":{"networks":[]}}"#.to_vec())]
#[case::only_the_defaults(fresh_with(json!({})))]
#[case::one_setting_among_the_defaults(fresh_with(json!({"active_family": "qwen3"})))]
#[case::settings_gone_and_networks_there(fresh_with(json!({"cloud_mesh": json!({"enabled": true,
    "networks": [{"id": "net-m1", "network_id": "home-mesh"}], "active_network_id": "net-m1"})})))]
#[case::recovered_by_an_older_app(recovered_by_older_app(json!({})))]
#[case::recovered_with_the_services(recovered_by_older_app(json!({"services": {"turn": {"port": 3478}}})))]
#[case::recovered_without_networks(recovered_by_older_app(json!({"version": 3, "daemon": {"enabled": true},
    "identity_path": null, "services": {"turn": {"port": 3478}}, "networks": []})))]
fn a_wiped_config_is_restored_from_the_backup(#[case] wiped: Vec<u8>) {
    let disk = rich_home();
    let before = live(&disk);
    let backup = good(&disk)[0].0.clone();
    disk.put(CONFIG, &wiped);
    disk.reset_ops();
    // A look returns a config to run on, reports the loss, and writes nothing.
    let loaded = load(&disk).unwrap();
    assert_eq!(changes(&disk), Vec::<String>::new());
    assert_eq!(loaded.document.get(&["model_cleanup_days"]).unwrap().as_f64(), Some(7.0));
    assert!(loaded.pending.repairs() && !loaded.pending.daemon_half());
    assert_eq!(loaded.report.restored_from.as_ref(), Some(&backup));
    let wipe = loaded.report.wiped.as_ref().unwrap();
    assert_eq!((wipe.loss, &wipe.backup), (Loss::Settings, &backup));
    assert!(wipe.left * 4 <= wipe.before, "{wipe:?}");
    let note = wiped_note(&loaded.diagnostics).unwrap();
    assert_eq!((note.severity, note.hint.as_deref()), (Severity::Warning, Some("myownllm-mesh repair")));
    let named = format!("in backup {} ", backup.parse::<BackupId>().unwrap().sequence());
    assert!(
        note.message.contains(&named) && note.message.contains("myownllm-mesh config accept"),
        "{}",
        note.message
    );
    assert_eq!(recommended(&disk).unwrap().to_string(), backup);
    // A wiped config cannot be edited.
    assert_eq!(add_network(&disk, "on-top").unwrap_err().code(), "store.repair-pending");
    // The repair restores the backup, and keeps the wiped bytes.
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    let applied = applied.unwrap();
    assert_eq!(live(&disk), before);
    assert!(is_kept(&disk, &wiped));
    let note = wiped_note(&applied.diagnostics).unwrap();
    let kept: BackupId = applied.report.backup.unwrap().parse().unwrap();
    assert!(
        note.message.contains(&format!("myownllm-mesh config restore {}", kept.sequence())),
        "{}",
        note.message
    );
    assert_eq!(good(&disk), [(backup, healthy("rich"))], "the wiped state is no good one");
    // The next look finds nothing to do.
    let again = load(&disk).unwrap();
    assert!(again.pending.is_empty() && wiped_note(&again.diagnostics).is_none());
    assert_eq!(recommended(&disk), None, "the wiped one is not recommended");
}

#[rstest]
#[case::one_of_two_networks_removed(edited(|v| {
    v["cloud_mesh"]["networks"].as_array_mut().unwrap().push(json!({"id": "x", "network_id": "second"}));
}), edited(|_| {}))]
#[case::a_section_reset(healthy("rich"),
    edited(|v| v["auto_cleanup"] = json!({"models": true, "transcribe_buffer": true,
    "legacy": true, "updates": true, "conversations": true})))]
#[case::a_section_missing(healthy("rich"), edited(|v| drop(v.as_object_mut().unwrap().remove("api"))))]
#[case::half_of_the_settings_reset(healthy("rich"), edited(|v| {
    for key in ["active_family", "active_mode", "kept_models", "model_cleanup_days", "providers"] {
        v.as_object_mut().unwrap().remove(key);
    }
}))]
#[case::few_settings_beside_keys_of_a_newer_app(
    fresh_with(json!({"active_family": "qwen3", "services": {"turn": 1}})),
    fresh_with(json!({"active_family": "llama", "services": {"turn": 1}, "theme": {"dark": true}})))]
#[case::settings_of_both_schemas_beside_old_services(
    recovered_by_older_app(json!({"services": {"turn": 1}, "active_family": "qwen3", "active_mode": "text"})),
    recovered_by_older_app(json!({"services": {"turn": 1}})))]
fn an_edit_is_no_wipe(#[case] before: Vec<u8>, #[case] after: Vec<u8>) {
    let disk = rich_home();
    for (path, _) in backups(&disk) {
        disk.remove(&path);
    }
    disk.put(CONFIG, &before);
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, &after);
    let loaded = load(&disk).unwrap();
    assert_eq!((loaded.report.wiped, loaded.report.restored_from), (None, None));
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(good(&disk).last().unwrap().1, disk.content(CONFIG).unwrap(), "it is the newest good state");
}

/// The user may have removed the networks, and only the user decides to join a network again: the
/// loss is only reported.
#[rstest]
#[case::an_empty_list_and_a_pointer_into_it(edited(|v| v["cloud_mesh"]["networks"] = json!([])))]
#[case::no_list(edited(|v| drop(v["cloud_mesh"].as_object_mut().unwrap().remove("networks"))))]
#[case::both_removed_at_once(edited(|v| {
    v["cloud_mesh"]["networks"] = json!([]);
    v["cloud_mesh"]["active_network_id"] = json!(null);
}))]
#[case::no_catalogue(edited(|v| drop(v.as_object_mut().unwrap().remove("cloud_mesh"))))]
fn lost_networks_are_named_and_not_joined_again(#[case] without: Vec<u8>) {
    let disk = rich_home();
    add_network(&disk, "second").unwrap();
    let (backup, bytes) = good(&disk).pop().unwrap();
    let backups = good(&disk);
    disk.put(CONFIG, &without);
    for run in ["first", "second"] {
        let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
        assert!(!loaded.pending.repairs());
        assert_eq!(loaded.report.wiped.as_ref().unwrap().loss, Loss::Networks, "{run}");
        let note = wiped_note(&loaded.diagnostics).unwrap();
        let id: BackupId = backup.parse().unwrap();
        assert_eq!(note.hint, Some(format!("myownllm-mesh config restore {}", id.sequence())));
        assert_eq!(good(&disk), backups, "what has lost them is no good state");
        assert_eq!(disk.content(CONFIG), Some(without.clone()), "a write would hide the loss");
        assert_eq!(recommended(&disk).unwrap().to_string(), backup);
    }
    // A user who keeps working with the config accepts the loss.
    add_network(&disk, "another").unwrap();
    assert!(load(&disk).unwrap().report.wiped.is_none());
    assert!(good(&disk).contains(&(backup, bytes)));
}

#[rstest]
#[case::an_empty_list(json!([]))]
#[case::entries_that_are_no_networks(json!([null, null]))]
fn the_loss_of_the_only_network_is_named_and_its_backup_is_pinned(#[case] networks_left: Value) {
    let disk = rich_home();
    let (backup, _) = good(&disk).pop().unwrap();
    let without = edited(|v| {
        v["cloud_mesh"]["networks"] = networks_left.clone();
        v["cloud_mesh"]["active_network_id"] = json!(null);
    });
    disk.put(CONFIG, &without);
    let loaded = load(&disk).unwrap();
    let wiped = loaded.report.wiped.as_ref().unwrap();
    assert_eq!((wiped.loss, wiped.before, wiped.left, &wiped.backup), (Loss::Networks, 1, 0, &backup));
    assert!(!loaded.pending.repairs() && wiped_note(&loaded.diagnostics).is_some());
    for n in 0..30 {
        add_network(&disk, &format!("net-{n}")).unwrap();
    }
    assert!(good(&disk).iter().any(|(id, _)| *id == backup), "the backup from before the loss is evicted");
}

#[rstest]
#[case::empty(b"{}".to_vec())]
#[case::only_the_defaults(fresh_with(json!({})))]
#[case::one_key(br#"{"active_family":"qwen3"}"#.to_vec())]
#[case::lost_networks(edited(|v| v["cloud_mesh"]["networks"] = json!([])))]
fn a_user_who_means_it_says_so_once(#[case] meant: Vec<u8>, #[values(false, true)] after_the_repair: bool) {
    let disk = rich_home();
    let rich = good(&disk).remove(0);
    disk.put(CONFIG, &meant);
    let is_repaired = load(&disk).unwrap().pending.repairs();
    if after_the_repair && is_repaired {
        let (_, applied) = launch(&disk, &sim_paths()).unwrap();
        restore(&disk, &applied.unwrap().report.backup.unwrap().parse().unwrap());
        assert_eq!(disk.content(CONFIG).unwrap(), meant);
    } else {
        let clock = FakeClock::default();
        let accepted = locked(&store_on(&disk, &clock)).accept().unwrap();
        assert!(accepted.changed);
        assert_eq!(disk.content(CONFIG).unwrap(), meant, "it is not touched");
        assert!(!locked(&store_on(&disk, &clock)).accept().unwrap().changed, "once is enough");
    }
    for _ in 0..2 {
        let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
        assert!(loaded.report.wiped.is_none() && !loaded.pending.repairs());
    }
    assert!(load(&disk).unwrap().pending.is_empty());
    // The app's next write is compared with the accepted config.
    if is_repaired {
        disk.put(CONFIG, &fresh_with(json!({"active_mode": "text"})));
        assert!(load(&disk).unwrap().report.wiped.is_none());
    }
    // The backup from before the wipe stays after any number of later ones, and is the one to
    // restore.
    for n in 0..45 {
        add_network(&disk, &format!("network-{n}")).unwrap();
    }
    assert!(good(&disk).contains(&rich), "{:?}", backup_names(&disk));
    assert!(good(&disk).len() <= 22);
}

#[test]
fn the_last_backup_before_a_loss_stays_beside_the_richest() {
    let disk = rich_home();
    let richest = good(&disk).remove(0);
    let last = edited(|v| {
        v["mark"] = json!("last before the loss");
        v.as_object_mut().unwrap().remove("providers");
        v["cloud_mesh"]["networks"][0]["stun_servers"] = json!([]);
    });
    disk.put(CONFIG, &last);
    launch(&disk, &sim_paths()).unwrap();
    let last = good(&disk).pop().unwrap();
    disk.put(CONFIG, &fresh_with(json!({})));
    locked(&store_on(&disk, &FakeClock::default())).accept().unwrap();
    for n in 0..45 {
        disk.put(CONFIG, &fresh_with(json!({"active_mode": format!("mode-{n}")})));
        launch(&disk, &sim_paths()).unwrap();
    }
    assert!(good(&disk).contains(&richest) && good(&disk).contains(&last));
    let one: Vec<_> = history(&disk).into_iter().filter(|entry| entry.recommended).collect();
    assert_eq!(one[0].id.to_string(), last.0);
    assert!(one[0].settings > Some(5));
}

#[test]
fn a_wiped_app_half_of_a_mixed_config_is_restored_and_the_daemons_half_goes_its_way() {
    let disk = rich_home();
    let wiped = fresh_with(
        json!({"version": 3, "daemon": {"log_level": "warn"}, "auto_update": {"auto_apply": "all"},
        "networks": [{"id": "d", "network_id": "theirs"}]}),
    );
    disk.put(CONFIG, &wiped);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.shape, FileShape::Mixed);
    assert!(loaded.pending.repairs() && loaded.pending.daemon_half());
    let report = applied.unwrap().report;
    assert_eq!(report.recovered_networks, ["theirs"]);
    assert_eq!(report.wiped.unwrap().loss, Loss::Settings);
    let now = live(&disk);
    assert_eq!((&now["model_cleanup_days"], &now["auto_update"]["channel"]), (&json!(7), &json!("beta")));
    assert_eq!(now["cloud_mesh"]["networks"].as_array().unwrap().len(), 2);
    assert_eq!(now["cloud_mesh"]["active_network_id"], "net-m1");
    let half = Document::parse(&disk.content(DAEMON_CONFIG).unwrap()).unwrap().document.root().to_value();
    assert_eq!(
        half,
        json!({"version": 3, "daemon": {"log_level": "warn"}, "auto_update": {"auto_apply": "all"},
        "auto_cleanup": live_defaults()["auto_cleanup"], "networks": []})
    );
    assert!(is_kept(&disk, &wiped));
    // An app half with the user's settings is left as it is.
    let disk = rich_home();
    disk.put(
        CONFIG,
        &edited(|v| {
            v["active_family"] = json!("changed since");
            v["networks"] = json!([{"id": "d", "network_id": "theirs"}]);
        }),
    );
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(live(&disk)["active_family"], "changed since");
}

fn live_defaults() -> Value {
    app_config::defaults("/c").root().to_value()
}

#[rstest]
fn file_beside_the_config_restores_a_wiped_config(
    #[values(".corrupt", ".tmp", ".bak")] suffix: &str,
    #[values(json!({}), json!({"services": {"turn": {"port": 3478}}, "theme": "dark"}))] keys: Value,
) {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put(CONFIG, &recovered_by_older_app(keys.clone()));
    disk.put(format!("{CONFIG}{suffix}"), APP);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, Some(format!("config.json{suffix}")));
    let live = live(&disk);
    assert_eq!((&live["active_family"], live.get("services")), (&json!("qwen3"), None));
    assert_eq!(live.get("theme"), keys.get("theme"), "a key of a newer app stays");
}

/// A file that a daemon moved aside after the last backup has the newer settings, unless they are
/// gone in it.
#[test]
fn file_without_settings_that_a_daemon_moved_aside_is_not_used() {
    let disk = rich_home();
    let backup = good(&disk).remove(0).0;
    disk.put(CONFIG, b"{}");
    disk.put(format!("{CONFIG}.corrupt"), &recovered_by_older_app(json!({"services": {"turn": 1}})));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, Some(backup));
}

#[test]
fn a_wiped_config_is_not_restored_from_an_older_backup_than_the_newest() {
    let disk = rich_home();
    disk.put(CONFIG, &healthy("newer"));
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, b"{}");
    let newest = format!("{BACKUPS}/{}.json", good(&disk).pop().unwrap().0);
    let failing = failing_read(&disk, &newest, &|disk| drop(load(disk).unwrap()));
    assert_eq!(load(&failing).unwrap_err().code(), "store.copy-unreadable");
    assert_eq!(failing.content(CONFIG).unwrap(), b"{}");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(live(&disk)["mark"], "newer");
}

/// Returns a disk that fails the last read of `path` that `run` makes.
fn failing_read(base: &SimDisk, path: &str, run: &dyn Fn(&SimDisk)) -> SimDisk {
    let counted = base.clone();
    counted.reset_ops();
    run(&counted);
    let read = counted.ops().iter().rposition(|op| op.op == Op::Read && op.path == Path::new(path)).unwrap();
    let disk = base.clone();
    disk.reset_ops();
    disk.fail(Fault::once(read, ErrorKind::PermissionDenied));
    disk
}

#[test]
fn a_backup_that_cannot_be_read_is_not_evicted() {
    let disk = rich_home();
    let oldest = format!("{BACKUPS}/{}.json", good(&disk)[0].0);
    for n in 0..19 {
        disk.put(CONFIG, &healthy(&n.to_string()));
        launch(&disk, &sim_paths()).unwrap();
    }
    disk.put(CONFIG, &healthy("one more"));
    let run = |disk: &SimDisk| drop(launch(disk, &sim_paths()).unwrap());
    let failing = failing_read(&disk, &oldest, &run);
    run(&failing);
    assert!(failing.content(&oldest).is_some());
    run(&disk);
    assert!(disk.content(&oldest).is_none(), "another one holds as much");
}

#[test]
fn a_config_that_is_not_the_apps_cannot_be_accepted() {
    for bytes in [OVERWRITTEN_V3, b"{", b"[]"] {
        let disk = rich_home();
        disk.put(CONFIG, bytes);
        let error = locked(&store_on(&disk, &FakeClock::default())).accept().unwrap_err();
        assert_eq!(error.code(), "store.repair-pending");
    }
}

#[test]
fn repair_of_a_wiped_config_makes_a_backup_and_an_exchange() {
    let disk = rich_home();
    disk.put(CONFIG, b"{}");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert!(
        matches!(
            loaded.pending.steps[..],
            [Step::KeepPrevious { .. }, Step::ReplaceConfig { repair: true, .. }]
        ),
        "{:?}",
        loaded.pending.steps
    );
}

#[rstest]
#[case::key("/home/u/.myownllm/.myownmesh/.secrets/identity.json")]
#[case::key_in_the_old_location("/home/u/.myownllm/.secrets/identity.json")]
#[case::roster("/home/u/.myownllm/.myownmesh/mesh/rosters/home-mesh.json")]
#[case::state("/home/u/.myownllm/mesh/states/home-mesh.json")]
#[case::conversation("/home/u/.myownllm/conversations/first.json")]
fn settings_of_a_used_home_are_lost_and_not_new(
    #[case] file: &str,
    #[values(None, Some("{}"), Some("{\"active_family\":\"x\"}"))] live_bytes: Option<&str>,
) {
    let disk = home_with_leftover(PART, live_bytes);
    disk.remove(PART);
    assert!(!load(&disk).unwrap().pending.repairs(), "a new home has nothing to lose");
    disk.put_dir(Path::new(file).parent().unwrap().to_str().unwrap(), 0o700);
    disk.put(file, b"{}");
    let loaded = load(&disk).unwrap();
    assert!(loaded.pending.repairs());
    assert!(loaded.report.reset_keys.len() > 10, "{:?}", loaded.report.reset_keys);
    let names = loaded.diagnostics.iter().any(|found| found.code == "store.networks-lost");
    assert_eq!(names, file.contains("rosters"));
    assert_eq!(wiped_note(&loaded.diagnostics).is_some(), live_bytes.is_some());
    launch(&disk, &sim_paths()).unwrap();
    assert!(live_bytes.is_none_or(|bytes| is_kept(&disk, bytes.as_bytes())));
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
}

#[test]
fn a_bare_config_without_a_backup_can_be_accepted() {
    let disk = home_with_leftover(PART, Some("{}"));
    disk.remove(PART);
    disk.put_dir("/home/u/.myownllm/conversations", 0o700);
    disk.put("/home/u/.myownllm/conversations/first.json", b"{}");
    assert!(load(&disk).unwrap().pending.repairs());
    locked(&store_on(&disk, &FakeClock::default())).accept().unwrap();
    let loaded = load(&disk).unwrap();
    assert!(!loaded.pending.repairs() && wiped_note(&loaded.diagnostics).is_none());
}
