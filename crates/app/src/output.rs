//! The output of the program: one answer for each command, printed for a person or as one JSON
//! document.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use clap::ColorChoice;
use myownllm_launch::{Diagnostic, Severity, class_of};
use myownllm_migration::Progress;
use myownllm_report::documents::{Build, Envelope};
use myownllm_report::run_log::{Run, Trace};
use myownllm_report::{
    Form, Page, ProgressText, Screen, Tilde, colored_diagnostic, diagnostic_text, escape_json_controls,
    rfc3339,
};
use serde_json::{Value, json};

use crate::cli::GlobalArgs;
use crate::exit::ExitCode;
use crate::pager;
use crate::signals::{cancel_on_signal, say_on_interrupt};

/// The build of this program.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("MYOWNLLM_COMMIT"),
    target: env!("MYOWNLLM_TARGET"),
};

/// The start of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: SystemTime,
    instant: Instant,
}

impl Started {
    pub(crate) fn now() -> Self {
        Self { at: SystemTime::now(), instant: Instant::now() }
    }

    /// Returns the time of day, RFC 3339 in UTC; the last one of RFC 3339 if the clock is past it.
    pub(crate) fn at(self) -> String {
        rfc3339(self.at).unwrap_or_else(|| "9999-12-31T23:59:59.999Z".to_owned())
    }

    /// Returns the milliseconds since the start.
    pub(crate) fn took_ms(self) -> u64 {
        u64::try_from(self.instant.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The answer of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// The exit code.
    pub(crate) exit: ExitCode,
    /// The text for a person, on stdout.
    pub(crate) page: Page,
    /// The data for a program: `data` of the envelope.
    pub(crate) data: Value,
    /// The diagnostics, in the order in which they came up.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The diagnostics that the page already tells, so that only a document repeats them.
    pub(crate) shown_on_page: Vec<Diagnostic>,
    /// True if the page is the requested data and not a report, so that `--quiet` does not silence
    /// it.
    pub(crate) is_data: bool,
    /// The changes of the run, for the run log.
    pub(crate) trace: Option<Trace>,
}

impl CommandOutput {
    /// Returns a success.
    pub(crate) fn done(page: impl Into<Page>, data: Value) -> Self {
        Self {
            exit: ExitCode::Done,
            page: page.into(),
            data,
            diagnostics: Vec::new(),
            shown_on_page: Vec::new(),
            is_data: false,
            trace: None,
        }
    }

    /// Returns a success whose page is the requested data.
    pub(crate) fn data(page: impl Into<Page>, data: Value) -> Self {
        Self { is_data: true, ..Self::done(page, data) }
    }

    /// Returns a failure that one error explains.
    pub(crate) fn failed(diagnostic: Diagnostic) -> Self {
        let exit = diagnostic.class.into();
        Self { diagnostics: vec![diagnostic], ..Self::done("", json!({})) }.exit(exit)
    }

    /// Returns the end of a command that has already printed its answer.
    pub(crate) fn already_printed(exit: ExitCode) -> Self {
        Self::done("", Value::Null).exit(exit)
    }

    /// Returns true if everything was already printed.
    pub(crate) fn is_printed(&self) -> bool {
        self.data.is_null()
    }

    /// Adds the diagnostics of a run, and sets the exit code of the gravest error.
    pub(crate) fn with(self, diagnostics: Vec<Diagnostic>) -> Self {
        let exit = class_of(&diagnostics).map_or(ExitCode::Done, ExitCode::from);
        Self { exit, diagnostics, ..self }
    }

    /// Adds the line of the run to the run log, if the run changed something.
    pub(crate) fn log(&self, started: Started) {
        if let Some(trace) = &self.trace {
            trace.write(Run {
                at: started.at(),
                version: BUILD.version,
                exit: self.exit.number(),
                took_ms: started.took_ms(),
                diagnostics: &self.diagnostics,
            });
        }
    }

    /// Sets the exit code of a success if a change is pending.
    pub(crate) fn pending_if(self, is_pending: bool) -> Self {
        if is_pending && self.exit.is_ok() { self.exit(ExitCode::Pending) } else { self }
    }

    /// Sets the exit code.
    pub(crate) fn exit(mut self, exit: ExitCode) -> Self {
        self.exit = exit;
        self
    }
}

/// Prints answers.
#[derive(Debug)]
pub(crate) struct Printer {
    pub(crate) started: Started,
    /// True if answers are printed as documents. Otherwise nobody sees one that a command makes.
    pub(crate) is_json: bool,
    pub(crate) is_verbose: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
    screen: Screen,
    /// The width of lines on stderr; `None` in a log, where each message is one line.
    width_err: Option<usize>,
    progress: Rc<ProgressText>,
    /// True if stderr is for JSON lines alone.
    is_for_programs: bool,
    /// Shortens the paths in texts for a person, once the home is known.
    tilde: OnceCell<Tilde>,
    /// The error of the first write of an answer that failed.
    failed: RefCell<Option<io::Error>>,
}

/// Returns true if the terminal says that it can only print.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Returns the choice of the user, else that of the environment.
pub(crate) fn color_choice(said: ColorChoice) -> ColorChoice {
    let is_set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match said {
        // If `CI` is set, the parser takes a dumb terminal for a log that can be coloured.
        ColorChoice::Auto if is_dumb() || is_set("NO_COLOR").is_some() => ColorChoice::Never,
        ColorChoice::Auto if is_set("CLICOLOR_FORCE").is_some_and(|value| value != "0") => {
            ColorChoice::Always
        }
        _ => said,
    }
}

impl Printer {
    /// Returns a printer for these options, with the streams and the environment of this process.
    pub(crate) fn new(global: &GlobalArgs, started: Started) -> Self {
        let color = color_choice(global.color);
        let wants = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal,
        };
        let err = io::stderr().is_terminal();
        let form = match () {
            () if global.progress => Form::Json,
            () if err && !is_dumb() && !global.quiet => Form::Line,
            () => Form::None,
        };
        Self {
            started,
            is_json: global.json,
            is_verbose: global.verbose > 0,
            quiet: global.quiet,
            color_out: wants(io::stdout().is_terminal()),
            color_err: wants(err),
            screen: screen_of_stdout(),
            width_err: width_of_stderr(),
            progress: Rc::new(ProgressText::new(form)),
            is_for_programs: global.progress,
            tilde: OnceCell::new(),
            failed: RefCell::new(None),
        }
    }

    /// Returns the callback that shows the progress of a move. With `ends_on_interrupt`, Ctrl-C
    /// ends the command, and the command says that nothing is lost.
    pub(crate) fn progress(&self, ends_on_interrupt: bool) -> Box<dyn Fn(Progress)> {
        let text = Rc::clone(&self.progress);
        let says = Cell::new(ends_on_interrupt && !self.quiet);
        Box::new(move |progress| {
            if says.take() {
                say_on_interrupt();
            }
            write_stderr(&text.text(progress, Instant::now()).unwrap_or_default());
        })
    }

    /// Returns the callback that says that this run waits for another run. From the wait on, a
    /// signal sets `cancelled`: the run ends with its answer.
    pub(crate) fn waits(&self, cancelled: Option<Arc<AtomicBool>>) -> Box<dyn Fn(Option<u32>)> {
        let quiet = self.quiet || self.is_for_programs;
        Box::new(move |process| {
            cancelled.iter().for_each(cancel_on_signal);
            let process = process.map_or_else(String::new, |process| format!(" (process {process})"));
            if !quiet {
                write_stderr(&format!("Waiting for another myownllm-mesh{process}…\n"));
            }
        })
    }

    /// Shortens the paths in all texts for a person from now on.
    pub(crate) fn shorten_paths(&self, tilde: Tilde) {
        // Each run has one home.
        let _ = self.tilde.set(tilde);
    }

    /// Prints an answer: the text or the document to stdout, the diagnostics to stderr.
    pub(crate) fn print(&self, command: &str, answer: &CommandOutput) {
        write_stderr(self.progress.cleared().unwrap_or_default());
        if self.is_json {
            self.to_stdout(&format!("{}\n", envelope(command, answer, self.started)));
        } else if (!self.quiet || answer.is_data) && !answer.page.is_empty() {
            let shortened = self.tilde.get().map(|tilde| tilde.in_page(&answer.page));
            let page = shortened.as_ref().unwrap_or(&answer.page);
            let text = if self.color_out { page.colored(self.screen) } else { page.plain(self.screen) };
            if !answer.is_data || !pager::show(&text) {
                self.to_stdout(&text);
            }
        }
        let mut said = String::new();
        let in_page = answer.shown_on_page.iter().filter(|_| self.is_json);
        for diagnostic in in_page.chain(&answer.diagnostics) {
            let shown = match diagnostic.severity {
                Severity::Info => self.is_verbose,
                Severity::Warning => !self.quiet,
                Severity::Error => true,
            };
            if shown {
                said.push_str(&self.render(diagnostic));
            }
        }
        if !self.is_for_programs {
            write_stderr(&said);
        }
    }

    /// Prints a single diagnostic to stderr.
    pub(crate) fn print_diagnostic(&self, diagnostic: &Diagnostic) {
        write_stderr(self.progress.cleared().unwrap_or_default());
        write_stderr(&self.render(diagnostic));
    }

    /// Prints a line about the current work, for a person only.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet && !self.is_for_programs {
            write_stderr(&format!("{line}\n"));
        }
    }

    /// Returns the exit code after everything is printed: a failed write to stdout makes the run
    /// fail, because the answer did not arrive.
    pub(crate) fn outcome(&self, exit: ExitCode) -> ExitCode {
        let Some(error) = self.failed.take() else { return exit };
        self.print_diagnostic(&write_failed(&error));
        if exit.is_ok() { ExitCode::Failed } else { exit }
    }

    fn render(&self, diagnostic: &Diagnostic) -> String {
        let shortened = self.tilde.get().map(|tilde| tilde.in_diagnostic(diagnostic));
        let text = diagnostic_text(shortened.as_ref().unwrap_or(diagnostic), self.width_err, self.is_verbose);
        if self.color_err { colored_diagnostic(&text, diagnostic.severity) } else { text }
    }

    fn to_stdout(&self, text: &str) {
        let mut out = io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // A reader that closed the pipe (`| head`) sees no error any more.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed.borrow_mut().get_or_insert(error);
            }
        }
    }
}

/// Writes a text to stderr. If that fails, no reader is left to see an error.
fn write_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Reports an answer that could not be written.
pub(crate) fn write_failed(error: &io::Error) -> Diagnostic {
    let mut diagnostic = Diagnostic::error("output.failed", "cannot write the answer to standard output");
    diagnostic.causes.push(error.to_string());
    diagnostic
}

/// Returns the screen behind standard output. The width is the terminal's, else the value of
/// `COLUMNS`.
fn screen_of_stdout() -> Screen {
    let terminal = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0.into());
    Screen::new(terminal, io::stdout().is_terminal(), |name| std::env::var_os(name))
}

fn width_of_stderr() -> Option<usize> {
    let terminal = terminal_size::terminal_size_of(io::stderr()).map(|(width, _)| usize::from(width.0));
    terminal
        .filter(|width| *width > 0)
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
        .map(|width| width.max(40))
}

fn envelope(command: &str, answer: &CommandOutput, started: Started) -> String {
    let envelope = Envelope {
        schema: format!("myownllm-mesh.{command}/1"),
        ok: answer.exit.is_ok(),
        exit: answer.exit.number(),
        program: BUILD,
        at: started.at(),
        took_ms: started.took_ms(),
        data: &answer.data,
        diagnostics: answer.shown_on_page.iter().chain(&answer.diagnostics).collect(),
    };
    escape_json_controls(&serde_json::to_string_pretty(&envelope).unwrap_or_default())
}
