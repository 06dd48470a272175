use std::io;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use crate::HostApp;
use crate::command::{move_aside, quote, replace_symlink};

/// Says why there is no layout, or why a layout was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum PathsError {
    /// Nothing names the user's home: the variable is unset or empty, and the system knows no home
    /// of the user.
    #[error(
        "cannot find the user's home: {variable} is not set, or empty, and the system knows no home of \
         this user; name it with --home"
    )]
    NoHome { variable: &'static str, program: String },
    /// The path of the user's home is not UTF-8. The daemon reads the path of its home as text, and
    /// would use another home.
    #[error("cannot use the home {}: its path is not UTF-8", home.display())]
    HomeNotUtf8 { home: PathBuf, program: String },
    /// The user's home is a relative path, which would mean another directory for every working
    /// directory.
    #[error("cannot use the home {home}: it is a relative path (from {rule})")]
    RelativeHome { home: Utf8PathBuf, rule: &'static str, program: String },
    /// The path that is named as the user's home is the app's home, or a daemon's: everything would
    /// be searched for, and created, one level too deep.
    #[error("cannot take {home} for a user's home: it {what}")]
    AppHome { home: Utf8PathBuf, what: &'static str, user_home: Option<Utf8PathBuf>, app: Box<HostApp> },
    /// A name in the [`HostApp`](crate::HostApp) cannot be used: it is empty, absolute, or goes
    /// upwards, or two things have the same place.
    #[error("cannot use the description of the app: {field} is {value:?}, {why}")]
    HostApp { field: &'static str, value: String, why: String },
    /// The daemon's home is the app's home, is above it, or lies outside it.
    #[error(
        "cannot use the daemon home {daemon_home}: it {relation} the app's home {app_home}{}; the daemon \
         rewrites the config.json of its directory, so it needs a directory of its own{}",
        leads_to(canonical_home.as_deref()),
        choice(*relation, app_home, daemon_home)
    )]
    Overlap {
        app_home: Utf8PathBuf,
        daemon_home: Utf8PathBuf,
        relation: HomeRelation,
        canonical_home: Option<PathBuf>,
    },
    /// An entry that is not a directory has the name of the daemon's home, or of a directory on the
    /// way to it.
    #[error("cannot use the daemon home {daemon_home}: {at} is {what}{}", gone_for_good(at))]
    NotADirectory { daemon_home: Utf8PathBuf, at: Utf8PathBuf, what: &'static str },
    /// The socket's path does not fit into the kernel's address.
    #[error(
        "cannot use the socket path {socket}: it has {length} bytes, and the system allows {limit}; the \
         daemon's config can name a shorter one: \
         {{\"daemon\": {{\"control_socket\": \"/a/shorter/path.sock\"}}}}"
    )]
    SocketTooLong {
        socket: Utf8PathBuf,
        length: usize,
        /// The most bytes that the system accepts.
        limit: usize,
        daemon_config: Utf8PathBuf,
    },
    /// The control socket in the daemon's config is not an address at which a program could find
    /// the daemon.
    #[error(
        "cannot use the control socket {named:?}, which {config} names at /daemon/control_socket: it {why}; \
         put a short absolute path there, or take it out"
    )]
    ControlSocket { named: Utf8PathBuf, why: &'static str, config: Utf8PathBuf },
    /// A path could not be looked at. This is not the same as "not there".
    #[error("cannot look at {}", path.display())]
    Lookup { path: PathBuf, source: io::Error },
}

/// The entry that may lead to an unplugged disk.
pub(crate) const BROKEN_SYMLINK: &str = "a broken symlink";

impl PathsError {
    /// Returns a stable code, for programs: `paths.overlap`, `paths.socket-too-long`, …
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHome { .. } => "paths.no-home",
            Self::HomeNotUtf8 { .. } => "paths.home-not-utf8",
            Self::RelativeHome { .. } => "paths.relative-home",
            Self::AppHome { .. } => "paths.app-home",
            Self::HostApp { .. } => "paths.host-app",
            Self::Overlap { .. } => "paths.overlap",
            Self::NotADirectory { .. } => "paths.not-a-folder",
            Self::SocketTooLong { .. } => "paths.socket-too-long",
            Self::ControlSocket { .. } => "paths.control-socket",
            Self::Lookup { .. } => "paths.lookup",
        }
    }

    /// Returns true for a refusal that waits for a decision of the user's, and false for a failure.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::HomeNotUtf8 { .. }
                | Self::AppHome { .. }
                | Self::Overlap { .. }
                | Self::NotADirectory { .. }
                | Self::SocketTooLong { .. }
                | Self::ControlSocket { .. }
        )
    }

    /// Returns the class of the error.
    #[cfg(feature = "serde")]
    pub fn class(&self) -> crate::Class {
        if self.is_refusal() { crate::Class::Refused } else { crate::Class::Failed }
    }

    /// Returns the path that the error is about.
    pub fn path(&self) -> Option<&Path> {
        let path = match self {
            Self::HomeNotUtf8 { home: path, .. } | Self::Lookup { path, .. } => return Some(path),
            Self::RelativeHome { home, .. } | Self::AppHome { home, .. } => home,
            Self::Overlap { daemon_home, .. } => daemon_home,
            Self::NotADirectory { at: path, .. } => path,
            Self::SocketTooLong { socket, .. } => socket,
            Self::ControlSocket { config, .. } => config,
            Self::NoHome { .. } | Self::HostApp { .. } => return None,
        };
        Some(path.as_std_path())
    }

    /// Returns the remedy.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome { program, .. } => Some(format!("{program} --home \"$PWD\" status")),
            // A symlink gives the home a second path. The directory is new and of the user's own,
            // because nobody but root can put a symlink beside the home.
            Self::HomeNotUtf8 { home, program } if cfg!(unix) => Some(format!(
                "sh -c 'home=$(mktemp -d /var/tmp/home.XXXXXX)/home && ln -s \"$0\" \"$home\" && \
                 {program} --home \"$home\" status' {}",
                quote(home)
            )),
            Self::HomeNotUtf8 { .. } => None,
            Self::RelativeHome { home, program, .. } => {
                Some(format!("{program} --home \"$PWD\"/{} status", quote(home)))
            }
            Self::HostApp { field, .. } => {
                Some(format!("correct the program: give the `HostApp` of the app another {field}"))
            }
            Self::Overlap { app_home, daemon_home, .. } if app_home.starts_with(daemon_home) => {
                Some("correct the program: take the paths from a `Layout` of `Resolver`".to_owned())
            }
            Self::AppHome { user_home: Some(home), app, .. } => {
                Some(format!("{} --home {} status", app.program, quote(home)))
            }
            // Creates a user's home for the copy, in which the copy has its proper name.
            Self::AppHome { home, app, .. } => {
                let user_home = Utf8PathBuf::from(format!("{home}.home"));
                let link = quote(user_home.join(app.app_dir.as_ref()));
                let user_home = quote(&user_home);
                Some(format!(
                    "mkdir {user_home} && ln -s {} {link} && {} --home {user_home} status",
                    quote(home),
                    app.program
                ))
            }
            // The target stays with the stand-alone daemon.
            Self::Overlap { app_home, daemon_home, .. } if leads_to_shared(app_home, daemon_home) => {
                Some(replace_symlink(app_home))
            }
            // Removes only a symlink, and only if its target is nothing but the app's home itself.
            Self::Overlap { app_home, daemon_home, .. } if !daemon_home.is_symlink() => {
                Some(format!("ls -lid {} {}", quote(app_home), quote(daemon_home)))
            }
            // The target may hold the identity file, so the target is copied too.
            Self::Overlap {
                daemon_home, relation: HomeRelation::Outside | HomeRelation::StandAlone, ..
            } => Some(
                std::fs::metadata(daemon_home)
                    .map_or_else(|_| leave_target(daemon_home), |_| replace_symlink(daemon_home)),
            ),
            // The target and its identity file stay with the daemon that uses them.
            Self::Overlap { daemon_home, relation: HomeRelation::OtherDaemon, .. } => {
                Some(replace_symlink_by_dir(daemon_home))
            }
            Self::Overlap { daemon_home, .. } => Some(move_aside(daemon_home, "aside")),
            Self::NotADirectory { at, daemon_home, what } => {
                let is_ours = at == daemon_home || daemon_home.parent() == Some(at);
                Some(match is_ours {
                    true if *what == BROKEN_SYMLINK => leave_target(at),
                    true => move_aside(at, "aside"),
                    false => look_at(at),
                })
            }
            // Before the first run of the daemon neither its config nor the directory of the config
            // exists.
            Self::SocketTooLong { daemon_config: config, .. } => {
                let make = config.parent().map(|home| format!("mkdir -p -m 700 {} && ", quote(home)));
                Some(make.unwrap_or_default() + &edit(config))
            }
            Self::ControlSocket { config, .. } => Some(edit(config)),
            Self::Lookup { path, .. } => Some(look_at(path)),
        }
    }
}

#[cfg(feature = "serde")]
crate::impl_failure!(PathsError, serialize);

/// The relation of a daemon's home to the app's home that forbids its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HomeRelation {
    /// Both are one directory.
    Same,
    /// The daemon's home lies above the app's home.
    Above,
    /// The daemon's home is a symlink to a place outside the app's home.
    Outside,
    /// The daemon's home is a symlink to the home of another daemon.
    OtherDaemon,
    /// The daemon's home is a symlink to the home of the stand-alone daemon, which does not run.
    StandAlone,
}

impl std::fmt::Display for HomeRelation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Same => "is the same directory as",
            Self::Above => "lies above",
            Self::Outside => "leads out of",
            Self::OtherDaemon => "leads to the home of another daemon, out of",
            Self::StandAlone => "leads to the home of the stand-alone daemon, out of",
        })
    }
}

fn look_at(path: impl AsRef<Path>) -> String {
    format!("ls -ld {}", quote(path))
}

/// Returns the target of a symlink, in brackets.
fn leads_to(target: Option<&Path>) -> String {
    target.map_or_else(String::new, |target| format!(" (it leads to {})", target.display()))
}

/// Returns true if the app's home is a symlink to `home`, the home of the stand-alone daemon.
fn leads_to_shared(app_home: &Utf8Path, home: &Utf8Path) -> bool {
    app_home.is_symlink() && !home.is_symlink() && !home.starts_with(app_home)
}

/// Returns the other way out of a symlink to the home of another daemon: only the user knows which
/// programs use the key there.
fn choice(relation: HomeRelation, app_home: &Utf8Path, daemon_home: &Utf8Path) -> String {
    match relation {
        HomeRelation::Same if leads_to_shared(app_home, daemon_home) => format!(
            ". With a copy of that home, the app keeps its files and its key. If another program uses the \
             key there, give the app an empty home instead: {}",
            replace_symlink_by_dir(app_home)
        ),
        // There is nothing to copy.
        HomeRelation::OtherDaemon if std::fs::metadata(daemon_home).is_err() => String::new(),
        HomeRelation::Outside | HomeRelation::StandAlone if std::fs::metadata(daemon_home).is_err() => {
            gone_for_good(daemon_home)
        }
        HomeRelation::OtherDaemon => format!(
            ". With a directory of its own, the app's daemon gets a key of its own, and its peers have to be \
             approved again. If no other program uses the key there, keep it with a copy of that home \
             instead: {}",
            replace_symlink(daemon_home)
        ),
        HomeRelation::StandAlone => format!(
            ". With a copy of that home, the app keeps its key. If another program uses the key there, give \
             the app's daemon a directory and a key of its own instead, and have its peers approve it \
             again: {}",
            replace_symlink_by_dir(daemon_home)
        ),
        _ => String::new(),
    }
}

/// Returns the two ways out of a broken symlink, as the end of a sentence.
fn gone_for_good(path: &Utf8Path) -> String {
    match path.is_symlink() && std::fs::metadata(path).is_err() {
        true => {
            format!("; bring its target back, or, if that is gone for good: {}", move_aside(path, "aside"))
        }
        false => String::new(),
    }
}

/// Returns the command that moves a broken symlink out of the way. If the directory of the target is
/// missing too, or empty like the mount point of an unplugged disk, the command shows the symlink.
fn leave_target(symlink: &Utf8Path) -> String {
    let mut target = symlink.as_std_path().to_owned();
    // Linux follows the same number of symlinks.
    for _ in 0..40 {
        let Ok(next) = std::fs::read_link(&target) else { break };
        target = target.parent().unwrap_or(&target).join(next);
    }
    let beside = target.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    if beside.into_iter().flatten().next().is_some() {
        move_aside(symlink, "aside")
    } else {
        look_at(symlink)
    }
}

/// Returns the command that opens a file in the user's editor. `sh` splits the arguments of the
/// editor, as zsh does not; fish reads no braces.
fn edit(file: &Utf8Path) -> String {
    format!("sh -c '${{EDITOR:-vi}} \"$0\"' {}", quote(file))
}

/// Returns the command that puts an empty directory in a symlink's place.
fn replace_symlink_by_dir(symlink: &Utf8Path) -> String {
    let symlink = quote(symlink);
    format!("test -L {symlink} && rm {symlink} && mkdir -m 700 {symlink}")
}
