//! One screen that shows where everything is, and what a launch would do.

use std::borrow::Cow;

use myownllm_config_model::networks::SavedNetwork;
use myownllm_config_model::{AppConfig, masking, network_id, networks};
use myownllm_config_store::{FileShape, Pending};
use myownllm_daemon::{Attempt, Role};
use myownllm_identity::Answer as KeyAnswer;
use myownllm_launch::words::{
    daemon_words, identity_words, networks_words, own_daemon_words, process, state_words,
};
use myownllm_launch::{LaunchPlan, LaunchStep};
use myownllm_migration::{Collision, IdentityState, MoveStep, SkippedEntry};
use myownllm_paths::camino::Utf8Path;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::picture::Picture;
use crate::screen::Page;
use crate::text::{bounded, long};
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 14;

/// The state of a home, and what a launch would do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Status<'a> {
    homes: Homes,
    /// The config; null if it cannot be loaded.
    config: Option<Config<'a>>,
    identity: IdentityState,
    migration: Move<'a>,
    daemons: Daemons,
    /// The steps of a launch, for a person.
    launch_would: Vec<String>,
    /// The same steps as stable codes, in the same order.
    #[schemars(schema_with = "crate::members::launch_steps")]
    launch_steps: Vec<String>,
    /// True if a launch would move or repair something.
    pending: bool,
}

#[derive(Serialize, JsonSchema)]
struct Homes {
    /// The user's home.
    user: String,
    app: Home,
    daemon: Home,
    /// The home of the stand-alone daemon.
    shared: Home,
}

/// A home.
#[derive(Serialize, JsonSchema)]
struct Home {
    path: String,
    /// Null if the system does not tell.
    exists: Option<bool>,
    /// The permission bits, octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    /// The owner; null where the system has none.
    #[schemars(extend("nullable" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<Option<u32>>,
    /// The reason why the home cannot be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The path and the state, for a person.
    #[serde(skip)]
    text: String,
}

#[derive(Serialize, JsonSchema)]
struct Config<'a> {
    path: String,
    shape: FileShape,
    /// The steps that a launch would take.
    pending: &'a Pending,
    networks: Vec<SavedNetwork>,
    /// The network id of the active network.
    active: Option<String>,
}

/// The pending move.
#[derive(Serialize, JsonSchema)]
struct Move<'a> {
    pending: Vec<&'a MoveStep>,
    collisions: &'a [Collision],
    left: &'a [SkippedEntry],
}

#[derive(Serialize, JsonSchema)]
struct Daemons {
    /// The daemon of the app; null if it was not looked for.
    own: Option<Place>,
    /// The stand-alone daemon; null if it was not looked for.
    shared: Option<Place>,
    /// A daemon that serves the old location.
    legacy: Option<Legacy>,
}

/// The socket at which a daemon would listen, and the answer there.
#[derive(Serialize, JsonSchema)]
struct Place {
    socket: String,
    #[schemars(with = "myownllm_daemon::Probe")]
    probe: Value,
}

#[derive(Serialize, JsonSchema)]
struct Legacy {
    socket: String,
    pid: Option<u32>,
    /// The version of the daemon, or that it is busy.
    note: String,
}

/// Returns where everything is, and what a launch would do.
pub fn status(home: &HomeView<'_>, plan: &LaunchPlan) -> (Page, Value) {
    let document = document(home, plan);
    (page(home, plan, &document.homes), json!(document))
}

fn page(view: &HomeView<'_>, plan: &LaunchPlan, homes: &Homes) -> Page {
    let layout = &view.layout;
    let daemon = |role| {
        let found = looked_for(plan, role);
        found.map_or_else(String::new, |attempt| match role {
            Role::Own => {
                own_daemon_words(&layout.daemon_home, &attempt.probe, view.user_name, &plan.diagnostics)
            }
            Role::Shared => daemon_words(&attempt.probe, view.user_name),
        })
    };
    let mut page = Page::default();
    let mut line = |label: &str, what: String| page.row(label, COLUMN, what);
    line("home", format!("{}  ({})", long(&layout.user_home), layout.user_home_rule));
    line("app", homes.app.text.clone());
    if let Some(loaded) = &plan.loaded {
        line("  config", format!("{}: {}", view.short(&layout.app_config), state_words(&loaded.report)));
        // Labels and ids are free text, so a user may have put a login into one.
        line("  networks", networks_words(&masking::mask(&loaded.document)));
    }
    line("daemon", homes.daemon.text.clone());
    line("  identity", identity_words(&plan.identity));
    line("  daemon", daemon(Role::Own));
    line("shared", homes.shared.text.clone());
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

fn looked_for(plan: &LaunchPlan, role: Role) -> Option<&Attempt> {
    plan.detection.attempts.iter().find(|attempt| attempt.role == role)
}

fn document<'a>(home: &HomeView<'_>, plan: &'a LaunchPlan) -> Status<'a> {
    let layout = &home.layout;
    let daemon = |role| {
        looked_for(plan, role)
            .map(|attempt| Place { socket: attempt.endpoint.to_string(), probe: bounded(&attempt.probe) })
    };
    let migration = &plan.migration;
    Status {
        homes: Homes {
            user: long(&layout.user_home),
            app: owned(home, &layout.app_home),
            daemon: owned(home, &layout.daemon_home),
            shared: owned(home, &layout.shared_home),
        },
        config: plan.loaded.as_ref().map(|loaded| {
            let shown = masking::mask(&loaded.document);
            let saved = AppConfig::view(&shown).cloud_mesh.networks.into_iter();
            Config {
                path: long(&layout.app_config),
                shape: loaded.shape,
                pending: &loaded.pending,
                networks: saved.map(|n| SavedNetwork::new(n.id, n.network_id)).collect(),
                active: networks::active(&shown).and_then(network_id::of).map(Cow::into_owned),
            }
        }),
        identity: identity_state(&plan.identity),
        migration: Move {
            pending: migration.steps().collect(),
            collisions: &migration.collisions,
            left: &migration.left,
        },
        daemons: Daemons {
            own: daemon(Role::Own),
            shared: daemon(Role::Shared),
            legacy: plan.legacy.as_ref().map(|live| Legacy {
                socket: long(live.place()),
                pid: live.pid(),
                note: live.note(),
            }),
        },
        launch_would: plan.steps.iter().map(LaunchStep::to_string).collect(),
        launch_steps: plan.steps.iter().map(LaunchStep::code).collect(),
        pending: plan.pending,
    }
}

/// Returns a home: its owner and its mode, or that it does not exist.
fn owned(view: &HomeView<'_>, path: &Utf8Path) -> Home {
    let home = |exists, state: String| {
        let text = format!("{}  ({state})", view.short(path));
        Home { path: long(path), exists, mode: None, uid: None, problem: None, text }
    };
    match view.disk.stat_follow(path.as_ref()) {
        Ok(meta) => {
            let (uid, mode) = (meta.owner.map(|owner| owner.uid), format!("{:04o}", meta.mode));
            let owner = uid.map_or_else(String::new, |uid| format!("owner {}, ", (view.user_name)(uid)));
            let home = home(Some(true), format!("{owner}mode {mode}"));
            Home { mode: Some(mode), uid: Some(uid), ..home }
        }
        Err(error) if error.is_not_found() => home(Some(false), "not there yet".to_owned()),
        Err(error) => {
            let home = home(None, format!("cannot be looked at: {}", error.io()));
            Home { problem: Some(error.to_string()), ..home }
        }
    }
}

/// Returns the state of the identity file for a program, as seen from the daemon home.
fn identity_state(key: &KeyAnswer) -> IdentityState {
    match key {
        KeyAnswer::Sound { key, .. } => IdentityState::AtDestination(key.clone()),
        KeyAnswer::Pending { key, .. } => IdentityState::AtSource(key.clone()),
        KeyAnswer::Refused(refusal) => IdentityState::refused(refusal),
        _ => IdentityState::Absent,
    }
}
