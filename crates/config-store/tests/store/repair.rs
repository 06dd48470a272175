//! Repairs: what becomes of the config, of the daemon's half, and of paths into the old location.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::scenes::home;
use crate::common::{
    APP, CONFIG, DAEMON_CONFIG, DAEMON_HOME, FakeClock, HOME, OVERWRITTEN_V3, SCHEMA, backups, changes,
    healthy, ids, launch, locked, sim_paths, spelled,
};
use crate::{live, load, mode, of_kind, seen_healthy, text, with_config};
use myownllm_config_model::{Document, SeededIds};
use myownllm_config_store::{DaemonHalf, Store};
use myownllm_durable_fs::Op;
use myownllm_durable_fs::sim::{Fault, SimDisk};
use serde_json::json;

#[test]
fn an_apply_with_nothing_to_do_writes_nothing() {
    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let applied = locked(&store).apply(&mut ids()).unwrap();
    assert_eq!(applied.steps, []);
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[test]
fn overwritten_config_is_repaired_from_the_last_good_backup() {
    let disk = seen_healthy(APP);
    disk.put(CONFIG, OVERWRITTEN_V3);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert!(loaded.pending.repairs() && loaded.pending.daemon_half());
    let applied = applied.unwrap();
    let report = applied.report;
    let good = of_kind(&disk, "good");
    assert_eq!(report.restored_from.as_deref(), good[0].0.strip_suffix(".json"));
    let kept = of_kind(&disk, "kept");
    assert_eq!(kept.last().unwrap().1, OVERWRITTEN_V3);
    assert_eq!(report.backup.as_deref(), kept.last().unwrap().0.strip_suffix(".json"));
    assert_eq!(report.daemon_half, Some(DaemonHalf::Written));
    assert!(report.stripped_keys.iter().any(|k| k == "networks"));
    let now = live(&disk);
    assert_eq!(now, applied.document.to_bytes());
    assert_eq!(text(&now, "active_family").as_deref(), Some("qwen3"));
    for key in ["version", "daemon", "networks", "identity_path", "services"] {
        assert!(Document::parse(&now).unwrap().document.get(&[key]).is_none(), "{key} is still there");
    }
    assert_eq!((mode(&disk, DAEMON_HOME), mode(&disk, DAEMON_CONFIG)), (0o700, 0o600));
    // The repaired config is the last good one now.
    assert_eq!(of_kind(&disk, "good").last().unwrap().1, now);
}

#[test]
fn existing_daemon_config_is_never_replaced() {
    let disk = with_config(OVERWRITTEN_V3);
    disk.put(DAEMON_CONFIG, b"{\"mine\":true}");
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    let report = applied.unwrap().report;
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), b"{\"mine\":true}");
    assert_eq!(report.daemon_half, Some(DaemonHalf::Kept));
    let half = of_kind(&disk, "daemon");
    assert_eq!(report.daemon_half_backup.as_deref(), half[0].0.strip_suffix(".json"));
    assert_eq!(Document::parse(&half[0].1).unwrap().document.get(&["networks"]).unwrap().items().count(), 0);
}

#[test]
fn daemon_config_that_appears_during_the_repair_is_never_replaced() {
    let base = with_config(OVERWRITTEN_V3);
    let counted = base.clone();
    launch(&counted, &sim_paths()).unwrap();
    for n in 0..counted.ops().len() {
        let disk = base.clone();
        disk.reset_ops();
        let done = Arc::new(AtomicUsize::new(0));
        let put = Arc::clone(&done);
        disk.set_hook(move |op, foreign| {
            if op.number >= n
                && put.load(Ordering::SeqCst) == 0
                && foreign.put(DAEMON_CONFIG, b"{\"theirs\":1}")
            {
                put.store(1, Ordering::SeqCst);
            }
        });
        let (_, applied) = launch(&disk, &sim_paths()).unwrap();
        if done.load(Ordering::SeqCst) == 1 {
            assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), b"{\"theirs\":1}", "at operation {n}");
        }
        // At any moment of the other program's write: the daemon's half was in place before, or is
        // among the backups.
        if applied.unwrap().report.daemon_half == Some(DaemonHalf::Kept) {
            assert_eq!(of_kind(&disk, "daemon").len(), 1, "at operation {n}");
        }
    }
}

/// The daemon's config appears right before the half gets its name: the daemon's config stays, the
/// half becomes a backup, and the report says so.
#[test]
fn daemon_half_becomes_a_backup_when_the_daemon_config_appears_first() {
    let disk = with_config(OVERWRITTEN_V3);
    disk.set_hook(|op, foreign| {
        if op.op == Op::RenameNoReplace && op.other.as_deref() == Some(std::path::Path::new(DAEMON_CONFIG)) {
            foreign.put(DAEMON_CONFIG, b"{\"theirs\":1}");
        }
    });
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(applied.unwrap().report.daemon_half, Some(DaemonHalf::Kept));
    assert_eq!(of_kind(&disk, "daemon").len(), 1);
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), b"{\"theirs\":1}");
}

#[test]
fn daemon_config_that_cannot_be_inspected_is_not_absent() {
    let disk = with_config(OVERWRITTEN_V3);
    disk.set_hook(|_, _| {});
    disk.fail(Fault::always(Op::Stat, ErrorKind::PermissionDenied));
    // The app has the settings of its own file, but nothing is repaired before the daemon's half is
    // in place.
    assert!(!load(&disk).unwrap().report.recovered_networks.is_empty());
    assert_eq!(launch(&disk, &sim_paths()).unwrap_err().code(), "store.disk");
    assert_eq!(disk.content(CONFIG).unwrap(), OVERWRITTEN_V3);
}

#[test]
fn corrupt_config_is_replaced_by_the_last_good_backup_else_by_defaults() {
    let disk = seen_healthy(&healthy("good"));
    disk.put(CONFIG, b"{\"torn");
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert!(loaded.pending.repairs());
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
    assert!(applied.unwrap().report.restored_from.is_some());
    assert!(of_kind(&disk, "kept").iter().any(|(_, b)| b == b"{\"torn"));

    let disk = with_config(b"{\"torn");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, None);
    assert!(loaded.report.reset_keys.iter().any(|k| k == "providers"));
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.defaults"));
    assert!(of_kind(&disk, "kept").iter().any(|(_, b)| b == b"{\"torn"));
}

#[test]
fn paths_into_the_old_location_follow_moved_files() {
    let in_home = |path: &str| spelled(&format!("{HOME}/.myownllm/{path}"));
    let network = |id: &str| {
        json!({"id": id, "network_id": id,
        "roster_path": in_home(&format!("mesh/rosters/{id}.json"))})
    };
    let leaked = json!({"version": 3, "identity_path": in_home(".secrets/identity.json"),
        "daemon": {"enabled": true},
        "networks": [network("home"), network("work")]});
    let disk = with_config(leaked.to_string().as_bytes());
    disk.put("/home/u/.myownllm/.myownmesh/.secrets/identity.json", b"{}");
    disk.put("/home/u/.myownllm/.myownmesh/mesh/rosters/home.json", b"{}");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    let half = disk.content(DAEMON_CONFIG).unwrap();
    assert_eq!(text(&half, "identity_path"), Some(in_home(".myownmesh/.secrets/identity.json")));
    let now = Document::parse(&live(&disk)).unwrap().document;
    let roster = |n: &str| {
        now.get(&["cloud_mesh", "networks", n, "daemon_settings", "roster_path"])
            .unwrap()
            .as_str()
            .unwrap()
            .into_owned()
    };
    assert_eq!(roster("0"), in_home(".myownmesh/mesh/rosters/home.json"));
    assert_eq!(roster("1"), in_home("mesh/rosters/work.json"), "its file is not at the new place");
    assert_eq!(loaded.report.rebased.len(), 3);
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.path-not-rebased"));
}

/// A repair ran before the move. At the next start the paths follow, if the file is at the new
/// location and no longer at the old one.
#[test]
fn rosters_that_have_moved_since_the_repair_are_followed() {
    let in_home = |path: &str| spelled(&format!("{HOME}/.myownllm/{path}"));
    let (old, new) = (in_home("mesh/rosters/home.json"), in_home(".myownmesh/mesh/rosters/home.json"));
    let leaked = json!({"version": 3, "daemon": {"enabled": true},
        "networks": [{"id": "a", "network_id": "home", "roster_path": old}]});
    let disk = with_config(leaked.to_string().as_bytes());
    disk.put(&old, b"{}");
    launch(&disk, &sim_paths()).unwrap();
    let says = || {
        let now = Document::parse(&live(&disk)).unwrap().document;
        let path = now.get(&["cloud_mesh", "networks", "0", "daemon_settings", "roster_path"]).unwrap();
        path.as_str().unwrap().into_owned()
    };
    let unchanged = |why: &str| {
        let before = live(&disk);
        launch(&disk, &sim_paths()).unwrap();
        assert_eq!(live(&disk), before, "{why}");
    };
    assert_eq!(says(), old);
    unchanged("it has not moved");
    disk.put(&new, b"{}");
    unchanged("it is in both places, and nobody has chosen");
    disk.remove(&old);
    let before = live(&disk);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!((loaded.report.rebased.len(), says()), (1, new));
    assert!(applied.is_some() && backups(&disk).iter().any(|(_, bytes)| *bytes == before));
    unchanged("it is done");
}

/// A run that is killed before its exchange leaves a file that never was a config, with other
/// generated ids each time.
#[test]
fn loop_of_killed_repairs_with_new_ids_adds_at_most_one_backup() {
    let mut base = Document::parse(&healthy("before")).unwrap().document;
    base.set(&["cloud_mesh", "networks"], serde_json::json!([{"id": "", "network_id": "home"}]));
    let base = with_config(&base.to_bytes());
    let run = |disk: &SimDisk, seed| {
        let clock = FakeClock::default();
        let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
        let _ = locked(&store).apply(&mut SeededIds::new(1_700_000_000_000, seed));
    };
    let counted = base.clone();
    run(&counted, 0);
    let exchanged = counted.ops().iter().position(|op| op.op == Op::Exchange).unwrap();
    assert!(load(&counted).unwrap().pending.is_empty());
    // The first operation takes the lock.
    for n in 1..counted.ops().len() {
        let mut disk = base.clone();
        for seed in 1..9 {
            disk.reset_ops();
            disk.crash_at(n);
            run(&disk, seed);
            disk = disk.after_kill();
        }
        assert!(of_kind(&disk, "kept").len() <= 1, "killed at {n}, the exchange is {exchanged}: {disk:?}");
        launch(&disk, &sim_paths()).unwrap();
        assert!(of_kind(&disk, "kept").len() <= 1, "killed at {n}");
    }
}

/// The rosters in the daemon home outlive the config that named the networks.
#[test]
fn networks_that_rosters_still_show_are_named() {
    let disk = home();
    disk.put(format!("{DAEMON_HOME}/mesh/rosters/home-mesh.json"), b"{}");
    disk.put("/home/u/.myownllm/mesh/rosters/office-mesh.json", b"{}");
    disk.put("/home/u/.myownllm/mesh/rosters/office-mesh.json.corrupt", b"{}");
    disk.put("/home/u/.myownllm/mesh/rosters/$(reboot).json", b"{}");
    let lost = |bytes: &[u8]| {
        let disk = disk.clone();
        disk.put(CONFIG, bytes);
        let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
        // Before the repair no network can be added.
        assert!(loaded.diagnostics.iter().all(|d| d.code != "store.networks-lost" || d.hint.is_none()));
        let said = applied.unwrap().diagnostics;
        said.into_iter().find(|d| d.code == "store.networks-lost").map(|d| (d.message, d.hint.unwrap()))
    };
    let (message, hint) = lost(b"{\"providers\": [{\"na").unwrap();
    assert!(message.contains("still there: home-mesh, office-mesh ("), "{message}");
    assert_eq!(hint, "myownllm-mesh network add home-mesh && myownllm-mesh network add office-mesh");
    // Recovered networks do not count as lost.
    let saved = b"{\"cloud_mesh\": {\"networks\": [{\"id\": \"a\", \"network_id\": \"Home-Mesh\"}]}, \"x";
    assert!(lost(saved).unwrap().0.contains("still there: office-mesh ("));
    assert_eq!(lost(&healthy("whole")), None);
    let overwritten =
        br#"{"version": 3, "daemon": {}, "networks": [{"id": "a", "network_id": "home-mesh"}]}"#;
    assert!(lost(overwritten).unwrap().0.contains("still there: office-mesh ("));
    let without_networks = br#"{"version": 3, "daemon": {}, "networks": [], "active_family": "x"}"#;
    assert!(lost(without_networks).unwrap().0.contains("still there: home-mesh, office-mesh ("));
    // The user may have removed the other network.
    let with_networks = br#"{"version": 3, "daemon": {}, "networks": [],
        "cloud_mesh": {"networks": [{"id": "a", "network_id": "home-mesh"}]}}"#;
    assert_eq!(lost(with_networks), None);
}

#[test]
fn a_plan_can_be_printed() {
    let disk = with_config(OVERWRITTEN_V3);
    let loaded = load(&disk).unwrap();
    let json = serde_json::to_value(&loaded.pending).unwrap();
    let steps: Vec<_> = json.as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["keep-former", "publish-daemon-half", "replace-config", "keep-last-good"]);
    assert_eq!(json[2]["path"], spelled(CONFIG));
    let report = serde_json::to_value(&loaded.report).unwrap();
    assert_eq!(report["shape"], "daemon");
    assert_eq!(report["daemon_half"], "written");
    assert!(report["restored_from"].is_null() && report["backup"].is_null());
}
