//! `network`: the saved networks.

use std::path::Path;

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::networks::{Change, NetworksError};
use myownllm_config_model::{Document, Fragment, masking, network_id, networks};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_launch::words::network_argument;
use myownllm_launch::{Diagnostic, Edit, edit_config, export_network};
use myownllm_report::documents::NetworkShown;
use myownllm_report::{NO_ID, edit_trace, edited_network, network_edit, saved_networks, undo};
use serde_json::json;

use crate::cli::NetworkCommand;
use crate::context::{Context, fresh_ids};
use crate::filters::{self, envelope_answer, read_stdin};
use crate::output::CommandOutput;

/// The largest envelope in bytes. A real envelope is a page of text.
const ENVELOPE_LIMIT: u64 = 16 << 20;

pub(crate) fn run(context: &Context, command: &NetworkCommand) -> Result<CommandOutput, Diagnostic> {
    match command {
        NetworkCommand::List => list(context),
        NetworkCommand::Show { name, with_secrets } => show(context, name, *with_secrets),
        NetworkCommand::Export { name, with_secrets } => export(context, name, *with_secrets),
        NetworkCommand::Add { name, activate } => add(context, name, *activate),
        NetworkCommand::Remove { name } => {
            let edit = change(context, true, &mut |document| {
                let id = internal_id(document, name)?;
                Ok(networks::remove(document, &id))
            })?;
            Ok(edit_output(context, edit, "network remove", "Removed"))
        }
        NetworkCommand::Use { name, none } => activate(context, name.as_deref().filter(|_| !none)),
        NetworkCommand::Import { file, activate } => {
            let envelope = read_envelope(file)?;
            let (saved, imported) = (context.load()?.document, envelope.network_id());
            let active = networks::active(&saved).and_then(network_id::of);
            let is_active = active.is_some_and(|id| network_id::same(&id, &imported));
            let mut edit = change(context, *activate || is_active, &mut |document| {
                Ok(networks::import(document, &envelope, *activate, &mut fresh_ids())?)
            })?;
            edit.diagnostics.extend(envelope.diagnostics().iter().map(Diagnostic::from));
            let what = if edit.change.created { "Imported" } else { "Brought up to date:" };
            Ok(edit_output(context, edit, "network import", what))
        }
        NetworkCommand::ToDaemon => filters::to_daemon(),
        NetworkCommand::ToEnvelope { with_secrets } => filters::to_envelope(*with_secrets),
        NetworkCommand::FromEnvelope => filters::from_envelope(),
    }
}

fn add(context: &Context, name: &str, activate: bool) -> Result<CommandOutput, Diagnostic> {
    let edit = change(context, activate, &mut |document| {
        Ok(networks::add(document, name, activate, &mut fresh_ids())?)
    });
    let edit = edit.map_err(|diagnostic| match network_id::normalize(name) {
        // A repair does not make an invalid name valid.
        Err(error) if diagnostic.code == "store.repair-pending" => {
            Diagnostic::from(NetworksError::Invalid(error))
        }
        Err(error) if diagnostic.code == error.code() => match error.close() {
            Some(close) => {
                let close = network_argument(&close);
                diagnostic.hint(format!("{} network add {close}", context.layout.program))
            }
            None => diagnostic,
        },
        _ => diagnostic,
    })?;
    let what = if edit.change.created { "Saved" } else { "Saved already:" };
    Ok(edit_output(context, edit, "network add", what))
}

/// Makes a network the active one, or none.
fn activate(context: &Context, name: Option<&str>) -> Result<CommandOutput, Diagnostic> {
    let edit = change(context, true, &mut |document| {
        let id = name.map(|name| internal_id(document, name)).transpose()?;
        Ok(networks::activate(document, id.as_deref())?)
    })?;
    let before = edit.active_before.as_deref();
    let before = before.map_or_else(|| "--none".to_owned(), network_argument);
    let undo = edit.updated.changed.then(|| format!("{} network use {before}", context.layout.program));
    let what = if name.is_some() { "Active:" } else { "No network is active." };
    let command = if name.is_some() { "network use" } else { "network use --none" };
    Ok(edit_output_with_undo(context, edit, command, what, undo))
}

/// Changes the config, and with `follows` brings a running daemon in line with it.
fn change(
    context: &Context,
    follows: bool,
    edit: &mut dyn FnMut(&mut Document) -> Result<Change, Diagnostic>,
) -> Result<Edit, Diagnostic> {
    edit_config(&context.libraries().launch_context(), &context.options(), &mut fresh_ids(), follows, edit)
}

/// Reports a change, with the restore of a backup as the command that undoes it.
fn edit_output(context: &Context, edit: Edit, command: &str, what: &str) -> CommandOutput {
    let undo = undo(&context.libraries().view(), &edit);
    edit_output_with_undo(context, edit, command, what, undo)
}

fn edit_output_with_undo(
    context: &Context,
    edit: Edit,
    command: &str,
    what: &str,
    undo: Option<String>,
) -> CommandOutput {
    let libraries = context.libraries();
    let home = libraries.view();
    let (page, data) = network_edit(&home, &edit, what, undo.as_deref());
    let trace = edit_trace(&home, &edit, format!("{command} {}", edited_network(&edit)).trim_end());
    CommandOutput { trace, ..CommandOutput::done(page, data).with(edit.diagnostics) }
}

/// Returns the config as a launch would run on it, and its diagnostics.
fn load_config(context: &Context) -> Result<(Document, Vec<Diagnostic>), Diagnostic> {
    let loaded = context.load()?;
    Ok((loaded.document, loaded.diagnostics.iter().map(Diagnostic::from).collect()))
}

/// Returns the internal id of the one network with this name.
fn internal_id(document: &Document, name: &str) -> Result<String, Diagnostic> {
    Ok(networks::internal_id(networks::only(document, name)?).unwrap_or_default().into_owned())
}

fn list(context: &Context) -> Result<CommandOutput, Diagnostic> {
    let (document, diagnostics) = load_config(context)?;
    let (page, data) = saved_networks(&context.libraries().view(), &document);
    Ok(CommandOutput { diagnostics, ..CommandOutput::data(page, data) })
}

fn show(context: &Context, name: &str, with_secrets: bool) -> Result<CommandOutput, Diagnostic> {
    let (document, diagnostics) = load_config(context)?;
    let shown = if with_secrets { document } else { masking::mask(&document) };
    let mut alone = Document::empty();
    alone.set(&[], Fragment::from(networks::only(&shown, name)?));
    if alone.get(&["id"]).and_then(|id| id.as_str().map(|id| id.starts_with(NO_ID))) == Some(true) {
        alone.remove(&["id"]);
    }
    let data = json!(NetworkShown { network: alone.root().to_value() });
    Ok(CommandOutput { diagnostics, ..CommandOutput::data(alone.to_text(), data) })
}

fn export(context: &Context, name: &str, with_secrets: bool) -> Result<CommandOutput, Diagnostic> {
    let (document, mut diagnostics) = load_config(context)?;
    let (envelope, left_out) = export_network(&document, &context.options(), name, with_secrets)?;
    diagnostics.extend(left_out);
    Ok(CommandOutput { diagnostics, ..envelope_answer(&envelope, with_secrets, &[]) })
}

fn read_envelope(file: &Path) -> Result<Envelope, Diagnostic> {
    if file == Path::new("-") {
        return Ok(Envelope::parse(&read_stdin()?)?);
    }
    let path = std::path::absolute(file)
        .map_err(|error| Diagnostic::from_error(&error, "input.unreadable", None).at(file))?;
    let bytes = RealDisk
        .read(&path, ENVELOPE_LIMIT)
        .map_err(|error| Diagnostic::from_error(&error, "input.unreadable", error.hint()).at(&path))?;
    Envelope::parse(&bytes).map_err(|error| Diagnostic::from(error).at(&path))
}
