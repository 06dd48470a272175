//! The result of a launch, in one word.

use serde::Serialize;

use crate::daemon_config::SET_ASIDE;
use crate::diagnostic::Class;
use crate::outcome::Outcome;
use crate::peers;

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
    /// Returns the result of this launch. An error outweighs everything that was done before it.
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
        if self.has_set_daemon_config_aside() || self.has_set_states_aside() {
            return Verdict::Repaired;
        }
        let moved = |report: &myownllm_migration::MoveReport| {
            !(report.moved.is_empty() && report.identical_removed.is_empty())
        };
        if self.migration.as_ref().is_some_and(moved) { Verdict::Moved } else { Verdict::Healthy }
    }

    /// Returns true if this launch has set aside the file at the path of the daemon's config.
    pub fn has_set_daemon_config_aside(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.code == SET_ASIDE)
    }

    /// Returns true if this launch has set aside a roster or a state that no daemon can read.
    pub fn has_set_states_aside(&self) -> bool {
        self.diagnostics.iter().any(|told| told.code == peers::SET_ASIDE)
    }

    /// Returns true if this launch has repaired the config file.
    pub fn has_repaired(&self) -> bool {
        use myownllm_config_store::Step;
        self.config_steps.iter().any(|step| {
            matches!(step, Step::ReplaceConfig { repair: true, .. } | Step::WriteConfig { repair: true, .. })
        })
    }
}
