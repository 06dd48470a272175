//! A child process: started without anything inherited, and reaped.

use std::{ffi::OsString, fs::File, io, path::Path, process::ExitStatus};

/// The command line and the environment of a child. The child inherits nothing else: no descriptor
/// above 2, no signal mask, no ignored signal.
#[derive(Debug)]
pub(super) struct ChildCommand<'a> {
    pub(super) program: &'a Path,
    pub(super) directory: &'a Path,
    /// Added to the environment of this process.
    pub(super) environment: &'a [(OsString, OsString)],
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
    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(rustix::process::WaitOptions::NOHANG)
    }

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
pub(super) struct ChildProcess {
    child: std::process::Child,
    /// Ends the child, and every process that it started, once the last handle is closed: when this
    /// value is dropped, and when this process ends in whatever way.
    job: Option<win32job::Job>,
}

#[cfg(not(unix))]
impl ChildProcess {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Lets the child outlive this process.
    pub(super) fn release(&mut self) -> io::Result<()> {
        let no_limit = win32job::ExtendedLimitInfo::new();
        self.job.take().map_or(Ok(()), |job| job.set_extended_limit_info(&no_limit).map_err(io::Error::other))
    }
}

#[cfg(not(unix))]
impl ChildCommand<'_> {
    /// Starts the child without a console window, and out of reach of Ctrl-C in the console of this
    /// process.
    pub(super) fn start(&self) -> io::Result<ChildProcess> {
        use std::{
            os::windows::{io::AsRawHandle, process::CommandExt},
            process::{Command, Stdio},
        };

        const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
        const CREATE_NO_WINDOW: u32 = 0x0800_0000;
        let mut command = Command::new(self.program);
        command.arg(SERVE).envs(self.environment.iter().cloned()).current_dir(self.directory);
        command.stdin(Stdio::null()).stdout(self.log.try_clone()?).stderr(self.log.try_clone()?);
        command.creation_flags(CREATE_NEW_PROCESS_GROUP | CREATE_NO_WINDOW);
        let mut limit = win32job::ExtendedLimitInfo::new();
        let job = win32job::Job::create_with_limit_info(limit.limit_kill_on_job_close());
        let child = command.spawn()?;
        // A process that the child starts before it is in the job outlives this process.
        let job = job.and_then(|job| {
            job.assign_process(child.as_raw_handle() as isize)?;
            Ok(job)
        });
        if let Err(error) = &job {
            tracing::warn!(pid = child.id(), %error, "the daemon would outlive this program if it is killed");
        }
        Ok(ChildProcess { child, job: job.ok() })
    }
}

#[cfg(all(test, windows))]
mod tests {
    #![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test sets its own scene")]

    use std::{fs::File, path::Path, time::Duration};

    use super::ChildCommand;

    const IS_CHILD: &str = "MYOWNLLM_TEST_CHILD";

    /// The child of the test below, which starts this test program with the argument `serve`.
    #[test]
    fn serve() {
        if std::env::var_os(IS_CHILD).is_some() {
            for _ in 0..100 {
                println!("alive");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }

    fn grows(log: &Path) -> bool {
        let len = || std::fs::metadata(log).unwrap().len();
        let before = len();
        std::thread::sleep(Duration::from_millis(700));
        len() > before
    }

    #[test]
    fn child_ends_with_this_process_unless_it_is_released() {
        for is_released in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("log");
            let program = std::env::current_exe().unwrap();
            let environment = [(IS_CHILD.into(), "1".into()), ("RUST_TEST_NOCAPTURE".into(), "1".into())];
            let command = ChildCommand {
                program: &program,
                directory: dir.path(),
                environment: &environment,
                log: &File::create(&log).unwrap(),
            };
            let mut child = command.start().unwrap();
            while std::fs::metadata(&log).unwrap().len() == 0 {
                assert_eq!(child.try_wait().unwrap(), None);
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(grows(&log), "the child runs");
            if is_released {
                child.release().unwrap();
            }
            drop(child);
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(grows(&log), is_released);
        }
    }
}
