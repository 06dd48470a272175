//! When two urls are one.
//!
//! A daemon may write a url that it was told in a normal form. Two urls are the same when they differ in nothing but
//!
//! - the case of letters in the scheme and in the host;
//! - the scheme's own port, which may be left out or written (`wss` and `https` 443, `ws` and `http` 80, `stun` and `turn` 3478,
//!   `stuns` and `turns` 5349);
//! - a path that is empty or `/`, where the scheme has paths (`wss://host` and `wss://host/`).
//!
//! Everything else counts, byte for byte: user and password, every other path, query and fragment. So does a text that is
//! no url.

/// Whether two texts are the same url, or equal.
pub(crate) fn same_url(a: &str, b: &str) -> bool {
    a == b || matches!((Url::of(a), Url::of(b)), (Some(a), Some(b)) if a == b)
}

/// A url in normal form.
#[derive(PartialEq)]
struct Url<'a> {
    scheme: String,
    /// Whether `//` comes before the host.
    has_slashes: bool,
    user: &'a str,
    host: String,
    port: Option<u16>,
    /// Path, query and fragment.
    rest: &'a str,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, after) = text.split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        let own_port = own_port(&scheme)?;
        let place = after.strip_prefix("//");
        let has_slashes = place.is_some();
        let place = place.unwrap_or(after);
        let (authority, rest) = place.split_at(place.find(['/', '?', '#']).unwrap_or(place.len()));
        let (user, place) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let (host, port) = host_and_port(place)?;
        let rest = match rest.strip_prefix('/') {
            Some(after) if has_slashes && (after.is_empty() || after.starts_with(['?', '#'])) => after,
            _ => rest,
        };
        let port = port.filter(|port| *port != own_port);
        Some(Self { scheme, has_slashes, user, host: host.to_ascii_lowercase(), port, rest })
    }
}

/// The port that a scheme means when none is written; nothing for schemes that no daemon is told.
fn own_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "wss" | "https" => 443,
        "ws" | "http" => 80,
        "stun" | "turn" => 3478,
        "stuns" | "turns" => 5349,
        _ => return None,
    })
}

/// The host, with the brackets of an IPv6 address, and the port if one is written.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let end = match place.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => place.find(':').unwrap_or(place.len()),
    };
    let (host, port) = place.split_at(end);
    match port.strip_prefix(':') {
        _ if host.is_empty() => None,
        None if port.is_empty() => Some((host, None)),
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::same_url;

    #[test]
    fn what_can_never_matter_does_not_count() {
        for (a, b) in [
            ("wss://Relay.Example", "WSS://relay.example:443/"),
            ("ws://h:80/?x=Y", "ws://h?x=Y"),
            ("https://u:P@H/", "https://u:P@h"),
            ("stun:H:3478", "STUN:h"),
            ("turns:h?transport=tcp", "turns:H:5349?transport=tcp"),
            ("turn:[FE80::1]:3478", "turn:[fe80::1]"),
            ("not a url", "not a url"),
        ] {
            assert!(same_url(a, b) && same_url(b, a), "{a} {b}");
        }
    }

    #[test]
    fn everything_else_does() {
        for (a, b) in [
            ("wss://h/a", "wss://h/a/"),
            ("wss://h/a", "wss://h/A"),
            ("wss://h/", "ws://h/"),
            ("wss://h:80/", "wss://h/"),
            ("wss://U@h", "wss://u@h"),
            ("wss://h?x", "wss://h?X"),
            ("wss://h#x", "wss://h"),
            ("stun:h", "stuns:h"),
            ("stun:h", "stun://h"),
            ("stun:h:5349", "stun:h"),
            ("turn:h/", "turn:h"),
            ("turn:h?transport=udp", "turn:h"),
            ("mailto:Me@h", "mailto:me@h"),
            ("Relay:1", "relay:1"),
            ("wss://h:x", "wss://H:x"),
            ("wss://h:99999", "wss://H:99999"),
            ("wss:///a", "WSS:///a"),
            ("Home", "home"),
        ] {
            assert!(!same_url(a, b), "{a} {b}");
        }
    }
}
