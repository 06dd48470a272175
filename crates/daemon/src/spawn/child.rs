//! A child process: started without anything inherited, and reaped.

use std::{
    ffi::OsString,
    fs::File,
    io,
    path::Path,
    process::{Child, ExitStatus},
};

/// The command line and the environment of a child. The child inherits nothing else: no descriptor
/// above 2, no signal mask, no ignored signal.
#[derive(Debug)]
pub(super) struct ChildCommand<'a> {
    pub(super) program: &'a Path,
    pub(super) directory: &'a Path,
    /// Added to the environment of this process.
    pub(super) environment: &'a [(OsString, OsString)],
    /// Receives stdout and stderr.
    pub(super) log: &'a File,
}

/// The argument that makes the program a daemon.
const SERVE: &str = "serve";

/// A child of this process, reaped or not.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct ChildProcess {
    pid: u32,
    /// `None` until it is reaped.
    status: Option<ExitStatus>,
}

#[cfg(unix)]
impl ChildProcess {
    pub(super) fn from_std(mut child: Child) -> Self {
        Self { pid: child.id(), status: child.try_wait().ok().flatten() }
    }

    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Returns the status and reaps the child, if it has exited.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(rustix::process::WaitOptions::NOHANG)
    }

    /// Waits for the exit and reaps the child.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.reap(rustix::process::WaitOptions::empty())?;
        status.ok_or_else(|| io::Error::other("the system returned no status"))
    }

    /// Returns the status if an earlier call has reaped the child: then its PID may belong to
    /// another process.
    pub(super) fn reaped_status(&self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            crate::process::child_has_exited(self.pid)?;
        }
        Ok(self.status)
    }

    fn reap(&mut self, options: rustix::process::WaitOptions) -> io::Result<Option<ExitStatus>> {
        use std::os::unix::process::ExitStatusExt;

        use rustix::{io::Errno, process::waitpid};

        // Without a PID, `waitpid` would reap any child of this process.
        let pid = crate::process::pid_of(self.pid).ok_or(Errno::CHILD)?;
        while self.status.is_none() {
            match waitpid(Some(pid), options) {
                Ok(Some((_, status))) => self.status = Some(ExitStatus::from_raw(status.as_raw())),
                Ok(None) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(self.status)
    }
}

#[cfg(unix)]
impl ChildCommand<'_> {
    /// Starts the child as the leader of a new process group.
    ///
    /// The standard library passes on the signal mask, ignored signals, and every descriptor
    /// without close-on-exec, such as one opened by a shell: `exec 9>lock; flock 9` would stay
    /// locked for the life of the daemon. So the child closes its descriptors between `fork` and
    /// `exec`, when no other thread can open one.
    pub(super) fn start(&self) -> io::Result<ChildProcess> {
        use std::os::fd::OwnedFd;

        use fork::{PreparedCommand, ProcessGroup, SpawnError};

        /// The longest time from the fork to the first instruction of the program.
        const EXEC_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

        let mut command = PreparedCommand::new(std::path::absolute(self.program)?)?;
        command.arg(SERVE)?.current_directory(self.directory)?.process_group(ProcessGroup::New);
        for (name, value) in self.environment {
            command.environment(name, value)?;
        }
        command.map_descriptor(OwnedFd::from(File::open("/dev/null")?), 0)?;
        for output in [1, 2] {
            command.map_descriptor(OwnedFd::from(self.log.try_clone()?), output)?;
        }
        let started = command.spawn(EXEC_TIMEOUT).map_err(|error| match error {
            SpawnError::OperatingSystem { error, .. } => error,
            other => io::Error::other(other),
        })?;
        let pid = u32::try_from(started.process().get()).map_err(io::Error::other)?;
        Ok(ChildProcess { pid, status: None })
    }
}

/// A child of this process, reaped or not.
#[cfg(not(unix))]
#[derive(Debug)]
pub(super) struct ChildProcess(Child);

#[cfg(not(unix))]
impl ChildProcess {
    pub(super) fn from_std(child: Child) -> Self {
        Self(child)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.0.kill()
    }
}

#[cfg(not(unix))]
impl ChildCommand<'_> {
    /// Starts the child without a console window, and out of reach of Ctrl-C in the console of this
    /// process.
    pub(super) fn start(&self) -> io::Result<ChildProcess> {
        use std::{
            os::windows::process::CommandExt,
            process::{Command, Stdio},
        };

        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        let mut command = Command::new(self.program);
        command.arg(SERVE).envs(self.environment.iter().cloned()).current_dir(self.directory);
        command.stdin(Stdio::null()).stdout(self.log.try_clone()?).stderr(self.log.try_clone()?);
        command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
        command.spawn().map(ChildProcess)
    }
}
