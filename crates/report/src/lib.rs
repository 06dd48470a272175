#![doc = include_str!("../README.md")]

mod bundle;
mod color;
mod doctor;
pub mod documents;
pub mod draw;
mod edits;
mod file;
mod history;
mod identity;
mod launches;
mod logs;
#[cfg(feature = "schema")]
mod members;
mod moves;
mod paths;
mod picture;
mod progress;
pub mod run_log;
mod salvage;
#[cfg(feature = "schema")]
mod schemas;
mod screen;
mod status;
mod text;
mod tilde;
mod verdict;
mod view;

pub use bundle::{Report, SECTIONS, Section};
pub use color::colored_diagnostic;
pub use doctor::checklist;
pub use draw::{Line, Tone};
pub use edits::{NO_ID, edit_trace, edited_network, network_edit, saved_networks, settings_edit, undo};
pub use file::write_new;
pub use history::{history, restore_trace, restored};
pub use identity::identity;
pub use launches::{Fate, launch_data, launch_trace, launched, repaired};
pub use logs::{daemon_log_lines, daemon_status, runs};
pub use moves::{move_trace, state_move};
pub use paths::{named_path, paths};
pub use picture::Picture;
pub use progress::{Form, ProgressText};
pub use salvage::{completion, config_repair, pretty, repair_trace};
#[cfg(feature = "schema")]
pub use schemas::schemas;
pub use screen::{Page, Screen, escape_json_controls, unified_diff};
pub use status::status;
pub use text::{bounded, diagnostic_text, long, rfc3339};
pub use tilde::Tilde;
pub use verdict::{HomeState, verdict};
pub use view::HomeView;
