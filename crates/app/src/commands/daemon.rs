//! `daemon`: the daemon of this home, no matter which process started it.

use myownllm_daemon::{Probe, StoppedDaemon};
use myownllm_launch::words::{daemon_words, short};
use myownllm_launch::{Class, Daemons as _, Diagnostic, RunningDaemon, ensure_changeable, lock_home};
use myownllm_paths::Mode;
use serde_json::{Value, json};

use super::{launch, logs};
use crate::cli::{DaemonCommand, LaunchArgs};
use crate::exit::exit_of;
use crate::output::{Answer, Printer, bounded, long};
use crate::run_log::Trace;
use crate::users::user_name;
use crate::world::World;
use myownllm_report::Page;

const COLUMN: usize = 12;

pub(crate) fn run(world: &World, command: &DaemonCommand, printer: &Printer) -> Result<Answer, Diagnostic> {
    match command {
        DaemonCommand::Status => Ok(status(world)),
        DaemonCommand::Logs { lines } => Ok(logs::of_daemon(world, *lines)),
        DaemonCommand::Stop => {
            let (page, stopped) = stop(world)?;
            let trace = trace(world, "daemon stop", &stopped);
            Ok(Answer { trace, ..Answer::done(page, json!({ "stopped": stopped })) })
        }
        DaemonCommand::Restart => {
            let (mut page, stopped) = stop(world)?;
            let args = LaunchArgs { detach: true, ..LaunchArgs::default() };
            let mut answer = launch::run(world, &args, printer)?;
            page.page(std::mem::take(&mut answer.page));
            answer.page = page;
            answer.data["stopped_before"] = json!(stopped);
            let did = trace(world, "daemon restart", &stopped);
            answer.trace = match (did, answer.trace) {
                (Some(did), Some(started)) => Some(did.and(started)),
                (did, started) => did.or(started),
            };
            Ok(answer)
        }
    }
}

fn trace(world: &World, command: &str, stopped: &[Value]) -> Option<Trace> {
    let did = stopped.iter().map(|daemon| format!("stopped the daemon (process {})", daemon["pid"]));
    Trace::of(&world.layout, command, did.collect())
}

fn status(world: &World) -> Answer {
    let daemons = world.daemons();
    let endpoint = daemons.whereabouts(Mode::OwnLlm);
    let probe = daemons.probe(&endpoint);
    let home = |path: &std::path::Path| short(path, &world.layout.user_home);
    let mut page = Page::default();
    page.row("daemon", COLUMN, daemon_words(&probe, user_name));
    if let Some(status) = probe.status() {
        page.row("Device ID", COLUMN, &status.device_id);
    }
    page.row("socket", COLUMN, endpoint.path().map_or_else(|| endpoint.to_string(), home));
    page.row("home", COLUMN, home(&world.layout.daemon_home));
    page.row("log", COLUMN, home(&logs::daemon_log(world)));
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    for orphan in daemons.orphans(probe.pid()) {
        diagnostics.push(myownllm_launch::orphan_diagnostic(&orphan, &world.options()).as_warning());
    }
    let data = json!({
        "socket": endpoint.to_string(),
        "probe": bounded(&probe),
        "home": long(&world.layout.daemon_home),
        "log": long(&logs::daemon_log(world)),
    });
    match &probe {
        Probe::Answered { .. } => {}
        Probe::Absent { .. } => diagnostics.push(
            Diagnostic::error("daemon.not-running", "no daemon of this home runs")
                .class(Class::Daemon)
                .hint(format!("{} launch --detach", world.program)),
        ),
        _ => diagnostics.push(
            Diagnostic::error(probe.code(), format!("the daemon {}", daemon_words(&probe, user_name)))
                .class(Class::Daemon),
        ),
    }
    let exit = exit_of(&diagnostics);
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

/// Stops the daemon of the daemon home, and processes that serve that home without a socket. A
/// launch stops a daemon of the old location.
fn stop(world: &World) -> Result<(Page, Vec<Value>), Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    let mut page = Page::default();
    let running = |live: &RunningDaemon| !live.legacy;
    if !wired.daemons.live(None).iter().any(running) {
        page.line("No daemon of this home runs.");
        return Ok((page, Vec::new()));
    }
    ensure_changeable(&context)?;
    // While this run holds the lock, no other process starts a daemon.
    let _lock = lock_home(&context, &world.options())?;
    let mut stopped = Vec::new();
    for daemon in wired.daemons.live(None).iter().filter(|live| running(live)) {
        let ended = wired.daemons.stop(daemon).map_err(|error| {
            let diagnostic = Diagnostic::from(&error).at(&daemon.place());
            match daemon.hint() {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            }
        })?;
        if let StoppedDaemon::Stopped { pid, took_ms } = ended {
            page.line(format!("Stopped the daemon (process {pid}, after {took_ms} ms)."));
            stopped.push(json!({ "pid": pid, "socket": long(&daemon.place()) }));
        }
    }
    Ok((page, stopped))
}
