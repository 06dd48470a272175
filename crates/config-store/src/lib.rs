#![doc = include_str!("../README.md")]

mod clock;
mod copies;
mod error;
mod places;
mod report;
mod store;

pub use crate::clock::{Clock, SystemClock};
pub use crate::copies::{CopyId, CopyKind, Limits};
pub use crate::error::StoreError;
pub use crate::places::Places;
pub use crate::report::{
    Applied, DaemonHalf, FileShape, HistoryEntry, Loaded, Pending, Report, Restored, Step, Updated,
};
pub use crate::store::{ConfigStore, EditError, Store};
