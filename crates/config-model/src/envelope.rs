//! The envelope in which one network's settings travel between people.

use myownllm_json_document::{
    Diagnostic, Document, Fragment, Kind, ParseError, ParseErrorKind, Parsed, ValueRef,
};

use crate::app_config::{SERVER_LISTS, is_retired_server, label_change, topology_change};
use crate::ids::SeededIds;
use crate::masking::{is_known_in_topology, strip_secrets};
use crate::pass::Pass;
use crate::path::Path;

/// The `kind` of our envelopes.
pub const KIND: &str = "myownllm.network-settings";
/// The `kind`s that an envelope may have.
const KINDS: [&str; 2] = [KIND, "myownmesh.network-settings"];

/// The members of a network that an envelope without secrets lacks.
const LOGIN: [&str; 2] = ["username", "credential"];

/// A normalised envelope: of a text ([`Envelope::parse`]), or of a saved network
/// ([`Envelope::of_network`]).
#[derive(Debug, Clone)]
pub struct Envelope {
    document: Document,
    diagnostics: Vec<Diagnostic>,
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.document.root().same_json(&other.document.root())
    }
}

/// A text that is no envelope, or a network that has none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum EnvelopeError {
    /// The text is not one JSON object.
    #[error("cannot read envelope: the text is not one JSON object")]
    Parse(#[source] ParseError),
    /// The text is JSON, but not an envelope.
    #[error("cannot read envelope: {why}")]
    #[non_exhaustive]
    NotAnEnvelope { why: &'static str },
    /// The network has no envelope: its member `key`, or `the network`, is of the kind `found`, or
    /// `missing`.
    #[error("cannot make envelope: {key} is {found}")]
    #[non_exhaustive]
    NotExportable { key: String, found: &'static str },
}

impl EnvelopeError {
    /// Returns `envelope.parse`, `envelope.not-an-envelope` or `envelope.not-exportable`.
    pub fn code(&self) -> &'static str {
        match self {
            EnvelopeError::Parse(_) => "envelope.parse",
            EnvelopeError::NotAnEnvelope { .. } => "envelope.not-an-envelope",
            EnvelopeError::NotExportable { .. } => "envelope.not-exportable",
        }
    }

    /// Returns a remedy for a person.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            EnvelopeError::Parse(ParseError {
                kind: ParseErrorKind::Empty | ParseErrorKind::UnexpectedEnd,
                ..
            }) => "export the network again: the text is not complete".to_owned(),
            EnvelopeError::Parse(e) => return e.hint(),
            EnvelopeError::NotAnEnvelope { .. } => {
                format!("give it \"kind\": \"{KIND}\", and a string as network_id")
            }
            EnvelopeError::NotExportable { .. } => "normalise the config first".to_owned(),
        })
    }
}

impl Envelope {
    /// Parses the text of an envelope. Accepts one leading byte order mark. Leaves out members that
    /// an envelope does not carry, and members of a wrong type; ignores the version.
    ///
    /// ```
    /// use myownllm_config_model::envelope::Envelope;
    /// let text = br#"{"kind":"myownmesh.network-settings","network_id":"home",
    ///     "label":" Home ","color":"red"}"#;
    /// let envelope = Envelope::parse(text).unwrap();
    /// assert_eq!(envelope.to_value(false)["label"], "Home");
    /// assert!(Envelope::parse(b"{}").is_err());
    /// ```
    ///
    /// # Errors
    /// Fails for a text that is not an envelope.
    pub fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        let Parsed { document: given, diagnostics, .. } =
            Document::parse(text).map_err(EnvelopeError::Parse)?;
        let mut ids = SeededIds::new(0, 0);
        let pass = &mut Pass { diagnostics, ..Pass::new(&mut ids) };
        if !given.get(&["kind"]).is_some_and(|kind| KINDS.iter().any(|known| kind.is_str(known))) {
            return Err(EnvelopeError::NotAnEnvelope { why: "its kind is not that of network settings" });
        }
        let Some(network_id) = of_kind(&given, "network_id", Kind::String, pass) else {
            return Err(EnvelopeError::NotAnEnvelope { why: "it has no network_id" });
        };
        let mut out =
            vec![("kind", KIND.into()), ("version", 1u64.into()), ("network_id", Fragment::from(network_id))];
        if let Some(label) = of_kind(&given, "label", Kind::String, pass) {
            let label = label_change(label).unwrap_or_else(|| label.into());
            if label.text() != r#""""# {
                out.push(("label", label));
            }
        }
        // The kind of a newer daemon stays: a silent network must not become an open one on its
        // way.
        let kind = of_kind(&given, "network_kind", Kind::String, pass);
        if let Some(kind) = kind.filter(|kind| !kind.is_falsy()) {
            out.push(("network_kind", kind.into()));
        }
        let topology = given.get(&["topology"]).and_then(|topology| normalized_topology(topology, pass));
        out.extend(topology.map(|topology| ("topology", topology)));
        if let Some(auto) = of_kind(&given, "auto_approve", Kind::Bool, pass) {
            out.push(("auto_approve", auto.into()));
        }
        let string = |item: ValueRef<'_>| (item.kind() == Kind::String).then(|| Fragment::from(item));
        for key in SERVER_LISTS {
            let server = if key == SERVER_LISTS[2] { normalized_turn_server } else { string };
            let array = of_kind(&given, key, Kind::Array, pass);
            let mut kept = Vec::new();
            for (number, item) in array.into_iter().flat_map(|array| array.items()).enumerate() {
                match server(item) {
                    Some(_) if key == SERVER_LISTS[0] && is_retired_server(item) => {}
                    Some(server) => kept.push(server),
                    None => pass.dropped(&Path::Root.key(key).item(number), "not the address of a server"),
                }
            }
            out.push((key, Fragment::array(kept)));
        }
        let accepting = given.get(&["accepting"]);
        let is_known =
            |a: &ValueRef<'_>| ["available", "limited", "busy"].iter().any(|known| a.is_str(known));
        if accepting.is_some_and(|accepting| !accepting.is_null() && !is_known(&accepting)) {
            pass.dropped(&Path::Root.key("accepting"), "not available, limited or busy");
        }
        let accepting = accepting.filter(is_known);
        out.push(("accepting", accepting.map_or_else(|| "available".into(), Fragment::from)));
        let diagnostics = std::mem::take(&mut pass.diagnostics);
        Ok(Self { document: Document::of(Fragment::object(out)), diagnostics })
    }

    /// Returns the diagnostics about the text: duplicate keys, bytes that are not UTF-8, and values
    /// that the envelope leaves out.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Returns the envelope of a saved network. The internal id, permissions, prompts and the
    /// daemon's settings stay out.
    ///
    /// # Errors
    /// Fails for a network without its three arrays of servers, which a completed document has.
    pub fn of_network(network: ValueRef<'_>) -> Result<Self, EnvelopeError> {
        if network.kind() != Kind::Object {
            let key = "the network".to_owned();
            return Err(EnvelopeError::NotExportable { key, found: network.kind().name() });
        }
        let array = |key: &str| match network.get(key) {
            Some(array) if array.kind() == Kind::Array => Ok(array),
            other => Err(EnvelopeError::NotExportable {
                key: key.to_owned(),
                found: other.map_or("missing", |o| o.kind().name()),
            }),
        };
        let mut out = vec![("kind", KIND.into()), ("version", 1u64.into())];
        if let Some(id) = network.get("network_id") {
            out.push(("network_id", Fragment::from(id)));
        }
        for (key, from) in [("label", "label"), ("network_kind", "kind"), ("topology", "topology")] {
            if let Some(value) = network.get(from).filter(|v| !v.is_falsy()) {
                out.push((key, value.into()));
            }
        }
        if let Some(auto) = network.get("auto_approve").filter(|a| a.kind() == Kind::Bool) {
            out.push(("auto_approve", auto.into()));
        }
        out.push(("signaling_servers", array("signaling_servers")?.into()));
        out.push(("stun_servers", array("stun_servers")?.into()));
        let mut turn = Vec::new();
        for (n, entry) in array("turn_servers")?.items().enumerate() {
            if entry.is_null() {
                return Err(EnvelopeError::NotExportable { key: format!("turn_servers/{n}"), found: "null" });
            }
            let url = entry.get("url").map(|u| ("url", Fragment::from(u)));
            let login = LOGIN
                .into_iter()
                .filter_map(|key| Some((key, Fragment::from(entry.get(key).filter(|v| !v.is_falsy())?))));
            turn.push(Fragment::object(url.into_iter().chain(login)));
        }
        out.push(("turn_servers", Fragment::array(turn)));
        if let Some(accepting) = network.get("accepting") {
            out.push(("accepting", accepting.into()));
        }
        Ok(Self { document: Document::of(Fragment::object(out)), diagnostics: Vec::new() })
    }

    /// Returns the network id as it was given, neither checked nor normalised.
    pub fn network_id(&self) -> String {
        self.get("network_id").and_then(|id| id.as_str()).unwrap_or_default().into_owned()
    }

    pub(crate) fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.document.get(&[key])
    }

    /// Returns the envelope as JSON. Without secrets, TURN servers have no login, URLs have none
    /// either, and a topology has the known members alone.
    pub fn to_value(&self, with_secrets: bool) -> serde_json::Value {
        self.to_document(with_secrets).root().to_value()
    }

    /// Returns [`Envelope::to_value`] as a document in two-space indentation, and keeps the
    /// spelling of strings.
    pub fn to_document(&self, with_secrets: bool) -> Document {
        let mut document = self.document.clone();
        if with_secrets {
            return document;
        }
        for key in SERVER_LISTS {
            let count = document.get(&[key]).map_or(0, |servers| servers.items().count());
            for n in (0..count).map(|n| n.to_string()) {
                for login in LOGIN {
                    document.remove(&[key, &n, login]);
                }
                strip(&mut document, &[key, &n]);
                strip(&mut document, &[key, &n, "url"]);
            }
        }
        strip(&mut document, &["label"]);
        let members = document.get(&["topology"]).into_iter().flat_map(|topology| topology.members());
        let unknown: Vec<String> =
            members.map(|(key, _)| key.into_owned()).filter(|key| !is_known_in_topology(key)).collect();
        for key in unknown {
            document.remove(&["topology", &key]);
        }
        document
    }
}

/// Returns true if a server of an envelope is a saved one, or a saved one without its secrets.
pub(crate) fn is_without_secrets(given: ValueRef<'_>, saved: ValueRef<'_>) -> bool {
    let urls = [given, saved].map(|server| server.get("url").unwrap_or(server).as_str());
    let [Some(url), Some(saved)] = urls else { return false };
    let has_login = LOGIN.iter().any(|key| given.get(key).is_some());
    !has_login && (url == saved || strip_secrets(&saved).is_some_and(|bare| url == bare))
}

fn strip(document: &mut Document, path: &[&str]) {
    let stripped = document.get(path).and_then(|text| strip_secrets(&text.as_str()?));
    if let Some(stripped) = stripped {
        document.set(path, stripped);
    }
}

/// Returns a member of this kind. Notes a value of another kind, which the envelope leaves out.
fn of_kind<'g>(given: &'g Document, key: &str, kind: Kind, pass: &mut Pass<'_>) -> Option<ValueRef<'g>> {
    let value = given.get(&[key]).filter(|value| !value.is_null())?;
    if value.kind() != kind {
        pass.dropped_kind(&Path::Root.key(key), value.kind(), kind.name());
    }
    Some(value).filter(|value| value.kind() == kind)
}

/// Returns a topology in form; `None` for an unusable one.
fn normalized_topology(topology: ValueRef<'_>, pass: &mut Pass<'_>) -> Option<Fragment> {
    let change = topology_change(topology, &Path::Root.key("topology"), pass)?;
    let mut copy = Document::of(topology);
    copy.apply(change);
    Some(Fragment::from(&copy))
}

/// Returns a TURN server with its URL and its login; `None` without a URL.
fn normalized_turn_server(entry: ValueRef<'_>) -> Option<Fragment> {
    let mut turn = vec![("url", entry.get("url").filter(|u| u.kind() == Kind::String)?.into())];
    for key in LOGIN {
        if let Some(text) = entry.get(key).filter(|t| t.kind() == Kind::String && !t.is_falsy()) {
            turn.push((key, Fragment::from(text)));
        }
    }
    Some(Fragment::object(turn))
}
