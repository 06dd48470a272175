//! `salvage`: the repair of the config on its own.

use myownllm_config_model::Document;
use myownllm_config_store::{FileShape, Loaded, Pending, Report, Step};
use myownllm_launch::words::short;
use myownllm_launch::{ConfigRepair, Diagnostic, Options, repair_config};
use serde_json::{Value, json};
use similar::TextDiff;

use crate::cli::SalvageArgs;
use crate::exit::ExitCode;
use crate::exit::exit_of;
use crate::output::Answer;
use crate::run_log::{self, Trace};
use crate::told::{Tense, completion, pretty, report_lines, stopped};
use crate::world::{World, fresh_ids};
use myownllm_report::{Page, spelled};

pub(crate) fn run(world: &World, args: &SalvageArgs) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let is_dry = args.dry_run || args.check;
    let options = Options { stop_legacy_daemon: args.stop_legacy_daemon, ..world.options() };
    let repair = repair_config(&wired.context(), &options, &mut fresh_ids(), is_dry)?;
    if repair.is_refused {
        return Ok(refused(world, repair));
    }
    let ConfigRepair { loaded, applied, stopped: ended, diagnostics, .. } = repair;
    let Some(applied) = applied else { return Ok(dry(world, &loaded, args, diagnostics)) };
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

fn refused(world: &World, repair: ConfigRepair) -> Answer {
    let mut data = report_data(&repair.loaded.report, &[]);
    data["stopped"] = json!(repair.stopped);
    let exit = exit_of(&repair.diagnostics);
    let page = stopped(world, &repair.stopped, COLUMN);
    let trace = Trace::of(&world.layout, "salvage", run_log::of_stopped(&repair.stopped).collect());
    Answer { diagnostics: repair.diagnostics, trace, ..Answer::done(page, data) }.exit(exit)
}

fn dry(world: &World, loaded: &Loaded, args: &SalvageArgs, diagnostics: Vec<Diagnostic>) -> Answer {
    let mut page = Page::default();
    let repairs = loaded.pending.repairs();
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
