//! Brings a saved network into the present form.

use std::sync::LazyLock;

use myownllm_json_document::{Change, Document, Fragment, Kind, ValueRef, trim_raw};

use super::permissions;
use super::saved_network::{DaemonSettings, Network, Prompt};
use crate::lenient::read_noting;
use crate::pass::{Edits, ObjectEdits, Pass};
use crate::path::Path;

/// Signaling servers of the PeerJS era that do not answer any more; saved networks still name them.
const RETIRED_SERVERS: [&str; 3] =
    ["wss://0.peerjs.com:443/", "wss://0.peerjs.com:443/peerjs", "wss://mesh.myownllm.net/signal"];
/// Members that a network of earlier versions has, and that nothing reads any more.
pub(crate) const RETIRED_KEYS: [&str; 2] = ["locked", "use_public_turn_fallback"];
/// The lists of servers that a daemon gets.
pub(crate) const SERVER_LISTS: [&str; 3] = ["signaling_servers", "stun_servers", "turn_servers"];
const ACCEPTING: ([&str; 3], &str) = (["available", "limited", "busy"], "`available`, `limited` or `busy`");

/// Binds each name to the member of that name; one walk over the object finds all of them.
macro_rules! let_members {
    ($object:ident => $($name:ident),*) => {
        let [$($name),*] = $object.get_many([$(stringify!($name)),*]);
    };
}

static DEFAULTS: LazyLock<Document> =
    LazyLock::new(|| Document::of(Fragment::serialize(&Network::default())));

pub(crate) fn default_of(member: &str) -> Fragment {
    DEFAULTS.get(&[member]).map_or_else(|| Fragment::from_valid_json("null"), Fragment::from)
}

pub(crate) fn is_retired_server(server: ValueRef<'_>) -> bool {
    server.as_str().is_some_and(|server| RETIRED_SERVERS.contains(&&*server))
}

/// Returns true if a daemon takes this entry of a list of servers.
pub(crate) fn is_server(list: &str, entry: ValueRef<'_>) -> bool {
    let is_text = |value: &ValueRef<'_>| value.kind() == Kind::String;
    let is_login = |key| entry.get(key).is_none_or(|value| value.is_falsy() || is_text(&value));
    match list {
        "turn_servers" => {
            let url = entry.get("url").filter(is_text);
            url.is_some_and(|url| !url.is_falsy()) && is_login("username") && is_login("credential")
        }
        _ => is_text(&entry),
    }
}

/// Returns a network with these members, in form. Without permissions of its own, it gets
/// `inherited`.
pub(crate) fn completed(
    members: Vec<(&str, Fragment)>,
    path: &Path<'_>,
    inherited: Option<&Fragment>,
    pass: &mut Pass<'_>,
) -> Fragment {
    let mut entry = Document::of(Fragment::object(members));
    let change = change(entry.root(), path, inherited, pass).into_change();
    entry.apply(change);
    Fragment::from(&entry)
}

/// Returns the edits that bring a saved network (an object) into form. A network without
/// permissions of its own gets `inherited`.
pub(super) fn change(
    entry: ValueRef<'_>,
    path: &Path<'_>,
    inherited: Option<&Fragment>,
    pass: &mut Pass<'_>,
) -> Edits {
    let_members! { entry =>
        id, network_id, label, kind, topology, signaling_servers, stun_servers, turn_servers, auto_approve,
        accepting, auto_gossip, agent_permissions, prompts, daemon_settings, locked, use_public_turn_fallback
    }
    let mut object = ObjectEdits::new(path, pass);
    ids_change(id, network_id, &mut object);
    servers_change([signaling_servers, stun_servers, turn_servers], &mut object);
    // Building a default costs more than most checks.
    let default = |key| move || default_of(key);
    object.require_one_of("accepting", accepting, ACCEPTING, default("accepting"));
    object.require_bool("auto_gossip", auto_gossip, default("auto_gossip"));
    if let Some(label) = label {
        object.drop_unless("label", Some(label), Kind::String);
        match label_change(label) {
            Some(trimmed) if trimmed.text() == r#""""# => object.edits.remove("label"),
            Some(trimmed) => object.edits.set("label", trimmed),
            None => {}
        }
    }
    if kind.is_some_and(|kind| kind.kind() != Kind::String || kind.is_falsy()) {
        object.pass.dropped(&path.key("kind"), "not the name of a kind");
        object.edits.remove("kind");
    }
    if let Some(topology) = topology {
        match topology_change(topology, &path.key("topology"), object.pass) {
            Some(change) => object.edits.within("topology", change),
            None => object.edits.remove("topology"),
        }
    }
    object.drop_unless("auto_approve", auto_approve, Kind::Bool);
    permissions_change(agent_permissions, inherited, &mut object);
    prompts_change(prompts, &mut object);
    daemon_settings.into_iter().for_each(|settings| note_misfits(settings, &mut object));
    for (key, retired) in RETIRED_KEYS.into_iter().zip([locked, use_public_turn_fallback]) {
        if retired.is_some() {
            object.edits.remove(key);
        }
    }
    object.edits
}

/// Gives the absent lists of servers their defaults, and notes what no daemon gets. `lists` are in
/// the order of [`SERVER_LISTS`].
fn servers_change(lists: [Option<ValueRef<'_>>; 3], object: &mut ObjectEdits<'_, '_>) {
    let path = object.path;
    let [signaling, others @ ..] = lists;
    signaling_servers_change(signaling, object);
    for (key, servers) in SERVER_LISTS.into_iter().skip(1).zip(others) {
        match servers.filter(|servers| !servers.is_null()) {
            Some(servers) if servers.kind() == Kind::Array => {}
            Some(_) => object.pass.unfit_for_daemon(path.key(key).pointer(), "an array"),
            None => object.edits.set(key, default_of(key)),
        }
    }
    for (key, servers) in SERVER_LISTS.into_iter().zip(lists) {
        for (n, entry) in servers.into_iter().flat_map(|servers| servers.items()).enumerate() {
            if !is_server(key, entry) {
                object.pass.unfit_for_daemon(path.key(key).item(n).pointer(), "a server");
            }
        }
    }
}

/// Notes each daemon setting of a wrong type.
fn note_misfits(settings: ValueRef<'_>, object: &mut ObjectEdits<'_, '_>) {
    let at = object.path.key("daemon_settings").pointer();
    let (_, misfits) = read_noting::<Option<DaemonSettings>>(settings);
    let mut misfits: Vec<_> = misfits.into_iter().collect();
    misfits.sort();
    for (misfit, expected) in misfits {
        object.pass.unfit_for_daemon(format!("{at}{misfit}"), expected);
    }
}

fn ids_change(id: Option<ValueRef<'_>>, network_id: Option<ValueRef<'_>>, object: &mut ObjectEdits<'_, '_>) {
    match id.filter(|id| !id.is_falsy()) {
        Some(id) => object.pass.check(&object.path.key("id"), id, Kind::String),
        None => {
            let new = object.pass.ids.network_id();
            object.edits.set("id", new);
        }
    }
    match network_id.filter(|id| id.kind() == Kind::String || !id.is_falsy()) {
        Some(id) => object.pass.check(&object.path.key("network_id"), id, Kind::String),
        None => object.edits.set("network_id", ""),
    }
}

fn signaling_servers_change(servers: Option<ValueRef<'_>>, object: &mut ObjectEdits<'_, '_>) {
    const KEY: &str = "signaling_servers";
    match servers {
        Some(servers) if servers.kind() == Kind::Array => {
            let retired: Vec<_> = servers
                .items()
                .enumerate()
                .filter(|(_, server)| is_retired_server(*server))
                .map(|(n, _)| (n, None))
                .collect();
            if !retired.is_empty() {
                object.pass.migrated(&object.path.key(KEY), "servers that are gone for good were removed");
            }
            object.edits.within(KEY, Change::Items(retired, Vec::new()));
        }
        other => {
            object.replace(KEY, other.filter(|other| !other.is_null()), "an array", default_of(KEY));
        }
    }
}

fn permissions_change(
    own: Option<ValueRef<'_>>,
    inherited: Option<&Fragment>,
    object: &mut ObjectEdits<'_, '_>,
) {
    const KEY: &str = "agent_permissions";
    match own {
        Some(own) if !own.is_falsy() => {
            let change = permissions::change(own, &object.path.key(KEY), object.pass);
            object.edits.within(KEY, change);
        }
        other => match inherited {
            Some(permissions) => object.edits.set(KEY, permissions.clone()),
            None if other.is_some() => object.edits.remove(KEY),
            None => {}
        },
    }
}

fn prompts_change(list: Option<ValueRef<'_>>, object: &mut ObjectEdits<'_, '_>) {
    const KEY: &str = "prompts";
    let Some(list) = list else { return };
    let path = object.path.key(KEY);
    if list.kind() != Kind::Array {
        if !list.is_null() {
            object.pass.dropped_kind(&path, list.kind(), "an array");
        }
        return object.edits.remove(KEY);
    }
    let mut changes = Vec::new();
    for (n, prompt) in list.items().enumerate() {
        let path = path.item(n);
        if prompt.kind() != Kind::Object {
            object.pass.dropped_kind(&path, prompt.kind(), "a prompt");
            changes.push((n, None));
            continue;
        }
        let change = prompt_change(prompt, &path, object.pass);
        if !change.is_empty() {
            changes.push((n, Some(change)));
        }
    }
    object.edits.within(KEY, Change::Items(changes, Vec::new()));
}

fn prompt_change(prompt: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    let_members! { prompt => id, name, system_prompt, user_prompt, tools, updated_at }
    let mut object = ObjectEdits::new(path, pass);
    if !id.is_some_and(|id| id.kind() == Kind::String && !id.is_falsy()) {
        let new = object.pass.ids.prompt_id();
        object.pass.migrated(&path.key("id"), &format!("a prompt without an id has the id {new} now"));
        object.edits.set("id", new);
    }
    object.require_string("name", name);
    object.require_string("system_prompt", system_prompt);
    // Unknown names are tools of a newer app.
    let tools = tools.filter(|tools| !tools.is_null());
    object.require_strings("tools", tools, || Fragment::array(Prompt::default().tools));
    object.require_string("user_prompt", user_prompt);
    object.require_timestamp(updated_at);
    object.edits.into_change()
}

/// Returns the trimmed label if trimming changes it (`""` if nothing is left); `None` also for a
/// value that is not a string.
pub(crate) fn label_change(label: ValueRef<'_>) -> Option<Fragment> {
    if label.kind() != Kind::String {
        return None;
    }
    if label.is_falsy() {
        return Some(Fragment::from_valid_json("\"\""));
    }
    trim_raw(&label.raw()).map(Fragment::from_valid_json)
}

/// Returns the change that brings a topology into form; `None` for an unusable one.
pub(crate) fn topology_change(
    topology: ValueRef<'_>,
    path: &Path<'_>,
    pass: &mut Pass<'_>,
) -> Option<Change> {
    if topology.is_null() {
        return None;
    }
    let_members! { topology => kind, n_preferred, hub }
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
