//! Brings tool permissions into the present form.

use std::sync::LazyLock;

use myownllm_json_document::{Change, Document, Fragment, Kind, ValueRef};

use super::saved_network::{AgentPermissions, ToolPermission};
use crate::pass::{ObjectEdits, Pass};
use crate::path::Path;

/// The tools with a record in every permissions value. Records of further tools stay as they are.
const TOOLS: [&str; 2] = ["shell", "write_file"];
const MODES: ([&str; 3], &str) = (["ask", "accept_all", "denied"], "`ask`, `accept_all` or `denied`");

static DEFAULT_RECORD: LazyLock<Fragment> = LazyLock::new(|| Fragment::serialize(&ToolPermission::default()));

pub(super) fn change(value: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    if value.kind() != Kind::Object {
        pass.replaced(path, value.kind(), "an object");
        return Change::Replace(Fragment::serialize(&AgentPermissions::default()));
    }
    let mut object = ObjectEdits::new(path, pass);
    match value.get("by_device") {
        Some(devices) if matches!(devices.kind(), Kind::Object | Kind::Array) => {
            // The per-device form overrules the records beside it.
            for tool in TOOLS {
                object.edits.set(tool, newest(devices, tool, object.pass));
            }
            object.edits.remove("by_device");
            object.pass.migrated(
                &path.key("by_device"),
                "per-device permissions became one record a tool, the newest",
            );
        }
        _ => {
            for tool in TOOLS {
                match value.get(tool) {
                    Some(record) => {
                        let change = record_change(record, &path.key(tool), object.pass);
                        object.edits.within(tool, change);
                    }
                    None => object.edits.set(tool, DEFAULT_RECORD.clone()),
                }
            }
        }
    }
    object.edits.into_change()
}

/// Returns a copy of a permissions value, in form.
pub(super) fn normalized(value: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Fragment {
    let mut copy = Document::of(value);
    copy.apply(change(value, path, pass));
    Fragment::from(&copy)
}

fn record_change(record: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    if record.kind() != Kind::Object {
        pass.replaced(path, record.kind(), "an object");
        return Change::Replace(DEFAULT_RECORD.clone());
    }
    let mut object = ObjectEdits::new(path, pass);
    object.require_one_of("mode", record.get("mode"), MODES, || "ask".into());
    object.require_strings("always_accept", record.get("always_accept"), || Fragment::array::<Fragment>([]));
    object.require_timestamp(record.get("updated_at"));
    object.edits.into_change()
}

/// Returns the per-device record of a tool with the newest timestamp.
///
/// A record with contents and without a timestamp counts as made now: with a clock that stands
/// still, the first of those wins.
fn newest(devices: ValueRef<'_>, tool: &str, pass: &mut Pass<'_>) -> Fragment {
    let mut newest = (0.0, DEFAULT_RECORD.clone());
    for device in in_javascript_order(devices) {
        let Some(record) = device.get(tool).filter(|r| r.kind() == Kind::Object) else { continue };
        let mut copy = Document::of(record);
        let change = record_change(copy.root(), &Path::Root, &mut Pass::new(pass.ids));
        copy.apply(change);
        let has_contents = copy.get(&["mode"]).is_some_and(|m| !m.is_str("ask"))
            || copy.get(&["always_accept"]).is_some_and(|l| l.items().next().is_some());
        let mut time = copy.get(&["updated_at"]).and_then(|t| t.as_f64()).unwrap_or_default();
        if has_contents && time == 0.0 {
            let now = pass.ids.now_ms();
            copy.set(&["updated_at"], now);
            time = now as f64;
        }
        if time > newest.0 {
            newest = (time, Fragment::from(&copy));
        }
    }
    newest.1
}

/// Returns the values of an object in the order in which JavaScript walks them: keys that are array
/// indexes first, ascending, then the others in file order.
fn in_javascript_order(devices: ValueRef<'_>) -> Vec<ValueRef<'_>> {
    if devices.kind() == Kind::Array {
        return devices.items().collect();
    }
    let mut members: Vec<_> = devices.members().collect();
    let index = |key: &str| key.parse::<u32>().ok().filter(|n| *n < u32::MAX && n.to_string() == key);
    // The sort is stable: keys that are no index stay in file order.
    members.sort_by_key(|(key, _)| index(key).map_or((1, 0), |n| (0, n)));
    members.into_iter().map(|(_, value)| value).collect()
}
