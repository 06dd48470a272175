use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::{HostApp, MYOWNLLM};

/// What the outside says about homes, as a value.
///
/// Everything in this crate works on such a value, so that a test, a repair tool that looks at somebody else's disk and
/// the running app all take the same road. [`Env::from_process`] (and [`Env::from_process_for`], which it calls) is the
/// one place that reads the process's own environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    home: Home,
    variables: BTreeMap<OsString, OsString>,
}

/// Where the user's home folder comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// Named by the caller (`--home`): no variable counts.
    Explicit(PathBuf),
    /// What the operating system says; `None` when it says nothing.
    System { variable: &'static str, value: Option<OsString> },
}

#[cfg(windows)]
const HOME_VARIABLE: &str = "USERPROFILE";
#[cfg(not(windows))]
const HOME_VARIABLE: &str = "HOME";

impl Env {
    /// Reads the process's environment for MyOwnLLM: its `HOME` (on Windows the user's profile) and `MYOWNMESH_HOME`.
    #[must_use]
    pub fn from_process() -> Self {
        Self::from_process_for(&MYOWNLLM)
    }

    /// Reads the process's environment for another host app: its home, and the one variable that the app's daemon knows.
    ///
    /// On Unix a `HOME` that is unset or empty leaves the question to the password database, as it does for the daemon and the
    /// app: two ideas of "home" in one start would split the state between them.
    #[must_use]
    pub fn from_process_for(app: &HostApp) -> Self {
        let mut env = Self::system(std::env::home_dir().map(PathBuf::into_os_string));
        let name: &OsStr = OsStr::new(app.home_variable.as_ref());
        if let Some(value) = std::env::var_os(name) {
            env.variables.insert(name.to_owned(), value);
        }
        env
    }

    /// An environment that was given as a value: the system's home (`None` when it names none) and no variables.
    #[must_use]
    pub fn system(home: Option<OsString>) -> Self {
        Self { home: Home::System { variable: HOME_VARIABLE, value: home }, variables: BTreeMap::new() }
    }

    /// A home that the caller names (`--home DIR`). No variable counts beside it: an explicit home never pulls state
    /// out of another one.
    #[must_use]
    pub fn explicit(home: impl Into<PathBuf>) -> Self {
        Self { home: Home::Explicit(home.into()), variables: BTreeMap::new() }
    }

    /// Adds a variable. An explicit home ignores them all.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// The home that was named explicitly, if one was.
    #[must_use]
    pub fn explicit_home(&self) -> Option<&Path> {
        match &self.home {
            Home::Explicit(path) => Some(path),
            Home::System { .. } => None,
        }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// A variable's value without the white space around it, which the daemon trims too; `None` when it is unset or empty, and
    /// always beside an explicit home.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        match self.home {
            Home::Explicit(_) => None,
            Home::System { .. } => {
                let value = self.variables.get(OsStr::new(name))?.as_os_str();
                Some(value.to_str().map_or(value, |text| OsStr::new(text.trim()))).filter(|v| !v.is_empty())
            }
        }
    }
}
