//! Reads the Device IDs in the run log.

use std::path::PathBuf;

use serde_json::Value;

use crate::paths::IdentityPaths;

/// Returns the paths of the run log and of the rotated one, the newest first.
pub(super) fn run_logs(places: &IdentityPaths) -> [PathBuf; 2] {
    [places.run_log.clone().into(), format!("{}.1", places.run_log).into()]
}

/// Returns the Device IDs in a run log, the last first.
pub(super) fn device_ids(log: &[u8]) -> impl Iterator<Item = String> {
    log.rsplit(|byte| *byte == b'\n').filter(|line| contains(line, b"\"device_id\"")).filter_map(|line| {
        // A power cut leaves zero bytes before a line.
        let start = line.iter().position(|byte| *byte == b'{')?;
        let entry: Value = serde_json::from_slice(&line[start..]).ok()?;
        entry["device_id"].as_str().map(str::to_owned)
    })
}

pub(super) fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
