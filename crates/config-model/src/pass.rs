//! Collects edits and diagnostics while looking at a document.

use std::borrow::Cow;

use myownllm_json_document::{Change, Diagnostic, Fragment, Kind, Severity, ValueRef};

use crate::ids::Ids;
use crate::path::Path;

/// Edits of the members of one object.
#[derive(Default)]
pub(crate) struct Edits(Vec<(Cow<'static, str>, Option<Change>)>);

impl Edits {
    pub(crate) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Fragment>) {
        self.0.push((key.into(), Some(Change::Replace(value.into()))));
    }

    pub(crate) fn remove(&mut self, key: impl Into<Cow<'static, str>>) {
        self.0.push((key.into(), None));
    }

    /// Changes the inside of an existing member.
    pub(crate) fn within(&mut self, key: impl Into<Cow<'static, str>>, change: Change) {
        if !change.is_empty() {
            self.0.push((key.into(), Some(change)));
        }
    }

    pub(crate) fn into_change(self) -> Change {
        Change::Members(self.0)
    }
}

pub(crate) struct Pass<'i> {
    pub(crate) ids: &'i mut dyn Ids,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'i> Pass<'i> {
    pub(crate) fn new(ids: &'i mut dyn Ids) -> Self {
        Self { ids, diagnostics: Vec::new() }
    }

    pub(crate) fn note(&mut self, code: &'static str, severity: Severity, path: &Path<'_>, message: String) {
        self.diagnostics.push(Diagnostic::new(code, severity, path.pointer(), message));
    }

    /// Notes a value of the wrong type that stays in the file.
    pub(crate) fn wrong_type(&mut self, path: &Path<'_>, found: Kind, expected: &str) {
        let (at, found) = (path.pointer(), found.name());
        let message =
            format!("{at} is {found}, not {expected}; it stays in the file, and counts as its default");
        self.note("config.wrong-type", Severity::Warning, path, message);
    }

    /// Notes a value of the wrong type that stays in the file, unless the type is right.
    pub(crate) fn check(&mut self, path: &Path<'_>, value: ValueRef<'_>, expected: Kind) {
        if value.kind() != expected {
            self.wrong_type(path, value.kind(), expected.name());
        }
    }

    /// Notes a value of the wrong type that stays in the file, and that no daemon gets.
    pub(crate) fn unfit_for_daemon(&mut self, at: String, expected: &str) {
        let message = format!("{at} is not {expected}; it stays in the file, and no daemon gets it");
        self.diagnostics.push(Diagnostic::new("config.wrong-type", Severity::Warning, at, message));
    }

    /// Notes an unusable value that the default replaces.
    pub(crate) fn replaced(&mut self, path: &Path<'_>, found: Kind, expected: &str) {
        let message =
            format!("{} was {}, not {expected}; replaced by the default", path.pointer(), found.name());
        self.note("config.replaced", Severity::Warning, path, message);
    }

    /// Notes an entry that the document loses.
    pub(crate) fn dropped(&mut self, path: &Path<'_>, reason: &str) {
        let message = format!("{} was left out: {reason}", path.pointer());
        self.note("config.dropped", Severity::Warning, path, message);
    }

    /// Notes an entry of the wrong type that the document loses.
    pub(crate) fn dropped_kind(&mut self, path: &Path<'_>, found: Kind, expected: &str) {
        self.dropped(path, &format!("{}, not {expected}", found.name()));
    }

    pub(crate) fn migrated(&mut self, path: &Path<'_>, effect: &str) {
        self.note("config.migrated", Severity::Info, path, effect.to_owned());
    }
}

/// Edits of one object, with the pass and the object's place.
pub(crate) struct ObjectEdits<'a, 'i> {
    pub(crate) path: &'a Path<'a>,
    pub(crate) pass: &'a mut Pass<'i>,
    pub(crate) edits: Edits,
}

impl<'a, 'i> ObjectEdits<'a, 'i> {
    pub(crate) fn new(path: &'a Path<'a>, pass: &'a mut Pass<'i>) -> Self {
        Self { path, pass, edits: Edits::default() }
    }

    /// Sets `default`, and notes the value that it replaces.
    pub(crate) fn replace(
        &mut self,
        key: &'static str,
        found: Option<ValueRef<'_>>,
        expected: &str,
        default: Fragment,
    ) {
        if let Some(other) = found {
            self.pass.replaced(&self.path.key(key), other.kind(), expected);
        }
        self.edits.set(key, default);
    }

    /// Sets `default` unless `found` is a boolean.
    pub(crate) fn require_bool(
        &mut self,
        key: &'static str,
        found: Option<ValueRef<'_>>,
        default: impl FnOnce() -> Fragment,
    ) {
        if !found.is_some_and(|value| value.kind() == Kind::Bool) {
            self.replace(key, found, "a boolean", default());
        }
    }

    /// Sets the empty string unless `found` is a string. `null` counts as absent.
    pub(crate) fn require_string(&mut self, key: &'static str, found: Option<ValueRef<'_>>) {
        if !found.is_some_and(|value| value.kind() == Kind::String) {
            self.replace(key, found.filter(|other| !other.is_null()), "a string", "".into());
        }
    }

    /// Sets `default` unless `found` is one of the strings `known`, which `names` spells out.
    pub(crate) fn require_one_of(
        &mut self,
        key: &'static str,
        found: Option<ValueRef<'_>>,
        (known, names): ([&str; 3], &str),
        default: impl FnOnce() -> Fragment,
    ) {
        if !found.is_some_and(|value| known.iter().any(|known| value.is_str(known))) {
            self.replace(key, found, names, default());
        }
    }

    /// Sets `default` unless `found` is an array, of which it drops the items that are not strings.
    pub(crate) fn require_strings(
        &mut self,
        key: &'static str,
        found: Option<ValueRef<'_>>,
        default: impl FnOnce() -> Fragment,
    ) {
        let Some(array) = found.filter(|value| value.kind() == Kind::Array) else {
            return self.replace(key, found, "an array", default());
        };
        let path = self.path.key(key);
        let mut dropped = Vec::new();
        for (n, item) in array.items().enumerate().filter(|(_, item)| item.kind() != Kind::String) {
            self.pass.dropped_kind(&path.item(n), item.kind(), "a string");
            dropped.push((n, None));
        }
        self.edits.within(key, Change::Items(dropped, Vec::new()));
    }

    pub(crate) fn drop_unless(&mut self, key: &'static str, found: Option<ValueRef<'_>>, expected: Kind) {
        if let Some(other) = found.filter(|value| value.kind() != expected) {
            self.pass.dropped_kind(&self.path.key(key), other.kind(), expected.name());
            self.edits.remove(key);
        }
    }

    /// Makes `updated_at` a whole number of milliseconds, at least 0.
    pub(crate) fn require_timestamp(&mut self, found: Option<ValueRef<'_>>) {
        const KEY: &str = "updated_at";
        let Some(stamp) = found else { return self.edits.set(KEY, 0u64) };
        match stamp.as_f64().filter(|ms| ms.is_finite()) {
            Some(ms) if ms.floor().max(0.0) == ms => {}
            Some(ms) => {
                self.edits.set(KEY, Fragment::from_valid_json(format!("{:.0}", ms.floor().max(0.0))));
            }
            None => self.replace(KEY, found, "a number", 0u64.into()),
        }
    }
}
