//! `config`: shows the app's config, checks it, restores a backup.

use myownllm_config_model::{Document, masking, schema};
use myownllm_config_store::{ConfigStore, CopyId, CopyKind, FileShape, HistoryEntry, StoreError};
use myownllm_launch::words::{short, state_words};
use myownllm_launch::{
    CORRUPT, Diagnostic, NEEDS_REPAIR, ensure_changeable, ensure_no_legacy_daemon, lock_home,
    wrote_where_others_can,
};
use serde_json::json;

use super::filters::normalize;
use super::settings::{diff, get, set};
use crate::backups::find_backup;
use crate::cli::{ConfigCommand, SchemaOf};
use crate::exit::ExitCode;
use crate::output::{Answer, long};
use crate::run_log::{self, Entry, Trace};
use crate::times::{ago, utc_minutes};
use crate::told::completion;
use crate::world::{World, fresh_ids, now_ms};
use myownllm_report::{Page, indented, spelled};

pub(crate) fn run(world: &World, command: &ConfigCommand) -> Result<Answer, Diagnostic> {
    match command {
        ConfigCommand::Show { with_secrets } => show(world, *with_secrets),
        ConfigCommand::Check => check(world),
        ConfigCommand::History => history(world),
        ConfigCommand::Restore { id, as_is } => restore(world, id, *as_is),
        ConfigCommand::Accept => accept(world),
        ConfigCommand::Schema { which } => Ok(schema(*which)),
        ConfigCommand::Get { key, with_secrets } => get(world, key, *with_secrets),
        ConfigCommand::Set { settings } => set(world, settings),
        ConfigCommand::Diff { id } => diff(world, id),
        ConfigCommand::Normalize => normalize(&world.conversation_dir()),
    }
}

/// `config schema`.
pub(crate) fn schema(which: SchemaOf) -> Answer {
    let schema = match which {
        SchemaOf::App => schema::app_schema(),
        SchemaOf::Daemon => schema::daemon_schema(),
    };
    Answer::data(format!("{schema:#}"), json!({ "schema": schema }))
}

fn show(world: &World, with_secrets: bool) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let loaded = wired.store.look(&mut fresh_ids()).map_err(|error| Diagnostic::from(&error))?;
    let shown = if with_secrets { loaded.document.clone() } else { masking::mask(&loaded.document) };
    let mut answer = document_answer(&shown);
    // Another program that reads the output gets the text as the file has it.
    if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
        answer.page = spelled(&indented(&shown.to_text())).into();
    }
    answer.data["shape"] = json!(loaded.shape);
    answer.data["path"] = json!(long(&world.layout.app_config));
    answer.diagnostics = loaded.diagnostics.iter().map(Diagnostic::from).collect();
    if loaded.shape != FileShape::App || loaded.pending.repairs() {
        answer.diagnostics.insert(
            0,
            Diagnostic::warning(
                "config.not-the-files",
                format!("this is what a launch would make of the file: {}", state_words(&loaded.report)),
            )
            .at(&world.layout.app_config)
            .hint(format!("{} salvage --dry-run", world.program)),
        );
    }
    Ok(answer)
}

/// Returns a document as text and as data.
pub(crate) fn document_answer(document: &Document) -> Answer {
    Answer::data(spelled(&document.to_text()), json!({ "config": document.root().to_value() }))
}

fn check(world: &World) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let loaded = wired.store.look(&mut fresh_ids()).map_err(|error| Diagnostic::from(&error))?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let mut diagnostics: Vec<Diagnostic> = loaded.diagnostics.iter().map(Diagnostic::from).collect();
    // The one error tells the syntax error as its cause, so the syntax error is not repeated beside
    // it.
    let cause =
        diagnostics.iter().position(|diagnostic| diagnostic.code == CORRUPT).map(|at| diagnostics.remove(at));
    let mut exit = ExitCode::Done;
    let mut page = Page::default();
    page.line(format!("{path}: {}", state_words(&loaded.report)));
    if let Some(version) = loaded.newer {
        diagnostics
            .push(Diagnostic::from(&StoreError::Newer { path: world.layout.app_config.clone(), version }));
        exit = ExitCode::Newer;
    } else if loaded.pending.repairs() {
        let mut diagnostic = Diagnostic::error(NEEDS_REPAIR, "the config needs a repair")
            .at(&world.layout.app_config)
            .hint(format!("{} salvage --dry-run", world.program));
        if let Some(cause) = cause {
            diagnostic.causes.push(cause.message);
            diagnostic.place = cause.place;
        }
        diagnostics.push(diagnostic);
        exit = ExitCode::Failed;
    } else if let Some(line) = completion(&loaded) {
        page.line(line);
    } else if diagnostics.is_empty() {
        page.line("Nothing is wrong with it.");
    }
    let data = json!({
        "path": long(&world.layout.app_config),
        "shape": loaded.shape,
        "pending": loaded.pending,
        "completed_keys": loaded.report.completed_keys,
        "findings": loaded.diagnostics,
    });
    Ok(Answer { diagnostics, ..Answer::done(page, data) }.exit(exit))
}

fn history(world: &World) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let entries = wired.store.history().map_err(|error| Diagnostic::from(&error))?;
    if entries.is_empty() {
        return Ok(Answer::data("No copies were kept yet.\n", json!({ "copies": [] })));
    }
    const COLUMN: usize = 60;
    let runs = run_log::read(&run_log::path(&world.layout));
    let now = now_ms();
    let mut page = Page::default();
    page.row(
        format!("{:>6}  {:<18}{:<14}{:>7}  {:<9}", "ID", "made (UTC)", "age", "bytes", "shape"),
        COLUMN,
        "why it was kept",
    );
    let mut rows = Vec::new();
    for entry in &entries {
        let reason = reason(entry, &runs);
        let shape = json!(entry.shape);
        let head = format!(
            "{:>6}  {:<18}{:<14}{:>7}  {:<9}",
            entry.id.sequence(),
            utc_minutes(entry.made_ms),
            ago(entry.made_ms, now),
            entry.bytes,
            shape.as_str().unwrap_or_default()
        );
        let mark = match (entry.current, entry.intact, restorable(entry)) {
            (true, ..) => "  <- now",
            (_, false, _) => "  DAMAGED",
            (.., false) => "  (only with --as-is)",
            _ if entry.recoverable => "  (its complete members can be restored)",
            _ => "",
        };
        page.row(head, COLUMN, format!("{reason}{mark}"));
        let mut row = json!(entry);
        row["reason"] = json!(reason);
        rows.push(row);
    }
    page.gap();
    let others = entries.iter().any(|entry| restorable(entry) && !entry.current);
    match entries.iter().find(|entry| entry.recommended) {
        Some(entry) => {
            page.line("To bring one back, by its ID:");
            page.copied(2, "", format!("{} config restore {}", world.program, entry.id.sequence()));
        }
        None if others => page.line("No other backup holds as many of your settings as the config does."),
        None => page.line("There is none to bring back that is not the config already."),
    }
    Ok(Answer::data(page, json!({ "copies": rows })))
}

/// Returns why a backup was made: before which command, if the run log knows it.
fn reason(entry: &HistoryEntry, runs: &[Entry]) -> String {
    let holds = |run: &&Entry| {
        let before = run.before.as_deref().and_then(|id| id.parse::<CopyId>().ok());
        before.is_some_and(|id| id.hash() == entry.id.hash())
    };
    match (runs.iter().rev().find(holds), entry.kind) {
        (Some(run), _) => format!("before: {}", run.command),
        (None, CopyKind::Good) => "a healthy config".to_owned(),
        (None, CopyKind::Kept) => "set aside, never removed".to_owned(),
        (None, CopyKind::Daemon) => "the daemon's half".to_owned(),
        _ => String::new(),
    }
}

/// `config accept`.
fn accept(world: &World) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    ensure_changeable(&context)?;
    let lock = lock_home(&context, &world.options())?;
    let accepted = lock.accept().map_err(|error| Diagnostic::from(&error))?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let page = if accepted.changed {
        format!("Accepted: {path} stays as it is. It is the backup {} now.", accepted.backup)
    } else {
        format!("Nothing to accept: {path} is the backup {} already.", accepted.backup)
    };
    Ok(Answer::done(page, json!(accepted)))
}

/// True if the config can be restored from this backup: the backup is intact, and of the app's
/// shape or recoverable.
fn restorable(entry: &HistoryEntry) -> bool {
    entry.intact
        && entry.kind != CopyKind::Daemon
        && (matches!(entry.shape, FileShape::App | FileShape::Unknown) || entry.recoverable)
}

fn restore(world: &World, name: &str, as_is: bool) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    let id = find_backup(world, name)?;
    ensure_changeable(&context)?;
    ensure_no_legacy_daemon(&context, &world.options())?;
    let lock = lock_home(&context, &world.options())?;
    let ids = &mut fresh_ids();
    let restored = if as_is { lock.restore_as_is(ids, &id) } else { lock.restore(ids, &id) };
    let restored = restored.map_err(|error| {
        let diagnostic = Diagnostic::from(&error);
        // The hint shows the other backups to choose from.
        if matches!(error, StoreError::BadCopy { .. }) {
            diagnostic.hint(format!("{} config history", world.program))
        } else {
            diagnostic
        }
    })?;
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let mut page = Page::default();
    if restored.changed {
        page.line(format!("Restored {} to {path}.", restored.from));
    } else {
        page.line(format!("{path} holds {} already.", restored.from));
    }
    let entries = wired.store.history().unwrap_or_default();
    if let Some(backup) = entries.iter().find(|entry| Some(&entry.id) == restored.backup.as_ref()) {
        let as_is = if restorable(backup) { "" } else { " --as-is" };
        page.line("To undo this:");
        page.copied(2, "", format!("{} config restore {}{as_is}", world.program, backup.id.sequence()));
    }
    let mut diagnostics: Vec<Diagnostic> = restored.diagnostics.iter().map(Diagnostic::from).collect();
    diagnostics.extend(wrote_where_others_can(&context).filter(|_| restored.changed));
    let data = json!({ "restored": restored.from, "backup": restored.backup, "changed": restored.changed });
    let did = restored.changed.then(|| format!("restored backup {}", restored.from.sequence()));
    let trace = Trace::of(&world.layout, format!("config restore {name}"), did.into_iter().collect());
    let trace = trace.map(|trace| {
        trace.before(restored.backup.map(|id| id.to_string())).restored(restored.from.to_string())
    });
    Ok(Answer { diagnostics, trace, ..Answer::done(page, data) })
}
