//! The build of this program.

use serde::Serialize;

/// A build of the program, as every document and every report names it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Build {
    pub(crate) version: &'static str,
    /// `unknown` if the sources came without their history.
    pub(crate) commit: &'static str,
    pub(crate) target: &'static str,
}

/// This build.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("MYOWNLLM_COMMIT"),
    target: env!("MYOWNLLM_TARGET"),
};
