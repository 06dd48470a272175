//! What `cargo xtask bench` measures with, and what it measures against: configs and folders that grow, and the
//! straightforward way to do the same. The verb runs the benches and the programs of this crate, and makes a table of
//! what they leave.

#![allow(clippy::disallowed_methods, reason = "throw-away folders; a bench that cannot go on stops")]

pub mod configs;
#[cfg(unix)]
pub mod daemons;
pub mod homes;
pub mod movers;

/// Sizes to measure at: all, or with `BENCH_QUICK` set the small ones.
#[must_use]
pub fn sizes(all: &[usize]) -> Vec<usize> {
    let limit = if std::env::var_os("BENCH_QUICK").is_some() { 2_000 } else { usize::MAX };
    all.iter().copied().filter(|size| *size <= limit).collect()
}
