//! Checks the daemon's state: the files that are still to be moved, the identity file, and the
//! daemon's config.

use myownllm_config_model::Document;
use myownllm_config_model::daemon_config::DaemonConfig;
use myownllm_daemon::{Decision, Probe, Role};
use myownllm_durable_fs::quote;
use myownllm_identity::Refusal;
use myownllm_migration::MigrationError;
use myownllm_paths::PathsError;
use myownllm_paths::camino::Utf8PathBuf;

use super::Examiner;
use crate::daemons::CONFIG_LIMIT;
use crate::files::corrupt_files::{corrupt_config, corrupt_states};
use crate::files::daemon_config::{
    misplaced_diagnostic, newer_config, shared_config, unknown_value_diagnostic,
};
use crate::files::identity::{HELD, other_known_identity};
use crate::files::losses::may_have_lost_networks;
use crate::files::misnamed::{copy_of_misplaced, misnamed_states};
use crate::files::moves::{collision_diagnostics, is_about_overlap, moved_files};
use crate::files::peers::{replaced_states, unsettled_states};
use crate::files::symlinks::empty_directories;
use crate::homes::trust::{OpenSecret, open_config, open_secrets, trusted_home};
use crate::plan::stage::{ConfigInUse, Stage};
use crate::plan::start::{CONFIG_UNREADABLE, config_that_is_no_file};
use crate::words::diagnostic::{Diagnostic, PROGRAM};
use crate::words::{UNSEEN, count, identity_words, short};

const SOUND: &str = "identity.sound";
const NAMED: &str = "identity.named";

impl Examiner<'_, '_> {
    pub(super) fn state(&mut self) {
        self.moved();
        let plan = &self.plan.migration;
        // The check of the identity file reports its errors, so that each error is reported once.
        let (of_key, others): (Vec<_>, Vec<_>) =
            plan.refusals.iter().chain(&plan.errors).partition(|error| error.code().contains("identit"));
        self.identity(&of_key);
        let moved = moved_files(&self.plan.migration);
        let untrusted = trusted_home(self.context, false, &moved).err();
        // A launch that makes a backup first closes the directory of the backups.
        let is_closed_first = || self.plan.makes_backup && trusted_home(self.context, true, &moved).is_ok();
        match &untrusted {
            None => self.checks.ok("homes.private", "nobody else can put anything into the homes"),
            Some(diagnostic) if is_closed_first() => {
                self.checks.diagnostic("homes.private", diagnostic.clone().as_warning());
            }
            Some(diagnostic) => self.checks.diagnostic("homes.private", diagnostic.clone()),
        }
        let secrets = open_secrets(self.context);
        // What a repair would change comes first.
        let config = self.plan.loaded.as_ref().filter(|loaded| !loaded.pending.repairs());
        let config = config.and_then(|loaded| open_config(self.context, &loaded.document));
        let secrets = secrets.iter().chain(&config).map(OpenSecret::diagnostic);
        self.checks.diagnostics("homes.secrets", secrets);
        self.daemon_config();
        // `homes.private` reports this path already.
        let reported_path = untrusted.and_then(|diagnostic| diagnostic.path);
        let others = others.into_iter().map(Diagnostic::from);
        let others =
            others.filter(|found| found.path != reported_path && !is_about_overlap(self.context, found));
        self.checks.diagnostics("state.sound", others);
        let misnamed = match &self.plan.detection.decision {
            Decision::Attach { .. } if self.own_daemon_answers() => self.peers_beside_a_daemon(),
            Decision::Spawn => self.peers_before_a_start(),
            Decision::Attach { .. } => {
                let misnamed = self.peers_before_a_start();
                self.refusal_without_the_shared_daemon();
                misnamed
            }
            _ => Vec::new(),
        };
        // A launch goes on without the files that differ.
        let program = self.moving_program();
        let program = Some(&*program).filter(|_| plan.refusals.is_empty());
        let replaced = replaced_states(self.context, plan);
        let open = plan.collisions.iter().filter(|both| !replaced.contains(&both.destination));
        let open: Vec<_> = open.cloned().collect();
        let collisions = collision_diagnostics(self.context.disk, &open, plan.direction, program);
        self.checks.diagnostics("state.collisions", collisions.into_iter().map(Diagnostic::as_warning));
        // Leaves out the paths that a refusal of the launch, or a warning about a misnamed file,
        // already reports.
        let is_reported = |path: &std::path::Path| {
            let errors = self.plan.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
            errors.chain(&misnamed).any(|diagnostic| diagnostic.path.as_deref() == path.to_str())
                || self.plan.identity.refusal().is_some_and(|refusal| refusal.finds(path))
        };
        for left in plan.left.iter().filter(|left| !is_reported(&left.path)) {
            let path = short(&left.path, &self.context.layout.user_home);
            let evidence = format!("{path} is not the daemon's and stays ({})", left.reason);
            let diagnostic = Diagnostic::warning("migration.left", evidence).at(&left.path);
            let hint = format!("ls -ld {}", quote(&left.path));
            self.checks.diagnostic("state.left", diagnostic.hint(hint));
        }
    }

    /// Returns the beginning of a command that moves: it ends the running daemon first, as a move
    /// refuses beside it.
    fn moving_program(&self) -> String {
        let program = self.options.program;
        match self.own_daemon_answers() {
            true => format!("{program} daemon stop && {program}"),
            false => program.to_owned(),
        }
    }

    fn own_daemon_answers(&self) -> bool {
        let mut attempts = self.plan.detection.attempts.iter();
        attempts.any(|one| one.role == Role::Own && matches!(one.probe, Probe::Answered { .. }))
    }

    /// Warns of what would keep the app's daemon from starting once the shared daemon has ended.
    fn refusal_without_the_shared_daemon(&mut self) {
        let (context, moved, empty) = (self.context, &self.plan.migration, Document::empty());
        let loaded = self.plan.loaded.as_ref();
        let config = ConfigInUse {
            document: loaded.map_or(&empty, |loaded| &loaded.document),
            is_in_doubt: loaded
                .is_some_and(|loaded| may_have_lost_networks(&loaded.report, &loaded.diagnostics)),
            is_backed_up: self.plan.makes_backup,
        };
        let stage = Stage::of_daemon(context, self.options, &Decision::Spawn, moved, config);
        let is_reported = |refusal: &Diagnostic| {
            self.checks.list.iter().any(|check| check.code.as_deref() == Some(&*refusal.code))
        };
        let refusal = stage.refusal.filter(|refusal| !is_reported(refusal));
        self.checks.diagnostics("daemon.config", refusal.map(Diagnostic::as_warning));
    }

    /// Checks the files on which a launch would start a daemon. Returns the warnings about misnamed
    /// files.
    fn peers_before_a_start(&mut self) -> Vec<Diagnostic> {
        let (context, plan) = (self.context, &self.plan.migration);
        let moved = moved_files(plan);
        let misnamed = self.misnamed();
        let corrupt = corrupt_states(context, &moved);
        // The refusal of a start is the error.
        let (damaged, newer) = unsettled_states(context, plan, &moved).unwrap_or_default();
        let found = corrupt.iter().map(|corrupt| corrupt.diagnostic());
        let found = found.chain(damaged.iter().map(|state| state.damaged_diagnostic(context)));
        let found =
            found.chain(newer.iter().map(|state| state.newer_diagnostic(!state.needs_copy(context.disk))));
        let loaded = self.plan.loaded.iter().filter(|_| self.plan.identity.key().is_some());
        let empty = loaded.flat_map(|loaded| empty_directories(context, &loaded.document));
        let found = found.chain(empty);
        self.checks.diagnostics("daemon.config", corrupt_config(context, None));
        self.checks.diagnostics("state.sound", misnamed.iter().cloned().chain(found));
        misnamed
    }

    /// Checks whether the next daemon could read the files that the running daemon has read.
    /// Returns the warnings about misnamed files.
    fn peers_beside_a_daemon(&mut self) -> Vec<Diagnostic> {
        let context = self.context;
        let misnamed = self.misnamed();
        let restart = format!("{PROGRAM} daemon restart");
        let corrupt = corrupt_states(context, &[]);
        let found = match unsettled_states(context, &self.plan.migration, &[]) {
            Ok((damaged, _)) => {
                damaged.iter().map(|damaged| damaged.damaged_beside_daemon_diagnostic()).collect()
            }
            Err(error) => vec![error.as_warning()],
        };
        let found = corrupt.iter().map(|corrupt| corrupt.diagnostic().hint(restart.clone())).chain(found);
        self.checks.diagnostics("daemon.config", corrupt_config(context, None));
        self.checks.diagnostics("state.sound", misnamed.iter().cloned().chain(found));
        misnamed
    }

    fn misnamed(&self) -> Vec<Diagnostic> {
        let runs = self.own_daemon_answers();
        let loaded = self.plan.loaded.iter();
        loaded.flat_map(|loaded| misnamed_states(self.context, &loaded.document, runs)).collect()
    }

    fn moved(&mut self) {
        let plan = &self.plan.migration;
        let files = plan.files();
        if plan.is_empty() && !plan.errors.is_empty() {
            self.checks.skipped("state.moved", UNSEEN);
        } else if plan.is_empty() {
            self.checks.ok("state.moved", "nothing of the daemon's is at the old location");
        } else if !plan.refusals.is_empty() {
            self.checks.skipped(
                "state.moved",
                format!("{} to move, once the problems below are settled", count(files, "file")),
            );
        } else {
            let copies = plan.identical();
            let all = count(files + copies, "file");
            let are = if files + copies == 1 { "is" } else { "are" };
            let evidence = match (files + copies, copies) {
                (0, _) => format!("{} of an unfinished move", count(plan.changes(), "step")),
                (_, 0) => format!("{all} of the daemon's {are} still in the app's home"),
                _ => format!(
                    "{all} of the daemon's {are} still in the app's home, {copies} of them in the daemon \
                     home too"
                ),
            };
            // A launch does not look for temporary files in a home that was moved.
            let hint = match files == 0 && !self.plan.pending {
                true => format!("{} migrate", self.moving_program()),
                false => self.checks.repair(),
            };
            let pending = Diagnostic::warning("migration.pending", evidence);
            self.checks.diagnostic("state.moved", pending.hint(hint));
        }
    }

    /// Checks that there is a sound identity file. `of_key` are the errors of the move about the
    /// identity file.
    fn identity(&mut self, of_key: &[&MigrationError]) {
        if matches!(self.context.checked, Err(PathsError::Overlap { .. })) {
            // The identity file may be that of another program's daemon.
            return self.checks.skipped(SOUND, "not looked at before the homes are apart");
        }
        let (plan, key) = (&self.plan.migration, &self.plan.identity);
        let is_reported = |refusal: &Refusal| {
            let mut errors = plan.refusals.iter().chain(&plan.errors);
            errors.any(|error| {
                error.code() == refusal.code() && !of_key.iter().any(|of_key| of_key.path() == error.path())
            })
        };
        let refusal = key.refusal();
        match refusal {
            // The move reports the same refusal in the check `state.sound`.
            Some(refusal) if is_reported(refusal) => self.checks.skipped(SOUND, UNSEEN),
            Some(refusal) => self.checks.diagnostic(SOUND, Diagnostic::from(refusal)),
            None if of_key.is_empty() => match other_known_identity(self.context) {
                Some(warning) => self.checks.diagnostic(SOUND, warning),
                None => self.checks.ok(SOUND, identity_words(key)),
            },
            None => {}
        }
        let holder = self.plan.diagnostics.iter().find(|diagnostic| diagnostic.code == HELD);
        self.checks.diagnostics(SOUND, holder.cloned());
        let others =
            of_key.iter().filter(|error| refusal.is_none_or(|refusal| refusal.code() != error.code()));
        self.checks.diagnostics(SOUND, others.map(|error| Diagnostic::from(*error)));
    }

    /// Says whether the daemon's config names a file that no daemon will read.
    fn named_key(&mut self, config: Option<&Document>) {
        let layout = &self.context.layout;
        let named = config.and_then(|config| DaemonConfig::view(config).identity_path).map(Utf8PathBuf::from);
        match named.filter(|named| *named != layout.daemon_identity && *named != layout.legacy_identity) {
            None => self.checks.ok(NAMED, "the daemon looks for its key in its home"),
            Some(named) => {
                let evidence = format!(
                    "{} names {named} as the key, and a daemon uses only {}",
                    layout.daemon_config, layout.daemon_identity
                );
                let warning =
                    Diagnostic::warning("identity.path-ignored", evidence).at(&layout.daemon_config);
                self.checks.diagnostic(NAMED, warning);
            }
        }
    }

    /// Checks that a daemon can start on its own config.
    fn daemon_config(&mut self) {
        const ID: &str = "daemon.config";
        let path = &self.context.layout.daemon_config;
        if let Some(diagnostic) = shared_config(self.context) {
            return self.checks.diagnostic(ID, diagnostic);
        }
        if let Some(misplaced) = &self.plan.misplaced {
            // A running daemon has its settings in memory.
            let is_free = !self.own_daemon_answers();
            let copy = is_free.then(|| copy_of_misplaced(self.context, misplaced, false)).flatten();
            let diagnostic = misplaced_diagnostic(self.context, misplaced, &self.plan.steps);
            return self.checks.diagnostics(ID, [diagnostic].into_iter().chain(copy));
        }
        if let Some(diagnostic) = config_that_is_no_file(self.context) {
            return self.checks.diagnostic(ID, diagnostic);
        }
        let bytes = match self.context.disk.read(path.as_std_path(), CONFIG_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                return self.checks.ok(ID, "none yet; the daemon writes one");
            }
            Err(error) => {
                let diagnostic = Diagnostic::error(CONFIG_UNREADABLE, error.to_string()).at(path);
                return self.checks.diagnostic(ID, diagnostic.hint(format!("ls -ld {}", quote(path))));
            }
        };
        let parsed = Document::parse(&bytes).ok().map(|parsed| parsed.document);
        self.named_key(parsed.as_ref());
        match newer_config(self.context) {
            // A daemon that runs has read its config.
            Some(newer) if !self.plan.wants_start() => {
                self.checks.diagnostic(ID, Diagnostic { hint: None, ..newer.as_warning() });
            }
            Some(newer) => self.checks.diagnostic(ID, newer),
            None => match unknown_value_diagnostic(self.context).filter(|_| self.plan.wants_start()) {
                Some(unknown) => self.checks.diagnostic(ID, unknown),
                None => self.checks.ok(ID, "a daemon can start on it"),
            },
        }
    }
}
