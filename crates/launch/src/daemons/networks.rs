//! Brings a daemon's networks in line with the config, and reports what failed.

use myownllm_config_model::masking::mask_text;
pub use myownllm_config_model::networks::saved;
use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{Document, Ids, ValueRef, network_id, networks};
use myownllm_config_store::{AppSchema, BackupId, BackupKind, ConfigStore, LockedStore, StoreError};
use myownllm_daemon::reconcile::{self, Action, DROPPED, NOT_APPLIED, SavedNetwork, StepResult};
use myownllm_daemon::{ControlError, DaemonControl, Decision, Detection, Endpoint, Probe, Role, Status};
use myownllm_durable_fs::move_aside;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::context::{Context, fresh_ids};
use crate::daemons::{read_document, readable_part};
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM, Severity, unless_failed};
use crate::words::hints::edit;
use crate::words::{LONGEST_NAME, network_argument, network_id_of};

const INVALID_ID: &str = "network.invalid-id";

/// The daemon that is asked.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ConnectedDaemon {
    /// The role of the daemon.
    pub role: Role,
    /// The endpoint at which the daemon listens.
    #[serde(serialize_with = "crate::step::as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub socket: Endpoint,
    /// The process of the daemon, if the system tells it.
    pub pid: Option<u32>,
}

impl ConnectedDaemon {
    /// Returns the daemon that was found at this endpoint.
    pub fn new(role: Role, socket: Endpoint, pid: Option<u32>) -> Self {
        Self { role, socket, pid }
    }

    fn name(&self) -> String {
        let whose = if self.role == Role::Shared { "the shared daemon" } else { "the app's daemon" };
        self.pid.map_or_else(|| whose.to_owned(), |pid| format!("{whose} (process {pid})"))
    }
}

/// The changes to a daemon's networks, and the reasons.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Reconciled {
    /// The daemon.
    pub daemon: ConnectedDaemon,
    /// The planned changes.
    pub plan: reconcile::Plan,
    /// The results.
    pub outcome: reconcile::Outcome,
    /// The backup of the daemon's networks that the app's config does not keep.
    pub backup: Option<NetworkBackup>,
}

/// A backup of networks that a daemon left, or whose settings it changed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct NetworkBackup {
    /// The backup.
    pub id: BackupId,
    /// The network ids that the app's config does not have. It has the others with other settings.
    pub unsaved: Vec<String>,
    /// True if the app had saved all of them: the user, or the app, has removed them since.
    #[serde(skip)]
    is_removed: bool,
}

pub(crate) struct Reconciliation<'w> {
    pub(crate) context: &'w Context<'w>,
    /// The config. A network that the daemon leaves brings the settings which only the daemon has
    /// to it.
    pub(crate) document: &'w mut Document,
    /// True if the config may have lost networks. The daemon then leaves none.
    pub(crate) is_in_doubt: bool,
}

/// Brings the networks of a daemon that has just reported its `status` in line with the networks of
/// the config. A shared daemon also leaves networks that the app once had saved, according to the
/// backups of the config.
///
/// The caller must have held the home's lock since before it read the config and asked for the
/// status.
/// Fails if the active network cannot be converted for the daemon, or if the daemon does not
/// answer.
pub(crate) fn reconcile_networks(
    wanted: &mut Reconciliation<'_>,
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
    daemon: &mut dyn DaemonControl,
    asked: ConnectedDaemon,
    status: Status,
) -> Result<Reconciled, Diagnostic> {
    let (mut plan, mut not_backed_up) = plan_for(wanted, daemon, status.clone(), asked.role)?;
    if plan.steps.iter().any(|step| matches!(step.action, Action::Add { .. }))
        && let Some(backup) = restore_daemon_settings(wanted, (lock, &mut *ids))?
    {
        (plan, not_backed_up) = plan_for(wanted, daemon, status, asked.role)?;
        let from = format!("; its settings that only a daemon has are those of backup {}", backup.sequence());
        let joins = |step: &&mut reconcile::Step| matches!(step.action, Action::Add { .. });
        plan.steps.iter_mut().filter(joins).for_each(|step| step.reason.push_str(&from));
    }
    keep_settings(wanted, (lock, ids), &plan, &mut not_backed_up);
    remove_backed_up(wanted, &mut not_backed_up);
    let backup = match not_backed_up.is_empty() {
        true => None,
        false => Some(back_up(wanted, lock, &not_backed_up)?),
    };
    let outcome = reconcile::execute(daemon, &plan);
    // Masks the networks: they carry TURN credentials, and this report goes to screens and bug
    // reports.
    Ok(Reconciled { daemon: asked, plan: plan.masked(), outcome: outcome.masked(), backup })
}

/// Gives the active network the settings that only a daemon had for it, from the backups, if the
/// config does not say how a daemon announces it: without them, a silent network would be joined as
/// one that announces itself. An older version of the app drops them from the config, and a network
/// that is removed takes them along. A newer backup wins. Returns the last backup that was used.
/// Fails if a backup cannot be read that may hold these settings.
fn restore_from_backups(
    store: &dyn ConfigStore,
    document: &mut Document,
) -> Result<Option<BackupId>, StoreError> {
    let Some(schema) = store.schema() else { return Ok(None) };
    let lacking = |document: &Document| {
        networks::active(document)
            .filter(|active| networks::lacks_signaling_settings(*active))
            .and_then(network_id_of)
    };
    let Some(id) = lacking(document) else { return Ok(None) };
    let mut used = None;
    for backup in store.history()?.into_iter().filter(|backup| backup.intact || !backup.readable) {
        let bytes = store.read_backup(&backup.id)?;
        let previous = Document::parse(&bytes).map(|parsed| parsed.document);
        if previous.is_ok_and(|previous| schema.restore_networks(document, &previous, Some(&id))) {
            used = Some(backup.id);
        }
        if lacking(document).is_none() {
            break;
        }
    }
    Ok(used)
}

/// Does what [`restore_from_backups`] does, in the config on the disk as well. If that cannot be written,
/// the daemon gets the settings all the same.
fn restore_daemon_settings(
    wanted: &mut Reconciliation<'_>,
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
) -> Result<Option<BackupId>, StoreError> {
    let store = wanted.context.store;
    let Some(backup) = restore_from_backups(store, wanted.document)? else { return Ok(None) };
    let restored = wanted.document.clone();
    let id = networks::active(&restored).and_then(network_id_of);
    let mut edit = |config: &mut Document| {
        Ok(store.schema().is_some_and(|schema| schema.restore_networks(config, &restored, id.as_deref())))
    };
    match lock.update(ids, &mut edit) {
        Ok(applied) => *wanted.document = applied.document,
        Err(error) => tracing::warn!(%error, "the settings of a network are not in the config"),
    }
    Ok(Some(backup))
}

/// Returns true if a daemon that starts now would leave or change networks that the config does not
/// keep: they become a backup first. `is_in_doubt` tells if the config may have lost networks.
pub(crate) fn start_needs_backup(context: &Context<'_>, document: &Document, is_in_doubt: bool) -> bool {
    let Ok(Some(config)) = read_document(context.disk, &context.layout.daemon_config) else { return false };
    let joined_networks: Vec<String> = entries(&config).into_iter().filter_map(network_id_of).collect();
    let (version, device_id, more) = Default::default();
    let status = Status { version, device_id, joined_networks, more };
    let wanted = Reconciliation { context, document: &mut document.clone(), is_in_doubt };
    let planned = plan_for(&wanted, &mut ConfigAsDaemon(config.root().to_value()), status, Role::Own);
    let mut not_backed_up = planned.map(|(_, not_backed_up)| not_backed_up).unwrap_or_default();
    remove_backed_up(&wanted, &mut not_backed_up);
    !not_backed_up.is_empty()
}

/// Removes the saved networks whose settings a backup of the app's config keeps.
fn remove_backed_up(wanted: &Reconciliation<'_>, not_backed_up: &mut Vec<Value>) {
    let store = wanted.context.store;
    let Some(schema) = store.schema().filter(|_| !not_backed_up.is_empty()) else { return };
    let saved = schema.saved_networks(wanted.document).unwrap_or_default();
    let is_saved = |entry: &Value| {
        let id = entry["network_id"].as_str().unwrap_or_default();
        saved.iter().any(|saved| network_id::same(&saved.network_id, id))
    };
    let backups = backups_of(store, &[BackupKind::Good, BackupKind::Kept]);
    let is_backed_up = |entry: &Value| backups.iter().any(|backup| is_kept(schema, backup, entry));
    not_backed_up.retain(|entry| !is_saved(entry) || !is_backed_up(entry));
}

/// A daemon that has just started on this config.
struct ConfigAsDaemon(Value);

impl DaemonControl for ConfigAsDaemon {
    fn request(&mut self, _op: &str, _fields: Map<String, Value>) -> Result<Value, ControlError> {
        Ok(json!({ "config": self.0 }))
    }
}

/// Keeps the settings that only the daemon has for the saved networks which it leaves, in the
/// config: a silent network must not come back as an announced one. Removes the networks whose
/// settings the config has then from `not_backed_up`.
fn keep_settings(
    wanted: &mut Reconciliation<'_>,
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
    plan: &reconcile::Plan,
    not_backed_up: &mut Vec<Value>,
) {
    let Some(schema) = wanted.context.store.schema() else { return };
    let stays = |id: &str| {
        let steps = plan.steps.iter().map(|step| &step.action);
        steps
            .filter(|action| !matches!(action, Action::Remove { .. }))
            .any(|action| network_id::same(action.network_id(), id))
    };
    let left = not_backed_up.iter().filter(|entry| !stays(entry["network_id"].as_str().unwrap_or_default()));
    let left: Vec<_> = left.filter_map(|entry| Document::parse(entry.to_string().as_bytes()).ok()).collect();
    let left: Vec<_> = left.iter().map(|entry| entry.document.root()).collect();
    if let Some(document) = keep_entries(schema, (lock, ids), &left) {
        *wanted.document = document;
        not_backed_up.retain(|entry| !is_kept(schema, wanted.document, entry));
    }
}

/// Keeps the settings that only a daemon has for saved networks, from a file that no daemon reads
/// any more: without them, a silent network would come back as one that announces itself.
pub(crate) fn keep_settings_in(context: &Context<'_>, lock: &dyn LockedStore, previous: &[u8]) {
    let Some(schema) = context.store.schema() else { return };
    let previous = readable_part(previous);
    let in_use = joined_at_start(context);
    let is_in_use = |network: &ValueRef<'_>| {
        network_id_of(*network).is_some_and(|id| in_use.iter().any(|other| network_id::same(other, &id)))
    };
    let networks = previous.iter().flat_map(entries);
    let networks: Vec<_> = networks.filter(|network| !is_in_use(network)).collect();
    keep_entries(schema, (lock, &mut fresh_ids()), &networks);
}

/// Returns the ids of the networks that the app's own daemon joins when it starts on its config.
fn joined_at_start(context: &Context<'_>) -> Vec<String> {
    let config = read_document(context.disk, &context.layout.daemon_config).ok().flatten();
    config.iter().flat_map(entries).filter_map(network_id_of).collect()
}

/// Returns the networks in a config of a daemon.
fn entries(config: &Document) -> Vec<ValueRef<'_>> {
    config.get(&["networks"]).into_iter().flat_map(|networks| networks.items()).collect()
}

/// Keeps the settings that only a daemon has for these networks, and returns the config.
fn keep_entries(
    schema: &dyn AppSchema,
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
    networks: &[ValueRef<'_>],
) -> Option<Document> {
    let mut edit = |document: &mut Document| {
        let keep = |is_changed, network: &ValueRef<'_>| schema.keep_network(document, *network) || is_changed;
        Ok(networks.iter().fold(false, keep))
    };
    (!networks.is_empty()).then_some(())?;
    Some(unless_failed(lock.update(ids, &mut edit), "the edit of the config")?.document)
}

/// Returns true if the config keeps the settings of this network of a daemon.
fn is_kept(schema: &dyn AppSchema, document: &Document, entry: &Value) -> bool {
    let entry = Document::parse(entry.to_string().as_bytes());
    entry.is_ok_and(|entry| schema.keeps_network(document, entry.document.root()))
}

fn back_up(
    wanted: &Reconciliation<'_>,
    lock: &dyn LockedStore,
    networks: &[Value],
) -> Result<NetworkBackup, Diagnostic> {
    let id = lock.keep_networks(networks)?;
    let saved = wanted.context.store.schema().and_then(|schema| schema.saved_networks(wanted.document));
    let saved = saved.unwrap_or_default();
    let ids = networks.iter().filter_map(|network| network["network_id"].as_str());
    let has = |all: &[SavedNetwork], id: &str| all.iter().any(|one| network_id::same(&one.network_id, id));
    let unsaved: Vec<String> = ids.filter(|id| !has(&saved, id)).map(str::to_owned).collect();
    let store = wanted.context.store;
    let previous =
        store.schema().filter(|_| !unsaved.is_empty()).map(|schema| saved_in_backups(store, schema));
    let is_removed = previous.is_some_and(|previous| unsaved.iter().all(|id| has(&previous, id)));
    Ok(NetworkBackup { id, unsaved, is_removed })
}

/// Returns what [`fn@reconcile`] would do, and the daemon's entries that it would remove or change
/// and that the config does not keep.
pub(crate) fn plan_for(
    wanted: &Reconciliation<'_>,
    daemon: &mut dyn DaemonControl,
    status: Status,
    role: Role,
) -> Result<(reconcile::Plan, Vec<Value>), Diagnostic> {
    let (store, document, mut is_in_doubt) = (wanted.context.store, &*wanted.document, wanted.is_in_doubt);
    // The networks of an app that keeps none in its config are left alone.
    let schema = store.schema();
    let Some((schema, mut saved)) =
        schema.and_then(|schema| Some((schema, schema.saved_networks(document)?)))
    else {
        return Ok(Default::default());
    };
    let active = active_network(wanted.context, document)?;
    let is_saved = |joined: &String| saved.iter().any(|saved| network_id::same(&saved.network_id, joined));
    if (role == Role::Shared || saved.is_empty()) && !status.joined_networks.iter().all(is_saved) {
        let previous = saved_in_backups(store, schema);
        // An app that never saved a network has removed none: an earlier launch may have repaired a
        // config that had lost its networks.
        is_in_doubt |= saved.is_empty() && previous.is_empty();
        saved.extend(previous);
    }
    let view = reconcile::gather(daemon, status, role, active, saved)?;
    let mut plan = reconcile::plan(&view);
    if is_in_doubt {
        plan.keep_joined("the config may have lost it");
    }
    let entries = plan.changed_entries(view.networks.as_deref().unwrap_or_default());
    let not_backed_up =
        entries.into_iter().filter(|entry| !is_kept(schema, document, entry)).cloned().collect();
    Ok((plan, not_backed_up))
}

/// Returns the network that a daemon is to join, in the daemon's shape.
///
/// # Errors
/// Fails if no daemon would join the network of that id or of those settings.
pub fn active_network(context: &Context<'_>, document: &Document) -> Result<Option<Value>, Diagnostic> {
    let Some(schema) = context.store.schema() else { return Ok(None) };
    schema.active_network(document).map_err(|found| {
        // An id is free text, and may contain a login.
        let id = mask_text(&found.path).unwrap_or(found.path);
        let message = format!("the active network {}: {}", shortened(&id, LONGEST_NAME), found.message);
        let hint = match found.code == INVALID_ID {
            true => format!("{PROGRAM} network use --none"),
            false => edit(&context.layout.app_config, line_of_active(document)),
        };
        Diagnostic::error(found.code, message).hint(hint)
    })
}

/// Returns the error of a launch that has to join the active network and cannot read a backup, which
/// may hold the settings that keep the network private. `detection` has the daemon that the launch
/// would use.
pub(crate) fn unreadable_backup(
    context: &Context<'_>,
    detection: &Detection,
    document: &Document,
) -> Option<Diagnostic> {
    let id = networks::active(document).and_then(network_id_of)?;
    let joined: Vec<String> = match &detection.decision {
        Decision::Attach { status, .. } => status.joined_networks.clone(),
        _ => joined_at_start(context),
    };
    let is_joined = joined.iter().any(|joined| network_id::same(joined, &id));
    let unread = || restore_from_backups(context.store, &mut document.clone()).err();
    (!is_joined).then(unread).flatten().map(|error| Diagnostic::from(&error))
}

/// Returns the line of the config at which the active network begins.
fn line_of_active(document: &Document) -> Option<usize> {
    let id = networks::active(document).and_then(networks::internal_id)?;
    let number = networks::saved(document).iter().position(|network| network.id == id)?;
    Some(document.place(&format!("/cloud_mesh/networks/{number}"))?.line)
}

/// Warns that the app's own daemon is in a network that is not the active one, or not in the active
/// one: it did not answer when the user changed it, or the shared daemon was asked in its place.
pub(crate) fn unreconciled(
    context: &Context<'_>,
    detection: &Detection,
    document: &Document,
    program: &str,
) -> Option<Diagnostic> {
    let own = detection.attempts.iter().find(|attempt| attempt.role == Role::Own)?;
    let Probe::Answered { status, .. } = &own.probe else { return None };
    let is_shared = match &detection.decision {
        // On Windows both daemons have one address, and a link may lead from one to the other.
        Decision::Attach { role: Role::Shared, endpoint, .. } if endpoint.is_same_place(&own.endpoint) => {
            return None;
        }
        Decision::Attach { role, .. } => *role == Role::Shared,
        _ => false,
    };
    let wanted = Reconciliation { context, document: &mut document.clone(), is_in_doubt: false };
    let (plan, _) = plan_for(&wanted, &mut ConfigAsDaemon(json!({})), status.clone(), Role::Own).ok()?;
    let is_left = |action: &&Action| matches!(action, Action::Remove { .. });
    let is_joined = |action: &&Action| matches!(action, Action::Add { .. }) && !is_shared;
    let actions = || plan.steps.iter().map(|step| &step.action);
    let (code, message) = if let Some(left) = actions().find(is_left) {
        let left = shortened(left.network_id(), LONGEST_NAME);
        let daemon = match is_shared {
            true => "the app's daemon runs beside the shared one, and",
            false => "the running daemon",
        };
        ("networks.not-left", format!("{daemon} is still in {left}, which is not the active network"))
    } else {
        let active = shortened(actions().find(is_joined)?.network_id(), LONGEST_NAME);
        ("networks.not-joined", format!("the running daemon has not joined {active}, the active network"))
    };
    // A launch asks the shared daemon alone.
    let command = if is_shared { "daemon stop" } else { "launch --detach" };
    Some(Diagnostic::warning(code, message).hint(format!("{program} {command}")))
}

/// Returns the networks in the routine backups of the config: a network that was removed while no
/// daemon ran, or in a run that was killed, is still the app's to leave. It makes no difference
/// that another program has joined a network of the same name since: the app's network is also
/// known by its internal id. A network that is in no backup any more is left alone.
pub(crate) fn saved_in_backups(store: &dyn ConfigStore, schema: &dyn AppSchema) -> Vec<SavedNetwork> {
    let backups = backups_of(store, &[BackupKind::Good]);
    backups.iter().filter_map(|backup| schema.saved_networks(backup)).flatten().collect()
}

/// Returns the configs in the backups of these kinds that can be read.
fn backups_of(store: &dyn ConfigStore, kinds: &[BackupKind]) -> Vec<Document> {
    let backups = unless_failed(store.history(), "the list of the backups").unwrap_or_default();
    let wanted = backups.into_iter().filter(|backup| kinds.contains(&backup.kind));
    wanted
        .filter_map(|backup| unless_failed(store.read_backup(&backup.id), "the look at a backup"))
        .filter_map(|bytes| Some(Document::parse(&bytes).ok()?.document))
        .collect()
}

/// Returns what failed of a reconciliation: the network, the daemon, the reason, and one hint.
/// `program` is the name of this program with its options. Only warns if a network could not be
/// left, which the next pass tries again, or if the daemon joined a network and reports it
/// otherwise than it was told.
pub(crate) fn reconcile_diagnostics(
    context: &Context<'_>,
    reconciled: &Reconciled,
    program: &str,
) -> Vec<Diagnostic> {
    let steps = reconciled.outcome.steps.iter();
    steps
        .filter_map(|done| {
            let failed = step_diagnostic(&done.step.action, &done.result, &reconciled.daemon, program)?;
            let newer = newer_file(context, done.step.action.network_id(), &failed);
            Some(newer.filter(|_| reconciled.daemon.role == Role::Own).unwrap_or(failed))
        })
        .chain(reconciled.backup.as_ref().map(|backup| kept_diagnostic(reconciled, backup, program)))
        .collect()
}

pub(crate) const NETWORKS_KEPT: &str = "daemon.networks-kept";

fn kept_diagnostic(reconciled: &Reconciled, backup: &NetworkBackup, program: &str) -> Diagnostic {
    let number = backup.id.sequence();
    // A daemon that was told nothing, or refused, is still in the network.
    let is_left = |id: &&str| {
        let steps = reconciled.outcome.steps.iter();
        steps
            .filter(|done| !matches!(&done.result, StepResult::Failed { code, .. } if code != NOT_APPLIED))
            .filter(|done| !matches!(done.result, StepResult::Skipped { .. }))
            .any(|done| network_id::same(done.step.action.network_id(), id))
    };
    let left: Vec<&str> = backup.unsaved.iter().map(String::as_str).filter(is_left).collect();
    let (message, hint) = match left.as_slice() {
        [] => (
            format!("backup {number} keeps settings of a network that only the daemon had"),
            format!("{program} config history"),
        ),
        left => {
            let left = left.join(", ");
            let left = shortened(&left, LONGEST_NAME);
            let why = if backup.is_removed { "is saved no more" } else { "the app has not saved" };
            (
                format!("the daemon left {left}, which {why}; backup {number} keeps the settings"),
                // A repair refuses beside a daemon that may write the home.
                format!(
                    "{program} daemon stop && {program} config restore {number} --as-is && {program} repair"
                ),
            )
        }
    };
    let severity = if backup.is_removed { Severity::Info } else { Severity::Warning };
    Diagnostic { severity, ..Diagnostic::warning(NETWORKS_KEPT, message).hint(hint) }
}

fn step_diagnostic(
    action: &Action,
    result: &StepResult,
    daemon: &ConnectedDaemon,
    program: &str,
) -> Option<Diagnostic> {
    let StepResult::Failed { code, message, intact } = result else { return None };
    let message = format!("{} {}: {message}", daemon.name(), what_failed(action, code));
    let mut diagnostic = Diagnostic::error(code, message).class(class_of_step(code));
    if let Some(socket) = daemon.socket.path() {
        diagnostic = diagnostic.at(socket);
    }
    if code == "daemon.cancelled" && *intact {
        // The user cancelled and knows it, and nothing is lost: this is no error.
        return Some(Diagnostic { severity: Severity::Info, ..diagnostic });
    }
    diagnostic.hint = Some(step_hint(action, code, action.network_id(), daemon, program));
    let is_minor = matches!(action, Action::Remove { .. }) || code == NOT_APPLIED;
    Some(if is_minor { diagnostic.as_warning() } else { diagnostic })
}

/// Names the roster or the state of a network that has a version which the daemon does not read.
/// The user updates the daemon, or sets the file aside.
fn newer_file(context: &Context<'_>, network: &str, refused: &Diagnostic) -> Option<Diagnostic> {
    if refused.code != "daemon.unsupported-version" {
        return None;
    }
    let layout = context.layout;
    let is_state = refused.message.contains("network_state");
    let dir = if is_state { &layout.daemon_states } else { &layout.daemon_rosters };
    let path = dir.join(format!("{network}.json"));
    context.disk.stat_follow(path.as_ref()).ok()?;
    let message =
        format!("{}; a newer daemon wrote {path}: update the app, or set the file aside", refused.message);
    Some(Diagnostic { message, ..refused.clone() }.at(&path).hint(move_aside(&path, "newer")))
}

fn class_of_step(code: &str) -> Class {
    match code {
        "daemon.unreachable" | "daemon.busy" | "daemon.closed" | "daemon.replaced" | "daemon.protocol" => {
            Class::Daemon
        }
        "daemon.foreign-owner" => Class::Refused,
        _ => Class::Failed,
    }
}

/// Returns what the daemon did not do, as the middle of a sentence.
fn what_failed(action: &Action, code: &str) -> String {
    let network = network_name(action);
    match action {
        Action::Remove { .. } if code == NOT_APPLIED => format!("left {network} in part"),
        _ if code == NOT_APPLIED => format!("took {network} in part"),
        Action::Add { .. } => format!("did not join {network}"),
        Action::Update { differs, .. } => {
            format!("did not bring {network} up to date ({})", differs.join(", "))
        }
        Action::Replace { .. } => format!("did not join {network} anew"),
        Action::Remove { .. } => format!("did not leave {network}"),
        _ => format!("did not do what it was told about {network}"),
    }
}

fn network_name(action: &Action) -> String {
    let id = shortened(action.network_id(), LONGEST_NAME);
    match action.label() {
        Some(label) => format!("{id} ({})", shortened(label, LONGEST_NAME)),
        None => id.into_owned(),
    }
}

/// Returns the command that mends a failed step, or shows the problem.
fn step_hint(action: &Action, code: &str, network: &str, daemon: &ConnectedDaemon, program: &str) -> String {
    match (code, daemon.pid) {
        ("daemon.busy" | "daemon.protocol", Some(_)) if daemon.role == Role::Own => {
            format!("{program} daemon restart")
        }
        ("daemon.busy" | "daemon.protocol" | "daemon.foreign-owner", Some(pid)) if !cfg!(windows) => {
            format!("ps -fp {pid}")
        }
        ("daemon.refused-op" | "daemon.bad-request" | "daemon.unknown-op" | NOT_APPLIED | DROPPED, _) => {
            match action {
                // The next launch tries again.
                Action::Remove { .. } => format!("{program} launch --once"),
                _ => format!("{program} network show {}", network_argument(network)),
            }
        }
        _ => format!("{program} status"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_one_way_out() {
        let add = Action::Add { config: json!({"network_id": "home", "label": "Home"}) };
        let remove = Action::Remove { network: "home".to_owned() };
        let asked = |pid| ConnectedDaemon::new(Role::Shared, Endpoint::unix("/s"), pid);
        let hint = |action, code, pid| step_hint(action, code, "home", &asked(pid), "prog");
        assert_eq!(hint(&add, "daemon.refused-op", None), "prog network show home");
        assert_eq!(hint(&remove, "daemon.refused-op", None), "prog launch --once");
        assert_eq!(hint(&add, "daemon.busy", None), "prog status");
        assert_eq!(hint(&add, "daemon.closed", Some(7)), "prog status");
        let own = ConnectedDaemon::new(Role::Own, Endpoint::unix("/s"), Some(7));
        assert_eq!(step_hint(&add, "daemon.busy", "home", &own, "prog"), "prog daemon restart");
        if cfg!(unix) {
            assert_eq!(hint(&add, "daemon.busy", Some(7)), "ps -fp 7");
        }
        assert_eq!(network_name(&add), "home (Home)");
        let severity = |intact| {
            let (code, message) = ("daemon.cancelled".to_owned(), String::new());
            let result = StepResult::Failed { code, message, intact };
            step_diagnostic(&add, &result, &asked(None), "prog").unwrap().severity
        };
        assert_eq!((severity(true), severity(false)), (Severity::Info, Severity::Error));
        assert_eq!(asked(Some(7)).name(), "the shared daemon (process 7)");
    }
}
