//! The operations of the simulated disk: each is counted, recorded, and fails where a fault says
//! so.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::{
    disk::SimDisk,
    fault::OpRecord,
    file_system::{Change, Node, ROOT_PATH, State},
    other_program::OtherProgram,
};
use crate::{
    DirEntry, Disk, DiskError, LockError, LockedDir, LockedDisk, Metadata, Op, Owner, Permissions, Result,
    Runner, SyncFs, publish::make_private_dir, real::lock_within,
};

struct Changes {
    disk: SimDisk,
    /// The inode that dropping this value unlocks; `None` for the changes that need no lock.
    locked: Option<u64>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(ino) = self.locked {
            self.disk.locks().remove(&ino);
        }
    }
}

impl SimDisk {
    /// Runs one counted operation: a crash, or the hook and then a fault or the action.
    fn op<T>(
        &self,
        op: Op,
        path: &Path,
        other: Option<&Path>,
        action: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Result<T> {
        let mut state = self.state();
        let number = state.ops.len();
        let record =
            OpRecord { number, op, path: path.to_owned(), other: other.map(Path::to_owned), failed: false };
        let failed = |source: io::Error| match other {
            Some(other) => DiskError::with_two_paths(op, path, other, source),
            None => DiskError::new(op, path, source),
        };
        let (is_change, is_read) = (record.is_change(), record.is_read());
        let fault = state.faults.iter().find(|fault| fault.matches(&record)).cloned();
        if state.crashed || state.crash_at.is_some_and(|at| number >= at) {
            state.crashed = true;
            state.ops.push(OpRecord { failed: true, ..record });
            return Err(failed(io::Error::other("the power is off")));
        }
        if is_change
            && let Some(recorded) = &mut *self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner)
        {
            recorded.push((record.clone(), state.content()));
        }
        state.ops.push(record);
        state.become_stale();
        if let Some(hook) = self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let record = state.ops[number].clone();
            hook(&record, &mut OtherProgram(&mut state));
        }
        let stale = if is_read { state.stale.take() } else { None };
        let outcome = match (fault, stale) {
            (Some(fault), _) => {
                let performed = if fault.performed { action(&mut state).err() } else { None };
                Err(performed.unwrap_or_else(|| io::Error::new(fault.kind, "injected")))
            }
            (None, Some(mut stale)) => {
                let outcome = action(&mut stale);
                state.stale = Some(stale);
                outcome
            }
            (None, None) => action(&mut state),
        };
        state.ops[number].failed = outcome.is_err();
        outcome.map_err(failed)
    }
}

impl Disk for SimDisk {
    fn stat(&self, path: &Path) -> Result<Metadata> {
        self.op(Op::Stat, path, None, |state| state.meta(state.walk(path, false)?))
    }

    fn stat_follow(&self, path: &Path) -> Result<Metadata> {
        self.op(Op::StatFollow, path, None, |state| state.meta(state.walk(path, true)?))
    }

    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        let entries = self.op(Op::ForEachEntry, dir, None, |state| {
            let mut all = Vec::new();
            for (name, &ino) in state.entries(state.walk(dir, false)?)? {
                all.push(DirEntry { name: name.clone(), kind: state.meta(ino)?.kind });
            }
            Ok(all)
        })?;
        // Reverses the order, so that no caller depends on an order.
        for entry in entries.into_iter().rev() {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>> {
        self.op(Op::Read, file, None, |state| {
            let bytes = state.file(file, true)?;
            if bytes.len() as u64 > limit { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes.to_vec()) }
        })
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        self.op(Op::SameContent, a, Some(b), |state| Ok(state.file(a, false)? == state.file(b, false)?))
    }

    fn open_for_writing(&self, files: &[&Path]) -> Vec<bool> {
        let Some(first) = files.first() else { return Vec::new() };
        let answers = self.op(Op::OpenForWriting, first, None, |state| {
            let is_open =
                |path: &&Path| state.walk(path, false).is_ok_and(|file| state.writers.contains(&file));
            Ok(files.iter().map(is_open).collect())
        });
        answers.unwrap_or_else(|_| vec![false; files.len()])
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        self.op(Op::ReadLink, link, None, |state| match &state.inode(state.walk(link, false)?)?.node {
            Node::Link(target) => Ok(target.clone()),
            _ => Err(ErrorKind::InvalidInput.into()),
        })
    }

    fn runner(&self) -> Option<Runner> {
        Some(Runner::new(self.state().user.uid))
    }

    /// True: this disk checks no permissions.
    fn may_write(&self, _: &Path) -> bool {
        true
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        self.op(Op::Canonicalize, path, None, |state| state.walk_to(path, true).map(|(_, path)| path))
    }

    fn pause(&self, _: Duration) {
        // Counted as an operation, so that a hook can play the other program meanwhile.
        let _ = self.op(Op::Pause, Path::new(ROOT_PATH), None, |_| Ok(()));
    }

    fn threads(&self) -> usize {
        self.state().threads
    }

    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
        let changes = Changes { disk: self.share(), locked: None };
        make_private_dir(&LockedDir::new(root, root, self.share(), changes), root, dir, owner)
    }

    fn lock(&self, dir: &Path, wait: Duration) -> Result<LockedDir, LockError> {
        let found = self.op(Op::Lock, dir, None, |state| state.walk_to(dir, true));
        let failed = |error: DiskError| LockError::Failed { home: dir.to_owned(), source: error.into() };
        let (ino, real) = found.map_err(failed)?;
        lock_within(dir, wait, Instant::now(), || Ok(self.locks().insert(ino)))?;
        let changes = Changes { disk: self.share(), locked: Some(ino) };
        Ok(LockedDir::new(dir, &real, self.share(), changes))
    }
}

impl LockedDisk for Changes {
    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()> {
        self.disk
            .op(Op::MakeDir, dir, None, |state| state.add(dir, Node::Dir(BTreeMap::new()), mode).map(|_| ()))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.disk.op(Op::SetMode, path, None, |state| {
            let ino = state.walk(path, false)?;
            if matches!(state.inode(ino)?.node, Node::Link(_)) {
                return Err(ErrorKind::InvalidInput.into());
            }
            state.attributes(ino, |inode| inode.mode = mode)
        })
    }

    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()> {
        self.disk.op(Op::SetOwner, path, None, |state| {
            if state.user.uid != 0 {
                return Err(ErrorKind::PermissionDenied.into());
            }
            let ino = state.walk(path, false)?;
            state.attributes(ino, |inode| inode.owner = owner)
        })
    }

    fn create(&self, file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.disk
            .op(Op::Create, file, None, |state| state.add(file, Node::File(bytes.into()), mode).map(|_| ()))
    }

    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
        self.disk.op(Op::CopyNew, to, Some(from), |state| {
            let bytes = state.file(from, false)?;
            let original = state.inode(state.walk(from, false)?)?.clone();
            let ino = state.add(to, Node::File(bytes), 0o600)?;
            let root = state.user.uid == 0;
            state.attributes(ino, |inode| {
                inode.mode = mode.unwrap_or(original.mode);
                inode.modified = original.modified;
                if root {
                    inode.owner = original.owner;
                }
            })
        })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.op(Op::RenameNoReplace, from, Some(to), |state| {
            let replace = state.replaces();
            state.rename(from, to, replace)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.op(Op::Rename, from, Some(to), |state| state.rename(from, to, true))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        self.disk.op(Op::Exchange, a, Some(b), |state| {
            let ((dir_a, name_a), (dir_b, name_b)) = (state.place(a)?, state.place(b)?);
            let ino_a = *state.entries(dir_a)?.get(&name_a).ok_or(ErrorKind::NotFound)?;
            let ino_b = *state.entries(dir_b)?.get(&name_b).ok_or(ErrorKind::NotFound)?;
            if state.inode(dir_a)?.dev != state.inode(dir_b)?.dev {
                return Err(ErrorKind::CrossesDevices.into());
            }
            let unit = state.unit();
            state.name((unit, None), dir_a, &name_a, Some(ino_b));
            state.name((unit, None), dir_b, &name_b, Some(ino_a));
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.op(Op::HardLink, from, Some(to), |state| state.hard_link(from, to))
    }

    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        self.disk.op(Op::Symlink, at, Some(target), |state| {
            state.add(at, Node::Link(target.to_owned()), 0o777).map(|_| ())
        })
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.disk.op(Op::Unlink, path, None, |state| state.remove(path, false))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.disk.op(Op::RemoveDir, dir, None, |state| state.remove(dir, true))
    }

    fn sync_file(&self, file: &Path) -> Result<()> {
        self.disk.op(Op::SyncFile, file, None, |state| {
            let ino = state.walk(file, false)?;
            if state.skips_sync() {
                return Ok(());
            }
            state.flush(|pending| match pending.change {
                Change::Content { ino: of, .. } | Change::Attributes { ino: of, .. } => of == ino,
                Change::Name { .. } => false,
            });
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.op(Op::SyncDir, dir, None, |state| {
            let ino = state.walk(dir, true)?;
            state.entries(ino)?;
            if state.skips_sync() {
                return Ok(());
            }
            state.flush(|pending| match pending.change {
                Change::Name { dir, .. } => dir == ino,
                Change::Attributes { ino: of, .. } => of == ino,
                Change::Content { .. } => false,
            });
            Ok(())
        })
    }

    fn sync_fs(&self, path: &Path) -> Result<SyncFs> {
        self.disk.op(Op::SyncFs, path, None, |state| {
            let dev = state.inode(state.walk(path, true)?)?.dev;
            if !state.syncs_whole_fs {
                return Ok(SyncFs::Nothing);
            }
            if !state.skips_sync() {
                state.flush(|pending| pending.dev == dev);
            }
            Ok(SyncFs::Everything)
        })
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions> {
        self.set_mode(to, self.disk.stat(from)?.mode & 0o777).map(|()| Permissions::Kept)
    }
}
