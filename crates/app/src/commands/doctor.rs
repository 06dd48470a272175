//! `doctor`: every check, with the evidence and the command that mends what it found.

use std::path::Path;

use myownllm_config_model::{Document, catalogue};
use myownllm_config_store::ConfigStore;
use myownllm_daemon::{Probe, Verdict};
use myownllm_durable_fs::{Disk, quote};
use myownllm_migration::{Direction, IdentityState, Options as MoveOptions, Plan, StateMigrator};
use myownllm_paths::Mode;
use serde::Serialize;
use serde_json::json;

use super::launch::count;
use super::migrate::moves_of;
use super::salvage::shape_words;
use super::status::{daemon_words, identity};
use crate::daemons::Daemons;
use crate::exit::ExitCode;
use crate::launch::{check_socket, collision_notice, settle_live};
use crate::notice::{Notice, Severity};
use crate::output::{Answer, short};
use crate::world::{World, fresh_ids};

/// How a check came out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Ok,
    Warning,
    Problem,
    Skipped,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    /// Stable, for programs.
    id: &'static str,
    result: Mark,
    /// What was seen.
    evidence: String,
    /// What mends it.
    hint: Option<String>,
    /// The stable code of the trouble, when there is one.
    code: Option<String>,
}

/// The list of checks as it grows.
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, id: &'static str, result: Mark, evidence: impl Into<String>) {
        self.0.push(Check { id, result, evidence: evidence.into(), hint: None, code: None });
    }

    fn ok(&mut self, id: &'static str, evidence: impl Into<String>) {
        self.add(id, Mark::Ok, evidence);
    }

    fn mend(&mut self, id: &'static str, result: Mark, evidence: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Check { id, result, evidence: evidence.into(), hint: Some(hint.into()), code: None });
    }

    fn notice(&mut self, id: &'static str, notice: &Notice) {
        let result = if notice.severity == Severity::Error { Mark::Problem } else { Mark::Warning };
        let mut evidence = notice.message.clone();
        for cause in &notice.causes {
            evidence.push_str(&format!(": {cause}"));
        }
        self.0.push(Check {
            id,
            result,
            evidence,
            hint: notice.hint.clone(),
            code: Some(notice.code.clone()),
        });
    }
}

pub(crate) fn run(world: &World) -> Answer {
    let mut checks = Checks(Vec::new());
    let wired = world.wire();
    let plan = wired.migrator.plan(&wired.migrator.inspect(Direction::Forward), &MoveOptions::forward());
    homes(world, &mut checks);
    state(world, &plan, &mut checks);
    config(world, &mut checks);
    daemons(world, &plan, &mut checks);
    answer(checks)
}

fn homes(world: &World, checks: &mut Checks) {
    match &world.checked {
        Ok(layout) => checks.ok(
            "homes.apart",
            format!(
                "the daemon's home {} is inside the app's and apart from it",
                short(&layout.daemon_home, &layout.user_home)
            ),
        ),
        Err(error) => checks.notice("homes.apart", &Notice::from(error)),
    }
    let wired = world.wire();
    match check_socket(&wired.parts(), None) {
        Ok(()) => {
            let endpoint = wired.daemons.endpoint(Mode::OwnLlm);
            let length = endpoint.path().map_or(0, |path| path.as_os_str().len());
            checks.ok("socket.length", format!("{endpoint} has {length} bytes"));
        }
        Err(notice) => checks.notice("socket.length", &notice),
    }
    match wired.daemons.unseen().into_iter().next() {
        None => checks.ok("daemon.unseen", "no process serves either home without a socket"),
        Some(live) => {
            if let Err(notice) = settle_live(&wired.daemons, vec![live], &world.options()) {
                checks.notice("daemon.unseen", &notice);
            }
        }
    }
    match wired.daemons.live_legacy() {
        None => checks.ok("daemon.legacy", "no daemon runs in the old place"),
        Some(live) => {
            if let Err(notice) = settle_live(&wired.daemons, vec![live], &world.options()) {
                checks.notice("daemon.legacy", &notice);
            }
        }
    }
}

fn state(world: &World, plan: &Plan, checks: &mut Checks) {
    let files: usize = moves_of(plan).iter().map(|(_, _, files)| files).sum();
    if plan.is_empty() {
        checks.ok("state.moved", "nothing of the daemon's is in the old place");
    } else if files == 0 {
        checks.mend(
            "state.moved",
            Mark::Warning,
            format!("{} of an unfinished move", count(plan.steps().count(), "step")),
            format!("{} migrate", world.program),
        );
    } else {
        checks.mend(
            "state.moved",
            Mark::Warning,
            format!("{} of the daemon's are still in the app's home", count(files, "file")),
            format!("{} migrate", world.program),
        );
    }
    match &plan.identity {
        IdentityState::Odd { why, .. } | IdentityState::Blocked { why } => {
            checks.add("identity.sound", Mark::Problem, why.clone())
        }
        found => checks.ok("identity.sound", identity(found)),
    }
    for error in plan.refusals.iter().chain(&plan.errors).chain(&plan.odd_key()) {
        checks.notice("state.sound", &Notice::from(error));
    }
    for both in &plan.collisions {
        checks.notice("state.collisions", &collision_notice(&both.source, &both.destination, &world.program));
    }
    for left in &plan.left {
        checks.add(
            "state.left",
            Mark::Warning,
            format!(
                "{} is not the daemon's and stays ({})",
                short(&left.path, &world.layout.user_home),
                left.reason
            ),
        );
    }
}

fn config(world: &World, checks: &mut Checks) {
    let wired = world.wire();
    let path = short(&world.layout.app_config, &world.layout.user_home);
    match wired.store.look(&mut fresh_ids()) {
        Err(error) => checks.notice("config.readable", &Notice::from(&error)),
        Ok(loaded) => {
            let evidence = format!("{path}: {}", shape_words(loaded.shape));
            if let Some(version) = loaded.newer {
                checks.add(
                    "config.shape",
                    Mark::Problem,
                    format!("{path} is of the daemon's version {version}, newer than this program"),
                );
            } else if loaded.pending.repairs() {
                let hint = format!("{} salvage", world.program);
                checks.mend("config.shape", Mark::Problem, evidence, hint);
            } else {
                checks.ok("config.shape", evidence);
            }
            for found in &loaded.diagnostics {
                if found.severity != myownllm_config_model::Severity::Info {
                    checks.notice("config.findings", &Notice::from(found));
                }
            }
            let saved = catalogue::list(&loaded.document).len();
            match catalogue::active(&loaded.document) {
                Some(network) => {
                    let name = network.get("network_id").and_then(|id| id.as_str().map(|id| id.into_owned()));
                    checks.ok(
                        "networks.active",
                        format!("{} saved, {} is active", saved, name.unwrap_or_default()),
                    );
                }
                None if saved == 0 => checks.ok("networks.active", "no network is saved"),
                None => checks.mend(
                    "networks.active",
                    Mark::Warning,
                    format!("{} saved and none active", count(saved, "network")),
                    format!("{} network use {}", world.program, first_network(&loaded.document)),
                ),
            }
        }
    }
    for name in ["corrupt", "tmp"] {
        let mut sibling = world.layout.app_config.clone().into_os_string();
        sibling.push(format!(".{name}"));
        let sibling = std::path::PathBuf::from(sibling);
        if world.disk.stat(&sibling).is_ok() {
            checks.add(
                "config.daemons-leftover",
                Mark::Warning,
                format!(
                    "a daemon left {}; it may hold the app's config",
                    short(&sibling, &world.layout.user_home)
                ),
            );
        }
    }
    match wired.store.history() {
        Err(error) => checks.notice("config.copies", &Notice::from(&error)),
        Ok(copies) => {
            let damaged: Vec<String> =
                copies.iter().filter(|copy| !copy.intact).map(|copy| copy.id.to_string()).collect();
            if copies.is_empty() {
                checks.ok("config.copies", "none kept yet");
            } else if damaged.is_empty() {
                checks.ok(
                    "config.copies",
                    format!("{} kept, all intact", count(copies.len(), "copy").replace("copys", "copies")),
                );
            } else {
                checks.add("config.copies", Mark::Warning, format!("damaged: {}", damaged.join(", ")));
            }
        }
    }
}

/// The network to name in a hint: any of the saved ones will do, and the first is as good as another.
fn first_network(document: &Document) -> String {
    let first = catalogue::list(document)
        .first()
        .and_then(|network| network.get("network_id").and_then(|id| id.as_str().map(|id| id.into_owned())));
    first.map_or_else(|| "NAME".to_owned(), |id| quote(Path::new(&id)))
}

fn daemons(world: &World, plan: &Plan, checks: &mut Checks) {
    let wired = world.wire();
    let mut running = false;
    for (id, mode) in [("daemon.shared", Mode::Shared), ("daemon.own", Mode::OwnLlm)] {
        let endpoint = wired.daemons.endpoint(mode);
        let probe = wired.daemons.probe(&endpoint);
        let evidence = format!("{endpoint}: {}", daemon_words(&probe));
        match &probe {
            Probe::Absent { .. } => checks.ok(id, evidence),
            Probe::Answered { status, .. } => {
                running = true;
                let key = plan.identity.key();
                match key {
                    Some(key) if mode == Mode::OwnLlm && key.device_id != status.device_id => checks.add(
                        id,
                        Mark::Problem,
                        format!(
                            "{evidence}, but with the key {} and not the home's {}",
                            status.device_id, key.device_id
                        ),
                    ),
                    _ => checks.ok(id, evidence),
                }
            }
            _ => {
                let hint = match probe.pid() {
                    Some(pid) => format!("kill {pid}"),
                    None => format!("{} paths", world.program),
                };
                checks.mend(id, Mark::Problem, evidence, hint);
            }
        }
    }
    let candidates = wired.daemons.candidates();
    match candidates.iter().find(|candidate| candidate.verdict == Verdict::Usable) {
        Some(candidate) => checks.ok("daemon.program", candidate.path.display().to_string()),
        None if running => {
            checks.add("daemon.program", Mark::Skipped, "none was found, and none is needed: a daemon runs")
        }
        None => checks.mend(
            "daemon.program",
            Mark::Warning,
            "no daemon program was found beside this program, on PATH, or named by a variable",
            format!("{}=/path/to/myownmesh {} launch", "MYOWNMESH_BIN", world.program),
        ),
    }
}

fn answer(checks: Checks) -> Answer {
    let checks = checks.0;
    let of = |result| checks.iter().filter(|check| check.result == result).count();
    let (problems, warnings) = (of(Mark::Problem), of(Mark::Warning));
    let width = checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &checks {
        let word = match check.result {
            Mark::Ok => "ok",
            Mark::Warning => "warning",
            Mark::Problem => "problem",
            Mark::Skipped => "skipped",
        };
        text.push_str(&format!("{word:<9}{:<width$}  {}\n", check.id, check.evidence));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("{:<9}{:<width$}  -> {hint}\n", "", ""));
        }
    }
    text.push_str(&format!(
        "\n{}, {}, {}\n",
        count(problems, "problem"),
        count(warnings, "warning"),
        count(checks.len(), "check")
    ));
    let exit = if problems > 0 { ExitCode::Problems } else { ExitCode::Done };
    Answer::done(text, json!({ "checks": checks, "problems": problems, "warnings": warnings })).exit(exit)
}
