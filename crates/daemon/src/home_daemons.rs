//! The daemons that serve an app's two homes: the app's own home, in which none belongs, and the
//! daemon home.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use myownllm_durable_fs::RealDisk;
use myownllm_identity::{Expected, Identity, IdentityPaths, PlaceState, scan};
use myownllm_paths::{
    CheckedLayout, ControlSocket, Layout, Mode, PathsError, Platform, RealLookup,
    camino::{Utf8Path, Utf8PathBuf},
    check_control_socket,
};

use crate::{
    DetectRefusal, Endpoint, Probe, ServingProcess, Status, StopError, StoppedDaemon,
    probe::{PROBE_TIMEOUT, probe},
    process::HOME_VARIABLE,
    procfs::start_time,
    stop::{process_serves_home, serving_processes_of_each, stop_daemon_of, stop_serving_process},
};

/// The time that a daemon gets to exit after it unlinked its socket. The real daemon takes about 10
/// ms.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// A process ID and the start time of the process.
type ProcessInstance = (u32, Option<u64>);

/// The daemons of one app.
///
/// With the feature `migration` this is the `LiveDaemons` of a move: nothing moves while it finds a
/// daemon.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HomeDaemons {
    /// The app's home: the old location of the daemon's files.
    pub app_home: Utf8PathBuf,
    /// The daemon home.
    pub daemon_home: Utf8PathBuf,
    /// The variable that tells a daemon its home; `MYOWNMESH_HOME` by default.
    pub home_variable: String,
    /// Programs that are the daemon's under any name; none by default.
    pub programs: Vec<PathBuf>,
    /// The endpoints of the old location; by default `daemon.sock` in the app's home, and none on
    /// Windows, where one pipe serves every home, and the key of a daemon tells its home. A move
    /// refuses an empty list elsewhere.
    pub legacy: Vec<Endpoint>,
    /// The endpoint of the daemon of the daemon home: in it, or where its config says. A move
    /// refuses another one.
    pub own: Endpoint,
    /// The endpoint of the shared daemon; none by default. A link to it in one of the homes is not
    /// the socket of a daemon of that home.
    pub shared: Option<Endpoint>,
    /// The longest wait for an answer; 800 ms by default.
    pub answer_within: Duration,
    /// The time that a daemon gets to exit; 5 s by default.
    pub grace: Duration,
    /// The paths at which an identity file may be.
    identity_places: Box<IdentityPaths>,
    /// Processes that belonged to a daemon before it was ended, such as its activator. None of them
    /// counts as a daemon afterwards.
    bystanders: Arc<Mutex<Vec<ProcessInstance>>>,
}

/// A daemon that serves one of the homes and goes on writing there.
#[derive(Clone, Debug)]
pub struct RunningDaemon {
    /// The state of the socket, and its address.
    pub kind: DaemonKind,
    /// Set if it serves the app's home instead of the daemon home.
    pub legacy: bool,
    /// Set if its process is verified to serve that home now, so that it may be signalled. Only
    /// Linux shows this.
    pub verified: bool,
}

/// A daemon with a reachable socket, or an orphan.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum DaemonKind {
    /// A process listens, whether it answers or not.
    Listening { endpoint: Endpoint, probe: Probe },
    /// A process serves the home, and no socket leads to it: the socket file was unlinked.
    Orphan { process: ServingProcess, home: Utf8PathBuf },
}

impl HomeDaemons {
    /// Returns the daemons of the homes of a layout. A daemon that was started in the app's home
    /// may listen where the config there says, and the app's own daemon where its own config says.
    ///
    /// # Errors
    /// Fails if a config exists and cannot be read, or if no daemon can be reached at the address
    /// that the daemon's config names.
    pub fn of(layout: &CheckedLayout) -> Result<Self, PathsError> {
        let mut homes = Self::in_layout(layout, Endpoint::of(layout, Mode::OwnLlm)?);
        if layout.platform != Platform::Windows {
            let config = &layout.app_config;
            let named = ControlSocket::read(config, &RealLookup)?;
            let is_address = |path: &&Utf8Path| check_control_socket(path, layout.platform, config).is_ok();
            let named = named.named().filter(is_address);
            let sockets = named.into_iter().chain([&*layout.legacy_socket]);
            homes.legacy = sockets.map(Endpoint::unix).collect();
        }
        Ok(homes)
    }

    /// Returns the daemons of the homes of a layout, without a look at a config: the app's own daemon
    /// listens at `own`, and one in the app's home at its default socket.
    pub fn in_layout(layout: &Layout, own: Endpoint) -> Self {
        let shared = layout.socket_for_mode(Mode::Shared, &ControlSocket::InHome).0;
        Self {
            home_variable: layout.app.home_variable.clone().into_owned(),
            shared: Some(shared.into()),
            identity_places: Box::new(IdentityPaths::of(layout)),
            ..Self::new(&layout.app_home, &layout.daemon_home, own)
        }
    }

    /// Returns the daemons of these homes, with the default of each field. The caller must know the
    /// endpoint from the daemon's config: see [`HomeDaemons::of`]. A move of other homes refuses
    /// them.
    pub fn new(app_home: impl Into<Utf8PathBuf>, daemon_home: impl Into<Utf8PathBuf>, own: Endpoint) -> Self {
        let (app_home, daemon_home) = (app_home.into(), daemon_home.into());
        let legacy = (!cfg!(windows)).then(|| Endpoint::unix(app_home.join("daemon.sock")));
        Self {
            legacy: legacy.into_iter().collect(),
            identity_places: Box::new(IdentityPaths::new(&app_home, &daemon_home)),
            app_home,
            daemon_home,
            home_variable: HOME_VARIABLE.to_owned(),
            programs: Vec::new(),
            own,
            shared: None,
            answer_within: PROBE_TIMEOUT,
            grace: Duration::from_secs(5),
            bystanders: Arc::default(),
        }
    }

    /// Returns every daemon that serves one of the homes, as far as the system shows them.
    pub fn running(&self) -> Vec<RunningDaemon> {
        let legacy = self.legacy_endpoints().map(|endpoint| (endpoint, true));
        let mut running: Vec<RunningDaemon> = legacy
            .chain([(&self.own, false)])
            .filter_map(|(endpoint, legacy)| self.look_at(endpoint, legacy))
            .collect();
        let orphans = self.orphans_beside(&running);
        running.extend(orphans);
        running
    }

    /// Returns the daemon that listens at the old location. Cheap enough for every start.
    pub fn legacy_listener(&self) -> Option<RunningDaemon> {
        let pipe = Some(&self.own).filter(|own| own.path().is_none());
        let mut places = self.legacy_endpoints().chain(pipe);
        places.find_map(|endpoint| self.look_at(endpoint, true).filter(|found| found.legacy))
    }

    /// Returns the processes that serve one of the homes without a reachable socket. `known` is a
    /// process with a reachable one.
    pub fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon> {
        if self.serving_processes().iter().all(|one| one.pid() == known) {
            return Vec::new();
        }
        let listening: Vec<_> =
            self.look_at(&self.own, false).into_iter().chain(self.legacy_listener()).collect();
        self.orphans_beside(&listening)
    }

    /// Asks a daemon to exit and waits until it has.
    ///
    /// # Errors
    /// The daemon is not verified to serve one of the homes, so it is not signalled; or it does not
    /// exit.
    pub fn stop(&self, daemon: &RunningDaemon) -> Result<StoppedDaemon, StopError> {
        let home = self.home(daemon.legacy);
        if let Some(ended) = daemon.pid() {
            let beside = self.serving_processes().into_iter().filter_map(|one| match one.kind {
                DaemonKind::Orphan { process, .. } if process.pid != ended && process.is_part_of(ended) => {
                    Some((process.pid, start_time(process.pid)))
                }
                _ => None,
            });
            self.bystanders().extend(beside);
        }
        let stopped = match &daemon.kind {
            DaemonKind::Listening { endpoint, probe } if self.is_a_daemon(endpoint, probe) => {
                stop_daemon_of(endpoint, home, &self.home_variable, self.grace)
            }
            DaemonKind::Listening { endpoint, probe } => {
                Err(StopError::NoDaemon { endpoint: endpoint.clone(), pid: probe.pid() })
            }
            DaemonKind::Orphan { process, home } => {
                stop_serving_process(process, home, &self.home_variable, self.grace)
            }
        };
        let place = daemon.place();
        tracing::info!(pid = daemon.pid(), %place, ?stopped, "a daemon was asked to end");
        stopped
    }

    fn legacy_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.legacy.iter().filter(|endpoint| **endpoint != self.own)
    }

    /// Returns true if the process that listens is a daemon. A config can name the socket of any
    /// program; only the sockets inside the homes are a daemon's in any case.
    fn is_a_daemon(&self, endpoint: &Endpoint, probe: &Probe) -> bool {
        let homes = [&*self.app_home, &*self.daemon_home];
        let serves = || {
            let serving = serving_processes_of_each(homes, &self.home_variable, &self.programs);
            serving.iter().flatten().any(|process| Some(process.pid) == probe.pid())
        };
        matches!(probe, Probe::Answered { .. })
            || endpoint.path().is_none_or(|path| homes.iter().any(|home| path.starts_with(home)))
            || serves()
    }

    fn look_at(&self, endpoint: &Endpoint, legacy: bool) -> Option<RunningDaemon> {
        let found = probe(endpoint, self.answer_within);
        // No daemon can bind such a path.
        if found.is_absent() || matches!(found, Probe::PathTooLong { .. }) {
            return None;
        }
        let legacy = match &found {
            Probe::Answered { status, .. } if endpoint.path().is_none() => self.has_legacy_key(status)?,
            _ => legacy,
        };
        let serves = |pid| process_serves_home(endpoint, self.home(legacy), &self.home_variable, pid);
        let verified = found.pid().is_some_and(serves);
        // The process has to be visible: a hidden one may serve this home, and the other path may be
        // the link.
        let is_seen = cfg!(target_os = "linux") && found.pid().is_some();
        let mut elsewhere = self.shared.iter().chain(legacy.then_some(&self.own));
        if is_seen && !verified && elsewhere.any(|other| endpoint.is_link_to(other)) {
            return None;
        }
        let endpoint = endpoint.clone();
        Some(RunningDaemon { kind: DaemonKind::Listening { endpoint, probe: found }, legacy, verified })
    }

    /// Returns whether a daemon at the one pipe of Windows has the key of the app's home; `None` if
    /// it has the key of neither home, and so serves another one.
    fn has_legacy_key(&self, status: &Status) -> Option<bool> {
        let found = scan(&RealDisk, &self.identity_places);
        legacy_by_key(&status.device_id, &found.app.state, &found.daemon.state)
    }

    fn home(&self, legacy: bool) -> &Utf8Path {
        if legacy { &self.app_home } else { &self.daemon_home }
    }

    fn bystanders(&self) -> MutexGuard<'_, Vec<ProcessInstance>> {
        self.bystanders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the processes that serve one of the homes and belong to none of the daemons `seen`,
    /// except in a home whose socket could not be probed: one of them may listen there. Waits for a
    /// daemon that is exiting: it unlinks its socket first.
    fn orphans_beside(&self, seen: &[RunningDaemon]) -> Vec<RunningDaemon> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        let is_unknown = |legacy| seen.iter().any(|one| one.legacy == legacy && one.unknown().is_some());
        loop {
            let mut serving = self.serving_processes();
            serving.retain(|one| match &one.kind {
                _ if is_unknown(one.legacy) => false,
                DaemonKind::Orphan { process, .. } => {
                    !seen.iter().filter_map(RunningDaemon::pid).any(|seen| process.is_part_of(seen))
                }
                DaemonKind::Listening { .. } => true,
            });
            if serving.is_empty() || Instant::now() >= deadline {
                return serving;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the processes that serve one of the homes, with or without a reachable socket.
    fn serving_processes(&self) -> Vec<RunningDaemon> {
        let homes = [&*self.app_home, &*self.daemon_home];
        let found = serving_processes_of_each(homes, &self.home_variable, &self.programs);
        let bystanders = self.bystanders().clone();
        let is_no_bystander =
            |process: &ServingProcess| !bystanders.contains(&(process.pid, start_time(process.pid)));
        let sides = homes.into_iter().zip([true, false]).zip(found);
        sides
            .flat_map(|((home, legacy), processes)| {
                processes.into_iter().filter(is_no_bystander).map(move |process| RunningDaemon {
                    kind: DaemonKind::Orphan { process, home: home.to_owned() },
                    legacy,
                    verified: true,
                })
            })
            .collect()
    }
}

/// Returns whether the daemon with this Device ID serves the app's home; `None` if it serves
/// neither home. A daemon may serve a home whose identity file cannot be read, or that has none
/// yet: then it counts as the daemon of the daemon home.
fn legacy_by_key(device_id: &str, app: &PlaceState, daemon: &PlaceState) -> Option<bool> {
    let key = |state: &PlaceState| state.identity().and_then(Identity::key).map(|key| key.device_id.clone());
    let is_clear = |state: &PlaceState| matches!(state, PlaceState::Absent) || key(state).is_some();
    let admits = |key: &Option<String>| key.as_ref().is_some_and(|key| Expected::key(key).admits(device_id));
    let keys = [key(daemon), key(app)];
    match keys.iter().position(admits) {
        Some(which) => Some(which == 1),
        None if keys.iter().all(Option::is_none) || !is_clear(app) || !is_clear(daemon) => Some(false),
        None => None,
    }
}

impl RunningDaemon {
    /// Returns the process ID, if the system shows it.
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            DaemonKind::Listening { probe, .. } => probe.pid(),
            DaemonKind::Orphan { process, .. } => Some(process.pid),
        }
    }

    /// Returns the path of the socket, or the home of an orphan.
    pub fn place(&self) -> Utf8PathBuf {
        match &self.kind {
            DaemonKind::Listening { endpoint, .. } => endpoint.to_string().into(),
            DaemonKind::Orphan { home, .. } => home.clone(),
        }
    }

    /// Returns true if this is the daemon of the daemon home, at its socket.
    pub fn is_own(&self) -> bool {
        !self.legacy && matches!(self.kind, DaemonKind::Listening { .. })
    }

    /// Returns the refusal if this process had no resources left to look, so that there may be no
    /// daemon at all.
    pub fn resource_exhausted(&self) -> Option<DetectRefusal> {
        match &self.kind {
            DaemonKind::Listening { endpoint, probe: Probe::ResourceExhausted { problem } } => {
                Some(DetectRefusal::ResourceExhausted {
                    endpoint: endpoint.clone(),
                    problem: problem.clone(),
                })
            }
            _ => None,
        }
    }

    /// Returns the system's error if it is unknown whether a daemon runs.
    pub fn unknown(&self) -> Option<&str> {
        match &self.kind {
            DaemonKind::Listening { probe, .. } => probe.unknown(),
            DaemonKind::Orphan { .. } => None,
        }
    }

    /// Describes the daemon in a few words.
    pub fn note(&self) -> String {
        match &self.kind {
            DaemonKind::Listening { probe, .. } => match probe {
                Probe::Unknown { problem } | Probe::ResourceExhausted { problem } => {
                    format!("cannot be looked at: {problem}")
                }
                Probe::Suspended { .. } => {
                    "it is suspended, so it neither answers nor ends before it is continued".to_owned()
                }
                Probe::ForeignOwner { uid, .. } => format!("it runs as another user (uid {uid})"),
                _ if self.is_hidden() && probe.pid().is_none() => {
                    "the system does not show its process, which may be in a container".to_owned()
                }
                _ if self.is_hidden() => "its process is not seen to serve this home".to_owned(),
                Probe::Answered { status, .. } => format!("version {}", status.version),
                Probe::Busy { .. } => "it accepts connections and does not answer".to_owned(),
                other => other.code().to_owned(),
            },
            DaemonKind::Orphan { process, .. } if process.starting => {
                "it was started before, and does not listen yet".to_owned()
            }
            DaemonKind::Orphan { process: ServingProcess { socket: Some(socket), .. }, .. } => {
                format!("it listens at {}, which the daemon's config does not name", socket.display())
            }
            DaemonKind::Orphan { .. } => "its socket was removed under it".to_owned(),
        }
    }

    /// Returns the first command to run if the daemon cannot be asked to exit as it is.
    /// [`RunningDaemon::note`] says why.
    pub fn hint(&self) -> Option<String> {
        let DaemonKind::Listening { endpoint, probe } = &self.kind else { return None };
        if cfg!(windows) {
            return StopError::Unsupported { endpoint: endpoint.clone(), pid: probe.pid() }.hint();
        }
        let needs_more =
            matches!(probe, Probe::Suspended { .. } | Probe::Unknown { .. } | Probe::ForeignOwner { .. });
        if needs_more || self.is_hidden() { probe.hint(endpoint) } else { None }
    }

    /// Returns true if the system hides the process, although it shows processes in general.
    fn is_hidden(&self) -> bool {
        cfg!(target_os = "linux") && !self.verified
    }
}

#[cfg(feature = "migration")]
mod live {
    use myownllm_migration::{Homes, LiveDaemon, LiveDaemons, LiveKind};
    use myownllm_paths::inside;

    use super::{HomeDaemons, RunningDaemon};
    use crate::{Endpoint, endpoint::socket_of};

    impl From<&RunningDaemon> for LiveDaemon {
        fn from(daemon: &RunningDaemon) -> Self {
            let (note, kind) = match daemon.unknown() {
                Some(problem) => (problem.to_owned(), LiveKind::Unknown),
                None if daemon.is_own() => (daemon.note(), LiveKind::Own),
                None => (daemon.note(), LiveKind::Legacy),
            };
            let mut live = Self::new(daemon.place(), daemon.pid(), note, kind);
            live.hint = daemon.hint();
            live
        }
    }

    impl LiveDaemons for HomeDaemons {
        fn live(&self) -> Vec<LiveDaemon> {
            self.running().iter().map(LiveDaemon::from).collect()
        }

        fn are_of(&self, homes: &Homes) -> bool {
            // Where nobody shows the processes of a home, only its socket leads to the daemon.
            let looks_at_both = || cfg!(windows) || (!self.legacy.is_empty() && self.own_is_of(homes));
            homes.app() == self.app_home && homes.daemon() == self.daemon_home && looks_at_both()
        }
    }

    impl HomeDaemons {
        /// Returns true if the daemon of the daemon home listens at the endpoint that is looked at.
        fn own_is_of(&self, homes: &Homes) -> bool {
            let (config, socket) = (&homes.files().config, &homes.files().socket);
            let socket = socket_of(&inside(homes.daemon(), config), inside(homes.daemon(), socket));
            socket.is_ok_and(|socket| Endpoint::unix(socket).is_same_place(&self.own))
        }
    }
}

#[cfg(test)]
mod tests {
    use myownllm_identity::{PlaceState, inspect};
    use myownllm_paths::{Env, HostApp, PathResolver as _, Resolver};
    use serde_json::Map;

    use super::{HomeDaemons, legacy_by_key};
    use crate::{Endpoint, Status};

    /// A key of the app's home, and of the daemon home, by its content.
    fn place(content: Option<&[u8]>) -> PlaceState {
        content.map_or(PlaceState::Absent, |bytes| PlaceState::File(inspect(bytes)))
    }

    /// The identity file of another app's daemon has another name.
    #[allow(clippy::disallowed_methods, reason = "tests may write as they like")]
    #[test]
    fn key_of_another_app_is_looked_for_by_the_names_of_the_app() {
        let key =
            include_bytes!("../../../tests/fixtures/daemon-0.1.2/home/.myownllm/.secrets/identity.json");
        let user_home = tempfile::tempdir().unwrap();
        let mut app = HostApp::new("App", "app-mesh", ".app", "node");
        app.daemon_files.identity = "keys/node.json".into();
        let layout = Resolver::new(app).resolve(&Env::explicit(user_home.path())).unwrap();
        std::fs::create_dir_all(layout.app_home.join("keys")).unwrap();
        std::fs::write(layout.app_home.join("keys/node.json"), key).unwrap();
        let homes = HomeDaemons::in_layout(&layout, Endpoint::unix(&layout.daemon_socket));
        let device_id = inspect(key).key().unwrap().device_id.clone();
        let status =
            Status { device_id, version: String::new(), joined_networks: Vec::new(), more: Map::new() };
        assert_eq!(homes.has_legacy_key(&status), Some(true));
    }

    #[test]
    fn daemon_at_the_pipe_serves_the_home_that_has_its_key() {
        let sound =
            include_bytes!("../../../tests/fixtures/daemon-0.1.2/home/.myownllm/.secrets/identity.json");
        let [sound, damaged, absent] = [Some(&sound[..]), Some(&b"{"[..]), None].map(place);
        let own = sound.identity().and_then(|identity| identity.key()).map(|key| key.device_id.clone());
        let own = own.unwrap();
        for (what, device_id, app, daemon, expected) in [
            ("at the old location", own.as_str(), &sound, &absent, Some(true)),
            ("in the daemon home", &own, &absent, &sound, Some(false)),
            ("in both homes", &own, &sound, &sound, Some(false)),
            ("in neither home", "another", &sound, &absent, None),
            ("in neither home", "another", &absent, &sound, None),
            ("no key yet", "another", &absent, &absent, Some(false)),
            ("a damaged key", "another", &sound, &damaged, Some(false)),
            ("a damaged key", "another", &damaged, &absent, Some(false)),
        ] {
            assert_eq!(legacy_by_key(device_id, app, daemon), expected, "{what}");
        }
    }
}
