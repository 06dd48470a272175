//! Sets a member of the JSON object on stdin, and prints the text with every other byte as it was.
//!
//! `echo '{"x_newer": 1e5, "theme": "dark"}' | cargo run -p myownllm-json-document --example set --
//! theme light`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::error::Error;
use std::io::{Read as _, stdin};

use myownllm_json_document::Document;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key, value] = &arguments[..] else { return Err("usage: set KEY TEXT".into()) };
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes)?;
    // An error names the place of a syntax error, and masks the values of its line.
    let mut document = Document::parse(&bytes)?.document;
    // Fails where the document cannot hold the value, so that no edit is lost in silence.
    document.set(&[key], value.as_str()).changed()?;
    print!("{}", document.to_text());
    Ok(())
}
