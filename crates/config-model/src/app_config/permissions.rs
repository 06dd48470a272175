//! Tool permissions of a network.

use crate::change::{Edits, Pass, Path};
use crate::{Document, Fragment, Kind, ValueRef};
use myownllm_json_document::Change;

/// The tools that every record has; records of further tools are kept as they are.
const TOOLS: [&str; 2] = ["shell", "write_file"];
const FRESH: &str = r#"{"mode":"ask","always_accept":[],"updated_at":0}"#;

/// Both tools at "ask".
pub(super) fn fresh() -> Fragment {
    Fragment::object(TOOLS.map(|tool| (tool, Fragment::from_valid_json(FRESH))))
}

/// What brings a permissions value into form.
pub(super) fn change(value: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    if value.kind() != Kind::Object {
        pass.replaced(path, value.kind(), "an object");
        return Change::Replace(fresh());
    }
    let mut edits = Edits::default();
    match value.get("by_device") {
        Some(devices) if matches!(devices.kind(), Kind::Object | Kind::Array) => {
            // The per-device form overrules what stands beside it.
            for tool in TOOLS {
                edits.set(tool, newest(devices, tool, pass));
            }
            edits.remove("by_device");
            pass.migrated(
                &path.key("by_device"),
                "per-device permissions became one record a tool, the newest",
            );
        }
        _ => {
            for tool in TOOLS {
                match value.get(tool) {
                    Some(record) => edits.within(tool, tool_change(record, &path.key(tool), pass)),
                    None => edits.set(tool, Fragment::from_valid_json(FRESH)),
                }
            }
        }
    }
    edits.into_change()
}

/// A permissions value in form, as a copy.
pub(super) fn normalized(value: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Fragment {
    match change(value, path, pass) {
        Change::Replace(fragment) => fragment,
        change => {
            let mut copy = Document::of(value);
            copy.apply(change);
            Fragment::from(&copy)
        }
    }
}

fn tool_change(record: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    if record.kind() != Kind::Object {
        pass.replaced(path, record.kind(), "an object");
        return Change::Replace(Fragment::from_valid_json(FRESH));
    }
    let mut edits = Edits::default();
    match record.get("mode") {
        Some(mode) if ["ask", "accept_all", "denied"].iter().any(|m| mode.is_str(m)) => {}
        Some(mode) => {
            pass.replaced(&path.key("mode"), mode.kind(), "`ask`, `accept_all` or `denied`");
            edits.set("mode", "ask");
        }
        None => edits.set("mode", "ask"),
    }
    match record.get("always_accept") {
        Some(list) if list.kind() == Kind::Array => {
            edits.within("always_accept", strings_only(list, &path.key("always_accept"), pass));
        }
        other => {
            if let Some(other) = other {
                pass.replaced(&path.key("always_accept"), other.kind(), "a list");
            }
            edits.set("always_accept", Fragment::from_valid_json("[]"));
        }
    }
    stamp_change(record.get("updated_at"), path, pass, &mut edits);
    edits.into_change()
}

/// Leaves out what is no text.
pub(super) fn strings_only(list: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    let mut odd = Vec::new();
    for (n, item) in list.items().enumerate() {
        if item.kind() != Kind::String {
            pass.dropped(&path.item(n), format!("{}, not a text", item.kind().name()));
            odd.push((n, None));
        }
    }
    Change::Items(odd, Vec::new())
}

/// `updated_at`: a whole number of milliseconds, 0 at least.
pub(super) fn stamp_change(
    stamp: Option<ValueRef<'_>>,
    path: &Path<'_>,
    pass: &mut Pass<'_>,
    edits: &mut Edits,
) {
    let Some(stamp) = stamp else { return edits.set("updated_at", 0u64) };
    match stamp.as_f64().filter(|t| t.is_finite()) {
        Some(t) if t.floor().max(0.0) == t => {}
        Some(t) => edits.set("updated_at", Fragment::from_valid_json(format!("{:.0}", t.floor().max(0.0)))),
        None => {
            pass.replaced(&path.key("updated_at"), stamp.kind(), "a number");
            edits.set("updated_at", 0u64);
        }
    }
}

/// Of the per-device records of one tool the one with the newest stamp. A record without a stamp that says anything is
/// taken for just made: with the clock standing still, the first of those wins.
fn newest(devices: ValueRef<'_>, tool: &str, pass: &mut Pass<'_>) -> Fragment {
    let mut held = (0.0, Fragment::from_valid_json(FRESH));
    for device in in_language_order(devices) {
        let Some(record) = device.get(tool).filter(|r| r.kind() == Kind::Object) else { continue };
        let mut copy = Document::of(record);
        let change = tool_change(copy.root(), &Path::Root, &mut Pass::new(pass.ids));
        copy.apply(change);
        let says_something = copy.get(&["mode"]).is_some_and(|m| !m.is_str("ask"))
            || copy.get(&["always_accept"]).is_some_and(|l| l.items().next().is_some());
        let mut time = copy.get(&["updated_at"]).and_then(|t| t.as_f64()).unwrap_or_default();
        if says_something && time == 0.0 {
            let now = pass.ids.now_ms();
            copy.set(&["updated_at"], now);
            time = now as f64;
        }
        if time > held.0 {
            held = (time, Fragment::from(&copy));
        }
    }
    held.1
}

/// Object values the way the app's language walks them: keys that are list indexes first, ascending, then file order.
fn in_language_order(devices: ValueRef<'_>) -> Vec<ValueRef<'_>> {
    if devices.kind() == Kind::Array {
        return devices.items().collect();
    }
    let mut members: Vec<_> = devices.members().collect();
    let index = |key: &str| key.parse::<u32>().ok().filter(|n| *n < u32::MAX && n.to_string() == key);
    // Stable: what is no index stays in file order, after all that are.
    members.sort_by_key(|(key, _)| index(key).map_or((1, 0), |n| (0, n)));
    members.into_iter().map(|(_, value)| value).collect()
}
