//! `config`: shows the app's config, checks it, restores a backup.

mod settings;

use myownllm_config_model::{masking, schema};
use myownllm_config_store::FileShape;
use myownllm_launch::words::state_words;
use myownllm_launch::{
    CORRUPT, Diagnostic, NEEDS_REPAIR, accept_config, active_network, config_diagnostics, restore_backup,
};
use myownllm_report::documents::{ConfigChecked, ConfigSchema, ConfigShown};
use myownllm_report::{Page, completion, escape_json_controls, long, restore_trace, restored};
use serde_json::json;

use crate::cli::{ConfigCommand, SchemaOf};
use crate::context::{Context, fresh_ids};
use crate::filters::normalize;
use crate::look::history;
use crate::output::CommandOutput;

pub(crate) fn run(context: &Context, command: &ConfigCommand) -> Result<CommandOutput, Diagnostic> {
    match command {
        ConfigCommand::Show { with_secrets } => show(context, *with_secrets),
        ConfigCommand::Check => check(context),
        ConfigCommand::History => history(context),
        ConfigCommand::Restore { id, as_is } => restore(context, id, *as_is),
        ConfigCommand::Accept => accept(context),
        ConfigCommand::Schema { which } => Ok(schema(*which)),
        ConfigCommand::Get { key, with_secrets } => settings::get(context, key, *with_secrets),
        ConfigCommand::Set { settings } => settings::set(context, settings),
        ConfigCommand::Diff { id } => settings::diff(context, id),
        ConfigCommand::Normalize => normalize(context),
    }
}

/// `config schema`.
pub(crate) fn schema(which: SchemaOf) -> CommandOutput {
    let schema = match which {
        SchemaOf::App => schema::app_schema(),
        SchemaOf::Daemon => schema::daemon_schema(),
    };
    CommandOutput::data(format!("{schema:#}"), json!(ConfigSchema { schema }))
}

fn show(context: &Context, with_secrets: bool) -> Result<CommandOutput, Diagnostic> {
    let loaded = context.load()?;
    let shown = if with_secrets { loaded.document.clone() } else { masking::mask(&loaded.document) };
    // Another program that reads the output gets the text as the file has it.
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let text = if is_terminal { shown.to_indented_text() } else { shown.to_text() };
    let document = ConfigShown {
        config: shown.root().to_value(),
        shape: loaded.shape,
        path: long(&context.layout.app_config),
    };
    let mut answer = CommandOutput::data(escape_json_controls(&text), json!(document));
    answer.diagnostics = loaded.diagnostics.iter().map(Diagnostic::from).collect();
    if loaded.shape != FileShape::App || loaded.pending.repairs() {
        let what = format!("this is what a launch would make of the file: {}", state_words(&loaded.report));
        let diagnostic = Diagnostic::warning("config.not-the-files", what)
            .at(&context.layout.app_config)
            .hint(format!("{} salvage --dry-run", context.layout.program));
        answer.diagnostics.insert(0, diagnostic);
    }
    Ok(answer)
}

fn check(context: &Context) -> Result<CommandOutput, Diagnostic> {
    let loaded = context.load()?;
    let mut diagnostics = config_diagnostics(&loaded, &context.layout.app_config);
    // The one error tells the syntax error as its cause, so the syntax error is not repeated beside
    // it.
    let cause =
        diagnostics.iter().position(|diagnostic| diagnostic.code == CORRUPT).map(|at| diagnostics.remove(at));
    let mut page = Page::default();
    let is_absent = loaded.shape == FileShape::Missing && !loaded.pending.repairs();
    page.line(match is_absent {
        true => "There is no config yet.".to_owned(),
        false => format!("{}: {}", context.short(&context.layout.app_config), state_words(&loaded.report)),
    });
    if loaded.newer.is_some() {
        // The diagnostics have the error.
    } else if loaded.pending.repairs() {
        let mut diagnostic = Diagnostic::error(NEEDS_REPAIR, "the config needs a repair")
            .at(&context.layout.app_config)
            .hint(format!("{} repair", context.layout.program));
        if let Some(cause) = cause {
            diagnostic.causes.push(cause.message);
            diagnostic.place = cause.place;
        }
        diagnostics.push(diagnostic);
    } else if let Err(refused) = active_network(&context.libraries().launch_context(), &loaded.document) {
        diagnostics.push(refused);
    } else if let Some(line) = completion(&loaded) {
        page.line(line);
    } else if diagnostics.is_empty() && !is_absent {
        page.line("Nothing is wrong with it.");
    }
    let document = ConfigChecked {
        path: long(&context.layout.app_config),
        shape: loaded.shape,
        pending: &loaded.pending,
        completed_keys: &loaded.report.completed_keys,
        findings: &loaded.diagnostics,
    };
    Ok(CommandOutput::done(page, json!(document)).with(diagnostics))
}

/// `config accept`.
fn accept(context: &Context) -> Result<CommandOutput, Diagnostic> {
    let libraries = context.libraries();
    let accepted = accept_config(&libraries.launch_context(), &context.options())?;
    let (page, trace) = myownllm_report::accepted(&libraries.view(), &accepted);
    Ok(CommandOutput { trace, ..CommandOutput::done(page, json!(accepted)) })
}

fn restore(context: &Context, name: &str, as_is: bool) -> Result<CommandOutput, Diagnostic> {
    let libraries = context.libraries();
    let home = libraries.view();
    let made =
        restore_backup(&libraries.launch_context(), &context.options(), &mut fresh_ids(), name, as_is)?;
    let (page, data) = restored(&home, &made.restored, &made.followed);
    Ok(CommandOutput {
        diagnostics: made.diagnostics,
        trace: restore_trace(&home, &made.restored, name),
        ..CommandOutput::done(page, data)
    })
}
