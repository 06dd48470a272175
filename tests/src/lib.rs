//! Cross-crate and end-to-end tests, and the stand-in daemon.
//!
//! The tests are in `tests/`. This library holds the [stand-in daemon](standin), and the common
//! part of the tests: [`testkit`].

#[cfg_attr(not(unix), allow(dead_code, unused_imports, reason = "it has sockets only"))]
pub mod standin;
pub mod testkit;

pub use testkit::{Builder, StandIn};
