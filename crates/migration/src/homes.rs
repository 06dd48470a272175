//! The two homes, and the names of the files that move.

use myownllm_identity::IdentityPaths;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{DaemonFiles, Layout, MYOWNLLM, inside};
use serde::Serialize;

/// The two homes between which the state moves. Nothing changes them: with one changed name, a file
/// would move to a place at which no daemon looks for it.
///
/// ```compile_fail,E0616
/// # use myownllm_migration::Homes;
/// fn elsewhere(mut homes: Homes) {
///     homes.daemon = "/home/u/.otherapp/node".into(); // wanted: Homes::of(&layout)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Homes {
    /// The app's home, the old location of the daemon's state. Its lock protects the move, in both
    /// directions.
    pub(crate) app: Utf8PathBuf,
    /// The daemon home, where the state belongs. It lies inside the app's home.
    pub(crate) daemon: Utf8PathBuf,
    pub(crate) files: DaemonFiles,
    pub(crate) identity_places: IdentityPaths,
    /// The command that hints use for the program, with the options that lead to these homes:
    /// `myownllm-mesh`, or `myownllm-mesh --home /mnt/home/ann`.
    pub(crate) program: String,
}

impl Homes {
    /// Returns the two homes of a layout, with the names of its app.
    pub fn of(layout: &Layout) -> Self {
        Self {
            app: layout.app_home.clone(),
            daemon: layout.daemon_home.clone(),
            files: layout.app.daemon_files.clone(),
            identity_places: IdentityPaths::of(layout),
            program: layout.program.clone(),
        }
    }

    /// Creates the two homes, with the names of MyOwnLLM. Both paths must be absolute. Another app
    /// calls [`Homes::of`].
    pub fn new(app: impl Into<Utf8PathBuf>, daemon: impl Into<Utf8PathBuf>) -> Self {
        let (app, daemon) = (app.into(), daemon.into());
        Self {
            identity_places: IdentityPaths::new(&app, &daemon),
            app,
            daemon,
            files: MYOWNLLM.daemon_files,
            program: MYOWNLLM.program.into_owned(),
        }
    }

    /// Returns the app's home.
    pub fn app(&self) -> &Utf8Path {
        &self.app
    }

    /// Returns the daemon home.
    pub fn daemon(&self) -> &Utf8Path {
        &self.daemon
    }

    /// Returns the daemon's names for the files that move.
    pub fn files(&self) -> &DaemonFiles {
        &self.files
    }

    /// Returns the directories of `.json` files, relative to a home, in the order in which they
    /// move.
    pub(crate) fn dirs(&self) -> [Utf8PathBuf; 2] {
        [relative(&self.files.states), self.rosters()]
    }

    /// Returns the directory among [`dirs`](Self::dirs) that receives the legacy roster.
    pub(crate) fn rosters(&self) -> Utf8PathBuf {
        relative(&self.files.rosters)
    }

    /// Returns the roster from before there were several networks, relative to a home; it becomes
    /// `rosters/{its network id}.json`.
    pub(crate) fn legacy_roster(&self) -> Utf8PathBuf {
        relative(&self.files.legacy_roster)
    }

    /// Returns the second-factor lock, relative to a home.
    pub(crate) fn custody(&self) -> Utf8PathBuf {
        relative(&self.files.custody)
    }

    /// Returns the identity file, relative to a home. It moves last.
    pub(crate) fn identity(&self) -> Utf8PathBuf {
        relative(&self.files.identity)
    }

    /// Returns the home from which files move.
    pub fn source(&self, direction: Direction) -> &Utf8Path {
        match direction {
            Direction::Forward => &self.app,
            Direction::Undo => &self.daemon,
        }
    }

    /// Returns the home to which files move.
    pub fn destination(&self, direction: Direction) -> &Utf8Path {
        match direction {
            Direction::Forward => &self.daemon,
            Direction::Undo => &self.app,
        }
    }
}

fn relative(name: &str) -> Utf8PathBuf {
    inside(Utf8Path::new(""), name)
}

/// The direction of the move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the app's home to the daemon home.
    #[default]
    Forward,
    /// Back, for a downgrade of the app.
    Undo,
}

/// The side that wins where both homes hold a file and the files differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The file of the source; the file of the destination is set aside beside it.
    Source,
    /// The file of the destination; the file of the source is set aside beside it.
    Destination,
}

impl Keep {
    /// Returns the name that people use for that side, whatever the direction: `old-location` or
    /// `daemon-home`.
    #[must_use]
    pub fn place(self, direction: Direction) -> &'static str {
        match (self, direction) {
            (Self::Source, Direction::Forward) | (Self::Destination, Direction::Undo) => "old-location",
            (Self::Destination, Direction::Forward) | (Self::Source, Direction::Undo) => "daemon-home",
        }
    }
}

/// The decisions of the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The direction of the move.
    pub direction: Direction,
    /// The side whose files win. `None`: files that differ stay on both sides, and the report lists
    /// them.
    pub keep: Option<Keep>,
    /// The side whose identity wins if there are two. `None`: nothing moves until the user decides.
    pub keep_identity: Option<Keep>,
}

impl Options {
    /// Returns the options of a forward move without decisions.
    pub fn forward() -> Self {
        Self::default()
    }

    /// Returns the options of an undo without decisions.
    pub fn undo() -> Self {
        Self { direction: Direction::Undo, ..Self::default() }
    }

    /// Sets one decision for everything that differs, the identity included.
    #[must_use]
    pub fn keeping(self, keep: Option<Keep>) -> Self {
        self.keeping_files(keep).keeping_identity(keep)
    }

    /// Sets the decision for files that differ, but not for two different identities.
    #[must_use]
    pub fn keeping_files(mut self, keep: Option<Keep>) -> Self {
        self.keep = keep;
        self
    }

    /// Sets the decision which of two identities is the device's.
    #[must_use]
    pub fn keeping_identity(mut self, keep: Option<Keep>) -> Self {
        self.keep_identity = keep;
        self
    }
}
