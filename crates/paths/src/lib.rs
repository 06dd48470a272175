#![doc = include_str!("../README.md")]

mod checked_layout;
pub mod command;
#[cfg(feature = "control-socket")]
mod control_socket;
mod env;
mod error;
#[cfg(feature = "serde")]
mod failure;
mod host;
mod layout;
mod lookup;
mod resolver;
#[cfg(feature = "serde")]
mod serialize;
mod socket;
mod spelling;

pub use camino;

pub use crate::checked_layout::{CheckedLayout, check_overlap};
pub use crate::env::Env;
pub use crate::error::{HomeRelation, PathsError};
#[cfg(feature = "serde")]
pub use crate::failure::{Class, Failure, FailureData};
pub use crate::host::{DaemonFiles, HostApp, MYOWNLLM};
pub use crate::layout::{Layout, LayoutPaths, PathEntry, Rule, TRASH};
pub use crate::lookup::{FileInfo, Kind, Lookup, RealLookup};
pub use crate::resolver::{PathResolver, Resolver};
pub use crate::socket::{ControlSocket, Mode, Platform, Socket, check_control_socket, check_socket};
pub use crate::spelling::{inside, normalize_lexically};
