//! Describes what a repair recovers, for a person.

use myownllm_config_store::{FileShape, Report};
use myownllm_launch::words::{backup, count, listed};

use crate::text::{ago, utc_minutes};
use crate::view::HomeView;

/// Returns what a repair recovers, or has recovered; `None` if it recovers nothing.
pub(crate) fn recovered(home: &HomeView<'_>, report: &Report) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(from) = report.restored_from.as_deref().filter(|_| !report.restored_keys.is_empty()) {
        let entries = home.backups();
        let entry = entries.iter().find(|entry| entry.id.to_string() == from);
        let age = |ms| format!(" (made {} UTC, {})", utc_minutes(ms), ago(ms, home.now_ms));
        let made = entry.map_or_else(String::new, |entry| age(entry.made_ms));
        parts.push(format!("{} from {}{made}", count(report.restored_keys.len(), "setting"), backup(from)));
    }
    let networks = &report.recovered_networks;
    if !networks.is_empty() {
        parts.push(format!("{} ({})", count(networks.len(), "network"), listed(networks)));
    }
    if !report.kept_keys.is_empty() && report.restored_from.is_none() {
        let settings = count(report.kept_keys.len(), "setting");
        parts.push(match report.shape {
            FileShape::Corrupt => format!("{settings} that the damaged file still had"),
            _ => format!("{settings} that the daemon kept"),
        });
    }
    let last = parts.pop()?;
    Some(if parts.is_empty() { last } else { format!("{} and {last}", parts.join(", ")) })
}
