#![doc = include_str!("../README.md")]

mod answer;
mod file;
mod look;
mod permit;
mod places;
mod refusal;

pub use answer::Answer;
pub use file::{Flaw, Identity, KNOWN_VERSION, KeyInfo, device_id, inspect};
pub use look::{KnownBy, Look, Misplaced, Seen, Spot, look};
pub use permit::{Expected, StartPermit, start_permit};
pub use places::{Home, Places};
pub use refusal::{Candidate, Class, FoundElsewhere, Problem, Refusal, Side, WayOut};
