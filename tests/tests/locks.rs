//! The lock of a home between real processes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use myownllm_durable_fs::{Disk as _, RealDisk};

const PROCESSES: u32 = 50;

fn second_process() -> Command {
    Command::new(env!("CARGO_BIN_EXE_second-process"))
}

/// Each process reads a number and then writes it plus one: without mutual exclusion a count is
/// lost. `MYOWNLLM_LOCK_ROUNDS` sets the rounds of each process (200 for the long form).
#[test]
fn fifty_processes_take_turns() {
    let rounds: u32 = std::env::var("MYOWNLLM_LOCK_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let home = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("number");
    std::fs::write(&file, "0").unwrap();
    let start =
        || second_process().arg("count").arg(home.path()).arg(&file).arg(rounds.to_string()).spawn().unwrap();
    let processes: Vec<Child> = (0..PROCESSES).map(|_| start()).collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), (PROCESSES * rounds).to_string());
    if cfg!(unix) {
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
    }
}

#[test]
fn a_killed_holder_lets_go() {
    let home = tempfile::tempdir().unwrap();
    let mut holder = second_process().arg("hold").arg(home.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said.trim(), "held");
    let error = RealDisk.lock(home.path(), Duration::ZERO).unwrap_err();
    assert_eq!(error.code(), "durable-fs.lock-held");
    holder.kill().unwrap();
    holder.wait().unwrap();
    drop(RealDisk.lock(home.path(), Duration::ZERO).unwrap());
}
