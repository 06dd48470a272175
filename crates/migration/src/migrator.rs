//! The entry point.

use std::fmt;

use myownllm_durable_fs::{Disk, LockedDir};

use crate::{
    error::MigrationError,
    execute::{ensure_durable, execute},
    homes::{Direction, Homes, Options},
    inspect::{inspect, is_moved},
    inventory::Inventory,
    live::LiveDaemons,
    plan::Plan,
    planner::plan,
    report::{MoveReport, Progress},
};

/// The entry point: inspect, plan, execute. A move changes files, so it takes the lock:
///
/// ```compile_fail,E0308
/// # use myownllm_durable_fs::RealDisk;
/// # use myownllm_migration::{LiveDaemons, Migrator, Options};
/// fn run(migrator: &Migrator<'_>, daemons: &dyn LiveDaemons) {
///     migrator.run(&RealDisk, &Options::forward(), daemons); // wanted: RealDisk.lock(app_home, wait)?
/// }
/// ```
///
/// A struct and no trait: another implementation would have to give every guarantee of this one
/// again. A test runs this one on a simulated disk.
pub struct Migrator<'a> {
    disk: &'a dyn Disk,
    homes: Homes,
    on_progress: &'a dyn Fn(Progress),
}

impl fmt::Debug for Migrator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator").field("homes", &self.homes).finish_non_exhaustive()
    }
}

impl<'a> Migrator<'a> {
    /// Creates a migrator between these homes on this disk.
    pub fn new(disk: &'a dyn Disk, homes: Homes) -> Self {
        Self { disk, homes, on_progress: &|_| {} }
    }

    /// Calls `on_progress` while files move: for moves that take long, such as one to another disk.
    #[must_use]
    pub fn with_progress(mut self, on_progress: &'a dyn Fn(Progress)) -> Self {
        self.on_progress = on_progress;
        self
    }

    /// Returns the homes.
    pub fn homes(&self) -> &Homes {
        &self.homes
    }

    /// Returns true if a run would do or report anything: the plan of a forward move is not
    /// [settled](Plan::is_settled). Makes a handful of calls in a home that was moved, takes no
    /// lock and writes nothing.
    pub fn is_pending(&self) -> bool {
        let plan = || self.plan(&self.inspect(Direction::Forward), &Options::forward());
        !is_moved(self.disk, &self.homes) && !plan().is_settled()
    }

    /// Inspects both homes. Takes no lock, writes nothing.
    pub fn inspect(&self, direction: Direction) -> Inventory {
        inspect(self.disk, &self.homes, direction)
    }

    /// Inspects both homes through the lock, whose handle every step of the move uses too.
    pub fn inspect_locked(&self, lock: &LockedDir, direction: Direction) -> Inventory {
        inspect(lock, &self.homes, direction)
    }

    /// Returns the plan for this inventory. Pure.
    pub fn plan(&self, inventory: &Inventory, options: &Options) -> Plan {
        plan(&self.homes, inventory, options)
    }

    /// Executes the plan. The plan should have been made under the lock; each step is checked again
    /// before it is executed.
    pub fn execute(&self, lock: &LockedDir, plan: Plan, daemons: &dyn LiveDaemons) -> MoveReport {
        let _span = tracing::info_span!("migrate", direction = ?plan.direction).entered();
        tracing::debug!(steps = plan.changes(), refusals = plan.refusals.len(), "the move is planned");
        let is_empty = plan.is_empty();
        let report = execute(lock, plan, daemons, self.on_progress);
        for moved in &report.moved {
            let (from, to) = (moved.from.display(), moved.to.display());
            tracing::debug!(%from, %to, method = ?moved.method, files = moved.files, "moved");
        }
        for error in report.refusals.iter().chain(&report.errors) {
            tracing::warn!(code = error.code(), path = %error.path().display(), "something was not moved");
        }
        if !is_empty {
            tracing::info!(outcome = ?report.outcome, files = report.files_moved(), "the move has ended");
        }
        report
    }

    /// Syncs what an earlier run moved: a run that was killed may have moved the last file without
    /// syncing the move. [`execute`](Self::execute) does so itself; a caller that plans no move
    /// calls this before it relies on the daemon home.
    ///
    /// # Errors
    /// `migration.flush-failed` with the directory that could not be synced.
    pub fn ensure_durable(&self, lock: &LockedDir) -> Result<(), MigrationError> {
        ensure_durable(lock, &self.homes)
    }

    /// Inspects, plans and executes. Call this while you hold the lock.
    pub fn run(&self, lock: &LockedDir, options: &Options, daemons: &dyn LiveDaemons) -> MoveReport {
        let inventory = self.inspect_locked(lock, options.direction);
        self.execute(lock, self.plan(&inventory, options), daemons)
    }
}
