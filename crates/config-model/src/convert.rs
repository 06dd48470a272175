//! A network in the app's words, and in the daemon's.
//!
//! What the daemon knows beyond the app's fields rides along in the app's entry under `daemon_settings`, in the daemon's
//! own words, and goes back out in [`to_daemon`]: a silent, unannounced or LAN-only network is never pushed as an open,
//! announcing one.

use std::borrow::Cow;

use crate::app_config::default_stun;
use crate::change::child;
use crate::daemon_config::{NETWORK_KEYS, SIGNALING};
use crate::{Diagnostic, Document, Fragment, Kind, Severity, ValueRef};
use myownllm_json_document::ObjectText;

/// Members of a network that the app's schema has, or had, beyond those that both have.
const APP_KEYS: [&str; 8] = [
    "signaling_servers",
    "accepting",
    "auto_gossip",
    "agent_permissions",
    "prompts",
    "daemon_settings",
    "locked",
    "use_public_turn_fallback",
];

/// Why a network cannot be put in the daemon's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// It is no object.
    #[error("map a network to the daemon's shape: it is {found}, not an object")]
    #[non_exhaustive]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// `turn_servers` is no list, or holds a `null`.
    #[error("map a network to the daemon's shape: {path} is {found}")]
    #[non_exhaustive]
    Malformed {
        /// JSON Pointer within the network.
        path: String,
        /// What stands there.
        found: &'static str,
    },
}

impl ConvertError {
    /// `bridge.not-an-object`, `bridge.malformed`.
    pub fn code(&self) -> &'static str {
        match self {
            ConvertError::NotAnObject { .. } => "bridge.not-an-object",
            ConvertError::Malformed { .. } => "bridge.malformed",
        }
    }
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ConvertError::NotAnObject { .. } => "give one network of the app's, as an object".to_owned(),
            ConvertError::Malformed { path, .. } => {
                format!("make {path} right in the app's config: a list of objects with a url")
            }
        })
    }
}

/// The app's network as the daemon's `network_add` wants it; `daemon_settings` goes back out.
///
/// ```
/// use myownllm_config_model::{Document, convert};
/// let entry = Document::parse(br#"{"id":"n1","network_id":"home","kind":"silent","signaling_servers":[],
///     "stun_servers":["stun:a"],"turn_servers":[],"daemon_settings":{"signaling":{"mdns":false}}}"#).unwrap().document;
/// let daemon = convert::to_daemon(entry.root()).unwrap();
/// assert_eq!(daemon["kind"], "silent");
/// assert_eq!(daemon["signaling"]["mdns"], false);
/// assert_eq!(daemon["stun_servers"][0]["urls"][0], "stun:a");
/// ```
///
/// # Errors
/// See [`ConvertError`].
pub fn to_daemon(network: ValueRef<'_>) -> Result<serde_json::Value, ConvertError> {
    to_daemon_document(network).map(|d| d.root().to_value())
}

/// [`to_daemon`], with the spelling of numbers and strings kept.
///
/// # Errors
/// See [`ConvertError`].
pub fn to_daemon_document(network: ValueRef<'_>) -> Result<Document, ConvertError> {
    if network.kind() != Kind::Object {
        return Err(ConvertError::NotAnObject { found: network.kind().name() });
    }
    let get = |key: &str| network.get(key);
    let given = |key: &str| network.get(key).filter(|v| !v.is_null());
    let settings = get("daemon_settings");
    let or = |value: Option<ValueRef<'_>>, default: &'static str| match value {
        Some(value) => Fragment::from(value),
        None => Fragment::from_valid_json(default),
    };
    let mut out: Vec<(String, Fragment)> = Vec::new();
    let mut put = |key: &str, value: Fragment| out.push((key.to_owned(), value));
    for key in ["id", "network_id"] {
        if let Some(value) = get(key) {
            put(key, value.into());
        }
    }
    put("label", or(given("label"), r#""""#));
    put("kind", or(given("kind"), r#""open""#));
    put("topology", or(given("topology"), r#"{"kind":"ring","n_preferred":null}"#));
    put("signaling", signaling(given("signaling_servers"), settings));
    // The app has one flat list of STUN servers; the daemon takes it as one group.
    let stun = match given("stun_servers") {
        Some(list) if list.kind() == Kind::Array && list.items().next().is_none() => None,
        Some(list) if matches!(list.kind(), Kind::Array | Kind::String) && !list.is_falsy() => Some(list),
        _ => None,
    };
    put("stun_servers", Fragment::array(stun.map(|urls| Fragment::object([("urls", urls)]))));
    put("turn_servers", turn_groups(given("turn_servers"), settings)?);
    put("auto_approve", or(given("auto_approve"), "false"));
    for (key, value) in settings.into_iter().flat_map(|s| s.members()) {
        // Those were put above; `turn_servers` and `signaling` with what the settings say.
        let is_put = NETWORK_KEYS.contains(&&*key) && !["roster_path", "pinned_peers"].contains(&&*key);
        if !is_put {
            put(&key, value.into());
        }
    }
    Ok(Document::of(Fragment::object(out)))
}

fn signaling(servers: Option<ValueRef<'_>>, settings: Option<ValueRef<'_>>) -> Fragment {
    let kept = settings.and_then(|s| s.get("signaling"));
    let strategy = kept.and_then(|k| k.get("strategy"));
    let mut out = vec![("strategy".to_owned(), strategy.map_or_else(|| "nostr".into(), Fragment::from))];
    out.push(("servers".to_owned(), servers.map_or_else(|| Fragment::from_valid_json("[]"), Fragment::from)));
    let others = kept.into_iter().flat_map(|k| k.members());
    out.extend(
        others
            .filter(|(key, _)| key != "strategy" && key != "servers")
            .map(|(k, v)| (k.into_owned(), v.into())),
    );
    Fragment::object(out)
}

fn turn_groups(
    entries: Option<ValueRef<'_>>,
    settings: Option<ValueRef<'_>>,
) -> Result<Fragment, ConvertError> {
    let Some(entries) = entries else { return Ok(Fragment::from_valid_json("[]")) };
    if entries.kind() != Kind::Array {
        return Err(ConvertError::Malformed {
            path: "/turn_servers".to_owned(),
            found: entries.kind().name(),
        });
    }
    let mut whole: Vec<ValueRef<'_>> =
        settings.and_then(|s| s.get("turn_servers")).into_iter().flat_map(|l| l.items()).collect();
    let mut groups = Vec::new();
    for (n, entry) in entries.items().enumerate() {
        if entry.is_null() {
            return Err(ConvertError::Malformed {
                path: child("/turn_servers", &n.to_string()),
                found: "null",
            });
        }
        // The whole group, as long as the user has not changed the entry that came from it.
        if let Some(place) = whole.iter().position(|group| is_from(entry, *group)) {
            groups.push(Fragment::from(whole.remove(place)));
            continue;
        }
        let url = entry.get("url").map_or_else(|| Fragment::from_valid_json("null"), Fragment::from);
        let mut group = vec![("urls", Fragment::array([url]))];
        for key in ["username", "credential"] {
            if let Some(value) = entry.get(key).filter(|v| !v.is_falsy()) {
                group.push((key, value.into()));
            }
        }
        groups.push(Fragment::object(group));
    }
    Ok(Fragment::array(groups))
}

/// The non-empty urls of a group of the daemon's.
fn urls(group: ValueRef<'_>) -> impl Iterator<Item = ValueRef<'_>> {
    group
        .get("urls")
        .filter(|u| u.kind() == Kind::Array)
        .into_iter()
        .flat_map(|u| u.items())
        .filter(|u| u.kind() == Kind::String && !u.is_falsy())
}

fn is_from(entry: ValueRef<'_>, group: ValueRef<'_>) -> bool {
    let same = |a: Option<ValueRef<'_>>, b: Option<ValueRef<'_>>| match (
        a.filter(|v| !v.is_falsy()),
        b.filter(|v| !v.is_falsy() && v.kind() == Kind::String),
    ) {
        (None, None) => true,
        (Some(a), Some(b)) => a.same_json(&b),
        _ => false,
    };
    urls(group).next().is_some_and(|url| entry.get("url").is_some_and(|e| e.same_json(&url)))
        && ["username", "credential"].iter().all(|key| same(entry.get(key), group.get(key)))
}

/// The daemon's network as the app saves it. `path` is where the network stands, for diagnostics. Not completed: see
/// [`complete`](crate::app_config::complete).
///
/// Members that the daemon has and the app does not are in `daemon_settings`, where they differ from the daemon's own
/// defaults: `signaling` (never `servers`), the `turn_servers` groups of more than one url, `pinned_peers`,
/// `roster_path`, and whatever neither schema knows.
pub fn from_daemon(network: ValueRef<'_>, path: &str) -> (Fragment, Vec<Diagnostic>) {
    let mut unknown = Vec::new();
    let [
        id,
        network_id,
        label,
        kind,
        topology,
        signaling,
        stun,
        turn,
        roster_path,
        pinned_peers,
        auto_approve,
    ] = network.get_many_beside(NETWORK_KEYS, |key, value| {
        if !APP_KEYS.contains(&&*key) {
            unknown.push((key, value));
        }
    });
    let mut diagnostics = Vec::new();
    for (key, value, wanted) in [
        ("signaling", signaling, Kind::Object),
        ("stun_servers", stun, Kind::Array),
        ("turn_servers", turn, Kind::Array),
        ("auto_approve", auto_approve, Kind::Bool),
        ("label", label, Kind::String),
        ("kind", kind, Kind::String),
    ] {
        if value.is_some_and(|v| v.kind() != wanted && !v.is_null()) {
            diagnostics.push(Diagnostic {
                code: "salvage.odd-member",
                severity: Severity::Warning,
                message: format!("not taken over: not {}", wanted.name()),
                path: child(path, key),
                hint: None,
                place: None,
            });
        }
    }
    let mut out = ObjectText::with_capacity(network.raw().len());
    for (key, value) in [("id", id), ("network_id", network_id), ("label", label)] {
        if let Some(text) = of_kind(value, Kind::String) {
            out.put(key, &text.raw());
        }
    }
    if let Some(kind) = of_kind(kind, Kind::String).filter(|k| !k.is_falsy()) {
        out.put("kind", &kind.raw());
    }
    if let Some(topology) = topology {
        out.put("topology", &topology.raw());
    }
    let mut servers = None;
    let mut kept = ObjectText::with_capacity(0);
    for (key, value) in signaling.into_iter().flat_map(|s| s.members()) {
        if key == "servers" {
            servers = Some(value);
        } else if !is_default_signaling(&key, value) {
            kept.put(&key, &value.raw());
        }
    }
    out.put_array("signaling_servers", texts(items(servers)));
    match stun {
        // Not named means the daemon's default, and so the app's; an empty list means none.
        None => out.put("stun_servers", default_stun().text()),
        Some(groups) => {
            let urls = items(Some(groups)).flat_map(|group| items(group.get("urls")));
            out.put_array("stun_servers", texts(urls));
        }
    }
    let groups: Vec<_> = items(turn).filter(|g| g.kind() == Kind::Object).collect();
    let entries = groups.iter().filter_map(|group| {
        let mut entry = ObjectText::with_capacity(0);
        entry.put("url", &urls(*group).next()?.raw());
        for key in ["username", "credential"] {
            if let Some(text) = of_kind(group.get(key), Kind::String) {
                entry.put(key, &text.raw());
            }
        }
        Some(entry.into_text().into())
    });
    out.put_array("turn_servers", entries);
    if let Some(auto) = of_kind(auto_approve, Kind::Bool) {
        out.put("auto_approve", &auto.raw());
    }

    let mut settings = ObjectText::with_capacity(0);
    if !kept.is_empty() {
        settings.put("signaling", &kept.into_text());
    }
    if groups.iter().any(|g| urls(*g).nth(1).is_some()) {
        let whole = groups.into_iter().filter(|g| urls(*g).nth(1).is_some());
        settings.put_array("turn_servers", whole.map(|group| group.raw()));
    }
    for (key, value) in [("pinned_peers", pinned_peers), ("roster_path", roster_path)] {
        let is_nothing = |v: &ValueRef<'_>| match v.kind() {
            Kind::Null => true,
            Kind::String => v.is_falsy(),
            Kind::Array => v.items().next().is_none(),
            Kind::Object => v.members().next().is_none(),
            Kind::Bool | Kind::Number => false,
        };
        if let Some(value) = value.filter(|v| !is_nothing(v)) {
            settings.put(key, &value.raw());
        }
    }
    for (key, value) in unknown {
        settings.put(&key, &value.raw());
    }
    if !settings.is_empty() {
        out.put("daemon_settings", &settings.into_text());
    }
    (Fragment::from_valid_json(out.into_text()), diagnostics)
}

fn of_kind(value: Option<ValueRef<'_>>, kind: Kind) -> Option<ValueRef<'_>> {
    value.filter(|v| v.kind() == kind)
}

/// The items of what may be a list.
fn items(list: Option<ValueRef<'_>>) -> impl Iterator<Item = ValueRef<'_>> {
    list.into_iter().flat_map(|list| list.items())
}

/// Those that are strings, as they stand in the text.
fn texts<'a>(values: impl Iterator<Item = ValueRef<'a>>) -> impl Iterator<Item = Cow<'a, str>> {
    values.filter(|value| value.kind() == Kind::String).map(|text| text.raw())
}

fn is_default_signaling(key: &str, value: ValueRef<'_>) -> bool {
    SIGNALING.iter().any(|(name, default)| {
        // Mostly spelled as we spell it.
        let same = || {
            let default = Document::of(Fragment::object([("d", Fragment::from_valid_json(*default))]));
            default.get(&["d"]).is_some_and(|d| value.same_json(&d))
        };
        *name == key && (value.raw() == *default || same())
    })
}
