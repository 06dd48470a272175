//! `cargo xtask dist`: the release program and its files, laid out as a packager copies them under
//! a prefix.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::Fallible;
use crate::workspace::{build_programs, root, said};

const PROGRAM: &str = "myownllm-mesh";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The destination; files of an earlier run are replaced, and no others are touched
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// The unoptimised program: shows the layout in seconds
    #[arg(long)]
    debug: bool,
    /// Also pack the directory into an archive beside it, with its checksum, for a release page
    #[arg(long)]
    archive: bool,
}

/// Completion scripts: the shell, and the place of its script in a package.
const COMPLETIONS: [(&str, &str); 5] = [
    ("bash", "share/bash-completion/completions/myownllm-mesh"),
    ("zsh", "share/zsh/site-functions/_myownllm-mesh"),
    ("fish", "share/fish/vendor_completions.d/myownllm-mesh.fish"),
    ("elvish", "share/elvish/lib/myownllm-mesh.elv"),
    ("powershell", "share/powershell/_myownllm-mesh.ps1"),
];

/// Files of the workspace that are copied: from, to.
const FILES: [(&str, &str); 8] = [
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "share/doc/myownllm-mesh/CHANGELOG.md"),
    ("docs/errors.md", "share/doc/myownllm-mesh/docs/errors.md"),
    ("docs/recovery.md", "share/doc/myownllm-mesh/docs/recovery.md"),
    ("docs/downgrade.md", "share/doc/myownllm-mesh/docs/downgrade.md"),
    ("docs/fleet.md", "share/doc/myownllm-mesh/docs/fleet.md"),
    ("docs/support.md", "share/doc/myownllm-mesh/docs/support.md"),
];

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    let profile = if args.debug { "--profile=dev" } else { "--release" };
    let [program] = build_programs(&["--package=myownllm-mesh", profile], [PROGRAM])?;
    let out = root().join(&args.out);
    let mut written = Vec::new();
    let mut put = |name: String, bytes: &[u8]| -> Fallible<()> {
        write(&out.join(&name), bytes)?;
        written.push((name, bytes.len()));
        Ok(())
    };
    let name = format!("bin/{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let bytes = fs::read(&program).map_err(|e| format!("cannot read {}: {e}", program.display()))?;
    put(name.clone(), &bytes)?;
    make_executable(&out.join(name))?;

    // The program lists its own commands: xtask links none of the crates.
    let manual: serde_json::Value =
        serde_json::from_str(&said(&program, &["man", "--json"])?).map_err(|e| format!("man --json: {e}"))?;
    let commands = manual["data"]["commands"].as_array().ok_or("man --json names no commands")?;
    let commands = commands.iter().filter_map(serde_json::Value::as_str);
    for command in std::iter::once("").chain(commands) {
        let words: Vec<&str> = std::iter::once("man").chain(command.split_whitespace()).collect();
        let page = [&[PROGRAM], &words[1..]].concat().join("-");
        put(format!("share/man/man1/{page}.1"), said(&program, &words)?.as_bytes())?;
    }
    for (shell, name) in COMPLETIONS {
        put(name.to_owned(), said(&program, &["completions", shell])?.as_bytes())?;
    }
    let mut schemas = Vec::new();
    for dir in ["schemas", "schemas/config"] {
        let entries = fs::read_dir(root().join(dir)).map_err(|e| format!("cannot read {dir}: {e}"))?;
        let files = entries.flatten().filter(|entry| entry.path().extension().is_some());
        schemas.extend(files.map(|entry| format!("{dir}/{}", entry.file_name().to_string_lossy())));
    }
    schemas.sort();
    let schemas = schemas.into_iter().map(|name| (name.clone(), format!("share/doc/myownllm-mesh/{name}")));
    let files = FILES.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
    for (from, to) in files.chain(schemas) {
        put(to, &fs::read(root().join(&from)).map_err(|e| format!("cannot read {from}: {e}"))?)?;
    }
    for (name, bytes) in &written {
        crate::say!("{bytes:>9}  {name}");
    }
    crate::say!(
        "\n{} files in {}; a package copies bin/ and share/ to its prefix",
        written.len(),
        out.display()
    );
    if args.archive {
        archive(&program, &out)?;
    }
    Ok(true)
}

/// Packs `out` as `myownllm-mesh-VERSION-TARGET.tar.gz` (`.zip` on Windows), and writes its SHA-256
/// beside it in the form that `sha256sum --check` reads.
fn archive(program: &Path, out: &Path) -> Fallible<()> {
    let version: serde_json::Value = serde_json::from_str(&said(program, &["paths", "--json"])?)
        .map_err(|e| format!("paths --json: {e}"))?;
    let name = |key: &str| version["program"][key].as_str().unwrap_or("unknown").to_owned();
    let suffix = if cfg!(windows) { "zip" } else { "tar.gz" };
    let name = format!("{PROGRAM}-{}-{}.{suffix}", name("version"), name("target"));
    let archive = out.with_file_name(&name);
    // The tar of Windows is bsdtar, which picks the format by the suffix as GNU tar does.
    let mut tar = Command::new("tar");
    tar.arg("-caf").arg(&archive).arg("-C").arg(out).args(["bin", "share", "LICENSE", "README.md"]);
    let ended = tar.status().map_err(|e| format!("cannot run tar: {e}"))?;
    if !ended.success() {
        return Err(format!("tar ended with {ended}"));
    }
    let bytes = fs::read(&archive).map_err(|e| format!("cannot read {}: {e}", archive.display()))?;
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let line = format!("{sum}  {name}\n");
    write(&out.with_file_name(format!("{name}.sha256")), line.as_bytes())?;
    crate::say!("{line}");
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "build products: whatever is lost is built again")]
fn write(path: &Path, bytes: &[u8]) -> Fallible<()> {
    let say = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(say)?;
    }
    fs::write(path, bytes).map_err(say)
}

#[cfg(unix)]
fn make_executable(path: &Path) -> Fallible<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(|e| format!("cannot make {} executable: {e}", path.display()))
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> Fallible<()> {
    Ok(())
}
