#![doc = include_str!("../README.md")]

pub mod app_config;
pub mod bridge;
pub mod catalogue;
mod change;
pub mod close;
pub mod daemon_config;
pub mod envelope;
mod ids;
pub mod masking;
pub mod network_id;
#[cfg(feature = "schema")]
pub mod schema;
pub mod settings;

// The former name of a module, until its callers have the new one.
pub use masking as secrets;

pub use app_config::AppConfig;
pub use daemon_config::DaemonConfig;
pub use ids::{Ids, SeededIds};
pub use myownllm_json_document::{
    Diagnostic, Document, Extent, Fragment, Kind, MAX_BYTES, MAX_DEPTH, Mend, ParseError, ParseErrorKind,
    Parsed, Place, Recovered, SetOutcome, Severity, Snippet, ValueRef, recover, shorten,
};
