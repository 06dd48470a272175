//! The exit codes, one list for `--help`, the man page, the docs and the tests.

use std::process;

use myownllm_launch::Class;

macro_rules! exit_codes {
    ($($name:ident = $number:literal: $meaning:literal)+) => {
        /// The result of a run of `myownllm-mesh`, as the shell sees it.
        ///
        /// The numbers are a contract: scripts match on them, so a code never changes its meaning.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum ExitCode {
            $(#[doc = $meaning] $name = $number,)+
        }

        impl ExitCode {
            /// Every code, in numeric order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the meaning, in a few words.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => $meaning,)+
                }
            }
        }
    };
}

exit_codes! {
    Done = 0: "done, or nothing to do"
    Failed = 1: "failed"
    Usage = 2: "wrong usage"
    Pending = 3: "something is pending (with --check, or without a command)"
    Problems = 4: "doctor found problems"
    Daemon = 5: "daemon unreachable, busy, or dead"
    Locked = 6: "another process holds the lock"
    Refused = 7: "refused: it needs a decision of yours"
    Newer = 8: "data of a newer version"
}

impl ExitCode {
    /// Returns the number that the shell sees.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
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

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// Returns the table of `--help` and of the man page.
pub fn exit_code_table() -> String {
    let mut table = String::from("Exit codes:\n");
    for code in ExitCode::ALL {
        table.push_str(&format!("  {}  {}\n", code.number(), code.meaning()));
    }
    table
}
