//! The daemons that serve an app's two homes: the app's own, where they do not belong, and the daemon home.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Endpoint, OrphanDaemon, Probe, Refusal, StopError, StoppedDaemon,
    error::{inspect_process_command, inspect_socket_command},
    probe::probe,
    process::start_time,
    stop::{orphans_of_each, process_serves_home, stop_daemon_of, stop_orphan},
};

/// The variable by which a daemon is told its home, unless an app says otherwise.
pub(crate) const HOME_VARIABLE: &str = "MYOWNMESH_HOME";
/// How long a daemon may take to be gone once its socket is: a real one takes some 10 ms.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// A process id, and when that process started.
type ProcessInstance = (u32, Option<u64>);

/// The daemons of one app, and how to end them.
///
/// With the feature `migration` it is the `LiveDaemons` of a move: nothing moves under a daemon that it finds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HomeDaemons {
    /// The app's home: the old location of the daemon's files.
    pub app_home: PathBuf,
    /// The daemon home.
    pub daemon_home: PathBuf,
    /// The variable by which a daemon is told its home; `MYOWNMESH_HOME` by default.
    pub home_variable: String,
    /// Where a daemon of the old location may listen; `daemon.sock` in the app's home by default, and none on Windows,
    /// where one pipe serves every home.
    pub legacy: Vec<Endpoint>,
    /// Where the daemon of the daemon home listens: in it, or where its config says.
    pub own: Endpoint,
    /// How long a daemon may take to answer; 800 ms by default.
    pub answer_within: Duration,
    /// How long a daemon may take to end; 5 s by default.
    pub grace: Duration,
    /// Processes that looked like a part of a daemon before it was ended, as its activator does: none of them is taken for
    /// a daemon afterwards.
    bystanders: Arc<Mutex<Vec<ProcessInstance>>>,
}

/// A daemon that serves one of the homes, and would go on writing there.
#[derive(Clone, Debug)]
pub struct RunningDaemon {
    /// How it was found.
    pub kind: DaemonKind,
    /// Whether it serves the app's home, and not the daemon home.
    pub legacy: bool,
    /// Whether its process is seen to serve that home now, so that the process may be told to end. Linux alone tells.
    pub verified: bool,
}

/// How a daemon was found.
#[derive(Clone, Debug)]
pub enum DaemonKind {
    /// It listens, whether it answers or not.
    Listening {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        probe: Probe,
    },
    /// A process that serves the home although no socket leads to it: the socket's file was removed under it.
    Orphan {
        /// Which.
        process: OrphanDaemon,
        /// The home.
        home: PathBuf,
    },
}

impl HomeDaemons {
    /// The daemons of these homes, with the defaults that each field states.
    pub fn new(app_home: impl Into<PathBuf>, daemon_home: impl Into<PathBuf>, own: Endpoint) -> Self {
        let app_home = app_home.into();
        let legacy = (!cfg!(windows)).then(|| Endpoint::unix(app_home.join("daemon.sock")));
        Self {
            legacy: legacy.into_iter().collect(),
            app_home,
            daemon_home: daemon_home.into(),
            home_variable: HOME_VARIABLE.to_owned(),
            own,
            answer_within: Duration::from_millis(800),
            grace: Duration::from_secs(5),
            bystanders: Arc::default(),
        }
    }

    /// Every daemon that serves one of the homes, as far as the system tells.
    #[must_use]
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

    /// The daemon that listens at the old location, if any: a look that is cheap enough for every start.
    #[must_use]
    pub fn legacy_listener(&self) -> Option<RunningDaemon> {
        // A daemon whose own config names the old socket listens there by right.
        self.legacy_endpoints().find_map(|endpoint| self.look_at(endpoint, true))
    }

    /// Processes that serve one of the homes although no socket leads to them; `known` is one to which one does.
    #[must_use]
    pub fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon> {
        if self.serving_processes().iter().all(|one| one.pid() == known) {
            return Vec::new();
        }
        let listening: Vec<_> =
            self.look_at(&self.own, false).into_iter().chain(self.legacy_listener()).collect();
        self.orphans_beside(&listening)
    }

    /// Asks a daemon to end, and waits until it has.
    ///
    /// # Errors
    /// It is not seen to serve one of the homes, so it is not asked; or it stays.
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
                stop_daemon_of(endpoint, &[home], &self.home_variable, self.grace)
            }
            DaemonKind::Listening { endpoint, probe } => {
                Err(StopError::NoDaemon { endpoint: endpoint.clone(), pid: probe.pid() })
            }
            DaemonKind::Orphan { process, home } => {
                stop_orphan(process, home, &self.home_variable, self.grace)
            }
        };
        let place = daemon.place();
        tracing::info!(pid = daemon.pid(), place = %place.display(), ?stopped, "a daemon was asked to end");
        stopped
    }

    fn legacy_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.legacy.iter().filter(|endpoint| **endpoint != self.own)
    }

    /// Whether what listens there is a daemon. In the homes nobody else listens; a config can name any socket, also that
    /// of another program.
    fn is_a_daemon(&self, endpoint: &Endpoint, probe: &Probe) -> bool {
        let homes = [self.app_home.as_path(), &self.daemon_home];
        let serves = || {
            let strays = orphans_of_each(homes, &self.home_variable);
            strays.iter().flatten().any(|stray| Some(stray.pid) == probe.pid())
        };
        matches!(probe, Probe::Answered { .. })
            || endpoint.path().is_none_or(|path| homes.iter().any(|home| path.starts_with(home)))
            || serves()
    }

    fn look_at(&self, endpoint: &Endpoint, legacy: bool) -> Option<RunningDaemon> {
        let found = probe(endpoint, self.answer_within);
        // A path that no daemon can bind has no daemon.
        if found.is_absent() || matches!(found, Probe::PathTooLong { .. }) {
            return None;
        }
        let verified = found.pid().is_some_and(|pid| self.is_verified(endpoint, pid, legacy));
        let endpoint = endpoint.clone();
        Some(RunningDaemon { kind: DaemonKind::Listening { endpoint, probe: found }, legacy, verified })
    }

    fn home(&self, legacy: bool) -> &Path {
        if legacy { &self.app_home } else { &self.daemon_home }
    }

    fn bystanders(&self) -> MutexGuard<'_, Vec<ProcessInstance>> {
        self.bystanders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_verified(&self, endpoint: &Endpoint, pid: u32, legacy: bool) -> bool {
        process_serves_home(endpoint, &[self.home(legacy)], &self.home_variable, pid)
    }

    /// Every process that goes on serving one of the homes although it is none of `seen`. One that ends takes its socket
    /// away first, and is gone a moment later.
    fn orphans_beside(&self, seen: &[RunningDaemon]) -> Vec<RunningDaemon> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        loop {
            let mut serving = self.serving_processes();
            serving.retain(|one| match &one.kind {
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

    /// Every process that serves one of the homes, whether a socket leads to it or not.
    fn serving_processes(&self) -> Vec<RunningDaemon> {
        let homes = [self.app_home.as_path(), &self.daemon_home];
        let found = orphans_of_each(homes, &self.home_variable);
        let bystanders = self.bystanders().clone();
        let is_no_bystander =
            |process: &OrphanDaemon| !bystanders.contains(&(process.pid, start_time(process.pid)));
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

impl RunningDaemon {
    /// Its process, where the system tells.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &self.kind {
            DaemonKind::Listening { probe, .. } => probe.pid(),
            DaemonKind::Orphan { process, .. } => Some(process.pid),
        }
    }

    /// Its socket; for one that has none, its home.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        match &self.kind {
            DaemonKind::Listening { endpoint, .. } => {
                endpoint.path().map_or_else(|| endpoint.to_string().into(), Path::to_path_buf)
            }
            DaemonKind::Orphan { home, .. } => home.clone(),
        }
    }

    /// Whether it is the daemon that belongs there: that of the daemon home, at its socket.
    #[must_use]
    pub fn is_own(&self) -> bool {
        !self.legacy && matches!(self.kind, DaemonKind::Listening { .. })
    }

    /// Why it is not known whether there is one at all: we ourselves could not look.
    #[must_use]
    pub fn resource_exhausted(&self) -> Option<Refusal> {
        match &self.kind {
            DaemonKind::Listening { endpoint, probe: Probe::ResourceExhausted { problem } } => {
                Some(Refusal::ResourceExhausted { endpoint: endpoint.clone(), problem: problem.clone() })
            }
            _ => None,
        }
    }

    /// Why it cannot be told whether there is a daemon, in the system's words.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        match &self.kind {
            DaemonKind::Listening { probe: Probe::Unknown { problem }, .. } => Some(problem),
            _ => None,
        }
    }

    /// What is known of it, in a few words.
    #[must_use]
    pub fn note(&self) -> String {
        match &self.kind {
            DaemonKind::Listening { probe, .. } => match probe {
                Probe::Unknown { problem } => format!("cannot be looked at: {problem}"),
                Probe::Suspended { .. } => {
                    "it is suspended, so it neither answers nor ends before it is continued".to_owned()
                }
                Probe::ForeignOwner { uid, .. } => format!("it runs as another user (uid {uid})"),
                _ if self.is_hidden() && probe.pid().is_none() => {
                    "its process is not visible from here, as that of a container".to_owned()
                }
                _ if self.is_hidden() => "its process is not seen to serve this home".to_owned(),
                Probe::Answered { status, .. } => format!("version {}", status.version),
                Probe::Busy { .. } => "it accepts connections and does not answer".to_owned(),
                other => other.code().to_owned(),
            },
            DaemonKind::Orphan { process, .. } if process.starting => {
                "it was started before, and does not listen yet".to_owned()
            }
            DaemonKind::Orphan { .. } => "its socket was removed under it".to_owned(),
        }
    }

    /// The command to begin with, where the daemon cannot be asked to end as it is; [`RunningDaemon::note`] says why.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let DaemonKind::Listening { endpoint, probe } = &self.kind else { return None };
        match probe {
            Probe::Suspended { pid } => Some(format!("kill -CONT {pid}")),
            Probe::Unknown { .. } => inspect_socket_command(endpoint),
            Probe::ForeignOwner { pid, .. } => {
                inspect_process_command(*pid).or_else(|| inspect_socket_command(endpoint))
            }
            _ if self.is_hidden() => {
                let socket = myownllm_durable_fs::quote(endpoint.path()?);
                Some(format!("sudo fuser -v {socket} || lsns -t pid"))
            }
            _ => None,
        }
    }

    /// Whether the system, which shows the process that serves a home as a rule, does not show it here.
    fn is_hidden(&self) -> bool {
        cfg!(target_os = "linux") && !self.verified
    }
}

#[cfg(feature = "migration")]
mod live {
    use myownllm_migration::{LiveDaemon, LiveDaemons};

    use super::{HomeDaemons, RunningDaemon};

    impl From<&RunningDaemon> for LiveDaemon {
        fn from(daemon: &RunningDaemon) -> Self {
            let live = match daemon.unknown() {
                Some(problem) => Self::new(daemon.place(), daemon.pid(), problem).unknown(),
                None if daemon.is_own() => Self::new(daemon.place(), daemon.pid(), daemon.note()).own(),
                None => Self::new(daemon.place(), daemon.pid(), daemon.note()),
            };
            match daemon.hint() {
                Some(hint) => live.with_hint(hint),
                None => live,
            }
        }
    }

    impl LiveDaemons for HomeDaemons {
        fn live(&self) -> Vec<LiveDaemon> {
            self.running().iter().map(LiveDaemon::from).collect()
        }

        fn stop(&self, daemon: &LiveDaemon) -> Result<(), String> {
            let running = self.running();
            let Some(running) = running.iter().find(|running| LiveDaemon::from(*running) == *daemon) else {
                return Ok(());
            };
            self.stop(running).map(drop).map_err(|error| error.to_string())
        }
    }
}
