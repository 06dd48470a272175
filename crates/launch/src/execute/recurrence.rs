//! Detects a config that was healthy and that a daemon has overwritten again: something still
//! starts a daemon in the app's home.

use myownllm_config_store::{BackupKind, FileShape};
use myownllm_daemon::{Evidence, Suspect};
use serde::Serialize;

use crate::context::{Context, Options};
use crate::daemons::RunningDaemon;
use crate::words::backup;
use crate::words::diagnostic::{Diagnostic, unless_failed};

/// A config that was healthy before and that a daemon has overwritten again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Recurrence {
    /// The newest backup of the healthy config.
    pub healthy_copy: String,
    /// The processes that may have overwritten the config, if they still run.
    pub suspects: Vec<Suspect>,
}

impl Recurrence {
    /// Looks for the signs of a recurrence: a config in the daemon's shape, and a backup that this
    /// program made when the config was healthy. (A file that a daemon itself moved aside is no
    /// such sign: a daemon does that the first time, too.) `live` are the daemons that were found
    /// on the app's home; the caller has not ended them yet. A config that the user restored from a
    /// backup is no recurrence.
    pub fn of(
        context: &Context<'_>,
        options: &Options<'_>,
        shape: FileShape,
        live: &[RunningDaemon],
    ) -> Option<Self> {
        if !matches!(shape, FileShape::Daemon | FileShape::Mixed) {
            return None;
        }
        let copies = unless_failed(context.store.history(), "the list of the backups")?;
        let restored = (options.last_restored)(context.layout);
        if copies.iter().any(|copy| copy.current && restored.as_ref() == Some(&copy.id.to_string())) {
            return None;
        }
        let is_healthy = |kind, intact, shape| kind == BackupKind::Good && intact && shape == FileShape::App;
        let healthy = copies.iter().find(|copy| is_healthy(copy.kind, copy.intact, copy.shape))?;
        let mut suspects = context.daemons.suspects();
        // A daemon whose environment cannot be read is known by its socket alone.
        for pid in live.iter().filter(|live| live.legacy).filter_map(RunningDaemon::pid) {
            if suspects.iter().all(|known| known.pid != pid) {
                suspects.insert(0, Suspect::new(pid, None, Evidence::Serves));
            }
        }
        Some(Self { healthy_copy: healthy.id.to_string(), suspects })
    }

    /// Returns the recurrence as a diagnostic for a person.
    pub fn diagnostic(&self, context: &Context<'_>, options: &Options<'_>) -> Diagnostic {
        let who = match self.suspects.is_empty() {
            true => ", such as an older version of the app; no such daemon runs now",
            false => "",
        };
        let message = format!(
            "the config was healthy before ({}), and a daemon wrote over it since: something still starts a \
             daemon in the app's directory{who}",
            backup(&self.healthy_copy)
        );
        let pids: Vec<String> = self.suspects.iter().map(|suspect| suspect.pid.to_string()).collect();
        let hint = match pids.is_empty() || cfg!(windows) {
            true => format!("{} doctor", options.program),
            false => format!("ps -fp {}", pids.join(",")),
        };
        let mut diagnostic =
            Diagnostic::warning("launch.relapse", message).at(&context.layout.app_config).hint(hint);
        diagnostic.causes = self.suspects.iter().map(Suspect::to_string).collect();
        diagnostic
    }
}
