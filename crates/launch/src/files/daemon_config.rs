//! Judges the file at the path of the daemon's config before a daemon starts on it: a daemon drops
//! the settings that it does not know, and writes the rest over the file.

use myownllm_config_model::DaemonFile;
use myownllm_config_model::daemon_config::{DaemonConfig, NEWEST_VERSION};
use myownllm_config_model::masking::mask_pointer;
use myownllm_config_store::{FileShape, LockedStore, Misplaced, SetAside};
use myownllm_daemon::{Candidate, last_log_lines, log_path};
use myownllm_durable_fs::{move_aside, quote, replace_symlink};
use myownllm_identity::IdentityPaths;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::Context;
use crate::daemons::networks::keep_settings_in;
use crate::daemons::{CONFIG_LIMIT, read_document};
use crate::files::misnamed::copy_of_misplaced;
use crate::step::LaunchStep;
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM, unless_failed};
use crate::words::hints::edit;
use crate::words::{backup, in_a_line};

const DAMAGED: &str = "daemon.config-damaged";
pub(crate) const CONFIG_SET_ASIDE: &str = "daemon.config-set-aside";

/// Reports that a symlink makes the daemon's config and the app's config one file: a daemon would
/// overwrite the app's config again.
pub(crate) fn shared_config(context: &Context<'_>) -> Option<Diagnostic> {
    let (path, app) = (&context.layout.daemon_config, &context.layout.app_config);
    let real = |path: &Utf8Path| context.disk.canonicalize(path.as_ref()).ok();
    real(path).filter(|at| real(app).as_ref() == Some(at))?;
    let is_symlink =
        |path: &&&Utf8PathBuf| context.disk.stat(path.as_ref()).is_ok_and(|meta| meta.is_symlink());
    let symlink = [path, app];
    let symlink = symlink.iter().find(is_symlink);
    let hint = symlink.map_or_else(|| format!("ls -l {}", quote(path)), replace_symlink);
    let message = format!("{path} and the app's config are one file");
    let diagnostic = Diagnostic::error("daemon.config-is-the-apps", message).at(path);
    Some(diagnostic.hint(hint).class(Class::Refused))
}

/// Reports a daemon's config that is newer than the daemons that this program knows, or than the
/// installed one, according to its last log: they do not start on it.
pub(crate) fn newer_config(context: &Context<'_>) -> Option<Diagnostic> {
    let path = &context.layout.daemon_config;
    let version = config_version(context)?;
    if version > NEWEST_VERSION {
        let message = format!(
            "{path} is of version {version}, newer than the daemons that this program knows: \
             update the daemon, or set the config aside"
        );
        let newer = Diagnostic::error(NEWER, message).at(path).class(Class::Daemon);
        return Some(newer.hint(move_aside(path, "newer")));
    }
    (version > 1 && every_program_refused(context)).then(|| older_daemon(context, version))
}

const NEWER: &str = "daemon.config-newer";

/// Returns the version of the daemon's config, if it has one.
fn config_version(context: &Context<'_>) -> Option<u64> {
    let document = read_document(context.disk, &context.layout.daemon_config);
    DaemonConfig::view(&unless_failed(document, "the look at the daemon's config")??).version
}

/// Reports a config that is newer than the daemon, as after a downgrade: the daemon refuses such a
/// config. `logs` are the logs of the programs that ended. A config whose version is newer than
/// every known daemon is reported even if no log names that reason.
pub(crate) fn refused_config(context: &Context<'_>, logs: &[&[String]]) -> Option<Diagnostic> {
    let version = config_version(context)?;
    let said = logs.iter().copied().flatten().any(|line| says_newer(line));
    let is_newer = (version > 1 && said) || (!logs.is_empty() && version > NEWEST_VERSION);
    is_newer.then(|| older_daemon(context, version))
}

/// Warns of a network kind or a topology in the daemon's config that is unknown to every daemon
/// version that this program knows.
pub(crate) fn unknown_value_diagnostic(context: &Context<'_>) -> Option<Diagnostic> {
    let path = &context.layout.daemon_config;
    let bytes = context.disk.read(path.as_ref(), CONFIG_LIMIT).ok()?;
    let word = DaemonFile::Config.judge(&bytes).unknown_value?;
    let message = format!(
        "the daemon's config {path} has an unknown value at {word}: a daemon that does not know this value \
         renames the file to *.corrupt, and starts at its defaults"
    );
    Some(Diagnostic::warning(NEWER, message).at(path).hint(edit(path, None)))
}

/// Reports that the installed daemon is older than its config. Once the config is set aside, the
/// daemon starts at its defaults, and a launch makes the daemon join the active network again.
fn older_daemon(context: &Context<'_>, version: u64) -> Diagnostic {
    let (path, app) = (&context.layout.daemon_config, &context.layout.app.name);
    let message = format!(
        "the daemon's config {path} is of version {version}, newer than the installed daemon, which does \
         not start on it; update {app}, or set the config aside"
    );
    Diagnostic::error(NEWER, message).at(path).hint(move_aside(path, "newer")).class(Class::Daemon)
}

/// Returns true if a line of a daemon that ended says that something is too new, its config or a
/// version, as daemons of version 0.3 and 0.1 do. The line may be about a library or the kernel, so
/// the callers also check the config.
fn says_newer(line: &str) -> bool {
    (line.contains("newer") && (line.contains("config") || line.contains("version")))
        || (line.contains("config version") && line.contains("unsupported"))
}

/// Returns true if the last log shows that each program that a launch would start, unchanged since,
/// ended because of a newer config.
fn every_program_refused(context: &Context<'_>) -> bool {
    /// The number of lines that a daemon writes after the reason at most.
    const LAST_LINES: usize = 8;
    let path = log_path(&context.layout.daemon_home);
    let lines = last_log_lines(context.disk, &IdentityPaths::of(context.layout), &path, usize::MAX);
    let programs = context.daemons.programs();
    let written = context.disk.stat(path.as_ref()).map(|meta| meta.modified);
    // Every program begins with a line that names it.
    let runs: Vec<&[String]> = lines.chunk_by(|_, next| !next.ends_with(" serve")).collect();
    let has_refused = |program: &Candidate| {
        let start = format!(" {} serve", program.path.display());
        let run = runs.iter().rev().find(|run| run[0].ends_with(&start));
        let changed = context.disk.stat_follow(&program.path).map(|meta| meta.changed);
        matches!((changed, &written), (Ok(changed), Ok(written)) if changed < *written)
            && run.is_some_and(|run| {
                run.iter()
                    .skip(1)
                    .rev()
                    .take(LAST_LINES)
                    .any(|line| says_newer(line) && line.contains("config"))
            })
    };
    let programs = programs.unwrap_or_default();
    let mut sound = programs.iter().filter(|program| program.is_sound()).peekable();
    sound.peek().is_some() && sound.all(has_refused)
}

/// Reports that the file at the path of the daemon's config is not the daemon's. Every command
/// reports it in these words. `steps` are those of a launch: beside a running daemon the file
/// stays.
pub(crate) fn misplaced_diagnostic(
    context: &Context<'_>,
    misplaced: &Misplaced,
    steps: &[LaunchStep],
) -> Diagnostic {
    let path = &context.layout.daemon_config;
    if steps.iter().any(|step| matches!(step, LaunchStep::BackUpDaemonConfig)) {
        let outcome = "it is set aside once the running daemon has ended";
        return misplaced_error(path, misplaced, outcome, "daemon restart").as_warning();
    }
    misplaced_error(path, misplaced, "a repair keeps it as a backup and sets it aside", "repair")
}

fn misplaced_error(path: &Utf8Path, misplaced: &Misplaced, outcome: &str, command: &str) -> Diagnostic {
    let code = match misplaced.shape {
        FileShape::Corrupt | FileShape::Daemon => DAMAGED,
        _ => "daemon.config-misplaced",
    };
    let what = match misplaced.shape {
        FileShape::App => "is a config of the app's, which a daemon would overwrite",
        FileShape::Mixed => "holds settings of the app's, which a daemon would drop",
        FileShape::Corrupt => "is no JSON object, and no daemon's config",
        FileShape::Daemon => "cannot be read by a daemon, which would start at its defaults",
        _ => "has no setting of the daemon's, and a daemon would overwrite it",
    };
    let message = format!("{path} {what}; {outcome}");
    Diagnostic::error(code, message).at(path).hint(format!("{PROGRAM} {command}"))
}

/// Keeps a misplaced file as a backup, and leaves it: a daemon runs, holds its config in memory and
/// writes it over the file.
pub(crate) fn back_up_daemon_config(
    context: &Context<'_>,
    lock: &dyn LockedStore,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let kept = lock.keep_misplaced()?;
    Ok(kept.map(|SetAside { backup: id, misplaced, .. }| {
        let backup = backup(&id.to_string());
        let outcome = format!("it is {backup} now, and is set aside once the running daemon has ended");
        let path = &context.layout.daemon_config;
        misplaced_error(path, &misplaced, &outcome, "daemon restart").as_warning()
    }))
}

/// Keeps the daemon's config as a backup if a daemon that starts now may drop some of it.
pub(crate) fn keep_droppable(
    lock: &dyn LockedStore,
    path: &Utf8Path,
) -> Result<Option<Diagnostic>, Diagnostic> {
    let kept = lock.keep_droppable()?;
    Ok(kept.map(|(id, settings)| {
        let settings = in_a_line(settings.iter().map(|setting| mask_pointer(setting)).collect());
        let message = format!(
            "{path} has settings that a daemon which does not know them drops ({settings}); {} keeps them",
            backup(&id.to_string())
        );
        Diagnostic::warning(NEWER, message).at(path).hint(format!("{PROGRAM} config history"))
    }))
}

/// Keeps a misplaced file as a backup and sets the file aside, so that a daemon can start.
/// Fails if the file is the app's config as well, or could not be kept or set aside. No daemon may
/// be started then.
pub(crate) fn set_daemon_config_aside(
    context: &Context<'_>,
    lock: &dyn LockedStore,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let path = &context.layout.daemon_config;
    let misplaced = context.store.misplaced();
    let copy = misplaced.and_then(|misplaced| copy_of_misplaced(context, &misplaced, true));
    let previous = context.disk.read(path.as_ref(), CONFIG_LIMIT).unwrap_or_default();
    let done = lock.set_misplaced_aside()?;
    keep_settings_in(context, lock, &previous);
    let replaced = done.map(|done| {
        let then = match (&done.restored_from, done.misplaced.daemon_keys.as_slice()) {
            (Some(part), _) => format!("the daemon's settings come from {}", backup(&part.to_string())),
            (None, []) => "the daemon begins at its defaults".to_owned(),
            (None, keys) => format!("the daemon's own settings stay: {}", keys.join(", ")),
        };
        let without = match done.misplaced.left_out.as_slice() {
            [] => String::new(),
            members => format!(", without {}, which no daemon can read", members.join(", ")),
        };
        let message = format!(
            "{path} {}; it is {} now, and {then}{without}",
            set_aside_words(&done),
            backup(&done.backup.to_string())
        );
        Diagnostic::warning(CONFIG_SET_ASIDE, message).at(path).hint(format!("{PROGRAM} config history"))
    });
    // The start of a daemon names the copy if nothing is in the place.
    let copy = copy.filter(|_| replaced.is_some() && context.disk.stat(path.as_ref()).is_ok());
    Ok(replaced.into_iter().chain(copy).collect())
}

fn set_aside_words(done: &SetAside) -> &'static str {
    match done.misplaced.shape {
        FileShape::App => "was a config of the app's",
        FileShape::Mixed => "held settings of the app's",
        FileShape::Corrupt => "was no JSON object",
        FileShape::Daemon => "could not be read by a daemon",
        _ => "had no setting of the daemon's",
    }
}

/// Corrects the paths in the daemon's config that lead to the old location: a repair that was made
/// before the move left them.
pub(crate) fn rebase_paths(
    context: &Context<'_>,
    lock: &dyn LockedStore,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let rebased = lock.rebase_daemon_config()?;
    let diagnostics = rebased.into_iter().map(|path| {
        let message =
            format!("changed {} in the daemon's config from {} to {}", path.pointer, path.from, path.to);
        Diagnostic::info("daemon.path-rebased", message).at(&context.layout.daemon_config)
    });
    Ok(diagnostics.collect())
}
