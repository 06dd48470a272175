//! The command-line program; all of it is in the library.

fn main() -> std::process::ExitCode {
    myownllm_mesh::main_with(std::env::args_os()).into()
}
