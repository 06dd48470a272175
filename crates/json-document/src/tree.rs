//! The values of a document: texts, and containers that an edit has touched.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::fragment::Fragment;
use crate::kind::Kind;
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
    /// An object with an edit in it.
    Object(Box<ObjectNode>),
    /// An array with an edit in it.
    Array(Box<ArrayNode>),
}

/// An object with a touched member.
///
/// Begins with all members of the origin in their order, removed and shadowed ones included: the
/// white space around each member is looked up in the origin's text.
#[derive(Debug, Clone)]
pub(crate) struct ObjectNode {
    pub(crate) origin: (u32, u32),
    pub(crate) members: Vec<Member>,
    /// Decoded key -> live member; kept for more than [`INDEX_FROM`] members.
    index: Option<HashMap<Vec<u8>, u32>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) key: MemberKey,
    pub(crate) value: Node,
    pub(crate) state: MemberState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberState {
    Live,
    /// A later member of the same name counts; the text stays.
    Shadowed,
    Removed,
}

#[derive(Debug, Clone)]
pub(crate) enum MemberKey {
    /// The key entry in the origin's source.
    Origin(u32),
    /// Decoded.
    New(Cow<'static, str>),
}

/// An array with a touched item. Removed items of the origin stay as `None`.
#[derive(Debug, Clone)]
pub(crate) struct ArrayNode {
    pub(crate) origin: (u32, u32),
    pub(crate) items: Vec<Option<Node>>,
    /// The number of leading items that come from the origin.
    pub(crate) from_origin: usize,
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

impl ObjectNode {
    fn of(sources: &[Arc<Source>], source: u32, at: u32) -> Self {
        let s = &sources[source as usize];
        // Each member takes at least two entries. The rest is space for insertions.
        let at_most = (s.entry(at).next - at) as usize / 2 + 2;
        let mut members = Vec::with_capacity(at_most.min(16));
        members.extend(s.keys(at).map(|k| Member {
            key: MemberKey::Origin(k),
            value: Node::Raw { source, at: k + 1 },
            state: if s.is_shadowed(k) { MemberState::Shadowed } else { MemberState::Live },
        }));
        let mut this = Self { origin: (source, at), members, index: None };
        this.index_if_large(sources);
        this
    }

    /// Returns the decoded name, with lone surrogates in their three-byte form.
    fn name<'a>(&self, sources: &'a [Arc<Source>], member: &'a Member) -> Cow<'a, [u8]> {
        match &member.key {
            MemberKey::Origin(k) => sources[self.origin.0 as usize].decoded(*k),
            MemberKey::New(text) => Cow::Borrowed(text.as_bytes()),
        }
    }

    fn index_if_large(&mut self, sources: &[Arc<Source>]) {
        if self.index.is_none() && self.members.len() > INDEX_FROM {
            let index = (0u32..)
                .zip(&self.members)
                .filter(|(_, m)| m.state == MemberState::Live)
                .map(|(n, m)| (self.name(sources, m).into_owned(), n))
                .collect();
            self.index = Some(index);
        }
    }

    /// Returns the position of the live member with this name.
    pub(crate) fn position(&self, sources: &[Arc<Source>], key: &[u8]) -> Option<usize> {
        if let Some(index) = &self.index {
            return index.get(key).map(|&n| n as usize);
        }
        let origin = &sources[self.origin.0 as usize];
        self.members.iter().position(|m| {
            let is_named = match &m.key {
                MemberKey::Origin(k) => origin.text_is(*k, key),
                MemberKey::New(text) => text.as_bytes() == key,
            };
            is_named && m.state == MemberState::Live
        })
    }

    pub(crate) fn set(&mut self, sources: &[Arc<Source>], key: Cow<'static, str>, value: Node) {
        if let Some(n) = self.position(sources, key.as_bytes()) {
            self.members[n].value = value;
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(key.as_bytes().to_vec(), self.members.len() as u32);
        }
        self.members.push(Member { key: MemberKey::New(key), value, state: MemberState::Live });
        self.index_if_large(sources);
    }

    pub(crate) fn remove(&mut self, sources: &[Arc<Source>], key: &str) {
        let Some(n) = self.position(sources, key.as_bytes()) else { return };
        self.members[n].state = MemberState::Removed;
        if let Some(index) = &mut self.index {
            index.remove(key.as_bytes());
        }
        // A reader of the written text would take a shadowed duplicate for the member.
        for n in 0..self.members.len() {
            let m = &self.members[n];
            if m.state == MemberState::Shadowed && *self.name(sources, m) == *key.as_bytes() {
                self.members[n].state = MemberState::Removed;
            }
        }
    }
}

impl ArrayNode {
    fn of(sources: &[Arc<Source>], source: u32, at: u32) -> Self {
        let items: Vec<_> =
            sources[source as usize].items(at).map(|at| Some(Node::Raw { source, at })).collect();
        Self { origin: (source, at), from_origin: items.len(), items }
    }

    /// Appends items. Each one is stored before the next is made.
    pub(crate) fn append(
        &mut self,
        sources: &mut Vec<Arc<Source>>,
        items: impl IntoIterator<Item = Fragment>,
    ) {
        self.items.extend(items.into_iter().map(|item| Some(insert(sources, item))));
    }
}

impl Node {
    fn kind(&self, sources: &[Arc<Source>]) -> Kind {
        match self {
            Node::Object(_) => Kind::Object,
            Node::Array(_) => Kind::Array,
            Node::Raw { source, at } => match sources[*source as usize].first_byte(*at) {
                b'{' => Kind::Object,
                b'[' => Kind::Array,
                // All scalars are alike to an edit.
                _ => Kind::Null,
            },
        }
    }

    /// Returns the members of an object that an edit is about to touch.
    pub(crate) fn object(&mut self, sources: &[Arc<Source>]) -> Option<&mut ObjectNode> {
        if let Node::Raw { source, at } = *self
            && self.kind(sources) == Kind::Object
        {
            *self = Node::Object(Box::new(ObjectNode::of(sources, source, at)));
        }
        match self {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Returns the items of an array that an edit is about to touch.
    pub(crate) fn array(&mut self, sources: &[Arc<Source>]) -> Option<&mut ArrayNode> {
        if let Node::Raw { source, at } = *self
            && self.kind(sources) == Kind::Array
        {
            *self = Node::Array(Box::new(ArrayNode::of(sources, source, at)));
        }
        match self {
            Node::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Returns the value at a path below this one, which an edit is about to touch.
    pub(crate) fn at(&mut self, sources: &[Arc<Source>], path: &[&str]) -> Option<&mut Node> {
        path.iter().try_fold(self, |node, step| match node.kind(sources) {
            Kind::Array => {
                let items = &mut node.array(sources)?.items;
                items.iter_mut().flatten().nth(step.parse().ok()?)
            }
            _ => {
                let object = node.object(sources)?;
                let place = object.position(sources, step.as_bytes())?;
                Some(&mut object.members[place].value)
            }
        })
    }
}
