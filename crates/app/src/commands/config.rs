//! `config`: look at the app's config, check it, bring back a copy.

use myownllm_config_model::{Document, schema, secrets};
use myownllm_config_store::{ConfigStore, CopyKind, FileShape, HistoryEntry, StoreError};
use myownllm_launch::{Notice, ensure_changeable, wrote_where_others_can};
use serde_json::json;

use super::salvage::{completion, shape_words};
use crate::cli::{ConfigCommand, SchemaOf};
use crate::exit::ExitCode;
use crate::output::{Answer, long, short};
use crate::screen::{Page, spelled};
use crate::times::utc_minutes;
use crate::world::{World, fresh_ids};

/// The code of a config that is no JSON object.
pub(crate) const CORRUPT: &str = "store.corrupt";
/// The code of a config that a launch would repair.
pub(crate) const NEEDS_REPAIR: &str = "config.needs-repair";

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
    Answer::done(spelled(&document.to_text()), json!({ "config": document.root().to_value() }))
}

fn check(world: &World) -> Result<Answer, Notice> {
    let wired = world.wire();
    let loaded = wired.store.look(&mut fresh_ids()).map_err(|error| Notice::from(&error))?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let mut notices: Vec<Notice> = loaded.diagnostics.iter().map(Notice::from).collect();
    // What is wrong with the text is told as the cause of the one error, and not beside it.
    let cause = notices.iter().position(|notice| notice.code == CORRUPT).map(|at| notices.remove(at));
    let mut exit = ExitCode::Done;
    let mut page = Page::default();
    page.line(format!("{path}: {}", shape_words(loaded.shape)));
    if let Some(version) = loaded.newer {
        notices.push(Notice::from(&StoreError::Newer { path: world.layout.app_config.clone(), version }));
        exit = ExitCode::Newer;
    } else if loaded.pending.repairs() {
        let mut notice = Notice::error(NEEDS_REPAIR, "the config needs a repair")
            .at(&world.layout.app_config)
            .hint(format!("{} salvage --dry-run", world.program));
        if let Some(cause) = cause {
            notice.causes.push(cause.message);
            notice.place = cause.place;
        }
        notices.push(notice);
        exit = ExitCode::Failed;
    } else if let Some(line) = completion(&loaded) {
        page.line(line);
    } else if notices.is_empty() {
        page.line("Nothing is wrong with it.");
    }
    let data = json!({
        "path": long(&world.layout.app_config),
        "shape": loaded.shape,
        "pending": loaded.pending,
        "completed_keys": loaded.report.completed_keys,
        "findings": loaded.diagnostics,
    });
    Ok(Answer { notices, ..Answer::done(page, data) }.exit(exit))
}

fn history(world: &World) -> Result<Answer, Notice> {
    let wired = world.wire();
    let entries = wired.store.history().map_err(|error| Notice::from(&error))?;
    if entries.is_empty() {
        return Ok(Answer::done("No copies were kept yet.\n", json!({ "copies": [] })));
    }
    const COLUMN: usize = 49;
    let mut page = Page::default();
    page.row(
        format!("{:>6}  {:<18}{:>9}  {:<10}", "ID", "made (UTC)", "bytes", "shape"),
        COLUMN,
        "why it was kept",
    );
    for entry in &entries {
        let why = match entry.kind {
            CopyKind::Good => "a healthy config",
            CopyKind::Kept => "set aside, never removed",
            CopyKind::Daemon => "the daemon's half",
            _ => "",
        };
        let shape = json!(entry.shape);
        let head = format!(
            "{:>6}  {:<18}{:>9}  {:<10}",
            entry.id.sequence(),
            utc_minutes(entry.made_ms),
            entry.bytes,
            shape.as_str().unwrap_or_default()
        );
        let mark = match (entry.current, entry.intact, restorable(entry)) {
            (true, ..) => "  <- now",
            (_, false, _) => "  DAMAGED",
            (.., false) => "  (cannot be restored)",
            _ => "",
        };
        page.row(head, COLUMN, format!("{why}{mark}"));
    }
    page.gap();
    match entries.iter().find(|entry| restorable(entry) && !entry.current) {
        Some(entry) => {
            page.line("To bring one back, by its ID:");
            page.copied(2, "", format!("{} config restore {}", world.program, entry.id.sequence()));
        }
        None => page.line("There is none to bring back that is not the config already."),
    }
    Ok(Answer::done(page, json!({ "copies": entries })))
}

/// Whether the config can become this copy: it is whole, and of the app's shape.
fn restorable(entry: &HistoryEntry) -> bool {
    entry.intact
        && entry.kind != CopyKind::Daemon
        && matches!(entry.shape, FileShape::App | FileShape::Unknown)
}

fn restore(world: &World, name: &str) -> Result<Answer, Notice> {
    let wired = world.wire();
    let parts = wired.parts();
    let id = wired.store.find_copy(name).map_err(|error| Notice::from(&error))?;
    ensure_changeable(&parts)?;
    super::network::no_legacy(world, &parts)?;
    let lock = parts
        .disk
        .lock(&world.layout.app_home, world.options().lock_wait)
        .map_err(|error| Notice::from(&error))?;
    let restored = wired.store.restore(&lock, &mut fresh_ids(), &id).map_err(|error| {
        let notice = Notice::from(&error);
        // What else there is to choose from.
        if matches!(error, StoreError::BadCopy { .. }) {
            notice.hint(format!("{} config history", world.program))
        } else {
            notice
        }
    })?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let mut page = Page::default();
    if restored.changed {
        page.line(format!("Restored {} to {path}.", restored.from));
    } else {
        page.line(format!("{path} holds {} already.", restored.from));
    }
    if let Some(backup) = &restored.backup {
        page.line("To undo this:");
        page.copied(2, "", format!("{} config restore {}", world.program, backup.sequence()));
    }
    let mut notices: Vec<Notice> = restored.diagnostics.iter().map(Notice::from).collect();
    notices.extend(wrote_where_others_can(&parts).filter(|_| restored.changed));
    let data = json!({ "restored": restored.from, "backup": restored.backup, "changed": restored.changed });
    Ok(Answer { notices, ..Answer::done(page, data) })
}
