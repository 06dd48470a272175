//! Converts a network between the app's shape and the daemon's.
//!
//! Settings that only the daemon knows stay in the app's entry under `daemon_settings`, in the
//! daemon's own words. [`to_daemon`] puts them back: a silent, unannounced or LAN-only network
//! never becomes an open, announced one.

use std::borrow::Cow;

use myownllm_json_document::{Diagnostic, Document, Fragment, Kind, Severity, ValueRef};

use crate::app_config::{Network, RETIRED_KEYS, default_of};
use crate::daemon_config::{DaemonNetwork, is_default_signaling, is_of_signaling};
use crate::path::child;

/// Members of a network that only the daemon's schema has; `daemon_settings` keeps them as they are.
const DAEMON_KEYS: [&str; 2] = ["pinned_peers", "roster_path"];

const SETTINGS: &str = "/daemon_settings";

/// A network that has no daemon's shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum ConvertError {
    /// The value is not an object, but of the kind `found`.
    #[error("cannot convert network: {found} is not an object")]
    #[non_exhaustive]
    NotAnObject { found: &'static str },
    /// The object has no network id: `network_id` is of the kind `found`, or `missing`.
    #[error("cannot convert network: network_id is {found}, not a string")]
    #[non_exhaustive]
    NotANetwork { found: &'static str },
    /// The member at the JSON Pointer `path` within the network is of the kind, or at the place,
    /// `found`, and has to be `wanted`.
    #[error("cannot convert network: {path} is {found}")]
    #[non_exhaustive]
    Malformed { path: String, found: &'static str, wanted: &'static str },
}

impl ConvertError {
    /// Returns `bridge.not-an-object`, `bridge.not-a-network` or `bridge.malformed`.
    pub fn code(&self) -> &'static str {
        match self {
            ConvertError::NotAnObject { .. } => "bridge.not-an-object",
            ConvertError::NotANetwork { .. } => "bridge.not-a-network",
            ConvertError::Malformed { .. } => "bridge.malformed",
        }
    }

    /// Returns a remedy for a person.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ConvertError::NotAnObject { .. } => "give one network of the app, as an object".to_owned(),
            ConvertError::NotANetwork { .. } => {
                "give one saved network of the app, with its id and network_id".to_owned()
            }
            ConvertError::Malformed { path, wanted, .. } => {
                format!("make {path} {wanted}, in the app's config")
            }
        })
    }
}

/// Returns a saved network of the app as the daemon's `network_add` wants it.
///
/// ```
/// use myownllm_config_model::{Document, convert};
/// let entry = Document::parse(br#"{"id":"n1","network_id":"home","kind":"silent","signaling_servers":[],
///     "stun_servers":["stun:a"],"turn_servers":[],"daemon_settings":{"signaling":{"mdns":false}}}"#,
/// ).unwrap().document;
/// let daemon = convert::to_daemon(entry.root()).unwrap();
/// assert_eq!(daemon["kind"], "silent");
/// assert_eq!(daemon["signaling"]["mdns"], false);
/// assert_eq!(daemon["stun_servers"][0]["urls"][0], "stun:a");
/// ```
///
/// # Errors
/// Fails for a value that is not a network, and for malformed `turn_servers` or `daemon_settings`:
/// without its settings, a silent network would become an announced one.
pub fn to_daemon(network: ValueRef<'_>) -> Result<serde_json::Value, ConvertError> {
    to_daemon_document(network).map(|d| d.root().to_value())
}

/// Does the same as [`to_daemon`], and keeps the spelling of numbers and strings.
///
/// # Errors
/// Fails as [`to_daemon`] does.
pub fn to_daemon_document(network: ValueRef<'_>) -> Result<Document, ConvertError> {
    if network.kind() != Kind::Object {
        return Err(ConvertError::NotAnObject { found: network.kind().name() });
    }
    let network_id = network.get("network_id");
    if !network_id.is_some_and(|id| id.kind() == Kind::String) {
        let found = network_id.map_or("missing", |id| id.kind().name());
        return Err(ConvertError::NotANetwork { found });
    }
    let given = |key: &str| network.get(key).filter(|v| !v.is_null());
    let settings = given_as(Kind::Object, network, "", "daemon_settings")?;
    let or = |value: Option<ValueRef<'_>>, default: &'static str| match value {
        Some(value) => Fragment::from(value),
        None => Fragment::from_valid_json(default),
    };
    let mut out: Vec<(Cow<'_, str>, Fragment)> = Vec::new();
    let mut put = |key: &'static str, value: Fragment| out.push((Cow::Borrowed(key), value));
    for key in ["id", "network_id"] {
        if let Some(value) = network.get(key) {
            put(key, value.into());
        }
    }
    put("label", or(given("label"), r#""""#));
    put("kind", or(given("kind"), r#""open""#));
    put("topology", or(given("topology"), r#"{"kind":"ring","n_preferred":null}"#));
    put("signaling", signaling(given("signaling_servers"), settings)?);
    put("stun_servers", stun_groups(given("stun_servers")));
    put("turn_servers", turn_groups(given_as(Kind::Array, network, "", "turn_servers")?, settings)?);
    put("auto_approve", or(given("auto_approve"), "false"));
    for (key, value) in settings.into_iter().flat_map(|s| s.members()) {
        if is_of_signaling(&key) {
            let (found, wanted) = ("outside of signaling", "a member of /daemon_settings/signaling");
            return Err(ConvertError::Malformed { path: child(SETTINGS, &key), found, wanted });
        }
        // The other members of the daemon's schema are in `out` already.
        let is_put = DaemonNetwork::MEMBERS.contains(&&*key) && !DAEMON_KEYS.contains(&&*key);
        if !is_put {
            out.push((key, value.into()));
        }
    }
    Ok(Document::of(Fragment::object(out)))
}

/// Returns a member of `parent`, at `path`; `None` if it is absent or `null`.
fn given_as<'a>(
    kind: Kind,
    parent: ValueRef<'a>,
    path: &str,
    key: &str,
) -> Result<Option<ValueRef<'a>>, ConvertError> {
    let wanted = if kind == Kind::Array { "an array of objects" } else { "an object" };
    match parent.get(key).filter(|value| !value.is_null()) {
        Some(value) if value.kind() != kind => {
            Err(ConvertError::Malformed { path: child(path, key), found: value.kind().name(), wanted })
        }
        given => Ok(given),
    }
}

fn signaling(
    servers: Option<ValueRef<'_>>,
    settings: Option<ValueRef<'_>>,
) -> Result<Fragment, ConvertError> {
    let kept = settings.map(|s| given_as(Kind::Object, s, SETTINGS, "signaling")).transpose()?.flatten();
    let strategy = kept.and_then(|k| k.get("strategy")).map_or_else(|| "nostr".into(), Fragment::from);
    let servers = servers.map_or_else(|| Fragment::array::<Fragment>([]), Fragment::from);
    let mut out = vec![(Cow::Borrowed("strategy"), strategy), (Cow::Borrowed("servers"), servers)];
    let others = kept.into_iter().flat_map(|k| k.members());
    out.extend(others.filter(|(key, _)| key != "strategy" && key != "servers").map(|(k, v)| (k, v.into())));
    Ok(Fragment::object(out))
}

/// Puts the app's STUN servers into one group.
fn stun_groups(servers: Option<ValueRef<'_>>) -> Fragment {
    let servers = servers.filter(|servers| match servers.kind() {
        Kind::Array => servers.items().next().is_some(),
        Kind::String => !servers.is_falsy(),
        _ => false,
    });
    Fragment::array(servers.map(|urls| Fragment::object([("urls", urls)])))
}

fn turn_groups(
    entries: Option<ValueRef<'_>>,
    settings: Option<ValueRef<'_>>,
) -> Result<Fragment, ConvertError> {
    let whole = settings.map(|s| given_as(Kind::Array, s, SETTINGS, "turn_servers")).transpose()?.flatten();
    let mut whole: Vec<ValueRef<'_>> = items(whole).collect();
    let mut groups = Vec::new();
    for (n, entry) in items(entries).enumerate() {
        if entry.is_null() {
            let (found, wanted) = ("null", "an object with a url");
            return Err(ConvertError::Malformed {
                path: child("/turn_servers", &n.to_string()),
                found,
                wanted,
            });
        }
        // The whole group, unless the user has changed the entry that came from it.
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

/// Returns the non-empty URLs of a daemon's group.
fn urls(group: ValueRef<'_>) -> impl Iterator<Item = ValueRef<'_>> {
    items(of_kind(group.get("urls"), Kind::Array)).filter(|u| u.kind() == Kind::String && !u.is_falsy())
}

/// Returns true if the app's entry has the first URL and the login of the daemon's group.
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

/// Returns a daemon's network as the app saves it, without completing it (see
/// [`complete`](crate::app_config::complete)). `path` is the place of the network, for diagnostics.
///
/// `daemon_settings` gets the members that the daemon has and the app does not, where they differ
/// from the daemon's own defaults: `signaling` (never `servers`), the `turn_servers` groups of more
/// than one URL, `pinned_peers`, `roster_path`, and the members that neither schema knows.
pub fn from_daemon(network: ValueRef<'_>, path: &str) -> (Fragment, Vec<Diagnostic>) {
    let (servers, signaling) = split_signaling(network.get("signaling"));
    let (turn_servers, whole_groups) = split_turn_servers(network.get("turn_servers"));
    let mut settings: Vec<(Cow<'_, str>, Fragment)> = Vec::new();
    settings.extend(signaling.map(|kept| (Cow::Borrowed("signaling"), kept)));
    settings.extend(whole_groups.map(|groups| (Cow::Borrowed("turn_servers"), groups)));
    for key in DAEMON_KEYS {
        let value = network.get(key).filter(|value| !is_nothing(*value));
        settings.extend(value.map(|value| (Cow::Borrowed(key), value.into())));
    }
    let is_known = |key: &str| {
        [DaemonNetwork::MEMBERS, Network::MEMBERS, &RETIRED_KEYS].iter().any(|keys| keys.contains(&key))
    };
    let unknown = network.members().filter(|(key, _)| !is_known(key));
    settings.extend(unknown.map(|(key, value)| (key, value.into())));
    let stun_servers = match network.get("stun_servers") {
        // A missing member means the daemon's default, and so the app's; an empty array means none.
        None => default_of("stun_servers"),
        Some(groups) => strings(items(Some(groups)).flat_map(|group| items(group.get("urls")))),
    };
    let member = |key, kind| (key, of_kind(network.get(key), kind).map(Fragment::from));
    let kind = of_kind(network.get("kind"), Kind::String).filter(|kind| !kind.is_falsy());
    let members = [
        member("id", Kind::String),
        member("network_id", Kind::String),
        member("label", Kind::String),
        ("kind", kind.map(Fragment::from)),
        ("topology", network.get("topology").map(Fragment::from)),
        ("signaling_servers", Some(strings(items(servers)))),
        ("stun_servers", Some(stun_servers)),
        ("turn_servers", Some(turn_servers)),
        member("auto_approve", Kind::Bool),
        ("daemon_settings", object(settings)),
    ];
    let entry = Fragment::object(members.into_iter().filter_map(|(key, value)| Some((key, value?))));
    let mut diagnostics = wrong_types(network, path);
    let groups = [("stun_servers", &[][..]), ("turn_servers", &["username", "credential"][..])];
    for (key, logins) in groups {
        diagnostics.extend(left_out_of_groups(&child(path, key), network.get(key), logins));
    }
    (entry, diagnostics)
}

/// Returns the object; `None` for one without members.
fn object<F: Into<Fragment>>(members: Vec<(Cow<'_, str>, F)>) -> Option<Fragment> {
    (!members.is_empty()).then(|| Fragment::object(members))
}

fn wrong_types(network: ValueRef<'_>, path: &str) -> Vec<Diagnostic> {
    let members = [
        ("stun_servers", Kind::Array),
        ("turn_servers", Kind::Array),
        ("auto_approve", Kind::Bool),
        ("label", Kind::String),
        ("kind", Kind::String),
    ];
    let is_wrong = |(key, expected): &(&str, Kind)| {
        network.get(key).is_some_and(|value| value.kind() != *expected && !value.is_null())
    };
    let diagnostic = |(key, expected): (&str, Kind)| {
        let message = format!("not taken over: not {}", expected.name());
        Diagnostic::new("salvage.odd-member", Severity::Warning, child(path, key), message)
    };
    members.into_iter().filter(is_wrong).map(diagnostic).collect()
}

/// Names the parts of a daemon's groups that neither the app's entries nor `daemon_settings` have.
fn left_out_of_groups(path: &str, groups: Option<ValueRef<'_>>, logins: &[&str]) -> Vec<Diagnostic> {
    let mut left_out = Vec::new();
    for (number, group) in items(groups).enumerate().filter(|(_, group)| !is_nothing(*group)) {
        let at = child(path, &number.to_string());
        let url_count = urls(group).count();
        let is_taken = |key: &str, value: ValueRef<'_>| match key {
            "urls" => url_count > 0 && items(Some(value)).all(|url| url.kind() == Kind::String),
            _ => url_count > 0 && logins.contains(&key) && value.kind() == Kind::String,
        };
        if group.kind() != Kind::Object {
            left_out.push(at);
        } else if logins.is_empty() || url_count < 2 {
            let others = group.members().filter(|(key, value)| !is_nothing(*value) && !is_taken(key, *value));
            left_out.extend(others.map(|(key, _)| child(&at, &key)));
        }
    }
    let message = "not taken over: the app has no such setting";
    let diagnostic = |path| Diagnostic::new("salvage.odd-member", Severity::Warning, path, message);
    left_out.into_iter().map(diagnostic).collect()
}

/// Returns the servers of a daemon's `signaling`, and the other members that are no defaults. Keeps
/// a value that is not an object: without it, the network would be joined with the defaults.
fn split_signaling(signaling: Option<ValueRef<'_>>) -> (Option<ValueRef<'_>>, Option<Fragment>) {
    if let Some(odd) = signaling.filter(|value| value.kind() != Kind::Object && !value.is_null()) {
        return (None, Some(odd.into()));
    }
    let members = signaling.into_iter().flat_map(|s| s.members());
    let (servers, mut kept): (Vec<_>, Vec<_>) = members.partition(|(key, _)| key == "servers");
    kept.retain(|(key, value)| !is_default_signaling(key, *value));
    (servers.first().map(|(_, servers)| *servers), object(kept))
}

/// Returns the app's entries for the first URL of each TURN group, and the groups of several URLs.
fn split_turn_servers(turn: Option<ValueRef<'_>>) -> (Fragment, Option<Fragment>) {
    let mut groups: Vec<_> = items(turn).filter(|g| g.kind() == Kind::Object).collect();
    let entries = groups.iter().filter_map(|group| {
        let login = ["username", "credential"].map(|key| Some((key, of_kind(group.get(key), Kind::String)?)));
        Some(Fragment::object([("url", urls(*group).next()?)].into_iter().chain(login.into_iter().flatten())))
    });
    let entries = Fragment::array(entries);
    groups.retain(|group| urls(*group).nth(1).is_some());
    (entries, (!groups.is_empty()).then(|| Fragment::array(groups)))
}

/// Returns true for `null`, the empty string and empty containers.
fn is_nothing(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::Null => true,
        Kind::String => value.is_falsy(),
        Kind::Array => value.items().next().is_none(),
        Kind::Object => value.members().next().is_none(),
        Kind::Bool | Kind::Number => false,
    }
}

fn of_kind(value: Option<ValueRef<'_>>, kind: Kind) -> Option<ValueRef<'_>> {
    value.filter(|v| v.kind() == kind)
}

fn items(array: Option<ValueRef<'_>>) -> impl Iterator<Item = ValueRef<'_>> {
    array.into_iter().flat_map(|array| array.items())
}

/// Returns an array of the strings among `values`.
fn strings<'a>(values: impl Iterator<Item = ValueRef<'a>>) -> Fragment {
    Fragment::array(values.filter(|value| value.kind() == Kind::String))
}
