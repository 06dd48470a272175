//! Where this home's daemons listen, and the way to them.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use myownllm_config_model::Document;
use myownllm_daemon::{
    AbandonedSocket, Attempt, Candidate, CandidateSearch, Client, ControlError, DaemonControl, Detection,
    Endpoint, Expected, HomeDaemons, Probe, Role, SpawnError, SpawnRequest, Spawned, StartPermit, StopError,
    StoppedDaemon, Suspect, SuspectSearch, Target, abandoned_socket, attach, candidates, decide, orphans_of,
    probe, spawn_unless, suspects,
};
pub use myownllm_daemon::{DaemonKind, RunningDaemon};
use myownllm_durable_fs::{Disk, DiskError};
use myownllm_paths::{ControlSocket, Layout, Mode, Socket, check_control_socket};

use crate::diagnostic::Diagnostic;

/// How long a daemon may take to answer `status` before it counts as busy. The app of today waits as long.
const ANSWER: Duration = Duration::from_millis(800);
/// How long an op may take: joining a network talks to relays.
pub const OPERATION: Duration = Duration::from_secs(10);
/// How long a daemon may take to end after SIGTERM; a real one takes some 10 ms.
pub const GRACE: Duration = Duration::from_secs(5);
/// How long a daemon may take to be gone once its socket is: a real one takes some 10 ms.
pub const LAST_BREATH: Duration = Duration::from_millis(500);
/// A daemon's config is a few kilobytes; what is larger is none.
pub const CONFIG_LIMIT: u64 = 64 << 20;

/// All that a launch wants of daemons. A trait so that `launch()` runs without any process in tests, and so that a
/// sibling app can bring its own way of running one.
pub trait Daemons {
    /// Who serves either home: at the old socket, at `leaked` (a control socket that a leaked config names), at the own
    /// one, or unseen.
    fn live(&self, leaked: Option<&Path>) -> Vec<RunningDaemon>;
    /// Whether anybody listens at the old socket: cheap, for every start.
    fn live_legacy(&self) -> Option<RunningDaemon>;
    /// Processes that serve either home although no socket leads to them; `known` is one to which one does.
    fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon>;
    /// Waits, within the time that a start may take, for a daemon that a start which was killed left on its way. Whether
    /// there was one, so that it is worth looking again. Hold the lock: who starts one now would be taken for killed.
    fn await_starting(&self, _cancelled: &dyn Fn() -> bool) -> bool {
        false
    }
    /// Who may have written in the app's home as only a daemon does: whoever leaves traces there now.
    fn suspects(&self) -> Vec<Suspect> {
        Vec::new()
    }
    /// Sockets on which nobody listens and which only their owner can use, wherever a daemon is looked for.
    fn abandoned_sockets(&self) -> Vec<AbandonedSocket> {
        Vec::new()
    }
    /// Which running daemon is to be used, if any, and the connection over which it answered. `expected` is the key in the
    /// daemon's home.
    fn detect(&self, expected: &Expected) -> (Detection, Option<Box<dyn DaemonControl>>);
    /// The same for a plan, which keeps no connection and looks at each place. Without `expected`, any key will do.
    fn survey(&self, expected: Option<&Expected>) -> Detection;
    /// Where a daemon of that mode that is started now listens.
    fn endpoint(&self, mode: Mode) -> Endpoint;
    /// The programs that a start would try, with the reason why each would be tried or not; `None` when that is not known.
    fn programs(&self) -> Option<Vec<Candidate>> {
        None
    }
    /// Starts a daemon in the home that the permit names; breaks it off, with nothing left running, once `cancelled` says so.
    ///
    /// # Errors
    /// No program came up.
    fn spawn(&self, permit: StartPermit<'_>, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError>;
    /// Connects for a few ops.
    ///
    /// # Errors
    /// Nobody answers.
    fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError>;
    /// Asks a daemon to end, and waits until it has.
    ///
    /// # Errors
    /// It cannot be asked, or stays.
    fn stop(&self, daemon: &RunningDaemon) -> Result<StoppedDaemon, StopError>;
}

/// What the environment says about where the daemon's program is.
#[derive(Clone, Debug, Default)]
pub struct ProgramSearch {
    /// The variables that name it, in order.
    pub overrides: Vec<(String, OsString)>,
    /// The running program.
    pub program: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// The working directory.
    pub working_dir: Option<PathBuf>,
    /// The target triple of the running program: a bundled daemon carries it in its file name.
    pub triple: Option<String>,
}

/// The daemons of one home on this machine.
#[allow(missing_debug_implementations, reason = "a disk has nothing to show")]
pub struct LocalDaemons<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    search: &'a ProgramSearch,
    homes: HomeDaemons,
    /// Whose daemons root looks for: those of the owner of the home.
    owner: Option<u32>,
}

impl<'a> LocalDaemons<'a> {
    /// The daemons of this layout.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, layout: &'a Layout, search: &'a ProgramSearch) -> Self {
        let own = endpoint_of(&layout.socket_for_mode(Mode::OwnLlm, &ControlSocket::InHome).0);
        let mut homes = HomeDaemons::new(&layout.app_home, &layout.daemon_home, own);
        homes.home_variable = layout.app.home_variable.clone().into_owned();
        homes.answer_within = ANSWER;
        homes.grace = GRACE;
        Self { disk, layout, search, homes, owner: None }
    }

    /// Also talks to daemons of that user: for root, who looks at the home of another user.
    #[must_use]
    pub fn owned_by(mut self, owner: Option<u32>) -> Self {
        self.owner = owner;
        self.homes.own = self.at(&self.layout.socket_for_mode(Mode::OwnLlm, &ControlSocket::InHome).0);
        self
    }

    /// Where a daemon of that mode that is started now listens: its own config may say so. No daemon starts on a config that
    /// cannot be read, which [`check_start`](crate::check_start) says.
    #[must_use]
    pub fn endpoint(&self, mode: Mode) -> Endpoint {
        let said = read_control_socket(self.disk, self.layout.config_for_mode(mode));
        self.at(&self.layout.socket_for_mode(mode, &said.unwrap_or(ControlSocket::InHome)).0)
    }

    fn at(&self, socket: &Socket) -> Endpoint {
        endpoint_at(socket, self.owner)
    }

    /// Where the daemon of that mode is to be looked for. One that was started before its config named another place goes on
    /// listening where it was.
    pub fn whereabouts(&self, mode: Mode) -> Endpoint {
        let now = self.endpoint(mode);
        let before = self.at(&self.layout.socket_for_mode(mode, &ControlSocket::InHome).0);
        // Where none can be bound, none was.
        let listens = |probe: Probe| !probe.is_absent() && !matches!(probe, Probe::PathTooLong { .. });
        let moved = now != before && listens(self.probe(&before)) && self.probe(&now).is_absent();
        if moved { before } else { now }
    }

    /// The daemons of both homes, of which the own one listens at `own`; `leaked` is a control socket that a leaked config
    /// names. On Windows there is one pipe for all, which tells nothing about the home.
    fn of_homes(&self, own: Endpoint, leaked: Option<&Path>) -> HomeDaemons {
        let mut homes = self.homes.clone();
        homes.own = own;
        let is_address = |path: &&Path| check_control_socket(path, self.layout.platform, path).is_ok();
        let sockets = [Some(self.layout.legacy_socket.as_path()), leaked.filter(is_address)];
        let sockets = sockets.into_iter().flatten().filter(|_| !cfg!(windows));
        homes.legacy = sockets.map(|path| self.at(&Socket::Path(path.to_owned()))).collect();
        homes
    }

    /// Asks whoever listens there for its status.
    #[must_use]
    pub fn probe(&self, endpoint: &Endpoint) -> Probe {
        probe(endpoint, ANSWER)
    }

    /// The daemons that a launch would use, in its order. `expected` is the key of the app's own; without one, any will do.
    #[must_use]
    pub fn targets(&self, expected: Option<&Expected>) -> [Target; 2] {
        let target = |role, mode, expected| Target {
            role,
            endpoint: self.whereabouts(mode),
            expected,
            within: ANSWER,
        };
        [target(Role::Shared, Mode::Shared, None), target(Role::Own, Mode::OwnLlm, expected.cloned())]
    }

    /// Every program that may be the daemon, with the reason why it would be tried or not.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        candidates(&CandidateSearch {
            overrides: self.search.overrides.clone(),
            program: self.search.program.clone(),
            triple: self.search.triple.clone(),
            path: self.search.path.clone(),
            working_dir: self.search.working_dir.clone(),
        })
    }
}

impl Daemons for LocalDaemons<'_> {
    fn live(&self, leaked: Option<&Path>) -> Vec<RunningDaemon> {
        self.of_homes(self.whereabouts(Mode::OwnLlm), leaked).running()
    }

    fn live_legacy(&self) -> Option<RunningDaemon> {
        // Where the own daemon listens is a matter of its config, which is read only if it matters.
        let found = self.of_homes(self.homes.own.clone(), None).legacy_listener()?;
        let own = self.whereabouts(Mode::OwnLlm);
        // A daemon whose own config names the old socket listens there by right.
        (own.path() != Some(&found.place())).then_some(found)
    }

    fn abandoned_sockets(&self) -> Vec<AbandonedSocket> {
        let mut all = vec![self.at(&Socket::Path(self.layout.legacy_socket.clone()))];
        for endpoint in [Mode::OwnLlm, Mode::Shared].map(|mode| self.endpoint(mode)) {
            if !all.contains(&endpoint) {
                all.push(endpoint);
            }
        }
        all.iter().filter_map(abandoned_socket).collect()
    }

    fn detect(&self, expected: &Expected) -> (Detection, Option<Box<dyn DaemonControl>>) {
        let (found, client) = attach(&self.targets(Some(expected)), OPERATION);
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
        Detection::new(attempts.into(), decide(&pairs))
    }

    fn endpoint(&self, mode: Mode) -> Endpoint {
        Self::endpoint(self, mode)
    }

    fn programs(&self) -> Option<Vec<Candidate>> {
        Some(self.candidates())
    }

    fn spawn(&self, permit: StartPermit<'_>, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
        let mut request = SpawnRequest::new(permit, self.endpoint(Mode::OwnLlm), self.candidates());
        request.home_variable = OsString::from(self.layout.app.home_variable.as_ref());
        spawn_unless(&request, cancelled)
    }

    fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError> {
        Ok(Box::new(Client::connect(endpoint, OPERATION)?))
    }

    fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon> {
        self.of_homes(self.whereabouts(Mode::OwnLlm), None).orphans(known)
    }

    fn await_starting(&self, cancelled: &dyn Fn() -> bool) -> bool {
        let is_one_starting = || {
            let strays = orphans_of(&self.layout.daemon_home, &self.layout.app.home_variable);
            !strays.is_empty() && strays.iter().all(|stray| stray.starting)
        };
        let deadline = Instant::now() + SpawnRequest::READY_WITHIN;
        let mut was_one = false;
        while is_one_starting() && Instant::now() < deadline && !cancelled() {
            was_one = true;
            std::thread::sleep(Duration::from_millis(10));
        }
        was_one
    }

    fn suspects(&self) -> Vec<Suspect> {
        let config = &self.layout.app_config;
        let mut draft = config.clone().into_os_string();
        draft.push(".tmp");
        suspects(&SuspectSearch {
            dir: &self.layout.app_home,
            home_variable: &self.layout.app.home_variable,
            files: &[config.clone(), draft.into()],
            program: &self.layout.app.name.to_lowercase(),
            user_home: &self.layout.user_home,
        })
    }

    fn stop(&self, daemon: &RunningDaemon) -> Result<StoppedDaemon, StopError> {
        self.homes.stop(daemon)
    }
}

/// That processes cannot be looked at: a daemon without a socket would go unseen, and one that is seen could not be told from
/// another process. Where the system never tells, there is nothing to say.
#[must_use]
pub fn processes_unknown() -> Option<Diagnostic> {
    let is_known = !cfg!(target_os = "linux") || std::fs::metadata("/proc/self/stat").is_ok();
    (!is_known).then(|| {
        let message =
            "cannot look for a daemon without a socket: /proc is not mounted, or is closed to this user";
        Diagnostic::warning("daemon.processes-unknown", message).hint("sudo mount -t proc proc /proc")
    })
}

/// That a socket is left over which only its owner can use. It is in nobody's way, but where a daemon cannot remove it.
#[must_use]
pub fn abandoned_diagnostic(socket: &AbandonedSocket) -> Diagnostic {
    let message = format!(
        "nobody listens on the socket {} of user {}, which lets this user not connect",
        socket.path.display(),
        socket.owner
    );
    Diagnostic::warning("daemon.socket-abandoned", message).at(&socket.path).hint(socket.command.clone())
}

pub(crate) fn endpoint_of(socket: &Socket) -> Endpoint {
    match socket {
        Socket::Path(path) => Endpoint::unix(path),
        Socket::Pipe(name) => Endpoint::pipe(name),
    }
}

/// An endpoint at which a daemon of that user may listen, too.
fn endpoint_at(socket: &Socket, owner: Option<u32>) -> Endpoint {
    owner.into_iter().fold(endpoint_of(socket), Endpoint::owned_by)
}

/// What a config says of the daemon's control socket. One that does not exist, is no regular file, or no JSON, says nothing.
///
/// # Errors
/// The config exists and cannot be read.
pub fn read_control_socket(disk: &dyn Disk, config: &Path) -> Result<ControlSocket, DiskError> {
    Ok(read_document(disk, config)?.as_ref().map_or(ControlSocket::InHome, ControlSocket::of_document))
}

/// A config, when it is there, and a regular file, and JSON.
pub(crate) fn read_document(disk: &dyn Disk, config: &Path) -> Result<Option<Document>, DiskError> {
    match disk.read(config, CONFIG_LIMIT) {
        Ok(bytes) => Ok(Document::parse(&bytes).ok().map(|parsed| parsed.document)),
        Err(error) if error.is_not_found() => Ok(None),
        // A folder says that it is one, anything else that it is no file.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::IsADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
