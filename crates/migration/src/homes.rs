//! Where things lie: the two homes, and the names of what moves.

use std::path::{Path, PathBuf};

use myownllm_identity::Places;
use serde::Serialize;

/// Names, relative to a home, of what moves. A sibling app whose daemon keeps other names writes its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateNames {
    /// Folders of `.json` files, in the order in which they move.
    pub folders: Vec<PathBuf>,
    /// The one of [`folders`](Self::folders) that takes up the legacy roster.
    pub rosters: PathBuf,
    /// The roster of the time before there were several networks; it becomes `rosters/{its network id}.json`.
    pub legacy_roster: PathBuf,
    /// The second-factor lock.
    pub custody: PathBuf,
    /// The key. It moves last.
    pub identity: PathBuf,
}

impl Default for StateNames {
    /// The names of the daemon `myownmesh`.
    fn default() -> Self {
        Self {
            folders: vec!["mesh/states".into(), "mesh/rosters".into()],
            rosters: "mesh/rosters".into(),
            legacy_roster: "mesh/roster.json".into(),
            custody: ".secrets/custody.json".into(),
            identity: ".secrets/identity.json".into(),
        }
    }
}

/// The two homes between which the state moves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Homes {
    /// The app's home, where the daemon's state was. Its lock guards the move, in both directions.
    pub app: PathBuf,
    /// The daemon's home, where the state belongs. It lies inside the app's home.
    pub daemon: PathBuf,
    /// What moves.
    pub names: StateNames,
    /// How hints call the program, with the options that lead to these homes: `myownllm-mesh`, or
    /// `myownllm-mesh --home /mnt/home/ann`.
    pub program: String,
}

impl Homes {
    /// The two homes, with the names of the daemon `myownmesh`. Both paths must be absolute.
    pub fn new(app: impl Into<PathBuf>, daemon: impl Into<PathBuf>) -> Self {
        Self {
            app: app.into(),
            daemon: daemon.into(),
            names: StateNames::default(),
            program: "myownllm-mesh".to_owned(),
        }
    }

    /// With other names.
    #[must_use]
    pub fn with_names(mut self, names: StateNames) -> Self {
        self.names = names;
        self
    }

    /// With another way to call the program in hints.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<String>) -> Self {
        self.program = program.into();
        self
    }

    /// Where an identity file may be in these homes.
    #[must_use]
    pub fn identity_places(&self) -> Places {
        let names = &self.names;
        let mut places = Places::new(&self.app, &self.daemon);
        for (home, path) in [(&mut places.app, &self.app), (&mut places.daemon, &self.daemon)] {
            home.identity = path.join(&names.identity);
            home.rosters = path.join(&names.rosters);
            home.states = names
                .folders
                .iter()
                .filter(|folder| **folder != names.rosters)
                .map(|folder| path.join(folder))
                .collect();
            home.legacy_roster = path.join(&names.legacy_roster);
        }
        places
    }

    /// Where things move from.
    pub fn source(&self, direction: Direction) -> &Path {
        match direction {
            Direction::Forward => &self.app,
            Direction::Undo => &self.daemon,
        }
    }

    /// Where things move to.
    pub fn destination(&self, direction: Direction) -> &Path {
        match direction {
            Direction::Forward => &self.daemon,
            Direction::Undo => &self.app,
        }
    }
}

/// Which way things move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the app's home to the daemon's.
    #[default]
    Forward,
    /// Back, for a downgrade of the app.
    Undo,
}

/// Which side wins where both hold something and it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// What comes from the source; what was at the destination is set aside beside it.
    Source,
    /// What is at the destination; what would have come from the source is set aside beside it.
    Destination,
}

impl Keep {
    /// The place of that side, as people name it whatever the direction: `old-location` or `daemon-home`.
    #[must_use]
    pub fn place(self, direction: Direction) -> &'static str {
        match (self, direction) {
            (Self::Source, Direction::Forward) | (Self::Destination, Direction::Undo) => "old-location",
            (Self::Destination, Direction::Forward) | (Self::Source, Direction::Undo) => "daemon-home",
        }
    }
}

/// What the user has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Which way.
    pub direction: Direction,
    /// Which side's files win. `None`: where they differ both stay, and that is reported.
    pub keep: Option<Keep>,
    /// Which of two different keys wins. `None`: nothing moves before that is decided.
    pub keep_identity: Option<Keep>,
    /// Whether a daemon that does not belong there ([`crate::LiveKind::Legacy`]) may be stopped, by
    /// [`crate::LiveDaemons::stop`].
    pub stop_legacy_daemon: bool,
}

impl Options {
    /// The move, nothing decided.
    pub fn forward() -> Self {
        Self::default()
    }

    /// The way back, nothing decided.
    pub fn undo() -> Self {
        Self { direction: Direction::Undo, ..Self::default() }
    }

    /// With one decision on all that differs, the keys included.
    #[must_use]
    pub fn keeping(self, keep: Option<Keep>) -> Self {
        self.keeping_files(keep).keeping_identity(keep)
    }

    /// With a decision on files that differ, and none on which of two keys is the device's.
    #[must_use]
    pub fn keeping_files(mut self, keep: Option<Keep>) -> Self {
        self.keep = keep;
        self
    }

    /// With a decision on which of two keys is the device's.
    #[must_use]
    pub fn keeping_identity(mut self, keep: Option<Keep>) -> Self {
        self.keep_identity = keep;
        self
    }

    /// With leave to stop a daemon that is in the way.
    #[must_use]
    pub fn stopping_legacy_daemon(mut self, stop: bool) -> Self {
        self.stop_legacy_daemon = stop;
        self
    }
}
