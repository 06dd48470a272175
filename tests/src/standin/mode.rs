//! How the stand-in misbehaves when it is told to.

use std::time::Duration;

/// What `STAND_IN_MODE` asks for: a list, separated by commas, of names with an optional `:argument`.
///
/// | name | what it does |
/// | --- | --- |
/// | `slow-start:MS` | waits before it binds its socket |
/// | `hands-over[:keep]` | begins to listen, starts another stand-in that takes over the socket, and lives on: without the socket, or, as an \
///   activator does, with it. The other one behaves as `STAND_IN_THEN` says; its socket is its standard input |
/// | `takes-over` | listens on its standard input |
/// | `dies-early[:CODE]` | says why on stderr and exits (3) before it binds |
/// | `dies-in:MS` | exits (3) so long after it bound |
/// | `dies-after:N` | exits (3) when it has answered so many requests |
/// | `dies-unanswered:N` | does what the N-th request says, and exits (3) without a word about it |
/// | `dies-writing:N` | exits (3) in the middle of the first write of its config, after so many bytes |
/// | `kills-peer:N` | does what the N-th request says, and kills whoever asked, as a crash of the app would |
/// | `lingers:MS` | on SIGTERM and SIGINT it takes its socket away, and ends so long after |
/// | `ignore-term` | does not end on SIGTERM and SIGINT |
/// | `silent` | takes connections and answers nothing |
/// | `silent-after:N` | answers so many requests, and no more |
/// | `close` | takes connections and closes them |
/// | `garbage` | answers what is no JSON |
/// | `not-utf8` | answers what is no UTF-8 |
/// | `half-line` | answers the first half and waits |
/// | `drip:MS` | answers a byte at a time |
/// | `slow-answer:MS` | waits before each answer |
/// | `flood` | answers without end and without a line break |
/// | `flood-events` | answers with events without end |
/// | `unasked` | answers everything twice |
/// | `wrong-version[:V]` | says it is that version (0.0.1) |
/// | `says-more` | has keys in every answer that nobody knows yet, and pushes what is no event |
/// | `other-key` | has another key than its home's |
/// | `refuse-add[:TEXT]`, `refuse-remove[:TEXT]`, `refuse-update[:TEXT]` | says no to that |
/// | `no-update` | does not know `network_update`, as an old one |
/// | `rewords` | writes the addresses that it is told with the host and the scheme in capitals, and with the scheme's own port |
/// | `lying-update` | says yes to `network_update` and does nothing |
#[derive(Clone, Debug, Default)]
pub(crate) struct Modes(Vec<(String, Option<String>)>);

const NAMES: &[&str] = &[
    "slow-start",
    "hands-over",
    "takes-over",
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
    /// Reads the list; a name that is none is an error, because a test that asks for it would test nothing.
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

    /// The text with which an op is refused.
    pub(crate) fn refusal(&self, name: &str) -> Option<String> {
        self.has(name).then(|| self.argument(name).unwrap_or("told to refuse").to_owned())
    }
}
