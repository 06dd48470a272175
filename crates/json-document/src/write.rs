//! Turns a tree back into text.

use std::sync::Arc;

use crate::source::{Entries, Source};
use crate::text::push_quoted;
use crate::tree::{ArrayNode, MemberKey, MemberState, Node, ObjectNode, Tree};

/// The layout around an inserted value.
#[derive(Clone)]
struct Style<'s> {
    /// One value a line; otherwise everything is on one line.
    lines: bool,
    newline: &'s str,
    /// One step of indentation.
    step: &'s str,
    /// Between key and value, where everything is on one line.
    colon: &'s str,
    /// After a comma, where everything is on one line.
    gap: &'s str,
}

impl Style<'_> {
    /// Returns the beginning of every line.
    fn line(&self, indent: &str) -> String {
        let mut line = String::with_capacity(64);
        line.push_str(self.newline);
        line.push_str(indent);
        line
    }
}

/// Lays out a whole value with two-space indentation, one value a line.
pub(crate) fn pretty(source: &Source) -> String {
    let mut out = String::with_capacity(source.text.len() * 2);
    let style = Style { lines: true, newline: "\n", step: "  ", colon: ":", gap: "" };
    lay_out(source, 0, &style, &mut style.line(""), &mut out);
    out
}

pub(crate) fn write_document(tree: &Tree, out: &mut String) {
    let text = &tree.read().text;
    let root = tree.read().entry(0);
    out.push_str(&text[..root.start()]);
    Writer { sources: &tree.sources }.node(&tree.root, &document_style(tree.read()), "", out);
    out.push_str(&text[root.end()..]);
}

/// Appends the text of a touched object as if the object were the root.
pub(crate) fn write_object(tree: &Tree, object: &ObjectNode, out: &mut String) {
    Writer { sources: &tree.sources }.object(object, &document_style(tree.read()), "", out);
}

/// Appends the text of a touched array as if the array were the root.
pub(crate) fn write_array(tree: &Tree, array: &ArrayNode, out: &mut String) {
    Writer { sources: &tree.sources }.array(array, &document_style(tree.read()), "", out);
}

/// Derives the layout from the white space before the document's first key.
fn document_style(source: &Source) -> Style<'_> {
    let lead = source.keys(0).next().map(|k| lead_of(source, 0, k));
    let indent = lead.and_then(|lead| Some(&lead[lead.rfind('\n')? + 1..]));
    Style {
        lines: lead.is_none_or(|lead| lead.contains('\n')),
        newline: if lead.is_some_and(|lead| lead.contains("\r\n")) { "\r\n" } else { "\n" },
        step: indent.filter(|i| !i.is_empty()).unwrap_or("  "),
        colon: ":",
        gap: "",
    }
}

struct Writer<'t> {
    sources: &'t [Arc<Source>],
}

impl Writer<'_> {
    fn node(&self, node: &Node, style: &Style<'_>, indent: &str, out: &mut String) {
        match node {
            Node::Raw { source: 0, at } => out.push_str(self.sources[0].raw(*at)),
            Node::Raw { source, at } => {
                let source = &self.sources[*source as usize];
                match source.first_byte(*at) {
                    b'{' | b'[' => lay_out(source, *at, style, &mut style.line(indent), out),
                    _ => out.push_str(source.raw(*at)),
                }
            }
            Node::Object(object) => self.object(object, style, indent, out),
            Node::Array(array) => self.array(array, style, indent, out),
        }
    }

    fn object(&self, object: &ObjectNode, style: &Style<'_>, indent: &str, out: &mut String) {
        let source = &self.sources[object.origin.0 as usize];
        let original = source.entry(object.origin.1);
        let keys: Vec<u32> = source.keys(object.origin.1).collect();
        let first_lead = keys.first().map_or("", |&first| lead_of(source, object.origin.1, first));
        let closing =
            keys.last().map_or("", |&last| &source.text[source.entry(last + 1).end()..original.end() - 1]);
        // An object that was inserted and changed afterwards has no layout of its own to keep.
        let layout_of = keys.first().filter(|_| object.origin.0 == 0);
        let mut style = style.clone();
        if let Some(&first) = layout_of {
            style.lines = first_lead.contains('\n');
            style.colon = colon_of(source, first);
            style.gap = keys.get(1).map_or(if style.colon.ends_with(' ') { " " } else { "" }, |&second| {
                gap_between(source, first, second).1
            });
        }
        let inner = match first_lead.rfind('\n') {
            Some(n) if layout_of.is_some() => first_lead[n + 1..].to_owned(),
            _ => format!("{indent}{}", style.step),
        };
        out.push('{');
        let mut any = false;
        for (n, member) in object.members.iter().enumerate().filter(|(_, m)| m.state != MemberState::Removed)
        {
            if any {
                out.push(',');
            }
            let kept = match member.key {
                MemberKey::Origin(key) if layout_of.is_some() => Some(key),
                _ => None,
            };
            if let Some(key) = kept {
                let lead = if n == 0 { first_lead } else { gap_between(source, keys[n - 1], key).1 };
                // After the first member of a line was removed, the next one takes its place.
                out.push_str(if !any && !style.lines { first_lead } else { lead });
            } else if style.lines {
                out.push_str(style.newline);
                out.push_str(&inner);
            } else {
                out.push_str(if any { style.gap } else { first_lead });
            }
            match &member.key {
                MemberKey::Origin(key) => out.push_str(source.raw(*key)),
                MemberKey::New(key) => push_quoted(out, key),
            }
            out.push_str(match kept {
                Some(key) => colon_of(source, key),
                None if style.lines => ": ",
                None => style.colon,
            });
            self.node(&member.value, &style, &inner, out);
            if let (Some(key), Some(&next)) = (kept, keys.get(n + 1)) {
                // White space between a value and the comma after it is rare.
                let trail = gap_between(source, key, next).0;
                if object.members[n + 1..].iter().any(|m| m.state != MemberState::Removed) {
                    out.push_str(trail);
                }
            }
            any = true;
        }
        if any && layout_of.is_some() {
            out.push_str(closing);
        } else if any && style.lines {
            out.push_str(style.newline);
            out.push_str(indent);
        }
        out.push('}');
    }

    fn array(&self, array: &ArrayNode, style: &Style<'_>, indent: &str, out: &mut String) {
        let source = &self.sources[array.origin.0 as usize];
        let original = source.entry(array.origin.1);
        let items: Vec<u32> = source.items(array.origin.1).collect();
        let keeps_layout = array.origin.0 == 0 && !items.is_empty();
        let first_lead =
            items.first().map_or("", |&i| &source.text[original.start() + 1..source.entry(i).start()]);
        let closing = items.last().map_or("", |&i| &source.text[source.entry(i).end()..original.end() - 1]);
        let mut style = style.clone();
        if keeps_layout {
            style.lines = first_lead.contains('\n');
        }
        let inner = match first_lead.rfind('\n') {
            Some(n) if keeps_layout => first_lead[n + 1..].to_owned(),
            _ => format!("{indent}{}", style.step),
        };
        let gap_before = |n: usize| {
            split_gap(&source.text[source.entry(items[n - 1]).end()..source.entry(items[n]).start()])
        };
        if keeps_layout && items.len() > 1 {
            style.gap = gap_before(1).1;
        }
        out.push('[');
        let mut any = false;
        for (n, node) in array.items.iter().enumerate() {
            let Some(node) = node else { continue };
            if any {
                out.push(',');
            }
            if keeps_layout && n < array.from_origin {
                let lead = if n == 0 || (!any && !style.lines) { first_lead } else { gap_before(n).1 };
                out.push_str(lead);
            } else if style.lines {
                out.push_str(style.newline);
                out.push_str(&inner);
            } else {
                out.push_str(if any { style.gap } else { first_lead });
            }
            self.node(node, &style, &inner, out);
            if keeps_layout && n + 1 < array.from_origin && array.items[n + 1..].iter().any(Option::is_some) {
                out.push_str(gap_before(n + 1).0);
            }
            any = true;
        }
        if any {
            if keeps_layout {
                out.push_str(closing);
            } else if style.lines {
                out.push_str(style.newline);
                out.push_str(indent);
            }
        }
        out.push(']');
    }
}

/// Returns the white space between the brace of an object and its first key.
fn lead_of(source: &Source, object: u32, first_key: u32) -> &str {
    &source.text[source.entry(object).start() + 1..source.entry(first_key).start()]
}

/// Returns the text from a key to its value: the colon and the white space around it.
fn colon_of(source: &Source, key: u32) -> &str {
    &source.text[source.entry(key).end()..source.entry(key + 1).start()]
}

/// Returns the white space before and after the comma between two members.
fn gap_between(source: &Source, key: u32, next: u32) -> (&str, &str) {
    split_gap(&source.text[source.entry(key + 1).end()..source.entry(next).start()])
}

fn split_gap(gap: &str) -> (&str, &str) {
    gap.split_once(',').unwrap_or((gap, ""))
}

/// Writes a value of another text in the layout of the place where it is inserted.
///
/// The white space is new; keys, strings and numbers keep their spelling. `line` is the beginning
/// of every line, and is restored before the function returns.
fn lay_out(source: &Source, at: u32, style: &Style<'_>, line: &mut String, out: &mut String) {
    struct Open<'s> {
        entries: Entries<'s>,
        is_object: bool,
        any: bool,
    }
    // Nesting costs heap, not call stack.
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut next = Some(at);
    loop {
        if let Some(value) = next.take() {
            let first = source.first_byte(value);
            match first {
                b'{' if source.is_leaf(value) => out.push_str("{}"),
                b'[' if source.is_leaf(value) => out.push_str("[]"),
                b'{' | b'[' => {
                    let is_object = first == b'{';
                    out.push(char::from(first));
                    line.push_str(style.step);
                    let entries = if is_object { source.keys(value) } else { source.items(value) };
                    open.push(Open { entries, is_object, any: false });
                }
                _ => out.push_str(source.raw(value)),
            }
        }
        let Some(container) = open.last_mut() else { return };
        if let Some(entry) = container.entries.next() {
            if std::mem::replace(&mut container.any, true) {
                out.push(',');
                if !style.lines {
                    out.push_str(style.gap);
                }
            }
            if style.lines {
                out.push_str(line);
            }
            if container.is_object {
                out.push_str(source.raw(entry));
                out.push_str(if style.lines { ": " } else { style.colon });
            }
            next = Some(entry + u32::from(container.is_object));
        } else {
            line.truncate(line.len() - style.step.len());
            if container.any && style.lines {
                out.push_str(line);
            }
            out.push(if container.is_object { '}' } else { ']' });
            open.pop();
        }
    }
}
