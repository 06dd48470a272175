//! Measures an attach to a running daemon, against one minimal request.

#![allow(missing_docs, reason = "a bench")]

use criterion::{Criterion, criterion_group, criterion_main};

#[cfg(unix)]
fn attach(criterion: &mut Criterion) {
    let Some(program) = std::env::var_os("BENCH_STAND_IN") else { return };
    let home = bench::daemons::Home::new();
    let _running = home.start(program.as_ref());
    let mut group = criterion.benchmark_group("attach");
    group.bench_function("ours", |b| b.iter(|| home.attach()));
    group.bench_function("ask", |b| b.iter(|| home.ask()));
    group.finish();
}

#[cfg(not(unix))]
fn attach(_criterion: &mut Criterion) {}

criterion_group!(benches, attach);
criterion_main!(benches);
