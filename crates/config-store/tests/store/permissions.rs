//! Modes and owners of the files that the store writes.

use std::io::ErrorKind;

use crate::common::scenes::home;
use crate::common::{
    APP, BACKUPS, CONFIG, FakeClock, HOME, OVERWRITTEN_V1, OVERWRITTEN_V3, SCHEMA, backups, healthy, ids,
    is_kept, launch, locked, shown, sim_paths,
};
use crate::{load, mode, of_kind, set_mark, with_config};
use myownllm_config_store::{ConfigStore, Store, Updated};
use myownllm_durable_fs::sim::{Fault, SimDisk};
use myownllm_durable_fs::{Disk, Op, Owner, sim_path};
use rstest::rstest;

#[rstest]
#[case::leaked_by_0_1_2(OVERWRITTEN_V1, 0o644)]
#[case::leaked_by_0_3_8(OVERWRITTEN_V3, 0o600)]
#[case::empty(b"{}", 0o640)]
fn the_mode_of_a_config_is_kept(#[case] bytes: &[u8], #[case] given: u32) {
    let disk = home();
    disk.put_mode(CONFIG, bytes, given);
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(mode(&disk, CONFIG), given);
    set_mark(&disk, "x").unwrap();
    assert_eq!(mode(&disk, CONFIG), given);
    assert_eq!(mode(&disk, BACKUPS), 0o700);
    for (path, _) in backups(&disk) {
        assert_eq!(mode(&disk, path.to_str().unwrap()), 0o600);
    }
}

#[test]
fn backup_directory_that_others_can_read_is_made_private() {
    let disk = with_config(APP);
    disk.put_dir(BACKUPS, 0o755);
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(mode(&disk, BACKUPS), 0o700);
}

#[test]
fn files_that_root_makes_belong_to_the_homes_owner() {
    let them = Owner { uid: 1000, gid: 1000 };
    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put(CONFIG, OVERWRITTEN_V3);
    disk.set_user(Owner { uid: 0, gid: 0 });
    for path in [HOME, "/home/u/.myownllm", CONFIG] {
        disk.chown(path, them);
    }
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "x").unwrap();
    for path in disk.tree().keys().filter(|p| p.starts_with(HOME)) {
        assert_eq!(disk.stat(path).unwrap().owner, Some(them), "{}", path.display());
    }
    let fresh = SimDisk::new();
    fresh.put_dir(HOME, 0o755);
    fresh.set_user(Owner { uid: 0, gid: 0 });
    fresh.chown(HOME, them);
    launch(&fresh, &sim_paths()).unwrap();
    for path in fresh.tree().keys().filter(|p| p.starts_with(HOME)) {
        assert_eq!(fresh.stat(path).unwrap().owner, Some(them), "{}", path.display());
    }
}

#[test]
fn repair_succeeds_when_the_process_may_not_change_owners() {
    let disk = home();
    disk.put(CONFIG, OVERWRITTEN_V3);
    disk.set_user(Owner { uid: 4711, gid: 4711 });
    disk.fail(Fault::always(Op::SetOwner, ErrorKind::PermissionDenied));
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, OVERWRITTEN_V3));
    assert!(load(&disk).unwrap().pending.is_empty());
    assert_eq!(of_kind(&disk, "kept").len(), 1);
}

/// The store also stops a caller that composes the crates, and takes the lock without a check of
/// the way to the home.
#[test]
fn home_that_another_user_controls_is_not_written() {
    let disk = home();
    disk.put(CONFIG, OVERWRITTEN_V3);
    let loaded = load(&disk).unwrap();
    assert!(loaded.pending.repairs());
    disk.set_user(Owner { uid: 0, gid: 0 });
    disk.chown(HOME, Owner { uid: 4711, gid: 4711 });
    let before = disk.tree();
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let held = locked(&store);
    let errors = [
        store.ensure_home().unwrap_err(),
        held.apply(&mut ids()).unwrap_err(),
        held.update(&mut ids(), &mut |doc| Ok(doc.set(&["x"], serde_json::json!(1)).is_changed()))
            .unwrap_err(),
    ];
    let hint = format!("sudo chown -RH 4711:4711 {}", shown(sim_path!("/home/u/.myownllm")));
    for error in errors {
        assert_eq!(error.code(), "homes.unsafe-permissions", "{error}");
        assert_eq!(error.hint().as_deref(), Some(&*hint));
    }
    assert_eq!(disk.tree(), before);
}

/// The config belongs to a group that the process is not in. The new file cannot get that group, so
/// its group bits are dropped.
#[rstest]
#[case::none(0o600, None)]
#[case::to_read(0o640, Some(0o600))]
#[case::to_write(0o666, Some(0o606))]
fn permissions_that_the_new_file_lacks_are_reported(#[case] mode: u32, #[case] narrowed: Option<u32>) {
    let disk = home();
    disk.put_mode(CONFIG, &healthy("before"), mode);
    disk.set_user(Owner { uid: 0, gid: 0 });
    for path in [HOME, "/home/u/.myownllm", CONFIG] {
        disk.chown(path, Owner { uid: 4711, gid: 50 });
    }
    disk.set_user(Owner { uid: 4711, gid: 4711 });
    let reported =
        |updated: &Updated| updated.diagnostics.iter().filter(|d| d.code == "store.rights-narrowed").count();
    let updated = set_mark(&disk, "after").unwrap();
    assert_eq!(reported(&updated), usize::from(narrowed.is_some()), "{mode:o}: {:?}", updated.diagnostics);
    assert_eq!(disk.stat(CONFIG.as_ref()).unwrap().mode, narrowed.unwrap_or(mode), "{mode:o}");
    // The config has the process's own group now.
    assert_eq!(reported(&set_mark(&disk, "again").unwrap()), 0, "{mode:o}");
}
