//! The disk of this machine.

#![allow(clippy::disallowed_methods, reason = "tests play the other programs")]
#![allow(clippy::print_stderr, reason = "what is skipped is said")]

use std::{
    fs,
    io::ErrorKind,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

#[cfg(target_os = "linux")]
use myownllm_durable_fs::publish_new;
use myownllm_durable_fs::{Disk, RealDisk, Replaced, replace, stale_temps};

#[test]
fn the_lock_is_exclusive_bounded_and_writes_nothing() {
    let home = tempfile::tempdir().expect("a folder");
    let lock = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let error = RealDisk.lock(home.path(), Duration::from_millis(50)).expect_err("held");
    assert_eq!(error.code(), "durable-fs.lock-held");
    if cfg!(unix) {
        assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 0);
    }
    drop(lock);
    RealDisk.lock(home.path(), Duration::ZERO).map(drop).expect("free again");
    let absent = RealDisk.lock(&home.path().join("absent"), Duration::ZERO).expect_err("no such home");
    assert_eq!(absent.code(), "durable-fs.lock-failed");
}

#[cfg(unix)]
#[test]
fn a_child_does_not_inherit_the_lock() {
    let home = tempfile::tempdir().expect("a folder");
    let lock = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let mut child = std::process::Command::new("sleep").arg("5").spawn().expect("started");
    // Checks the handles of the child: dropping the lock would release it for every process, so the
    // drop does not show an inherited handle.
    let inherited = fs::read_dir(format!("/proc/{}/fd", child.id())).ok().map(|handles| {
        handles
            .filter_map(|handle| fs::read_link(handle.ok()?.path()).ok())
            .any(|target| target == home.path())
    });
    assert_ne!(inherited, Some(true));
    drop(lock);
    RealDisk.lock(home.path(), Duration::ZERO).map(drop).expect("the child does not hold it");
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

/// Kills and reaps the process when it is dropped.
#[cfg(target_os = "linux")]
struct Running(std::process::Child);

#[cfg(target_os = "linux")]
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell that redirects its third handle, says so, and waits to be killed.
#[cfg(target_os = "linux")]
fn shell_with(redirection: &str, dir: &std::path::Path) -> Running {
    use std::io::BufRead;
    let mut child = std::process::Command::new("sh")
        .args(["-c", &format!("exec 3{redirection}; echo open; read line")])
        .current_dir(dir)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = String::new();
    std::io::BufReader::new(child.stdout.take().expect("piped")).read_line(&mut said).expect("readable");
    assert_eq!(said, "open\n");
    Running(child)
}

#[cfg(target_os = "linux")]
#[test]
fn a_writer_of_another_process_is_seen_also_after_a_rename() {
    let home = tempfile::tempdir().expect("a folder");
    let at = |name: &str| home.path().join(name);
    for name in ["read", "written", "appended", "odd (deleted)", "alone"] {
        fs::write(at(name), b"x").expect("written");
    }
    fs::create_dir(at("aside")).expect("made");
    let mut running = Vec::new();
    for redirection in ["<read", "<>written", ">>appended", ">'odd (deleted)'"] {
        running.push(shell_with(redirection, home.path()));
    }
    let ask = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| at(name)).collect();
        RealDisk.open_for_writing(&paths.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    };
    let names = ["read", "written", "appended", "odd (deleted)", "alone", "absent"];
    assert_eq!(ask(&names), [false, true, true, true, false, false]);
    fs::rename(at("written"), at("aside/written")).expect("renamed");
    fs::write(at("written"), b"another file").expect("written");
    assert_eq!(ask(&["written", "aside/written"]), [false, true]);
    drop(running);
    assert_eq!(ask(&["read", "aside/written", "appended"]), [false; 3]);
}

#[test]
fn contents_are_compared_to_the_last_byte() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("file");
    assert!(RealDisk.content_eq(&file, b"").is_err_and(|e| e.is_not_found()));
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072] {
        let bytes = vec![b'x'; len];
        fs::write(&file, &bytes).expect("written");
        assert!(RealDisk.content_eq(&file, &bytes).expect("readable"), "{len} bytes");
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(!RealDisk.content_eq(&file, &longer).expect("readable"), "{len} bytes are one too few");
        let Some((last, shorter)) = bytes.split_last() else { continue };
        assert!(!RealDisk.content_eq(&file, shorter).expect("readable"), "{len} bytes are one too many");
        let other = [shorter, &[last ^ 1]].concat();
        assert!(!RealDisk.content_eq(&file, &other).expect("readable"), "the last of {len} bytes differs");
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_folder_is_an_error_at_once() {
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let pipe = home.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).expect("made");
    for odd in [pipe.as_path(), home.path()] {
        assert!(RealDisk.read(odd, 10).is_err());
        assert!(RealDisk.same_content(odd, odd).is_err());
        assert!(RealDisk.content_eq(odd, b"").is_err());
        assert!(locked.copy_new(odd, &home.path().join("copy"), None).is_err());
    }
    assert!(replace(&locked, &pipe, b"x", b"", 1 << 20).is_err());
    assert_eq!(fs::read_dir(home.path()).expect("readable").count(), 1, "nothing is left behind");
}

#[cfg(unix)]
#[test]
fn modes_times_and_links_are_kept() {
    use std::os::unix::fs::symlink;
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let at = |name: &str| home.path().join(name);
    locked.create(&at("a"), &vec![7; 200_000], 0o640).expect("made");
    locked.copy_new(&at("a"), &at("b"), None).expect("copied");
    assert!(RealDisk.same_content(&at("a"), &at("b")).expect("readable"));
    let (a, b) = (RealDisk.stat(&at("a")).expect("there"), RealDisk.stat(&at("b")).expect("there"));
    assert_eq!((a.mode, a.modified, a.len), (b.mode, b.modified, b.len));
    let large = RealDisk.read(&at("a"), 199_999).expect_err("too large");
    assert_eq!(large.kind(), std::io::ErrorKind::FileTooLarge);
    symlink("a", at("link")).expect("made");
    assert!(RealDisk.same_content(&at("link"), &at("a")).is_err(), "links are not followed");
    assert!(locked.set_mode(&at("link"), 0o600).is_err());
    locked.set_mode(&at("a"), 0).expect("set");
    locked.set_mode(&at("a"), 0o600).expect("what its owner may not read can still be set");
    assert!(locked.rename_noreplace(&at("b"), &at("a")).expect_err("taken").is_already_exists());
    assert!(locked.create(&at("b"), b"x", 0o600).expect_err("taken").is_already_exists());
    assert!(locked.copy_new(&at("a"), &at("b"), None).expect_err("taken").is_already_exists());
    assert!(locked.hard_link(&at("a"), &at("b")).expect_err("taken").is_already_exists());
    assert_eq!(fs::metadata(at("b")).expect("there").len(), 200_000, "and nothing was done to it");
    let old = RealDisk.read(&at("a"), 1 << 20).expect("readable");
    let replaced = replace(&locked, &at("link"), b"new", &old, 1 << 20).expect("replaced");
    let Replaced::Expected { displaced, .. } = replaced else { panic!("nobody else wrote") };
    displaced.discard(&locked).expect("removed");
    assert!(RealDisk.stat(&at("link")).expect("there").is_symlink(), "it is written through");
    assert_eq!(fs::read(at("a")).expect("there"), b"new");
    assert_eq!(RealDisk.stat(&at("a")).expect("there").mode, 0o600);
}

/// A copy across file systems keeps the user's attributes, even an empty one.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_keeps_the_users_attributes() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let at = |name: &str| home.path().join(name);
    fs::write(at("a"), "content").expect("written");
    for (name, value) in [("user.origin", &b"phone"[..]), ("user.empty", b"")] {
        if let Err(error) = setxattr(at("a"), name, value, XattrFlags::empty()) {
            eprintln!("skipped: this file system has no attributes ({error})");
            return;
        }
    }
    locked.copy_new(&at("a"), &at("b"), Some(0o400)).expect("copied");
    for (name, value) in [("user.origin", &b"phone"[..]), ("user.empty", b"")] {
        let mut there = [0; 16];
        let length = getxattr(at("b"), name, &mut there).expect("it is there");
        assert_eq!(&there[..length], value, "{name}");
    }
}

/// The comparison returns the names of the attributes that a copy lacks, but not their values.
#[cfg(target_os = "linux")]
#[test]
fn attributes_that_a_copy_lacks_are_named() {
    use rustix::fs::{XattrFlags, removexattr, setxattr};
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let at = |name: &str| home.path().join(name);
    let note = |file: &str, name: &str, value: &[u8]| setxattr(at(file), name, value, XattrFlags::empty());
    let compare = || RealDisk.missing_xattrs(&at("a"), &at("b")).expect("compared");
    let same = |lacks: &[&str]| Some(lacks.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    fs::write(at("a"), "content").expect("written");
    if let Err(error) = note("a", "user.origin", b"phone") {
        eprintln!("skipped: this file system has no attributes ({error})");
        return;
    }
    note("a", "user.long", &[b'x'; 1000]).expect("noted");
    locked.copy_new(&at("a"), &at("b"), None).expect("copied");
    assert_eq!(compare(), same(&[]));
    note("b", "user.of-its-own", b"that is no loss").expect("noted");
    note("b", "user.origin", b"other").expect("noted");
    assert_eq!(compare(), same(&["user.origin"]));
    removexattr(at("b"), "user.origin").expect("removed");
    assert_eq!(compare(), same(&["user.origin"]));
    fs::write(at("b"), "Content").expect("written");
    assert_eq!(compare(), None);
}

/// Another program replaces the file all the time. Every read and every displaced file is a whole
/// file of one writer, and the displaced file was expected exactly if no other program wrote in
/// between.
#[test]
fn a_writer_that_never_stops_is_always_seen() {
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let path = home.path().join("config.json");
    fs::write(&path, "theirs 0").expect("written");
    let stop = AtomicBool::new(false);
    let whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let number = text.strip_prefix("theirs ").or_else(|| text.strip_prefix("ours "));
        assert!(number.is_some_and(|number| number.parse::<u32>().is_ok()), "torn: {text:?}");
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                last += 1;
                let temp = home.path().join("theirs.tmp");
                fs::write(&temp, format!("theirs {last}")).expect("written");
                // Windows refuses to replace a file that is open, so each program there tries
                // again.
                while let Err(error) = fs::rename(&temp, &path) {
                    assert!(cfg!(windows) && error.kind() == ErrorKind::PermissionDenied, "{error}");
                }
            }
        });
        for round in 0..300 {
            let read = locked.read(&path, 1 << 20).expect("never absent");
            whole(&read);
            let ours = format!("ours {round}");
            match replace(&locked, &path, ours.as_bytes(), &read, 1 << 20).expect("replaced") {
                Replaced::Expected { displaced, .. } => {
                    assert_eq!(displaced.bytes, read);
                    displaced.discard(&locked).expect("removed");
                }
                Replaced::Conflict { theirs: displaced, .. } => {
                    whole(&displaced.bytes);
                    assert_ne!(displaced.bytes, read);
                    displaced.discard(&locked).expect("removed");
                }
                // The write was seen before the exchange, so the other program's file is in place.
                _ => {}
            }
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("no panic");
    });
    assert!(stale_temps(&RealDisk, home.path()).expect("readable").is_empty());
}

/// A taken name is an error, whatever has the name: nothing is written through a symlink or into an
/// existing file.
#[cfg(unix)]
#[test]
fn a_new_file_is_new() {
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let at = |name: &str| home.path().join(name);
    fs::write(at("theirs"), "theirs").expect("written");
    std::os::unix::fs::symlink("theirs", at("link")).expect("made");
    std::os::unix::fs::symlink("nothing", at("dangling")).expect("made");
    for name in ["theirs", "link", "dangling"] {
        assert!(locked.create(&at(name), b"ours", 0o600).expect_err("taken").is_already_exists(), "{name}");
        assert!(
            locked.copy_new(&at("theirs"), &at(name), None).expect_err("taken").is_already_exists(),
            "{name}"
        );
    }
    assert_eq!(fs::read(at("theirs")).expect("there"), b"theirs");
    assert!(!at("nothing").try_exists().expect("readable"));
}

/// Another program replaces the home while a process waits for its lock: the process locks the new
/// home.
#[cfg(unix)]
#[test]
fn a_lock_is_that_of_the_home_of_now() {
    let user = tempfile::tempdir().expect("a folder");
    let home = user.path().join("home");
    fs::create_dir(&home).expect("made");
    let first = RealDisk.lock(&home, Duration::ZERO).expect("free");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| RealDisk.lock(&home, Duration::from_secs(20)).expect("free in the end"));
        // Waits until the other thread waits for the lock: by then that thread has the directory
        // open.
        let waiting = || {
            let handles = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
            handles.filter(|handle| fs::read_link(handle.path()).is_ok_and(|to| to == home)).count() > 1
        };
        let begun = std::time::Instant::now();
        while !waiting() && begun.elapsed() < Duration::from_secs(1) {
            std::thread::yield_now();
        }
        fs::rename(&home, user.path().join("former")).expect("renamed");
        fs::create_dir(&home).expect("made");
        drop(first);
        let second = waits.join().expect("no panic");
        let error = RealDisk.lock(&home, Duration::ZERO).expect_err("it is held");
        assert_eq!(error.code(), "durable-fs.lock-held");
        drop(second);
    });
}

/// A caller without a limit gets an error, too.
#[test]
fn a_file_that_claims_to_be_huge_is_an_error() {
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("sparse");
    if let Err(error) = fs::File::create(&path).and_then(|file| file.set_len(10 << 40)) {
        eprintln!("skipped: this file system has no room for what takes none ({error})");
        return;
    }
    let error = RealDisk.read(&path, 1 << 20).expect_err("too large");
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    let error = RealDisk.read(&path, u64::MAX).expect_err("more than any memory");
    assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory);
}

/// With an access list, the group's bits of the mode are the most that any entry of the list gives:
/// without the list they would give the group access.
#[cfg(target_os = "linux")]
#[test]
fn an_access_list_and_attributes_stay_with_the_place() {
    use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
    const LIST: &str = "system.posix_acl_access";
    // Version 2; then per entry tag, permissions and user: the owner rw, user 65534 r, the group
    // nothing, at most r, others nothing.
    let entry = |(tag, rights, whose): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &whose.to_le_bytes()].concat()
    };
    let all = [(1, 6, u32::MAX), (2, 4, 65534), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let list = [2_u32.to_le_bytes().to_vec(), all.map(entry).concat()].concat();
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let path = home.path().join("config.json");
    fs::write(&path, "old").expect("written");
    let noted = setxattr(&path, LIST, &list, XattrFlags::empty())
        .and_then(|()| setxattr(&path, "user.origin", b"phone", XattrFlags::empty()));
    if let Err(error) = noted {
        eprintln!("skipped: this file system has no access lists ({error})");
        return;
    }
    assert_eq!(RealDisk.stat(&path).expect("there").mode, 0o640);
    let swap = |new: &str, old: &str| {
        let replaced = replace(&locked, &path, new.as_bytes(), old.as_bytes(), 1 << 20).expect("replaced");
        let Replaced::Expected { displaced, .. } = replaced else { panic!("nobody else wrote") };
        displaced.discard(&locked).expect("removed");
    };
    let value = |name: &str| {
        let mut there = [0; 64];
        getxattr(&path, name, &mut there).map(|length| there[..length].to_vec())
    };
    swap("new", "old");
    assert_eq!(value(LIST).as_deref(), Ok(&list[..]));
    assert_eq!(value("user.origin").as_deref(), Ok(&b"phone"[..]));
    assert_eq!(RealDisk.stat(&path).expect("there").mode, 0o640);
    locked.copy_new(&path, &home.path().join("copy"), None).expect("copied");
    assert!(getxattr(home.path().join("copy"), LIST, &mut [0; 64]).is_ok());
    // A copy without the list lacks it, unless the list gave nothing to anybody.
    let copy = home.path().join("copy");
    let lacks = || RealDisk.missing_xattrs(&path, &copy).expect("compared").expect("the same bytes");
    assert_eq!(lacks(), [""; 0]);
    removexattr(&copy, LIST).expect("removed");
    assert_eq!(lacks(), [LIST]);
    locked.set_mode(&path, 0o600).expect("set");
    assert_eq!(lacks(), [""; 0]);

    // A file without a list gets no list from the directory.
    fs::remove_file(&path).expect("removed");
    locked.create(&path, b"plain", 0o640).expect("written");
    setxattr(home.path(), "system.posix_acl_default", &list, XattrFlags::empty()).expect("set");
    swap("new", "plain");
    assert!(value(LIST).is_err());
    assert_eq!(RealDisk.stat(&path).expect("there").mode, 0o640);
}

/// A file in an append-only directory cannot be removed, so none is made there.
#[cfg(target_os = "linux")]
#[test]
fn an_append_only_folder_does_not_fill_up() {
    let home = tempfile::tempdir().expect("a folder");
    let locked = RealDisk.lock(home.path(), Duration::ZERO).expect("free");
    let path = home.path().join("config.json");
    fs::write(&path, "old").expect("written");
    let chattr = |what: &str| {
        let done = std::process::Command::new("chattr").arg(what).arg(home.path()).status();
        done.is_ok_and(|status| status.success())
    };
    if !chattr("+a") {
        eprintln!("skipped: no folder can be made append-only here");
        return;
    }
    let mut reported = Vec::new();
    for _ in 0..3 {
        let owner = RealDisk.stat(&path).expect("there").owner;
        reported.extend([
            replace(&locked, &path, b"new", b"old", 1 << 20).map(drop),
            publish_new(&locked, &home.path().join("other.json"), b"new", 0o600, owner),
        ]);
    }
    let names = fs::read_dir(home.path()).expect("readable").count();
    assert!(chattr("-a"), "it can be removed again");
    assert_eq!(names, 1, "{reported:?}");
    for error in reported.into_iter().map(|reported| reported.expect_err("refused")) {
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error:?}");
        assert_eq!(error.hint(), Some(format!("lsattr -d {}", home.path().display())));
    }
}
