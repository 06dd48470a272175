//! The home that a text is about.

use std::path::Path;

use myownllm_config_store::{ConfigStore, HistoryEntry};
use myownllm_durable_fs::Disk;
use myownllm_launch::words::short;
use myownllm_launch::{Context, Options};
use myownllm_paths::Layout;

/// The home that a text is about.
#[allow(missing_debug_implementations, reason = "a disk has nothing to show")]
#[derive(Clone, Copy)]
pub struct HomeView<'a> {
    /// The paths of the home.
    pub layout: &'a Layout,
    /// The disk on which the home is.
    pub disk: &'a dyn Disk,
    /// Keeps the app's config, and its backups.
    pub store: &'a dyn ConfigStore,
    /// The name of the program with the options that lead to this home, for commands to copy.
    pub program: &'a str,
    /// Returns the name of a user by the number.
    pub user_name: fn(u32) -> String,
    /// The current time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl<'a> HomeView<'a> {
    /// Returns the home of a launch. `now_ms` is the current time.
    pub fn new(context: &Context<'a>, options: &Options<'a>, now_ms: u64) -> Self {
        let Context { layout, disk, store, .. } = *context;
        Self { layout, disk, store, program: options.program, user_name: options.user_name, now_ms }
    }

    /// Returns a path below the home for a person.
    pub(crate) fn short(&self, path: impl AsRef<Path>) -> String {
        short(path, &self.layout.user_home)
    }

    /// Returns the backups of the config; none if they cannot be read.
    pub(crate) fn backups(&self) -> Vec<HistoryEntry> {
        self.store.history().unwrap_or_default()
    }
}
