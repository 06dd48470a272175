//! The first config of a home that has none.

use crate::common::scenes::home;
use crate::common::{BACKUPS, CONFIG, HOME, changes, healthy, launch, sim_paths, spelled};
use crate::{live, mode, text};
use myownllm_config_store::{FileShape, Step};
use myownllm_durable_fs::sim::SimDisk;
use myownllm_durable_fs::sim_path;

#[test]
fn a_missing_config_is_written_once_private_with_the_defaults() {
    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.shape, FileShape::Missing);
    assert!(loaded.pending.writes_config() && !loaded.pending.repairs());
    assert!(matches!(applied.unwrap().steps[0], Step::WriteConfig { restored: false, .. }));
    assert_eq!(mode(&disk, CONFIG), 0o600);
    assert_eq!(mode(&disk, "/home/u/.myownllm"), 0o700);
    assert_eq!(mode(&disk, BACKUPS), 0o700);
    assert_eq!(
        text(&live(&disk), "conversation_dir"),
        Some(spelled(sim_path!("/home/u/.myownllm/conversations")))
    );
    disk.reset_ops();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
}

#[test]
fn a_users_home_that_is_not_there_is_not_made() {
    let disk = SimDisk::new();
    disk.put_dir("/home", 0o755);
    disk.reset_ops();
    let error = launch(&disk, &sim_paths()).unwrap_err();
    assert_eq!(error.code(), "store.no-home");
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[test]
fn a_config_that_appears_while_the_defaults_are_written_is_not_replaced() {
    let base = home();
    base.flush_all();
    let counted = base.clone();
    launch(&counted, &sim_paths()).unwrap();
    for n in 0..counted.ops().len() {
        let disk = base.clone();
        disk.reset_ops();
        disk.set_hook(move |op, foreign| {
            if op.number == n {
                foreign.put(CONFIG, &healthy("theirs"));
            }
        });
        let _ = launch(&disk, &sim_paths()).unwrap();
        assert_eq!(text(&live(&disk), "mark").as_deref(), Some("theirs"), "at operation {n}");
    }
}
