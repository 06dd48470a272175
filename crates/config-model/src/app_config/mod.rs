//! The app's config: a typed view, the defaults, and the completion of what a file lacks.

mod cloud_mesh;
mod complete;
mod config;
mod network;
mod permissions;
mod saved_network;
mod user_settings;

pub use self::cloud_mesh::{FlatNetwork, flat_network};
pub use self::complete::{complete, defaults, keys, missing_keys};
pub use self::config::{Api, AppConfig, AutoCleanup, AutoUpdate, CloudMesh, Mic, Provider, RemoteUi};
pub(crate) use self::network::{
    RETIRED_KEYS, SERVER_LISTS, completed, default_of, is_retired_server, is_server, label_change,
    topology_change,
};
pub use self::saved_network::{
    AgentPermissions, DaemonSettings, Network, Prompt, ToolPermission, TurnServer,
};
pub use self::user_settings::{Loss, NETWORK, OwnSettings};
pub use crate::topology::Topology;
