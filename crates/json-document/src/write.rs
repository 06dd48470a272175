//! Turns a tree back into text.

use std::sync::Arc;

use crate::source::Source;
use crate::text::push_quoted;
use crate::tree::{ChildName, ChildState, Container, Node, Tree};

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

/// Returns the text of a touched object or array as if it were the root.
pub(crate) fn write_container(tree: &Tree, container: &Container) -> String {
    let mut out = String::new();
    Writer { sources: &tree.sources }.container(container, &document_style(tree.read()), "", &mut out);
    out
}

/// Derives the layout from the white space before the document's first key.
fn document_style(source: &Source) -> Style<'_> {
    let lead = source.children(0).next().map(|key| lead_of(source, 0, key));
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
            Node::Edited(container) => self.container(container, style, indent, out),
        }
    }

    fn container(&self, container: &Container, style: &Style<'_>, indent: &str, out: &mut String) {
        let Container { origin, is_object, ref children, .. } = *container;
        let source = &self.sources[origin.0 as usize];
        let entries: Vec<u32> = source.children(origin.1).collect();
        let end_of = |entry: u32| source.entry(entry + u32::from(is_object)).end();
        // Returns the white space before and after the comma between two members or items.
        let gap = |entry: u32, next: u32| {
            let gap = &source.text[end_of(entry)..source.entry(next).start()];
            gap.split_once(',').unwrap_or((gap, ""))
        };
        let first_lead = entries.first().map_or("", |&first| lead_of(source, origin.1, first));
        // A container that was inserted and changed afterwards has no layout of its own to keep.
        let layout_of = entries.first().filter(|_| origin.0 == 0);
        let mut style = style.clone();
        if let Some(&first) = layout_of {
            style.lines = first_lead.contains('\n');
            if is_object {
                style.colon = colon_of(source, first);
                style.gap = if style.colon.ends_with(' ') { " " } else { "" };
            }
            if let Some(&second) = entries.get(1) {
                style.gap = gap(first, second).1;
            }
        }
        let inner = match first_lead.rfind('\n') {
            Some(n) if layout_of.is_some() => first_lead[n + 1..].to_owned(),
            _ => format!("{indent}{}", style.step),
        };
        out.push(if is_object { '{' } else { '[' });
        let mut any = false;
        let last = children.iter().rposition(|child| child.state != ChildState::Removed);
        for (n, child) in children.iter().enumerate().filter(|(_, child)| child.state != ChildState::Removed)
        {
            if any {
                out.push(',');
            }
            let kept = match child.name {
                ChildName::Origin(entry) if layout_of.is_some() => Some(entry),
                _ => None,
            };
            if let Some(entry) = kept {
                // After the first child of a line was removed, the next one takes its place.
                let is_first = n == 0 || (!any && !style.lines);
                out.push_str(if is_first { first_lead } else { gap(entries[n - 1], entry).1 });
            } else if style.lines {
                out.push_str(style.newline);
                out.push_str(&inner);
            } else {
                out.push_str(if any { style.gap } else { first_lead });
            }
            if is_object {
                match &child.name {
                    ChildName::Origin(key) => out.push_str(source.raw(*key)),
                    ChildName::New(key) => push_quoted(out, key),
                }
                out.push_str(match kept {
                    Some(key) => colon_of(source, key),
                    None if style.lines => ": ",
                    None => style.colon,
                });
            }
            self.node(&child.value, &style, &inner, out);
            if let (Some(entry), Some(&next)) = (kept, entries.get(n + 1).filter(|_| last > Some(n))) {
                // White space between a value and the comma after it is rare.
                out.push_str(gap(entry, next).0);
            }
            any = true;
        }
        match entries.last() {
            Some(&last) if any && layout_of.is_some() => {
                out.push_str(&source.text[end_of(last)..source.entry(origin.1).end() - 1]);
            }
            _ if any && style.lines => {
                out.push_str(style.newline);
                out.push_str(indent);
            }
            _ => {}
        }
        out.push(if is_object { '}' } else { ']' });
    }
}

/// Returns the white space between the bracket of an object or array and its first key or item.
fn lead_of(source: &Source, container: u32, first: u32) -> &str {
    &source.text[source.entry(container).start() + 1..source.entry(first).start()]
}

/// Returns the text from a key to its value: the colon and the white space around it.
fn colon_of(source: &Source, key: u32) -> &str {
    &source.text[source.entry(key).end()..source.entry(key + 1).start()]
}

/// Writes a value of another text in the layout of the place where it is inserted.
///
/// The white space is new; keys, strings and numbers keep their spelling. `line` is the beginning
/// of every line, and is restored before the function returns.
fn lay_out(source: &Source, at: u32, style: &Style<'_>, line: &mut String, out: &mut String) {
    let (is_object, close) = match source.first_byte(at) {
        b'{' => (true, '}'),
        b'[' => (false, ']'),
        _ => return out.push_str(source.raw(at)),
    };
    out.push(if is_object { '{' } else { '[' });
    line.push_str(style.step);
    for (n, entry) in source.children(at).enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(match style.lines {
            true => line,
            false if n > 0 => style.gap,
            false => "",
        });
        if is_object {
            out.push_str(source.raw(entry));
            out.push_str(if style.lines { ": " } else { style.colon });
        }
        lay_out(source, entry + u32::from(is_object), style, line, out);
    }
    line.truncate(line.len() - style.step.len());
    if style.lines && !source.is_leaf(at) {
        out.push_str(line);
    }
    out.push(close);
}
