//! Strace: lists the system calls of a run on a home, and makes one of them fail or be the last.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Fallible;

/// Calls that may change the disk. The C library decides which of them a program makes.
const MUTATING: [&str; 41] = [
    "chmod",
    "chown",
    "copy_file_range",
    "creat",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fchown",
    "fchownat",
    "fdatasync",
    "fsetxattr",
    "fsync",
    "ftruncate",
    "lchown",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "open",
    "openat",
    "openat2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "sendfile",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "syncfs",
    "truncate",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
];

/// Calls that only read, or lock.
const LOOKING: [&str; 18] = [
    "access",
    "faccessat2",
    "flock",
    "fstat",
    "fstatfs",
    "getdents64",
    "lseek",
    "lstat",
    "newfstatat",
    "pread64",
    "preadv",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "stat",
    "statfs",
    "statx",
];

/// Returns true if strace is installed, may trace, and can inject faults.
pub(crate) fn there() -> bool {
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=rmdir",
        "-e",
        "inject=rmdir:error=EIO",
        "true",
    ]);
    cfg!(target_os = "linux")
        && strace.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// One call of a run on the home: the `n`-th of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) n: usize,
    pub(crate) mutating: bool,
}

/// Returns `command` under strace, with a log of these calls.
fn tracing(command: &Command, log: &Path, trace: &str, inject: &[String]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-o"]).arg(log).args(["-e", &format!("trace={trace}")]);
    // Cargo sets a library path for its children; searches there are no points of interest.
    strace.env_remove("LD_LIBRARY_PATH");
    if !inject.iter().any(|fault| fault.contains("signal=")) {
        // Only the chosen calls stop the program, which otherwise runs at nearly full speed. A
        // signal cannot be injected at such a stop: the kernel drops it.
        strace.arg("--seccomp-bpf");
    }
    for fault in inject {
        strace.args(["-e", &format!("inject={fault}")]);
    }
    strace.arg("--").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        strace.current_dir(dir);
    }
    strace
}

/// Returns `command` with faults, each as `CALL:FAULT:when=N`.
pub(crate) fn injecting(command: &Command, faults: &[String]) -> Command {
    injecting_into(command, faults, Path::new("/dev/null"))
}

/// As [`injecting`], with a log of the calls.
pub(crate) fn injecting_into(command: &Command, faults: &[String], log: &Path) -> Command {
    let mut calls: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    calls.sort_unstable();
    calls.dedup();
    tracing(command, log, &calls.join(","), faults)
}

/// Runs `command`, with permanent `faults` if any, and lists its calls on paths below `home`, in
/// order.
pub(crate) fn calls(command: &Command, faults: &[String], home: &Path, log: &Path) -> Fallible<Vec<Call>> {
    let trace: Vec<String> = MUTATING.iter().chain(&LOOKING).map(|call| format!("?{call}")).collect();
    let finished = crate::guard::run(&mut tracing(command, log, &trace.join(","), faults), super::PATIENCE)?;
    if finished.code != Some(0) {
        return Err(format!("a run with {faults:?} ended with {}:\n{}", finished.status, finished.stderr));
    }
    let text = std::fs::read(log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    Ok(parse(&String::from_utf8_lossy(&text), &home.to_string_lossy()))
}

/// Parses the log of strace. Calls are numbered as `when=` counts them: by process and name.
fn parse(log: &str, home: &str) -> Vec<Call> {
    let mut counted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let Some((name, arguments)) = rest.trim_start().split_once('(') else { continue };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let n = counted.entry((pid, name)).or_default();
        *n += 1;
        let mutating =
            MUTATING.contains(&name) && (!name.starts_with("open") || arguments.contains("O_CREAT"));
        let call = Call { name: name.to_owned(), n: *n, mutating };
        // The files that other processes have open differ between runs.
        let is_on_home = arguments.contains(home) && !arguments.contains("\"/proc/");
        // Strace counts for each process, so the same call with the same number in two processes is
        // one point.
        if is_on_home && !calls.contains(&call) {
            calls.push(call);
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_as_strace_counts_them() {
        let log = r#"7 openat(AT_FDCWD</t>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
7 openat(AT_FDCWD</t>, "/h/.myownllm", O_RDONLY|O_DIRECTORY) = 3</h/.myownllm>
7 renameat2(3</h/.myownllm>, "a", 3</h/.myownllm>, "b", RENAME_NOREPLACE) = 0
8 openat(AT_FDCWD</t>, "/h/x", O_WRONLY|O_CREAT|O_EXCL, 0600) = 3</h/x>
7 fsync(3</h/.myownllm> <unfinished ...>
7 <... fsync resumed>) = 0
7 write(1</dev/null>, "done", 4) = 4
7 readlink("/proc/9/fd/3", "/h/.myownllm", 256) = 12
7 +++ exited with 0 +++
"#;
        let calls = parse(log, "/h");
        let shown: Vec<_> = calls.iter().map(|call| (call.name.as_str(), call.n, call.mutating)).collect();
        assert_eq!(
            shown,
            [("openat", 2, false), ("renameat2", 1, true), ("openat", 1, true), ("fsync", 1, true)]
        );
    }
}
