//! What a launch came to.

use myownllm_config_model::Document;
use myownllm_config_store::FileShape;
use myownllm_daemon::{CandidateOutcome, Detection, Endpoint, Role, Rule, Spawned, Status};
use myownllm_migration::LiveDaemon;

use crate::diagnostic::{Class, Diagnostic, class_of};
use crate::networks::Reconciled;
use crate::relapse::Relapse;

/// What a launch came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The config to run on: the file's when it could be read, repaired and complete; else a stand-in.
    pub document: Document,
    /// The file could not be read, and the document is a stand-in that is never to be written.
    pub stand_in: bool,
    /// What the config file was.
    pub shape: FileShape,
    /// What was found in the config, and, if it was written, what was done.
    pub config: myownllm_config_store::Report,
    /// What was written of the config, in order; empty when nothing was.
    pub config_steps: Vec<myownllm_config_store::Step>,
    /// Whether the config was healthy before, and who may have changed that.
    pub relapse: Option<Relapse>,
    /// The daemons of the old location that were ended, in order.
    pub stopped: Vec<LiveDaemon>,
    /// What the move did; `None` when nothing was pending.
    pub migration: Option<myownllm_migration::Report>,
    /// The daemon in use, if any.
    pub daemon: Daemon,
    /// The programs that were tried when none came up, each with its reason.
    pub tried: Vec<CandidateOutcome>,
    /// Which daemons were looked for and what answered.
    pub detection: Option<Detection>,
    /// What was done to the daemon's networks.
    pub reconciled: Option<Reconciled>,
    /// What was odd in the config.
    pub findings: Vec<myownllm_config_model::Diagnostic>,
    /// What went wrong or is worth knowing, the findings included; the gravest error decides the class.
    pub diagnostics: Vec<Diagnostic>,
}

impl Outcome {
    /// The class of the gravest error; `None` when the launch succeeded.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        class_of(&self.diagnostics)
    }
}

/// The daemon that a launch ended with.
#[derive(Debug, Default)]
pub enum Daemon {
    /// None was wanted, or none may be started; the diagnostics say why.
    #[default]
    None,
    /// One ran already. Its life is not ours to end.
    Attached {
        /// Whose it is.
        role: Role,
        /// Where it listens.
        endpoint: Endpoint,
        /// What it said of itself.
        status: Status,
        /// Its process, where the system tells.
        pid: Option<u32>,
        /// Which rule chose it.
        rule: Rule,
    },
    /// We started it.
    Spawned(Spawned),
}
