//! The faults of the stand-in.

use std::time::Duration;

/// The faults in `STAND_IN_MODE`: names, separated by commas, each with an optional `:argument`.
///
/// | name | what it does |
/// | --- | --- |
/// | `slow-start:MS` | waits before it binds its socket |
/// | `hands-over[:keep]` | begins to listen, and starts another stand-in that serves (see below) |
/// | `takes-over` | listens on its standard input |
/// | `leaves-a-child` | starts a child that holds its socket for 4 s, and ends without unlinking it |
/// | `dies-early[:CODE]` | writes the reason to stderr and exits (3) before it binds |
/// | `dies-in:MS` | exits (3) that long after it bound |
/// | `dies-after:N` | exits (3) after it has answered N requests |
/// | `dies-unanswered:N` | executes the N-th request, and exits (3) without an answer |
/// | `dies-writing:N` | exits (3) during the first write of its config, after N bytes |
/// | `kills-peer:N` | executes the N-th request, and kills the client, like a crash of the app |
/// | `lingers:MS` | on SIGTERM and SIGINT it unlinks its socket, and ends that much later |
/// | `ignore-term` | does not end on SIGTERM and SIGINT |
/// | `silent` | accepts connections and answers nothing |
/// | `silent-after:N` | answers N requests, and no more |
/// | `close` | accepts connections and closes them |
/// | `garbage` | answers with a line that is not JSON |
/// | `not-utf8` | answers with bytes that are not UTF-8 |
/// | `half-line` | answers with the first half of a line and waits |
/// | `drip:MS` | answers one byte at a time |
/// | `slow-answer:MS` | waits before each answer |
/// | `flood` | answers without end and without a line break |
/// | `flood-events` | answers with events without end |
/// | `unasked` | answers everything twice |
/// | `wrong-version[:V]` | reports that version (0.0.1) |
/// | `says-more` | adds unknown keys to every answer, and pushes a line that is not an event |
/// | `other-key` | has another key than the one in its home |
/// | `refuse-add[:TEXT]`, `refuse-remove[:TEXT]`, `refuse-update[:TEXT]` | refuses the op |
/// | `no-update` | does not know `network_update`, like an old daemon |
/// | `rewords` | stores addresses with scheme and host in capitals, and with the default port |
/// | `lying-update` | confirms `network_update` and does nothing |
///
/// With `hands-over` the stand-in runs on without the socket; with `keep` it keeps the socket, as
/// an activator does. The other stand-in behaves as `STAND_IN_THEN` says, and gets the socket as
/// its standard input.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modes(Vec<(String, Option<String>)>);

const NAMES: &[&str] = &[
    "slow-start",
    "hands-over",
    "takes-over",
    "leaves-a-child",
    "dies-early",
    "dies-in",
    "dies-after",
    "dies-unanswered",
    "dies-writing",
    "kills-peer",
    "lingers",
    "ignore-term",
    "silent",
    "silent-after",
    "close",
    "garbage",
    "not-utf8",
    "half-line",
    "drip",
    "slow-answer",
    "flood",
    "flood-events",
    "unasked",
    "wrong-version",
    "says-more",
    "other-key",
    "refuse-add",
    "refuse-remove",
    "refuse-update",
    "no-update",
    "rewords",
    "lying-update",
];

impl Modes {
    /// Parses the names. An unknown name is an error: a test with a misspelled mode would test
    /// nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let modes = text
            .split(',')
            .filter(|mode| !mode.is_empty())
            .map(|mode| {
                let (name, argument) = match mode.split_once(':') {
                    Some((name, argument)) => (name, Some(argument.to_owned())),
                    None => (mode, None),
                };
                match NAMES.contains(&name) {
                    true => Ok((name.to_owned(), argument)),
                    false => Err(format!("STAND_IN_MODE: no such mode: {name}")),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self(modes))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(mode, _)| mode == name)
    }

    pub(crate) fn argument(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(mode, _)| mode == name)?.1.as_deref()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.argument(name)?.parse().ok()
    }

    pub(crate) fn millis(&self, name: &str) -> Option<Duration> {
        self.has(name).then(|| Duration::from_millis(self.number(name).unwrap_or(1000)))
    }

    /// Returns the text with which the op is refused.
    pub(crate) fn refusal(&self, name: &str) -> Option<String> {
        self.has(name).then(|| self.argument(name).unwrap_or("told to refuse").to_owned())
    }
}
