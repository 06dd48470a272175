//! The exit codes, one list for `--help`, the man page, the docs and the tests.

use std::process;

use myownllm_launch::{Class, Diagnostic, class_of};

/// The result of a run of `myownllm-mesh`, as the shell sees it.
///
/// The numbers are a contract: scripts match on them, so a code never changes its meaning.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
#[non_exhaustive]
pub enum ExitCode {
    /// Done, or there was nothing to do.
    Done = 0,
    /// The run failed; the error says why.
    Failed = 1,
    /// The command line made no sense.
    Usage = 2,
    /// A change is pending (only with `--check`, or without a command).
    Pending = 3,
    /// `doctor`, or the verdict, found problems.
    Problems = 4,
    /// The daemon is unreachable, busy, or dead.
    Daemon = 5,
    /// Another process holds the lock.
    Locked = 6,
    /// The run refused: the user has to decide.
    Refused = 7,
    /// A newer version wrote the data.
    Newer = 8,
}

impl ExitCode {
    /// Every code, in numeric order.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Pending,
        Self::Problems,
        Self::Daemon,
        Self::Locked,
        Self::Refused,
        Self::Newer,
    ];

    /// Returns the number that the shell sees.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the meaning, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "failed",
            Self::Usage => "wrong usage",
            Self::Pending => "something is pending (with --check, or without a command)",
            Self::Problems => "doctor found problems",
            Self::Daemon => "daemon unreachable, busy, or dead",
            Self::Locked => "another process holds the lock",
            Self::Refused => "refused: it needs a decision of yours",
            Self::Newer => "data of a newer version",
        }
    }

    /// Returns true if this is success.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Done)
    }
}

impl From<Class> for ExitCode {
    fn from(class: Class) -> Self {
        match class {
            Class::Usage => Self::Usage,
            Class::Daemon => Self::Daemon,
            Class::Locked => Self::Locked,
            Class::Refused => Self::Refused,
            Class::Newer => Self::Newer,
            _ => Self::Failed,
        }
    }
}

/// Returns the exit code of a run from its diagnostics: that of the gravest error.
pub fn exit_of(diagnostics: &[Diagnostic]) -> ExitCode {
    class_of(diagnostics).map_or(ExitCode::Done, ExitCode::from)
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// Returns the table of `--help` and of the man page.
#[must_use]
pub fn exit_code_table() -> String {
    let mut table = String::from("Exit codes:\n");
    for code in ExitCode::ALL {
        table.push_str(&format!("  {}  {}\n", code.number(), code.meaning()));
    }
    table
}
