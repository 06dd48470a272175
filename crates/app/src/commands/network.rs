//! `network`: the saved networks.

use std::path::Path;

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::networks::NetworksError;
use myownllm_config_model::{AppConfig, Document, ValueRef, masking, network_id, networks};
use myownllm_config_store::{ConfigStore, EditError, HistoryEntry, StoreError, Updated};
use myownllm_daemon::Decision;
use myownllm_durable_fs::{Disk, quote};
use myownllm_launch::{
    ConnectedDaemon, Context, Diagnostic, Options, ensure_changeable, expected_key, identity_answer,
    lock_home, orphan_diagnostic, reconcile, reconcile_diagnostics, refusal_diagnostic, settle_live,
    wrote_where_others_can,
};
use serde_json::{Value, json};

use super::filters::{envelope_answer, read_stdin};
use super::launch::{networks_did, networks_line};
use crate::cli::NetworkCommand;
use crate::exit::exit_of;
use crate::output::{Answer, bounded, long};
use crate::run_log::Trace;
use crate::screen::Page;
use crate::world::{World, fresh_ids};

/// An envelope is a page of text.
const ENVELOPE_LIMIT: u64 = 16 << 20;

pub(crate) fn run(world: &World, command: &NetworkCommand) -> Result<Answer, Diagnostic> {
    match command {
        NetworkCommand::List => list(world),
        NetworkCommand::Show { name, with_secrets } => show(world, name, *with_secrets),
        NetworkCommand::Export { name, with_secrets } => export(world, name, *with_secrets),
        NetworkCommand::Add { name, activate } => change(world, *activate, &mut |document| {
            networks::add(document, name, *activate, &mut fresh_ids())
                .map_err(|error| networks_diagnostic(world, &error))
        })
        .map_err(|diagnostic| match network_id::normalize(name) {
            // A name that will not do will not do after a repair either.
            Err(error) if diagnostic.code == "store.repair-pending" => {
                networks_diagnostic(world, &NetworksError::Invalid(error))
            }
            Err(error) if diagnostic.code == error.code() => match error.close() {
                Some(close) => diagnostic.hint(format!("{} network add {close}", world.program)),
                None => diagnostic,
            },
            _ => diagnostic,
        })
        .map(|edit| {
            let what = if edit.change.created { "Saved" } else { "Saved before:" };
            edit.told(world, "network add", what)
        }),
        NetworkCommand::Remove { name } => change(world, true, &mut |document| {
            let id = internal_id(world, document, name)?;
            networks::remove(document, &id).map_err(|error| networks_diagnostic(world, &error))
        })
        .map(|edit| edit.told(world, "network remove", "Removed")),
        NetworkCommand::Use { name, none } => {
            let name = if *none { None } else { name.as_deref() };
            change(world, true, &mut |document| {
                let id = name.map(|name| internal_id(world, document, name)).transpose()?;
                networks::activate(document, id.as_deref())
                    .map_err(|error| networks_diagnostic(world, &error))
            })
            .map(|mut edit| {
                let before =
                    edit.before.as_deref().map_or_else(|| "--none".to_owned(), |name| quote(Path::new(name)));
                edit.undo = edit.updated.changed.then(|| format!("{} network use {before}", world.program));
                edit.told(
                    world,
                    "network use",
                    if name.is_some() { "Active:" } else { "No network is active" },
                )
            })
        }
        NetworkCommand::Import { file, activate } => {
            let envelope = read_envelope(world, file)?;
            change(world, *activate, &mut |document| {
                networks::import(document, &envelope, *activate, &mut fresh_ids())
                    .map_err(|error| networks_diagnostic(world, &error))
            })
            .map(|edit| {
                let what = if edit.change.created { "Imported" } else { "Brought up to date:" };
                edit.told(world, "network import", what)
            })
        }
        NetworkCommand::ToDaemon => super::filters::to_daemon(),
        NetworkCommand::ToEnvelope { with_secrets } => super::filters::to_envelope(*with_secrets),
        NetworkCommand::FromEnvelope => super::filters::from_envelope(),
    }
}

/// The config as a launch would have it, and what was odd in it.
fn look(world: &World) -> Result<(Document, Vec<Diagnostic>), Diagnostic> {
    let wired = world.wire();
    let loaded = wired.store.look(&mut fresh_ids()).map_err(|error| Diagnostic::from(&error))?;
    Ok((loaded.document, loaded.diagnostics.iter().map(Diagnostic::from).collect()))
}

/// The internal id of the one network of that name.
fn internal_id(world: &World, document: &Document, name: &str) -> Result<String, Diagnostic> {
    let network = networks::only(document, name).map_err(|error| networks_diagnostic(world, &error))?;
    Ok(text_of(&network, "id"))
}

fn list(world: &World) -> Result<Answer, Diagnostic> {
    let (document, diagnostics) = look(world)?;
    // Labels and ids are free texts, and somebody may have put a login into one.
    let document = masking::mask(&document);
    let mesh = AppConfig::view(&document).cloud_mesh;
    let active = networks::active(&document).map(|network| text_of(&network, "id"));
    let mut page = Page::default();
    let mut rows = Vec::new();
    let width = mesh.networks.iter().map(|network| network.network_id.chars().count()).max().unwrap_or(0);
    for network in &mesh.networks {
        let is_active = active.as_ref() == Some(&network.id);
        let mark = if is_active { "*" } else { " " };
        let (kind, label) = (network.kind.as_deref().unwrap_or("open"), network.label.as_deref());
        let label =
            label.filter(|label| !label.is_empty()).map_or_else(String::new, |label| format!("{label}  "));
        let text = format!("{kind:<8}{label}({})", network.id);
        page.row(format!("{mark} {}", network.network_id), width + 4, text);
        rows.push(json!({ "id": network.id, "network_id": network.network_id, "label": network.label, "kind": network.kind, "active": is_active }));
    }
    if rows.is_empty() {
        page.line("No networks are saved. To save one:");
        page.copied(2, "", format!("{} network add NAME", world.program));
    } else if active.is_none() {
        page.line("None is active. To choose one:");
        page.copied(2, "", format!("{} network use NAME", world.program));
    }
    let data = json!({ "networks": rows, "active": active, "enabled": mesh.enabled });
    Ok(Answer { diagnostics, ..Answer::data(page, data) })
}

fn text_of(network: &ValueRef<'_>, key: &str) -> String {
    network.get(key).and_then(|value| value.as_str().map(std::borrow::Cow::into_owned)).unwrap_or_default()
}

fn show(world: &World, name: &str, with_secrets: bool) -> Result<Answer, Diagnostic> {
    let (document, diagnostics) = look(world)?;
    let shown = if with_secrets { document } else { masking::mask(&document) };
    let network = networks::only(&shown, name).map_err(|error| networks_diagnostic(world, &error))?;
    let mut alone = Document::empty();
    alone.set(&[], myownllm_config_model::Fragment::from(network));
    Ok(Answer { diagnostics, ..Answer::data(alone.to_text(), json!({ "network": network.to_value() })) })
}

fn export(world: &World, name: &str, with_secrets: bool) -> Result<Answer, Diagnostic> {
    let (document, diagnostics) = look(world)?;
    let id = internal_id(world, &document, name)?;
    let envelope = networks::export(&document, &id).map_err(|error| networks_diagnostic(world, &error))?;
    let mut answer = envelope_answer(&envelope, with_secrets);
    answer.diagnostics = diagnostics;
    if !with_secrets && envelope.to_value(true) != envelope.to_value(false) {
        answer.diagnostics.push(
            Diagnostic::warning("network.secrets-left-out", "the TURN credentials were left out")
                .hint(format!("{} network export {} --with-secrets", world.program, quote(Path::new(name)))),
        );
    }
    Ok(answer)
}

fn read_envelope(world: &World, file: &Path) -> Result<Envelope, Diagnostic> {
    let bytes = if file == Path::new("-") {
        read_stdin()?
    } else {
        let path = std::path::absolute(file)
            .map_err(|error| Diagnostic::from_error(&error, "input.unreadable", None).at(file))?;
        world
            .disk
            .read(&path, ENVELOPE_LIMIT)
            .map_err(|error| Diagnostic::from_error(&error, "input.unreadable", error.hint()).at(&path))?
    };
    Envelope::parse(&bytes)
        .map_err(|error| Diagnostic::from_error(&error, error.code(), error.hint()).at(file))
}

fn networks_diagnostic(world: &World, error: &NetworksError) -> Diagnostic {
    let hint = error.hint().unwrap_or_else(|| format!("{} network list", world.program));
    Diagnostic::from_error(error, error.code(), Some(hint))
}

/// A change that was made to the config, and what followed from it.
pub(crate) struct Edit {
    pub(crate) change: networks::Change,
    pub(crate) updated: Updated,
    followed: Followed,
    config: String,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What names the network that was active before.
    before: Option<String>,
    /// The backup that holds the config as it was before the change.
    backup: Option<HistoryEntry>,
    /// The command that undoes the change.
    pub(crate) undo: Option<String>,
}

/// What a running daemon made of the change.
enum Followed {
    /// Nothing about the active network was asked for.
    NotAsked,
    /// None runs; the next launch follows.
    NoDaemon,
    /// It followed.
    Daemon(myownllm_launch::Reconciled),
    /// It could not be asked.
    Failed,
}

impl Edit {
    fn told(self, world: &World, command: &str, what: &str) -> Answer {
        let saved = if self.updated.changed { "" } else { "  (no change)" };
        let known = self.change.network_id.clone().or_else(|| self.change.id.clone()).unwrap_or_default();
        let mut page = Page::default();
        page.line(format!("{what} {known}{saved}").trim_end());
        let is_none_active = networks::active(&self.updated.document).is_none();
        if what == "Removed" && is_none_active && !networks::list(&self.updated.document).is_empty() {
            page.line("No network is active now. To choose one:");
            page.copied(2, "", format!("{} network use NAME", world.program));
        }
        page.page(self.aftermath());
        let data = json!({
            "id": self.change.id,
            "network_id": self.change.network_id,
            "created": self.change.created,
            "changed": self.updated.changed,
            "config": self.config,
            "reconcile": self.reconciled(),
            "undo": self.undo,
        });
        let exit = exit_of(&self.diagnostics);
        let trace = self.trace(world, &format!("{command} {known}"));
        Answer { diagnostics: self.diagnostics, trace, ..Answer::done(page, data) }.exit(exit)
    }

    /// What was changed, for the run log.
    pub(crate) fn trace(&self, world: &World, command: &str) -> Option<Trace> {
        let mut did: Vec<String> =
            self.updated.changed.then(|| "changed the config".to_owned()).into_iter().collect();
        if let Followed::Daemon(reconciled) = &self.followed {
            did.extend(networks_did(reconciled));
        }
        let backup = self.backup.as_ref().map(|backup| backup.id.to_string());
        Some(Trace::of(&world.layout, command, did)?.before(backup))
    }

    /// What the daemon made of it, and the way back.
    pub(crate) fn aftermath(&self) -> Page {
        let mut page = Page::default();
        match &self.followed {
            Followed::Daemon(reconciled) => page.line(format!("The daemon: {}", networks_line(reconciled))),
            Followed::NoDaemon => page.line("No daemon runs; the next launch follows."),
            Followed::Failed => page.line("It is saved, and the daemon was not told (see below)."),
            Followed::NotAsked => {}
        }
        if let Some(undo) = &self.undo {
            page.line("To undo this:");
            page.copied(2, "", undo);
        }
        page
    }

    pub(crate) fn reconciled(&self) -> Value {
        match &self.followed {
            Followed::Daemon(reconciled) => bounded(reconciled),
            _ => Value::Null,
        }
    }
}

/// Changes the config on disk, then, when the active network is concerned, brings a running daemon in line with it; all of
/// it under the lock.
pub(crate) fn change(
    world: &World,
    follows: bool,
    edit: &mut dyn FnMut(&mut Document) -> Result<networks::Change, Diagnostic>,
) -> Result<Edit, Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    ensure_changeable(&context)?;
    context.checked.map_err(Diagnostic::from)?;
    no_legacy(world, &context)?;
    wired.store.ensure_home().map_err(|error| Diagnostic::from(&error))?;
    let lock = lock_home(&context, &world.options())?;
    let mut made = Err(Diagnostic::error("store.edit", "the edit was not made"));
    let mut before = None;
    let ids = &mut fresh_ids();
    let mut apply = |document: &mut Document| -> Result<bool, EditError> {
        before = networks::active(document).map(|network| {
            let name = text_of(&network, "network_id");
            networks::only(document, &name).map_or_else(|_| text_of(&network, "id"), |_| name.clone())
        });
        made = edit(document);
        made.as_ref().map(|change| change.changed).map_err(|refusal| refusal.message.clone().into())
    };
    let former = world.disk.read(&world.layout.app_config, ENVELOPE_LIMIT).ok();
    let updated = match lock.update(ids, &mut apply) {
        Ok(updated) => updated,
        Err(StoreError::Edit { .. }) => {
            // A killed run may have made the very change that is refused now.
            lock.ensure_durable().map_err(|error| Diagnostic::from(&error))?;
            return Err(made
                .err()
                .unwrap_or_else(|| Diagnostic::error("store.edit", "the edit was refused")));
        }
        Err(error) => return Err(Diagnostic::from(&error)),
    };
    let change = made?;
    let mut diagnostics: Vec<Diagnostic> = updated.diagnostics.iter().map(Diagnostic::from).collect();
    diagnostics.extend(wrote_where_others_can(&context).filter(|_| updated.changed));
    let followed = if follows {
        follow(&context, &world.options(), &updated.document, &mut diagnostics)
    } else {
        Followed::NotAsked
    };
    // Not before: another one that changes the active network would bring the daemon in line with its own meanwhile.
    drop(lock);
    let former = former.filter(|_| updated.changed);
    let backup = former.and_then(|former| backup_of(world, &former));
    let id = backup.as_ref().filter(|_| !change.created).map(|backup| backup.id.sequence());
    let undo = id.map(|id| format!("{} config restore {id}", world.program));
    let config = long(&world.layout.app_config);
    Ok(Edit { change, updated, followed, config, diagnostics, before, backup, undo })
}

/// The backup that holds these bytes.
fn backup_of(world: &World, former: &[u8]) -> Option<HistoryEntry> {
    let backups = world.wire().store.history().ok()?;
    let is_former = |path: &Path| world.disk.read(path, ENVELOPE_LIMIT).is_ok_and(|bytes| bytes == former);
    backups.into_iter().find(|backup| backup.intact && is_former(&backup.path))
}

/// Nothing is changed under a daemon that still writes the app's home: it would be undone.
pub(crate) fn no_legacy(world: &World, context: &Context<'_>) -> Result<(), Diagnostic> {
    let live = context.daemons.live_legacy().into_iter().collect();
    settle_live(context.daemons, live, &world.options(), &mut Vec::new())
}

fn follow(
    context: &Context<'_>,
    options: &Options<'_>,
    document: &Document,
    diagnostics: &mut Vec<Diagnostic>,
) -> Followed {
    let expected = match expected_key(&identity_answer(context, None)) {
        Ok(expected) => expected,
        // What is wrong with the key is a launch's to report; here it only means that no daemon of ours is to be asked.
        Err(refusal) => {
            diagnostics.push(Diagnostic::from(&refusal).as_warning());
            return Followed::Failed;
        }
    };
    let (found, client) = context.daemons.detect(&expected);
    match found.decision {
        Decision::Attach { role, endpoint, status, pid, .. } => {
            let client = match client {
                Some(client) => Ok(client),
                None => context.daemons.connect(&endpoint).map_err(|error| Diagnostic::from(&error)),
            };
            let asked = ConnectedDaemon::new(role, endpoint, pid);
            let reconciled =
                client.and_then(|mut client| reconcile(context.store, &mut *client, asked, status, document));
            match reconciled {
                Ok(reconciled) => {
                    diagnostics.extend(reconcile_diagnostics(&reconciled, options.program));
                    Followed::Daemon(reconciled)
                }
                Err(diagnostic) => {
                    diagnostics.push(diagnostic);
                    Followed::Failed
                }
            }
        }
        Decision::Refuse(refusal) => {
            diagnostics.push(refusal_diagnostic(context, &refusal));
            Followed::Failed
        }
        _ => match context.daemons.orphans(None).first() {
            Some(live) => {
                diagnostics.push(orphan_diagnostic(live, options));
                Followed::Failed
            }
            None => Followed::NoDaemon,
        },
    }
}
