//! The build of this program.

use myownllm_report::documents::Build;

/// This build.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("MYOWNLLM_COMMIT"),
    target: env!("MYOWNLLM_TARGET"),
};
