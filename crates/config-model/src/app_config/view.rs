use std::collections::BTreeMap;

use super::{DEFAULT_PROVIDER, SECTIONS};
use crate::secrets::Secret;
use crate::{Document, Kind, ValueRef};

/// What callers read from the app's config: a member that is absent or of a wrong type reads as its default.
///
/// Members that this crate does not know are in the [`Document`] alone.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AppConfig {
    /// Name of the provider in use.
    pub active_provider: String,
    /// The model family in use.
    pub active_family: String,
    /// The mode in use: `transcribe`, `text`, …
    pub active_mode: String,
    /// After so many days an unused model is cleaned up.
    pub model_cleanup_days: f64,
    /// Families whose clean-up no longer warns.
    pub cleanup_warning_suppressed_families: Vec<String>,
    /// Models that are never cleaned up.
    pub kept_models: Vec<String>,
    /// Mode -> model.
    pub mode_overrides: BTreeMap<String, String>,
    /// Family -> mode -> model.
    pub family_overrides: BTreeMap<String, BTreeMap<String, String>>,
    /// The modes whose models are kept up to date.
    pub tracked_modes: Vec<String>,
    /// Where conversations lie; empty in a document that was not completed.
    pub conversation_dir: String,
    /// What is cleaned up by itself.
    pub auto_cleanup: AutoCleanup,
    /// The local HTTP interface.
    pub api: Api,
    /// Updates of the app.
    pub auto_update: AutoUpdate,
    /// The remote user interface.
    pub remote_ui: RemoteUi,
    /// The mesh.
    pub cloud_mesh: CloudMesh,
    /// The microphone.
    pub mic: Mic,
    /// Where models come from.
    pub providers: Vec<Provider>,
}

/// What is cleaned up by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct AutoCleanup {
    pub models: bool,
    pub transcribe_buffer: bool,
    pub legacy: bool,
    pub updates: bool,
    pub conversations: bool,
}

/// The local HTTP interface.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Api {
    /// Whether it listens.
    pub enabled: bool,
    /// The address it listens at.
    pub host: String,
    /// The port.
    pub port: f64,
    /// Whether any web page may call it.
    pub cors_allow_all: bool,
    /// What callers must present.
    pub bearer_token: Option<Secret>,
}

/// Updates.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AutoUpdate {
    /// Whether they are looked for.
    pub enabled: bool,
    /// `stable`, `beta`.
    pub channel: String,
    /// `none`, `patch`, `minor`, `all`.
    pub auto_apply: String,
    /// Hours between two looks.
    pub check_interval_hours: f64,
}

/// The remote user interface.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RemoteUi {
    /// Whether it listens.
    pub enabled: bool,
    /// The port.
    pub port: f64,
}

/// The microphone.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Mic {
    /// Empty: the system's.
    pub device_name: String,
    /// In hertz.
    pub sample_rate: f64,
    pub echo_cancellation: bool,
    pub noise_suppression: bool,
    pub auto_gain_control: bool,
}

/// A provider of models.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Its manifest.
    pub url: String,
}

/// The saved networks.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct CloudMesh {
    /// Whether the mesh is switched on.
    pub enabled: bool,
    /// Saved networks in file order.
    pub networks: Vec<Network>,
    /// The internal id of the active one.
    pub active_network_id: Option<String>,
    /// Whether the mesh's diagnostics are muted.
    pub diag_quiet: bool,
}

/// One saved network.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Network {
    /// The internal id.
    pub id: String,
    /// The id that all peers share.
    pub network_id: String,
    /// The name shown to the user.
    pub label: Option<String>,
    /// `open`, `closed`, or a newer daemon's.
    pub kind: Option<String>,
    /// Who connects to whom.
    pub topology: Option<Topology>,
    /// Whether new peers are let in without asking; absent means not.
    pub auto_approve: Option<bool>,
    /// Signaling relays.
    pub signaling_servers: Vec<String>,
    /// STUN servers.
    pub stun_servers: Vec<String>,
    /// TURN servers.
    pub turn_servers: Vec<TurnServer>,
    /// `available`, `limited`, `busy`.
    pub accepting: String,
    /// Whether this node passes gossip on.
    pub auto_gossip: bool,
    /// Saved prompts.
    pub prompts: Vec<Prompt>,
    /// It carries settings that only the daemon knows.
    pub has_daemon_settings: bool,
}

/// Who connects to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// Each with its neighbours.
    Ring {
        /// How many neighbours; absent: the daemon's choice.
        n_preferred: Option<u64>,
    },
    /// Everybody with one.
    Star {
        /// The Device ID of that one.
        hub: String,
    },
    /// Everybody with everybody.
    FullMesh,
    /// A newer daemon's.
    Other {
        /// Its name.
        kind: String,
    },
}

/// A TURN server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TurnServer {
    /// Its address.
    pub url: String,
    /// The user, if it wants one.
    pub username: Option<String>,
    /// The password, if it wants one.
    pub credential: Option<Secret>,
}

/// A saved prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Prompt {
    /// Its id.
    pub id: String,
    /// The name shown to the user.
    pub name: String,
    /// What the model is told about itself.
    pub system_prompt: String,
    /// What it is asked.
    pub user_prompt: String,
    /// The tools it may use.
    pub tools: Vec<String>,
}

/// Reads members of one object, with defaults.
struct Reader<'a>(Option<ValueRef<'a>>);

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<ValueRef<'a>> {
        self.0?.get(key)
    }
    fn within(&self, key: &str) -> Reader<'a> {
        Reader(self.get(key))
    }
    fn text_if_any(&self, key: &str) -> Option<String> {
        Some(self.get(key)?.as_str()?.into_owned())
    }
    fn text(&self, key: &str, default: &str) -> String {
        self.text_if_any(key).unwrap_or_else(|| default.to_owned())
    }
    fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(|v| v.as_bool()).unwrap_or(default)
    }
    fn number(&self, key: &str, default: f64) -> f64 {
        self.get(key).and_then(|v| v.as_f64()).filter(|n| n.is_finite()).unwrap_or(default)
    }
    fn texts(&self, key: &str) -> Vec<String> {
        self.get(key).into_iter().flat_map(|l| l.items()).filter_map(text_of).collect()
    }
    fn secret(&self, key: &str) -> Option<Secret> {
        self.text_if_any(key).filter(|s| !s.is_empty()).map(Secret::new)
    }
}

fn text_of(value: ValueRef<'_>) -> Option<String> {
    value.as_str().map(|s| s.into_owned())
}

/// The defaults table is JSON; the few places that read it know what they read.
fn flag_default(section: &str, key: &str) -> bool {
    SECTIONS
        .iter()
        .find(|(name, _)| *name == section)
        .and_then(|(_, members)| members.iter().find(|(name, _)| *name == key))
        .is_some_and(|(_, default)| *default == "true")
}

impl AppConfig {
    /// Reads the view; cannot fail.
    pub fn view(doc: &Document) -> Self {
        let root = Reader(Some(doc.root()));
        let section = |name: &'static str| {
            let reader = root.within(name);
            move |key: &str| reader.flag(key, flag_default(name, key))
        };
        let (cleanup, api_flag, mic_flag) = (section("auto_cleanup"), section("api"), section("mic"));
        let (api, update) = (root.within("api"), root.within("auto_update"));
        let (remote, mic) = (root.within("remote_ui"), root.within("mic"));
        let active_mode = root.text("active_mode", "transcribe");
        let tracked_modes = root.texts("tracked_modes");
        let is_list = root.get("providers").is_some_and(|p| p.kind() == Kind::Array);
        let providers = if is_list {
            let list = root.get("providers").into_iter().flat_map(|l| l.items());
            list.map(|p| Reader(Some(p)))
                .map(|p| Provider { name: p.text("name", ""), url: p.text("url", "") })
                .collect()
        } else {
            vec![Provider { name: DEFAULT_PROVIDER.0.to_owned(), url: DEFAULT_PROVIDER.1.to_owned() }]
        };
        Self {
            active_provider: root.text("active_provider", DEFAULT_PROVIDER.0),
            active_family: root
                .text_if_any("active_family")
                .filter(|f| !f.is_empty())
                .unwrap_or("gemma4".into()),
            model_cleanup_days: root.number("model_cleanup_days", 1.0),
            cleanup_warning_suppressed_families: root.texts("cleanup_warning_suppressed_families"),
            kept_models: root.texts("kept_models"),
            mode_overrides: texts_by_key(root.get("mode_overrides")),
            family_overrides: root
                .get("family_overrides")
                .into_iter()
                .flat_map(|o| o.members())
                .map(|(family, modes)| (family.into_owned(), texts_by_key(Some(modes))))
                .collect(),
            tracked_modes: if tracked_modes.is_empty() { vec![active_mode.clone()] } else { tracked_modes },
            active_mode,
            conversation_dir: root.text("conversation_dir", ""),
            auto_cleanup: AutoCleanup {
                models: cleanup("models"),
                transcribe_buffer: cleanup("transcribe_buffer"),
                legacy: cleanup("legacy"),
                updates: cleanup("updates"),
                conversations: cleanup("conversations"),
            },
            api: Api {
                enabled: api_flag("enabled"),
                host: api.text("host", "127.0.0.1"),
                port: api.number("port", 1473.0),
                cors_allow_all: api_flag("cors_allow_all"),
                bearer_token: api.secret("bearer_token"),
            },
            auto_update: AutoUpdate {
                enabled: update.flag("enabled", true),
                channel: update.text("channel", "stable"),
                auto_apply: update.text("auto_apply", "patch"),
                check_interval_hours: update.number("check_interval_hours", 6.0),
            },
            remote_ui: RemoteUi {
                enabled: remote.flag("enabled", false),
                port: remote.number("port", 1474.0),
            },
            cloud_mesh: CloudMesh::of(&root.within("cloud_mesh")),
            mic: Mic {
                device_name: mic.text("device_name", ""),
                sample_rate: mic.number("sample_rate", 16000.0),
                echo_cancellation: mic_flag("echo_cancellation"),
                noise_suppression: mic_flag("noise_suppression"),
                auto_gain_control: mic_flag("auto_gain_control"),
            },
            providers,
        }
    }
}

fn texts_by_key(object: Option<ValueRef<'_>>) -> BTreeMap<String, String> {
    let members = object.into_iter().flat_map(|o| o.members());
    members.filter_map(|(key, value)| Some((key.into_owned(), text_of(value)?))).collect()
}

impl CloudMesh {
    fn of(section: &Reader<'_>) -> Self {
        let networks = section.get("networks").into_iter().flat_map(|l| l.items());
        Self {
            enabled: section.flag("enabled", false),
            networks: networks.filter(|n| n.kind() == Kind::Object).map(Network::view).collect(),
            active_network_id: section.text_if_any("active_network_id").filter(|id| !id.is_empty()),
            diag_quiet: section.flag("diag_quiet", false),
        }
    }
}

impl Network {
    /// Reads one entry of the catalogue; cannot fail.
    pub fn view(entry: ValueRef<'_>) -> Self {
        let entry = Reader(Some(entry));
        let turn = entry.get("turn_servers").into_iter().flat_map(|l| l.items());
        let prompts = entry.get("prompts").into_iter().flat_map(|l| l.items());
        let stun = entry.get("stun_servers").filter(|s| s.kind() == Kind::Array);
        Self {
            id: entry.text("id", ""),
            network_id: entry.text("network_id", ""),
            label: entry.text_if_any("label").filter(|l| !l.is_empty()),
            kind: entry.text_if_any("kind").filter(|k| !k.is_empty()),
            topology: entry.get("topology").and_then(Topology::view),
            auto_approve: entry.get("auto_approve").and_then(|a| a.as_bool()),
            signaling_servers: entry.texts("signaling_servers"),
            stun_servers: match stun {
                Some(_) => entry.texts("stun_servers"),
                None => super::network::DEFAULT_STUN.map(str::to_owned).to_vec(),
            },
            turn_servers: turn
                .map(|t| Reader(Some(t)))
                .filter_map(|t| {
                    let url = t.text_if_any("url").filter(|u| !u.is_empty())?;
                    let username = t.text_if_any("username").filter(|u| !u.is_empty());
                    Some(TurnServer { url, username, credential: t.secret("credential") })
                })
                .collect(),
            accepting: entry.text("accepting", "available"),
            auto_gossip: entry.flag("auto_gossip", true),
            prompts: prompts
                .map(|p| Reader(Some(p)))
                .map(|p| Prompt {
                    id: p.text("id", ""),
                    name: p.text("name", ""),
                    system_prompt: p.text("system_prompt", ""),
                    user_prompt: p.text("user_prompt", ""),
                    tools: p.texts("tools"),
                })
                .collect(),
            has_daemon_settings: entry.get("daemon_settings").is_some_and(|d| d.members().next().is_some()),
        }
    }
}

impl Topology {
    /// Reads a topology, the app's or the daemon's: they are written alike. `None` for what is none.
    pub fn view(value: ValueRef<'_>) -> Option<Self> {
        let reader = Reader(Some(value));
        Some(match reader.text_if_any("kind")?.as_str() {
            "ring" => Topology::Ring {
                n_preferred: value
                    .get("n_preferred")
                    .and_then(|n| n.as_f64())
                    .filter(|n| (1.0..1e15).contains(n))
                    .map(|n| n as u64),
            },
            "star" => Topology::Star { hub: reader.text_if_any("hub").filter(|h| !h.is_empty())? },
            "full_mesh" => Topology::FullMesh,
            other => Topology::Other { kind: other.to_owned() },
        })
    }
}
