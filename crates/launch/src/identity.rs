//! Which identity file is in force, as a launch sees it.

use myownllm_config_model::Ids;
use myownllm_config_store::{Pending, Step};
use myownllm_durable_fs::LockedDir;
use myownllm_identity::{Answer, Expected, Look, Pending as PendingBy, Places, Refusal, StartPermit, look};

use crate::context::Context;

/// Where the identity file may be. A repair that is pending may be about to give the daemon the config that names it.
fn places(context: &Context<'_>, pending: Option<&Pending>) -> Places {
    let places = Places::of(context.layout);
    let writes =
        |pending: &Pending| pending.steps.iter().any(|step| matches!(step, Step::PublishDaemonHalf { .. }));
    if pending.is_some_and(writes) { places.with_daemon_config(&context.layout.app_config) } else { places }
}

/// May a daemon be started in this home, and with which key? The one answer of every command. `pending` is what a launch would write
/// of the config.
#[must_use]
pub fn identity_answer(context: &Context<'_>, pending: Option<&Pending>) -> Answer {
    look(context.disk, &places(context, pending)).answer()
}

/// What is seen of the identity file. Where it is missing, what a launch would write of the config is looked at too: the daemon's part of
/// it may name the file.
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

/// The permit to start a daemon in this home.
pub(crate) fn start_permit<'lock>(
    context: &Context<'_>,
    lock: &'lock LockedDir,
) -> Result<StartPermit<'lock>, Refusal> {
    myownllm_identity::start_permit(lock, &places(context, None))
}

/// Which key a daemon that is found has to have. Where its config still names the place from which the file has moved, a launch mends
/// that before it starts one.
///
/// # Errors
/// No daemon may be used.
pub fn expected_key(answer: &Answer) -> Result<Expected, Refusal> {
    match answer {
        Answer::Pending { key, by: PendingBy::Config, .. } => Ok(Expected::key(&key.device_id)),
        answer => answer.expected(),
    }
}
