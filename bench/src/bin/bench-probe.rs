//! Runs one measured operation, once, for tools that count: `bench-probe load HOME`, `bench-probe
//! value|ignored|read FILE`. Also creates the homes for these operations: `bench-probe home
//! prompts|networks BYTES ROSTERS HOME`, and puts a roster among foreign files at the old location
//! of such a home: `bench-probe foreign FILES HOME`.

use std::hint::black_box;
use std::path::Path;

use bench::configs::{self, Heavy};
use bench::homes;
use serde::de::IgnoredAny;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [home, heavy, bytes, rosters, path] = args.as_slice()
        && home == "home"
    {
        let heavy = if heavy == "prompts" { Heavy::Prompts } else { Heavy::Networks };
        let (bytes, rosters) = (bytes.parse()?, rosters.parse()?);
        let home = homes::Home::at(path.into(), |dir| configs::of_bytes(heavy, bytes, dir)).settle();
        homes::fill(&home.rosters(), rosters);
        return Ok(());
    }
    if let [foreign, files, home] = args.as_slice()
        && foreign == "foreign"
    {
        homes::fill_with_foreign(&Path::new(home).join(".myownllm/mesh/rosters"), files.parse()?);
        return Ok(());
    }
    let [what, path] = args.as_slice() else { return Err("bench-probe WHAT PATH".into()) };
    if what == "load" {
        black_box(homes::load(&homes::context(Path::new(path))));
        return Ok(());
    }
    let bytes = std::fs::read(path)?;
    match what.as_str() {
        "value" => drop(black_box(serde_json::from_slice::<serde_json::Value>(&bytes)?)),
        "ignored" => drop(black_box(serde_json::from_slice::<IgnoredAny>(&bytes)?)),
        "read" => drop(black_box(bytes)),
        _ => return Err(format!("bench-probe does not know {what}").into()),
    }
    Ok(())
}
