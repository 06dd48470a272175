//! What a disk does below a home whose lock is held: it goes through folder handles.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests play the other programs")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown, lchown, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use myownllm_durable_fs::{Disk, DiskError, LockedDir, Owner, RealDisk, Untrusted, replace};

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
        RealDisk.lock(&self.path, Duration::ZERO).expect("free")
    }
}

/// Every call that changes something, made in `folder`, where there are a file `file` and a folder `sub`.
fn changes(folder: &Path) -> Vec<(&'static str, Result<(), DiskError>)> {
    let at = |name: &str| folder.join(name);
    let home = folder.parent().expect("a home").join("mine");
    vec![
        ("make_dir", RealDisk.make_dir(&at("new"), 0o700)),
        ("create", RealDisk.create(&at("new"), b"ours", 0o600)),
        ("copy_new", RealDisk.copy_new(&home, &at("new"), None)),
        ("rename out", RealDisk.rename_noreplace(&at("file"), &home.with_file_name("new"))),
        ("rename in", RealDisk.rename(&home, &at("new"))),
        ("exchange", RealDisk.exchange(&home, &at("file"))),
        ("hard_link", RealDisk.hard_link(&home, &at("new"))),
        ("symlink", RealDisk.symlink(Path::new("x"), &at("new"))),
        ("set_mode", RealDisk.set_mode(&at("file"), 0o640)),
        ("set_owner", RealDisk.set_owner(&at("file"), Owner { uid: 4321, gid: 4321 })),
        ("unlink", RealDisk.unlink(&at("file"))),
        ("remove_dir", RealDisk.remove_dir(&at("sub"))),
    ]
}

/// Everything below a folder: names, owners, modes and contents.
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
            let _held = RealDisk.hold(&lock, folders);
            for (call, result) in changes(&home.at("link")) {
                let error = result.expect_err(call);
                let path = fs::canonicalize(&home.path).expect("there").join("link");
                assert_eq!(error.untrusted(), Some(&Untrusted::LeadsOut { path }), "{call}: {error:?}");
                assert_eq!(error.code(), "durable-fs.untrusted");
            }
        }
        assert_eq!((seen(&home.path), seen(&home.elsewhere(""))), before);
        assert_eq!(RealDisk.read(&home.at("link/file"), 10).expect("to look is allowed"), b"theirs");
        drop(lock);
        RealDisk.create(&home.at("link/new"), b"", 0o600).expect("without the lock a path is a path");
        fs::remove_file(home.elsewhere("new")).expect("there");
        fs::remove_file(home.at("link")).expect("there");
    }
}

/// Links from one place of the home to another are the home's own business, however they and the home are spelled.
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
            RealDisk.create(&home.at("link/new"), b"ours", 0o600).expect("made");
            assert_eq!(fs::read(real.join("keys/deep/new")).expect("it is there"), b"ours");
            let resolved = RealDisk.canonicalize(&home.at("link/new")).expect("there");
            assert_eq!(resolved, fs::canonicalize(real.join("keys/deep/new")).expect("there"));
            RealDisk.unlink(&resolved).expect("the resolved name is as good");
            fs::remove_file(real.join("link")).expect("there");
        }
        drop(lock);
    }
}

/// A file that is a link is written through as ever, within the home and out of it.
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
        assert_eq!(RealDisk.read(&home.at("config"), 10).expect("readable"), b"old");
        assert!(RealDisk.stat_follow(&home.at("config")).expect("there").is_file());
        assert_eq!(
            RealDisk.canonicalize(&home.at("config")).expect("there"),
            fs::canonicalize(&real).expect("there")
        );
        let replaced = replace(&RealDisk, &home.at("config"), b"new", b"old", 1 << 20).expect("replaced");
        drop((replaced, lock));
        assert_eq!(fs::read(&real).expect("there"), b"new");
        assert!(fs::symlink_metadata(home.at("config")).expect("there").is_symlink());
        fs::remove_file(home.at("config")).expect("there");
    }
}

/// A handle lives on when its folder is renamed. The name counts.
#[test]
fn a_handle_does_not_outlive_the_name_of_its_folder() {
    let home = Home::new();
    let lock = home.lock();
    RealDisk.create(&home.at("keys/deep/one"), b"", 0o600).expect("made");
    fs::rename(home.at("keys"), home.at("former")).expect("renamed");
    fs::create_dir_all(home.at("keys/deep")).expect("made");
    RealDisk.create(&home.at("keys/deep/two"), b"", 0o600).expect("made");
    assert!(home.at("keys/deep/two").exists() && !home.at("former/deep/two").exists());
    fs::rename(home.at("keys"), home.at("another")).expect("renamed");
    let error = RealDisk.create(&home.at("keys/deep/three"), b"", 0o600).expect_err("no such folder");
    assert!(error.is_not_found(), "{error:?}");
    drop(lock);
}

/// Of a home in a home the inner one counts, whichever was locked first: what it holds is done through its own handle.
#[test]
fn of_a_home_in_a_home_the_inner_one_counts() {
    let home = Home::new();
    let inner = home.at("keys");
    for inner_first in [true, false] {
        let [first, second] = if inner_first { [&inner, &home.path] } else { [&home.path, &inner] };
        let locks = [first, second].map(|home| RealDisk.lock(home, Duration::ZERO).expect("free"));
        // Out of the inner home, though not out of the outer one.
        symlink(home.at(""), home.at("keys/out")).expect("made");
        let error = RealDisk
            .create(&home.at("keys/out/new"), b"", 0o600)
            .expect_err("it leads out of the inner home");
        assert!(matches!(error.untrusted(), Some(Untrusted::LeadsOut { .. })), "{error:?}");
        RealDisk.create(&home.at("new"), b"", 0o600).expect("the outer home is locked too");
        drop(locks);
        fs::remove_file(home.at("new")).expect("there");
        fs::remove_file(home.at("keys/out")).expect("there");
    }
}

/// What is held is the folder, whatever has its name meanwhile; afterwards the name counts again.
#[test]
fn a_held_folder_is_the_one_that_was_opened() {
    let home = Home::new();
    let lock = home.lock();
    let folder = home.at("keys/deep");
    let held = RealDisk.hold(&lock, &[&folder, &home.at("none")]);
    fs::rename(home.at("keys"), home.at("former")).expect("renamed");
    symlink(home.elsewhere(""), home.at("keys")).expect("made");
    fs::create_dir(home.elsewhere("deep")).expect("made");
    RealDisk.create(&folder.join("one"), b"", 0o600).expect("made");
    assert!(home.at("former/deep/one").exists() && seen(&home.elsewhere("deep")).is_empty());
    drop(held);
    let error = RealDisk.create(&folder.join("two"), b"", 0o600).expect_err("it leads out of the home");
    assert!(matches!(error.untrusted(), Some(Untrusted::LeadsOut { .. })), "{error:?}");
    fs::remove_file(home.at("keys")).expect("there");
    fs::create_dir_all(&folder).expect("made");
    RealDisk.create(&folder.join("three"), b"", 0o600).expect("made");
    assert_eq!(seen(&folder).len(), 1);
    drop(lock);
}

/// A folder outside of the home can be held too, and is what its path leads to.
#[test]
fn a_held_folder_outside_of_the_home_is_worked_in_as_ever() {
    let home = Home::new();
    symlink(home.elsewhere(""), home.root.path().join("link")).expect("made");
    let (folder, at) = (home.root.path().join("link"), |name: &str| home.root.path().join("link").join(name));
    let lock = home.lock();
    fs::write(home.at("mine"), "mine").expect("written");
    let held = RealDisk.hold(&lock, &[&folder]);
    RealDisk.copy_new(&home.at("mine"), &at("one"), None).expect("copied");
    RealDisk.symlink(Path::new("one"), &at("two")).expect("made");
    assert_eq!(RealDisk.read(&at("two"), 10).expect("a link is followed"), b"mine");
    assert!(RealDisk.stat_follow(&at("two")).expect("there").is_file());
    let real = fs::canonicalize(home.elsewhere("one")).expect("there");
    assert_eq!(RealDisk.canonicalize(&at("two")).expect("there"), real);
    assert!(RealDisk.rename_noreplace(&at("one"), &at("two")).is_err_and(|error| error.is_already_exists()));
    RealDisk.rename_noreplace(&at("one"), &at("three")).expect("renamed");
    drop(held);
    drop(lock);
    assert_eq!(seen(&home.elsewhere("")).len(), 2);
}

/// The home that was locked stays the home, whatever gets its name.
#[test]
fn work_goes_on_in_the_folder_that_is_locked() {
    let home = Home::new();
    let lock = home.lock();
    fs::rename(&home.path, home.root.path().join("former")).expect("renamed");
    symlink(home.elsewhere(""), &home.path).expect("made");
    RealDisk.create(&home.at("one"), b"", 0o600).expect("made");
    RealDisk.create(&home.at("keys/two"), b"", 0o600).expect("made");
    assert!(
        home.root.path().join("former/one").exists() && home.root.path().join("former/keys/two").exists()
    );
    assert!(seen(&home.elsewhere("")).is_empty());
    drop(lock);
}

/// Folders and links of another user, put where the home's were.
#[test]
fn what_belongs_to_another_user_is_not_gone_through() {
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
        let _held = is_held.then(|| RealDisk.hold(&lock, &[&home.at(folder)]));
        let before = (seen(&home.path), seen(&theirs), seen(&home.at("keys")));
        let at = |name: &str| home.at(folder).join(name);
        let looks = [
            ("stat", RealDisk.stat(&at("file")).map(drop)),
            ("stat_follow", RealDisk.stat_follow(&at("file")).map(drop)),
            ("for_each_entry", RealDisk.list(&at("sub")).map(drop)),
            ("read", RealDisk.read(&at("file"), 10).map(drop)),
            ("read_link", RealDisk.read_link(&at("file")).map(drop)),
            ("canonicalize", RealDisk.canonicalize(&at("file")).map(drop)),
            ("content_eq", RealDisk.content_eq(&at("file"), b"theirs").map(drop)),
            ("same_content", RealDisk.same_content(&home.at("mine"), &at("file")).map(drop)),
            ("sync_file", RealDisk.sync_file(&at("file"))),
            ("sync_dir", RealDisk.sync_dir(&at("sub"))),
        ];
        for (call, result) in looks.into_iter().chain(changes(&home.at(folder))) {
            let error = result.expect_err(call);
            let foreign =
                matches!(error.untrusted(), Some(Untrusted::Foreign { user: 4321, owner: 1234, .. }));
            assert!(foreign, "{folder}, {call}: {error:?}");
        }
        assert_eq!((seen(&home.path), seen(&theirs), seen(&home.at("keys"))), before);
    }
    for (call, result) in [
        ("for_each_entry", RealDisk.list(&theirs).map(drop)),
        ("rename", RealDisk.rename(&theirs, &home.at("keys/new"))),
        ("rename_noreplace", RealDisk.rename_noreplace(&theirs, &home.at("keys/new"))),
        ("read", RealDisk.read(&home.at("linked file"), 10).map(drop)),
        ("stat_follow", RealDisk.stat_follow(&home.at("linked file")).map(drop)),
        ("canonicalize", RealDisk.canonicalize(&home.at("linked file")).map(drop)),
    ] {
        assert!(result.expect_err(call).untrusted().is_some(), "{call}");
    }
    assert!(RealDisk.stat(&theirs).expect("to see that it is there is allowed").is_dir());
    chown(&theirs, Some(0), Some(0)).expect("root may");
    RealDisk.create(&theirs.join("new"), b"", 0o600).expect("root's folders are trusted");
    drop(lock);
}

/// Who asks for the way to a home that is locked sees the symlink that leads there, and not the home in its place.
#[test]
fn a_symlink_to_a_locked_home_is_seen_as_one() {
    use myownllm_durable_fs::trust::trace;
    let root = tempfile::tempdir().expect("a folder");
    fs::create_dir_all(root.path().join("open/real/inside")).expect("made");
    let app = root.path().join("app");
    symlink("open/real", &app).expect("made");
    let way = trace(&RealDisk, &app).expect("there");
    let lock = RealDisk.lock(&app, Duration::ZERO).expect("free");
    assert_eq!(trace(&RealDisk, &app).expect("there"), way);
    assert_eq!(RealDisk.read_link(&app).expect("a link"), Path::new("open/real"));
    assert!(RealDisk.stat(&app).expect("there").is_symlink());
    assert!(RealDisk.stat_follow(&app).expect("there").is_dir());
    assert!(RealDisk.stat(&app.join("inside")).expect("there").is_dir());
    drop(lock);
}
