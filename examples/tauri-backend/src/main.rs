//! MyOwnLLM's back end, without Tauri: the start-up hook of its `main.rs`. Standard output stands
//! for the web view: each line is what the app would emit. The end of standard input closes the
//! window.
//!
//! `HOME=/path/to/a/home cargo run`

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    reason = "a program to read, with functions that only the app calls"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "the same")]

mod error;
mod home;
mod mesh;
mod resolver;

use std::process::ExitCode;
use std::sync::Arc;

use mesh::daemon::{MeshDaemon, launch_mesh};
use mesh::daemon_commands::{mesh_daemon_networks_list, mesh_daemon_status};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::error::Result;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let (tx, mut rx) = mpsc::channel::<Value>(64);
    // In the app: `while let Some(line) = rx.recv().await { handle.emit("mesh://line", line)?; }`
    let window = tokio::spawn(async move {
        while let Some(line) = rx.recv().await.filter(|line| line["kind"] != "closed") {
            println!("{line}");
        }
    });
    let code = match run(&tx).await {
        Ok(code) => code,
        Err(error) => {
            emit(&tx, json!({"kind": "error", "error": error})).await;
            ExitCode::FAILURE
        }
    };
    emit(&tx, json!({"kind": "closed"})).await;
    window.await.unwrap();
    code
}

async fn run(tx: &mpsc::Sender<Value>) -> Result<ExitCode> {
    // The app neither sets `MYOWNMESH_HOME` for itself, as its own programs would inherit it, nor
    // moves anything before this call.
    let launched = launch_mesh(tx.clone()).await?;
    for diagnostic in &launched.diagnostics {
        emit(tx, json!({"kind": "diagnostic", "diagnostic": diagnostic})).await;
    }
    emit(tx, json!({"kind": "launched", "settings_may_be_saved": launched.settings_may_be_saved})).await;
    // The window comes up without a daemon, too.
    let Some((client, child)) = launched.daemon else { return Ok(ExitCode::from(7)) };
    // A child outside the state would end with an early return: right, as nobody would talk to it.
    let client_id = client.subscribe_events(tx.clone()).await?;
    let state = Arc::new(MeshDaemon::new(client, client_id, child)); // app.manage(state)
    emit(tx, json!({"kind": "status", "status": mesh_daemon_status(&state).await?})).await;
    emit(tx, json!({"kind": "networks", "networks": mesh_daemon_networks_list(&state).await?})).await;
    window_closes().await;
    state.shutdown();
    Ok(ExitCode::SUCCESS)
}

async fn emit(tx: &mpsc::Sender<Value>, line: Value) {
    tx.send(line).await.unwrap();
}

async fn window_closes() {
    let (close, closed) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = close.send(());
    });
    let _ = closed.await;
}
