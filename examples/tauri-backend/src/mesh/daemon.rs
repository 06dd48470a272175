//! The daemon's address, program, client and life, for the app's `mesh/daemon.rs`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use myownllm_daemon::{AsyncClient, Candidate, ControlError, Endpoint, Role, Spawned};
use myownllm_durable_fs::RealDisk;
use myownllm_launch::{
    Class, Context, Daemon, Daemons as _, Diagnostic, Options, STOP_TIMEOUT, Severity, fresh_ids, launch,
};
use myownllm_migration::{Homes, Migrator};
use myownllm_paths::Mode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::error::{MeshError, Result, to_mesh_error};
use crate::home::Home;

/// The longest wait for an answer: joining a network talks to relays.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonMode {
    /// Another program's daemon. Its life is not ours.
    Shared,
    /// The daemon in the app's own daemon home.
    OwnLlm,
}

/// Returns the address of the daemon of that mode: in its home, or where its own config says.
pub fn socket_for_mode(mode: DaemonMode) -> Result<Endpoint> {
    let mode = match mode {
        DaemonMode::Shared => Mode::Shared,
        DaemonMode::OwnLlm => Mode::OwnLlm,
    };
    Endpoint::of(&Home::of_user()?.checked.map_err(to_mesh_error)?, mode).map_err(to_mesh_error)
}

#[derive(Debug, Serialize)]
pub struct Response {
    pub ok: bool,
    pub error: Option<String>,
    pub data: Option<Value>,
}

#[derive(Clone, Debug)]
pub struct ControlClient {
    addr: Endpoint,
    pub mode: DaemonMode,
}

impl ControlClient {
    pub fn for_mode(mode: DaemonMode) -> Result<Self> {
        Ok(Self { addr: socket_for_mode(mode)?, mode })
    }

    pub fn socket_display(&self) -> String {
        self.addr.to_string()
    }

    pub fn mode_str(&self) -> &'static str {
        match self.mode {
            DaemonMode::Shared => "shared",
            DaemonMode::OwnLlm => "own_llm",
        }
    }

    /// Sends a request over a connection of its own. `req` is the app's own `Request`, or any value
    /// with an `op`.
    pub async fn request(&self, req: &impl Serialize) -> Result<Response> {
        match self.ask(req).await {
            Ok(data) => Ok(Response { ok: true, error: None, data: Some(data) }),
            Err(ControlError::Refused { message, .. } | ControlError::UnknownOp { message, .. }) => {
                Ok(Response { ok: false, error: Some(message), data: None })
            }
            Err(error) => Err(to_mesh_error(error)),
        }
    }

    pub async fn request_ok(&self, req: &impl Serialize) -> Result<Value> {
        self.ask(req).await.map_err(to_mesh_error)
    }

    async fn ask(&self, req: &impl Serialize) -> std::result::Result<Value, ControlError> {
        let bad = |problem: &str| ControlError::BadRequest { op: String::new(), problem: problem.to_owned() };
        let request = serde_json::to_value(req).map_err(|error| bad(&error.to_string()))?;
        let Value::Object(mut fields) = request else { return Err(bad("it is not an object")) };
        let Some(Value::String(op)) = fields.remove("op") else { return Err(bad("it has no `op`")) };
        AsyncClient::connect(&self.addr, ANSWER_WITHIN).await?.request(&op, fields).await
    }

    /// Forwards each line that the daemon pushes to `tx`, until the daemon or the receiver goes.
    /// Its last line tells why: `{"kind": "ended", "error": …}`.
    pub async fn subscribe_events(&self, tx: mpsc::Sender<Value>) -> Result<String> {
        let client = AsyncClient::connect(&self.addr, ANSWER_WITHIN).await.map_err(to_mesh_error)?;
        let mut events = client.subscribe().await.map_err(to_mesh_error)?;
        let client_id = events.client_id().to_owned();
        tokio::spawn(async move {
            loop {
                let line = tokio::select! {
                    () = tx.closed() => break,
                    pushed = events.next() => match pushed {
                        Some(Ok(pushed)) => pushed.into_line(),
                        Some(Err(error)) => json!({"kind": "ended", "error": to_mesh_error(error)}),
                        None => break,
                    },
                };
                if tx.send(line).await.is_err() {
                    break;
                }
            }
        });
        Ok(client_id)
    }
}

/// Returns the programs that a start would try, in order.
pub fn daemon_binary_candidates() -> Vec<PathBuf> {
    candidates().into_iter().filter(Candidate::is_usable).map(|candidate| candidate.path).collect()
}

pub fn find_daemon_binary() -> Result<PathBuf> {
    daemon_binary_candidates().into_iter().next().ok_or_else(|| {
        let tried = candidates().into_iter().map(|one| format!("{}: {:?}", one.path.display(), one.verdict));
        let error = Diagnostic::error("daemon.not-found", "cannot find `myownmesh`").class(Class::Daemon);
        MeshError(Box::new(error.causes(tried.collect())))
    })
}

fn candidates() -> Vec<Candidate> {
    Home::of_user().ok().and_then(|home| home.daemons().programs()).unwrap_or_default()
}

/// What the whole start-up found and did.
pub struct Launched {
    /// The daemon, and the process if this launch started it. `None` if none may be started now:
    /// the diagnostics say why, and the app runs without.
    pub daemon: Option<(ControlClient, Option<DaemonChild>)>,
    /// False while the config is a stand-in for one that could not be read.
    pub settings_may_be_saved: bool,
    /// What the window shows: code, message, hint.
    pub diagnostics: Vec<Diagnostic>,
}

/// Moves the daemon's state, repairs the config, attaches to a daemon or starts one, and brings its
/// networks in line: everything between the app's start and its first request. `tx` gets the
/// progress of a move.
pub async fn launch_mesh(tx: mpsc::Sender<Value>) -> Result<Launched> {
    // It reads, renames, syncs, and waits for a daemon: none of that may run on the runtime's
    // threads.
    let launched = tokio::task::spawn_blocking(move || {
        let home = Home::of_user()?;
        let tell = |progress| {
            // A window that reads slowly misses a step of the progress, and holds up no move.
            let _ = tx.try_send(json!({"kind": "progress", "progress": progress}));
        };
        let context = Context {
            layout: &home.layout,
            checked: home.checked.as_ref(),
            disk: &RealDisk,
            migrator: &Migrator::new(&RealDisk, Homes::of(&home.layout)).with_progress(&tell),
            store: &home.store(),
            daemons: &home.daemons(),
        };
        let outcome = launch(&context, &Options::default(), &mut fresh_ids());
        let daemon = match outcome.daemon {
            Daemon::Attached { endpoint, role: Role::Shared, .. } => {
                Some((endpoint, DaemonMode::Shared, None))
            }
            Daemon::Attached { endpoint, .. } => Some((endpoint, DaemonMode::OwnLlm, None)),
            Daemon::Spawned(daemon) => {
                Some((daemon.endpoint().clone(), DaemonMode::OwnLlm, Some(DaemonChild(Some(daemon)))))
            }
            Daemon::None => None,
        };
        let mut diagnostics = outcome.diagnostics;
        diagnostics.retain(|diagnostic| diagnostic.severity != Severity::Info);
        Ok(Launched {
            daemon: daemon.map(|(addr, mode, child)| (ControlClient { addr, mode }, child)),
            settings_may_be_saved: !outcome.is_fallback,
            diagnostics,
        })
    });
    launched.await.expect("a launch does not panic")
}

/// As [`launch_mesh`], for a caller that wants the daemon or the reason why there is none.
pub async fn ensure_daemon_running() -> Result<(ControlClient, Option<DaemonChild>)> {
    let launched = launch_mesh(mpsc::channel(1).0).await?;
    launched.daemon.ok_or_else(|| {
        let gravest =
            launched.diagnostics.into_iter().filter(Diagnostic::is_error).max_by_key(|one| one.class);
        let none = || Diagnostic::error("daemon.none", "no daemon runs");
        MeshError(Box::new(gravest.unwrap_or_else(none)))
    })
}

/// A daemon that this app started. Dropping it ends the daemon: SIGTERM, and SIGKILL if that does
/// not help. On Windows a job object ends it even if the app is killed.
#[derive(Debug)]
pub struct DaemonChild(Option<Spawned>);

impl Drop for DaemonChild {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|daemon| daemon.stop(STOP_TIMEOUT)) {
            eprintln!("daemon: it was not ended: {error}");
        }
    }
}

/// What Tauri manages for the life of the app.
#[derive(Debug)]
pub struct MeshDaemon {
    pub client: ControlClient,
    pub client_id: String,
    pub child: Mutex<Option<DaemonChild>>,
}

impl MeshDaemon {
    pub fn new(client: ControlClient, client_id: String, child: Option<DaemonChild>) -> Self {
        Self { client, client_id, child: Mutex::new(child) }
    }

    /// Ends the daemon if this app started it. For `RunEvent::Exit`: Tauri's state is not dropped
    /// then.
    pub fn shutdown(&self) {
        drop(self.child.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
