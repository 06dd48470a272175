//! The structs of the app's config. Each one is the typed view, the defaults and the JSON Schema.

use std::collections::BTreeMap;

use myownllm_json_document::Document;
use myownllm_json_document::masking::Secret;
use serde::{Deserialize, Serialize};

use super::saved_network::Network;
use crate::lenient::{self, non_empty, non_empty_secret, whole_or_fraction};

/// The app's config, as callers read it: an absent member, or one of a wrong type, reads as its
/// default.
///
/// The [`Document`] alone has the members that this crate does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(title = "MyOwnLLM config", description = "Unknown members are kept.")
)]
#[serde(default)]
#[non_exhaustive]
pub struct AppConfig {
    /// The name of the provider in use.
    pub active_provider: String,
    /// The model family in use.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub active_family: String,
    /// The mode in use: `transcribe`, `text`, …
    pub active_mode: String,
    /// The days after which an unused model is deleted.
    #[serde(serialize_with = "whole_or_fraction")]
    pub model_cleanup_days: f64,
    /// Families whose clean-up no longer warns.
    pub cleanup_warning_suppressed_families: Vec<String>,
    /// Models that are never deleted.
    pub kept_models: Vec<String>,
    /// Mode -> model.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Option<String>>"))]
    pub mode_overrides: BTreeMap<String, String>,
    /// Family -> mode -> model.
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, BTreeMap<String, Option<String>>>"))]
    pub family_overrides: BTreeMap<String, BTreeMap<String, String>>,
    /// Modes whose models are kept up to date.
    pub tracked_modes: Vec<String>,
    /// The directory of the conversations; empty in a document that was not completed.
    #[cfg_attr(
        feature = "schema",
        schemars(
            description = "The directory of the conversations.",
            transform = crate::schema_transforms::without_default
        )
    )]
    pub conversation_dir: String,
    /// Automatic deletions.
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
    /// Sources of models.
    pub providers: Vec<Provider>,
}

/// Automatic deletions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct AutoCleanup {
    /// Unused models.
    pub models: bool,
    /// Buffers of transcriptions.
    pub transcribe_buffer: bool,
    /// Files of older versions.
    pub legacy: bool,
    /// Downloaded updates.
    pub updates: bool,
    /// Old conversations.
    pub conversations: bool,
}

/// The local HTTP interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct Api {
    /// True if the interface listens.
    pub enabled: bool,
    /// The address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// True if any web page may call the interface.
    pub cors_allow_all: bool,
    /// The token that callers must present. Secret.
    #[serde(deserialize_with = "non_empty_secret")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub bearer_token: Option<Secret>,
}

/// Updates of the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct AutoUpdate {
    /// True if the app checks for updates.
    pub enabled: bool,
    /// `stable`, `beta`.
    pub channel: String,
    /// `none`, `patch`, `minor`, `all`.
    pub auto_apply: String,
    /// The hours between two checks.
    #[serde(serialize_with = "whole_or_fraction")]
    pub check_interval_hours: f64,
}

/// The remote user interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct RemoteUi {
    /// True if the interface listens.
    pub enabled: bool,
    /// The port.
    pub port: u16,
}

/// The microphone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct Mic {
    /// The name of the device; empty for the system's default.
    pub device_name: String,
    /// Samples a second.
    #[serde(serialize_with = "whole_or_fraction")]
    pub sample_rate: f64,
    /// True if the recording is freed of echo.
    pub echo_cancellation: bool,
    /// True if the recording is freed of noise.
    pub noise_suppression: bool,
    /// True if the recording has an even volume.
    pub auto_gain_control: bool,
}

/// A source of models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct Provider {
    /// The name.
    pub name: String,
    /// The URL of the manifest.
    pub url: String,
}

/// The mesh, and the saved networks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct CloudMesh {
    /// True if the mesh is switched on.
    pub enabled: bool,
    /// The saved networks, in file order.
    pub networks: Vec<Network>,
    /// The internal id of the active network.
    #[serde(deserialize_with = "non_empty")]
    pub active_network_id: Option<String>,
    /// True if the mesh's diagnostics are muted.
    pub diag_quiet: bool,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            active_provider: "MyOwnLLM Default".to_owned(),
            active_family: "gemma4".to_owned(),
            active_mode: "transcribe".to_owned(),
            model_cleanup_days: 1.0,
            cleanup_warning_suppressed_families: Vec::new(),
            kept_models: Vec::new(),
            mode_overrides: BTreeMap::new(),
            family_overrides: BTreeMap::new(),
            tracked_modes: vec!["transcribe".to_owned()],
            conversation_dir: String::new(),
            auto_cleanup: AutoCleanup::default(),
            api: Api::default(),
            auto_update: AutoUpdate::default(),
            remote_ui: RemoteUi::default(),
            cloud_mesh: CloudMesh::default(),
            mic: Mic::default(),
            providers: vec![Provider {
                name: "MyOwnLLM Default".to_owned(),
                url: "https://raw.githubusercontent.com/mrjeeves/MyOwnLLM/main/manifests/default.json"
                    .to_owned(),
            }],
        }
    }
}

impl Default for AutoCleanup {
    fn default() -> Self {
        Self { models: true, transcribe_buffer: true, legacy: true, updates: true, conversations: true }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self {
            enabled: true,
            host: "127.0.0.1".to_owned(),
            port: 1473,
            cors_allow_all: false,
            bearer_token: None,
        }
    }
}

impl Default for AutoUpdate {
    fn default() -> Self {
        Self {
            enabled: true,
            channel: "stable".to_owned(),
            auto_apply: "patch".to_owned(),
            check_interval_hours: 6.0,
        }
    }
}

impl Default for RemoteUi {
    fn default() -> Self {
        Self { enabled: false, port: 1474 }
    }
}

impl Default for Mic {
    fn default() -> Self {
        Self {
            device_name: String::new(),
            sample_rate: 16000.0,
            echo_cancellation: true,
            noise_suppression: true,
            auto_gain_control: true,
        }
    }
}

impl AppConfig {
    /// Reads the config; cannot fail.
    pub fn view(doc: &Document) -> Self {
        let mut config: Self = lenient::read(doc.root());
        if config.active_family.is_empty() {
            config.active_family = Self::default().active_family;
        }
        if config.tracked_modes.is_empty() || doc.get(&["tracked_modes"]).is_none() {
            config.tracked_modes = vec![config.active_mode.clone()];
        }
        config
    }
}
