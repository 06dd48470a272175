//! Temporary files of killed runs that hold a config that is nowhere else.

use std::path::Path;

use myownllm_config_model::{Document, Fragment};
use myownllm_durable_fs::sim::SimDisk;
use rstest::rstest;

use crate::common::{BACKUPS, CONFIG, OVERWRITTEN_V3, healthy, is_kept, launch, sim_paths};
use crate::{load, rich_home};

pub(crate) const PART: &str = "/home/u/.myownllm/.durable-fs.123-10.part";
const SWAP: &str = "/home/u/.myownllm/.durable-fs.1-1.swap";
const PART_IN_BACKUPS: &str = "/home/u/.myownllm/config-backups/.durable-fs.9-1.part";

/// Returns a home in which a temporary file holds the only copy of the config.
pub(crate) fn home_with_leftover(at: &str, live: Option<&str>) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put_dir(BACKUPS, 0o700);
    disk.put(at, &healthy("rich"));
    if let Some(live) = live {
        disk.put(CONFIG, live.as_bytes());
    }
    disk.flush_all();
    disk.reset_ops();
    disk
}

#[rstest]
fn the_only_config_is_restored_from_a_temporary_file_of_a_killed_run(
    #[values(PART, SWAP, PART_IN_BACKUPS)] at: &str,
    #[values(None, Some(""), Some("{\"torn"), Some("{}"))] live_bytes: Option<&str>,
) {
    let base = home_with_leftover(at, live_bytes);
    let loaded = load(&base).unwrap();
    assert!(loaded.pending.repairs());
    let name = Path::new(at).file_name().unwrap().to_str().unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(name));
    let counted = base.clone();
    let (_, applied) = launch(&counted, &sim_paths()).unwrap();
    let report = applied.unwrap().report;
    assert!(report.restored_from.unwrap().starts_with("good-") && report.reset_keys.is_empty());
    for n in 0..=counted.ops().len() {
        let disk = base.clone();
        disk.crash_at(n);
        let _ = launch(&disk, &sim_paths());
        {
            let state = disk.after_kill();
            launch(&state, &sim_paths()).unwrap();
            assert_eq!(state.content(CONFIG).unwrap(), healthy("rich"), "killed at operation {n}");
            assert!(launch(&state, &sim_paths()).unwrap().1.is_none(), "killed at operation {n}");
            assert_eq!(state.content(at), None);
        }
    }
}

#[rstest]
fn overwritten_config_that_only_an_unfinished_file_has_becomes_a_backup(
    #[values(PART, PART_IN_BACKUPS)] at: &str,
) {
    let base = home_with_leftover(at, None);
    base.put(at, OVERWRITTEN_V3);
    base.flush_all();
    let counted = base.clone();
    let applied = launch(&counted, &sim_paths()).unwrap().1.unwrap();
    assert!(applied.diagnostics.iter().any(|reported| reported.code == "store.displaced-kept"));
    for n in 0..=counted.ops().len() {
        let disk = base.clone();
        disk.crash_at(n);
        let _ = launch(&disk, &sim_paths());
        let state = disk.after_kill();
        launch(&state, &sim_paths()).unwrap();
        assert!(is_kept(&state, OVERWRITTEN_V3), "killed at operation {n}");
    }
}

#[test]
fn a_displaced_config_is_kept_beside_a_healthy_config_and_an_unfinished_one_is_not() {
    let disk = rich_home();
    for (n, (at, kept)) in [(PART, false), (SWAP, true), (PART_IN_BACKUPS, false)].into_iter().enumerate() {
        let bytes = healthy(&format!("left-{n}"));
        disk.put(at, &bytes);
        launch(&disk, &sim_paths()).unwrap();
        assert_eq!(is_kept(&disk, &bytes), kept, "{at}");
        assert_eq!(disk.content(CONFIG).unwrap(), healthy("rich"));
        assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
    }
}

/// The run that made the first backup was killed, and another program took a setting away since.
#[rstest]
#[case::setting(&["active_family"])]
#[case::server_of_a_network(&["cloud_mesh", "networks", "0", "turn_servers", "0", "credential"])]
fn unfinished_first_backup_of_a_config_that_lost_a_setting_is_kept(
    #[values(PART, PART_IN_BACKUPS)] at: &str,
    #[case] lost: &[&str],
) {
    let mut document = Document::parse(&healthy("rich")).unwrap().document;
    let networks = r#"[{"id":"n","network_id":"home","turn_servers":[{"url":"turn:t","credential":"c"}]}]"#;
    document.set(&["cloud_mesh", "networks"], Fragment::from_valid_json(networks));
    document.set(&["kept_models"], Fragment::array(["a"]));
    let disk = home_with_leftover(at, None);
    disk.put(at, &document.to_bytes());
    let whole = document.to_bytes();
    document.remove(lost);
    disk.put(CONFIG, &document.to_bytes());
    disk.flush_all();
    let applied = launch(&disk, &sim_paths()).unwrap().1.unwrap();
    assert!(is_kept(&disk, &whole));
    assert_eq!(disk.content(at), None);
    assert!(applied.diagnostics.iter().any(|reported| reported.code == "store.displaced-kept"));
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
}

#[test]
fn torn_part_of_the_only_config_is_kept() {
    let whole = healthy("rich");
    let torn = &whole[..whole.len() / 2];
    let disk = home_with_leftover(PART, None);
    disk.put(PART, torn);
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, torn));
}
