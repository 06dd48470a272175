#![doc = include_str!("../README.md")]

mod answer;
mod file;
mod paths;
mod permit;
mod refusal;
mod scan;
mod ways_out;

pub use myownllm_paths::camino;

pub use answer::{Answer, ensure_reachable_peers};
pub use file::{Flaw, Identity, KeyInfo, device_id, inspect};
pub use paths::{Home, IdentityPaths, Side};
pub use permit::{Expected, StartPermit, start_permit};
pub use refusal::{Class, FoundElsewhere, KnownIdentity, Problem, Refusal, WayOut};
pub use scan::{
    HomeScan, KnownBy, Misplaced, PlaceState, PreviousIdentity, Scan, archived_homes, empty_targets,
    is_device_of_home, previous_identity, read_identity, renamed_homes, scan, scan_everywhere,
};
pub use ways_out::BACKUP_PLACEHOLDER;
