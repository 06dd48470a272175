//! Shows the repair of a home's config, and carries it out with `--write`.
//!
//! `cargo run -p myownllm-config-store --example repair -- /home/u [--write]`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use myownllm_config_model::SeededIds;
use myownllm_config_store::{ConfigStore, MyOwnLlm, Store, StorePaths, SystemClock};
use myownllm_durable_fs::RealDisk;
use myownllm_paths::{CheckedLayout, Env, PathResolver, RealLookup, Resolver};

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let env = args.next().map_or_else(Env::from_process, Env::explicit);
    let write = args.next().is_some_and(|a| a == "--write");
    let layout = CheckedLayout::new(Resolver::default().resolve(&env)?, &RealLookup)?;
    let (disk, clock) = (RealDisk, SystemClock::default());
    let schema = MyOwnLlm::new(layout.conversations.as_str());
    let store = Store::new(&disk, &clock, StorePaths::of(&layout), &schema);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut ids = SeededIds::new(now.as_millis().try_into()?, now.subsec_nanos().into());

    let loaded = store.load(&mut ids)?;
    println!("{}: {}", layout.app_config, serde_json::to_string(&loaded.report)?);
    println!("pending: {}", serde_json::to_string_pretty(&loaded.pending)?);
    if write && !loaded.pending.is_empty() {
        store.ensure_home()?;
        let applied = store.lock(Duration::from_secs(5))?.apply(&mut ids)?;
        println!("done: {}", serde_json::to_string_pretty(&applied.steps)?);
    }
    for backup in store.history()? {
        println!("{}  {:?}{}", backup.id, backup.shape, if backup.current { "  (in use)" } else { "" });
    }
    Ok(())
}
