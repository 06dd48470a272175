//! The consequences of lost settings for the user.

use myownllm_config_model::{AppConfig, Document};
use myownllm_config_store::{FileShape, Loaded, Report};

use crate::context::{Context, Options};
use crate::diagnostic::{Diagnostic, PROGRAM};
use crate::hints::edit;
use crate::words::count;

/// The stable code of settings that a repair could not bring back.
pub const LOSSES: &str = "salvage.defaults";

const MESH: &str = "cloud_mesh.enabled";

/// A setting at a default that has an effect of its own: it deletes, opens, or switches something
/// off.
struct Loss {
    /// The effect, as a clause.
    consequence: String,
    /// The setting and the value that undoes it, as `config set` takes it.
    setting: &'static str,
}

/// Returns the settings that a repair has left at their defaults because no backup has them.
pub fn lost_keys(report: &Report) -> Vec<String> {
    let is_app = matches!(report.shape, FileShape::App | FileShape::Unknown);
    // A repair switches no network on, and the daemon's half of the config does not tell whether
    // the app had the mesh switched on.
    let is_mesh_reset =
        !is_app && report.restored_from.is_none() && !report.kept_keys.iter().any(|key| key == "cloud_mesh");
    let keys = report.reset_keys.iter().filter(|key| is_app || !key.starts_with("cloud_mesh"));
    keys.cloned().chain(is_mesh_reset.then(|| MESH.to_owned())).collect()
}

/// Returns which of these settings, which a repair has left at their defaults, do harm without the
/// user's notice as the config is now, the worst first.
fn losses(document: &Document, lost: &[String]) -> Vec<Loss> {
    let config = AppConfig::view(document);
    let is_reset = |section: &str, member: &str| {
        let of = |key: &String| key == section || key.strip_prefix(section) == Some(&format!(".{member}"));
        lost.iter().any(of)
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
    if !config.cloud_mesh.enabled && is_reset("cloud_mesh", "enabled") {
        losses.push(loss("the mesh is switched off".to_owned(), "cloud_mesh.enabled=true"));
    }
    losses
}

/// Returns the consequences, as a list, and the command that undoes them.
fn consequences(losses: &[Loss]) -> (String, String) {
    let harm: Vec<&str> = losses.iter().map(|loss| loss.consequence.as_str()).collect();
    let undo: Vec<&str> = losses.iter().map(|loss| loss.setting).collect();
    (harm.join("; "), format!("{PROGRAM} config set {}", undo.join(" ")))
}

/// Reports the losses of the last repair that still do harm; `None` if there are none, or if the
/// config is to be repaired again.
pub(crate) fn lasting_losses(
    context: &Context<'_>,
    options: &Options<'_>,
    loaded: &Loaded,
) -> Option<Diagnostic> {
    let is_myownllm = context.store.schema().is_some_and(|schema| schema.is_myownllm());
    if !is_myownllm || loaded.pending.repairs() || loaded.newer.is_some() {
        return None;
    }
    let losses = losses(&loaded.document, &(options.last_losses)(context.layout));
    let (harm, undo) = consequences(&losses);
    let message = format!("settings are lost, as no backup has them (the command `logs` names them): {harm}");
    let diagnostic = Diagnostic::warning(LOSSES, message).at(&context.layout.app_config).hint(undo);
    (!losses.is_empty()).then_some(diagnostic)
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
    let losses = if is_myownllm { losses(document, &lost_keys(report)) } else { Vec::new() };
    // A config of an older app lacks a few of today's keys: these are no losses.
    let is_harmless = losses.is_empty() && matches!(report.shape, FileShape::App | FileShape::Unknown);
    if keys.is_empty() || is_harmless {
        return None;
    }
    let (harm, undo) = consequences(&losses);
    let harm = if harm.is_empty() { harm } else { format!(" Consequences: {harm}.") };
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
    let hint = match is_written {
        // Before the file is written, there is no setting in it to change.
        false => format!("{PROGRAM} config show"),
        true if losses.is_empty() => edit(path, None),
        true => undo,
    };
    Some(Diagnostic::warning(LOSSES, message).at(path).hint(hint))
}
