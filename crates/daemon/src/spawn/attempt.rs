//! One program's try: it is started, waited for, and ended where it does not come up.

use std::{
    fs::File,
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use super::{
    Cancelled, Failure, SpawnRequest,
    child::{ChildProcess, Start, variable},
    running::{MARK, Running, has_ended, new_mark},
};
use crate::{
    Candidate, Probe, Status,
    client::Limits,
    log,
    probe::{ask_for_status, millis, read_status},
    process::Pause,
    transport::{self, NoConnection, deadline_in},
    wire::{NoLine, Wire},
};

/// How long one wait for an answer lasts before the child itself is looked at again.
const SLICE: Duration = Duration::from_millis(20);
/// The longest pause between two looks whether it listens: so much later at most it is noticed.
const READY_PAUSE: Duration = Duration::from_millis(2);
/// How long a candidate that failed may take to end politely: it may hold files open.
const FAILED_GRACE: Duration = Duration::from_millis(500);
/// How many lines of the log go into an error.
const LOG_LINES: usize = 20;

/// One candidate's try.
pub(super) struct Attempt<'a> {
    pub(super) request: &'a SpawnRequest<'a>,
    pub(super) home: &'a str,
    pub(super) candidate: &'a Candidate,
    pub(super) log_file: &'a File,
    pub(super) log_from: u64,
    pub(super) cancelled: Cancelled<'a>,
}

/// A candidate that came up, with the connection over which it said so.
pub(super) struct Up {
    pub(super) running: Running,
    pub(super) status: Status,
    pub(super) wire: Wire,
}

/// Why a candidate did not come up.
pub(super) enum NotUp {
    Failed(Failure),
    Cancelled,
    /// Somebody else listens there meanwhile: trying further would be of no use.
    Occupied(Probe),
}

/// What the wait for the first answer ended with.
enum Waited {
    Ready(Status, Wire),
    Cancelled,
    Ended,
    Silent,
    Unusable(String),
    Occupied(Probe),
}

impl Attempt<'_> {
    pub(super) fn run(&self) -> Result<Up, NotUp> {
        let mark = new_mark();
        let child =
            self.start(&mark).map_err(|e| NotUp::Failed(Failure::NotStarted { problem: e.to_string() }))?;
        let mut running = Running::new(child, Some(mark));
        match self.wait(&mut running) {
            Waited::Ready(status, wire) if self.request.permit.expected().admits(&status.device_id) => {
                Ok(Up { running, status, wire })
            }
            Waited::Cancelled => {
                let _ = self.give_up(running);
                Err(NotUp::Cancelled)
            }
            Waited::Ready(status, _) => {
                let expected = self.request.permit.expected().device_id().unwrap_or_default().to_owned();
                let _ = self.give_up(running);
                Err(NotUp::Failed(Failure::ForeignIdentity { expected, found: status.device_id }))
            }
            Waited::Ended => {
                let status =
                    self.give_up(running).map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(NotUp::Failed(Failure::Ended { status, log: self.tail() }))
            }
            Waited::Silent => {
                let _ = self.give_up(running);
                let waited_ms = millis(self.request.ready_within);
                Err(NotUp::Failed(Failure::Silent { waited_ms, log: self.tail() }))
            }
            Waited::Unusable(problem) => {
                let _ = self.give_up(running);
                Err(NotUp::Failed(Failure::Unusable { problem, log: self.tail() }))
            }
            Waited::Occupied(found) => {
                let _ = self.give_up(running);
                Err(NotUp::Occupied(found))
            }
        }
    }

    fn start(&self, mark: &str) -> io::Result<ChildProcess> {
        let request = self.request;
        let mut environment = request.env.clone();
        environment.extend([variable(&request.home_variable, self.home), variable(MARK, mark)]);
        let start = Start {
            program: &self.candidate.path,
            directory: request.home(),
            environment: &environment,
            log: self.log_file,
            run_as: request.run_as,
        };
        let deadline = deadline_in(Duration::from_millis(200));
        let mut pause = Pause::new(Duration::from_millis(20));
        loop {
            match start.run() {
                // It is being written this very moment, by an updater say, or was a moment ago.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    pause.wait(deadline);
                }
                other => return other,
            }
        }
    }

    /// Waits until the child answers, ends, or the time is up. The child is looked at between any two waits, so that its
    /// end is noticed at once even when somebody else holds its socket open.
    fn wait(&self, running: &mut Running) -> Waited {
        let deadline = deadline_in(self.request.ready_within);
        let mut wire: Option<Wire> = None;
        let mut closed = false;
        let mut pause = Pause::new(READY_PAUSE);
        loop {
            if self.cancelled.is_some_and(|cancelled| cancelled()) {
                return Waited::Cancelled;
            }
            if has_ended(&mut running.child) {
                return Waited::Ended;
            }
            if Instant::now() >= deadline {
                return match closed {
                    true => Waited::Unusable("it closes the connection without an answer".to_owned()),
                    false => Waited::Silent,
                };
            }
            let until = deadline.min(Instant::now() + SLICE);
            let Some(open) = &mut wire else {
                match transport::connect(&self.request.endpoint, until) {
                    Ok(transport) => {
                        let mut fresh = Wire::new(transport, Limits::default().line);
                        let pid = fresh.peer().pid;
                        match self.whose(running, pid) {
                            Whose::Child => running.answers_itself(),
                            Whose::Descendant => running.answers_by(pid),
                            Whose::Somebody(pid) => {
                                let problem = "it came up while ours was starting".to_owned();
                                return Waited::Occupied(Probe::Unusable { pid: Some(pid), problem });
                            }
                        }
                        if ask_for_status(&mut fresh, until).is_ok() {
                            wire = Some(fresh);
                        }
                    }
                    Err(NoConnection::ForeignOwner { uid, pid }) => {
                        return Waited::Occupied(Probe::ForeignOwner { uid, pid });
                    }
                    Err(NoConnection::NoMeans { source }) => {
                        return Waited::Occupied(Probe::NoMeans { problem: source.to_string() });
                    }
                    Err(NoConnection::Failed { source } | NoConnection::Closed { source, .. }) => {
                        let problem = format!("its socket cannot be reached: {source}");
                        return Waited::Unusable(problem);
                    }
                    Err(_) => running.pause(&mut pause, deadline),
                }
                continue;
            };
            match read_status(open, until) {
                Ok(Ok(status)) => {
                    return wire.take().map_or(Waited::Silent, |wire| Waited::Ready(status, wire));
                }
                Ok(Err(problem)) => return Waited::Unusable(problem),
                Err(NoLine::TimedOut | NoLine::Cancelled) => {}
                Err(NoLine::NotTaken | NoLine::Closed { .. } | NoLine::Failed(_)) => {
                    closed = true;
                    wire = None;
                    running.pause(&mut pause, deadline);
                }
                Err(NoLine::Bad(bad)) => return Waited::Unusable(bad.to_string()),
            }
        }
    }

    /// Whether it is our child that listens, a process that it started, or a stranger.
    fn whose(&self, running: &Running, pid: Option<u32>) -> Whose {
        let child = running.child.id();
        #[cfg(unix)]
        return match pid {
            Some(pid) if pid == child => Whose::Child,
            Some(pid) if !self.is_ours(running, pid) => Whose::Somebody(pid),
            // Not told, or a process that our child started.
            _ => Whose::Descendant,
        };
        #[cfg(not(unix))]
        return match pid {
            Some(pid) if pid == child => Whose::Child,
            // A program that starts another one cannot be told from a stranger here: the key decides.
            _ => Whose::Descendant,
        };
    }

    /// Whether our child started that process.
    #[cfg(unix)]
    fn is_ours(&self, running: &Running, pid: u32) -> bool {
        crate::process::group_of(pid) == Some(running.child.id()) || running.others().contains(&pid)
    }

    /// Ends and reaps a candidate that failed, with whatever it started.
    fn give_up(&self, mut running: Running) -> io::Result<ExitStatus> {
        running.wrapped = cfg!(unix);
        running.end(FAILED_GRACE).map(|ending| ending.status)
    }

    fn tail(&self) -> Vec<String> {
        log::tail(&self.request.log, self.log_from, LOG_LINES)
    }
}

enum Whose {
    Child,
    Descendant,
    #[cfg_attr(not(unix), allow(dead_code, reason = "not to be told there"))]
    Somebody(u32),
}
