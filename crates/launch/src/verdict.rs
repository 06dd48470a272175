//! What a launch came to, in one word.

use serde::Serialize;

use crate::daemon_config::SET_ASIDE;
use crate::diagnostic::Class;
use crate::outcome::Outcome;

/// What a launch came to, in one word, for whoever looks after many homes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// There was nothing to move and nothing to repair.
    Healthy,
    /// The daemon's state was moved to the daemon home.
    Moved,
    /// The config was repaired, with every setting that it had.
    Repaired,
    /// The config was repaired, and settings of the user's are at their defaults.
    RepairedWithLosses,
    /// A decision of the user's is needed, or the data is of a newer version.
    Refused,
    /// It failed; the next run may succeed.
    Failed,
}

impl Outcome {
    /// Returns what this launch came to. An error outweighs what was done before it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self.class() {
            Some(Class::Refused | Class::Newer) => return Verdict::Refused,
            Some(_) => return Verdict::Failed,
            None => {}
        }
        if self.has_repaired() {
            let lost = !self.config.reset_keys.is_empty();
            return if lost { Verdict::RepairedWithLosses } else { Verdict::Repaired };
        }
        if self.has_set_daemon_config_aside() {
            return Verdict::Repaired;
        }
        let moved = |report: &myownllm_migration::Report| {
            !(report.moved.is_empty() && report.identical_removed.is_empty())
        };
        if self.migration.as_ref().is_some_and(moved) { Verdict::Moved } else { Verdict::Healthy }
    }

    /// Whether this launch has set aside what was in the place of the daemon's config.
    #[must_use]
    pub fn has_set_daemon_config_aside(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == SET_ASIDE)
    }

    /// Whether this launch has repaired the config file.
    #[must_use]
    pub fn has_repaired(&self) -> bool {
        use myownllm_config_store::Step;
        self.config_steps.iter().any(|step| {
            matches!(
                step,
                Step::ReplaceConfig { repair: true, .. } | Step::WriteConfig { restored: true, .. }
            )
        })
    }
}
