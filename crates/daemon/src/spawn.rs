//! Starting a daemon, and letting go of it.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use myownllm_durable_fs::{Disk, Owner, RealDisk};
use serde::Serialize;

use crate::{
    Candidate, Client, Endpoint, Expected, Probe, Status, Verdict,
    client::Limits,
    log,
    probe::{ask_for_status, millis, probe, read_status},
    process::Pause,
    transport::{self, NoConnection, deadline_in},
    wire::{NoLine, Wire},
};

/// How long a look at the endpoint takes at most before something is started there.
const LOOK: Duration = Duration::from_millis(800);
/// How long one wait for an answer lasts before the child itself is looked at again.
const SLICE: Duration = Duration::from_millis(20);
/// The longest pause between two looks whether it listens: so much later at most it is noticed.
const READY_PAUSE: Duration = Duration::from_millis(2);
/// How long a candidate that failed may take to end politely: it may hold files open.
const FAILED_GRACE: Duration = Duration::from_millis(500);
/// How many lines of the log go into an error.
const LOG_LINES: usize = 20;

/// What to start, and for which home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnRequest {
    /// The daemon's home, absolute; becomes `MYOWNMESH_HOME` of the child, and of nobody else. When the folder is not
    /// there it is made, 0700; the one above it has to be there.
    pub home: PathBuf,
    /// Where the daemon will listen: in its home, or where its config says.
    pub endpoint: Endpoint,
    /// The programs to try, in order.
    pub candidates: Vec<Candidate>,
    /// The key that the daemon has to have once it answers. With one, a home without an identity file is refused: the
    /// daemon would make a new key.
    pub expected: Expected,
    /// The identity file, which must not be a dangling link; `<home>/.secrets/identity.json` by default.
    pub identity: PathBuf,
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

impl SpawnRequest {
    /// How long a daemon may take until it answers, unless a request says otherwise.
    pub const READY_WITHIN: Duration = Duration::from_secs(8);

    /// A request with the defaults that each field states.
    pub fn new(home: impl Into<PathBuf>, endpoint: Endpoint, candidates: Vec<Candidate>) -> Self {
        let home = home.into();
        Self {
            identity: home.join(".secrets").join("identity.json"),
            log: home.join("daemon.log"),
            home,
            endpoint,
            candidates,
            expected: Expected::Any,
            keep_logs: 4,
            ready_within: Self::READY_WITHIN,
            home_variable: OsString::from("MYOWNMESH_HOME"),
            env: Vec::new(),
            run_as: None,
        }
    }
}

/// A candidate, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tried {
    /// Which.
    pub candidate: Candidate,
    /// Why it is not the daemon that runs now; `None` for the one that does.
    pub failure: Option<Failure>,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.candidate.path.display(), self.candidate.origin)?;
        match &self.failure {
            Some(failure) => write!(f, "{failure}"),
            None => f.write_str("taken"),
        }
    }
}

/// Why a candidate failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// It is no program that we can start, or one before it was taken.
    Skipped {
        /// Why, in words.
        reason: String,
    },
    /// The system would not start it.
    NotStarted {
        /// The system's words.
        problem: String,
    },
    /// It ended before it answered.
    Ended {
        /// How, in words.
        status: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It did not answer in time; it was ended and reaped.
    Silent {
        /// How long we waited, in milliseconds.
        waited_ms: u64,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It answered something else than a daemon would; it was ended and reaped.
    Unusable {
        /// What, in words.
        problem: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It answered with another key than the home's; it was ended and reaped.
    ForeignIdentity {
        /// The home's.
        expected: String,
        /// Its own.
        found: String,
    },
}

impl Failure {
    /// The last lines of its log, when it came so far as to write one.
    pub fn log(&self) -> &[String] {
        match self {
            Self::Ended { log, .. } | Self::Silent { log, .. } | Self::Unusable { log, .. } => log,
            Self::Skipped { .. } | Self::NotStarted { .. } | Self::ForeignIdentity { .. } => &[],
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { reason } => f.write_str(reason),
            Self::NotStarted { problem } => write!(f, "could not be started: {problem}"),
            Self::Ended { status, .. } => write!(f, "ended before it answered ({status})"),
            Self::Silent { waited_ms, .. } => write!(f, "did not answer within {waited_ms} ms"),
            Self::Unusable { problem, .. } => write!(f, "answered what no daemon would: {problem}"),
            Self::ForeignIdentity { expected, found } => {
                write!(f, "has the Device ID {found} instead of {expected}")
            }
        }
    }
}

/// Why no daemon runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Somebody listens where the daemon would: a second one would take the socket's name away from the first.
    #[error("somebody already listens at {endpoint}")]
    Occupied {
        /// Where.
        endpoint: Endpoint,
        /// What was found.
        found: Box<Probe>,
    },
    /// We ourselves have not what it takes to look who listens there: no file handle, no memory.
    #[error(
        "whether a daemon is at {endpoint} cannot be told: this program lacks the means to look: {problem}"
    )]
    NoMeans {
        /// Where.
        endpoint: Endpoint,
        /// The system's words.
        problem: String,
    },
    /// The socket's path is too long for this platform.
    #[error("the socket path {endpoint} is {length} bytes long, and {limit} are possible")]
    SocketTooLong {
        /// Where.
        endpoint: Endpoint,
        /// Its length in bytes.
        length: usize,
        /// The platform's limit in bytes.
        limit: usize,
    },
    /// Something that is no socket lies where the daemon would bind; the daemon would remove it.
    #[error("{} is in the daemon's way: it is no socket", path.display())]
    NotASocket {
        /// Which.
        path: PathBuf,
    },
    /// The home is not UTF-8; the daemon would silently use another one.
    #[error("the daemon's home {} is not UTF-8", home.display())]
    HomeNotText {
        /// Which.
        home: PathBuf,
    },
    /// The home is not absolute; the daemon would look for it where it stands.
    #[error("the daemon's home {} is not absolute", home.display())]
    HomeRelative {
        /// Which.
        home: PathBuf,
    },
    /// The home cannot be looked at or made.
    #[error("the daemon's home {} cannot be used", home.display())]
    Home {
        /// Which.
        home: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The identity file, or its folder, is a link to nowhere; the daemon would make a new key.
    #[error("the identity {} is a dangling link", path.display())]
    DanglingIdentity {
        /// Which.
        path: PathBuf,
    },
    /// A certain key is expected, and there is none; the daemon would make a new one.
    #[error("the identity {} is not there", path.display())]
    IdentityMissing {
        /// Which.
        path: PathBuf,
    },
    /// The identity file cannot be looked at; the daemon would take it for absent and make a new key.
    #[error("the identity {} cannot be looked at", path.display())]
    IdentityUnreadable {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The log file cannot be made, or nothing can be written to it: what is wrong is the home, or its disk.
    #[error("the daemon's log {} cannot be written", path.display())]
    Log {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The caller changed its mind while one was starting.
    #[error("the start of a daemon was broken off")]
    Cancelled,
    /// There is no program to start.
    #[error("no daemon program was found")]
    NoCandidate {
        /// What was looked at.
        tried: Vec<Tried>,
    },
    /// Every program failed.
    #[error("no daemon program came up for {}", home.display())]
    AllFailed {
        /// For which home.
        home: PathBuf,
        /// Each with its reason.
        tried: Vec<Tried>,
    },
}

impl SpawnError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Occupied { found, .. } => match **found {
                Probe::Answered { .. } => "daemon.already-running",
                ref other => other.code(),
            },
            Self::NoMeans { .. } => "daemon.no-means",
            Self::SocketTooLong { .. } => "daemon.socket-too-long",
            Self::NotASocket { .. } => "daemon.not-a-socket",
            Self::HomeNotText { .. } => "daemon.home-not-utf8",
            Self::HomeRelative { .. } => "daemon.home-relative",
            Self::Home { .. } => "daemon.home",
            Self::DanglingIdentity { .. } => "daemon.identity-dangling",
            Self::IdentityMissing { .. } => "daemon.identity-missing",
            Self::IdentityUnreadable { .. } => "daemon.identity-unreadable",
            Self::Log { .. } => "daemon.log",
            Self::Cancelled => "daemon.cancelled",
            Self::NoCandidate { .. } => "daemon.not-found",
            Self::AllFailed { .. } => "daemon.not-started",
        }
    }

    /// The command that shows or mends it, where there is one that is no app's own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Occupied { found, .. } => crate::error::look_at(found.pid()),
            Self::NotASocket { path } => {
                Some(format!("mv -n {0} {0}.aside", myownllm_durable_fs::quote(path)))
            }
            Self::DanglingIdentity { path } => Some(format!("ls -l {}", myownllm_durable_fs::quote(path))),
            Self::Home { home: path, source } | Self::Log { path, source } => {
                Some(crate::error::look_at_place(path, source))
            }
            Self::IdentityUnreadable { path, .. } => {
                Some(format!("ls -l {}", myownllm_durable_fs::quote(path)))
            }
            Self::SocketTooLong { .. }
            | Self::HomeNotText { .. }
            | Self::HomeRelative { .. }
            | Self::IdentityMissing { .. }
            | Self::Cancelled
            | Self::NoMeans { .. }
            | Self::NoCandidate { .. }
            | Self::AllFailed { .. } => None,
        }
    }

    /// Each program that was looked at, with its reason.
    pub fn tried(&self) -> &[Tried] {
        match self {
            Self::NoCandidate { tried } | Self::AllFailed { tried, .. } => tried,
            _ => &[],
        }
    }
}

/// How a daemon of ours ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// Its status.
    pub status: ExitStatus,
    /// Whether it had to be killed.
    pub killed: bool,
}

/// A daemon that we started and that answers.
///
/// Dropping it neither ends the daemon nor leaves a zombie behind: it is as [`Spawned::detach`]. Ending it is a decision
/// that somebody takes, not something that an early return does.
#[derive(Debug)]
#[must_use = "a daemon that nobody stops goes on running"]
pub struct Spawned {
    /// `None` only between the last call and the drop.
    child: Option<Running>,
    pid: u32,
    endpoint: Endpoint,
    status: Status,
    took: Duration,
    tried: Vec<Tried>,
    log: PathBuf,
    log_from: u64,
    /// Boxed: a small value to hand on is worth more than one call to the allocator.
    wire: Option<Box<Wire>>,
}

impl Spawned {
    /// A daemon that the caller started in a way of its own and that answered `status`. Its output is at `log`.
    ///
    /// The child counts as the daemon itself: what it started is not ended with it.
    pub fn of(
        child: Child,
        endpoint: Endpoint,
        status: Status,
        took: Duration,
        log: impl Into<PathBuf>,
    ) -> Self {
        let running = Running { wrapped: false, ..Running::new(child, None) };
        Self {
            pid: running.child.id(),
            child: Some(running),
            endpoint,
            status,
            took,
            tried: Vec::new(),
            log: log.into(),
            log_from: 0,
            wire: None,
        }
    }

    /// The process id of the program that we started.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it answered when it was ready.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How long it took until it answered.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The connection over which it answered that it is ready, for the first requests; once. Each whole answer has to come
    /// within `answer_within`.
    pub fn take_client(&mut self, answer_within: Duration) -> Option<Client> {
        let limits = Limits { answer: answer_within, ..Limits::default() };
        Some(Client::over(*self.wire.take()?, &self.endpoint, limits))
    }

    /// Every candidate, with the reason why it was taken or not.
    pub fn tried(&self) -> &[Tried] {
        &self.tried
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log, at most `lines`.
    pub fn log_tail(&self, lines: usize) -> Vec<String> {
        log::tail(&self.log, self.log_from, lines)
    }

    /// Its exit status, when it has ended; it is reaped then.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.child {
            Some(running) => running.child.try_wait(),
            None => Ok(None),
        }
    }

    /// Waits at most `within` for its end. On Linux it is woken by the end itself, and comes back early, with `None`,
    /// when a signal handler of the program has run: look at what the handler noted, and call again.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn wait_within(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = deadline_in(within);
        match &mut self.child {
            Some(running) => running.wait_until(deadline),
            None => Ok(None),
        }
    }

    /// Ends it: politely, and after `grace` by force. It is reaped when this returns.
    ///
    /// On Windows there is no polite way.
    ///
    /// # Errors
    /// The system does not let us, or does not tell.
    pub fn stop(mut self, grace: Duration) -> io::Result<Ending> {
        match self.child.take() {
            Some(running) => running.end(grace),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Leaves it running beyond us; returns its process id.
    ///
    /// As long as this program lives, a thread waits for the daemon's end, so that it leaves no zombie; it uses no time.
    pub fn detach(self) -> u32 {
        self.pid
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(running) = self.child.take() {
            release(running.child);
        }
    }
}

/// Children that nobody could be found to wait for.
static ORPHANS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Lets go of a child in such a way that its end leaves no zombie behind.
fn release(mut child: Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let orphans = || ORPHANS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    orphans().retain_mut(|orphan| matches!(orphan.try_wait(), Ok(None)));
    // Handed over by a channel, and not in the closure, because a closure is lost when the thread cannot be made.
    let (hand_over, take_over) = std::sync::mpsc::channel::<Child>();
    let thread =
        std::thread::Builder::new().name("daemon-reaper".to_owned()).stack_size(64 * 1024).spawn(move || {
            if let Ok(mut child) = take_over.recv() {
                let _ = child.wait();
            }
        });
    let left = match thread {
        Ok(_) => hand_over.send(child).err().map(|std::sync::mpsc::SendError(child)| child),
        Err(_) => Some(child),
    };
    orphans().extend(left);
}

/// What marks, in their environment, a child of ours and whatever it starts: one that goes into the background leaves its
/// process group, and is found by this alone.
pub(crate) const MARK: &str = "MYOWNMESH_STARTED_BY";

/// A mark that no other start has, of whatever program: a process id comes again.
fn new_mark() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// A child that has not been let go of.
#[derive(Debug)]
struct Running {
    child: Child,
    /// Whether another process than our child answers for it: a script that started the real program and waits for it.
    wrapped: bool,
    /// The value of [`MARK`]; none in a child that was not started here.
    mark: Option<String>,
    #[cfg(target_os = "linux")]
    held: Option<crate::process::Held>,
}

impl Running {
    fn new(child: Child, mark: Option<String>) -> Self {
        Self {
            mark,
            #[cfg(target_os = "linux")]
            held: crate::process::Held::new(child.id()).ok(),
            child,
            wrapped: cfg!(unix),
        }
    }

    fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.held {
            return if held.wait(deadline)? { self.child.wait().map(Some) } else { self.child.try_wait() };
        }
        let mut pause = Pause::new(Duration::from_millis(20));
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => pause.wait(deadline),
            }
        }
    }

    /// Waits a moment, or until the child's end.
    fn pause(&self, pause: &mut Pause, deadline: Instant) {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.held {
            let _ = held.wait(pause.next_end(deadline));
            return;
        }
        pause.wait(deadline);
    }

    /// Whether our child started that process, or one that did: it bears our mark; or, where its environment was cleared, one
    /// of those above it is our child.
    #[cfg(target_os = "linux")]
    fn started(&self, pid: u32) -> bool {
        let Some(mark) = &self.mark else { return false };
        let entry = format!("{MARK}={mark}");
        let child = self.child.id();
        crate::process::has_in_environment(pid, |there| there == entry.as_bytes())
            || crate::process::above(pid).any(|above| above == child)
                // Once it is reaped, its number may be anybody's.
                && crate::process::has_ended(child).is_ok()
    }

    /// What the child started, in its process group and out of it. Nobody tells elsewhere.
    #[cfg(unix)]
    fn others(&self) -> Vec<u32> {
        #[cfg(target_os = "linux")]
        {
            let child = self.child.id();
            crate::process::all().filter(|pid| *pid != child && self.started(*pid)).collect()
        }
        #[cfg(not(target_os = "linux"))]
        Vec::new()
    }

    /// Takes hold of what the child started, before a signal takes away what they are known by: an end makes orphans.
    #[cfg(unix)]
    fn hold_others(&self) -> Others {
        Others {
            #[cfg(target_os = "linux")]
            held: self
                .others()
                .into_iter()
                // Held first and looked at again: the number may be somebody else's by now.
                .filter_map(|pid| crate::process::Held::new(pid).ok().filter(|_| self.started(pid)))
                .collect(),
        }
    }

    /// Ends the child, and with a wrapped one what it started; politely until the grace is over.
    #[cfg(unix)]
    fn end(mut self, grace: Duration) -> io::Result<Ending> {
        use rustix::process::Signal;

        use crate::process::{group_lives_on, has_ended, signal_group, signal_one};

        let pid = self.child.id();
        // The child may have been reaped by an earlier look; then its number is no longer ours to signal, and what it left
        // behind is told by its mark alone.
        let reaped = self.child.try_wait_unreaped()?;
        let deadline = deadline_in(grace);
        let known = self.wrapped.then(|| self.hold_others());
        let send = |signal| {
            // Whatever came since is held now; more cannot be done for what comes still later.
            let since = self.wrapped.then(|| self.hold_others());
            match (reaped, self.wrapped) {
                (Some(_), _) => {}
                (None, true) => signal_group(pid, signal),
                // It has not been reaped, so it is there, at least as a zombie; a zombie takes no harm.
                (None, false) => drop(signal_one(pid, signal)),
            }
            known.iter().chain(&since).for_each(|others| others.signal(signal));
        };
        let others_live = || {
            let is_left = |others: &Others| others.are_left();
            self.wrapped
                && (reaped.is_none() && group_lives_on(pid)
                    || known.as_ref().is_some_and(is_left)
                    || !self.others().is_empty())
        };
        send(Signal::TERM);
        let mut pause = Pause::new(Duration::from_millis(5));
        let mut killed = false;
        while !(reaped.is_some() || has_ended(pid)?) || others_live() {
            if Instant::now() >= deadline {
                killed = true;
                send(Signal::KILL);
                break;
            }
            pause.wait(deadline);
        }
        let status = match reaped {
            Some(status) => status,
            // After the kill this is short: nothing can refuse that signal.
            None => self.child.wait()?,
        };
        Ok(Ending { status, killed })
    }

    #[cfg(not(unix))]
    fn end(mut self, _grace: Duration) -> io::Result<Ending> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Ending { status, killed: false });
        }
        self.child.kill()?;
        Ok(Ending { status: self.child.wait()?, killed: true })
    }
}

/// Processes that a child of ours started, held for their end. Nobody tells which they are elsewhere.
#[cfg(unix)]
struct Others {
    #[cfg(target_os = "linux")]
    held: Vec<crate::process::Held>,
}

#[cfg(unix)]
impl Others {
    fn signal(&self, signal: rustix::process::Signal) {
        #[cfg(target_os = "linux")]
        for held in &self.held {
            // One that has ended in between is what we want.
            let _ = held.signal(signal);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = signal;
    }

    fn are_left(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.held.iter().any(|held| !held.wait(Instant::now()).unwrap_or(true));
        #[cfg(not(target_os = "linux"))]
        false
    }
}

/// Whether an earlier look has reaped a child already.
#[cfg(unix)]
trait Reaped {
    fn try_wait_unreaped(&mut self) -> io::Result<Option<ExitStatus>>;
}

#[cfg(unix)]
impl Reaped for Child {
    fn try_wait_unreaped(&mut self) -> io::Result<Option<ExitStatus>> {
        match crate::process::has_ended(self.id()) {
            // There, alive or not: not reaped.
            Ok(_) => Ok(None),
            // No such child (any more): the standard library kept its status.
            Err(_) => self.try_wait(),
        }
    }
}

/// Starts a daemon and waits until it answers.
///
/// The programs are tried in order; one that ends, stays silent, answers nonsense or has the wrong key is ended and
/// reaped before the next is started. Hold the home's lock meanwhile: two that do this at once for one home end with one
/// daemon too many. The child gets no file of ours but its log, its own process group (so that a Ctrl-C in the terminal
/// does not reach it) and the home as its working directory.
///
/// # Errors
/// Somebody listens there already, the home or its identity is not as it has to be, or no program came up. Nothing that
/// was started is left running then.
pub fn spawn(request: &SpawnRequest) -> Result<Spawned, SpawnError> {
    start(request, None)
}

/// [`spawn`], which the caller can break off: `cancelled` is asked every few milliseconds, from a signal's flag for example.
///
/// # Errors
/// As [`spawn`]; and [`SpawnError::Cancelled`], with nothing left running.
pub fn spawn_unless(request: &SpawnRequest, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
    start(request, Some(cancelled))
}

type Cancelled<'a> = Option<&'a dyn Fn() -> bool>;

fn start(request: &SpawnRequest, cancelled: Cancelled<'_>) -> Result<Spawned, SpawnError> {
    let request = &SpawnRequest {
        // Whom we start may answer, of course.
        endpoint: match request.run_as {
            Some((uid, _)) => request.endpoint.clone().owned_by(uid),
            None => request.endpoint.clone(),
        },
        ..request.clone()
    };
    let home = check(request)?;
    let mut tried: Vec<Tried> = Vec::new();
    if !request.candidates.iter().any(Candidate::is_usable) {
        return Err(SpawnError::NoCandidate { tried: request.candidates.iter().map(skipped).collect() });
    }
    let log_error = |source| SpawnError::Log { path: request.log.clone(), source };
    log::rotate(&request.log, request.keep_logs).map_err(log_error)?;
    let log_file = log::create(&request.log, request.run_as).map_err(log_error)?;
    for (number, candidate) in request.candidates.iter().enumerate() {
        if !candidate.is_usable() {
            tried.push(skipped(candidate));
            continue;
        }
        ensure_free(request)?;
        let log_from = log_file.metadata().map(|meta| meta.len()).unwrap_or_default();
        // What cannot be written there is no fault of the program's.
        log::announce(&log_file, &candidate.path).map_err(log_error)?;
        let attempt = Attempt { request, home, candidate, log_file: &log_file, log_from, cancelled };
        let began = Instant::now();
        match attempt.run() {
            Ok(Up { running, status, wire }) => {
                tried.push(Tried { candidate: candidate.clone(), failure: None });
                tried.extend(request.candidates[number + 1..].iter().map(not_needed));
                return Ok(Spawned {
                    pid: running.child.id(),
                    child: Some(running),
                    endpoint: request.endpoint.clone(),
                    status,
                    took: began.elapsed(),
                    tried,
                    log: request.log.clone(),
                    log_from,
                    wire: Some(Box::new(wire)),
                });
            }
            Err(NotUp::Failed(failure)) => {
                tried.push(Tried { candidate: candidate.clone(), failure: Some(failure) });
            }
            Err(NotUp::Cancelled) => return Err(SpawnError::Cancelled),
            Err(NotUp::Occupied(found)) => return Err(occupied(request, found)),
        }
    }
    Err(SpawnError::AllFailed { home: request.home.clone(), tried })
}

fn skipped(candidate: &Candidate) -> Tried {
    let reason = match &candidate.verdict {
        Verdict::Skipped { reason } => reason.clone(),
        Verdict::Usable => "not tried".to_owned(),
    };
    Tried { candidate: candidate.clone(), failure: Some(Failure::Skipped { reason }) }
}

fn not_needed(candidate: &Candidate) -> Tried {
    match candidate.verdict {
        Verdict::Skipped { .. } => skipped(candidate),
        Verdict::Usable => {
            let reason = "not needed: one before it was taken".to_owned();
            Tried { candidate: candidate.clone(), failure: Some(Failure::Skipped { reason }) }
        }
    }
}

/// All that can be known before anything is started. Returns the home as the daemon will read it.
fn check(request: &SpawnRequest) -> Result<&str, SpawnError> {
    let home = request.home.to_str().ok_or_else(|| SpawnError::HomeNotText { home: request.home.clone() })?;
    if !request.home.is_absolute() {
        return Err(SpawnError::HomeRelative { home: request.home.clone() });
    }
    check_identity(request)?;
    ensure_free(request)?;
    check_socket_file(&request.endpoint)?;
    ensure_home(request).map_err(|source| SpawnError::Home { home: request.home.clone(), source })?;
    Ok(home)
}

/// The daemon asks whether its key "exists", and makes a new one when the answer is no, for whatever reason.
fn check_identity(request: &SpawnRequest) -> Result<(), SpawnError> {
    let mut names = vec![request.identity.as_path()];
    names.extend(request.identity.parent());
    for path in names {
        let unreadable = |source| SpawnError::IdentityUnreadable { path: path.to_owned(), source };
        let meta = match std::fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(unreadable(e)),
        };
        if meta.file_type().is_symlink() {
            match std::fs::metadata(path) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Err(SpawnError::DanglingIdentity { path: path.to_owned() });
                }
                Err(e) => return Err(unreadable(e)),
            }
        }
    }
    match std::fs::metadata(&request.identity) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && request.expected != Expected::Any => {
            Err(SpawnError::IdentityMissing { path: request.identity.clone() })
        }
        _ => Ok(()),
    }
}

/// Nothing is started beside somebody who listens there.
fn ensure_free(request: &SpawnRequest) -> Result<(), SpawnError> {
    let endpoint = request.endpoint.clone();
    match probe(&endpoint, LOOK) {
        Probe::Absent { .. } => Ok(()),
        Probe::PathTooLong { length, limit } => Err(SpawnError::SocketTooLong { endpoint, length, limit }),
        found => Err(occupied(request, found)),
    }
}

/// Nothing can be started beside what was found.
fn occupied(request: &SpawnRequest, found: Probe) -> SpawnError {
    let endpoint = request.endpoint.clone();
    match found {
        Probe::NoMeans { problem } => SpawnError::NoMeans { endpoint, problem },
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

fn ensure_home(request: &SpawnRequest) -> io::Result<()> {
    let disk = RealDisk;
    match disk.stat_follow(&request.home) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(e) if e.is_not_found() => {
            disk.make_dir(&request.home, 0o700).map_err(|e| io::Error::new(e.kind(), e))?;
            match request.run_as {
                Some((uid, gid)) => {
                    disk.set_owner(&request.home, Owner { uid, gid }).map_err(|e| io::Error::new(e.kind(), e))
                }
                None => Ok(()),
            }
        }
        Err(e) => Err(io::Error::new(e.kind(), e)),
    }
}

/// One candidate's try.
struct Attempt<'a> {
    request: &'a SpawnRequest,
    home: &'a str,
    candidate: &'a Candidate,
    log_file: &'a File,
    log_from: u64,
    cancelled: Cancelled<'a>,
}

/// A candidate that came up, with the connection over which it said so.
struct Up {
    running: Running,
    status: Status,
    wire: Wire,
}

/// Why a candidate did not come up.
enum NotUp {
    Failed(Failure),
    Cancelled,
    /// Somebody else listens there meanwhile: trying further would be of no use.
    Occupied(Probe),
}

/// What the wait for the first answer ended with.
enum Waited {
    Ready(Status, Wire),
    Cancelled,
    Ended,
    Silent,
    Unusable(String),
    Occupied(Probe),
}

impl Attempt<'_> {
    fn run(&self) -> Result<Up, NotUp> {
        let mark = new_mark();
        let child =
            self.start(&mark).map_err(|e| NotUp::Failed(Failure::NotStarted { problem: e.to_string() }))?;
        let mut running = Running::new(child, Some(mark));
        match self.wait(&mut running) {
            Waited::Ready(status, wire) if self.request.expected.admits(&status.device_id) => {
                Ok(Up { running, status, wire })
            }
            Waited::Cancelled => {
                let _ = self.give_up(running);
                Err(NotUp::Cancelled)
            }
            Waited::Ready(status, _) => {
                let expected = match &self.request.expected {
                    Expected::Device(expected) => expected.clone(),
                    Expected::Any => String::new(),
                };
                let _ = self.give_up(running);
                Err(NotUp::Failed(Failure::ForeignIdentity { expected, found: status.device_id }))
            }
            Waited::Ended => {
                let status =
                    self.give_up(running).map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(NotUp::Failed(Failure::Ended { status, log: self.tail() }))
            }
            Waited::Silent => {
                let _ = self.give_up(running);
                let waited_ms = millis(self.request.ready_within);
                Err(NotUp::Failed(Failure::Silent { waited_ms, log: self.tail() }))
            }
            Waited::Unusable(problem) => {
                let _ = self.give_up(running);
                Err(NotUp::Failed(Failure::Unusable { problem, log: self.tail() }))
            }
            Waited::Occupied(found) => {
                let _ = self.give_up(running);
                Err(NotUp::Occupied(found))
            }
        }
    }

    fn start(&self, mark: &str) -> io::Result<Child> {
        let deadline = deadline_in(Duration::from_millis(200));
        let mut pause = Pause::new(Duration::from_millis(20));
        loop {
            match self.command(mark)?.spawn() {
                // It is being written this very moment, by an updater say, or was a moment ago.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    pause.wait(deadline);
                }
                other => return other,
            }
        }
    }

    fn command(&self, mark: &str) -> io::Result<Command> {
        let request = self.request;
        let mut command = Command::new(&self.candidate.path);
        command
            .arg("serve")
            .envs(request.env.iter().map(|(name, value)| (name, value)))
            .env(&request.home_variable, self.home)
            .env(MARK, mark)
            .current_dir(&request.home)
            .stdin(Stdio::null())
            .stdout(self.log_file.try_clone()?)
            .stderr(self.log_file.try_clone()?);
        #[cfg(unix)]
        {
            use std::os::unix::process::CommandExt;
            command.process_group(0);
            if let Some((uid, gid)) = request.run_as {
                command.gid(gid).uid(uid);
            }
        }
        #[cfg(windows)]
        {
            use std::os::windows::process::CommandExt;
            /// No console window, and no Ctrl-C of ours.
            const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
            const CREATE_NO_WINDOW: u32 = 0x0800_0000;
            command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
        }
        Ok(command)
    }

    /// Waits until the child answers, ends, or the time is up. The child is looked at between any two waits, so that its
    /// end is noticed at once even when somebody else holds its socket open.
    fn wait(&self, running: &mut Running) -> Waited {
        let deadline = deadline_in(self.request.ready_within);
        let mut wire: Option<Wire> = None;
        let mut closed = false;
        let mut pause = Pause::new(READY_PAUSE);
        loop {
            if self.cancelled.is_some_and(|cancelled| cancelled()) {
                return Waited::Cancelled;
            }
            if has_ended(&mut running.child) {
                return Waited::Ended;
            }
            if Instant::now() >= deadline {
                return match closed {
                    true => Waited::Unusable("it closes the connection without an answer".to_owned()),
                    false => Waited::Silent,
                };
            }
            let until = deadline.min(Instant::now() + SLICE);
            let Some(open) = &mut wire else {
                match transport::connect(&self.request.endpoint, until) {
                    Ok(transport) => {
                        let mut fresh = Wire::new(transport, Limits::default().line);
                        match self.whose(running, fresh.peer().pid) {
                            Whose::Child => running.wrapped = false,
                            Whose::Descendant => running.wrapped = true,
                            Whose::Somebody(pid) => {
                                let problem = "it came up while ours was starting".to_owned();
                                return Waited::Occupied(Probe::Unusable { pid: Some(pid), problem });
                            }
                        }
                        if ask_for_status(&mut fresh, until).is_ok() {
                            wire = Some(fresh);
                        }
                    }
                    Err(NoConnection::ForeignOwner { uid, pid }) => {
                        return Waited::Occupied(Probe::ForeignOwner { uid, pid });
                    }
                    Err(NoConnection::NoMeans { source }) => {
                        return Waited::Occupied(Probe::NoMeans { problem: source.to_string() });
                    }
                    Err(NoConnection::Failed { source }) => {
                        let problem = format!("its socket cannot be reached: {source}");
                        return Waited::Unusable(problem);
                    }
                    Err(_) => running.pause(&mut pause, deadline),
                }
                continue;
            };
            match read_status(open, until) {
                Ok(Ok(status)) => {
                    return wire.take().map_or(Waited::Silent, |wire| Waited::Ready(status, wire));
                }
                Ok(Err(problem)) => return Waited::Unusable(problem),
                Err(NoLine::TimedOut | NoLine::Cancelled) => {}
                Err(NoLine::NotTaken | NoLine::Closed { .. } | NoLine::Failed(_)) => {
                    closed = true;
                    wire = None;
                    running.pause(&mut pause, deadline);
                }
                Err(NoLine::Bad(bad)) => return Waited::Unusable(bad.to_string()),
            }
        }
    }

    /// Whether it is our child that listens, a process that it started, or a stranger.
    fn whose(&self, running: &Running, pid: Option<u32>) -> Whose {
        let child = running.child.id();
        #[cfg(unix)]
        return match pid {
            Some(pid) if pid == child => Whose::Child,
            Some(pid) if !self.is_ours(running, pid) => Whose::Somebody(pid),
            // Not told, or a process that our child started.
            _ => Whose::Descendant,
        };
        #[cfg(not(unix))]
        return match pid {
            Some(pid) if pid == child => Whose::Child,
            // A program that starts another one cannot be told from a stranger here: the key decides.
            _ => Whose::Descendant,
        };
    }

    /// Whether our child started that process.
    #[cfg(unix)]
    fn is_ours(&self, running: &Running, pid: u32) -> bool {
        crate::process::group_of(pid) == Some(running.child.id()) || running.others().contains(&pid)
    }

    /// Ends and reaps a candidate that failed, with whatever it started.
    fn give_up(&self, mut running: Running) -> io::Result<ExitStatus> {
        running.wrapped = cfg!(unix);
        running.end(FAILED_GRACE).map(|ending| ending.status)
    }

    fn tail(&self) -> Vec<String> {
        log::tail(&self.request.log, self.log_from, LOG_LINES)
    }
}

enum Whose {
    Child,
    Descendant,
    #[cfg_attr(not(unix), allow(dead_code, reason = "not to be told there"))]
    Somebody(u32),
}

#[cfg(unix)]
fn has_ended(child: &mut Child) -> bool {
    crate::process::has_ended(child.id()).unwrap_or(true)
}

#[cfg(not(unix))]
fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}
