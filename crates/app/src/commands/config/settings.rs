//! `config get`, `config set`, `config diff`: single settings, and the differences of a backup.

use myownllm_config_model::settings::{self, SettingError};
use myownllm_config_model::{Document, MAX_BYTES, masking, networks};
use myownllm_config_store::ConfigStore as _;
use myownllm_durable_fs::RealDisk;
use myownllm_durable_fs::trust::read_for_display;
use myownllm_launch::{Class, Diagnostic, edit_config};
use myownllm_paths::Failure as _;
use myownllm_report::documents::{Differences, Setting};
use myownllm_report::{edit_trace, escape_json_controls, long, pretty, settings_edit, unified_diff};
use serde_json::json;

use crate::context::{Context, fresh_ids};
use crate::output::CommandOutput;

/// `config get`: one setting, for use by another program.
pub(crate) fn get(context: &Context, key: &str, with_secrets: bool) -> Result<CommandOutput, Diagnostic> {
    let loaded = context.load()?;
    let shown = if with_secrets { loaded.document } else { masking::mask(&loaded.document) };
    let value = settings::get(&shown, key).map_err(|error| refused(context, &error))?.to_value();
    let text = value.as_str().map_or_else(|| format!("{value:#}"), str::to_owned);
    let page = format!("{}\n", escape_json_controls(&text));
    Ok(CommandOutput::data(page, json!(Setting { key, value })))
}

/// `config set`: sets all of the settings or none.
pub(crate) fn set(context: &Context, wanted: &[String]) -> Result<CommandOutput, Diagnostic> {
    let pairs = wanted.iter().map(|pair| {
        pair.split_once('=').ok_or_else(|| {
            let message = format!("cannot set {pair:?}: it is not of the form KEY=VALUE");
            Diagnostic::error("usage", message).class(Class::Usage).hint("myownllm-mesh config set --help")
        })
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    let mut before = Document::empty();
    let follows = pairs.iter().any(|(key, _)| key.trim_start_matches('/').starts_with("cloud_mesh"));
    let libraries = context.libraries();
    let (launch_context, home) = (libraries.launch_context(), libraries.view());
    let made =
        edit_config(&launch_context, &context.options(), &mut fresh_ids(), follows, &mut |document| {
            before = document.clone();
            let mut changes = networks::Change::default();
            for (key, text) in &pairs {
                changes.changed |=
                    settings::set(document, key, text).map_err(|error| refused(context, &error))?;
            }
            settings::ensure_usable(&before, document).map_err(|error| refused(context, &error))?;
            Ok(changes)
        })?;
    let keys: Vec<&str> = pairs.iter().map(|(key, _)| *key).collect();
    let (page, data) = settings_edit(&home, &made, &before, &keys);
    let trace = edit_trace(&home, &made, &format!("config set {}", keys.join(" ")));
    Ok(CommandOutput { trace, ..CommandOutput::done(page, data).with(made.diagnostics) })
}

fn refused(context: &Context, error: &SettingError) -> Diagnostic {
    let command = match error {
        SettingError::Unknown { close: Some(key), .. } | SettingError::WrongType { key, .. } => {
            format!("get {key}")
        }
        _ => "show".to_owned(),
    };
    let hint = format!("{} config {command}", context.layout.program);
    Diagnostic::from_error(error, error.code(), Some(hint)).class(error.class())
}

/// `config diff`: shows what a restore of a backup changes, with secrets masked on both sides.
pub(crate) fn diff(context: &Context, name: &str) -> Result<CommandOutput, Diagnostic> {
    let libraries = context.libraries();
    let id = libraries.store.find_backup(name)?;
    let entries = libraries.store.history()?;
    let path = entries.into_iter().find(|entry| entry.id == id).map(|entry| entry.path).unwrap_or_default();
    let read = |path: &std::path::Path| -> Result<(Vec<u8>, String), Diagnostic> {
        let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
        let bytes = read_for_display(&RealDisk, path, limit)
            .map_err(|error| Diagnostic::from_error(&error, "input.unreadable", error.hint()).at(path))?;
        // A text that is not JSON cannot be masked, so the diff does not show it.
        let parsed = Document::parse(&bytes)
            .map_err(|error| Diagnostic::from_error(&error, error.code(), error.hint()).at(path))?;
        Ok((bytes, pretty(&parsed.document)))
    };
    let (now, then) = (read(context.layout.app_config.as_std_path())?, read(path.as_std_path())?);
    let config = context.short(&context.layout.app_config);
    let text = unified_diff(&now.1, &then.1, &config, &format!("backup {name}"));
    let page = match () {
        () if !text.is_empty() => escape_json_controls(&text),
        () if now.0 == then.0 => format!("{config} and backup {name} are the same.\n"),
        () => format!("{config} and backup {name} differ only in secrets, or in how they are laid out.\n"),
    };
    let document = Differences { backup: id, path: long(&path), diff: text };
    Ok(CommandOutput::data(page, json!(document)))
}
