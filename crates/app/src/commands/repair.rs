//! `repair`: `launch --no-daemon` in plain words for people.

use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{Document, networks};
use myownllm_durable_fs::quote;
use myownllm_launch::words::{at_defaults, backup, count, short};
use myownllm_launch::{Daemon, LONGEST_NAME, Options, Outcome, launch};

use crate::cli::RepairArgs;
use crate::exit::{ExitCode, exit_of};
use crate::output::{Answer, Printer};
use crate::recovery::recovered;
use crate::told::{Fate, choice, config_line, data, trace};
use crate::world::{World, fresh_ids};
use myownllm_report::Page;

pub(crate) fn run(world: &World, args: &RepairArgs, printer: &Printer) -> Answer {
    let wired = world.wire();
    let options = Options { daemon: false, stop_legacy_daemon: args.stop_legacy_daemon, ..world.options() };
    let outcome = launch(&wired.context(), &options, &mut fresh_ids());
    let exit = exit_of(&outcome.diagnostics);
    let page = page(world, &outcome, exit);
    let data = if printer.is_json() {
        data(world, &outcome, &Daemon::None, Fate::Ended)
    } else {
        serde_json::json!({})
    };
    let trace = trace(world, "repair", &outcome, &Daemon::None);
    Answer { diagnostics: outcome.diagnostics, trace, ..Answer::done(page, data) }.exit(exit)
}

fn page(world: &World, outcome: &Outcome, exit: ExitCode) -> Page {
    let home = |path| short(path, &world.layout.user_home);
    let mut page = Page::default();
    let moved = outcome.migration.as_ref().map_or(0, |report| report.files_moved());
    if moved > 0 {
        let place = home(&world.layout.daemon_home);
        page.line(format!("Moved: {} of the daemon's, to its own directory {place}.", count(moved, "file")));
    }
    if let Some(report) = &outcome.migration {
        page.page(choice(world, report.refusals.iter().chain(&report.errors)));
    }
    if outcome.has_repaired() {
        of_config(world, outcome, &mut page);
    } else if exit.is_ok() && !outcome.config_steps.is_empty() {
        page.line(format!("The config {}.", config_line(world, outcome)));
    }
    if outcome.has_set_daemon_config_aside() {
        page.line("Set aside what was in the place of the daemon's config (see below).");
    }
    match exit {
        ExitCode::Done if page.is_empty() => {
            page.line(format!("Nothing to put right: {} is healthy.", home(&world.layout.app_home)));
        }
        ExitCode::Done => {}
        _ if page.is_empty() => {
            page.line("Nothing was changed, and something is left to put right (see below).")
        }
        _ => page.line("Something is left to put right (see below)."),
    }
    page
}

/// Reports the settings: those that came back, the backup that was kept, those that are lost and
/// the consequences of the loss.
fn of_config(world: &World, outcome: &Outcome, page: &mut Page) {
    let report = &outcome.config;
    let back =
        recovered(world, report).unwrap_or_else(|| "nothing of them, as no backup is there".to_owned());
    page.line(format!("Repaired your settings: recovered {back}."));
    let backups = short(&world.layout.backups, &world.layout.user_home);
    if let Some(kept) = &report.backup {
        page.line(format!("Kept: the file as it was, as {} in {backups}.", backup(kept)));
    }
    if !report.reset_keys.is_empty() {
        // `salvage.defaults` tells the consequences and the command that sets the settings, last on
        // the screen.
        page.line(format!("Lost, as no backup has them: {}.", at_defaults(&report.reset_keys)));
    }
    if let Some(name) = first_inactive(&outcome.document) {
        page.line("No network is active. To choose one:");
        page.copied(2, "", format!("{} network use {}", world.program, quote(name.as_ref())));
    }
}

/// Returns a saved network to make active, if no network is active.
fn first_inactive(document: &Document) -> Option<String> {
    let none_active = networks::active(document).is_none();
    let first = networks::list(document).into_iter().next().filter(|_| none_active)?;
    let id = first.get("network_id")?.as_str()?.into_owned();
    Some(shortened(&id, LONGEST_NAME).into_owned())
}
