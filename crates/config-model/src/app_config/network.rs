//! One saved network, and its parts.

use std::borrow::Cow;

use super::permissions;
use crate::change::{Edits, Pass, Path};
use crate::{Document, Fragment, Kind, ValueRef};
use myownllm_json_document::{Change, trim_raw};

/// Signaling servers of the PeerJS days that no longer answer; saved lists still hold them.
pub(crate) const DEAD_SIGNALING: [&str; 3] =
    ["wss://0.peerjs.com:443/", "wss://0.peerjs.com:443/peerjs", "wss://mesh.myownllm.net/signal"];
/// The app's STUN servers where none are named.
pub(crate) const DEFAULT_STUN: [&str; 2] = ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"];
/// The tools a prompt may use when it does not say.
const ALL_TOOLS: [&str; 4] = ["networks", "read_file", "write_file", "shell"];
/// Members of a network that nothing reads any more.
const RETIRED: [&str; 2] = ["locked", "use_public_turn_fallback"];

pub(crate) fn default_stun() -> Fragment {
    Fragment::array(DEFAULT_STUN)
}

/// Items of a list that name a server which no longer answers.
pub(crate) fn is_dead(server: ValueRef<'_>) -> bool {
    server.as_str().is_some_and(|server| DEAD_SIGNALING.contains(&&*server))
}

/// A network of these members, completed.
pub(crate) fn completed(members: Vec<(&str, Fragment)>, path: &Path<'_>, pass: &mut Pass<'_>) -> Fragment {
    let mut entry = Document::of(Fragment::object(members));
    let change = change(entry.root(), path, None, pass).into_change();
    entry.apply(change);
    Fragment::from(&entry)
}

/// What brings one entry (an object) into form. `inherited`: permissions for a network that has none of its own.
pub(super) fn change(
    entry: ValueRef<'_>,
    path: &Path<'_>,
    inherited: Option<&Fragment>,
    pass: &mut Pass<'_>,
) -> Edits {
    let mut edits = Edits::default();
    let [
        id,
        network_id,
        label,
        kind,
        topology,
        signaling,
        stun,
        turn,
        auto_approve,
        accepting,
        auto_gossip,
        own_permissions,
        prompts,
        locked,
        public_turn,
    ] = entry.get_many([
        "id",
        "network_id",
        "label",
        "kind",
        "topology",
        "signaling_servers",
        "stun_servers",
        "turn_servers",
        "auto_approve",
        "accepting",
        "auto_gossip",
        "agent_permissions",
        "prompts",
        RETIRED[0],
        RETIRED[1],
    ]);

    match id {
        Some(id) if !id.is_falsy() => {
            if id.kind() != Kind::String {
                pass.wrong_type(&path.key("id"), id.kind(), "a text");
            }
        }
        _ => edits.set("id", pass.ids.network_id()),
    }
    match network_id {
        Some(id) if id.kind() == Kind::String => {}
        Some(id) if !id.is_falsy() => pass.wrong_type(&path.key("network_id"), id.kind(), "a text"),
        _ => edits.set("network_id", ""),
    }
    match signaling {
        Some(list) if list.kind() == Kind::Array => {
            let dead: Vec<_> =
                list.items().enumerate().filter(|(_, s)| is_dead(*s)).map(|(n, _)| (n, None)).collect();
            if !dead.is_empty() {
                pass.migrated(
                    &path.key("signaling_servers"),
                    "servers that are gone for good were taken out",
                );
            }
            edits.within("signaling_servers", Change::Items(dead, Vec::new()));
        }
        other => {
            if let Some(other) = other.filter(|o| !o.is_null()) {
                pass.replaced(&path.key("signaling_servers"), other.kind(), "a list");
            }
            edits.set("signaling_servers", Fragment::from_valid_json("[]"));
        }
    }
    for (key, list, default) in [
        ("stun_servers", stun, default_stun as fn() -> Fragment),
        ("turn_servers", turn, || Fragment::from_valid_json("[]")),
    ] {
        match list.filter(|v| !v.is_null()) {
            Some(list) => pass.check(path, key, list, Kind::Array),
            None => edits.set(key, default()),
        }
    }
    match accepting {
        Some(a) if ["available", "limited", "busy"].iter().any(|known| a.is_str(known)) => {}
        other => {
            if let Some(other) = other {
                pass.replaced(&path.key("accepting"), other.kind(), "`available`, `limited` or `busy`");
            }
            edits.set("accepting", Fragment::from_valid_json(r#""available""#));
        }
    }
    match auto_gossip {
        Some(b) if b.kind() == Kind::Bool => {}
        other => {
            if let Some(other) = other {
                pass.replaced(&path.key("auto_gossip"), other.kind(), "a boolean");
            }
            edits.set("auto_gossip", true);
        }
    }
    if let Some(label) = label {
        match label_change(label) {
            None if label.kind() != Kind::String => {
                pass.dropped(&path.key("label"), format!("{}, not a text", label.kind().name()));
                edits.remove("label");
            }
            None => {}
            Some(trimmed) if trimmed == Fragment::from_valid_json("\"\"") => edits.remove("label"),
            Some(trimmed) => edits.set("label", trimmed),
        }
    }
    if let Some(kind) = kind
        && (kind.kind() != Kind::String || kind.is_falsy())
    {
        pass.dropped(&path.key("kind"), "not the name of a kind");
        edits.remove("kind");
    }
    if let Some(topology) = topology {
        match topology_change(topology, &path.key("topology"), pass) {
            Some(change) => edits.within("topology", change),
            None => edits.remove("topology"),
        }
    }
    if let Some(auto) = auto_approve.filter(|a| a.kind() != Kind::Bool) {
        pass.dropped(&path.key("auto_approve"), format!("{}, not a boolean", auto.kind().name()));
        edits.remove("auto_approve");
    }
    match own_permissions {
        Some(own) if !own.is_falsy() => {
            edits.within("agent_permissions", permissions::change(own, &path.key("agent_permissions"), pass));
        }
        other => match inherited {
            Some(permissions) => edits.set("agent_permissions", permissions.clone()),
            None if other.is_some() => edits.remove("agent_permissions"),
            None => {}
        },
    }
    match prompts {
        Some(list) if list.kind() == Kind::Array => {
            edits.within("prompts", prompts_change(list, &path.key("prompts"), pass));
        }
        Some(other) => {
            if !other.is_null() {
                pass.dropped(&path.key("prompts"), format!("{}, not a list", other.kind().name()));
            }
            edits.remove("prompts");
        }
        None => {}
    }
    for (key, retired) in RETIRED.into_iter().zip([locked, public_turn]) {
        if retired.is_some() {
            edits.remove(key);
        }
    }
    edits
}

/// The trimmed label, if it changes; `""` when nothing is left; `None` also for what is no text.
pub(crate) fn label_change(label: ValueRef<'_>) -> Option<Fragment> {
    if label.kind() != Kind::String {
        return None;
    }
    if label.is_falsy() {
        return Some(Fragment::from_valid_json("\"\""));
    }
    trim_raw(&label.raw()).map(Fragment::from_valid_json)
}

/// What brings a topology into form; `None`: it is unusable and goes.
pub(crate) fn topology_change(
    topology: ValueRef<'_>,
    path: &Path<'_>,
    pass: &mut Pass<'_>,
) -> Option<Change> {
    if topology.is_null() {
        return None;
    }
    let [kind, n_preferred, hub] = topology.get_many(["kind", "n_preferred", "hub"]);
    let Some(kind) = kind.filter(|k| k.kind() == Kind::String) else {
        pass.dropped(path, "a topology without a kind");
        return None;
    };
    let mut edits = Edits::default();
    if kind.is_str("ring") {
        if let Some(n) = n_preferred {
            match n.as_f64().filter(|x| x.is_finite() && *x >= 1.0) {
                Some(x) if x.floor() == x => {}
                Some(x) => edits.set("n_preferred", Fragment::from_valid_json(format!("{:.0}", x.floor()))),
                None => {
                    if !n.is_null() {
                        pass.dropped(&path.key("n_preferred"), "not a number of neighbours");
                    }
                    edits.remove("n_preferred");
                }
            }
        }
    } else if kind.is_str("star") && !hub.is_some_and(|h| h.kind() == Kind::String && !h.is_falsy()) {
        pass.dropped(path, "a star without a hub");
        return None;
    }
    Some(edits.into_change())
}

fn prompts_change(list: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    let mut changes = Vec::new();
    for (n, prompt) in list.items().enumerate() {
        let path = path.item(n);
        if prompt.kind() != Kind::Object {
            pass.dropped(&path, format!("{}, not a prompt", prompt.kind().name()));
            changes.push((n, None));
            continue;
        }
        let change = prompt_change(prompt, &path, pass);
        if !change.is_empty() {
            changes.push((n, Some(change)));
        }
    }
    Change::Items(changes, Vec::new())
}

fn prompt_change(prompt: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    let mut edits = Edits::default();
    let [id, name, system_prompt, user_prompt, tools, updated_at] =
        prompt.get_many(["id", "name", "system_prompt", "user_prompt", "tools", "updated_at"]);
    if !id.is_some_and(|id| id.kind() == Kind::String && !id.is_falsy()) {
        let new = pass.ids.prompt_id();
        pass.migrated(&path.key("id"), format!("a prompt without an id is now {new}"));
        edits.set("id", new);
    }
    let text = |key, found: Option<ValueRef<'_>>, edits: &mut Edits, pass: &mut Pass<'_>| match found {
        Some(text) if text.kind() == Kind::String => {}
        other => {
            if let Some(other) = other.filter(|o| !o.is_null()) {
                pass.replaced(&path.key(key), other.kind(), "a text");
            }
            edits.set(key, "");
        }
    };
    text("name", name, &mut edits, pass);
    text("system_prompt", system_prompt, &mut edits, pass);
    match tools {
        // Names that we do not know are a newer app's, and stay.
        Some(tools) if tools.kind() == Kind::Array => {
            edits.within("tools", permissions::strings_only(tools, &path.key("tools"), pass));
        }
        other => {
            if let Some(other) = other.filter(|o| !o.is_null()) {
                pass.replaced(&path.key("tools"), other.kind(), "a list");
            }
            edits.set("tools", Fragment::array(ALL_TOOLS));
        }
    }
    text("user_prompt", user_prompt, &mut edits, pass);
    permissions::stamp_change(updated_at, path, pass, &mut edits);
    edits.into_change()
}

/// The keys of `cloud_mesh` in the days of a single network.
pub(super) const FLAT_KEYS: [&str; 7] = [
    "network_id",
    "locked",
    "signaling_servers",
    "stun_servers",
    "turn_servers",
    "accepting",
    "use_public_turn_fallback",
];

/// The members of the network that a `cloud_mesh` of the single-network form holds; `None` when it is not of that
/// form, or holds no network id.
pub(super) fn flat_members<'k>(
    cloud_mesh: ValueRef<'_>,
    pass: &mut Pass<'_>,
    path: &Path<'_>,
) -> Option<Vec<(&'k str, Fragment)>> {
    let is = |key: &str, kind: Kind| cloud_mesh.get(key).is_some_and(|v| v.kind() == kind);
    let is_flat = is("network_id", Kind::String)
        || is("locked", Kind::Bool)
        || ["signaling_servers", "stun_servers", "turn_servers"].iter().any(|key| is(key, Kind::Array))
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
            pass.wrong_type(&path.key("network_id"), network_id.kind(), "a text");
            return None;
        }
    };
    let mut members = vec![("id", Fragment::from(pass.ids.network_id())), ("network_id", network_id)];
    for key in ["signaling_servers", "stun_servers", "turn_servers", "accepting"] {
        if let Some(value) = cloud_mesh.get(key) {
            members.push((key, value.into()));
        }
    }
    Some(members)
}

/// A number as the app's language prints it, for the numbers that anybody has as a network id.
fn number_text(number: ValueRef<'_>) -> String {
    let raw: Cow<'_, str> = number.raw();
    match number.as_f64() {
        Some(0.0) => "0".to_owned(),
        Some(x) if raw.parse::<i128>().is_err() && x.is_finite() => format!("{x}"),
        _ => raw.into_owned(),
    }
}
