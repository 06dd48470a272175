//! Completes a config from stdin and prints it; what was odd goes to stderr.
//!
//! `cargo run -p myownllm-config-model --example complete < config.json`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::Read;
use std::time::{SystemTime, UNIX_EPOCH};

use myownllm_config_model::{Document, SeededIds, app_config};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let parsed = Document::parse(&bytes)?;
    let mut config = parsed.document;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut ids = SeededIds::new(now.as_millis() as u64, u64::from(now.subsec_nanos()));
    let found = app_config::complete(&mut config, "/home/u/.myownllm/conversations", &mut ids);
    for note in parsed.diagnostics.iter().chain(&found) {
        eprintln!("{} {} {}", note.code, note.path, note.message);
    }
    eprintln!("{}", if config.is_modified() { "completed" } else { "nothing to do" });
    println!("{}", config.to_text());
    Ok(())
}
