use std::borrow::Cow;
use std::collections::HashSet;

use myownllm_config_model::app_config::{self, OwnSettings};
use myownllm_config_model::{Diagnostic, Document, Fragment, Ids, ValueRef, daemon_config, network_id};

use crate::{NETWORKS, SHARED_KEYS, keep_unknown};

/// The result of [`restore_wiped`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestoredSettings {
    /// The completed app's half: the backup, with the user's settings of the wiped config.
    pub app: Document,
    /// The settings (`api.port`) and network ids that come from the wiped config.
    pub kept: Vec<String>,
    /// Remarks about both documents.
    pub diagnostics: Vec<Diagnostic>,
}

impl RestoredSettings {
    /// Returns the result of a restore that keeps nothing of the wiped config.
    pub fn new(app: Document) -> Self {
        Self { app, kept: Vec::new(), diagnostics: Vec::new() }
    }
}

/// Restores a config that lost its user's settings from a backup. A setting of the user in the
/// wiped config wins over the backup, and so does a key that neither schema has. Appends the
/// networks that the backup lacks. The active network of the wiped config stays active.
pub fn restore_wiped(
    wiped: &Document,
    backup: &Document,
    conversation_dir: &str,
    ids: &mut dyn Ids,
) -> RestoredSettings {
    let mut now = wiped.clone();
    let mut diagnostics = app_config::complete(&mut now, conversation_dir, ids);
    let mut app = backup.clone();
    diagnostics.extend(app_config::complete(&mut app, conversation_dir, ids));
    let mut kept = Vec::new();
    for path in OwnSettings::of(&now, conversation_dir).options {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(value) = now.get(&path) {
            app.set(&path, value);
            kept.push(path.join("."));
        }
    }
    keep_unknown(&mut app, &now, &mut kept);
    let known: HashSet<String> = networks(&app).filter_map(normal_id).collect();
    let missing = networks(&now).filter(|network| normal_id(*network).is_some_and(|id| !known.contains(&id)));
    let missing: Vec<ValueRef<'_>> = missing.collect();
    kept.extend(missing.iter().copied().filter_map(normal_id));
    app.append(&NETWORKS, missing.into_iter().map(Fragment::from));
    // Two networks may have the same internal id now.
    diagnostics.extend(app_config::complete(&mut app, conversation_dir, ids));
    if let Some(active) = myownllm_config_model::networks::active(&now).and_then(normal_id) {
        let id = networks(&app).find(|network| normal_id(*network).as_ref() == Some(&active));
        if let Some(id) = id.and_then(|network| network.get("id")).map(Fragment::from) {
            app.set(&["cloud_mesh", "active_network_id"], id);
        }
    }
    RestoredSettings { app, kept, diagnostics }
}

/// Returns the part of a config that no daemon can have written since the backup: the config, or its
/// [`app_half`] if it has members of the daemon's that neither the backup nor the app's `defaults`
/// have: both addresses of updates, or several keys. An older app that recovers the networks of an
/// overwritten config leaves them in it.
pub fn own_part<'c>(config: &'c Document, backup: &Document, defaults: &Document) -> Cow<'c, Document> {
    let is_new = |path: &[&str]| {
        config.get(path).is_some() && [backup, defaults].iter().all(|other| other.get(path).is_none())
    };
    let keys = daemon_config::OWN_KEYS.iter().filter(|key| is_new(&[key])).count();
    let has_urls = ["stable_url", "beta_url"].iter().all(|url| is_new(&["auto_update", url]));
    // A newer app may have one key with such a name.
    if keys > 1 || has_urls { Cow::Owned(app_half(config)) } else { Cow::Borrowed(config) }
}

/// Returns the app's half of a mixed document, without the sections that both programs write:
/// either program may have written them.
pub fn app_half(mixed: &Document) -> Document {
    let mut half = mixed.clone();
    for key in daemon_config::OWN_KEYS.into_iter().chain(SHARED_KEYS) {
        half.remove(&[key]);
    }
    half
}

/// Returns a mixed document with another app's half. The daemon's keys stay as they are.
pub fn with_app_half(mixed: &Document, app: &Document) -> Document {
    let mut whole = app.clone();
    for key in mixed.keys().iter().filter(|key| daemon_config::OWN_KEYS.contains(&key.as_str())) {
        if let Some(value) = mixed.get(&[key]) {
            whole.set(&[key], value);
        }
    }
    whole
}

fn networks(doc: &Document) -> impl Iterator<Item = ValueRef<'_>> {
    doc.get(&NETWORKS).into_iter().flat_map(|list| list.items())
}

fn normal_id(network: ValueRef<'_>) -> Option<String> {
    let id = network_id::of(network)?;
    (!id.is_empty()).then(|| network_id::normal_form(&id))
}
