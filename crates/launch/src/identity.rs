//! The identity file in force, as a launch sees it.

use myownllm_config_model::Ids;
use myownllm_config_store::{Pending, Step};
use myownllm_durable_fs::LockedDir;
use myownllm_identity::{Answer, Expected, Look, Pending as PendingBy, Places, Refusal, StartPermit, look};

use crate::context::Context;

/// Returns the places where the identity file may be. A pending repair may be about to write the
/// daemon config that names the file.
fn places(context: &Context<'_>, pending: Option<&Pending>) -> Places {
    let places = Places::of(context.layout);
    let writes =
        |pending: &Pending| pending.steps.iter().any(|step| matches!(step, Step::PublishDaemonHalf { .. }));
    if pending.is_some_and(writes) { places.with_daemon_config(&context.layout.app_config) } else { places }
}

/// Decides whether a daemon may be started in this home, and with which key. Every command gives
/// this same answer. `pending` is what a launch would write of the config.
#[must_use]
pub fn identity_answer(context: &Context<'_>, pending: Option<&Pending>) -> Answer {
    look(context.disk, &places(context, pending)).answer()
}

/// Looks at the identity file. If it is missing, also looks at what a launch would write of the
/// config: the daemon's part may name the file.
#[must_use]
pub fn identity_look(context: &Context<'_>, ids: &mut dyn Ids) -> Look {
    let seen = look(context.disk, &places(context, None));
    if !seen.answer().refusal().is_some_and(Refusal::is_gone) {
        return seen;
    }
    match context.store.look(ids) {
        Ok(loaded) => look(context.disk, &places(context, Some(&loaded.pending))),
        Err(_) => seen,
    }
}

/// Returns the permit to start a daemon in this home.
pub(crate) fn start_permit<'lock>(
    context: &Context<'_>,
    lock: &'lock LockedDir,
) -> Result<StartPermit<'lock>, Refusal> {
    myownllm_identity::start_permit(lock, &places(context, None))
}

/// Returns the key that a running daemon must have. If the daemon's config still names the old
/// location of the moved file, a launch corrects that before it starts a daemon.
///
/// # Errors
/// Fails if no daemon may be used.
pub fn expected_key(answer: &Answer) -> Result<Expected, Refusal> {
    match answer {
        Answer::Pending { key, by: PendingBy::Config, .. } => Ok(Expected::key(&key.device_id)),
        answer => answer.expected(),
    }
}
