//! The command-line program; all of it is in the library.

fn main() -> std::process::ExitCode {
    outlive_the_limit_of_a_file();
    myownllm_mesh::main_with(std::env::args_os(), &become_user).into()
}

/// Changes the user of this process for good, with all that tells users apart. Nothing else runs in the process yet.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn become_user(uid: u32, gid: u32) -> std::io::Result<()> {
    let (uid, gid) = (uid.into(), gid.into());
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

/// macOS keeps a process's groups by a service of its own; user and group are what decides about files.
#[cfg(target_vendor = "apple")]
fn become_user(uid: u32, gid: u32) -> std::io::Result<()> {
    nix::unistd::setgid(gid.into())?;
    Ok(nix::unistd::setuid(uid.into())?)
}

/// There is no root here.
#[cfg(not(unix))]
fn become_user(_: u32, _: u32) -> std::io::Result<()> {
    Ok(())
}

/// A file that would grow past the limit (`ulimit -f`) is an error like any other, named with its path, and not the end of the
/// program: with a handler for the signal, the write itself fails.
#[cfg(not(windows))]
fn outlive_the_limit_of_a_file() {
    let seen = std::sync::Arc::default();
    // Where it cannot be had, it is as it was.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
}

#[cfg(windows)]
fn outlive_the_limit_of_a_file() {}
