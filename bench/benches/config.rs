//! Measures loads and edits of the config, against serde_json on the same bytes.

#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench that cannot go on stops"
)]

use std::hint::black_box;

use bench::configs::{Heavy, leaked, of_bytes, of_networks};
use bench::homes::{Home, context, load};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use myownllm_config_model::Document;
use serde::de::IgnoredAny;
use serde_json::Value;

/// Measures one load of each size, and serde_json on the same bytes.
fn loads(criterion: &mut Criterion, name: &str, homes: impl Iterator<Item = (usize, Home)>) {
    let mut group = criterion.benchmark_group(name);
    for (size, home) in homes {
        let text = std::fs::read(home.config()).unwrap();
        let context = context(home.path());
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("ours", size), |b| b.iter(|| black_box(load(&context))));
        group.bench_function(BenchmarkId::new("value", size), |b| {
            b.iter(|| black_box(serde_json::from_slice::<Value>(&text).unwrap()));
        });
        group.bench_function(BenchmarkId::new("ignored", size), |b| {
            b.iter(|| black_box(serde_json::from_slice::<IgnoredAny>(&text).unwrap()));
        });
        group.bench_function(BenchmarkId::new("read-ignored", size), |b| {
            b.iter(|| {
                let text = std::fs::read(home.config()).unwrap();
                black_box(serde_json::from_slice::<IgnoredAny>(&text).unwrap())
            });
        });
    }
    group.finish();
}

fn config(criterion: &mut Criterion) {
    let megabytes = bench::sizes(&[1, 10]);
    for (name, heavy) in [("load-prompts", Heavy::Prompts), ("load-networks", Heavy::Networks)] {
        let homes =
            megabytes.iter().map(|&mb| (mb, Home::settled(|dir| of_bytes(heavy, mb * 1_000_000, dir))));
        loads(criterion, name, homes);
    }
    let grown = bench::sizes(&[1, 100, 1_000, 10_000]);
    let homes = grown.iter().map(|&n| (n, Home::settled(|dir| of_networks(Heavy::Networks, n, dir))));
    loads(criterion, "load-grown", homes);
    let homes = bench::sizes(&[1, 100, 1_000, 10_000]).into_iter().map(|n| (n, Home::with(|_| leaked(n))));
    loads(criterion, "load-leaked", homes);

    let mut group = criterion.benchmark_group("edit");
    for mb in megabytes {
        let text = of_bytes(Heavy::Prompts, mb * 1_000_000, "/home/u/.myownllm/conversations");
        group.bench_function(BenchmarkId::new("ours", mb), |b| {
            b.iter(|| {
                let mut document = Document::parse(&text).unwrap().document;
                assert!(document.set(&["cloud_mesh", "networks", "7", "label"], "Renamed").is_changed());
                black_box(document.to_bytes())
            });
        });
        group.bench_function(BenchmarkId::new("value", mb), |b| {
            b.iter(|| {
                let mut value: Value = serde_json::from_slice(&text).unwrap();
                value["cloud_mesh"]["networks"][7]["label"] = "Renamed".into();
                black_box(serde_json::to_vec_pretty(&value).unwrap())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, config);
criterion_main!(benches);
