//! A daemon that this program started and that answers.

use std::{io, time::Duration};

use myownllm_durable_fs::RealDisk;
use myownllm_identity::IdentityPaths;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use super::{
    attempt::StartedDaemon,
    error::CandidateOutcome,
    request::SpawnRequest,
    supervise::{DaemonExit, ExitWatch, StopOutcome, SupervisedChild, reap_in_background},
};
use crate::{Client, Endpoint, Status, connection::Connection, log, secrets::Secrets, wait::deadline_after};

/// The time that [`SpawnRequest::kill_on_drop`] gives a daemon between SIGTERM and SIGKILL.
const DROP_GRACE: Duration = Duration::from_millis(500);

/// A daemon that this program started and that answers.
///
/// By default, dropping it leaves the daemon running and without a zombie, as [`Spawned::detach`]
/// does: an early return must not end a daemon. [`SpawnRequest::kill_on_drop`] makes the drop end
/// the daemon. On Windows, the daemon ends with this program until the value is dropped, even if
/// this program is killed.
#[derive(Debug)]
#[must_use = "a daemon that is not stopped goes on running"]
pub struct Spawned {
    /// `None` after the daemon was stopped.
    child: Option<SupervisedChild>,
    kill_on_drop: bool,
    pid: u32,
    endpoint: Endpoint,
    status: Status,
    took: Duration,
    tried: Vec<CandidateOutcome>,
    log: Utf8PathBuf,
    log_from: u64,
    /// The files of the home with the secrets that its log may show.
    places: Box<IdentityPaths>,
    connection: Option<Box<Connection>>,
}

impl Spawned {
    pub(super) fn from_start(
        request: &SpawnRequest<'_>,
        started: StartedDaemon,
        took: Duration,
        tried: Vec<CandidateOutcome>,
        log_from: u64,
    ) -> Self {
        Self {
            pid: started.child.child.id(),
            child: Some(started.child),
            kill_on_drop: request.kill_on_drop,
            endpoint: request.endpoint.clone(),
            status: started.status,
            took,
            tried,
            log: request.log.clone(),
            log_from,
            places: Box::new(request.permit.places().clone()),
            connection: Some(Box::new(started.connection)),
        }
    }

    /// Returns the process ID of the program that was started.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns the address at which the daemon listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the first answer of the daemon.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the time from the start to the first answer.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Returns, once, a client over the connection of the first answer. Each answer has to come
    /// within `answer_within`. After a launch of `myownllm-launch` this is `None`, because the
    /// launch took the client: connect to [`endpoint`](Self::endpoint).
    pub fn take_client(&mut self, answer_within: Duration) -> Option<Client> {
        Some(Client::over(*self.connection.take()?, &self.endpoint, answer_within))
    }

    /// Returns all candidates, each with the reason why it runs or not.
    pub fn tried(&self) -> &[CandidateOutcome] {
        &self.tried
    }

    /// Returns the path of the daemon's log.
    pub fn log(&self) -> &Utf8Path {
        &self.log
    }

    /// Returns the last lines that the daemon wrote to its log, at most `lines`.
    pub fn log_tail(&self, lines: usize) -> Vec<String> {
        log::tail(&self.log, self.log_from, lines, &Secrets::of(&RealDisk, &self.places))
    }

    /// Returns the exit of the daemon, if it has exited. On Linux this is the exit of the process
    /// that answered, even if a script started it; elsewhere it is the exit of the script.
    pub fn try_wait(&mut self) -> io::Result<Option<DaemonExit>> {
        self.wait_within(Duration::ZERO)
    }

    /// Waits at most `within` for the exit, as [`Spawned::try_wait`]. On Linux the exit itself ends
    /// the wait. There a signal handler of this program ends it too, with `None`: react to the
    /// signal and call again.
    pub fn wait_within(&mut self, within: Duration) -> io::Result<Option<DaemonExit>> {
        match &mut self.child {
            Some(child) => child.wait_until(deadline_after(within)),
            None => Ok(None),
        }
    }

    /// Returns a wait, for a thread, if no SIGCHLD will report the exit: a script started the
    /// daemon. Returns `None` if the daemon is a child of this program, or if the system does not
    /// show its process.
    pub fn exit_watch(&self) -> Option<ExitWatch> {
        self.child.as_ref()?.exit_watch()
    }

    /// Ends the daemon with SIGTERM, and with SIGKILL after `grace`. On return it is reaped.
    /// Windows kills at once.
    pub fn stop(mut self, grace: Duration) -> io::Result<StopOutcome> {
        self.end(grace)
    }

    /// Ends the daemon as [`Spawned::stop`] does, and keeps what is known about it.
    ///
    /// # Errors
    /// As [`Spawned::stop`]; and the daemon was ended before.
    pub fn end(&mut self, grace: Duration) -> io::Result<StopOutcome> {
        match self.child.take() {
            Some(child) => child.end(grace),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Leaves the daemon running and returns its process ID.
    ///
    /// A thread waits for its exit as long as this program runs, so that it leaves no zombie.
    pub fn detach(mut self) -> u32 {
        self.kill_on_drop = false;
        self.pid
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        if !self.kill_on_drop {
            return reap_in_background(child.child);
        }
        if let Err(error) = child.end(DROP_GRACE) {
            tracing::warn!(pid = self.pid, %error, "the daemon was not ended on drop");
        }
    }
}
