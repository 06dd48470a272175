//! Starting a daemon, and letting go of it.

mod attempt;
mod child;
mod error;
mod interpreter;
mod spawned;
mod supervise;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use myownllm_durable_fs::{Disk as _, Owner};
use myownllm_identity::StartPermit;

use self::attempt::{Attempt, StartFailure};
#[cfg(target_os = "linux")]
pub(crate) use self::supervise::SPAWN_MARK;
pub use self::{
    error::{CandidateFailure, CandidateOutcome, SpawnError},
    spawned::{DaemonExit, Spawned, StopOutcome},
};
use crate::{Candidate, Endpoint, Probe, Verdict, home_daemons::HOME_VARIABLE, log, probe::probe};

/// How long a look at the endpoint takes at most before something is started there.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// What to start, and for which home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnRequest<'lock> {
    /// The permit to start a daemon. It names the daemon's home, which becomes `MYOWNMESH_HOME` of the child, and of nobody else, and the
    /// key that the daemon has to have once it answers. Where the home is not there it is made, 0700; the directory above it has to be
    /// there.
    permit: StartPermit<'lock>,
    /// Where the daemon will listen: in its home, or where its config says.
    pub endpoint: Endpoint,
    /// The programs to try, in order.
    pub candidates: Vec<Candidate>,
    /// The log file; `<home>/daemon.log` by default. Former ones get a number behind their name.
    pub log: PathBuf,
    /// How many former logs are kept. 4 by default.
    pub keep_logs: usize,
    /// How long one candidate may take until it answers. [`SpawnRequest::READY_WITHIN`] by default.
    pub ready_within: Duration,
    /// The name of the variable; `MYOWNMESH_HOME` by default.
    pub home_variable: OsString,
    /// Further variables for the child.
    pub env: Vec<(OsString, OsString)>,
    /// The user and group to run it as, and to own what is made: for root, who looks after somebody else's home.
    pub run_as: Option<(u32, u32)>,
}

impl<'lock> SpawnRequest<'lock> {
    /// How long a daemon may take until it answers, unless a request says otherwise.
    pub const READY_WITHIN: Duration = Duration::from_secs(8);

    /// A request with the defaults that each field states. The permit is looked at once more before each program is started.
    pub fn new(permit: StartPermit<'lock>, endpoint: Endpoint, candidates: Vec<Candidate>) -> Self {
        Self {
            log: permit.daemon_home().join("daemon.log"),
            permit,
            endpoint,
            candidates,
            keep_logs: 4,
            ready_within: Self::READY_WITHIN,
            home_variable: OsString::from(HOME_VARIABLE),
            env: Vec::new(),
            run_as: None,
        }
    }

    /// The daemon's home.
    pub fn home(&self) -> &Path {
        self.permit.daemon_home()
    }
}

/// Starts a daemon and waits until it answers.
///
/// The programs are tried in order; one that ends, stays silent, answers nonsense or has the wrong key is ended and
/// reaped before the next is started. The permit holds the lock of the app's home meanwhile: two that do this at once for one home
/// would end with one daemon too many. The child gets no file of ours but its log, its own process group (so that a Ctrl-C in the terminal
/// does not reach it) and the home as its working directory.
///
/// # Errors
/// Somebody listens there already, the home or its identity is not as it has to be, or no program came up. Nothing that
/// was started is left running then.
pub fn spawn(request: &SpawnRequest<'_>) -> Result<Spawned, SpawnError> {
    start(request, None)
}

/// [`spawn`], which the caller can break off: `cancelled` is asked every few milliseconds, from a signal's flag for example.
///
/// # Errors
/// As [`spawn`]; and [`SpawnError::Cancelled`], with nothing left running.
pub fn spawn_unless(request: &SpawnRequest<'_>, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
    start(request, Some(cancelled))
}

type Cancelled<'a> = Option<&'a dyn Fn() -> bool>;

fn start(request: &SpawnRequest<'_>, cancelled: Cancelled<'_>) -> Result<Spawned, SpawnError> {
    let request = &SpawnRequest {
        // Whom we start may answer, of course.
        endpoint: match request.run_as {
            Some((uid, _)) => request.endpoint.clone().owned_by(uid),
            None => request.endpoint.clone(),
        },
        ..request.clone()
    };
    let home = check(request)?;
    let mut tried: Vec<CandidateOutcome> = Vec::new();
    if !request.candidates.iter().any(Candidate::is_usable) {
        return Err(SpawnError::NoCandidate { tried: request.candidates.iter().map(skipped).collect() });
    }
    let log_error = |source| SpawnError::Log { path: request.log.clone(), source };
    log::rotate(request.permit.lock(), &request.log, request.keep_logs).map_err(log_error)?;
    let log_file = log::create(&request.log, request.run_as).map_err(log_error)?;
    for (number, candidate) in request.candidates.iter().enumerate() {
        if !candidate.is_usable() {
            tried.push(skipped(candidate));
            continue;
        }
        // The daemon asks whether its key "exists", and makes a new one when the answer is no, for whatever reason.
        request.permit.check().map_err(|refusal| SpawnError::Identity(Box::new(refusal)))?;
        ensure_free(request)?;
        let log_from = log_file.metadata().map(|meta| meta.len()).unwrap_or_default();
        // What cannot be written there is no fault of the program's.
        log::announce(&log_file, &candidate.path).map_err(log_error)?;
        let attempt = Attempt { request, home, candidate, log_file: &log_file, log_from, cancelled };
        let began = Instant::now();
        match attempt.run() {
            Ok(up) => {
                let program = candidate.path.display();
                tracing::info!(%program, took_ms = began.elapsed().as_millis(), "started the daemon");
                tried.push(CandidateOutcome { candidate: candidate.clone(), failure: None });
                tried.extend(request.candidates[number + 1..].iter().map(not_needed));
                return Ok(Spawned::up(request, up, began.elapsed(), tried, log_from));
            }
            Err(StartFailure::Failed(failure)) => {
                tracing::warn!(program = %candidate.path.display(), %failure, "no daemon came up");
                tried.push(CandidateOutcome { candidate: candidate.clone(), failure: Some(failure) });
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
        Verdict::Usable => "not tried".to_owned(),
    };
    CandidateOutcome { candidate: candidate.clone(), failure: Some(CandidateFailure::Skipped { reason }) }
}

fn not_needed(candidate: &Candidate) -> CandidateOutcome {
    match candidate.verdict {
        Verdict::Skipped { .. } => skipped(candidate),
        Verdict::Usable => {
            let reason = "not needed: one before it was taken".to_owned();
            CandidateOutcome {
                candidate: candidate.clone(),
                failure: Some(CandidateFailure::Skipped { reason }),
            }
        }
    }
}

/// All that can be known before anything is started. Returns the home as the daemon will read it.
fn check<'r>(request: &'r SpawnRequest<'_>) -> Result<&'r str, SpawnError> {
    let home = request.home();
    let text = home.to_str().ok_or_else(|| SpawnError::HomeNotUtf8 { home: home.to_owned() })?;
    if !home.is_absolute() {
        return Err(SpawnError::HomeRelative { home: home.to_owned() });
    }
    request.permit.check().map_err(|refusal| SpawnError::Identity(Box::new(refusal)))?;
    ensure_free(request)?;
    check_socket_file(&request.endpoint)?;
    ensure_home(request).map_err(|source| SpawnError::Home { home: home.to_owned(), source })?;
    Ok(text)
}

/// Nothing is started beside somebody who listens there.
fn ensure_free(request: &SpawnRequest<'_>) -> Result<(), SpawnError> {
    let endpoint = request.endpoint.clone();
    match probe(&endpoint, PROBE_TIMEOUT) {
        Probe::Absent { .. } => Ok(()),
        Probe::PathTooLong { length, limit } => Err(SpawnError::SocketTooLong { endpoint, length, limit }),
        found => Err(occupied(request, found)),
    }
}

/// Nothing can be started beside what was found.
fn occupied(request: &SpawnRequest<'_>, found: Probe) -> SpawnError {
    let endpoint = request.endpoint.clone();
    match found {
        Probe::ResourceExhausted { problem } => SpawnError::ResourceExhausted { endpoint, problem },
        found => SpawnError::Occupied { endpoint, found: Box::new(found) },
    }
}

/// Refuses what lies at a daemon's address and is no socket: the daemon removes it before it binds. [`spawn`] does that itself.
///
/// # Errors
/// [`SpawnError::NotASocket`].
pub fn check_socket_file(endpoint: &Endpoint) -> Result<(), SpawnError> {
    #[cfg(unix)]
    if let Some(path) = endpoint.path()
        && let Ok(meta) = std::fs::symlink_metadata(path)
        && !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type())
    {
        return Err(SpawnError::NotASocket { path: path.to_owned() });
    }
    #[cfg(not(unix))]
    let _ = endpoint;
    Ok(())
}

fn ensure_home(request: &SpawnRequest<'_>) -> io::Result<()> {
    let disk = request.permit.lock();
    match disk.stat_follow(request.home()) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(e) if e.is_not_found() => {
            disk.make_dir(request.home(), 0o700).map_err(|e| io::Error::new(e.kind(), e))?;
            match request.run_as {
                Some((uid, gid)) => disk
                    .set_owner(request.home(), Owner { uid, gid })
                    .map_err(|e| io::Error::new(e.kind(), e)),
                None => Ok(()),
            }
        }
        Err(e) => Err(io::Error::new(e.kind(), e)),
    }
}
