use std::ops::Deref;
use std::path::{Component, Path, PathBuf};

use serde::{Serialize, Serializer};

use crate::{Layout, Lookup, Mode, PathsError, Rule, Socket, check_socket};

/// A [`Layout`] whose homes were looked at and found apart. Only [`guard`] makes one, and nothing can change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedLayout(Layout);

impl Deref for CheckedLayout {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.0
    }
}

impl Serialize for CheckedLayout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl CheckedLayout {
    /// The socket of that mode, checked: it fits into the kernel's address.
    ///
    /// # Errors
    /// [`PathsError::SocketTooLong`].
    pub fn socket(&self, mode: Mode, control_socket: Option<&Path>) -> Result<(Socket, Rule), PathsError> {
        let (socket, rule) = self.0.socket_for_mode(mode, control_socket);
        check_socket(&socket, self.0.platform, self.0.config_for_mode(mode))?;
        Ok((socket, rule))
    }

    /// Gives the layout back.
    #[must_use]
    pub fn into_layout(self) -> Layout {
        self.0
    }
}

/// Makes sure that the daemon's home is a folder of its own inside the app's home.
///
/// # Errors
/// As [`check_overlap`].
pub fn guard(layout: Layout, lookup: &dyn Lookup) -> Result<CheckedLayout, PathsError> {
    let _ = (&layout, lookup);
    todo!()
}

/// Refuses a daemon's home that is the app's home, lies above it, or leads out of it.
///
/// # Errors
/// [`PathsError::Overlap`], [`PathsError::NotAFolder`], [`PathsError::Lookup`].
pub fn check_overlap(app_home: &Path, daemon_home: &Path, lookup: &dyn Lookup) -> Result<(), PathsError> {
    let _ = (app_home, daemon_home, lookup);
    todo!()
}

/// The path by its spelling alone: no `.`, no doubled slash, and `..` taken back one part.
pub(crate) fn plain(path: &Path) -> PathBuf {
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

/// Whether `path` is `folder` or inside it, by spelling.
pub(crate) fn is_same_or_inside(path: &Path, folder: &Path, ignore_case: bool) -> bool {
    if path.starts_with(folder) {
        return true;
    }
    let lower = |p: &Path| PathBuf::from(p.to_string_lossy().to_lowercase());
    ignore_case && lower(path).starts_with(lower(folder))
}
