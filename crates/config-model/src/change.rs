//! Collecting edits and findings while looking at a document.

use std::borrow::Cow;

use crate::{Diagnostic, Fragment, Ids, Kind, Severity, ValueRef};
use myownllm_json_document::{Change, push_pointer};

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
    /// Changes inside a member that is there.
    pub(crate) fn within(&mut self, key: impl Into<Cow<'static, str>>, change: Change) {
        if !change.is_empty() {
            self.0.push((key.into(), Some(change)));
        }
    }
    pub(crate) fn into_change(self) -> Change {
        Change::Members(self.0)
    }
}

/// Where a pass stands; a text is made of it only when there is something to report.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(crate) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path::Key(self, key)
    }
    pub(crate) fn item(&'p self, n: usize) -> Path<'p> {
        Path::Item(self, n)
    }
    fn pointer(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Key(parent, key) => child(&parent.pointer(), key),
            Path::Item(parent, n) => child(&parent.pointer(), &n.to_string()),
        }
    }
}

/// What a pass over a document needs and gathers.
pub(crate) struct Pass<'i> {
    pub(crate) ids: &'i mut dyn Ids,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'i> Pass<'i> {
    pub(crate) fn new(ids: &'i mut dyn Ids) -> Self {
        Self { ids, diagnostics: Vec::new() }
    }

    pub(crate) fn note(&mut self, code: &'static str, severity: Severity, path: &Path<'_>, message: String) {
        self.diagnostics.push(Diagnostic {
            code,
            severity,
            message,
            path: path.pointer(),
            hint: None,
            place: None,
        });
    }

    /// A value of the wrong type stays where it is.
    pub(crate) fn wrong_type(&mut self, path: &Path<'_>, found: Kind, wanted: &str) {
        let (at, found) = (path.pointer(), found.name());
        let message =
            format!("{at} is {found}, not {wanted}; it stays in the file, and counts as its default");
        self.note("config.wrong-type", Severity::Warning, path, message);
    }

    /// A value that could not be used gave way to its default.
    pub(crate) fn replaced(&mut self, path: &Path<'_>, found: Kind, wanted: &str) {
        let message =
            format!("{} was {}, not {wanted}; replaced by the default", path.pointer(), found.name());
        self.note("config.replaced", Severity::Warning, path, message);
    }

    pub(crate) fn dropped(&mut self, path: &Path<'_>, why: impl Into<String>) {
        let message = format!("{} was left out: {}", path.pointer(), why.into());
        self.note("config.dropped", Severity::Warning, path, message);
    }

    pub(crate) fn migrated(&mut self, path: &Path<'_>, what: impl Into<String>) {
        self.note("config.migrated", Severity::Info, path, what.into());
    }

    /// Reports a wrong type of a value that stays.
    pub(crate) fn check(&mut self, path: &Path<'_>, key: &str, value: ValueRef<'_>, wanted: Kind) {
        if value.kind() != wanted {
            self.wrong_type(&path.key(key), value.kind(), wanted.name());
        }
    }
}

/// The JSON Pointer of a member or item.
pub(crate) fn child(path: &str, step: &str) -> String {
    let mut pointer = path.to_owned();
    push_pointer(&mut pointer, step);
    pointer
}
