//! Prints the schemas of the documents as one JSON object, by file name: `cargo xtask codegen`
//! writes them to `schemas/`.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(serde_json::json!(myownllm_report::schemas()).to_string().as_bytes())
}
