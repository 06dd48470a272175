//! The reason why the system cannot start a program file.

#[cfg(unix)]
mod interpreter;

#[cfg(unix)]
pub(crate) use self::interpreter::obstacle;

/// The reason why the system cannot start a program file that is there and may be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartObstacle {
    /// The reason, for people.
    pub problem: String,
    /// The command that mends it, if there is one.
    pub hint: Option<String>,
}

impl StartObstacle {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: None }
    }
}

/// Returns the reason why the system cannot start this file; `None` if it can, or if nothing tells.
#[cfg(not(unix))]
pub(crate) fn obstacle(program: &std::path::Path, _: Option<&std::ffi::OsStr>) -> Option<StartObstacle> {
    let is_empty = std::fs::metadata(program).is_ok_and(|meta| meta.len() == 0);
    is_empty.then(|| StartObstacle::new("the file is empty"))
}
