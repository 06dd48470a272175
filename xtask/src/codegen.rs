//! `cargo xtask codegen`: writes the files that come from the code, or compares them.
//!
//! The manual pages and the completions come from the code too, but are not in the repository:
//! `dist` makes them.

mod api;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::workspace::{build_programs, built_beside_this, replace_between_marks, root, said};
use crate::{Fallible, style};

pub(crate) use api::run_rustdoc;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, and fail if a file differs from the code
    #[arg(long)]
    check: bool,
}

/// A file of the repository, and its text according to the code.
struct Written {
    path: String,
    text: String,
}

/// The program that prints the schemas of the documents.
const SCHEMAS: &str = "document-schemas";
/// The number of differing lines that a check prints of each file.
const SHOWN: usize = 40;

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    let packages = ["--package=myownllm-mesh", "--package=integration-tests"];
    let [program, schemas] = build_programs(&packages, ["myownllm-mesh", SCHEMAS])?;
    let mut files = from_the_program(&program)?;
    files.extend(documents(&schemas)?);
    files.extend(api::listings()?);
    if args.check { compare(&files) } else { write(&files) }
}

/// Checks the files with the program that the tests have built. Returns the reason if this machine
/// cannot list the public APIs.
pub(crate) fn check_as_built() -> Fallible<Result<bool, String>> {
    let mut files = from_the_program(&built_beside_this("myownllm-mesh")?)?;
    files.extend(documents(&built_beside_this(SCHEMAS)?)?);
    let good = compare(&files)?;
    if let Some(why) = api::unavailable() {
        return Ok(if good { Err(why) } else { Ok(false) });
    }
    Ok(Ok(compare(&api::listings()?)? && good))
}

/// Returns the schemas of the documents, which the program [`SCHEMAS`] makes from their types.
fn documents(program: &Path) -> Fallible<Vec<Written>> {
    let said = said(program, &[])?;
    let schemas: BTreeMap<String, Value> =
        serde_json::from_str(&said).map_err(|e| format!("{SCHEMAS}: {e}"))?;
    let written = |(name, schema)| Written { path: format!("schemas/{name}"), text: format!("{schema:#}\n") };
    Ok(schemas.into_iter().map(written).collect())
}

/// Returns the files that the program knows: the schemas of the two configs, and the exit codes in
/// the docs.
fn from_the_program(program: &Path) -> Fallible<Vec<Written>> {
    let mut files = Vec::new();
    for config in ["app", "daemon"] {
        let text = said(program, &["config", "schema", config])?;
        files.push(Written { path: format!("schemas/config/{config}.schema.json"), text });
    }
    let help = said(program, &["--help"])?;
    let rows = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let rows = rows.map_while(|line| line.trim_start().split_once("  "));
    let rows: String = rows.map(|(code, meaning)| format!("| {code} | {meaning} |\n")).collect();
    let table = format!("| exit code | means |\n| --- | --- |\n{rows}");
    for path in ["README.md", "docs/errors.md"] {
        let text = replace_between_marks(Path::new(path), "codegen", &table)?;
        files.push(Written { path: path.to_owned(), text });
    }
    Ok(files)
}

#[allow(clippy::disallowed_methods, reason = "files in the work tree, under version control")]
fn write(files: &[Written]) -> Fallible<bool> {
    for Written { path, text } in files.iter().filter(|file| file.present() != file.text) {
        let place = root().join(path);
        let made = place.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&place, text)).map_err(|e| format!("cannot write {path}: {e}"))?;
        crate::say!("written: {path}");
    }
    Ok(true)
}

/// Prints the lines in which files differ from the code, and returns true if there are none.
fn compare(files: &[Written]) -> Fallible<bool> {
    let mut good = true;
    for file in files {
        let present = file.present();
        if present == file.text {
            continue;
        }
        good = false;
        let (before, after): (HashSet<&str>, HashSet<&str>) =
            (present.lines().collect(), file.text.lines().collect());
        let gone = present.lines().filter(|line| !after.contains(line)).map(|line| (style::BAD, '-', line));
        let new =
            file.text.lines().filter(|line| !before.contains(line)).map(|line| (style::GOOD, '+', line));
        crate::say!("{} differs from the code:", file.path);
        for (style, sign, line) in gone.chain(new).take(SHOWN) {
            crate::say!("{}", style::paint(style, format!("{sign} {line}")));
        }
    }
    if !good {
        crate::say!("`cargo xtask codegen` writes them; a change of a public API is to be read first");
    }
    Ok(good)
}

impl Written {
    /// Returns the text of the file; empty if there is none.
    fn present(&self) -> String {
        // A checkout on Windows may have other line ends.
        std::fs::read_to_string(root().join(&self.path)).unwrap_or_default().replace("\r\n", "\n")
    }
}
