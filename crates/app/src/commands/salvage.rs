//! `salvage`: the repair of the config on its own.

use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, FileShape, Loaded, Pending, Report, Step, StoreError};
use myownllm_durable_fs::Disk as _;
use myownllm_launch::words::short;
use myownllm_launch::{
    Diagnostic, ensure_changeable, live_beside_repair, live_refusal, lock_home, lost_settings, settle_live,
    wrote_where_others_can,
};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::cli::SalvageArgs;
use crate::exit::ExitCode;
use crate::exit::exit_of;
use crate::output::Answer;
use crate::run_log::{self, Trace};
use crate::screen::{Page, spelled};
use crate::told::{Tense, completion, pretty, report_lines, stopped};
use crate::world::{World, fresh_ids};

pub(crate) fn run(world: &World, args: &SalvageArgs) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    context.checked.map_err(Diagnostic::from)?;
    let ids = &mut fresh_ids();
    let loaded = wired.store.look(ids).map_err(|error| Diagnostic::from(&error))?;
    let mut diagnostics: Vec<Diagnostic> = loaded.diagnostics.iter().map(Diagnostic::from).collect();
    if let Some(version) = loaded.newer {
        diagnostics
            .push(Diagnostic::from(&StoreError::Newer { path: world.layout.app_config.clone(), version }));
    }
    // A killed repair may have left its own files beside a config that is whole by now.
    let unfinished = loaded.pending.steps.iter().any(|step| matches!(step, Step::ClearLeftover { .. }));
    if args.dry_run || args.check || !(loaded.pending.repairs() || unfinished) {
        // The report of a repair includes whatever would prevent it.
        if loaded.pending.repairs() {
            let leaked = myownllm_launch::leaked_socket(&context)?;
            let live = live_beside_repair(&context, &loaded.report, leaked.as_deref());
            diagnostics.extend(live_refusal(live, &world.options()));
        } else if !args.dry_run && !args.check {
            // A killed repair may have put the config in place without syncing it.
            if world.disk.stat(&world.layout.app_config).is_ok() {
                let lock = lock_home(&context, &world.options())?;
                lock.ensure_durable().map_err(|error| Diagnostic::from(&error))?;
            }
        }
        return Ok(dry(world, &loaded, args, diagnostics));
    }
    let options = world.options();
    let options = myownllm_launch::Options { stop_legacy_daemon: args.stop_legacy_daemon, ..options };
    ensure_changeable(&context)?;
    wired.store.ensure_home().map_err(|error| Diagnostic::from(&error))?;
    let lock = lock_home(&context, &options)?;
    let leaked = myownllm_launch::leaked_socket(&context)?;
    let mut ended = Vec::new();
    if let Err(refused) = settle_live(
        context.daemons,
        live_beside_repair(&context, &loaded.report, leaked.as_deref()),
        &options,
        &mut ended,
    ) {
        let mut data = report_data(&loaded.report, &[]);
        data["stopped"] = json!(ended);
        let exit = exit_of(std::slice::from_ref(&refused));
        let page = stopped(world, &ended, COLUMN);
        let trace = Trace::of(&world.layout, "salvage", run_log::of_stopped(&ended).collect());
        return Ok(Answer { diagnostics: vec![refused], trace, ..Answer::done(page, data) }.exit(exit));
    }
    let applied = lock.apply(ids).map_err(|error| Diagnostic::from(&error))?;
    if applied.steps.is_empty() {
        // If another run repaired the config meanwhile, keeps the report of what this run saw
        // first, and adds the new diagnostics.
        let more = applied.diagnostics.iter().filter(|found| !loaded.diagnostics.contains(found));
        diagnostics.extend(more.map(Diagnostic::from));
    } else {
        diagnostics = applied.diagnostics.iter().map(Diagnostic::from).collect();
        diagnostics.extend(wrote_where_others_can(&context));
    }
    let written = applied.steps.iter().any(Step::writes_config);
    diagnostics.extend(lost_settings(&applied.document, &applied.report, &world.layout.app_config, written));
    let mut page = Page::default();
    page.line(if loaded.report.wiped.is_some() && loaded.pending.repairs() {
        "The config has its settings again."
    } else if loaded.pending.repairs() {
        "The config is the app's again."
    } else {
        "The config is the app's. What a killed run had left was cleared away."
    });
    page.page(stopped(world, &ended, COLUMN));
    page.page(report_lines(world, &applied.report, &applied.steps, &applied.document, Tense::Done));
    let mut data = report_data(&applied.report, &applied.steps);
    data["stopped"] = json!(ended);
    let exit = exit_of(&diagnostics);
    let did = run_log::of_stopped(&ended).chain(run_log::of_config(&applied.steps)).collect();
    let trace = Trace::of(&world.layout, "salvage", did);
    let trace = trace.map(|trace| trace.before(applied.report.backup));
    Ok(Answer { diagnostics, trace, ..Answer::done(page, data) }.exit(exit))
}

fn dry(world: &World, loaded: &Loaded, args: &SalvageArgs, mut diagnostics: Vec<Diagnostic>) -> Answer {
    let mut page = Page::default();
    let repairs = loaded.pending.repairs();
    diagnostics.extend(lost_settings(&loaded.document, &loaded.report, &world.layout.app_config, false));
    if repairs {
        let steps = &loaded.pending.steps;
        page.page(report_lines(world, &loaded.report, steps, &loaded.document, Tense::Would));
        if args.dry_run {
            page.gap();
            page.raw(spelled(&diff(world, &loaded.document)));
        }
    } else if loaded.newer.is_none() {
        page.line(match loaded.shape {
            FileShape::App => "The config is the app's. Nothing to repair.",
            FileShape::Missing => "There is no config yet. Nothing to repair.",
            _ => "Nothing to repair.",
        });
        completion(loaded).into_iter().for_each(|line| page.line(line));
    }
    let mut data = report_data(&loaded.report, &[]);
    data["pending"] = json!(pending_repair(&loaded.pending));
    let trouble = exit_of(&diagnostics);
    let exit = if args.check && repairs && trouble.is_ok() { ExitCode::Pending } else { trouble };
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

/// The column at which the texts begin.
const COLUMN: usize = 17;

fn pending_repair(pending: &Pending) -> &[Step] {
    if pending.repairs() { &pending.steps } else { &[] }
}

/// Returns the report as `data`.
pub(crate) fn report_data(report: &Report, steps: &[Step]) -> Value {
    let mut data = serde_json::to_value(report).unwrap_or(Value::Null);
    data["steps"] = json!(steps);
    data["stopped"] = json!([]);
    data
}

/// Returns what would change in the file, with secrets masked on both sides.
fn diff(world: &World, after: &Document) -> String {
    use myownllm_durable_fs::Disk;
    let name = short(&world.layout.app_config, &world.layout.user_home);
    let before = world
        .disk
        .read(&world.layout.app_config, u64::MAX)
        .ok()
        .and_then(|bytes| Document::parse(&bytes).ok())
        .map(|parsed| pretty(&parsed.document))
        // A text that is not JSON cannot be masked, so the diff does not show it.
        .unwrap_or_default();
    let after = pretty(after);
    let diff = TextDiff::from_lines(&before, &after);
    diff.unified_diff().context_radius(3).header(&name, &name).to_string()
}
