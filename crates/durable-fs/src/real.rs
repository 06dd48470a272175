//! The disk itself.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{DirEntry, Disk, Flushed, HomeLock, LockError, Meta, Owner, Result};

/// The disk of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[expect(unused_variables, reason = "to be filled in")]
impl Disk for RealDisk {
    fn stat(&self, path: &Path) -> Result<Meta> {
        todo!()
    }
    fn stat_follow(&self, path: &Path) -> Result<Meta> {
        todo!()
    }
    fn visit(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        todo!()
    }
    fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>> {
        todo!()
    }
    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        todo!()
    }
    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        todo!()
    }
    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        todo!()
    }
    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()> {
        todo!()
    }
    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        todo!()
    }
    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()> {
        todo!()
    }
    fn create(&self, file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        todo!()
    }
    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
        todo!()
    }
    fn rename_exclusive(&self, from: &Path, to: &Path) -> Result<()> {
        todo!()
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        todo!()
    }
    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        todo!()
    }
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        todo!()
    }
    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        todo!()
    }
    fn unlink(&self, path: &Path) -> Result<()> {
        todo!()
    }
    fn remove_dir(&self, dir: &Path) -> Result<()> {
        todo!()
    }
    fn sync_file(&self, file: &Path) -> Result<()> {
        todo!()
    }
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        todo!()
    }
    fn sync_fs(&self, path: &Path) -> Result<Flushed> {
        todo!()
    }
    fn lock(&self, home: &Path, wait: Duration) -> Result<HomeLock, LockError> {
        todo!()
    }
}
