#![doc = include_str!("../README.md")]

mod env;
mod error;
mod guard;
mod host;
mod layout;
mod lookup;
mod resolver;
mod socket;
mod spelling;

pub use crate::env::Env;
pub use crate::error::PathsError;
pub use crate::guard::{CheckedLayout, check_overlap, guard};
pub use crate::host::{DaemonFiles, HostApp, MYOWNLLM};
pub use crate::layout::{Layout, Located, Rule};
pub use crate::lookup::{Kind, Lookup, Node, RealLookup};
pub use crate::resolver::{PathResolver, Resolver};
pub use crate::socket::{ControlSocket, Mode, Platform, Socket, check_control_socket, check_socket};
pub use crate::spelling::normalize_lexically;
