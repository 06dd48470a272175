//! Completes the app's config: legacy migrations, then defaults.

use std::borrow::Cow;
use std::sync::LazyLock;

use myownllm_json_document::{Change, Diagnostic, Document, Fragment, Kind, Severity, ValueRef};

use super::cloud_mesh::{self, flat_network};
use super::config::AppConfig;
use crate::ids::{Ids, SeededIds};
use crate::pass::{Edits, Pass};
use crate::path::Path;

/// The number of diagnostics with their place in the text. Each place takes a walk over the text
/// before it.
const PLACES_SHOWN: usize = 20;

/// Members of `cloud_mesh` that are networks or name one.
pub(super) const NETWORK_MEMBERS: [&str; 2] = ["networks", "active_network_id"];

static DEFAULTS: LazyLock<Document> =
    LazyLock::new(|| Document::of(Fragment::serialize(&AppConfig::default())));

/// Returns true if the default of a key is an object whose members fill in missing ones. The
/// default of a map (`mode_overrides`) has no members.
pub(super) fn is_section(key: &str) -> bool {
    DEFAULTS.get(&[key]).is_some_and(|default| default.members().next().is_some())
}

/// Returns the top-level keys of the app's schema, in the order of a new file.
pub fn keys() -> impl Iterator<Item = Cow<'static, str>> {
    DEFAULTS.root().members().map(|(key, _)| key)
}

/// Returns the keys that [`complete`] would set to their defaults because the document lacks them:
/// top-level keys, and members of the objects whose defaults fill in missing members
/// (`auto_cleanup.models`). In the order of [`keys`].
pub fn missing_keys(doc: &Document) -> Vec<String> {
    let mut missing = Vec::new();
    for (key, default) in DEFAULTS.root().members() {
        match doc.get(&[&key]) {
            Some(section) if section.kind() == Kind::Object => {
                // A network in the single-network form becomes these members.
                let is_migrated =
                    key == "cloud_mesh" && flat_network(section, &mut SeededIds::new(0, 0)).is_some();
                let is_missing = |member: &str| {
                    section.get(member).is_none() && !(is_migrated && NETWORK_MEMBERS.contains(&member))
                };
                let members = default.members().filter(|(member, _)| is_missing(member));
                missing.extend(members.map(|(member, _)| format!("{key}.{member}")));
            }
            // The defaults replace any other value of a section.
            Some(_) if !is_section(&key) => {}
            _ => missing.push(key.into_owned()),
        }
    }
    missing
}

/// Returns the app's config of a fresh install, with `conversation_dir` as the default of that
/// name.
pub fn defaults(conversation_dir: &str) -> Document {
    let mut doc = Document::empty();
    // An empty document needs no id.
    complete(&mut doc, conversation_dir, &mut SeededIds::new(0, 0));
    doc
}

/// Brings a document into the app's present form: legacy migrations, then defaults, with
/// `conversation_dir` as the default of that name. Leaves alone the parts that are in form; a
/// second call changes nothing.
///
/// Returns values of a wrong type (`config.wrong-type`: the app keeps them), values that a default
/// replaced (`config.replaced`), entries that the document lost (`config.dropped`), duplicate
/// internal ids (`network.duplicate-id`), and the effects of migrations (`config.migrated`). The
/// first warnings have their place in the text that the document was read from.
pub fn complete(doc: &mut Document, conversation_dir: &str, ids: &mut dyn Ids) -> Vec<Diagnostic> {
    let mut pass = Pass::new(ids);
    let change = root_change(doc.root(), conversation_dir, &mut pass);
    let mut diagnostics = std::mem::take(&mut pass.diagnostics);
    let warnings = diagnostics.iter_mut().filter(|found| found.severity != Severity::Info);
    for found in warnings.take(PLACES_SHOWN) {
        found.place = doc.place(&found.path);
    }
    doc.apply(change);
    diagnostics
}

fn root_change(root: ValueRef<'_>, conversation_dir: &str, pass: &mut Pass<'_>) -> Change {
    let mut edits = Edits::default();
    for (key, default) in DEFAULTS.root().members() {
        match &*key {
            "cloud_mesh" => cloud_mesh::change(root, &default.into(), pass, &mut edits),
            "mode_overrides" => mode_overrides_change(root, pass, &mut edits),
            section if is_section(section) => section_change(root, key, default, pass, &mut edits),
            _ => match root.get(&key).filter(|value| !counts_as_absent(&key, *value)) {
                Some(value) => pass.check(&Path::Root.key(&key), value, default.kind()),
                None => {
                    let initial = match &*key {
                        "conversation_dir" => conversation_dir.into(),
                        "tracked_modes" => {
                            Fragment::array(root.get("active_mode").or(DEFAULTS.get(&["active_mode"])))
                        }
                        _ => default.into(),
                    };
                    edits.set(key, initial);
                }
            },
        }
    }
    if root.get("sources").is_some() {
        pass.migrated(&Path::Root.key("sources"), "the app does not use sources any more");
        edits.remove("sources");
    }
    edits.into_change()
}

/// Returns true if the app takes the value for an absent one.
fn counts_as_absent(key: &str, value: ValueRef<'_>) -> bool {
    match key {
        "active_provider" | "active_mode" | "model_cleanup_days" => false,
        "active_family" | "conversation_dir" => value.is_falsy(),
        "tracked_modes" => value.is_falsy() || has_no_length(value),
        _ => value.is_null(),
    }
}

/// Returns true for an empty array, and for an object with a `length` of 0, which the app takes for
/// one.
fn has_no_length(value: ValueRef<'_>) -> bool {
    match value.kind() {
        Kind::Array => value.items().next().is_none(),
        _ => value.get("length").and_then(|l| l.as_f64()) == Some(0.0),
    }
}

/// Moves the speech model from the microphone to the modes.
fn mode_overrides_change(root: ValueRef<'_>, pass: &mut Pass<'_>, edits: &mut Edits) {
    const KEY: &str = "mode_overrides";
    let whisper = root.get("mic").and_then(|mic| mic.get("whisper_model")).filter(|m| !m.is_falsy());
    let overrides = root.get(KEY).filter(|o| !o.is_null());
    let transcribe = overrides.and_then(|o| o.get("transcribe")).filter(|t| !t.is_falsy());
    match (whisper, transcribe, overrides) {
        (Some(model), None, Some(overrides)) if overrides.kind() == Kind::Object => {
            let mut inner = Edits::default();
            inner.set("transcribe", model);
            edits.within(KEY, inner.into_change());
        }
        (Some(model), None, other) => {
            if let Some(other) = other {
                pass.replaced(&Path::Root.key(KEY), other.kind(), "an object");
            }
            edits.set(KEY, Fragment::object([("transcribe", model)]));
        }
        (_, _, Some(overrides)) => pass.check(&Path::Root.key(KEY), overrides, Kind::Object),
        (_, _, None) => edits.set(KEY, Fragment::object::<&str, Fragment>([])),
    }
}

fn section_change(
    root: ValueRef<'_>,
    key: Cow<'static, str>,
    defaults: ValueRef<'static>,
    pass: &mut Pass<'_>,
    edits: &mut Edits,
) {
    let Some(section) = root.get(&key).filter(|s| s.kind() == Kind::Object) else {
        if let Some(other) = root.get(&key).filter(|s| !s.is_null()) {
            pass.replaced(&Path::Root.key(&key), other.kind(), "an object");
        }
        return edits.set(key, defaults);
    };
    let at = Path::Root.key(&key);
    let mut inner = Edits::default();
    for (member, default) in defaults.members() {
        match (section.get(&member), default.kind()) {
            (None, _) => inner.set(member, default),
            // `bearer_token` is the one member without a value: a string or `null`.
            (Some(value), Kind::Null) if value.is_null() => {}
            (Some(value), Kind::Null) => pass.check(&at.key(&member), value, Kind::String),
            (Some(value), kind) => pass.check(&at.key(&member), value, kind),
        }
    }
    if key == "mic" && section.get("whisper_model").is_some() {
        pass.migrated(&at.key("whisper_model"), "the speech model is in `mode_overrides.transcribe` now");
        inner.remove("whisper_model");
    }
    edits.within(key.clone(), inner.into_change());
}
