//! Compares the network that is pushed with the daemon's entry.

use serde_json::Value;

use crate::url::same_url;

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

/// Returns true if `reported` agrees with `pushed` in all members that both have. `same` compares
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
    /// Returns each URL with the name and the credential of its group.
    fn entries(groups: &Value) -> Vec<(&Value, [Option<&str>; 2])> {
        let with_login = |group| {
            let login = ["username", "credential"]
                .map(|key| Some(Value::get(group, key)?.as_str().unwrap_or_default()));
            urls_of(group).into_iter().map(move |url| (url, login))
        };
        groups.as_array().into_iter().flatten().flat_map(with_login).collect()
    }
    let (pushed, reported) = (entries(pushed), entries(reported));
    pushed.len() == reported.len()
        && pushed.iter().zip(&reported).all(|((url, login), (their_url, their_login))| {
            // A name or credential that the daemon does not report cannot be compared.
            let fits = |(mine, theirs): (&Option<&str>, &Option<&str>)| {
                theirs.is_none_or(|theirs| mine.unwrap_or_default() == theirs)
            };
            is_consistent(url, their_url, same_url) && login.iter().zip(their_login).all(fits)
        })
}

/// A member of `signaling`, and true for a value that keeps a network silent.
type QuietSetting = (&'static str, fn(&Value) -> bool);

const QUIET: [QuietSetting; 3] = [
    ("strategy", |strategy| strategy != "nostr"),
    ("listen_only", |is_only| is_only == true),
    ("public_fallback", |falls_back| falls_back == false),
];

/// Returns the members of a network's `signaling` that keep the network silent.
pub(super) fn quiet_settings(network: &Value) -> impl Iterator<Item = &'static str> {
    let is_quiet = |(key, is): &QuietSetting| network["signaling"].get(key).is_some_and(is);
    QUIET.into_iter().filter(is_quiet).map(|(key, _)| key)
}

/// Returns the pushed members that keep the network silent and that the daemon lacks: a daemon that
/// is older than a member drops it.
pub(super) fn dropped_settings(pushed: &Value, reported: &Value) -> Vec<&'static str> {
    let kept: Vec<&str> = quiet_settings(reported).collect();
    quiet_settings(pushed).filter(|key| !kept.contains(key)).collect()
}

/// Returns the pushed keys that the daemon reports differently, or drops although they keep the
/// network silent.
pub(super) fn differences(pushed: &Value, reported: &Value) -> Vec<String> {
    const SIGNALING: &str = "signaling";
    let mut keys = differing_keys(pushed, reported);
    if !dropped_settings(pushed, reported).is_empty() && !keys.iter().any(|key| key == SIGNALING) {
        keys.push(SIGNALING.to_owned());
    }
    keys
}

/// Returns a string member; any other value counts as empty.
pub(super) fn string_member<'a>(network: &'a Value, key: &str) -> &'a str {
    network.get(key).and_then(Value::as_str).unwrap_or_default()
}
