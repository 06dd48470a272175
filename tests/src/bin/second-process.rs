//! Another process, for the tests: one that takes the lock in turn with others, or another user's who swaps folders.
//!
//! - `count HOME FILE ROUNDS` takes the lock of HOME that many times, and each time adds one to the number in FILE, by reading and
//!   then writing it.
//! - `hold HOME` takes the lock, says so, and keeps it until it is killed.
//! - `swap DECOY TARGET...` puts a link to a folder of its own, or such a folder, in the place of each TARGET and takes it back, until it is
//!   killed. Its files hold what DECOY holds.

#![cfg_attr(not(unix), allow(unused))]
#![expect(clippy::print_stdout, reason = "a program talks to its user")]
#![allow(clippy::disallowed_methods, reason = "it plays a program that is careless, or means harm")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use myownllm_durable_fs::{Disk, RealDisk};

/// Longer than all the others together take.
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

/// What is put in the place of a target, each beside it, because a folder that may not be written cannot be moved to another one.
#[cfg(unix)]
struct Trap {
    target: PathBuf,
    folder: PathBuf,
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
        Trap { folder: beside("folder"), link: beside("link"), target }
    });
    let traps: Vec<Trap> = traps.collect();
    loop {
        for trap in &traps {
            for (aside, is_link) in [(&trap.folder, false), (&trap.link, true)] {
                // Whatever fails is tried again in the next turn: the home may just be closed, or the target not be there.
                if !swapped(aside, &trap.target) && !is_mine(&trap.target) && !is_mine(aside) {
                    let _ = if is_link {
                        std::os::unix::fs::symlink(&trap.folder, aside)
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

/// Exchanges the two, or gives the one the other's name when nothing has it.
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

/// A folder that looks like the target, open to everybody, with files of mine in it.
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
