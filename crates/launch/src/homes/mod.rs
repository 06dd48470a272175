//! Who may use and change the two homes: their owner, other users, and the runner.

pub(crate) mod no_access;
pub(crate) mod owner;
pub(crate) mod trust;
