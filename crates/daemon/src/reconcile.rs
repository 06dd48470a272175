//! Brings a daemon's networks in line with the app's active network: a pure plan, then its
//! execution.
//!
//! # The rules
//! - The app has at most one active network. An own daemon joins it and leaves all others.
//! - A *shared* daemon belongs to another program, so it leaves only networks that the app added.
//!   The app added a network if the daemon keeps it under the app's internal id. A saved network
//!   with the same network id is no proof.
//! - The active network is joined before the others are left: a failed add leaves the joined
//!   networks alone.
//! - An own daemon's active network is updated if a pushed key differs from the reported one. Keys
//!   that the daemon fills in or does not report never count, nor do equal URLs (scheme and host in
//!   another case, the default port, an empty path or `/`). So a second pass does nothing.
//! - "Already joined" is success. "Config id already in use" is success only if this network uses
//!   the id: otherwise the active network would silently stay unjoined. An own daemon then replaces
//!   the other network; in a shared daemon the active network gets another id.

use myownllm_config_model::masking::mask_daemon_network;
use myownllm_config_model::network_id::{self, same};
pub use myownllm_config_model::networks::SavedNetwork;
use serde::Serialize;
use serde_json::Value;

use crate::{ControlError, DaemonControl, Role, Status, control::uninterruptible, url::same_url};

/// The code of a step after which the daemon still reports other settings than it was given.
pub const NOT_APPLIED: &str = "daemon.not-applied";

/// The input of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconcileInput {
    /// The role of the daemon.
    pub role: Role,
    /// The active network in the daemon's shape, or `None` if no network is active.
    pub active: Option<Value>,
    /// The networks that the app saves or saved: a shared daemon leaves no others.
    pub saved: Vec<SavedNetwork>,
    /// `joined_networks` of the daemon's status.
    pub joined: Vec<String>,
    /// `networks` of the daemon's config, or `None` if the daemon did not show its config.
    pub networks: Option<Vec<Value>>,
}

/// The steps to take, and the networks that stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The steps, in order of execution.
    pub steps: Vec<Step>,
    /// The joined networks that stay.
    pub kept: Vec<KeptNetwork>,
}

impl Plan {
    /// Returns whether no step is to be taken.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Leaves no joined network, for the given reason.
    pub fn keep_joined(&mut self, reason: &str) {
        let kept = &mut self.kept;
        self.steps.retain(|step| match &step.action {
            Action::Remove { network } => {
                kept.push(KeptNetwork { network: network.clone(), reason: reason.to_owned() });
                false
            }
            _ => true,
        });
    }

    /// Returns the daemon's entries that the steps remove or change. `networks` are the networks of
    /// the daemon's config.
    pub fn changed_entries<'n>(&'n self, networks: &'n [Value]) -> Vec<&'n Value> {
        let is_named =
            |entry: &&Value, name: &str| same(text(entry, "network_id"), name) || text(entry, "id") == name;
        let entries = self.steps.iter().filter_map(|step| match &step.action {
            Action::Add { .. } => None,
            Action::Update { current, .. } | Action::Replace { current, .. } => Some(current),
            Action::Remove { network } => networks.iter().find(|entry| is_named(entry, network)),
        });
        entries.collect()
    }

    /// Returns a copy with masked secrets, for display.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut plan = self.clone();
        plan.steps.iter_mut().for_each(Step::mask);
        plan
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The action.
    pub action: Action,
    /// The reason, for people.
    pub reason: String,
}

impl Step {
    fn mask(&mut self) {
        match &mut self.action {
            Action::Add { config } => mask_daemon_network(config),
            Action::Update { config, current, .. } | Action::Replace { config, current } => {
                mask_daemon_network(config);
                mask_daemon_network(current);
            }
            Action::Remove { .. } => {}
        }
    }
}

/// The action of a step. `config` is a network in the daemon's shape; `current` is the daemon's
/// entry, added back if the join fails.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of the enum explains its fields")]
pub enum Action {
    /// Joins the active network.
    Add { config: Value },
    /// Updates the active network by `network_update`. If the daemon does not know this op, or
    /// ignores it, leaves the network and joins it again.
    Update { config: Value, current: Value, differs: Vec<String> },
    /// Leaves the network that holds the active network's config id, and joins the active network.
    Replace { config: Value, current: Value },
    /// Leaves a network, named by its network id, or by its config id if its network id is another
    /// network's config id.
    Remove { network: String },
}

impl Action {
    /// Returns the network id, or the name by which the network is left.
    pub fn network_id(&self) -> &str {
        match self {
            Self::Add { config } | Self::Update { config, .. } | Self::Replace { config, .. } => {
                text(config, "network_id")
            }
            Self::Remove { network } => network,
        }
    }

    /// Returns the label of the network that is joined or updated.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Add { config } | Self::Update { config, .. } | Self::Replace { config, .. } => {
                Some(text(config, "label")).filter(|label| !label.is_empty())
            }
            Self::Remove { .. } => None,
        }
    }
}

/// A joined network that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeptNetwork {
    /// The network id.
    pub network: String,
    /// The reason, for people.
    pub reason: String,
}

/// The result of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The steps with their results, in order.
    pub steps: Vec<StepOutcome>,
}

impl Outcome {
    /// Returns whether every step succeeded.
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
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut outcome = self.clone();
        outcome.steps.iter_mut().for_each(|done| done.step.mask());
        outcome
    }
}

/// A step and its result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepOutcome {
    /// The step.
    pub step: Step,
    /// The result.
    pub result: StepResult,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// Returns whether the daemon is now as the step wants it.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Already)
    }

    fn done(how: &str) -> Self {
        Self::Done { how: how.to_owned() }
    }
}

/// Plans the steps. Pure.
pub fn plan(input: &ReconcileInput) -> Plan {
    let mut steps: Vec<Step> = Vec::new();
    let mut kept = Vec::new();
    let networks = input.networks.as_deref().unwrap_or(&[]);
    let active_id = input.active.as_ref().map(|active| text(active, "network_id"));
    if let (Some(active), Some(active_id)) = (&input.active, active_id) {
        steps.extend(step_for_active(input, active, active_id, networks));
    }
    let replaced = steps.iter().find_map(|step| match &step.action {
        Action::Replace { current, .. } => Some(text(current, "network_id").to_owned()),
        _ => None,
    });
    // The active network comes first, so its config id is taken when the others are left.
    let coming: Vec<Value> = steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Add { config } | Action::Update { config, .. } | Action::Replace { config, .. } => {
                Some(config.clone())
            }
            Action::Remove { .. } => None,
        })
        .collect();
    let mut seen: Vec<&str> = Vec::new();
    for joined in &input.joined {
        if seen.contains(&joined.as_str()) || replaced.as_deref().is_some_and(|id| same(id, joined)) {
            continue;
        }
        seen.push(joined);
        let keep = |reason: &str| KeptNetwork { network: joined.clone(), reason: reason.to_owned() };
        if active_id.is_some_and(|active_id| same(active_id, joined)) {
            kept.push(keep("it is the active network"));
            continue;
        }
        if input.role == Role::Shared && !was_added_by_app(input, joined, networks) {
            kept.push(keep("the daemon is shared, and the app did not add it"));
            continue;
        }
        let reason = match active_id {
            Some(active_id) => format!("{active_id} is the active network"),
            None => "no network is active".to_owned(),
        };
        steps.push(Step {
            action: Action::Remove { network: removal_name(joined, networks, &coming) },
            reason,
        });
    }
    Plan { steps, kept }
}

/// Plans the step for the active network.
fn step_for_active(
    input: &ReconcileInput,
    active: &Value,
    active_id: &str,
    networks: &[Value],
) -> Option<Step> {
    let config_id = text(active, "id");
    let is_joined = input.joined.iter().any(|joined| same(joined, active_id));
    if is_joined {
        if input.role == Role::Shared {
            return None;
        }
        let entries = || networks.iter().filter(|network| same(text(network, "network_id"), active_id));
        let current =
            entries().find(|network| text(network, "id") == config_id).or_else(|| entries().next())?;
        let differs = differing_keys(active, current);
        if differs.is_empty() {
            return None;
        }
        let reason = format!("{} changed since it was joined", differs.join(", "));
        let config = with_id(active, text(current, "id"));
        return Some(Step { action: Action::Update { config, current: current.clone(), differs }, reason });
    }
    let holder = networks.iter().find(|network| !config_id.is_empty() && text(network, "id") == config_id);
    let step = match holder {
        None => {
            let reason = "the active network is not joined".to_owned();
            Step { action: Action::Add { config: active.clone() }, reason }
        }
        // The daemon knows the network and has not joined it: it would refuse an add because of the
        // id.
        Some(holder) if same(text(holder, "network_id"), active_id) => {
            let reason = "the active network is in the daemon's config but not joined".to_owned();
            Step { action: Action::Replace { config: active.clone(), current: holder.clone() }, reason }
        }
        Some(holder) => {
            let other = text(holder, "network_id");
            let may_go = input.role == Role::Own || was_added_by_app(input, other, networks);
            if may_go {
                let reason = format!("the daemon keeps {other} under the active network's id");
                Step { action: Action::Replace { config: active.clone(), current: holder.clone() }, reason }
            } else {
                let config = with_id(active, &fallback_config_id(config_id, active_id));
                let reason = format!(
                    "the active network is not joined, and its id is taken by {other}, which is not ours"
                );
                Step { action: Action::Add { config }, reason }
            }
        }
    };
    Some(step)
}

/// Returns the config id for a shared daemon in which the network's own id is taken.
fn fallback_config_id(config_id: &str, network_id: &str) -> String {
    format!("{config_id}-{}", normal(network_id))
}

/// Returns whether the app added the joined network: the daemon keeps it under the internal id that
/// the app saved for this network id.
fn was_added_by_app(input: &ReconcileInput, joined: &str, networks: &[Value]) -> bool {
    networks.iter().filter(|network| same(text(network, "network_id"), joined)).any(|network| {
        let config_id = text(network, "id");
        input.saved.iter().any(|saved| {
            same(&saved.network_id, joined)
                && (saved.id == config_id || fallback_config_id(&saved.id, &saved.network_id) == config_id)
        })
    })
}

/// Returns the name by which a network is left. The daemon takes config ids as well as network ids,
/// so a network id that is another network's config id is no safe name.
fn removal_name(joined: &str, networks: &[Value], coming: &[Value]) -> String {
    let belongs_to_another = |name: &str, key: &str| {
        let all = networks.iter().chain(coming);
        all.filter(|network| !same(text(network, "network_id"), joined))
            .any(|network| text(network, key) == name)
    };
    let own = networks.iter().find(|network| same(text(network, "network_id"), joined));
    match own.map(|own| text(own, "id")) {
        Some(id)
            if belongs_to_another(joined, "id")
                && !id.is_empty()
                && !belongs_to_another(id, "network_id") =>
        {
            id.to_owned()
        }
        _ => joined.to_owned(),
    }
}

/// Returns a string member; any other value counts as empty.
fn text<'a>(network: &'a Value, key: &str) -> &'a str {
    network.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn with_id(network: &Value, id: &str) -> Value {
    let mut network = network.clone();
    if let Value::Object(members) = &mut network {
        members.insert("id".to_owned(), id.into());
    }
    network
}

/// Returns the network id as the daemon writes it, or the id itself if the daemon would reject it.
fn normal(id: &str) -> String {
    network_id::normalize(id).unwrap_or_else(|_| id.to_owned())
}

/// Returns the pushed keys that the daemon reports differently. Skips both ids: the network id
/// identifies the network, and the config id cannot be changed.
pub fn differing_keys(pushed: &Value, reported: &Value) -> Vec<String> {
    let (Value::Object(pushed), Value::Object(reported)) = (pushed, reported) else { return Vec::new() };
    pushed
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "id" | "network_id"))
        .filter_map(|(key, mine)| Some((key, mine, reported.get(key)?)))
        .filter(|(key, mine, theirs)| match key.as_str() {
            "stun_servers" => !same_urls(&urls_in(mine), &urls_in(theirs)),
            "turn_servers" => !same_turn(mine, theirs),
            "topology" => !same_topology(mine, theirs),
            "signaling" => !is_consistent(mine, theirs, same_url),
            _ => !is_consistent(mine, theirs, str::eq),
        })
        .map(|(key, _, _)| key.clone())
        .collect()
}

/// Returns whether `reported` agrees with `pushed` in all members that both have. `same` compares
/// strings.
fn is_consistent(pushed: &Value, reported: &Value, same: fn(&str, &str) -> bool) -> bool {
    match (pushed, reported) {
        (Value::Object(pushed), Value::Object(reported)) => pushed
            .iter()
            .all(|(key, mine)| reported.get(key).is_none_or(|theirs| is_consistent(mine, theirs, same))),
        (Value::Array(pushed), Value::Array(reported)) => {
            pushed.len() == reported.len()
                && pushed.iter().zip(reported).all(|(mine, theirs)| is_consistent(mine, theirs, same))
        }
        (Value::String(pushed), Value::String(reported)) => same(pushed, reported),
        // A daemon may print 5 as 5.0.
        (Value::Number(pushed), Value::Number(reported)) => {
            pushed == reported || pushed.as_f64() == reported.as_f64()
        }
        (pushed, reported) => pushed == reported,
    }
}

/// A ring without `n_preferred` equals a ring with null.
fn same_topology(pushed: &Value, reported: &Value) -> bool {
    let filled = |topology: &Value| {
        let mut topology = topology.clone();
        if let Value::Object(members) = &mut topology
            && members.get("kind").is_some_and(|kind| kind == "ring")
        {
            members.entry("n_preferred").or_insert(Value::Null);
        }
        topology
    };
    is_consistent(&filled(pushed), &filled(reported), str::eq)
}

fn same_urls(pushed: &[&Value], reported: &[&Value]) -> bool {
    pushed.len() == reported.len()
        && pushed.iter().zip(reported).all(|(mine, theirs)| is_consistent(mine, theirs, same_url))
}

/// Returns the URLs of all groups, in order. The grouping of STUN URLs has no meaning.
fn urls_in(groups: &Value) -> Vec<&Value> {
    groups.as_array().into_iter().flatten().flat_map(urls_of).collect()
}

fn urls_of(group: &Value) -> Vec<&Value> {
    match group.get("urls") {
        Some(Value::Array(urls)) => urls.iter().collect(),
        Some(url) => vec![url],
        None => Vec::new(),
    }
}

/// Compares TURN URLs with their logins, whatever their grouping. An absent, null or empty name or
/// credential is none.
fn same_turn(pushed: &Value, reported: &Value) -> bool {
    fn none_if_empty(value: &Value) -> Option<&str> {
        value.as_str().filter(|text| !text.is_empty())
    }
    /// A URL, and for name and credential: whether it is present, and its value.
    type Entry<'a> = (&'a Value, [(bool, Option<&'a str>); 2]);
    fn entries(groups: &Value) -> Vec<Entry<'_>> {
        let said = |group: &'_ Value, key: &str| group.get(key).is_some();
        groups
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|group| {
                let login = ["username", "credential"]
                    .map(|key| (said(group, key), group.get(key).and_then(none_if_empty)));
                urls_of(group).into_iter().map(move |url| (url, login))
            })
            .collect()
    }
    let (pushed, reported) = (entries(pushed), entries(reported));
    pushed.len() == reported.len()
        && pushed.iter().zip(&reported).all(|((url, login), (their_url, their_login))| {
            // A name or credential that the daemon does not report cannot be compared.
            let fits = |(_, mine): &(bool, Option<&str>), (said, theirs): &(bool, Option<&str>)| {
                !*said || mine == theirs
            };
            is_consistent(url, their_url, same_url)
                && login.iter().zip(their_login).all(|(mine, theirs)| fits(mine, theirs))
        })
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
                (Action::Replace { .. }, StepResult::Failed { code, .. }) if code == NOT_APPLIED => {}
                _ => stop = Some("the active network could not be joined, so the others stay".to_owned()),
            }
        }
        steps.push(StepOutcome { step: step.clone(), result });
    }
    Outcome { steps }
}

/// Returns whether the daemon answered the failed step.
fn is_answer(code: &str) -> bool {
    matches!(code, "daemon.refused-op" | "daemon.unknown-op" | "daemon.bad-request" | NOT_APPLIED)
}

fn run_step(daemon: &mut dyn DaemonControl, action: &Action) -> StepResult {
    match action {
        Action::Add { config } => match add(daemon, config) {
            Ok(Added::Added) => StepResult::done("joined"),
            Ok(Added::Already) => StepResult::Already,
            Err(e) => failed(&e, true),
        },
        Action::Update { config, current, .. } => update(daemon, config, current),
        Action::Replace { config, current } => replace(daemon, config, current),
        Action::Remove { network } => match daemon.network_remove(network) {
            Ok(_) => StepResult::done("left"),
            Err(e) if is_unknown_network(&e) => StepResult::Already,
            Err(e) => failed(&e, true),
        },
    }
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

enum Added {
    Added,
    Already,
}

/// Joins a network. A refusal because the network is already joined is success, and so is a broken
/// connection after which the network is joined.
fn add(daemon: &mut dyn DaemonControl, config: &Value) -> Result<Added, ControlError> {
    let error = match daemon.network_add(config) {
        Ok(_) => return Ok(Added::Added),
        Err(error) => error,
    };
    let may_be_there = match &error {
        ControlError::Refused { message, .. } => {
            message.contains("already in use") || message.contains("already joined")
        }
        other => other.breaks_connection(),
    };
    if may_be_there && is_joined(daemon, text(config, "network_id")) {
        Ok(Added::Already)
    } else {
        Err(error)
    }
}

fn is_joined(daemon: &mut dyn DaemonControl, network_id: &str) -> bool {
    daemon.status().is_ok_and(|status| status.joined_networks.iter().any(|joined| same(joined, network_id)))
}

fn is_unknown_network(error: &ControlError) -> bool {
    matches!(error, ControlError::Refused { message, .. } if message.starts_with("unknown network"))
}

fn update(daemon: &mut dyn DaemonControl, config: &Value, current: &Value) -> StepResult {
    match daemon.network_update(text(config, "id"), config) {
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

/// Returns the daemon's entry for a network.
fn reported_entry(daemon: &mut dyn DaemonControl, config: &Value) -> Option<Value> {
    let shown = daemon.config_show().ok()?;
    shown.networks().iter().find(|network| text(network, "id") == text(config, "id")).cloned()
}

/// Returns the result of a step that the daemon accepted: its config shows whether it was applied.
fn applied(daemon: &mut dyn DaemonControl, config: &Value, how: &str) -> StepResult {
    let reported = reported_entry(daemon, config);
    let differs = reported.map(|entry| differing_keys(config, &entry)).unwrap_or_default();
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
    let name = Some(text(current, "id")).filter(|id| !id.is_empty()).unwrap_or(text(current, "network_id"));
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
        let what = text(current, "network_id");
        message.push_str(&format!("; {what} could not be added back either: {}", with_cause(&back)));
    }
    Err(result)
}

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
    reconcile_from(daemon, status, role, active, saved)
}

/// Does the same as [`reconcile`] for a daemon whose status is already known.
///
/// # Errors
/// The connection broke before anything was done.
pub fn reconcile_from(
    daemon: &mut dyn DaemonControl,
    status: Status,
    role: Role,
    active: Option<Value>,
    saved: Vec<SavedNetwork>,
) -> Result<(Plan, Outcome), ControlError> {
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

impl ReconcileInput {
    fn depends_on_config(&self) -> bool {
        let active = self.active.as_ref().map(|active| text(active, "network_id"));
        let is_active = |joined: &String| active.is_some_and(|active| same(active, joined));
        match (active, self.role) {
            (None, _) => !self.joined.is_empty(),
            // The settings of a network in a shared daemon belong to the other program.
            (Some(_), Role::Shared) => self.joined.is_empty() || !self.joined.iter().all(is_active),
            (Some(_), Role::Own) => true,
        }
    }
}
