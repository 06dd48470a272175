//! The command-line program. All of its code is in the library.

fn main() -> std::process::ExitCode {
    #[cfg(not(windows))]
    survive_file_size_limit();
    #[cfg(unix)]
    clear_owner_umask();
    myownllm_mesh::main_with(std::env::args_os(), &become_user).into()
}

/// Changes the user of this process for good: its groups, and its real, effective and saved ids. No
/// other thread runs yet.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn become_user(uid: u32, gid: u32) -> std::io::Result<()> {
    let (uid, gid) = (uid.into(), gid.into());
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    Ok(nix::unistd::setresuid(uid, uid, uid)?)
}

/// Changes the user of this process for good. Leaves the further groups, which a service of macOS
/// manages: user and group decide about the files.
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

/// Clears the owner's bits of the umask, which would close new files of this program, and of a
/// daemon that it starts, to their own user.
#[cfg(unix)]
fn clear_owner_umask() {
    use nix::sys::stat::{Mode, umask};
    let inherited = umask(Mode::all());
    umask(inherited.difference(Mode::S_IRWXU));
}

/// Handles the signal of a write past the file size limit (`ulimit -f`). The write then fails, and
/// the error names the file. Without a handler, the signal ends the program.
#[cfg(not(windows))]
fn survive_file_size_limit() {
    let seen = std::sync::Arc::default();
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
}
