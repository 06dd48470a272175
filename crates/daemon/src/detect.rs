//! Chooses the daemon to use: probes each target, and decides to attach, to spawn or to refuse.

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use myownllm_identity::Expected;
use myownllm_paths::{Class, camino::Utf8Path, impl_failure};
use serde::Serialize;

use crate::{
    Client, Endpoint, Probe, Status,
    error::{foreign_owner_command, show_listener_command, show_socket_command},
    probe::{PROBE_TIMEOUT, probe, probe_keeping_connection},
};

/// The role of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The daemon of the stand-alone program, which other programs use too.
    Shared,
    /// The app's own daemon, in the daemon home of the app.
    Own,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "shared",
            Self::Own => "own",
        })
    }
}

/// An endpoint at which a daemon may listen.
#[derive(Clone, Debug)]
pub struct Target {
    /// The role of the daemon at this endpoint.
    pub role: Role,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The Device ID that the daemon must have, or `None` for any.
    pub expected: Option<Expected>,
    /// The longest wait for an answer.
    pub within: Duration,
}

impl Target {
    /// Returns the target of the shared daemon, for any Device ID, with the default timeout.
    pub fn shared(endpoint: Endpoint) -> Self {
        Self { role: Role::Shared, endpoint, expected: None, within: PROBE_TIMEOUT }
    }

    /// Returns the target of the app's own daemon, for the Device ID of the home, with the default
    /// timeout.
    ///
    /// `expected` comes from the permit of a start. A program that only uses a running daemon needs
    /// neither a permit nor the lock:
    ///
    /// ```
    /// use myownllm_daemon::identity::{IdentityPaths, Refusal, scan};
    /// use myownllm_daemon::{Endpoint, Target};
    /// # use myownllm_durable_fs::RealDisk;
    /// # use myownllm_paths::CheckedLayout;
    ///
    /// fn own_daemon(layout: &CheckedLayout, endpoint: Endpoint) -> Result<Target, Refusal> {
    ///     let expected = scan(&RealDisk, &IdentityPaths::of(layout)).answer().expected()?;
    ///     Ok(Target::own(endpoint, expected))
    /// }
    /// ```
    pub fn own(endpoint: Endpoint, expected: Expected) -> Self {
        Self { role: Role::Own, endpoint, expected: Some(expected), within: PROBE_TIMEOUT }
    }
}

/// The probes, and the decision that follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Detection {
    /// The probes, in order.
    pub attempts: Vec<Attempt>,
    /// The decision.
    pub decision: Decision,
}

impl Detection {
    /// Creates a detection: for an app that finds its daemon in another way, and for tests.
    pub fn new(attempts: Vec<Attempt>, decision: Decision) -> Self {
        Self { attempts, decision }
    }
}

/// A probe of one target.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Attempt {
    /// The role of the target.
    pub role: Role,
    /// The endpoint of the target.
    pub endpoint: Endpoint,
    /// The result.
    pub probe: Probe,
    /// The duration of the probe in microseconds.
    pub took_us: u64,
}

impl Attempt {
    /// Creates an attempt: for an app that finds its daemon in another way, and for tests.
    pub fn new(role: Role, endpoint: Endpoint, probe: Probe, took: Duration) -> Self {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Self { role, endpoint, probe, took_us }
    }
}

/// The decision of a detection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the types of the fields explain them")]
pub enum Decision {
    /// Use this daemon, without owning its life.
    Attach { role: Role, endpoint: Endpoint, status: Status, pid: Option<u32>, rule: Rule },
    /// No process listens anywhere, so a daemon may be started.
    Spawn,
    /// A process listens that can neither be used nor displaced.
    Refuse(DetectRefusal),
}

/// The rule that chose a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "DaemonRule"))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// The shared daemon answered; it comes first.
    SharedAnswered,
    /// The app's own daemon answered.
    OwnAnswered,
    /// All targets have one address (Windows, or a symlink), and the Device ID is the one of the
    /// app's own home.
    #[serde(rename = "told_by_key")]
    SameAddressOwnDeviceId,
}

/// The reason why no daemon is used and none may be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(tag = "refusal", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum DetectRefusal {
    /// A process listens and does not answer.
    #[error(
        "a daemon{} listens at {endpoint} but did not answer within {waited_ms} ms",
        process_suffix(*pid)
    )]
    Busy { endpoint: Endpoint, pid: Option<u32>, waited_ms: u64 },
    /// The process that listens is stopped (SIGSTOP, Ctrl-Z).
    #[error("the daemon (process {pid}) at {endpoint} is suspended: it answers when the process resumes")]
    Suspended { endpoint: Endpoint, pid: u32 },
    /// The process that listens belongs to another user.
    #[error("the daemon{} at {endpoint} runs as another user (uid {uid})", process_suffix(*pid))]
    ForeignOwner { endpoint: Endpoint, uid: u32, pid: Option<u32> },
    /// The daemon has another Device ID than the home that it should serve.
    #[error(
        "the daemon{} at {endpoint} has the Device ID {found}, and the home that it should serve has \
            {expected}",
        process_suffix(*pid)
    )]
    ForeignIdentity { endpoint: Endpoint, pid: Option<u32>, expected: String, found: String },
    /// The path of the socket is too long.
    #[error("cannot connect to {endpoint}: the path has {length} bytes, and the platform allows {limit}")]
    PathTooLong { endpoint: Endpoint, length: usize, limit: usize },
    /// This process has no file descriptor or no memory left to look.
    #[error("cannot check for a daemon at {endpoint}: {problem}")]
    #[serde(rename = "no_means")]
    ResourceExhausted { endpoint: Endpoint, problem: String },
    /// The system does not show whether a process listens.
    #[error("cannot check for a daemon at {endpoint}: {problem}")]
    Unknown { endpoint: Endpoint, problem: String },
    /// The process that listens does not speak the protocol, or denies the connection.
    #[error("cannot use the process at {endpoint}{}: {problem}", process_suffix(*pid))]
    Unusable { endpoint: Endpoint, pid: Option<u32>, problem: String },
}

fn process_suffix(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl DetectRefusal {
    /// Returns the stable code of this refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "daemon.busy",
            Self::Suspended { .. } => "daemon.suspended",
            Self::ForeignOwner { .. } => "daemon.foreign-owner",
            Self::ForeignIdentity { .. } => "daemon.foreign-identity",
            Self::PathTooLong { .. } => "daemon.socket-too-long",
            Self::ResourceExhausted { .. } => "daemon.no-means",
            Self::Unknown { .. } => "daemon.unreachable",
            Self::Unusable { .. } => "daemon.protocol",
        }
    }

    /// Returns the class of the refusal.
    pub fn class(&self) -> Class {
        match self {
            Self::ForeignOwner { .. } | Self::ForeignIdentity { .. } | Self::PathTooLong { .. } => {
                Class::Refused
            }
            Self::ResourceExhausted { .. } => Class::Failed,
            _ => Class::Daemon,
        }
    }

    /// Returns the path of the socket.
    pub fn path(&self) -> Option<&Path> {
        self.endpoint().path().map(Utf8Path::as_std_path)
    }

    /// Returns the command that shows or mends the cause, unless only a command of the app does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { pid, .. } | Self::ForeignIdentity { pid, .. } | Self::Unusable { pid, .. } => {
                show_listener_command(*pid, self.endpoint())
            }
            Self::Suspended { pid, .. } => Some(format!("kill -CONT {pid}")),
            Self::ForeignOwner { endpoint, uid, pid } => foreign_owner_command(*uid, *pid, endpoint),
            Self::Unknown { endpoint, .. } => show_socket_command(endpoint),
            Self::PathTooLong { .. } | Self::ResourceExhausted { .. } => None,
        }
    }

    /// Returns the endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Busy { endpoint, .. }
            | Self::Suspended { endpoint, .. }
            | Self::ForeignOwner { endpoint, .. }
            | Self::ForeignIdentity { endpoint, .. }
            | Self::PathTooLong { endpoint, .. }
            | Self::ResourceExhausted { endpoint, .. }
            | Self::Unknown { endpoint, .. }
            | Self::Unusable { endpoint, .. } => endpoint,
        }
    }
}

impl_failure!(DetectRefusal);

/// Probes the targets in order and decides.
///
/// Uses the first daemon that answers with the right Device ID. Otherwise allows a start only if no
/// process listens at any target: a silent process may recover, and then two daemons would run. The
/// shared endpoint counts as one without a daemon if the system does not show whether a process
/// listens. A refusal names the app's own endpoint before the shared one.
pub fn detect(targets: &[Target]) -> Detection {
    detect_with(targets, &mut |target| (probe(&target.endpoint, target.within), None::<()>)).0
}

/// Does the same as [`detect`], and returns a client over the connection on which the chosen daemon
/// answered. Each answer has to come within `answer_within`.
pub fn attach(targets: &[Target], answer_within: Duration) -> (Detection, Option<Client>) {
    detect_with(targets, &mut |target| {
        let (probe, wire) = probe_keeping_connection(&target.endpoint, target.within);
        (probe, wire.map(|wire| Client::over(wire, &target.endpoint, answer_within)))
    })
}

/// Decides from earlier probes, one for each target, by the rules of [`detect`].
pub fn decide(probes: &[(Target, Probe)]) -> Decision {
    let targets: Vec<Target> = probes.iter().map(|(target, _)| target.clone()).collect();
    let mut earlier_probe = |target: &Target| {
        let found = probes.iter().find(|(other, _)| other.endpoint.is_same_place(&target.endpoint));
        let missing = || Probe::Unknown { problem: "no probe was given for this endpoint".to_owned() };
        (found.map_or_else(missing, |(_, probe)| probe.clone()), None::<()>)
    };
    detect_with(&targets, &mut earlier_probe).0.decision
}

/// Does the same as [`detect`] with another probe function. Returns the connection to the chosen
/// daemon, if the function returned one.
fn detect_with<C>(
    targets: &[Target],
    probe_target: &mut dyn FnMut(&Target) -> (Probe, Option<C>),
) -> (Detection, Option<C>) {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut connections: Vec<(Endpoint, C)> = Vec::new();
    let mut refusals: Vec<(Role, DetectRefusal)> = Vec::new();
    for target in targets {
        let earlier = attempts.iter().find(|attempt| attempt.endpoint.is_same_place(&target.endpoint));
        let attempt = match earlier {
            // Several targets with one address share one probe.
            Some(attempt) => Attempt { role: target.role, ..attempt.clone() },
            None => {
                let began = Instant::now();
                let (probe, connection) = probe_target(target);
                connections.extend(connection.map(|connection| (target.endpoint.clone(), connection)));
                Attempt::new(target.role, target.endpoint.clone(), probe, began.elapsed())
            }
        };
        attempts.push(attempt.clone());
        match decide_one(target, targets, attempt.probe) {
            Some(Decision::Refuse(refusal)) => refusals.push((target.role, refusal)),
            Some(decision) => {
                let chosen = connections.into_iter().find(|(other, _)| other.is_same_place(&target.endpoint));
                return (Detection { attempts, decision }, chosen.map(|(_, connection)| connection));
            }
            None => {}
        }
    }
    let own = refusals.iter().position(|(role, _)| *role == Role::Own).unwrap_or(0);
    let decision = match refusals.into_iter().nth(own) {
        Some((_, refusal)) => Decision::Refuse(refusal),
        None => Decision::Spawn,
    };
    (Detection { attempts, decision }, None)
}

/// Returns the decision that follows from the probe of one target; `None` if no daemon is there.
fn decide_one(target: &Target, targets: &[Target], probe: Probe) -> Option<Decision> {
    let (role, endpoint) = (target.role, target.endpoint.clone());
    let refusal = match probe {
        Probe::Answered { status, pid } => {
            // If targets share one address, only the Device ID shows whose daemon it is.
            let own = targets
                .iter()
                .find(|other| other.role == Role::Own && other.endpoint.is_same_place(&target.endpoint));
            if let (Role::Shared, Some(own)) = (role, own)
                && let Some(expected) = &own.expected
                && expected.public_key().is_some()
                && expected.admits(&status.device_id)
            {
                return Some(Decision::Attach {
                    role: Role::Own,
                    endpoint,
                    status,
                    pid,
                    rule: Rule::SameAddressOwnDeviceId,
                });
            }
            let Some(expected) = target.expected.as_ref().filter(|key| !key.admits(&status.device_id)) else {
                let rule = match role {
                    Role::Shared => Rule::SharedAnswered,
                    Role::Own => Rule::OwnAnswered,
                };
                return Some(Decision::Attach { role, endpoint, status, pid, rule });
            };
            let expected = expected.device_id().unwrap_or_default().to_owned();
            DetectRefusal::ForeignIdentity { endpoint, pid, expected, found: status.device_id }
        }
        Probe::Absent { .. } => return None,
        // The shared daemon cannot exist, or its home is closed to this user. Our own daemon has
        // another home, and may start. If both have one socket, the probe of our own target
        // refuses.
        Probe::PathTooLong { .. } | Probe::Unknown { .. } if role == Role::Shared => return None,
        Probe::PathTooLong { length, limit } => DetectRefusal::PathTooLong { endpoint, length, limit },
        Probe::Busy { pid, waited_ms } => DetectRefusal::Busy { endpoint, pid, waited_ms },
        Probe::Suspended { pid } => DetectRefusal::Suspended { endpoint, pid },
        Probe::ForeignOwner { uid, pid } => DetectRefusal::ForeignOwner { endpoint, uid, pid },
        Probe::Unusable { pid, problem } => DetectRefusal::Unusable { endpoint, pid, problem },
        Probe::Unknown { problem } => DetectRefusal::Unknown { endpoint, problem },
        Probe::ResourceExhausted { problem } => DetectRefusal::ResourceExhausted { endpoint, problem },
    };
    Some(Decision::Refuse(refusal))
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::Absence;

    const OWN_KEY: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da";

    fn answered(device_id: &str) -> Probe {
        let status = Status {
            version: "0.3.8".to_owned(),
            device_id: device_id.to_owned(),
            joined_networks: Vec::new(),
            more: Map::new(),
        };
        Probe::Answered { status, pid: Some(7) }
    }

    fn absent() -> Probe {
        Probe::Absent { why: Absence::NoSocket }
    }

    fn busy() -> Probe {
        Probe::Busy { pid: Some(8), waited_ms: 800 }
    }

    fn both_targets() -> [Target; 2] {
        [
            Target::shared(Endpoint::unix("/h/.myownmesh/daemon.sock")),
            Target::own(Endpoint::unix("/h/.myownllm/.myownmesh/daemon.sock"), Expected::key(OWN_KEY)),
        ]
    }

    fn detect_checked(targets: &[Target], probe_target: &mut dyn FnMut(&Target) -> Probe) -> Detection {
        let (found, connection) =
            detect_with(targets, &mut |target| (probe_target(target), Some(target.endpoint.clone())));
        let used = match &found.decision {
            Decision::Attach { endpoint, .. } => Some(endpoint.clone()),
            _ => None,
        };
        assert_eq!(connection, used, "the connection leads to the chosen daemon");
        found
    }

    fn detect_pair(shared: Probe, own: Probe) -> Detection {
        detect_checked(&both_targets(), &mut |target| match target.role {
            Role::Shared => shared.clone(),
            Role::Own => own.clone(),
        })
    }

    #[test]
    fn shared_daemon_comes_first_whatever_its_device_id() {
        let found = detect_pair(answered("other-12345"), answered(OWN_KEY));
        assert!(matches!(
            found.decision,
            Decision::Attach { role: Role::Shared, rule: Rule::SharedAnswered, pid: Some(7), .. }
        ));
        assert_eq!(found.attempts.len(), 1, "the own daemon is not probed");
    }

    #[test]
    fn own_daemon_is_used_when_the_shared_one_is_absent_or_busy() {
        let found = detect_pair(absent(), answered(&format!("{OWN_KEY}-2EA55")));
        assert!(matches!(found.decision, Decision::Attach { role: Role::Own, rule: Rule::OwnAnswered, .. }));
        assert_eq!(found.attempts.len(), 2);
        // A busy shared daemon does not prevent the use of the own daemon.
        assert!(matches!(
            detect_pair(busy(), answered(OWN_KEY)).decision,
            Decision::Attach { role: Role::Own, .. }
        ));
    }

    #[test]
    fn spawn_is_decided_only_when_no_process_listens() {
        assert_eq!(detect_pair(absent(), absent()).decision, Decision::Spawn);
        let refused = Probe::Absent { why: Absence::Refused };
        assert_eq!(detect_pair(refused.clone(), refused).decision, Decision::Spawn);
        let others = [
            busy(),
            Probe::ForeignOwner { uid: 1, pid: None },
            Probe::Unusable { pid: None, problem: "garbage".to_owned() },
            Probe::Unknown { problem: "permission denied".to_owned() },
            answered("zzz-00000"),
        ];
        for other in others {
            assert!(
                matches!(detect_pair(absent(), other.clone()).decision, Decision::Refuse(_)),
                "{other:?}"
            );
            if !matches!(other, Probe::Answered { .. } | Probe::Unknown { .. }) {
                assert!(
                    matches!(detect_pair(other.clone(), absent()).decision, Decision::Refuse(_)),
                    "{other:?}"
                );
            }
        }
    }

    #[test]
    fn shared_endpoint_that_cannot_be_looked_at_prevents_no_own_daemon_elsewhere() {
        let unknown = || Probe::Unknown { problem: "permission denied".to_owned() };
        assert_eq!(detect_pair(unknown(), absent()).decision, Decision::Spawn);
        assert!(matches!(
            detect_pair(unknown(), answered(OWN_KEY)).decision,
            Decision::Attach { role: Role::Own, .. }
        ));
        let pipe = || Endpoint::pipe("myownmesh.sock");
        let targets = [Target::shared(pipe()), Target::own(pipe(), Expected::key(OWN_KEY))];
        let found = detect_checked(&targets, &mut |_| unknown());
        assert!(matches!(found.decision, Decision::Refuse(DetectRefusal::Unknown { .. })));
    }

    #[test]
    fn refusal_names_the_foreign_device_id() {
        let Decision::Refuse(refusal) = detect_pair(absent(), answered("zzz-00000")).decision else {
            panic!()
        };
        assert_eq!(refusal.code(), "daemon.foreign-identity");
        let words = refusal.to_string();
        assert!(words.contains("zzz-00000") && words.contains(OWN_KEY) && words.contains("7"), "{words}");
    }

    #[test]
    fn refusal_of_the_own_endpoint_comes_first() {
        let Decision::Refuse(refusal) =
            detect_pair(busy(), Probe::ForeignOwner { uid: 5, pid: None }).decision
        else {
            panic!()
        };
        assert_eq!(refusal.code(), "daemon.foreign-owner");
    }

    #[test]
    fn device_id_decides_when_targets_share_one_address() {
        let pipe = || Endpoint::pipe("myownmesh.sock");
        let targets =
            [Target::shared(pipe()), Target::own(pipe(), Expected::key(&format!("{OWN_KEY}-2EA55")))];
        let mut asked = 0;
        let own = detect_checked(&targets, &mut |_| {
            asked += 1;
            answered(OWN_KEY)
        });
        assert!(matches!(
            own.decision,
            Decision::Attach { role: Role::Own, rule: Rule::SameAddressOwnDeviceId, .. }
        ));
        let shared = detect_checked(&targets, &mut |_| answered("zzz-00000"));
        assert!(matches!(shared.decision, Decision::Attach { role: Role::Shared, .. }));
        let mut probes = 0;
        let nobody = detect_checked(&targets, &mut |_| {
            probes += 1;
            absent()
        });
        assert_eq!((nobody.decision, probes, asked), (Decision::Spawn, 1, 1));
    }

    #[test]
    fn device_ids_are_compared_without_their_suffix() {
        let expected = Expected::key(&format!("{OWN_KEY}-2EA55"));
        assert!(expected.admits(OWN_KEY) && expected.admits(&format!("{OWN_KEY}-XXXXX")));
        assert!(!expected.admits("") && !expected.admits("pt55"));
        assert!(!Expected::key("").admits(""));
    }

    #[test]
    fn detection_can_be_serialised() {
        let found = detect_checked(&[Target::shared(Endpoint::unix("/h/x"))], &mut |_| busy());
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["decision"]["refusal"], "busy");
        assert_eq!(json["attempts"][0]["probe"]["found"], "busy");
    }
}
