//! The place of the workspace, and the build of its binaries.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Fallible;

/// Returns the root directory of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Returns the directories of the libraries under `crates`: every crate but the program.
pub(crate) fn libraries() -> Fallible<Vec<String>> {
    let crates = std::fs::read_dir(root().join("crates")).map_err(|e| format!("cannot list crates: {e}"))?;
    let names = crates.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name != "app").collect();
    names.sort();
    Ok(names)
}

/// Returns cargo in the workspace's root: the cargo that runs xtask, if any.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // With this variable, which `cargo run` sets, cargo-machete would take its own name for a
    // directory.
    cargo.current_dir(root()).env_remove("CARGO_PKG_NAME");
    cargo
}

/// Returns true if the standard library of a target is installed.
pub(crate) fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let said = rustc.args(["--print=target-libdir", "--target", target]).output();
    said.is_ok_and(|said| std::fs::read_dir(String::from_utf8_lossy(&said.stdout).trim()).is_ok())
}

/// Builds programs and returns their paths.
pub(crate) fn build_programs<const N: usize>(how: &[&str], names: [&str; N]) -> Fallible<[PathBuf; N]> {
    let mut cargo = cargo();
    cargo.args(["build", "--message-format=json-render-diagnostics"]).args(how);
    for name in names {
        cargo.args(["--bin", name]);
    }
    // Cargo prints JSON on stdout, one message a line; output for people goes to stderr.
    let output = cargo.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo build ended with {}", output.status));
    }
    let built = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<serde_json::Value> =
        built.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let find = |name: &str| {
        let named = messages.iter().filter(|message| message["target"]["name"] == name);
        named.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
    };
    if let Some(missing) = names.iter().find(|name| find(name).is_none()) {
        return Err(format!("cargo built no program of the name {missing}"));
    }
    Ok(names.map(|name| find(name).unwrap_or_default()))
}

/// Runs one step of a longer job and prints its command. Returns true if the step succeeded.
pub(crate) fn step(command: &mut Command) -> Fallible<bool> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let name =
        Path::new(&shown[0]).file_name().map_or_else(|| shown[0].clone(), |n| n.to_string_lossy().into());
    crate::say!("\n$ {name} {}", shown[1..].join(" "));
    let status = command.status().map_err(|e| format!("cannot run {name}: {e}"))?;
    Ok(status.success())
}

/// Returns the path of a program that was built together with this one.
pub(crate) fn built_beside_this(program: &str) -> Fallible<PathBuf> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    Ok(this.with_file_name(format!("{program}{}", std::env::consts::EXE_SUFFIX)))
}

/// Returns what a program prints.
pub(crate) fn said(program: &Path, args: &[&str]) -> Fallible<String> {
    let name = program.display();
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("cannot run {name}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name} {} ended with {}", args.join(" "), output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{name} {}: {e}", args.join(" ")))
}

/// Returns the text of a document of the workspace, with a new text between the marks of a verb.
pub(crate) fn replace_between_marks(document: &Path, verb: &str, new: &str) -> Fallible<String> {
    let path = root().join(document);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    between_marks(&text, verb, new).ok_or_else(|| format!("{} has no place for it", path.display()))
}

fn between_marks(document: &str, verb: &str, new: &str) -> Option<String> {
    let begin = format!("<!-- written by `cargo xtask {verb}` -->");
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n\n{new}\n{END}{after}"))
}

/// Ends a text that a verb writes.
const END: &str = "<!-- end -->";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let marked =
            |text: &str| format!("before\n<!-- written by `cargo xtask bench` -->\n{text}\n{END}\nafter\n");
        assert_eq!(between_marks(&marked("old"), "bench", "new\n"), Some(marked("\nnew\n")));
        assert_eq!(between_marks("no marks", "bench", "new"), None);
        assert_eq!(between_marks(&marked("old"), "codegen", "new"), None);
    }
}
