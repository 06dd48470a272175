//! A second process for the tests: it takes the lock in turn with others, or it runs as another
//! user who swaps directories.
//!
//! - `count HOME FILE ROUNDS` takes the lock of HOME that many times. Each time it reads the number
//!   in FILE, adds one, and writes it.
//! - `hold HOME` takes the lock, says so, and keeps it until it is killed.
//! - `swap DECOY TARGET...` exchanges each TARGET with a directory of its own, or with a symlink to
//!   that directory, and exchanges them back, until it is killed. Its files have the content of
//!   DECOY.

#![cfg_attr(not(unix), allow(unused))]
#![expect(clippy::print_stdout, reason = "a program talks to its user")]
#![allow(clippy::disallowed_methods, reason = "it plays a program that is careless, or means harm")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use myownllm_durable_fs::{Disk, RealDisk};

/// The lock timeout: longer than all other processes together hold the lock.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["count", home, file, rounds] => count(home.as_ref(), file.as_ref(), rounds.parse()?),
        ["hold", home] => hold(home.as_ref()),
        #[cfg(unix)]
        ["swap", decoy, targets @ ..] => swap(decoy.as_ref(), targets),
        _ => Err("usage: second-process count HOME FILE ROUNDS | hold HOME | swap DECOY TARGET...".into()),
    }
}

fn count(home: &Path, file: &Path, rounds: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..rounds {
        let lock = RealDisk.lock(home, PATIENCE)?;
        let number: u32 = std::fs::read_to_string(file)?.parse()?;
        std::fs::write(file, (number + 1).to_string())?;
        drop(lock);
    }
    Ok(())
}

fn hold(home: &Path) -> Result<(), Box<dyn Error>> {
    let _lock = RealDisk.lock(home, PATIENCE)?;
    println!("held");
    loop {
        std::thread::park();
    }
}

/// The replacements of a target. They lie beside the target: a directory that the user may not
/// write cannot be moved to another parent.
#[cfg(unix)]
struct Trap {
    target: PathBuf,
    dir: PathBuf,
    link: PathBuf,
}

#[cfg(unix)]
fn swap(decoy: &Path, targets: &[&str]) -> Result<(), Box<dyn Error>> {
    rustix::process::umask(rustix::fs::Mode::empty());
    let decoy = std::fs::read(decoy)?;
    let traps = targets.iter().map(|target| {
        let target = PathBuf::from(target);
        let beside = |what: &str| {
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            target.with_file_name(format!(".swapped.{what}.{name}"))
        };
        Trap { dir: beside("directory"), link: beside("link"), target }
    });
    let traps: Vec<Trap> = traps.collect();
    loop {
        for trap in &traps {
            for (aside, is_link) in [(&trap.dir, false), (&trap.link, true)] {
                // Ignores failures and tries again in the next round: the home may be closed, or
                // the target may be missing.
                if !swapped(aside, &trap.target) && !is_mine(&trap.target) && !is_mine(aside) {
                    let _ = if is_link {
                        std::os::unix::fs::symlink(&trap.dir, aside)
                    } else {
                        set_trap(aside, &trap.target, &decoy)
                    };
                    continue;
                }
                std::thread::yield_now();
                swapped(aside, &trap.target);
            }
        }
    }
}

#[cfg(unix)]
fn is_mine(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::geteuid().as_raw();
    path.symlink_metadata().is_ok_and(|meta| meta.uid() == me)
}

/// Exchanges the two paths, or renames one to the name of the other if that name is free.
#[cfg(unix)]
fn swapped(aside: &Path, target: &Path) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let exchange = |flags| renameat_with(CWD, aside, CWD, target, flags).is_ok();
        exchange(RenameFlags::EXCHANGE) || exchange(RenameFlags::NOREPLACE)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    false
}

/// Makes a directory that looks like the target, is open to everybody, and holds files of this
/// user.
#[cfg(unix)]
fn set_trap(at: &Path, target: &Path, decoy: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir(at)?;
    let below: &[&str] = match target.file_name().and_then(|name| name.to_str()) {
        Some(".myownllm") => &[".secrets", "mesh", ".myownmesh"],
        Some(".myownmesh") => &[".secrets", "mesh"],
        Some("mesh") => &["rosters", "states"],
        _ => &[],
    };
    for name in below {
        set_trap(&at.join(name), name.as_ref(), decoy)?;
    }
    for name in ["identity.json", "home-mesh.json", "theirs.json"] {
        std::fs::write(at.join(name), decoy)?;
    }
    Ok(())
}
