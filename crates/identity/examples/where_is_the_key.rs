//! Prints whether a daemon may be started in an app's home, and with which key.
//!
//! `cargo run -p myownllm-identity --example where_is_the_key -- ~/.myownllm
//! [~/.myownllm/.myownmesh]`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::process::ExitCode;

use myownllm_durable_fs::RealDisk;
use myownllm_identity::{Answer, IdentityPaths, camino::Utf8PathBuf, scan};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(Utf8PathBuf::from);
    let Some(app) = arguments.next() else {
        println!("usage: where_is_the_key APP_HOME [DAEMON_HOME]");
        return ExitCode::from(2);
    };
    let daemon = arguments.next().unwrap_or_else(|| app.join(".myownmesh"));
    match scan(&RealDisk, &IdentityPaths::new(app, daemon)).answer() {
        Answer::Sound { key, path, .. } => println!("yes, as {}: {path}", key.device_id),
        Answer::Pending { key, path, refusal, .. } => {
            println!("not yet: {refusal}\n{} is in {}", key.device_id, path.display());
        }
        Answer::NoneYet => println!("yes, and it makes a new key: there was none"),
        Answer::Refused(refusal) => {
            println!("no: {refusal} [{}]", refusal.code());
            for way_out in &refusal.ways_out {
                println!("  {}", way_out.command().unwrap_or("(a command of the app's)"));
            }
            return ExitCode::FAILURE;
        }
        answer => println!("{answer:?}"),
    }
    ExitCode::SUCCESS
}
