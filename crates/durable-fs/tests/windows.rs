//! The answers of Windows: sharing, long paths, odd names, letter case, the read-only attribute,
//! junctions.

#![cfg(windows)]
#![allow(clippy::disallowed_methods, reason = "tests play the other programs")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    fs,
    io::ErrorKind,
    os::windows::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use myownllm_durable_fs::{
    Disk, FileKind, LockedDir, RealDisk, Replaced, make_dirs, publish_new, rename_or_link, replace,
};

fn home() -> (tempfile::TempDir, LockedDir) {
    let home = tempfile::tempdir().expect("a directory");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    (home, locked)
}

/// Opens a file as a scanner does that shares it with nobody.
fn open_unshared(path: &Path) -> fs::File {
    fs::OpenOptions::new().read(true).share_mode(0).open(path).expect("opened")
}

type Change = fn(&LockedDir, &Path) -> Result<(), myownllm_durable_fs::DiskError>;

fn changes() -> [(&'static str, Change); 6] {
    [
        ("read", |disk, file| disk.read(file, 100).map(drop)),
        ("sync", |disk, file| disk.sync_file(file)),
        ("copy", |disk, file| disk.copy_new(file, &file.with_extension("copy"), None)),
        ("replace", |disk, file| replace(disk, file, b"new", b"old", 100).map(drop)),
        ("rename", |disk, file| disk.rename_noreplace(file, &file.with_extension("moved"))),
        ("unlink", |disk, file| disk.unlink(file)),
    ]
}

#[test]
fn file_that_a_scanner_holds_for_a_moment_is_tried_again() {
    for (name, change) in changes() {
        let (home, locked) = home();
        let file = home.path().join("config.json");
        fs::write(&file, "old").expect("written");
        let held = open_unshared(&file);
        let scanner = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            drop(held);
        });
        change(&locked, &file).unwrap_or_else(|error| panic!("{name}: {error}"));
        scanner.join().expect("no panic");
    }
}

#[test]
fn file_that_stays_held_is_an_error_after_a_bounded_time() {
    for (name, change) in changes() {
        let (home, locked) = home();
        let file = home.path().join("config.json");
        fs::write(&file, "old").expect("written");
        let held = open_unshared(&file);
        let start = Instant::now();
        change(&locked, &file).expect_err(name);
        assert!(start.elapsed() < Duration::from_secs(8), "{name}: {:?}", start.elapsed());
        drop(held);
        assert_eq!(fs::read(&file).expect("readable"), b"old", "{name}");
        let left: Vec<_> = fs::read_dir(home.path()).expect("readable").flatten().collect();
        assert!(left.len() <= 2, "{name}: nothing is left but the file and the lock: {left:?}");
    }
}

/// Another program looks at a directory, or a file, while it is removed. It shares everything.
#[test]
fn entry_that_another_program_looks_at_is_gone_after_its_removal() {
    const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
    let (home, locked) = home();
    let dir = home.path().join("secrets");
    for path in [dir.join("key"), dir.clone()] {
        make_dirs(&locked, home.path(), &dir, 0o700, None).expect("made");
        if path != dir {
            fs::write(&path, "x").expect("written");
        }
        let open = fs::OpenOptions::new().access_mode(0).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(&path);
        let looks = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(150));
            drop(open.expect("opened"));
        });
        let removed = if path == dir { locked.remove_dir(&path) } else { locked.unlink(&path) };
        removed.expect("removed");
        assert!(locked.stat(&path).expect_err("gone").is_not_found(), "{}", path.display());
        looks.join().expect("no panic");
    }
}

/// Publishes, reads, lists, renames and removes a file with this path.
fn lives_with(locked: &LockedDir, file: &Path) {
    publish_new(locked, file, b"one", 0o600, None).expect("published");
    assert_eq!(locked.read(file, 100).expect("readable"), b"one");
    let replaced = replace(locked, file, b"two", b"one", 100).expect("replaced");
    let Replaced::Expected { displaced, .. } = replaced else { panic!("nobody else wrote: {replaced:?}") };
    displaced.discard(locked).expect("removed");
    let dir = file.parent().expect("a parent");
    let names: Vec<_> = locked.list(dir).expect("readable").into_iter().map(|entry| entry.name).collect();
    assert!(names.iter().any(|name| Some(name.as_os_str()) == file.file_name()), "{names:?}");
    let moved = dir.join("moved");
    rename_or_link(locked, file, &moved).expect("renamed");
    assert!(locked.stat(file).expect_err("it has moved").is_not_found());
    locked.sync_file(&moved).expect("synced");
    locked.unlink(&moved).expect("removed");
}

#[test]
fn path_of_more_than_260_characters_is_like_any_other() {
    let (home, locked) = home();
    let deep = (0..8).fold(home.path().to_owned(), |path, _| path.join("a".repeat(50)));
    assert!(deep.as_os_str().len() > 400);
    make_dirs(&locked, home.path(), &deep, 0o700, None).expect("made");
    lives_with(&locked, &deep.join("roster.json"));
}

#[test]
fn reserved_names_and_names_with_a_dot_at_the_end_are_like_any_other() {
    for name in ["con.json", "nul", "aux.json", "com1", "roster.json.", "roster "] {
        let (home, locked) = home();
        lives_with(&locked, &home.path().join(name));
    }
    // The name without the dot is another file.
    let (home, locked) = home();
    publish_new(&locked, &home.path().join("roster.json"), b"one", 0o600, None).expect("published");
    publish_new(&locked, &home.path().join("roster.json."), b"two", 0o600, None).expect("published");
    assert_eq!(locked.read(&home.path().join("roster.json"), 100).expect("readable"), b"one");
}

#[test]
fn names_that_differ_in_letter_case_are_one_file_and_none_is_replaced() {
    let (home, locked) = home();
    let [lower, upper] = ["roster.json", "Roster.JSON"].map(|name| home.path().join(name));
    fs::write(&lower, "old").expect("written");
    let same = locked.stat(&lower).expect("there");
    assert!(same.is_same_file(&locked.stat(&upper).expect("there")));
    let error = publish_new(&locked, &upper, b"new", 0o600, None).expect_err("the name is taken");
    assert!(error.is_already_exists(), "{error:?}");
    assert_eq!(fs::read(&lower).expect("readable"), b"old");
}

#[test]
fn read_only_file_is_replaced_synced_and_removed_and_stays_read_only() {
    let (home, locked) = home();
    let file = home.path().join("config.json");
    fs::write(&file, "old").expect("written");
    let mut permissions = fs::metadata(&file).expect("there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).expect("set");
    locked.sync_file(&file).expect("synced");
    let replaced = replace(&locked, &file, b"new", b"old", 100).expect("replaced");
    let Replaced::Expected { displaced, .. } = replaced else { panic!("nobody else wrote: {replaced:?}") };
    displaced.discard(&locked).expect("removed");
    assert_eq!(fs::read(&file).expect("readable"), b"new");
    assert!(fs::metadata(&file).expect("there").permissions().readonly());
    locked.unlink(&file).expect("removed");
    assert!(locked.stat(&file).expect_err("removed").is_not_found());
}

#[test]
fn two_hard_links_are_seen_as_one_file_with_two_names() {
    let (home, locked) = home();
    let [one, two, other] = ["one", "two", "other"].map(|name| home.path().join(name));
    fs::write(&one, "x").expect("written");
    fs::write(&other, "x").expect("written");
    locked.hard_link(&one, &two).expect("linked");
    let [one, two, other] = [one, two, other].map(|path| locked.stat(&path).expect("there"));
    assert!(one.is_same_file(&two) && !one.is_same_file(&other));
    assert_eq!((one.links, two.links, other.links), (2, 2, 1));
}

fn junction(target: &Path) -> Option<PathBuf> {
    let link = target.with_extension("junction");
    let made = std::process::Command::new("cmd").args(["/c", "mklink", "/J"]).args([&link, target]).output();
    if made.is_ok_and(|output| output.status.success()) && fs::symlink_metadata(&link).is_ok() {
        return Some(link);
    }
    eprintln!("skipped: this system makes no junctions");
    None
}

#[test]
fn junction_is_a_symlink_whose_target_stays() {
    let (home, locked) = home();
    let target = home.path().join("target");
    fs::create_dir(&target).expect("made");
    fs::write(target.join("file"), "x").expect("written");
    let Some(link) = junction(&target) else { return };
    assert_eq!(locked.stat(&link).expect("there").kind, FileKind::Symlink);
    assert_eq!(locked.list(&link).expect_err("not followed").kind(), ErrorKind::NotADirectory);
    assert!(locked.remove_dir(&link).is_err());
    assert_eq!(locked.read_link(&link).expect("a junction"), target);
    assert_eq!(locked.canonicalize(&link).expect("there"), locked.canonicalize(&target).expect("there"));
    locked.unlink(&link).expect("removed");
    assert_eq!(fs::read(target.join("file")).expect("its target stays"), b"x");
}
