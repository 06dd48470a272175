//! Equality of URLs.
//!
//! A daemon may normalise a URL that it is given. Two URLs are equal if they differ only in
//!
//! - the case of letters in the scheme and in the host;
//! - the scheme's default port, written or omitted (`wss` and `https` 443, `ws` and `http` 80,
//!   `stun` and `turn` 3478, `stuns` and `turns` 5349);
//! - an empty path or `/`, if the scheme has paths (`wss://host` and `wss://host/`).
//!
//! Everything else is compared byte for byte: user, password, every other path, query, fragment,
//! and a string that is no URL.

/// Returns true if two strings are equal, or are equal URLs.
pub(crate) fn same_url(a: &str, b: &str) -> bool {
    a == b || matches!((Url::parse(a), Url::parse(b)), (Some(a), Some(b)) if a == b)
}

/// A URL in normal form.
#[derive(PartialEq)]
struct Url<'a> {
    scheme: String,
    has_slashes: bool,
    user: &'a str,
    host: String,
    /// `None` for the scheme's default port.
    port: Option<u16>,
    /// Path, query and fragment.
    rest: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, after) = text.split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        let default_port = default_port(&scheme)?;
        let without_slashes = after.strip_prefix("//");
        let has_slashes = without_slashes.is_some();
        let after = without_slashes.unwrap_or(after);
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let (host, port) = host_and_port(host)?;
        let rest = match rest.strip_prefix('/') {
            Some(after) if has_slashes && (after.is_empty() || after.starts_with(['?', '#'])) => after,
            _ => rest,
        };
        let port = port.filter(|port| *port != default_port);
        Some(Self { scheme, has_slashes, user, host: host.to_ascii_lowercase(), port, rest })
    }
}

/// Returns the default port of a scheme, or `None` for schemes that no daemon is given.
fn default_port(scheme: &str) -> Option<u16> {
    Some(match scheme {
        "wss" | "https" => 443,
        "ws" | "http" => 80,
        "stun" | "turn" => 3478,
        "stuns" | "turns" => 5349,
        _ => return None,
    })
}

/// Splits off the port. The brackets of an IPv6 address stay with the host.
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let end = match text.strip_prefix('[') {
        Some(address) => address.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
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
    use rstest::rstest;

    use super::same_url;

    #[rstest]
    #[case::case_and_port("wss://Relay.Example", "WSS://relay.example:443/")]
    #[case::port_before_a_query("ws://h:80/?x=Y", "ws://h?x=Y")]
    #[case::empty_path_and_slash("https://u:P@H/", "https://u:P@h")]
    #[case::stun("stun:H:3478", "STUN:h")]
    #[case::turns("turns:h?transport=tcp", "turns:H:5349?transport=tcp")]
    #[case::ipv6("turn:[FE80::1]:3478", "turn:[fe80::1]")]
    #[case::equal_strings("not a url", "not a url")]
    fn urls_that_mean_the_same_are_equal(#[case] a: &str, #[case] b: &str) {
        assert!(same_url(a, b) && same_url(b, a));
    }

    #[rstest]
    #[case::trailing_slash("wss://h/a", "wss://h/a/")]
    #[case::case_of_a_path("wss://h/a", "wss://h/A")]
    #[case::scheme("wss://h/", "ws://h/")]
    #[case::other_port("wss://h:80/", "wss://h/")]
    #[case::user("wss://U@h", "wss://u@h")]
    #[case::case_of_a_query("wss://h?x", "wss://h?X")]
    #[case::fragment("wss://h#x", "wss://h")]
    #[case::tls("stun:h", "stuns:h")]
    #[case::slashes("stun:h", "stun://h")]
    #[case::port_of_another_scheme("stun:h:5349", "stun:h")]
    #[case::path_without_slashes("turn:h/", "turn:h")]
    #[case::transport("turn:h?transport=udp", "turn:h")]
    #[case::unknown_scheme("mailto:Me@h", "mailto:me@h")]
    #[case::no_scheme("Relay:1", "relay:1")]
    #[case::port_of_letters("wss://h:x", "wss://H:x")]
    #[case::port_out_of_range("wss://h:99999", "wss://H:99999")]
    #[case::no_host("wss:///a", "WSS:///a")]
    #[case::no_url("Home", "home")]
    fn urls_that_differ_elsewhere_are_not_equal(#[case] a: &str, #[case] b: &str) {
        assert!(!same_url(a, b));
    }
}
