//! `config`: look at the app's config, check it, bring back a copy.

use std::time::{Duration, UNIX_EPOCH};

use myownllm_config_model::{Document, schema, secrets};
use myownllm_config_store::{ConfigStore, CopyKind, FileShape, StoreError};
use serde_json::json;

use super::salvage::shape_words;
use crate::cli::{ConfigCommand, SchemaOf};
use crate::exit::ExitCode;
use crate::notice::Notice;
use crate::output::{Answer, long, short};
use crate::world::{World, fresh_ids};

pub(crate) fn run(world: &World, command: &ConfigCommand) -> Result<Answer, Notice> {
    match command {
        ConfigCommand::Show { with_secrets } => show(world, *with_secrets),
        ConfigCommand::Check => check(world),
        ConfigCommand::History => history(world),
        ConfigCommand::Restore { id } => restore(world, id),
        ConfigCommand::Schema { which } => Ok(schema(*which)),
        ConfigCommand::Normalize => super::filters::normalize(&world.conversation_dir()),
    }
}

/// `config schema`.
pub(crate) fn schema(which: SchemaOf) -> Answer {
    let schema = match which {
        SchemaOf::App => schema::app_schema(),
        SchemaOf::Daemon => schema::daemon_schema(),
    };
    Answer::done(format!("{schema:#}"), json!({ "schema": schema }))
}

fn show(world: &World, with_secrets: bool) -> Result<Answer, Notice> {
    let wired = world.wire();
    let loaded = wired.store.look(&mut fresh_ids()).map_err(|error| Notice::from(&error))?;
    let shown = if with_secrets { loaded.document.clone() } else { secrets::mask(&loaded.document) };
    let mut answer = document_answer(&shown);
    answer.data["shape"] = json!(loaded.shape);
    answer.data["path"] = json!(long(&world.layout.app_config));
    answer.notices = loaded.diagnostics.iter().map(Notice::from).collect();
    if loaded.shape != FileShape::App {
        answer.notices.insert(
            0,
            Notice::warning(
                "config.not-the-files",
                format!("the file is {}; this is what a launch would make of it", shape_words(loaded.shape)),
            )
            .at(&world.layout.app_config)
            .hint(format!("{} salvage --dry-run", world.program)),
        );
    }
    Ok(answer)
}

/// A document as text and as data.
pub(crate) fn document_answer(document: &Document) -> Answer {
    Answer::done(document.to_text(), json!({ "config": document.root().to_value() }))
}

fn check(world: &World) -> Result<Answer, Notice> {
    let wired = world.wire();
    let loaded = wired.store.look(&mut fresh_ids()).map_err(|error| Notice::from(&error))?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let mut notices: Vec<Notice> = loaded.diagnostics.iter().map(Notice::from).collect();
    let mut exit = ExitCode::Done;
    let mut text = format!("{path}: {}\n", shape_words(loaded.shape));
    if let Some(version) = loaded.newer {
        notices.push(Notice::from(&StoreError::Newer { path: world.layout.app_config.clone(), version }));
        exit = ExitCode::Newer;
    } else if loaded.pending.repairs() {
        notices.push(
            Notice::error("config.needs-repair", format!("{path} needs a repair"))
                .at(&world.layout.app_config)
                .hint(format!("{} salvage --dry-run", world.program)),
        );
        exit = ExitCode::Failed;
    } else if notices.is_empty() {
        text.push_str("Nothing is wrong with it.\n");
    }
    let data = json!({ "path": long(&world.layout.app_config), "shape": loaded.shape, "pending": loaded.pending, "findings": loaded.diagnostics });
    Ok(Answer { notices, ..Answer::done(text, data) }.exit(exit))
}

fn history(world: &World) -> Result<Answer, Notice> {
    let wired = world.wire();
    let entries = wired.store.history().map_err(|error| Notice::from(&error))?;
    if entries.is_empty() {
        return Ok(Answer::done("No copies were kept yet.\n", json!({ "copies": [] })));
    }
    let mut text =
        format!("{:>6}  {:<18}{:>9}  {:<10}{}\n", "ID", "made (UTC)", "bytes", "shape", "why it was kept");
    for entry in &entries {
        let why = match entry.kind {
            CopyKind::Good => "a healthy config",
            CopyKind::Kept => "set aside, never removed",
            CopyKind::Daemon => "the daemon's half",
            _ => "",
        };
        let id = entry.id.sequence();
        let shape = serde_json::to_value(entry.shape)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        let current = if entry.current { "  <- the config now" } else { "" };
        let damaged = if entry.intact { "" } else { "  DAMAGED" };
        text.push_str(&format!(
            "{id:>6}  {:<18}{:>9}  {shape:<10}{why}{current}{damaged}\n",
            utc_minutes(entry.made_ms),
            entry.bytes
        ));
    }
    text.push_str(&format!("\nTo bring one back: {} config restore ID\n", world.program));
    Ok(Answer::done(text, json!({ "copies": entries })))
}

fn restore(world: &World, name: &str) -> Result<Answer, Notice> {
    let wired = world.wire();
    let parts = wired.parts();
    let id = wired.store.find_copy(name).map_err(|error| Notice::from(&error))?;
    super::network::no_legacy(world, &parts)?;
    let lock = parts
        .disk
        .lock(&world.layout.app_home, world.options().lock_wait)
        .map_err(|error| Notice::from(&error))?;
    let restored = wired.store.restore(&lock, &mut fresh_ids(), &id).map_err(|error| Notice::from(&error))?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let mut text = if restored.changed {
        format!("Restored {} to {path}.\n", restored.from)
    } else {
        format!("{path} holds {} already.\n", restored.from)
    };
    if let Some(backup) = &restored.backup {
        text.push_str(&format!("To undo this: {} config restore {backup}\n", world.program));
    }
    let notices = restored.diagnostics.iter().map(Notice::from).collect();
    let data = json!({ "restored": restored.from, "backup": restored.backup, "changed": restored.changed });
    Ok(Answer { notices, ..Answer::done(text, data) })
}

/// A time for people, to the minute.
pub(crate) fn utc_minutes(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.get(..16).map_or(text.clone(), |minutes| minutes.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::utc_minutes;

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(utc_minutes(1_795_401_077_000), "2026-11-23 02:31");
    }
}
