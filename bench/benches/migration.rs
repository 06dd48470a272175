//! Measures the move, against a rename of each file, `mv`, and `cp -a` + flush + `rm`.

#![allow(missing_docs, reason = "a bench")]

use std::path::Path;
use std::time::{Duration, Instant};

use bench::movers::{Kind, State};
use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};

/// A name, and a function that moves everything.
type Way = (&'static str, fn(&State));

const OURS: Way = ("ours", State::ours);
const STRAIGHTFORWARD: Way = ("straightforward", State::straightforward);
const BARE: Way = ("bare", State::bare);

fn moves(criterion: &mut Criterion) {
    let all: [(&str, Kind, &[usize], &[Way]); 3] = [
        ("move-whole", Kind::Whole, &[1, 100, 1_000, 10_000, 100_000], &[OURS, BARE, ("mv", State::mv)]),
        ("move-foreign", Kind::Foreign, &[1, 100, 1_000, 10_000], &[OURS, STRAIGHTFORWARD, BARE]),
        ("move-across", Kind::Across, &[1, 100, 1_000], &[OURS, ("copy", State::copy)]),
    ];
    // Uses the disk of the build.
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let memory = Path::new("/dev/shm");
    let memory = if memory.read_dir().is_ok() { memory.to_owned() } else { std::env::temp_dir() };
    // Removed after all measurements, see `State::put_back`.
    let mut states = Vec::new();
    for (name, kind, sizes, ways) in all {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        for files in bench::sizes(sizes) {
            let state = State::new(kind, files, disk, &memory);
            for (way, go) in ways {
                group.bench_function(BenchmarkId::new(*way, files), |b| {
                    b.iter_custom(|times| (0..times).map(|_| time(&state, files, go)).sum());
                });
            }
            states.push(state);
        }
        group.finish();
    }
}

/// Returns the duration of one move of a state, which is put back.
fn time(state: &State, files: usize, go: &dyn Fn(&State)) -> Duration {
    state.flush();
    let start = Instant::now();
    go(state);
    let took = start.elapsed();
    state.put_back(files);
    took
}

criterion_group!(benches, moves);
criterion_main!(benches);
