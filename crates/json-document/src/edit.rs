//! Edits are decided by looking, and then applied in one go: a document that needs none is never
//! touched, and an edit of one item costs nothing for the others.

use std::borrow::Cow;
use std::sync::Arc;

use crate::fragment::Fragment;
use crate::source::Source;
use crate::tree::{Child, ChildState, Node, Tree, insert};
use crate::value::{Kind, ValueRef};

/// Edits of one value.
#[derive(Debug, Clone)]
pub enum Change {
    /// Replaces the value.
    Replace(Fragment),
    /// Changes members of an object, in this order; `None` removes a member.
    Members(Vec<(Cow<'static, str>, Option<Change>)>),
    /// Changes items of an array by index, ascending; `None` removes an item. Then appends items.
    Items(Vec<(usize, Option<Change>)>, Vec<Fragment>),
}

impl Change {
    /// Returns true if there is nothing to edit.
    pub fn is_empty(&self) -> bool {
        match self {
            Change::Replace(_) => false,
            Change::Members(members) => members.is_empty(),
            Change::Items(items, more) => items.is_empty() && more.is_empty(),
        }
    }
}

/// The outcome of setting a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOutcome {
    /// The document has the value now.
    Changed,
    /// The document had an equal value already, and keeps its bytes.
    Equal,
    /// The document cannot hold a value there: something on the way is neither an object nor an
    /// array, or the array is too short.
    Blocked,
}

impl SetOutcome {
    /// Returns true if the document changed.
    pub fn is_changed(self) -> bool {
        self == Self::Changed
    }

    /// Returns true if the document changed. [`is_changed`](Self::is_changed) is false for a
    /// blocked path too, as if the value had been there.
    ///
    /// # Errors
    /// The document cannot hold a value there.
    pub fn changed(self) -> Result<bool, Blocked> {
        match self {
            Self::Changed => Ok(true),
            Self::Equal => Ok(false),
            Self::Blocked => Err(Blocked),
        }
    }
}

/// The error for [`SetOutcome::Blocked`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot set the value: the path leads through a value that is neither an object nor an array, or past \
    the end of an array"
)]
pub struct Blocked;

/// Returns the change that puts `value` at a path below `at`, or the reason why none is needed or
/// possible.
pub(crate) fn set(at: ValueRef<'_>, path: &[&str], value: Fragment) -> Result<Change, SetOutcome> {
    let Some((step, rest)) = path.split_first() else {
        let tree = Tree::of(Source::of(value.clone()));
        let is_equal = at.same_json(&ValueRef::read(&tree, 0));
        return if is_equal { Err(SetOutcome::Equal) } else { Ok(Change::Replace(value)) };
    };
    match at.kind() {
        Kind::Object => {
            let change = match at.get(step) {
                Some(there) => set(there, rest, value)?,
                None => Change::Replace(wrap(rest, value)),
            };
            Ok(Change::Members(vec![(Cow::Owned((*step).to_owned()), Some(change))]))
        }
        Kind::Array => {
            let n: usize = step.parse().map_err(|_| SetOutcome::Blocked)?;
            match at.items().nth(n) {
                Some(there) => Ok(Change::Items(vec![(n, Some(set(there, rest, value)?))], Vec::new())),
                None if n == at.items().count() => Ok(Change::Items(Vec::new(), vec![wrap(rest, value)])),
                None => Err(SetOutcome::Blocked),
            }
        }
        _ => Err(SetOutcome::Blocked),
    }
}

/// Puts `value` inside objects that do not exist yet.
fn wrap(path: &[&str], value: Fragment) -> Fragment {
    path.iter().rev().fold(value, |inner, key| Fragment::object([(key, inner)]))
}

/// Returns the change that sets `path` in the items of the array at `array`. `value` gets the index
/// of an item and the value at `path` in it, and returns the new value, if any.
pub(crate) fn set_in_items(
    root: ValueRef<'_>,
    array: &[&str],
    path: &[&str],
    mut value: impl FnMut(usize, ValueRef<'_>) -> Option<Fragment>,
) -> Option<Change> {
    let items = root.at_path(array)?.items().enumerate();
    let changed = items.filter_map(|(n, item)| {
        let there = path.iter().try_fold(item, |value, step| value.get(step))?;
        Some((n, Some(set(item, path, value(n, there)?).ok()?)))
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return None;
    }
    below(root, array, Some(Change::Items(changed, Vec::new())))
}

/// Returns the change that appends `items` to the array at `path`, if there is one and any item.
pub(crate) fn append(root: ValueRef<'_>, path: &[&str], items: Vec<Fragment>) -> Option<Change> {
    let is_array = root.at_path(path)?.kind() == Kind::Array;
    if !is_array || items.is_empty() {
        return None;
    }
    below(root, path, Some(Change::Items(Vec::new(), items)))
}

/// Turns a change of the value at `path` into a change of the root; `None` removes the value.
fn below(root: ValueRef<'_>, path: &[&str], mut change: Option<Change>) -> Option<Change> {
    // Only a walk from the root tells which of the steps go into arrays.
    for (n, step) in path.iter().enumerate().rev() {
        change = Some(match root.at_path(&path[..n])?.kind() {
            Kind::Array => Change::Items(vec![(step.parse().ok()?, change)], Vec::new()),
            _ => Change::Members(vec![(Cow::Owned((*step).to_owned()), change)]),
        });
    }
    change
}

pub(crate) fn remove(root: ValueRef<'_>, path: &[&str]) -> Option<Change> {
    root.at_path(path)?;
    below(root, path, None)
}

pub(crate) fn merge_patch(target: ValueRef<'_>, patch: ValueRef<'_>) -> Change {
    let mut edits = Vec::new();
    for (key, value) in patch.members() {
        let there = target.get(&key);
        let edit = match (value.kind(), there) {
            (Kind::Null, None) => continue,
            (Kind::Null, Some(_)) => None,
            (Kind::Object, Some(there)) if there.kind() == Kind::Object => {
                let inner = merge_patch(there, value);
                if inner.is_empty() {
                    continue;
                }
                Some(inner)
            }
            (Kind::Object, _) => Some(Change::Replace(without_nulls(value))),
            (_, Some(there)) if there.same_json(&value) => continue,
            _ => Some(Change::Replace(value.into())),
        };
        edits.push((Cow::Owned(key.into_owned()), edit));
    }
    Change::Members(edits)
}

/// Returns the object that `patch` makes where there is none.
fn without_nulls(patch: ValueRef<'_>) -> Fragment {
    let members = patch.members().filter(|(_, value)| !value.is_null());
    Fragment::object(members.map(|(key, value)| match value.kind() {
        Kind::Object => (key, without_nulls(value)),
        _ => (key, value.into()),
    }))
}

impl Tree {
    pub(crate) fn apply(&mut self, change: Change) {
        apply(&mut self.sources, &mut self.root, change);
    }
}

fn apply(sources: &mut Vec<Arc<Source>>, node: &mut Node, change: Change) {
    match change {
        Change::Replace(fragment) => *node = insert(sources, fragment),
        Change::Members(members) => {
            for (key, change) in members {
                apply_to_member(sources, node, key, change);
            }
        }
        Change::Items(items, more) => {
            let Some(array) = node.container(sources, false) else { return };
            // Indexes count the live items before this change.
            let mut live: Vec<&mut Child> = array.children.iter_mut().filter(|item| item.is_live()).collect();
            for (n, change) in items {
                let Some(item) = live.get_mut(n) else { continue };
                match change {
                    Some(change) => apply(sources, &mut item.value, change),
                    None => item.state = ChildState::Removed,
                }
            }
            array.append(sources, more);
        }
    }
}

fn apply_to_member(
    sources: &mut Vec<Arc<Source>>,
    node: &mut Node,
    key: Cow<'static, str>,
    change: Option<Change>,
) {
    let Some(object) = node.container(sources, true) else { return };
    match change {
        None => object.remove(sources, &key),
        Some(Change::Replace(fragment)) => {
            let value = insert(sources, fragment);
            object.set(sources, key, value);
        }
        Some(change) => {
            if let Some(place) = object.position(sources, key.as_bytes()) {
                apply(sources, &mut object.children[place].value, change);
            }
        }
    }
}
