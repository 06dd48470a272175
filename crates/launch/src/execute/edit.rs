//! A change of the config by the user, the daemon that follows the change, and a network that the
//! user gives to another device.

use std::path::Path;

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{Document, Ids, networks};
use myownllm_config_store::{Accepted, EditError, HistoryEntry, LockedStore, Restored, StoreError, Updated};
use myownllm_daemon::{Decision, Role};
use myownllm_identity::Answer;

use crate::context::{Context, Options, lock_home};
use crate::daemons::CONFIG_LIMIT;
use crate::daemons::networks::{
    ConnectedDaemon, NETWORKS_KEPT, Reconciled, Reconciliation, active_network, reconcile_diagnostics,
    reconcile_networks, saved, unreconciled,
};
use crate::execute::sequence::stop_daemons;
use crate::files::identity::{ensure_home, identity_answer};
use crate::homes::trust::{ensure_permitted, wrote_where_others_can};
use crate::plan::stage::orphan_diagnostic;
use crate::plan::start::refusal_diagnostic;
use crate::words::diagnostic::{Diagnostic, Severity, unless_failed};
use crate::words::{name_of, network_argument};

/// A change of the config, and its consequences.
#[derive(Debug)]
#[non_exhaustive]
pub struct Edit {
    /// The change of the networks.
    pub change: networks::Change,
    /// The config as it is now.
    pub updated: Updated,
    /// The response of a running daemon to the change.
    pub followed: Followed,
    /// The diagnostics.
    pub diagnostics: Vec<Diagnostic>,
    /// The name of the network that was active before.
    pub active_before: Option<String>,
    /// The backup that holds the config as it was before the change.
    pub backup: Option<HistoryEntry>,
}

/// The response of a running daemon to a change.
#[derive(Debug)]
pub enum Followed {
    /// The caller asked for nothing about the active network.
    NotAsked,
    /// No daemon runs. The next launch brings a daemon in line.
    NoDaemon,
    /// The daemon followed.
    Daemon(Reconciled),
    /// The daemon could not be asked.
    Failed,
}

/// Changes the config on disk, then, with `follows`, brings a running daemon in line with it, unless
/// the change leaves alone what a daemon gets. Holds the lock the whole time.
///
/// # Errors
/// Fails if the home may not be changed, if a daemon of the old location runs, or if the edit was
/// refused.
pub fn edit_config(
    context: &Context<'_>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    follows: bool,
    edit: &mut dyn FnMut(&mut Document) -> Result<networks::Change, Diagnostic>,
) -> Result<Edit, Diagnostic> {
    ensure_permitted(context, options)?;
    ensure_no_legacy_daemon(context, options)?;
    ensure_home(context)?;
    let lock = lock_home(context, options)?;
    let mut made = Err(Diagnostic::error("store.edit", "the edit was not made"));
    let mut active_before = None;
    // A daemon gets no other part of the config.
    let for_daemon = |document: &Document| (active_network(context, document).ok(), saved(document));
    let mut before = Default::default();
    let mut apply = |document: &mut Document| -> Result<bool, EditError> {
        active_before = networks::active(document).map(|network| name_of(document, &network));
        before = for_daemon(document);
        made = edit(document);
        made.as_ref().map(|change| change.changed).map_err(|refusal| refusal.message.clone().into())
    };
    let previous = context.disk.read(context.layout.app_config.as_std_path(), CONFIG_LIMIT);
    let previous = unless_failed(previous, "the look at the config before the edit");
    let mut updated = match lock.update(ids, &mut apply) {
        Ok(updated) => updated,
        Err(StoreError::Edit { .. }) => {
            // A killed run may have made the change that is refused now, and may not have synced
            // it.
            lock.ensure_durable()?;
            let refused = Diagnostic::error("store.edit", "the edit was refused");
            return Err(made.err().unwrap_or(refused));
        }
        Err(error) => return Err(Diagnostic::from(&error)),
    };
    let change = made?;
    let mut diagnostics: Vec<Diagnostic> = updated.diagnostics.iter().map(Diagnostic::from).collect();
    diagnostics.extend(wrote_where_others_can(context).filter(|_| updated.changed));
    let is_daemons = !updated.changed || for_daemon(&updated.document) != before;
    let followed = match follows && is_daemons {
        true => follow(context, options, (&*lock, ids, &mut updated.document), &mut diagnostics),
        false => Followed::NotAsked,
    };
    if matches!(followed, Followed::NoDaemon) {
        let refused = active_network(context, &updated.document).err();
        diagnostics.extend(refused.map(Diagnostic::as_warning));
    }
    if let Followed::Daemon(Reconciled { backup: Some(kept), .. }) = &followed
        && kept.unsaved.iter().eq(&change.network_id)
    {
        // The user has just removed this network, and the answer names the command that undoes it.
        let kept = diagnostics.iter_mut().filter(|diagnostic| diagnostic.code == NETWORKS_KEPT);
        kept.for_each(|diagnostic| diagnostic.severity = Severity::Info);
    }
    // Releases the lock only now: another process that changes the active network would otherwise
    // bring the daemon in line with its own change meanwhile.
    drop(lock);
    let previous = previous.filter(|_| updated.changed);
    let backup = previous.and_then(|previous| backup_of(context, &previous));
    Ok(Edit { change, updated, followed, diagnostics, active_before, backup })
}

fn backup_of(context: &Context<'_>, previous: &[u8]) -> Option<HistoryEntry> {
    let backups = unless_failed(context.store.history(), "the list of the backups")?;
    let is_previous =
        |path: &Path| context.disk.read(path, CONFIG_LIMIT).is_ok_and(|bytes| bytes == previous);
    backups.into_iter().find(|backup| backup.intact && is_previous(backup.path.as_ref()))
}

/// A backup of the config that was restored, and its consequences.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restore {
    /// The config as it is now.
    pub restored: Restored,
    /// The response of a running daemon to the config.
    pub followed: Followed,
    /// The diagnostics.
    pub diagnostics: Vec<Diagnostic>,
}

/// Restores the backup with this name; with `as_is`, even if it is no valid config of the app.
/// Brings a running daemon in line with a valid one. Holds the lock the whole time.
///
/// # Errors
/// Fails if no backup has the name, if the home may not be changed, if a daemon of the old location
/// runs, or if the backup cannot be restored.
pub fn restore_backup(
    context: &Context<'_>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    name: &str,
    as_is: bool,
) -> Result<Restore, Diagnostic> {
    let id = context.store.find_backup(name)?;
    ensure_permitted(context, options)?;
    ensure_no_legacy_daemon(context, options)?;
    let lock = lock_home(context, options)?;
    let made = if as_is { lock.restore_as_is(ids, &id) } else { lock.restore(ids, &id) };
    let mut restored = made.map_err(|error| match error {
        // The hint shows the other backups to choose from.
        StoreError::BadBackup { .. } => {
            Diagnostic::from(error).hint(format!("{} config history", options.program))
        }
        _ => Diagnostic::from(error),
    })?;
    let mut diagnostics: Vec<Diagnostic> = restored.diagnostics.iter().map(Diagnostic::from).collect();
    diagnostics.extend(wrote_where_others_can(context).filter(|_| restored.changed));
    // A config that was restored as it is may need a repair first. A launch reports what is wrong
    // with the key.
    let follows = restored.changed && !as_is && identity_answer(context).expected().is_ok();
    let followed = match follows {
        true => follow(context, options, (&*lock, ids, &mut restored.document), &mut diagnostics),
        false => Followed::NotAsked,
    };
    Ok(Restore { restored, followed, diagnostics })
}

/// Makes the present config the last good one, after a loss of settings that the user wants.
///
/// # Errors
/// Fails if the home may not be changed, if another process holds the lock, or if the backup cannot
/// be made.
pub fn accept_config(context: &Context<'_>, options: &Options<'_>) -> Result<Accepted, Diagnostic> {
    ensure_permitted(context, options)?;
    Ok(lock_home(context, options)?.accept()?)
}

/// Checks that no daemon writes the app's home: such a daemon would undo a change.
fn ensure_no_legacy_daemon(context: &Context<'_>, options: &Options<'_>) -> Result<(), Diagnostic> {
    let live = context.daemons.live_legacy();
    stop_daemons(context.daemons, live.as_slice(), options, &mut Vec::new())
}

/// Brings a running daemon in line with the config. Starts none.
fn follow(
    context: &Context<'_>,
    options: &Options<'_>,
    (lock, ids, document): (&dyn LockedStore, &mut dyn Ids, &mut Document),
    diagnostics: &mut Vec<Diagnostic>,
) -> Followed {
    match try_to_follow(context, options, (lock, ids, &mut *document)) {
        Ok(Some(reconciled)) => {
            diagnostics.extend(reconcile_diagnostics(context, &reconciled, options.program));
            if reconciled.daemon.role == Role::Shared {
                let found = context.daemons.survey(None);
                diagnostics.extend(unreconciled(context, &found, document, options.program));
            }
            Followed::Daemon(reconciled)
        }
        Ok(None) => Followed::NoDaemon,
        Err(refusal) => {
            diagnostics.push(refusal);
            Followed::Failed
        }
    }
}

fn try_to_follow(
    context: &Context<'_>,
    options: &Options<'_>,
    (lock, ids, document): (&dyn LockedStore, &mut dyn Ids, &mut Document),
) -> Result<Option<Reconciled>, Diagnostic> {
    let answer = identity_answer(context);
    let (found, client) = match answer.expected() {
        Ok(expected) => context.daemons.detect(&expected),
        // The shared daemon has a key of its own. A launch reports what is wrong with this one:
        // here it only means that the app's daemon is not to be asked.
        Err(refusal) => match context.daemons.survey(None) {
            found if matches!(found.decision, Decision::Attach { role: Role::Shared, .. }) => (found, None),
            // The next launch moves the identity file, and applies the change.
            found if matches!((&answer, &found.decision), (Answer::Pending { .. }, Decision::Spawn)) => {
                (found, None)
            }
            _ => return Err(Diagnostic::from(refusal).as_warning()),
        },
    };
    match found.decision {
        Decision::Attach { role, endpoint, status, pid, .. } => {
            let client = client.map_or_else(|| context.daemons.connect(&endpoint), Ok);
            let mut client = client?;
            let asked = ConnectedDaemon::new(role, endpoint, pid);
            // The user has just decided what is active.
            let mut wanted = Reconciliation { context, document, is_in_doubt: false };
            reconcile_networks(&mut wanted, (lock, ids), &mut *client, asked, status).map(Some)
        }
        Decision::Refuse(refusal) => Err(refusal_diagnostic(context, &refusal)),
        _ => match context.daemons.orphans(None).first() {
            Some(live) => Err(orphan_diagnostic(live, options)),
            None => Ok(None),
        },
    }
}

/// Returns the envelope of the saved network with this name, and what it leaves out.
///
/// # Errors
/// Fails if no network or several networks have the name, or if the network is incomplete.
pub fn export_network(
    document: &Document,
    options: &Options<'_>,
    name: &str,
    with_secrets: bool,
) -> Result<(Envelope, Vec<Diagnostic>), Diagnostic> {
    let network = networks::only(document, name)?;
    let envelope = networks::export(document, &networks::internal_id(network).unwrap_or_default())?;
    let mut left_out = Vec::new();
    let [whole, bare] = [true, false].map(|with_secrets| envelope.to_value(with_secrets));
    let members = whole.as_object().into_iter().flatten();
    let stripped: Vec<_> =
        members.filter(|(key, value)| bare[*key] != **value).map(|(key, _)| &**key).collect();
    if !with_secrets && !stripped.is_empty() {
        let hint = format!("{} network export --with-secrets {}", options.program, network_argument(name));
        let message = format!("the credentials in {} were left out", stripped.join(", "));
        left_out.push(Diagnostic::warning("network.secrets-left-out", message).hint(hint));
    }
    let own = network.get("daemon_settings");
    let keys = own.into_iter().flat_map(|own| own.members()).map(|(key, _)| key);
    let own: Vec<_> = keys.filter(|key| ["signaling", "pinned_peers"].contains(&&**key)).collect();
    if !own.is_empty() {
        let message = format!(
            "the settings that only the daemon knows were left out: {}. Without them, another device joins the \
             network as an open one that announces itself",
            own.join(", ")
        );
        left_out.push(Diagnostic::warning("network.settings-left-out", message));
    }
    Ok((envelope, left_out))
}
