#![doc = include_str!("../README.md")]

mod abandoned;
mod candidates;
mod client;
mod detect;
mod endpoint;
mod error;
mod home;
pub mod lines;
mod log;
mod probe;
mod process;
pub mod reconcile;
#[cfg(target_os = "linux")]
mod serving;
mod spawn;
mod stop;
mod suspects;
mod transport;
mod url;
mod wire;

pub use abandoned::{AbandonedSocket, abandoned_socket};
pub use candidates::{Candidate, CandidateSearch, Origin, Verdict, candidates};
pub use client::{
    AddedNetwork, Client, ConfigShown, DaemonControl, Event, EventStream, Identity, JoinedNetwork, Limits,
    Status,
};
pub use detect::{Attempt, Decision, Detection, Refusal, Role, Rule, Target, attach, decide, detect};
pub use endpoint::Endpoint;
pub use error::ControlError;
pub use home::{Found, HomeDaemons, RunningDaemon};
pub use log::last_log_lines;
/// Whether a daemon may be started, and with which key.
pub use myownllm_identity as identity;
pub use myownllm_identity::{Expected, StartPermit};
pub use probe::{Absence, Probe, probe};
pub use spawn::{
    End, Ending, Failure, SpawnError, SpawnRequest, Spawned, Tried, check_socket_file, spawn, spawn_unless,
};
pub use stop::{
    StopError, StoppedDaemon, Stray, is_seen_to_serve, stop_daemon, stop_stray, strays_of, strays_of_each,
};
pub use suspects::{Evidence, Suspect, Traces, suspects};
