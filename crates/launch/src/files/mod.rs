//! The files in the homes, before a daemon starts on them: the identity file, the peers, the daemon's
//! config, those that move, and the settings that a config has lost.
//!
//! | condition before a daemon starts | step of a launch | code | file |
//! | --- | --- | --- | --- |
//! | no daemon can read a roster or a state | `mend-state` | `state.damaged` | `peers.rs` |
//! | a newer daemon wrote a roster or a state | `copy-newer-state` | `state.newer` | `peers.rs` |
//! | an entry with the name of a file is none | none, and no start | `state.unreadable` | `peers.rs` |
//! | a daemon renamed a file to `*.corrupt` | `keep-corrupt-file` | `state.damaged` | `corrupt_files.rs` |
//! | a file has a name that no daemon reads | none: the hint renames it | `state.misnamed` | `misnamed.rs` |
//! | an old symlink has peers behind it | none, and no start | `migration.peers-link` | `symlinks.rs` |
//! | a symlink leads to an empty directory | none | `identity.disk-missing` | `symlinks.rs` |
//! | no daemon can read its config | `set-daemon-config-aside` | `daemon.config-damaged` | `daemon_config.rs` |
//! | it is the app's config | `set-daemon-config-aside` | `daemon.config-misplaced` | `daemon_config.rs` |
//! | it names old locations | `rebase-paths` | `daemon.path-rebased` | `daemon_config.rs` |
//!
//! Beside a running daemon of the home the files of its config are only backed up
//! (`back-up-daemon-config`).

pub(crate) mod corrupt_files;
pub(crate) mod daemon_config;
pub(crate) mod identity;
pub(crate) mod losses;
pub(crate) mod misnamed;
pub(crate) mod moves;
pub(crate) mod peers;
pub(crate) mod symlinks;
