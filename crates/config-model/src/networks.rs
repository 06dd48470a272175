//! Operations on the saved networks.
//!
//! A network is named by its internal id, or else by its network id in any spelling with the same
//! normal form. The functions expect a completed document (see
//! [`complete`](crate::app_config::complete)); in other documents they find what is there. They
//! write no file: [`Change::changed`] says that the document wants to be saved.

use std::borrow::Cow;
use std::collections::HashMap;

use myownllm_json_document::{Diagnostic, Document, Fragment, Kind, Severity, ValueRef};

use crate::app_config::{SERVER_LISTS, completed, default_of, is_server};
use crate::convert;
use crate::daemon_file::{refused_members, with_known_words};
use crate::envelope::{Envelope, EnvelopeError, is_without_secrets};
use crate::ids::Ids;
use crate::network_id::{self, InvalidNetworkId};
use crate::pass::Pass;
use crate::path::Path;
use crate::similar::closest;

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum NetworksError {
    /// No saved network has the name that the user typed; `close` is the network id of one with a
    /// close name.
    #[error("cannot find the network: unknown network id: {name}{}", did_you_mean(close))]
    #[non_exhaustive]
    Unknown { name: String, close: Option<String> },
    /// Several saved networks, with these internal ids, have the network id that the user typed.
    #[error("cannot tell which network {name:?} is: several saved networks have that network id ({})",
        ids.join(", "))]
    #[non_exhaustive]
    Ambiguous { name: String, ids: Vec<String> },
    /// The daemon does not accept the new network id.
    #[error("cannot save network: {0}")]
    Invalid(InvalidNetworkId),
    /// The network has no envelope.
    #[error("cannot export network")]
    Envelope(#[source] EnvelopeError),
}

impl NetworksError {
    /// Returns `network.unknown`, `network.ambiguous`, `network.invalid-id`, or the code of an
    /// [`EnvelopeError`].
    pub fn code(&self) -> &'static str {
        match self {
            NetworksError::Unknown { .. } => "network.unknown",
            NetworksError::Ambiguous { .. } => "network.ambiguous",
            NetworksError::Invalid(e) => e.code(),
            NetworksError::Envelope(e) => e.code(),
        }
    }

    /// Returns a remedy for a person.
    pub fn hint(&self) -> Option<String> {
        match self {
            NetworksError::Unknown { .. } | NetworksError::Ambiguous { .. } => None,
            NetworksError::Invalid(e) => e.hint(),
            NetworksError::Envelope(e) => e.hint(),
        }
    }
}

/// The effect of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Change {
    /// The internal id of the network.
    pub id: Option<String>,
    /// The network id.
    pub network_id: Option<String>,
    /// The document has a new entry.
    pub created: bool,
    /// The document changed, and wants to be saved.
    pub changed: bool,
}

const DAEMON_SETTINGS: &str = "daemon_settings";
const NETWORKS: [&str; 2] = ["cloud_mesh", "networks"];
const ACTIVE: [&str; 2] = ["cloud_mesh", "active_network_id"];

/// Returns all saved networks, in file order.
pub fn list(doc: &Document) -> Vec<ValueRef<'_>> {
    entries(doc).map(|(_, entry)| entry).collect()
}

/// The two names of a network that an app saves now or saved before.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SavedNetwork {
    /// The app's internal id. The daemon uses it as the config id of a network that the app added.
    pub id: String,
    /// The network id.
    pub network_id: String,
}

impl SavedNetwork {
    /// Returns the two names of a network.
    pub fn new(id: impl Into<String>, network_id: impl Into<String>) -> Self {
        Self { id: id.into(), network_id: network_id.into() }
    }
}

/// Returns the names of all saved networks, in file order. A missing name is empty.
pub fn saved(doc: &Document) -> Vec<SavedNetwork> {
    let names = |entry: ValueRef<'_>| {
        SavedNetwork::new(internal_id(entry).unwrap_or_default(), network_id::of(entry).unwrap_or_default())
    };
    entries(doc).map(|(_, entry)| names(entry)).collect()
}

/// Returns the internal id of a network as text. The app keeps an id that a hand edit made a
/// number.
pub fn internal_id(network: ValueRef<'_>) -> Option<Cow<'_, str>> {
    let id = network.get("id").filter(|id| !id.is_falsy())?;
    id.as_str().or_else(|| (id.kind() == Kind::Number).then(|| Cow::Owned(id.to_value().to_string())))
}

fn has_id(network: ValueRef<'_>, id: &str) -> bool {
    internal_id(network).is_some_and(|own| own == id)
}

fn has_network_id(network: ValueRef<'_>, network_id: &str) -> bool {
    network_id::of(network).is_some_and(|id| network_id::same(&id, network_id))
}

fn entries(doc: &Document) -> impl Iterator<Item = (usize, ValueRef<'_>)> {
    let items = doc.get(&NETWORKS).into_iter().flat_map(|array| array.items());
    items.enumerate().filter(|(_, entry)| entry.kind() == Kind::Object)
}

/// Finds a network, by internal id first, then by network id in normal form.
pub fn find<'a>(doc: &'a Document, name: &str) -> Option<ValueRef<'a>> {
    locate(doc, name).map(|(_, entry)| entry)
}

fn locate<'a>(doc: &'a Document, name: &str) -> Option<(usize, ValueRef<'a>)> {
    entries(doc).find(|(_, entry)| has_id(*entry, name)).or_else(|| locate_network_id(doc, name))
}

fn locate_network_id<'a>(doc: &'a Document, network_id: &str) -> Option<(usize, ValueRef<'a>)> {
    entries(doc).find(|(_, entry)| has_network_id(*entry, network_id))
}

/// Returns the active network, if one is set and saved.
pub fn active(doc: &Document) -> Option<ValueRef<'_>> {
    let pointer = doc.get(&ACTIVE).filter(|p| !p.is_falsy())?;
    let mut entries = entries(doc).map(|(_, entry)| entry);
    entries.find(|entry| entry.get("id").is_some_and(|id| pointer.strictly_equals(&id)))
}

fn change_of(entry: ValueRef<'_>) -> Change {
    let (id, network_id) = (internal_id(entry), network_id::of(entry));
    Change { id: id.map(Cow::into_owned), network_id: network_id.map(Cow::into_owned), ..Change::default() }
}

fn unknown(doc: &Document, name: &str) -> NetworksError {
    let ids: Vec<_> = entries(doc).filter_map(|(_, entry)| network_id::of(entry)).collect();
    let close = closest(name, ids.iter().map(AsRef::as_ref)).map(str::to_owned);
    NetworksError::Unknown { name: name.to_owned(), close }
}

fn did_you_mean(close: &Option<String>) -> String {
    close.as_ref().map_or_else(String::new, |close| format!("; did you mean {close}?"))
}

/// Returns the network with that internal id, or the only network with that network id.
///
/// # Errors
/// Fails for an unknown name, and for a network id that several networks have.
pub fn only<'a>(doc: &'a Document, name: &str) -> Result<ValueRef<'a>, NetworksError> {
    let found = find(doc, name).ok_or_else(|| unknown(doc, name))?;
    let same: Vec<_> =
        entries(doc).map(|(_, entry)| entry).filter(|entry| has_network_id(*entry, name)).collect();
    if has_id(found, name) || same.len() < 2 {
        return Ok(found);
    }
    let ids = same.into_iter().filter_map(|entry| Some(internal_id(entry)?.into_owned())).collect();
    Err(NetworksError::Ambiguous { name: name.to_owned(), ids })
}

/// Adds a network with the normal form of `network_id`. Leaves a saved network as it is; with
/// `activate`, it becomes the active one all the same.
///
/// ```
/// use myownllm_config_model::{Document, SeededIds, app_config, networks};
/// let mut doc = app_config::defaults("/home/u/.myownllm/conversations");
/// let mut ids = SeededIds::new(1_700_000_000_000, 1);
/// assert!(networks::add(&mut doc, "Home-Mesh", true, &mut ids).unwrap().created);
/// assert!(!networks::add(&mut doc, "home-mesh", true, &mut ids).unwrap().changed);
/// assert!(networks::add(&mut doc, "no spaces", false, &mut ids).is_err());
/// ```
///
/// # Errors
/// Fails for a network id that the daemon does not accept.
pub fn add(
    doc: &mut Document,
    network_id: &str,
    activate: bool,
    ids: &mut dyn Ids,
) -> Result<Change, NetworksError> {
    let existing = locate_network_id(doc, network_id).map(|(_, entry)| change_of(entry));
    let mut change = match existing {
        Some(change) => change,
        None => append(doc, network_id, Vec::new(), ids)?,
    };
    if activate {
        change.changed |= self::activate(doc, change.id.as_deref())?.changed;
    }
    Ok(change)
}

/// Appends a completed entry with the normal form of `network_id` and these members. The first
/// entry gets the permissions that waited for a network at the top level.
fn append(
    doc: &mut Document,
    network_id: &str,
    more: Vec<(&str, Fragment)>,
    ids: &mut dyn Ids,
) -> Result<Change, NetworksError> {
    let network_id = network_id::normalize(network_id).map_err(NetworksError::Invalid)?;
    let id = ids.network_id();
    let mut members = vec![("id", id.as_str().into()), ("network_id", network_id.as_str().into())];
    members.extend(more);
    if doc.get(&["cloud_mesh"]).is_some_and(|m| m.kind() != Kind::Object) {
        doc.remove(&["cloud_mesh"]);
    }
    if doc.get(&NETWORKS).is_none_or(|n| n.kind() != Kind::Array) {
        doc.remove(&NETWORKS);
        doc.set(&NETWORKS, Fragment::from_valid_json("[]"));
    }
    let is_first = entries(doc).next().is_none();
    if let Some(waiting) = doc.get(&["agent_permissions"]).filter(|p| is_first && !p.is_falsy()) {
        members.push(("agent_permissions", waiting.into()));
        doc.remove(&["agent_permissions"]);
    }
    let count = doc.get(&NETWORKS).map_or(0, |n| n.items().count()).to_string();
    let entry = completed(members, &Path::Root, None, &mut Pass::new(ids));
    doc.set(&[NETWORKS[0], NETWORKS[1], &count], entry);
    Ok(Change { id: Some(id), network_id: Some(network_id), created: true, changed: true })
}

fn no_network_active(doc: &mut Document) -> bool {
    doc.set(&ACTIVE, Fragment::from_valid_json("null")).is_changed()
}

/// Returns a saved network in the daemon's shape, as the daemon is to join it.
///
/// # Errors
/// Fails if no daemon would join a network with that id or those settings. The path of the problem
/// is the network id.
pub fn for_daemon(network: ValueRef<'_>) -> Result<serde_json::Value, Diagnostic> {
    let id = network_id::of(network).unwrap_or_default();
    let refused = |code, message| Diagnostic::new(code, Severity::Problem, &*id, message);
    let usable = with_usable_servers(network);
    let mut converted =
        convert::to_daemon(usable.root()).map_err(|error| refused(error.code(), error.to_string()))?;
    // The daemon knows ids that are strings alone.
    if let Some(id) = internal_id(network) {
        converted["id"] = (&*id).into();
    }
    network_id::normalize(&id).map_err(|error| refused(error.code(), error.to_string()))?;
    match refused_members(&converted).first() {
        None => Ok(with_known_words(converted)),
        Some(member) => {
            let message = format!("cannot convert network: no daemon takes the value of {member}");
            Err(refused("bridge.malformed", message))
        }
    }
}

/// Returns the network with the default in the place of a list of servers of a wrong type, and
/// without the entries that no daemon takes.
fn with_usable_servers(network: ValueRef<'_>) -> Document {
    let mut usable = Document::of(Fragment::from(network));
    for key in SERVER_LISTS {
        let Some(servers) = network.get(key) else { continue };
        let sound: Vec<_> = servers.items().filter(|entry| is_server(key, *entry)).collect();
        let servers = match servers.kind() {
            // No list of relays would be the daemon's own choice of relays.
            Kind::Array if key == SERVER_LISTS[0] && sound.is_empty() => continue,
            Kind::Array => Fragment::array(sound),
            _ => default_of(key),
        };
        usable.set(&[key], servers);
    }
    usable
}

/// Removes one entry, and clears the active pointer if it named that entry. Changes nothing for an
/// unknown name.
pub fn remove(doc: &mut Document, name: &str) -> Change {
    let Some((place, entry)) = locate(doc, name) else { return Change::default() };
    let mut change = change_of(entry);
    let was_active = match (doc.get(&ACTIVE), entry.get("id")) {
        (Some(active), Some(id)) => active.strictly_equals(&id),
        _ => false,
    };
    change.changed = doc.remove(&[NETWORKS[0], NETWORKS[1], &place.to_string()]);
    if was_active {
        no_network_active(doc);
    }
    change
}

/// Sets the active network; `None` makes no network active.
///
/// # Errors
/// Fails for an unknown name.
pub fn activate(doc: &mut Document, name: Option<&str>) -> Result<Change, NetworksError> {
    let Some(name) = name else {
        return Ok(Change { changed: no_network_active(doc), ..Change::default() });
    };
    let (_, entry) = locate(doc, name).ok_or_else(|| unknown(doc, name))?;
    let mut change = change_of(entry);
    let id = entry.get("id").map(Fragment::from).ok_or_else(|| unknown(doc, name))?;
    change.changed = doc.set(&ACTIVE, id).is_changed();
    Ok(change)
}

/// Sets the members of `patch` in one entry, without checking them.
///
/// # Errors
/// Fails for an unknown name.
pub fn update(
    doc: &mut Document,
    name: &str,
    patch: &serde_json::Map<String, serde_json::Value>,
) -> Result<Change, NetworksError> {
    let (place, entry) = locate(doc, name).ok_or_else(|| unknown(doc, name))?;
    let mut change = change_of(entry);
    let place = place.to_string();
    for (key, value) in patch {
        change.changed |= doc.set(&[NETWORKS[0], NETWORKS[1], &place, key], value.clone()).is_changed();
    }
    Ok(change)
}

/// Puts the settings that a daemon alone has for its networks into the `daemon_settings` of the
/// saved networks with the same network ids, where they are missing; a kind that the app never
/// sets; and a kind where the app names none. `entries` are networks in the daemon's shape. Returns
/// true if the document changed.
pub fn keep_daemon_settings<'e>(doc: &mut Document, entries: impl IntoIterator<Item = ValueRef<'e>>) -> bool {
    add_daemon_settings(doc, entries.into_iter().map(in_apps_shape), |_| true)
}

fn in_apps_shape(of_daemon: ValueRef<'_>) -> Document {
    Document::of(convert::from_daemon(of_daemon, "").0)
}

/// Returns true if a saved network does not say how a daemon announces it. An older version of the
/// app drops these settings from the config.
pub fn lacks_signaling_settings(saved: ValueRef<'_>) -> bool {
    saved.get(DAEMON_SETTINGS).is_none_or(|own| own.get("signaling").is_none())
}

/// Gives the saved networks that [lack](lacks_signaling_settings) them the settings that a daemon
/// alone has, from a previous config, of the app's or of a daemon: without them, a daemon joins a
/// silent network as one that announces itself. `only` names the one network to look at, by its
/// network id. Returns true if the document changed.
pub fn restore_daemon_settings(doc: &mut Document, previous: &Document, only: Option<&str>) -> bool {
    let has_some = |network: &ValueRef<'_>| {
        let kind = network.get("kind").filter(|kind| !kind.is_falsy() && !kind.is_str("open"));
        kind.or_else(|| network.get(DAEMON_SETTINGS)).is_some()
    };
    let of_app = list(previous).into_iter().filter(has_some).map(Document::of);
    let of_daemon = previous.get(&["networks"]).into_iter().flat_map(|networks| networks.items());
    let is_meant = |saved: ValueRef<'_>| {
        lacks_signaling_settings(saved) && only.is_none_or(|only| has_network_id(saved, only))
    };
    add_daemon_settings(doc, of_app.chain(of_daemon.map(in_apps_shape)), is_meant)
}

/// Adds the settings that a daemon alone has from previous networks, in the app's shape, to the saved
/// networks with the same network ids for which `is_meant` returns true.
fn add_daemon_settings(
    doc: &mut Document,
    previous: impl Iterator<Item = Document>,
    is_meant: impl Fn(ValueRef<'_>) -> bool,
) -> bool {
    let id = |network: ValueRef<'_>| Some(network_id::normal_form(&network_id::of(network)?));
    let mut by_id: HashMap<String, Vec<Document>> = HashMap::new();
    for network in previous {
        if let Some(id) = id(network.root()) {
            by_id.entry(id).or_default().push(network);
        }
    }
    doc.set_in_items(&NETWORKS, &[], |_, saved| {
        let previous = by_id.get(&id(saved)?).filter(|_| is_meant(saved))?;
        let mut saved = Document::of(saved);
        let changes: Vec<bool> =
            previous.iter().map(|previous| add_settings_of(previous, &mut saved)).collect();
        changes.contains(&true).then(|| Fragment::from(&saved))
    })
}

fn add_settings_of(previous: &Document, saved: &mut Document) -> bool {
    let has_kind = saved.get(&["kind"]).is_some_and(|kind| !kind.is_falsy());
    let is_apps = |kind: &ValueRef<'_>| kind.is_str("open") || (has_kind && kind.is_str("closed"));
    let kind = previous.get(&["kind"]).filter(|kind| !kind.is_falsy() && !is_apps(kind));
    let mut is_changed = kind.is_some_and(|kind| saved.set(&["kind"], kind).is_changed());
    for (key, value) in previous.get(&[DAEMON_SETTINGS]).into_iter().flat_map(|settings| settings.members()) {
        let path = [DAEMON_SETTINGS, &*key];
        // Of `signaling`, each member counts by itself.
        let is_object = saved.get(&path).is_some_and(|own| own.kind() == Kind::Object);
        let members: Vec<_> = value.members().filter(|_| is_object).collect();
        for (member, value) in members {
            let path = [DAEMON_SETTINGS, &*key, &*member];
            is_changed |= saved.get(&path).is_none() && saved.set(&path, value).is_changed();
        }
        is_changed |= saved.get(&path).is_none() && saved.set(&path, value).is_changed();
    }
    is_changed
}

/// Applies a settings envelope to the first entry with its network id, or appends a new entry.
///
/// An existing entry gets the envelope's servers and `accepting`, and the label, kind, topology and
/// `auto_approve` that the envelope has; its id, permissions, prompts and `auto_gossip` stay. An
/// envelope without secrets leaves the existing ones alone: a saved value that differs only by its
/// secrets stays.
///
/// # Errors
/// Fails for a new network with an id that the daemon does not accept.
pub fn import(
    doc: &mut Document,
    envelope: &Envelope,
    activate: bool,
    ids: &mut dyn Ids,
) -> Result<Change, NetworksError> {
    let network_id = envelope.network_id();
    let optional: Vec<(&str, Fragment)> = [
        ("label", "label"),
        ("kind", "network_kind"),
        ("topology", "topology"),
        ("auto_approve", "auto_approve"),
    ]
    .into_iter()
    .filter_map(|(key, from)| Some((key, Fragment::from(envelope.get(from)?))))
    .collect();
    let accepting = envelope.get("accepting").map(|accepting| ("accepting", accepting.into()));
    let mut change = match locate_network_id(doc, &network_id) {
        Some((place, entry)) => {
            let mut change = change_of(entry);
            let bare = Envelope::of_network(entry).map(|own| own.to_document(false));
            let is_bare = |key: &str| match (&bare, envelope.get(key)) {
                (Ok(bare), Some(given)) => bare.get(&[key]).is_some_and(|own| own.same_json(&given)),
                _ => false,
            };
            let lists = SERVER_LISTS.map(|key| (key, with_known_secrets(envelope.get(key), entry.get(key))));
            let (place, keeps) = (place.to_string(), ["label", "topology"].map(|key| (key, is_bare(key))));
            let new = lists.into_iter().chain(accepting).chain(optional);
            for (key, value) in new.filter(|(key, _)| !keeps.contains(&(*key, true))) {
                change.changed |= doc.set(&[NETWORKS[0], NETWORKS[1], &place, key], value).is_changed();
            }
            change
        }
        None => {
            let lists = SERVER_LISTS.into_iter().filter_map(|key| Some((key, envelope.get(key)?.into())));
            append(doc, &network_id, lists.chain(accepting).chain(optional).collect(), ids)?
        }
    };
    if activate {
        change.changed |= self::activate(doc, change.id.as_deref())?.changed;
    }
    Ok(change)
}

/// Returns the servers of an envelope. A server without secrets becomes the known server that is the
/// same but for its secrets; each known server once, as two logins may have one URL.
fn with_known_secrets(given: Option<ValueRef<'_>>, known: Option<ValueRef<'_>>) -> Fragment {
    let mut known: Vec<_> = known.into_iter().flat_map(|array| array.items()).collect();
    Fragment::array(given.into_iter().flat_map(|array| array.items()).map(|server| {
        let same = known.iter().position(|known| is_without_secrets(server, *known));
        Fragment::from(same.map_or(server, |place| known.remove(place)))
    }))
}

/// Returns the settings envelope of a saved network, secrets included.
///
/// # Errors
/// Fails for an unknown name, and for an entry without its arrays of servers.
pub fn export(doc: &Document, name: &str) -> Result<Envelope, NetworksError> {
    let entry = find(doc, name).ok_or_else(|| unknown(doc, name))?;
    Envelope::of_network(entry).map_err(NetworksError::Envelope)
}
