//! Measures the heap of one operation: `bench-heap load|start HOME`, `bench-heap value FILE`.
//! Prints the most bytes that were in use at a time, and the number of all allocated blocks.

use std::hint::black_box;
use std::path::Path;

use bench::homes;

#[global_allocator]
static ALLOC: dhat::Alloc = dhat::Alloc;

#[allow(clippy::print_stdout, reason = "its one purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [what, path] = args.as_slice() else { return Err("bench-heap WHAT PATH".into()) };
    let context = (what != "value").then(|| homes::context(Path::new(path)));
    let profiler = dhat::Profiler::builder().testing().build();
    match (what.as_str(), &context) {
        ("load", Some(context)) => drop(black_box(homes::load(context))),
        ("start", Some(context)) => drop(black_box(homes::start(context))),
        ("value", _) => {
            let bytes = std::fs::read(path)?;
            black_box(serde_json::from_slice::<serde_json::Value>(&bytes)?);
        }
        _ => return Err(format!("bench-heap does not know {what}").into()),
    }
    let stats = dhat::HeapStats::get();
    drop(profiler);
    println!("{} {}", stats.max_bytes, stats.total_blocks);
    Ok(())
}
