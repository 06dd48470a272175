//! The outcome of a launch.

use myownllm_config_model::Document;
use myownllm_config_store::FileShape;
use myownllm_daemon::{CandidateOutcome, Detection, Endpoint, Role, Rule, Spawned, Status};
use myownllm_migration::LiveDaemon;

use crate::diagnostic::{Class, Diagnostic, WIPED, class_of};
use crate::networks::Reconciled;
use crate::recurrence::Recurrence;
use crate::step::LaunchStep;

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
    pub is_settled_by_another: bool,
    /// The report on the config: what was in it, and, if the launch wrote it, what was done.
    pub config: myownllm_config_store::Report,
    /// The steps that wrote the config, in order; empty if the launch wrote nothing.
    pub config_steps: Vec<myownllm_config_store::Step>,
    /// Set if the config was healthy before a daemon overwrote it, with the processes that may have
    /// done so.
    pub recurrence: Option<Recurrence>,
    /// The daemons of the old location that the launch ended, in order.
    pub stopped: Vec<LiveDaemon>,
    /// The report of the move; `None` if nothing was pending.
    pub migration: Option<myownllm_migration::MoveReport>,
    /// The daemon in use, if any.
    pub daemon: Daemon,
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

impl Outcome {
    /// Returns the class of the gravest error; `None` if the launch succeeded.
    pub fn class(&self) -> Option<Class> {
        class_of(&self.diagnostics)
    }

    /// Returns true if the config on the disk has lost settings or networks, and this launch has
    /// not restored them.
    pub fn has_lost_settings(&self) -> bool {
        self.config.wiped.is_some() || self.findings.iter().any(|found| found.code == WIPED)
    }
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
