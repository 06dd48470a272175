//! Cross-crate and end-to-end tests, and the stand-in daemon.
//!
//! The tests are in `tests/`. This library holds the [stand-in daemon](standin), and [`StandIn`],
//! which runs the stand-in daemon as a process of a test.

mod process;
#[cfg_attr(not(unix), allow(dead_code, unused_imports, reason = "it has sockets only"))]
pub mod standin;

pub use process::{Builder, StandIn};
