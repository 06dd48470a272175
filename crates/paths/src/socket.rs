use std::fmt;
use std::path::{Path, PathBuf};

use myownllm_json_document::Document;
use serde::{Serialize, Serializer};

use crate::PathsError;
use crate::resolver::is_absolute;

/// Which daemon the app talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The daemon that the app brings along, in its own home inside the app's.
    OwnLlm,
    /// The daemon of the stand-alone program, which belongs to the user and not to the app.
    Shared,
}

impl Mode {
    /// `own-llm` or `shared`, as on the command line and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OwnLlm => "own-llm",
            Self::Shared => "shared",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the config of a daemon says of its control socket. [`Layout::control_socket`](crate::Layout::control_socket) reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlSocket {
    /// Nothing, or there is no config that the daemon could read: it listens in its home.
    InHome,
    /// A path, which may be no address at all: see [`check_control_socket`].
    Named(PathBuf),
}

impl ControlSocket {
    /// What the bytes of a daemon's config say.
    #[must_use]
    pub fn of_config(config: &[u8]) -> Self {
        Document::parse(config).map_or(Self::InHome, |parsed| Self::of_document(&parsed.document))
    }

    /// The same of a config that was parsed.
    #[must_use]
    pub fn of_document(config: &Document) -> Self {
        let value = config.get(&["daemon", "control_socket"]);
        match value.as_ref().and_then(|value| value.as_str()) {
            Some(path) => Self::Named(PathBuf::from(&*path)),
            None => Self::InHome,
        }
    }

    /// The path, when one is named.
    #[must_use]
    pub fn named(&self) -> Option<&Path> {
        match self {
            Self::InHome => None,
            Self::Named(path) => Some(path),
        }
    }
}

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Socket {
    /// A Unix socket file.
    Path(PathBuf),
    /// A named pipe in the local namespace of Windows.
    Pipe(String),
}

impl Socket {
    /// The socket's file, when it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Pipe(_) => None,
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Pipe(name) => write!(f, r"\\.\pipe\{name}"),
        }
    }
}

impl Serialize for Socket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The operating system, as far as it decides about paths.
///
/// A value and not a `cfg`, so that the rules of all three can be tried on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Platform {
    /// Linux and Android.
    Linux,
    /// macOS, and the BSDs, which share its socket addresses.
    MacOs,
    /// Windows.
    Windows,
}

impl Platform {
    /// The one that this program was built for. What is none of the three counts as Linux.
    #[must_use]
    pub const fn current() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(any(
            target_vendor = "apple",
            target_os = "freebsd",
            target_os = "netbsd",
            target_os = "openbsd",
            target_os = "dragonfly"
        )) {
            Self::MacOs
        } else {
            Self::Linux
        }
    }

    /// The longest path of a Unix socket in bytes; `None` where the daemon does not listen on one.
    ///
    /// `sun_path` has 108 bytes on Linux and 104 on macOS and the BSDs, and one of them is the NUL at the end.
    #[must_use]
    pub const fn socket_limit(self) -> Option<usize> {
        match self {
            Self::Linux => Some(107),
            Self::MacOs => Some(103),
            Self::Windows => None,
        }
    }

    /// Whether two names that differ in case alone are usually one folder.
    #[must_use]
    pub const fn usually_ignores_case(self) -> bool {
        matches!(self, Self::MacOs | Self::Windows)
    }
}

/// Refuses a `daemon.control_socket` at which nobody could ever find the daemon: it is relative or empty, so that the
/// daemon listens somewhere that depends on how it was started; it names a folder, or holds a NUL. Where the daemon does
/// not listen on a socket file (Windows), it does not count.
///
/// `config` is the file that says so, for the message and the hint.
///
/// # Errors
/// [`PathsError::ControlSocket`] with what is wrong and the way out.
pub fn check_control_socket(named: &Path, platform: Platform, config: &Path) -> Result<(), PathsError> {
    match no_address(named) {
        Some(why) if platform.socket_limit().is_some() => {
            Err(PathsError::ControlSocket { named: named.to_path_buf(), why, config: config.to_path_buf() })
        }
        _ => Ok(()),
    }
}

/// Why a text of a daemon's config is no address that others can find; its length is another matter.
pub(crate) fn no_address(named: &Path) -> Option<&'static str> {
    let bytes = named.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        Some("is empty")
    } else if !is_absolute(named) {
        Some("is no absolute path")
    } else if bytes.contains(&0) {
        Some("holds a NUL character")
    } else if named.file_name().is_none() || bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        Some("names a folder")
    } else {
        None
    }
}

/// Refuses a socket path that cannot be bound: the kernel's address has a fixed size.
///
/// `daemon_config` is the file where a short path is to be written, for the hint.
///
/// # Errors
/// [`PathsError::SocketTooLong`] with the length, the limit and the way out.
pub fn check_socket(socket: &Socket, platform: Platform, daemon_config: &Path) -> Result<(), PathsError> {
    let (Some(path), Some(limit)) = (socket.path(), platform.socket_limit()) else { return Ok(()) };
    let length = path.as_os_str().as_encoded_bytes().len();
    if length <= limit {
        return Ok(());
    }
    Err(PathsError::SocketTooLong {
        socket: path.to_path_buf(),
        length,
        limit,
        daemon_config: daemon_config.to_path_buf(),
    })
}
