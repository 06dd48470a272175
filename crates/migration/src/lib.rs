#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod decide;
mod error;
mod execute;
mod homes;
mod inspect;
mod plan;
mod report;

use myownllm_durable_fs::{Disk, LockedDir};
/// The judge of identity files, which decides whether a daemon may be started.
pub use myownllm_identity as identity;

pub use decide::plan;
pub use error::{Class, LiveDaemon, LiveKind, MigrationError, Side};
pub use homes::{Direction, Homes, Keep, Options, StateNames};
pub use inspect::{Inventory, inspect, is_pending};
pub use plan::{Collision, IdentityState, Left, Plan, Step};
pub use report::{AttributesLost, MoveMethod, Moved, Outcome, Phase, Progress, Report};

/// Looks for daemons that still write one of the homes, and stops them when the user wants that.
///
/// Implemented by whoever can talk to a daemon.
pub trait LiveDaemons {
    /// Those that answer, or accept and are silent, on any socket of either home.
    fn live(&self) -> Vec<LiveDaemon>;

    /// Asks one to end and waits until its socket is gone. Called only with leave of the user
    /// ([`Options::stop_legacy_daemon`]).
    ///
    /// # Errors
    ///
    /// Why it is still there, in words.
    fn stop(&self, daemon: &LiveDaemon) -> Result<(), String> {
        let _ = daemon;
        Err("there is no way to stop it from here".to_owned())
    }
}

/// Nobody lives here: for tests, and for homes that no program can be running on.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDaemons;

impl LiveDaemons for NoDaemons {
    fn live(&self) -> Vec<LiveDaemon> {
        Vec::new()
    }
}

/// The front door: look, plan, do. Object-safe, so that another implementation can take its place.
pub trait StateMigrator {
    /// Whether a run would have anything to do: a handful of looks, no lock, no write.
    ///
    /// # Errors
    ///
    /// [`MigrationError::Unreadable`]: something could not be looked at, so take it as pending.
    fn is_pending(&self) -> Result<bool, MigrationError>;

    /// Looks at both homes. Takes no lock, writes nothing.
    fn inspect(&self, direction: Direction) -> Inventory;

    /// Looks at both homes through the lock, on whose handle every step of the move rests too.
    fn inspect_locked(&self, lock: &LockedDir, direction: Direction) -> Inventory;

    /// What would be done. Pure.
    fn plan(&self, inventory: &Inventory, options: &Options) -> Plan;

    /// Does what the plan says. The plan should have been made under the lock; each step is checked again before it is done.
    fn execute(&self, lock: &LockedDir, plan: Plan, daemons: &dyn LiveDaemons) -> Report;

    /// Looks, plans and executes: what to call once the lock is held.
    fn run(&self, lock: &LockedDir, options: &Options, daemons: &dyn LiveDaemons) -> Report {
        let inventory = self.inspect_locked(lock, options.direction);
        let plan = self.plan(&inventory, options);
        let _span = tracing::info_span!("move", direction = ?plan.direction).entered();
        tracing::debug!(steps = plan.changes(), refusals = plan.refusals.len(), "the move is planned");
        let report = self.execute(lock, plan, daemons);
        for moved in &report.moved {
            let (from, to) = (moved.from.display(), moved.to.display());
            tracing::debug!(%from, %to, method = ?moved.method, files = moved.files, "moved");
        }
        for error in report.refusals.iter().chain(&report.errors) {
            tracing::warn!(code = error.code(), path = %error.path().display(), "something was not moved");
        }
        tracing::info!(outcome = ?report.outcome, files = report.files_moved(), "the move has ended");
        report
    }
}

/// The mover of this crate.
pub struct Migrator<'a> {
    disk: &'a dyn Disk,
    homes: Homes,
    tell: &'a dyn Fn(Progress),
}

impl<'a> Migrator<'a> {
    /// A mover between these homes on this disk.
    pub fn new(disk: &'a dyn Disk, homes: Homes) -> Self {
        Self { disk, homes, tell: &|_| {} }
    }

    /// Tells `tell` how far it is, as files are dealt with: for moves that take long, such as one to another disk.
    #[must_use]
    pub fn telling(mut self, tell: &'a dyn Fn(Progress)) -> Self {
        self.tell = tell;
        self
    }

    /// The homes.
    pub fn homes(&self) -> &Homes {
        &self.homes
    }
}

impl StateMigrator for Migrator<'_> {
    fn is_pending(&self) -> Result<bool, MigrationError> {
        inspect::is_pending(self.disk, &self.homes)
    }

    fn inspect(&self, direction: Direction) -> Inventory {
        inspect::inspect(self.disk, &self.homes, direction)
    }

    fn plan(&self, inventory: &Inventory, options: &Options) -> Plan {
        decide::plan(&self.homes, inventory, options)
    }

    fn inspect_locked(&self, lock: &LockedDir, direction: Direction) -> Inventory {
        inspect::inspect(lock, &self.homes, direction)
    }

    fn execute(&self, lock: &LockedDir, plan: Plan, daemons: &dyn LiveDaemons) -> Report {
        execute::execute(lock, plan, daemons, self.tell)
    }
}
