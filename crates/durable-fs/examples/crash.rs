//! Shows what a power cut can make of a file that is written with and without a flush.
//!
//! `cargo run -p myownllm-durable-fs --features sim --example crash`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::{collections::BTreeMap, path::Path};

use myownllm_durable_fs::{Disk, DiskError, publish_new, sim::SimDisk};

fn outcomes(write: impl Fn(&SimDisk) -> Result<(), DiskError>) -> Result<BTreeMap<String, usize>, DiskError> {
    let mut outcomes = BTreeMap::new();
    for crash in 0.. {
        let disk = SimDisk::new();
        disk.put_dir("/home", 0o700);
        disk.flush_all();
        disk.crash_at(crash);
        let finished = write(&disk).is_ok();
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

fn main() -> Result<(), DiskError> {
    let key = Path::new("/home/key");
    println!("written:   {:?}", outcomes(|disk| disk.create(key, b"secret!", 0o600))?);
    println!(
        "published: {:?}",
        outcomes(|disk| publish_new(disk, key, b"secret!", 0o600, None).map(|_| ()))?
    );
    Ok(())
}
