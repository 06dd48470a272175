//! Which of the daemons that may be running do we use?

use std::time::Duration;

use serde::Serialize;

use crate::{Endpoint, Probe, Status};

/// Whose daemon it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The stand-alone program's, which others use too: we are guests there.
    Shared,
    /// The app's own, in the app's own home.
    Own,
}

/// Which key the daemon at an endpoint has to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expected {
    /// Any: the home is not ours to know.
    Any,
    /// This public key or Device ID: the one in the home's identity file.
    Device(String),
}

/// One endpoint to look at.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose daemon would be there.
    pub role: Role,
    /// Where.
    pub endpoint: Endpoint,
    /// Which key it has to have.
    pub expected: Expected,
    /// How long it may take to answer.
    pub within: Duration,
}

/// What was tried, and what follows.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Detection {
    /// Every endpoint that was looked at, in order.
    pub attempts: Vec<Attempt>,
    /// What follows.
    pub decision: Decision,
}

/// One endpoint that was looked at.
#[derive(Clone, Debug, Serialize)]
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

/// What follows from a detection.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// Use this daemon.
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
    /// One address for all (Windows): told apart by its key.
    ToldByKey,
}

/// Why no daemon is used and none may be spawned.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// It listens and does not answer.
    Busy {
        /** Where. */
        endpoint: Endpoint,
        /** Who. */
        pid: Option<u32>,
    },
    /// It belongs to another user.
    ForeignOwner {
        /** Where. */
        endpoint: Endpoint,
        /** Whose. */
        uid: u32,
        /** Who. */
        pid: Option<u32>,
    },
    /// It has another key than the home that it should serve.
    ForeignIdentity {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        pid: Option<u32>,
        /// The key in the home.
        expected: String,
        /// The Device ID that answered.
        found: String,
    },
    /// The socket's path is too long.
    PathTooLong {
        /** Where. */
        endpoint: Endpoint,
        /** In bytes. */
        length: usize,
        /** In bytes. */
        limit: usize,
    },
    /// What listens there does not speak our protocol, or the system does not let us look.
    Unusable {
        /** Where. */
        endpoint: Endpoint,
        /** Who. */
        pid: Option<u32>,
        /** In words. */
        problem: String,
    },
}

impl Refusal {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// Looks at the targets in order and decides.
pub fn detect(_targets: &[Target]) -> Detection {
    todo!()
}
