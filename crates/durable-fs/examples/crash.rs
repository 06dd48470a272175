//! Shows the states in which a power cut can leave a file that is written with and without a sync.
//!
//! `cargo run -p myownllm-durable-fs --features sim --example crash`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::{collections::BTreeMap, error::Error, path::Path, time::Duration};

use myownllm_durable_fs::{Disk, DiskError, LockedDir, publish_new, sim::SimDisk};

fn outcomes(
    write: impl Fn(&LockedDir) -> Result<(), DiskError>,
) -> Result<BTreeMap<String, usize>, Box<dyn Error>> {
    let mut outcomes = BTreeMap::new();
    for crash in 0.. {
        let disk = SimDisk::new();
        disk.put_dir("/home", 0o700);
        disk.flush_all();
        let home = disk.lock(Path::new("/home"), Duration::ZERO)?;
        disk.reset_ops();
        disk.crash_at(crash);
        let finished = write(&home).is_ok();
        for after in disk.crash_states(100, 1) {
            let what = match after.content("/home/key").as_deref() {
                None => "no file",
                Some(b"") => "an empty file",
                Some(b"secret!") => "the whole file",
                Some(_) => "half a file",
            };
            *outcomes.entry(what.to_owned()).or_insert(0) += 1;
        }
        if finished {
            break;
        }
    }
    Ok(outcomes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let key = Path::new("/home/key");
    println!("written:   {:?}", outcomes(|home| home.create(key, b"secret!", 0o600))?);
    println!(
        "published: {:?}",
        outcomes(|home| publish_new(home, key, b"secret!", 0o600, None).map(|_| ()))?
    );
    Ok(())
}
