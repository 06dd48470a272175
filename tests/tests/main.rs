//! The tests of this package, as one program: one file for each subject.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "test code on throw-away homes"
)]

mod all_clear;
mod cli_config_faults;
mod cli_contract;
mod cli_identity;
mod cli_masking;
mod cli_program;
mod cli_screen;
mod completions;
mod compositions;
mod daemon_config;
mod daemon_life;
mod daemon_parts;
mod daemon_programs;
mod daemon_reconcile;
mod docs;
mod docs_faults;
mod environment;
mod example_apps;
mod file_systems;
mod fuse;
mod fuzzed;
mod hints;
mod imports;
mod launch_beside_daemons;
mod launch_foreground;
mod launch_identity;
mod launch_networks;
mod launch_refusals;
mod legacy_daemon;
mod locks;
mod lost_settings;
mod odd_configs;
mod odd_keys;
mod odd_state;
mod other_user;
mod parallel_runs;
mod peers_and_keys;
mod permissions;
mod private_networks;
mod random_homes;
mod recurrence;
mod replay;
mod report;
mod run_log;
mod schemas;
mod screens;
mod sockets;
mod system_calls;
mod workflows;
mod wrong_homes;
