//! The edge of the program: reads environment, clock, randomness and disk once, and passes them on
//! as values.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use myownllm_config_model::{Ids as _, SeededIds};
use myownllm_config_store::{ConfigStore as _, Loaded, MyOwnLlm, Store, StorePaths, SystemClock};
use myownllm_daemon::SpawnRequest;
use myownllm_durable_fs::{Disk as _, Owner, RealDisk, Runner};
pub use myownllm_launch::fresh_ids;
use myownllm_launch::words::short;
use myownllm_launch::{
    Context as LaunchContext, Diagnostic, LOCK_WAIT, LocalDaemons, OnWait, Options, ProgramSearch, lock_wait,
    sudo_home, user_to_become,
};
use myownllm_migration::{Homes, Migrator, Progress};
use myownllm_paths::{CheckedLayout, Env, Layout, MYOWNLLM, PathResolver, PathsError, RealLookup, Resolver};
use myownllm_report::{HomeView, run_log};

use crate::users::{calling_user, user_name};

/// The home that the commands work on, and the machine.
#[allow(missing_debug_implementations, reason = "a disk has nothing to show")]
pub struct Context {
    /// Every path of the home.
    pub layout: Layout,
    /// The same layout, if the two homes are apart.
    pub checked: Result<CheckedLayout, PathsError>,
    /// This machine's clock.
    pub clock: SystemClock,
    /// The schema of the app's config.
    schema: MyOwnLlm,
    /// The places where the daemon's program may be.
    pub search: ProgramSearch,
    /// The owner of the home, when root looks at it.
    pub(crate) owner: Option<Owner>,
    /// True if the user who reads the hints is root.
    pub(crate) is_for_root: bool,
    /// The user who called this program as root, and that user's home, if the caller named no home.
    pub(crate) caller: Option<(String, PathBuf)>,
    /// The reason why a launch changes nothing: see [`Options::refusal`].
    pub(crate) refusal: Option<Diagnostic>,
    /// The time that a daemon gets to start, if the user gave one.
    pub(crate) daemon_wait: Option<Duration>,
    /// Called with the progress of a move.
    pub(crate) tell: Box<dyn Fn(Progress)>,
    /// Called before a wait for another process, with its id if it is known.
    pub(crate) wait: Box<dyn Fn(Option<u32>)>,
    /// Set once a signal asks the run to end, if the run listens or waits.
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// The libraries, connected to one home.
#[allow(missing_debug_implementations, reason = "traits")]
pub struct Libraries<'a> {
    context: &'a Context,
    /// Moves the daemon's state.
    pub migrator: Migrator<'a>,
    /// Keeps the app's config.
    pub store: Store<'a>,
    /// Finds and starts daemons.
    pub daemons: LocalDaemons<'a>,
}

impl Libraries<'_> {
    /// Returns the context of a launch.
    pub fn launch_context(&self) -> LaunchContext<'_> {
        LaunchContext {
            layout: &self.context.layout,
            checked: self.context.checked.as_ref(),
            disk: &RealDisk,
            migrator: &self.migrator,
            store: &self.store,
            daemons: &self.daemons,
        }
    }

    /// Returns the libraries that find what killed runs left in the daemon home.
    #[must_use]
    pub(crate) fn sweeping(self) -> Self {
        Self { store: self.store.sweeping_daemon_home(), ..self }
    }

    /// Returns the home for the texts about it.
    pub fn view(&self) -> HomeView<'_> {
        HomeView::new(&self.launch_context(), &self.context.options(), fresh_ids().now_ms())
    }
}

impl Context {
    /// Looks at the home that the caller named, or at the user's own.
    ///
    /// # Errors
    /// Fails if there is no home.
    pub fn new(home: Option<&Path>) -> Result<Self, Diagnostic> {
        let env = match home {
            Some(home) => Env::explicit(absolute(home)?),
            None => Env::from_process(),
        };
        let (layout, checked) = Resolver::new(MYOWNLLM).resolve(&env)?.into_checked(&RealLookup);
        let is_root = RealDisk.runner().is_some_and(Runner::is_root);
        let homes = is_root.then_some([&layout.app_home, &layout.user_home]).into_iter().flatten();
        let owner = homes.filter_map(|home| RealDisk.stat_follow(home.as_std_path()).ok()?.owner).next();
        let schema = MyOwnLlm::new(layout.conversations.as_str());
        let search = ProgramSearch::from_process(&layout.app, Some(env!("MYOWNLLM_TARGET")));
        Ok(Self {
            layout,
            checked,
            schema,
            clock: SystemClock::default(),
            search,
            owner,
            is_for_root: is_root,
            caller: if home.is_none() { calling_user() } else { None },
            refusal: None,
            daemon_wait: None,
            tell: Box::new(|_| {}),
            wait: Box::new(|_| {}),
            cancelled: Arc::default(),
        })
    }

    /// Reports root's empty home below `sudo`, unless the user named the home.
    pub(crate) fn sudo_home(&self) -> Option<Diagnostic> {
        sudo_home(&RealDisk, &self.layout, self.caller.clone())
    }

    /// Returns the owner of the home if root has to become that user to write there.
    pub(crate) fn user_to_become(&self) -> Option<Owner> {
        user_to_become(&RealDisk, &self.layout, self.owner)
    }

    /// Returns the config as a launch would run on it.
    pub(crate) fn load(&self) -> Result<Loaded, Diagnostic> {
        self.libraries().store.load(&mut SeededIds::new(0, 0)).map_err(Diagnostic::from)
    }

    /// Returns a path below the home for a person.
    pub(crate) fn short(&self, path: impl AsRef<Path>) -> String {
        short(path, &self.layout.user_home)
    }

    /// Connects the crates to this home.
    pub fn libraries(&self) -> Libraries<'_> {
        let homes = Homes::of(&self.layout);
        let daemons = LocalDaemons::new(&RealDisk, &self.layout, &self.search)
            .owned_by(self.owner.map(|owner| owner.uid))
            .ready_within(self.daemon_wait.unwrap_or(SpawnRequest::READY_WITHIN));
        Libraries {
            context: self,
            migrator: Migrator::new(&RealDisk, homes).with_progress(&*self.tell),
            store: Store::new(&RealDisk, &self.clock, StorePaths::of(&self.layout), &self.schema),
            daemons,
        }
    }

    /// Returns the options of a launch, with the program's name for this home.
    pub fn options(&self) -> Options<'_> {
        Options {
            program: &self.layout.program,
            refusal: self.refusal.as_ref(),
            lock_wait: self.daemon_wait.map_or(LOCK_WAIT, lock_wait),
            on_wait: Some(OnWait(&*self.wait)),
            cancelled: Some(&self.cancelled),
            user_name,
            last_restored: run_log::last_restored,
            last_losses: run_log::last_losses,
            ..Options::default()
        }
    }
}

/// Makes `--home` absolute: it may be relative to the working directory of the caller.
fn absolute(home: &Path) -> Result<PathBuf, Diagnostic> {
    if home.as_os_str().is_empty() {
        return Err(Diagnostic::error("paths.relative-home", "--home names no directory")
            .hint("myownllm-mesh --home \"$PWD\" status"));
    }
    let home = std::path::absolute(home)
        .map_err(|error| Diagnostic::from_error(&error, "paths.relative-home", None).at(home))?;
    // A path with `..` may leave the app's home that is to be locked, and come back to it.
    let goes_up = home.components().any(|part| part == Component::ParentDir);
    Ok(if goes_up { RealDisk.canonicalize(&home).unwrap_or(home) } else { home })
}
