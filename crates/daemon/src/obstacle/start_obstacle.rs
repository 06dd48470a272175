//! The reason why no program could be started.

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
