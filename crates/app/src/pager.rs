//! The pager, which shows on a terminal what is longer than the terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};

/// The exit codes of a shell that could not start the pager.
const NOT_STARTED: [i32; 2] = [126, 127];

/// Shows a text in the pager that `PAGER` names, else in `less`. Returns false if the text fits on
/// the terminal, if stdin or stdout is no terminal, or if there is no pager.
pub(crate) fn show(text: &str) -> bool {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let size = terminal_size::terminal_size_of(io::stdout()).filter(|_| is_terminal);
    let is_long = size.is_some_and(|(_, rows)| text.lines().count() >= usize::from(rows.0));
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    let mut shell = Command::new("sh");
    shell.args(["-c", &pager]);
    if std::env::var_os("LESS").is_none() {
        // Ends at once if all fits, shows colours, and leaves the text on the screen.
        shell.env("LESS", "FRX");
    }
    let is_started = |end: ExitStatus| !end.code().is_some_and(|code| NOT_STARTED.contains(&code));
    is_long && !pager.is_empty() && feed(&mut shell, text).is_ok_and(is_started)
}

/// Has a program show a text on this terminal, and returns how the program ended.
pub(crate) fn feed(viewer: &mut Command, text: &str) -> io::Result<ExitStatus> {
    let mut child = viewer.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // Ctrl-C is for the viewer: without this program, it would share the terminal with the shell.
    #[cfg(unix)]
    nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGINT).thread_block()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Fails if the user leaves the viewer early, which is no error.
        let _ = stdin.write_all(text.as_bytes());
    }
    child.wait()
}
