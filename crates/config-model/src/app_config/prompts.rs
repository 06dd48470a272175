//! Brings saved prompts into the present form.

use myownllm_json_document::{Change, Fragment, Kind, ValueRef};

use super::saved_network::Prompt;
use crate::pass::{ObjectEdits, Pass};
use crate::path::Path;

pub(super) fn change(list: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    let mut changes = Vec::new();
    for (n, prompt) in list.items().enumerate() {
        let path = path.item(n);
        if prompt.kind() != Kind::Object {
            pass.dropped_kind(&path, prompt.kind(), "a prompt");
            changes.push((n, None));
            continue;
        }
        let change = prompt_change(prompt, &path, pass);
        if !change.is_empty() {
            changes.push((n, Some(change)));
        }
    }
    Change::Items(changes, Vec::new())
}

fn prompt_change(prompt: ValueRef<'_>, path: &Path<'_>, pass: &mut Pass<'_>) -> Change {
    let [id, name, system_prompt, user_prompt, tools, updated_at] =
        prompt.get_many(["id", "name", "system_prompt", "user_prompt", "tools", "updated_at"]);
    let mut object = ObjectEdits::new(path, pass);
    if !id.is_some_and(|id| id.kind() == Kind::String && !id.is_falsy()) {
        let new = object.pass.ids.prompt_id();
        object.pass.migrated(&path.key("id"), &format!("a prompt without an id has the id {new} now"));
        object.edits.set("id", new);
    }
    object.require_string("name", name);
    object.require_string("system_prompt", system_prompt);
    // Unknown names are tools of a newer app.
    let tools = tools.filter(|tools| !tools.is_null());
    object.require_strings("tools", tools, || Fragment::array(Prompt::default().tools));
    object.require_string("user_prompt", user_prompt);
    object.require_timestamp(updated_at);
    object.edits.into_change()
}
