//! The stand-in daemon as a program: `stand-in-daemon serve`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use std::process::ExitCode;

use integration_tests::standin::{Settings, serve};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    match first.as_deref().and_then(|first| first.to_str()) {
        Some("serve") => {}
        Some("--version" | "-V") => {
            let version = std::env::var("STAND_IN_VERSION").unwrap_or_else(|_| "0.3.8".to_owned());
            println!("myownmesh {version} (stand-in)");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("usage: stand-in-daemon serve");
            return ExitCode::from(2);
        }
    }
    match Settings::from_vars(|name| std::env::var(name).ok()) {
        Ok(settings) => ExitCode::from(serve(settings)),
        Err(e) => {
            eprintln!("Error: {e}");
            ExitCode::from(2)
        }
    }
}
