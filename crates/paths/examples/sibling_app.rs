//! Prints every path of an app that embeds the same daemon under other names, and the result of the
//! check.
//!
//! `cargo run -p myownllm-paths --example sibling_app -- /home/u`

use std::fmt::Write;

use myownllm_paths::{CheckedLayout, Env, HostApp, Mode, PathResolver, RealLookup, Resolver};

/// Returns the names of the app.
pub(crate) fn other_app() -> HostApp {
    HostApp::new("OtherApp", "otherapp-mesh", ".otherapp", "mesh-home")
}

/// Returns every path with the rule that chose it, and the address of the daemon.
pub(crate) fn report(app: HostApp, env: &Env) -> Result<String, Box<dyn std::error::Error>> {
    let layout = Resolver::new(app).resolve(env)?;
    let mut report = String::new();
    for entry in layout.entries() {
        writeln!(report, "{:16} {}   ({})", entry.name, entry.path, entry.rule)?;
    }
    let (socket, _) = CheckedLayout::new(layout, &RealLookup)?.socket(Mode::OwnLlm, &RealLookup)?;
    writeln!(report, "the homes are apart; the daemon listens at {socket}")?;
    Ok(report)
}

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = other_app();
    let env = std::env::args_os().nth(1).map_or_else(|| Env::from_process_for(&app), Env::explicit);
    print!("{}", report(app, &env)?);
    Ok(())
}
