//! Faults of the environment: other users, limits, mounts, failing calls.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    home::Home,
    process::{Ran, is_root, run},
    program::{program, stand_in, wrapped},
};

/// A user without privileges.
pub const NOBODY: u32 = 65534;

/// Returns true if the tool works with these arguments on this machine, and says otherwise that a
/// test is skipped.
pub fn can(tool: &str, args: &[&str]) -> bool {
    let works = Command::new(tool).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: `{tool} {}` does not work here", args.join(" "));
    }
    works
}

/// Returns true if this process runs as root, and says otherwise that a test is skipped.
pub fn can_be_root() -> bool {
    if !is_root() {
        eprintln!("skipped: not root");
    }
    is_root()
}

/// Returns true if this process can mount file systems.
pub fn can_mount() -> bool {
    can_be_root() && can("unshare", &["-m", "sh", "-c", "mount -t tmpfs none /mnt"])
}

/// Returns true if strace can trace here.
pub fn can_trace() -> bool {
    cfg!(target_os = "linux") && can("strace", &["-o", "/dev/null", "true"])
}

/// Gives a tree to this user and group, without following symlinks.
pub fn give(path: &Path, user: u32) {
    let owner = format!("{user}:{user}");
    assert!(Command::new("chown").args(["-hR", &owner]).arg(path).status().unwrap().success());
}

/// Runs the program as a user without privileges: root passes every permission check. Under root,
/// the home is given to that user.
#[derive(Debug)]
pub struct Unprivileged {
    program: PathBuf,
    daemon: PathBuf,
    /// True if this process is root, and the program is not.
    pub is_dropped: bool,
}

impl Unprivileged {
    /// Prepares the home; `None` if this is impossible.
    pub fn new(home: &Home) -> Option<Self> {
        if !is_root() {
            return Some(Self { program: program().into(), daemon: stand_in().into(), is_dropped: false });
        }
        let nobody = NOBODY.to_string();
        if !can("setpriv", &["--reuid", &nobody, "--regid", &nobody, "--clear-groups", "true"]) {
            return None;
        }
        let root = home.path("..").canonicalize().unwrap();
        // That user may not be able to reach the work tree.
        let user = Self { program: root.join("program"), daemon: root.join("daemon"), is_dropped: true };
        std::fs::copy(program(), &user.program).unwrap();
        std::fs::copy(stand_in(), &user.daemon).unwrap();
        give(&root, NOBODY);
        Some(user)
    }

    /// Runs the program with the stand-in as the daemon.
    pub fn run(&self, home: &Home, args: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        command.arg("--home").arg(home.path("")).args(args).current_dir("/").env("HOME", "/nonexistent");
        command
            .env_remove("MYOWNMESH_HOME")
            .env_remove("MYOWNLLM_MESH_BIN")
            .env("MYOWNMESH_BIN", &self.daemon);
        if self.is_dropped {
            let nobody = NOBODY.to_string();
            let drop = ["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups", "--"];
            command = wrapped(&drop, &command);
        }
        run(&mut command)
    }
}

/// Runs the program in a shell that runs `before` first; `$1` is the home.
pub fn within(home: &Home, before: &str, args: &[&str]) -> Ran {
    let script = format!("{before}\nhome=$1; shift; exec \"$@\"");
    let at = home.path("");
    let wrapper = ["sh", "-c", &script, "sh", at.to_str().unwrap()];
    run(&mut wrapped(&wrapper, &home.command(args)))
}

/// Runs the program in a mount namespace of its own, after `mounts`; `$1` is the home.
pub fn with_mounts(home: &Home, mounts: &str, args: &[&str]) -> Ran {
    let script = format!("set -e\n{mounts}\nset +e; home=$1; shift; exec \"$@\"");
    let at = home.path("");
    let unshare = ["unshare", "-m", "--propagation", "private"];
    let wrapper = [&unshare[..], &["sh", "-c", &script, "sh", at.to_str().unwrap()]].concat();
    run(&mut wrapped(&wrapper, &home.command(args)))
}

/// Clears the file attributes of a home on drop, so that it can be removed.
#[derive(Debug)]
pub struct Unlocked<'a>(pub &'a Home);

impl Drop for Unlocked<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr").args(["-R", "-i", "-a"]).arg(self.0.path("")).output();
    }
}
