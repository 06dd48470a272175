//! The outcome of a launch, its result in one word, and a config that was healthy and that a daemon
//! has overwritten again: something still starts a daemon in the app's home.

use myownllm_config_model::Document;
use myownllm_config_store::{BackupKind, FileShape, Report, Step};
use myownllm_daemon::{
    CandidateOutcome, Detection, Endpoint, Evidence, Role, Rule, SpawnError, Spawned, Status, Suspect,
};
use myownllm_migration::{LiveDaemon, MoveReport};
use serde::Serialize;

use crate::context::{Context, Options};
use crate::daemons::networks::Reconciled;
use crate::daemons::{DIED, RunningDaemon};
use crate::files::daemon_config::CONFIG_SET_ASIDE;
use crate::files::losses::LOSSES;
use crate::files::peers;
use crate::step::LaunchStep;
use crate::words::backup;
use crate::words::diagnostic::{Class, Diagnostic, Severity, WIPED, add_unreported, class_of, unless_failed};

/// The outcome of a launch.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The config to run on: the file's, repaired and complete, if it could be read; else a
    /// fallback.
    pub document: Document,
    /// True if the file could not be read: the document is a fallback that must never be written.
    pub is_fallback: bool,
    /// The shape of the config file before the launch.
    pub shape: FileShape,
    /// The steps that the launch began, in order.
    pub steps: Vec<LaunchStep>,
    /// True if another process wrote or repaired the config while this launch waited.
    pub is_repaired_by_another: bool,
    /// The report on the config: what was in it, and, if the launch wrote it, what was done.
    pub config: Report,
    /// The steps that wrote the config, in order; empty if the launch wrote nothing.
    pub config_steps: Vec<Step>,
    /// Set if the config was healthy before a daemon overwrote it, with the processes that may have
    /// done so.
    pub recurrence: Option<Recurrence>,
    /// The daemons of the old location that the launch ended, in order.
    pub stopped: Vec<LiveDaemon>,
    /// The report of the move; `None` if nothing was pending.
    pub migration: Option<MoveReport>,
    /// The daemon in use, if any.
    pub daemon: Daemon,
    /// The steps on rosters, states and the daemon's config that were done.
    pub file_steps: Vec<LaunchStep>,
    /// The programs that were tried if none came up, each with the reason.
    pub tried: Vec<CandidateOutcome>,
    /// The daemons that the launch looked for, and the answers.
    pub detection: Option<Detection>,
    /// The changes to the daemon's networks.
    pub reconciled: Option<Reconciled>,
    /// The diagnostics of the config.
    pub findings: Vec<myownllm_config_model::Diagnostic>,
    /// Everything that went wrong or is worth knowing, `findings` included. The gravest error
    /// decides the class.
    pub diagnostics: Vec<Diagnostic>,
}

/// The daemon that a launch ended with.
#[derive(Debug, Default)]
pub enum Daemon {
    /// No daemon was wanted, or none may be started. The diagnostics say why.
    #[default]
    None,
    /// A daemon that ran already. With [`Role::Shared`] another program started it, and this
    /// process must not end it. With [`Role::Own`] it is this app's, of an earlier run or of
    /// another process of the app: [`stop_daemon`](crate::stop_daemon) ends it.
    #[allow(missing_docs, reason = "the types of the fields explain them")]
    Attached { role: Role, endpoint: Endpoint, status: Status, pid: Option<u32>, rule: Rule },
    /// A daemon that this launch started.
    Spawned(Spawned),
}

/// The result of a launch, in one word, for an administrator of many homes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "LaunchOutcome"))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// There was nothing to move and nothing to repair.
    Healthy,
    /// The daemon's state was moved to the daemon home.
    Moved,
    /// The config was repaired, and no setting was lost.
    Repaired,
    /// The config was repaired, and some of the user's settings are at their defaults.
    RepairedWithLosses,
    /// The user has to decide, or a newer version wrote the data.
    Refused,
    /// The launch failed. The next run may succeed.
    Failed,
}

impl Outcome {
    /// Returns the class of the gravest error; `None` if the launch succeeded.
    pub fn class(&self) -> Option<Class> {
        class_of(&self.diagnostics)
    }

    /// Reports that the user cancelled the launch as an error: a command that starts a daemon and
    /// returns has not done its work. `is_to_stay` is true if a daemon that was started should have
    /// stayed.
    pub fn fail_as_cancelled(&mut self, is_to_stay: bool) {
        let cancelled = Diagnostic::from(&SpawnError::Cancelled);
        if is_to_stay && matches!(self.daemon, Daemon::Spawned(_)) {
            add_unreported(&mut self.diagnostics, [cancelled.clone()]);
        }
        let cancelled_ones =
            self.diagnostics.iter_mut().filter(|diagnostic| diagnostic.code == cancelled.code);
        cancelled_ones.for_each(|diagnostic| diagnostic.severity = Severity::Error);
    }

    /// Returns true if an error says that no daemon works.
    pub fn has_lost_daemon(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.is_error() && diagnostic.class == Class::Daemon)
    }

    /// Returns true if the daemon that this launch started has exited.
    pub fn has_exited_daemon(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == DIED)
    }

    /// Returns true if the config on the disk has lost settings or networks, and this launch has
    /// not restored them.
    pub fn has_lost_settings(&self) -> bool {
        self.config.wiped.is_some()
            || self.findings.iter().any(|found| found.code == WIPED)
            || self.diagnostics.iter().any(|diagnostic| diagnostic.code == LOSSES)
    }

    /// Returns the result of this launch. An error outweighs everything that was done before it.
    pub fn verdict(&self) -> Verdict {
        match self.class() {
            Some(Class::Refused | Class::Newer) => return Verdict::Refused,
            Some(_) => return Verdict::Failed,
            None => {}
        }
        if self.has_repaired() || self.has_lost_for_good() {
            let lost = !(self.config.reset_keys.is_empty() && self.config.gone_keys.is_empty());
            return if lost { Verdict::RepairedWithLosses } else { Verdict::Repaired };
        }
        if self.has_set_daemon_config_aside() || self.has_set_states_aside() {
            return Verdict::Repaired;
        }
        let moved = |report: &MoveReport| !(report.moved.is_empty() && report.identical_removed.is_empty());
        if self.migration.as_ref().is_some_and(moved) { Verdict::Moved } else { Verdict::Healthy }
    }

    /// Returns true if this launch has set aside the file at the path of the daemon's config.
    pub fn has_set_daemon_config_aside(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == CONFIG_SET_ASIDE)
    }

    /// Returns true if this launch has set aside a roster or a state that no daemon can read.
    pub fn has_set_states_aside(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == peers::STATE_SET_ASIDE)
    }

    /// Returns true if this launch has written a config in which settings of the user's are at
    /// their defaults.
    pub fn has_lost_for_good(&self) -> bool {
        self.config_steps.iter().any(Step::writes_config)
            && self.diagnostics.iter().any(|diagnostic| diagnostic.code == LOSSES)
    }

    /// Returns true if this launch has repaired the config file.
    pub fn has_repaired(&self) -> bool {
        self.config_steps.iter().any(|step| {
            matches!(step, Step::ReplaceConfig { repair: true, .. } | Step::WriteConfig { repair: true, .. })
        })
    }
}

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
