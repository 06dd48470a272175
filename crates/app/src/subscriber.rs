//! Writes the trace of the libraries to standard error: with `-v`, `-vv`, or as `MYOWNLLM_LOG`
//! says.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

/// The variable that sets the trace filter: `debug`, or `myownllm_daemon=trace,info`.
const VARIABLE: &str = "MYOWNLLM_LOG";
const NO_TARGET: &str =
    "it is not a level (error, warn, info, debug, trace) or CRATE=LEVEL, such as myownllm_migration=debug";

/// Starts the trace. Returns the problem if the variable is invalid.
pub(crate) fn subscribe(verbose: u8) -> Option<String> {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let (targets, problem) = match wanted.parse::<Targets>() {
        _ if wanted.is_empty() => (targets_for(verbose), None),
        Ok(targets) if targets.iter().all(|(name, _)| name.starts_with("myownllm")) => (targets, None),
        // A word that is no level would be a target, which nothing matches.
        Ok(_) => (targets_for(verbose), Some(NO_TARGET.to_owned())),
        Err(error) => (targets_for(verbose), Some(error.to_string())),
    };
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    // Fails if a test has already set a subscriber.
    let _ = tracing_subscriber::registry().with(lines.with_filter(targets)).try_init();
    problem.map(|problem| format!("cannot use {VARIABLE}={wanted:?}: {problem}"))
}

fn targets_for(verbose: u8) -> Targets {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    Targets::new().with_default(level)
}
