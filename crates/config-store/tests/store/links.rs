//! Configs and backups that are symlinks, hard links or mount points.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::common::scenes::home;
use crate::common::{
    BACKUPS, CONFIG, DAEMON_CONFIG, DAEMON_HOME, FakeClock, OVERWRITTEN_V1, OVERWRITTEN_V3, SCHEMA, backups,
    contents, hash_of, healthy, ids, launch, replaces_link, shown, sim_paths,
};
use crate::{live, load, mode, of_kind, seen_healthy, set_mark, text, with_config};
use myownllm_config_store::{ConfigStore as _, FileShape, Store};
use myownllm_durable_fs::sim::{Entry, Fault, SimDisk};
use myownllm_durable_fs::{Disk, Op, sim_path};
use myownllm_paths::Class;
use rstest::rstest;

#[test]
fn symlinked_config_is_written_through_its_symlink() {
    let disk = home();
    disk.put_dir("/home/u/dotfiles", 0o755);
    disk.put_mode("/home/u/dotfiles/llm.json", OVERWRITTEN_V1, 0o644);
    disk.put_link(CONFIG, "../dotfiles/llm.json");
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "through").unwrap();
    assert!(matches!(disk.tree().get(std::path::Path::new(CONFIG)),
            Some(Entry::Link(to)) if to == std::path::Path::new("../dotfiles/llm.json")));
    let there = disk.content("/home/u/dotfiles/llm.json").unwrap();
    assert_eq!(text(&there, "mark").as_deref(), Some("through"));
    assert_eq!(mode(&disk, "/home/u/dotfiles/llm.json"), 0o644);
    assert_eq!(disk.list("/home/u/dotfiles".as_ref()).unwrap().len(), 1, "nothing is left beside it");
}

#[rstest]
#[case::config_to_the_daemons(CONFIG, DAEMON_CONFIG)]
#[case::config_of_the_daemon_to_the_apps(DAEMON_CONFIG, CONFIG)]
#[case::into_the_daemon_home(CONFIG, sim_path!("/home/u/.myownllm/.myownmesh/app.json"))]
fn configs_that_a_symlink_makes_one_file_are_not_written(
    #[case] link: &str,
    #[case] target: &str,
    #[values(OVERWRITTEN_V3, &healthy("before"))] content: &[u8],
) {
    let disk = home();
    disk.put_dir(DAEMON_HOME, 0o700);
    disk.put(target, content);
    disk.put_link(link, target);
    let before = disk.tree();
    let mut errors = vec![set_mark(&disk, "after").map(drop)];
    if load(&disk).unwrap().pending.repairs() {
        // The config needs a repair before it can be edited.
        errors = vec![launch(&disk, &sim_paths()).map(drop)];
    }
    for error in errors.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.code(), "store.shared", "{link}: {error}");
        assert_eq!(error.hint().unwrap(), replaces_link(link));
    }
    assert_eq!(disk.tree(), before, "{link}");
    // Does the same as the hint.
    disk.remove(link);
    disk.put(link, content);
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "after").unwrap();
    if target != CONFIG {
        assert_eq!(disk.content(target).unwrap(), content, "{link}: the other one is as it was");
    }
}

/// The first write separates two hard links of one file.
#[test]
fn configs_that_are_hard_links_of_one_file_are_separated() {
    let disk = home();
    disk.put_dir(DAEMON_HOME, 0o700);
    disk.put(CONFIG, OVERWRITTEN_V3);
    disk.put_hard_link(CONFIG, DAEMON_CONFIG);
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), OVERWRITTEN_V3);
    assert!(load(&disk).unwrap().pending.is_empty());
}

#[rstest]
#[case::of_a_good_config(&healthy("one"), "good")]
#[case::of_a_kept_config(&healthy("one"), "kept")]
#[case::of_a_leaked_config(OVERWRITTEN_V3, "kept")]
fn symlink_to_a_backup_is_not_written_and_the_backup_does_not_count(
    #[case] bytes: &[u8],
    #[case] kind: &str,
) {
    let disk = home();
    disk.put_dir(BACKUPS, 0o700);
    let backup = format!("{BACKUPS}/{kind}-00000001-{}.json", hash_of(bytes));
    disk.put(&backup, bytes);
    disk.put_link(CONFIG, backup.strip_prefix(sim_path!("/home/u/.myownllm/")).unwrap());
    let refused = [launch(&disk, &sim_paths()).map(drop), set_mark(&disk, "x").map(drop)];
    let leaked = bytes == OVERWRITTEN_V3;
    assert_eq!(refused[0].is_err(), leaked, "a repair is refused, and a copy of its own is made");
    assert!(refused[1].is_err());
    for error in refused.into_iter().filter_map(Result::err).filter(|e| e.code() != "store.repair-pending") {
        assert_eq!(error.code(), "store.config-is-a-copy");
        assert_eq!(error.hint().unwrap(), replaces_link(CONFIG));
    }
    assert_eq!(disk.content(&backup).unwrap(), bytes);
    assert_eq!(disk.content(DAEMON_CONFIG), None, "nothing of a repair is made");
    assert_eq!(load(&disk).unwrap().shape, if leaked { FileShape::Daemon } else { FileShape::App });
    // A program that writes through the symlink changes that backup. The content is not lost,
    // because another backup holds it.
    disk.put(&backup, b"{}");
    assert!(leaked || backups(&disk).iter().any(|(_, kept)| *kept == bytes));
    // Eviction does not remove the file that the config leads to.
    disk.put(&backup, bytes);
    for i in 0..30 {
        let id = format!("{BACKUPS}/good-{:08}-{}.json", i + 10, hash_of(&healthy(&i.to_string())));
        disk.put(id, &healthy(&i.to_string()));
    }
    let _ = launch(&disk, &sim_paths());
    assert_eq!(disk.content(&backup).unwrap(), bytes);
}

/// A deduplication tool makes config and backup two hard links of one file; then an editor writes
/// into the file.
#[test]
fn backup_that_is_a_hard_link_of_the_config_does_not_count() {
    let disk = seen_healthy(&healthy("one"));
    let backup = format!("{BACKUPS}/{}", of_kind(&disk, "good")[0].0);
    disk.remove(&backup);
    disk.put_hard_link(CONFIG, &backup);
    launch(&disk, &sim_paths()).unwrap();
    let alone =
        |disk: &SimDisk, name: &str| disk.stat(format!("{BACKUPS}/{name}").as_ref()).unwrap().links == 1;
    assert!(
        of_kind(&disk, "good").iter().any(|(name, bytes)| *bytes == healthy("one") && alone(&disk, name))
    );
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none(), "and that is enough");

    // A backup that is a hard link of any other file does not count either.
    let disk = seen_healthy(&healthy("one"));
    let backup = format!("{BACKUPS}/{}", of_kind(&disk, "good")[0].0);
    disk.put_hard_link(&backup, "/home/u/elsewhere");
    launch(&disk, &sim_paths()).unwrap();
    assert!(
        of_kind(&disk, "good").iter().any(|(name, bytes)| *bytes == healthy("one") && alone(&disk, name))
    );

    // The same holds for the bytes that are about to be replaced.
    let disk = with_config(OVERWRITTEN_V3);
    disk.put_dir(BACKUPS, 0o700);
    let backup = format!("{BACKUPS}/kept-00000001-{}.json", hash_of(OVERWRITTEN_V3));
    disk.put_hard_link(CONFIG, &backup);
    disk.put_hard_link(CONFIG, "/home/u/elsewhere");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(of_kind(&disk, "kept").len(), 2);
}

/// A container that gets the file alone has such a mount.
#[test]
fn config_that_is_a_mount_point_is_reported_as_one() {
    let disk = seen_healthy(&healthy("x"));
    disk.fail(Fault::always(Op::Exchange, ErrorKind::ResourceBusy));
    let error = set_mark(&disk, "y").unwrap_err();
    assert_eq!((error.code(), error.path()), ("store.mounted", Path::new(CONFIG)));
    assert_eq!(error.hint().unwrap(), format!("findmnt {}", shown(CONFIG)));
    assert_eq!(live(&disk), healthy("x"));
}

/// The config of a daemon in that home would be the app's, or another program's.
#[rstest]
#[case::the_apps_home(".")]
#[case::above_the_apps_home("..")]
#[case::out_of_the_apps_home("../.myownmesh")]
fn change_of_overlapping_homes_is_refused(#[case] target: &str) {
    let disk = with_config(OVERWRITTEN_V3);
    disk.put_dir(sim_path!("/home/u/.myownmesh"), 0o700);
    disk.put_link(sim_path!("/home/u/.myownllm/.myownmesh"), target);
    let before = contents(&disk);
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    assert_eq!(store.load(&mut ids()).unwrap().shape, FileShape::Daemon);
    let locked = store.lock(Duration::ZERO).unwrap();
    let refused = [
        locked.apply(&mut ids()).unwrap_err(),
        locked.update(&mut ids(), &mut |_| Ok(true)).unwrap_err(),
        locked.accept().unwrap_err(),
        locked.rebase_daemon_config().unwrap_err(),
        locked.set_misplaced_aside().unwrap_err(),
    ];
    for error in refused {
        assert_eq!((error.code(), error.class()), ("paths.overlap", Class::Refused), "{error}");
        assert!(error.hint().is_some());
    }
    assert_eq!(contents(&disk), before);
}
