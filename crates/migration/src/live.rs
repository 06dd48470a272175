//! The daemons that would write while files move.

use crate::{error::LiveDaemon, homes::Homes};

/// Finds daemons that still write one of the homes, and stops them if the user wants that.
///
/// Implemented by the code that can talk to a daemon.
pub trait LiveDaemons {
    /// Returns the daemons that answer, or that accept a connection and are silent, on any socket
    /// of either home.
    fn live(&self) -> Vec<LiveDaemon>;

    /// Returns false if these are the daemons of other homes, which say nothing of this move: the
    /// move refuses.
    fn are_of(&self, homes: &Homes) -> bool {
        let _ = homes;
        true
    }

    /// Asks a daemon to end and waits until its socket is gone. Called only with the user's
    /// permission ([`crate::Options::stop_legacy_daemon`]).
    ///
    /// # Errors
    /// The reason why the daemon still runs, in words.
    fn stop(&self, daemon: &LiveDaemon) -> Result<(), String> {
        let _ = daemon;
        Err("there is no way to stop it from here".to_owned())
    }
}

/// Finds no daemons: for tests on homes that no daemon can use. An app passes the daemons of its
/// homes, `myownllm_daemon::HomeDaemons`.
#[cfg(feature = "testing")]
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDaemons;

#[cfg(feature = "testing")]
impl LiveDaemons for NoDaemons {
    fn live(&self) -> Vec<LiveDaemon> {
        Vec::new()
    }
}
