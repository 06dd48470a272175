//! The files in the homes, before a daemon starts on them: the identity file, the peers, the daemon's
//! config, those that move, and the settings that a config has lost.

pub(crate) mod corrupt_files;
pub(crate) mod daemon_config;
pub(crate) mod identity;
pub(crate) mod losses;
pub(crate) mod misnamed;
pub(crate) mod moves;
pub(crate) mod peers;
pub(crate) mod symlinks;
