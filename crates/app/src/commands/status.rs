//! `status`: one screen that shows where everything is, and what a launch would do.

use std::path::Path;

use myownllm_config_model::{AppConfig, masking, networks};
use myownllm_daemon::{Probe, Role};
use myownllm_durable_fs::Disk;
use myownllm_identity::{Answer as KeyAnswer, Pending};
use myownllm_launch::words::{daemon_words, identity_words, networks_words, process, short, state_words};
use myownllm_launch::{LaunchPlan, LaunchStep};
use myownllm_migration::IdentityState;
use serde_json::{Value, json};

use crate::cli::StatusArgs;
use crate::exit::{ExitCode, exit_of};
use crate::look::plan_of;
use crate::output::{Answer, bounded, long};
use crate::users::user_name;
use crate::world::World;
use myownllm_report::Page;
use myownllm_report::Picture;

/// The column at which the texts begin.
const COLUMN: usize = 14;

pub(crate) fn run(world: &World, args: StatusArgs) -> Answer {
    let plan = plan_of(world);
    let page = page(world, &plan);
    let data = data(world, &plan);
    let mut diagnostics = plan.diagnostics;
    // A status that reports problems has done its work: only `--check` turns problems into an exit
    // code.
    let exit = match exit_of(&diagnostics) {
        _ if !args.check => ExitCode::Done,
        ExitCode::Done if plan.pending => ExitCode::Pending,
        trouble => trouble,
    };
    if !args.check {
        diagnostics =
            diagnostics.into_iter().map(|n| if n.is_error() { n.as_warning() } else { n }).collect();
    }
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

fn page(world: &World, plan: &LaunchPlan) -> Page {
    let layout = &world.layout;
    let home = |path: &Path| short(path, &layout.user_home);
    let daemon = |role| probe_of(plan, role).map_or_else(String::new, |probe| daemon_words(probe, user_name));
    let mut page = Page::default();
    let mut line = |label: &str, what: String| page.row(label, COLUMN, what);
    line("home", format!("{}  ({})", long(&layout.user_home), layout.user_home_rule));
    line("app", format!("{}{}", home(&layout.app_home), owner(world, &layout.app_home)));
    if let Some(loaded) = &plan.loaded {
        line("  config", format!("{}: {}", home(&layout.app_config), state_words(&loaded.report)));
        // Labels and ids are free text, so a user may have put a login into one.
        line("  networks", networks_words(&masking::mask(&loaded.document)));
    }
    line("daemon", format!("{}{}", home(&layout.daemon_home), owner(world, &layout.daemon_home)));
    line("  identity", identity_words(&plan.identity, &layout.user_home));
    line("  daemon", daemon(Role::Own));
    line("shared", format!("{}{}", home(&layout.shared_home), owner(world, &layout.shared_home)));
    line("  daemon", daemon(Role::Shared));
    if let Some(live) = &plan.legacy {
        line("old place", format!("{}: {}{}", live.place().display(), live.note(), process(live.pid())));
    }
    page.gap();
    page.line("A launch would:");
    for step in &plan.steps {
        page.indented(2, step.to_string());
    }
    let picture = Picture::from(&plan.migration);
    let repair = plan.config.as_ref().filter(|pending| pending.repairs());
    if plan.moves && (picture.changes() || repair.is_some()) {
        page.gap();
        page.page(picture.trees(&world.view(), repair));
    }
    page
}

fn probe_of(plan: &LaunchPlan, role: Role) -> Option<&Probe> {
    plan.detection.attempts.iter().find(|attempt| attempt.role == role).map(|attempt| &attempt.probe)
}

fn data(world: &World, plan: &LaunchPlan) -> Value {
    let layout = &world.layout;
    let daemon = |role| {
        let attempt = plan.detection.attempts.iter().find(|attempt| attempt.role == role);
        attempt.map(
            |attempt| json!({ "socket": attempt.endpoint.to_string(), "probe": bounded(&attempt.probe) }),
        )
    };
    let migration = &plan.migration;
    json!({
        "homes": {
            "user": long(&layout.user_home),
            "app": owned(world, &layout.app_home),
            "daemon": owned(world, &layout.daemon_home),
            "shared": owned(world, &layout.shared_home),
        },
        "config": plan.loaded.as_ref().map(|loaded| {
            let shown = masking::mask(&loaded.document);
            json!({
                "path": long(&layout.app_config),
                "shape": loaded.shape,
                "pending": loaded.pending,
                "networks": AppConfig::view(&shown).cloud_mesh.networks.iter()
                    .map(|n| json!({ "id": n.id, "network_id": n.network_id })).collect::<Vec<_>>(),
                "active": networks::active(&shown).and_then(|n| n.get("network_id").map(|v| v.to_value())),
            })
        }),
        "identity": identity_data(&plan.identity),
        "migration": { "pending": migration.steps().collect::<Vec<_>>(), "collisions": migration.collisions, "left": migration.left },
        "daemons": {
            "own": daemon(Role::Own),
            "shared": daemon(Role::Shared),
            "legacy": plan.legacy.as_ref().map(|live| json!({ "socket": long(&live.place()), "pid": live.pid(), "note": live.note() })),
        },
        "launch_would": plan.steps.iter().map(LaunchStep::to_string).collect::<Vec<_>>(),
        "launch_steps": plan.steps.iter().map(LaunchStep::code).collect::<Vec<_>>(),
        "pending": plan.pending,
    })
}

/// Returns a home's state: its owner, or that it does not exist.
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

/// Returns the state of the identity file for a program, as seen from the daemon home.
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
