//! Reads the Device IDs in the run log, and in the log of the daemon.

use std::path::PathBuf;

use myownllm_paths::DaemonFiles;

use crate::paths::IdentityPaths;

/// Returns the paths of the run log and of the rotated one, the newest first.
pub(super) fn run_logs(places: &IdentityPaths) -> [PathBuf; 2] {
    [places.run_log.clone().into(), format!("{}.1", places.run_log).into()]
}

/// Returns the paths of the log of the daemon and of the rotated one, the newest first. A daemon
/// that has read its identity file, or made one, logs the Device ID.
pub(super) fn daemon_logs(places: &IdentityPaths) -> [PathBuf; 2] {
    let log = places.daemon.path.join(DaemonFiles::LOG);
    [log.clone().into(), format!("{log}.1").into()]
}

/// Returns the Device IDs in a log, the last first. Reads them as text: a kill, a full disk or
/// a power cut tears the last line, or leaves zero bytes before one. A torn Device ID shows that
/// the home had a key, and counts if the log has no whole one.
pub(super) fn device_ids(log: &[u8]) -> impl Iterator<Item = String> {
    const NAME: &str = "device_id";
    // Older daemons colour their log, in a file too.
    const COLOURED: &str = "\u{1b}[0m\u{1b}[2m=\u{1b}[0m";
    const PUBLIC_KEY_LENGTH: usize = 52;
    let text = String::from_utf8_lossy(log);
    let value = |(at, _)| {
        let (before, after) = (&text[..at], &text[at + NAME.len()..]);
        let in_json = after.strip_prefix("\":\"").filter(|_| before.ends_with('"'));
        let in_text = || {
            let is_field = before.ends_with([' ', '{']) || before.ends_with("\u{1b}[3m");
            after.strip_prefix('=').or_else(|| after.strip_prefix(COLOURED)).filter(|_| is_field)
        };
        in_json.or_else(in_text)
    };
    let after = text.rmatch_indices(NAME).filter_map(value);
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ids = after.map(|id| id.split(|c| !is_part(c)).next().unwrap_or_default().to_owned());
    let ids = ids.filter(|id| !id.is_empty());
    let (whole, torn): (Vec<_>, Vec<_>) = ids.partition(|id| id.len() >= PUBLIC_KEY_LENGTH);
    (if whole.is_empty() { torn } else { whole }).into_iter()
}

pub(super) fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
