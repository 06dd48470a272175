//! Paths by their spelling alone: no function here reads the disk.

use std::path::{Component, Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};

/// Returns a path in a home. A name may have several parts, which the platform separates in its own
/// way.
pub fn inside(home: &Utf8Path, name: &str) -> Utf8PathBuf {
    let mut path = Utf8PathBuf::with_capacity(home.as_str().len() + 1 + name.len());
    path.push(home);
    path.extend(name.split('/'));
    path
}

/// Returns the path normalized by its spelling alone: without `.` and doubled slashes, and each
/// `..` removes one part. Takes a [`Path`], because the target of a symlink need not be UTF-8.
pub fn normalize_lexically(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Returns true if `path` is `dir` or inside it, by spelling.
pub(crate) fn is_same_or_inside(path: impl AsRef<Path>, dir: impl AsRef<Path>, ignore_case: bool) -> bool {
    let (path, dir) = (path.as_ref(), dir.as_ref());
    if path.starts_with(dir) {
        return true;
    }
    let lower = |p: &Path| PathBuf::from(p.to_string_lossy().to_lowercase());
    ignore_case && lower(path).starts_with(lower(dir))
}

pub(crate) fn is_same(a: impl AsRef<Path>, b: impl AsRef<Path>, ignore_case: bool) -> bool {
    let (a, b) = (a.as_ref(), b.as_ref());
    is_same_or_inside(a, b, ignore_case) && is_same_or_inside(b, a, ignore_case)
}

/// Returns true if a path names the same entry from every working directory. `Path::is_absolute` is
/// false for every path on a platform without a file system of its own (wasm32), where such paths
/// come from another machine.
pub(crate) fn is_absolute(path: &Utf8Path) -> bool {
    if cfg!(windows) { path.is_absolute() } else { path.has_root() }
}
