//! The daemons that would write while files move.

use crate::{error::LiveDaemon, homes::Homes};

/// Finds daemons that still write one of the homes.
///
/// Implemented by the code that can talk to a daemon: `myownllm_daemon::HomeDaemons`, or an app
/// that knows its daemons in its own way. That code also stops a daemon if the user wants that,
/// before the move: a move stops none. A daemon that it does not find goes on writing at the old
/// location.
pub trait LiveDaemons: Send + Sync {
    /// Returns the daemons that answer, or that accept a connection and are silent, on any socket
    /// of either home.
    fn live(&self) -> Vec<LiveDaemon>;

    /// Returns false if these are the daemons of other homes, which say nothing of this move: the
    /// move refuses.
    fn are_of(&self, homes: &Homes) -> bool;
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

    fn are_of(&self, _: &Homes) -> bool {
        true
    }
}
