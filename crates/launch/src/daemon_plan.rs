//! Decides what a launch does about a daemon, before it uses or starts one.

use std::io::ErrorKind;
use std::ops::ControlFlow;

use myownllm_daemon::{Decision, Endpoint, Role};
use myownllm_durable_fs::Owner;
use myownllm_identity::{IdentityPaths, ensure_reachable_peers};
use serde::{Serialize, Serializer};

use crate::access::unwritable;
use crate::context::{Context, Options};
use crate::daemons::{RunningDaemon, processes_unknown};
use crate::diagnostic::Diagnostic;
use crate::foreseen::too_few_files;
use crate::home::{orphan_diagnostic, plan_stops};
use crate::peers::ensure_readable_files;
use crate::start::check_start;
use crate::trust::{ensure_own_daemon, trusted_home};

/// The daemon that a launch ends with.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "daemon", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DaemonStep {
    /// No daemon: none is wanted, or none may be used. The diagnostics say why.
    None {
        /// The reason in a few words, if the diagnostics do not give it.
        why: Option<String>,
    },
    /// A daemon that runs already.
    Attach {
        /// The role of the daemon.
        role: Role,
        /// The endpoint at which the daemon listens.
        #[serde(serialize_with = "as_text")]
        endpoint: Endpoint,
        /// The process of the daemon, if the system tells it.
        pid: Option<u32>,
    },
    /// A daemon that the launch starts.
    Start {
        /// The endpoint at which the daemon will listen.
        #[serde(serialize_with = "as_text")]
        endpoint: Endpoint,
    },
}

fn as_text<S: Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(endpoint)
}

/// The actions before a launch uses or starts a daemon: the launch ends the daemons in `stops`
/// first, then stops at the refusal.
#[derive(Debug, Default)]
pub(crate) struct Preparation {
    /// The daemons that the launch ends first.
    pub(crate) stops: Vec<RunningDaemon>,
    /// The reason why no daemon is used after that.
    pub(crate) refusal: Option<Diagnostic>,
    /// Further diagnostics.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Preparation {
    /// Decides what a launch does about the other daemons that serve the home when it attaches to
    /// the daemon with process id `pid`: a daemon whose socket was removed while it ran writes the
    /// same home.
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
        let refusal = too_few_files().or_else(|| check_start(context, options.run_as).err());
        if refusal.is_some() {
            return Self { refusal, ..Self::default() };
        }
        // A daemon whose socket was removed while it ran would write the same home, and neither its
        // peers nor this program would see it.
        let (stops, mut refusal) = plan_stops(context.daemons.orphans(None), options);
        if refusal.is_none() {
            refusal = home_refusal(context, options.run_as).err();
        }
        Self { stops, refusal, warnings: processes_unknown().into_iter().collect() }
    }

    /// Decides what follows from the decision of the detection.
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

/// Reports a decision that this version does not know.
pub(crate) fn undecided(decision: &Decision) -> Diagnostic {
    Diagnostic::error("daemon.undecided", format!("unknown decision {decision:?}"))
}

fn home_refusal(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    trusted_home(context)?;
    ensure_usable_home(context, run_as)?;
    ensure_own_daemon(context, run_as)
}

/// Checks that a daemon can write in its home, and list its rosters and states. `run_as` is the
/// user that starts the daemon, if that is not the user of this process.
///
/// # Errors
/// Fails if nothing can be changed in the daemon home, or if its rosters and states cannot be
/// listed.
pub fn ensure_usable_home(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    let home = std::slice::from_ref(&context.layout.daemon_home);
    match unwritable(context, run_as, home) {
        Some(unwritable) => Err(unwritable.as_error()),
        None => ensure_readable_state(context),
    }
}

/// Refuses a daemon home whose rosters or states cannot be listed, or read: a daemon would take the
/// device for one without peers, and write over what it could not read.
fn ensure_readable_state(context: &Context<'_>) -> Result<(), Diagnostic> {
    let layout = context.layout;
    ensure_reachable_peers(context.disk, &IdentityPaths::of(layout).daemon)
        .map_err(|refusal| Diagnostic::from(&refusal))?;
    let states = [&layout.daemon_rosters, &layout.daemon_states];
    let above = layout.daemon_rosters.parent().filter(|above| *above != layout.daemon_home);
    for directory in above.into_iter().chain(states.map(|dir| &**dir)) {
        let real = context.disk.canonicalize(directory.as_ref());
        let listed =
            real.and_then(|real| context.disk.for_each_entry(&real, &mut |_| ControlFlow::Break(())));
        // A file in the place of a directory has diagnostics of its own.
        let is_other = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        if let Err(error) = listed
            && !is_other(error.kind())
        {
            return Err(Diagnostic::of_disk(&error).at(directory));
        }
    }
    states.into_iter().try_for_each(|directory| ensure_readable_files(context, directory))
}
