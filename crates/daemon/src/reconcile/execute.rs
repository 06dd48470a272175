//! Executes a plan, and reports the result of each step.

use myownllm_config_model::network_id::same;
use serde::Serialize;
use serde_json::Value;

use super::compare::{differences, dropped_settings, quiet_settings, string_member};
use super::plan::{Action, Plan, Step};
use crate::{ControlError, DaemonControl, control::uninterruptible};

/// The code of a step after which the daemon still reports other settings than it was given, or
/// that it has not saved.
pub const NOT_APPLIED: &str = "daemon.not-applied";

/// The code of a step after which the daemon has left the network again, because it lacks a setting
/// that keeps the network silent.
pub const DROPPED: &str = "daemon.settings-dropped";

/// The result of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NetworkOutcome"))]
#[non_exhaustive]
pub struct Outcome {
    /// The steps with their results, in order.
    pub steps: Vec<StepOutcome>,
}

impl Outcome {
    /// Returns true if every step succeeded.
    pub fn is_complete(&self) -> bool {
        self.steps.iter().all(|step| step.result.is_success())
    }

    /// Returns the step that failed to join or update the active network.
    pub fn failed_join(&self) -> Option<&StepOutcome> {
        self.steps
            .iter()
            .find(|done| !matches!(done.step.action, Action::Remove { .. }) && !done.result.is_success())
    }

    /// Returns a copy with masked secrets, for display.
    pub fn masked(&self) -> Self {
        let mut outcome = self.clone();
        outcome.steps.iter_mut().for_each(|done| done.step.mask());
        outcome
    }
}

/// A step and its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct StepOutcome {
    /// The step.
    pub step: Step,
    /// The result.
    pub result: StepResult,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "result", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of the enum explains its fields")]
pub enum StepResult {
    /// The step succeeded.
    Done { how: String },
    /// Nothing was to be done.
    Already,
    /// The step failed; the next pass tries again. `intact` is `false` if a network was lost and
    /// could not be added back.
    Failed { code: String, message: String, intact: bool },
    /// The step was not tried, because an earlier one failed.
    Skipped { reason: String },
}

impl StepResult {
    /// Returns true if the daemon is now as the step wants it.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Already)
    }

    fn done(how: &str) -> Self {
        Self::Done { how: how.to_owned() }
    }
}

/// Executes the plan step by step.
///
/// If the active network cannot be joined, no network is left. A step that leaves a network to join
/// it again adds the old entry back if the join fails. A failed leave does not stop the others; the
/// next pass tries again.
pub fn execute(daemon: &mut dyn DaemonControl, plan: &Plan) -> Outcome {
    let mut steps: Vec<StepOutcome> = Vec::new();
    let mut stop: Option<String> = None;
    for step in &plan.steps {
        let result = match &stop {
            Some(reason) => StepResult::Skipped { reason: reason.clone() },
            None => run_step(daemon, &step.action),
        };
        if stop.is_none() && !result.is_success() {
            match (&step.action, &result) {
                (Action::Remove { .. }, StepResult::Failed { code, .. }) if is_answer(code) => {}
                (Action::Remove { .. }, _) => {
                    stop = Some("the conversation with the daemon broke off".to_owned())
                }
                // The network is still joined as before, so the others may go.
                (Action::Update { .. }, StepResult::Failed { intact: true, code, .. }) if is_answer(code) => {
                }
                (Action::Add { .. } | Action::Replace { .. }, StepResult::Failed { code, .. })
                    if code == NOT_APPLIED => {}
                _ => stop = Some("the active network could not be joined, so the others stay".to_owned()),
            }
        }
        steps.push(StepOutcome { step: step.clone(), result });
    }
    Outcome { steps }
}

/// Returns true if the daemon answered the failed step.
fn is_answer(code: &str) -> bool {
    const ANSWERS: [&str; 5] = [
        "daemon.refused-op",
        "daemon.unsupported-version",
        "daemon.unknown-op",
        "daemon.bad-request",
        NOT_APPLIED,
    ];
    ANSWERS.contains(&code)
}

fn run_step(daemon: &mut dyn DaemonControl, action: &Action) -> StepResult {
    let (config, result) = match action {
        Action::Add { config } => {
            let network = string_member(config, "network_id");
            (config, add(daemon, config).unwrap_or_else(|e| failed_or_unsaved(daemon, network, true, &e)))
        }
        Action::Update { config, current, .. } => (config, update(daemon, config, current)),
        Action::Replace { config, current } => (config, replace(daemon, config, current)),
        Action::Remove { network } => {
            return match daemon.network_remove(network) {
                Ok(_) => StepResult::done("left"),
                Err(e) if is_unknown_network(&e) => StepResult::Already,
                Err(e) => failed_or_unsaved(daemon, network, false, &e),
            };
        }
    };
    match &result {
        StepResult::Failed { code, .. } if code != NOT_APPLIED => result,
        _ => leave_if_announced(daemon, config).unwrap_or(result),
    }
}

/// Leaves a network that is to be silent and that the daemon announces, because it has dropped the
/// settings that forbid it.
fn leave_if_announced(daemon: &mut dyn DaemonControl, config: &Value) -> Option<StepResult> {
    quiet_settings(config).next()?;
    let dropped = dropped_settings(config, &reported_entry(daemon, config)?);
    if dropped.is_empty() {
        return None;
    }
    let left = match daemon.network_remove(string_member(config, "id")) {
        Ok(_) => "has left the network again".to_owned(),
        Err(e) => format!("cannot leave the network: {}", with_cause(&e)),
    };
    let message = format!("the daemon drops {}, and {left}; update the daemon", dropped.join(", "));
    Some(StepResult::Failed { code: DROPPED.to_owned(), message, intact: true })
}

/// Returns the result of a request that the daemon refused. A daemon that cannot save its config
/// refuses too, after it has joined or left the network.
fn failed_or_unsaved(
    daemon: &mut dyn DaemonControl,
    network: &str,
    is_join: bool,
    error: &ControlError,
) -> StepResult {
    let is_refusal = matches!(error, ControlError::Refused { .. } | ControlError::UnsupportedVersion { .. });
    if is_refusal && is_joined(daemon, network) == Some(is_join) {
        return StepResult::Failed { code: NOT_APPLIED.to_owned(), message: with_cause(error), intact: true };
    }
    failed(error, true)
}

fn failed(error: &ControlError, intact: bool) -> StepResult {
    StepResult::Failed { code: error.code().to_owned(), message: with_cause(error), intact }
}

fn with_cause(error: &ControlError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Joins a network. A refusal because the network is already joined is success, and so is a broken
/// connection after which the network is joined.
fn add(daemon: &mut dyn DaemonControl, config: &Value) -> Result<StepResult, ControlError> {
    let error = match daemon.network_add(config) {
        Ok(_) => return Ok(StepResult::done("joined")),
        Err(error) => error,
    };
    let may_be_there = match &error {
        ControlError::Refused { message, .. } => {
            message.contains("already in use") || message.contains("already joined")
        }
        other => other.breaks_connection(),
    };
    if may_be_there && is_joined(daemon, string_member(config, "network_id")) == Some(true) {
        Ok(StepResult::Already)
    } else {
        Err(error)
    }
}

/// Returns whether the daemon has joined a network; `None` if it does not tell.
fn is_joined(daemon: &mut dyn DaemonControl, network_id: &str) -> Option<bool> {
    let status = daemon.status().ok()?;
    Some(status.joined_networks.iter().any(|joined| same(joined, network_id)))
}

fn is_unknown_network(error: &ControlError) -> bool {
    matches!(error, ControlError::Refused { message, .. } if message.starts_with("unknown network"))
}

fn update(daemon: &mut dyn DaemonControl, config: &Value, current: &Value) -> StepResult {
    match daemon.network_update(string_member(config, "id"), config) {
        // Only the daemon's config shows whether the update was applied. A daemon that normalised a
        // value would normalise it again after a rejoin, so only an unchanged entry is replaced.
        Ok(_) => match applied(daemon, config, "updated") {
            differs if !differs.is_success() && reported_entry(daemon, config).as_ref() == Some(current) => {}
            applied => return applied,
        },
        // The daemon is older than this op, or wants another form of it.
        Err(ControlError::UnknownOp { .. }) => {}
        Err(ControlError::Refused { message, .. }) if message.starts_with("parse:") => {}
        // The daemon wants another name for the network.
        Err(e) if is_unknown_network(&e) => {}
        Err(e) => return failed(&e, true),
    }
    replace(daemon, config, current)
}

fn reported_entry(daemon: &mut dyn DaemonControl, config: &Value) -> Option<Value> {
    let shown = daemon.config_show().ok()?;
    shown
        .networks()
        .iter()
        .find(|network| string_member(network, "id") == string_member(config, "id"))
        .cloned()
}

/// Returns the result of a step that the daemon accepted: its config shows whether it was applied.
fn applied(daemon: &mut dyn DaemonControl, config: &Value, how: &str) -> StepResult {
    let reported = reported_entry(daemon, config);
    let differs = reported.map(|entry| differences(config, &entry)).unwrap_or_default();
    if differs.is_empty() {
        return StepResult::done(how);
    }
    let message = format!("the daemon goes on reporting {} differently", differs.join(", "));
    StepResult::Failed { code: NOT_APPLIED.to_owned(), message, intact: true }
}

/// Leaves the network and joins it again, as one: a cancellation in between would cost the user the
/// network.
fn replace(daemon: &mut dyn DaemonControl, config: &Value, current: &Value) -> StepResult {
    let rejoined = uninterruptible(daemon, "network_remove", |daemon| rejoin(daemon, config, current));
    match rejoined.unwrap_or_else(|cancelled| Err(failed(&cancelled, true))) {
        Ok(()) => applied(daemon, config, "left and joined anew"),
        Err(failure) => failure,
    }
}

/// Leaves the network, joins it again, and adds the old entry back if that fails. The error is the
/// result of the step.
fn rejoin(daemon: &mut dyn DaemonControl, config: &Value, current: &Value) -> Result<(), StepResult> {
    let name = Some(string_member(current, "id"))
        .filter(|id| !id.is_empty())
        .unwrap_or(string_member(current, "network_id"));
    match daemon.network_remove(name) {
        Ok(_) => {}
        // Some daemons keep a network in their config without joining it.
        Err(e) if is_unknown_network(&e) => {}
        // The network may or may not be left; the join will show.
        Err(e) if e.breaks_connection() => {}
        Err(e) => return Err(failed(&e, true)),
    }
    let Err(e) = add(daemon, config) else { return Ok(()) };
    let back = add(daemon, current);
    let mut result = failed(&e, back.is_ok());
    if let (StepResult::Failed { message, .. }, Err(back)) = (&mut result, back) {
        let what = string_member(current, "network_id");
        message.push_str(&format!("; {what} could not be added back either: {}", with_cause(&back)));
    }
    Err(result)
}
