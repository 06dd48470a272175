//! The structs of the app's config. Each one is the typed view, the defaults and the JSON Schema.

use std::collections::BTreeMap;

use myownllm_json_document::Document;
use myownllm_json_document::masking::{MaskedText, Secret};

use super::saved_network::Network;
use crate::config_structs::config_structs;
use crate::lenient::{self, non_empty, non_empty_secret, whole_or_fraction};

config_structs! {
    /// The app's config, as callers read it: an absent member, or one of a wrong type, reads as its
    /// default.
    ///
    /// The [`Document`] alone has the members that this crate does not know.
    pub struct AppConfig(title = "MyOwnLLM config", description = "Unknown members are kept.") {
        /// The name of the provider in use.
        pub active_provider: String = "MyOwnLLM Default".to_owned(),
        /// The model family in use.
        #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
        pub active_family: String = "gemma4".to_owned(),
        /// The mode in use: `transcribe`, `text`, …
        pub active_mode: String = "transcribe".to_owned(),
        /// The days after which an unused model is deleted.
        #[serde(serialize_with = "whole_or_fraction")]
        pub model_cleanup_days: f64 = 1.0,
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
        pub tracked_modes: Vec<String> = vec!["transcribe".to_owned()],
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
        pub providers: Vec<Provider> = vec![Provider {
            name: "MyOwnLLM Default".to_owned(),
            url: "https://raw.githubusercontent.com/mrjeeves/MyOwnLLM/main/manifests/default.json".into(),
        }],
    }

    /// Automatic deletions.
    pub struct AutoCleanup(inline) {
        /// Unused models.
        pub models: bool = true,
        /// Buffers of transcriptions.
        pub transcribe_buffer: bool = true,
        /// Files of older versions.
        pub legacy: bool = true,
        /// Downloaded updates.
        pub updates: bool = true,
        /// Old conversations.
        pub conversations: bool = true,
    }

    /// The local HTTP interface.
    pub struct Api(inline) {
        /// True if the interface listens.
        pub enabled: bool = true,
        /// The address.
        pub host: String = "127.0.0.1".to_owned(),
        /// The port.
        pub port: u16 = 1473,
        /// True if any web page may call the interface.
        pub cors_allow_all: bool,
        /// The token that callers must present. Secret.
        #[serde(deserialize_with = "non_empty_secret")]
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        pub bearer_token: Option<Secret>,
    }

    /// Updates of the app.
    pub struct AutoUpdate(inline) {
        /// True if the app checks for updates.
        pub enabled: bool = true,
        /// `stable`, `beta`.
        pub channel: String = "stable".to_owned(),
        /// `none`, `patch`, `minor`, `all`.
        pub auto_apply: String = "patch".to_owned(),
        /// The hours between two checks.
        #[serde(serialize_with = "whole_or_fraction")]
        pub check_interval_hours: f64 = 6.0,
    }

    /// The remote user interface.
    pub struct RemoteUi(inline) {
        /// True if the interface listens.
        pub enabled: bool,
        /// The port.
        pub port: u16 = 1474,
    }

    /// The microphone.
    pub struct Mic(inline) {
        /// The name of the device; empty for the system's default.
        pub device_name: String,
        /// Samples a second.
        #[serde(serialize_with = "whole_or_fraction")]
        pub sample_rate: f64 = 16000.0,
        /// True if the recording is freed of echo.
        pub echo_cancellation: bool = true,
        /// True if the recording is freed of noise.
        pub noise_suppression: bool = true,
        /// True if the recording has an even volume.
        pub auto_gain_control: bool = true,
    }

    /// A source of models.
    pub struct Provider(inline) {
        /// The name.
        pub name: String,
        /// The URL of the manifest.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        pub url: MaskedText,
    }

    /// The mesh, and the saved networks.
    pub struct CloudMesh(inline) {
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
