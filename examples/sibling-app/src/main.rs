//! OtherApp keeps its files in `~/.otherapp` and ran the daemon on that same directory, as MyOwnLLM
//! once did. This program is its start-up from single crates: it finds the paths, checks that the
//! two homes are apart, moves the daemon's files, gets the permit to start a daemon with the right
//! key, and uses a daemon.
//!
//! `cargo run -- /path/to/a/home`, or without a home for your own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people to look at")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use myownllm_daemon::{
    Candidate, Decision, Endpoint, HomeDaemons, Origin, SpawnRequest, Target, detect, spawn,
};
use myownllm_durable_fs::{Disk, RealDisk, make_dirs};
use myownllm_identity::start_permit;
use myownllm_migration::{Homes, Migrator, Options};
use myownllm_paths::{CheckedLayout, Env, HostApp, Mode, PathResolver, RealLookup, Resolver};

/// Returns the names of the app. The other names are the daemon's own, and the same for every app.
fn other_app() -> HostApp {
    HostApp::new("OtherApp", "otherapp", ".otherapp", "mesh-home")
}

/// Returns true if a daemon is in use.
fn start() -> Result<bool, Box<dyn Error>> {
    let app = other_app();
    let env = match std::env::args_os().nth(1) {
        Some(home) => Env::explicit(home),
        None => Env::from_process_for(&app),
    };
    // Finds the paths and checks that the two homes are apart. A `CheckedLayout` is the proof.
    let layout = match CheckedLayout::new(Resolver::new(app).resolve(&env)?, &RealLookup) {
        Err(error) if error.is_refusal() => {
            println!("{error} [{}]\n  way out: {}", error.code(), error.hint().unwrap_or_default());
            return Ok(false);
        }
        checked => checked?,
    };
    println!("the daemon's home is {}", layout.daemon_home);
    if RealDisk.stat(layout.app_home.as_std_path()).is_err_and(|error| error.is_not_found()) {
        println!("there is no {} yet, so there is nothing to start", layout.app_home);
        return Ok(false);
    }
    // Where the own daemon listens: in its home, or as its config says.
    let own = Endpoint::of(&layout, Mode::OwnLlm)?;

    // Holds the lock from the look to the daemon's first answer, so that only one start runs at a
    // time.
    let lock = RealDisk.lock(layout.app_home.as_std_path(), Duration::from_secs(5))?;
    // Moves nothing while a daemon still uses the files.
    let daemons = HomeDaemons::of(&layout)?;
    let report = Migrator::new(&RealDisk, Homes::of(&layout)).run(&lock, &Options::forward(), &daemons);
    for moved in &report.moved {
        println!("moved {} to {}", moved.from.display(), moved.to.display());
    }

    // A daemon that does not find its identity file creates a new key, which no peer knows.
    let permit = start_permit(&lock, &layout);
    // The move may refuse an identity file for the same reason as the permit.
    let refused = permit.as_ref().err().map(|refusal| refusal.code());
    let errors = report.refusals.iter().chain(&report.errors);
    let (same, others): (Vec<_>, Vec<_>) = errors.partition(|error| refused == Some(error.code()));
    for error in others {
        println!("{error} [{}] {}", error.code(), error.hint().unwrap_or_default());
    }
    let permit = match permit {
        Ok(permit) => permit,
        Err(refusal) => {
            println!("{refusal} [{}]", refusal.code());
            let mut commands: Vec<_> =
                refusal.ways_out.iter().filter_map(|way| Some(way.command()?.to_owned())).collect();
            if commands.is_empty() {
                commands.extend(same.iter().filter_map(|error| error.hint()));
            }
            commands.iter().for_each(|command| println!("  way out: {command}"));
            return Ok(false);
        }
    };
    // After a refusal the old daemon may still run.
    if !report.refusals.is_empty() {
        return Ok(false);
    }

    // One daemon for all apps of a user is better than one each, so this asks the shared one first.
    let shared = Endpoint::of(&layout, Mode::Shared)?;
    let found = detect(&[Target::shared(shared), Target::own(own.clone(), permit.expected().clone())]);
    match found.decision {
        Decision::Attach { status, role, .. } => {
            println!("attached to the {role} daemon, {}", status.device_id);
            Ok(true)
        }
        Decision::Spawn => {
            make_dirs(&lock, layout.app_home.as_ref(), layout.daemon_home.as_ref(), 0o700, None)?;
            // An installer would put the program beside the app. The variable is for developers.
            let programs = std::env::var_os("MYOWNMESH_BIN").into_iter();
            let programs = programs.map(|path| Candidate::new(path, Origin::Given)).collect();
            let mut request = SpawnRequest::new(permit, own, programs);
            // The name in the daemon's log.
            request.app = layout.app.name.to_lowercase();
            let daemon = spawn(&request)?;
            println!("started {}, {}", daemon.status().version, daemon.status().device_id);
            drop(lock);
            // The app would run here.
            daemon.stop(Duration::from_secs(5))?;
            Ok(true)
        }
        Decision::Refuse(refusal) => {
            println!("{refusal} [{}]", refusal.code());
            Ok(false)
        }
        _ => Err("a decision that this app does not know".into()),
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        // The app runs without a daemon.
        Ok(false) => ExitCode::from(7),
        Err(error) => {
            eprintln!("otherapp: {error}");
            ExitCode::FAILURE
        }
    }
}
