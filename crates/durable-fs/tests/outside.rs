//! A lock refuses every change outside of its directory, on both disks.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests play the other programs")]

use std::{
    io::ErrorKind,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use myownllm_durable_fs::{
    DirEntry, Disk, DiskError, FileKind, LockError, LockedDir, LockedDisk, Metadata, Op, Owner, Permissions,
    RealDisk, SyncFs, make_dirs, make_private_dir, publish_new, rename_or_link, replace, sim::SimDisk,
};
use rstest::rstest;

/// Makes every change with a path that is refused. `fine` is a file in the locked directory.
fn changes(lock: &LockedDir, path: &Path, fine: &Path) -> Vec<(&'static str, Result<(), DiskError>)> {
    let owner = Owner { uid: 4321, gid: 4321 };
    let new = fine.with_file_name("new");
    vec![
        ("make_dir", lock.make_dir(path, 0o700)),
        ("set_mode", lock.set_mode(path, 0o640)),
        ("set_owner", lock.set_owner(path, owner)),
        ("create", lock.create(path, b"ours", 0o600)),
        ("copy_new", lock.copy_new(fine, path, None)),
        ("copy_permissions", lock.copy_permissions(fine, path).map(drop)),
        ("rename_noreplace from", lock.rename_noreplace(path, &new)),
        ("rename_noreplace to", lock.rename_noreplace(fine, path)),
        ("rename from", lock.rename(path, &new)),
        ("rename to", lock.rename(fine, path)),
        ("exchange", lock.exchange(path, fine)),
        ("exchange with", lock.exchange(fine, path)),
        ("hard_link from", lock.hard_link(path, &new)),
        ("hard_link to", lock.hard_link(fine, path)),
        ("symlink", lock.symlink(Path::new("x"), path)),
        ("unlink", lock.unlink(path)),
        ("remove_dir", lock.remove_dir(path)),
        ("sync_file", lock.sync_file(path)),
        ("sync_dir", lock.sync_dir(path)),
        ("sync_fs", lock.sync_fs(path).map(drop)),
        ("admit_target", lock.admit_target(path).map(drop)),
        ("publish_new", publish_new(lock, path, b"ours", 0o600, None)),
        ("rename_or_link", rename_or_link(lock, fine, path)),
        ("replace", replace(lock, path, b"new", b"theirs", 10).map(drop)),
        ("make_dirs", make_dirs(lock, path.parent().expect("not the root"), path, 0o700, None).map(drop)),
        ("make_private_dir", make_private_dir(lock, path.parent().expect("not the root"), path, None)),
    ]
}

fn assert_refused(lock: &LockedDir, path: &Path, fine: &Path) {
    for (call, result) in changes(lock, path, fine) {
        let error = result.expect_err(call);
        let outside =
            error.outside_lock().unwrap_or_else(|| panic!("{call} of {}: {error:?}", path.display()));
        assert_eq!(outside.dir, lock.path(), "{call}");
        assert_eq!(error.code(), "durable-fs.outside-lock", "{call}");
    }
}

#[rstest]
#[case::beside("elsewhere/file")]
#[case::above("file")]
#[case::same_beginning("home-of-another/file")]
#[case::upwards_out("home/../elsewhere/file")]
#[case::upwards_within("home/keys/../file")]
fn change_outside_of_the_locked_directory_is_refused(#[case] path: &str) {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = ["elsewhere", "home", "home/keys", "home-of-another"];
    let files = ["elsewhere/file", "file", "home-of-another/file", "home/file"];
    let sim = SimDisk::new();
    for dir in dirs {
        std::fs::create_dir(root.path().join(dir)).expect("made");
        sim.put_dir(root.path().join(dir), 0o700);
    }
    for file in files {
        std::fs::write(root.path().join(file), "theirs").expect("written");
        sim.put(root.path().join(file), b"theirs");
    }
    let (home, path) = (root.path().join("home"), root.path().join(path));
    let before = sim.fingerprint();
    for disk in [&RealDisk as &dyn Disk, &sim] {
        let lock = disk.lock(&home, Duration::ZERO).expect("free");
        assert_refused(&lock, &path, &home.join("file"));
    }
    assert_eq!(sim.fingerprint(), before);
    for file in files {
        assert_eq!(std::fs::read(root.path().join(file)).expect("there"), b"theirs", "{file}");
    }
    for (dir, names) in [("elsewhere", 1), ("home-of-another", 1), ("home/keys", 0)] {
        assert_eq!(std::fs::read_dir(root.path().join(dir)).expect("there").count(), names, "{dir}");
    }
}

/// The name of the locked directory lies in its parent directory.
#[test]
fn name_of_the_locked_directory_does_not_change() {
    let root = tempfile::tempdir().expect("a directory");
    let home = root.path().join("home");
    std::fs::create_dir(&home).expect("made");
    let sim = SimDisk::new();
    sim.put_dir(&home, 0o700);
    for disk in [&RealDisk as &dyn Disk, &sim] {
        let lock = disk.lock(&home, Duration::ZERO).expect("free");
        for (call, result) in [
            ("rename", lock.rename(&home, &home.join("new"))),
            ("rename_noreplace", lock.rename_noreplace(&home, &home.join("new"))),
            ("remove_dir", lock.remove_dir(&home)),
        ] {
            let error = result.expect_err(call);
            assert!(error.outside_lock().is_some(), "{call}: {error:?}");
        }
        lock.set_mode(&home, 0o750).expect("its mode is its own");
        lock.sync_dir(&home).expect("synced");
        lock.sync_own_name().expect("synced");
        assert!(disk.stat(&home).expect("there").is_dir());
    }
}

#[test]
fn lock_knows_which_directory_it_locks() {
    let root = tempfile::tempdir().expect("a directory");
    let home = root.path().join("home");
    std::fs::create_dir_all(home.join("daemon")).expect("made");
    let lock = RealDisk.lock(&home, Duration::ZERO).expect("free");
    lock.ensure_locks(&home).expect("it is that directory");
    #[cfg(unix)]
    {
        let alias = root.path().join("alias");
        std::os::unix::fs::symlink(&home, &alias).expect("made");
        lock.ensure_locks(&alias).expect("it is that directory under another name");
    }
    for other in [root.path(), &home.join("daemon"), &home.join("absent")] {
        let error = lock.ensure_locks(other).expect_err("another directory");
        assert!(error.outside_lock().is_some(), "{error:?}");
    }
}

/// A disk of another crate: one file, which cannot be changed.
struct OneFile;

const ONE: &str = "/home/config.json";

impl Disk for OneFile {
    fn stat(&self, path: &Path) -> Result<Metadata, DiskError> {
        match path == Path::new(ONE) {
            true => Ok(Metadata::new(FileKind::File, 2)),
            false => Err(DiskError::new(Op::Stat, path, ErrorKind::NotFound.into())),
        }
    }
    fn stat_follow(&self, path: &Path) -> Result<Metadata, DiskError> {
        self.stat(path)
    }
    fn for_each_entry(
        &self,
        _: &Path,
        each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>,
    ) -> Result<(), DiskError> {
        let _ = each(DirEntry { name: "config.json".into(), kind: FileKind::File });
        Ok(())
    }
    fn read(&self, file: &Path, _: u64) -> Result<Vec<u8>, DiskError> {
        self.stat(file).map(|_| b"{}".to_vec())
    }
    fn same_content(&self, a: &Path, b: &Path) -> Result<bool, DiskError> {
        Ok(self.read(a, 2)? == self.read(b, 2)?)
    }
    fn read_link(&self, link: &Path) -> Result<PathBuf, DiskError> {
        Err(DiskError::new(Op::ReadLink, link, ErrorKind::InvalidInput.into()))
    }
    fn canonicalize(&self, path: &Path) -> Result<PathBuf, DiskError> {
        Ok(path.to_owned())
    }
    fn lock(&self, home: &Path, _: Duration) -> Result<LockedDir, LockError> {
        Ok(LockedDir::new(home, home, OneFile, OneFile))
    }
    fn make_home_dir(&self, _: &Path, dir: &Path, _: Option<Owner>) -> Result<(), DiskError> {
        Err(DiskError::new(Op::MakeDir, dir, ErrorKind::ReadOnlyFilesystem.into()))
    }
}

fn is_read_only<T>(op: Op, path: &Path) -> Result<T, DiskError> {
    Err(DiskError::new(op, path, ErrorKind::ReadOnlyFilesystem.into()))
}

impl LockedDisk for OneFile {
    fn make_dir(&self, dir: &Path, _: u32) -> Result<(), DiskError> {
        is_read_only(Op::MakeDir, dir)
    }
    fn set_mode(&self, path: &Path, _: u32) -> Result<(), DiskError> {
        is_read_only(Op::SetMode, path)
    }
    fn set_owner(&self, path: &Path, _: Owner) -> Result<(), DiskError> {
        is_read_only(Op::SetOwner, path)
    }
    fn create(&self, file: &Path, _: &[u8], _: u32) -> Result<(), DiskError> {
        is_read_only(Op::Create, file)
    }
    fn copy_new(&self, _: &Path, to: &Path, _: Option<u32>) -> Result<(), DiskError> {
        is_read_only(Op::Create, to)
    }
    fn copy_permissions(&self, _: &Path, to: &Path) -> Result<Permissions, DiskError> {
        is_read_only(Op::SetMode, to)
    }
    fn rename_noreplace(&self, from: &Path, _: &Path) -> Result<(), DiskError> {
        is_read_only(Op::Rename, from)
    }
    fn rename(&self, from: &Path, _: &Path) -> Result<(), DiskError> {
        is_read_only(Op::Rename, from)
    }
    fn exchange(&self, a: &Path, _: &Path) -> Result<(), DiskError> {
        is_read_only(Op::Exchange, a)
    }
    fn hard_link(&self, from: &Path, _: &Path) -> Result<(), DiskError> {
        is_read_only(Op::HardLink, from)
    }
    fn symlink(&self, _: &Path, at: &Path) -> Result<(), DiskError> {
        is_read_only(Op::Symlink, at)
    }
    fn unlink(&self, path: &Path) -> Result<(), DiskError> {
        is_read_only(Op::Unlink, path)
    }
    fn remove_dir(&self, dir: &Path) -> Result<(), DiskError> {
        is_read_only(Op::RemoveDir, dir)
    }
    fn sync_file(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_fs(&self, _: &Path) -> Result<SyncFs, DiskError> {
        Ok(SyncFs::Everything)
    }
}

#[test]
fn disk_of_another_crate_can_be_written() {
    let disk: &dyn Disk = &OneFile;
    let lock = disk.lock("/home".as_ref(), Duration::ZERO).unwrap();
    assert_eq!(lock.unlink(ONE.as_ref()).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    assert!(lock.unlink("/other".as_ref()).is_err_and(|error| error.outside_lock().is_some()));
    assert!(disk.stat(ONE.as_ref()).is_ok_and(|meta| meta.is_file() && !meta.is_same_file(&meta)));
    assert_eq!(disk.list("/home".as_ref()).unwrap().len(), 1);
    assert!(disk.content_eq(ONE.as_ref(), b"{}").unwrap());
    assert!(disk.stat("/other".as_ref()).is_err_and(|error| error.is_not_found()));
}
