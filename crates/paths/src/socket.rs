use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::PathsError;
use crate::spelling::is_absolute;

/// The daemon that the app talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Mode {
    /// The app's own daemon, in its own home inside the app's.
    OwnLlm,
    /// The daemon of the stand-alone program, which belongs to the user and not to the app.
    Shared,
}

impl Mode {
    /// Returns `own-llm` or `shared`, as on the command line and in reports.
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

/// The control socket in a daemon's config, which decides where the daemon listens.
///
/// `Layout::control_socket` (feature `control-socket`) reads it. A caller without that feature
/// reads `/daemon/control_socket` of [`Layout::config_for_mode`](crate::Layout::config_for_mode).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ControlSocket {
    /// The config names none, or the daemon could not read a config: the daemon listens in its
    /// home.
    InHome,
    /// A path, which may not be an address: see [`check_control_socket`].
    Named(Utf8PathBuf),
}

impl ControlSocket {
    /// Returns the path, if one is named.
    pub fn named(&self) -> Option<&Utf8Path> {
        match self {
            Self::InHome => None,
            Self::Named(path) => Some(path),
        }
    }
}

/// The address at which a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Socket {
    /// A Unix socket file.
    Path(Utf8PathBuf),
    /// A named pipe in the local namespace of Windows.
    Pipe(String),
}

impl Socket {
    /// Returns the socket's file, if the socket is one.
    pub fn path(&self) -> Option<&Utf8Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Pipe(_) => None,
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.as_str().fmt(f),
            Self::Pipe(name) => write!(f, r"\\.\pipe\{name}"),
        }
    }
}

/// The operating system, as far as paths depend on it.
///
/// A value and not a `cfg`, so that one system can test the rules of all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
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
    /// Returns the platform that this program was built for. Any other platform counts as Linux.
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

    /// Returns the most bytes of the path of a Unix socket; `None` if the daemon does not listen on
    /// one.
    ///
    /// `sun_path` has 108 bytes on Linux and 104 on macOS and the BSDs, including the NUL at the
    /// end.
    #[must_use]
    pub const fn socket_limit(self) -> Option<usize> {
        match self {
            Self::Linux => Some(107),
            Self::MacOs => Some(103),
            Self::Windows => None,
        }
    }

    /// Returns true if two names that differ in case alone are usually the same directory.
    #[must_use]
    pub const fn usually_ignores_case(self) -> bool {
        matches!(self, Self::MacOs | Self::Windows)
    }
}

/// Refuses a `daemon.control_socket` at which no program could find the daemon: a relative or empty
/// path, because the address would depend on the start of the daemon; a directory; a path with a
/// NUL. If the daemon does not listen on a socket file (Windows), the path does not count.
///
/// `config` is the file with the path, for the message and the hint.
///
/// # Errors
/// [`PathsError::ControlSocket`] with the reason and the way out.
pub fn check_control_socket(
    named: &Utf8Path,
    platform: Platform,
    config: &Utf8Path,
) -> Result<(), PathsError> {
    match invalid_address_reason(named) {
        Some(why) if platform.socket_limit().is_some() => {
            Err(PathsError::ControlSocket { named: named.to_path_buf(), why, config: config.to_path_buf() })
        }
        _ => Ok(()),
    }
}

/// Returns the reason why a path in a daemon's config is not an address; does not check the length.
pub(crate) fn invalid_address_reason(named: &Utf8Path) -> Option<&'static str> {
    let bytes = named.as_str().as_bytes();
    let is_separator = |byte: &u8| std::path::is_separator(char::from(*byte));
    if bytes.is_empty() {
        Some("is empty")
    } else if !is_absolute(named) {
        Some("is no absolute path")
    } else if bytes.contains(&0) {
        Some("holds a NUL character")
    } else if named.file_name().is_none()
        || matches!(bytes, [.., last] | [.., last, b'.'] if is_separator(last))
    {
        Some("names a directory")
    } else {
        None
    }
}

/// Refuses a socket path that cannot be bound: the kernel's address has a fixed size.
///
/// `daemon_config` is the file for a shorter path, for the hint.
///
/// # Errors
/// [`PathsError::SocketTooLong`] with the length, the limit and the way out.
pub fn check_socket(socket: &Socket, platform: Platform, daemon_config: &Utf8Path) -> Result<(), PathsError> {
    let (Some(path), Some(limit)) = (socket.path(), platform.socket_limit()) else { return Ok(()) };
    let length = path.as_str().len();
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
