//! The measurements of `cargo xtask bench`, and their baselines: configs and directories that grow,
//! and the straightforward way to do the same. The verb runs the benches and the programs of this
//! crate, and makes a table of their results.

#![allow(clippy::disallowed_methods, reason = "throw-away directories; a bench that cannot go on stops")]

pub mod configs;
#[cfg(unix)]
pub mod daemons;
pub mod homes;
pub mod movers;

/// Returns the sizes to measure: all, or only the small ones if `BENCH_QUICK` is set.
#[must_use]
pub fn sizes(all: &[usize]) -> Vec<usize> {
    let limit = if std::env::var_os("BENCH_QUICK").is_some() { 2_000 } else { usize::MAX };
    all.iter().copied().filter(|size| *size <= limit).collect()
}
