//! Prints every path of an app that embeds the same daemon under other names, and what the guard thinks of them.
//!
//! `cargo run -p myownllm-paths --example sibling_app -- /home/u`

use myownllm_paths::{Env, HostApp, MYOWNLLM, Mode, PathResolver, RealLookup, Resolver, guard};

#[expect(clippy::print_stdout, reason = "an example shows something")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = HostApp {
        name: "OtherApp".into(),
        program: "otherapp-mesh".into(),
        app_folder: ".otherapp".into(),
        daemon_folder: "mesh".into(),
        ..MYOWNLLM
    };
    let env = std::env::args_os().nth(1).map_or_else(|| Env::from_process_for(&app), Env::explicit);
    let layout = Resolver::new(app).resolve(&env)?;
    for entry in layout.entries() {
        println!("{:16} {}   ({})", entry.name, entry.path.display(), entry.rule);
    }
    match guard(layout, &RealLookup).and_then(|layout| layout.socket(Mode::OwnLlm, &RealLookup)) {
        Ok((socket, _)) => println!("the homes are apart; the daemon listens at {socket}"),
        Err(error) => println!("{}: {error}\n{}", error.code(), error.hint().unwrap_or_default()),
    }
    Ok(())
}
