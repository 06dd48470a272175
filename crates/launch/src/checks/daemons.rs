//! Checks the daemons that run, and the program that a launch would start.

use myownllm_daemon::{Decision, Endpoint, Expected, Probe, Role};

use super::Examiner;
use crate::diagnostic::Diagnostic;
use crate::hints::edit;
use crate::stop::end_command;
use crate::words::{daemon_words, short};

impl Examiner<'_, '_> {
    pub(super) fn daemons(&mut self) {
        for attempt in &self.plan.detection.attempts {
            self.daemon(attempt.role, &attempt.endpoint, &attempt.probe);
        }
        let candidates = self.context.daemons.programs().unwrap_or_default();
        match candidates.iter().find(|candidate| candidate.is_sound()) {
            Some(candidate) => {
                let program = short(&candidate.path, &self.context.layout.user_home);
                self.checks.ok("daemon.program", program);
            }
            None if self.checks.is_daemon_running => {
                let evidence = "none was found, and none is needed: a daemon runs";
                self.checks.skipped("daemon.program", evidence);
            }
            None => self.checks.diagnostics("daemon.program", self.plan.program.clone()),
        }
    }

    fn daemon(&mut self, role: Role, endpoint: &Endpoint, probe: &Probe) {
        let id = if role == Role::Shared { "daemon.shared" } else { "daemon.own" };
        let words = daemon_words(probe, self.options.user_name);
        let evidence = format!("{}: {words}", self.shown(endpoint));
        match probe {
            Probe::Absent { .. } => self.checks.ok(id, evidence),
            // No shared daemon can listen there, and a launch goes on without one.
            Probe::PathTooLong { .. } if role == Role::Shared => self.checks.ok(id, evidence),
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
                            let diagnostic = diagnostic.at(config).hint(edit(config, None)).as_warning();
                            return self.checks.diagnostic(id, diagnostic);
                        }
                        let hint = end_command(role, endpoint, probe, self.options.program);
                        self.checks.diagnostic(id, Diagnostic { hint, ..diagnostic });
                    }
                    None => self.checks.ok(id, evidence),
                }
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

    /// Returns where a daemon listens, as shown to a person.
    pub(super) fn shown(&self, endpoint: &Endpoint) -> String {
        let user_home = &self.context.layout.user_home;
        endpoint.path().map_or_else(|| endpoint.to_string(), |path| short(path, user_home))
    }
}
