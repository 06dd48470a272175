//! Brings a daemon's networks in line with the app's active network: a pure plan, then its
//! execution.
//!
//! # The rules
//! - The app has at most one active network. An own daemon joins it and leaves all others.
//! - A *shared* daemon belongs to another program, so it leaves only networks that the app added.
//!   The app added a network if the daemon keeps it under the app's internal id. A saved network
//!   with the same network id is no proof, nor is an internal id that equals the network id: there
//!   the app takes another id.
//! - Two URLs are equal if they differ in the case of scheme and host, in a default port, or in an
//!   empty path or `/`.
//! - If another network uses the active network's config id, an own daemon replaces that network; in
//!   a shared daemon the active network gets another id.
//!
//! The [README](crate#guarantees-of-reconcile) has the other guarantees.

mod compare;
mod execute;
mod plan;

pub use myownllm_config_model::networks::SavedNetwork;
use serde_json::Value;

pub use compare::differing_keys;
pub use execute::{DROPPED, NOT_APPLIED, Outcome, StepOutcome, StepResult, execute};
pub use plan::{Action, KeptNetwork, NOT_ADDED, Plan, ReconcileInput, Step, plan};

use crate::{ControlError, DaemonControl, Role, Status};

/// Asks the daemon for its status, plans, and executes.
///
/// # Errors
/// The daemon does not return its status. Then nothing was done.
pub fn reconcile(
    daemon: &mut dyn DaemonControl,
    role: Role,
    active: Option<Value>,
    saved: Vec<SavedNetwork>,
) -> Result<(Plan, Outcome), ControlError> {
    let status = daemon.status()?;
    let input = gather(daemon, status, role, active, saved)?;
    let plan = plan(&input);
    let outcome = execute(daemon, &plan);
    Ok((plan, outcome))
}

/// Gathers the input of a plan. Asks for the daemon's config only if the plan depends on it.
///
/// # Errors
/// The connection broke. A daemon that refuses to show its config is no error.
pub fn gather(
    daemon: &mut dyn DaemonControl,
    status: Status,
    role: Role,
    active: Option<Value>,
    saved: Vec<SavedNetwork>,
) -> Result<ReconcileInput, ControlError> {
    let joined = status.joined_networks;
    let mut input = ReconcileInput { role, active, saved, joined, networks: None };
    if input.depends_on_config() {
        input.networks = match daemon.config_show() {
            Ok(shown) => Some(shown.networks().to_vec()),
            Err(e) if e.breaks_connection() => return Err(e),
            Err(_) => None,
        };
    }
    Ok(input)
}
