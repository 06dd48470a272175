//! The pure filters: they read one JSON document from stdin, write one to stdout, and touch no
//! file.

use std::io::{self, Read};

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{Diagnostic as Finding, Document, MAX_BYTES, convert, networks};
use myownllm_launch::Diagnostic;
use myownllm_report::documents::{Filtered, NetworkEnvelope};
use serde_json::json;

use crate::context::{Context, fresh_ids};
use crate::output::CommandOutput;

/// Reads all of stdin, up to the size that a config may have.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Diagnostic> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Diagnostic::from_error(&error, "input.unreadable", None))?;
    Ok(bytes)
}

/// Returns the answer of a filter: a person sees the document itself.
fn filtered(document: &Document, found: &[Finding]) -> CommandOutput {
    let diagnostics = found.iter().map(Diagnostic::from).collect();
    let data = json!(Filtered { document: document.root().to_value() });
    CommandOutput { diagnostics, ..CommandOutput::data(document.to_text(), data) }
}

/// `config normalize`.
pub(crate) fn normalize(context: &Context) -> Result<CommandOutput, Diagnostic> {
    let bytes = read_stdin()?;
    let normalized =
        myownllm_salvage::normalize(&bytes, context.layout.conversations.as_str(), &mut fresh_ids())?;
    Ok(filtered(&normalized.document, &normalized.diagnostics))
}

/// `salvage --stdin`.
pub(crate) fn salvage() -> Result<CommandOutput, Diagnostic> {
    let bytes = read_stdin()?;
    let salvaged = myownllm_salvage::salvage_bytes(&bytes, &mut fresh_ids())?;
    Ok(filtered(&salvaged.app, &salvaged.diagnostics))
}

/// `network to-daemon`.
pub(crate) fn to_daemon() -> Result<CommandOutput, Diagnostic> {
    let network = Document::parse(&read_stdin()?)?;
    let mapped = convert::to_daemon_document(network.document.root())?;
    let refused = networks::for_daemon(network.document.root()).err();
    Ok(filtered(&mapped, &network.diagnostics.into_iter().chain(refused).collect::<Vec<_>>()))
}

/// `network to-envelope`.
pub(crate) fn to_envelope(with_secrets: bool) -> Result<CommandOutput, Diagnostic> {
    let network = Document::parse(&read_stdin()?)?;
    let envelope = Envelope::of_network(network.document.root())?;
    Ok(envelope_answer(&envelope, with_secrets, &network.diagnostics))
}

/// `network from-envelope`.
pub(crate) fn from_envelope() -> Result<CommandOutput, Diagnostic> {
    let envelope = Envelope::parse(&read_stdin()?)?;
    // A filter prints its input, credentials included.
    Ok(envelope_answer(&envelope, true, envelope.diagnostics()))
}

/// Returns an envelope as text to hand on, and as data.
pub(crate) fn envelope_answer(envelope: &Envelope, with_secrets: bool, found: &[Finding]) -> CommandOutput {
    let document = envelope.to_document(with_secrets);
    let data = json!(NetworkEnvelope { envelope: document.root().to_value() });
    CommandOutput { data, ..filtered(&document, found) }
}
