//! The user's home, looked at once: the one place of the back end that reads the environment.

use myownllm_config_store::{MyOwnLlm, Store, StorePaths, SystemClock};
use myownllm_durable_fs::RealDisk;
use myownllm_launch::{LocalDaemons, ProgramSearch};
use myownllm_paths::{
    CheckedLayout, Env, Layout, MYOWNLLM, PathResolver as _, PathsError, RealLookup, Resolver,
};

use crate::error::{Result, to_mesh_error};

pub struct Home {
    pub layout: Layout,
    /// The same layout, if the homes of app and daemon are apart.
    pub checked: std::result::Result<CheckedLayout, PathsError>,
    clock: SystemClock,
    schema: MyOwnLlm,
    search: ProgramSearch,
}

impl Home {
    pub fn of_user() -> Result<Self> {
        Self::of(&Env::from_process())
    }

    pub fn of(env: &Env) -> Result<Self> {
        let (layout, checked) =
            Resolver::new(MYOWNLLM).resolve(env).map_err(to_mesh_error)?.into_checked(&RealLookup);
        Ok(Self {
            checked,
            clock: SystemClock::default(),
            schema: MyOwnLlm::new(layout.conversations.as_str()),
            // Tauri's sidecar keeps its triple in dev mode; the app's `build.rs` knows it.
            search: ProgramSearch::from_process(&layout.app, option_env!("DAEMON_SIDECAR_TRIPLE")),
            layout,
        })
    }

    /// Returns the app's config on disk.
    pub fn store(&self) -> Store<'_> {
        Store::new(&RealDisk, &self.clock, StorePaths::of(&self.layout), &self.schema)
    }

    /// Returns the daemons of this home.
    pub fn daemons(&self) -> LocalDaemons<'_> {
        LocalDaemons::new(&RealDisk, &self.layout, &self.search)
    }
}
