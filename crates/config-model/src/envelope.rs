//! The envelope in which one network's settings travel between people.

use crate::{Fragment, ValueRef};

/// A recognised, normalised envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    _p: (),
}

/// Why something is no envelope, or cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Not a JSON object.
    #[error("read a network-settings envelope")]
    Parse(#[source] crate::ParseError),
    /// JSON, but not an envelope.
    #[error("read a network-settings envelope: {why}")]
    NotAnEnvelope {
        /// What is missing.
        why: &'static str,
    },
    /// A network that cannot be exported.
    #[error("export a network: {why}")]
    NotExportable {
        /// What is missing.
        why: String,
    },
}

impl EnvelopeError {
    /// `envelope.parse`, `envelope.not-an-envelope`, `envelope.not-exportable`.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

impl Envelope {
    /// Reads the text of an envelope.
    ///
    /// # Errors
    /// Text that is none.
    pub fn parse(text: &[u8]) -> Result<Self, EnvelopeError> {
        let _ = text;
        todo!()
    }
    /// The envelope of a saved network.
    ///
    /// # Errors
    /// A network that lacks its lists.
    pub fn of_network(network: ValueRef<'_>) -> Result<Self, EnvelopeError> {
        let _ = network;
        todo!()
    }
    /// The network id it is about, as it was given.
    pub fn network_id(&self) -> &str {
        todo!()
    }
    /// The envelope as JSON; TURN usernames and credentials only `with_secrets`.
    pub fn to_value(&self, with_secrets: bool) -> serde_json::Value {
        let _ = with_secrets;
        todo!()
    }
    /// [`Envelope::to_value`] with the texts of numbers kept.
    pub fn to_fragment(&self, with_secrets: bool) -> Fragment {
        let _ = with_secrets;
        todo!()
    }
}
