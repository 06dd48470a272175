//! OtherApp keeps its files in `~/.otherapp` and ran the daemon on that same folder, as MyOwnLLM once did. This is its
//! start-up with four crates: where is everything, are the two homes apart, move what is the daemon's, use a daemon.
//!
//! `cargo run -- /path/to/a/home`, or without a home for your own.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use myownllm_daemon::{Candidate, Decision, Endpoint, Expected, Origin, SpawnRequest, Target, detect, spawn};
use myownllm_durable_fs::{Disk, RealDisk, make_dirs};
use myownllm_migration::{Homes, IdentityState, LiveDaemon, LiveDaemons, Migrator, Options, StateMigrator};
use myownllm_paths::{Env, HostApp, MYOWNLLM, Mode, PathResolver, RealLookup, Resolver, Socket, guard};

/// The app, as the crates need to know it. What is not named here is the daemon's own, and the same for every app.
fn other_app() -> HostApp {
    HostApp {
        name: "OtherApp".into(),
        program: "otherapp".into(),
        app_folder: ".otherapp".into(),
        daemon_folder: "mesh-home".into(),
        ..MYOWNLLM
    }
}

/// Tells the move whether a daemon still writes the old place: nothing is moved under its hands.
struct OldDaemon {
    endpoint: Endpoint,
}

impl LiveDaemons for OldDaemon {
    fn live(&self) -> Vec<LiveDaemon> {
        let found = myownllm_daemon::probe(&self.endpoint, Duration::from_millis(800));
        if found.is_absent() {
            return Vec::new();
        }
        let path = self.endpoint.path().unwrap_or(std::path::Path::new(""));
        vec![LiveDaemon::new(path, found.pid(), found.code())]
    }

    fn stop(&self, _: &LiveDaemon) -> Result<(), String> {
        Err("OtherApp asks its user to close the old version".to_owned())
    }
}

fn start() -> Result<(), Box<dyn Error>> {
    let app = other_app();
    let env = match std::env::args_os().nth(1) {
        Some(home) => Env::explicit(home),
        None => Env::from_process_for(&app),
    };
    // Where is everything, and are the two homes really two? A `CheckedLayout` is the proof.
    let layout = guard(Resolver::new(app).resolve(&env)?, &RealLookup)?;
    println!("the daemon's home is {}", layout.daemon_home.display());
    if RealDisk.stat(&layout.app_home).is_err_and(|error| error.is_not_found()) {
        println!("there is no {} yet, so there is nothing to start", layout.app_home.display());
        return Ok(());
    }

    // One at a time, from the look to the daemon's first answer.
    let lock = RealDisk.lock(&layout.app_home, Duration::from_secs(5))?;
    let homes = Homes::new(&layout.app_home, &layout.daemon_home).with_program("otherapp");
    let migrator = Migrator::new(&RealDisk, homes);
    let old = OldDaemon { endpoint: Endpoint::unix(&layout.legacy_socket) };
    let report = migrator.run(&lock, &Options::forward(), &old);
    for moved in &report.moved {
        println!("moved {} to {}", moved.from.display(), moved.to.display());
    }
    for error in report.refusals.iter().chain(&report.errors) {
        println!("{error} [{}] {}", error.code(), error.hint().unwrap_or_default());
    }
    if !report.may_spawn() {
        println!("no daemon is started: beside a key that has not arrived it would make a second one");
        return Ok(());
    }

    // The same daemon for all apps of a user is better than one each: ask the shared one first.
    let expected = match &report.identity {
        IdentityState::AtDestination(key) => Expected::Device(key.public_key.clone()),
        _ => Expected::Any,
    };
    let endpoint = |mode| -> Result<Endpoint, Box<dyn Error>> {
        Ok(match layout.socket(mode, &RealLookup)?.0 {
            Socket::Path(path) => Endpoint::unix(path),
            other => return Err(format!("{other}: this example speaks to sockets alone").into()),
        })
    };
    let own = endpoint(Mode::OwnLlm)?;
    let found =
        detect(&[Target::shared(endpoint(Mode::Shared)?), Target::own(own.clone(), expected.clone())]);
    match found.decision {
        Decision::Attach { status, role, .. } => {
            println!("attached to the {role} daemon, {}", status.device_id);
        }
        Decision::Spawn => {
            make_dirs(&RealDisk, &layout.app_home, &layout.daemon_home, 0o700, None)?;
            // An installer would put the program beside the app; its variable is for developers.
            let programs = std::env::var_os("MYOWNMESH_BIN").into_iter();
            let programs = programs.map(|path| Candidate::new(path, Origin::Beside)).collect();
            let mut request = SpawnRequest::new(&layout.daemon_home, own, programs);
            request.expected = expected;
            let daemon = spawn(&request)?;
            println!("started {}, {}", daemon.status().version, daemon.status().device_id);
            drop(lock);
            // Here the app would run.
            daemon.stop(Duration::from_secs(5))?;
        }
        Decision::Refuse(refusal) => println!("{refusal} [{}]", refusal.code()),
        _ => println!("a decision that this app does not know"),
    }
    Ok(())
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("otherapp: {error}");
            ExitCode::FAILURE
        }
    }
}
