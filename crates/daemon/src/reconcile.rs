//! Bringing a daemon's networks in line with the app's active one: a pure plan, then its execution.
//!
//! # The rules
//! - The app has at most one active network. It is joined when it is not; an own daemon leaves all others.
//! - A *shared* daemon belongs to another program: there only networks that the app itself added are left. The app added
//!   a network when the daemon keeps it under the app's internal id; that the user saved a network of the same name does
//!   not make it ours.
//! - The active network comes first, then the others go: an add that fails leaves what was joined before.
//! - A joined active network of an own daemon is brought up to date where a key that we push and that the daemon reports
//!   differs. What the daemon fills in, or does not report, never counts: a second pass does nothing. Nor does it count that
//!   a url is written in another form that means the same: other case of scheme and host, the scheme's own port written or
//!   not, an empty path or `/`.
//! - "Already joined" is success. "Config id already in use" is success only if it is this network that uses it: when
//!   another one does, the active network would never be joined and nobody would say so. That other one gives way in an
//!   own daemon; in a shared one ours gets an id of its own.

use myownllm_config_model::masking::mask_daemon_network;
use myownllm_config_model::network_id::{self, same};
use serde::Serialize;
use serde_json::Value;

use crate::{ControlError, DaemonControl, Role, Status, url::same_url};

/// The daemon joined the network, and goes on reporting it otherwise than it was told.
pub const NOT_APPLIED: &str = "daemon.not-applied";

/// A network that the app has, or once had, saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SavedNetwork {
    /// The app's internal id; the daemon's config id of a network that the app added.
    pub id: String,
    /// The network id.
    pub network_id: String,
}

/// All that a plan depends on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReconcileInput {
    /// Whose daemon it is.
    pub role: Role,
    /// The active network in the daemon's shape; `None` when the user has none active.
    pub active: Option<Value>,
    /// The networks that the app saved, or once had saved: a shared daemon leaves only such.
    pub saved: Vec<SavedNetwork>,
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
    pub kept: Vec<KeptNetwork>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Without the secrets that a step may hold, for showing it.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut plan = self.clone();
        plan.steps.iter_mut().for_each(Step::mask);
        plan
    }
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

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Join the active network.
    Add {
        /// The network, daemon-shaped.
        config: Value,
    },
    /// Bring the joined active network up to date: by `network_update`, and where the daemon does not know it, or does
    /// nothing, by leaving and joining.
    Update {
        /// The network, daemon-shaped, under the daemon's config id.
        config: Value,
        /// What the daemon has now; added back when joining fails.
        current: Value,
        /// Which keys differ.
        differs: Vec<String>,
    },
    /// Take away what holds the active network's config id, and join the active network.
    Replace {
        /// The network, daemon-shaped.
        config: Value,
        /// What is in its way; added back when joining fails.
        current: Value,
    },
    /// Leave a network.
    Remove {
        /// Its network id as the daemon spells it; or its config id, where that is another network's id too.
        network: String,
    },
}

impl Action {
    /// Which network it is about: its network id, or by which name it is left.
    pub fn network_id(&self) -> &str {
        match self {
            Self::Add { config } | Self::Update { config, .. } | Self::Replace { config, .. } => {
                text(config, "network_id")
            }
            Self::Remove { network } => network,
        }
    }

    /// The label of the network that is joined or brought up to date, where it has one.
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
    /// Its network id.
    pub network: String,
    /// Why.
    pub reason: String,
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// Every step with its result, in order.
    pub steps: Vec<StepOutcome>,
}

impl Outcome {
    /// Whether every step succeeded.
    pub fn is_complete(&self) -> bool {
        self.first_failure().is_none()
    }

    /// The first step that did not succeed.
    pub fn first_failure(&self) -> Option<&StepOutcome> {
        self.steps.iter().find(|done| !done.result.is_success())
    }

    /// The step that should have joined the active network and did not.
    pub fn failed_join(&self) -> Option<&StepOutcome> {
        self.steps
            .iter()
            .find(|done| !matches!(done.step.action, Action::Remove { .. }) && !done.result.is_success())
    }

    /// Without the secrets that a step may hold, for showing it.
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
    /// Its result.
    pub result: StepResult,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepResult {
    /// Done.
    Done {
        /// How, in words.
        how: String,
    },
    /// It was so already.
    Already,
    /// It failed; the next pass tries again.
    Failed {
        /// A stable name for programs.
        code: String,
        /// What happened, in words.
        message: String,
        /// Whether what the daemon had before is still (or again) joined; `false` means that a network was lost and could
        /// not be brought back.
        intact: bool,
    },
    /// Not tried, because an earlier step failed.
    Skipped {
        /// Why, in words.
        reason: String,
    },
}

impl StepResult {
    /// Whether things are as the step wanted them.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Already)
    }

    fn done(how: &str) -> Self {
        Self::Done { how: how.to_owned() }
    }
}

/// What to do. Pure.
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
    // By the time when others are left, the active network is there too, and its config id with it.
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

/// What the active network needs.
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
        // Known to the daemon, and not joined: an add would be refused for the id, and joining is what is wanted.
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

/// The config id under which a network goes to a shared daemon where its own is taken.
fn fallback_config_id(config_id: &str, network_id: &str) -> String {
    format!("{config_id}-{}", normal(network_id))
}

/// Whether the app itself added a joined network: the daemon keeps it under the internal id of a network that the app
/// saved under the same name.
fn was_added_by_app(input: &ReconcileInput, joined: &str, networks: &[Value]) -> bool {
    networks.iter().filter(|network| same(text(network, "network_id"), joined)).any(|network| {
        let config_id = text(network, "id");
        input.saved.iter().any(|saved| {
            same(&saved.network_id, joined)
                && (saved.id == config_id || fallback_config_id(&saved.id, &saved.network_id) == config_id)
        })
    })
}

/// By which name a network is left: its network id; but the daemon takes config ids as well, so where that text is
/// another network's config id, by its own config id.
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

/// A text member; anything else counts as empty.
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

/// A network id as the daemon would write it; the id itself where it would take none.
fn normal(id: &str) -> String {
    network_id::normalize(id).unwrap_or_else(|_| id.to_owned())
}

/// Which pushed keys the daemon reports differently. The two ids are not compared: the network id is what made them the
/// same network, and the config id cannot be changed.
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

/// Whether what is reported says what was pushed: members that were not pushed are the daemon's business, and those that
/// it does not report cannot be compared. `same` says when two texts are.
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
        // 5 and 5.0 are one number, and a daemon may print the other.
        (Value::Number(pushed), Value::Number(reported)) => {
            pushed == reported || pushed.as_f64() == reported.as_f64()
        }
        (pushed, reported) => pushed == reported,
    }
}

/// A ring without a preferred number is one with the number null.
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

/// Whether both lists hold the same urls, in the same order.
fn same_urls(pushed: &[&Value], reported: &[&Value]) -> bool {
    pushed.len() == reported.len()
        && pushed.iter().zip(reported).all(|(mine, theirs)| is_consistent(mine, theirs, same_url))
}

/// All urls of all groups, in order: how STUN urls are grouped means nothing.
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

/// TURN urls with what they need to log in. How they are grouped means nothing beyond that; an absent, null or empty
/// name or credential is none.
fn same_turn(pushed: &Value, reported: &Value) -> bool {
    fn none_if_empty(value: &Value) -> Option<&str> {
        value.as_str().filter(|text| !text.is_empty())
    }
    /// A url, and for each of name and credential: whether it was said, and what.
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

/// Does it, one step at a time.
///
/// When the active network could not be joined, nothing is left: what was joined stays joined. A step that leaves a
/// network to join it anew adds back what the daemon had when the joining fails. A leave that fails is no reason to
/// stop; the next pass tries again.
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
                // It is still joined as it was: the others may go.
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

/// Whether a failed step was answered at all.
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

/// Joins a network. A refusal because it is there already is success when it is there; a conversation that broke off may
/// have reached its goal all the same.
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
        // It says so; whether it did is what its config says. What it took in words of its own it would take so again.
        Ok(_) => match applied(daemon, config, "updated") {
            differs if !differs.is_success() && reported_entry(daemon, config).as_ref() == Some(current) => {}
            applied => return applied,
        },
        // An older daemon; or a newer one that wants to be told in another form.
        Err(ControlError::UnknownOp { .. }) => {}
        Err(ControlError::Refused { message, .. }) if message.starts_with("parse:") => {}
        // Or it wants it named in another way.
        Err(e) if is_unknown_network(&e) => {}
        Err(e) => return failed(&e, true),
    }
    replace(daemon, config, current)
}

/// Which keys of the daemon's entry still differ from what was pushed; none when it does not show it.
fn still_differs(daemon: &mut dyn DaemonControl, config: &Value) -> Vec<String> {
    reported_entry(daemon, config).map(|entry| differing_keys(config, &entry)).unwrap_or_default()
}

/// The daemon's entry of a network.
fn reported_entry(daemon: &mut dyn DaemonControl, config: &Value) -> Option<Value> {
    let shown = daemon.config_show().ok()?;
    shown.networks().iter().find(|network| text(network, "id") == text(config, "id")).cloned()
}

/// What a step that the daemon agreed to came to.
fn applied(daemon: &mut dyn DaemonControl, config: &Value, how: &str) -> StepResult {
    let differs = still_differs(daemon, config);
    if differs.is_empty() {
        return StepResult::done(how);
    }
    let message = format!("the daemon goes on reporting {} differently", differs.join(", "));
    StepResult::Failed { code: NOT_APPLIED.to_owned(), message, intact: true }
}

/// Leaves what is there and joins what should be, as one: whoever has had enough meanwhile gets neither half of it.
fn replace(daemon: &mut dyn DaemonControl, config: &Value, current: &Value) -> StepResult {
    if let Err(e) = daemon.begin_whole("network_remove") {
        return failed(&e, true);
    }
    let rejoined = rejoin(daemon, config, current);
    daemon.end_whole();
    match rejoined {
        Ok(()) => applied(daemon, config, "left and joined anew"),
        Err(failure) => failure,
    }
}

/// Leaves what is there, joins what should be, and adds back what was there when that fails. The error is the step's result.
fn rejoin(daemon: &mut dyn DaemonControl, config: &Value, current: &Value) -> Result<(), StepResult> {
    let name = Some(text(current, "id")).filter(|id| !id.is_empty()).unwrap_or(text(current, "network_id"));
    match daemon.network_remove(name) {
        Ok(_) => {}
        // In the config and not joined, as some daemons keep it: nothing to leave.
        Err(e) if is_unknown_network(&e) => {}
        // It may be gone and it may not; joining tells.
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

/// Asks the daemon, plans, executes.
///
/// # Errors
/// The daemon does not tell its status: without it nothing is done, because nothing would be known to be right.
pub fn reconcile(
    daemon: &mut dyn DaemonControl,
    role: Role,
    active: Option<Value>,
    saved: Vec<SavedNetwork>,
) -> Result<(Plan, Outcome), ControlError> {
    let status = daemon.status()?;
    reconcile_from(daemon, status, role, active, saved)
}

/// [`reconcile`] with a daemon that has told its status just now, as it does when it is found or started.
///
/// # Errors
/// The conversation breaks before anything was done.
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

/// What the daemon has now, beside what the app wants. It is asked for its config only where a plan depends on it.
///
/// # Errors
/// The conversation breaks. A daemon that does not show its config is no error: the plan does without.
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
    /// Whether there is anything to join, to bring up to date, or to leave.
    fn depends_on_config(&self) -> bool {
        let active = self.active.as_ref().map(|active| text(active, "network_id"));
        let is_active = |joined: &String| active.is_some_and(|active| same(active, joined));
        match (active, self.role) {
            (None, _) => !self.joined.is_empty(),
            // Its settings there are the other program's business.
            (Some(_), Role::Shared) => self.joined.is_empty() || !self.joined.iter().all(is_active),
            (Some(_), Role::Own) => true,
        }
    }
}
