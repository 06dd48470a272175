use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::{HostApp, MYOWNLLM};

/// The part of a process's environment that decides about homes, as a value.
///
/// Everything in this crate works on such a value, so that a test, a repair tool for another user's
/// disk and the running app use the same code. Only [`Env::from_process`] (and
/// [`Env::from_process_for`], which it calls) reads the process's own environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    home: Home,
    variables: BTreeMap<OsString, OsString>,
}

/// The source of the user's home directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// The caller named the home (`--home`): no variable counts.
    Explicit(PathBuf),
    /// The operating system named the home; `None` if it named none.
    System { variable: &'static str, value: Option<OsString> },
}

#[cfg(windows)]
const HOME_VARIABLE: &str = "USERPROFILE";
#[cfg(not(windows))]
const HOME_VARIABLE: &str = "HOME";

impl Env {
    /// Reads the process's environment for MyOwnLLM: `HOME` (on Windows the user's profile) and
    /// `MYOWNMESH_HOME`.
    pub fn from_process() -> Self {
        Self::from_process_for(&MYOWNLLM)
    }

    /// Reads the process's environment for another host app: the user's home, and the one variable
    /// that the app's daemon knows.
    ///
    /// On Unix, if `HOME` is unset or empty, the password database names the home, as for the
    /// daemon and the app: two different homes in one start would split the state between them.
    pub fn from_process_for(app: &HostApp) -> Self {
        let mut env = Self::system(std::env::home_dir().map(PathBuf::into_os_string));
        let name: &OsStr = OsStr::new(app.home_variable.as_ref());
        if let Some(value) = std::env::var_os(name) {
            env.variables.insert(name.to_owned(), value);
        }
        env
    }

    /// Returns an environment from a value: the system's home (`None` if it names none) and no
    /// variables.
    pub fn system(home: Option<OsString>) -> Self {
        Self { home: Home::System { variable: HOME_VARIABLE, value: home }, variables: BTreeMap::new() }
    }

    /// Returns an environment with a home that the caller names (`--home DIR`). No variable counts
    /// beside an explicit home, because an explicit home never pulls state out of another one.
    pub fn explicit(home: impl Into<PathBuf>) -> Self {
        Self { home: Home::Explicit(home.into()), variables: BTreeMap::new() }
    }

    /// Adds a variable. An explicit home ignores all variables.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Returns a variable's value without the white space around it, which the daemon trims too.
    /// Returns `None` if the variable is unset or empty, and always beside an explicit home.
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
