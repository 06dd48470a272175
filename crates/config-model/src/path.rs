//! Places in a document.

use myownllm_json_document::push_pointer;

/// A place in a document. A pass builds one for each member on its way, and the text only for a
/// diagnostic.
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

    pub(crate) fn pointer(&self) -> String {
        match self {
            Path::Root => String::new(),
            Path::Key(parent, key) => child(&parent.pointer(), key),
            Path::Item(parent, n) => child(&parent.pointer(), &n.to_string()),
        }
    }
}

/// Returns the JSON Pointer of a member or an item.
pub(crate) fn child(path: &str, step: &str) -> String {
    let mut pointer = path.to_owned();
    push_pointer(&mut pointer, step);
    pointer
}
