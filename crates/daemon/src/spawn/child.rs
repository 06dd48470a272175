//! A child process: how it is started with nothing of ours, and how its end is learnt.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::Path,
    process::{Child, ExitStatus},
};

/// What a child is started with. Everything else that a child inherits is taken from it: descriptors above 2, the signal
/// mask, ignored signals.
#[derive(Debug)]
pub(super) struct ChildCommand<'a> {
    pub(super) program: &'a Path,
    pub(super) directory: &'a Path,
    /// Added to our own environment.
    pub(super) environment: &'a [(OsString, OsString)],
    /// Its output and its errors.
    pub(super) log: &'a File,
    #[cfg_attr(not(unix), expect(dead_code, reason = "a user is a number on Unix alone"))]
    pub(super) run_as: Option<(u32, u32)>,
}

/// The argument that makes the program a daemon.
const SERVE: &str = "serve";

/// A child of ours, reaped or not.
#[derive(Debug)]
pub(super) enum ChildProcess {
    /// Started by [`ChildCommand::run`].
    #[cfg(unix)]
    Forked { pid: u32, status: Option<ExitStatus> },
    /// Started with the standard library.
    Std(Child),
}

impl ChildProcess {
    pub(super) fn id(&self) -> u32 {
        match self {
            #[cfg(unix)]
            Self::Forked { pid, .. } => *pid,
            Self::Std(child) => child.id(),
        }
    }

    /// Its status, if it has ended: it is reaped then.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match self {
            #[cfg(unix)]
            Self::Forked { pid, status } => {
                platform::reap(*pid, status, rustix::process::WaitOptions::NOHANG)
            }
            Self::Std(child) => child.try_wait(),
        }
    }

    /// Waits for its end, and reaps it.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            #[cfg(unix)]
            Self::Forked { pid, status } => {
                let ended = platform::reap(*pid, status, rustix::process::WaitOptions::empty())?;
                ended.ok_or_else(|| io::Error::other("the system told of no end"))
            }
            Self::Std(child) => child.wait(),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn kill(&mut self) -> io::Result<()> {
        let Self::Std(child) = self;
        child.kill()
    }
}

#[cfg(unix)]
mod platform {
    use std::{os::fd::OwnedFd, os::unix::process::ExitStatusExt, time::Duration};

    use fork::{PreparedCommand, ProcessCredentials, ProcessGroup, SpawnError, SupplementaryGroups};
    use rustix::{
        io::Errno,
        process::{WaitOptions, waitpid},
    };

    use super::*;

    /// How long the system may take from the fork to the program's first instruction.
    const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

    impl ChildCommand<'_> {
        /// Starts it, as the leader of a process group of its own.
        ///
        /// The standard library hands on the signal mask, ignored signals and every descriptor that lacks close-on-exec, as
        /// those do that a shell opened: `exec 9>lock; flock 9` would be locked for as long as the daemon lives. So the child
        /// itself closes them, after the fork and before it runs the program, where no other thread can open more.
        pub(in super::super) fn run(&self) -> io::Result<ChildProcess> {
            let mut command = PreparedCommand::new(std::path::absolute(self.program)?)?;
            command.arg(SERVE)?.current_directory(self.directory)?.process_group(ProcessGroup::New);
            for (name, value) in self.environment {
                command.environment(name, value)?;
            }
            command.map_descriptor(OwnedFd::from(File::open("/dev/null")?), 0)?;
            for output in [1, 2] {
                command.map_descriptor(OwnedFd::from(self.log.try_clone()?), output)?;
            }
            if let Some((uid, gid)) = self.run_as {
                let groups = SupplementaryGroups::Set(Vec::new());
                command.credentials(ProcessCredentials::new(uid, gid, groups));
            }
            let started = command.spawn(EXEC_TIMEOUT).map_err(|error| match error {
                SpawnError::OperatingSystem { error, .. } => error,
                other => io::Error::other(other),
            })?;
            let pid = u32::try_from(started.process().get()).map_err(io::Error::other)?;
            Ok(ChildProcess::Forked { pid, status: None })
        }
    }

    pub(super) fn reap(
        pid: u32,
        status: &mut Option<ExitStatus>,
        options: WaitOptions,
    ) -> io::Result<Option<ExitStatus>> {
        // Without a number it would be any child.
        let pid = crate::process::pid_of(pid).ok_or(Errno::CHILD)?;
        while status.is_none() {
            match waitpid(Some(pid), options) {
                Ok(Some((_, ended))) => *status = Some(ExitStatus::from_raw(ended.as_raw())),
                Ok(None) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(*status)
    }
}

#[cfg(not(unix))]
mod platform {
    use std::{
        os::windows::process::CommandExt,
        process::{Command, Stdio},
    };

    use super::*;

    impl ChildCommand<'_> {
        /// Starts it, without a console window, and out of reach of our Ctrl-C.
        pub(in super::super) fn run(&self) -> io::Result<ChildProcess> {
            const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
            const CREATE_NO_WINDOW: u32 = 0x0800_0000;
            let mut command = Command::new(self.program);
            command.arg(SERVE).envs(self.environment.iter().cloned()).current_dir(self.directory);
            command.stdin(Stdio::null()).stdout(self.log.try_clone()?).stderr(self.log.try_clone()?);
            command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
            command.spawn().map(ChildProcess::Std)
        }
    }
}

/// A variable and its value.
pub(super) fn variable(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> (OsString, OsString) {
    (name.as_ref().to_owned(), value.as_ref().to_owned())
}
