//! Checks the homes, the daemons that serve them, and the program that a launch would start.

use myownllm_config_model::shorten::shortened;
use myownllm_daemon::reconcile::Action;
use myownllm_daemon::{Decision, Endpoint, Expected, Probe, Role, Status};
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{Mode, PathsError};

use super::Examiner;
use crate::daemons::networks::{Reconciliation, plan_for};
use crate::daemons::{abandoned_diagnostic, end_command, processes_unknown};
use crate::files::identity::{RENAMED, held_key_diagnostic};
use crate::files::losses::may_have_lost_networks;
use crate::files::moves::sync_unconfirmed;
use crate::homes::checked_layout;
use crate::homes::no_access::{UNWRITABLE, unknown_shared};
use crate::homes::owner::{missing_home, missing_home_hint};
use crate::plan::foreseen::{changed_dirs, fixed_file, is_opened, unwritable};
use crate::plan::stage::live_refusal;
use crate::plan::start::{
    CONFIG_SOCKET_UNREADABLE, CONFIG_UNREADABLE, check_socket, check_start, skipped_override,
};
use crate::step::LaunchStep;
use crate::words::diagnostic::Diagnostic;
use crate::words::hints::edit;
use crate::words::{LONGEST_NAME, daemon_words, short};

impl Examiner<'_, '_> {
    pub(super) fn homes(&mut self) {
        let (context, layout) = (self.context, self.context.layout);
        // A home that is named one level too deep has its own error, which says more than that the
        // home is missing.
        let is_too_deep = matches!(context.checked, Err(PathsError::AppHome { .. }));
        if let Some(error) = missing_home(context).filter(|_| !is_too_deep) {
            let hint = missing_home_hint(context.disk, layout);
            self.checks.diagnostic("homes.there", Diagnostic::from(&error).hint(hint));
        }
        let renamed = self.plan.diagnostics.iter().find(|diagnostic| diagnostic.code == RENAMED);
        self.checks.diagnostics("homes.there", renamed.cloned());
        match checked_layout(context) {
            Ok(_) => self.checks.ok(
                "homes.apart",
                format!(
                    "the daemon home {} is a directory of its own in the app's home",
                    short(&layout.daemon_home, &layout.user_home)
                ),
            ),
            Err(overlap) => self.checks.diagnostic("homes.apart", overlap),
        }
        self.writable();
        self.synced();
        match check_start(context, self.options.run_as) {
            // `homes.apart` reports this error already.
            Err(_) if context.checked.is_err() => {
                self.checks.skipped("socket.length", "not looked at before the homes are apart");
            }
            // `daemon.config` reports this error already.
            Err(diagnostic) if diagnostic.code == CONFIG_UNREADABLE => {
                self.checks.skipped("socket.length", "not looked at before the daemon's config is a file");
            }
            // `config.readable` reports this error already. Denials become one problem.
            Err(diagnostic)
                if diagnostic.code == CONFIG_SOCKET_UNREADABLE
                    && !diagnostic.is_denied
                    && self.plan.unreadable.is_some() =>
            {
                self.checks.skipped("socket.length", "not looked at before the config can be read");
            }
            Err(_) if matches!(self.plan.detection.decision, Decision::Attach { .. }) => {
                self.checks.skipped("socket.length", "not looked at, as a daemon runs that a launch uses");
            }
            Ok(()) => {
                let endpoint = context.daemons.endpoint(Mode::OwnLlm);
                let length = endpoint.path().map_or(0, |path| path.as_str().len());
                let evidence = format!("{} has {length} bytes", self.shown(&endpoint));
                self.checks.ok("socket.length", evidence);
            }
            Err(diagnostic) => self.checks.diagnostic("socket.length", diagnostic),
        }
        self.others();
    }

    fn writable(&mut self) {
        let (context, layout) = (self.context, self.context.layout);
        let mut directories = changed_dirs(layout, &self.plan.migration, true);
        // A daemon stores its peers in the last three.
        let peers = layout.daemon_rosters.parent().unwrap_or(&layout.daemon_home);
        let dirs = [&layout.daemon_home, peers, &layout.daemon_rosters, &layout.daemon_states];
        directories.extend(dirs.map(Utf8Path::to_owned));
        // The hint of a refused identity file changes this directory.
        let identity = self.plan.identity.refusal().and_then(|_| layout.daemon_identity.parent());
        directories.extend(identity.map(Utf8Path::to_owned));
        directories.retain(|dir| !is_opened(&self.plan.migration, dir));
        let fixed = unwritable(context, self.options.run_as, &directories);
        let fails = matches!(self.plan.steps.as_slice(), [LaunchStep::Fail]);
        let fixed = fixed.or_else(|| fixed_file(context).filter(|_| !fails));
        if fixed.is_none() && self.options.refusal.is_none() {
            self.checks.ok("homes.writable", "what is in them can be changed");
        }
        // A launch can run on a home that exists and cannot be changed. It must make a home that
        // does not exist, and change a home with pending work, and a daemon writes in its own home.
        let mut daemon_home = vec![layout.daemon_home.clone()];
        daemon_home.retain(|dir| directories.contains(dir));
        let is_foreseen = |diagnostic: &Diagnostic| diagnostic.is_error() && diagnostic.code == UNWRITABLE;
        let is_needed = fails
            || self.plan.diagnostics.iter().any(is_foreseen)
            || context.disk.stat(layout.app_home.as_ref()).is_err()
            || (self.plan.wants_start() && unwritable(context, self.options.run_as, &daemon_home).is_some());
        for diagnostic in self.options.refusal.cloned().into_iter().chain(fixed) {
            let is_needed = is_needed && diagnostic.code == UNWRITABLE;
            let diagnostic = if is_needed { diagnostic.as_error() } else { diagnostic };
            self.checks.diagnostic("homes.writable", diagnostic);
        }
    }

    /// Checks that the file systems of the homes confirm that a change is on the disk.
    fn synced(&mut self) {
        let (context, layout) = (self.context, self.context.layout);
        let homes = [&layout.daemon_home, &layout.app_home, &layout.user_home];
        match homes.into_iter().find(|home| !context.disk.confirms_sync(home.as_ref())) {
            Some(home) => self.checks.diagnostic("homes.synced", sync_unconfirmed(home)),
            None => self.checks.ok("homes.synced", "the file systems confirm that a change is on the disk"),
        }
    }

    /// Checks for daemons that serve the homes and should not, at the old location or without a
    /// reachable socket.
    fn others(&mut self) {
        let daemons = self.context.daemons;
        let unseen = daemons.orphans(None);
        let attempts = &self.plan.detection.attempts;
        let is_unknown = attempts.iter().any(|one| one.role == Role::Own && one.probe.unknown().is_some());
        if let Some(diagnostic) = processes_unknown() {
            self.checks.diagnostic("daemon.unseen", diagnostic);
        } else if unseen.is_empty() && is_unknown {
            self.checks.skipped("daemon.unseen", "not known while the daemon's socket cannot be looked at");
        } else if unseen.is_empty() {
            self.checks.ok("daemon.unseen", "no process serves either home without a socket");
        }
        let refusal = |live| live_refusal(live, self.options);
        self.checks.diagnostics("daemon.unseen", unseen.iter().filter_map(refusal));
        match &self.plan.legacy {
            None => self.checks.ok("daemon.legacy", "no daemon runs at the old location"),
            Some(live) => self.checks.diagnostics("daemon.legacy", refusal(live)),
        }
        let sockets = daemons.abandoned_sockets();
        self.checks.diagnostics("daemon.sockets", sockets.iter().map(abandoned_diagnostic));
    }

    pub(super) fn daemons(&mut self) {
        for attempt in &self.plan.detection.attempts {
            self.daemon(attempt.role, &attempt.endpoint, &attempt.probe);
        }
        let candidates = self.context.daemons.programs().unwrap_or_default();
        match candidates.iter().find(|candidate| candidate.is_sound()) {
            Some(candidate) => {
                let program = short(&candidate.path, &self.context.layout.user_home);
                match skipped_override(&candidates) {
                    Some(skipped) => self.checks.diagnostic("daemon.program", skipped),
                    None => self.checks.ok("daemon.program", program),
                }
            }
            None if self.checks.is_daemon_running => {
                let evidence = "none was found, and none is needed: a daemon runs";
                self.checks.skipped("daemon.program", evidence);
            }
            None => self.checks.diagnostics("daemon.program", self.plan.missing_program.clone()),
        }
    }

    fn daemon(&mut self, role: Role, endpoint: &Endpoint, probe: &Probe) {
        let id = if role == Role::Shared { "daemon.shared" } else { "daemon.own" };
        let words = daemon_words(probe, self.options.user_name);
        let evidence = match probe {
            Probe::Busy { .. } | Probe::Suspended { .. } | Probe::ForeignOwner { .. } => {
                format!("the daemon at {} {words}", self.shown(endpoint))
            }
            _ => format!("{}: {words}", self.shown(endpoint)),
        };
        match probe {
            Probe::Absent { .. } => self.checks.ok(id, evidence),
            // No shared daemon can listen there, and a launch goes on without one. The own daemon
            // listens elsewhere if a config that is still to be repaired names a socket.
            Probe::PathTooLong { .. } if role == Role::Shared || check_socket(self.context).is_ok() => {
                self.checks.ok(id, evidence);
            }
            Probe::Answered { status, .. } => {
                self.checks.is_daemon_running = true;
                // The checks of the identity file report what is wrong with it.
                let expected = self.plan.identity.key().map(|key| Expected::key(&key.device_id));
                match expected.filter(|expected| role == Role::Own && !expected.admits(&status.device_id)) {
                    Some(expected) => {
                        let key = expected.device_id().unwrap_or_default();
                        let found = &status.device_id;
                        let evidence =
                            format!("{evidence}, but with the Device ID {found} instead of the home's {key}");
                        let diagnostic = Diagnostic::error("daemon.foreign-identity", evidence);
                        // The control socket in the config is that of the shared daemon, which a
                        // launch uses.
                        let decision = &self.plan.detection.decision;
                        if matches!(decision, Decision::Attach { role: Role::Shared, .. }) {
                            let config = &self.context.layout.daemon_config;
                            let named = || diagnostic.at(config).hint(edit(config, None));
                            let found = held_key_diagnostic(self.context).unwrap_or_else(named).as_warning();
                            return self.checks.diagnostic(id, found);
                        }
                        let hint = end_command(role, endpoint, probe, self.options.program);
                        self.checks.diagnostic(id, Diagnostic { hint, ..diagnostic });
                    }
                    None => self.checks.ok(id, evidence),
                }
                if role == Role::Shared {
                    self.left_in_shared_daemon(endpoint, status);
                }
            }
            Probe::Unknown { .. } if role == Role::Shared => {
                let (context, found) = (self.context, &self.plan.detection);
                let diagnostic = unknown_shared(context.disk, context.layout, found);
                self.checks.diagnostics(id, diagnostic);
            }
            _ => {
                let hint = end_command(role, endpoint, probe, self.options.program);
                let mut diagnostic = Diagnostic { hint, ..Diagnostic::error(probe.code(), evidence) };
                if let Some(path) = endpoint.path() {
                    diagnostic = diagnostic.at(path);
                }
                self.checks.diagnostic(id, diagnostic);
            }
        }
    }

    /// Warns of a network of the app's that a launch would leave in the shared daemon: the daemon
    /// did not answer when the user left the network.
    fn left_in_shared_daemon(&mut self, endpoint: &Endpoint, status: &Status) {
        let Some(loaded) = self.plan.loaded.as_ref().filter(|loaded| !loaded.pending.repairs()) else {
            return;
        };
        let Ok(mut client) = self.context.daemons.connect(endpoint) else { return };
        let is_in_doubt = may_have_lost_networks(&loaded.report, &loaded.diagnostics);
        let document = &mut loaded.document.clone();
        let wanted = Reconciliation { context: self.context, document, is_in_doubt };
        let Ok((plan, _)) = plan_for(&wanted, &mut *client, status.clone(), Role::Shared) else { return };
        let left = plan.steps.iter().find(|step| matches!(step.action, Action::Remove { .. }));
        let found = left.map(|left| {
            let name = shortened(left.action.network_id(), LONGEST_NAME).into_owned();
            let message = format!("the shared daemon is still in {name}, which is not the active network");
            let hint = format!("{} launch --once", self.options.program);
            Diagnostic::warning("networks.not-left", message).hint(hint)
        });
        self.checks.diagnostics("networks.active", found);
    }

    /// Returns where a daemon listens, as shown to a person.
    pub(super) fn shown(&self, endpoint: &Endpoint) -> String {
        let user_home = &self.context.layout.user_home;
        endpoint.path().map_or_else(|| endpoint.to_string(), |path| short(path, user_home))
    }
}
