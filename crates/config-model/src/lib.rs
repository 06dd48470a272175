#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_debug_implementations)]

pub mod app_config;
mod config_structs;
pub mod convert;
pub mod daemon_config;
mod daemon_file;
pub mod envelope;
#[cfg(feature = "failure")]
mod failure;
mod ids;
mod lenient;
pub mod masking;
pub mod network_id;
pub mod networks;
mod pass;
mod path;
#[cfg(feature = "schema")]
pub mod schema;
#[cfg(feature = "schema")]
mod schema_transforms;
pub mod settings;
pub mod similar;
mod topology;

pub use app_config::AppConfig;
pub use daemon_config::DaemonConfig;
pub use daemon_file::{DaemonFile, ReadCheck, droppable_settings, is_daemon_state, is_key_or_custody};
pub use ids::{Ids, SeededIds};
pub use myownllm_json_document::{
    Blocked, Correction, Diagnostic, Document, Extent, Fragment, Kind, MAX_BYTES, MAX_DEPTH, ParseError,
    ParseErrorKind, Parsed, Place, Recovered, SetOutcome, Severity, Snippet, ValueRef, recover, recover_all,
    shorten,
};
pub use serde_json;
