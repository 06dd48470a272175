//! The start of a daemon.

mod attempt;
mod child;
mod error;
mod request;
mod spawned;
mod supervise;

use std::{error::Error as _, io, time::Instant};

use myownllm_durable_fs::{Disk as _, RealDisk};

use self::attempt::{Attempt, StartFailure};
pub use self::{
    error::{CandidateFailure, CandidateOutcome, SpawnError},
    request::SpawnRequest,
    spawned::Spawned,
    supervise::{DaemonExit, ExitWatch, StopOutcome},
};
use crate::{
    Candidate, Endpoint, Probe, Verdict,
    endpoint::{is_socket, socket_of},
    log,
    probe::{PROBE_TIMEOUT, probe},
};

/// Starts a daemon and waits until it answers.
///
/// Tries the candidates in order. A candidate that exits, stays silent, answers nonsense or has
/// another Device ID is ended and reaped before the next one is started. The permit holds the lock
/// of the app's home meanwhile, so that two callers do not start two daemons. The child inherits no
/// file but its log; it gets its own process group, so that a Ctrl-C in the terminal does not reach
/// it, and the home as its working directory.
///
/// # Errors
/// A process already listens, the home or its identity does not allow a start, or every candidate
/// failed. Nothing that was started is left running.
pub fn spawn(request: &SpawnRequest<'_>) -> Result<Spawned, SpawnError> {
    spawn_unless(request, &|| false)
}

/// Starts a daemon as [`spawn`] does, until `is_cancelled` returns `true`. It is called every few
/// milliseconds.
///
/// # Errors
/// As [`spawn`]; and [`SpawnError::Cancelled`], with nothing left running.
pub fn spawn_unless(
    request: &SpawnRequest<'_>,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Spawned, SpawnError> {
    check(request)?;
    let mut tried: Vec<CandidateOutcome> = Vec::new();
    if !request.candidates.iter().any(Candidate::is_usable) {
        let tried = request.candidates.iter().map(skipped).collect();
        return Err(SpawnError::NoCandidate { tried });
    }
    let log_error = |source| SpawnError::Log { path: request.log.clone(), source };
    log::rotate(request.permit.lock(), &request.log).map_err(log_error)?;
    let log_file = log::create(&request.log).map_err(log_error)?;
    for (number, candidate) in request.candidates.iter().enumerate() {
        if !candidate.is_usable() {
            tried.push(skipped(candidate));
            continue;
        }
        // A daemon that does not find its identity file, for whatever reason, makes a new key.
        check(request)?;
        let log_from = log_file.metadata().map(|meta| meta.len()).unwrap_or_default();
        // A failure here is no fault of the program.
        log::announce(&log_file, &request.app, &candidate.path).map_err(log_error)?;
        let attempt = Attempt { request, candidate, log_file: &log_file, log_from, is_cancelled };
        let began = Instant::now();
        match attempt.run() {
            Ok(up) => {
                let program = candidate.path.display();
                tracing::info!(%program, took_ms = began.elapsed().as_millis(), "started the daemon");
                tried.push(CandidateOutcome::new(candidate.clone(), None));
                tried.extend(request.candidates[number + 1..].iter().map(skipped));
                return Ok(Spawned::from_start(request, up, began.elapsed(), tried, log_from));
            }
            Err(StartFailure::Failed(failure)) => {
                tracing::warn!(program = %candidate.path.display(), %failure, "no daemon came up");
                tried.push(CandidateOutcome::new(candidate.clone(), Some(failure)));
                log::cut(&request.log);
            }
            Err(StartFailure::Cancelled) => return Err(SpawnError::Cancelled),
            Err(StartFailure::Occupied(found)) => return Err(occupied(request, found)),
        }
    }
    Err(SpawnError::AllFailed { home: request.home().to_owned(), tried })
}

fn skipped(candidate: &Candidate) -> CandidateOutcome {
    let reason = match &candidate.verdict {
        Verdict::Skipped { reason } => reason.clone(),
        Verdict::Usable => "not needed: one before it was taken".to_owned(),
    };
    CandidateOutcome::new(candidate.clone(), Some(CandidateFailure::Skipped { reason }))
}

fn check(request: &SpawnRequest<'_>) -> Result<(), SpawnError> {
    let home = request.home();
    if let Some((variable, _)) = request.env.iter().find(|(name, _)| request.is_home_variable(name)) {
        return Err(SpawnError::HomeVariable { variable: variable.to_string_lossy().into_owned() });
    }
    request.permit.check().map_err(|refusal| SpawnError::Identity(Box::new(refusal)))?;
    ensure_free(request)?;
    check_endpoint(request)?;
    check_socket_file(&request.endpoint)?;
    ensure_home(request).map_err(|source| SpawnError::Home { home: home.to_owned(), source })
}

/// Fails if the daemon would listen at another socket than the caller names: nobody would find the
/// daemon, and it would take the socket of a daemon that listens there.
fn check_endpoint(request: &SpawnRequest<'_>) -> Result<(), SpawnError> {
    if request.endpoint.path().is_none() {
        // All modes have one pipe.
        return Ok(());
    }
    let config = request.permit.daemon_config();
    let socket = socket_of(config, request.home().join("daemon.sock")).map_err(|error| {
        let problem = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        SpawnError::Config { path: config.to_owned(), problem }
    })?;
    match Endpoint::unix(&socket).is_same_place(&request.endpoint) {
        true => Ok(()),
        false => Err(SpawnError::OtherSocket { endpoint: request.endpoint.clone(), socket }),
    }
}

fn ensure_free(request: &SpawnRequest<'_>) -> Result<(), SpawnError> {
    let endpoint = request.endpoint.clone();
    match probe(&endpoint, PROBE_TIMEOUT) {
        Probe::Absent { .. } => Ok(()),
        Probe::PathTooLong { length, limit } => Err(SpawnError::SocketTooLong { endpoint, length, limit }),
        found => Err(occupied(request, found)),
    }
}

fn occupied(request: &SpawnRequest<'_>, found: Probe) -> SpawnError {
    let endpoint = request.endpoint.clone();
    match found {
        Probe::ResourceExhausted { problem } => SpawnError::ResourceExhausted { endpoint, problem },
        found => SpawnError::Occupied { endpoint, found: Box::new(found) },
    }
}

/// Fails if something that is no socket lies at the daemon's address: the daemon would unlink it.
/// [`spawn`] checks this too.
pub fn check_socket_file(endpoint: &Endpoint) -> Result<(), SpawnError> {
    match endpoint.path() {
        Some(path) if std::fs::symlink_metadata(path).is_ok_and(|file| cfg!(unix) && !is_socket(&file)) => {
            Err(SpawnError::NotASocket { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Makes the home if it is missing. Fails if its name leads to another directory than the one in
/// which the permit looked for the key, through the lock: the daemon goes by the name.
fn ensure_home(request: &SpawnRequest<'_>) -> io::Result<()> {
    let (lock, home) = (request.permit.lock(), request.home().as_std_path());
    let found = match lock.stat_follow(home) {
        Err(e) if e.is_not_found() => lock.make_dir(home, 0o700).and_then(|()| lock.stat_follow(home)),
        found => found,
    };
    match (found?, RealDisk.stat_follow(home)?) {
        (found, _) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        (found, named) if found.id == named.id => Ok(()),
        _ => Err(io::Error::other("another directory has its name now")),
    }
}
