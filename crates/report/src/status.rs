//! One screen that shows where everything is, and what a launch would do.

use myownllm_config_model::{AppConfig, masking, networks};
use myownllm_daemon::{Probe, Role};
use myownllm_identity::Answer as KeyAnswer;
use myownllm_launch::words::{daemon_words, identity_words, networks_words, process, state_words};
use myownllm_launch::{LaunchPlan, LaunchStep};
use myownllm_migration::IdentityState;
use myownllm_paths::camino::Utf8Path;
use serde_json::{Value, json};

use crate::picture::Picture;
use crate::screen::Page;
use crate::text::{bounded, long};
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 14;

/// Returns where everything is, and what a launch would do.
#[must_use]
pub fn status(home: &HomeView<'_>, plan: &LaunchPlan) -> (Page, Value) {
    (page(home, plan), data(home, plan))
}

fn page(view: &HomeView<'_>, plan: &LaunchPlan) -> Page {
    let layout = &view.layout;
    let home = |path: &Utf8Path| view.short(path);
    let daemon =
        |role| probe_of(plan, role).map_or_else(String::new, |probe| daemon_words(probe, view.user_name));
    let mut page = Page::default();
    let mut line = |label: &str, what: String| page.row(label, COLUMN, what);
    line("home", format!("{}  ({})", long(&layout.user_home), layout.user_home_rule));
    line("app", format!("{}{}", home(&layout.app_home), owner(view, &layout.app_home)));
    if let Some(loaded) = &plan.loaded {
        line("  config", format!("{}: {}", home(&layout.app_config), state_words(&loaded.report)));
        // Labels and ids are free text, so a user may have put a login into one.
        line("  networks", networks_words(&masking::mask(&loaded.document)));
    }
    line("daemon", format!("{}{}", home(&layout.daemon_home), owner(view, &layout.daemon_home)));
    line("  identity", identity_words(&plan.identity));
    line("  daemon", daemon(Role::Own));
    line("shared", format!("{}{}", home(&layout.shared_home), owner(view, &layout.shared_home)));
    line("  daemon", daemon(Role::Shared));
    if let Some(live) = &plan.legacy {
        line("old location", format!("{}: {}{}", live.place(), live.note(), process(live.pid())));
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
        page.page(picture.trees(view, repair));
    }
    page
}

fn probe_of(plan: &LaunchPlan, role: Role) -> Option<&Probe> {
    plan.detection.attempts.iter().find(|attempt| attempt.role == role).map(|attempt| &attempt.probe)
}

fn data(home: &HomeView<'_>, plan: &LaunchPlan) -> Value {
    let layout = &home.layout;
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
            "app": owned(home, &layout.app_home),
            "daemon": owned(home, &layout.daemon_home),
            "shared": owned(home, &layout.shared_home),
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
        "migration": { "pending": migration.steps().collect::<Vec<_>>(),
        "collisions": migration.collisions, "left": migration.left },
        "daemons": {
            "own": daemon(Role::Own),
            "shared": daemon(Role::Shared),
            "legacy": plan.legacy.as_ref().map(|live| json!({ "socket": long(live.place()),
            "pid": live.pid(), "note": live.note() })),
        },
        "launch_would": plan.steps.iter().map(LaunchStep::to_string).collect::<Vec<_>>(),
        "launch_steps": plan.steps.iter().map(LaunchStep::code).collect::<Vec<_>>(),
        "pending": plan.pending,
    })
}

/// Returns a home's state: its owner, or that it does not exist.
fn owner(home: &HomeView<'_>, path: &Utf8Path) -> String {
    match home.disk.stat_follow(path.as_ref()) {
        Ok(meta) => {
            let who = meta
                .owner
                .map_or_else(String::new, |owner| format!("owner {}, ", (home.user_name)(owner.uid)));
            format!("  ({who}mode {:04o})", meta.mode)
        }
        Err(error) if error.is_not_found() => "  (not there yet)".to_owned(),
        Err(error) => format!("  (cannot be looked at: {})", error.io()),
    }
}

fn owned(home: &HomeView<'_>, path: &Utf8Path) -> Value {
    match home.disk.stat_follow(path.as_ref()) {
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
        KeyAnswer::Sound { key, .. } => IdentityState::AtDestination(key.clone()),
        KeyAnswer::Pending { key, .. } => IdentityState::AtSource(key.clone()),
        KeyAnswer::Refused(refusal) => IdentityState::refused(refusal),
        _ => IdentityState::Absent,
    };
    json!(state)
}
