//! Measures a start with nothing to do, against a read of the config alone.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench that cannot go on stops"
)]

use std::hint::black_box;
use std::process::{Command, Stdio};

use bench::configs::{Heavy, of_networks};
use bench::homes::{Home, context, fill, start};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn idle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("launch");
    for files in bench::sizes(&[1, 100, 10_000]) {
        let home = Home::settled(|dir| of_networks(Heavy::Networks, 1, dir));
        fill(&home.rosters(), files);
        let seen = context(home.path());
        group.bench_function(BenchmarkId::new("ours", files), |b| b.iter(|| black_box(start(&seen))));
        group.bench_function(BenchmarkId::new("read", files), |b| {
            b.iter(|| black_box(std::fs::read(home.config()).unwrap()));
        });
        group.bench_function(BenchmarkId::new("paths", files), |b| {
            b.iter(|| black_box(context(home.path())));
        });
    }
    group.finish();
}

/// Measures whole processes: the program that `BENCH_MESH` names, and one that only reads the file.
fn processes(criterion: &mut Criterion) {
    let Some(mesh) = std::env::var_os("BENCH_MESH") else { return };
    let home = Home::settled(|dir| of_networks(Heavy::Networks, 1, dir));
    let mut ours = Command::new(mesh);
    ours.arg("--home").arg(home.path()).args(["launch", "--no-daemon"]);
    let mut reader = Command::new(env!("CARGO_BIN_EXE_bench-reader"));
    reader.arg(home.config());
    let mut group = criterion.benchmark_group("process");
    for (name, command) in [("ours", &mut ours), ("reader", &mut reader)] {
        // Cargo adds library directories to the environment; a user's start does not search them.
        command.stdin(Stdio::null()).stdout(Stdio::null()).env_remove("LD_LIBRARY_PATH");
        group.bench_function(name, |b| b.iter(|| assert!(command.status().unwrap().success())));
    }
    group.finish();
}

criterion_group!(benches, idle, processes);
criterion_main!(benches);
