//! The pure filters as a program: `config normalize`, `salvage --stdin`, `network to-daemon`,
//! `network to-envelope [--with-secrets]` and `network from-envelope`, from stdin to stdout.
//!
//! `cargo run -p myownllm-salvage --example filters -- --home /home/u config normalize <
//! config.json`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{Document, SeededIds, convert};

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut home = "/home/u".to_owned();
    if let Some(at) = args.iter().position(|a| a == "--home")
        && at + 1 < args.len()
    {
        home = args.remove(at + 1);
        args.remove(at);
    }
    match run(&args, &home) {
        Ok(text) => {
            let mut out = std::io::stdout().lock();
            if out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).is_err() {
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut error: Option<&dyn Error> = Some(&*error);
            while let Some(e) = error {
                eprintln!("{e}");
                error = e.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String], home: &str) -> Result<String, Box<dyn Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut ids = SeededIds::new(since.as_millis() as u64, since.as_nanos() as u64);
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["config", "normalize"] => {
            let dir = format!("{home}/.myownllm/conversations");
            myownllm_salvage::normalize(&bytes, &dir, &mut ids)?.document.to_text()
        }
        ["salvage", "--stdin"] => myownllm_salvage::salvage_bytes(&bytes, &mut ids)?.app.to_text(),
        ["network", "to-daemon"] => {
            convert::to_daemon_document(Document::parse(&bytes)?.document.root())?.to_text()
        }
        ["network", "to-envelope"] | ["network", "to-envelope", "--with-secrets"] => {
            let network = Document::parse(&bytes)?.document;
            Envelope::of_network(network.root())?.to_document(words.len() == 3).to_text()
        }
        ["network", "from-envelope"] => Envelope::parse(&bytes)?.to_document(true).to_text(),
        _ => return Err("one of the filters".into()),
    })
}
