//! The commands of the web view, for the app's `mesh/daemon_commands.rs`. In the app each has
//! `#[tauri::command]` and takes `State<'_, Arc<MeshDaemon>>`, which derefs to what they take here.
//!
//! Three of some thirty: the others differ in their op alone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::daemon::MeshDaemon;
use crate::error::Result;

/// The daemon's status, with what only this side of the connection knows.
pub async fn mesh_daemon_status(state: &Arc<MeshDaemon>) -> Result<Value> {
    let mut data = state.client.request_ok(&json!({"op": "status"})).await?;
    data["ipc_client_id"] = state.client_id.clone().into();
    data["daemon_socket"] = state.client.socket_display().into();
    data["daemon_mode"] = state.client.mode_str().into();
    Ok(data)
}

pub async fn mesh_daemon_networks_list(state: &Arc<MeshDaemon>) -> Result<Value> {
    state.client.request_ok(&json!({"op": "networks_list"})).await
}

pub async fn mesh_daemon_network_add(state: &Arc<MeshDaemon>, config: Value) -> Result<Value> {
    state.client.request_ok(&json!({"op": "network_add", "config": config})).await
}
