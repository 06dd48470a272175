//! The common part of the tests, the scenarios and the crash sweeps: homes of the kinds that users
//! have, the programs under test, the stand-in daemon as a process, a client of its socket, and
//! faults of the environment.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]
#![allow(clippy::print_stderr, reason = "a test says why it is skipped")]

mod control;
mod daemon;
mod home;
mod process;
mod program;
#[cfg(unix)]
mod system;
#[cfg(unix)]
mod terminal;

pub use control::*;
pub use daemon::*;
pub use home::*;
pub use process::*;
pub use program::*;
#[cfg(unix)]
pub use system::*;
#[cfg(unix)]
pub use terminal::*;
