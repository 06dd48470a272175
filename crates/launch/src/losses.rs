//! The consequences of lost settings for the user.

use myownllm_config_model::{AppConfig, Document};
use myownllm_config_store::{FileShape, Report};

use crate::context::Context;
use crate::diagnostic::{Diagnostic, PROGRAM};
use crate::hints::edit;
use crate::words::count;

/// The stable code of settings that a repair could not bring back.
pub const LOSSES: &str = "salvage.defaults";

/// A setting at a default that has an effect of its own: it deletes, opens, or switches something
/// off.
struct Loss {
    /// The effect, as a clause.
    consequence: String,
    /// The setting and the value that undoes it, as `config set` takes it.
    setting: &'static str,
}

/// Returns the settings that a repair has left at their defaults and that do harm without the
/// user's notice, the worst first.
fn losses(document: &Document, report: &Report) -> Vec<Loss> {
    let config = AppConfig::view(document);
    let is_reset = |section: &str, member: &str| {
        let of = |key: &String| key == section || key.strip_prefix(section) == Some(&format!(".{member}"));
        report.reset_keys.iter().any(of)
    };
    let cleanup = &config.auto_cleanup;
    let days = config.model_cleanup_days;
    let loss = |consequence: String, setting| Loss { consequence, setting };
    let mut losses = Vec::new();
    if cleanup.conversations && is_reset("auto_cleanup", "conversations") {
        let consequence = "the app deletes old conversations".to_owned();
        losses.push(loss(consequence, "auto_cleanup.conversations=false"));
    }
    if cleanup.models && (is_reset("auto_cleanup", "models") || is_reset("model_cleanup_days", "")) {
        let after = if days == 1.0 { "a day".to_owned() } else { format!("{days} days") };
        losses.push(loss(
            format!("the app deletes models that are not used for {after}"),
            "auto_cleanup.models=false",
        ));
    }
    if config.api.enabled && config.api.bearer_token.is_none() && is_reset("api", "bearer_token") {
        let consequence = "the app's API answers without a token".to_owned();
        losses.push(loss(consequence, "api.enabled=false"));
    }
    // A repair switches no network on, and the daemon's half of the config does not tell whether
    // the app had the mesh switched on.
    let is_mesh_reset = match report.shape {
        FileShape::App | FileShape::Unknown => is_reset("cloud_mesh", "enabled"),
        _ => report.restored_from.is_none() && !report.kept_keys.iter().any(|key| key == "cloud_mesh"),
    };
    if !config.cloud_mesh.enabled && is_mesh_reset {
        losses.push(loss("the mesh is switched off".to_owned(), "cloud_mesh.enabled=true"));
    }
    losses
}

/// Reports settings that are at their defaults because no backup has them, settings that do harm
/// without the user's notice first (which are known for MyOwnLLM's config alone); `None` if there
/// are no such settings. `is_written` is true if the config on the disk already holds the defaults.
pub(crate) fn lost_settings(
    context: &Context<'_>,
    document: &Document,
    report: &Report,
    is_written: bool,
) -> Option<Diagnostic> {
    let path = context.layout.app_config.as_std_path();
    let keys = &report.reset_keys;
    let is_myownllm = context.store.schema().is_some_and(|schema| schema.is_myownllm());
    let losses = if is_myownllm { losses(document, report) } else { Vec::new() };
    // A config of an older app lacks a few of today's keys: these are no losses.
    let is_harmless = losses.is_empty() && matches!(report.shape, FileShape::App | FileShape::Unknown);
    if keys.is_empty() || is_harmless {
        return None;
    }
    let harm: Vec<&str> = losses.iter().map(|loss| loss.consequence.as_str()).collect();
    let harm = if harm.is_empty() { String::new() } else { format!(" Consequences: {}.", harm.join("; ")) };
    let be = match (is_written, keys.len()) {
        (false, _) => "would be",
        (true, 1) => "is",
        (true, _) => "are",
    };
    let (them, there) = if keys.len() == 1 { ("it", "its default") } else { ("them", "their defaults") };
    let message = format!(
        "{} {be} lost, as no backup has {them}, and {be} at {there}.{harm} Settings: {}",
        count(keys.len(), "setting"),
        keys.join(", ")
    );
    let undo: Vec<&str> = losses.iter().map(|loss| loss.setting).collect();
    let hint = match is_written {
        // Before the file is written, there is no setting in it to change.
        false => format!("{PROGRAM} config show"),
        true if undo.is_empty() => edit(path, None),
        true => format!("{PROGRAM} config set {}", undo.join(" ")),
    };
    Some(Diagnostic::warning(LOSSES, message).at(path).hint(hint))
}
