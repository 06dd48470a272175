//! The disk below a locked home goes through directory handles, which Windows does not have.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests play the other programs")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use myownllm_durable_fs::{Disk, DiskError, LockError, LockedDir, Owner, RealDisk, Untrusted, replace};

struct Home {
    root: tempfile::TempDir,
    path: PathBuf,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("home");
        for folder in ["home", "home/keys", "home/keys/deep", "elsewhere"] {
            fs::create_dir(root.path().join(folder)).expect("made");
        }
        Self { root, path }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn elsewhere(&self, name: &str) -> PathBuf {
        self.root.path().join("elsewhere").join(name)
    }

    fn lock(&self) -> LockedDir {
        self.lock_again().expect("free")
    }

    fn lock_again(&self) -> Result<LockedDir, LockError> {
        RealDisk.lock(&self.path, Duration::ZERO)
    }
}

/// Makes every changing call in `folder`, which holds a file `file` and a directory `sub`.
fn changes(lock: &LockedDir, folder: &Path) -> Vec<(&'static str, Result<(), DiskError>)> {
    let at = |name: &str| folder.join(name);
    let home = folder.parent().expect("a home").join("mine");
    vec![
        ("make_dir", lock.make_dir(&at("new"), 0o700)),
        ("create", lock.create(&at("new"), b"ours", 0o600)),
        ("copy_new", lock.copy_new(&home, &at("new"), None)),
        ("rename out", lock.rename_noreplace(&at("file"), &home.with_file_name("new"))),
        ("rename in", lock.rename(&home, &at("new"))),
        ("exchange", lock.exchange(&home, &at("file"))),
        ("hard_link", lock.hard_link(&home, &at("new"))),
        ("symlink", lock.symlink(Path::new("x"), &at("new"))),
        ("set_mode", lock.set_mode(&at("file"), 0o640)),
        ("set_owner", lock.set_owner(&at("file"), Owner { uid: 4321, gid: 4321 })),
        ("unlink", lock.unlink(&at("file"))),
        ("remove_dir", lock.remove_dir(&at("sub"))),
    ]
}

/// Returns everything below a directory: names, owners, modes and contents.
fn seen(folder: &Path) -> Vec<(PathBuf, u32, u32, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .expect("readable")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let meta = fs::symlink_metadata(&path).expect("there");
            let bytes = if meta.is_file() { fs::read(&path).expect("readable") } else { Vec::new() };
            (path, meta.uid(), meta.mode(), bytes)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn nothing_is_changed_behind_a_link_that_leads_out_of_the_home() {
    let home = Home::new();
    fs::write(home.elsewhere("file"), "theirs").expect("written");
    fs::write(home.at("mine"), "mine").expect("written");
    fs::create_dir(home.elsewhere("sub")).expect("made");
    for target in [home.root.path().join("elsewhere"), "../elsewhere".into(), "keys/../../elsewhere".into()] {
        symlink(&target, home.at("link")).expect("made");
        let before = (seen(&home.path), seen(&home.elsewhere("")));
        let lock = home.lock();
        for folders in [&[][..], &[&*home.at("link")]] {
            let _held = lock.keep_open(folders);
            for (call, result) in changes(&lock, &home.at("link")) {
                let error = result.expect_err(call);
                let path = fs::canonicalize(&home.path).expect("there").join("link");
                assert_eq!(error.untrusted(), Some(&Untrusted::LeadsOut { path }), "{call}: {error:?}");
                assert_eq!(error.code(), "durable-fs.untrusted");
            }
        }
        assert_eq!((seen(&home.path), seen(&home.elsewhere(""))), before);
        assert_eq!(lock.read(&home.at("link/file"), 10).expect("to look is allowed"), b"theirs");
        drop(lock);
        fs::remove_file(home.at("link")).expect("there");
    }
}

/// Symlinks within the home are allowed, whatever their spelling and the spelling of the home.
#[test]
fn links_within_the_home_are_gone_through() {
    let mut home = Home::new();
    let real = home.path.clone();
    symlink(&real, home.root.path().join("alias")).expect("made");
    symlink(&real, home.root.path().join("third")).expect("made");
    let targets = [
        PathBuf::from("keys/deep"),
        "./keys/../keys/deep".into(),
        "../home/keys/deep".into(),
        real.join("keys/deep"),
        home.root.path().join("alias/keys/deep"),
        home.root.path().join("third/keys/deep"),
    ];
    for name in ["home", "alias"] {
        home.path = home.root.path().join(name);
        let lock = home.lock();
        for target in &targets {
            symlink(target, real.join("link")).expect("made");
            lock.create(&home.at("link/new"), b"ours", 0o600).expect("made");
            assert_eq!(fs::read(real.join("keys/deep/new")).expect("it is there"), b"ours");
            let resolved = lock.canonicalize(&home.at("link/new")).expect("there");
            assert_eq!(resolved, fs::canonicalize(real.join("keys/deep/new")).expect("there"));
            lock.unlink(&resolved).expect("the resolved name is as good");
            fs::remove_file(real.join("link")).expect("there");
        }
        drop(lock);
    }
}

/// A write to a symlink reaches its file, inside and outside of the home.
#[test]
fn a_linked_file_is_followed() {
    let home = Home::new();
    for (target, real) in [
        (PathBuf::from("keys/config"), home.at("keys/config")),
        (home.elsewhere("config"), home.elsewhere("config")),
        ("../elsewhere/config".into(), home.elsewhere("config")),
    ] {
        fs::write(&real, "old").expect("written");
        symlink(&target, home.at("config")).expect("made");
        let lock = home.lock();
        assert_eq!(lock.read(&home.at("config"), 10).expect("readable"), b"old");
        assert!(lock.stat_follow(&home.at("config")).expect("there").is_file());
        assert_eq!(
            lock.canonicalize(&home.at("config")).expect("there"),
            fs::canonicalize(&real).expect("there")
        );
        let replaced = replace(&lock, &home.at("config"), b"new", b"old", 1 << 20).expect("replaced");
        drop((replaced, lock));
        assert_eq!(fs::read(&real).expect("there"), b"new");
        assert!(fs::symlink_metadata(home.at("config")).expect("there").is_symlink());
        fs::remove_file(home.at("config")).expect("there");
    }
}

/// A handle outlives the rename of its directory, so the name decides.
#[test]
fn a_handle_does_not_outlive_the_name_of_its_folder() {
    let home = Home::new();
    let lock = home.lock();
    lock.create(&home.at("keys/deep/one"), b"", 0o600).expect("made");
    fs::rename(home.at("keys"), home.at("former")).expect("renamed");
    fs::create_dir_all(home.at("keys/deep")).expect("made");
    lock.create(&home.at("keys/deep/two"), b"", 0o600).expect("made");
    assert!(home.at("keys/deep/two").exists() && !home.at("former/deep/two").exists());
    fs::rename(home.at("keys"), home.at("another")).expect("renamed");
    let error = lock.create(&home.at("keys/deep/three"), b"", 0o600).expect_err("no such folder");
    assert!(error.is_not_found(), "{error:?}");
    drop(lock);
}

/// For a home inside a home, changes go through the handle of the inner home, whichever was locked
/// first.
#[test]
fn inner_of_two_nested_homes_counts() {
    let home = Home::new();
    let inner = home.at("keys");
    for inner_first in [true, false] {
        let [first, second] = if inner_first { [&inner, &home.path] } else { [&home.path, &inner] };
        let locks = [first, second].map(|home| RealDisk.lock(home, Duration::ZERO).expect("free"));
        let [inner_lock, outer_lock] =
            if inner_first { [&locks[0], &locks[1]] } else { [&locks[1], &locks[0]] };
        // The symlink leads out of the inner home, though not out of the outer home.
        symlink(home.at(""), home.at("keys/out")).expect("made");
        let error = inner_lock
            .create(&home.at("keys/out/new"), b"", 0o600)
            .expect_err("it leads out of the inner home");
        assert!(matches!(error.untrusted(), Some(Untrusted::LeadsOut { .. })), "{error:?}");
        outer_lock.create(&home.at("new"), b"", 0o600).expect("the outer home is locked too");
        drop(locks);
        fs::remove_file(home.at("new")).expect("there");
        fs::remove_file(home.at("keys/out")).expect("there");
    }
}

/// A kept handle leads to the directory that was opened, even if its name goes to another; after
/// the drop the name decides again.
#[test]
fn a_held_folder_is_the_one_that_was_opened() {
    let home = Home::new();
    let lock = home.lock();
    let folder = home.at("keys/deep");
    let held = lock.keep_open(&[&folder, &home.at("none")]);
    fs::rename(home.at("keys"), home.at("former")).expect("renamed");
    symlink(home.elsewhere(""), home.at("keys")).expect("made");
    fs::create_dir(home.elsewhere("deep")).expect("made");
    lock.create(&folder.join("one"), b"", 0o600).expect("made");
    assert!(home.at("former/deep/one").exists() && seen(&home.elsewhere("deep")).is_empty());
    drop(held);
    let error = lock.create(&folder.join("two"), b"", 0o600).expect_err("it leads out of the home");
    assert!(matches!(error.untrusted(), Some(Untrusted::LeadsOut { .. })), "{error:?}");
    fs::remove_file(home.at("keys")).expect("there");
    fs::create_dir_all(&folder).expect("made");
    lock.create(&folder.join("three"), b"", 0o600).expect("made");
    assert_eq!(seen(&folder).len(), 1);
    drop(lock);
}

/// A symlink of the home that leads to a file outside admits the directory of that file, by its
/// handle, and nothing else.
#[test]
fn directory_of_a_linked_file_is_admitted_by_its_symlink_alone() {
    let home = Home::new();
    fs::write(home.elsewhere("one"), "theirs").expect("written");
    fs::create_dir(home.elsewhere("sub")).expect("made");
    symlink(home.elsewhere("one"), home.at("config")).expect("made");
    let at = |name: &str| fs::canonicalize(home.root.path()).expect("there").join("elsewhere").join(name);
    let lock = home.lock();
    fs::write(home.at("mine"), "mine").expect("written");
    let error = lock.copy_new(&home.at("mine"), &at("two"), None).expect_err("it is outside");
    assert!(error.outside_lock().is_some(), "{error:?}");
    assert_eq!(lock.admit_target(&home.at("config")).expect("it leads to a file"), at("one"));
    let held = lock.keep_open(&[&at("")]);
    lock.copy_new(&home.at("mine"), &at("two"), None).expect("copied");
    lock.symlink(Path::new("two"), &at("three")).expect("made");
    assert_eq!(lock.read(&at("three"), 10).expect("a symlink is followed"), b"mine");
    assert!(lock.stat_follow(&at("three")).expect("there").is_file());
    assert_eq!(lock.canonicalize(&at("three")).expect("there"), at("two"));
    assert!(lock.rename_noreplace(&at("two"), &at("one")).is_err_and(|error| error.is_already_exists()));
    lock.rename_noreplace(&at("two"), &at("four")).expect("renamed");
    for outside in [at("sub/new"), at("../new"), at("sub/../new")] {
        let error = lock.create(&outside, b"", 0o600).expect_err("it is not in that directory");
        assert!(error.outside_lock().is_some(), "{error:?}");
    }
    drop(held);
    let before = seen(&home.elsewhere(""));
    fs::rename(home.elsewhere(""), home.root.path().join("former")).expect("renamed");
    fs::create_dir(home.elsewhere("")).expect("made");
    lock.unlink(&at("four")).expect("the directory that was admitted");
    assert!(seen(&home.elsewhere("")).is_empty());
    assert_eq!(seen(&home.root.path().join("former")).len(), before.len() - 1);
    assert!(home.lock_again().is_err());
    drop(lock);
    let lock = home.lock();
    let error = lock.create(&at("five"), b"", 0o600).expect_err("another lock knows nothing of it");
    assert!(error.outside_lock().is_some(), "{error:?}");
}

/// Each lock has its own handles: a directory that one lock keeps open or has admitted is only a
/// path to the other lock.
#[test]
fn two_locks_do_not_see_each_others_handles() {
    let (one, two) = (Home::new(), Home::new());
    let (lock_one, lock_two) = (one.lock(), two.lock());
    fs::write(one.at("keys/deep/file"), "one").expect("written");
    let kept = lock_one.keep_open(&[&one.at("keys/deep")]);
    fs::rename(one.at("keys"), one.at("former")).expect("renamed");
    fs::create_dir_all(one.at("keys/deep")).expect("made");
    fs::write(one.at("keys/deep/file"), "another").expect("written");
    assert_eq!(lock_one.read(&one.at("keys/deep/file"), 10).expect("by its handle"), b"one");
    assert_eq!(lock_two.read(&one.at("keys/deep/file"), 10).expect("by its path"), b"another");
    for (lock, home) in [(&lock_one, &two), (&lock_two, &one)] {
        let error = lock.create(&home.at("new"), b"", 0o600).expect_err("the other home");
        assert!(error.outside_lock().is_some(), "{error:?}");
        assert!(!home.at("new").exists());
    }
    drop((kept, lock_two));
    assert_eq!(lock_one.read(&one.at("keys/deep/file"), 10).expect("by its name again"), b"another");
    lock_one.create(&one.at("new"), b"", 0o600).expect("the other lock is no matter");
}

/// The locked directory stays the home, even if another directory gets its name.
#[test]
fn work_goes_on_in_the_folder_that_is_locked() {
    let home = Home::new();
    let lock = home.lock();
    fs::rename(&home.path, home.root.path().join("former")).expect("renamed");
    symlink(home.elsewhere(""), &home.path).expect("made");
    lock.create(&home.at("one"), b"", 0o600).expect("made");
    lock.create(&home.at("keys/two"), b"", 0o600).expect("made");
    assert!(
        home.root.path().join("former/one").exists() && home.root.path().join("former/keys/two").exists()
    );
    assert!(seen(&home.elsewhere("")).is_empty());
    drop(lock);
}

/// Another user replaces directories and symlinks of the home by their own.
#[test]
fn symlink_of_another_user_is_not_followed() {
    let home = Home::new();
    if !fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
        eprintln!("skipped: only root can play another user");
        return;
    }
    chown(&home.path, Some(1234), Some(1234)).expect("root may");
    fs::write(home.at("mine"), "mine").expect("written");
    let theirs = home.at("theirs");
    fs::create_dir(&theirs).expect("made");
    fs::create_dir(theirs.join("sub")).expect("made");
    fs::write(theirs.join("file"), "theirs").expect("written");
    chown(&theirs, Some(4321), Some(4321)).expect("root may");
    symlink("keys", home.at("link")).expect("made");
    lchown(home.at("link"), Some(4321), Some(4321)).expect("root may");
    fs::write(home.at("keys/file"), "mine").expect("written");
    fs::create_dir(home.at("keys/sub")).expect("made");
    symlink("mine", home.at("linked file")).expect("made");
    lchown(home.at("linked file"), Some(4321), Some(4321)).expect("root may");
    let lock = home.lock();
    for (folder, is_held) in [("theirs", false), ("theirs", true), ("link", false), ("link", true)] {
        let _held = is_held.then(|| lock.keep_open(&[&home.at(folder)]));
        let before = (seen(&home.path), seen(&theirs), seen(&home.at("keys")));
        let at = |name: &str| home.at(folder).join(name);
        let looks = [
            ("stat", lock.stat(&at("file")).map(drop)),
            ("stat_follow", lock.stat_follow(&at("file")).map(drop)),
            ("for_each_entry", lock.list(&at("sub")).map(drop)),
            ("read", lock.read(&at("file"), 10).map(drop)),
            ("read_link", lock.read_link(&at("file")).map(drop)),
            ("canonicalize", lock.canonicalize(&at("file")).map(drop)),
            ("content_eq", lock.content_eq(&at("file"), b"theirs").map(drop)),
            ("same_content", lock.same_content(&home.at("mine"), &at("file")).map(drop)),
            ("sync_file", lock.sync_file(&at("file"))),
            ("sync_dir", lock.sync_dir(&at("sub"))),
        ];
        for (call, result) in looks.into_iter().chain(changes(&lock, &home.at(folder))) {
            let error = result.expect_err(call);
            let foreign =
                matches!(error.untrusted(), Some(Untrusted::Foreign { user: 4321, owner: 1234, .. }));
            assert!(foreign, "{folder}, {call}: {error:?}");
        }
        assert_eq!((seen(&home.path), seen(&theirs), seen(&home.at("keys"))), before);
    }
    for (call, result) in [
        ("for_each_entry", lock.list(&theirs).map(drop)),
        ("rename", lock.rename(&theirs, &home.at("keys/new"))),
        ("rename_noreplace", lock.rename_noreplace(&theirs, &home.at("keys/new"))),
        ("read", lock.read(&home.at("linked file"), 10).map(drop)),
        ("stat_follow", lock.stat_follow(&home.at("linked file")).map(drop)),
        ("canonicalize", lock.canonicalize(&home.at("linked file")).map(drop)),
    ] {
        assert!(result.expect_err(call).untrusted().is_some(), "{call}");
    }
    assert!(lock.stat(&theirs).expect("to see that it is there is allowed").is_dir());
    chown(&theirs, Some(0), Some(0)).expect("root may");
    lock.create(&theirs.join("new"), b"", 0o600).expect("root's folders are trusted");
    drop(lock);
}

/// A caller that reads the path of a locked home sees the symlink that leads there, not the home.
#[test]
fn a_symlink_to_a_locked_home_is_seen_as_one() {
    use myownllm_durable_fs::trust::trace;
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(root.path().join("open/real/inside")).expect("made");
    let app = root.path().join("app");
    symlink("open/real", &app).expect("made");
    let way = trace(&RealDisk, &app).expect("there");
    let lock = RealDisk.lock(&app, Duration::ZERO).expect("free");
    assert_eq!(trace(&lock, &app).expect("there"), way);
    assert_eq!(lock.read_link(&app).expect("a link"), Path::new("open/real"));
    assert!(lock.stat(&app).expect("there").is_symlink());
    assert!(lock.stat_follow(&app).expect("there").is_dir());
    assert!(lock.stat(&app.join("inside")).expect("there").is_dir());
    drop(lock);
}
