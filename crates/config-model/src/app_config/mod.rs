//! The app's config: completing it (legacy migrations, defaults), and a typed view of it.

mod network;
mod own;
mod permissions;
mod view;

use std::collections::HashSet;

pub use self::own::{Loss, OwnSettings};
pub use self::view::{
    Api, AppConfig, AutoCleanup, AutoUpdate, CloudMesh, Mic, Network, Prompt, Provider, RemoteUi, Topology,
    TurnServer,
};
pub(crate) use network::{completed, default_stun, is_dead, label_change, topology_change};

use crate::change::{Edits, Pass, Path};
use crate::{Diagnostic, Document, Fragment, Ids, Kind, Severity, ValueRef};
use myownllm_json_document::Change;

/// The default manifest of models.
pub(crate) const DEFAULT_PROVIDER: (&str, &str) =
    ("MyOwnLLM Default", "https://raw.githubusercontent.com/mrjeeves/MyOwnLLM/main/manifests/default.json");

/// So many findings have their place in the text: finding it takes a walk over the text before it.
const PLACES_SHOWN: usize = 20;

/// The five objects whose defaults fill in what they lack: name, members and their defaults.
pub(crate) const SECTIONS: [(&str, &[(&str, &str)]); 5] = [
    (
        "auto_cleanup",
        &[
            ("models", "true"),
            ("transcribe_buffer", "true"),
            ("legacy", "true"),
            ("updates", "true"),
            ("conversations", "true"),
        ],
    ),
    (
        "api",
        &[
            ("enabled", "true"),
            ("host", "\"127.0.0.1\""),
            ("port", "1473"),
            ("cors_allow_all", "false"),
            ("bearer_token", "null"),
        ],
    ),
    (
        "auto_update",
        &[
            ("enabled", "true"),
            ("channel", "\"stable\""),
            ("auto_apply", "\"patch\""),
            ("check_interval_hours", "6"),
        ],
    ),
    ("remote_ui", &[("enabled", "false"), ("port", "1474")]),
    (
        "mic",
        &[
            ("device_name", "\"\""),
            ("sample_rate", "16000"),
            ("echo_cancellation", "true"),
            ("noise_suppression", "true"),
            ("auto_gain_control", "true"),
        ],
    ),
];

/// The top-level keys of the app's schema, in the order in which a new file has them.
pub const KEYS: [&str; 17] = [
    "active_provider",
    "active_family",
    "active_mode",
    "model_cleanup_days",
    "cleanup_warning_suppressed_families",
    "kept_models",
    "mode_overrides",
    "family_overrides",
    "tracked_modes",
    "conversation_dir",
    "auto_cleanup",
    "api",
    "auto_update",
    "remote_ui",
    "cloud_mesh",
    "mic",
    "providers",
];

/// What [`complete`] gives a document its defaults for because it is not there: top-level keys, and members of the objects
/// whose defaults fill in what they lack, as `auto_cleanup.models`. In the order of [`KEYS`].
pub fn lacking(doc: &Document) -> Vec<String> {
    let mut lacking = Vec::new();
    for key in KEYS {
        let members = SECTIONS.iter().find(|(section, _)| *section == key).map(|(_, members)| members);
        match (doc.get(&[key]), members) {
            (None, _) => lacking.push(key.to_owned()),
            (Some(section), Some(members)) if section.kind() == Kind::Object => lacking.extend(
                members
                    .iter()
                    .filter(|(member, _)| section.get(member).is_none())
                    .map(|(member, _)| format!("{key}.{member}")),
            ),
            // Something else gives way to the defaults.
            (Some(_), Some(_)) => lacking.push(key.to_owned()),
            (Some(_), None) => {}
        }
    }
    lacking
}

/// The app's config as a fresh install has it. `conversation_dir` is the default of that name.
pub fn defaults(conversation_dir: &str) -> Document {
    let mut doc = Document::empty();
    // Nothing in an empty document asks for an id.
    complete(&mut doc, conversation_dir, &mut crate::SeededIds::new(0, 0));
    doc
}

/// Brings a document to the app's present form: legacy migrations, then defaults. `conversation_dir` is the default of
/// that name. What is in form already is not touched; a second call changes nothing.
///
/// Whatever was odd is in the answer: values of a wrong type (they stay where the app keeps them, see
/// `config.wrong-type`), values that gave way to a default (`config.replaced`), entries that were left out
/// (`config.dropped`), doubled internal ids (`network.duplicate-id`), and what a migration did (`config.migrated`). The
/// first of the odd ones have their place in the text that the document was read from.
pub fn complete(doc: &mut Document, conversation_dir: &str, ids: &mut dyn Ids) -> Vec<Diagnostic> {
    let mut pass = Pass::new(ids);
    let change = root_change(doc.root(), conversation_dir, &mut pass);
    let mut diagnostics = std::mem::take(&mut pass.diagnostics);
    let odd = diagnostics.iter_mut().filter(|found| found.severity != Severity::Info);
    for found in odd.take(PLACES_SHOWN) {
        found.place = doc.place(&found.path);
    }
    doc.apply(change);
    diagnostics
}

fn root_change(root: ValueRef<'_>, conversation_dir: &str, pass: &mut Pass<'_>) -> Change {
    let mut edits = Edits::default();
    let mut plain = |key: &'static str,
                     kind: Kind,
                     is_absent: fn(ValueRef<'_>) -> bool,
                     default: &dyn Fn() -> Fragment| {
        match root.get(key).filter(|v| !is_absent(*v)) {
            Some(value) => pass.check(&Path::Root, key, value, kind),
            None => edits.set(key, default()),
        }
    };
    let never = |_: ValueRef<'_>| false;
    let null = |v: ValueRef<'_>| v.is_null();
    let falsy = |v: ValueRef<'_>| v.is_falsy();
    let nothing = || Fragment::from_valid_json("[]");
    let no_members = || Fragment::from_valid_json("{}");
    plain("active_provider", Kind::String, never, &|| DEFAULT_PROVIDER.0.into());
    plain("active_family", Kind::String, falsy, &|| "gemma4".into());
    plain("active_mode", Kind::String, never, &|| "transcribe".into());
    plain("model_cleanup_days", Kind::Number, never, &|| 1u64.into());
    plain("cleanup_warning_suppressed_families", Kind::Array, null, &nothing);
    plain("kept_models", Kind::Array, null, &nothing);

    // The speech model moved from the microphone to the modes.
    let whisper = root.get("mic").and_then(|mic| mic.get("whisper_model")).filter(|m| !m.is_falsy());
    let overrides = root.get("mode_overrides").filter(|o| !o.is_null());
    let transcribe = overrides.and_then(|o| o.get("transcribe")).filter(|t| !t.is_falsy());
    match (whisper, transcribe, overrides) {
        (Some(model), None, Some(overrides)) if overrides.kind() == Kind::Object => {
            let mut inner = Edits::default();
            inner.set("transcribe", model);
            edits.within("mode_overrides", inner.into_change());
        }
        (Some(model), None, other) => {
            if let Some(other) = other {
                pass.replaced(&Path::Root.key("mode_overrides"), other.kind(), "an object");
            }
            edits.set("mode_overrides", Fragment::object([("transcribe", model)]));
        }
        (_, _, Some(overrides)) => pass.check(&Path::Root, "mode_overrides", overrides, Kind::Object),
        (_, _, None) => edits.set("mode_overrides", no_members()),
    }
    match root.get("family_overrides").filter(|o| !o.is_null()) {
        Some(overrides) => pass.check(&Path::Root, "family_overrides", overrides, Kind::Object),
        None => edits.set("family_overrides", no_members()),
    }
    match root.get("tracked_modes").filter(|m| !m.is_falsy() && !has_no_length(*m)) {
        Some(modes) => pass.check(&Path::Root, "tracked_modes", modes, Kind::Array),
        None => {
            let mode = root.get("active_mode").map_or_else(|| "transcribe".into(), Fragment::from);
            edits.set("tracked_modes", Fragment::array([mode]));
        }
    }
    match root.get("conversation_dir").filter(|d| !d.is_falsy()) {
        Some(dir) => pass.check(&Path::Root, "conversation_dir", dir, Kind::String),
        None => edits.set("conversation_dir", conversation_dir),
    }
    for (key, members) in &SECTIONS[..4] {
        section_change(root, key, members, pass, &mut edits);
    }
    let permissions = root.get("agent_permissions");
    cloud_mesh_change(root.get("cloud_mesh"), permissions, pass, &mut edits);
    let (mic, members) = SECTIONS[4];
    section_change(root, mic, members, pass, &mut edits);
    match root.get("providers").filter(|p| !p.is_null()) {
        Some(providers) => pass.check(&Path::Root, "providers", providers, Kind::Array),
        None => {
            let (name, url) = DEFAULT_PROVIDER;
            edits.set("providers", Fragment::array([Fragment::object([("name", name), ("url", url)])]));
        }
    }
    if root.get("sources").is_some() {
        pass.migrated(&Path::Root.key("sources"), "the app has no use for sources any more");
        edits.remove("sources");
    }
    edits.into_change()
}

/// An empty list; also an object that says its length is 0, which the app takes for one.
fn has_no_length(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::Array => value.items().next().is_none(),
        _ => value.get("length").and_then(|l| l.as_f64()) == Some(0.0),
    }
}

/// One of the five objects: its defaults fill in what it lacks.
fn section_change(
    root: ValueRef<'_>,
    key: &'static str,
    members: &[(&'static str, &'static str)],
    pass: &mut Pass<'_>,
    edits: &mut Edits,
) {
    let Some(section) = root.get(key).filter(|s| s.kind() == Kind::Object) else {
        if let Some(other) = root.get(key).filter(|s| !s.is_null()) {
            pass.replaced(&Path::Root.key(key), other.kind(), "an object");
        }
        let fresh = members.iter().map(|(key, default)| (key, Fragment::from_valid_json(*default)));
        return edits.set(key, Fragment::object(fresh));
    };
    let mut inner = Edits::default();
    for &(member, default) in members {
        match section.get(member) {
            None => inner.set(member, Fragment::from_valid_json(default)),
            Some(value) => {
                let wanted = match default.as_bytes()[0] {
                    b't' | b'f' => Kind::Bool,
                    b'"' => Kind::String,
                    b'n' if value.is_null() => Kind::Null,
                    b'n' => Kind::String,
                    _ => Kind::Number,
                };
                pass.check(&Path::Root.key(key), member, value, wanted);
            }
        }
    }
    if key == "mic" && section.get("whisper_model").is_some() {
        pass.migrated(
            &Path::Root.key("mic").key("whisper_model"),
            "the speech model is now in `mode_overrides.transcribe`",
        );
        inner.remove("whisper_model");
    }
    edits.within(key, inner.into_change());
}

/// `cloud_mesh`, and the permissions of the days before networks had their own.
fn cloud_mesh_change(
    section: Option<ValueRef<'_>>,
    permissions: Option<ValueRef<'_>>,
    pass: &mut Pass<'_>,
    root: &mut Edits,
) {
    let at = Path::Root.key("cloud_mesh");
    const EMPTY: &str = r#"{"enabled":false,"networks":[],"active_network_id":null,"diag_quiet":false}"#;
    if permissions.is_some_and(|p| p.is_falsy()) {
        root.remove("agent_permissions");
    }
    let permissions = permissions.filter(|p| !p.is_falsy());
    let Some(section) = section.filter(|s| s.kind() == Kind::Object) else {
        if let Some(other) = section.filter(|s| !s.is_falsy()) {
            pass.replaced(&at, other.kind(), "an object");
        }
        return root.set("cloud_mesh", Fragment::from_valid_json(EMPTY));
    };
    let mut edits = Edits::default();
    match section.get("enabled").filter(|e| !e.is_null()) {
        Some(enabled) => pass.check(&at, "enabled", enabled, Kind::Bool),
        None => edits.set("enabled", false),
    }

    let list = section.get("networks").filter(|n| n.kind() == Kind::Array);
    let flat = if names_none(list) { network::flat_members(section, pass, &at) } else { None };
    let active = section.get("active_network_id");
    if let Some(members) = flat {
        pass.migrated(&at, "the single network of earlier days is now the first of the list");
        for (n, odd) in list.into_iter().flat_map(|l| l.items()).enumerate() {
            pass.dropped(&at.key("networks").item(n), format!("{}, not a network", odd.kind().name()));
        }
        let id = members[0].1.clone();
        let mut entry = Document::of(Fragment::object(members));
        let inherited =
            permissions.map(|p| permissions::normalized(p, &Path::Root.key("agent_permissions"), pass));
        let change = network::change(entry.root(), &at.key("networks").item(0), inherited.as_ref(), pass)
            .into_change();
        entry.apply(change);
        if inherited.is_some() {
            root.remove("agent_permissions");
        }
        edits.set("networks", Fragment::array([Fragment::from(&entry)]));
        edits.set("active_network_id", id);
        for key in network::FLAT_KEYS {
            if section.get(key).is_some() {
                edits.remove(key);
            }
        }
    } else {
        let active_is_there = match list {
            Some(list) => networks_change(list, active, permissions, pass, root, &mut edits),
            None => {
                if let Some(other) = section.get("networks").filter(|n| !n.is_null()) {
                    pass.replaced(&at.key("networks"), other.kind(), "a list");
                }
                edits.set("networks", Fragment::from_valid_json("[]"));
                false
            }
        };
        if !active_is_there && !active.is_some_and(|a| a.is_null()) {
            if active.is_some() {
                pass.dropped(&at.key("active_network_id"), "it names no saved network");
            }
            edits.set("active_network_id", Fragment::from_valid_json("null"));
        }
    }
    match section.get("diag_quiet") {
        Some(quiet) if quiet.kind() == Kind::Bool => {}
        other => {
            if let Some(other) = other {
                pass.replaced(&at.key("diag_quiet"), other.kind(), "a boolean");
            }
            edits.set("diag_quiet", false);
        }
    }
    root.within("cloud_mesh", edits.into_change());
}

/// The saved networks; answers whether `active` names one of them.
fn networks_change(
    list: ValueRef<'_>,
    active: Option<ValueRef<'_>>,
    permissions: Option<ValueRef<'_>>,
    pass: &mut Pass<'_>,
    root: &mut Edits,
    cloud_mesh: &mut Edits,
) -> bool {
    let at = Path::Root.key("cloud_mesh");
    let at = at.key("networks");
    let mut inherited = None;
    let mut changes = Vec::new();
    let mut seen = HashSet::with_capacity(list.items().count());
    let mut active_is_there = false;
    for (n, entry) in list.items().enumerate() {
        let path = at.item(n);
        if entry.kind() != Kind::Object {
            pass.dropped(&path, format!("{}, not a network", entry.kind().name()));
            changes.push((n, None));
            continue;
        }
        if inherited.is_none() {
            inherited =
                permissions.map(|p| permissions::normalized(p, &Path::Root.key("agent_permissions"), pass));
        }
        let mut edits = network::change(entry, &path, inherited.as_ref(), pass);
        if let Some(id) = entry.get("id").filter(|id| !id.is_falsy()) {
            active_is_there |= active.is_some_and(|a| a.strictly_equals(&id));
            // The first keeps the id, and with it the active pointer.
            if id.identity_key().is_some_and(|key| !seen.insert(key)) {
                let new = pass.ids.network_id();
                let message = format!("another network has this internal id already; this one is now {new}");
                pass.note("network.duplicate-id", Severity::Warning, &path.key("id"), message);
                edits.set("id", new);
            }
        }
        let change = edits.into_change();
        if !change.is_empty() {
            changes.push((n, Some(change)));
        }
    }
    if inherited.is_some() {
        pass.migrated(
            &Path::Root.key("agent_permissions"),
            "permissions are now those of each network without its own",
        );
        root.remove("agent_permissions");
    }
    cloud_mesh.within("networks", Change::Items(changes, Vec::new()));
    active_is_there
}

/// Whether a list of networks holds none: what is not an object will not stay in it.
fn names_none(list: Option<ValueRef<'_>>) -> bool {
    list.into_iter().flat_map(|l| l.items()).all(|entry| entry.kind() != Kind::Object)
}

/// The network that a `cloud_mesh` of the single-network form holds, as an entry of the list, and the keys that it
/// used up; `None` when the section is not of that form, names no network, or has a list with a network in it. For
/// whoever puts a list beside it.
pub fn flat_network(cloud_mesh: ValueRef<'_>, ids: &mut dyn Ids) -> Option<FlatNetwork> {
    if !names_none(cloud_mesh.get("networks").filter(|n| n.kind() == Kind::Array)) {
        return None;
    }
    let members = network::flat_members(cloud_mesh, &mut Pass::new(ids), &Path::Root)?;
    let keys = network::FLAT_KEYS.into_iter().filter(|key| cloud_mesh.get(key).is_some()).collect();
    Some(FlatNetwork { id: members[0].1.clone(), entry: Fragment::object(members), keys })
}

/// See [`flat_network`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FlatNetwork {
    /// Its new internal id, as a JSON text.
    pub id: Fragment,
    /// The entry.
    pub entry: Fragment,
    /// The keys of `cloud_mesh` that are now in the entry.
    pub keys: Vec<&'static str>,
}
