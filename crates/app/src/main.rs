//! The command-line program. All of its code is in the library.

fn main() -> std::process::ExitCode {
    #[cfg(not(windows))]
    outlive_the_limit_of_a_file();
    #[cfg(unix)]
    leave_the_owner_access();
    myownllm_mesh::main_with(std::env::args_os(), &become_user).into()
}

/// Changes the user of this process for good, with its groups and all of its ids. Nothing else runs
/// in the process yet.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn become_user(uid: u32, gid: u32) -> std::io::Result<()> {
    let (uid, gid) = (uid.into(), gid.into());
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

/// macOS manages the groups of a process in a service of its own. User and group decide about
/// files.
#[cfg(target_vendor = "apple")]
fn become_user(uid: u32, gid: u32) -> std::io::Result<()> {
    nix::unistd::setgid(gid.into())?;
    Ok(nix::unistd::setuid(uid.into())?)
}

/// Does nothing: this system has no root.
#[cfg(not(unix))]
fn become_user(_: u32, _: u32) -> std::io::Result<()> {
    Ok(())
}

/// Takes the owner's bits out of the umask: what this program, and a daemon that it starts, creates
/// for its user would be closed to that user.
#[cfg(unix)]
fn leave_the_owner_access() {
    use nix::sys::stat::{Mode, umask};
    let inherited = umask(Mode::all());
    umask(inherited.difference(Mode::S_IRWXU));
}

/// Makes a write past the file size limit (`ulimit -f`) an ordinary error, named with the path of
/// the file, instead of the end of the program: with a handler for the signal, the write itself
/// fails.
#[cfg(not(windows))]
fn outlive_the_limit_of_a_file() {
    let seen = std::sync::Arc::default();
    // Without the handler, the signal ends the program as before.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
}
