#![doc = include_str!("../README.md")]

pub mod app_config;
pub mod bridge;
pub mod catalogue;
mod change;
pub mod daemon_config;
mod diagnostic;
pub mod document;
pub mod envelope;
mod ids;
pub mod network_id;
#[cfg(feature = "schema")]
pub mod schema;
pub mod secrets;
pub mod shorten;
mod snippet;

pub use app_config::AppConfig;
pub use daemon_config::DaemonConfig;
pub use diagnostic::{Diagnostic, Severity};
pub use document::{
    Document, Fragment, Kind, MAX_BYTES, MAX_DEPTH, ParseError, ParseErrorKind, Parsed, ValueRef,
};
pub use ids::{Ids, SeededIds};
pub use snippet::{Place, Snippet};
