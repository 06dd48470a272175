//! The values of a document: texts, and containers that an edit has touched.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::fragment::Fragment;
use crate::scanner::INDEX_FROM;
use crate::source::Source;

/// The longest text of inserted values.
const POOL_BYTES: usize = 1 << 24;

/// The texts of a document, and its root.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// The first text is the one that was read; the others hold inserted values.
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) root: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A value as one of the texts has it. In source 0, also at its own place.
    Raw { source: u32, at: u32 },
    /// An object or an array with an edit in it.
    Edited(Box<Container>),
}

/// An object or an array with a touched child.
///
/// Begins with all children of the origin in their order, removed and shadowed ones included: the
/// white space around each child is looked up in the origin's text.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) origin: (u32, u32),
    pub(crate) is_object: bool,
    pub(crate) children: Vec<Child>,
    /// Decoded key -> live member; kept for more than [`INDEX_FROM`] members.
    index: Option<HashMap<Vec<u8>, u32>>,
}

/// A member of an object, or an item of an array.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) name: ChildName,
    pub(crate) value: Node,
    pub(crate) state: ChildState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildState {
    Live,
    /// A later member of the same name counts; the text stays.
    Shadowed,
    Removed,
}

#[derive(Debug, Clone)]
pub(crate) enum ChildName {
    /// The entry of the key, or of the item, in the origin's source.
    Origin(u32),
    /// Decoded; empty for an item.
    New(Cow<'static, str>),
}

#[derive(Clone, Copy)]
pub(crate) enum Name<'a> {
    /// A key in a text.
    Read(&'a Source, u32),
    /// The name of an inserted member; empty for an item.
    Given(&'a str),
}

impl<'a> Name<'a> {
    /// Returns the decoded bytes, with lone surrogates in their three-byte form.
    #[inline]
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        match self {
            Name::Read(source, key) => source.decoded(key),
            Name::Given(text) => Cow::Borrowed(text.as_bytes()),
        }
    }

    /// Returns the text, with lone surrogates as U+FFFD.
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Name::Read(source, key) => source.decoded_text(key),
            Name::Given(text) => Cow::Borrowed(text),
        }
    }
}

impl Source {
    /// Scans a fragment, which is valid by construction.
    pub(crate) fn of(fragment: Fragment) -> Source {
        Self::scan(fragment.into_text()).unwrap_or_else(|_| {
            // Deeper than a document may be. Only a hand-built `serde_json::Value` can be.
            Self::scan("null".to_owned()).unwrap_or_else(|_| unreachable!("`null` is JSON"))
        })
    }
}

impl Tree {
    pub(crate) fn of(source: Source) -> Self {
        Self { sources: vec![Arc::new(source)], root: Node::Raw { source: 0, at: 0 } }
    }

    pub(crate) fn read(&self) -> &Source {
        &self.sources[0]
    }
}

/// Stores an inserted value. Such values share a text: most are a word or two, and a text of its
/// own would cost more than the value.
pub(crate) fn insert(sources: &mut Vec<Arc<Source>>, fragment: Fragment) -> Node {
    let last = sources.len() - 1;
    // Leaves alone the text that was read, and texts that a clone of the document shares.
    let pool = sources.last_mut().filter(|_| last > 0).and_then(Arc::get_mut);
    if let Some(pool) = pool.filter(|pool| pool.text.len() + fragment.text().len() <= POOL_BYTES)
        && let Some(at) = pool.push(fragment.text())
    {
        return Node::Raw { source: last as u32, at };
    }
    let mut pool = Source::empty();
    let at = pool.push(fragment.text());
    // Deeper than a document may be. Only a hand-built `serde_json::Value` can be.
    let at = at.or_else(|| pool.push("null")).unwrap_or_default();
    sources.push(Arc::new(pool));
    Node::Raw { source: (last + 1) as u32, at }
}

impl Child {
    fn new(name: Cow<'static, str>, value: Node) -> Self {
        Self { name: ChildName::New(name), value, state: ChildState::Live }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state == ChildState::Live
    }
}

impl Container {
    fn of(sources: &[Arc<Source>], source: u32, at: u32) -> Self {
        let s = &sources[source as usize];
        let is_object = s.first_byte(at) == b'{';
        let to_value = u32::from(is_object);
        // Each member takes at least two entries. The rest is space for insertions.
        let at_most = (s.entry(at).next - at) as usize / 2 + 2;
        let mut children = Vec::with_capacity(at_most.min(16));
        children.extend(s.children(at).map(|entry| Child {
            name: ChildName::Origin(entry),
            value: Node::Raw { source, at: entry + to_value },
            state: if s.is_shadowed(entry) { ChildState::Shadowed } else { ChildState::Live },
        }));
        let mut this = Self { origin: (source, at), is_object, children, index: None };
        this.index_if_large(sources);
        this
    }

    pub(crate) fn name<'a>(&self, sources: &'a [Arc<Source>], child: &'a Child) -> Name<'a> {
        match &child.name {
            ChildName::Origin(entry) => Name::Read(&sources[self.origin.0 as usize], *entry),
            ChildName::New(text) => Name::Given(text),
        }
    }

    fn index_if_large(&mut self, sources: &[Arc<Source>]) {
        if self.is_object && self.index.is_none() && self.children.len() > INDEX_FROM {
            let members = (0u32..).zip(&self.children).filter(|(_, member)| member.is_live());
            let index =
                members.map(|(n, member)| (self.name(sources, member).bytes().into_owned(), n)).collect();
            self.index = Some(index);
        }
    }

    /// Returns the position of the live member with this name.
    pub(crate) fn position(&self, sources: &[Arc<Source>], key: &[u8]) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).map(|&n| n as usize),
            None => {
                let is_it = |member: &Child| *self.name(sources, member).bytes() == *key && member.is_live();
                self.children.iter().position(is_it)
            }
        }
    }

    pub(crate) fn set(&mut self, sources: &[Arc<Source>], key: Cow<'static, str>, value: Node) {
        if let Some(n) = self.position(sources, key.as_bytes()) {
            self.children[n].value = value;
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(key.as_bytes().to_vec(), self.children.len() as u32);
        }
        self.children.push(Child::new(key, value));
        self.index_if_large(sources);
    }

    pub(crate) fn remove(&mut self, sources: &[Arc<Source>], key: &str) {
        let Some(n) = self.position(sources, key.as_bytes()) else { return };
        self.children[n].state = ChildState::Removed;
        if let Some(index) = &mut self.index {
            index.remove(key.as_bytes());
        }
        // A reader of the written text would take a shadowed duplicate for the member.
        for n in 0..self.children.len() {
            let member = &self.children[n];
            if member.state == ChildState::Shadowed && *self.name(sources, member).bytes() == *key.as_bytes()
            {
                self.children[n].state = ChildState::Removed;
            }
        }
    }

    pub(crate) fn append(&mut self, sources: &mut Vec<Arc<Source>>, items: Vec<Fragment>) {
        self.children.extend(items.into_iter().map(|item| Child::new("".into(), insert(sources, item))));
    }
}

impl Node {
    /// Returns the object (else the array) that an edit is about to touch; `None` if the value is
    /// no such one.
    pub(crate) fn container(&mut self, sources: &[Arc<Source>], is_object: bool) -> Option<&mut Container> {
        if let Node::Raw { source, at } = *self
            && sources[source as usize].first_byte(at) == if is_object { b'{' } else { b'[' }
        {
            *self = Node::Edited(Box::new(Container::of(sources, source, at)));
        }
        match self {
            Node::Edited(container) if container.is_object == is_object => Some(container),
            _ => None,
        }
    }
}
