//! The seam to the schema of an app's config.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use myownllm_config_model::app_config::{self, OwnSettings};
use myownllm_config_model::networks::SavedNetwork;
use myownllm_config_model::{Diagnostic, Document, Ids, Kind, ValueRef, convert, network_id, networks};

use crate::rebase::rebase_app_paths;
use crate::{
    APP_MARKS, DAEMON_SETTINGS, Rebased, RestoredSettings, Salvaged, Shape, adopt_networks, is_daemon_key,
    keep_unknown, restore_wiped, salvage_as, shape, unrecognised_networks,
};

/// The schema of one app's config: everything that this workspace knows of it.
///
/// An app implements [`app_name`](Self::app_name) and [`defaults`](Self::defaults); the other
/// methods then compare a config with these defaults, key by key. [`MyOwnLlm`] is the schema of MyOwnLLM.
///
/// ```
/// use myownllm_config_model::{Document, SeededIds};
/// use myownllm_salvage::{AppSchema, Shape};
///
/// #[derive(Debug)]
/// struct OtherApp;
///
/// impl AppSchema for OtherApp {
///     fn app_name(&self) -> &str {
///         "OtherApp"
///     }
///
///     fn defaults(&self) -> Document {
///         Document::parse(br#"{"theme": "light", "zoom": 1}"#).expect("JSON").document
///     }
/// }
///
/// let parse = |text: &str| Document::parse(text.as_bytes()).unwrap().document;
/// let file = parse(r#"{"version": 3, "daemon": {}, "networks": [{"id": "a", "network_id": "home"}]}"#);
/// assert_eq!(OtherApp.shape(&file), Shape::Daemon);
/// let salvaged = OtherApp.salvage(&file, Some(&parse(r#"{"theme": "dark"}"#)), &mut SeededIds::new(0, 0));
/// assert_eq!(salvaged.app.to_bytes(), br#"{"theme": "dark"}"#);
/// // This app saves no networks, so the networks stay the daemon's.
/// assert_eq!(salvaged.daemon.unwrap().to_bytes(), file.to_bytes());
/// ```
pub trait AppSchema: fmt::Debug + Send + Sync {
    /// Returns the name of the app, as in its `HostApp`. A store refuses the schema for the paths of
    /// an app of another name.
    fn app_name(&self) -> &str;

    /// Returns the config of a fresh install, with all keys of the app.
    fn defaults(&self) -> Document;

    /// Returns the keys that only the app writes. One of them shows that a document has a part of
    /// the app.
    fn marks(&self) -> Vec<String> {
        self.defaults().keys().into_iter().filter(|key| !is_daemon_key(key)).collect()
    }

    /// Brings a document into the app's present form: migrations, then defaults. A second call
    /// changes nothing. Returns remarks about the document.
    fn complete(&self, document: &mut Document, _ids: &mut dyn Ids) -> Vec<Diagnostic> {
        for (key, value) in self.defaults().root().members() {
            if document.get(&[&key]).is_none() {
                document.set(&[&key], value);
            }
        }
        Vec::new()
    }

    /// Returns the keys that [`complete`](Self::complete) would set to their defaults.
    fn missing_keys(&self, document: &Document) -> Vec<String> {
        self.defaults().keys().into_iter().filter(|key| document.get(&[key]).is_none()).collect()
    }

    /// Measures the user's settings, so that a sudden loss is noticed.
    fn own_settings(&self, document: &Document) -> OwnSettings {
        OwnSettings::beside(document, &self.defaults())
    }

    /// Returns the directories in which the app keeps files of its user's. A file in them shows
    /// that the config has had settings.
    fn user_dirs(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Returns remarks about a config that needs no repair.
    fn remarks(&self, _document: &Document) -> Vec<Diagnostic> {
        Vec::new()
    }

    /// Returns the shape of a document.
    fn shape(&self, document: &Document) -> Shape {
        let own_networks = self.defaults().get(&["networks"]).is_some();
        crate::shape_by(document, &self.marks(), !own_networks)
    }

    /// Repairs a document. `last_good` is the newest good backup of the app's config, if there is
    /// one.
    ///
    /// Returns a document that is neither [`Shape::Daemon`] nor [`Shape::Mixed`] as it is, without
    /// a daemon's half.
    fn salvage(&self, document: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged {
        salvage_as(self, document, last_good, ids)
    }

    /// Adds the daemon's networks in `document` that the app's half lacks to the app's half, and
    /// reports them. Returns false if the app's config has no place for networks: they then stay in
    /// the daemon's half.
    fn adopt_networks(&self, _document: &Document, _into: &mut Salvaged, _ids: &mut dyn Ids) -> bool {
        false
    }

    /// Restores a config that lost its user's settings from a backup. A setting of the user in the
    /// wiped config wins over the backup.
    fn restore_wiped(&self, wiped: &Document, backup: &Document, ids: &mut dyn Ids) -> RestoredSettings {
        let mut app = backup.clone();
        let diagnostics = self.complete(&mut app, ids);
        let mut kept = Vec::new();
        for path in self.own_settings(wiped).options {
            let keys: Vec<&str> = path.iter().map(String::as_str).collect();
            if let Some(value) = wiped.get(&keys) {
                app.set(&keys, value);
                kept.push(path.join("."));
            }
        }
        keep_unknown(&mut app, wiped, &mut kept);
        RestoredSettings { app, kept, diagnostics }
    }

    /// Returns true if the config holds paths that [`rebase_paths`](Self::rebase_paths) might
    /// replace. Every start asks this.
    fn has_paths(&self, _app: &Document) -> bool {
        false
    }

    /// Replaces the paths of the app's config that lead into the home `from` by paths in the home
    /// `to`, as [`rebase_paths`](crate::rebase_paths) does.
    fn rebase_paths(
        &self,
        _app: &mut Document,
        _from: &str,
        _to: &str,
        _is_at_new_place: &dyn Fn(&str) -> bool,
    ) -> Vec<Rebased> {
        Vec::new()
    }

    /// Returns the networks that the config saves; `None` if the app keeps no networks in its
    /// config. The networks of a daemon are then left alone.
    fn saved_networks(&self, _app: &Document) -> Option<Vec<SavedNetwork>> {
        None
    }

    /// Returns true if the config keeps the settings of this network of a daemon, so that nothing
    /// of the user's is lost when the daemon leaves it.
    fn keeps_network(&self, app: &Document, network: ValueRef<'_>) -> bool {
        let saved = self.saved_networks(app).unwrap_or_default();
        let id = network_id::of(network).unwrap_or_default();
        saved.iter().any(|saved| network_id::same(&saved.network_id, &id))
    }

    /// Adds the settings that only the daemon has for a saved network to the config. `network` is
    /// the daemon's entry for a network that the daemon is about to leave. Returns true if the
    /// config changed.
    fn keep_network(&self, _app: &mut Document, _network: ValueRef<'_>) -> bool {
        false
    }

    /// Gives the saved networks that lack them the settings that only a daemon has, from a previous
    /// config. `only` names the one network to look at, by its network id. Returns true if the
    /// config changed.
    fn restore_networks(&self, _app: &mut Document, _former: &Document, _only: Option<&str>) -> bool {
        false
    }

    /// Returns the network that a daemon is to join, in the daemon's shape; `None` for none. A
    /// daemon leaves the other [saved networks](Self::saved_networks).
    ///
    /// # Errors
    /// Fails if the network cannot be converted, or if no daemon takes its id or another of its
    /// settings; the path of the diagnostic is the network id.
    fn active_network(&self, _app: &Document) -> Result<Option<serde_json::Value>, Diagnostic> {
        Ok(None)
    }

    /// Returns true if the keys mean what they mean to MyOwnLLM, so that the harm of a lost setting
    /// is known: the [marks](Self::marks) name all of MyOwnLLM's, also in a schema that delegates
    /// to [`MyOwnLlm`]. A store refuses such a schema for another app, whatever its
    /// [name](Self::app_name), and any other for MyOwnLLM.
    fn is_myownllm(&self) -> bool {
        let marks = self.marks();
        APP_MARKS.iter().all(|mark| marks.iter().any(|name| name == mark))
    }
}

/// Stands in for the schema of an app that gives none: no key, nothing to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSchema;

impl AppSchema for NoSchema {
    fn app_name(&self) -> &str {
        ""
    }

    fn defaults(&self) -> Document {
        Document::empty()
    }
}

/// The schema of MyOwnLLM.
#[derive(Debug, Clone, Default)]
pub struct MyOwnLlm {
    conversation_dir: String,
}

impl MyOwnLlm {
    /// Returns the schema, with the default of the setting `conversation_dir`.
    pub fn new(conversation_dir: impl Into<String>) -> Self {
        Self { conversation_dir: conversation_dir.into() }
    }
}

impl AppSchema for MyOwnLlm {
    fn app_name(&self) -> &str {
        "MyOwnLLM"
    }

    fn defaults(&self) -> Document {
        app_config::defaults(&self.conversation_dir)
    }

    fn marks(&self) -> Vec<String> {
        APP_MARKS.map(str::to_owned).to_vec()
    }

    fn complete(&self, document: &mut Document, ids: &mut dyn Ids) -> Vec<Diagnostic> {
        app_config::complete(document, &self.conversation_dir, ids)
    }

    fn missing_keys(&self, document: &Document) -> Vec<String> {
        app_config::missing_keys(document)
    }

    fn own_settings(&self, document: &Document) -> OwnSettings {
        OwnSettings::of(document, &self.conversation_dir)
    }

    fn user_dirs(&self) -> Vec<PathBuf> {
        vec![PathBuf::from(&self.conversation_dir)]
    }

    fn remarks(&self, document: &Document) -> Vec<Diagnostic> {
        unrecognised_networks(document).into_iter().collect()
    }

    fn shape(&self, document: &Document) -> Shape {
        shape(document)
    }

    fn adopt_networks(&self, document: &Document, into: &mut Salvaged, ids: &mut dyn Ids) -> bool {
        adopt_networks(document, into, ids);
        true
    }

    fn restore_wiped(&self, wiped: &Document, backup: &Document, ids: &mut dyn Ids) -> RestoredSettings {
        restore_wiped(wiped, backup, &self.conversation_dir, ids)
    }

    fn has_paths(&self, app: &Document) -> bool {
        let names_one = |network: &ValueRef<'_>| {
            network.get(DAEMON_SETTINGS).is_some_and(|settings| settings.get("roster_path").is_some())
        };
        app.get(&crate::NETWORKS).is_some_and(|networks| networks.items().any(|network| names_one(&network)))
    }

    fn rebase_paths(
        &self,
        app: &mut Document,
        from: &str,
        to: &str,
        is_at_new_place: &dyn Fn(&str) -> bool,
    ) -> Vec<Rebased> {
        rebase_app_paths(app, from, to, is_at_new_place)
    }

    fn saved_networks(&self, app: &Document) -> Option<Vec<SavedNetwork>> {
        Some(networks::saved(app))
    }

    fn keeps_network(&self, app: &Document, network: ValueRef<'_>) -> bool {
        let converted = Document::of(convert::from_daemon(network, "").0);
        let own = converted.get(&[DAEMON_SETTINGS]);
        let id = network_id::of(network).unwrap_or_default();
        let is_it =
            |saved: &ValueRef<'_>| network_id::of(*saved).is_some_and(|saved| network_id::same(&saved, &id));
        let is_open = converted.get(&["kind"]).is_none_or(|kind| kind.is_str("open"));
        let has_kind = |saved: &ValueRef<'_>| saved.get("kind").is_some_and(|kind| !kind.is_falsy());
        let saved = networks::list(app).into_iter().filter(is_it);
        let mut saved = saved.filter(|saved| is_open || has_kind(saved)).filter(|saved| {
            let has = |key: &&str| is_within(converted.get(&[key]), saved.get(key));
            let in_topology = |key: &&str| {
                let of_saved = saved.get("topology").and_then(|topology| topology.get(key));
                is_within(converted.get(&["topology", key]), of_saved)
            };
            VALUES.iter().all(has) && ["hub", "hubs"].iter().all(in_topology)
        });
        saved.any(|saved| match (&own, saved.get(DAEMON_SETTINGS)) {
            (None, _) => true,
            (Some(own), Some(saved)) => own.same_json(&saved),
            (Some(_), None) => false,
        })
    }

    fn keep_network(&self, app: &mut Document, network: ValueRef<'_>) -> bool {
        networks::keep_daemon_settings(app, [network])
    }

    fn restore_networks(&self, app: &mut Document, previous: &Document, only: Option<&str>) -> bool {
        networks::restore_daemon_settings(app, previous, only)
    }

    fn active_network(&self, app: &Document) -> Result<Option<serde_json::Value>, Diagnostic> {
        let Some(network) = networks::active(app) else { return Ok(None) };
        let mut wanted = networks::for_daemon(network)?;
        // A daemon keeps the kind that it has, unless the app names one.
        if network.get("kind").is_none_or(|kind| kind.is_falsy()) {
            wanted.as_object_mut().map(|members| members.remove("kind"));
        }
        Ok(Some(wanted))
    }
}

/// The members of a network of which a daemon may have a value that the config lacks.
const VALUES: [&str; 4] = ["label", "signaling_servers", "stun_servers", "turn_servers"];

/// The hosts of the servers that a daemon gives to a network without any.
const DEFAULT_HOSTS: [&str; 3] = [".myownmesh.com", ".l.google.com", ".cloudflare.com"];

/// Returns true if `saved` has every string and number of `value`, but for default servers.
fn is_within(value: Option<ValueRef<'_>>, saved: Option<ValueRef<'_>>) -> bool {
    let Some(value) = value.filter(|value| !value.is_falsy()) else { return true };
    let is_default = |server: ValueRef<'_>| {
        let url = server.get("url").unwrap_or(server).as_str();
        url.is_some_and(|url| DEFAULT_HOSTS.iter().any(|host| url.contains(host)))
    };
    let has = |item: ValueRef<'_>| {
        let mut saved = saved.into_iter().flat_map(|saved| saved.items());
        is_default(item) || saved.any(|saved| is_within(Some(item), Some(saved)))
    };
    let has_member = |(key, member): (Cow<'_, str>, ValueRef<'_>)| {
        is_within(Some(member), saved.and_then(|saved| saved.get(&key)))
    };
    match value.as_str() {
        // A completed config has no white space around a label.
        Some(text) => saved.and_then(|saved| saved.as_str()).is_some_and(|saved| saved.trim() == text.trim()),
        None if value.kind() == Kind::Array => value.items().all(has),
        None if value.kind() == Kind::Object => value.members().all(has_member),
        None => saved.is_some_and(|saved| saved.same_json(&value)),
    }
}
