//! What settings that were lost mean for the user.

use myownllm_config_model::{AppConfig, Document};
use myownllm_config_store::Report;

/// A setting at a default that acts on its own: it deletes, opens, or switches something off.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Loss {
    /// What the app does now, as a sentence.
    pub consequence: String,
    /// The setting and the value that undoes it, as `config set` takes it.
    pub setting: &'static str,
}

/// Returns those of the settings that a repair has left at their defaults and that do harm unseen, the worst first.
#[must_use]
pub fn losses(document: &Document, report: &Report) -> Vec<Loss> {
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
        let consequence = "The app deletes old conversations.".to_owned();
        losses.push(loss(consequence, "auto_cleanup.conversations=false"));
    }
    if cleanup.models && (is_reset("auto_cleanup", "models") || is_reset("model_cleanup_days", "")) {
        let after = if days == 1.0 { "a day".to_owned() } else { format!("{days} days") };
        losses.push(loss(
            format!("The app deletes models that are not used for {after}."),
            "auto_cleanup.models=false",
        ));
    }
    if config.api.enabled && config.api.bearer_token.is_none() && is_reset("api", "bearer_token") {
        let consequence = "The app's API answers without a token.".to_owned();
        losses.push(loss(consequence, "api.enabled=false"));
    }
    // A repair switches no network on, and the daemon's half does not say whether the app had.
    if !config.cloud_mesh.enabled && report.restored_from.is_none() {
        losses.push(loss("The mesh is switched off.".to_owned(), "cloud_mesh.enabled=true"));
    }
    losses
}
