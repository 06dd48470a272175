use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::HostApp;

/// Why there is no layout, or why one was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PathsError {
    /// Nothing says where the user's home is: the variable is unset or empty, and the system knows no home of the user.
    #[error(
        "finding the user's home: {variable} is not set, or empty, and the system knows no home of this user"
    )]
    NoHome {
        /// The variable that should have said it.
        variable: &'static str,
    },
    /// The user's home is a relative path, which would mean another folder for every working directory.
    #[error("finding the user's home: {} is a relative path (from {rule})", home.display())]
    RelativeHome {
        /// The path as it was given.
        home: PathBuf,
        /// Who gave it: the variable, or `--home`.
        rule: &'static str,
    },
    /// What is named as the user's home is the app's home, or that of a daemon: everything would be looked for, and made, one level
    /// too deep.
    #[error("cannot take {} for a user's home: it {what}", home.display())]
    AppHome {
        /// The path as it was given.
        home: PathBuf,
        /// What it is, as the end of a sentence.
        what: &'static str,
        /// The user's home that holds it; of a copy under another name there is none.
        user_home: Option<PathBuf>,
        /// The names of the app.
        app: Box<HostApp>,
    },
    /// A name in the [`HostApp`](crate::HostApp) cannot be used: it is empty, absolute, or goes upwards, or two things have one
    /// place.
    #[error("cannot use the description of the app: {field} is {value:?}, {why}")]
    HostApp {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it, as the end of a sentence.
        why: String,
    },
    /// The daemon's home is the app's home, is above it, or lies outside it.
    #[error(
        "checking the daemon's home {}: it {relation} the app's home {}{}; the daemon rewrites the config.json of the folder \
         it lives in, so it needs one of its own",
        daemon_home.display(), app_home.display(), leads_to(really.as_deref())
    )]
    Overlap {
        /// The app's home.
        app_home: PathBuf,
        /// The daemon's home as it is named.
        daemon_home: PathBuf,
        /// How the two lie, as a clause: "is the same folder as", "lies above", "is a link that leads out of".
        relation: &'static str,
        /// What the daemon's home really is, when that is another spelling.
        really: Option<PathBuf>,
    },
    /// Something that is not a folder has the name of the daemon's home (or of a folder on the way to it).
    #[error("checking the daemon's home {}: {} is {what}", daemon_home.display(), at.display())]
    NotAFolder {
        /// The daemon's home.
        daemon_home: PathBuf,
        /// What is in the way.
        at: PathBuf,
        /// What it is: "a file", "a link to nothing".
        what: &'static str,
    },
    /// The socket's path does not fit into the kernel's address.
    #[error(
        "checking the socket path {}: it has {length} bytes, and the system allows {limit}; the daemon's config can name a shorter \
         one: {{\"daemon\": {{\"control_socket\": \"/a/shorter/path.sock\"}}}}", socket.display()
    )]
    SocketTooLong {
        /// The socket.
        socket: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The most that the system takes.
        limit: usize,
        /// The config in which the daemon looks for a shorter one.
        daemon_config: PathBuf,
    },
    /// What the daemon's config names as its socket is no address at which it could be found.
    #[error(
        "{} names the control socket {named:?} at /daemon/control_socket, which {why}: put a short absolute path there, or take it out", config.display()
    )]
    ControlSocket {
        /// What it names.
        named: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        why: &'static str,
        /// The config.
        config: PathBuf,
    },
    /// A folder could not be looked at; that is not the same as "not there".
    #[error("looking at {}", path.display())]
    Lookup {
        /// What was looked at.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl PathsError {
    /// A code that stays, for programs: `paths.overlap`, `paths.socket-too-long`, …
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoHome { .. } => "paths.no-home",
            Self::RelativeHome { .. } => "paths.relative-home",
            Self::AppHome { .. } => "paths.app-home",
            Self::HostApp { .. } => "paths.host-app",
            Self::Overlap { .. } => "paths.overlap",
            Self::NotAFolder { .. } => "paths.not-a-folder",
            Self::SocketTooLong { .. } => "paths.socket-too-long",
            Self::ControlSocket { .. } => "paths.control-socket",
            Self::Lookup { .. } => "paths.lookup",
        }
    }

    /// Whether this is a refusal that waits for a decision of the user's, and not a failure.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::AppHome { .. }
                | Self::Overlap { .. }
                | Self::NotAFolder { .. }
                | Self::SocketTooLong { .. }
                | Self::ControlSocket { .. }
        )
    }

    /// The path that the error is about.
    #[must_use]
    pub fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::RelativeHome { home, .. } | Self::AppHome { home, .. } => Some(home),
            Self::Overlap { daemon_home, .. } => Some(daemon_home),
            Self::NotAFolder { at, .. } => Some(at),
            Self::SocketTooLong { socket, .. } => Some(socket),
            Self::ControlSocket { config, .. } => Some(config),
            Self::Lookup { path, .. } => Some(path),
            Self::NoHome { .. } | Self::HostApp { .. } => None,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome { .. } => Some("myownllm-mesh --home /path/to/home status".to_owned()),
            Self::RelativeHome { home, .. } => {
                Some(format!("myownllm-mesh --home \"$PWD\"/{} status", quoted(home)))
            }
            Self::HostApp { .. } => None,
            Self::AppHome { user_home: Some(home), app, .. } => {
                Some(format!("{} --home {} status", app.program, quoted(home)))
            }
            // A user's home for the copy, in which the copy has its proper name.
            Self::AppHome { home, app, .. } => {
                let user_home = beside(home, "home");
                let link = quoted(&user_home.join(app.app_folder.as_ref()));
                let user_home = quoted(&user_home);
                Some(format!(
                    "mkdir {user_home} && ln -s {} {link} && {} --home {user_home} status",
                    quoted(home),
                    app.program
                ))
            }
            // Only a link is taken away, and only where nothing is behind it but the app's home itself.
            Self::Overlap { app_home, daemon_home, .. } if !daemon_home.is_symlink() => {
                Some(format!("ls -lid {} {}", quoted(app_home), quoted(daemon_home)))
            }
            // The key may lie there: it comes along. What is not there now may be on a disk that is not plugged in.
            Self::Overlap { daemon_home, relation, .. } if *relation == LEADS_OUT => Some(
                std::fs::metadata(daemon_home)
                    .map_or_else(|_| look_at(daemon_home), |_| replace_symlink(daemon_home)),
            ),
            Self::Overlap { daemon_home, .. } => Some(aside(daemon_home)),
            Self::NotAFolder { at, daemon_home, what } => {
                let is_ours = at == daemon_home || daemon_home.parent() == Some(at);
                Some(if is_ours && !what.starts_with("a link") { aside(at) } else { look_at(at) })
            }
            // Before the daemon has run there is no config, and no directory for one.
            Self::SocketTooLong { daemon_config: config, .. } => {
                let edit = format!("${{EDITOR:-vi}} {}", quoted(config));
                let make = config.parent().map(|home| format!("mkdir -p -m 700 {} && ", quoted(home)));
                Some(make.unwrap_or_default() + &edit)
            }
            Self::ControlSocket { config, .. } => Some(format!("${{EDITOR:-vi}} {}", quoted(config))),
            Self::Lookup { path, .. } => Some(look_at(path)),
        }
    }
}

/// How a daemon's home lies that is a link to a place outside of the app's home.
pub(crate) const LEADS_OUT: &str = "leads out of";

fn look_at(path: &std::path::Path) -> String {
    format!("ls -ld {}", quoted(path))
}

/// Where a link leads, in brackets.
fn leads_to(really: Option<&std::path::Path>) -> String {
    really.map_or_else(String::new, |really| format!(" (it leads to {})", really.display()))
}

/// A path with an ending added to its name.
fn beside(path: &std::path::Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// A name beside a path that nothing has.
fn free_name(path: &std::path::Path, ending: &str) -> PathBuf {
    let names =
        (1..1000).map(|number| if number > 1 { format!("{ending}-{number}") } else { ending.to_owned() });
    let is_free = |path: &PathBuf| {
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    names.map(|ending| beside(path, &ending)).find(is_free).unwrap_or_else(|| beside(path, ending))
}

/// The command that moves something out of the way. It replaces nothing.
fn aside(path: &std::path::Path) -> String {
    format!("mv -n {} {}", quoted(path), quoted(&free_name(path, "aside")))
}

/// The command that puts a copy of what a symlink leads to in its place. Run again, it finds no symlink and does nothing.
fn replace_symlink(symlink: &std::path::Path) -> String {
    let (symlink, copy) = (quoted(symlink), quoted(&free_name(symlink, "copy")));
    format!("test -L {symlink} && cp -RLpn {symlink} {copy} && rm {symlink} && mv -n {copy} {symlink}")
}

/// A path as a shell takes it. What is not UTF-8 is shown lossily, as everywhere.
fn quoted(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
