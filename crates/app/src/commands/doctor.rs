//! `doctor`: every check, with the evidence and the command that mends what it found.

use std::path::Path;

use myownllm_config_model::{Document, Place, daemon_config, masking, networks};
use myownllm_config_store::{ConfigStore, Loaded, Misplaced, Step, StoreError};
use myownllm_daemon::{Endpoint, Expected, Probe, Verdict, process_serves};
use myownllm_durable_fs::{Disk, move_aside, quote};
use myownllm_identity::{Answer as KeyAnswer, Pending, Problem, Refusal};
use myownllm_launch::{
    CONFIG_LIMIT, Closed, Daemons, Diagnostic, Severity, abandoned_diagnostic, check_start,
    collision_diagnostic, edit, identity_look, misplaced_diagnostic, processes_unknown, settle_live,
    shared_config, trusted_home,
};
use myownllm_migration::{Direction, MigrationError, Options as MoveOptions, Plan, StateMigrator};
use myownllm_paths::{Mode, PathsError};
use serde::Serialize;
use serde_json::json;

use super::config::{CORRUPT, NEEDS_REPAIR, WIPED};
use super::hint_for_missing;
use super::launch::count;
use super::salvage::state_words;
use super::status::{UNSEEN, daemon_words, identity};
use crate::exit::ExitCode;
use crate::output::{Answer, short};
use crate::privileges::foreseen_refusal;
use crate::screen::Page;
use crate::world::{World, fresh_ids};

/// How a check came out, in the order in which people read them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mark {
    Problem,
    Warning,
    Skipped,
    Ok,
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Skipped => "skipped",
            Self::Ok => "ok",
        }
    }
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// Stable, for programs.
    pub(crate) id: &'static str,
    pub(crate) result: Mark,
    /// What was seen.
    pub(crate) evidence: String,
    /// What mends it.
    pub(crate) hint: Option<String>,
    /// The stable code of a problem or a warning.
    pub(crate) code: Option<String>,
    /// The place in a text that is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Box<Place>>,
    /// The problem or the warning, as the document's `diagnostics` have it.
    #[serde(skip)]
    diagnostic: Option<Diagnostic>,
}

impl Check {
    fn new(id: &'static str, result: Mark) -> Self {
        Self { id, result, evidence: String::new(), hint: None, code: None, place: None, diagnostic: None }
    }
}

/// All checks of a home, and what else the verdict on it needs.
pub(crate) struct Checks {
    pub(crate) list: Vec<Check>,
    /// Whether a launch would move or repair something.
    pub(crate) pending: bool,
    /// The config as a launch would load it, where it can be read.
    pub(crate) loaded: Option<Loaded>,
    /// What is in the place of the daemon's config that is not the daemon's.
    misplaced: Option<Misplaced>,
    /// Whether the app's daemon, or the shared one, answers.
    pub(crate) is_daemon_running: bool,
    /// How this program is called, for hints.
    program: String,
}

impl Checks {
    fn add(&mut self, id: &'static str, result: Mark, evidence: impl Into<String>) -> &mut Check {
        self.list.push(Check { evidence: evidence.into(), ..Check::new(id, result) });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    fn ok(&mut self, id: &'static str, evidence: impl Into<String>) {
        self.add(id, Mark::Ok, evidence);
    }

    fn skipped(&mut self, id: &'static str, evidence: impl Into<String>) {
        self.add(id, Mark::Skipped, evidence);
    }

    fn diagnostic(&mut self, id: &'static str, mut diagnostic: Diagnostic) {
        diagnostic.complete_hint(&self.program);
        let result = if diagnostic.severity == Severity::Error { Mark::Problem } else { Mark::Warning };
        let evidence = std::iter::once(&diagnostic.message).chain(&diagnostic.causes);
        let evidence = evidence.map(String::as_str).collect::<Vec<_>>().join(": ");
        let check = self.add(id, result, evidence);
        check.hint.clone_from(&diagnostic.hint);
        check.code = Some(diagnostic.code.clone());
        check.place.clone_from(&diagnostic.place);
        check.diagnostic = Some(diagnostic);
    }

    /// What several checks met because a directory may not be used is one problem, and the rest is skipped.
    fn name_one_cause(&mut self, world: &World) {
        let troubles = self.list.iter().filter_map(|check| check.diagnostic.as_ref());
        let Some(closed) = Closed::of_errors(&world.disk, &world.layout, troubles) else { return };
        for check in &mut self.list {
            if check.diagnostic.as_ref().is_some_and(|diagnostic| closed.covers(diagnostic)) {
                let evidence = "not looked at before what is named above can be used".to_owned();
                *check = Check { evidence, ..Check::new(check.id, Mark::Skipped) };
            }
        }
        self.diagnostic("homes.access", closed.diagnostic);
        self.list.rotate_right(1);
    }

    /// The command that mends all that a launch mends.
    pub(crate) fn repair(&self) -> String {
        format!("{} repair", self.program)
    }

    pub(crate) fn of(&self, result: Mark) -> impl Iterator<Item = &Check> {
        self.list.iter().filter(move |check| check.result == result)
    }

    /// What was seen by the check of this name, when it came out well.
    pub(crate) fn seen(&self, id: &str) -> Option<&str> {
        self.of(Mark::Ok).find(|check| check.id == id).map(|check| check.evidence.as_str())
    }
}

pub(crate) fn run(world: &World, verbose: bool) -> Answer {
    answer(&check_all(world), verbose)
}

/// Checks everything, and changes nothing.
pub(crate) fn check_all(world: &World) -> Checks {
    let wired = world.wire();
    let mut checks = Checks {
        list: Vec::new(),
        pending: false,
        loaded: None,
        misplaced: wired.store.misplaced(),
        is_daemon_running: false,
        program: world.program.clone(),
    };
    let plan = wired.migrator.plan(&wired.migrator.inspect(Direction::Forward), &MoveOptions::forward());
    homes(world, &mut checks);
    let key = identity_look(&wired.context(), &mut fresh_ids()).answer();
    state(world, &plan, &key, &mut checks);
    config(world, &mut checks);
    daemons(world, &key, &mut checks);
    let repairs = checks.loaded.as_ref().is_some_and(|loaded| loaded.pending.repairs());
    checks.pending = repairs || !plan.is_empty() || checks.misplaced.is_some();
    checks.name_one_cause(world);
    checks
}

fn homes(world: &World, checks: &mut Checks) {
    // Of a home that is named one level too deep it says nothing that it is not there.
    let is_too_deep = matches!(world.checked, Err(PathsError::AppHome { .. }));
    if let Some(error) = world.no_home().filter(|_| !is_too_deep) {
        checks.diagnostic("homes.there", Diagnostic::from(&error).hint(hint_for_missing(&world.layout)));
    }
    match &world.checked {
        Ok(layout) => checks.ok(
            "homes.apart",
            format!(
                "the daemon's home {} is inside the app's and apart from it",
                short(&layout.daemon_home, &layout.user_home)
            ),
        ),
        Err(error) => checks.diagnostic("homes.apart", Diagnostic::from(error)),
    }
    let folders = [&world.layout.app_home, &world.layout.daemon_home, &world.layout.backups];
    let fixed: Vec<Diagnostic> = folders.into_iter().filter_map(|folder| world.unwritable(folder)).collect();
    let fixed: Vec<Diagnostic> = foreseen_refusal(world).into_iter().chain(fixed).collect();
    if fixed.is_empty() {
        checks.ok("homes.writable", "what is in them can be changed");
    }
    for mut diagnostic in fixed {
        // A home that is there may be looked at; one that is not has to be made.
        if diagnostic.path.as_deref() == world.layout.user_home.to_str() {
            diagnostic.severity = Severity::Error;
        }
        checks.diagnostic("homes.writable", diagnostic);
    }
    let wired = world.wire();
    match check_start(&wired.context()) {
        // Told by `homes.apart` already.
        Err(_) if world.checked.is_err() => {
            checks.skipped("socket.length", "not looked at before the homes are apart")
        }
        Ok(()) => {
            let endpoint = wired.daemons.endpoint(Mode::OwnLlm);
            let length = endpoint.path().map_or(0, |path| path.as_os_str().len());
            checks.ok("socket.length", format!("{} has {length} bytes", shown(world, &endpoint)));
        }
        Err(diagnostic) => checks.diagnostic("socket.length", diagnostic),
    }
    let unseen = wired.daemons.orphans(None);
    if let Some(diagnostic) = processes_unknown() {
        checks.diagnostic("daemon.unseen", diagnostic);
    } else if unseen.is_empty() {
        checks.ok("daemon.unseen", "no process serves either home without a socket");
    }
    for live in unseen {
        if let Err(diagnostic) = settle_live(&wired.daemons, vec![live], &world.options(), &mut Vec::new()) {
            checks.diagnostic("daemon.unseen", diagnostic);
        }
    }
    match wired.daemons.live_legacy() {
        None => checks.ok("daemon.legacy", "no daemon runs in the old place"),
        Some(live) => {
            if let Err(diagnostic) =
                settle_live(&wired.daemons, vec![live], &world.options(), &mut Vec::new())
            {
                checks.diagnostic("daemon.legacy", diagnostic);
            }
        }
    }
    for socket in wired.daemons.abandoned_sockets() {
        checks.diagnostic("daemon.sockets", abandoned_diagnostic(&socket));
    }
}

/// Whether a daemon can start on its own config.
fn daemon_config(world: &World, checks: &mut Checks) {
    const ID: &str = "daemon.config";
    let path = &world.layout.daemon_config;
    let wired = world.wire();
    if let Some(diagnostic) = shared_config(&wired.context()) {
        return checks.diagnostic(ID, diagnostic);
    }
    if let Some(misplaced) = &checks.misplaced {
        return checks.diagnostic(ID, misplaced_diagnostic(&wired.context(), misplaced));
    }
    let bytes = match world.disk.read(path, CONFIG_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return checks.ok(ID, "none yet; the daemon writes one"),
        Err(error) => {
            let diagnostic = Diagnostic::error("daemon.config-unreadable", error.to_string()).at(path);
            return checks.diagnostic(ID, diagnostic.hint(format!("ls -ld {}", quote(path))));
        }
    };
    let version = Document::parse(&bytes).ok().and_then(|parsed| daemon_config::version_of(&parsed.document));
    match version {
        Some(version) if version > daemon_config::NEWEST_VERSION => {
            let evidence = format!("of version {version}, newer than the daemons that this program knows");
            let hint = format!("MYOWNMESH_BIN=/path/to/myownmesh {} launch", world.program);
            checks.diagnostic(ID, Diagnostic::warning("daemon.config-newer", evidence).at(path).hint(hint));
        }
        _ => checks.ok(ID, "a daemon can start on it"),
    }
}

fn state(world: &World, plan: &Plan, key: &KeyAnswer, checks: &mut Checks) {
    let files = plan.files();
    let pending = |evidence| {
        Diagnostic::warning("migration.pending", evidence).hint(format!("{} repair", world.program))
    };
    if plan.is_empty() && !plan.errors.is_empty() {
        checks.skipped("state.moved", UNSEEN);
    } else if plan.is_empty() {
        checks.ok("state.moved", "nothing of the daemon's is in the old place");
    } else if !plan.refusals.is_empty() {
        checks.skipped(
            "state.moved",
            format!("{} to move, once the problems below are settled", count(files, "file")),
        );
    } else if files == 0 {
        let evidence = format!("{} of an unfinished move", count(plan.steps().count(), "step"));
        checks.diagnostic("state.moved", pending(evidence));
    } else {
        let evidence = format!("{} of the daemon's are still in the app's home", count(files, "file"));
        match world.unwritable(&world.layout.app_home) {
            None => checks.diagnostic("state.moved", pending(evidence)),
            Some(mut stuck) => {
                stuck.message = format!("{evidence}, and {}", stuck.message);
                stuck.severity = Severity::Error;
                checks.diagnostic("state.moved", stuck);
            }
        }
    }
    // What is wrong with the key is told once: by its own check.
    let (of_key, others): (Vec<_>, Vec<_>) =
        plan.refusals.iter().chain(&plan.errors).partition(|error| error.code().contains("identit"));
    identity_checks(world, plan, key, &of_key, checks);
    let untrusted = trusted_home(&world.wire().context()).err();
    match &untrusted {
        None => checks.ok("homes.private", "nobody else can put anything into the homes"),
        Some(diagnostic) => checks.diagnostic("homes.private", diagnostic.clone()),
    }
    daemon_config(world, checks);
    // One cause is told once.
    let told = untrusted.and_then(|diagnostic| diagnostic.path);
    for diagnostic in others.into_iter().map(Diagnostic::from).filter(|diagnostic| diagnostic.path != told) {
        checks.diagnostic("state.sound", diagnostic);
    }
    for both in &plan.collisions {
        checks.diagnostic("state.collisions", collision_diagnostic(both, plan.direction, &world.program));
    }
    for left in &plan.left {
        let path = short(&left.path, &world.layout.user_home);
        let evidence = format!("{path} is not the daemon's and stays ({})", left.reason);
        let diagnostic = Diagnostic::warning("migration.left", evidence).at(&left.path);
        checks.diagnostic("state.left", diagnostic.hint(format!("ls -ld {}", quote(&left.path))));
    }
}

/// Is there a sound key, and does the daemon look for it there? `of_key` is what the move has to say of it.
fn identity_checks(
    world: &World,
    plan: &Plan,
    key: &KeyAnswer,
    of_key: &[&MigrationError],
    checks: &mut Checks,
) {
    const SOUND: &str = "identity.sound";
    const NAMED: &str = "identity.named";
    let is_told = |refusal: &Refusal| {
        let mut told = plan.refusals.iter().chain(&plan.errors);
        told.any(|error| {
            error.code() == refusal.code() && !of_key.iter().any(|of_key| of_key.path() == error.path())
        })
    };
    let refusal = key.refusal();
    let is_named = refusal.is_some_and(|refusal| matches!(refusal.problem, Problem::NamedElsewhere { .. }));
    match refusal {
        // The same cause keeps from looking at the rest.
        Some(refusal) if is_told(refusal) => checks.skipped(SOUND, UNSEEN),
        Some(refusal) if !is_named => checks.diagnostic(SOUND, Diagnostic::from(refusal)),
        Some(_) => checks.skipped(SOUND, "not looked at before the daemon's config names a sound one"),
        None if of_key.is_empty() => checks.ok(SOUND, identity(key, &world.layout.user_home)),
        None => {}
    }
    let others = of_key.iter().filter(|error| refusal.is_none_or(|refusal| refusal.code() != error.code()));
    for error in others {
        checks.diagnostic(SOUND, Diagnostic::from(*error));
    }
    match key {
        KeyAnswer::Sound { named: true, .. } => {
            checks.ok(NAMED, "the daemon's config names a sound key elsewhere");
        }
        KeyAnswer::Pending { by: Pending::Config, .. } => {
            let evidence =
                "the daemon's config names the old place of its key; a launch points it to the new one";
            let diagnostic = Diagnostic::warning("identity.named-in-the-old-location", evidence);
            checks.diagnostic(NAMED, diagnostic.hint(format!("{} launch", world.program)));
        }
        KeyAnswer::Refused(refusal) if is_named => checks.diagnostic(NAMED, Diagnostic::from(refusal)),
        _ => checks.ok(NAMED, "the daemon looks for its key in its home"),
    }
}

fn config(world: &World, checks: &mut Checks) {
    let wired = world.wire();
    let loaded = match wired.store.look(&mut fresh_ids()) {
        Ok(loaded) => loaded,
        Err(error) => {
            checks.diagnostic("config.readable", Diagnostic::from(&error));
            return copies(world, None, checks);
        }
    };
    shape(world, &loaded, checks);
    // Told by `config.shape` already.
    let told = [CORRUPT, WIPED, "store.defaults", "store.newer"];
    for found in &loaded.diagnostics {
        if found.severity != myownllm_config_model::Severity::Info && !told.contains(&found.code) {
            checks.diagnostic("config.findings", finding(found, &world.layout.app_config));
        }
    }
    let shown = masking::mask(&loaded.document);
    let saved = networks::list(&shown).len();
    match networks::active(&shown) {
        _ if loaded.pending.repairs() => {
            let evidence = format!("{} will be saved after the repair", count(saved, "network"));
            checks.skipped("networks.active", evidence);
        }
        _ if loaded.newer.is_some() => {
            checks.skipped("networks.active", "the config is of a newer version, and left as it is");
        }
        Some(network) => {
            let name = network.get("network_id").and_then(|id| id.as_str().map(|id| id.into_owned()));
            checks.ok("networks.active", format!("{saved} saved, {} is active", name.unwrap_or_default()));
        }
        None if saved == 0 => checks.ok("networks.active", "no network is saved"),
        None => {
            let evidence = format!("{} saved and none active", count(saved, "network"));
            let hint = format!("{} network use {}", world.program, first_network(&loaded.document));
            checks.diagnostic(
                "networks.active",
                Diagnostic::warning("network.none-active", evidence).hint(hint),
            );
        }
    }
    leftovers(world, &loaded, checks);
    copies(world, Some(&loaded), checks);
    checks.loaded = Some(loaded);
}

/// A finding with the member that it is about, and the command that opens the config there.
fn finding(found: &myownllm_config_model::Diagnostic, config: &Path) -> Diagnostic {
    let mut diagnostic = Diagnostic::from(found);
    if let Some(place) = diagnostic.path.as_ref().filter(|place| !diagnostic.message.contains(place.as_str()))
    {
        diagnostic.message = format!("{place}: {}", diagnostic.message);
    }
    if diagnostic.code.starts_with("config.") {
        diagnostic.hint = Some(edit(config, diagnostic.place.as_ref().map(|place| place.line)));
    }
    diagnostic
}

fn shape(world: &World, loaded: &Loaded, checks: &mut Checks) {
    let path = &world.layout.app_config;
    let repair = checks.repair();
    let evidence = format!("{}: {}", short(path, &world.layout.user_home), state_words(&loaded.report));
    let wiped = loaded.diagnostics.iter().find(|found| found.code == WIPED).map(Diagnostic::from);
    if let Some(version) = loaded.newer {
        checks
            .diagnostic("config.shape", Diagnostic::from(&StoreError::Newer { path: path.clone(), version }));
    } else if let Some(found) = loaded.diagnostics.iter().find(|found| found.code == CORRUPT) {
        let diagnostic = Diagnostic::error(CORRUPT, &found.message).place(found.place.clone());
        checks.diagnostic("config.shape", diagnostic.at(path).hint(repair));
        let lacks_copy = loaded.report.restored_from.is_none() && loaded.report.kept_keys.is_empty();
        if let Some(check) = checks.list.last_mut().filter(|_| lacks_copy) {
            check.evidence.push_str("; no good copy is there, so its settings begin at their defaults");
        }
    } else if let Some(mut diagnostic) = wiped {
        if loaded.pending.repairs() {
            diagnostic.severity = Severity::Error;
            diagnostic.hint = Some(repair);
        }
        checks.diagnostic("config.shape", diagnostic);
    } else if loaded.pending.repairs() {
        checks.diagnostic("config.shape", Diagnostic::error(NEEDS_REPAIR, evidence).at(path).hint(repair));
    } else {
        checks.ok("config.shape", evidence);
    }
}

/// What a daemon left beside the config: a repair looks into it; beside a healthy config nobody needs it.
fn leftovers(world: &World, loaded: &Loaded, checks: &mut Checks) {
    for name in ["corrupt", "tmp"] {
        let mut sibling = world.layout.app_config.clone().into_os_string();
        sibling.push(format!(".{name}"));
        let sibling = std::path::PathBuf::from(sibling);
        if world.disk.stat(&sibling).is_err() {
            continue;
        }
        let left = format!("a daemon left {}", short(&sibling, &world.layout.user_home));
        let (evidence, hint) = if loaded.pending.repairs() {
            let looked = format!("{left}; a repair takes from it what is the app's");
            (looked, checks.repair())
        } else {
            (format!("{left}; the config is well without it"), move_aside(&sibling, "aside"))
        };
        let diagnostic = Diagnostic::warning("config.daemons-leftover", evidence).at(&sibling).hint(hint);
        checks.diagnostic("config.daemons-leftover", diagnostic);
    }
}

fn copies(world: &World, loaded: Option<&Loaded>, checks: &mut Checks) {
    let wired = world.wire();
    match wired.store.history() {
        Err(error) => checks.diagnostic("config.copies", Diagnostic::from(&error)),
        Ok(copies) => {
            let damaged: Vec<String> =
                copies.iter().filter(|copy| !copy.intact).map(|copy| copy.id.to_string()).collect();
            if damaged.is_empty() && loaded.is_some_and(lacks_its_copy) {
                let evidence = "none holds the config as it is: a repair would lose what is newer in it";
                let diagnostic = Diagnostic::warning("store.no-backup", evidence).hint(checks.repair());
                checks.diagnostic("config.copies", diagnostic);
            } else if copies.is_empty() {
                checks.ok("config.copies", "none kept yet");
            } else if damaged.is_empty() {
                checks.ok(
                    "config.copies",
                    format!("{} kept, all intact", count(copies.len(), "copy").replace("copys", "copies")),
                );
            } else {
                let evidence = format!("damaged, and not used: {}", damaged.join(", "));
                let diagnostic =
                    Diagnostic::warning("store.backup-damaged", evidence).at(&world.layout.backups);
                checks.diagnostic(
                    "config.copies",
                    diagnostic.hint(format!("{} config history", world.program)),
                );
            }
        }
    }
}

/// Whether a copy of a healthy config is all that a launch would make.
fn lacks_its_copy(loaded: &Loaded) -> bool {
    let mut steps = loaded.pending.steps.iter();
    steps.any(|step| matches!(step, Step::KeepLastGood { .. })) && !loaded.pending.writes_config()
}

/// The network to name in a hint: any of the saved ones will do, and the first is as good as another.
fn first_network(document: &Document) -> String {
    let first = networks::list(document)
        .first()
        .and_then(|network| network.get("network_id").and_then(|id| id.as_str().map(|id| id.into_owned())));
    first.map_or_else(|| "NAME".to_owned(), |id| quote(Path::new(&id)))
}

fn daemons(world: &World, key: &KeyAnswer, checks: &mut Checks) {
    let wired = world.wire();
    // What is wrong with the key is told by its own checks.
    let expected = key.key().map(|key| Expected::key(&key.device_id));
    for (id, mode) in [("daemon.shared", Mode::Shared), ("daemon.own", Mode::OwnLlm)] {
        let endpoint = wired.daemons.whereabouts(mode);
        let probe = wired.daemons.probe(&endpoint);
        let evidence = format!("{}: {}", shown(world, &endpoint), daemon_words(&probe));
        match &probe {
            Probe::Absent { .. } => checks.ok(id, evidence),
            // None can be there, and a launch goes without.
            Probe::PathTooLong { .. } if mode == Mode::Shared => checks.ok(id, evidence),
            Probe::Answered { status, .. } => {
                checks.is_daemon_running = true;
                match expected.as_ref().filter(|_| mode == Mode::OwnLlm) {
                    Some(expected) if !expected.admits(&status.device_id) => {
                        let key = expected.device_id().unwrap_or_default();
                        let found = &status.device_id;
                        let evidence =
                            format!("{evidence}, but with the key {found} and not the home's {key}");
                        let diagnostic = Diagnostic::error("daemon.foreign-identity", evidence);
                        checks.diagnostic(id, diagnostic.hint(end(world, &endpoint, &probe)));
                    }
                    _ => checks.ok(id, evidence),
                }
            }
            _ => {
                let diagnostic =
                    Diagnostic::error(probe.code(), evidence).hint(end(world, &endpoint, &probe));
                checks.diagnostic(
                    id,
                    match endpoint.path() {
                        Some(path) => diagnostic.at(path),
                        None => diagnostic,
                    },
                );
            }
        }
    }
    let candidates = wired.daemons.candidates();
    match candidates.iter().find(|candidate| candidate.verdict == Verdict::Usable) {
        Some(candidate) => checks.ok("daemon.program", short(&candidate.path, &world.layout.user_home)),
        None if checks.is_daemon_running => {
            checks.skipped("daemon.program", "none was found, and none is needed: a daemon runs")
        }
        None => {
            let evidence = "no daemon program was found beside this program, on PATH, or named by a variable";
            let hint = format!("{}=/path/to/myownmesh {} launch", "MYOWNMESH_BIN", world.program);
            checks.diagnostic("daemon.program", Diagnostic::warning("daemon.not-found", evidence).hint(hint));
        }
    }
}

/// The command that ends who listens there, as far as the system tells who it is; or shows whose the socket is.
fn end(world: &World, endpoint: &Endpoint, probe: &Probe) -> String {
    match (probe.pid(), probe, endpoint.path()) {
        (_, Probe::Suspended { pid }, _) => format!("kill -CONT {pid}"),
        (Some(pid), ..) if process_serves(endpoint, pid) => format!("kill {pid}"),
        (Some(pid), ..) => format!("ps -fp {pid}"),
        (None, Probe::ForeignOwner { .. }, Some(socket)) => format!("ls -l {}", quote(socket)),
        _ => format!("{} paths", world.program),
    }
}

/// Where a daemon listens, for a person.
fn shown(world: &World, endpoint: &Endpoint) -> String {
    endpoint.path().map_or_else(|| endpoint.to_string(), |path| short(path, &world.layout.user_home))
}

/// What `doctor` says of these checks.
pub(crate) fn answer(checks: &Checks, verbose: bool) -> Answer {
    let (problems, warnings) = (checks.of(Mark::Problem).count(), checks.of(Mark::Warning).count());
    let exit = if problems > 0 { ExitCode::Problems } else { ExitCode::Done };
    let data = json!({ "checks": checks.list, "problems": problems, "warnings": warnings });
    let diagnostics = checks.list.iter().filter_map(|check| check.diagnostic.clone()).collect();
    Answer { diagnostics, page_tells_diagnostics: true, ..Answer::done(page(checks, verbose), data) }
        .exit(exit)
}

/// Problems, then warnings, then how many checks passed, and the one command that mends what a launch mends.
fn page(checks: &Checks, verbose: bool) -> Page {
    let mut shown: Vec<&Check> =
        checks.list.iter().filter(|check| verbose || check.result <= Mark::Warning).collect();
    shown.sort_by_key(|check| check.result);
    let column = 11 + shown.iter().map(|check| check.id.len()).max().unwrap_or(0);
    let repair = checks.repair();
    let mut page = Page::default();
    for check in &shown {
        page.row(format!("{:<9}{}", check.result.word(), check.id), column, &check.evidence);
        if let Some(place) = &check.place {
            page.copied(column, "", format!("{} | {}", place.line, place.snippet.text));
            let indent = place.line.to_string().len();
            page.copied(column, "", format!("{:indent$} | {:2$}^", "", "", place.snippet.caret));
        }
        // The last lines have that one.
        if let Some(hint) = check.hint.as_ref().filter(|hint| **hint != repair) {
            page.copied(column, "-> ", hint);
        }
    }
    if !shown.is_empty() {
        page.gap();
    }
    page.line(counted(checks, verbose));
    let troubles = checks.list.iter().filter(|check| check.result <= Mark::Warning).count();
    match checks.list.iter().filter(|check| check.hint.as_ref() == Some(&repair)).count() {
        0 => return page,
        1 if troubles == 1 => page.line("To put it right:"),
        all if all == troubles => page.line("To put all of this right:"),
        some => page.line(format!("To put {some} of these {troubles} right:")),
    }
    page.copied(2, "", repair);
    page
}

/// `1 problem, 2 warnings, 13 checks passed`.
fn counted(checks: &Checks, verbose: bool) -> String {
    let number = |result| checks.of(result).count();
    let mut parts: Vec<String> = [(Mark::Problem, "problem"), (Mark::Warning, "warning")]
        .into_iter()
        .filter(|(result, _)| number(*result) > 0)
        .map(|(result, word)| count(number(result), word))
        .collect();
    parts.push(format!("{} passed", count(number(Mark::Ok), "check")));
    let skipped = number(Mark::Skipped);
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    let more = if verbose { "" } else { " (-v lists them)" };
    format!("{}{more}", parts.join(", "))
}
