//! Bringing a daemon's networks in line with the app's active one: a pure plan, then its execution.

use serde::Serialize;
use serde_json::Value;

use crate::{DaemonControl, Role};

/// A network that the app has (or ever had) saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// The app's internal id; the daemon's config id of a network that the app added.
    pub id: String,
    /// The network id.
    pub network_id: String,
}

/// All that a plan depends on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Whose daemon it is.
    pub role: Role,
    /// The active network in the daemon's shape; `None` when the user has none active.
    pub active: Option<Value>,
    /// The networks that the app saved: in a shared daemon only those that it added itself may be left.
    pub saved: Vec<Saved>,
    /// `joined_networks` of the daemon's status.
    pub joined: Vec<String>,
    /// `networks` of the daemon's config; `None` when it did not show it.
    pub networks: Option<Vec<Value>>,
}

/// What to do, in order, and what is left alone and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Joined networks that stay, with the reason.
    pub kept: Vec<Kept>,
}

/// One step and its reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Join the active network.
    Add {
        /** Daemon-shaped. */
        config: Value,
    },
    /// Bring the joined active network up to date.
    Update {
        /** Daemon-shaped. */
        config: Value,
        /** What the daemon has now. */
        current: Value,
        /** Which keys differ. */
        differs: Vec<String>,
    },
    /// Leave a network.
    Remove {
        /** As the daemon spells it. */
        network: String,
    },
}

/// A joined network that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// Its network id.
    pub network: String,
    /// Why.
    pub reason: String,
}

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Every step with its result, in order.
    pub steps: Vec<Done>,
}

impl Outcome {
    /// Whether the active network is joined as it should be (or there is none).
    pub fn active_is_joined(&self) -> bool {
        todo!()
    }
    /// Whether every step succeeded.
    pub fn is_complete(&self) -> bool {
        todo!()
    }
}

/// A step and its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Done {
    /// The step.
    pub step: Step,
    /// Its result.
    pub result: StepResult,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepResult {
    /// Done.
    Done {
        /** How, for people. */
        how: String,
    },
    /// It was so already.
    Already,
    /// It failed; the next pass tries again.
    Failed {
        /** A stable name for programs. */
        code: String,
        /** In words. */
        message: String,
    },
    /// Not tried, because an earlier step failed.
    Skipped {
        /** In words. */
        message: String,
    },
}

/// What to do. Pure.
pub fn plan(_view: &View) -> Plan {
    todo!()
}

/// Does it, one step at a time.
pub fn execute(_daemon: &mut dyn DaemonControl, _plan: &Plan) -> Outcome {
    todo!()
}

/// Asks the daemon, plans, executes.
pub fn reconcile(
    _daemon: &mut dyn DaemonControl,
    _role: Role,
    _active: Option<Value>,
    _saved: Vec<Saved>,
) -> Result<(Plan, Outcome), crate::ControlError> {
    todo!()
}
