pub mod daemon;
pub mod daemon_commands;
pub mod migration;
