//! A minimal client of the daemon's control socket: one request, one answer, with a deadline. It
//! does not use the workspace's own client, because a report about a daemon must not depend on the
//! code under test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Fallible;

/// Far larger than any answer to a request of a test.
const LONGEST_ANSWER: u64 = 4 << 20;

/// Sends `op` to the daemon at `socket` and returns the `data` of the answer.
///
/// # Errors
///
/// Fails with the error of the answer, or without an answer.
pub fn ask(socket: &Path, op: &str, fields: Value) -> Fallible<Value> {
    let mut request = json!({ "op": op });
    if let (Value::Object(request), Value::Object(fields)) = (&mut request, fields) {
        request.extend(fields);
    }
    let say = |e: std::io::Error| format!("{op} at {}: {e}", socket.display());
    let mut stream = connect(socket).map_err(say)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(say)?;
    let mut reader = BufReader::new(stream.take(LONGEST_ANSWER));
    let mut line = String::new();
    // A daemon may push events before it answers.
    let mut answer = loop {
        line.clear();
        reader.read_line(&mut line).map_err(say)?;
        let said: Value =
            serde_json::from_str(&line).map_err(|e| format!("{op}: no JSON ({e}): {line:?}"))?;
        if said["ok"].is_boolean() {
            break said;
        }
    };
    match answer["ok"].as_bool() {
        Some(true) => Ok(answer["data"].take()),
        _ => Err(answer["error"].as_str().unwrap_or(&line).to_owned()),
    }
}

/// Waits until a daemon answers `status` at `socket`, while `alive` returns true.
///
/// # Errors
///
/// Fails without an answer.
pub fn wait_for(socket: &Path, patience: Duration, mut alive: impl FnMut() -> bool) -> Fallible<Value> {
    let started = Instant::now();
    loop {
        match ask(socket, "status", Value::Null) {
            Ok(status) => return Ok(status),
            Err(why) if started.elapsed() > patience || !alive() => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(3)),
        }
    }
}

/// Returns true if no daemon answers. Waits for that on Windows, which ends the daemon of an ended
/// program a moment later.
pub fn is_silent(socket: &Path) -> bool {
    let started = Instant::now();
    loop {
        let is_silent = ask(socket, "status", Value::Null).is_err();
        if is_silent || cfg!(unix) || started.elapsed() > Duration::from_secs(5) {
            return is_silent;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[cfg(unix)]
fn connect(socket: &Path) -> std::io::Result<std::os::unix::net::UnixStream> {
    let stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// Opens the one pipe of all daemons, whatever the socket path. The pipe is busy for a moment after
/// each connection.
#[cfg(not(unix))]
fn connect(_: &Path) -> std::io::Result<std::fs::File> {
    const PIPE: &str = r"\\.\pipe\myownmesh.sock";
    const PIPE_BUSY: i32 = 231;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match std::fs::File::options().read(true).write(true).open(PIPE) {
            Err(e) if e.raw_os_error() == Some(PIPE_BUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(3));
            }
            opened => return opened,
        }
    }
}

/// Returns the process that listens at the pipe.
#[cfg(windows)]
pub fn server() -> Option<u32> {
    use interprocess::local_socket::{
        ConnectOptions, GenericNamespaced, Stream, ToNsName as _, traits::StreamCommon as _,
    };
    let name = "myownmesh.sock".to_ns_name::<GenericNamespaced>().ok()?;
    let pipe: Stream = ConnectOptions::new().name(name).connect_sync().ok()?;
    pipe.peer_creds().ok()?.pid()
}
