//! The reason why the system cannot start a program file.

#[cfg(unix)]
mod interpreter;
mod start_obstacle;

#[cfg(unix)]
pub(crate) use self::interpreter::obstacle;
pub use self::start_obstacle::StartObstacle;

/// Returns the reason why the system cannot start this file; `None` if it can, or if nothing tells.
#[cfg(not(unix))]
pub(crate) fn obstacle(program: &std::path::Path, _: Option<&std::ffi::OsStr>) -> Option<StartObstacle> {
    let is_empty = std::fs::metadata(program).is_ok_and(|meta| meta.len() == 0);
    is_empty.then(|| StartObstacle::new("the file is empty"))
}
