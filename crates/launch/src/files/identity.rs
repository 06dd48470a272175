//! The active identity file as a launch sees it, and the running daemon that may have the only copy
//! of the key because the file is missing, damaged, or that of another device.

use std::path::{Path, PathBuf};

use myownllm_daemon::Probe;
use myownllm_durable_fs::{mkdir_prefix, move_aside, quote, rename_unless_taken, run_first};
use myownllm_identity::{
    Answer, BACKUP_PLACEHOLDER, Expected, IdentityPaths, KeyInfo, Problem, Refusal, Scan, is_device_of_home,
    previous_identity, renamed_homes, scan, scan_everywhere,
};

use crate::context::Context;
use crate::daemons::{DaemonKind, RunningDaemon};
use crate::homes::no_access::unreadable_log;
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM};

/// Decides whether a daemon may be started in this home, and with which key. Every command gives
/// this same answer.
pub(crate) fn identity_answer(context: &Context<'_>) -> Answer {
    scan_identity(context).answer()
}

/// Looks at the identity file.
pub fn scan_identity(context: &Context<'_>) -> Scan {
    scan(context.disk, &IdentityPaths::of(context.layout))
}

/// The stable code of a file with the key that the peers know.
pub(crate) const OTHER_KNOWN: &str = "identity.other-known";
/// The stable code of a key that is not the one that this home had.
const REPLACED: &str = "identity.replaced";

/// Returns a warning if the rosters and states name another key than the active one, and a file has
/// that key; or if the run log shows that this home had another key, or cannot be read. Searches
/// every place. While a daemon runs, the hint ends it before it puts another key in place.
pub fn other_known_identity(context: &Context<'_>) -> Option<Diagnostic> {
    let diagnostic = known_identity(context)?;
    let runs = context.daemons.live(None).iter().any(|live| !live.legacy);
    Some(if runs { swap_without_daemon(diagnostic) } else { diagnostic })
}

/// Begins a hint that puts another key in place with the command that ends the daemon: a daemon
/// keeps the key with which it started.
pub(crate) fn swap_without_daemon(diagnostic: Diagnostic) -> Diagnostic {
    let is_swap = [OTHER_KNOWN, REPLACED].contains(&&*diagnostic.code);
    let hint = diagnostic.hint.map(|hint| if is_swap { end_daemon_first(hint) } else { hint });
    Diagnostic { hint, ..diagnostic }
}

/// Begins a command that puts a file of the daemon's in place with the one that ends the daemon: a
/// daemon writes its files from memory, over what came meanwhile.
pub(crate) fn end_daemon_first(command: String) -> String {
    run_first(&format!("{PROGRAM} daemon stop"), &command)
}

/// Does what [`other_known_identity`] does, with the hint for a home without a daemon.
pub(crate) fn known_identity(context: &Context<'_>) -> Option<Diagnostic> {
    let scan = scan_everywhere(context.disk, &IdentityPaths::of(context.layout));
    let Some((found, command)) = scan.better_known() else {
        return replaced_identity(context, &scan.answer());
    };
    let known = found.key.as_ref()?;
    let message = format!(
        "the rosters or states name {} as an owner, and not the key in use; {} holds that key",
        known.device_id,
        found.path.display()
    );
    Some(Diagnostic::warning(OTHER_KNOWN, message).at(&found.path).hint(command))
}

/// Returns a warning if the run log shows that this home had another key: a daemon that starts
/// without the identity file makes a new one. Also warns if the run log cannot be read, because it
/// may show another key.
fn replaced_identity(context: &Context<'_>, answer: &Answer) -> Option<Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    let previous = match answer {
        Answer::Sound { key, .. } => previous_identity(disk, &IdentityPaths::of(layout), key),
        Answer::Pending { .. } => None,
        _ => return None,
    };
    let Some(previous) = previous else {
        let unreadable = unreadable_log(disk, layout, &layout.run_log())?;
        let message = format!("{}; it may show that this home had another Device ID", unreadable.message);
        return Some(Diagnostic { message, ..unreadable });
    };
    let file = &layout.daemon_identity;
    let message = format!(
        "this home had the Device ID {} before, as {} shows, and the identity file {file} has the key of {}: \
         its peers treat it as another device; bring the former identity file back from a backup",
        previous.device_id,
        previous.log.display(),
        previous.active.device_id
    );
    let hint = restore_backup_command(BACKUP_PLACEHOLDER, file.as_ref(), "replaced");
    Some(Diagnostic::warning(REPLACED, message).at(file).hint(hint))
}

/// Returns the command that sets a file aside, to a name with this ending, and puts a backup in its
/// place. The command changes nothing if the backup does not exist. `backup` is a path as a shell
/// takes it.
pub(crate) fn restore_backup_command(backup: &str, file: &Path, ending: &str) -> String {
    format!("test -f {backup} && {} && cp -pn {backup} {}", move_aside(file, ending), quote(file))
}

pub(crate) const HELD: &str = "identity.held";
/// The stable code of a daemon with another key than its home.
const FOREIGN: &str = "daemon.foreign-identity";

/// Reports a running daemon of the daemon home whose identity file is missing, damaged, or that of
/// another device. The daemon may have the only copy of its key in memory, and the key is lost when
/// the daemon ends.
pub(crate) fn held_key_diagnostic(context: &Context<'_>) -> Option<Diagnostic> {
    let answer = identity_answer(context);
    let file = &context.layout.daemon_identity;
    let refusal = answer.refusal();
    let is_missing = matches!(answer, Answer::NoneYet) || refusal.is_some_and(Refusal::is_missing);
    let is_damaged = refusal.is_some_and(|refusal| {
        matches!(refusal.problem, Problem::Damaged { .. } | Problem::NotAFile { .. })
            && refusal.path() == file.as_std_path()
    });
    let key = match &answer {
        Answer::Sound { key, .. } => Some(key),
        _ => None,
    };
    if !is_missing && !is_damaged && key.is_none() {
        return None;
    }
    let live = context.daemons.live(None).into_iter().find(is_started)?;
    let state = match key {
        Some(key) => {
            let running = displaced_device_id(context, &live, key)?;
            format!(" as {running}, and its identity file {file} has the key of {}", key.device_id)
        }
        None => {
            format!(", and its identity file {file} is {}", if is_missing { "missing" } else { "damaged" })
        }
    };
    let message = format!(
        "a daemon of this home runs{}{state}: the daemon may have the only copy of the key; leave it running \
         until the file is back",
        live.pid().map_or_else(String::new, |pid| format!(" (process {pid})"))
    );
    let restored = || match key {
        Some(_) => {
            let known = known_identity(context).filter(|diagnostic| diagnostic.code == OTHER_KNOWN);
            known
                .and_then(|diagnostic| diagnostic.hint)
                .unwrap_or_else(|| restore_backup_command(BACKUP_PLACEHOLDER, file.as_ref(), "replaced"))
        }
        None => format!("{}cp -pn {BACKUP_PLACEHOLDER} {}", mkdir_prefix(file.parent()), quote(file)),
    };
    let hint = refusal.and_then(Refusal::hint).unwrap_or_else(restored);
    Some(Diagnostic::error(HELD, message).at(file).hint(hint).class(Class::Refused))
}

/// Returns true if the daemon of the daemon home has started. A daemon that is still starting may
/// not have made its first key yet.
fn is_started(live: &RunningDaemon) -> bool {
    let is_starting = matches!(&live.kind, DaemonKind::Orphan { process, .. } if process.starting);
    !live.legacy && live.verified && !is_starting
}

/// Returns the Device ID of the running daemon, if this home belongs to that device and `key`, the
/// key of the identity file, to another one.
fn displaced_device_id(context: &Context<'_>, live: &RunningDaemon, key: &KeyInfo) -> Option<String> {
    let DaemonKind::Listening { probe: Probe::Answered { status, .. }, .. } = &live.kind else { return None };
    let running = &status.device_id;
    let places = IdentityPaths::of(context.layout);
    let is_held = !Expected::key(&key.device_id).admits(running)
        && is_device_of_home(context.disk, &places, running, key);
    is_held.then(|| running.clone())
}

/// The stable code of a missing home that seems to have another name.
pub(crate) const RENAMED: &str = "homes.renamed";

/// Makes the app's home if it is missing and may be made.
pub(crate) fn ensure_home(context: &Context<'_>) -> Result<(), Diagnostic> {
    ensure_no_new_home(context)?;
    Ok(context.store.ensure_home()?)
}

/// Refuses to make the app's home if the identity file is missing or unusable, if a daemon of the
/// previous home still runs, or if a renamed home of the app is there. A new home would take the name
/// that the previous one needs back, and would get other settings and another key.
pub(crate) fn ensure_no_new_home(context: &Context<'_>) -> Result<(), Diagnostic> {
    let home = context.disk.stat(context.layout.app_home.as_ref());
    if home.is_ok() {
        return Ok(());
    }
    let answer = identity_answer(context);
    let refused = answer.refusal().map(|refusal| {
        let message = format!("cannot make a new home {}: {}", context.layout.app_home, refusal.reason());
        Diagnostic { message, ..Diagnostic::from(refusal) }
    });
    refused.or_else(|| held_key_diagnostic(context)).or_else(|| renamed_home(context)).map_or(Ok(()), Err)
}

/// Reports the renamed home with the config, or the copy of one, that was changed last.
fn renamed_home(context: &Context<'_>) -> Option<Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    let (config, stem) = (layout.app_config.file_name()?, layout.app_config.file_stem()?);
    let changed = |home: &PathBuf| {
        let names = disk.list(home).unwrap_or_default().into_iter().map(|entry| entry.name);
        let configs = names.filter(|name| name.to_string_lossy().starts_with(stem)).chain([config.into()]);
        configs.filter_map(|name| disk.stat_follow(&home.join(name)).ok()).map(|meta| meta.modified).max()
    };
    let homes = renamed_homes(disk, &IdentityPaths::of(layout)).into_iter();
    let found = homes.filter(|home| changed(home).is_some()).max_by_key(changed)?;
    let home = &layout.app_home;
    let message = format!(
        "cannot make a new home {home}: {} seems to be the former one, with settings of the app; give it its \
         name back, or, to begin anew, move it elsewhere",
        found.display()
    );
    let hint = rename_unless_taken(&found, home);
    Some(Diagnostic::error(RENAMED, message).at(&found).hint(hint).class(Class::Refused))
}

/// The codes beside which a daemon may have the only copy of the key.
const MAY_HOLD_KEY: [&str; 2] = ["identity.gone", FOREIGN];

/// If the daemon may have the only copy of the key: replaces the hints that end a daemon by the
/// hint that brings the identity file back, and adds the reason. If a [`HELD`] diagnostic gives the
/// reason already, removes the diagnostics whose hints end a daemon.
pub(crate) fn protect_held_key(context: &Context<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let is_in_doubt =
        |diagnostic: &Diagnostic| ends_daemon(diagnostic) || MAY_HOLD_KEY.contains(&&*diagnostic.code);
    if !diagnostics.iter().any(is_in_doubt) {
        return;
    }
    // The refusal to make a new home already gives this reason and hint.
    if diagnostics.iter().any(|diagnostic| diagnostic.code == HELD) {
        return diagnostics.retain(|diagnostic| !ends_daemon(diagnostic));
    }
    let Some(holder) = held_key_diagnostic(context) else { return };
    for diagnostic in
        diagnostics.iter_mut().filter(|diagnostic| ends_daemon(diagnostic) || diagnostic.code == FOREIGN)
    {
        diagnostic.hint.clone_from(&holder.hint);
    }
    diagnostics.insert(0, holder.as_warning());
}

/// Returns true if the hint ends a daemon.
pub(crate) fn ends_daemon(diagnostic: &Diagnostic) -> bool {
    let ends = |hint: &String| {
        hint.ends_with(" daemon stop")
            || hint.ends_with(" daemon restart")
            || hint.contains(" daemon stop && ")
    };
    diagnostic.hint.as_ref().is_some_and(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_command_runs_beside_the_daemon() {
        let hint = end_daemon_first("test -e a || mv -n b a".to_owned());
        assert_eq!(hint, "myownllm-mesh daemon stop && sh -c 'test -e a || mv -n b a'");
        assert_eq!(end_daemon_first("mv -n b a".to_owned()), "myownllm-mesh daemon stop && mv -n b a");
    }
}
