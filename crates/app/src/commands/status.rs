//! `status`: one screen of where everything is, and what a launch would do.

use std::path::Path;

use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{AppConfig, Document, masking, networks};
use myownllm_config_store::{ConfigStore, FileShape, Loaded, Step, StoreError};
use myownllm_daemon::{Decision, Expected, Probe, Refusal, Role, decide};
use myownllm_durable_fs::Disk;
use myownllm_identity::{Answer as KeyAnswer, Pending, Refusal as IdentityRefusal};
use myownllm_launch::{
    COLLISION, Daemons, Diagnostic, LONGEST_NAME, RunningDaemon, add_untold, check_socket, check_start,
    ensure_changeable, expected_key, identity_answer, misplaced_diagnostic, shared_config, trusted_home,
};
use myownllm_migration::{IdentityState, Options as MoveOptions, Plan, StateMigrator};
use serde_json::{Value, json};

use super::config::WIPED;
use super::launch::{count, process};
use super::migrate::plan_diagnostics;
use super::picture::Picture;
use super::salvage::state_words;
use crate::cli::StatusArgs;
use crate::exit::ExitCode;
use crate::exit::exit_of;
use crate::output::{Answer, bounded, long, short};
use crate::privileges::foreseen_refusal;
use crate::screen::Page;
use crate::world::{World, fresh_ids};

/// Where the texts begin.
const COLUMN: usize = 14;

pub(crate) fn run(world: &World, args: StatusArgs) -> Answer {
    let wired = world.wire();
    let home = |path: &Path| short(path, &world.layout.user_home);
    let mut diagnostics: Vec<Diagnostic> =
        world.checked.as_ref().err().map(Diagnostic::from).into_iter().collect();
    let plan = wired
        .migrator
        .plan(&wired.migrator.inspect(myownllm_migration::Direction::Forward), &MoveOptions::forward());
    diagnostics.extend(
        plan_diagnostics(world, &plan).into_iter().map(|diagnostic| {
            if diagnostic.code == COLLISION { diagnostic.as_warning() } else { diagnostic }
        }),
    );
    let loaded = match wired.store.look(&mut fresh_ids()) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            diagnostics.push(Diagnostic::from(&error));
            None
        }
    };
    if let Some(version) = loaded.as_ref().and_then(|loaded| loaded.newer) {
        let path = world.layout.app_config.clone();
        diagnostics.push(Diagnostic::from(&StoreError::Newer { path, version }));
    }
    let wiped = loaded.iter().flat_map(|loaded| &loaded.diagnostics).filter(|found| found.code == WIPED);
    diagnostics.extend(wiped.map(Diagnostic::from));
    let misplaced = wired.store.misplaced();
    let told = shared_config(&wired.context()).or_else(|| {
        // A launch puts it right.
        Some(misplaced_diagnostic(&wired.context(), misplaced.as_ref()?).as_warning())
    });
    diagnostics.extend(told);
    // Labels and ids are free texts, and somebody may have put a login into one.
    let shown = loaded.as_ref().map(|loaded| masking::mask(&loaded.document));
    let key = identity_answer(&wired.context(), loaded.as_ref().map(|loaded| &loaded.pending));
    add_untold(&mut diagnostics, key.refusal().map(Diagnostic::from));
    let expected = expected_key(&key).ok().or_else(|| Some(Expected::key(&key.key()?.device_id)));
    let looked = wired.daemons.targets(expected.as_ref()).map(|target| {
        let probe = wired.daemons.probe(&target.endpoint);
        (target, probe)
    });
    let [shared, own] = &looked;
    let decision = decide(&looked);
    let known = match decision {
        Decision::Attach { pid, .. } => pid,
        _ => None,
    };
    let unseen = wired.daemons.orphans(known);
    let options = world.options();
    diagnostics
        .extend(unseen.iter().map(|live| myownllm_launch::orphan_diagnostic(live, &options).as_warning()));
    let legacy = wired.daemons.live_legacy();
    if let Some(live) = &legacy {
        let refused = myownllm_launch::settle_live(
            &wired.daemons,
            vec![live.clone()],
            &world.options(),
            &mut Vec::new(),
        );
        diagnostics.extend(refused.err());
    }
    let nowhere = world.no_home();
    diagnostics.extend(nowhere.iter().map(Diagnostic::from));
    let leaked = myownllm_launch::leaked_socket(&wired.context());
    let socket = check_start(&wired.context()).err();
    // Nothing is moved to where no daemon could listen.
    let no_socket = !plan.is_empty() && check_socket(&wired.context()).is_err();
    let untrusted = foreseen_refusal(world).or_else(|| ensure_changeable(&wired.context()).err());
    let is_trusted = untrusted.is_none();
    if let Some(diagnostic) = untrusted {
        // One cause is told once.
        diagnostics.retain(|told| told.path != diagnostic.path);
        diagnostics.push(diagnostic);
    }
    let barred = world.checked.is_err() || nowhere.is_some() || legacy.is_some() || no_socket || !is_trusted;
    let pending = !plan.is_empty()
        || misplaced.is_some()
        || loaded.as_ref().is_some_and(|loaded| loaded.pending.repairs());
    let writes = pending || loaded.as_ref().is_some_and(|loaded| loaded.pending.writes_config());
    // A launch writes to the app's home when something is to be done there, and to the daemon's a log when it starts one.
    let stuck = world.unwritable(&world.layout.app_home).filter(|_| writes);
    let fails = stuck.is_some();
    let starts = own.1.is_absent() && shared.1.is_absent();
    let unbindable = matches!(decision, Decision::Refuse(Refusal::PathTooLong { .. }));
    if world.checked.is_ok() && (starts || unbindable || no_socket) {
        diagnostics.extend(socket);
    }
    if starts && is_trusted {
        diagnostics.extend(trusted_home(&wired.context()).err());
    }
    let stuck = stuck.or_else(|| world.unwritable(&world.layout.daemon_home).filter(|_| starts));
    let no_daemon = stuck.is_some() || diagnostics.iter().any(Diagnostic::is_error);
    diagnostics.extend(stuck);
    // A config that cannot be asked where its daemon listens forbids the move.
    let is_gone = key.refusal().is_some_and(IdentityRefusal::is_gone);
    let moves = plan.refusals.is_empty() && leaked.is_ok() && !is_gone;

    let mut page = Page::default();
    let mut line = |label: &str, what: String| page.row(label, COLUMN, what);
    line("home", format!("{}  ({})", long(&world.layout.user_home), world.layout.user_home_rule));
    line("app", format!("{}{}", home(&world.layout.app_home), owner(world, &world.layout.app_home)));
    if let Some((loaded, shown)) = loaded.as_ref().zip(shown.as_ref()) {
        line("  config", format!("{}: {}", home(&world.layout.app_config), state_words(&loaded.report)));
        line("  networks", networks(shown));
    }
    line("daemon", format!("{}{}", home(&world.layout.daemon_home), owner(world, &world.layout.daemon_home)));
    line("  identity", identity(&key, &world.layout.user_home));
    line("  daemon", daemon_words(&own.1));
    line("shared", format!("{}{}", home(&world.layout.shared_home), owner(world, &world.layout.shared_home)));
    line("  daemon", daemon_words(&shared.1));
    if let Some(live) = &legacy {
        line("old place", format!("{}: {}{}", live.place().display(), live.note(), process(live.pid())));
    }
    let steps = if barred {
        vec![Would(
            "refuse",
            "load the config, refuse to change anything, and start no daemon (see below)".to_owned(),
        )]
    } else if fails {
        let fails = "load the config, fail to change what is to be changed, and start no daemon (see below)";
        vec![Would("fail", fails.to_owned())]
    } else {
        let mut steps = launch_steps(moves.then_some(&plan), loaded.as_ref(), &decision, &unseen, no_daemon);
        if misplaced.is_some() {
            let what = "set the daemon's config aside, which is not the daemon's (see below)".to_owned();
            steps.insert(steps.len() - 1, Would("set-daemon-config-aside", what));
        }
        steps
    };
    page.gap();
    page.line("A launch would:");
    for Would(_, what) in &steps {
        page.indented(2, what);
    }
    let picture = Picture::from(&plan);
    let repair = loaded.as_ref().map(|loaded| &loaded.pending).filter(|pending| pending.repairs());
    if !barred && !fails && moves && (picture.changes() || repair.is_some()) {
        page.gap();
        page.page(picture.trees(world, repair));
    }

    let data = json!({
        "homes": {
            "user": long(&world.layout.user_home),
            "app": owned(world, &world.layout.app_home),
            "daemon": owned(world, &world.layout.daemon_home),
            "shared": owned(world, &world.layout.shared_home),
        },
        "config": loaded.as_ref().zip(shown.as_ref()).map(|(loaded, shown)| json!({
            "path": long(&world.layout.app_config),
            "shape": loaded.shape,
            "pending": loaded.pending,
            "networks": AppConfig::view(shown).cloud_mesh.networks.iter()
                .map(|n| json!({ "id": n.id, "network_id": n.network_id })).collect::<Vec<_>>(),
            "active": networks::active(shown).and_then(|n| n.get("network_id").map(|v| v.to_value())),
        })),
        "identity": identity_data(&key),
        "migration": { "pending": plan.steps().collect::<Vec<_>>(), "collisions": plan.collisions, "left": plan.left },
        "daemons": {
            "own": { "socket": own.0.endpoint.to_string(), "probe": bounded(&own.1) },
            "shared": { "socket": shared.0.endpoint.to_string(), "probe": bounded(&shared.1) },
            "legacy": legacy.as_ref().map(|live| json!({ "socket": long(&live.place()), "pid": live.pid(), "note": live.note() })),
        },
        "launch_would": steps.iter().map(|Would(_, what)| what).collect::<Vec<_>>(),
        "launch_steps": steps.iter().map(|Would(code, _)| code).collect::<Vec<_>>(),
        "pending": pending,
    });
    // A status that tells of trouble has done its work: only --check makes a code of it.
    let exit = match exit_of(&diagnostics) {
        _ if !args.check => ExitCode::Done,
        ExitCode::Done if pending => ExitCode::Pending,
        trouble => trouble,
    };
    if !args.check {
        diagnostics =
            diagnostics.into_iter().map(|n| if n.is_error() { n.as_warning() } else { n }).collect();
    }
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

/// A home's state: who owns it, or that it is not there.
fn owner(world: &World, path: &Path) -> String {
    match world.disk.stat_follow(path) {
        Ok(meta) => {
            let who =
                meta.owner.map_or_else(String::new, |owner| format!("owner {}, ", user_name(owner.uid)));
            format!("  ({who}mode {:04o})", meta.mode)
        }
        Err(error) if error.is_not_found() => "  (not there yet)".to_owned(),
        Err(error) => format!("  (cannot be looked at: {})", error.io()),
    }
}

#[cfg(unix)]
fn user_name(uid: u32) -> String {
    nix::unistd::User::from_uid(uid.into()).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(not(unix))]
fn user_name(uid: u32) -> String {
    uid.to_string()
}

fn owned(world: &World, path: &Path) -> Value {
    match world.disk.stat_follow(path) {
        Ok(meta) => json!({
            "path": long(path), "exists": true, "mode": format!("{:04o}", meta.mode),
            "uid": meta.owner.map(|owner| owner.uid),
        }),
        Err(error) if error.is_not_found() => json!({ "path": long(path), "exists": false }),
        Err(error) => json!({ "path": long(path), "exists": null, "problem": error.to_string() }),
    }
}

/// What a probe found, for a person.
pub(crate) fn daemon_words(probe: &Probe) -> String {
    match probe {
        Probe::Absent { .. } => "does not run".to_owned(),
        Probe::Answered { status, pid } => {
            let joined = match status.joined_networks.as_slice() {
                [] => "no network joined".to_owned(),
                networks => format!("joined {}", listed(networks)),
            };
            format!("runs: version {}{}, {joined}", status.version, process(*pid))
        }
        Probe::Busy { pid, .. } => format!("listens and does not answer{}", process(*pid)),
        Probe::ForeignOwner { uid, pid } => {
            format!("runs as another user ({}){}", user_name(*uid), process(*pid))
        }
        Probe::PathTooLong { length, limit } => {
            format!("cannot listen: the socket path has {length} bytes of {limit}")
        }
        Probe::Unusable { problem, pid } => {
            format!("something else listens there{}: {problem}", process(*pid))
        }
        Probe::Unknown { problem } | Probe::ResourceExhausted { problem } => {
            format!("cannot be looked for: {problem}")
        }
        _ => "unknown".to_owned(),
    }
}

pub(crate) fn networks(document: &Document) -> String {
    let saved = AppConfig::view(document).cloud_mesh.networks;
    let active = networks::active(document)
        .and_then(|network| network.get("network_id").and_then(|id| id.as_str().map(|id| id.into_owned())));
    let names: Vec<&str> = saved.iter().map(|network| network.network_id.as_str()).collect();
    match (names.is_empty(), active) {
        (true, _) => "none saved".to_owned(),
        (false, None) => format!("{} saved ({}), none active", names.len(), listed(&names)),
        (false, Some(active)) => format!("{} saved ({}), {active} active", names.len(), listed(&names)),
    }
}

/// So many names are told; more would be no screen that anybody looks through.
const NAMED: usize = 12;

/// Names in a line; of many, the first.
pub(crate) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    in_a_line(names.iter().map(|name| shortened(name.as_ref(), LONGEST_NAME).into_owned()).collect())
}

/// Short parts in a line; of many, the first.
pub(crate) fn in_a_line(mut parts: Vec<String>) -> String {
    let more = parts.len().saturating_sub(NAMED);
    parts.truncate(NAMED);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join(", ")
}

/// What may be there, for all that we could see.
pub(crate) const UNSEEN: &str = "cannot be looked for (see below)";

/// The key, for a person.
pub(crate) fn identity(key: &KeyAnswer, user_home: &Path) -> String {
    match key {
        KeyAnswer::Sound { key, named: false, .. } => format!("{}  (in the daemon's home)", key.device_id),
        KeyAnswer::Sound { key, path, .. } => format!("{}  (in {})", key.device_id, short(path, user_home)),
        KeyAnswer::Pending { key, by: Pending::Config, .. } => {
            format!("{}  (in the daemon's home)", key.device_id)
        }
        KeyAnswer::Pending { key, .. } => format!("{}  (still in the old place)", key.device_id),
        KeyAnswer::NoneYet => "none yet; the daemon makes one at its first start".to_owned(),
        KeyAnswer::Refused(refusal) => format!("cannot be used: {}", refusal.problem),
        _ => "unknown".to_owned(),
    }
}

/// The key, for a program, seen from the daemon's home.
fn identity_data(key: &KeyAnswer) -> Value {
    let state = match key {
        KeyAnswer::Sound { key, .. } | KeyAnswer::Pending { key, by: Pending::Config, .. } => {
            IdentityState::AtDestination(key.clone())
        }
        KeyAnswer::Pending { key, .. } => IdentityState::AtSource(key.clone()),
        KeyAnswer::Refused(refusal) => IdentityState::refused(refusal),
        _ => IdentityState::Absent,
    };
    json!(state)
}

/// One thing that a launch would do: its stable code, and words for a person.
struct Would(&'static str, String);

/// What a launch would do, in its order; no plan where nothing may be moved.
fn launch_steps(
    plan: Option<&Plan>,
    loaded: Option<&Loaded>,
    decision: &Decision,
    unseen: &[RunningDaemon],
    no_daemon: bool,
) -> Vec<Would> {
    let mut steps = Vec::new();
    // A refused move moves nothing; a key that cannot be used stays behind alone. Neither keeps the config from its repair.
    if let Some(files) = plan.map(Plan::files).filter(|files| *files > 0) {
        steps.push(Would("move", format!("move {} to the daemon's home", count(files, "file"))));
    }
    steps.extend(config_step(loaded).map(|(code, what)| Would(code, what)));
    let (code, what) = match (decision, unseen) {
        _ if no_daemon => ("start-no-daemon", "start no daemon (see below)".to_owned()),
        (Decision::Attach { role: Role::Shared, .. }, _) => {
            ("attach-to-shared-daemon", "attach to the shared daemon".to_owned())
        }
        (Decision::Attach { .. }, _) => {
            ("attach-to-own-daemon", "attach to the app's daemon, which runs".to_owned())
        }
        (Decision::Spawn, []) => ("start-daemon", "start the app's daemon".to_owned()),
        (Decision::Spawn, [one, ..]) => {
            let who = process(one.pid());
            ("start-no-daemon", format!("start no daemon, as one serves the home without a socket{who}"))
        }
        (Decision::Refuse(refusal), _) => ("start-no-daemon", format!("start no daemon: {refusal}")),
        _ => ("start-no-daemon", "start no daemon".to_owned()),
    };
    steps.push(Would(code, what));
    steps
}

fn config_step(loaded: Option<&Loaded>) -> Option<(&'static str, String)> {
    let Some(loaded) = loaded else {
        let what = "run on a stand-in for the config, and leave the file as it is (see below)";
        return Some(("run-on-stand-in", what.to_owned()));
    };
    let pending = &loaded.pending;
    let is_missing = loaded.shape == FileShape::Missing;
    let (code, what) = if loaded.newer.is_some() {
        ("leave-newer-config", "leave the config as it is: a newer version wrote it".to_owned())
    } else if pending.repairs() && is_missing {
        let from = loaded.report.restored_from.as_deref().map_or_else(|| "a backup".to_owned(), backup);
        ("restore-config", format!("write the config anew from {from}"))
    } else if pending.repairs() {
        ("repair-config", "repair the config, keeping a copy of the former one".to_owned())
    } else if pending.steps.iter().any(|step| matches!(step, Step::ReplaceConfig { .. })) {
        ("complete-config", "complete the config with what it lacks".to_owned())
    } else if is_missing && pending.writes_config() {
        ("write-default-config", "write a config with the defaults".to_owned())
    } else {
        return None;
    };
    Some((code, what))
}

/// A backup by its number; what is no backup of ours by its name.
pub(crate) fn backup(name: &str) -> String {
    let id = name.parse::<myownllm_config_store::CopyId>();
    id.map_or_else(|_| name.to_owned(), |id| format!("backup {}", id.sequence()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_names_the_first_are_told_and_the_others_counted() {
        let names: Vec<String> = (0..15).map(|n| format!("n{n}")).collect();
        assert_eq!(listed(&names[..2]), "n0, n1");
        assert!(listed(&names[..12]).ends_with(", n11"));
        assert!(listed(&names).ends_with(", n11, and 3 more"));
    }
}
