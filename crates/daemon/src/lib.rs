#![doc = include_str!("../README.md")]

mod abandoned_socket;
#[cfg(feature = "tokio")]
mod async_client;
mod candidates;
mod client;
mod connection;
mod control;
mod detect;
mod endpoint;
mod error;
mod events;
mod home_daemons;
pub mod lines;
mod log;
mod obstacle;
mod probe;
mod process;
mod procfs;
pub mod reconcile;
mod secrets;
mod serving;
mod spawn;
mod stop;
mod suspects;
mod transport;
mod url;
mod wait;

pub use abandoned_socket::{AbandonedSocket, abandoned_socket};
#[cfg(feature = "tokio")]
pub use async_client::{AsyncClient, AsyncEvents};
pub use candidates::{Candidate, Origin, ProgramSearch, Verdict, candidates};
pub use client::Client;
pub use control::{ConfigShown, DaemonControl, Status, uninterruptible};
pub use detect::{Attempt, Decision, DetectRefusal, Detection, Role, Rule, Target, attach, decide, detect};
pub use endpoint::Endpoint;
pub use error::ControlError;
pub use events::{Event, EventStream, Pushed};
pub use home_daemons::{DaemonKind, HomeDaemons, RunningDaemon};
pub use log::{last_log_lines, log_path};
/// The permit to start a daemon, and the Device ID that it must have.
pub use myownllm_identity as identity;
pub use myownllm_identity::{Expected, StartPermit};
pub use obstacle::StartObstacle;
pub use probe::{Probe, probe};
pub use procfs::is_suspended;
pub use serde_json;
pub use spawn::{
    CandidateFailure, CandidateOutcome, DaemonExit, ExitWatch, SpawnError, SpawnRequest, Spawned,
    StopOutcome, check_socket_file, spawn, spawn_unless,
};
pub use stop::{
    ServingProcess, StopError, StoppedDaemon, process_serves, serving_processes, stop_daemon,
    stop_serving_process,
};
pub use suspects::{Evidence, Suspect, SuspectSearch, suspects};
pub use transport::Absence;
