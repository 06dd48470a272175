#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod classify;
mod compare;
mod error;
mod execute;
mod homes;
mod inspect;
mod inventory;
mod leftovers;
mod live;
mod lossy;
mod migrator;
mod plan;
mod planner;
mod report;

/// Judges identity files, and decides if a daemon may be started.
pub use myownllm_identity as identity;
pub use myownllm_paths::camino;

pub use error::{Class, LiveDaemon, LiveKind, MigrationError, Side};
pub use homes::{Direction, Homes, Keep, Options};
pub use inventory::Inventory;
pub use live::LiveDaemons;
#[cfg(feature = "testing")]
pub use live::NoDaemons;
pub use migrator::Migrator;
pub use plan::{Collision, IdentityState, MoveStep, Plan, PlanSteps, Retarget, SkippedEntry};
pub use report::{AttributesLost, MoveMethod, MoveOutcome, MoveReport, Moved, Phase, Progress};
