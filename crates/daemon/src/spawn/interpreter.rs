//! Explains why the system cannot start a program file that is there: the file that its first line
//! names as its interpreter is missing.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use myownllm_durable_fs::quote;

/// The longest first line that Linux reads of a script.
const FIRST_LINE: u64 = 256;

/// Returns the cause in words, and the command that mends it where there is one.
///
/// The system answers "not found" for a missing interpreter too, and the program file itself is
/// there: it was looked at before.
pub(super) fn explain(program: &Path, error: &io::Error) -> (String, Option<String>) {
    let interpreter = match error.kind() {
        io::ErrorKind::NotFound => first_line(program).ok(),
        _ => None,
    };
    let Some(line) = interpreter else { return (error.to_string(), None) };
    match line.strip_prefix(b"#!") {
        Some(rest) if rest.ends_with(b"\r") => (
            "the script has Windows line endings, so the system looks for an interpreter whose name ends with a \
             carriage return"
                .to_owned(),
            Some(without_carriage_returns(program)),
        ),
        Some(rest) => {
            let name = rest.trim_ascii().split(|byte| *byte == b' ').next().unwrap_or_default();
            (format!("the interpreter of the script, {}, is missing", String::from_utf8_lossy(name)), None)
        }
        None => ("the loader that the program needs is missing: it was built for another system".to_owned(), None),
    }
}

/// Returns the command that takes the carriage returns out of a script and keeps it as `….bak`.
fn without_carriage_returns(script: &Path) -> String {
    // The sed of macOS knows no `\r`.
    let edit = if cfg!(target_vendor = "apple") { "perl -i.bak -pe" } else { "sed -i.bak -e" };
    format!("{edit} 's/\\r$//' {}", quote(script))
}

/// Returns the first line without its newline.
fn first_line(program: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(program)?.take(FIRST_LINE).read_to_end(&mut start)?;
    if let Some(end) = start.iter().position(|byte| *byte == b'\n') {
        start.truncate(end);
    }
    Ok(start)
}
