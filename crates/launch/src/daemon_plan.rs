//! What a launch does about a daemon, decided before one is used or started.

use myownllm_daemon::{Decision, Endpoint, Role};
use myownllm_durable_fs::Owner;
use serde::{Serialize, Serializer};

use crate::context::{Context, Options};
use crate::daemons::{RunningDaemon, processes_unknown};
use crate::diagnostic::Diagnostic;
use crate::home::{orphan_diagnostic, plan_stops};
use crate::start::check_start;
use crate::trust::{ensure_own_daemon, trusted_home};

/// Which daemon a launch ends with.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "daemon", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DaemonStep {
    /// None: none is wanted, or none may be used; the diagnostics say why.
    None {
        /// Why, in a few words, where the diagnostics do not say it.
        why: Option<String>,
    },
    /// One that runs already.
    Attach {
        /// Whose it is.
        role: Role,
        /// Where it listens.
        #[serde(serialize_with = "as_text")]
        endpoint: Endpoint,
        /// Its process, where the system tells.
        pid: Option<u32>,
    },
    /// One that is started.
    Start {
        /// Where it will listen.
        #[serde(serialize_with = "as_text")]
        endpoint: Endpoint,
    },
}

fn as_text<S: Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(endpoint)
}

/// What is done before a daemon is used or started: daemons are ended first, then the refusal counts.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    /// The daemons that are ended first.
    pub(crate) stops: Vec<RunningDaemon>,
    /// Why no daemon is used after that.
    pub(crate) refusal: Option<Diagnostic>,
    /// What is told besides.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Preparation {
    /// Decides what is done about the daemons that serve the home beside the one that is attached to, which is process `pid`: one
    /// whose socket was removed under it writes the same home.
    pub(crate) fn of_attach(context: &Context<'_>, options: &Options<'_>, pid: Option<u32>) -> Self {
        let orphans = context.daemons.orphans(pid);
        if options.stop_legacy_daemon {
            let (stops, refusal) = plan_stops(orphans, options);
            return Self { stops, refusal, ..Self::default() };
        }
        let warnings = orphans.iter().map(|live| orphan_diagnostic(live, options).as_warning());
        Self { warnings: warnings.collect(), ..Self::default() }
    }

    /// Decides whether a daemon may be started now.
    pub(crate) fn of_start(context: &Context<'_>, options: &Options<'_>) -> Self {
        if let Err(refusal) = check_start(context, options.run_as) {
            return Self { refusal: Some(refusal), ..Self::default() };
        }
        // One whose socket was removed under it would write the same home, unseen by its peers and by us.
        let (stops, mut refusal) = plan_stops(context.daemons.orphans(None), options);
        if refusal.is_none() {
            refusal = home_refusal(context, options.run_as).err();
        }
        Self { stops, refusal, warnings: processes_unknown().into_iter().collect() }
    }

    /// Decides what follows from what was found.
    pub(crate) fn new(context: &Context<'_>, options: &Options<'_>, decision: &Decision) -> Self {
        match decision {
            Decision::Attach { pid, .. } => Self::of_attach(context, options, *pid),
            Decision::Spawn => Self::of_start(context, options),
            Decision::Refuse(refusal) => {
                let refusal = crate::start::refusal_diagnostic(context, refusal);
                Self { refusal: Some(refusal), ..Self::default() }
            }
            other => Self { refusal: Some(undecided(other)), ..Self::default() },
        }
    }
}

/// Says that a decision is of a kind that this version does not know.
pub(crate) fn undecided(decision: &Decision) -> Diagnostic {
    Diagnostic::error("daemon.undecided", format!("unknown decision {decision:?}"))
}

fn home_refusal(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    trusted_home(context)?;
    ensure_own_daemon(context, run_as)
}
