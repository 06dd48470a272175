//! Probes a socket: `cargo run -p myownllm-daemon --example probe -- ~/.myownmesh/daemon.sock`.

use std::{process::ExitCode, time::Duration};

use myownllm_daemon::{Client, DaemonControl, Endpoint, Probe, probe};
use serde_json::Map;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]
fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: probe SOCKET");
        return ExitCode::from(2);
    };
    let endpoint = if cfg!(windows) { Endpoint::pipe(path) } else { Endpoint::unix(path) };
    let found = probe(&endpoint, Duration::from_millis(800));
    println!("{endpoint}: {}", found.code());
    let Probe::Answered { status, pid } = found else { return ExitCode::FAILURE };
    println!("version {}, {}, process {pid:?}", status.version, status.device_id);
    let networks = Client::connect(&endpoint, Duration::from_secs(2))
        .and_then(|mut daemon| daemon.request("networks_list", Map::new()));
    match networks {
        Ok(data) => println!("{data:#}"),
        Err(error) => eprintln!("{error}"),
    }
    ExitCode::SUCCESS
}
