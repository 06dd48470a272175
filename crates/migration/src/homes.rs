//! The two homes, and the names of the files that move.

use myownllm_identity::IdentityPaths;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{HostApp, Layout, MYOWNLLM};
use serde::Serialize;

/// The names, relative to a home, of the files that move. A sibling app whose daemon uses other
/// names sets its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateNames {
    /// The directories of `.json` files, in the order in which they move.
    pub dirs: Vec<Utf8PathBuf>,
    /// The directory among [`folders`](Self::folders) that receives the legacy roster.
    pub rosters: Utf8PathBuf,
    /// The roster from before there were several networks; it becomes `rosters/{its network
    /// id}.json`.
    pub legacy_roster: Utf8PathBuf,
    /// The second-factor lock.
    pub custody: Utf8PathBuf,
    /// The identity file. It moves last.
    pub identity: Utf8PathBuf,
}

impl StateNames {
    /// Returns the names of the daemon of an app.
    #[must_use]
    pub fn of(app: &HostApp) -> Self {
        let files = &app.daemon_files;
        Self {
            dirs: vec![files.states.as_ref().into(), files.rosters.as_ref().into()],
            rosters: files.rosters.as_ref().into(),
            legacy_roster: files.legacy_roster.as_ref().into(),
            custody: files.custody.as_ref().into(),
            identity: files.identity.as_ref().into(),
        }
        .with_platform_separators()
    }

    /// Returns the names with the separator of the platform. On Windows, `mesh/states` in a home
    /// would be shown, and written, as a path with both separators.
    fn with_platform_separators(self) -> Self {
        let native = |name: Utf8PathBuf| name.components().collect::<Utf8PathBuf>();
        Self {
            dirs: self.dirs.into_iter().map(native).collect(),
            rosters: native(self.rosters),
            legacy_roster: native(self.legacy_roster),
            custody: native(self.custody),
            identity: native(self.identity),
        }
    }
}

impl Default for StateNames {
    /// Returns the names of the daemon `myownmesh`.
    fn default() -> Self {
        Self::of(&MYOWNLLM)
    }
}

/// The two homes between which the state moves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Homes {
    /// The app's home, the old location of the daemon's state. Its lock protects the move, in both
    /// directions.
    pub app: Utf8PathBuf,
    /// The daemon home, where the state belongs. It lies inside the app's home.
    pub daemon: Utf8PathBuf,
    /// The names of the files that move.
    pub names: StateNames,
    /// The command that hints use for the program, with the options that lead to these homes:
    /// `myownllm-mesh`, or `myownllm-mesh --home /mnt/home/ann`.
    pub program: String,
}

impl Homes {
    /// Returns the two homes of a layout, with the names of its app.
    #[must_use]
    pub fn of(layout: &Layout) -> Self {
        Self {
            app: layout.app_home.clone(),
            daemon: layout.daemon_home.clone(),
            names: StateNames::of(&layout.app),
            program: layout.app.program.clone().into_owned(),
        }
    }

    /// Creates the two homes, with the names of MyOwnLLM. Both paths must be absolute. Another app
    /// calls [`Homes::of`].
    pub fn new(app: impl Into<Utf8PathBuf>, daemon: impl Into<Utf8PathBuf>) -> Self {
        Self {
            app: app.into(),
            daemon: daemon.into(),
            names: StateNames::default(),
            program: "myownllm-mesh".to_owned(),
        }
    }

    /// Sets other names, whose parts are separated by `/` or by the separator of the platform.
    #[must_use]
    pub fn with_names(mut self, names: StateNames) -> Self {
        self.names = names.with_platform_separators();
        self
    }

    /// Sets another command for the program in hints.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// Returns the paths at which an identity file may be in these homes.
    #[must_use]
    pub fn identity_places(&self) -> IdentityPaths {
        let names = &self.names;
        let mut places = IdentityPaths::new(&self.app, &self.daemon);
        for (home, path) in [(&mut places.app, &self.app), (&mut places.daemon, &self.daemon)] {
            home.identity = path.join(&names.identity);
            home.rosters = path.join(&names.rosters);
            home.states =
                names.dirs.iter().filter(|dir| **dir != names.rosters).map(|dir| path.join(dir)).collect();
            home.legacy_roster = path.join(&names.legacy_roster);
        }
        places
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

/// The direction of the move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
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
    /// True if a daemon that does not belong to the daemon home ([`crate::LiveKind::Legacy`]) may
    /// be stopped, by [`crate::LiveDaemons::stop`].
    pub stop_legacy_daemon: bool,
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

    /// Sets if a daemon that is in the way may be stopped.
    #[must_use]
    pub fn stopping_legacy_daemon(mut self, stop: bool) -> Self {
        self.stop_legacy_daemon = stop;
        self
    }
}
