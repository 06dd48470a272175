//! Plans the steps that bring a daemon's networks in line. Pure.

use myownllm_config_model::masking::mask_daemon_network;
use myownllm_config_model::network_id::{self, same};
use myownllm_config_model::networks::SavedNetwork;
use serde::Serialize;
use serde_json::{Map, Value};

use super::compare::{differences, string_member};
use crate::Role;

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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NetworkPlan"))]
#[non_exhaustive]
pub struct Plan {
    /// The steps, in order of execution.
    pub steps: Vec<Step>,
    /// The joined networks that stay.
    pub kept: Vec<KeptNetwork>,
}

impl Plan {
    /// Returns true if no step is to be taken.
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
        let is_named = |entry: &&Value, name: &str| {
            same(string_member(entry, "network_id"), name) || string_member(entry, "id") == name
        };
        let entries = self.steps.iter().filter_map(|step| match &step.action {
            Action::Add { .. } => None,
            Action::Update { current, .. } | Action::Replace { current, .. } => Some(current),
            Action::Remove { network } => networks.iter().find(|entry| is_named(entry, network)),
        });
        entries.collect()
    }

    /// Returns a copy with masked secrets, for display.
    pub fn masked(&self) -> Self {
        let mut plan = self.clone();
        plan.steps.iter_mut().for_each(Step::mask);
        plan
    }
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "NetworkStep"))]
#[non_exhaustive]
pub struct Step {
    /// The action.
    pub action: Action,
    /// The reason, for people.
    pub reason: String,
}

impl Step {
    pub(super) fn mask(&mut self) {
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    fn config(&self) -> Option<&Value> {
        match self {
            Self::Add { config } | Self::Update { config, .. } | Self::Replace { config, .. } => Some(config),
            Self::Remove { .. } => None,
        }
    }

    /// Returns the network id, or the name by which the network is left.
    pub fn network_id(&self) -> &str {
        match self {
            Self::Remove { network } => network,
            _ => self.config().map_or("", |config| string_member(config, "network_id")),
        }
    }

    /// Returns the label of the network that is joined or updated.
    pub fn label(&self) -> Option<&str> {
        Some(string_member(self.config()?, "label")).filter(|label| !label.is_empty())
    }
}

/// A joined network that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct KeptNetwork {
    /// The network id.
    pub network: String,
    /// The reason, for people.
    pub reason: String,
}

impl ReconcileInput {
    pub(super) fn depends_on_config(&self) -> bool {
        let active = self.active.as_ref().map(|active| string_member(active, "network_id"));
        let is_active = |joined: &String| active.is_some_and(|active| same(active, joined));
        match (active, self.role) {
            (None, _) => !self.joined.is_empty(),
            // The settings of a network in a shared daemon belong to the other program.
            (Some(_), Role::Shared) => self.joined.is_empty() || !self.joined.iter().all(is_active),
            (Some(_), Role::Own) => true,
        }
    }
}

/// The reason for which a shared daemon stays in a network.
pub const NOT_ADDED: &str = "the daemon is shared, and the app did not add it";

/// Plans the steps. Pure.
pub fn plan(input: &ReconcileInput) -> Plan {
    let mut steps: Vec<Step> = Vec::new();
    let mut kept = Vec::new();
    let networks = input.networks.as_deref().unwrap_or(&[]);
    let active_id = input.active.as_ref().map(|active| string_member(active, "network_id"));
    if let (Some(active), Some(active_id)) = (&input.active, active_id) {
        steps.extend(step_for_active(input, active, active_id, networks));
    }
    let replaced = steps.iter().find_map(|step| match &step.action {
        Action::Replace { current, .. } => Some(string_member(current, "network_id").to_owned()),
        _ => None,
    });
    // The active network comes first, so its config id is taken when the others are left.
    let coming: Vec<Value> = steps.iter().filter_map(|step| step.action.config().cloned()).collect();
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
            kept.push(keep(NOT_ADDED));
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

fn step_for_active(
    input: &ReconcileInput,
    active: &Value,
    active_id: &str,
    networks: &[Value],
) -> Option<Step> {
    let config_id = string_member(active, "id");
    let is_joined = input.joined.iter().any(|joined| same(joined, active_id));
    if is_joined {
        if input.role == Role::Shared {
            return None;
        }
        let entries =
            || networks.iter().filter(|network| same(string_member(network, "network_id"), active_id));
        let current = entries()
            .find(|network| string_member(network, "id") == config_id)
            .or_else(|| entries().next())?;
        let active = &with_daemon_settings(active, current);
        let differs = differences(active, current);
        if differs.is_empty() {
            return None;
        }
        let reason = format!("{} changed since it was joined", differs.join(", "));
        let config = with_id(active, string_member(current, "id"));
        return Some(Step { action: Action::Update { config, current: current.clone(), differs }, reason });
    }
    let holder =
        networks.iter().find(|network| !config_id.is_empty() && string_member(network, "id") == config_id);
    let step = match holder {
        None => {
            let reason = "the active network is not joined".to_owned();
            // The id has to prove later that the app added the network.
            let config = match input.role == Role::Shared && same(config_id, active_id) {
                true => with_id(active, &fallback_config_id(config_id, active_id)),
                false => active.clone(),
            };
            Step { action: Action::Add { config }, reason }
        }
        // The daemon knows the network and has not joined it: it would refuse an add because of the
        // id.
        Some(holder) if same(string_member(holder, "network_id"), active_id) => {
            let reason = "the active network is in the daemon's config but not joined".to_owned();
            let config = with_daemon_settings(active, holder);
            Step { action: Action::Replace { config, current: holder.clone() }, reason }
        }
        Some(holder) => {
            let other = string_member(holder, "network_id");
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

/// Returns the config id for a shared daemon in which the network's own id is taken, or proves
/// nothing.
fn fallback_config_id(config_id: &str, network_id: &str) -> String {
    format!("{config_id}-{}", normal(network_id))
}

/// Returns true if the app added the joined network: the daemon keeps it under the internal id that
/// the app saved for this network id. An internal id that equals the network id proves nothing: a
/// daemon's own command makes such ids.
fn was_added_by_app(input: &ReconcileInput, joined: &str, networks: &[Value]) -> bool {
    networks.iter().filter(|network| same(string_member(network, "network_id"), joined)).any(|network| {
        let config_id = string_member(network, "id");
        input.saved.iter().any(|saved| {
            same(&saved.network_id, joined)
                && ((saved.id == config_id && !same(&saved.id, joined))
                    || fallback_config_id(&saved.id, &saved.network_id) == config_id)
        })
    })
}

/// Returns the name by which a network is left. The daemon takes config ids as well as network ids,
/// so a network id that is another network's config id is no safe name.
fn removal_name(joined: &str, networks: &[Value], coming: &[Value]) -> String {
    let belongs_to_another = |name: &str, key: &str| {
        let all = networks.iter().chain(coming);
        all.filter(|network| !same(string_member(network, "network_id"), joined))
            .any(|network| string_member(network, key) == name)
    };
    let own = networks.iter().find(|network| same(string_member(network, "network_id"), joined));
    match own.map(|own| string_member(own, "id")) {
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

/// Returns the app's network with the settings that the daemon alone has, such as pinned peers and
/// `listen_only`. Without them an update would make a silent network an announcing one.
fn with_daemon_settings(active: &Value, current: &Value) -> Value {
    let mut network = active.clone();
    let (Value::Object(members), Value::Object(theirs)) = (&mut network, current) else { return network };
    if let (Some(Value::Object(signaling)), Some(Value::Object(their_signaling))) =
        (members.get_mut("signaling"), theirs.get("signaling"))
    {
        // The app writes "nostr" for a network without a strategy of its own.
        if signaling.get("strategy").is_some_and(|strategy| strategy == "nostr") {
            signaling.remove("strategy");
        }
        add_missing(signaling, their_signaling);
        signaling.entry("strategy").or_insert_with(|| "nostr".into());
    }
    add_missing(members, theirs);
    network
}

fn add_missing(members: &mut Map<String, Value>, others: &Map<String, Value>) {
    for (key, value) in others {
        members.entry(key).or_insert_with(|| value.clone());
    }
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
