//! Objects and lists that were touched, and the edits themselves.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::scan::{INDEX_FROM, Source, scan};
use crate::value::Name;
use crate::{Document, Fragment, Kind, ValueRef};

#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A value as it stands in one of the document's texts. In source 0 (what was read) at its own place.
    Raw {
        source: u32,
        at: u32,
    },
    Object(Box<Obj>),
    Array(Box<Arr>),
}

/// An object of which a member was touched. The first members are those of the origin, in its order, removed and
/// overruled ones included, so that the white space around each can still be found in the text.
#[derive(Debug, Clone)]
pub(crate) struct Obj {
    pub(crate) origin: (u32, u32),
    pub(crate) members: Vec<Member>,
    /// Decoded key -> live member; kept from [`INDEX_FROM`] members on.
    index: Option<HashMap<Vec<u8>, u32>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) key: Key,
    pub(crate) value: Node,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Live,
    /// A later member of the same name counts; the text stays.
    Overruled,
    Removed,
}

#[derive(Debug, Clone)]
pub(crate) enum Key {
    /// The key entry in the origin's source.
    Origin(u32),
    /// Decoded.
    New(Cow<'static, str>),
}

/// A list of which an item was touched; removed items of the origin stay as `None`.
#[derive(Debug, Clone)]
pub(crate) struct Arr {
    pub(crate) origin: (u32, u32),
    pub(crate) items: Vec<Option<Node>>,
    /// How many of the items are the origin's.
    pub(crate) from_origin: usize,
}

impl Source {
    /// The source of a fragment, which is valid by construction.
    pub(crate) fn of(fragment: Fragment) -> Source {
        scan(fragment.into_text()).unwrap_or_else(|_| {
            // Deeper than a document may be: only a `serde_json::Value` built by hand can be. Nothing sensible to keep.
            scan("null".to_owned()).unwrap_or_else(|_| unreachable!("`null` is JSON"))
        })
    }
}

impl Obj {
    fn of(sources: &[Arc<Source>], source: u32, at: u32) -> Self {
        let s = &sources[source as usize];
        // Each is a key and a value at least; with room for what is put in.
        let most = (s.entry(at).next - at) as usize / 2 + 2;
        let mut members = Vec::with_capacity(most.min(16));
        members.extend(s.keys(at).map(|k| Member {
            key: Key::Origin(k),
            value: Node::Raw { source, at: k + 1 },
            state: if s.is_overruled(k) { State::Overruled } else { State::Live },
        }));
        let mut this = Self { origin: (source, at), members, index: None };
        this.index_if_large(sources);
        this
    }

    pub(crate) fn name<'a>(&self, sources: &'a [Arc<Source>], member: &'a Member) -> Name<'a> {
        match &member.key {
            Key::Origin(k) => Name::Read(&sources[self.origin.0 as usize], *k),
            Key::New(text) => Name::Given(text),
        }
    }

    fn index_if_large(&mut self, sources: &[Arc<Source>]) {
        if self.index.is_none() && self.members.len() > INDEX_FROM {
            let index = (0u32..)
                .zip(&self.members)
                .filter(|(_, m)| m.state == State::Live)
                .map(|(n, m)| (self.name(sources, m).bytes().into_owned(), n))
                .collect();
            self.index = Some(index);
        }
    }

    fn position(&self, sources: &[Arc<Source>], key: &[u8]) -> Option<usize> {
        if let Some(index) = &self.index {
            return index.get(key).map(|&n| n as usize);
        }
        let origin = &sources[self.origin.0 as usize];
        self.members.iter().position(|m| {
            let is_named = match &m.key {
                Key::Origin(k) => origin.text_is(*k, key),
                Key::New(text) => text.as_bytes() == key,
            };
            is_named && m.state == State::Live
        })
    }

    pub(crate) fn get(&self, document: &Document, key: &[u8]) -> Option<&Node> {
        self.position(&document.sources, key).map(|n| &self.members[n].value)
    }

    fn set(&mut self, sources: &[Arc<Source>], key: Cow<'static, str>, value: Node) {
        if let Some(n) = self.position(sources, key.as_bytes()) {
            self.members[n].value = value;
            return;
        }
        if let Some(index) = &mut self.index {
            index.insert(key.as_bytes().to_vec(), self.members.len() as u32);
        }
        self.members.push(Member { key: Key::New(key), value, state: State::Live });
        self.index_if_large(sources);
    }

    fn remove(&mut self, sources: &[Arc<Source>], key: &str) -> bool {
        let Some(n) = self.position(sources, key.as_bytes()) else { return false };
        self.members[n].state = State::Removed;
        if let Some(index) = &mut self.index {
            index.remove(key.as_bytes());
        }
        // The ones that it overruled must not come to life.
        for n in 0..self.members.len() {
            let m = &self.members[n];
            if m.state == State::Overruled && *self.name(sources, m).bytes() == *key.as_bytes() {
                self.members[n].state = State::Removed;
            }
        }
        true
    }
}

impl Arr {
    fn of(sources: &[Arc<Source>], source: u32, at: u32) -> Self {
        let items: Vec<_> =
            sources[source as usize].items(at).map(|at| Some(Node::Raw { source, at })).collect();
        Self { origin: (source, at), from_origin: items.len(), items }
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
                // Which scalar does not matter to an edit.
                _ => Kind::Null,
            },
        }
    }

    /// The list of members of an object that is to be touched.
    fn object(&mut self, sources: &[Arc<Source>]) -> Option<&mut Obj> {
        if let Node::Raw { source, at } = *self
            && self.kind(sources) == Kind::Object
        {
            *self = Node::Object(Box::new(Obj::of(sources, source, at)));
        }
        match self {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// What is at a path below this, to be touched.
    fn at(&mut self, sources: &[Arc<Source>], path: &[&str]) -> Option<&mut Node> {
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

    fn array(&mut self, sources: &[Arc<Source>]) -> Option<&mut Arr> {
        if let Node::Raw { source, at } = *self
            && self.kind(sources) == Kind::Array
        {
            *self = Node::Array(Box::new(Arr::of(sources, source, at)));
        }
        match self {
            Node::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl Arr {
    /// Each item is in its place before the next is made.
    fn append(&mut self, sources: &mut Vec<Arc<Source>>, items: impl IntoIterator<Item = Fragment>) {
        self.items.extend(items.into_iter().map(|item| Some(insert(sources, item))));
    }
}

/// A text of values that were put in is not made longer than this.
const POOL_BYTES: usize = 1 << 24;

/// Values that are put in stand one behind the other in one text: most are a word or two, and a text of its own costs more
/// than such a value.
fn insert(sources: &mut Vec<Arc<Source>>, fragment: Fragment) -> Node {
    let last = sources.len() - 1;
    // The first is what was read; what a copy of the document shares is not touched.
    let pool = sources.last_mut().filter(|_| last > 0).and_then(Arc::get_mut);
    if let Some(pool) = pool.filter(|pool| pool.text.len() + fragment.text().len() <= POOL_BYTES)
        && let Some(at) = pool.push(fragment.text())
    {
        return Node::Raw { source: last as u32, at };
    }
    let mut pool = Source::empty();
    let at = pool.push(fragment.text());
    // Deeper than a document may be: only a `serde_json::Value` built by hand can be. Nothing sensible to keep.
    let at = at.or_else(|| pool.push("null")).unwrap_or_default();
    sources.push(Arc::new(pool));
    Node::Raw { source: (last + 1) as u32, at }
}

pub(crate) fn set(document: &mut Document, path: &[&str], value: Fragment) -> bool {
    let Some(change) = set_change(document.root(), path, value) else { return false };
    document.apply(change);
    true
}

/// The change that puts a value at a path below `at`; `None` when it is there already, or cannot be put there.
fn set_change(at: ValueRef<'_>, path: &[&str], value: Fragment) -> Option<Change> {
    let Some((step, rest)) = path.split_first() else {
        let new = Document::of_any(&value);
        return (!at.same_json(&new.root())).then_some(Change::Replace(value));
    };
    match at.kind() {
        Kind::Object => {
            let change = match at.get(step) {
                Some(there) => set_change(there, rest, value)?,
                None => Change::Replace(wrap(rest, value)),
            };
            Some(Change::Members(vec![(Cow::Owned((*step).to_owned()), Some(change))]))
        }
        Kind::Array => {
            let n: usize = step.parse().ok()?;
            match at.items().nth(n) {
                Some(there) => {
                    Some(Change::Items(vec![(n, Some(set_change(there, rest, value)?))], Vec::new()))
                }
                None if n == at.items().count() => Some(Change::Items(Vec::new(), vec![wrap(rest, value)])),
                None => None,
            }
        }
        _ => None,
    }
}

pub(crate) fn append(
    document: &mut Document,
    path: &[&str],
    items: impl IntoIterator<Item = Fragment>,
) -> bool {
    if document.get(path).is_none_or(|list| list.kind() != Kind::Array) {
        return false;
    }
    let mut items = items.into_iter().peekable();
    if items.peek().is_none() {
        return false;
    }
    document.modified = true;
    let Document { sources, root, .. } = document;
    let Some(array) = root.at(sources, path).and_then(|list| list.array(sources)) else { return false };
    array.append(sources, items);
    true
}

pub(crate) fn set_in_items(
    document: &mut Document,
    list: &[&str],
    path: &[&str],
    mut value: impl FnMut(usize, ValueRef<'_>) -> Option<Fragment>,
) -> bool {
    let items = document.get(list).into_iter().flat_map(|list| list.items()).enumerate();
    let changed = items.filter_map(|(n, item)| {
        let there = path.iter().try_fold(item, |value, step| value.get(step))?;
        Some((n, Some(set_change(item, path, value(n, there)?)?)))
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return false;
    }
    let Some(change) = below(document, list, Change::Items(changed, Vec::new())) else { return false };
    document.apply(change);
    true
}

/// A change of what is at a path, as one of the root.
fn below(document: &Document, path: &[&str], mut change: Change) -> Option<Change> {
    // Which of the steps go into lists is known from the front only.
    let kinds: Vec<Kind> = (0..path.len()).filter_map(|n| Some(document.get(&path[..n])?.kind())).collect();
    for (step, kind) in path.iter().zip(kinds).rev() {
        change = match kind {
            Kind::Array => Change::Items(vec![(step.parse().ok()?, Some(change))], Vec::new()),
            _ => Change::Members(vec![(Cow::Owned((*step).to_owned()), Some(change))]),
        };
    }
    Some(change)
}

/// The value inside objects that are not there yet.
fn wrap(path: &[&str], value: Fragment) -> Fragment {
    path.iter().rev().fold(value, |inner, key| Fragment::object([(key, inner)]))
}

pub(crate) fn remove(document: &mut Document, path: &[&str]) -> bool {
    let Some(change) = remove_change(document.root(), path) else { return false };
    document.apply(change);
    true
}

fn remove_change(at: ValueRef<'_>, path: &[&str]) -> Option<Change> {
    let (step, rest) = path.split_first()?;
    let inner = |there| if rest.is_empty() { Some(None) } else { remove_change(there, rest).map(Some) };
    match at.kind() {
        Kind::Object => Some(Change::Members(vec![(Cow::Owned((*step).to_owned()), inner(at.get(step)?)?)])),
        Kind::Array => {
            let n: usize = step.parse().ok()?;
            Some(Change::Items(vec![(n, inner(at.items().nth(n)?)?)], Vec::new()))
        }
        _ => None,
    }
}

/// Edits of one value, decided by looking and then applied in one go: so a document that needs none is never touched,
/// and one network's edits cost nothing for the others.
#[derive(Debug, Clone)]
pub enum Change {
    /// Put this in its place.
    Replace(Fragment),
    /// Change members of an object, in this order; `None` removes.
    Members(Vec<(Cow<'static, str>, Option<Change>)>),
    /// Change items of a list by their place (ascending); `None` removes. Then append.
    Items(Vec<(usize, Option<Change>)>, Vec<Fragment>),
}

impl Change {
    /// Whether it edits nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Change::Replace(_) => false,
            Change::Members(members) => members.is_empty(),
            Change::Items(items, more) => items.is_empty() && more.is_empty(),
        }
    }
}

impl Document {
    /// A document of any value, for comparing.
    fn of_any(fragment: &Fragment) -> Document {
        Document {
            sources: vec![Arc::new(Source::of(fragment.clone()))],
            root: Node::Raw { source: 0, at: 0 },
            modified: false,
            original: None,
            bom: false,
        }
    }

    /// Applies edits to the root.
    pub fn apply(&mut self, change: Change) {
        if change.is_empty() {
            return;
        }
        self.modified = true;
        let Document { sources, root, .. } = self;
        apply(sources, root, change);
    }
}

fn apply(sources: &mut Vec<Arc<Source>>, node: &mut Node, change: Change) {
    match change {
        Change::Replace(fragment) => *node = insert(sources, fragment),
        Change::Members(members) => {
            for (key, change) in members {
                match change {
                    None => {
                        if let Some(object) = node.object(sources) {
                            object.remove(sources, &key);
                        }
                    }
                    Some(Change::Replace(fragment)) => {
                        let value = insert(sources, fragment);
                        if let Some(object) = node.object(sources) {
                            object.set(sources, key, value);
                        }
                    }
                    Some(change) => {
                        let Some(object) = node.object(sources) else { continue };
                        if let Some(place) = object.position(sources, key.as_bytes()) {
                            apply(sources, &mut object.members[place].value, change);
                        }
                    }
                }
            }
        }
        Change::Items(items, more) => {
            let Some(array) = node.array(sources) else { return };
            // Places are those of the live items before this change.
            let places: Vec<usize> =
                array.items.iter().enumerate().filter(|(_, i)| i.is_some()).map(|(place, _)| place).collect();
            for (n, change) in items {
                let Some(item) = places.get(n).and_then(|&place| array.items.get_mut(place)) else {
                    continue;
                };
                match (change, item.as_mut()) {
                    (Some(change), Some(node)) => apply(sources, node, change),
                    _ => *item = None,
                }
            }
            array.append(sources, more);
        }
    }
}
