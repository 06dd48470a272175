//! The identity file in force, as a launch sees it.

use myownllm_durable_fs::{move_aside, quote};
use myownllm_identity::{
    Answer, BACKUP_PLACEHOLDER, IdentityPaths, Scan, former_identity, scan, scan_everywhere,
};

use crate::context::Context;
use crate::diagnostic::Diagnostic;

/// Decides whether a daemon may be started in this home, and with which key. Every command gives
/// this same answer.
pub fn identity_answer(context: &Context<'_>) -> Answer {
    scan_identity(context).answer()
}

/// Looks at the identity file.
pub fn scan_identity(context: &Context<'_>) -> Scan {
    scan(context.disk, &IdentityPaths::of(context.layout))
}

/// Returns a warning if the rosters and states name another key than the active one, and a file has
/// that key; or if the run log shows that this home had another key. Searches every place.
#[must_use]
pub fn other_known_identity(context: &Context<'_>) -> Option<Diagnostic> {
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
    Some(Diagnostic::warning("identity.other-known", message).at(&found.path).hint(command))
}

/// Returns a warning if the run log shows that this home had another key: a daemon that was started
/// after its identity file had gone made another one.
fn replaced_identity(context: &Context<'_>, answer: &Answer) -> Option<Diagnostic> {
    let Answer::Sound { key, .. } = answer else { return None };
    let former = former_identity(context.disk, &IdentityPaths::of(context.layout), key)?;
    let file = &context.layout.daemon_identity;
    let message = format!(
        "this home was {} before, as {} shows, and the key in {file} is that of {}: the peers take it for \
         another device; bring the former key back from a backup",
        former.device_id,
        former.log.display(),
        former.active.device_id
    );
    // The key in use stays in its place as long as there is no other.
    let (aside, place) = (move_aside(file, "replaced"), quote(file));
    let hint = format!("test -f {BACKUP_PLACEHOLDER} && {aside} && cp -pn {BACKUP_PLACEHOLDER} {place}");
    Some(Diagnostic::warning("identity.replaced", message).at(file).hint(hint))
}
