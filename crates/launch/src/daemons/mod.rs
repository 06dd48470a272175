//! The endpoints of the daemons of this home, and how a launch reaches them.

pub(crate) mod networks;

use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use myownllm_config_model::{Document, recover};
use myownllm_daemon::{
    AbandonedSocket, Attempt, Candidate, Client, ControlError, DaemonControl, DaemonExit, Detection,
    Endpoint, Expected, HomeDaemons, Probe, Role, SpawnError, SpawnRequest, Spawned, StartPermit, StopError,
    StoppedDaemon, Suspect, SuspectSearch, Target, abandoned_socket, attach, candidates, decide, probe,
    process_serves, serving_processes, spawn_unless, suspects,
};
pub use myownllm_daemon::{DaemonKind, ProgramSearch, RunningDaemon};
use myownllm_durable_fs::{Disk, DiskError, quote};
use myownllm_migration::Homes;
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{ControlSocket, Layout, Mode, Socket, check_control_socket};

use crate::words::diagnostic::{Class, Diagnostic};

/// The longest wait for a daemon's answer to `status` before the daemon counts as busy. The app of
/// today waits as long.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);
/// The longest time for an op: joining a network talks to relays.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time from SIGTERM to the end of a daemon. A real daemon takes some 10 ms.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time from the removal of a daemon's socket to the end of its process. A real daemon
/// takes some 10 ms.
pub(crate) const EXIT_AFTER_UNLINK: Duration = Duration::from_millis(500);
/// The time in which a daemon that fails on its last request is seen to exit. Each start of a
/// daemon takes that much longer.
pub(crate) const EXIT_AFTER_ANSWER: Duration = Duration::from_millis(10);
/// The largest size of a daemon's config, in bytes. A real config has a few kilobytes; a larger
/// file is not a config.
pub(crate) const CONFIG_LIMIT: u64 = 64 << 20;

/// Everything that a launch needs from daemons. A trait, so that `launch()` runs without any
/// process in tests, and so that a sibling app can run daemons in its own way.
pub trait Daemons: Send + Sync {
    /// Returns true if these are the daemons of these homes: the daemons of other homes tell
    /// nothing about them.
    fn are_of(&self, homes: &Homes) -> bool;
    /// Returns the daemons that serve either home: at the socket of the old location, at
    /// `config_socket` (a control socket that an overwritten config names), at the app's own
    /// socket, or without a reachable socket.
    fn live(&self, config_socket: Option<&Utf8Path>) -> Vec<RunningDaemon>;
    /// Returns the daemon that listens at the socket of the old location, if any. Cheap enough for
    /// every start.
    fn live_legacy(&self) -> Option<RunningDaemon>;
    /// Returns the processes that serve either home although no socket leads to them. `known` is a
    /// process to which a socket leads.
    fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon>;
    /// Waits for a daemon that a killed start left on its way up, at most for the time that a start
    /// may take. Returns true if there was such a daemon, so that it is worth looking again. The
    /// caller must hold the lock: without the lock, a daemon that another process starts now would
    /// be taken for the leftover of a killed start.
    fn await_starting(&self, _cancelled: &dyn Fn() -> bool) -> bool {
        false
    }
    /// Returns the processes that may have written in the app's home as only a daemon does: each
    /// leaves traces there now.
    fn suspects(&self) -> Vec<Suspect> {
        Vec::new()
    }
    /// Returns the sockets on which no process listens and which only their owner can use, at every
    /// place where a launch looks for a daemon.
    fn abandoned_sockets(&self) -> Vec<AbandonedSocket> {
        Vec::new()
    }
    /// Returns which running daemon is to be used, if any, and the connection over which it
    /// answered. `expected` is the key in the daemon home.
    fn detect(&self, expected: &Expected) -> (Detection, Option<Box<dyn DaemonControl>>);
    /// Looks for a daemon as [`detect`](Self::detect) does, for a plan: keeps no connection, and
    /// looks at each place. Without `expected`, any key will do.
    fn survey(&self, expected: Option<&Expected>) -> Detection;
    /// Returns the endpoint at which a daemon of this mode listens if it is started now.
    fn endpoint(&self, mode: Mode) -> Endpoint;
    /// Returns the programs that a start would try, with the reason why each would be tried or not;
    /// `None` if they are not known.
    fn programs(&self) -> Option<Vec<Candidate>> {
        None
    }
    /// Starts a daemon in the home that the permit names. Ends the start, with no process left
    /// running, once `cancelled` returns true.
    ///
    /// # Errors
    /// Fails if no program came up.
    fn spawn(&self, permit: StartPermit<'_>, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError>;
    /// Connects to a daemon for a few ops.
    ///
    /// # Errors
    /// Fails if no daemon answers.
    fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError>;
    /// Asks a daemon to end, and waits until it has ended.
    ///
    /// # Errors
    /// Fails if the daemon cannot be asked, or stays.
    fn stop(&self, daemon: &RunningDaemon) -> Result<StoppedDaemon, StopError>;
}

/// The daemons of one home on this machine.
pub struct LocalDaemons<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    search: &'a ProgramSearch,
    homes: HomeDaemons,
    /// The user whose daemons root looks for: the owner of the home.
    owner: Option<u32>,
    /// The longest wait for the first answer of a daemon that starts.
    ready_within: Duration,
}

impl fmt::Debug for LocalDaemons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDaemons").field("homes", &self.homes).finish_non_exhaustive()
    }
}

impl<'a> LocalDaemons<'a> {
    /// Returns the daemons of this layout.
    pub fn new(disk: &'a dyn Disk, layout: &'a Layout, search: &'a ProgramSearch) -> Self {
        let own = Endpoint::from(layout.socket_for_mode(Mode::OwnLlm, &ControlSocket::InHome).0);
        let mut homes = HomeDaemons::in_layout(layout, own);
        homes.programs = search.overrides.iter().map(|(_, program)| PathBuf::from(program)).collect();
        homes.answer_within = PROBE_TIMEOUT;
        homes.grace = STOP_TIMEOUT;
        Self { disk, layout, search, homes, owner: None, ready_within: SpawnRequest::READY_WITHIN }
    }

    /// Also talks to daemons of the user `owner`: for root, who works on the home of another user.
    #[must_use]
    pub fn owned_by(mut self, owner: Option<u32>) -> Self {
        self.owner = owner;
        self.homes.own = self.at(self.layout.socket_for_mode(Mode::OwnLlm, &ControlSocket::InHome).0);
        self
    }

    /// Waits so long for the first answer of a daemon that starts.
    #[must_use]
    pub fn ready_within(mut self, wait: Duration) -> Self {
        self.ready_within = wait;
        self
    }

    /// Returns an endpoint at which a daemon of the owner may listen, too.
    fn at(&self, socket: Socket) -> Endpoint {
        self.owner.into_iter().fold(Endpoint::from(socket), Endpoint::owned_by)
    }

    /// Returns the endpoint at which to look for the daemon of this mode. A daemon that was started
    /// before its config named another endpoint goes on listening at the previous one.
    pub fn endpoint_without_config(&self, mode: Mode) -> Endpoint {
        let now = self.endpoint(mode);
        let before = self.at(self.layout.socket_for_mode(mode, &ControlSocket::InHome).0);
        // No daemon can listen at a path that is too long to bind.
        let listens = |probe: Probe| !probe.is_absent() && !matches!(probe, Probe::PathTooLong { .. });
        let moved = now != before && listens(self.probe(&before)) && self.probe(&now).is_absent();
        if moved { before } else { now }
    }

    /// Reports the shared daemon as unknown if nothing listens at its default socket and its config,
    /// which may name another socket, cannot be read.
    fn with_unknown_shared(&self, mut found: Detection) -> Detection {
        let absent = |one: &&mut Attempt| one.role == Role::Shared && one.probe.is_absent();
        if let Some(shared) = found.attempts.iter_mut().find(absent)
            && let Err(error) = read_control_socket(self.disk, &self.layout.shared_config)
        {
            let Diagnostic { message, causes, .. } = Diagnostic::from(&error);
            shared.probe = Probe::Unknown { problem: format!("{message}: {}", causes.join(": ")) };
        }
        found
    }

    /// Returns the daemons of both homes. The own daemon listens at `own`; `config_socket` is a
    /// control socket that an overwritten config names. On Windows, all daemons use one pipe, which
    /// tells nothing about the home.
    fn of_homes(&self, own: Endpoint, config_socket: Option<&Utf8Path>) -> HomeDaemons {
        let mut homes = self.homes.clone();
        homes.own = own;
        let is_address = |path: &&Utf8Path| check_control_socket(path, self.layout.platform, path).is_ok();
        let sockets = [Some(&*self.layout.legacy_socket), config_socket.filter(is_address)];
        let sockets = sockets.into_iter().flatten().filter(|_| !cfg!(windows));
        homes.legacy = sockets.map(|path| self.at(Socket::Path(path.to_owned()))).collect();
        homes
    }

    /// Asks the process that listens at `endpoint` for its status.
    pub fn probe(&self, endpoint: &Endpoint) -> Probe {
        probe(endpoint, PROBE_TIMEOUT)
    }

    /// Returns the daemons that a launch would use, in the order of a launch. `expected` is the key
    /// of the app's own daemon; without it, any key will do.
    pub fn targets(&self, expected: Option<&Expected>) -> [Target; 2] {
        let target = |role, mode, expected| Target {
            role,
            endpoint: self.endpoint_without_config(mode),
            expected,
            within: PROBE_TIMEOUT,
        };
        [target(Role::Shared, Mode::Shared, None), target(Role::Own, Mode::OwnLlm, expected.cloned())]
    }
}

impl Daemons for LocalDaemons<'_> {
    fn are_of(&self, homes: &Homes) -> bool {
        homes.app() == self.homes.app_home && homes.daemon() == self.homes.daemon_home
    }

    fn live(&self, config_socket: Option<&Utf8Path>) -> Vec<RunningDaemon> {
        self.of_homes(self.endpoint_without_config(Mode::OwnLlm), config_socket).running()
    }

    fn live_legacy(&self) -> Option<RunningDaemon> {
        // Reads the config that names the own daemon's endpoint only if a daemon was found.
        self.of_homes(self.homes.own.clone(), None).legacy_listener()?;
        // A daemon whose own config names the socket of the old location listens there rightfully.
        self.of_homes(self.endpoint_without_config(Mode::OwnLlm), None).legacy_listener()
    }

    fn abandoned_sockets(&self) -> Vec<AbandonedSocket> {
        let mut all = vec![self.at(Socket::Path(self.layout.legacy_socket.clone()))];
        for endpoint in [Mode::OwnLlm, Mode::Shared].map(|mode| self.endpoint(mode)) {
            if !all.contains(&endpoint) {
                all.push(endpoint);
            }
        }
        all.iter().filter_map(abandoned_socket).collect()
    }

    fn detect(&self, expected: &Expected) -> (Detection, Option<Box<dyn DaemonControl>>) {
        let _span = tracing::info_span!("probe").entered();
        let (found, client) = attach(&self.targets(Some(expected)), REQUEST_TIMEOUT);
        let found = self.with_unknown_shared(found);
        for attempt in &found.attempts {
            tracing::debug!(socket = %attempt.endpoint, answer = attempt.probe.code(), "looked for a daemon");
        }
        (found, client.map(|client| Box::new(client) as Box<dyn DaemonControl>))
    }

    fn survey(&self, expected: Option<&Expected>) -> Detection {
        let looked = self.targets(expected).map(|target| {
            let began = Instant::now();
            let probe = self.probe(&target.endpoint);
            (target, probe, began.elapsed())
        });
        let pairs = looked.clone().map(|(target, probe, _)| (target, probe));
        let attempts =
            looked.map(|(target, probe, took)| Attempt::new(target.role, target.endpoint, probe, took));
        self.with_unknown_shared(Detection::new(attempts.into(), decide(&pairs)))
    }

    fn endpoint(&self, mode: Mode) -> Endpoint {
        // The daemon's own config may name the endpoint. The check before a start reports an
        // unreadable config of the own daemon, a detection that of the shared daemon.
        let said = read_control_socket(self.disk, self.layout.config_for_mode(mode));
        self.at(self.layout.socket_for_mode(mode, &said.unwrap_or(ControlSocket::InHome)).0)
    }

    fn programs(&self) -> Option<Vec<Candidate>> {
        let name = self.layout.app.daemon_program.clone().into_owned();
        Some(candidates(&ProgramSearch { name, ..self.search.clone() }))
    }

    fn spawn(&self, permit: StartPermit<'_>, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
        let _span = tracing::info_span!("spawn", home = %self.layout.daemon_home).entered();
        let mut request =
            SpawnRequest::new(permit, self.endpoint(Mode::OwnLlm), self.programs().unwrap_or_default());
        request.app = self.layout.app.name.to_lowercase();
        request.ready_within = self.ready_within;
        request.home_variable = OsString::from(self.layout.app.home_variable.as_ref());
        spawn_unless(&request, cancelled)
            .inspect(|spawned| tracing::info!(pid = spawned.pid(), "started the daemon"))
            .inspect_err(|error| tracing::debug!(code = error.code(), "no daemon came up"))
    }

    fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError> {
        Ok(Box::new(Client::connect(endpoint, REQUEST_TIMEOUT)?))
    }

    fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon> {
        self.of_homes(self.endpoint_without_config(Mode::OwnLlm), None).orphans(known)
    }

    fn await_starting(&self, cancelled: &dyn Fn() -> bool) -> bool {
        let is_one_starting = || {
            let strays = serving_processes(self.layout.daemon_home.as_ref(), &self.layout.app.home_variable);
            !strays.is_empty() && strays.iter().all(|stray| stray.starting)
        };
        let deadline = Instant::now() + self.ready_within;
        let mut was_one = false;
        while is_one_starting() && Instant::now() < deadline && !cancelled() {
            was_one = true;
            std::thread::sleep(Duration::from_millis(10));
        }
        was_one
    }

    fn suspects(&self) -> Vec<Suspect> {
        let config = &self.layout.app_config;
        suspects(&SuspectSearch {
            dir: self.layout.app_home.as_ref(),
            home_variable: &self.layout.app.home_variable,
            files: &[config.into(), format!("{config}.tmp").into()],
            program: &self.layout.app.name.to_lowercase(),
            user_home: self.layout.user_home.as_ref(),
        })
    }

    fn stop(&self, daemon: &RunningDaemon) -> Result<StoppedDaemon, StopError> {
        self.homes.stop(daemon)
    }
}

/// Reports that this program cannot look at processes: it would not see a daemon without a socket,
/// and could not tell a daemon that it sees from another process. Returns `None` on systems that
/// never give access to processes.
pub(crate) fn processes_unknown() -> Option<Diagnostic> {
    let is_known = !cfg!(target_os = "linux") || std::fs::metadata("/proc/self/stat").is_ok();
    (!is_known).then(|| {
        let message =
            "cannot look for a daemon without a socket: /proc is not mounted, or is closed to this user";
        Diagnostic::warning("daemon.processes-unknown", message).hint("sudo mount -t proc proc /proc")
    })
}

/// Reports a leftover socket that only its owner can use. It is harmless unless a daemon has to
/// remove it.
pub(crate) fn abandoned_diagnostic(socket: &AbandonedSocket) -> Diagnostic {
    let message = format!(
        "nobody listens on the socket {} of user {}, which lets this user not connect",
        socket.path, socket.owner
    );
    Diagnostic::warning("daemon.socket-abandoned", message).at(&socket.path).hint(socket.command.clone())
}

/// Returns the command that ends the process that listens at `endpoint`, if the process is seen to
/// serve it; or a command that shows the process, or the owner of the socket.
pub(crate) fn end_command(role: Role, endpoint: &Endpoint, probe: &Probe, program: &str) -> Option<String> {
    match probe.pid() {
        Some(pid) if !matches!(probe, Probe::Suspended { .. }) && process_serves(endpoint, pid) => {
            Some(match role {
                Role::Own => format!("{program} daemon restart"),
                Role::Shared => format!("kill {pid}"),
            })
        }
        _ => probe.hint(endpoint),
    }
}

const LOG_LINES: usize = 10;

/// The code of a daemon that exited although nobody stopped it.
pub(crate) const DIED: &str = "daemon.died";

/// Reports that a daemon that this process started has ended.
pub(crate) fn died_diagnostic(spawned: &Spawned, status: &str) -> Diagnostic {
    let message = format!("the daemon (process {}) ended: {status}", spawned.pid());
    Diagnostic::error(DIED, message)
        .at(spawned.log())
        .hint(log_hint(spawned.log()))
        .class(Class::Daemon)
        .causes(spawned.log_tail(LOG_LINES))
}

/// Reports the end of a daemon that a launch stayed with. A daemon that ends with success was asked
/// to end, for example by `daemon stop`: that is no error.
pub fn ended_diagnostic(spawned: &Spawned, end: &DaemonExit) -> Diagnostic {
    match end {
        DaemonExit::Status(status) if status.success() => {
            let message = format!("another program stopped the daemon (process {})", spawned.pid());
            Diagnostic::info("daemon.stopped", message)
        }
        _ => died_diagnostic(spawned, &end.to_string()),
    }
}

/// Reports that a daemon that this process started could not be stopped.
pub fn not_stopped_diagnostic(error: &std::io::Error) -> Diagnostic {
    Diagnostic::from_error(error, "daemon.not-stopped", None).class(Class::Daemon)
}

/// Returns the command that shows the end of a daemon's log.
pub fn log_hint(log: &Utf8Path) -> String {
    format!("tail -n 50 {}", quote(log))
}

/// Returns the daemon's control socket that a config names. A config that does not exist, is not a
/// regular file, or is not JSON names none.
pub(crate) fn read_control_socket(disk: &dyn Disk, config: &Utf8Path) -> Result<ControlSocket, DiskError> {
    Ok(read_document(disk, config)?.as_ref().map_or(ControlSocket::InHome, ControlSocket::of_document))
}

/// Returns a config; `None` if it does not exist, is not a regular file, or is not JSON.
pub(crate) fn read_document(disk: &dyn Disk, config: &Utf8Path) -> Result<Option<Document>, DiskError> {
    match disk.read(config.as_ref(), CONFIG_LIMIT) {
        Ok(bytes) => Ok(Document::parse(&bytes).ok().map(|parsed| parsed.document)),
        Err(error) if error.is_not_found() => Ok(None),
        // The disk reports a directory as `IsADirectory`, and anything else that is not a regular
        // file as `InvalidInput`.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the document, or as much of a damaged one as can be read.
pub(crate) fn readable_part(bytes: &[u8]) -> Option<Document> {
    match Document::parse(bytes) {
        Ok(parsed) => Some(parsed.document),
        Err(_) => recover(bytes).map(|found| found.document),
    }
}
