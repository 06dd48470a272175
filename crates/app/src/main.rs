//! The command-line program; all of it is in the library.

fn main() -> std::process::ExitCode {
    outlive_the_limit_of_a_file();
    myownllm_mesh::main_with(std::env::args_os()).into()
}

/// A file that would grow past the limit (`ulimit -f`) is an error like any other, named with its path, and not the end of the
/// program: with a handler for the signal, the write itself fails.
#[cfg(not(windows))]
fn outlive_the_limit_of_a_file() {
    let seen = std::sync::Arc::default();
    // Where it cannot be had, it is as it was.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
}

#[cfg(windows)]
fn outlive_the_limit_of_a_file() {}
