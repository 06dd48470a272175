//! Everything that changes a home: a launch, one part of it, a change by the user, and the end of a
//! daemon.

pub(crate) mod edit;
pub(crate) mod outcome;
pub(crate) mod sequence;
pub(crate) mod single_parts;
pub(crate) mod stop;
mod use_daemon;
