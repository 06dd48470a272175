//! The start-up hook of a desktop app, as a Tauri app would have it, without Tauri: plain
//! functions, and comments where its own calls go.
//!
//! ```text
//! tauri::Builder::default()
//!     .setup(|app| {
//!         let handle = app.handle().clone();
//!         tauri::async_runtime::spawn(async move {
//!             // It reads, renames, flushes, and waits for a daemon: nothing of that may run on
//!             // the thread of the window, nor on one of the runtime's few.
//!             let started = tauri::async_runtime::spawn_blocking(|| start(None));
//!             let started = started.await.expect("it does not panic");
//!             handle.emit("mesh://started", &started.told)?;   // all of it serialises
//!             handle.manage(started);                          // holds the daemon until the app ends
//!         });
//!         Ok(())
//!     })
//!     .build(context)?
//!     .run(|handle, event| if let RunEvent::Exit = event { handle.state::<Started>().stop() });
//! ```
//!
//! `cargo run -p myownllm-mesh --example tauri_hook -- /path/to/a/home` shows what the window would
//! be told.

#![allow(clippy::print_stdout, reason = "an example shows something")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use myownllm_config_model::{Document, masking};
use myownllm_launch::{Daemon, Diagnostic, GRACE, Options, Severity, launch};
use myownllm_mesh::context::{Context, fresh_ids};
use serde::Serialize;
use serde_json::Value;

/// What the app's back end keeps.
struct Started {
    /// The config to run on. There is one whatever went wrong: the app comes up, and tells what is
    /// amiss.
    #[allow(dead_code, reason = "the app's own code reads it")]
    config: Document,
    /// The daemon that we started; `None` when one ran already, which is not ours to end.
    daemon: Mutex<Option<myownllm_daemon::Spawned>>,
    /// What the window is told.
    told: Told,
}

/// What goes to the window. Errors of the libraries hold causes that do not serialise; a
/// [`Diagnostic`] is made to.
#[derive(Serialize)]
struct Told {
    /// Show the settings, or a page that says what has to be decided first.
    ok: bool,
    /// May the user change settings? Not while they run on a stand-in for a config that could not
    /// be read.
    settings_may_be_saved: bool,
    /// For the page's list: code, severity, message, path, hint, causes.
    diagnostics: Vec<Diagnostic>,
    /// For the page itself. What a web view holds can be read by whatever runs in it: secrets are
    /// masked.
    config: Value,
    /// The daemon's Device ID, when one is in use.
    device_id: Option<String>,
}

/// Moves, repairs, starts or attaches, reconciles. Blocks: for milliseconds as a rule, for seconds
/// when a daemon is slow.
///
/// `home` is the user's home; `None` takes it from the process, which is what an app does.
fn start(home: Option<&Path>) -> Result<Started, Diagnostic> {
    // The one look at environment and clock. Everything below gets values.
    let context = Context::new(home)?.with_program_search();
    let libraries = context.libraries();
    // `MYOWNMESH_HOME` is set for the daemon's process alone. `std::env::set_var` would set it for
    // the app, for every other program that it starts, and, with threads running, it is a data
    // race: that is why it is unsafe.
    let outcome = launch(&libraries.launch_context(), &context.options(), &mut fresh_ids());
    let ok = outcome.class().is_none();
    let (daemon, device_id) = match outcome.daemon {
        Daemon::Spawned(spawned) => {
            let device = spawned.status().device_id.clone();
            (Some(spawned), Some(device))
        }
        Daemon::Attached { status, .. } => (None, Some(status.device_id)),
        _ => (None, None),
    };
    let told = Told {
        ok,
        settings_may_be_saved: !outcome.stand_in,
        diagnostics: outcome
            .diagnostics
            .into_iter()
            .filter(|diagnostic| diagnostic.severity != Severity::Info)
            .collect(),
        config: masking::mask(&outcome.document).root().to_value(),
        device_id,
    };
    Ok(Started { config: outcome.document, daemon: Mutex::new(daemon), told })
}

impl Started {
    /// For the app's end: stops the daemon that we started. One that is merely dropped goes on
    /// running, and the next start attaches to it: right for an app that updates itself, wrong for
    /// one that the user has closed.
    fn stop(&self) {
        let daemon = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(daemon) = daemon {
            // An app that is closing has nobody left to tell; the next start finds what is left and
            // says so.
            let _ = daemon.stop(GRACE);
        }
    }
}

/// For an app that links the daemon's crates instead of starting its program: they read
/// `MYOWNMESH_HOME` from the app's own environment, whenever they like. So it has to be right
/// before `main` does anything, and an app cannot safely set it for itself. It starts itself anew,
/// with the variable, and the second life finds it in place:
///
/// ```text
/// fn main() {
///     match in_process(None) {
///         Ok(Some(again)) => { let status = again.status()…; exit with it }   // or `exec` on Unix
///         Ok(None) => run_the_app(),                                           // the variable is right
///         // Never starts the daemon's part.
///         Err(diagnostics) => run_the_app_without_a_mesh(diagnostics),
///     }
/// }
/// ```
///
/// The move and the repair come first, and here without a daemon of their own: the daemon's crates
/// make a new key where they find none, so they must not run before the old one has arrived.
fn in_process(home: Option<&Path>) -> Result<Option<Command>, Vec<Diagnostic>> {
    let context = Context::new(home).map_err(|diagnostic| vec![diagnostic])?;
    let libraries = context.libraries();
    let options = Options { daemon: false, ..context.options() };
    let outcome = launch(&libraries.launch_context(), &options, &mut fresh_ids());
    if outcome.class().is_some() {
        return Err(outcome.diagnostics);
    }
    let (variable, wanted) = (&*context.layout.app.home_variable, &context.layout.daemon_home);
    if std::env::var_os(variable).map(PathBuf::from).as_ref() == Some(wanted) {
        return Ok(None);
    }
    let program = std::env::current_exe()
        .map_err(|error| vec![Diagnostic::from_error(&error, "app.no-program", None)])?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).env(variable, wanted);
    Ok(Some(again))
}

fn main() {
    let home = std::env::args_os().nth(1).map(PathBuf::from);
    match start(home.as_deref()) {
        Ok(started) => {
            println!("{}", serde_json::to_string_pretty(&started.told).unwrap_or_default());
            started.stop();
        }
        // No home at all: the one case without a config to run on.
        Err(diagnostic) => println!("{}", serde_json::to_string_pretty(&diagnostic).unwrap_or_default()),
    }
    match in_process(home.as_deref()) {
        Ok(Some(again)) => println!("with the daemon in-process: {again:?}"),
        Ok(None) => println!("with the daemon in-process: the variable is right already"),
        Err(diagnostics) => {
            println!("with the daemon in-process: it must not start; {} diagnostics", diagnostics.len())
        }
    }
}
