//! Who may use and change the two homes: their owner, other users, and the runner.

pub(crate) mod closed;
pub(crate) mod owner;
pub(crate) mod trust;
