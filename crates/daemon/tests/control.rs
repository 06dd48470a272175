//! Answers of a daemon, and the errors as data, without a connection.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use myownllm_daemon::{
    ControlError, DaemonControl, Endpoint, SpawnError, Status, StopError, uninterruptible,
};
use rstest::rstest;
use serde_json::{Map, Value, json};

#[test]
fn status_keeps_the_unknown_keys_of_a_newer_daemon() {
    let data = json!({"version": "9", "device_id": "d", "joined_networks": ["a"], "media_lanes": 8});
    let status = Status::from_data(data).unwrap();
    assert_eq!((status.version.as_str(), status.device_id.as_str()), ("9", "d"));
    assert_eq!(status.more.get("media_lanes"), Some(&json!(8)));
}

#[rstest]
#[case::absent(json!({"version": "9", "device_id": "d"}))]
#[case::null(json!({"version": "9", "device_id": "d", "joined_networks": null}))]
fn status_without_a_list_of_networks_has_none(#[case] data: Value) {
    assert!(Status::from_data(data).unwrap().joined_networks.is_empty());
}

#[rstest]
#[case::null(json!(null))]
#[case::no_version(json!({"device_id": "d"}))]
#[case::no_device_id(json!({"version": "1"}))]
#[case::version_is_a_number(json!({"version": 1, "device_id": "d"}))]
#[case::blank_device_id(json!({"version": "1", "device_id": " "}))]
#[case::device_id_is_null(json!({"version": "1", "device_id": null}))]
#[case::networks_are_a_string(json!({"version": "1", "device_id": "d", "joined_networks": "a"}))]
#[case::network_is_a_number(json!({"version": "1", "device_id": "d", "joined_networks": [1]}))]
fn malformed_status_is_an_error(#[case] data: Value) {
    assert!(Status::from_data(data).is_err());
}

/// A daemon with one answer to everything.
struct Canned {
    answer: Value,
    was_reset: bool,
    is_interruptible: bool,
}

impl DaemonControl for Canned {
    fn request(&mut self, _: &str, _: Map<String, Value>) -> Result<Value, ControlError> {
        Ok(self.answer.clone())
    }
    fn reset_connection(&mut self) {
        self.was_reset = true;
    }
    fn set_interruptible(&mut self, interruptible: bool) {
        self.is_interruptible = interruptible;
    }
}

fn canned() -> Canned {
    Canned { answer: json!({"removed": "net-1"}), was_reset: false, is_interruptible: true }
}

#[test]
fn answer_of_another_shape_resets_the_connection() {
    let mut canned = canned();
    let daemon: &mut dyn DaemonControl = &mut canned;
    assert_eq!(daemon.network_remove("home").unwrap(), "net-1");
    assert!(matches!(daemon.status(), Err(ControlError::Protocol { .. })));
    assert!(canned.was_reset);
}

#[test]
fn uninterruptible_requests_end_interruptible_again_even_after_a_panic() {
    let mut canned = canned();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        uninterruptible(&mut canned, "status", |_| -> () { panic!("on purpose") })
    }));
    assert!(panicked.is_err() && canned.is_interruptible);
    canned.is_interruptible = true;
    uninterruptible(&mut canned, "status", |daemon| daemon.network_remove("x").unwrap()).unwrap();
    assert!(canned.is_interruptible);
}

#[test]
fn control_error_serialises_as_every_failure() {
    let (endpoint, source) = (Endpoint::unix("/h/daemon.sock"), std::io::ErrorKind::NotFound.into());
    let error = ControlError::Unreachable { endpoint, source };
    let expected = json!({
        "code": "daemon.unreachable", "class": "daemon", "path": "/h/daemon.sock", "hint": null,
        "message": "cannot reach a daemon at /h/daemon.sock", "causes": ["entity not found"],
    });
    assert_eq!(serde_json::to_value(&error).unwrap(), expected);
}

#[test]
fn spawn_error_serialises_as_every_failure() {
    let source = std::io::ErrorKind::StorageFull.into();
    let error = SpawnError::Log { path: "/h/daemon.log".into(), source };
    let expected = json!({
        "code": "daemon.log", "class": "failed", "path": "/h/daemon.log", "hint": "df -h /h",
        "message": "cannot write the daemon log /h/daemon.log", "causes": ["no storage space"],
    });
    assert_eq!(serde_json::to_value(&error).unwrap(), expected);
}

#[test]
fn stop_error_serialises_as_every_failure() {
    let error = StopError::CameBack { endpoint: Endpoint::unix("/h/s"), before: 7, now: 8 };
    let expected = json!({
        "code": "daemon.came-back", "class": "refused", "path": "/h/s", "hint": "ps -o ppid= -p 8",
        "message": "the daemon at /h/s (process 7) ended, and process 8 has taken its place",
        "causes": [],
    });
    assert_eq!(serde_json::to_value(&error).unwrap(), expected);
}
