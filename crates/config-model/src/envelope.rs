//! The envelope in which one network's settings travel between people.

use crate::app_config::{is_dead, label_change, topology_change};
use crate::change::{Pass, Path};
use crate::{Document, Fragment, Kind, ParseError, SeededIds, ValueRef};

/// What our envelopes say they are.
pub const KIND: &str = "myownllm.network-settings";
/// What envelopes may say they are.
pub const KINDS: [&str; 2] = [KIND, "myownmesh.network-settings"];

/// A normalised envelope: of a text that was recognised ([`Envelope::parse`]), or of a saved network
/// ([`Envelope::of_network`]).
#[derive(Debug, Clone)]
pub struct Envelope {
    document: Document,
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.document.root().same_json(&other.document.root())
    }
}

/// Why something is no envelope, or cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not one JSON object.
    #[error("read a network-settings envelope: the text is not one JSON object")]
    Parse(#[source] ParseError),
    /// JSON, but not an envelope.
    #[error("read a network-settings envelope: {why}")]
    #[non_exhaustive]
    NotAnEnvelope {
        /// What is missing.
        why: &'static str,
    },
    /// A network that cannot be exported.
    #[error("make a network-settings envelope: {key} is {found}")]
    #[non_exhaustive]
    NotExportable {
        /// The member of the network; empty for the network itself.
        key: String,
        /// What stands there.
        found: &'static str,
    },
}

impl EnvelopeError {
    /// `envelope.parse`, `envelope.not-an-envelope`, `envelope.not-exportable`.
    pub fn code(&self) -> &'static str {
        match self {
            EnvelopeError::Parse(_) => "envelope.parse",
            EnvelopeError::NotAnEnvelope { .. } => "envelope.not-an-envelope",
            EnvelopeError::NotExportable { .. } => "envelope.not-exportable",
        }
    }
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            EnvelopeError::Parse(e) => return e.hint(),
            EnvelopeError::NotAnEnvelope { .. } => {
                format!("give it \"kind\": \"{KIND}\", and a text as network_id")
            }
            EnvelopeError::NotExportable { .. } => "normalise the config first".to_owned(),
        })
    }
}

impl Envelope {
    /// Reads the text of an envelope. One leading byte order mark is accepted. What an envelope does not carry is left
    /// out, wrong types too; its version is not looked at.
    ///
    /// ```
    /// use myownllm_config_model::envelope::Envelope;
    /// let text = br#"{"kind":"myownmesh.network-settings","network_id":"home","label":" Home ","color":"red"}"#;
    /// let envelope = Envelope::parse(text).unwrap();
    /// assert_eq!(envelope.to_value(false)["label"], "Home");
    /// assert!(Envelope::parse(b"{}").is_err());
    /// ```
    ///
    /// # Errors
    /// Text that is none.
    pub fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        let given = Document::parse(text).map_err(EnvelopeError::Parse)?.document;
        let get = |key: &str| given.get(&[key]);
        if !get("kind").is_some_and(|kind| KINDS.iter().any(|known| kind.is_str(known))) {
            return Err(EnvelopeError::NotAnEnvelope { why: "its kind is not that of network settings" });
        }
        let Some(network_id) = get("network_id").filter(|id| id.kind() == Kind::String) else {
            return Err(EnvelopeError::NotAnEnvelope { why: "it has no network_id" });
        };
        let mut out = head(network_id);
        if let Some(label) = get("label").filter(|l| l.kind() == Kind::String && !l.is_falsy()) {
            let label = label_change(label).unwrap_or_else(|| label.into());
            if label != Fragment::from("") {
                out.push(("label", label));
            }
        }
        // A newer daemon's kind is kept: a silent network must not become an open one on its way.
        if let Some(kind) = get("network_kind").filter(|k| k.kind() == Kind::String && !k.is_falsy()) {
            out.push(("network_kind", kind.into()));
        }
        if let Some(topology) = get("topology")
            && let Some(change) =
                topology_change(topology, &Path::Root, &mut Pass::new(&mut SeededIds::new(0, 0)))
        {
            let mut copy = Document::of(topology);
            copy.apply(change);
            out.push(("topology", Fragment::from(&copy)));
        }
        if let Some(auto) = get("auto_approve").filter(|a| a.kind() == Kind::Bool) {
            out.push(("auto_approve", auto.into()));
        }
        let items =
            |key: &str| get(key).filter(|l| l.kind() == Kind::Array).into_iter().flat_map(|l| l.items());
        let texts = |key: &str| items(key).filter(|i| i.kind() == Kind::String);
        out.push(("signaling_servers", Fragment::array(texts("signaling_servers").filter(|s| !is_dead(*s)))));
        out.push(("stun_servers", Fragment::array(texts("stun_servers"))));
        let turn = items("turn_servers").filter_map(|entry| {
            let mut turn = vec![("url", entry.get("url").filter(|u| u.kind() == Kind::String)?.into())];
            for key in ["username", "credential"] {
                if let Some(text) = entry.get(key).filter(|t| t.kind() == Kind::String && !t.is_falsy()) {
                    turn.push((key, Fragment::from(text)));
                }
            }
            Some(Fragment::object(turn))
        });
        out.push(("turn_servers", Fragment::array(turn)));
        let accepting =
            get("accepting").filter(|a| ["available", "limited", "busy"].iter().any(|k| a.is_str(k)));
        out.push(("accepting", accepting.map_or_else(|| "available".into(), Fragment::from)));
        Ok(Self { document: Document::of(Fragment::object(out)) })
    }

    /// The envelope of a saved network. Internal id, permissions, prompts and what only the daemon knows stay at home.
    ///
    /// # Errors
    /// A network without its three lists of servers (a completed document has them).
    pub fn of_network(network: ValueRef<'_>) -> Result<Self, EnvelopeError> {
        if network.kind() != Kind::Object {
            return Err(EnvelopeError::NotExportable {
                key: "the network".to_owned(),
                found: network.kind().name(),
            });
        }
        let list = |key: &str| match network.get(key) {
            Some(list) if list.kind() == Kind::Array => Ok(list),
            other => Err(EnvelopeError::NotExportable {
                key: key.to_owned(),
                found: other.map_or("not there", |o| o.kind().name()),
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
        out.push(("signaling_servers", list("signaling_servers")?.into()));
        out.push(("stun_servers", list("stun_servers")?.into()));
        let mut turn = Vec::new();
        for (n, entry) in list("turn_servers")?.items().enumerate() {
            if entry.is_null() {
                return Err(EnvelopeError::NotExportable { key: format!("turn_servers/{n}"), found: "null" });
            }
            let url = entry.get("url").map(|u| ("url", Fragment::from(u)));
            let secrets = ["username", "credential"]
                .into_iter()
                .filter_map(|key| Some((key, Fragment::from(entry.get(key).filter(|v| !v.is_falsy())?))));
            turn.push(Fragment::object(url.into_iter().chain(secrets)));
        }
        out.push(("turn_servers", Fragment::array(turn)));
        if let Some(accepting) = network.get("accepting") {
            out.push(("accepting", accepting.into()));
        }
        Ok(Self { document: Document::of(Fragment::object(out)) })
    }

    /// The network id it is about, as it was given: neither checked nor normalised.
    pub fn network_id(&self) -> String {
        self.get("network_id").and_then(|id| id.as_str()).unwrap_or_default().into_owned()
    }

    pub(crate) fn get(&self, key: &str) -> Option<ValueRef<'_>> {
        self.document.get(&[key])
    }

    /// The envelope as JSON. Without secrets, TURN servers go by their url alone.
    pub fn to_value(&self, with_secrets: bool) -> serde_json::Value {
        self.to_document(with_secrets).root().to_value()
    }

    /// [`Envelope::to_value`] as a document in two-space indentation, with the spelling of strings kept.
    pub fn to_document(&self, with_secrets: bool) -> Document {
        let mut document = self.document.clone();
        if !with_secrets {
            let count = document.get(&["turn_servers"]).map_or(0, |t| t.items().count());
            for n in 0..count {
                for key in ["username", "credential"] {
                    document.remove(&["turn_servers", &n.to_string(), key]);
                }
            }
        }
        document
    }
}

fn head<'k>(network_id: ValueRef<'_>) -> Vec<(&'k str, Fragment)> {
    vec![("kind", KIND.into()), ("version", 1u64.into()), ("network_id", network_id.into())]
}
