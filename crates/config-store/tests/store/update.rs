//! Saves: an edit of the config, without another program that writes.

use std::path::Path;
use std::time::Duration;

use crate::common::scenes::home;
use crate::common::{
    BACKUPS, CONFIG, DAEMON_CONFIG, FakeClock, OVERWRITTEN_V3, SCHEMA, backups, changes, healthy, ids,
    is_kept, launch, locked, sim_paths, spelled,
};
use crate::{live, load, of_kind, seen_healthy, set_mark, text, with_config};
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, FileShape, Limits, Store};
use myownllm_durable_fs::{Disk, sim_path};
use rstest::rstest;

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let edits: [&mut dyn FnMut(&mut Document) -> bool; 3] =
        [&mut |_| false, &mut |_| true, &mut |doc| doc.set(&["mark"], serde_json::json!("x")).is_changed()];
    for edit in edits {
        let updated = locked(&store).update(&mut ids(), &mut |doc| Ok(edit(doc))).unwrap();
        assert!(!updated.changed);
    }
    // A killed run may have written the config that this update finds, so the update syncs it.
    let home = spelled(sim_path!("/home/u/.myownllm"));
    let synced = [format!("SyncFile {}", spelled(CONFIG)), format!("SyncDir {home}")];
    assert_eq!(changes(&disk), [synced.clone(), synced.clone(), synced].concat());
}

#[rstest]
#[case::in_the_home("/home/u/.myownllm")]
#[case::among_the_backups(BACKUPS)]
fn update_that_changes_nothing_clears_leftovers_of_a_killed_run(#[case] dir: &str) {
    let disk = seen_healthy(&healthy("x"));
    let left = format!("{dir}/.durable-fs.1-0.part");
    disk.put(&left, &healthy("x"));
    assert!(!set_mark(&disk, "x").unwrap().changed);
    assert_eq!(disk.content(&left), None);
    for state in disk.crash_states(8, 1) {
        assert_eq!(state.content(&left), None, "it is back after a power cut");
    }
}

/// A temporary file may hold the only copy of what belongs to the daemon.
#[rstest]
#[case::key(b"{\"version\": 1, \"secret_key\": \"aa\", \"public_key\": \"bb\"}")]
#[case::cut_key(b"{\"version\": 1, \"secret_key\": \"a")]
#[case::roster(b"{\"network_id\": \"n\", \"authorized_devices\": []}")]
#[case::state(b"{\"network_id\": \"n\", \"seq\": 3}")]
fn a_temporary_with_a_key_a_roster_or_a_state_stays(
    #[case] content: &[u8],
    #[values("/home/u/.myownllm", BACKUPS, "/home/u/.myownllm/.myownmesh")] dir: &str,
) {
    let disk = with_config(&healthy("x"));
    let left = format!("{dir}/.durable-fs.1-0.part");
    disk.put(&left, content);
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "y").unwrap();
    assert_eq!(disk.content(&left).as_deref(), Some(content), "{left}");
    assert_eq!(load(&disk).unwrap().pending.steps, [], "{left}");
}

#[test]
fn update_keeps_the_previous_and_the_new_config() {
    let disk = with_config(&healthy("never launched"));
    let updated = set_mark(&disk, "new").unwrap();
    assert!(updated.changed);
    assert_eq!(updated.document.to_bytes(), live(&disk));
    assert!(is_kept(&disk, &healthy("never launched")));
    assert_eq!(of_kind(&disk, "good").last().unwrap().1, live(&disk), "our own save, read back");
    disk.reset_ops();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
}

#[test]
fn an_update_completes_a_config_and_makes_a_missing_one() {
    let disk = with_config(b"{\"active_family\":\"mine\"}");
    set_mark(&disk, "new").unwrap();
    assert_eq!(load(&disk).unwrap().pending.steps, []);
    assert!(of_kind(&disk, "kept").iter().any(|(_, b)| b == b"{\"active_family\":\"mine\"}"));
    let disk = home();
    set_mark(&disk, "new").unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("new"));
    assert!(load(&disk).unwrap().pending.is_empty());
}

#[test]
fn an_update_whose_edit_fails_leaves_everything() {
    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let error = locked(&store)
        .update(&mut ids(), &mut |doc| {
            doc.set(&["mark"], serde_json::json!("half done"));
            Err("no such network".into())
        })
        .unwrap_err();
    assert_eq!(error.code(), "store.edit");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no such network");
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[rstest]
#[case::leaked(OVERWRITTEN_V3)]
#[case::torn(b"{\"torn")]
#[case::empty(b"")]
fn a_config_that_needs_a_repair_is_not_edited(#[case] bytes: &[u8]) {
    let disk = with_config(bytes);
    let error = set_mark(&disk, "x").unwrap_err();
    assert_eq!(error.code(), "store.repair-pending");
    assert_eq!(error.hint().as_deref(), Some("myownllm-mesh repair"));
    assert_eq!(live(&disk), bytes);
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[test]
fn locked_store_holds_the_lock_of_its_own_home() {
    let disk = seen_healthy(&healthy("x"));
    disk.put_dir("/home/v/.myownllm", 0o700);
    disk.put_link("/home/link", "u");
    let is_free = |home: &str| disk.lock(home.as_ref(), Duration::ZERO).is_ok();
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let held = locked(&store);
    assert_eq!(held.home_lock().path(), Path::new(sim_path!("/home/u/.myownllm")));
    assert!(!is_free("/home/u/.myownllm") && is_free("/home/v/.myownllm"));
    // Another path to the same home counts as the same home.
    assert!(!is_free("/home/link/.myownllm"));
    assert!(store.lock(Duration::ZERO).is_err());
    drop(held);
    assert!(is_free("/home/u/.myownllm"));
}

/// The unknown members of a network are nested two levels deeper in the app's config.
#[test]
fn content_that_could_not_be_read_again_is_not_written() {
    let (lists, ends) = ("[".repeat(1020), "]".repeat(1020));
    let deep =
        format!(r#"{{"providers":[],"networks":[{{"id":"a","network_id":"home","x":{lists}{ends}}}]}}"#);
    let disk = with_config(deep.as_bytes());
    let loaded = load(&disk).unwrap();
    assert_eq!(loaded.shape, FileShape::Mixed, "the scene is not what it says");
    let refused = launch(&disk, &sim_paths()).unwrap_err();
    assert_eq!(refused.code(), "store.too-much");
    assert!(refused.to_string().contains("nested"), "{refused}");
    assert_eq!((live(&disk), backups(&disk)), (deep.into_bytes(), Vec::new()), "nothing has changed");
    assert_eq!(disk.content(DAEMON_CONFIG), None);
    assert_eq!(loaded.report.recovered_networks, ["home"], "and it can be run on all the same");

    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let limits = Limits { config_bytes: live(&disk).len() as u64 + 3, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let edit = |mark: &str| {
        locked(&store)
            .update(&mut ids(), &mut |doc| Ok(doc.set(&["mark"], serde_json::json!(mark)).is_changed()))
    };
    edit("1234").unwrap();
    let before = disk.tree();
    assert_eq!(edit("12345").unwrap_err().code(), "store.too-much");
    assert_eq!(disk.tree(), before, "nothing has changed");
}
