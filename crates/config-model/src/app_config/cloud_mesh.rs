//! Brings `cloud_mesh` into the present form.

use std::borrow::Cow;
use std::collections::HashSet;

use myownllm_json_document::{Change, Fragment, Kind, Severity, ValueRef};

use super::{SERVER_LISTS, network, permissions};
use crate::ids::Ids;
use crate::pass::{Edits, ObjectEdits, Pass};
use crate::path::Path;

/// The keys of `cloud_mesh` when it held a single network.
const FLAT_KEYS: [&str; 7] = [
    "network_id",
    "locked",
    "signaling_servers",
    "stun_servers",
    "turn_servers",
    "accepting",
    "use_public_turn_fallback",
];

/// The network of a `cloud_mesh` in the single-network form; see [`flat_network`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FlatNetwork {
    /// The new internal id, as a JSON string.
    pub id: Fragment,
    /// The entry for the array of networks.
    pub entry: Fragment,
    /// The keys of `cloud_mesh` that the entry replaces.
    pub keys: Vec<&'static str>,
}

/// Returns the network of a `cloud_mesh` in the single-network form, for callers that put an array
/// of networks beside it. Returns `None` if the section is not of that form, names no network, or
/// has an array with a network in it.
pub fn flat_network(cloud_mesh: ValueRef<'_>, ids: &mut dyn Ids) -> Option<FlatNetwork> {
    if !holds_no_network(array_of(cloud_mesh)) {
        return None;
    }
    let members = flat_members(cloud_mesh, &mut Pass::new(ids), &Path::Root)?;
    let keys = FLAT_KEYS.into_iter().filter(|key| cloud_mesh.get(key).is_some()).collect();
    Some(FlatNetwork { id: members[0].1.clone(), entry: Fragment::object(members), keys })
}

/// Edits `cloud_mesh`. Moves the top-level permissions, from before networks had their own, to the
/// networks.
pub(super) fn change(root: ValueRef<'_>, default: &Fragment, pass: &mut Pass<'_>, root_edits: &mut Edits) {
    let at = Path::Root.key("cloud_mesh");
    let section = root.get("cloud_mesh");
    let permissions = root.get("agent_permissions");
    if permissions.is_some_and(|p| p.is_falsy()) {
        root_edits.remove("agent_permissions");
    }
    let permissions = permissions.filter(|p| !p.is_falsy());
    let Some(section) = section.filter(|s| s.kind() == Kind::Object) else {
        if let Some(other) = section.filter(|s| !s.is_falsy()) {
            pass.replaced(&at, other.kind(), "an object");
        }
        return root_edits.set("cloud_mesh", default.clone());
    };
    let mut object = ObjectEdits::new(&at, pass);
    match section.get("enabled").filter(|e| !e.is_null()) {
        Some(enabled) => object.pass.check(&at.key("enabled"), enabled, Kind::Bool),
        None => object.edits.set("enabled", false),
    }
    let flat =
        if holds_no_network(array_of(section)) { flat_members(section, object.pass, &at) } else { None };
    let mut inherited = Inherited { permissions, normalized: None };
    match flat {
        Some(members) => flat_change(section, members, &mut inherited, &mut object),
        None => list_change(section, &mut inherited, &mut object),
    }
    if inherited.normalized.is_some() {
        root_edits.remove("agent_permissions");
    }
    object.require_bool("diag_quiet", section.get("diag_quiet"), || false.into());
    root_edits.within("cloud_mesh", object.edits.into_change());
}

/// Permissions for networks without permissions of their own.
struct Inherited<'a> {
    permissions: Option<ValueRef<'a>>,
    /// Set once a network has asked: then the top level loses the permissions.
    normalized: Option<Fragment>,
}

impl Inherited<'_> {
    fn get(&mut self, pass: &mut Pass<'_>) -> Option<&Fragment> {
        if self.normalized.is_none() {
            let path = Path::Root.key("agent_permissions");
            self.normalized = self.permissions.map(|p| permissions::normalized(p, &path, pass));
        }
        self.normalized.as_ref()
    }
}

/// Turns the single-network form into an array of one network, the active one.
fn flat_change(
    section: ValueRef<'_>,
    members: Vec<(&str, Fragment)>,
    inherited: &mut Inherited<'_>,
    ObjectEdits { path: at, pass, edits }: &mut ObjectEdits<'_, '_>,
) {
    pass.migrated(at, "the single network of earlier versions is the first of the array now");
    for (n, other) in array_of(section).into_iter().flat_map(|array| array.items()).enumerate() {
        pass.dropped_kind(&at.key("networks").item(n), other.kind(), "a network");
    }
    let id = members[0].1.clone();
    let inherited = inherited.get(pass);
    let entry = network::completed(members, &at.key("networks").item(0), inherited, pass);
    edits.set("networks", Fragment::array([entry]));
    edits.set("active_network_id", id);
    for key in FLAT_KEYS {
        if section.get(key).is_some() {
            edits.remove(key);
        }
    }
}

fn list_change(section: ValueRef<'_>, inherited: &mut Inherited<'_>, object: &mut ObjectEdits<'_, '_>) {
    let active = section.get("active_network_id");
    let is_active_saved = match array_of(section) {
        Some(array) => networks_change(array, active, inherited, object),
        None => {
            let other = section.get("networks").filter(|n| !n.is_null());
            object.replace("networks", other, "an array", Fragment::array::<Fragment>([]));
            false
        }
    };
    if !is_active_saved && !active.is_some_and(|a| a.is_null()) {
        if active.is_some() {
            object.pass.dropped(&object.path.key("active_network_id"), "it names no saved network");
        }
        object.edits.set("active_network_id", Fragment::from_valid_json("null"));
    }
}

/// Edits the saved networks. Returns true if `active` names one of them.
fn networks_change(
    array: ValueRef<'_>,
    active: Option<ValueRef<'_>>,
    inherited: &mut Inherited<'_>,
    ObjectEdits { path, pass, edits: cloud_mesh }: &mut ObjectEdits<'_, '_>,
) -> bool {
    let at = path.key("networks");
    let mut changes = Vec::new();
    let mut seen = HashSet::with_capacity(array.items().count());
    let mut is_active_saved = false;
    for (n, entry) in array.items().enumerate() {
        let path = at.item(n);
        if entry.kind() != Kind::Object {
            pass.dropped_kind(&path, entry.kind(), "a network");
            changes.push((n, None));
            continue;
        }
        let mut edits = network::change(entry, &path, inherited.get(pass), pass);
        if let Some(id) = entry.get("id").filter(|id| !id.is_falsy()) {
            is_active_saved |= active.is_some_and(|a| a.strictly_equals(&id));
            // The first network keeps the id: the active pointer means that one.
            if id.identity_key().is_some_and(|key| !seen.insert(key)) {
                let new = pass.ids.network_id();
                let message = "another network has this internal id already; this one gets a new one";
                pass.note("network.duplicate-id", Severity::Warning, &path.key("id"), message.to_owned());
                edits.set("id", new);
            }
        }
        let change = edits.into_change();
        if !change.is_empty() {
            changes.push((n, Some(change)));
        }
    }
    if inherited.normalized.is_some() {
        pass.migrated(
            &Path::Root.key("agent_permissions"),
            "each network without permissions of its own has these permissions now",
        );
    }
    cloud_mesh.within("networks", Change::Items(changes, Vec::new()));
    is_active_saved
}

fn array_of(section: ValueRef<'_>) -> Option<ValueRef<'_>> {
    section.get("networks").filter(|networks| networks.kind() == Kind::Array)
}

/// Returns true if no item of the array can stay in it.
fn holds_no_network(array: Option<ValueRef<'_>>) -> bool {
    array.into_iter().flat_map(|array| array.items()).all(|entry| entry.kind() != Kind::Object)
}

/// Returns the members of the network of a `cloud_mesh` in the single-network form; `None` if it is
/// not of that form, or has no network id.
fn flat_members<'k>(
    cloud_mesh: ValueRef<'_>,
    pass: &mut Pass<'_>,
    path: &Path<'_>,
) -> Option<Vec<(&'k str, Fragment)>> {
    let is = |key: &str, kind: Kind| cloud_mesh.get(key).is_some_and(|v| v.kind() == kind);
    let is_flat = is("network_id", Kind::String)
        || is("locked", Kind::Bool)
        || SERVER_LISTS.iter().any(|key| is(key, Kind::Array))
        || is("accepting", Kind::String);
    if !is_flat {
        return None;
    }
    let network_id = cloud_mesh.get("network_id")?;
    let network_id: Fragment = match network_id.kind() {
        Kind::String if !network_id.is_falsy() => network_id.into(),
        Kind::Number => Fragment::from(number_text(network_id)),
        Kind::Bool => Fragment::from(network_id.raw().into_owned()),
        Kind::String | Kind::Null => return None,
        Kind::Array | Kind::Object => {
            pass.wrong_type(&path.key("network_id"), network_id.kind(), "a string");
            return None;
        }
    };
    let mut members = vec![("id", Fragment::from(pass.ids.network_id())), ("network_id", network_id)];
    for key in SERVER_LISTS.into_iter().chain(["accepting"]) {
        if let Some(value) = cloud_mesh.get(key) {
            members.push((key, value.into()));
        }
    }
    Some(members)
}

/// Prints a number as JavaScript does, for the numbers that occur as network ids.
fn number_text(number: ValueRef<'_>) -> String {
    let raw: Cow<'_, str> = number.raw();
    match number.as_f64() {
        Some(0.0) => "0".to_owned(),
        Some(x) if raw.parse::<i128>().is_err() && x.is_finite() => format!("{x}"),
        _ => raw.into_owned(),
    }
}
