//! `network`: the saved networks.

use std::path::Path;

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::networks::{Change, NetworksError};
use myownllm_config_model::{AppConfig, Document, Fragment, ValueRef, masking, network_id, networks};
use myownllm_durable_fs::{Disk, quote};
use myownllm_launch::{Diagnostic, Edit, edit_config};
use myownllm_report::{Page, edit_trace, edited_network, network_edit, undo};
use serde_json::json;

use crate::cli::NetworkCommand;
use crate::filters::{self, envelope_answer, read_stdin};
use crate::output::Answer;
use crate::world::{World, fresh_ids};

/// The largest envelope in bytes. A real envelope is a page of text.
const ENVELOPE_LIMIT: u64 = 16 << 20;

pub(crate) fn run(world: &World, command: &NetworkCommand) -> Result<Answer, Diagnostic> {
    match command {
        NetworkCommand::List => list(world),
        NetworkCommand::Show { name, with_secrets } => show(world, name, *with_secrets),
        NetworkCommand::Export { name, with_secrets } => export(world, name, *with_secrets),
        NetworkCommand::Add { name, activate } => add(world, name, *activate),
        NetworkCommand::Remove { name } => {
            let edit = change(world, true, &mut |document| {
                let id = internal_id(world, document, name)?;
                networks::remove(document, &id).map_err(|error| networks_diagnostic(world, &error))
            })?;
            Ok(told(world, edit, "network remove", "Removed"))
        }
        NetworkCommand::Use { name, none } => activate(world, name.as_deref().filter(|_| !none)),
        NetworkCommand::Import { file, activate } => {
            let envelope = read_envelope(world, file)?;
            let edit = change(world, *activate, &mut |document| {
                networks::import(document, &envelope, *activate, &mut fresh_ids())
                    .map_err(|error| networks_diagnostic(world, &error))
            })?;
            let what = if edit.change.created { "Imported" } else { "Brought up to date:" };
            Ok(told(world, edit, "network import", what))
        }
        NetworkCommand::ToDaemon => filters::to_daemon(),
        NetworkCommand::ToEnvelope { with_secrets } => filters::to_envelope(*with_secrets),
        NetworkCommand::FromEnvelope => filters::from_envelope(),
    }
}

fn add(world: &World, name: &str, activate: bool) -> Result<Answer, Diagnostic> {
    let edit = change(world, activate, &mut |document| {
        networks::add(document, name, activate, &mut fresh_ids())
            .map_err(|error| networks_diagnostic(world, &error))
    });
    let edit = edit.map_err(|diagnostic| match network_id::normalize(name) {
        // A repair does not make an invalid name valid.
        Err(error) if diagnostic.code == "store.repair-pending" => {
            networks_diagnostic(world, &NetworksError::Invalid(error))
        }
        Err(error) if diagnostic.code == error.code() => match error.close() {
            Some(close) => diagnostic.hint(format!("{} network add {close}", world.program)),
            None => diagnostic,
        },
        _ => diagnostic,
    })?;
    let what = if edit.change.created { "Saved" } else { "Saved before:" };
    Ok(told(world, edit, "network add", what))
}

/// Makes a network the active one, or none.
fn activate(world: &World, name: Option<&str>) -> Result<Answer, Diagnostic> {
    let edit = change(world, true, &mut |document| {
        let id = name.map(|name| internal_id(world, document, name)).transpose()?;
        networks::activate(document, id.as_deref()).map_err(|error| networks_diagnostic(world, &error))
    })?;
    let before = edit.active_before.as_deref();
    let before = before.map_or_else(|| "--none".to_owned(), |name| quote(Path::new(name)));
    let undo = edit.updated.changed.then(|| format!("{} network use {before}", world.program));
    let what = if name.is_some() { "Active:" } else { "No network is active" };
    Ok(told_with(world, edit, "network use", what, undo))
}

/// Changes the config, and with `follows` brings a running daemon in line with it.
fn change(
    world: &World,
    follows: bool,
    edit: &mut dyn FnMut(&mut Document) -> Result<Change, Diagnostic>,
) -> Result<Edit, Diagnostic> {
    edit_config(&world.libraries().context(), &world.options(), &mut fresh_ids(), follows, edit)
}

/// Reports a change, with the restore of a backup as the command that undoes it.
fn told(world: &World, edit: Edit, command: &str, what: &str) -> Answer {
    let undo = undo(&world.libraries().view(), &edit);
    told_with(world, edit, command, what, undo)
}

fn told_with(world: &World, edit: Edit, command: &str, what: &str, undo: Option<String>) -> Answer {
    let libraries = world.libraries();
    let home = libraries.view();
    let (page, data) = network_edit(&home, &edit, what, undo.as_deref());
    let trace = edit_trace(&home, &edit, &format!("{command} {}", edited_network(&edit)));
    Answer { trace, ..Answer::done(page, data).with(edit.diagnostics) }
}

/// Returns the config as a launch would run on it, and its diagnostics.
fn look(world: &World) -> Result<(Document, Vec<Diagnostic>), Diagnostic> {
    let loaded = world.load()?;
    Ok((loaded.document, loaded.diagnostics.iter().map(Diagnostic::from).collect()))
}

/// Returns the internal id of the one network with this name.
fn internal_id(world: &World, document: &Document, name: &str) -> Result<String, Diagnostic> {
    let network = networks::only(document, name).map_err(|error| networks_diagnostic(world, &error))?;
    Ok(text_of(&network, "id"))
}

fn list(world: &World) -> Result<Answer, Diagnostic> {
    let (document, diagnostics) = look(world)?;
    // Labels and ids are free text, so a user may have put a login into one.
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
    alone.set(&[], Fragment::from(network));
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
