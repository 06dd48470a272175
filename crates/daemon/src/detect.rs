//! Which of the daemons that may be running do we use?

use std::{
    fmt,
    time::{Duration, Instant},
};

use myownllm_identity::Expected;
use serde::Serialize;

use crate::{
    Client, Endpoint, Limits, Probe, Status,
    error::{inspect_process_command, inspect_socket_command},
    probe::{probe, probe_keeping_connection},
};

/// How long the shared daemon may take to answer: it answers within milliseconds or is not well.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// Whose daemon it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The stand-alone program's, which others use too: we are guests there.
    Shared,
    /// The app's own, in the app's own home.
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

/// One endpoint to look at.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose daemon would be there.
    pub role: Role,
    /// Where.
    pub endpoint: Endpoint,
    /// Which key it has to have; `None`: any, as that of the shared daemon.
    pub expected: Option<Expected>,
    /// How long it may take to answer.
    pub within: Duration,
}

impl Target {
    /// The shared daemon: any key, 800 ms.
    pub fn shared(endpoint: Endpoint) -> Self {
        Self { role: Role::Shared, endpoint, expected: None, within: PROBE_TIMEOUT }
    }

    /// The app's own daemon, which has to have the home's key: 800 ms.
    pub fn own(endpoint: Endpoint, expected: Expected) -> Self {
        Self { role: Role::Own, endpoint, expected: Some(expected), within: PROBE_TIMEOUT }
    }
}

/// What was tried, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Detection {
    /// Every endpoint that was looked at, in order.
    pub attempts: Vec<Attempt>,
    /// What follows.
    pub decision: Decision,
}

impl Detection {
    /// A detection of one's own: for an app that finds its daemon in another way, and for tests.
    #[must_use]
    pub fn new(attempts: Vec<Attempt>, decision: Decision) -> Self {
        Self { attempts, decision }
    }
}

/// One endpoint that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Whose daemon was looked for.
    pub role: Role,
    /// Where.
    pub endpoint: Endpoint,
    /// What was found.
    pub probe: Probe,
    /// How long that took, in microseconds.
    pub took_us: u64,
}

impl Attempt {
    /// A look of one's own, as [`Detection::new`].
    #[must_use]
    pub fn new(role: Role, endpoint: Endpoint, probe: Probe, took: Duration) -> Self {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Self { role, endpoint, probe, took_us }
    }
}

/// What follows from a detection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Use this daemon; who attaches does not own its life.
    Attach {
        /// Whose it is.
        role: Role,
        /// Where it listens.
        endpoint: Endpoint,
        /// What it said.
        status: Status,
        /// Its process id, where the system tells.
        pid: Option<u32>,
        /// The rule that decided.
        rule: Rule,
    },
    /// Nobody listens anywhere: one may be spawned.
    Spawn,
    /// Somebody is there whom we can neither use nor displace.
    Refuse(Refusal),
}

/// The rule that chose a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// The shared daemon answered; it comes first.
    SharedAnswered,
    /// The app's own answered.
    OwnAnswered,
    /// There is one address for all (Windows, or a link from one home to the other); the daemon's key is that of the app's own
    /// home.
    ToldByKey,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SharedAnswered => "the shared daemon answered, and comes first",
            Self::OwnAnswered => "the app's own daemon answered",
            Self::ToldByKey => "the daemon at the common address has the key of the app's own home",
        })
    }
}

/// Why no daemon is used and none may be spawned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// It listens and does not answer.
    Busy {
        /// Where.
        endpoint: Endpoint,
        /// Who, where the system tells.
        pid: Option<u32>,
        /// How long we waited, in milliseconds.
        waited_ms: u64,
    },
    /// It listens and cannot answer: its process was suspended (SIGSTOP, Ctrl-Z).
    Suspended {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        pid: u32,
    },
    /// It belongs to another user.
    ForeignOwner {
        /// Where.
        endpoint: Endpoint,
        /// Whose.
        uid: u32,
        /// Who, where the system tells.
        pid: Option<u32>,
    },
    /// It has another key than the home that it should serve.
    ForeignIdentity {
        /// Where.
        endpoint: Endpoint,
        /// Who, where the system tells.
        pid: Option<u32>,
        /// The key in the home.
        expected: String,
        /// The Device ID that answered.
        found: String,
    },
    /// The socket's path is too long.
    PathTooLong {
        /// Where.
        endpoint: Endpoint,
        /// Its length in bytes.
        length: usize,
        /// The platform's limit in bytes.
        limit: usize,
    },
    /// We ourselves have not what it takes to look: no file handle, no memory.
    #[serde(rename = "no_means")]
    ResourceExhausted {
        /// Where.
        endpoint: Endpoint,
        /// The system's words.
        problem: String,
    },
    /// The system does not let us look whether somebody listens.
    Unknown {
        /// Where.
        endpoint: Endpoint,
        /// The system's words.
        problem: String,
    },
    /// What listens there does not speak our protocol, or lets us not connect.
    Unusable {
        /// Where.
        endpoint: Endpoint,
        /// Who, where the system tells.
        pid: Option<u32>,
        /// What is wrong, in words.
        problem: String,
    },
}

impl Refusal {
    /// A stable name for programs.
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

    /// The command that shows or mends it, where there is one that is no app's own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { pid, .. } | Self::ForeignIdentity { pid, .. } | Self::Unusable { pid, .. } => {
                inspect_process_command(*pid)
            }
            Self::Suspended { pid, .. } => Some(format!("kill -CONT {pid}")),
            // Of another user's process the system may tell nothing; then its socket tells whose it is.
            Self::ForeignOwner { endpoint, pid, .. } => {
                inspect_process_command(*pid).or_else(|| inspect_socket_command(endpoint))
            }
            Self::Unknown { endpoint, .. } => inspect_socket_command(endpoint),
            Self::PathTooLong { .. } | Self::ResourceExhausted { .. } => None,
        }
    }

    /// Where.
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = |pid: &Option<u32>| pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        match self {
            Self::Busy { endpoint, pid, waited_ms } => {
                let pid = process(pid);
                write!(f, "a daemon{pid} listens at {endpoint} but did not answer within {waited_ms} ms")
            }
            Self::Suspended { endpoint, pid } => write!(
                f,
                "the daemon (process {pid}) at {endpoint} is suspended, so it answers only after it is continued"
            ),
            Self::ForeignOwner { endpoint, uid, pid } => {
                write!(f, "the daemon{} at {endpoint} runs as another user (uid {uid})", process(pid))
            }
            Self::ForeignIdentity { endpoint, pid, expected, found } => write!(
                f,
                "the daemon{} at {endpoint} has the Device ID {found}, and the home that it should serve has {expected}",
                process(pid)
            ),
            Self::PathTooLong { endpoint, length, limit } => {
                write!(f, "the socket path {endpoint} is {length} bytes long, and {limit} are possible")
            }
            Self::ResourceExhausted { endpoint, problem } => write!(
                f,
                "whether a daemon is at {endpoint} cannot be told: this program lacks the means to look: {problem}"
            ),
            Self::Unknown { endpoint, problem } => {
                write!(f, "cannot check for a daemon at {endpoint}: {problem}")
            }
            Self::Unusable { endpoint, pid, problem } => {
                write!(f, "what listens at {endpoint}{} is of no use: {problem}", process(pid))
            }
        }
    }
}

/// Looks at the targets in order and decides.
///
/// The first that answers (with the right key) is used. When none does, one may be spawned only if nobody listens at
/// any of them: who listens and is silent may come back, and then there would be two. A refusal names the app's own
/// endpoint before the shared one.
pub fn detect(targets: &[Target]) -> Detection {
    detect_with(targets, &mut |target| (probe(&target.endpoint, target.within), None::<()>)).0
}

/// [`detect`], and the connection over which the daemon that is to be used has answered: whoever goes on to talk to it needs
/// no second one, and no second `status`. Each whole answer has to come within `answer_within`.
pub fn attach(targets: &[Target], answer_within: Duration) -> (Detection, Option<Client>) {
    let limits = Limits { answer_timeout: answer_within, ..Limits::default() };
    detect_with(targets, &mut |target| {
        let (probe, wire) = probe_keeping_connection(&target.endpoint, target.within);
        (probe, wire.map(|wire| Client::over(wire, &target.endpoint, limits)))
    })
}

/// What follows from looks that were taken already, one for each target, by the rules of [`detect`].
#[must_use]
pub fn decide(looked: &[(Target, Probe)]) -> Decision {
    let targets: Vec<Target> = looked.iter().map(|(target, _)| target.clone()).collect();
    let mut look = |target: &Target| {
        let found = looked.iter().find(|(other, _)| other.endpoint.is_same_place(&target.endpoint));
        let unseen = || Probe::Unknown { problem: "not looked at".to_owned() };
        (found.map_or_else(unseen, |(_, probe)| probe.clone()), None::<()>)
    };
    detect_with(&targets, &mut look).0.decision
}

/// [`detect`] with somebody else's eyes; what they bring beside a probe comes back when that daemon is the one.
fn detect_with<C>(
    targets: &[Target],
    look: &mut dyn FnMut(&Target) -> (Probe, Option<C>),
) -> (Detection, Option<C>) {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut brought: Vec<(Endpoint, C)> = Vec::new();
    let mut refusals: Vec<(Role, Refusal)> = Vec::new();
    for target in targets {
        let seen = attempts.iter().find(|attempt| attempt.endpoint.is_same_place(&target.endpoint));
        let attempt = match seen {
            // One address for all: asked once.
            Some(attempt) => Attempt { role: target.role, ..attempt.clone() },
            None => {
                let began = Instant::now();
                let (probe, with) = look(target);
                brought.extend(with.map(|with| (target.endpoint.clone(), with)));
                Attempt::new(target.role, target.endpoint.clone(), probe, began.elapsed())
            }
        };
        attempts.push(attempt.clone());
        match judge(target, targets, attempt.probe) {
            Judgement::Use { role, status, pid, rule } => {
                let endpoint = target.endpoint.clone();
                let with = brought.into_iter().find(|(place, _)| place.is_same_place(&endpoint));
                let decision = Decision::Attach { role, endpoint, status, pid, rule };
                return (Detection { attempts, decision }, with.map(|(_, with)| with));
            }
            Judgement::Absent => {}
            Judgement::Blocked(refusal) => refusals.push((target.role, refusal)),
        }
    }
    let own = refusals.iter().position(|(role, _)| *role == Role::Own).unwrap_or(0);
    let decision = match refusals.into_iter().nth(own) {
        Some((_, refusal)) => Decision::Refuse(refusal),
        None => Decision::Spawn,
    };
    (Detection { attempts, decision }, None)
}

enum Judgement {
    Use { role: Role, status: Status, pid: Option<u32>, rule: Rule },
    Absent,
    Blocked(Refusal),
}

fn judge(target: &Target, targets: &[Target], probe: Probe) -> Judgement {
    let endpoint = target.endpoint.clone();
    match probe {
        Probe::Absent { .. } => Judgement::Absent,
        Probe::Answered { status, pid } => {
            // Where all share one address, the key alone says whose daemon it is.
            let own = targets
                .iter()
                .find(|other| other.role == Role::Own && other.endpoint.is_same_place(&target.endpoint));
            if let (Role::Shared, Some(own)) = (target.role, own)
                && let Some(expected) = &own.expected
                && expected.public_key().is_some()
                && expected.admits(&status.device_id)
            {
                return Judgement::Use { role: Role::Own, status, pid, rule: Rule::ToldByKey };
            }
            if let Some(expected) = target.expected.as_ref().filter(|key| !key.admits(&status.device_id)) {
                let (expected, found) =
                    (expected.device_id().unwrap_or_default().to_owned(), status.device_id);
                return Judgement::Blocked(Refusal::ForeignIdentity { endpoint, pid, expected, found });
            }
            let rule = match target.role {
                Role::Shared => Rule::SharedAnswered,
                Role::Own => Rule::OwnAnswered,
            };
            Judgement::Use { role: target.role, status, pid, rule }
        }
        Probe::Busy { pid, waited_ms } => Judgement::Blocked(Refusal::Busy { endpoint, pid, waited_ms }),
        Probe::Suspended { pid } => Judgement::Blocked(Refusal::Suspended { endpoint, pid }),
        Probe::ForeignOwner { uid, pid } => Judgement::Blocked(Refusal::ForeignOwner { endpoint, uid, pid }),
        // No daemon can be there; a shared one that cannot be is no reason to go without our own.
        Probe::PathTooLong { .. } if target.role == Role::Shared => Judgement::Absent,
        Probe::PathTooLong { length, limit } => {
            Judgement::Blocked(Refusal::PathTooLong { endpoint, length, limit })
        }
        Probe::Unusable { pid, problem } => Judgement::Blocked(Refusal::Unusable { endpoint, pid, problem }),
        Probe::Unknown { problem } => Judgement::Blocked(Refusal::Unknown { endpoint, problem }),
        Probe::ResourceExhausted { problem } => {
            Judgement::Blocked(Refusal::ResourceExhausted { endpoint, problem })
        }
    }
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

    fn two() -> [Target; 2] {
        [
            Target::shared(Endpoint::unix("/h/.myownmesh/daemon.sock")),
            Target::own(Endpoint::unix("/h/.myownllm/.myownmesh/daemon.sock"), Expected::key(OWN_KEY)),
        ]
    }

    fn seen_by(targets: &[Target], look: &mut dyn FnMut(&Target) -> Probe) -> Detection {
        let (found, with) = detect_with(targets, &mut |target| {
            let with = target.endpoint.clone();
            (look(target), Some(with))
        });
        let used = match &found.decision {
            Decision::Attach { endpoint, .. } => Some(endpoint.clone()),
            _ => None,
        };
        assert_eq!(with, used, "what comes back is that of the daemon which is used");
        found
    }

    fn decide(shared: Probe, own: Probe) -> Detection {
        seen_by(&two(), &mut |target| match target.role {
            Role::Shared => shared.clone(),
            Role::Own => own.clone(),
        })
    }

    #[test]
    fn the_shared_one_comes_first_whatever_its_key() {
        let found = decide(answered("other-12345"), answered(OWN_KEY));
        assert!(matches!(
            found.decision,
            Decision::Attach { role: Role::Shared, rule: Rule::SharedAnswered, pid: Some(7), .. }
        ));
        assert_eq!(found.attempts.len(), 1, "the own one is not even asked");
    }

    #[test]
    fn then_the_own_one() {
        let found = decide(absent(), answered(&format!("{OWN_KEY}-2EA55")));
        assert!(matches!(found.decision, Decision::Attach { role: Role::Own, rule: Rule::OwnAnswered, .. }));
        assert_eq!(found.attempts.len(), 2);
        // A shared one that is ill does not keep us from a healthy own one.
        assert!(matches!(
            decide(busy(), answered(OWN_KEY)).decision,
            Decision::Attach { role: Role::Own, .. }
        ));
    }

    #[test]
    fn only_when_nobody_listens_anywhere_one_may_be_spawned() {
        assert_eq!(decide(absent(), absent()).decision, Decision::Spawn);
        let refused = Probe::Absent { why: Absence::Refused };
        assert_eq!(decide(refused.clone(), refused).decision, Decision::Spawn);
        let others = [
            busy(),
            Probe::ForeignOwner { uid: 1, pid: None },
            Probe::Unusable { pid: None, problem: "garbage".to_owned() },
            Probe::Unknown { problem: "permission denied".to_owned() },
            answered("zzz-00000"),
        ];
        for other in others {
            assert!(matches!(decide(absent(), other.clone()).decision, Decision::Refuse(_)), "{other:?}");
            if !matches!(other, Probe::Answered { .. }) {
                assert!(matches!(decide(other.clone(), absent()).decision, Decision::Refuse(_)), "{other:?}");
            }
        }
    }

    #[test]
    fn a_foreign_key_at_the_own_home_is_named() {
        let Decision::Refuse(refusal) = decide(absent(), answered("zzz-00000")).decision else { panic!() };
        assert_eq!(refusal.code(), "daemon.foreign-identity");
        let words = refusal.to_string();
        assert!(words.contains("zzz-00000") && words.contains(OWN_KEY) && words.contains("7"), "{words}");
    }

    #[test]
    fn the_own_endpoints_refusal_is_named_first() {
        let Decision::Refuse(refusal) = decide(busy(), Probe::ForeignOwner { uid: 5, pid: None }).decision
        else {
            panic!()
        };
        assert_eq!(refusal.code(), "daemon.foreign-owner");
    }

    #[test]
    fn with_one_address_for_all_the_key_tells_whose_it_is() {
        let pipe = || Endpoint::pipe("myownmesh.sock");
        let targets =
            [Target::shared(pipe()), Target::own(pipe(), Expected::key(&format!("{OWN_KEY}-2EA55")))];
        let mut asked = 0;
        let own = seen_by(&targets, &mut |_| {
            asked += 1;
            answered(OWN_KEY)
        });
        assert!(matches!(own.decision, Decision::Attach { role: Role::Own, rule: Rule::ToldByKey, .. }));
        let shared = seen_by(&targets, &mut |_| answered("zzz-00000"));
        assert!(matches!(shared.decision, Decision::Attach { role: Role::Shared, .. }));
        let mut looks = 0;
        let nobody = seen_by(&targets, &mut |_| {
            looks += 1;
            absent()
        });
        assert_eq!((nobody.decision, looks, asked), (Decision::Spawn, 1, 1));
    }

    #[test]
    fn keys_are_compared_by_what_comes_before_the_dash() {
        let expected = Expected::key(&format!("{OWN_KEY}-2EA55"));
        assert!(expected.admits(OWN_KEY) && expected.admits(&format!("{OWN_KEY}-XXXXX")));
        assert!(!expected.admits("") && !expected.admits("pt55"));
        assert!(!Expected::key("").admits(""));
    }

    #[test]
    fn the_evidence_can_be_serialised() {
        let odd = std::ffi::OsString::from("/h/x");
        let found = seen_by(&[Target::shared(Endpoint::unix(odd))], &mut |_| busy());
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["decision"]["refusal"], "busy");
        assert_eq!(json["attempts"][0]["probe"]["found"], "busy");
    }
}
