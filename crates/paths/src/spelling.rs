//! Paths by their spelling alone: no function here reads the disk.

use std::path::{Component, Path, PathBuf};

/// Returns a path in a home. A name may have several parts, which the platform separates in its own
/// way.
pub(crate) fn inside(home: &Path, name: &str) -> PathBuf {
    name.split('/').fold(home.to_path_buf(), |path, part| path.join(part))
}

/// Returns the path normalized by its spelling alone: without `.` and doubled slashes, and each
/// `..` removes one part.
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

/// Returns whether `path` is `dir` or inside it, by spelling.
pub(crate) fn is_same_or_inside(path: &Path, dir: &Path, ignore_case: bool) -> bool {
    if path.starts_with(dir) {
        return true;
    }
    let lower = |p: &Path| PathBuf::from(p.to_string_lossy().to_lowercase());
    ignore_case && lower(path).starts_with(lower(dir))
}

pub(crate) fn is_same(a: &Path, b: &Path, ignore_case: bool) -> bool {
    is_same_or_inside(a, b, ignore_case) && is_same_or_inside(b, a, ignore_case)
}

/// Returns whether a path names the same entry from every working directory. `Path::is_absolute` is
/// false for every path on a platform without a file system of its own (wasm32), where such paths
/// come from another machine.
pub(crate) fn is_absolute(path: &Path) -> bool {
    if cfg!(windows) { path.is_absolute() } else { path.has_root() }
}
