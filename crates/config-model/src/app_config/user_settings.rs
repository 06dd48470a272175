//! Measures the user's own settings of a config: those that differ from the defaults.

use std::collections::BTreeSet;

use serde::Serialize;

use super::complete::{NETWORK_MEMBERS, complete, defaults, is_section, keys};
use crate::{Document, Kind, SeededIds, ValueRef, daemon_config, network_id};

/// The beginning of the name of a network in [`OwnSettings::names`].
pub const NETWORK: &str = "cloud_mesh.networks.";

/// The settings of a config that differ from the defaults. Measures a document in its completed
/// form.
///
/// ```
/// use myownllm_config_model::Document;
/// use myownllm_config_model::app_config::{Loss, OwnSettings};
/// let own = |text: &str| OwnSettings::of(&Document::parse(text.as_bytes()).unwrap().document, "/c");
/// let before = own(r#"{"active_family":"qwen3","api":{"port":1},"kept_models":["a"],
///     "cloud_mesh":{"networks":[{"network_id":"home"}]}}"#);
/// assert_eq!((before.options.len(), before.networks.len(), before.count()), (3, 1, 4));
/// assert_eq!(own("{}").loss_since(&before), Some(Loss::Settings));
/// assert_eq!(before.loss_since(&own("{}")), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnSettings {
    /// Paths of the settings that are not networks: a top-level key, or a section and its member.
    pub options: Vec<Vec<String>>,
    /// Network ids of the saved networks, in normal form.
    pub networks: Vec<String>,
    /// Single values in `options` and in `networks`.
    values: [usize; 2],
    /// The number of keys of the app's schema that the document has before it is completed.
    keys_there: usize,
    /// The number of keys of the app's schema.
    keys: usize,
}

/// The part that a config has lost since a backup of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Loss {
    /// Nearly all settings; networks may still be there.
    Settings,
    /// All networks; settings are still there.
    Networks,
}

impl OwnSettings {
    /// Measures a document. `conversation_dir` is the default of that name. The keys of the daemon's
    /// schema are no settings of the app's: an app that recovers the networks of an overwritten
    /// config leaves some of them in the file.
    pub fn of(doc: &Document, conversation_dir: &str) -> Self {
        let mut completed = doc.clone();
        complete(&mut completed, conversation_dir, &mut SeededIds::new(0, 0));
        let defaults = defaults(conversation_dir);
        let mut own = Self {
            keys_there: keys().filter(|key| doc.get(&[key]).is_some()).count(),
            keys: keys().count(),
            ..Self::default()
        };
        for (key, value) in completed.root().members() {
            if daemon_config::OWN_KEYS.contains(&&*key) {
                continue;
            }
            if !is_section(&key) {
                let default = defaults.get(&[&key]).filter(|_| key != "tracked_modes");
                let derived = key == "tracked_modes" && is_the_active_mode(&completed, value);
                if !derived && is_own(value, default) {
                    own.add(vec![key.into_owned()], value);
                }
                continue;
            }
            for (member, value) in value.members() {
                let is_network_member = key == "cloud_mesh" && NETWORK_MEMBERS.contains(&&*member);
                if !is_network_member && is_own(value, defaults.get(&[&key, &member])) {
                    own.add(vec![key.clone().into_owned(), member.into_owned()], value);
                }
            }
        }
        for network in completed.get(&["cloud_mesh", "networks"]).into_iter().flat_map(|list| list.items()) {
            let id = network_id::of(network).unwrap_or_default();
            if !id.is_empty() {
                own.networks.push(network_id::normal_form(&id));
                own.values[1] += count_values(network);
            }
        }
        own
    }

    /// Measures a document of another app by its top-level keys: a setting is a value that differs
    /// from the app's `defaults`.
    pub fn beside(doc: &Document, defaults: &Document) -> Self {
        let mut own = Self::default();
        for (key, default) in defaults.root().members() {
            own.keys += 1;
            let Some(value) = doc.get(&[&key]) else { continue };
            own.keys_there += 1;
            if is_own(value, Some(default)) {
                own.add(vec![key.into_owned()], value);
            }
        }
        own
    }

    fn add(&mut self, path: Vec<String>, value: ValueRef<'_>) {
        self.options.push(path);
        self.values[0] += count_values(value);
    }

    /// Returns the number of top-level keys with a setting of the user, and of networks.
    pub fn count(&self) -> usize {
        self.sections() + self.networks.len()
    }

    /// Returns the number of those settings and networks that [`count`](Self::count) counts in
    /// `before` and that are set here too.
    pub fn count_left_of(&self, before: &Self) -> usize {
        let networks = before.networks.iter().filter(|id| self.networks.contains(id));
        self.keys().intersection(&before.keys()).count() + networks.count()
    }

    /// Returns the names of the settings (`api.port`), and of the networks
    /// (`cloud_mesh.networks.home`).
    pub fn names(&self) -> Vec<String> {
        let networks = self.networks.iter().map(|id| format!("{NETWORK}{id}"));
        self.options.iter().map(|path| path.join(".")).chain(networks).collect()
    }

    fn keys(&self) -> BTreeSet<&String> {
        self.options.iter().map(|path| &path[0]).collect()
    }

    fn sections(&self) -> usize {
        self.keys().len()
    }

    /// Returns a rank that is higher for a document with more settings of the user.
    pub fn settings_rank(&self) -> impl Ord + use<> {
        (self.sections(), self.values[0])
    }

    /// Returns a rank that is higher for a document with more networks.
    pub fn networks_rank(&self) -> impl Ord + use<> {
        (self.networks.len(), self.values[1])
    }

    /// Returns true if all settings and networks of `other` are set here too, with as many values.
    pub fn covers(&self, other: &Self) -> bool {
        let names: BTreeSet<String> = self.names().into_iter().collect();
        other.names().iter().all(|name| names.contains(name))
            && self.values.iter().zip(other.values).all(|(own, others)| *own >= others)
    }

    /// Returns true if the document lacks most keys of the schema. The app writes all of them.
    pub fn is_bare(&self) -> bool {
        self.keys_there * 4 <= self.keys
    }

    /// Returns true if none of the networks of `before` is left, although others may have come
    /// since.
    pub fn lacks_networks_of(&self, before: &Self) -> bool {
        !before.networks.is_empty() && before.networks.iter().all(|id| !self.networks.contains(id))
    }

    /// Returns true if most of the settings and networks of `before` are gone at once, whatever came
    /// in their place: the app writes the defaults over a config that it cannot read, and the user
    /// goes on from them. Single edits leave more: fewer than three more are gone than are left.
    pub fn is_reset_since(&self, before: &Self) -> bool {
        before.count() >= 2 * self.count_left_of(before) + 3
    }

    /// Returns the part of `before` that this document has lost without a replacement, if any.
    ///
    /// A document has lost its settings if it holds at most a quarter of their number, or at most
    /// half if [`is_bare`](Self::is_bare). Resetting a section is no loss, nor is removing one of
    /// two networks. Losing the last network is a loss, as the app may have removed it unasked.
    pub fn loss_since(&self, before: &Self) -> Option<Loss> {
        // Of fewer settings than `fewest`, the user may have reset all.
        let gone = |before: usize, now: usize, fewest: usize| {
            let (fewest, factor) = if self.is_bare() { (1, 2) } else { (fewest, 4) };
            before >= fewest && now * factor <= before
        };
        if gone(before.count(), self.count(), 2) || gone(before.sections(), self.sections(), 4) {
            Some(Loss::Settings)
        } else if self.networks.is_empty() && !before.networks.is_empty() {
            Some(Loss::Networks)
        } else {
            None
        }
    }
}

/// Returns true if a value is neither the default nor empty. A value of another kind than the
/// default reads as the default.
fn is_own(value: ValueRef<'_>, default: Option<ValueRef<'_>>) -> bool {
    let differs = match default.filter(|default| !default.is_null()) {
        Some(default) => value.kind() == default.kind() && !value.same_json(&default),
        None => !value.is_falsy(),
    };
    differs && count_values(value) > 0
}

/// Returns true if `tracked` is the default: the active mode alone.
fn is_the_active_mode(doc: &Document, tracked: ValueRef<'_>) -> bool {
    let mode = doc.get(&["active_mode"]);
    let mut modes = tracked.items();
    matches!((modes.next(), modes.next(), mode), (Some(only), None, Some(mode)) if only.same_json(&mode))
}

fn count_values(value: ValueRef<'_>) -> usize {
    match value.kind() {
        Kind::Object => value.members().map(|(_, member)| count_values(member)).sum(),
        Kind::Array => value.items().map(count_values).sum(),
        Kind::Null => 0,
        Kind::Bool | Kind::Number | Kind::String => 1,
    }
}
